"""The run folder on a real disk, with real processes."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tts.core.actions import Finished
from tts.core.journal.records import VERSION, ChecksumChain, Decided, Granted, Header, Opened, Shared, encode
from tts.core.result import Bill
from tts.errors import InvalidParameter, JournalCorrupt, JournalLocked, RunError, RunMismatch, StorageFull
from tts.runs.folder import JOURNAL, Journal, NoJournal, read_history, read_records, write_atomically
from tts.types import Completion, Cost, StrategySpec, Usage

CONFIG = {"model": "m", "sampling": {"max_tokens": 64}}
SAMPLE = Completion("Answer: 4", usage=Usage(3, 5))
OPENED = [Opened(f"c/p{i}", float(i)) for i in range(3)]


def started(folder: Path) -> Path:
    """A journal with three trials opened, closed again."""
    with Journal(folder, CONFIG) as journal:
        journal.write(OPENED)
    return folder / JOURNAL


def in_child(script: str, *args: object, **settings: object) -> subprocess.Popen[str]:
    program = "from pathlib import Path\nimport sys\nfrom tts.runs.folder import *\n" + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,  # type: ignore[call-overload]  # only preexec_fn
    )


def test_a_new_folder_gets_a_header_and_an_old_one_gives_its_history_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "run", CONFIG) as journal:
        assert journal.history.opened == {} and journal.torn == 0
        journal.write(OPENED)
    records = list(read_records(journal.path))
    assert isinstance(records[0], Header) and records[0].config == CONFIG
    assert records[1:] == OPENED
    with Journal(tmp_path / "new" / "run", CONFIG) as again:
        assert again.history.opened == {"c/p0": 0.0, "c/p1": 1.0, "c/p2": 2.0}
        again.write([Opened("c/p3", 3.0)])
    assert list(read_records(journal.path)) == [*records, Opened("c/p3", 3.0)]


def test_what_is_written_is_there_for_others_before_the_journal_is_closed(tmp_path: Path) -> None:
    with Journal(tmp_path, CONFIG) as journal:
        journal.write(OPENED)
        assert len(list(read_records(journal.path))) == 4
        journal.write([])
        assert len(list(read_records(journal.path))) == 4


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    path = started(tmp_path)
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for missing in range(1, last + 1):
        path.write_bytes(whole[:-missing])
        with Journal(tmp_path, CONFIG) as journal:
            assert journal.torn == (last - missing)
            assert list(journal.history.opened) == ["c/p0", "c/p1"]
            journal.write(OPENED[-1:])
        assert path.read_bytes() == whole


def test_a_torn_line_longer_than_a_block_is_cut_off_whole(tmp_path: Path) -> None:
    path = started(tmp_path)
    long = encode(Finished("c/p0/1", 1.0, Completion("x" * 200_000)))
    with path.open("ab") as file:
        file.write(long[:-1])
    with Journal(tmp_path, CONFIG) as journal:
        assert journal.torn == len(long) - 1
        assert len(journal.history.opened) == 3


def test_reading_passes_over_a_torn_last_line(tmp_path: Path) -> None:
    path = started(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"type": "ope')
    assert list(read_records(path))[1:] == OPENED


@pytest.mark.parametrize("kept", [0, 1, 20])
def test_a_torn_header_is_a_run_that_has_not_begun(tmp_path: Path, kept: int) -> None:
    path = started(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with Journal(tmp_path, {"model": "other"}) as journal:
        assert journal.torn == kept
    (header,) = read_records(path)
    assert isinstance(header, Header) and header.config == {"model": "other"}


def test_a_second_writer_is_refused_until_the_first_is_gone_even_if_it_was_killed(tmp_path: Path) -> None:
    holder = in_child("journal = Journal(Path(sys.argv[1]), {}); print('open', flush=True); sys.stdin.read()", tmp_path)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(JournalLocked, match=r"another process is writing to .*journal.jsonl; wait for it"):
            Journal(tmp_path, {})
        before = (tmp_path / JOURNAL).read_bytes()
        with pytest.raises(JournalLocked):
            Journal(tmp_path, {"another": "configuration"})
        assert (tmp_path / JOURNAL).read_bytes() == before
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate(timeout=500)
    Journal(tmp_path, {}).close()


def test_two_writers_in_one_process_are_two_writers(tmp_path: Path) -> None:
    with Journal(tmp_path, CONFIG), pytest.raises(JournalLocked):
        Journal(tmp_path, CONFIG)
    Journal(tmp_path, CONFIG).close()


def test_a_child_process_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    with Journal(tmp_path, CONFIG):
        child = in_child("print('up', flush=True); sys.stdin.read()")
        assert child.stdout is not None and child.stdout.readline() == "up\n"
    Journal(tmp_path, CONFIG).close()
    child.communicate(timeout=500)


def test_another_configuration_is_refused_and_the_folder_left_as_it_was(tmp_path: Path) -> None:
    path = started(tmp_path)
    before = path.read_bytes()
    with pytest.raises(RunMismatch, match=r"sampling.max_tokens: was 64, now 65") as caught:
        Journal(tmp_path, {"model": "m", "sampling": {"max_tokens": 65}})
    assert caught.value.facts["differing"] == ["sampling.max_tokens"]
    assert path.read_bytes() == before
    Journal(tmp_path, CONFIG).close()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_line_in_the_middle_that_cannot_be_read_is_refused_with_its_number(tmp_path: Path, number: int) -> None:
    path = started(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = b"{" + lines[number - 1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalCorrupt, match=f"journal line {number} is not as it was written"):
        Journal(tmp_path, CONFIG)
    assert path.read_bytes() == b"".join(lines)


def test_a_line_without_its_beginning_is_refused_too(tmp_path: Path) -> None:
    path = started(tmp_path)
    chain = ChecksumChain()
    path.write_bytes(chain.written(Header(VERSION, "tts", CONFIG)) + chain.written(Finished("c/p0/1", 1.0, SAMPLE)))
    with pytest.raises(JournalCorrupt, match="journal line 2 refers to 'c/p0', but no earlier line starts 'c/p0'"):
        Journal(tmp_path, CONFIG)


def test_a_journal_of_an_older_program_is_read_and_has_checksums_from_the_resumed_run_on(tmp_path: Path) -> None:
    old = encode(Header(3, "tts 0.9", CONFIG)) + b"".join(encode(record) for record in OPENED)
    (tmp_path / JOURNAL).write_bytes(old)
    with Journal(tmp_path, CONFIG) as journal:
        assert list(journal.history.opened) == ["c/p0", "c/p1", "c/p2"]
        journal.write([Opened("c/p3", 3.0)])
    whole = (tmp_path / JOURNAL).read_bytes()
    assert whole.startswith(old)
    assert [type(r) for r in read_records(tmp_path / JOURNAL)] == [Header, Opened, Opened, Opened, Header, Opened]
    Journal(tmp_path, CONFIG).close()
    assert (tmp_path / JOURNAL).read_bytes() == whole, "it is said once"
    (tmp_path / JOURNAL).write_bytes(whole.replace(b"c/p1", b"c/p9"))
    with pytest.raises(JournalCorrupt, match="journal line 5 is not as it was written"):
        Journal(tmp_path, CONFIG)


def test_a_journal_that_once_could_not_be_written_takes_nothing_more(tmp_path: Path, monkeypatch: Any) -> None:
    with Journal(tmp_path, CONFIG) as journal:
        journal.write(OPENED[:1])
        real = journal._file

        class Full:
            def write(self, data: bytes) -> int:
                real.write(bytes(data[:7]))
                raise OSError(errno.ENOSPC, "No space left on device")

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        monkeypatch.setattr(journal, "_file", Full())
        with pytest.raises(StorageFull):
            journal.write(OPENED[1:2])
        monkeypatch.setattr(journal, "_file", real)
        with pytest.raises(StorageFull):
            journal.write(OPENED[2:])
    assert list(read_records(tmp_path / JOURNAL))[1:] == OPENED[:1]


def test_a_record_that_cannot_be_written_down_is_named_and_the_journal_stays_whole(tmp_path: Path) -> None:
    with Journal(tmp_path, CONFIG) as journal:
        with pytest.raises(InvalidParameter, match=r"a journal cannot hold this opened record: .*surrogates"):
            journal.write([OPENED[0], Opened("c/\ud83d", 0.0)])
        journal.write(OPENED)
    assert list(read_records(tmp_path / JOURNAL))[1:] == OPENED


def test_samples_of_a_problem_that_is_opened_again_are_read_again_from_the_file(tmp_path: Path) -> None:
    def bought(problem: str) -> list[Any]:
        id = f"a/{problem}/1"
        return [
            Opened(f"a/{problem}", 0.0),
            Granted(id, "d", Cost(1, 8), f"key-{problem}/0"),
            Finished(id, 1.0, SAMPLE),
            Decided(f"a/{problem}", 1.0, problem, StrategySpec("single"), id, "4", Bill(), Cost(1, 5)),
        ]

    with Journal(tmp_path, CONFIG) as journal:
        journal.write([*bought("p"), *bought("q"), *bought("r")])
    history = read_history(tmp_path / JOURNAL)
    assert set(history.samples) == {"r"}
    assert history.samples_of("p") == {"key-p/0": ("a/p/1", Finished("a/p/1", 1.0, SAMPLE))}
    assert history.samples_of("nobody") == {}
    with Journal(tmp_path, CONFIG) as journal:
        journal.write([Opened("b/p", 2.0), Shared("b/p/1", 2.0, "a/p/1")])
    assert read_history(tmp_path / JOURNAL).events == {"b/p": [Finished("b/p/1", 2.0, SAMPLE)]}


def test_a_file_that_does_not_begin_with_a_header_is_not_a_journal(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(encode(OPENED[0]))
    with pytest.raises(JournalCorrupt, match="does not begin with a header: it is not a tts journal"):
        Journal(tmp_path, CONFIG)
    assert (tmp_path / JOURNAL).read_bytes() == encode(OPENED[0])


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(encode(Header(VERSION + 1, "tts 9.1", CONFIG)) + b'{"type": "from the future"}\n')
    with pytest.raises(RunMismatch, match=r"resume it with tts 9.1"):
        Journal(tmp_path, CONFIG)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"file is a file, not a folder"):
        Journal(tmp_path / "file", CONFIG)
    with pytest.raises(RunError, match=": Not a directory"):
        Journal(tmp_path / "file" / "below", CONFIG)


# --- the thread that flushes to the disk


def syncers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tts-journal-fsync"]


def test_the_flushing_thread_ends_with_the_journal_and_closing_twice_is_harmless(tmp_path: Path) -> None:
    before = len(syncers())
    journal = Journal(tmp_path, CONFIG)
    assert len(syncers()) == before + 1
    journal.write(OPENED)
    journal.close()
    journal.close()
    assert len(syncers()) == before


def test_a_refused_folder_leaves_no_thread_and_no_lock(tmp_path: Path) -> None:
    before = len(syncers())
    started(tmp_path)
    with pytest.raises(RunMismatch):
        Journal(tmp_path, {})
    assert len(syncers()) == before
    Journal(tmp_path, CONFIG).close()


# --- what a power cut leaves


class Disk:
    """What `os.fsync` has brought to the disk: folders, and the length of each file. It syncs nothing really."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders: list[Path] = []
        self.length: dict[Path, int] = {}
        self._changed = threading.Condition()
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        with self._changed:
            if path.is_dir():
                self.folders.append(path)
            else:
                self.length[path] = os.fstat(descriptor).st_size
            self._changed.notify_all()

    def has_all_of(self, path: Path) -> bool:
        """Whether the whole file comes to the disk, sooner or later."""
        with self._changed:
            return self._changed.wait_for(lambda: self.length.get(path) == path.stat().st_size, timeout=500)


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells a descriptor's path")


