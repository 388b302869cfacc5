"""Roles with all that the environment adds to their descriptions: servers, and the key of each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from tts.core.actions import SOLVER
from tts.errors import InvalidParameter
from tts.models.function import asked_name, check_function, name_of
from tts.models.options import Target
from tts.models.roles.described import Described, described
from tts.models.roles.providers import Provider, split_provider
from tts.models.roles.role import JUDGE, ModelRole, Server
from tts.models.weights import DEFAULT, PREFIX
from tts.models.wire.address import Address, host_of, shown
from tts.models.wire.keys import check_headers, check_key, checked_key

NO_KEY = "EMPTY"  # local servers take any; without it, a client would send OPENAI_API_KEY


def resolved_roles(
    target: Target, endpoints: Mapping[str, Sequence[str]] = {}, hosted: Mapping[str, str | None] = {}
) -> dict[str, ModelRole]:
    """The roles of a target, the solver first. Arguments and errors as `tts.models.target.resolved`."""
    given = described(target)
    for name, urls in endpoints.items():
        role = given.get(name, Described())
        if urls and not role.urls:
            given[name] = msgspec.structs.replace(role, base_url=tuple(urls))
    for name, model in hosted.items():
        role = given.get(name, Described())
        if role.urls:
            raise InvalidParameter(
                f"the role {name} has endpoints, and the cluster hosts an engine for it: leave one out", name="engine"
            )
        given[name] = msgspec.structs.replace(role, model=role.model or model)
    made = {name: _made(given[name], given[name].model, (), target) for name in hosted}
    solver = made.get(SOLVER) or _solver(given[SOLVER], target)
    others = {name: role for name, role in given.items() if name != SOLVER}
    return {SOLVER: solver, **{n: made.get(n) or _other(n, role, solver, target) for n, role in others.items()}}


def urls_of(model: Any, given: Sequence[str]) -> list[str]:
    """The servers of the model that answers, from the call or the environment; none means a model in process.

    Raises: InvalidParameter for a server together with a model that is to run in process.
    """
    if callable(model) or not isinstance(model, str | None):
        check_function(model)
        _check_no_server(f"model is the function {name_of(model)}", given)
        return []
    if (model or "").startswith(PREFIX):
        _check_no_server(f"--model {model} runs in process", given)
        return []
    return list(given) or [url for url in [os.environ.get("OPENAI_BASE_URL")] if url]


def _solver(given: Described, target: Target) -> ModelRole:
    key = checked_key(_one_key(target))
    provider, model = _provider_of(given)
    if provider is not None:
        return _at_provider(SOLVER, given, provider, model, key, target)
    urls = urls_of(model, given.urls)
    keys: Sequence[str | None] | None = None if given.api_key == key else _keys(SOLVER, given, urls)
    headers = given.headers or target.get("headers") or {}
    return _made(given, model, _servers(urls, keys or [key] * len(urls), headers), target)


def _other(name: str, given: Described, solver: ModelRole, target: Target) -> ModelRole:
    """A role but the solver's. Without a server of its own it has the solver's; the solver's key goes to the hosts of
    the solver only."""
    provider, model = _provider_of(given)
    if provider is not None:
        return _at_provider(name, given, provider, model, None, target)
    if callable(model) or str(model or "").startswith(PREFIX) or (str(model).endswith(".gguf") and not given.urls):
        if callable(model):
            check_function(model)
        _check_no_server(f"the role {name} has a model in this process", given.urls)
        return _made(given, model, (), target)
    if not given.urls:
        _check_served(name, model, solver, target)
        return _made(given, model if solver.servers else solver.model, _like(name, given, solver.servers), target)
    known = {host_of(server.url): server for server in solver.servers}
    like = [known.get(host_of(url), Server(url, NO_KEY)) for url in given.urls]
    own = [msgspec.structs.replace(server, url=url) for server, url in zip(like, given.urls, strict=True)]
    return _made(given, model, _like(name, given, own), target)


def _like(name: str, given: Described, servers: Sequence[Server]) -> tuple[Server, ...]:
    """These servers with the keys and the headers of a description, where it has some."""
    own = [server.key for server in servers]
    keys = _keys(name, given, servers) or own
    headers = [given.headers or server.headers for server in servers]
    return tuple(map(Server, (server.url for server in servers), keys, headers))


def _servers(urls: Sequence[str], keys: Sequence[str | None], headers: Mapping[str, str]) -> tuple[Server, ...]:
    return tuple(Server(url, key, headers) for url, key in zip(urls, keys, strict=True))


def _one_key(target: Target) -> str | None:
    """The target's key for all endpoints."""
    key = target.get("api_key")
    return None if isinstance(key, list | tuple) else cast("str | None", key)


