import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tts.errors import CallCrashed, CallFailed, CallTimedOut, InvalidParameter, MissingExtra, TTSError, UnknownName
from tts.workers import reaper
from tts.workers.killable_processes import Workers
from tts.workers.reaper import MARKS, carried

POWER_TOWER = r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}"
LONG_S = 300.0

FUNCTIONS = """
import os, signal, subprocess, sys, time
from tts.errors import MissingExtra

class Nested:
    @staticmethod
    def double(x):
        return 2 * x

def pid():
    return os.getpid()

def tell_pid_and_hang(path):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    while True:
        pass

def tell_pid_and_hang_in_c(path):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    return str(7 ** (7 ** 9))

def ignore_signals_and_hang():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(10**6)

def ignore_the_limit():
    signal.signal(signal.SIGPROF, signal.SIG_IGN)

def tell_pid_and_compute(path, seconds):
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass
    return "done"

def sleep(seconds):
    time.sleep(seconds)
    return "done"

def raise_value_error():
    raise ValueError("seven is right out")

def leave():
    sys.exit(0)

def leave_at_once():
    os._exit(3)

def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)

def missing_extra():
    raise MissingExtra("pip install it", extra="math")

def chatter():
    print("noise" * 10_000)
    sys.stdout.flush()
    os.write(1, b"more noise")
    return sys.stdin.read()

def allocate(gigabytes):
    return len(bytearray(gigabytes * 2**30))

def a_set_of_one_object():
    return object()

def word_order():
    return list({"one", "two", "three", "four", "five", "six", "seven"})

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"

ESCAPE = '''
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(10**6)
'''

def leave_one_behind(path):
    subprocess.run([sys.executable, "-c", ESCAPE, path], check=True)
    while not os.path.exists(path):
        time.sleep(0.001)
    return os.getpid()

def leave_one_behind_and_hang(path):
    leave_one_behind(path)
    time.sleep(10**6)

def leave_one_behind_and_die(path):
    leave_one_behind(path)
    os._exit(3)

SUPERVISE = '''
import os, subprocess, sys, time
os.setsid()
count = 0
while True:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(10**6)"], start_new_session=True) as it:
        with open(sys.argv[1] + "." + str(count), "w") as file:
            file.write(str(it.pid))
        os.rename(sys.argv[1] + "." + str(count), sys.argv[1])
        it.wait()
    count += 1
'''

def leave_a_supervisor_behind_and_hang(path):
    it = subprocess.Popen([sys.executable, "-S", "-c", SUPERVISE, path])
    while not os.path.exists(path):
        time.sleep(0.001)
    with open(path + ".supervisor", "w") as file:
        file.write(str(it.pid))
    time.sleep(10**6)

def have_workers_of_its_own(path):
    from tts.workers.killable_processes import Workers
    with Workers(1) as workers:
        workers.call_sync("worker_functions:leave_one_behind_and_hang", (path,), timeout_s=300)
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    """A module of functions on `sys.path`, which the workers inherit."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "worker_functions.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(folder)
    return "worker_functions"