@needs_proc
def test_every_write_comes_to_the_disk_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    with Journal(tmp_path, CONFIG) as journal:
        for record in OPENED:
            journal.write([record])
            assert disk.has_all_of(journal.path)


@needs_proc
def test_what_was_written_last_is_on_the_disk_when_the_journal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    monkeypatch.setattr("tts.runs.folder.FSYNC_EVERY_S", 3600.0)
    journal = Journal(tmp_path, CONFIG)
    assert disk.has_all_of(journal.path)  # the header; the next turn of the flushing thread is an hour away
    journal.write(OPENED)
    assert disk.length[journal.path] < journal.path.stat().st_size
    journal.close()
    assert disk.length[journal.path] == journal.path.stat().st_size


@needs_proc
def test_the_names_of_a_new_journal_and_of_its_new_folders_are_on_the_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    Journal(tmp_path / "runs" / "today", CONFIG).close()
    assert set(disk.folders) == {tmp_path, tmp_path / "runs", tmp_path / "runs" / "today"}
    disk.folders.clear()
    Journal(tmp_path / "runs" / "today", CONFIG).close()
    assert not disk.folders, "an old journal's name is there already"


@needs_proc
def test_a_file_is_on_the_disk_before_it_replaces_the_old_one_and_its_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("the old one")
    disk = Disk(monkeypatch)
    replace, seen = Path.replace, []

    def watched(source: Path, target: Path) -> Path:
        seen.append((disk.length[source], [*disk.folders]))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_atomically(path, b"the new one!")
    assert seen == [(len(b"the new one!"), [])]
    assert disk.folders == [tmp_path]


