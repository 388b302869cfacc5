"""The Ray that a run starts for itself, as a command or a program of one's own does; and commands that reach none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tts.core.actions import Finished
from tts.core.journal.records import Decided, Granted, Lost
from tts.runs.folder import JOURNAL, read_records
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

pytestmark = pytest.mark.system

LIMIT_S = 400  # ends a wait in vain; a busy machine takes minutes to start an actor


def test_a_killed_driver_takes_its_actors_along_and_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with FakeEngine(arithmetic(per_token_s=0.05)) as engine:
        command = [sys.executable, "-m", "tts", "sweep", "arithmetic?size=12&seed=7", "--strategy", "majority_vote:n=8"]
        command += ["--base-url", engine.base_url, "--cluster", "ray", "--max-tokens", "40", "--out", str(out)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        limit_s = time.monotonic() + LIMIT_S
        while not (out / JOURNAL).is_file() or (out / JOURNAL).read_bytes().count(b'"type":"finished"') < 20:
            assert driver.poll() is None, driver.stderr and driver.stderr.read()
            assert time.monotonic() < limit_s
            time.sleep(0.02)
        driver.kill()
        driver.communicate()
        assert engine.wait_idle()
        decoded = engine.stats().tokens

        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        decoded = engine.stats().tokens
    records = list(read_records(out / JOURNAL))
    finished = Counter(record.id for record in records if isinstance(record, Finished))
    assert len(finished) == 8 * 12 and set(finished.values()) == {1}
    assert len([record for record in records if isinstance(record, Decided)]) == 12
    lost = [record for record in records if isinstance(record, Lost)]
    assert lost
    granted = Counter(record.id for record in records if isinstance(record, Granted))
    assert granted == finished + Counter(r.id for r in lost)
    settled = sum(record.usage.completion_tokens for record in records if isinstance(record, Finished))
    assert decoded <= settled + sum(record.cost.tokens for record in lost)


def test_a_ray_that_a_run_starts_has_no_processes_but_its_own_and_those_of_the_actors() -> None:
    code = """
import os, time
from pathlib import Path
from tts.clusters.ray.environment import prepare
prepare(None)
from tts.clusters.ray.connect import connect, disconnect

def started(pid):
    found = []
    for of_thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in of_thread.read_text().split():
            found += [Path("/proc", child, "cmdline"), *started(child)]
    return found

connect(None, 1.0)
import ray
ray.get(ray.remote(lambda: None).remote())
processes = started(os.getpid())
commands = [process.read_text().replace("\\0", " ").split() for process in processes]
others = [command[0] for command in commands if not any("default_worker.py" in word for word in command[1:4])]
print(*sorted({name.rpartition("/")[2] for name in others} - {"ray::IDLE", "ray::<lambda>"}))
disconnect()
while any(process.exists() for process in processes):
    time.sleep(0.05)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["cat", "gcs_server", "raylet"]


def test_two_calls_at_once_share_the_ray_that_the_first_started() -> None:
    code = """
import asyncio, tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

async def main(quick, slow):
    one = tts.asolve("What is 2 + 2?", "single", base_url=quick, cluster="ray")
    other = tts.asolve("What is 3 + 3?", "majority_vote:n=4", base_url=slow, cluster="ray")
    return await asyncio.gather(one, other)

with FakeEngine(arithmetic(error_rate=0)) as quick, FakeEngine(arithmetic(error_rate=0, per_token_s=0.3)) as slow:
    print(*(solved.answer for solved in asyncio.run(main(quick.base_url, slow.base_url))))
import ray
print(ray.is_initialized())
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["4", "6", "False"]


@pytest.mark.parametrize("process", ["raylet", "gcs_server"])
def test_a_ray_that_dies_under_a_run_ends_that_run_in_words_and_neither_its_program_nor_the_next_run(
    process: str,
) -> None:
    code = """
import os, sys, threading, time, tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

caught = []
def service(url):
    try:
        tts.solve("What is 2 + 2?", "majority_vote:n=4", base_url=url, cluster="ray")
    except Exception as error:
        caught.append(error)

with FakeEngine(arithmetic(error_rate=0)) as quick, FakeEngine(arithmetic(per_token_s=30)) as slow:
    thread = threading.Thread(target=service, args=(slow.base_url,))
    thread.start()
    while not slow.stats().requests and thread.is_alive():
        time.sleep(0.05)
    import ray
    (dies,) = ray._private.worker._global_node.all_processes[sys.argv[1]]
    os.kill(dies.process.pid, 9)
    thread.join()
    (error,) = caught
    print(type(error).__name__, error)
    print(tts.solve("What is 2 + 2?", "majority_vote:n=4", base_url=quick.base_url, cluster="ray").answer)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", code, process]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    error, answer = [line for line in done.stdout.splitlines() if line.startswith(("ClusterUnreachable", "4"))]
    assert "was lost under the run" in error and "repeat the command" in error
    assert answer == "4"


def command_line(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tts", "solve", "What is 2 + 2?", *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=False)


def test_no_ray_at_the_address_is_said_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        done = command_line("--cluster", "ray", "--address", address, "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 5
    assert f"there is no Ray at {address}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_ray_client_is_refused_with_what_to_do_instead(how: str) -> None:
    flag = ["--address", "ray://head:10001"] if how == "flag" else []
    environment = {} if how == "flag" else {"RAY_ADDRESS": "ray://head:10001"}
    done = command_line("--cluster", "ray", *flag, "--base-url", "http://127.0.0.1:9/v1", **environment)
    assert done.returncode == 2
    assert "Ray Client" in done.stderr and "ray job submit" in done.stderr


def test_an_address_without_a_ray_cluster_is_refused() -> None:
    done = command_line("--address", "head:6379", "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 2
    assert "--cluster ray" in done.stderr
