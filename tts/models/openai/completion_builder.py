"""A completion under way: fed by chunks, and readable at any moment, also after an error or a cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tts.models.openai.logprob_meter import LogprobMeter
from tts.models.openai.token_count import MOST_TOKENS, TokenCount
from tts.models.wire.sse import Chunk, PlainChunk
from tts.types import Completion, FinishReason, Timing, Usage

_MOST_A_CHUNK = 16  # tokens, where the first one came alone and nothing else is known
_LEAST_S = 0.5  # of a stream, before its pace counts
_NOTHING = Usage()


class CompletionBuilder(TokenCount):
    """A completion under way. The caller makes one, hands it to `complete`, and can read it at any moment; after a
    cancellation, `builder.completion("cancelled")` has the text so far and its cost.

    Attributes:
        most_prompt: upper bound of the prompt's tokens (`actions.prompt_bound`), charged while their number is unknown.
        stops: the request's stop strings.
        lost: cost of earlier tries of the same request.
        attempt: 1 for the first try.
        on_begin: called before a request leaves.
        on_cancel: to be called before its task is cancelled: the server hears of it at once, and not when the task has
            its turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stops: str | tuple[str, ...] = ()
        self.lost = _NOTHING
        self.on_begin: Callable[[], None] | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.attempt = 1
        self.seed: int | None = None
        self.model = ""
        self.endpoint = ""
        self.downgrades: tuple[str, ...] = ()
        self.most_prompt = 0
        self._clear_try()

    def _clear_try(self) -> None:
        self._charge: int | None = None  # charged in place of `tokens`, because the server may have gone on
        self._charged = False
        self._first_s: float | None = None

    # -- for the client -----------------------------------------------------------------------------------------

    def begin(self, now_s: float) -> None:
        """Note that the request leaves: from here on its prompt is charged."""
        if self.on_begin is not None:
            self.on_begin()
        self._sent_s = self._end_s = now_s
        self._charged = True
        self._one_token_chunks = self.chunking.one_token

    def refused(self) -> None:
        """Note that the server did no work for this try, which costs nothing."""
        self._charged = False

    def charge_in_full(self) -> None:
        """Charge this try with its limit, until which the server may decode on, unseen."""
        if self.done:
            self.charge_unsent()
        elif self._charged and not self.ended:
            self._charge = max(self._seen(), self.max_tokens or 0)

    def charge_in_flight(self, chunks: int, first_alone: bool = False) -> None:
        """Charge a closed stream with so many chunks that may have been on their way or being decoded, at the tokens a
        chunk of this stream or of earlier ones; in full if neither is known.

        Args:
            first_alone: whether the engine is of a kind that sends its first token alone.
        """
        size = self._tokens_a_chunk()
        if size is None and first_alone and self.chunks <= 1:
            size = _MOST_A_CHUNK if self.chunks else 1
        if not chunks or self.done:
            self.charge_unsent()
        elif self.ended or not self._charged:
            self._charge = None
        elif size is None:
            self.charge_in_full()
        else:
            self._charge_beyond(chunks * max(1, math.ceil(size)))

    def charge_unsent(self) -> None:
        """Charge a stream that broke off: a server that sends several tokens in a chunk may have decoded all but the
        last of one that it has not sent. If its chunks are unknown, those that came may have had a token a byte."""
        if self.finished or not self._charged:
            self._charge = None
        elif (size := self._tokens_a_chunk()) is not None:
            self._charge_beyond(math.ceil(size) - 1)
        elif self.chunks > 1:
            seen = self._seen()
            most = max(seen, self._text_bytes())
            self._charge_beyond(most - seen + math.ceil(most / self.chunks) - 1)
        else:
            self._charge_beyond(_MOST_A_CHUNK - 1 if self.chunks else 0)

    def _charge_beyond(self, tokens: int) -> None:
        """Charge the tokens seen and so many more, up to the number allowed."""
        seen = self._seen()
        most = seen + max(0, tokens)
        if self.max_tokens is not None and not self.overran:
            most = max(seen, min(most, self.max_tokens))
        self._charge = most if most > seen else None

    def restart(self) -> None:
        """Begin another try; the cost of the last one is kept in `lost`."""
        self.lost += self._usage_of_this_try()
        self.attempt += 1
        self._clear_count()
        self._clear_try()

    def feed(self, chunk: Chunk, now_s: float, max_tokens: int | None = None) -> tuple[str, int, float | None]:
        """Take in one chunk: its visible text, its tokens, and their mean log-probability (None: not shown).

        A chunk that exceeds `max_tokens` without ending the completion sets `overran`: it is counted, because the
        server decoded it, and its text is not kept.
        """
        before, counted, summed = self.tokens, self._meter.count, self._meter.sum
        text = reasoning = ""
        for choice in chunk.choices or ():
            if choice.index == self._index or self._is_asked_for(choice):
                more, thoughts = self._take(choice)
                text, reasoning = text + more, reasoning + thoughts
                if choice.finish_reason:
                    self.stop_said = chunk.stopped_by(choice)
        self._end_s = now_s
        if chunk.usage is not None or chunk.timings is not None:
            self._count_reported(chunk)
        if chunk.model and not self.model:
            self.model = chunk.model
        limit = None if max_tokens is None else max_tokens + self._others
        if self.overran or (limit is not None and self.tokens > limit and self._overruns(limit)):
            self.overran = True
            text = reasoning = ""
        if text or reasoning or (self._calls is not None and self._first_s is None):
            self._keep(text, reasoning, now_s)
        new = self._meter.count - counted
        mean = (self._meter.sum - summed) / new if new else None
        return text, self.tokens - before, mean if mean is None or math.isfinite(mean) else None

    @property
    def takes_plain(self) -> bool:
        """Whether `feed_plain` may be called: the text has begun, and all chunks so far were plain."""
        begun = self._first_s is not None and self._index is not None and bool(self.model)
        return begun and self.finish is None and not (self.overran or self._meter.count) and self._empty <= 0

    def feed_plain(self, chunks: Iterable[PlainChunk], now_s: float, max_tokens: int | None) -> int:
        """Take in the first of these chunks, as `feed` would, as long as they bring more of the text, and a count that
        goes on or none; returns how many. The others are for `feed`."""
        index, prompt, others, texts = self._index, self.prompt_tokens, self._others, self._texts
        counted, offset, characters, empty = self._counted, self._offset, self._characters, self._empty
        reported = self._reported
        step = self._most_a_chunk if self.continuous and prompt is not None else -MOST_TOKENS
        most = self.tokens + step  # more would show that chunks are larger than was known
        limit = max_tokens + others if max_tokens is not None else self.max_tokens or 0 if step > 0 else MOST_TOKENS
        for chunk in chunks:
            (choice,) = chunk.choices
            text, usage = choice.delta.content, chunk.usage
            new = counted + 1
            if usage is None:
                if reported:
                    break
                tokens = new + others + offset
            else:
                tokens = usage.completion_tokens
                if not new <= tokens <= most or usage.prompt_tokens != prompt or usage.total_tokens != tokens + prompt:
                    break
                most = tokens + step
            if tokens > limit or not text or choice.index != index:
                break
            counted, characters, reported = new, characters + len(text), usage is not None
            offset, empty = tokens - new - others, 0 if reported else empty
            texts.append(text)
        taken = counted - self._counted
        if taken:
            self.chunks += taken
            self.tokens = counted + others + offset
            self._counted, self._offset, self._characters, self._empty = counted, offset, characters, empty
            self._uncounted = 0 if reported else self._uncounted + taken
            self._reported, self.exact_tokens = reported, reported or self._one_token_chunks
            self._end_s = now_s
        return taken

    def feed_after_end(self, chunk: Chunk) -> None:
        """Take in a chunk that came after the completion's end: only its cost counts."""
        for choice in chunk.choices or ():
            self._pass_by(choice)
        if chunk.usage is not None:
            self._count_reported(chunk)

    def follow_groups(self, tokens: int) -> None:
        """Follow the confidence of groups of so many tokens. To be called before the first chunk."""
        self.group = tokens
        self._meter = LogprobMeter(tokens)

    def drop_logprobs(self) -> None:
        """Keep no log-probabilities of this completion, because some were not numbers."""
        self._meter = LogprobMeter(self.group)
        self._logprobs_dropped = True
        if "logprobs" not in self.downgrades:
            self.downgrades += ("logprobs",)

    def stop(self, now_s: float) -> None:
        """End the try. If its server's count has not come, or cannot be believed, its tokens are estimated."""
        self.on_cancel = None
        if self._sent_s is not None:
            self._end_s = now_s
        self.tokens = self._seen()

    def charge_at_least_one(self) -> None:
        """Charge a token for a completion without a count, so that an open number of samples has an end."""
        if not self.tokens:
            self.tokens, self.exact_tokens = 1, False

    def _keep(self, text: str, reasoning: str, now_s: float) -> None:
        if self._first_s is None:
            self._first_s = now_s
        if text:
            self._texts.append(text)
        if reasoning:
            self._reasonings.append(reasoning)

    # -- for any reader -----------------------------------------------------------------------------------------

    @property
    def is_refused(self) -> bool:
        """Whether no server has worked for the request, which waits to be sent again and has cost nothing."""
        tried = self.attempt > 1 or self._sent_s is not None
        return tried and not self._charged and self.lost == Usage()

    def usage(self) -> Usage:
        """The cost of all tries so far. `approximate` where the server's own count has not come: then the prompt
        counts as the most that it can be, unless a sibling taught it."""
        used = self._usage_of_this_try()
        return used if self.lost is _NOTHING else self.lost + used

    @property
    def last_s(self) -> float | None:
        """When the last chunk came; None before the first text."""
        return None if self._first_s is None else self._end_s

    @property
    def pace(self) -> float:
        """Chunks with text a second since the first one of this try; 0 while that is not long ago."""
        first_s, last_s = self._first_s, self.last_s
        if first_s is None or last_s is None or last_s - first_s < _LEAST_S:
            return 0.0
        return (self.chunks - 1) / (last_s - first_s)

    @property
    def lowest_group(self) -> float | None:
        """The lowest confidence of a whole group of this try's tokens so far; None before the first is whole."""
        return self._meter.lowest_group

    @property
    def logprob_totals(self) -> tuple[float, int, float, int]:
        """The sum of the log-probabilities so far and their number; the sum of the tokens' confidence, and its."""
        meter = self._meter
        return meter.sum, meter.count, meter.confidence, meter.confident

    def completion(self, finish_reason: FinishReason) -> Completion:
        """The text so far, as a completion that ended for this reason."""
        sent, first, end = self._sent_s, self._first_s, self._end_s
        timing = (
            Timing() if sent is None or end is None else Timing(end - sent, None if first is None else first - sent)
        )
        return Completion(
            self.text,
            finish_reason,
            self.usage(),
            timing,
            self.reasoning,
            self._meter.summary(),
            self.seed,
            self.model,
            self.endpoint,
            self.attempt,
            self.downgrades,
            tool_calls=self.tool_calls,
            stopped_by=self._stopped_by() if finish_reason == "stop" and self.stops else None,
        )

    def _stopped_by(self) -> str | None:
        """The stop string of the request that ended the text. The server's own, for the turns of its model, are ends
        like any other."""
        said = self.stop_said
        return said if isinstance(said, str) and said in self.stops else None

    def _usage_of_this_try(self) -> Usage:
        if not self._charged:
            return _NOTHING
        prompt = self.prompt_tokens
        tokens = self.tokens if self._charge is None else self._charge
        approximate = prompt is None or not self.exact_tokens or tokens != self.tokens
        if prompt is None:
            prompt = self.most_prompt
        return Usage(prompt, tokens, min(self._cached, prompt), min(self._reasoning_tokens, tokens), approximate)
