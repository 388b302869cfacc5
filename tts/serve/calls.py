"""One request as calls of the client, one for each prompt: what they run, how far they are, and what they have cost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from tts.api.arguments import as_spec
from tts.api.client import Client
from tts.api.results import Solved
from tts.core.actions import Event, Failed, Finished, Generate, Progressed, Scored, Verify
from tts.core.result import Result
from tts.errors import TTSError
from tts.plugins.given import Named
from tts.serve.accounts import Hold
from tts.serve.catalogue import Chosen
from tts.serve.choices import SINGLE, strategy_name
from tts.serve.live import LiveText, single
from tts.serve.metrics import Counts
from tts.serve.protocol.fields import Asked
from tts.serve.protocol.progress import TypedEvents
from tts.serve.protocol.refusals import AGAIN_S, STOPPING, Refusal, refusal_of
from tts.serve.waiting import Place
from tts.types import Candidate, Cost, Problem, Sampling, Usage

Receive = Callable[[], Awaitable[Any]]


class Call:
    """A prompt's search under way; an `Observer` of its call.

    Attributes:
        texts: place of a choice -> its text so far, where tokens can be sent as they come; empty elsewhere.
        result: what its strategy has chosen, perhaps before its bill is known; None before that.
        is_live: whether the tokens of its samples are those of its choices.
        changed: set whenever there is something to tell.
        cost: what it has cost; None until that is known.
        progress: samples, scores, failures and tokens so far.
        events: not sent yet; None where progress is told in comments.
    """

    def __init__(
        self,
        asked: Asked,
        problem: Problem,
        chosen: Chosen,
        sampling: Sampling,
        hold: Hold,
        place: Place,
        counts: Counts,
        changed: asyncio.Event,
    ) -> None:
        self.chosen = chosen
        self.is_live = asked.stream and strategy_name(chosen.strategy) == SINGLE
        self.texts: dict[int, LiveText] = {}
        self.result: Result | None = None
        self.changed = changed
        self.cost: Cost | None = None
        self.progress = Counter(samples=0, scores=0, failed=0, tokens=0)
        self.events = TypedEvents() if asked.stream and chosen.events else None
        self._asked = asked
        self._problem = problem
        self._sampling = sampling
        self._hold = hold
        self._place = place
        self._counts = counts
        self._helps: set[str] = set()  # ids of requests that help to decide
        self._used: Counter[str] = Counter()  # tokens
        self._opened = False
        self._places: dict[str, int] = {}  # of samples, in the order of asking
        self._began_s = time.monotonic()

    @property
    def _is_single(self) -> bool:
        return strategy_name(self.chosen.strategy) == SINGLE

    @property
    def _strategy(self) -> tuple[Named, Mapping[str, Any]]:
        count = self._asked.count
        if not self._is_single or not (self.is_live or count > 1):
            return self.chosen.strategy, {}
        spec, _ = as_spec(self.chosen.strategy, None)
        return single, {**spec.params, **({"choices": count} if count > 1 else {})}

    async def answered(self, client: Client) -> Solved:
        """Run it to its answer. Raises: Refusal where there is none."""
        try:
            strategy, params = self._strategy
            solved = await client.solve(
                self._problem,
                strategy,
                params=params,
                budget=self.chosen.limits,
                seed=self._asked.seed,
                sampling=self._sampling,
                best=self._asked.count,
                observer=self,
                caller=self._hold.key.name,
                allocator=self.chosen.allocator,
            )
        except TTSError as error:
            raise refusal_of(error) from None
        if solved.selected is None:
            raise _unanswered(solved)
        self.decided(solved.result)
        return solved

    def choices(self) -> dict[int, Candidate]:
        """What has been chosen, by place: texts that are on their way already keep theirs, the others follow in their
        order."""
        assert self.result is not None, "it has chosen"
        ranked = self.result.ranked or ((self.result.selected,) if self.result.selected else ())
        found = {place: each for each in ranked if (place := self._places.get(each.id)) in self.texts}
        free = (place for place in range(self._asked.count) if place not in found)
        return {**found, **dict(zip(free, (each for each in ranked if each not in found.values()), strict=False))}

    def close(self) -> None:
        """Give the hold back where the call has come to nothing: called once nothing of it runs any more."""
        self._place.leave(begins=False)
        if not self._opened:
            self.paid(Cost())

    def opened(self) -> None:
        self._opened = True

    def began(self, action: Generate | Verify) -> None:
        self._place.leave(begins=True)
        if isinstance(action, Generate) and action.helps:
            self._helps.add(action.id)
        else:
            self._places.setdefault(action.id, len(self._places))
        if self.events is not None:
            self.events.began(action, self.seconds)
            self.changed.set()

    def heard(self, event: Event) -> None:
        if self.events is not None:
            self.events.heard(event, self.seconds)
        if type(event) is Progressed:
            self._grow(event)
        elif isinstance(event, Finished):
            self.progress.update(samples=1, tokens=event.usage.completion_tokens)
            self._use("verification" if event.id in self._helps else "answers", event.usage)
        elif isinstance(event, Scored):
            self.progress.update(scores=1, tokens=event.usage.completion_tokens)
            self._use("verification", event.usage)
        elif isinstance(event, Failed):
            self.progress.update(failed=1)
        elif self.events is None:
            return
        self.changed.set()

    def decided(self, result: Result) -> None:
        if self.result is None:
            self.result = result
            if self.events is not None:
                self.events.decided(result, self.seconds)
            self.changed.set()

    def paid(self, cost: Cost) -> None:
        self.cost = cost
        generated = self._used["answers"] + self._used["verification"]
        self._counts.used({**self._used, "unused": max(0, cost.tokens - generated)})
        self._hold.settle(cost)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_s

    def _use(self, use: str, usage: Usage) -> None:
        self._used[use] += usage.completion_tokens
        self._used["prompt"] += usage.prompt_tokens

    def _grow(self, piece: Progressed) -> None:
        if self.is_live:
            place = self._places.setdefault(piece.id, len(self._places))
            self.texts.setdefault(place, LiveText()).add(piece.text, piece.offset)


class Calls:
    """The searches of one request, one for each prompt.

    Args:
        count: number of choices of each.

    Attributes:
        changed: set whenever there is something to tell of one of them.
        refusal: why there was no answer, where that was said in a stream.
    """

    def __init__(self, calls: Sequence[Call], count: int, changed: asyncio.Event) -> None:
        self.refusal: Refusal | None = None
        self.calls = calls
        self.changed = changed
        self._count = count
        self._tasks: list[asyncio.Future[Solved]] = []
        self._stopped = False

    async def answered(self, client: Client) -> list[Solved]:
        """Run them to their answers. Raises: Refusal where one has none; the others are then cancelled."""
        self._tasks = [asyncio.ensure_future(call.answered(client)) for call in self.calls]
        try:
            return await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            raise Refusal(503, STOPPING, code="stopping", again_s=AGAIN_S) from None
        finally:
            self._cancel()
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """Cancel them, as the server has no time left for them: `answered` says so."""
        self._stopped = True
        self._cancel()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def choices(self) -> dict[int, Candidate]:
        """What those that have decided have chosen, by index in the reply."""
        return {
            self._index(i, place): candidate
            for i, call in enumerate(self.calls)
            if call.result is not None
            for place, candidate in call.choices().items()
        }

    def texts(self) -> dict[int, LiveText]:
        """The texts of choices that come as they are decoded, by index in the reply."""
        return {self._index(i, place): text for i, call in enumerate(self.calls) for place, text in call.texts.items()}

    def _index(self, call: int, place: int) -> int:
        return call * self._count + place

    @property
    def is_live(self) -> bool:
        """Whether tokens are sent as they come, which then is the progress."""
        return all(call.is_live for call in self.calls)

    def progress(self) -> dict[str, Any]:
        """How far they are: for the comments of a stream."""
        counts = sum((call.progress for call in self.calls), Counter())
        names = ("samples", "scores", "failed", "tokens")
        first = self.calls[0]
        return {
            "strategy": first.chosen.strategy, **{name: counts[name] for name in names},
            "seconds": round(first.seconds, 3),
        }  # fmt: skip

    @property
    def has_events(self) -> bool:
        """Whether progress is told in events with types, and not in comments."""
        return self.calls[0].events is not None

    def events(self) -> bytes:
        """The typed events since the last time, as a piece of a stream."""
        return b"".join(call.events.take() for call in self.calls if call.events is not None)

    @property
    def cost(self) -> Cost | None:
        """What they have cost; None until that is known."""
        costs = [call.cost for call in self.calls]
        return None if None in costs else Cost.sum([cost for cost in costs if cost is not None])

    def close(self) -> None:
        """See `Call.close`."""
        for call in self.calls:
            call.close()


def _unanswered(solved: Solved) -> Refusal:
    if solved.error is None:
        return Refusal(500, "the strategy chose no answer", code="strategy_failed")
    refusal = refusal_of(solved.error.rebuild())
    refusal.message = refusal.message.removeprefix(f"{solved.result.id}: ")
    return refusal


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Any]) -> Any:
    """The value of the work; None where the client went away first, and the work was cancelled, to its end. The work of
    a client that has gone already, as many have when a server lags behind, is not begun.

    Args:
        receive: of ASGI, after the body: it gives nothing but the end of the connection.
    """
    watching = asyncio.ensure_future(_gone(receive))
    working = asyncio.ensure_future(_begun(work, watching))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        watching.cancel()
        working.cancel()
        await ended(working, watching)
        work.close()


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Wait for the ends of tasks, whose errors nobody is told any more."""
    await asyncio.wait(tasks)
    for task in tasks:
        _ = task.cancelled() or task.exception()  # or Python would log it, as one that was forgotten


async def _begun(work: Coroutine[Any, Any, Any], watching: asyncio.Future[None]) -> Any:
    await asyncio.sleep(0)  # the end of a connection that was read together with the request is known after this
    return None if watching.done() else await work


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