def test_a_file_system_that_cannot_sync_folders_and_a_folder_that_cannot_be_listed_are_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    assert len(list(read_records(started(tmp_path / "a")))) == 4

    opened = os.open

    def not_listed(path: Any, *flags: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *flags, **options)

    monkeypatch.setattr(os, "open", not_listed)
    assert len(list(read_records(started(tmp_path / "b")))) == 4


def test_a_write_that_did_not_reach_the_disk_is_an_error_of_the_next_write_and_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()

    def full(descriptor: int) -> None:
        broken.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path, CONFIG)
    monkeypatch.setattr(os, "fsync", full)
    journal.write(OPENED[:1])
    assert broken.wait(60)
    assert journal._syncer is not None
    journal._syncer.join()  # it ends with its first error
    with pytest.raises(StorageFull):
        journal.write(OPENED[1:])
    assert list(read_records(journal.path))[1:] == OPENED[:1]
    with pytest.raises(StorageFull):
        journal.close()


def test_a_folder_that_cannot_be_brought_to_the_disk_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = len(syncers())
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(RunError, match=f"{tmp_path}: Input/output error"):
        Journal(tmp_path, CONFIG)
    assert len(syncers()) == before


# --- a full disk


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_and_everything_before_it_is_whole(tiny_disk: Path) -> None:
    written = 0
    with Journal(tiny_disk, CONFIG) as journal:
        with pytest.raises(StorageFull, match="the disk is full; everything before this write is safe") as caught:
            while True:
                journal.write([Opened(f"c/{written}", 0.0), Opened("c/" + "x" * 3000, 0.0)])
                written += 1
        assert caught.value.facts == {"path": str(tiny_disk / JOURNAL)}
    assert written > 5
    trials = [r.trial for r in read_records(tiny_disk / JOURNAL) if isinstance(r, Opened) and "x" not in r.trial]
    assert trials == [f"c/{i}" for i in range(written)]
    with Journal(tiny_disk, CONFIG) as again:
        assert again.torn == 0


