"""The models of a run, by role: what their target says, their prices, and their servers, open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tts.core.actions import SOLVER
from tts.errors import EndpointError, InvalidParameter, unknown_name
from tts.models.cost_model import CostModel, ModelCost
from tts.models.flops import ModelConfig
from tts.models.options import Target
from tts.models.prices import load_prices
from tts.models.roles.described import described
from tts.models.roles.resolving import resolved_roles
from tts.models.roles.role import JUDGE, ModelRole, ServedModel
from tts.models.roles.serving import DEFAULTS, Opener
from tts.models.weights import PREFIX

if TYPE_CHECKING:
    from tts.clusters.executor import Model
    from tts.models.embedded import EmbeddedServer
    from tts.models.openai.client import OpenAIClient

SAME_NAME = " (verifier)"  # told apart from a model of the same name on another server


class Models:
    """The models of a run, open.

    Attributes:
        by_name: role -> model, the solver first; and the verifying model by the name that verifiers ask for.
        served: role -> what is known of its model.
        verifier: the name that verifiers ask for; None if it is the solver. `judge`; but the model's own name where
            `verifier_model` and its like describe it, as in the journals of older programs.
        concurrency: number of requests that may be in flight; 0 without a solver.
        unreachable: endpoints that did not answer, of several.
        engine: the process of the solver, if that is one of this program.
        engines: all such processes.
        clients_of: role -> the clients of its endpoints, where they are no such processes.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Model] = {}
        self.served: dict[str, ServedModel] = {}
        self.verifier: str | None = None
        self.concurrency = 0
        self.unreachable: list[EndpointError] = []
        self.engine: EmbeddedServer | None = None
        self.engines: list[EmbeddedServer] = []
        self.clients_of: dict[str, list[OpenAIClient]] = {}

    @property
    def name(self) -> str:
        """The name of the solver's model."""
        return self.served[SOLVER].name

    @property
    def context_tokens(self) -> int | None:
        """The smallest context in which the solver is served; None if no endpoint reports one."""
        return self.served[SOLVER].context_tokens


class Pricing:
    """The prices of a target's models, read from its flags and files. Raises: InvalidParameter for an unreadable
    file."""

    def __init__(self, target: Target) -> None:
        roles = described(target)
        self._configs = {name: _read_model_config(role.model_config) for name, role in roles.items()}
        self._own = {name: role.price for name, role in roles.items()}
        self._table = load_prices(target.get("prices"))

    def costs(self, served: Mapping[str, ServedModel], verifier: str | None = None) -> CostModel:
        """The cost model of a run. `verifier`: the name that verifiers ask for, as in `Models`."""
        costs = {name: self._of(name, model) for name, model in served.items()}
        if verifier is not None:
            costs[verifier] = costs[JUDGE]
        return CostModel(costs, SOLVER)

    def _of(self, role: str, model: ServedModel) -> ModelCost:
        config = self._configs.get(role)
        if config is None and model.embedded:
            from tts.models.weights import info

            known = info(model.name)
            config = ModelConfig.from_hf(known.config) if known else None
        return ModelCost(self._own.get(role) or self._table.lookup(model.name), config, model.context_tokens)


def resolved(
    target: Target, endpoints: Mapping[str, Sequence[str]] = {}, hosted: Mapping[str, str | None] = {}
) -> Target:
    """Fill in the fields that a target leaves to its cluster and to the environment. `models` then has every role:
    role -> `ModelRole`.

    Args:
        endpoints: role -> URLs for where the target names none.
        hosted: role -> the model of an engine that the cluster itself hosts for it.

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
            f"with --verifier-base-url, or write --model-for judge={target['verifier_model']}",
            name="verifier_model",
        )
    patience_s = target.get("patience_s", DEFAULTS["patience_s"])
    if not patience_s >= 0:
        raise InvalidParameter(f"patience_s must be at least 0 seconds, but got {patience_s}", name="patience_s")
    limits_s = {name: target.get(name) for name in ("first_byte_s", "idle_s", "total_s")}
    for name, seconds in limits_s.items():
        if isinstance(seconds, int | float) and not seconds > 0:
            raise InvalidParameter(f"{name} must be more than 0 seconds, but got {seconds}", name=name)
    roles = resolved_roles(target, endpoints, hosted)
    urls = [server.url for server in roles[SOLVER].servers]
    known: Target = {"base_url": urls, "concurrency": concurrency, "patience_s": patience_s, "models": roles}
    return {**target, **known}


@asynccontextmanager
async def open_models(target: Target) -> AsyncIterator[Models]:
    """Connect to the servers of a resolved target, and start the models in process.

    Raises, before anything is spent: Unreachable, Unauthorized, ModelNotFound; MissingExtra without an engine.
    """
    async with AsyncExitStack() as stack:
        opener, models = Opener(target, stack), Models()
        for name, role in roles_of(target).items():
            opened = await opener.open(name, role)
            if name == SOLVER:
                models.concurrency, models.engine = opened.concurrency, opened.engine
            models.unreachable += opened.unreachable
            models.by_name[name], models.served[name] = opened.model, opened.served
            if opened.engine is None:
                models.clients_of[name] = opened.clients
            elif opened.engine not in models.engines:
                models.engines.append(opened.engine)
        if JUDGE in models.served and _in_older_words(target):
            name = models.served[JUDGE].name
            models.by_name |= dict.fromkeys((name, name + SAME_NAME), models.by_name[JUDGE])
        if SOLVER in models.served:
            models.verifier = verifier_name(target, models.served)
        yield models


def roles_of(target: Target) -> Mapping[str, ModelRole]:
    """The roles of a resolved target."""
    return target["models"]  # type: ignore[return-value]  # `resolved` has put them there


def verifier_name(target: Target, served: Mapping[str, ServedModel]) -> str | None:
    """The name that verifiers ask for: see `Models.verifier`."""
    if JUDGE not in served:
        return None
    if not _in_older_words(target):
        return JUDGE
    name = served[JUDGE].name
    return name if name != served[SOLVER].name else name + SAME_NAME


def _in_older_words(target: Target) -> bool:
    return bool(target.get("verifier_base_url") or target.get("verifier_model"))


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
