"""One request as a call of the client: what it runs, how far it is, and what it has cost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
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
from tts.serve.live import single
from tts.serve.metrics import Counts
from tts.serve.protocol.fields import Asked
from tts.serve.protocol.refusals import Refusal, refusal_of
from tts.serve.waiting import Place
from tts.types import Cost, Sampling, Usage

SINGLE = "single"
Receive = Callable[[], Awaitable[Any]]


class Call:
    """A request under way; an `Observer` of its call.

    Attributes:
        text: of the answer so far, where its tokens can be sent as they come; "" elsewhere.
        broken: whether text that came is no longer that of the answer, because a server failed half-way.
        changed: set whenever there is something to tell.
        cost: what it has cost; None until that is known.
        refusal: why there was no answer, where that was said in a stream.
    """

    def __init__(
        self, asked: Asked, chosen: Chosen, sampling: Sampling, hold: Hold, place: Place, counts: Counts
    ) -> None:
        self.refusal: Refusal | None = None
        self.chosen = chosen
        self.text = ""
        self.broken = False
        self.changed = asyncio.Event()
        self.cost: Cost | None = None
        self._asked = asked
        self._sampling = sampling
        self._hold = hold
        self._place = place
        self._counts = counts
        self._helps: set[str] = set()  # ids of requests that help to decide
        self._used: Counter[str] = Counter()  # tokens
        self._opened = False
        self._samples = self._failed = self._scores = self._tokens = 0
        self._began_s = time.monotonic()

    @property
    def is_live(self) -> bool:
        """Whether the tokens of its one sample are those of the answer."""
        return self._asked.stream and self.chosen.strategy.partition(":")[0].strip() == SINGLE

    @property
    def _strategy(self) -> tuple[Named, Mapping[str, Any]]:
        if not self.is_live:
            return self.chosen.strategy, {}
        spec, _ = as_spec(self.chosen.strategy, None)
        return single, spec.params

    async def answered(self, client: Client) -> Solved:
        """Run it to its answer. Raises: Refusal where there is none."""
        try:
            strategy, params = self._strategy
            solved = await client.solve(
                self._asked.problem,
                strategy,
                params=params,
                budget=self.chosen.limits,
                seed=self._asked.seed,
                sampling=self._sampling,
                observer=self,
                caller=self._hold.key.name,
            )
        except TTSError as error:
            raise refusal_of(error) from None
        if solved.selected is None:
            raise _unanswered(solved)
        return solved

    def close(self) -> None:
        """Give the hold back where the call has come to nothing: called once nothing of it runs any more."""
        self._place.leave(begins=False)
        if not self._opened:
            self.paid(Cost())

    def opened(self) -> None:
        self._opened = True

    def heard(self, event: Event) -> None:
        if type(event) is Progressed:
            self._grow(event)
        elif isinstance(event, Finished):
            self._samples += 1
            self._tokens += event.completion.usage.completion_tokens
            self._use("verification" if event.id in self._helps else "answers", event.usage)
        elif isinstance(event, Scored):
            self._scores += 1
            self._tokens += event.usage.completion_tokens
            self._use("verification", event.usage)
        elif isinstance(event, Failed):
            self._failed += 1
        else:
            return
        self.changed.set()

    def began(self, action: Generate | Verify) -> None:
        self._place.leave(begins=True)
        if isinstance(action, Generate) and action.helps:
            self._helps.add(action.id)

    def decided(self, result: Result) -> None:
        pass

    def paid(self, cost: Cost) -> None:
        self.cost = cost
        generated = self._used["answers"] + self._used["verification"]
        self._counts.used({**self._used, "unused": max(0, cost.tokens - generated)})
        self._hold.settle(cost)

    @property
    def progress(self) -> dict[str, Any]:
        """How far it is: for the comments of a stream."""
        counts = {"samples": self._samples, "scores": self._scores, "failed": self._failed, "tokens": self._tokens}
        return {"strategy": self.chosen.strategy, **counts, "seconds": round(self.seconds, 3)}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_s

    def _use(self, use: str, usage: Usage) -> None:
        self._used[use] += usage.completion_tokens
        self._used["prompt"] += usage.prompt_tokens

    def _grow(self, piece: Progressed) -> None:
        """Add a piece of the text. A try that is repeated begins anew: as long as it says the same, nothing is lost."""
        if not self.is_live:
            return
        before = self.text[piece.offset : piece.offset + len(piece.text)]
        self.broken = self.broken or piece.offset > len(self.text) or not piece.text.startswith(before)
        if piece.offset + len(piece.text) > len(self.text):
            self.text = self.text[: piece.offset] + piece.text


def _unanswered(solved: Solved) -> Refusal:
    if solved.error is None:
        return Refusal(500, "the strategy chose no answer", code="strategy_failed")
    refusal = refusal_of(solved.error.rebuild())
    refusal.message = refusal.message.removeprefix(f"{solved.result.id}: ")
    return refusal


async def unless_gone(receive: Receive, work: Awaitable[Any]) -> Any:
    """The value of the work; None where the client went away first, and the work was cancelled, to its end.

    Args:
        receive: of ASGI, after the body: it gives nothing but the end of the connection.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.wait({working, watching})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
