"""The Ray that a run starts for itself, of as few processes as its actors need: the head, the raylet, and theirs. Each
other one takes half a second of CPU time or more and some 100 MB, and Ray waits for most before it starts an actor.

Ray has no public option against them, so these are functions of its own, replaced for the time of a start. What another
version of Ray does not have stays as it is there. Such a Ray exports no metrics and makes no runtime environments:
asked for one, it ends after 30 s. A program whose own code needs either calls `ray.init` first, and that Ray is joined.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray import _raylet
from ray._private import node, services, utils

# Changed arguments of the raylet. It always starts its agents, and ends when one does: `cat` reads from the pipe that
# ends with the raylet, as Ray's own agents do. It starts a worker for each CPU before any is asked for: one is enough,
# for the first actor.
_CHANGED = {
    "--dashboard_agent_command": "cat",
    "--runtime_env_agent_command": "cat",
    "--num_prestart_python_workers": "1",
}
# Files in which the agents say where they can be reached; the raylet waits for them.
_PORTS = (
    "METRICS_AGENT_PORT_NAME",
    "METRICS_EXPORT_PORT_NAME",
    "DASHBOARD_AGENT_LISTEN_PORT_NAME",
    "RUNTIME_ENV_AGENT_PORT_NAME",
)
_NOWHERE = -1  # the port that Ray's own agent reports where only the core of Ray is installed
# With these set, every process of a program has a runtime environment.
_RUNTIME_ENVIRONMENTS = ("RAY_RUNTIME_ENV_HOOK", "RAY_JOB_CONFIG_JSON_ENV_VAR")


class _Node(node.Node):
    """Ray's node without the parts that serve people: only its program has its address."""

    def start_api_server(self, **asked: Any) -> None:
        """Start no dashboard; what would be left of it reports usage statistics."""

    def start_monitor(self) -> None:
        """Start no autoscaler, which would add machines."""

    def start_log_monitor(self) -> None:
        """Start no log monitor, which would bring the actors' output to the driver."""

    def start_raylet(self, *args: Any, **options: Any) -> None:
        """Start the raylet with idle agents, and one worker to begin with."""
        ray: Any = _raylet  # mypy knows little of its attributes
        names = [getattr(ray, name, None) for name in _PORTS]
        if not all(names):
            super().start_raylet(*args, **options)
            return
        for name in names:
            ray.persist_port(self._session_dir, self.node_id, name, _NOWHERE)
        usual = services.start_ray_process
        with (
            _replaced(services, "start_ray_process", lambda command, *a, **o: usual(_with_changes(command), *a, **o)),
            _replaced(utils, "get_dashboard_dependency_error", lambda: None),  # imports what an agent would
        ):
            super().start_raylet(*args, **options)


def _with_changes(command: Sequence[str]) -> list[str]:
    """The raylet's command line with its changed arguments."""
    names = (word.partition("=")[0] for word in command)
    return [f"{name}={_CHANGED[name]}" if name in _CHANGED else word for name, word in zip(names, command, strict=True)]


@contextmanager
def few_processes() -> Iterator[None]:
    """Have the `ray.init` in the block start only the processes that actors need, unless something needs the others."""
    usual = any(name in os.environ for name in _RUNTIME_ENVIRONMENTS)
    with _replaced(node, "Node", node.Node if usual else _Node):
        yield


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    usual = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, usual)
