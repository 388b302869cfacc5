"""A pool of a server's journal: the same prompt is the same problem, and each sample that was paid for comes once."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tts
from tts.cli import main as cli
from tts.errors import BadPool
from tts.pools.from_served import build_served_pool
from tts.runs.served import REQUESTS, SERVED, served_folders

FIRST, SECOND = "What is 3 + 4?", "What is 4 + 4?"


class Model:
    """Says another thing each time; the same thing for the same seed if `seeded`."""

    def __init__(self, seeded: bool = False) -> None:
        self.seeded = seeded
        self.count = itertools.count()

    async def __call__(self, request: tts.Request) -> tts.Completion:
        name = request.seed if self.seeded else next(self.count)
        return tts.Completion(f"So {name}.\nAnswer: 7", usage=tts.Usage(5, 4))


def journal(root: Path, *calls: tuple[str, str, int, float], model: Model | None = None) -> Path:
    """Ask prompt, strategy, seed, temperature."""

    async def within() -> None:
        async with tts.Client(model=model or Model(), journal=root, journal_mb=0.001) as client:
            for prompt, strategy, seed, temperature in calls:
                await client.solve(prompt, strategy, seed=seed, sampling={"max_tokens": 9, "temperature": temperature})

    asyncio.run(within())
    return root


def test_samples_of_all_requests_for_a_prompt_are_one_group_and_races_are_left_out(tmp_path: Path) -> None:
    root = journal(tmp_path, (FIRST, "majority_vote:n=3", 0, 0.7), (SECOND, "single", 0, 0.7),
                   (FIRST, "best_of_n:n=2,verifier=genrm", 1, 0.7), (FIRST, "first_finish:n=2", 0, 0.7))  # fmt: skip
    assert len(served_folders(root)) > 1
    pool = build_served_pool(root)
    assert sorted(len(group) for group in pool.groups()) == [1, 5]
    assert set(pool.prompts.values()) == {FIRST, SECOND}
    assert Counter(pool.answer[row] for row in range(len(pool))) == {"7": 6}
    assert len(build_served_pool(served_folders(root)[0])) == 3


def test_a_draw_under_the_same_key_that_says_the_same_is_one_sample(tmp_path: Path) -> None:
    twice = [(FIRST, "majority_vote:n=3", 5, 0.7), (FIRST, "majority_vote:n=4", 5, 0.7)]
    assert len(build_served_pool(journal(tmp_path / "seeded", *twice, model=Model(seeded=True)))) == 4
    assert len(build_served_pool(journal(tmp_path / "not", *twice))) == 7


def test_a_draw_of_two_requests_has_the_scores_of_both(tmp_path: Path) -> None:
    """The second one's are of samples that the first has drawn, and has not scored."""

    class Judging(Model):
        async def __call__(self, request: tts.Request) -> tts.Completion:
            found = await super().__call__(request)
            judged = "Verification" in str(request.messages)
            said = "Verification: Is the answer correct (Yes/No)? Yes"
            return tts.Completion(said, usage=tts.Usage(9, 7)) if judged else found

    calls = [(FIRST, strategy, 5, 0.7) for strategy in ("majority_vote:n=2", "best_of_n:n=2,verifier=genrm")]
    pool = build_served_pool(journal(tmp_path, *calls, model=Judging(seeded=True)))
    assert len(pool) == 2 and all(pool.row(row).scores["genrm"] == 1.0 for row in range(2))


def test_samples_under_other_sampling_are_a_benchmark_of_their_own(tmp_path: Path) -> None:
    root = journal(tmp_path, (FIRST, "majority_vote:n=3", 0, 0.7), (FIRST, "majority_vote:n=2", 0, 0.1))
    pool = build_served_pool(root)
    assert {(group.benchmark, len(group)) for group in pool.groups()} == {
        (SERVED, 3),
        (f"{SERVED}, temperature=0.1", 2),
    }


def test_a_prompt_with_too_few_samples_is_left_out_where_a_number_is_asked_for(tmp_path: Path) -> None:
    root = journal(tmp_path, (FIRST, "majority_vote:n=3", 0, 0.7), (SECOND, "single", 0, 0.7))
    assert [len(group) for group in build_served_pool(root, min_samples=3).groups()] == [3]
    with pytest.raises(BadPool, match="no problem has 4 samples"):
        build_served_pool(root, min_samples=4)


def test_calls_without_what_they_asked_are_left_out_and_counted(tmp_path: Path) -> None:
    root = journal(tmp_path, (FIRST, "single", 0, 0.7))
    (folder,) = served_folders(root)
    (folder / REQUESTS).write_bytes(b"")
    lost: list[int] = []
    with pytest.raises(BadPool, match="no sample that came to an end"):
        build_served_pool(root, on_unknown=lost.append)
    assert lost == [1]
    with pytest.raises(BadPool, match="not the journal of a server"):
        build_served_pool(tmp_path / "none")


def test_strategies_are_replayed_on_what_was_served(tmp_path: Path) -> None:
    calls = [(prompt, "majority_vote:n=4", seed, 0.7) for prompt in (FIRST, SECOND) for seed in (0, 1)]
    root, file = journal(tmp_path / "served", *calls), tmp_path / "p.parquet"
    assert CliRunner().invoke(cli.app, ["pool", "build", str(root), "-o", str(file)]).exit_code == 0
    replayed = tts.replay(file, ["majority_vote:n=8", "single"])
    assert {outcome.answer for outcome in replayed.outcomes} == {"7"}
    refused = CliRunner().invoke(cli.app, ["pool", "build", str(root), "--grader", "math"])
    assert "no reference answers" in str(refused.exception)
