"""A cluster's description as the arguments of its actors (`ActorInit`) and the options of Ray."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from tts.clusters.ray.actor_handle import GENERATOR, VERIFIER, Role
from tts.clusters.ray.actors import ActorInit
from tts.clusters.ray.driver import this_process
from tts.clusters.spec import Actors, ClusterSpec, Count, RoleActors
from tts.core.actions import SOLVER
from tts.models.options import Target
from tts.models.roles.role import JUDGE, ModelRole, Server
from tts.models.target import roles_of
from tts.models.wire.capabilities import Cancellation

CONCURRENT_CALLS = 64  # of the protocol's few; none of them is one sample
# Fields of a target that actors read; the rest is in its roles, or for the driver alone.
_TOLD = frozenset((
    "concurrency", "first_byte_s", "idle_s", "total_s", "threads", "cancellation",
    "verifier_base_url", "verifier_model",
))  # fmt: skip
_epochs = itertools.count(1)  # names of actors are unique in a program, however many runs it makes


class RoleServer(NamedTuple):
    """One server of a role, with the role's name and the model that the server is asked for."""

    role: str
    model: str | None
    server: Server


class ActorOptions:
    """One cluster's description and target.

    Attributes:
        urls: the endpoints of the solver; none where the generators host the engine.
        roles: the models.
        actor_roles: the actors' own roles: generators of all models, verifiers, and generators of one model alone.
        hosts_judge: whether generators carry out the verifications that ask a model.
    """

    def __init__(self, spec: ClusterSpec, target: Target) -> None:
        self.roles = roles_of(target)
        self.urls: list[str] = [server.url for server in self.roles[SOLVER].servers]
        self._spec = spec
        self._target = target
        self._alone = {f"{GENERATOR}-{name}": name for name in spec.actors_for}
        self.actor_roles: tuple[Role, ...] = (GENERATOR, VERIFIER, *self._alone)
        self.hosts_judge = self.serves(JUDGE if JUDGE in self.roles else None, verifies=True) != VERIFIER

    def serves(self, model: str | None, *, verifies: bool) -> Role:
        """The role of the actors that ask the model of this name in the run: its own actors, else generators; but
        verifiers where it is asked for a verification and has servers. A name that is no role's is what verifiers call
        the judge."""
        name = model or SOLVER
        name = name if name in self.roles else JUDGE
        if name in self._spec.actors_for:
            return f"{GENERATOR}-{name}"
        return VERIFIER if verifies and self.roles[name].servers else GENERATOR

    def actors(self, role: Role) -> Actors:
        if role in self._alone:
            return self._spec.actors_for[self._alone[role]]
        return self._spec.generators if role == GENERATOR else self._spec.verifiers

    def count(self, role: Role) -> Count:
        if role == VERIFIER:
            return self._spec.verifier_count()
        name = self._alone.get(role, SOLVER)
        return self._spec.generator_count(self._target["concurrency"], hosts=not self.roles[name].servers, role=name)

    def cpus(self) -> float:
        """CPUs that a Ray started here needs to hold all actors."""
        counts = {role: self.count(role) for role in self.actor_roles}
        return sum((1 if count == "per_node" else count) * self.actors(role).cpus for role, count in counts.items())

    def endpoints(self) -> list[RoleServer]:
        """The servers of all roles."""
        return [RoleServer(name, role.model, server) for name, role in self.roles.items() for server in role.servers]

    def probed(self) -> list[RoleServer]:
        """The endpoints to be asked whether they stop when a stream is closed, each once."""
        return [*{asked.server.url: asked for asked in reversed(self.endpoints())}.values()][::-1]

    def init(
        self,
        role: Role,
        name: str,
        index: int,
        verifiers: Mapping[str, str | None],
        cancellations: Mapping[str, Cancellation],
    ) -> ActorInit:
        """Make the arguments of the next actor at this slot. Generator number `index` has its part of each role's
        endpoints as its own, and the others as spares; verifiers have them all, and host no engine."""
        spec, count = self._spec, self.count(role)
        divided = role != VERIFIER and count != "per_node"
        roles = {
            key: _divided(model, index, int(count)) if divided else model
            for key, model in self.roles.items()
            if (key == self._alone[role] if role in self._alone else key not in spec.actors_for)
            and (model.servers or role != VERIFIER)
        }
        actors = self.actors(role)
        engine = actors.engine if isinstance(actors, RoleActors) else spec.engine if role == GENERATOR else None
        return ActorInit(
            name,
            next(_epochs),
            {key: value for key, value in self._target.items() if key in _TOLD},
            roles,
            None if engine is None else engine.model_dump(),
            verifiers,
            actors.workers or max(1, math.floor(actors.cpus)),
            spec.hedge_after_s,
            cancellations,
            this_process(),
        )

    def ray_options(self, role: Role, node_id: str | None) -> dict[str, Any]:
        """Ray's options for one actor. Ray never restarts it or repeats a call: the group replaces it, with the next
        epoch."""
        actors = self.actors(role)
        options: dict[str, Any] = {
            "num_cpus": actors.cpus,
            "num_gpus": actors.gpus,
            "resources": actors.resources or None,
            "memory": actors.memory_bytes,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": CONCURRENT_CALLS,
            "scheduling_strategy": "SPREAD",
        }
        if actors.placement_group is not None:
            asked = actors.placement_group
            group = placement_group([*asked.bundles], asked.strategy)
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        elif node_id is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return {name: value for name, value in options.items() if value is not None}


def _divided(role: ModelRole, index: int, count: int) -> ModelRole:
    """The role with its `index`-th of `count` parts of the servers; the others are spares."""
    servers = role.servers
    if not servers:
        return role
    own = servers[index % count :: count] or (servers[index % len(servers)],)
    return msgspec.structs.replace(role, servers=own, spares=tuple(s for s in servers if s not in own))
