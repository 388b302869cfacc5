"""The journal of a server: folders one after another, each of which reads by itself, and nothing lost between them."""

import asyncio
import contextlib
import itertools
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts
from tts.core.actions import Finished, trial_of
from tts.core.journal.records import Bounded, Decided, Granted, Hedged, Lost, Opened, Record
from tts.core.result import Bill
from tts.errors import InvalidParameter, RunMismatch
from tts.runs.folder import JOURNAL, read_history, read_records
from tts.runs.kinds import command_of
from tts.runs.served import REQUESTS, Asked, ServedJournal, read_requests, served_folders
from tts.types import Completion, Cost, Problem, Sampling, StrategySpec, Usage

PROMPTS = ("What is 3 + 4?", "What is 4 + 4?", "What is 5 + 4?")


class Model:
    """Answers in four tokens, after as many turns of the loop as its number says; from `stuck` on it never does."""

    def __init__(self, stuck: int = 10**9) -> None:
        self.stuck = stuck
        self.count = itertools.count()
        self.waiting = asyncio.Event()

    async def __call__(self, request: tts.Request) -> tts.Completion:
        number = next(self.count)
        if number >= self.stuck:
            self.waiting.set()
            await asyncio.Event().wait()
        for _ in range(number * 7 % 5):
            await asyncio.sleep(0)
        return tts.Completion(f"{number}.\nAnswer: {number % 2}", usage=tts.Usage(5, 4))


def books(root: Path) -> Cost:
    """What all folders say together, requests in flight at their most."""
    found = [read_history(folder / JOURNAL) for folder in served_folders(root)]
    return Cost.sum([part for history in found for part in (history.paid, history.unfinished)])


async def served(root: Path, *, calls: int = 12, journal_mb: float = 0.004) -> Cost:
    async with tts.Client(
        model=Model(), journal=root, journal_mb=journal_mb, concurrency=4, sampling={"max_tokens": 9}
    ) as client:
        await asyncio.gather(*(client.solve(PROMPTS[n % 3], "majority_vote:n=3", seed=n) for n in range(calls)))
        return client.spent


def test_folders_follow_one_another_each_reads_by_itself_and_together_they_have_all_that_was_paid(
    tmp_path: Path,
) -> None:
    async def within() -> Cost:
        await served(tmp_path)
        return await served(tmp_path)

    asyncio.run(within())
    folders = served_folders(tmp_path)
    assert len(folders) > 2 and all(command_of(folder) == "serve" for folder in folders)
    assert books(tmp_path) == Cost(72, 288, None, None)
    asked = [asked for folder in folders for asked in read_requests(folder).values()]
    assert len(asked) == 24 and {a.problem.prompt for a in asked} == set(PROMPTS)
    for folder in folders:
        decided = [r.trial for r in read_records(folder / JOURNAL) if isinstance(r, Decided)]
        assert sorted(decided) == sorted(read_requests(folder))


def test_what_is_in_flight_in_a_crash_is_booked_at_its_most_in_whichever_folder_it_is(tmp_path: Path) -> None:
    async def within() -> None:
        model = Model(stuck=8)
        async with tts.Client(
            model=model, journal=tmp_path / "live", journal_mb=0.004, sampling={"max_tokens": 9}
        ) as client:
            calls = [asyncio.ensure_future(client.solve(PROMPTS[0], "majority_vote:n=3", seed=n)) for n in range(4)]
            await model.waiting.wait()
            while client.spent.samples < 8:  # noqa: ASYNC110  # what is counted has no event
                await asyncio.sleep(0)
            shutil.copytree(tmp_path / "live", tmp_path / "killed")  # as SIGKILL would leave it
            for call in calls:
                call.cancel()

    asyncio.run(within())
    assert books(tmp_path / "killed") == Cost(12, 8 * 4 + 4 * 9, None, None)


def test_a_folder_is_for_its_users_eyes_only_and_a_call_that_is_over_leaves_none_of_an_older_one_open(
    tmp_path: Path,
) -> None:
    asyncio.run(served(tmp_path / "deep" / "root"))
    for path in (tmp_path / "deep" / "root").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def asked(trial: str) -> Asked:
    return Asked(trial, 0.0, Problem("p", "?"), Sampling(), "m", "single")


def decided(trial: str, tokens: int) -> Decided:
    spec = StrategySpec("single", {})
    return Decided(trial, 1.0, "p", spec, None, None, Bill(), Cost(1, tokens))


