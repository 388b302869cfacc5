"""Several endpoints as one: where each request goes, how many an endpoint is given, and what happens when one fails.

Requests with the same prompt are siblings. They are kept on one endpoint, whose prefix cache then holds their prompt.
They are sent together; only where an endpoint was measured to gain more from a wait than the wait costs
(`models/prefill.py`) does one of them lead, and the others wait for its first token: never in a race, which the leader
would win, and before they take a slot. Otherwise a request goes where the fewest tokens are outstanding. An endpoint
that is overloaded is given fewer requests at once; one that is down, none, until one request has found out that it is
back.

A request that was refused before any work was done for it has cost nothing. Where there was no connection, it goes to
another endpoint at once; where the endpoint was overloaded (429, 503), it waits here while others are answered. What
else fails may have cost something, and is raised: whoever keeps the books reserves another try (`core/outages.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from tts.core.actions import NO_USAGE, Request
from tts.core.retry import FIRST_S, LONGEST_RETRY_AFTER_S, LONGEST_S, retryable
from tts.errors import (
    BadResponse,
    EndpointError,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    ServerFailed,
    StreamBroken,
    TimedOut,
    Unreachable,
)
from tts.models.openai.completion_builder import Partial
from tts.models.prefill import FirstTokenTimes, Sent
from tts.models.replicas import ASSUMED_SLOTS, Homes, Ranking, Replica, better
from tts.types import Completion, Prompt

OnProgress = Callable[[str, int, float | None], bool | None]  # as in `reading`

_LONG_AGO = float("-inf")
_FAILURES = (Unreachable, ServerFailed, StreamBroken, TimedOut, BadResponse)
_FAILURES_TO_OPEN = 3
_LONGEST_COOLDOWN_S = 8.0
_SUSPICIOUS = 3  # refusals of one request, after which those of others are counted beside its own
_CHANCE = 1e-6  # that a request as welcome as the others is refused so often
_REMEMBERED_GROUPS = 16_384


class Client(Protocol):
    """What the pool needs of an endpoint's client; `openai.OpenAIClient` with `max_retries=0` is one."""

    endpoint: str

    async def complete(
        self, request: Request, partial: Partial, on_progress: OnProgress | None = None
    ) -> Completion: ...

    async def aclose(self) -> None: ...


