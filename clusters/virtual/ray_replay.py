"""The cells of a replay over the nodes of a Ray cluster: one task for a few cells, one CPU a task.

The pool is put into Ray's object store once, and its columns are read there by every process of a node. Ray tries a
task again whose process or node has died.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from functools import lru_cache
from typing import Any

import ray
from ray.exceptions import RayError

from tts.clusters.ray.connect import connect, disconnect
from tts.clusters.virtual.replay_processes import MOST_DEATHS, PARTS_A_PROCESS, Reply, parts_of, replayed_part
from tts.clusters.virtual.replayer import ReplayedCell, Replayer, ReplayJob
from tts.errors import CallCrashed
from tts.types import ErrorInfo
from tts.workers.killable_processes import Workers, cpus


def replay_on_ray(job: ReplayJob, cells: int, address: str | None) -> Generator[ReplayedCell, None, None]:
    """Replay all cells of the job, in order; closing the generator cancels the rest.

    Args:
        address: of the cluster; None is RAY_ADDRESS, or a Ray of our own, here.

    Raises: what the first cell that fails raises; CallCrashed where processes die over the same cells again and again;
        ClusterUnreachable, ClusterMismatch.
    """
    connect(address, cpus())
    try:
        count = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        task = ray.remote(num_cpus=1, max_retries=MOST_DEATHS - 1)(_task)
        shared, key = ray.put(job), os.urandom(8).hex()
        parts = parts_of(cells, count * PARTS_A_PROCESS)
        refs = [task.remote(key, os.getcwd(), sys.path, part, shared) for part in parts]
        try:
            for part, ref in zip(parts, refs, strict=True):
                reply = _get(part, ref)
                if isinstance(reply, ErrorInfo):
                    raise reply.rebuild()
                yield from reply
        finally:
            for ref in refs:
                ray.cancel(ref, force=True)  # nothing happens to those that have ended
    finally:
        disconnect()


def _get(part: range, ref: Any) -> Reply:
    try:
        reply: Reply = ray.get(ref)
    except RayError as error:
        first, last = part[0] + 1, part[-1] + 1
        why = " ".join(str(error).split())
        raise CallCrashed(f"cells {first} to {last} of the replay were lost on Ray: {why}") from None
    return reply


def _task(key: str, folder: str, path: list[str], part: range, job: ReplayJob) -> Reply:
    """Replay cells in a process of Ray's. Files of strategies are looked for where the driver looks for them."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    sys.path += [name for name in path if name not in sys.path]
    _jobs[key] = job
    try:
        return replayed_part(lambda: _replayer(key), part)
    finally:
        del _jobs[key]


_jobs: dict[str, ReplayJob] = {}


@lru_cache(1)
def _replayer(key: str) -> Replayer:
    """The replayer of this process's latest job."""
    return Replayer(_jobs[key], Workers(1))
