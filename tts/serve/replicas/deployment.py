"""The Ray Serve application: replicas of the server behind Ray Serve's proxies, and the accounts that they share.

    serve deploy clusters/launch/serve.yaml

Of everything outside `clusters/` only this module imports ray (ARCHITECTURE.md says why).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tts.core.budget import Limits
from tts.errors import JournalLocked, MissingExtra, TTSError
from tts.serve.keys import Key
from tts.serve.replicas.arguments import setup_of
from tts.serve.replicas.remote import RemoteAccounts
from tts.serve.replicas.shared import SharedAccounts
from tts.serve.running import log_to_standard_error
from tts.serve.setup import Setup
from tts.types import Cost

try:
    from ray import serve
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle
except ImportError as error:
    raise MissingExtra(
        f"replicas of tts serve need an extra: pip install 'test-time-scaling[replicas]' ({error})", extra="replicas"
    ) from None

MOST_REQUESTS = 512  # of one replica; Ray Serve's own 5 is of requests that take milliseconds
MOST_CALLS = 65_536  # of all replicas, to the accounts
LOCKED_S = 30.0  # time for the last process that kept the accounts to end
_log = logging.getLogger("tts.serve")


def build(args: dict[str, Any]) -> Application:
    """Make the application. Its arguments are those of `tts.Client`, and of `tts serve` (`tts.serve.setup.Settings`)
    but for address, drain and certificates, which are Ray Serve's. `anybody: true` does without keys; `deployment`:
    options of the replicas, as `ray.serve.deployment` takes them; `revision`: any text, another one of which has Ray
    Serve read the files anew.

    Raises: UsageError.
    """
    try:
        setup = setup_of(args)
    except TTSError as error:
        raise error.with_traceback(None) from None  # Ray Serve shows it whole, and the sentence is at its end
    accounts: Any = serve.deployment(
        num_replicas=1,
        max_ongoing_requests=MOST_CALLS,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=1.0,
        graceful_shutdown_timeout_s=5.0,
        logging_config={"enable_access_log": False},  # a line a second of each replica
    )
    asked = {"max_ongoing_requests": MOST_REQUESTS, "health_check_period_s": 2.0, **args.get("deployment", {})}
    replica: Any = serve.deployment(**{**asked, "name": "Replica"})
    kept = accounts(KeyAccounts).bind(setup.keys, setup.settings.state)
    found: Application = replica(serve.ingress()(Replica)).bind(setup, kept)
    return found


class KeyAccounts:
    """Keeps the accounts of all replicas: one process, found anew by Ray Serve where it dies."""

    async def __init__(self, keys: list[Key], state: Path | None) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        for _ in range(round(LOCKED_S)):
            try:
                self._accounts = SharedAccounts(keys, state)
                return
            except JournalLocked as error:
                locked = error
                await asyncio.sleep(1.0)
        raise locked

    async def begin(
        self, replica: str, key: str, limits: Limits, id: str, ended: list[tuple[str, Cost]]
    ) -> Mapping[str, Any] | None:
        return await self._accounts.begin(replica, key, limits, id, ended)

    async def report(
        self,
        replica: str,
        under_way: list[str],
        ended: list[tuple[str, Cost]],
        metrics: list[str],
        leaves: bool = False,
    ) -> None:
        await self._accounts.report(replica, under_way, ended, metrics, leaves=leaves)

    async def metrics(self) -> list[str]:
        return await self._accounts.metrics()

    async def __del__(self) -> None:
        self._accounts.close()


class Replica:
    """One server: the routes of `tts serve`, over a client of its own."""

    async def __init__(self, setup: Setup, accounts: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        log_to_standard_error()
        name = serve.get_replica_context().replica_tag
        shared = RemoteAccounts(name, _Remote(accounts))
        self._stack = AsyncExitStack()
        self._stack.push_async_callback(shared.aclose)  # after the client has closed
        client = await self._stack.enter_async_context(setup.client(name))
        self._service = setup.service(client, shared)
        shared.own = self._service.own_metrics
        self._ended = asyncio.ensure_future(client.ended())

    def __serve_build_asgi_app__(self) -> Any:  # Ray Serve's name
        return _without_id(self._service.app())

    async def check_health(self) -> None:
        """Have Ray Serve replace a replica that can answer nothing any more. Raises: why."""
        if self._ended.done():
            self._ended.result()
            raise RuntimeError("the client has ended")

    async def __del__(self) -> None:
        self._ended.cancel()
        await self._stack.aclose()


def _without_id(app: ASGIApp) -> ASGIApp:
    """The application, whose answers do not name the request's id: Ray Serve's proxy has given it, and adds it."""

    async def without(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            await send(message)

        await app(scope, receive, sending)

    return without


class _Remote:
    """A handle of `KeyAccounts`, called like it."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def begin(self, *args: Any) -> Any:
        return await self._handle.begin.remote(*args)

    async def report(self, *args: Any, **options: Any) -> Any:
        return await self._handle.report.remote(*args, **options)

    async def metrics(self) -> Any:
        return await self._handle.metrics.remote()