def test_on_a_full_disk_a_file_is_replaced_whole_or_not_at_all(tiny_disk: Path) -> None:
    report = tiny_disk / "report.html"
    write_atomically(report, b"old")
    with pytest.raises(StorageFull, match=r"report\.html: the disk is full"):
        write_atomically(report, b"x" * 100_000)
    assert report.read_bytes() == b"old"
    assert [path.name for path in tiny_disk.iterdir()] == ["report.html"]
    write_atomically(report, b"new")
    assert report.read_bytes() == b"new"


def test_a_run_cannot_start_on_a_full_disk(tiny_disk: Path) -> None:
    with pytest.raises(OSError), (tiny_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(StorageFull):
        Journal(tiny_disk / "run", CONFIG)


FILL = """
journal = Journal(Path(sys.argv[1]), {})
from tts.errors import RunError
from tts.core.journal.records import Opened
try:
    for i in range(10_000):
        journal.write([Opened(f"c/{i}", 0.0)])
except RunError as error:
    print(i, error)
journal.close()
"""


def test_a_limit_on_the_size_of_files_tears_nothing_either(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    child = in_child(FILL, tmp_path, preexec_fn=limit)
    out, errors = child.communicate(timeout=500)
    assert child.returncode == 0, errors
    written, _, message = out.partition(" ")
    assert message.strip().endswith("journal.jsonl: File too large")
    whole = (tmp_path / JOURNAL).read_bytes()
    assert whole.endswith(b"\n") and len(whole) <= 20_000
    assert len(list(read_records(tmp_path / JOURNAL))) == 1 + int(written)


def test_a_file_whose_folder_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"missing/report.html: No such file or directory"):
        write_atomically(tmp_path / "missing" / "report.html", b"x")


def test_a_run_without_a_folder_keeps_nothing() -> None:
    journal = NoJournal()
    journal.write(OPENED)
    journal.close()
    assert journal.history.opened == {}
