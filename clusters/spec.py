"""A cluster as its user describes it: which Ray, how many actors, what each takes, and where the models are.

    cluster: ray
    address: auto
    endpoints: [http://vllm-0:8000/v1, http://vllm-1:8000/v1]
    endpoints_for: {judge: [http://vllm-2:8000/v1]}
    generators: {count: 2, cpus: 1}
    verifiers: {count: per_node, cpus: 4}

The same in TOML; or `ClusterSpec(...)` in Python; or just `ray`, which is all of the defaults.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tts.core.actions import SOLVER
from tts.errors import InvalidParameter, unknown_name
from tts.models.options import Target
from tts.models.target import resolved

STREAMS_PER_GENERATOR = 512  # benchmarks/clusters/ray_overhead.md


def amount_of(name: str, amount: float) -> str:
    """An amount of one of Ray's resources, in words: memory in GiB."""
    return f"{amount / 2**30:.3g} GiB" if name == "memory" else f"{amount:g}"


def in_words(resources: Mapping[str, float]) -> str:
    """Amounts of Ray's resources, by name."""
    return ", ".join(f"{name} {amount_of(name, amount)}" for name, amount in resources.items()) or "none"


def _count(given: object) -> object:
    """Check a count by hand: for a union, pydantic would name the branch instead of the field, and one rule of two."""
    if given == "per_node" or (isinstance(given, int) and not isinstance(given, bool) and given >= 1):
        return given
    raise ValueError(f"must be a whole number of at least 1, or per_node, but got {given!r}")


Count = Annotated[int | Literal["per_node"], BeforeValidator(_count)]
Amount = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlacementGroup(_Model):
    """Resources reserved together for one actor and what it starts (an engine of several GPUs, say)."""

    bundles: tuple[dict[str, Amount], ...] = Field(min_length=1)
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"


