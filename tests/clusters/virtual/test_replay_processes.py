"""Replays over processes: the same results, whatever the split, whoever is faster, and whoever dies."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.api import replays
from tts.api.replays import replay
from tts.clusters.virtual.fleet import Fleet
from tts.clusters.virtual.replay_processes import _in_order, _read, _write, parts_of
from tts.clusters.virtual.replayer import Replayer, ReplayJob
from tts.errors import CallCrashed, InvalidParameter, PoolLacks, StorageFull
from tts.models.cost_model import CostModel
from tts.pools.pool import Pool, Sample
from tts.runs.config import RunConfig
from tts.types import ErrorInfo
from tts.workers.killable_processes import Workers


def pool_of(problems=5, n=8):
    draw = Random(0)
    rows = [
        Sample(
            "b",
            "m",
            f"p{p}",
            i,
            draw.choice(["42", "7", None]),
            draw.random() < 0.4,
            5,
            draw.randint(9, 99),
            seconds=draw.random(),
            scores={"rm": draw.random()},
        )
        for p in range(problems)
        for i in range(n)
    ]
    return Pool.of("synthetic", rows)


JOB = ReplayJob(
    pool_of(),
    CostModel(),
    RunConfig.checked(
        problems="b", problems_digest="", strategies=("majority_vote:n=1,2,4", "best_of_n:n=3,verifier=rm"),
        budgets=("", "tokens=1k"), seeds=(0, 1), model="m",
    ),
    Fleet(in_flight=3),
    None,
    "abstain",
)  # fmt: skip


def alone(job=JOB):
    with Workers(1) as workers:
        replayer = Replayer(job, workers)
        return [replayer.run(cell) for cell in replayer.cells]


CELLS = alone()


class Fake:
    """In place of a process: replies to a part at once, dies over it, or replies with an error."""

    def __init__(self, dies, fails=frozenset()):
        self.dies, self.fails, self.part = dies, fails, None
        self.connection, self.theirs = Pipe()

    def give(self, part):
        self.part = part
        if part is None:
            return
        if self.dies.get(part.number, 0) > 0:
            self.dies[part.number] -= 1
            self.theirs.close()
        elif part.number in self.fails:
            self.theirs.send(ErrorInfo("PoolLacks", f"part {part.number}"))
        else:
            self.theirs.send([CELLS[number] for number in part.cells])

    def reply(self):
        try:
            return self.connection.recv()
        except EOFError:
            return None

    def end(self):
        self.connection.close()
        self.theirs.close()
        return -signal.SIGKILL


def handed_out(parts, processes, dies, fails=frozenset()):
    crew = [Fake(dies, fails) for _ in range(min(processes, len(parts)))]
    try:
        return list(_in_order(parts, crew, lambda: Fake(dies, fails)))
    finally:
        for process in crew:
            process.end()


@given(st.integers(1, 60), st.integers(1, 40))
def test_every_cell_is_in_one_part_in_order(cells, parts):
    found = parts_of(cells, parts)
    assert [number for part in found for number in part] == list(range(cells))
    assert len(found) == min(cells, parts)
    assert max(map(len, found)) - min(map(len, found)) <= 1


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 5), st.sets(st.integers(0, 19)))
def test_any_split_over_any_number_of_processes_gives_the_same_cells_and_one_death_over_each_part_changes_nothing(
    parts, processes, doomed
):
    assert handed_out(parts_of(len(CELLS), parts), processes, dict.fromkeys(doomed, 1)) == CELLS


@given(st.integers(1, 5), st.sets(st.integers(0, 9), min_size=1))
def test_the_error_is_that_of_the_first_cell_that_fails(processes, failing):
    with pytest.raises(PoolLacks, match=f"part {min(failing)}"):
        handed_out(parts_of(len(CELLS), 10), processes, {}, failing)


def test_cells_over_which_processes_die_again_and_again_are_named_with_how_they_died():
    with pytest.raises(CallCrashed, match="a process that replayed cells 3 to 4 was killed by SIGKILL, and so did"):
        handed_out(parts_of(16, 8), 2, {1: 2})


def refusing(number):
    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("where", "number", "kind", "message"),
    [
        ("subprocess.Popen", errno.EAGAIN, CallCrashed, r"could not be started \(.+\): give it fewer processes"),
        (
            "tts.clusters.virtual.replay_processes.Pipe",
            errno.EMFILE,
            CallCrashed,
            r"could not be started \(.+\): give it fewer processes",
        ),
        ("tempfile.TemporaryFile", errno.EROFS, StorageFull, "cannot make a file for the pool.+; point TMPDIR"),
    ],
)
def test_where_no_process_or_file_can_be_had_the_error_says_what_to_do(monkeypatch, where, number, kind, message):
    monkeypatch.setattr(where, refusing(number))
    with pytest.raises(kind, match=message):
        replay(pool_of(), "majority_vote:n=1,4", processes=2)


def test_the_job_is_the_same_from_the_shared_file_and_its_columns_are_not_copied():
    with tempfile.TemporaryFile() as file:
        job = _read(_write(JOB, file), file.fileno())
    assert not job.pool.completion_tokens.flags.owndata
    assert not job.pool.scores["rm"].flags.writeable
    assert alone(job) == CELLS


def test_two_processes_write_the_very_files_that_one_writes(tmp_path):
    def files(name, processes):
        found = replay(
            pool_of(), ["majority_vote:n=1,4", "best_of_n:n=3,verifier=rm"], seeds=3, budgets=["", "tokens=2k"],
            out=tmp_path / name, report=False, processes=processes,
        )  # fmt: skip
        rest = msgspec.json.encode([found.rows, found.outcomes, found.replayed], enc_hook=str)
        return rest, {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    assert files("one", 1) == files("two", 2)


def test_a_small_replay_starts_no_process_and_a_large_one_as_many_as_there_are_cpus(monkeypatch):
    monkeypatch.setattr(replays, "cpus", lambda: 4)
    here = replays._Where.checked(None, "local", None)
    assert [here.processes_for(16, n) for n in (0, 99_999, 100_000, 10**9)] == [1, 1, 2, 4]
    assert here.processes_for(3, 10**9) == 3
    assert replays._Where.checked(2, "local", None).processes_for(16, 0) == 2
    monkeypatch.setattr(replays, "replay_in_processes", None)
    assert replay(pool_of(), "single", seeds=50).rows


async def mine(problem, run):
    return (await run.generate())[0]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"processes": 2}, "mine is a function of this program, which other processes do not have"),
        ({"cluster": "ray"}, "mine is a function of this program, which other processes do not have"),
        ({"processes": 0}, "processes must be at least 1, but got 0"),
        ({"processes": 2, "cluster": "ray"}, "processes=2 are this machine's"),
        ({"address": "10.0.0.1:6379"}, "an address is a Ray cluster's"),
    ],
)
def test_what_cannot_be_replayed_elsewhere_is_refused(where, message):
    with pytest.raises(InvalidParameter, match=message):
        replay(pool_of(), ["single", mine], **where)


def test_a_function_of_the_program_is_replayed_in_it(monkeypatch):
    monkeypatch.setattr(replays, "SAMPLES_A_PROCESS", 1)
    assert replay(pool_of(), mine, seeds=2).rows


DYING = """
import os, pathlib, signal
async def dying(problem, run, *, n=1, often=0):
    mark = pathlib.Path(__file__).with_suffix(f".{n}")
    deaths = len(mark.read_text()) if mark.exists() else 0
    if "import serve" in pathlib.Path("/proc/self/cmdline").read_text() and deaths < often:
        mark.write_text("x" * (deaths + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return (await run.generate(n=n))[0]
"""


@pytest.mark.system
def test_a_process_that_is_killed_is_replaced_and_its_cells_are_replayed_once(tmp_path):
    (tmp_path / "dying.py").write_text(DYING)
    strategy = f"{tmp_path}/dying.py:dying:n=1,2,often="
    assert replay(pool_of(), strategy + "1", processes=2).outcomes
    assert sorted(path.name for path in tmp_path.glob("dying.[0-9]")) == ["dying.1", "dying.2"]
    with pytest.raises(CallCrashed, match=r"a process that replayed cell [12] was killed by SIGKILL"):
        replay(pool_of(), strategy + "9", processes=2)


@pytest.mark.system
def test_ctrl_c_ends_the_command_and_its_processes(tmp_path):
    command = [sys.executable, "-m", "tts", "replay", "example", "-s", "majority_vote:n=8", "--seeds", "3000"]
    parent = subprocess.Popen([*command, "--processes", "2"], stderr=subprocess.PIPE, text=True)
    try:
        children = []
        while len(children) < 2 and parent.poll() is None:
            found = subprocess.run(["pgrep", "-P", str(parent.pid)], check=False, capture_output=True, text=True)
            children = [int(pid) for pid in found.stdout.split()]
            time.sleep(0.1)
        parent.send_signal(signal.SIGINT)
        _, said = parent.communicate(timeout=400)
    finally:
        parent.kill()
        parent.wait()
    assert parent.returncode == 130
    assert "Traceback" not in said
    assert len(children) == 2
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.system
def test_ray_gives_the_very_results_of_one_process_and_the_first_error(ray_cluster, tmp_path):
    (tmp_path / "picky.py").write_text(
        "async def picky(problem, run, *, n=1):\n    return (await run.generate(n=n if problem.id == 'p0' else 9))[0]\n"
    )
    asked = {"seeds": 3, "budgets": ["", "tokens=2k"]}
    strategies = ["majority_vote:n=1,4", "best_of_n:n=3,verifier=rm"]
    assert replay(pool_of(), strategies, cluster="ray", **asked) == replay(pool_of(), strategies, **asked)
    with pytest.raises(PoolLacks, match="would be sample 9 of p1, of which 8 are recorded"):
        replay(pool_of(), f"{tmp_path}/picky.py:picky", cluster="ray", seeds=2)
