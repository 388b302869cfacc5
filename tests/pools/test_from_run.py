"""Pools of real sweeps: which samples are in them, with which scores and verdicts."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tts
from tts import Example, Problem, Sampling
from tts.api.replays import replay
from tts.core.actions import Finished, Scored
from tts.core.journal.records import Lost
from tts.errors import BadPool, PoolLacks
from tts.pools.from_run import build_pool
from tts.pools.pool import Pool, Sample
from tts.runs.folder import JOURNAL, read_records
from tts.tasks.example import Task
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, arithmetic, last_user_text
from tts.types import StrategySpec
from tts.verifiers.generative.judge import Judge

SOURCE = "arithmetic?size=6&seed=7"
SHORT = Sampling(max_tokens=40)


def judged_rightly(request: dict[str, Any]) -> Reply:
    """Half of the answers are wrong; every judgement is right. So a score tells whose it is."""
    rate = 0.0 if "(Yes/No)" in last_user_text(request) else 0.5
    return arithmetic(error_rate=rate)(request)


def sweep(folder: Path, *strategies: Any, script: Any = judged_rightly, source: Any = SOURCE, **more: Any) -> Any:
    with FakeEngine(script) as engine:
        return tts.sweep(source, strategies, out=folder, base_url=engine.base_url, report=False, sampling=SHORT, **more)


def built(folder: Path, **more: Any) -> Pool:
    return asyncio.run(build_pool(folder, **more))


def rows(pool: Pool) -> list[Sample]:
    return [pool.row(i) for i in range(len(pool))]


def texts(pool: Pool) -> Counter[tuple[str, str | None]]:
    return Counter((group.problem_id, text) for group in pool.groups() for text in pool.texts(group))


def test_samples_that_several_cells_share_are_in_the_pool_once(tmp_path: Path) -> None:
    sweep(tmp_path, "majority_vote:n=2,4", "best_of_n:n=4,verifier=judge", "genrm:n=2,verifications=2", "single")
    pool = built(tmp_path)
    assert [len(group) for group in pool.groups()] == [4] * 6
    assert pool.one_benchmark() == SOURCE
    assert pool.model.present == ["fake"]
    finished = Counter(
        (record.id.split("/")[1], record.completion.text)
        for record in read_records(tmp_path / JOURNAL)
        if isinstance(record, Finished)
    )
    assert texts(pool) == finished
    row = pool.row(0)
    assert row.finish_reason == "stop"
    assert row.prompt is not None and row.reference is not None
    assert row.seconds is not None and row.seconds > 0
    with_usage = {r.completion.text: r.usage for r in read_records(tmp_path / JOURNAL) if isinstance(r, Finished)}
    usage = with_usage[str(pool.texts(pool.groups()[0])[0])]
    assert (row.prompt_tokens, row.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)


def test_each_seed_has_samples_of_its_own(tmp_path: Path) -> None:
    sweep(tmp_path, "majority_vote:n=3", seeds=2)
    assert [len(group) for group in built(tmp_path).groups()] == [6] * 6


def test_samples_of_races_and_revisions_are_left_out(tmp_path: Path) -> None:
    sweep(tmp_path, "first_finish:n=4", "sequential_revision:chains=2,rounds=3", "single")
    # The first versions of the chains are answers to the problem itself; each chain has its own.
    assert [len(group) for group in built(tmp_path).groups()] == [3] * 6
    sweep(tmp_path / "race", "first_finish:n=4")
    with pytest.raises(BadPool, match="no sample of a problem itself"):
        built(tmp_path / "race")


def test_a_judges_scores_belong_to_their_samples_and_are_not_counted_twice(tmp_path: Path) -> None:
    sweep(
        tmp_path,
        "best_of_n:n=2,4,verifier=judge",
        "genrm:n=2,verifications=2",
        "best_of_n:n=3,verifier=genrm",
        "majority_vote:n=5",
    )
    pool = built(tmp_path)
    seen = set()
    for group in pool.groups():
        for place, row in enumerate(rows(pool)[group.rows]):
            judge, genrm = row.scores.get("judge"), row.scores.get("genrm", ())
            assert isinstance(genrm, tuple)
            assert [judge is not None, len([g for g in genrm if g is not None])] == [place < 4, (2, 2, 1, 0, 0)[place]]
            asked = [verifier for verifier, number in (("judge", 4), ("genrm", 3)) if place < number]
            assert list(row.scores) == asked  # of what was never asked there is no abstention
            for score in [judge, *genrm]:
                if score is not None:
                    assert isinstance(score, float)
                    assert (score > 0.5) == row.correct
                    seen.add(row.correct)
    assert seen == {True, False}


def test_what_asks_no_model_is_computed_for_every_sample_as_the_run_did_for_some(tmp_path: Path) -> None:
    sweep(tmp_path, "best_of_n:n=2,verifier=self_certainty", "majority_vote:n=4")
    pool = built(tmp_path)
    found = Counter(round(float(value), 5) for value in pool.scores["self_certainty"])  # columns are of 32 bits
    given = Counter(round(r.score.value or 0, 5) for r in read_records(tmp_path / JOURNAL) if isinstance(r, Scored))
    assert given.total() == 2 * 6
    assert found.total() == 4 * 6
    assert given <= found


def test_a_sweep_under_a_budget_in_dollars_needs_no_prices_again(tmp_path: Path) -> None:
    sweep(tmp_path, "best_of_n:n=3,verifier=judge", budgets="usd=1", price_in=1.0, price_out=2.0)
    assert all(row.scores["judge"] is not None for row in rows(built(tmp_path)))


def too_long(when: Any) -> Any:
    """`judged_rightly`, but the server refuses some requests for good."""

    def script(request: dict[str, Any]) -> Reply:
        reply = judged_rightly(request)
        return msgspec.structs.replace(reply, misbehave=Misbehaviour.CONTEXT_TOO_LONG) if when(request) else reply

    return script


def test_what_failed_for_good_is_kept_as_a_failure_without_a_verdict(tmp_path: Path) -> None:
    sweep(tmp_path, "majority_vote:n=6", script=too_long(lambda request: request["seed"] % 3 == 0))
    pool = built(tmp_path)
    failed = [row for row in rows(pool) if row.error is not None]
    assert len(pool) == 36
    assert 0 < len(failed) < 36
    for row in failed:
        assert row.error is not None
        assert row.error.startswith("ContextTooLong: ")
        assert (row.correct, row.answer, row.completion_tokens, row.seconds) == (None, None, None, None)
    assert all(row.correct is not None for row in rows(pool) if row.error is None)


def test_a_failed_judgement_is_no_failed_sample(tmp_path: Path) -> None:
    refuses = too_long(lambda request: "(Yes/No)" in last_user_text(request) and request["seed"] % 2 == 0)
    sweep(tmp_path, "best_of_n:n=4,verifier=judge", script=refuses)
    pool = built(tmp_path)
    assert len(pool) == 24
    assert all(row.error is None for row in rows(pool))
    assert 0 < sum(row.scores["judge"] is None for row in rows(pool)) < 24


def test_an_unfinished_run_gives_what_it_has_and_a_resumed_one_everything_once(tmp_path: Path) -> None:
    strategies = "best_of_n:n=3,verifier=judge", "majority_vote:n=4", "first_finish:n=2"
    sweep(tmp_path / "whole", *strategies, concurrency=4)
    whole = built(tmp_path / "whole")
    known = {row.text: row for row in with_texts(whole)}
    journal = (tmp_path / "whole" / JOURNAL).read_bytes()
    sizes = []
    for part in (0.3, 0.5, 0.75, 0.9):
        folder = tmp_path / str(part)
        shutil.copytree(tmp_path / "whole", folder)
        # Just after something has left, which is then lost; and a kill leaves a torn line, too.
        grant = journal.index(b'{"type":"granted"', int(part * len(journal)))
        (folder / JOURNAL).write_bytes(journal[: journal.index(b"\n", grant) + 9])
        pool = built(folder)
        sizes.append(len(pool))
        assert texts(pool) <= texts(whole)
        for row in with_texts(pool):
            full = known[row.text]
            assert (row.answer, row.correct, row.reference) == (full.answer, full.correct, full.reference)
            judge = row.scores.get("judge")
            assert judge is None or judge == full.scores["judge"]
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] < sizes[-1] <= len(whole)
    sweep(folder := tmp_path / "0.5", *strategies, concurrency=4)
    assert any(isinstance(record, Lost) for record in read_records(folder / JOURNAL))  # else nothing was tested
    again = built(folder)
    assert texts(again) == texts(whole)
    assert sorted(map(judged, with_texts(again))) == sorted(map(judged, with_texts(whole)))


def judged(row: Sample) -> tuple[str, str, str]:
    return str(row.text), str(row.correct), str(row.scores.get("judge"))


def with_texts(pool: Pool) -> list[Sample]:
    found = []
    for group in pool.groups():
        for row, text in zip(rows(pool)[group.rows], pool.texts(group), strict=True):
            found.append(msgspec.structs.replace(row, text=f"{group.problem_id}: {text}"))
    return found


def test_the_order_of_the_samples_does_not_depend_on_which_came_first(tmp_path: Path) -> None:
    def slow_at_first(request: dict[str, Any]) -> Reply:
        return msgspec.structs.replace(judged_rightly(request), first_byte_s=0.02 * (request["seed"] % 4))

    sweep(tmp_path / "a", "majority_vote:n=6")
    sweep(tmp_path / "b", "majority_vote:n=6", script=slow_at_first)
    a, b = built(tmp_path / "a"), built(tmp_path / "b")
    assert [a.texts(group) for group in a.groups()] == [b.texts(group) for group in b.groups()]
    ended = [r.completion.text for r in read_records(tmp_path / "b" / JOURNAL) if isinstance(r, Finished)]
    assert ended != [text for group in b.groups() for text in b.texts(group)]  # else nothing was tested


def test_verdicts_are_those_of_the_sweep(tmp_path: Path) -> None:
    result = sweep(tmp_path, "single", "majority_vote:n=3")
    pool = built(tmp_path)
    firsts = {group.problem_id: pool.row(group.start) for group in pool.groups()}
    single = {o.problem_id: o for o in result.outcomes if o.strategy == "single"}
    assert {p: (o.answer, o.correct) for p, o in single.items()} == {
        p: (row.answer, row.correct) for p, row in firsts.items()
    }
    assert {o.correct for o in single.values()} == {True, False}


def test_problems_without_a_reference_stay_ungraded_and_an_id_may_hold_slashes(tmp_path: Path) -> None:
    examples = (
        Example(Problem("train/algebra/1", "What is 19 + 23? End with Answer: N."), "42"),
        Example(Problem("train/algebra/2", "What is 1 + 2? End with Answer: N.")),
    )
    sweep(tmp_path, "best_of_n:n=3,verifier=judge", source=Task("sums", examples, "exact"))
    first, second = (rows(built(tmp_path))[group.rows] for group in built(tmp_path).groups())
    assert [row.problem_id for row in (first[0], second[0])] == ["train/algebra/1", "train/algebra/2"]
    assert all(row.correct == (row.answer == "42") for row in first)
    assert all(row.correct is None for row in second)
    assert all(row.scores["judge"] is not None for row in [*first, *second])


def test_answers_are_graded_with_algebra_where_the_sweep_was(tmp_path: Path) -> None:
    pytest.importorskip("math_verify", reason="the extra `math` is not installed")
    task = Task("roots", (Example(Problem("p", "What?"), "\\frac{\\sqrt{2}}{2}"),), "math")
    said = {0: "So \\boxed{\\frac{1}{\\sqrt{2}}}.", 1: "So \\boxed{\\sqrt{2}}."}
    result = sweep(
        tmp_path, "majority_vote:n=8", source=task, script=lambda request: Reply((said[request["seed"] % 2],))
    )
    graded = {(row.answer, row.correct) for row in rows(built(tmp_path))}
    assert graded == {("\\frac{1}{\\sqrt{2}}", True), ("\\sqrt{2}", False)}
    assert result.outcomes[0].correct == dict(graded)[result.outcomes[0].answer]


def test_a_built_pool_is_replayed_and_comes_back_from_its_file(tmp_path: Path) -> None:
    result = sweep(tmp_path, "majority_vote:n=4", "best_of_n:n=4,verifier=judge")
    pool = built(tmp_path)
    replayed = replay(pool, ["majority_vote:n=4", "best_of_n:n=4,verifier=judge"])
    assert not [outcome.error for outcome in replayed.outcomes if outcome.error]
    key = ("strategy", "problem_id")
    paid = {tuple(getattr(o, k) for k in key): o.tokens - o.verifier_tokens for o in result.outcomes}
    assert {tuple(getattr(o, k) for k in key): o.tokens - o.verifier_tokens for o in replayed.outcomes} == paid
    every = [{(o.strategy, o.problem_id): o.samples for o in some.outcomes} for some in (result, replayed)]
    assert every[0] == every[1], "a judgement is a sample, replayed or not"
    pytest.importorskip("pyarrow", reason="the extra `pool` is not installed")
    from tts.pools.parquet import read_pool, write_pool

    again = read_pool(write_pool(pool, tmp_path / "pool.parquet"))
    assert rows(again) == rows(pool)
    assert texts(again) == texts(pool)
    assert again.verification_costs == pool.verification_costs


def test_verifications_are_priced_as_they_were_measured_and_those_that_ask_no_model_are_free(tmp_path: Path) -> None:
    result = sweep(tmp_path, "best_of_n:n=4,verifier=judge", "best_of_n:n=2,verifier=self_certainty")
    costs = built(tmp_path).verification_costs
    paid = [o for o in result.outcomes if "judge" in o.params]
    assert costs["judge"].tokens == sum(o.verifier_tokens for o in paid) / sum(o.verifications for o in paid) > 0
    assert costs["judge"].prompt_tokens > 0
    assert costs["judge"].max_tokens == 4
    assert costs["self_certainty"].free
    row = replay(built(tmp_path), "best_of_n:n=4,verifier=judge").rows[0]
    assert row.verifier_tokens == pytest.approx(result.rows[0].verifier_tokens)
    assert (row.samples, row.unpriced) == (8, 0)


def test_one_setting_of_a_verifier_is_paid_once_and_is_one_column_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Long:\n"
        "    def __init__(self, *, least: int = 1): self.least = least\n"
        "    def score(self, problem, candidate): return len(candidate.text) >= self.least\n"
    )
    own = f"{tmp_path / 'mine.py'}:Long"
    specs = (
        "judge(max_tokens=03),judge(max_tokens=4)",
        f"judge,{own}(least=0_2)",
        "tts.verifiers.generative.judge:Judge",
    )
    result = sweep(
        tmp_path / "run",
        *(f"best_of_n:n=2,4,verifier={verifiers}" for verifiers in specs),
        StrategySpec("best_of_n", {"n": 3, "verifier": Judge(max_tokens=3)}),
    )
    paid = Counter(r.score.verifier for r in read_records(tmp_path / "run" / JOURNAL) if isinstance(r, Scored))
    assert paid["judge"] == paid["judge(max_tokens=3)"] == 4 * 6, "what cells share is asked for once"
    assert {row.params for row in result.rows} == {
        *(f"n={n},verifier={name}" for n in (2, 4) for name in ("judge", "judge(max_tokens=3)", f"{own}(least=2)")),
        "n=3,verifier=judge(max_tokens=3)",
    }
    again = sweep(tmp_path / "run", "best_of_n:n=4,verifier=judge(max_tokens=0_3)")
    assert again.spent == result.spent
    pool = built(tmp_path / "run", verifiers=[f"{own}(least=002)"])
    assert {*pool.scores} == {"judge", "judge(max_tokens=3)", f"{own}(least=2)"}
    costs = pool.verification_costs
    assert (costs["judge(max_tokens=3)"].max_tokens, costs["judge"].max_tokens) == (3, 4)
    texts = ["judge(max_tokens=3)", "judge(max_tokens=003)", "judge(max_tokens=4)", f"{own}(least=02)"]
    replayed = replay(pool, [f"best_of_n:n=4,verifier={text}" for text in texts])
    assert not [outcome.error for outcome in replayed.outcomes if outcome.error]
    assert {row.params for row in replayed.rows} < {row.params for row in result.rows}
    (row,) = replay(pool, f"best_of_n:n=4,verifier={texts[0]}", verifier_tokens={"judge(max_tokens=03)": 50}).rows
    assert row.verifier_tokens == 4 * 50


def test_samples_are_found_however_the_sampling_was_spelt(tmp_path: Path) -> None:
    spelt: Any = Sampling(temperature=1, stop=["###"])  # type: ignore[arg-type]  # what people write
    with FakeEngine(judged_rightly) as engine:
        tts.sweep(SOURCE, "single", out=tmp_path, base_url=engine.base_url, report=False, sampling=spelt)
    assert len(built(tmp_path)) == 6


@pytest.mark.parametrize("through_a_file", [False, True])
def test_a_choice_by_log_probabilities_is_replayed_as_it_was_made(tmp_path: Path, through_a_file: bool) -> None:
    """Also where the sweep that sampled had nothing to choose: what a verifier reads of a sample is in the pool."""
    sampling = Sampling(max_tokens=40, top_logprobs=5)
    with FakeEngine(judged_rightly) as engine:
        given: dict[str, Any] = {"base_url": engine.base_url, "report": False, "sampling": sampling}
        live = tts.sweep(SOURCE, "best_of_n:n=5", out=tmp_path / "chosen", **given)
        tts.sweep(SOURCE, "majority_vote:n=5", out=tmp_path / "drawn", **given)
    pool = built(tmp_path / "drawn")
    if through_a_file:
        pytest.importorskip("pyarrow", reason="the extra `pool` is not installed")
        from tts.pools.parquet import read_pool, write_pool

        pool = read_pool(write_pool(pool, tmp_path / "pool.parquet"))
    assert "self_certainty" not in pool.scores
    answers = {o.problem_id: (o.answer, o.correct) for o in live.outcomes}
    assert len({answer for answer, _ in answers.values()}) > 1
    for seed in range(3):
        found = replay(pool, "best_of_n:n=5,verifier=self_certainty", seeds=[seed], report=False)
        assert {o.problem_id: (o.answer, o.correct) for o in found.outcomes} == answers


def test_a_pool_of_a_run_knows_how_it_was_sampled_and_lends_itself_to_nothing_else(tmp_path: Path) -> None:
    sampling = Sampling(temperature=0.25, max_tokens=40, stop=("###",))
    with FakeEngine(judged_rightly) as engine:
        tts.sweep(SOURCE, "single", out=tmp_path, base_url=engine.base_url, report=False, sampling=sampling)
    pool = built(tmp_path)
    assert (
        replay(pool, "single:temperature=0.25", report=False).rows[0].accuracy
        == replay(pool, "single").rows[0].accuracy
    )
    with pytest.raises(PoolLacks, match=r"temperature=0\.7, and they were drawn with 0\.25"):
        replay(pool, "single:temperature=0.7")
    with pytest.raises(PoolLacks, match=r"asks the verifier 'self_certainty', but .* has not recorded it"):
        replay(pool, "best_of_n:n=1")


def test_texts_can_be_left_out(tmp_path: Path) -> None:
    sweep(tmp_path, "single")
    assert set(texts(built(tmp_path, keep_text=False))) == {(g.problem_id, None) for g in built(tmp_path).groups()}


def test_what_is_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPool, match=f"{tmp_path} is not the folder of a sweep: it has no {JOURNAL}"):
        built(tmp_path)
    with FakeEngine(judged_rightly) as engine:
        tts.solve("What is 19 + 23?", "majority_vote:n=2", base_url=engine.base_url, out=tmp_path / "solved")
    with pytest.raises(BadPool, match=r"solved has no problems\.jsonl: it is the folder of `solve`"):
        built(tmp_path / "solved")
    sweep(tmp_path / "swept", "single")
    (tmp_path / "swept" / JOURNAL).write_bytes(b"")
    with pytest.raises(BadPool, match="is empty: nothing was run"):
        built(tmp_path / "swept")