class Actors(_Model):
    """Actors of one kind.

    Args:
        count: how many, or `per_node`: one on each node that can hold one, also on nodes that come later. None: for
            generators one for every 512 requests in flight, or one per node if they host an engine; for verifiers one
            per node.
        cpus, gpus, memory_bytes, resources: what Ray sets aside for each.
        placement_group: reserved for each; the actor sits in its first bundle, and what it starts in all of them. Not
            together with `per_node`.
        workers: processes of each verifier for what may be slow or hang; None: one per CPU of `cpus`, at least 1.
    """

    count: Count | None = None
    cpus: Amount = 1.0
    gpus: Amount = 0.0
    memory_bytes: int | None = Field(default=None, ge=1)
    resources: dict[str, Amount] = {}
    placement_group: PlacementGroup | None = None
    workers: int | None = Field(default=None, ge=1)

    @field_validator("gpus")
    @classmethod
    def _whole(cls, gpus: float) -> float:
        if gpus > 1 and not gpus.is_integer():
            raise ValueError(f"must be a whole number, or a part of one GPU, but got {gpus:g}")
        return gpus

    @model_validator(mode="after")
    def _group_fits(self) -> Self:
        if self.placement_group is None:
            return self
        if self.count == "per_node":
            raise ValueError("a placement group finds its own nodes: give a count, not per_node")
        first = self.placement_group.bundles[0]
        for name, amount in self.asked().items():
            if first.get(name, 0.0) < amount:
                raise ValueError(f"the first bundle must hold the actor ({name} {amount:g}), but has {first}")
        return self

    @field_validator("resources")
    @classmethod
    def _no_field_of_its_own(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, field in (("CPU", "cpus"), ("GPU", "gpus"), ("memory", "memory_bytes")):
            if name in resources:
                raise ValueError(f"{name} is given as {field}")
        return resources

    def asked(self) -> dict[str, float]:
        """Ray's resources for one, by Ray's names."""
        found: dict[str, float] = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        if self.memory_bytes is not None:
            found["memory"] = float(self.memory_bytes)
        return {name: amount for name, amount in found.items() if amount}


class Engine(_Model):
    """A model that the generators host themselves, in place of endpoints.

    Args:
        kind: `embedded` is llama.cpp in a child process; `vllm` is vLLM in the actor's own process.
        model: as on the command line for `embedded`; a folder or a name that vLLM knows.
        options: for `vllm`, its engine arguments (`tensor_parallel_size`, `max_model_len` and so on).
    """

    kind: Literal["embedded", "vllm"] = "embedded"
    model: str | None = None
    options: dict[str, Any] = {}


class RoleActors(Actors):
    """Actors that serve one role alone.

    Args:
        engine: hosted by each of them, in place of the role's endpoints.
    """

    engine: Engine | None = None


class ClusterSpec(_Model):
    """The place where a run is carried out, as described by its user.

    Args:
        cluster: `local` is this process's event loop; `ray` is Ray actors.
        address: of the Ray cluster, `HOST:PORT` or `auto`; None is RAY_ADDRESS, or else a Ray of our own, here.
        endpoints: base URLs, as seen from the actors, where the call names none; without them OPENAI_BASE_URL.
        endpoints_for: those of further roles.
        engine: hosted by the generators; not together with endpoints.
        generators, verifiers: the actors. Generators serve every role that has no actors of its own.
        actors_for: role -> actors of its own, such as those of a model that needs other GPUs.
        heartbeat_s: an actor that is silent for longer is taken for dead and replaced.
        start_timeout_s: how long the first actor of a kind may take to start, waiting for its resources included. The
            others are waited for while it works.
        most_failures: after so many failed starts in a row of one actor the run stops.
        hedge_after_s: a request without a first token after so long is sent to another actor as well; what the slower
            of the two had cost is booked as lost. None: never.
        cancellation: what is done where a stream is cancelled. `close` closes it; `abort` also calls the engine's abort
            API (SGLang's); `best_effort` charges such a request in full, because nobody can say where it stopped;
            `auto` does what is known of the engine (`tts.models.wire.capabilities.Cancellation`); `probe` finds out
            first, with a request per endpoint that is charged to the run, and trusts only what was seen to stop
            (`tts.models.openai.probe.try_abort`).
    """

    cluster: Literal["local", "ray"] = "ray"
    address: str | None = None
    endpoints: tuple[str, ...] = ()
    endpoints_for: dict[str, tuple[str, ...]] = {}
    engine: Engine | None = None
    generators: Actors = Actors()
    verifiers: Actors = Actors()
    actors_for: dict[str, RoleActors] = {}
    heartbeat_s: float = Field(default=10.0, gt=0)
    start_timeout_s: float = Field(default=120.0, gt=0)
    most_failures: int = Field(default=3, ge=1)
    hedge_after_s: float | None = Field(default=None, gt=0)
    cancellation: Literal["auto", "close", "abort", "best_effort", "probe"] = "auto"

    @model_validator(mode="after")
    def _what_only_ray_does(self) -> Self:
        if self.cluster == "local" and self.engine is not None and self.engine.kind != "embedded":
            raise ValueError(f"the engine {self.engine.kind} needs cluster: ray")
        if self.cluster == "local" and self.actors_for:
            raise ValueError("actors_for needs cluster: ray")
        if SOLVER in self.actors_for:
            raise ValueError("actors_for is for further roles: the solver's actors are the generators")
        if any(actors.placement_group is not None and actors.count is None for actors in self.actors_for.values()):
            raise ValueError("actors with a placement group need a count")
        if self.generators.placement_group is not None and self.generators.count is None:
            raise ValueError("generators with a placement group need a count")
        if self.verifiers.placement_group is not None and self.verifiers.count is None:
            raise ValueError("verifiers with a placement group need a count")
        return self

    @field_validator("address")
    @classmethod
    def _no_ray_client(cls, address: str | None) -> str | None:
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"{address} is Ray Client, a second protocol that loses work when its connection does; give the "
                f"address of the cluster itself (HOST:6379), or submit the command with `ray job submit`"
            )
        return address

    @classmethod
    def of(cls, given: str | Path | ClusterSpec | None, **fields: Any) -> Self | ClusterSpec:
        """Make a spec from `local`, `ray`, a YAML or TOML file, or another spec; `fields` other than None override it.

        Raises: InvalidParameter with the field's name, UnknownName.
        """
        base: dict[str, Any]
        if isinstance(given, ClusterSpec):
            base = given.model_dump(exclude_unset=True)
        elif given is None or given in ("local", "ray"):
            base = {"cluster": given or "local"}
        elif str(given).endswith((".yaml", ".yml", ".toml")):
            base = _read(Path(given))
        else:
            raise unknown_name("cluster", str(given), ["local", "ray", "FILE.yaml", "FILE.toml"])
        try:
            return cls.model_validate(base | {k: v for k, v in fields.items() if v is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise InvalidParameter(
                f"cluster: {name}: {first['msg'].removeprefix('Value error, ')}", name=name
            ) from None

    def resolved(self, target: Target) -> Target:
        """Complete a target by this description and the environment; the target's own fields go first.

        Raises: InvalidParameter, UnknownName.
        """
        endpoints = {**self.endpoints_for, SOLVER: self.endpoints}
        if self.engine is not None and (self.endpoints or target.get("base_url")):
            raise InvalidParameter("a cluster has endpoints or an engine of its own, but both are given", name="engine")
        engines = {SOLVER: self.engine, **{name: actors.engine for name, actors in self.actors_for.items()}}
        hosted = {name: engine.model for name, engine in engines.items() if engine is not None}
        known = resolved(target, endpoints, hosted)
        return {**known, "cancellation": target.get("cancellation") or self.cancellation}

    def generator_count(self, concurrency: int, *, hosts: bool, role: str = SOLVER) -> Count:
        """The number of generators for so many requests in flight; `hosts`: whether they host an engine; `role`: of
        those that serve this role alone."""
        count = self.actors_for[role].count if role in self.actors_for else self.generators.count
        if count is not None:
            return count
        return "per_node" if hosts else math.ceil(concurrency / STREAMS_PER_GENERATOR)

    def verifier_count(self) -> Count:
        return self.verifiers.count or "per_node"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise InvalidParameter(
            f"the cluster file {path} cannot be read: {error.strerror if isinstance(error, OSError) else error}",
            path=str(path),
        ) from None
    if not isinstance(found, dict):
        raise InvalidParameter(
            f"the cluster file {path} must hold names and values, but holds {type(found).__name__}", path=str(path)
        )
    return found