def alive(pid):
    """Whether that process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    status = listed.stdout.strip()
    return bool(status) and not status.startswith("Z")


def wait_until(condition, what):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


def pid_in(path):
    wait_until(path.exists, f"{path} is written")
    return int(path.read_text())


def test_a_call_returns_what_the_function_returns_and_the_process_is_reused(functions):
    with Workers(1) as workers:
        assert workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S) == 5
        assert (
            workers.call_sync(f"{functions}:Nested.double", ([1, "é", None],), timeout_s=LONG_S) == [1, "é", None] * 2
        )
        assert workers.call_sync("operator:neg", (2**200,), timeout_s=LONG_S) == -(2**200)
        pids = {workers.call_sync(f"{functions}:pid", timeout_s=LONG_S) for _ in range(3)}
    assert len(pids) == 1 and os.getpid() not in pids


def test_many_calls_share_the_processes(functions):
    async def main():
        async with Workers(2) as workers:
            calls = [workers.call("operator:mul", (i, i), timeout_s=LONG_S) for i in range(200)]
            squares = await asyncio.gather(*calls)
            pids = await asyncio.gather(*(workers.call(f"{functions}:pid", timeout_s=LONG_S) for _ in range(50)))
            return squares, pids

    squares, pids = asyncio.run(main())
    assert squares == [i * i for i in range(200)]
    assert len(set(pids)) <= 2


def workers_of_this_process():
    listed = subprocess.run(["ps", "-axo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split()[0] == str(os.getpid()) and "tts.workers.child" in line]


def test_no_process_starts_before_the_first_call():
    with Workers(2) as workers:
        assert workers_of_this_process() == []
        workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S)
        assert len(workers_of_this_process()) == 1
    assert workers_of_this_process() == []


def test_other_calls_complete_while_a_power_tower_hangs():
    async def main():
        async with Workers(2) as workers:
            hang = asyncio.create_task(workers.call("tts.answers.symbolic:equal", ("7", POWER_TOWER), timeout_s=LONG_S))
            others = [
                workers.call("tts.answers.symbolic:equal", ("x+1", f"{i}+x"), timeout_s=LONG_S) for i in range(20)
            ]
            verdicts = await asyncio.gather(*others)
            assert not hang.done()
            hang.cancel()
            return verdicts

    assert asyncio.run(main()) == [i == 1 for i in range(20)]


def test_a_power_tower_costs_its_limit_and_nothing_else():
    with Workers(1) as workers:
        with pytest.raises(CallTimedOut, match=r"has used 0\.5 s of CPU time, its limit, and was killed") as caught:
            workers.call_sync("tts.answers.symbolic:equal", ("7", POWER_TOWER), timeout_s=0.5)
        assert caught.value.facts == {"function": "tts.answers.symbolic:equal", "timeout_s": 0.5, "clock": "cpu"}
        assert workers.call_sync("tts.answers.symbolic:equal", ("x+1", "1+x"), timeout_s=LONG_S) is True


@pytest.mark.parametrize("hang", ["tell_pid_and_hang", "tell_pid_and_hang_in_c"])
def test_a_call_that_hangs_is_killed_and_its_worker_replaced(functions, tmp_path, hang):
    told = tmp_path / "pid"
    with Workers(1) as workers:
        with pytest.raises(CallTimedOut, match=hang):
            workers.call_sync(f"{functions}:{hang}", (str(told),), timeout_s=0.3)
        assert not alive(pid_in(told))
        assert workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S) == 5


def test_a_function_that_ignores_every_signal_it_can_is_killed_too(functions):
    with Workers(1) as workers, pytest.raises(CallTimedOut, match=r"had not ended after 0\.3 s, nor used the 300 s"):
        workers.call_sync(f"{functions}:ignore_signals_and_hang", timeout_s=LONG_S, wall_s=0.3)


def test_waiting_for_a_free_process_is_not_charged_to_the_limit(functions, tmp_path):
    async def main():
        async with Workers(1) as workers:
            hang = workers.call(f"{functions}:tell_pid_and_hang", (str(tmp_path / "pid"),), timeout_s=2.0)
            queued = workers.call("operator:add", (2, 3), timeout_s=1.5)
            return await asyncio.gather(hang, queued, return_exceptions=True)

    first, second = asyncio.run(main())
    assert isinstance(first, CallTimedOut)
    assert second == 5


def test_importing_the_function_is_not_charged_to_the_limit(functions, tmp_path):
    (tmp_path / "path" / "slow_to_import.py").write_text("import time; time.sleep(2)\ndef one(): return 1\n")
    with Workers(1) as workers:
        assert workers.call_sync("slow_to_import:one", timeout_s=1.5) == 1


def test_cancelling_the_awaiting_task_kills_the_worker(functions, tmp_path):
    told = tmp_path / "pid"

    async def main():
        async with Workers(1) as workers:
            task = asyncio.create_task(
                workers.call(f"{functions}:tell_pid_and_hang_in_c", (str(told),), timeout_s=LONG_S)
            )
            pid = await asyncio.to_thread(pid_in, told)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_until, lambda: not alive(pid), "the cancelled worker is gone")
            return await workers.call("operator:add", (2, 3), timeout_s=LONG_S)

    assert asyncio.run(main()) == 5


def test_cancelling_a_call_that_is_still_queued_leaves_the_running_one_alone(functions, tmp_path):
    told = tmp_path / "pid"

    async def main():
        async with Workers(1) as workers:
            running = asyncio.create_task(workers.call(f"{functions}:tell_pid_and_hang", (str(told),), timeout_s=2.0))
            await asyncio.to_thread(pid_in, told)
            queued = asyncio.create_task(workers.call("operator:add", (2, 3), timeout_s=LONG_S))
            await asyncio.sleep(0)
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            with pytest.raises(CallTimedOut):
                await running

    asyncio.run(main())


def test_a_worker_killed_from_outside_is_a_crash_and_is_replaced(functions, tmp_path):
    told = tmp_path / "pid"

    async def main():
        async with Workers(1) as workers:
            call = asyncio.create_task(workers.call(f"{functions}:tell_pid_and_hang", (str(told),), timeout_s=LONG_S))
            os.kill(await asyncio.to_thread(pid_in, told), signal.SIGKILL)
            with pytest.raises(CallCrashed, match=r"tell_pid_and_hang was killed by SIGKILL"):
                await call
            return await workers.call("operator:add", (2, 3), timeout_s=LONG_S)

    assert asyncio.run(main()) == 5


def test_a_worker_that_died_between_two_calls_is_replaced(functions):
    with Workers(1) as workers:
        pid = workers.call_sync(f"{functions}:pid", timeout_s=LONG_S)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "it is gone")
        assert workers.call_sync(f"{functions}:pid", timeout_s=LONG_S) != pid


def test_every_way_to_fail_is_named(functions):
    with Workers(1) as workers:

        def failure(name, *args, function=functions):
            with pytest.raises(TTSError) as caught:
                workers.call_sync(f"{function}:{name}", args, timeout_s=LONG_S)
            return type(caught.value), caught.value.message

        assert failure("raise_value_error") == (
            CallFailed,
            f"{functions}:raise_value_error raised ValueError: seven is right out",
        )
        assert failure("leave")[0] is CallFailed
        assert failure("leave_at_once") == (
            CallCrashed,
            f"{functions}:leave_at_once ended its process with exit status 3",
        )
        assert failure("kill_myself") == (CallCrashed, f"{functions}:kill_myself was killed by SIGKILL")
        assert failure("missing_extra") == (MissingExtra, "pip install it")
        missing = "nowhere_at_all cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"
        assert failure("x", function="nowhere_at_all") == (InvalidParameter, missing)
        kind, message = failure("absent")
        assert kind is UnknownName and message.startswith(f"{functions} has no absent; it has: Nested, pid, ")
        assert failure("signal.SIGINT")[0] is CallFailed
        assert failure("a_set_of_one_object")[0] is CallFailed
        assert workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S) == 5


def test_what_the_function_prints_or_reads_does_not_disturb_the_pipe(functions, capfd):
    with Workers(1) as workers:
        assert workers.call_sync(f"{functions}:chatter", timeout_s=LONG_S) == ""
        assert workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S) == 5
    assert capfd.readouterr() == ("", "")


def test_arguments_and_results_larger_than_a_pipe_pass(functions):
    text = "0123456789" * 1_000_000
    with Workers(1) as workers:
        assert workers.call_sync(f"{functions}:Nested.double", (text,), timeout_s=LONG_S) == text * 2


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit on address space")
def test_memory_is_limited(functions):
    with Workers(1) as workers:
        with pytest.raises(CallFailed, match="MemoryError"):
            workers.call_sync(f"{functions}:allocate", (3,), timeout_s=LONG_S)
        assert workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S) == 5


def test_set_order_repeats_from_process_to_process(functions):
    orders = []
    for _ in range(2):
        with Workers(1) as workers:
            orders.append(workers.call_sync(f"{functions}:word_order", timeout_s=LONG_S))
    assert orders[0] == orders[1]


def test_an_interrupt_does_not_reach_the_workers(functions):
    with Workers(1) as workers:
        assert workers.call_sync(f"{functions}:interrupted", timeout_s=LONG_S) == "still here"


def test_closing_ends_running_and_queued_calls_and_all_processes(functions, tmp_path):
    told = tmp_path / "pid"

    async def main():
        workers = Workers(1)
        running = asyncio.create_task(workers.call(f"{functions}:tell_pid_and_hang", (str(told),), timeout_s=LONG_S))
        pid = await asyncio.to_thread(pid_in, told)
        queued = asyncio.create_task(workers.call("operator:add", (2, 3), timeout_s=LONG_S))
        await asyncio.sleep(0)
        await workers.aclose()
        outcomes = await asyncio.gather(running, queued, return_exceptions=True)
        with pytest.raises(CallCrashed, match="closed"):
            await workers.call("operator:add", (2, 3), timeout_s=LONG_S)
        await workers.aclose()
        return pid, outcomes

    pid, outcomes = asyncio.run(main())
    assert [type(outcome) for outcome in outcomes] == [CallCrashed, CallCrashed]
    assert not alive(pid)


def test_the_pool_outlives_an_event_loop():
    with Workers(1) as workers:
        for _ in range(2):
            assert asyncio.run(workers.call("operator:add", (2, 3), timeout_s=LONG_S)) == 5


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_no_worker_survives_its_parent(functions, tmp_path, how):
    """Busy workers too, in C and under Python: the parent is killed, terminated, or ends without closing."""
    told = [tmp_path / "in_c", tmp_path / "in_python", tmp_path / "idle"]
    code = f"""
        import asyncio, os, sys
        from pathlib import Path
        sys.path.insert(0, {str(tmp_path / "path")!r})
        from tts.workers.killable_processes import Workers

        async def main():
            workers = Workers(3)
            idle = await workers.call("{functions}:pid", timeout_s=300)
            Path({str(told[2])!r}).write_text(str(idle))
            for name, path in (("tell_pid_and_hang_in_c", {str(told[0])!r}), ("tell_pid_and_hang", {str(told[1])!r})):
                asyncio.get_running_loop().create_task(workers.call("{functions}:" + name, (path,), timeout_s=300))
                while not os.path.exists(path):
                    await asyncio.sleep(0.01)
            print("ready", flush=True)
            while {how is not None}:
                await asyncio.sleep(1)
            os._exit(0)

        asyncio.run(main())
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        pids = [pid_in(path) for path in told]
        if how is not None:
            assert all(map(alive, pids))
            parent.send_signal(how)
    wait_until(lambda: not any(map(alive, pids)), "all workers are gone")


