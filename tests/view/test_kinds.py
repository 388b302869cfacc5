"""What else can be looked at: pools, a solve, a replay, recorded candidates judged; and what cannot."""

import asyncio
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from viewed import Browsing, browsing, made

import tts
from tts.cli import main as cli
from tts.errors import InvalidParameter, RunError, UnknownName
from tts.runs.folder import JOURNAL
from tts.view.opening import opened
from tts.view.results import seed_of_trial


async def yes(request: tts.Request) -> tts.Completion:
    return tts.Completion("Right.\nVerification: Is the answer correct (Yes/No)? Yes", usage=tts.Usage(9, 7))


async def seven(request: tts.Request) -> tts.Completion:
    return tts.Completion("So it is.\nAnswer: 7", usage=tts.Usage(5, 4))


async def whole(client: Browsing) -> list[dict[str, object]]:
    """Every trial there is, each opened with one of its texts where it has one."""
    found = []
    for problem in (await client.json("/api/grid"))["problems"]:
        for cell in (await client.json("/api/problem", id=problem["id"]))["cells"]:
            for row in cell["trials"]:
                trial = await client.json("/api/trial", id=row["id"])
                for each in [*trial["candidates"], *trial["verifications"]][:1]:
                    assert await client.json("/api/text", id=each["id"])
                found.append(trial)
    return found


def test_a_pool_is_a_cell_a_model_with_the_verdicts_it_has() -> None:
    async def work(client: Browsing) -> None:
        overview = await client.json("/api/overview")
        assert (overview["kind"], overview["samples"], len(overview["cells"])) == ("pool", 1280, 1)
        trials = await whole(client)
        candidates = [each for trial in trials for each in trial["candidates"]]  # type: ignore[attr-defined]
        assert len(candidates) == len({each["id"] for each in candidates}) == 1280
        accuracy = sum(each["correct"] for each in candidates) / 1280
        assert overview["cells"][0]["accuracy"]["mean"] == pytest.approx(accuracy)
        assert sum(trial["total"]["tokens"] for trial in trials) == overview["spent"]["tokens"]  # type: ignore[index]

    pytest.importorskip("pyarrow")
    browsing(Path("example"), work)


def test_a_solve_is_one_trial_with_the_prompt_that_was_asked(tmp_path: Path) -> None:
    sampling = {"max_tokens": 20}
    solved = tts.solve("What is 3 + 4?", "majority_vote:n=3", model=seven, out=tmp_path / "one", sampling=sampling)

    async def work(client: Browsing) -> None:
        assert (await client.json("/api/overview"))["kind"] == "solve"
        (trial,) = await whole(client)
        assert (trial["answer"], trial["notes"]) == (solved.answer, [])
        assert trial["problem"]["prompt"] == [{"role": "user", "content": "What is 3 + 4?"}]  # type: ignore[index]

    browsing(tmp_path / "one", work)


