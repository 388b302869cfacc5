"""The servers that a run talks to: one or several endpoints, another for verifications, or the model in process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from tts.errors import EndpointError, InvalidParameter, ModelNotFound, unknown_name
from tts.models.cost_model import CostModel, ModelCost
from tts.models.flops import ModelConfig
from tts.models.function import FunctionModel, asked_name, check_function, name_of
from tts.models.options import Target, target_options
from tts.models.prices import load_prices, price_from_flags
from tts.models.weights import PREFIX
from tts.models.wire.address import Address, host_of, shown
from tts.models.wire.failures import has_no_list
from tts.models.wire.keys import check_headers, check_key

if TYPE_CHECKING:
    import httpx2

    from tts.clusters.executor import Model
    from tts.models.embedded import EmbeddedServer
    from tts.models.endpoint_pool import EndpointPool
    from tts.models.openai.client import OpenAIClient
    from tts.models.wire.capabilities import Cancellation
from tts.models.wire.keys import checked_key

DEFAULTS = {key: option.default for key, option in target_options().items()}
SAME_NAME = " (verifier)"  # told apart from a model of the same name on another server


class Models:
    """The model servers of a run, open.

    Attributes:
        by_name: the answering model first, then the verifying one, if it is another.
        name: of the answering model; verifier: of the verifying one, None if it is the same.
        concurrency: number of requests that may be in flight.
        unreachable: endpoints that did not answer, of several.
        engine: the small model in process, if the run uses it.
        clients: of all endpoints.
    """

    def __init__(self, by_name: Mapping[str, Model], name: str, concurrency: int) -> None:
        self.by_name = dict(by_name)
        self.name = name
        self.verifier: str | None = None
        self.concurrency = concurrency
        self.unreachable: list[EndpointError] = []
        self.engine: EmbeddedServer | None = None
        self.clients: list[OpenAIClient] = []

    @property
    def context_tokens(self) -> int | None:
        """The smallest context in which the answering model is served; None if no endpoint reports one."""
        if self.engine is not None:
            return self.engine.context_tokens
        return min((c.contexts[self.name] for c in self.clients if self.name in c.contexts), default=None)


class Pricing:
    """The prices of a target's models, read from its flags and files. Raises: InvalidParameter for an unreadable
    file."""

    def __init__(self, target: Target) -> None:
        self._config = _read_model_config(target.get("model_config"))
        self._own = price_from_flags(target.get("price_in"), target.get("price_out"))
        self._verifier = price_from_flags(target.get("verifier_price_in"), target.get("verifier_price_out"))
        self._table = load_prices(target.get("prices"))

    def costs(self, name: str, verifier: str | None = None, *, embedded: bool = False) -> CostModel:
        """The cost model of the answering model, and of the verifying one, if it is another."""
        config = self._config
        if config is None and embedded:
            from tts.models.weights import info

            known = info(name)
            config = ModelConfig.from_hf(known.config) if known else None
        costs = {name: ModelCost(self._own or self._table.lookup(name), config)}
        if verifier is not None:
            costs[verifier] = ModelCost(self._verifier or self._table.lookup(verifier.removesuffix(SAME_NAME)))
        return CostModel(costs, name)


def resolved(target: Target) -> Target:
    """Fill in the fields that a target leaves to the environment.

    Raises: UnknownName for a key that a Target does not have; InvalidParameter.
    """
    for key in target:
        if key not in Target.__annotations__:
            raise unknown_name("parameter", key, Target.__annotations__)
    concurrency = target.get("concurrency", DEFAULTS["concurrency"])
    if concurrency < 1:
        raise InvalidParameter(f"concurrency must be at least 1, but got {concurrency}", name="concurrency")
    if (target.get("verifier_model") or "").startswith(PREFIX):
        raise InvalidParameter(
            f"--verifier-model {target['verifier_model']}: only the model that answers runs in process; name a server "
            f"with --verifier-base-url",
            name="verifier_model",
        )
    if isinstance(file := target.get("model"), Path):
        target = {**target, "model": str(file)}
    urls, judge = urls_of(target), target.get("verifier_base_url")
    if callable(target.get("model")) and target.get("verifier_model") and not judge:
        raise InvalidParameter(
            f"verifier_model {target['verifier_model']}: the model is a function; name the verifier's server with "
            f"verifier_base_url",
            name="verifier_model",
        )
    for url in [*urls, *([judge] if judge else [])]:
        Address.of(url)
    api_key = checked_key(target.get("api_key"))
    if judge_key := target.get("verifier_api_key"):
        check_key(judge_key, "the API key of the verifier")
    check_headers(target.get("headers") or {})
    patience_s = target.get("patience_s", DEFAULTS["patience_s"])
    if not patience_s >= 0:
        raise InvalidParameter(f"patience_s must be at least 0 seconds, but got {patience_s}", name="patience_s")
    limits_s = {name: target.get(name) for name in ("first_byte_s", "idle_s", "total_s")}
    for name, seconds in limits_s.items():
        if isinstance(seconds, int | float) and not seconds > 0:
            raise InvalidParameter(f"{name} must be more than 0 seconds, but got {seconds}", name=name)
    known: Target = {"base_url": urls, "api_key": api_key, "concurrency": concurrency, "patience_s": patience_s}
    return {**target, **known}


def urls_of(target: Target) -> list[str]:
    """The endpoints named in the target or the environment; none means a model in process.

    Raises: InvalidParameter for a server together with a model that is to run in process.
    """
    given = target.get("base_url")
    urls = [given] if isinstance(given, str) else list(given or ())
    model = target.get("model") or ""
    if not isinstance(model, str | Path):
        check_function(model)
        if urls:
            raise InvalidParameter(
                f"model is the function {name_of(model)}, and no server is asked: leave out {shown(urls[0])}"
            )
        return []
    if str(model).startswith(PREFIX):
        if urls:
            raise InvalidParameter(
                f"--model {model} runs in process, and no server is asked: leave out {shown(urls[0])}"
            )
        return []
    return urls or [url for url in [os.environ.get("OPENAI_BASE_URL")] if url]


@asynccontextmanager
async def open_models(target: Target, spares: Sequence[str] = ()) -> AsyncIterator[Models]:
    """Connect to the servers of a resolved target, or start the small model in process. `spares` are endpoints that are
    used only while none of the target's own works.

    Raises, before anything is spent: Unreachable, Unauthorized, ModelNotFound; MissingExtra without an engine.
    """
    urls, model = [*(target["base_url"] or ())], target.get("model")
    async with AsyncExitStack() as stack:
        if callable(model):
            models = Models({name_of(model): FunctionModel(model)}, name_of(model), target["concurrency"])
        else:
            models = await _served(urls, asked_name(model), target, spares, stack)
        if models.engine is not None:
            urls = [models.engine.base_url]
        if target.get("verifier_base_url") or target.get("verifier_model"):
            judges = _judges(urls, target, stack)
            judge, _ = await _agree(judges, target.get("verifier_model"))
            models.verifier = judge if judge != models.name else judge + SAME_NAME
            models.clients = [*models.clients, *judges]
            models.by_name[models.verifier] = await _pool(judges, judge, models.concurrency)
        yield models


async def _served(
    urls: Sequence[str], model: str | None, target: Target, spares: Sequence[str], stack: AsyncExitStack
) -> Models:
    """The client of the model, on servers or in a child process that ends with the stack."""
    concurrency = target["concurrency"]
    engine: EmbeddedServer | None = None
    if not urls:
        from tts.models.embedded import EmbeddedServer, suited

        concurrency = min(concurrency, suited(model)[0])  # more would only queue inside the engine
        engine = EmbeddedServer(model, slots=concurrency, threads=target.get("threads"))
        await asyncio.to_thread(engine.start)
        stack.push_async_callback(asyncio.to_thread, engine.stop)
        urls, model = [engine.base_url], engine.model
        judge = target.get("verifier_model")
        if judge not in (None, model) and not target.get("verifier_base_url"):
            raise InvalidParameter(
                f"--verifier-model {judge}: only {model} runs in process; name a server with --verifier-base-url",
                name="verifier_model",
            )
    clients = _clients(
        [*urls, *spares], model, target.get("api_key"), target, stack, spares, embedded=engine is not None
    )
    name, unreachable = await _agree(clients, model)
    models = Models({name: await _pool(clients, name, concurrency, len(spares))}, name, concurrency)
    models.unreachable, models.engine, models.clients = unreachable, engine, clients
    return models


def headers_for(url: str, target: Target, spares: Sequence[str] = ()) -> Mapping[str, str]:
    """The target's headers, for its own hosts (and its spares') alone: they may be credentials."""
    own = map(host_of, [*(target.get("base_url") or ()), *spares])
    return (target.get("headers") or {}) if host_of(url) in own else {}


def _clients(
    urls: Sequence[str],
    model: str | None,
    api_key: str | None,
    target: Target,
    stack: AsyncExitStack,
    spares: Sequence[str] = (),
    *,
    embedded: bool = False,
) -> list[OpenAIClient]:
    """One client for each endpoint, closed with the stack."""
    from tts.models.openai.client import OpenAIClient
    from tts.models.wire.capabilities import Capabilities

    # What the model in process can do is known; servers are asked when it matters.
    known = Capabilities(engine="llamacpp", prefill=True, prefill_form="trailing_assistant") if embedded else None
    clients = [
        OpenAIClient(
            url,
            model=model,
            api_key=api_key,
            headers=None if embedded else headers_for(url, target, spares),
            api=target.get("api", DEFAULTS["api"]),
            max_retries=0,  # the pool or the scheduler tries again
            first_byte_s=target.get("first_byte_s", DEFAULTS["first_byte_s"]),
            idle_s=target.get("idle_s", DEFAULTS["idle_s"]),
            total_s=target.get("total_s", DEFAULTS["total_s"]),
            cancellation="auto" if embedded else _before_probes(target),
            capabilities=known,
            http_client=None if embedded else cast("httpx2.AsyncClient | None", target.get("http_client")),
        )
        for url in urls
    ]
    for client in clients:
        stack.push_async_callback(client.aclose)
    return clients


def _before_probes(target: Target) -> Cancellation:
    """The way of cancelling a stream; until an endpoint was probed, it is not trusted to stop."""
    said = target.get("cancellation") or "auto"
    return "best_effort" if said == "probe" else said


def _judges(urls: Sequence[str], target: Target, stack: AsyncExitStack) -> list[OpenAIClient]:
    """The clients of the verifier's server. The key of the first server goes to its own host only."""
    own = target.get("verifier_base_url")
    key = target.get("verifier_api_key")
    if key is None and (own is None or host_of(own) in map(host_of, urls)):
        key = target.get("api_key")
    elif key is None:
        key = "EMPTY"
    return _clients([own] if own else urls, target.get("verifier_model"), key, target, stack)


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


def _read_model_config(path: str | Path | None) -> ModelConfig | None:
    if path is None:
        return None
    try:
        plain = msgspec.json.decode(Path(path).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidParameter(f"the model config {path} cannot be read: {error}", path=str(path)) from None
    config = ModelConfig.from_hf(plain)
    if config is None:
        raise InvalidParameter(
            f"the model config {path} is of an architecture whose FLOPs are unknown; leave the config out"
        )
    return config