def test_a_process_that_is_stopped_or_sleeps_for_longer_than_its_limit_has_not_reached_it(functions, tmp_path):
    """The limit is CPU time: a machine that gives a function no time takes none of it."""
    limit_s = 1.0

    async def main():
        async with Workers(2) as workers:
            call = workers.call(f"{functions}:tell_pid_and_compute", (str(tmp_path / "pid"), 0.2), timeout_s=limit_s)
            computing = asyncio.create_task(call)
            sleeping = asyncio.create_task(workers.call(f"{functions}:sleep", (2 * limit_s,), timeout_s=limit_s))
            pid = await asyncio.to_thread(pid_in, tmp_path / "pid")
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(2 * limit_s)
            os.kill(pid, signal.SIGCONT)
            return await asyncio.gather(computing, sleeping)

    assert asyncio.run(main()) == ["done", "done"]


@pytest.mark.system
def test_a_process_that_is_stopped_for_ever_runs_into_the_wall_clock_limit(functions, tmp_path):
    async def main():
        async with Workers(1) as workers:
            args = str(tmp_path / "pid"), 0.5
            call = workers.call(f"{functions}:tell_pid_and_compute", args, timeout_s=LONG_S, wall_s=3.0)
            task = asyncio.create_task(call)
            os.kill(await asyncio.to_thread(pid_in, tmp_path / "pid"), signal.SIGSTOP)
            with pytest.raises(CallTimedOut) as caught:
                await task
            assert caught.value.facts["clock"] == "wall"
            assert await workers.call("operator:add", (2, 3), timeout_s=LONG_S) == 5

    asyncio.run(main())


