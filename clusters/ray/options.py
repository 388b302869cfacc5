"""A cluster's description as the arguments of its actors (`ActorInit`) and the options of Ray."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from tts.clusters.ray.actors import ActorInit
from tts.clusters.ray.driver import this_process
from tts.clusters.ray.handle import ROLES, Role
from tts.clusters.spec import Actors, ClusterSpec, Count
from tts.models.function import asked_name
from tts.models.options import Target
from tts.models.wire.capabilities import Cancellation

CONCURRENT_CALLS = 64  # of the protocol's few; none of them is one sample
# Fields of a target that only the driver reads, or that are worked out for each actor.
_NOT_TOLD = frozenset(
    ("prices", "price_in", "price_out", "verifier_price_in", "verifier_price_out", "model_config", "base_url")
)
_epochs = itertools.count(1)  # names of actors are unique in a program, however many runs it makes


class ActorOptions:
    """One cluster's description and target.

    Attributes:
        urls: the endpoints; none where the generators host the engine.
        hosts_judge: whether verifications ask the engine that the generators host.
    """

    def __init__(self, spec: ClusterSpec, target: Target) -> None:
        self.urls: list[str] = [*(target["base_url"] or ())]
        self.hosts_judge = not self.urls and not target.get("verifier_base_url")
        self._spec = spec
        self._target = target

    def actors(self, role: Role) -> Actors:
        return self._spec.generators if role == "generator" else self._spec.verifiers

    def count(self, role: Role) -> Count:
        if role == "verifier":
            return self._spec.verifier_count()
        return self._spec.generator_count(self._target["concurrency"], hosts=not self.urls)

    def cpus(self) -> float:
        """CPUs that a Ray started here needs to hold all actors."""
        counts = {role: self.count(role) for role in ROLES}
        return sum((1 if count == "per_node" else count) * self.actors(role).cpus for role, count in counts.items())

    def probed(self) -> list[tuple[str, str | None, str | None]]:
        """The endpoints to be asked whether they stop when a stream is closed: URL, model, key."""
        target = self._target
        found = [(url, asked_name(target.get("model")), target.get("api_key")) for url in self.urls]
        judge = target.get("verifier_base_url")
        if judge and judge not in self.urls:
            found.append((judge, target.get("verifier_model"), target.get("verifier_api_key") or "EMPTY"))
        return found

    def init(
        self,
        role: Role,
        name: str,
        index: int,
        verifiers: Mapping[str, str | None],
        cancellations: Mapping[str, Cancellation],
    ) -> ActorInit:
        """Make the arguments of the next actor at this slot. Generator number `index` has its part of the endpoints as
        its own, and the others as spares; verifiers have them all."""
        spec, urls, count = self._spec, self.urls, self.count(role)
        own = urls
        if role == "generator" and urls and count != "per_node":
            own = urls[index % count :: count] or [urls[index % len(urls)]]
        plain: dict[str, Any] = {key: value for key, value in self._target.items() if key not in _NOT_TOLD}
        if role == "generator" and not self.hosts_judge:
            plain = {key: value for key, value in plain.items() if not key.startswith("verifier_")}
        engine: dict[str, Any] | None = None
        if not urls:
            engine = spec.engine.model_dump() if spec.engine is not None else {"kind": "embedded"}
            engine = engine if role == "generator" else {"kind": "none"}
        actors = self.actors(role)
        return ActorInit(
            name,
            next(_epochs),
            {**plain, "base_url": own},
            tuple(url for url in urls if url not in own),
            engine,
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
