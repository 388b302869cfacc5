"""Runs a scheduler on the simulated, the local and the Ray cluster alike, for the tests that compare them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from tts.clusters.local import open_local
from tts.clusters.spec import ClusterSpec
from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Event, Request
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Record
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import ContextTooLong
from tts.models.cost_model import CostModel
from tts.models.target import resolved
from tts.plugins.dependencies import verifiers_of
from tts.plugins.names import allocator_of
from tts.plugins.parts import part
from tts.plugins.spec import parse_allocators, parse_specs
from tts.runs.folder import NoJournal
from tts.testing.replies import Misbehaviour, Script
from tts.types import Completion, LogprobSummary, Problem, Sampling, Timing, TokenLogprob, Usage

SAMPLING = Sampling(max_tokens=40, top_logprobs=5)


class Kept(NoJournal):
    """A journal in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records: Iterable[Record]) -> None:
        self.records += records


class ScriptedWorld:
    """What a FakeEngine with this script would say, in virtual time."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def complete(self, request: Request) -> tuple[float, Completion | ContextTooLong]:
        body: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "seed": request.seed,
            "prefill": request.continue_from,
        }
        reply = self._script(body)
        if reply.misbehave is Misbehaviour.CONTEXT_TOO_LONG:
            return 0.01, ContextTooLong("too long")
        tokens = reply.tokens[: request.sampling.max_tokens]
        logprobs = None
        if reply.logprobs is not None:
            tail = tuple(TokenLogprob(top[0][0], top[0][1], top) for top in reply.logprobs)
            logprobs = LogprobSummary(tail[0].logprob, tail[0].logprob, tail=tail)
        cut = len(tokens) < len(reply.tokens)
        usage, finish = Usage(10, len(tokens)), "length" if cut else "stop"
        timing = Timing(len(tokens) * 0.01)
        completion = Completion("".join(tokens), finish, usage, timing, logprobs=logprobs, seed=request.seed)
        return timing.total_s, completion


class Carrier:
    """One cluster, ready for any number of runs. A context manager.

    Args:
        kind: `simulated`, `local` or `ray`.
        url: of the engine that runs `script`.
        spec: of the Ray cluster.
    """

    def __init__(self, kind: str, script: Script, url: str | Sequence[str], spec: ClusterSpec | None = None) -> None:
        self.kind = kind
        self.backend: Any = None
        self._script = script
        self._url = url
        self._spec = spec
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()

    def __enter__(self) -> Carrier:
        target = resolved({"base_url": self._url or [], "concurrency": 64})
        if self.kind == "local":
            self.backend = self._runner.run(self._stack.enter_async_context(open_local(target)))
        elif self.kind == "ray":
            from tts.clusters.ray.cluster import open_ray

            assert self._spec is not None
            self.backend = self._runner.run(self._stack.enter_async_context(open_ray(self._spec, target)))
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def idle(self, seconds: float) -> None:
        """Let the backend mind its actors for a while."""
        self._runner.run(asyncio.sleep(seconds))

    def open_verifiers(self) -> None:
        self._runner.run(self.backend.open_verifiers())

    def run(
        self,
        text: str,
        problems: Sequence[Problem],
        *,
        share: Limits = Limits(),
        limits: Limits = Limits(),
        history: Sequence[Record] = (),
        window: int = 64,
        shared: tuple[str, Limits] | None = None,
        on_events: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> tuple[list[Record], dict[str, Result], Scheduler]:
        """The records it wrote, the results by trial, and the scheduler, whose ledger held at every step."""
        (spec,) = parse_specs(text)
        verifiers = verifiers_of([spec], None if self.backend is None else self.backend.verifier)
        costs = CostModel()
        shared_budgets = {}
        if shared is not None:
            (how,) = parse_allocators(shared[0])
            shared_budgets["cell"] = SharedBudget("cell", allocator_of(how), shared[1], costs)
        scheduler = Scheduler(
            [Planned("cell", problem, spec, share) for problem in problems],
            part,
            costs=costs,
            shared_budgets=shared_budgets,
            verifiers=verifiers,
            sampling=SAMPLING,
            limits=limits,
            window=window,
            history=History(history),
        )
        kept, results = Kept(), dict[str, Result]()

        def decided(result: Result, _: object) -> None:
            results[result.id] = result

        def within(events: Sequence[Event]) -> None:
            ledger = scheduler.ledger
            assert limits.tokens is None or ledger.spent.tokens + ledger.reserved.tokens <= limits.tokens
            on_events(events)

        if self.kind == "simulated":
            SimulatedCluster(ScriptedWorld(self._script), verifiers).run(scheduler, kept, decided)
        else:
            cluster = self._runner.run(self.backend.cluster(verifiers))
            self._runner.run(cluster.run(scheduler, kept, decided, within))
        return kept.records, results, scheduler


def replayed(text: str, problems: Sequence[Problem], records: Sequence[Record], share: Limits = Limits()) -> Any:
    """A fresh scheduler told what the journal says: the first step that it takes."""
    (spec,) = parse_specs(text)
    scheduler = Scheduler(
        [Planned("cell", problem, spec, share) for problem in problems],
        part,
        costs=CostModel(),
        verifiers=verifiers_of([spec], None),
        sampling=SAMPLING,
        history=History(records, refeed=True),
    )
    return scheduler.start()