def test_calls_of_one_process_do_not_use_up_each_others_limit(functions, tmp_path):
    with Workers(1) as workers:
        for i in range(4):
            args = str(tmp_path / str(i)), 0.3
            assert workers.call_sync(f"{functions}:tell_pid_and_compute", args, timeout_s=0.9) == "done"
        assert len({(tmp_path / str(i)).read_text() for i in range(4)}) == 1


def test_a_function_that_switches_its_limit_off_does_so_for_itself_only(functions, tmp_path):
    with Workers(1) as workers:
        workers.call_sync(f"{functions}:ignore_the_limit", timeout_s=LONG_S)
        with pytest.raises(CallTimedOut):
            workers.call_sync(f"{functions}:tell_pid_and_hang", (str(tmp_path / "pid"),), timeout_s=0.3)


@pytest.mark.system
def test_a_worker_whose_parent_cannot_kill_it_runs_into_its_cpu_limit(functions, tmp_path):
    """An orphan inside a computation, where the kernel does not tell it of its parent's death, ends all the same."""
    told = tmp_path / "pid"
    worker = "from tts.workers import child; child.die_with = lambda parent: None; child.serve()"
    parent = f"""
        import subprocess, sys, time
        sys.path.insert(0, {str(tmp_path / "path")!r})
        from tts.workers import killable_processes as workers
        workers._MAIN = {worker!r}
        workers._Reaper = lambda mark: None
        workers.Workers(1).call_sync("{functions}:tell_pid_and_hang_in_c", ({str(told)!r},), timeout_s=1)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent)]) as process:
        orphan = pid_in(told)
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not alive(orphan), "the orphan is gone")


def test_bad_calls_are_refused_before_anything_starts():
    with Workers(1) as workers:
        for function, args, timeout_s, name in (
            ("operator.add", (), 1.0, "function"),
            ("operator:", (), 1.0, "function"),
            ("operator:add", (), 0.0, "timeout_s"),
            ("operator:add", (), float("inf"), "timeout_s"),
            ("operator:add", (), float("nan"), "timeout_s"),
            ("operator:add", (object(),), 1.0, "args"),
            ("operator:add", ("\ud800",), 1.0, "args"),
        ):
            with pytest.raises(InvalidParameter) as caught:
                workers.call_sync(function, args, timeout_s=timeout_s)
            assert caught.value.facts["name"] == name
    with pytest.raises(InvalidParameter, match="at least 1, but got 0"):
        Workers(0)


def test_starting_a_worker_imports_nothing_heavy():
    code = "import sys, tts.workers.child; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "sympy", "math_verify", "pydantic", "aiohttp", "httpx2", "ray", "multiprocessing", "asyncio"}
    assert not heavy.intersection(loaded)


# --- what functions leave behind

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the reaper needs /proc")


def reapers_of(pid):
    listed = subprocess.run(["ps", "-axwwo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in listed.splitlines()]
    return [int(words[0]) for words in found if words[-1] == str(pid) and any(w.endswith("reaper.py") for w in words)]


def gone(*pids):
    wait_until(lambda: not any(map(alive, pids)), f"{pids} are gone")


@pytest.fixture
def bystander():
    """A process of ours that no worker has started."""
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, MARKS: "another:another.1"}) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


@on_linux
@pytest.mark.system
@pytest.mark.parametrize(
    ("function", "error"), [("leave_one_behind_and_hang", CallTimedOut), ("leave_one_behind_and_die", CallCrashed)]
)
def test_a_call_that_is_killed_or_dies_takes_what_it_started_with_it_and_nothing_else(
    functions, tmp_path, bystander, function, error
):
    with Workers(2) as workers:
        other = workers.call_sync(f"{functions}:pid", timeout_s=LONG_S)
        with pytest.raises(error):  # on the same worker, which is free again
            workers.call_sync(f"{functions}:{function}", (str(tmp_path / "pid"),), timeout_s=1.0, wall_s=3.0)
        gone(pid_in(tmp_path / "pid"), other)
        assert workers.call_sync("operator:add", (2, 3), timeout_s=LONG_S) == 5
        assert alive(bystander)


@on_linux
def test_a_cancelled_call_takes_what_it_started_with_it_and_what_another_worker_started_stays(functions, tmp_path):
    async def main():
        async with Workers(2) as workers:
            hang = f"{functions}:leave_one_behind_and_hang"
            one, other = (
                asyncio.create_task(workers.call(hang, (str(tmp_path / name),), timeout_s=LONG_S))
                for name in ("one", "other")
            )
            first = await asyncio.to_thread(pid_in, tmp_path / "one")
            second = await asyncio.to_thread(pid_in, tmp_path / "other")
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
            await asyncio.to_thread(gone, first)
            assert alive(second) and not other.done()
            other.cancel()
        return second

    gone(asyncio.run(main()))


@on_linux
def test_closing_ends_what_calls_left_behind_that_had_returned_long_since_and_the_reaper(functions, tmp_path):
    with Workers(1) as workers:
        assert reapers_of(os.getpid()) == []
        worker = workers.call_sync(f"{functions}:leave_one_behind", (str(tmp_path / "pid"),), timeout_s=LONG_S)
        assert worker == workers.call_sync(f"{functions}:pid", timeout_s=LONG_S)
        assert alive(pid_in(tmp_path / "pid"))
        assert len(reapers_of(os.getpid())) == 1
    gone(pid_in(tmp_path / "pid"))
    wait_until(lambda: reapers_of(os.getpid()) == [], "the reaper is gone")


@on_linux
@pytest.mark.system
def test_a_supervisor_and_what_it_starts_again_are_killed_together(functions, tmp_path):
    told = tmp_path / "child"
    with Workers(1) as workers:
        with pytest.raises(CallTimedOut):
            workers.call_sync(
                f"{functions}:leave_a_supervisor_behind_and_hang", (str(told),), timeout_s=1.0, wall_s=3.0
            )
        gone(pid_in(tmp_path / "child.supervisor"), pid_in(told))


def test_a_mark_is_looked_for_until_two_sweeps_in_a_row_have_not_found_it(monkeypatch):
    found = iter([{b"a"}, set(), {b"a", b"b"}, set(), {b"b"}, set(), set()])
    asked = []
    monkeypatch.setattr(reaper, "kill_marked", lambda marks: asked.append(marks) or next(found))
    sweeper = reaper.Sweeper()
    sweeper.add([b"a"])
    sweeper.sweep()
    sweeper.add([b"b"])
    while sweeper.left:
        sweeper.sweep()
    assert asked == [{b"a"}, {b"a", b"b"}, {b"a", b"b"}, {b"a", b"b"}, {b"a", b"b"}, {b"b"}, {b"b"}]


@on_linux
@pytest.mark.system
def test_workers_of_a_worker_and_what_they_started_end_with_it(functions, tmp_path):
    with Workers(1) as workers:
        pid = workers.call_sync(f"{functions}:pid", timeout_s=LONG_S)
        with pytest.raises(CallTimedOut):
            workers.call_sync(
                f"{functions}:have_workers_of_its_own", (str(tmp_path / "pid"),), timeout_s=2.0, wall_s=4.0
            )
        gone(pid, pid_in(tmp_path / "pid"))
        wait_until(lambda: reapers_of(pid) == [], "the inner reaper is gone")


POOL = """
    import os, sys, threading, time
    sys.path.insert(0, {path!r})
    from tts.workers.killable_processes import Workers

    workers = Workers(1)
    call = "worker_functions:leave_one_behind_and_hang", ({told!r},)
    threading.Thread(target=lambda: workers.call_sync(*call, timeout_s=300), daemon=True).start()
    while not os.path.exists({told!r}):
        time.sleep(0.01)
    child = os.fork() if {forks} else 0  # which inherits every pipe
    if child or not {forks}:
        print(child, flush=True)
    time.sleep(1000)
