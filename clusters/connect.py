"""Getting at a Ray cluster: a fresh one on this machine, or one that runs already; and what nodes it has."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Mapping

import ray
from ray._private.state import state  # there is no public way to hear of a preemption notice

from tts.clusters.environment import address_of_ray
from tts.errors import ClusterMismatch, ClusterUnreachable, InvalidParameter
from tts.types import Value

CONNECT_LIMIT_S = 5.0
STARTS = 2  # on a busy machine the first one sometimes times out


class _Ours:
    """This program's connection: how many use it, whether that Ray was started here, and the address as given."""

    users = 0
    started = False
    address: str | None = None


_ours = _Ours()


class Node(Value, frozen=True):
    """One machine of the cluster. `draining`: it will be gone soon, and gets nothing new."""

    id: str
    host: str
    resources: Mapping[str, float]
    draining: bool = False

    def holds(self, asked: Mapping[str, float]) -> bool:
        """Whether one actor of this size fits on it, were it empty."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in asked.items())


def connect(address: str | None, cpus: float) -> None:
    """Connect to the Ray at `address`, or at RAY_ADDRESS; with neither, start one here with at least `cpus` CPUs. A
    program has one Ray: if it has connected already, that is the one. Each `connect` needs its `disconnect`.

    Raises: ClusterUnreachable, ClusterMismatch; InvalidParameter for Ray Client's `ray://`.
    """
    address = address_of_ray(address)
    if ray.is_initialized():
        connected = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", connected, _ours.address):
            raise ClusterUnreachable(
                f"this program is connected to the Ray at {connected} already, so not to {address}", address=address
            )
        _ours.users += 1
        return
    _ours.users, _ours.started, _ours.address = 1, address is None, address
    if address is None:
        _start(cpus)
        return
    if address.startswith("ray://"):
        raise InvalidParameter(
            f"RAY_ADDRESS is {address}: Ray Client is a second protocol that loses work when its connection does; give "
            f"the address of the cluster itself (HOST:6379), or submit the command with `ray job submit`",
            address=address,
        )
    _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ClusterUnreachable(f"there is no Ray at {address}: {error}", address=address) from None
    except Exception as error:
        text = " ".join(str(error).split())
        kind = ClusterMismatch if "ersion mismatch" in text else ClusterUnreachable
        raise kind(f"cannot connect to the Ray at {address}: {text}", address=address) from error


def disconnect() -> None:
    """The last to leave a Ray that was started here ends it; a connection to another one stays."""
    _ours.users -= 1
    if _ours.users == 0 and _ours.started:
        ray.shutdown()


def check_connected() -> None:
    """Raises: ClusterUnreachable where somebody has disconnected the program: Ray itself would connect again by itself,
    to whatever cluster it finds."""
    if not ray.is_initialized():
        raise ClusterUnreachable("the connection to Ray was closed while it was in use (ray.shutdown was called)")


def nodes() -> list[Node]:
    """The machines that are alive. Blocks for a moment."""
    draining = state.get_draining_nodes()
    return [
        Node(node["NodeID"], node["NodeManagerHostname"], node["Resources"], node["NodeID"] in draining)
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def resources() -> str:
    """What the cluster has and what of it is free, for messages."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    names = [name for name in sorted(total) if not name.startswith(("node:", "object_store"))]
    return ", ".join(f"{name} {free.get(name, 0.0):g} of {total[name]:g} free" for name in names) or "nothing"


def _start(cpus: float) -> None:
    last: Exception | None = None
    for _ in range(STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, math.ceil(cpus)),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
            return
        except Exception as error:
            ray.shutdown()
            last = error
    raise ClusterUnreachable(f"a Ray could not be started on this machine: {last}") from last


def _knock(address: str) -> None:
    """Ray itself tries for a long time where nobody answers."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()
    except OSError as error:
        raise ClusterUnreachable(
            f"there is no Ray at {address}: {error}. Is `ray start --head` running there, and can this machine reach "
            f"it?",
            address=address,
        ) from None