@settings(max_examples=12)  # each makes some folders, and flushes them to the disk
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_whatever_ends_when_every_record_of_a_trial_is_in_its_folder(sizes: list[int], random: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        root, expected = Path(name), {}
        journal = ServedJournal(root, {}, most_mb=0.0005)
        streams: list[list[Record]] = []
        for n, size in enumerate(sizes):
            trial = f"c+{n}/p"
            journal.ask(asked(trial))
            expected[trial] = journal.folder
            records: list[Record] = [Opened(trial, 0.0)]
            for i in range(size):
                id = f"{trial}/{i}"
                records += [Granted(id, "d", Cost(1, 9)), Hedged(id, Cost(1, 9)), Bounded({id: 5, "c+0/p/0": 3})]
                records += [Finished(id, 1.0, Completion("x", usage=Usage(1, 2)))]
            streams.append(
                [*records, decided(trial, 2), *(Lost(f"{trial}/{i}", Cost(), hedge=True) for i in range(size))]
            )
        with contextlib.closing(journal):
            while streams:
                stream = random.choice(streams)  # type: ignore[attr-defined]
                journal.write([stream.pop(0)])
                streams = [s for s in streams if s]
        for folder in served_folders(root):
            history = read_history(folder / JOURNAL)
            assert not history.opened and not history.hedged and not history.granted
            assert {trial for trial in expected if expected[trial] == folder} == history.decided.keys()
            bounds = [record for record in read_records(folder / JOURNAL) if isinstance(record, Bounded)]
            bounded = {trial_of(id) for record in bounds for id in record.most}
            sampled = {f"c+{n}/p" for n, size in enumerate(sizes) if size}
            assert sampled & history.decided.keys() <= bounded <= history.decided.keys() | {"c+0/p"}
        assert set(served_folders(root)) >= set(expected.values())


def test_the_folders_of_several_replicas_are_one_journal(tmp_path: Path) -> None:
    for replica in ("first", "second"):
        asyncio.run(served(tmp_path / replica, calls=4))
    assert {folder.parent.name for folder in served_folders(tmp_path)} == {"first", "second"}
    assert books(tmp_path) == Cost(24, 96, None, None)


def test_a_folder_follows_one_that_is_old(tmp_path: Path) -> None:
    journal = ServedJournal(tmp_path, {}, most_hours=1e-9)
    with contextlib.closing(journal):
        for n in range(3):
            journal.ask(asked(f"c+{n}/p"))
            journal.write([Opened(f"c+{n}/p", 0.0), decided(f"c+{n}/p", 1)])
    assert [len(read_requests(folder)) for folder in served_folders(tmp_path)] == [0, 1, 1, 1]


def test_a_torn_last_line_of_requests_is_passed_over(tmp_path: Path) -> None:
    asyncio.run(served(tmp_path, calls=3, journal_mb=1))
    (folder,) = served_folders(tmp_path)
    with (folder / REQUESTS).open("ab") as file:
        file.write(b'{"trial": "x')
    assert len(read_requests(folder)) == 3


def test_a_journal_that_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for given_, words in [({"journal": tmp_path / "file"}, "is a file, not a folder"),
                          ({"journal": tmp_path / "new", "journal_mb": 0}, "journal_mb must be above 0"),
                          ({"journal": 3}, "journal must be the path of a folder")]:  # fmt: skip

        async def within(options: dict[str, object] = given_) -> None:
            async with tts.Client(model=Model(), **options):  # type: ignore[arg-type]
                pass

        with pytest.raises(InvalidParameter, match=words):
            asyncio.run(within())


def test_a_journal_and_a_run_do_not_write_into_the_folder_of_the_other(tmp_path: Path) -> None:
    asyncio.run(served(tmp_path / "served", calls=1))
    tts.solve(PROMPTS[0], "single", model=Model(), out=tmp_path / "solved")
    for root in (tmp_path / "served", *served_folders(tmp_path / "served")):
        with pytest.raises(RunMismatch, match="the result of a serve"):
            tts.solve(PROMPTS[0], "single", model=Model(), out=root)
    with pytest.raises(RunMismatch, match="the result of a solve"):
        tts.Client(model=Model(), journal=tmp_path / "solved")


def test_a_run_and_a_report_of_a_servers_journal_say_what_can_be_done_with_it(tmp_path: Path) -> None:
    asyncio.run(served(tmp_path, calls=1))
    (folder,) = served_folders(tmp_path)
    for path in (tmp_path, folder):
        for read in (tts.load, tts.report):
            with pytest.raises(InvalidParameter, match="make a pool of it"):
                read(path)


def test_what_finding_out_about_an_endpoint_costs_is_in_the_journal_also_while_calls_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_out(needs: object, clients_of: object, may_spend: Callable[[str, tts.Request], bool]) -> None:
        assert may_spend("solver", tts.Request((tts.Message("user", "Hi"),), Sampling(max_tokens=1)))

    monkeypatch.setattr("tts.clusters.local.find_out", find_out)
    paid = asyncio.run(served(tmp_path, calls=1))
    assert paid == Cost(5, 14, None, None)  # one as the client opens, and one for the strategy
    assert books(tmp_path) == paid