def _made(given: Described, model: Any, servers: tuple[Server, ...], target: Target) -> ModelRole:
    for server in servers:
        Address.of(server.url)
        check_headers(server.headers)
    return ModelRole(
        model,
        servers,
        api=given.api or target.get("api") or "chat",
        sampling=given.sampling,
        context_tokens=given.context_tokens,
        price=given.price,
        model_config=given.model_config,
    )


def _provider_of(given: Described) -> tuple[Provider | None, Any]:
    """The provider that the model's name begins with, and the rest. Where a URL is given, the whole is the name."""
    if given.urls or not isinstance(given.model, str):
        return None, given.model
    return split_provider(given.model)


def _at_provider(
    name: str, given: Described, provider: Provider, model: str, key: str | None, target: Target
) -> ModelRole:
    """A model of a provider, with the provider's key. `key`: of the target; that of another provider is not sent."""
    urls = [provider.base_url]
    keys = None if given.api_key == os.environ.get("OPENAI_API_KEY") else _keys(name, given, urls)
    if keys is None and key is not None and key != os.environ.get("OPENAI_API_KEY"):
        keys = [key]
    if keys is None:
        keys = [_of_environment(name, provider.key_variable, f"for {given.model}; where a server of your own has a "
                                f"model of that name, give its URL")]  # fmt: skip
    return _made(given, model, _servers(urls, keys, given.headers), target)


def _keys(name: str, given: Described, servers: Sequence[object]) -> Sequence[str | None] | None:
    """One key for each server, as described; None where none is."""
    said = (given.api_key,) if isinstance(given.api_key, str) else given.api_key
    if not said:
        return None
    if len(said) not in (1, len(servers)):
        raise InvalidParameter(
            f"the role {name} has {len(said)} keys for {len(servers)} endpoints: give one for all, or one for each",
            name="api_key",
        )
    keys = [_of_environment(name, key[1:]) if key.startswith("$") else key for key in said]
    for key in keys:
        check_key(key, f"the API key of the {'verifier' if name == JUDGE else f'role {name}'}")
    return keys if len(keys) == len(servers) else keys * len(servers)


def _of_environment(name: str, variable: str, why: str = "") -> str:
    key = os.environ.get(variable)
    if not key:
        raise InvalidParameter(
            f"the role {name} needs the key in the environment's {variable}, which is not set{why and f', {why}'}",
            name="api_key",
        )
    return check_key(key, variable)


def _check_no_server(what: str, urls: Sequence[str]) -> None:
    if urls:
        raise InvalidParameter(f"{what}, and no server is asked: leave out {shown(urls[0])}")


def _check_served(name: str, model: str | None, solver: ModelRole, target: Target) -> None:
    """Refuse a role without a server where the solver has none either and runs another model."""
    if solver.servers:
        return
    here = (asked_name(solver.model) or DEFAULT).removeprefix(PREFIX)
    if not callable(solver.model) and model in (None, here):
        return
    if name == JUDGE and target.get("verifier_model"):
        raise InvalidParameter(
            f"verifier_model {model}: the model is a function; name the verifier's server with verifier_base_url"
            if callable(solver.model)
            else f"--verifier-model {model}: only {here} runs in process; name a server with --verifier-base-url",
            name="verifier_model",
        )
    raise InvalidParameter(
        f"the role {name} has no server for its model {model}, and {here} runs in this process: write "
        f"{name}={model}@URL, or {name}=embedded:NAME",
        name="models",
    )