def test_a_replay_shows_outcomes_and_says_that_it_has_no_samples(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    replayed = tts.replay("example", ["majority_vote:n=2,4"], out=tmp_path / "replay", report=False)

    async def work(client: Browsing) -> None:
        overview = await client.json("/api/overview")
        assert (overview["kind"], overview["trials"]) == ("replay", len(replayed.outcomes))
        trials = await whole(client)
        assert all("no samples" in trial["notes"][0] for trial in trials)  # type: ignore[index]

    browsing(tmp_path / "replay", work)


def test_a_run_of_judges_shows_what_they_said_and_of_which_candidate(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    made(tmp_path / "run", problems=2, seeds=1, strategies=["majority_vote:n=2"])
    options = {"out": tmp_path / "judged", "model": yes}
    tts.judge(tmp_path / "run", ["genrm(max_tokens=100)"], **options)  # type: ignore[arg-type]

    async def work(client: Browsing) -> None:
        assert (await client.json("/api/overview"))["kind"] == "judge"
        trials = await whole(client)
        said = [each["verdict"] for trial in trials for each in trial["verifications"]]  # type: ignore[attr-defined]
        assert len(said) == 4
        assert all("Verification" in verdict for verdict in said)
        for trial in trials:
            assert (trial["answer"], trial["notes"], trial["votes"]) == (None, [], [])
            texts = {each["id"]: each["text_preview"] for each in trial["candidates"]}  # type: ignore[attr-defined]
            judged = [id for each in trial["verifications"] for id in each["of"]]  # type: ignore[attr-defined]
            assert sorted(judged) == sorted(texts)
            for each in trial["verifications"]:  # type: ignore[attr-defined]
                shown = (await client.json("/api/text", id=each["id"]))["transcript"]
                assert any(texts[each["of"][0]] in turn["content"] for turn in shown)
                assert await client.json("/api/text", id=each["of"][0])

    browsing(tmp_path / "judged", work)


def test_what_cannot_be_looked_at_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("nothing")
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "plan.json").write_text("{}")
    (tmp_path / "notes.parquet").write_text("no pool")
    for name, why in (
        ("notes", "holds no run"), ("plan", "holds a plan"), ("notes.parquet", "cannot be read"),
        ("none.parquet", "there is no"), ("no/where", "there is no"),
    ):  # fmt: skip
        with pytest.raises(tts.UsageError, match=why):
            opened(tmp_path / name)
    assert opened(tmp_path / "later") is None


def test_a_journal_that_no_run_wrote_is_a_sentence_or_is_shown_as_far_as_it_can_be(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", problems=2, seeds=1, strategies=["single"])
    journal = folder / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    for content in (b"", b"garbage", b"garbage\n", b"".join(lines[:3]), lines[0] + b"".join(lines[4:]), lines[0] * 2):
        journal.write_bytes(content)
        try:
            view = opened(folder)
        except (RunError, InvalidParameter) as error:
            assert error.message
            continue
        assert view is not None
        assert view.overview().cells is not None
        view.check()


@pytest.mark.parametrize("line", [b'{"prob', b'{"x": 1}\n', b"\xff\n", b"[" * 100_000 + b"\n"])
def test_outcomes_that_no_run_wrote_are_a_sentence_and_are_read_once_they_are_mended(
    line: bytes, tmp_path: Path
) -> None:
    folder = made(tmp_path / "run", problems=2, seeds=1, strategies=["single"])
    view, outcomes = opened(folder), folder / "outcomes.jsonl"
    assert view is not None
    whole = outcomes.read_bytes()
    outcomes.write_bytes(whole + line)
    with pytest.raises(RunError, match=r"outcomes\.jsonl is not as a run writes it"):
        opened(folder)
    for _ in range(2):  # whoever follows it looks again
        with pytest.raises(RunError, match=r"outcomes\.jsonl is not as a run writes it"):
            view.refresh()
    outcomes.write_bytes(whole)
    assert view.refresh() and not view.refresh()


def test_ids_with_numbers_that_are_none_are_unknown_names(tmp_path: Path) -> None:
    assert [seed_of_trial(f"single#{seed}/p") for seed in ("7", "-7", "--7", "9" * 5000, "٣", "")] == [
        7, -7, None, None, None, None,
    ]  # fmt: skip
    view = opened(Path("example"))
    assert view is not None
    trial = view.problem(view.grid().problems[0].id).cells[0].trials[0].id
    for number in ("9" * 5000, "٣", "-1"):
        with pytest.raises(UnknownName, match="there is no sample"):
            view.text(f"{trial}/{number}")


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", problems=1, seeds=1, strategies=["single"])
    (folder / "outcomes.jsonl").unlink()
    (folder / "outcomes.jsonl").symlink_to("/etc/passwd")
    with pytest.raises(RunError, match="link"):
        opened(folder)


def test_the_missing_extra_and_a_port_in_use_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with asyncio.Runner() as runner:
        server = runner.run(asyncio.start_server(lambda *_: None, "127.0.0.1", 0))  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        done = CliRunner().invoke(cli.app, ["view", "example", "--no-browser", "--port", str(port)])
        assert "cannot be listened on" in str(done.exception)
        server.close()
    for name in [name for name in sys.modules if name.startswith(("starlette", "tts.view.app", "tts.view.running"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    done = CliRunner().invoke(cli.app, ["view", "example", "--no-browser"])
    assert "test-time-scaling[view]" in str(done.exception)
