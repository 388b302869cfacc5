"""A run that goes on, one that was killed, and one that is not there yet."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from viewed import Browsing, made

import tts
from tts.core.journal.records import Bounded, Granted, Opened
from tts.runs.folder import JOURNAL, Journal
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Cost
from tts.view.run import RunView


async def versions(client: Browsing) -> AsyncIterator[int]:
    """What `/api/events` says."""
    async for line in client.viewer.versions():
        yield json.loads(line.removeprefix("data: "))["version"]


def test_a_page_that_is_open_before_its_run_fills_and_follows_it_to_the_end(tmp_path: Path) -> None:
    out = tmp_path / "run"

    async def work() -> None:
        client = Browsing(out)
        following = asyncio.ensure_future(client.viewer.follow())
        try:
            waiting = await client.json("/api/overview")
            assert (waiting["kind"], waiting["live"], waiting["cells"]) == ("waiting", True, [])
            running = asyncio.ensure_future(asyncio.to_thread(made, out))
            seen = [version async for version in versions(client)]  # until the run has ended
            await running
            assert seen == sorted({*seen})
            assert len(seen) >= 2
            found = await client.json("/api/overview")
            assert (found["kind"], found["live"], found["trials"], found["planned"]) == ("sweep", False, 24, 24)
            grid = await client.json("/api/grid")
            assert {state for line in grid["state"] for state in line} == {"decided"}
            await asyncio.to_thread(made, out, seeds=3)  # the same command with another seed
            for _ in range(2000):  # until it has looked
                found = await client.json("/api/overview")
                if found["trials"] == 36 and not found["live"]:
                    break
                await asyncio.sleep(0.05)
            assert (found["trials"], found["planned"]) == (36, 36)
            assert found["version"] > seen[-1]
        finally:
            following.cancel()
            await asyncio.wait({following})
            await client.viewer.close()

    asyncio.run(asyncio.wait_for(work(), 100))


def test_a_run_that_is_written_is_live_and_its_requests_are_in_flight(tmp_path: Path) -> None:
    made(tmp_path, seeds=1)
    (tmp_path / "outcomes.jsonl").unlink()
    with Journal(tmp_path, {}, may_grow=True) as journal:
        journal.write([Opened("single#9/a/b 0", 9.0), Granted("single#9/a/b 0/1", "d", Cost(1, 20))])
        view = RunView(tmp_path)
        overview = view.overview()
        assert overview.live
        assert any("going on" in note for note in overview.notes)
        assert not any("no problem has a reference" in note for note in overview.notes)
        (row,) = [row for row in view.trials("a/b 0", "single") if row.state == "open"]
        trial = view.trial(row.id)
        assert [each.state for each in trial.candidates] == ["in flight"]
        version = view.version
        assert not view.refresh()
        journal.write([Opened("single#9/a/b 1", 10.0)])
        assert view.refresh()
        assert view.version > version
    assert view.refresh()
    assert not view.live
    spent, loaded = view.overview().spent, tts.load(tmp_path)
    assert isinstance(loaded, tts.SweepResult)
    assert spent.tokens == loaded.spent.tokens == (overview.spent.tokens or 0) + 20  # now lost, at its upper bound
    assert any("of the run to go on" in note for note in view.overview().notes)


def test_the_lock_of_a_run_is_never_taken(tmp_path: Path) -> None:
    made(tmp_path, problems=1, seeds=1)
    view = RunView(tmp_path)
    with Journal(tmp_path, {}, may_grow=True):
        view.refresh()
        assert view.live


@pytest.mark.system
def test_a_sweep_that_is_killed_shows_what_had_come_and_what_was_in_flight(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text(
        "".join(f'{{"question": "What is {i}?", "answer": "7"}}\n' for i in range(6))
    )

    def script(request: dict[str, object]) -> Reply:
        slow = any(f"is {i}?" in str(request["messages"]) for i in (4, 5))
        return Reply(("Answer:", " 7"), per_token_s=3600.0 if slow else 0.0)

    with FakeEngine(script) as engine:
        options = ["--base-url", engine.base_url, "--out", "run", "-s", "majority_vote:n=2", "--max-tokens", "40"]
        command = [sys.executable, "-m", "tts", "sweep", "problems.jsonl", *options]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            view = opened_once_decided(tmp_path / "run", 4)
            assert view.live
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
    view.refresh()
    overview = view.overview()
    assert (overview.live, overview.trials, overview.planned) == (False, 4, 6)
    for problem in view.results.problems.values():
        (row,) = view.trials(problem.id, "majority_vote:n=2")
        trial = view.trial(row.id)
        open_now = "4?" in (problem.prompt or "") or "5?" in (problem.prompt or "")
        assert trial.state == ("open" if open_now else "decided")
        assert [each.state for each in trial.candidates] == ["in flight" if open_now else "finished"] * 2
        assert view.text(trial.candidates[0].id).prompt
    spent = tts.load(tmp_path / "run").spent
    assert (overview.spent.samples, overview.spent.tokens) == (spent.samples, spent.tokens)
    bounds = {each.id: 0 for trial in view.open_trials for each in view.trial(trial).candidates}
    with (tmp_path / "run" / JOURNAL).open("ab") as journal:
        journal.write(msgspec.json.encode(Bounded(bounds)) + b"\n")
    view.refresh()
    assert view.overview().samples == spent.samples - len(bounds)  # no server works for them


def opened_once_decided(folder: Path, trials: int) -> RunView:
    """The run, once so many of its trials are decided and all are open."""
    while True:
        if (folder / JOURNAL).is_file():
            view = RunView(folder)
            if len(view.index.decided) >= trials and len(view.index.opened) == 6 and view.examples:
                asked = [len(view.seen(trial).records.actions) for trial in view.index.opened]
                if asked == [2] * 6:
                    return view
        os.sched_yield()


@pytest.mark.system
def test_the_command_says_where_it_shows_a_run_and_ends_quietly_with_its_page_open(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", problems=1, seeds=1, strategies=["single"])
    command = [sys.executable, "-m", "tts", "view", str(folder), "--no-browser"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = re.search(r"shown at (http://127\.0\.0\.1:\d+)/", said := process.stderr.readline())
        assert found is not None, said
        for path, kind in (("/", "text/html"), ("/main.js", "text/javascript"), ("/api/overview", "application/json")):
            reply = httpx2.get(found[1] + path)
            assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, kind)
        with httpx2.stream("GET", found[1] + "/api/events") as events:
            assert next(events.iter_lines()).startswith("data: ")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        assert process.communicate() == ("", "")
    finally:
        process.kill()
        process.communicate()


def test_the_last_version_of_a_run_is_told_also_to_a_page_that_was_being_sent_the_one_before(tmp_path: Path) -> None:
    async def work() -> None:
        viewer = Browsing(made(tmp_path / "run", problems=1, seeds=1, strategies=["single"])).viewer
        view = viewer.view
        assert view is not None
        told = viewer.versions()
        first = await anext(told)
        view.version += 1  # meanwhile the run has ended, and its last change is known
        viewer._settled = True
        assert [first, *[line async for line in told]] == [
            f'data: {{"version": {version}}}\n\n' for version in (view.version - 1, view.version)
        ]
        await viewer.close()

    asyncio.run(asyncio.wait_for(work(), 60))