class _Endpoint(Replica):
    """One client, and what the pool knows of it."""

    def __init__(self, client: Client, limit: int, cooldown_s: float, slots: int | None, *, spare: bool) -> None:
        self.client = client
        self.spare = spare
        self.name = client.endpoint
        self.most = limit if slots is None else min(limit, slots)
        self.slots = slots or ASSUMED_SLOTS
        self.limit = float(self.most)
        self.silent: dict[_Ask, float] = {}  # what waits for its first token, and when it was sent, oldest first
        self.decoding = 0
        self._says_slots = slots is not None
        self.failures = 0  # in a row, those of one moment counted once
        self.last_error = ""
        self.answers_badly = False  # whether that was a BadResponse
        self.failed_s = _LONG_AGO  # when the last of them was counted
        self.refused: set[_Group] = set()  # of whose prompts requests were refused since it last answered one
        self.down = self.paused = False
        self.down_until_s = _LONG_AGO
        self.trying = False  # it was down, and one request is finding out whether it is back
        self.paused_until_s = _LONG_AGO
        self.cut_s = _LONG_AGO  # when the limit was last cut
        self.first_tokens = FirstTokenTimes()
        self._cooldown_s = self._down_s = cooldown_s
        self._pause_s = FIRST_S

    def is_open(self) -> bool:
        return not (self.down or self.paused or self.trying) and self.in_flight + 1 <= self.limit

    def begins(self, ask: _Ask) -> None:
        """A request has its first token."""
        self.silent.pop(ask, None)
        self.decoding += 1
        if not self._says_slots:
            self.slots = max(self.slots or 1, self.decoding)

    def ends(self, first_s: float) -> None:
        """A request ends whose first token came then: what was sent before and has none yet waits for a slot."""
        oldest_s = next(iter(self.silent.values()), None)
        if not self._says_slots and oldest_s is not None and oldest_s < first_s:
            self.slots = self.decoding
        self.decoding -= 1

    def works(self) -> None:
        """A token has come from it."""
        self.failures = 0
        self.trying = False
        self.refused.clear()
        self._down_s = self._cooldown_s

    def finished(self) -> None:
        self.works()
        self.limit = min(float(self.most), self.limit + 1 / self.limit)
        self._pause_s = FIRST_S

    def overloaded(self, now_s: float, sent_s: float, retry_after_s: float | None) -> None:
        """Halve what was in flight, once for all the refusals of one burst."""
        if sent_s >= self.cut_s:
            self.limit = max(1.0, min(self.limit, self.in_flight) / 2)
            self.cut_s = now_s
            self.paused_until_s = now_s + self._pause_s
            self.paused = True
            self._pause_s = min(2 * self._pause_s, LONGEST_S)
        if retry_after_s is not None:
            self.paused_until_s = max(self.paused_until_s, now_s + min(retry_after_s, LONGEST_RETRY_AFTER_S))
            self.paused = True

    def failed(self, now_s: float, sent_s: float, error: EndpointError) -> None:
        """Count a failure: streams that break at one moment break for one reason, and are one."""
        self.last_error, self.answers_badly = error.message, isinstance(error, BadResponse)
        if sent_s < self.failed_s:
            return
        self.failures += 1
        self.failed_s = now_s
        if self.failures >= _FAILURES_TO_OPEN and not self.down:
            self.down = True
            self.down_until_s = now_s + self._down_s
            self._down_s = min(2 * self._down_s, _LONGEST_COOLDOWN_S)

    def waits_until_s(self, now_s: float) -> float | None:
        """When it is to be looked at again, of one that is left alone; None: now it may be used."""
        self.down = self.down and now_s < self.down_until_s
        self.paused = self.paused and now_s < self.paused_until_s
        until_s = [self.down_until_s] * self.down + [self.paused_until_s] * self.paused
        return min(until_s, default=None)


class _Group:
    """Siblings: requests with the same prompt."""

    def __init__(self) -> None:
        self.homes: Homes[_Endpoint] = Homes()
        self.in_flight: Counter[_Endpoint] = Counter()
        self.warm: set[_Endpoint] = set()  # where one's first token has come
        self.failed: set[_Endpoint] = set()  # where the last that ended has failed
        self.leading: dict[_Endpoint, asyncio.Event] = {}  # set at the leader's first token, or its end
        self.prompt_tokens: int | None = None

    def sent_to(self, endpoint: _Endpoint) -> None:
        self.in_flight[endpoint] += 1
        self.homes.add(endpoint)

    def started(self, endpoint: _Endpoint) -> None:
        """The prompt is in the endpoint's prefix cache."""
        self.warm.add(endpoint)
        self.failed.discard(endpoint)
        self.let_go(endpoint)

    def let_go(self, endpoint: _Endpoint) -> None:
        if event := self.leading.pop(endpoint, None):
            event.set()


class _Ask:
    """One request, and how often it was refused.

    Attributes:
        failed: where it found nobody.
        refusals: by endpoints that did nothing for it.
        welcome, unwelcome: requests with other prompts that were answered, and refused, since it became suspicious.
    """

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.failed: set[_Endpoint] = set()
        self.refusals = 0
        self.since_s = float("inf")
        self.welcome = self.unwelcome = 0

    def is_alone(self) -> bool:
        """Whether chance does not explain any more that this one is refused and the others are answered."""
        share = self.welcome / (self.welcome + self.unwelcome + 1)
        return self.welcome > 0 and (1 - share) ** (self.refusals - _SUSPICIOUS) < _CHANCE

    def pause_s(self) -> float:
        return min(LONGEST_S, FIRST_S * 2.0 ** min(self.refusals - 1, 8))


