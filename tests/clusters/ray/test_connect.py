"""Several users of one program's Ray: who starts it, who joins it, who ends it. On a stand-in for the module `ray`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tts
from tts.clusters.ray.environment import prepare
from tts.errors import ClusterUnreachable, MissingExtra

prepare("a stand-in")
from tts.clusters.ray import connect as module  # noqa: E402  # which imports ray
from tts.clusters.ray.connect import connect, disconnect  # noqa: E402

HERE = "127.0.0.1:6379"
LIMIT_S = 60


class StandIn:
    """What is used of the module `ray`."""

    def __init__(self) -> None:
        self.up = False
        self.calls: list[str] = []
        self.threads: list[threading.Thread] = []
        self.may_start = threading.Event()
        self.may_start.set()
        self.starting = threading.Event()
        self.failures: list[Exception] = []

    def is_initialized(self) -> bool:
        return self.up

    def init(self, address: str, **options: Any) -> None:
        if self.up or (self.calls and self.calls[-1] == "init?"):
            raise RuntimeError("Maybe you called ray.init twice by accident?")
        self.calls.append("init?")
        self.threads.append(threading.current_thread())
        self.starting.set()
        try:
            while not self.may_start.wait(0.01):
                pass
            if self.failures:
                raise self.failures.pop()
            self.up = True
        finally:
            self.calls[-1] = "init" if self.up else "no init"

    def shutdown(self) -> None:
        if self.up:
            self.calls.append("shutdown")
        self.up = False
        module.worker._global_node = None

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=HERE)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    stand_in = StandIn()
    monkeypatch.setattr(module, "ray", stand_in)
    monkeypatch.setattr(module, "_ours", type("_Ours", (module._Ours,), {}))
    monkeypatch.setattr(module.worker, "_global_node", None)
    yield stand_in
    if module._ours.keeper is not None:
        module._end()


def in_threads(number: int, act: Any) -> list[BaseException]:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert not any(thread.is_alive() for thread in threads)
    return failures


def test_of_threads_that_connect_at_once_one_starts_a_ray_and_the_last_to_leave_ends_it(ray: StandIn) -> None:
    all_there = threading.Barrier(8)

    def use() -> None:
        connect(None, 1)
        all_there.wait(LIMIT_S)
        assert ray.up
        disconnect()

    assert in_threads(8, use) == []
    assert ray.calls == ["init", "shutdown"]


def test_a_ray_outlives_the_thread_that_asked_for_it_first(ray: StandIn) -> None:
    """Linux kills the processes that a thread has started together with it, if it was asked to; Ray asks."""
    assert in_threads(1, lambda: connect(None, 1)) == []
    connect(None, 1)
    disconnect()
    (starter,) = ray.threads
    assert starter.is_alive() and ray.up
    disconnect()
    assert not starter.is_alive() and not ray.up


def test_a_ray_that_the_program_had_started_itself_is_joined_and_left_alone(ray: StandIn) -> None:
    ray.up = True
    for address in (None, "auto", HERE, "localhost:6379"):
        connect(address, 1)
        disconnect()
    assert ray.calls == [] and ray.up


def test_another_cluster_than_the_one_in_use_is_refused_and_counts_for_no_user(ray: StandIn) -> None:
    connect(None, 1)
    with pytest.raises(ClusterUnreachable, match=f"connected to the Ray at {HERE} already, so not to 127.0.0.1:1"):
        connect("127.0.0.1:1", 1)
    disconnect()
    assert ray.calls == ["init", "shutdown"]


def test_a_start_that_is_not_wanted_any_more_is_broken_off_and_the_next_one_starts_anew(ray: StandIn) -> None:
    ray.may_start.clear()  # it would wait for ever
    unwanted = threading.Event()
    failures: list[list[BaseException]] = []
    waiting = threading.Thread(target=lambda: failures.append(in_threads(1, lambda: connect(None, 1, unwanted))))
    waiting.start()
    assert ray.starting.wait(LIMIT_S)
    unwanted.set()
    waiting.join(LIMIT_S)
    ((failure,),) = failures
    assert isinstance(failure, ClusterUnreachable) and "interrupted" in str(failure)
    assert not ray.threads[0].is_alive()
    ray.may_start.set()
    connect(None, 1)
    disconnect()
    assert ray.calls == ["no init", "init", "shutdown"]


def test_who_does_not_want_to_wait_any_more_for_another_s_start_leaves_it_alone(ray: StandIn) -> None:
    ray.may_start.clear()
    first = threading.Thread(target=lambda: connect(None, 1))
    first.start()
    assert ray.starting.wait(LIMIT_S)
    unwanted = threading.Event()
    unwanted.set()
    with pytest.raises(ClusterUnreachable, match="another thread"):
        connect(None, 1, unwanted)
    ray.may_start.set()
    first.join(LIMIT_S)
    assert ray.up
    disconnect()
    assert ray.calls == ["init", "shutdown"]


def test_a_start_that_failed_is_told_to_who_asked_and_is_no_obstacle_to_the_next(ray: StandIn) -> None:
    ray.failures = [OSError("no room"), OSError("no room")]
    with pytest.raises(ClusterUnreachable, match="no room"):
        connect(None, 1)
    connect(None, 1)
    disconnect()
    assert ray.calls[-2:] == ["init", "shutdown"]


def test_a_ray_that_died_and_that_nobody_uses_any_more_is_replaced(
    ray: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        monkeypatch.setattr(StandIn, "get_runtime_context", lambda self: SimpleNamespace(gcs_address=address))
        address = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setattr(module, "_own_process_runs", lambda node: True)
        monkeypatch.setattr(module.worker, "_global_node", SimpleNamespace())
        connect(address, 1)
        disconnect()
        assert ray.up, "the connection to somebody else's stays"
        assert module.lost() is None
    assert "does not answer" in str(module.lost())
    connect(None, 1)
    assert ray.calls == ["init", "shutdown", "init"]
    disconnect()


def test_folders_of_processes_that_have_ended_are_removed_at_the_next_start_and_no_others(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    sessions = {name: tmp_path / f"session_{name}" for name in ("ended", "reused", "alive", "foreign", "new")}
    for session in sessions.values():
        session.mkdir()
    (sessions["ended"] / "tts-owner").write_text(module._process(ended.pid))
    ended.wait()
    (sessions["reused"] / "tts-owner").write_text(f"{os.getpid()} 1")  # an earlier process with our number
    (sessions["alive"] / "tts-owner").write_text(module._process(os.getppid()))
    (tmp_path / "session_latest").symlink_to(sessions["new"])
    module._tidy(sessions["new"])
    assert {name for name, session in sessions.items() if session.exists()} == {"alive", "foreign", "new"}


def test_memory_is_said_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = {"memory": 16_342_200_000.0, "CPU": 2.0, "node:10.0.0.1": 1.0}
    monkeypatch.setattr(module.ray, "cluster_resources", lambda: amounts)
    monkeypatch.setattr(module.ray, "available_resources", lambda: {**amounts, "CPU": 0.5})
    assert module.resources() == "CPU 0.5 of 2 free, memory 15.2 GiB of 15.2 GiB free"


def test_without_ray_a_cluster_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match="pip install 'ray"):
        tts.Client(base_url="http://host:8000/v1", cluster="ray")
