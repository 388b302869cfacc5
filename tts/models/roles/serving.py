"""Roles opened: the clients of their servers, models in child processes, functions of the program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

import msgspec

from tts.core.actions import SOLVER
from tts.errors import EndpointError, ModelNotFound
from tts.models.function import FunctionModel, measures, name_of
from tts.models.options import Target, target_options
from tts.models.roles.resolving import NO_KEY
from tts.models.roles.role import ModelRole, ServedModel, Server
from tts.models.wire.failures import has_no_list

if TYPE_CHECKING:
    import httpx2

    from tts.clusters.executor import Model
    from tts.models.embedded import EmbeddedServer
    from tts.models.endpoint_pool import EndpointPool
    from tts.models.openai.client import OpenAIClient
    from tts.models.wire.capabilities import Cancellation

DEFAULTS = {key: option.default for key, option in target_options().items()}


class OpenRole:
    """A role's model, open.

    Attributes:
        model: completes its requests; served: what is known of it.
        concurrency: the number of requests that may be in flight.
        clients: of its servers; unreachable: the errors of those that did not answer.
        engine: the process that it runs in, if that is one of this program.
    """

    def __init__(self, model: Model, served: ServedModel, concurrency: int) -> None:
        self.model = model
        self.served = served
        self.concurrency = concurrency
        self.clients: list[OpenAIClient] = []
        self.unreachable: list[EndpointError] = []
        self.engine: EmbeddedServer | None = None


class Opener:
    """Opens the roles of a resolved target; everything is closed with the stack. Roles of one model in process share
    its engine."""

    def __init__(self, target: Target, stack: AsyncExitStack) -> None:
        self._target = target
        self._stack = stack
        self._engines: dict[str | None, EmbeddedServer] = {}

    async def open(self, name: str, role: ModelRole) -> OpenRole:
        """Raises: Unreachable, Unauthorized, ModelNotFound, with the role's name; MissingExtra without an engine."""
        try:
            return await self._open(role)
        except EndpointError as error:
            if name != SOLVER:
                error.message = f"the role {name}: {error.message}"
                error.args = (error.message,)
            raise

    async def _open(self, role: ModelRole) -> OpenRole:
        concurrency = self._target["concurrency"]
        if callable(role.model):
            name = name_of(role.model)
            served = msgspec.structs.replace(_served(role, name, None), measures=measures(role.model))
            return OpenRole(FunctionModel(role.model), served, concurrency)
        engine, asked, servers = None, role.model, role.servers
        if not servers:
            from tts.models.embedded import suited

            concurrency = min(concurrency, suited(role.model)[0])  # more would only queue inside the engine
            engine = await self._engine(role.model, concurrency)
            asked, servers = engine.model, (Server(engine.base_url, NO_KEY),)
        clients = [self._client(server, asked, role, engine) for server in (*servers, *role.spares)]
        name, unreachable = await _agree(clients, asked)
        pool = await _pool(clients, name, concurrency, len(role.spares))
        contexts = [engine.context_tokens] if engine else [c.contexts[name] for c in clients if name in c.contexts]
        opened = OpenRole(pool, _served(role, name, min(contexts, default=None), engine), concurrency)
        opened.clients, opened.unreachable, opened.engine = clients, unreachable, engine
        return opened

    async def _engine(self, model: str | None, slots: int) -> EmbeddedServer:
        from tts.models.embedded import EmbeddedServer
        from tts.models.weights import DEFAULT, PREFIX

        name = (model or DEFAULT).removeprefix(PREFIX)
        if (known := self._engines.get(name)) is not None:
            return known
        engine = EmbeddedServer(model, slots=slots, threads=self._target.get("threads"))
        await asyncio.to_thread(engine.start)
        self._stack.push_async_callback(asyncio.to_thread, engine.stop)
        self._engines[name] = engine
        return engine

    def _client(
        self, server: Server, model: str | None, role: ModelRole, engine: EmbeddedServer | None
    ) -> OpenAIClient:
        """A client that is closed with the stack."""
        from tts.models.openai.client import OpenAIClient
        from tts.models.wire.capabilities import Capabilities

        target, embedded = self._target, engine is not None
        # What the model in process can do is known; servers are asked when it matters.
        can = Capabilities(
            engine="llamacpp", prefill=True, prefill_form="trailing_assistant", stop_reason=True, logprobs=True
        )
        client = OpenAIClient(
            server.url,
            model=model,
            api_key=server.key,
            headers=server.headers,
            api=role.api,
            max_retries=0,  # the pool or the scheduler tries again
            first_byte_s=target.get("first_byte_s", DEFAULTS["first_byte_s"]),
            idle_s=target.get("idle_s", DEFAULTS["idle_s"]),
            total_s=target.get("total_s", DEFAULTS["total_s"]),
            cancellation="auto" if embedded else _before_probes(target),
            capabilities=can if embedded else None,
            http_client=None if embedded else cast("httpx2.AsyncClient | None", target.get("http_client")),
        )
        self._stack.push_async_callback(client.aclose)
        return client


def _served(
    role: ModelRole, name: str, context_tokens: int | None, engine: EmbeddedServer | None = None
) -> ServedModel:
    own = role.context_tokens
    in_process = engine is not None
    measures = False if in_process else None
    return ServedModel(name, own or context_tokens, role.sampling, in_process, own is not None, measures)


def _before_probes(target: Target) -> Cancellation:
    """The way of cancelling a stream; until an endpoint was probed, it is not trusted to stop."""
    said = target.get("cancellation") or "auto"
    return "best_effort" if said == "probe" else said


async def _pool(clients: Sequence[OpenAIClient], model: str, concurrency: int, spares: int = 0) -> EndpointPool:
    from tts.models.endpoint_pool import EndpointPool

    for client in clients:
        client.model = model
    slots = await asyncio.gather(*map(_slots_of, clients))
    known = {client.endpoint: number for client, number in zip(clients, slots, strict=True) if number}
    own = len(clients) - spares
    return EndpointPool(clients[:own], spares=clients[own:], max_concurrency=concurrency, slots=known)


async def _slots_of(client: OpenAIClient) -> int | None:
    """The number of requests that the engine decodes side by side, if it reports it: of the known ones, llama.cpp
    does."""
    if client.capabilities.engine != "llamacpp":
        return None
    try:
        said = msgspec.json.decode(await client.get("/props"))
    except (EndpointError, msgspec.DecodeError):
        return None
    number = said.get("total_slots") if isinstance(said, dict) else None
    return number if type(number) is int and number > 0 else None


async def _agree(clients: list[OpenAIClient], model: str | None) -> tuple[str, list[EndpointError]]:
    """The model to ask all of these endpoints for, and the errors of those that did not answer (of several).

    A model that was named is asked for even where it is not listed: some servers have no list, and some know a model
    under more names than they list.
    Raises: the first endpoint's error, if none answers; ModelNotFound if none was named and there is not exactly one.
    """
    found = await asyncio.gather(*(client.models() for client in clients), return_exceptions=True)
    failures: list[EndpointError] = []
    served: list[str] = []
    for answer in found:
        if isinstance(answer, EndpointError) and model is not None and has_no_list(answer):
            continue  # the first request will tell
        if isinstance(answer, EndpointError):
            failures.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            served += answer
    if len(failures) == len(clients):
        raise failures[0]
    if model is not None:
        return model, failures
    names = list(dict.fromkeys(served))
    if len(names) != 1:
        listed = ", ".join(names[:20]) or "none that it would name"
        raise ModelNotFound(
            f"{clients[0].endpoint} serves {len(names)} models; choose one with --model: {listed}", served=names
        )
    return names[0], failures
