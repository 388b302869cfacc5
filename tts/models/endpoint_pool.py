"""Several endpoints as one: placement of requests, limits by endpoint, and failover.

Requests with the same prompt are siblings. They are kept on one endpoint, whose prefix cache then holds their prompt.
A request that continues a text goes to the endpoint that holds the longest beginning of it.
They are sent together; only where an endpoint was measured to gain more from a wait than the wait costs
(`models/prefill.py`) does one of them lead, and the others wait for its first token: never in a race, which the leader
would win, and before they take a slot. Otherwise a request goes where the fewest tokens are outstanding. An endpoint
that is overloaded is given fewer requests at once; one that is down, none, until one request has found out that it is
back.

A request that was refused before any work was done for it has cost nothing. Where there was no connection, it goes to
another endpoint at once; where the endpoint was overloaded (429, 503), it waits here while others are answered. Any
other failure may have a cost, and is raised: the scheduler reserves another try (`core/outages.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from tts.core.actions import NO_USAGE, Request
from tts.core.retry import LONGEST_RETRY_AFTER_S, LONGEST_S, retryable
from tts.errors import (
    BadResponse,
    CapabilityMissing,
    EndpointError,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    ServerFailed,
    StreamBroken,
    TimedOut,
    Unreachable,
)
from tts.models.endpoint import FAILURES_TO_OPEN, Client, Endpoint, OnProgress
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.prefill import Sent
from tts.models.replicas import ASSUMED_SLOTS, Ranking, better
from tts.models.siblings import SUSPICIOUS, Ask, Beginnings, SiblingGroup
from tts.types import Completion

_FAILURES = (Unreachable, ServerFailed, StreamBroken, TimedOut, BadResponse)
_REMEMBERED_GROUPS = 16_384
_REMEMBERED_TEXTS = 1024  # prompts with texts that are continued


class EndpointPool:
    """Sends each request to one of several endpoints, with `complete` as on a single client.

    Args:
        clients: one for each endpoint, made with `max_retries=0`, because the pool itself tries again.
        spares: clients of endpoints that are used only while none of the others works.
        max_concurrency: the most requests in flight on one endpoint. On 429 and 503 the number is halved (once per
            burst), and each success adds 1/limit to it again: additive increase, multiplicative decrease.
        patience_s: time that a request waits for overloaded endpoints while none of them answers any request, before it
            fails with Overloaded.
        cooldown_s: pause of an endpoint after three failures in a row, doubling up to 8 s.
        slots: endpoint -> requests that its engine runs at once, if known: it is given no more.
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

        def made(client: Client, *, spare: bool) -> Endpoint:
            return Endpoint(client, max_concurrency, cooldown_s, slots.get(client.endpoint), spare=spare)

        self._own = [made(client, spare=False) for client in clients]
        self._spares = [made(client, spare=True) for client in spares]
        self._endpoints = [*self._own, *self._spares]
        self._rankings = {False: Ranking(self._own), True: Ranking(self._spares)}
        self._patience_s = patience_s
        self._refused_s: float | None = None  # when the first was refused after the last answer
        self._decoding = 0  # requests whose first token has come
        self._suspicious: set[Ask] = set()
        self._groups: OrderedDict[int, SiblingGroup] = OrderedDict()
        self._beginnings: OrderedDict[int, Beginnings] = OrderedDict()
        self._cannot_continue: set[Endpoint] = set()
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
        self, request: Request, builder: CompletionBuilder, on_progress: OnProgress | None = None, *, race: bool = False
    ) -> Completion:
        """Complete a request as `OpenAIClient.complete` does; the wait for room counts towards `request.timeout_s`.

        Args:
            race: whether the siblings race: then none waits for another.

        Raises:
            Unreachable: no endpoint can be reached; the error names them all.
            CapabilityMissing: the request continues a text, or is to be continued, which no endpoint is known to be
                able to.
            EndpointError: of the endpoint that was asked last.
        """
        group = self._group(request)
        builder.seed = request.seed
        builder.prompt_tokens = group.prompt_tokens
        try:
            if request.timeout_s is None:
                if group.leading and not race:
                    await self._follow(request, group)
                return await self._tries(request, group, builder, on_progress)
            async with asyncio.timeout(request.timeout_s) as scope:
                # The clients are not told of the deadline: this scope is around them, too.
                endless = msgspec.structs.replace(request, timeout_s=None)
                return await self._tries(endless, group, builder, on_progress)
        except TimeoutError:
            if request.timeout_s is None or not scope.expired():
                raise
            return builder.completion("deadline")
        finally:
            group.prompt_tokens = builder.prompt_tokens or group.prompt_tokens

    def limits(self) -> dict[str, int]:
        """The current limit of requests in flight, by endpoint."""
        return {endpoint.name: max(1, int(endpoint.limit)) for endpoint in self._endpoints}

    @property
    def slots(self) -> int:
        """Requests that the endpoints in use run at once, as far as they report or have shown it."""
        used = [e for e in self._own if not e.down] or [e for e in self._spares if not e.down]
        return sum(e.slots or ASSUMED_SLOTS for e in used)

    async def _follow(self, request: Request, group: SiblingGroup) -> None:
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
        """Release all requests that wait for a sibling's first token, because other requests can use their slots."""
        for event in self._followers.values():
            event.set()

    # -- tries ----------------------------------------------------------------------------------------------------

    async def _tries(
        self, request: Request, group: SiblingGroup, builder: CompletionBuilder, on_progress: OnProgress | None
    ) -> Completion:
        ask = Ask(group)
        if group.continues or request.step:
            ask.failed |= self._cannot_continue
        try:
            while True:
                endpoint = await self._place(request, ask)
                try:
                    return await self._run(endpoint, request, ask, builder, on_progress)
                except CapabilityMissing:  # it was not sent
                    if group.continues or request.step:
                        self._cannot_continue.add(endpoint)
                    ask.failed.add(endpoint)
                    if not self._may_serve(ask):
                        raise
                    continue
                except ModelNotFound as error:
                    ask.failed.add(endpoint)
                    if self._may_serve(ask):
                        builder.restart()
                        continue
                    error.facts |= {"everywhere": True, "usage": msgspec.to_builtins(builder.usage())}
                    raise
                except EndpointError as error:
                    usage = builder.usage()
                    free = usage == NO_USAGE and isinstance(error, Unreachable | Overloaded)
                    if not (free and retryable(error)):
                        error.facts["usage"] = msgspec.to_builtins(usage)
                        raise
                    delay_s = self._delay_s(error, endpoint, ask)
                await self._pause(delay_s, endpoint)
                builder.restart()
        finally:
            self._suspicious.discard(ask)

    def _may_serve(self, ask: Ask) -> bool:
        """Whether an endpoint that works has not said that it does not serve the model of this request."""
        return any(not (e.down or e.trying) and e not in ask.failed for e in self._endpoints)

    def _delay_s(self, error: EndpointError, endpoint: Endpoint, ask: Ask) -> float:
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
        if endpoint.paused_until_s > now_s and ask.refusals < SUSPICIOUS:
            return 0.0  # the endpoint is left alone, and its queue is the place to wait
        self._check_pauses()
        asked_s = min(error.facts.get("retry_after_s") or 0.0, LONGEST_RETRY_AFTER_S)
        if asked_s > ask.pause_s() and any(other.is_open() for other in self._endpoints if other is not endpoint):
            ask.failed.add(endpoint)  # it has asked for the pause, and the others have not
            asked_s = 0.0
        if asked_s > self._patience_s and not self._decoding:
            raise self._asked_for_a_pause([endpoint], asked_s)
        return max(ask.pause_s(), asked_s)

    async def _pause(self, delay_s: float, endpoint: Endpoint) -> None:
        """Wait so long. Raises: Overloaded once nobody else is answered and the rest is longer than patience lasts."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + delay_s
        longest_s = max(self._patience_s, LONGEST_S)
        while (left_s := end_s - loop.time()) > 0:
            if left_s > longest_s and not self._decoding:
                raise self._asked_for_a_pause([endpoint], left_s)
            await asyncio.sleep(min(left_s, longest_s))

    async def _run(
        self, endpoint: Endpoint, request: Request, ask: Ask, builder: CompletionBuilder, on_progress: OnProgress | None
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
            completion = await endpoint.client.complete(request, builder, heard)
            if first_s is None:
                self._works(endpoint, group, sent_s)
            endpoint.finished()
            self._note_text(request, completion, endpoint)
            return completion
        except EndpointError as error:
            self._note(error, endpoint, ask, sent_s)
            raise
        except asyncio.CancelledError:
            self._note_text(request, builder.completion("cancelled"), endpoint)
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

    # -- answers and failures --------------------------------------------------------------------------------------

    def _works(self, endpoint: Endpoint, group: SiblingGroup, sent_s: float) -> None:
        """Note that an endpoint has answered a request."""
        endpoint.works()
        self._refused_s = None
        for ask in self._suspicious:
            ask.welcome += ask.group is not group and sent_s >= ask.since_s

    def _note(self, error: EndpointError, endpoint: Endpoint, ask: Ask, sent_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        if isinstance(error, Overloaded):
            self._note_refusal(error, endpoint, ask, sent_s, now_s)
        elif isinstance(error, _FAILURES) and not error.facts.get("alone"):
            ask.group.failed.add(endpoint)
            endpoint.failed(now_s, sent_s, error)
            self._leave_alone(endpoint)

    def _note_refusal(self, error: EndpointError, endpoint: Endpoint, ask: Ask, sent_s: float, now_s: float) -> None:
        """Count a refusal: an endpoint that refuses two prompts with no answer in between is overloaded, and so is one
        with no other request. The refusal of one prompt may be that prompt's fault, and harms no others."""
        ask.refusals += 1
        for other in self._suspicious:
            other.unwelcome += other.group is not ask.group
        if ask.refusals == SUSPICIOUS:
            ask.since_s = now_s
            self._suspicious.add(ask)
        if self._refused_s is None:
            self._refused_s = sent_s
        endpoint.refused.add(ask.group)
        if len(endpoint.refused) > 1 or endpoint.in_flight == ask.group.in_flight[endpoint]:
            endpoint.overloaded(now_s, sent_s, error.facts.get("retry_after_s"))
            self._leave_alone(endpoint)

    # -- placement ------------------------------------------------------------------------------------------------

    async def count(self, prompt: Request, *, alone: bool = False) -> int | None:
        """Count tokens as `OpenAIClient.count` does, at the first endpoint that can. Raises: the error of one that is
        away, where none of the others can."""
        away: EndpointError | None = None
        for endpoint in sorted(self._endpoints, key=lambda endpoint: endpoint.down):
            try:
                counted = await endpoint.client.count(prompt, alone=alone)
            except EndpointError as error:
                away = error
                continue
            if counted is not None:
                return counted
        if away is not None:
            raise away
        return None

    def _group(self, request: Request) -> SiblingGroup:
        key = _key(request, request.continue_from)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = SiblingGroup()
            if request.continue_from:
                group.continues = True
                self._settle(group, request)
            if len(self._groups) > _REMEMBERED_GROUPS:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end(key)
        return group

    def _settle(self, group: SiblingGroup, request: Request) -> None:
        """Give a group that continues a text its first home."""
        known = self._beginnings.get(_key(request))
        home = None if known is None else known.longest_of(request.continue_from)
        if home is not None:
            group.homes.add(home)
        elif (first := self._groups.get(_key(request))) is not None:
            group.homes = first.homes.copy()

    def _note_text(self, request: Request, completion: Completion, endpoint: Endpoint) -> None:
        """Note where a text is that may be continued: a continuation, or one that did not end by itself."""
        ended = completion.finish_reason == "stop" and not completion.stopped_by
        if not completion.text or (ended and not request.continue_from):
            return
        key = _key(request)
        known = self._beginnings.setdefault(key, Beginnings())
        known.note(request.continue_from, endpoint)
        known.note(request.continue_from + completion.text, endpoint)
        self._beginnings.move_to_end(key)
        if len(self._beginnings) > _REMEMBERED_TEXTS:
            self._beginnings.popitem(last=False)

    async def _place(self, request: Request, ask: Ask) -> Endpoint:
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
            self._wake()  # there may be room for the next request as well
        endpoint.take(request.sampling.token_limit)
        endpoint.trying = endpoint.failures >= FAILURES_TO_OPEN
        self._changed(endpoint)
        ask.group.sent_to(endpoint)
        return endpoint

    def _check_pauses(self) -> None:
        """Check that a wait makes sense. Raises: Overloaded if every endpoint has asked for a longer pause than
        patience lasts, and none works."""
        now_s = asyncio.get_running_loop().time()
        end_s = now_s + self._patience_s
        if self._decoding or any(not (e.down or (e.paused and e.paused_until_s > end_s)) for e in self._endpoints):
            return
        paused = [e for e in self._endpoints if not e.down]
        raise self._asked_for_a_pause(paused, min(e.paused_until_s for e in paused) - now_s)

    def _asked_for_a_pause(self, by: Sequence[Endpoint], pause_s: float) -> Overloaded:
        now_s = asyncio.get_running_loop().time()
        names = ", ".join(endpoint.name for endpoint in by)
        return Overloaded(
            f"{names} asked for a pause of another {pause_s:.0f} s: too many requests (429), or none for now (503). "
            "Lower the concurrency, or add endpoints.",
            endpoint=names,
            waited_s=now_s - (now_s if self._refused_s is None else self._refused_s),
            pause_s=pause_s,
        )

    def _choose(self, ask: Ask) -> Endpoint | None:
        """Choose an endpoint (`replicas.better`); None if there is no room. Raises: Unreachable if all are down."""
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
        return better(home, least, continues=ask.group.continues)

    def _of(self, spare: bool) -> list[Endpoint]:
        return self._spares if spare else self._own

    def _wake(self) -> None:
        """Let the first in the queue look for room."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its request was cancelled
                turn.set_result(None)
                return

    def _leave_alone(self, endpoint: Endpoint) -> None:
        """Pause an endpoint, and look for room when it may be used again."""
        loop = asyncio.get_running_loop()
        until_s = endpoint.waits_until_s(loop.time())
        if until_s is not None:
            loop.call_at(until_s, self._leave_alone, endpoint)
            return
        self._changed(endpoint)
        self._wake()

    def _changed(self, endpoint: Endpoint) -> None:
        self._rankings[endpoint.spare].put(endpoint)

    def _all_down(self) -> EndpointError:
        each = "; ".join(f"{endpoint.name}: {endpoint.last_error}" for endpoint in self._endpoints)
        badly = all(endpoint.answers_badly for endpoint in self._endpoints)  # else waiting may help
        return (BadResponse if badly else Unreachable)(
            f"none of the {len(self._endpoints)} endpoints works. {each}",
            endpoint=", ".join(endpoint.name for endpoint in self._endpoints),
        )


def _about_tokens(request: Request) -> int:
    """An estimate of the prompt's tokens, at four characters each, as in English text."""
    return (sum(len(message.content) for message in request.messages) + len(request.continue_from)) // 4


def _key(request: Request, text: str = "") -> int:
    """A number for a prompt and the text that it ends in: prompts themselves would fill the memory of a server."""
    return hash((request.model, request.messages, text))