class EndpointPool:
    """Sends each request to one of several endpoints, with `complete` as on a single client.

    Args:
        clients: one for each endpoint, made with `max_retries=0`: the pool is what tries again.
        spares: clients of endpoints that are used only while none of the others works.
        max_concurrency: the most requests in flight on one endpoint. On 429 and 503 the number is halved (once per
            burst), and each success adds 1/limit to it again: additive increase, multiplicative decrease.
        patience_s: how long a request puts up with overloaded endpoints while none of them answers anybody, before it
            fails with Overloaded.
        cooldown_s: how long an endpoint is left alone after three failures in a row, doubling up to 8 s.
        slots: endpoint -> the requests that its engine works on side by side, where that is known: it is given no more.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        spares: Sequence[Client] = (),
        max_concurrency: int = 1024,
        patience_s: float = 3.0,
        cooldown_s: float = 1.0,
        slots: Mapping[str, int] = {},
    ) -> None:
        if not clients:
            raise InvalidParameter("clients must hold at least 1 endpoint, but got none", name="clients", value="[]")
        if max_concurrency < 1:
            raise InvalidParameter(
                f"max_concurrency must be at least 1, but got {max_concurrency}",
                name="max_concurrency",
                value=max_concurrency,
            )

        def made(client: Client, *, spare: bool) -> _Endpoint:
            return _Endpoint(client, max_concurrency, cooldown_s, slots.get(client.endpoint), spare=spare)

        self._own = [made(client, spare=False) for client in clients]
        self._spares = [made(client, spare=True) for client in spares]
        self._endpoints = [*self._own, *self._spares]
        self._rankings = {False: Ranking(self._own), True: Ranking(self._spares)}
        self._patience_s = patience_s
        self._refused_s: float | None = None  # when the first was refused after the last answer
        self._decoding = 0  # requests whose first token has come
        self._suspicious: set[_Ask] = set()
        self._groups: OrderedDict[tuple[str | None, Prompt, str], _Group] = OrderedDict()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._followers: dict[object, asyncio.Event] = {}  # each with the first token that it waits for

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every client."""
        for endpoint in self._endpoints:
            await endpoint.client.aclose()

    async def complete(
        self, request: Request, partial: Partial, on_progress: OnProgress | None = None, *, race: bool = False
    ) -> Completion:
        """As `OpenAIClient.complete`; waiting for room counts towards `request.timeout_s`, and costs nothing.

        Args:
            race: whether it matters which of the siblings is first: then none waits for another.

        Raises:
            Unreachable: no endpoint can be reached; it names them all.
            EndpointError: as the endpoint that was asked last raised it.
        """
        group = self._group(request)
        partial.seed = request.seed
        partial.prompt_tokens = group.prompt_tokens
        try:
            if request.timeout_s is None:
                if group.leading and not race:
                    await self._follow(request, group)
                return await self._tries(request, group, partial, on_progress)
            async with asyncio.timeout(request.timeout_s) as scope:
                # The clients are not told of the deadline: this scope is around them, too.
                endless = msgspec.structs.replace(request, timeout_s=None)
                return await self._tries(endless, group, partial, on_progress)
        except TimeoutError:
            if request.timeout_s is None or not scope.expired():
                raise
            return partial.completion("deadline")
        finally:
            group.prompt_tokens = partial.prompt_tokens or group.prompt_tokens

    def limits(self) -> dict[str, int]:
        """For each endpoint, how many requests it is given at once as of now."""
        return {endpoint.name: max(1, int(endpoint.limit)) for endpoint in self._endpoints}

    @property
    def slots(self) -> int:
        """Requests that the endpoints in use work on side by side, as far as they say or have shown it."""
        used = [e for e in self._own if not e.down] or [e for e in self._spares if not e.down]
        return sum(e.slots or ASSUMED_SLOTS for e in used)

    async def _follow(self, request: Request, group: _Group) -> None:
        """Wait for a sibling's first token, where its endpoint was measured to gain more from that than the wait."""
        tokens = _about_tokens(request)
        for endpoint, event in [*group.leading.items()]:
            longest_s = endpoint.first_tokens.longest_wait_s(tokens)
            if longest_s:
                me = object()
                self._followers[me] = event
                try:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(event.wait(), longest_s)
                finally:
                    del self._followers[me]
                return

    def end_waits(self) -> None:
        """Let everyone go that waits for a sibling's first token: somebody else has use for their slots of the run."""
        for event in self._followers.values():
            event.set()

    # -- tries ----------------------------------------------------------------------------------------------------

    async def _tries(
        self, request: Request, group: _Group, partial: Partial, on_progress: OnProgress | None
    ) -> Completion:
        ask = _Ask(group)
        try:
            while True:
                endpoint = await self._place(request, ask)
                try:
                    return await self._run(endpoint, request, ask, partial, on_progress)
                except ModelNotFound as error:
                    ask.failed.add(endpoint)
                    if self._may_serve(ask):
                        partial.restart()
                        continue
                    error.facts |= {"everywhere": True, "usage": msgspec.to_builtins(partial.usage())}
                    raise
                except EndpointError as error:
                    usage = partial.usage()
                    free = usage == NO_USAGE and isinstance(error, Unreachable | Overloaded)
                    if not (free and retryable(error)):
                        error.facts["usage"] = msgspec.to_builtins(usage)
                        raise
                    delay_s = self._delay_s(error, endpoint, ask)
                await self._pause(delay_s, endpoint)
                partial.restart()
        finally:
            self._suspicious.discard(ask)

    def _may_serve(self, ask: _Ask) -> bool:
        """Whether an endpoint that works has not said that it does not serve the model of this request."""
        return any(not (e.down or e.trying) and e not in ask.failed for e in self._endpoints)

    def _delay_s(self, error: EndpointError, endpoint: _Endpoint, ask: _Ask) -> float:
        """Seconds to wait before the next try; 0 where another endpoint can be tried, or `_place` does the waiting.
        Raises the error when no further try makes sense."""
        now_s = asyncio.get_running_loop().time()
        if not isinstance(error, Overloaded):
            ask.failed.add(endpoint)
            return 0.0
        if ask.is_alone():
            error.facts["alone"] = ask.refusals
            error.message += f" It was refused {ask.refusals} times while others were answered."
            raise error
        waited_s = now_s - (now_s if self._refused_s is None else self._refused_s)
        if waited_s >= self._patience_s and not self._decoding:
            error.facts["waited_s"] = waited_s
            raise error
        if endpoint.paused_until_s > now_s and ask.refusals < _SUSPICIOUS:
            return 0.0  # the endpoint is left alone, and its queue is the place to wait
        self._check_pauses()
        asked_s = min(error.facts.get("retry_after_s") or 0.0, LONGEST_RETRY_AFTER_S)
        if asked_s > ask.pause_s() and any(other.is_open() for other in self._endpoints if other is not endpoint):
            ask.failed.add(endpoint)  # it has asked for the pause, and the others have not
            asked_s = 0.0
        if asked_s > self._patience_s and not self._decoding:
            raise self._asked_for_a_pause([endpoint], asked_s)
        return max(ask.pause_s(), asked_s)

    async def _pause(self, delay_s: float, endpoint: _Endpoint) -> None:
        """Wait so long. Raises: Overloaded once nobody else is answered and the rest is longer than patience lasts."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + delay_s
        longest_s = max(self._patience_s, LONGEST_S)
        while (left_s := end_s - loop.time()) > 0:
            if left_s > longest_s and not self._decoding:
                raise self._asked_for_a_pause([endpoint], left_s)
            await asyncio.sleep(min(left_s, longest_s))

    async def _run(
        self, endpoint: _Endpoint, request: Request, ask: _Ask, partial: Partial, on_progress: OnProgress | None
    ) -> Completion:
        """One try, on an endpoint where `_place` has made room for it."""
        loop = asyncio.get_running_loop()
        group = ask.group
        first_s: float | None = None
        warm = endpoint in group.warm
        leads = not warm and endpoint not in group.leading
        sent_s = endpoint.silent[ask] = loop.time()

        def heard(text: str, tokens: int, mean_logprob: float | None) -> bool:
            nonlocal first_s
            if first_s is None:
                first_s = loop.time()
                endpoint.begins(ask)
                self._decoding += 1
                self._works(endpoint, group, sent_s)
                sent: Sent = "after" if warm else "first" if leads else "beside"
                endpoint.first_tokens.note(_about_tokens(request), first_s - sent_s, sent)
                group.started(endpoint)
            return on_progress is None or bool(on_progress(text, tokens, mean_logprob))

        try:
            if leads:
                group.leading[endpoint] = asyncio.Event()
            completion = await endpoint.client.complete(request, partial, heard)
            if first_s is None:
                self._works(endpoint, group, sent_s)
            endpoint.finished()
            return completion
        except EndpointError as error:
            self._note(error, endpoint, ask, sent_s)
            raise
        finally:
            if leads:
                group.let_go(endpoint)
            self._decoding -= first_s is not None
            endpoint.silent.pop(ask, None)
            if first_s is not None:
                endpoint.ends(first_s)
            endpoint.give_back(request.sampling.token_limit)
            endpoint.trying = False
            group.in_flight[endpoint] -= 1
            self._changed(endpoint)
            self._wake()

    # -- what an answer and a failure say ---------------------------------------------------------------------------

    def _works(self, endpoint: _Endpoint, group: _Group, sent_s: float) -> None:
        """It has answered a request."""
        endpoint.works()
        self._refused_s = None
        for ask in self._suspicious:
            ask.welcome += ask.group is not group and sent_s >= ask.since_s

    def _note(self, error: EndpointError, endpoint: _Endpoint, ask: _Ask, sent_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        if isinstance(error, Overloaded):
            self._note_refusal(error, endpoint, ask, sent_s, now_s)
        elif isinstance(error, _FAILURES) and not error.facts.get("alone"):
            ask.group.failed.add(endpoint)
            endpoint.failed(now_s, sent_s, error)
            self._leave_alone(endpoint)

    def _note_refusal(self, error: EndpointError, endpoint: _Endpoint, ask: _Ask, sent_s: float, now_s: float) -> None:
        """An endpoint that refuses two prompts with no answer in between is overloaded, and so is one that nobody else
        asks. That it refuses one prompt may be that prompt's fault, and harms no others."""
        ask.refusals += 1
        for other in self._suspicious:
            other.unwelcome += other.group is not ask.group
        if ask.refusals == _SUSPICIOUS:
            ask.since_s = now_s
            self._suspicious.add(ask)
        if self._refused_s is None:
            self._refused_s = sent_s
        endpoint.refused.add(ask.group)
        if len(endpoint.refused) > 1 or endpoint.in_flight == ask.group.in_flight[endpoint]:
            endpoint.overloaded(now_s, sent_s, error.facts.get("retry_after_s"))
            self._leave_alone(endpoint)

    # -- where to -------------------------------------------------------------------------------------------------

    def _group(self, request: Request) -> _Group:
        key = (request.model, request.messages, request.continue_from)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group()
            if len(self._groups) > _REMEMBERED_GROUPS:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end(key)
        return group

    async def _place(self, request: Request, ask: _Ask) -> _Endpoint:
        """Wait for room on an endpoint, longest waiting first, and take it. Raises: Unreachable if all are down."""
        loop = asyncio.get_running_loop()
        queue_up = self._waiting.append
        try:
            while (endpoint := self._choose(ask)) is None:
                self._check_pauses()
                turn = loop.create_future()
                queue_up(turn)
                await turn
                queue_up = self._waiting.appendleft
        finally:
            self._wake()  # there may be room for the next one as well
        endpoint.take(request.sampling.token_limit)
        endpoint.trying = endpoint.failures >= _FAILURES_TO_OPEN
        self._changed(endpoint)
        ask.group.sent_to(endpoint)
        return endpoint

    def _check_pauses(self) -> None:
        """Raises Overloaded if every endpoint has asked for a longer pause than patience lasts, and none works: who
        waits in silence for that tells nobody."""
        now_s = asyncio.get_running_loop().time()
        end_s = now_s + self._patience_s
        if self._decoding or any(not (e.down or (e.paused and e.paused_until_s > end_s)) for e in self._endpoints):
            return
        paused = [e for e in self._endpoints if not e.down]
        raise self._asked_for_a_pause(paused, min(e.paused_until_s for e in paused) - now_s)

    def _asked_for_a_pause(self, by: Sequence[_Endpoint], pause_s: float) -> Overloaded:
        now_s = asyncio.get_running_loop().time()
        names = ", ".join(endpoint.name for endpoint in by)
        return Overloaded(
            f"{names} asked for a pause of another {pause_s:.0f} s: too many requests (429), or none for now (503). "
            "Lower the concurrency, or add endpoints.",
            endpoint=names,
            waited_s=now_s - (now_s if self._refused_s is None else self._refused_s),
            pause_s=pause_s,
        )

    def _choose(self, ask: _Ask) -> _Endpoint | None:
        """Where to go now (`replicas.better`); None if there is no room. Raises: Unreachable if all are down."""
        # While one request finds out whether an endpoint is back, the others need not wait for it.
        spare = not any(not endpoint.down and not endpoint.trying for endpoint in self._own)
        if spare and all(endpoint.down for endpoint in self._spares):
            if any(not endpoint.down for endpoint in self._own):
                return None
            raise self._all_down()
        fresh = not ask.failed or any(not (e.down or e.trying) and e not in ask.failed for e in self._of(spare))
        if not fresh and not spare and any(not e.down and e not in ask.failed for e in self._spares):
            spare = fresh = True
        but = ask.failed if fresh else set()
        least = None
        if ask.group.failed:  # siblings' experience, while there is an alternative of the same kind
            least = self._rankings[spare].least(but | ask.group.failed)
            but = but if least is None else but | ask.group.failed
        least = least or self._rankings[spare].least(but)
        if least is None:
            return None
        home = ask.group.homes.least(lambda e: e.is_open() and e.spare is spare and e not in but)
        return better(home, least)

    def _of(self, spare: bool) -> list[_Endpoint]:
        return self._spares if spare else self._own

    def _wake(self) -> None:
        """Let the first in the queue look for room."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its request was cancelled
                turn.set_result(None)
                return

    def _leave_alone(self, endpoint: _Endpoint) -> None:
        """Look at it again when it may be used."""
        loop = asyncio.get_running_loop()
        until_s = endpoint.waits_until_s(loop.time())
        if until_s is not None:
            loop.call_at(until_s, self._leave_alone, endpoint)
            return
        self._changed(endpoint)
        self._wake()

    def _changed(self, endpoint: _Endpoint) -> None:
        self._rankings[endpoint.spare].put(endpoint)

    def _all_down(self) -> EndpointError:
        each = "; ".join(f"{endpoint.name}: {endpoint.last_error}" for endpoint in self._endpoints)
        badly = all(endpoint.answers_badly for endpoint in self._endpoints)  # else waiting may help
        return (BadResponse if badly else Unreachable)(
            f"none of the {len(self._endpoints)} endpoints works. {each}",
            endpoint=", ".join(endpoint.name for endpoint in self._endpoints),
        )


def _about_tokens(request: Request) -> int:
    """Of the prompt, as English text has them: four characters each."""
    return (sum(len(message.content) for message in request.messages) + len(request.continue_from)) // 4