"""


@contextlib.contextmanager
def a_pool_of_another_process(functions_at, told, forks):
    """Its process, and that of its fork; killed at the end of the block, if not before."""
    code = textwrap.dedent(POOL.format(path=str(functions_at), told=str(told), forks=forks))
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE) as pool:
        try:
            fork = int(pool.stdout.readline())
            try:
                yield pool, fork
            finally:
                if fork:
                    os.kill(fork, signal.SIGKILL)
        finally:
            pool.kill()


@on_linux
@pytest.mark.parametrize("how", ["alone", "after its children", "while a fork of it lives", "with a deaf reaper"])
def test_nothing_that_a_call_started_outlives_a_pool_that_is_killed(functions, tmp_path, bystander, how):
    told = tmp_path / "pid"
    with a_pool_of_another_process(tmp_path / "path", told, how == "while a fork of it lives") as (pool, fork):
        (its_reaper,) = reapers_of(pool.pid)
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(pool.pid)], capture_output=True, text=True, check=True
        )
        children = [int(pid) for pid in listed.stdout.split() if int(pid) != fork]
        left_behind = pid_in(told)
        assert len(children) == 1 and alive(children[0]) and alive(left_behind)
        if how == "with a deaf reaper":  # everything is told to end, as when a machine goes down
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(its_reaper, number)
            assert alive(its_reaper)
        if how == "after its children":  # as Ray ends an actor
            os.kill(children[0], signal.SIGKILL)
        pool.kill()
        pool.wait()
        gone(*children, left_behind, its_reaper)
        assert alive(bystander)
        assert not fork or alive(fork)


def test_a_mark_is_found_whole_and_only_in_its_variable():
    marks = {b"a1", b"a1.1", b"b2", b""}
    for environment, found in (
        (b"", set()),
        (b"HOME=/\0", set()),
        (b"TTS_WORKERS=\0", set()),
        (b"TTS_WORKERS=:\0", set()),
        (b"TTS_WORKERS=a1:a1.1\0HOME=/\0", {b"a1", b"a1.1"}),
        (b"HOME=/\0TTS_WORKERS=a1:a1.12", {b"a1"}),
        (b"HOME=/\0TTS_WORKERS=c3:c3.1:b2:b2.1\0X=a1\0", {b"b2"}),
        (b"TTS_WORKERS=a1.1x:xb2\0", set()),
        (b"NOT_TTS_WORKERS=a1\0X=TTS_WORKERS=a1\0", set()),
    ):
        assert carried(environment, marks) == found, environment


def test_calls_that_hang_hold_no_other_up_and_their_places_are_given_back(functions, monkeypatch):
    monkeypatch.setattr("tts.workers.killable_processes._LONG_S", 0.1)

    async def main(workers):
        hung = [asyncio.ensure_future(workers.call("time:sleep", (600,), timeout_s=60.0)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert await workers.call("math:sqrt", (9,), timeout_s=60.0) == 3.0
        during = len(workers._keepers)
        for call in hung:
            call.cancel()
        await asyncio.wait(hung)
        while workers._long:  # noqa: ASYNC110  # the keepers are threads
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*(workers.call("math:sqrt", (9,), timeout_s=60.0) for _ in range(6))) == [3.0] * 6
        return during, len(workers._keepers)

    with Workers(2) as workers:
        assert asyncio.run(main(workers)) == (3, 2)


def test_only_so_many_calls_give_their_places_up(functions, monkeypatch):
    monkeypatch.setattr("tts.workers.killable_processes._LONG_S", 0.05)
    monkeypatch.setattr("tts.workers.killable_processes._MOST_LONG", 1)

    async def main(workers):
        calls = [asyncio.ensure_future(workers.call("time:sleep", (600,), timeout_s=60.0)) for _ in range(4)]
        while workers._long < 2:  # noqa: ASYNC110  # the keepers are threads
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(workers._keepers) == 2
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    with Workers(1) as workers:
        asyncio.run(main(workers))


def test_a_worker_inherits_nothing_that_looks_like_a_secret(monkeypatch):
    secrets = {
        **{"OPENAI_API_KEY": "a", "HF_TOKEN": "b", "aws_secret_access_key": "c", "MY_KEYS": "d", "DB_PASSWORD": "e"},
        **{"PLAIN": "sk-proj-123", "HTTPS_PROXY": "http://me:pw@proxy:3128", "GITHUB_PAT": "g", "SENTRY_DSN": "h"},
    }
    plain = {"TOKENIZERS_PARALLELISM": "false", "KEYBOARD": "de", "MY_SETTING": "7", "HTTP_PROXY": "http://proxy:3128"}
    for name, value in {**secrets, **plain}.items():
        monkeypatch.setenv(name, value)
    with Workers(1) as workers:
        found = workers.call_sync("builtins:eval", ("dict(__import__('os').environ)",), timeout_s=60.0)
    assert not secrets.keys() & found.keys()
    assert plain.items() <= found.items()
