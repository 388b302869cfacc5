"""The program's connection to Ray: to a cluster that runs already, or one started on this machine; and its nodes.

A program has one Ray, which its threads and event loops share: the first of them starts it or connects, the others
join, and only the last to leave ends what was started here.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray._private import worker  # Ray has no public API for its sockets and its folder
from ray._private.state import state  # Ray has no public API for preemption notices

from tts.clusters.ray.environment import address_of_ray
from tts.clusters.ray.own import few_processes
from tts.clusters.spec import amount_of
from tts.errors import ClusterMismatch, ClusterUnreachable, InvalidParameter
from tts.types import Value

CONNECT_LIMIT_S = 5.0
STARTS = 2  # on a busy machine the first one sometimes times out; the second is Ray's usual
_LOOK_EVERY_S = 0.1  # while a start is waited for: checks whether it is still wanted
_OWNER = "tts-owner"  # in the session folder of a Ray that was started here: the process that did


class _Ours:
    """This program's connection: its number of users, the keeper of a Ray that was started here, the given address."""

    users = 0
    keeper: _Keeper | None = None
    address: str | None = None
    connected = False  # by us, not by the program around us


_ours = _Ours()
_lock = threading.Lock()  # held while a connection is made or ended


class Node(Value, frozen=True):
    """One machine of the cluster. `draining`: the machine will be gone soon, and gets nothing new."""

    id: str
    host: str
    resources: Mapping[str, float]
    draining: bool = False

    def holds(self, asked: Mapping[str, float]) -> bool:
        """Whether one actor of this size fits on the node, were it empty."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in asked.items())


def connect(
    address: str | None, cpus: float, unwanted: threading.Event | None = None, *, hosts_engine: bool = False
) -> None:
    """Connect to the Ray at `address`, or at RAY_ADDRESS; with neither, start one here with at least `cpus` CPUs. A
    program has one Ray: if it has connected already, that is the one. Each `connect` needs its `disconnect`. Blocks,
    until `unwanted` is set at the latest: what had been started by then is ended. `hosts_engine`: whether an engine is
    to run there, which may ask for more of Ray than actors do.

    Raises: ClusterUnreachable, ClusterMismatch; InvalidParameter for Ray Client's `ray://`.
    """
    address = address_of_ray(address)
    unwanted = unwanted or threading.Event()
    with _locked(unwanted):
        if ray.is_initialized() and _ours.connected and not _ours.users and lost() is not None:
            _end()  # a dead one that an earlier run left behind
        if ray.is_initialized():
            _check_same(address)
        elif address is None:
            keeper = _Keeper(cpus, few=not hosts_engine)
            keeper.begin(unwanted)
            _ours.keeper, _ours.connected, _ours.address = keeper, True, None
        else:
            _join(address)
            _ours.connected, _ours.address = True, address
        _ours.users += 1


def disconnect() -> None:
    """Give one `connect` back. The last ends a Ray that was started here, and a connection whose cluster has died; a
    connection to another one stays."""
    with _lock:
        _ours.users -= 1
        if _ours.users == 0 and (_ours.keeper is not None or (_ours.connected and lost() is not None)):
            _end()


def check_connected(address: str) -> None:
    """See that the program is still connected to the cluster at this address (of `address_here`).

    Raises: ClusterUnreachable where somebody has disconnected it: Ray itself would connect again by itself, to whatever
        cluster it finds. Also where the cluster has died.
    """
    if not ray.is_initialized():
        raise ClusterUnreachable("the connection to Ray was closed while it was in use (ray.shutdown was called)")
    if address_here() != address:
        raise ClusterUnreachable(f"the program has left the Ray at {address} for the one at {address_here()}")
    if _ours.keeper is not None and (why := lost()) is not None:
        raise ClusterUnreachable(f"the Ray that was started on this machine has died: {why}")


def address_here() -> str:
    """HOST:PORT of the cluster that this program is connected to."""
    return str(ray.get_runtime_context().gcs_address)


def may_return() -> bool:
    """Whether a lost cluster may come back by itself: it was not started here, and the connection was not closed."""
    return _ours.keeper is None and ray.is_initialized()


def lost() -> str | None:
    """Name the part of the Ray in use that does not run any more (its head, or Ray's process on this machine), or None.
    Asks neither of them through Ray, which would wait for an answer for a minute, and then end this program."""
    if not ray.is_initialized():
        return "the connection to it was closed (ray.shutdown was called)"
    node = worker._global_node
    if node is None:
        return None
    if not _own_process_runs(node):
        return "its process on this machine (raylet) has ended"
    if (why := _refused(address_here())) is not None:
        return f"its head does not answer at {address_here()} ({why})"
    return None


def _own_process_runs(node: Any) -> bool:
    """Whether Ray's process on this machine listens on its socket, as far as this system says."""
    sockets = Path("/proc/net/unix")
    return not sockets.is_file() or node.raylet_socket_name in sockets.read_text()


def nodes() -> list[Node]:
    """The machines that are alive. Blocks for a moment."""
    draining = state.get_draining_nodes()
    return [
        Node(node["NodeID"], node["NodeManagerHostname"], node["Resources"], node["NodeID"] in draining)
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def free() -> Mapping[str, float]:
    """The cluster's free resources. Blocks for a moment."""
    found: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return found


def resources() -> str:
    """The cluster's resources and how much of them is free, for messages."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    left = free()
    # Without Ray's own resources for single nodes and for the bundles of placement groups.
    names = [n for n in sorted(total) if not n.startswith(("node:", "object_store")) and "_group_" not in n]
    each = (f"{name} {amount_of(name, left.get(name, 0.0))} of {amount_of(name, total[name])} free" for name in names)
    return ", ".join(each) or "nothing"


# --- a Ray that runs already


def _check_same(address: str | None) -> None:
    if address in (None, "auto", _ours.address):
        return
    here = address_here()
    if _resolved(str(address)) != _resolved(here):
        raise ClusterUnreachable(
            f"this program is connected to the Ray at {here} already, so not to {address}", address=address
        )


def _resolved(address: str) -> object:
    """The address with its host as numbers: one host has several names."""
    host, _, port = address.rpartition(":")
    try:
        return socket.gethostbyname(host.strip("[]")), port
    except OSError:
        return host, port


def _join(address: str) -> None:
    if address.startswith("ray://"):
        raise InvalidParameter(
            f"RAY_ADDRESS is {address}: Ray Client is a second protocol that loses work when its connection does; give "
            f"the address of the cluster itself (HOST:6379), or submit the command with `ray job submit`",
            address=address,
        )
    if (why := _refused(address)) is not None:  # Ray itself tries for a long time where nobody answers
        raise ClusterUnreachable(
            f"there is no Ray at {address}: {why}. Is `ray start --head` running there, and can this machine reach it?",
            address=address,
        )
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        _hush()
    except ConnectionError as error:
        raise ClusterUnreachable(f"there is no Ray at {address}: {error}", address=address) from None
    except Exception as error:
        text = " ".join(str(error).split())
        kind = ClusterMismatch if "ersion mismatch" in text else ClusterUnreachable
        raise kind(f"cannot connect to the Ray at {address}: {text}", address=address) from error


def _refused(address: str) -> OSError | None:
    """The reason why HOST:PORT refuses connections; None if it accepts them, and for `auto`, which has no port."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()
    except OSError as error:
        return error
    return None


# --- a Ray of our own


class _Unwanted(BaseException):
    """Raised inside of a start that is not waited for any more."""


class _Keeper(threading.Thread):
    """Starts a Ray and ends it, in a thread that lives as long as that Ray does: on Linux, Ray's processes are killed
    when the thread that started them ends, which may be anybody's. In it, Ray leaves this program's signals alone."""

    def __init__(self, cpus: float, *, few: bool) -> None:
        super().__init__(name="tts-ray", daemon=True)
        self._cpus = cpus
        self._few = few
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._over = threading.Event()

    def begin(self, unwanted: threading.Event) -> None:
        """Start, and wait until Ray is there. Raises: ClusterUnreachable."""
        self.start()
        while not (self._ready.wait(_LOOK_EVERY_S) or unwanted.is_set()):
            pass
        if unwanted.is_set():
            self._interrupt()
            self.end()
            raise ClusterUnreachable("the start of a Ray on this machine was interrupted")
        if self._failure is not None:
            raise ClusterUnreachable(f"a Ray could not be started on this machine: {self._failure}")

    def _interrupt(self) -> None:
        """Break the start off by an exception in its thread. Only where the end of that thread ends Ray's processes."""
        if sys.platform == "linux" and not self._ready.is_set():
            thread = ctypes.c_ulong(self.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_Unwanted))

    def end(self) -> None:
        """End the Ray, and wait until it has ended."""
        self._over.set()
        self.join()

    def run(self) -> None:
        try:
            self._start_ray()
        except BaseException as error:  # whoever waits for the start is told
            self._failure = error
        self._ready.set()
        if self._failure is None:
            self._over.wait()
        ray.shutdown()

    def _start_ray(self) -> None:
        for attempt in range(STARTS):
            try:
                with few_processes() if self._few and attempt == 0 else nullcontext():
                    ray.init(
                        address="local",
                        num_cpus=max(os.cpu_count() or 1, math.ceil(self._cpus)),
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
                break
            except Exception:
                ray.shutdown()
                if attempt + 1 == STARTS or self._over.is_set():
                    raise
        _hush()
        if worker._global_node is not None:
            _tidy(Path(worker._global_node.get_session_dir_path()))


def _hush() -> None:
    """Stop Ray from printing a page to standard output, where results go, for each actor and node that dies, which no
    setting of its logs prevents: its thread is ended, as by Ray itself when it disconnects."""
    here: Any = worker.global_worker
    if hasattr(here, "listener_thread"):
        here.threads_stopped.set()
        here.gcs_error_subscriber.close()
        here.listener_thread.join()
        here.threads_stopped.clear()


def _end() -> None:
    """End the connection, and the Ray behind it if it was started here."""
    keeper, _ours.keeper, _ours.connected, _ours.address = _ours.keeper, None, False, None
    if keeper is not None:
        keeper.end()
    else:
        ray.shutdown()


@contextmanager
def _locked(unwanted: threading.Event) -> Iterator[None]:
    while not _lock.acquire(timeout=_LOOK_EVERY_S):
        if unwanted.is_set():
            raise ClusterUnreachable("the wait for a Ray that another thread starts was interrupted")
    try:
        yield
    finally:
        _lock.release()


def _tidy(session: Path) -> None:
    """Mark Ray's folder for this session as this process's, and remove those that were left by processes that have
    ended: Ray itself never removes any. The last one stays, with its logs, until the next start."""
    (session / _OWNER).write_text(_process(os.getpid()))
    for mark in session.parent.glob(f"session_*/{_OWNER}"):
        owner = mark.read_text() if mark.is_file() else ""
        if owner and owner != _process(int(owner.partition(" ")[0])) and not mark.parent.is_symlink():
            shutil.rmtree(mark.parent, ignore_errors=True)


def _process(pid: int) -> str:
    """A process, told apart from an earlier one with the same number by when it started."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return f"{pid} ended" if Path("/proc/self/stat").is_file() else f"{pid} "
