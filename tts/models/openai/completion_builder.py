"""What has come of a completion so far: fed by chunks, read at any moment, whether it ended well, badly, or was cut."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable

from tts.models.wire.sse import Choice, Chunk, PlainChunk, WireUsage
from tts.types import Completion, FinishReason, LogprobSummary, Timing, TokenLogprob, Usage

TAIL = 8  # tokens whose alternatives are kept
_IMPOSSIBLE = -1000.0  # servers write -inf as -9999 (vLLM) or so; such an alternative says nothing

LONGEST_TOKEN = 6  # characters, in the mean of a text: English prose has 4 to 5 in today's vocabularies
MOST_TOKENS = 1 << 24  # beyond any model's context: a larger count is no count
_LEAST_CHUNKS = 3
_FINE = 2  # characters a chunk, in the mean of so many chunks: less may be pieces of tokens
_FINE_CHUNKS = 32
_IN_A_TOKEN = 4  # characters, of a tool call that is not read
_COARSE = 8  # and more cannot be single tokens
_MOST_PIECES = 8  # chunks a token, while a stream may turn out to be in pieces of tokens
_LONGEST_OF_ALL = 16  # characters a token, in the mean of a text, beyond which no count is believed
_BYTES_A_TOKEN = 3  # for a text in pieces that are clearly more than a token; English prose has 4, Chinese 3
_MOST_A_CHUNK = 16  # tokens, where the first one came alone and nothing else is known
_NOTHING = Usage()
_NO_FINISH = frozenset(("", "null", "none", "None"))
_FASTEST = 4000  # tokens a second: more than any engine generates for one request


class LogprobMeter:
    """Sums token log-probabilities into a `LogprobSummary` as they come."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._minimum = 0.0
        self._certainty = 0.0
        self._certain = 0
        self._tail: deque[TokenLogprob] | None = None

    def add(self, token: str, logprob: float, top: list[tuple[str, float]]) -> None:
        """Kang et al. 2025 (arXiv:2502.18581), eq. 9, for one position, over the alternatives that the server shows,
        renormalised: -1/V Σ_j log(V p_j) with p_j = exp(l_j) / Z."""
        self.count += 1
        self.sum += logprob
        self._minimum = min(self._minimum, logprob)
        if self._tail is None:
            self._tail = deque(maxlen=TAIL)
        self._tail.append(TokenLogprob(token, logprob, tuple(top)))
        shown = [p for _, p in top if p > _IMPOSSIBLE]
        if len(shown) > 1:
            largest = max(shown)  # without it, -800 and -801 would both be 0
            log_z = largest + math.log(sum([math.exp(p - largest) for p in shown]))
            self._certainty += log_z - math.log(len(shown)) - sum(shown) / len(shown)
            self._certain += 1

    def summary(self) -> LogprobSummary | None:
        """None where no log-probabilities came, or their sum is beyond what a number can hold."""
        if not self.count or not math.isfinite(self.sum):
            return None
        certainty = self._certainty / self._certain if self._certain and math.isfinite(self._certainty) else None
        return LogprobSummary(self.sum / self.count, self._minimum, certainty, tuple(self._tail or ()))


class Chunking:
    """How many tokens an endpoint sends in a chunk, learned from its finished streams.

    Attributes:
        most: tokens a chunk, the most that was seen; None before the first finished stream with a count of its tokens.
        finer: whether chunks were seen that are less than a token.
    """

    def __init__(self) -> None:
        self.most: float | None = None
        self.finer = False

    @property
    def one_token(self) -> bool:
        """Whether every chunk has been one token so far."""
        return self.most == 1.0 and not self.finer

    def learn(self, tokens: int, chunks: int) -> None:
        """A stream of so many chunks with text has finished. Its last token may be an end of text that has no chunk,
        and the last of its larger chunks may be shorter than the others. A short one shows nothing by equal numbers."""
        hidden = tokens - chunks
        if hidden in (0, 1):
            if chunks < _LEAST_CHUNKS + hidden:  # two tokens in the second of three: four in three
                return
            most = 1.0
        elif hidden < 0:
            most, self.finer = tokens / chunks, True
        else:
            most = tokens / max(1, chunks - 1)
        self.most = max(most, self.most or 0.0)


class Partial:
    """A completion under way. The caller makes one, hands it to `complete`, and can read it whenever it likes; after a
    cancellation, `partial.completion("cancelled")` is what was generated and what it cost.

    What a server says of its tokens is taken where it is a whole number that the stream bears out: not less than what
    was streamed (a token a chunk, unless tokens are that long; a token a word, since no usual vocabulary has tokens of
    two words; a token for 16 characters), not more than `max_tokens` unless the text is as long as that, or the server
    itemises the rest as reasoning and there was time for it. Otherwise the count is our own, and the usage is
    `approximate`. Chunks after the last credible count are counted at the tokens a chunk that the counts have shown.

    Attributes:
        prompt_tokens: as the server counted them, or as a sibling's request taught; None while unknown.
        most_prompt: the most that they can be (`actions.prompt_bound`): what is charged while they are unknown.
        max_tokens: the most that the server was allowed to generate; None: not known.
        tokens: generated so far in this try, reasoning included: the server's count where it keeps one, else the
            number of chunks with text. `exact_tokens` says whether that is known to be the number of tokens.
        continuous: whether the server reports usage with every chunk.
        chunking: how this server cuts its streams into chunks.
        declined: whether the model refused to answer (`refusal` in place of content).
        done: whether the end of the stream was said, as `[DONE]`.
        lost: what earlier tries of the same request cost.
        attempt: 1 for the first try.
        on_begin: called before a request leaves.
    """

    def __init__(self) -> None:
        self.lost = _NOTHING
        self.on_begin: Callable[[], None] | None = None
        self.attempt = 1
        self.seed: int | None = None
        self.model = ""
        self.endpoint = ""
        self.downgrades: tuple[str, ...] = ()
        self.prompt_tokens: int | None = None
        self.most_prompt = 0
        self.max_tokens: int | None = None
        self.chunking = Chunking()
        self._clear()

    def _clear(self) -> None:
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self.tokens = 0
        self.exact_tokens = False
        self.chunks = 0
        self.overran = False
        self.declined = False
        self.done = False
        self.continuous = False
        self.finish: str | None = None
        self.final_usage: WireUsage | None = None
        self._counted = 0  # our own count of what was streamed
        self._characters = 0
        self._reported = False  # whether `tokens` is the server's count
        self._offset = 0  # of the server's last credible count from our own
        self._first_count: tuple[int, int] | None = None  # the first credible count, and in how many chunks with text
        self._uncounted = 0  # chunks with text since the last one
        self._most_a_chunk = 1  # tokens, as counts after the first one have shown
        self._index: int | None = None  # of the choice that is read; no other was asked for
        self._others = 0  # tokens of other choices: they were generated, too
        self._messages = 0  # whole ones, though a stream was asked for
        self._empty = -1  # chunks of a choice without text, which may be tokens; the first one only says the role
        self._end_said = False
        self._finish_everywhere = False
        self._charge: int | None = None  # what is charged in place of `tokens`, because the server may have gone on
        self._cached = 0
        self._reasoning_tokens = 0
        self._meter = LogprobMeter()
        self._logprobs_dropped = False
        self._sent_s: float | None = None
        self._first_s: float | None = None
        self._end_s: float | None = None
        self._charged = False
        self._one_token_chunks = False

    # -- what the client does -----------------------------------------------------------------------------------

    def begin(self, now_s: float) -> None:
        """The request leaves: from here on its prompt is charged."""
        if self.on_begin is not None:
            self.on_begin()
        self._sent_s = self._end_s = now_s
        self._charged = True
        self._one_token_chunks = self.chunking.one_token

    def refused(self) -> None:
        """The server did no work for this try: it costs nothing."""
        self._charged = False

    def charge_in_full(self) -> None:
        """The server may decode on, unseen, until its limit: that is what this try is charged with."""
        if self.done:
            self.charge_unsent()
        elif self._charged and not self.ended:
            self._charge = max(self._seen(), self.max_tokens or 0)

    def charge_in_flight(self, chunks: int, first_alone: bool = False) -> None:
        """The stream was closed while this many chunks may still have been on their way, or being decoded: they are
        charged, at the tokens a chunk of this stream or of earlier ones. In full where neither is known.

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
        """The stream has broken off: a server that sends several tokens in a chunk may have decoded all but the last of
        one that it has not sent. Where nothing is known of its chunks, those that came may have had a token a byte."""
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
        """Charge what was seen and so many tokens more, but not more than were allowed."""
        seen = self._seen()
        most = seen + max(0, tokens)
        if self.max_tokens is not None and not self.overran:
            most = max(seen, min(most, self.max_tokens))
        self._charge = most if most > seen else None

    def restart(self) -> None:
        """Another try begins; what the last one cost is kept in `lost`."""
        self.lost += self._usage_of_this_try()
        self.attempt += 1
        self._clear()

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
        self._end_s = now_s
        if chunk.usage is not None or chunk.timings is not None:
            self._count_reported(chunk)
        if chunk.model and not self.model:
            self.model = chunk.model
        limit = None if max_tokens is None else max_tokens + self._others
        if self.overran or (limit is not None and self.tokens > limit and self._overruns(limit)):
            self.overran = True
            text = reasoning = ""
        if text or reasoning:
            self._keep(text, reasoning, now_s)
        new = self._meter.count - counted
        mean = (self._meter.sum - summed) / new if new else None
        return text, self.tokens - before, mean if mean is None or math.isfinite(mean) else None

    @property
    def takes_plain(self) -> bool:
        """Whether `feed_plain` may be asked: the text has begun, and nothing out of the ordinary has come."""
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
        """Take in a chunk that came after the end was said: only its cost counts."""
        for choice in chunk.choices or ():
            self._pass_by(choice)
        if chunk.usage is not None:
            self._count_reported(chunk)

    def drop_logprobs(self) -> None:
        """They were not numbers: none are kept of this completion."""
        self._meter = LogprobMeter()
        self._logprobs_dropped = True
        if "logprobs" not in self.downgrades:
            self.downgrades += ("logprobs",)

    def stop(self, now_s: float) -> None:
        """The try ends, however it does. Where its server's count has not come, or cannot be believed, its tokens are
        estimated."""
        if self._sent_s is not None:
            self._end_s = now_s
        self.tokens = self._seen()

    def charge_at_least_one(self) -> None:
        """A completion has cost a token, also where nobody counted it: else an open number of them has no end."""
        if not self.tokens:
            self.tokens, self.exact_tokens = 1, False

    def _keep(self, text: str, reasoning: str, now_s: float) -> None:
        if self._first_s is None:
            self._first_s = now_s
        if text:
            self._texts.append(text)
        if reasoning:
            self._reasonings.append(reasoning)

    def _finishes(self, reason: str, with_text: bool) -> None:
        """Some servers say a finish reason with every chunk: there, the last word is one without text."""
        if not with_text or (self.finish is None and self.chunks > 1):
            self._end_said = True
        elif self.finish is not None:
            self._finish_everywhere = True
        self.finish = reason

    def _overruns(self, limit: int) -> bool:
        """Whether more tokens than `limit` are too many: not in the last chunk, nor while they may be pieces."""
        if self.finish is not None and not self._finish_everywhere:
            return False
        if self._offset and not self._reported and self._counted <= limit:
            return False  # an early count that nothing has borne out since
        pieces = self._in_pieces or self.chunking.finer
        return self._reported or self.exact_tokens or not pieces or self._counted > _MOST_PIECES * limit

    @property
    def _in_pieces(self) -> bool:
        """Whether this stream seems to come in letters."""
        return self.chunks >= _FINE_CHUNKS and self._characters < _FINE * self.chunks

    # -- tokens -------------------------------------------------------------------------------------------------

    def _take(self, choice: Choice) -> tuple[str, str]:
        """Count what a choice brings; its text and its reasoning."""
        part = choice.delta
        if part is None and choice.message is not None:
            part = choice.message
            self._messages += 1
        text = (choice.text if part is None else part.content) or ""
        reasoning = "" if part is None else part.reasoning or part.reasoning_content or part.thinking or ""
        if part is not None and part.refusal:
            text, self.declined = text + part.refusal, True
        characters = len(text) + len(reasoning)
        if not characters and part is not None and part.tool_calls:
            characters = _IN_A_TOKEN
        self._count_choice(choice, characters)
        if choice.finish_reason and choice.finish_reason not in _NO_FINISH:
            self._finishes(choice.finish_reason, bool(text or reasoning))
        return text, reasoning

    def _is_asked_for(self, choice: Choice) -> bool:
        """Whether it is the first choice; any other costs a token at least, and is not read."""
        if self._index is None:
            self._index = choice.index
        if choice.index == self._index:
            return True
        self._pass_by(choice)
        return False

    def _pass_by(self, choice: Choice) -> None:
        """Count the tokens of what is no part of this completion, and was generated."""
        part = choice.delta or choice.message
        if choice.text or (part is not None and part.says_something):
            new = len(choice.logprobs.rows() if choice.logprobs is not None else ()) or 1
            self._others += new
            self.tokens += new
            self._reported = self.exact_tokens = False

    def _count_choice(self, choice: Choice, characters: int) -> None:
        rows = choice.logprobs.rows() if choice.logprobs is not None else []
        if not self._logprobs_dropped:
            for token, logprob, top in rows:
                self._meter.add(token, logprob, top)
        if rows or characters:
            self.chunks += characters > 0
            self._characters += characters
            self._counted += len(rows) or 1
            if rows:
                self._most_a_chunk = max(self._most_a_chunk, len(rows))
            else:
                self._uncounted += 1
            self.tokens = self._counted + self._others + self._offset
            self._reported = False
            self.exact_tokens = self._empty <= 0 and (self._one_token_chunks or self._meter.count == self._counted)
        elif self.finish is None and not choice.finish_reason:
            self._empty += 1
            self._reported = self.exact_tokens = False

    def _count_reported(self, chunk: Chunk) -> None:
        timings, usage = chunk.timings, chunk.usage
        if usage is not None and self._goes_on(usage) and chunk.choices and self.finish is None:
            return
        if timings is not None and timings.predicted_n is not None:
            self._believe(timings.predicted_n)
            if timings.prompt_n is not None:
                self._take_prompt(timings.prompt_n + (timings.cache_n or 0))
        if usage is None:
            return
        if usage.prompt_tokens:
            self._take_prompt(usage.prompt_tokens)
        prompt, details = usage.prompt_tokens_details, usage.completion_tokens_details
        self._cached = _count(prompt.cached_tokens if prompt else None)
        self._reasoning_tokens = _count(usage.reasoning_tokens or (details.reasoning_tokens if details else None))
        believed = self._believe_usage(usage)
        if not chunk.choices or self.finish:
            self.final_usage = usage
            self._end_said = self._end_said or not chunk.choices
        else:
            self.continuous = self.continuous or believed

    def _goes_on(self, usage: WireUsage) -> bool:
        """Take the count of a server that counts with every chunk, if nothing else in it is new: the fast way."""
        said, prompt = usage.completion_tokens, self.prompt_tokens
        if (
            said is None
            or prompt is None
            or not (self.continuous and self._counted <= said <= (self.max_tokens or 0))
            or usage.prompt_tokens != prompt
            or usage.total_tokens != said + prompt
            or usage.completion_tokens_details is not None
        ):
            return False
        self.tokens = said
        self._take_count(said - self._others)
        self._empty = 0
        self._reported = self.exact_tokens = True
        return True

    def _take_prompt(self, said: int) -> None:
        if 0 <= said <= MOST_TOKENS:
            self.prompt_tokens = said

    def _believe_usage(self, usage: WireUsage) -> bool:
        """Take the server's count, with what it counts beside `completion_tokens`: reasoning (xAI, Gemini), which only
        the total shows, or which is more than the `completion_tokens` that should include it."""
        said, reasoning = usage.completion_tokens, self._reasoning_tokens
        if reasoning > self._most_hidden():
            self._take_what_was_allowed()
            return False
        if usage.total_tokens is not None and usage.prompt_tokens is not None:
            if said is None:
                return self._believe(usage.total_tokens - usage.prompt_tokens)
            beside = usage.total_tokens - usage.prompt_tokens - said
            if beside > 0 and (reasoning or beside != self._cached):  # else the cached ones are beside the prompt
                beside = min(beside, reasoning or beside)
                if self._believe(said + beside):
                    return True
        if said is None:
            return False
        return self._believe(said + reasoning if reasoning > said >= 0 else said)

    def _believe(self, said: int) -> bool:
        """Take this count, if it is one and the stream bears it out; else our own stands."""
        own = self._counted + self._others
        believed = own <= said <= (self.max_tokens or 0) or self._is_plausible(said)
        if believed:
            self._take_count(said - self._others)
            self._empty = 0
        else:
            self._offset, self._first_count = 0, None
        self.tokens = own + self._offset
        self._reported = believed
        self.exact_tokens = believed or self._one_token_chunks
        return believed

    def _is_plausible(self, said: int) -> bool:
        if not 0 <= said <= MOST_TOKENS:
            return False
        longest = LONGEST_TOKEN if not self._in_pieces else _LONGEST_OF_ALL
        seen = said - self._others
        if seen < self._counted and not seen * longest >= self._characters > 0:
            return False  # chunks may be less than a token, but its tokens are not as long as that
        limit = self.max_tokens
        if limit is None or seen <= limit:
            return True
        return seen - self._reasoning_tokens <= max(limit, self._text_bytes(), self._characters)

    def _most_hidden(self) -> int:
        """Tokens that may have been generated without a text: as many as were allowed, and some servers' limit is one
        of the visible ones, so that others come beside, as many as there was time for."""
        passed_s = 0.0 if self._sent_s is None or self._end_s is None else self._end_s - self._sent_s
        return MOST_TOKENS if self.max_tokens is None else self.max_tokens + math.ceil(_FASTEST * passed_s)

    def _take_what_was_allowed(self) -> None:
        """The server's count is absurd, and says that there was more than is seen: nobody knows how much."""
        self._reasoning_tokens = 0
        self._offset = max(0, (self.max_tokens or 0) - self._counted)
        self.tokens = self._counted + self._others + self._offset
        self._reported = self.exact_tokens = False

    def _text_bytes(self) -> int:
        return sum(len(text.encode("utf-8", "replace")) for text in (*self._texts, *self._reasonings))

    def _tokens_a_chunk(self) -> float | None:
        """Of this stream or of finished ones, whichever is more; None: not known."""
        own = self._own_tokens_a_chunk()
        return max((size for size in (own, self.chunking.most) if size is not None), default=None)

    def _own_tokens_a_chunk(self) -> float | None:
        """As the server's counts show, or its log-probabilities. A first count may have hidden reasoning in it, and one
        token in the first chunk shows nothing: many engines send that alone."""
        if 0 < self._meter.count == self._counted:
            return self._most_a_chunk if max(self.chunks, self._most_a_chunk) > 1 else None
        if self._first_count is None:
            return None
        (tokens, first), chunks = self._first_count, self.chunks - self._uncounted
        if chunks > first:
            return self._most_a_chunk if max(chunks, self._most_a_chunk) > 1 else None
        if chunks <= 1:
            return tokens if tokens > chunks > 0 else None
        return max(tokens / chunks, (tokens - 1) / (chunks - 1))

    @property
    def _chunks_are_counted(self) -> bool:
        """Whether the server's counts show what came after its first count, and in more than the first chunk."""
        return self._first_count is not None and self.chunks - self._uncounted > max(1, self._first_count[1])

    def _take_count(self, tokens: int) -> None:
        """The server has said so many tokens of this choice: what that shows of the chunks since its last count."""
        if self._first_count is None:
            self._first_count = tokens, self.chunks
        elif self._uncounted:
            grown = tokens - (self._counted - self._uncounted + self._offset)
            self._most_a_chunk = max(self._most_a_chunk, grown - self._uncounted + 1)  # the others had one at least
        self._uncounted = 0
        self._offset = tokens - self._counted

    def _beyond(self) -> int:
        """Tokens that the chunks since the last count may have had beyond one each."""
        size = self._tokens_a_chunk() if self._first_count is not None else None
        return 0 if size is None else math.ceil(self._uncounted * max(0.0, size - 1.0))

    def _seen(self) -> int:
        """The best count there is of what came."""
        tokens = self.tokens - self._others
        if self._characters > _LONGEST_OF_ALL * tokens or self._has_more_words(tokens):
            self._forget_count()
        beyond = self._beyond()
        if self._reported or (self.exact_tokens and not beyond):
            return self.tokens
        seen = self._counted + self._offset + beyond
        if self.max_tokens is not None:
            seen = min(seen, max(self.max_tokens, self._counted))
        if not self._chunks_are_counted:
            seen = max(seen, self._estimate())
        if self._empty > 0:
            seen = max(seen, min(seen + self._empty, self.max_tokens or 0))
        return seen + self._others

    def _has_more_words(self, tokens: int) -> bool:
        """Whether the text has more words than tokens: no vocabulary in wide use has tokens of two words."""
        return _most_words(self.text) + _most_words(self.reasoning) > tokens and self._count_words() > tokens

    def _count_words(self) -> int:
        return len(self.text.split()) + len(self.reasoning.split())

    def _forget_count(self) -> None:
        """A chunk of many tokens bears out any count: not one that its text is too long for."""
        self._offset = 0
        self._first_count = None
        self.tokens = self._counted + self._others
        self._reported = self.exact_tokens = False

    def _estimate(self) -> int:
        """Tokens of a text that its server does not count, or not credibly: at least one a chunk, unless its chunks
        were seen to be finer, and not more than it was allowed to generate, unless the text is too long for that."""
        counted, limit, size = self._counted, self.max_tokens, self.chunking.most
        if size is not None:
            guess = math.ceil(self.chunks * size)
            guess = guess if self.chunking.finer else max(counted, guess)
            if self._characters > _LONGEST_OF_ALL * guess:
                guess = -(-self._text_bytes() // _BYTES_A_TOKEN)
        elif self._characters > _COARSE * self.chunks:
            guess = max(counted, -(-self._text_bytes() // _BYTES_A_TOKEN))
        else:
            guess = counted
        guess = max(guess, self._count_words())
        if limit is None or self.overran:
            return guess
        return min(guess, max(limit, -(-self._characters // LONGEST_TOKEN)))

    # -- what anybody may read ----------------------------------------------------------------------------------

    @property
    def counted_by_server(self) -> bool:
        """Whether `tokens` is what the server says."""
        return self._reported

    @property
    def finished(self) -> bool:
        """Whether the text may be taken for the whole: a finish reason came, and not with every chunk."""
        return self.ended or (self.finish is not None and not self._finish_everywhere)

    @property
    def ended(self) -> bool:
        """Whether the server has said that the completion is finished. A finish reason beside the first text may be one
        that comes with every chunk: alone it is not enough."""
        return self.finish is not None and (self._end_said or self.done)

    @property
    def is_refused(self) -> bool:
        """Whether no server has worked for it, and it waits to be sent again: it has cost nothing."""
        tried = self.attempt > 1 or self._sent_s is not None
        return tried and not self._charged and self.lost == Usage()

    @property
    def is_whole(self) -> bool:
        """Whether what came is one message, and not parts of one: it has come to its end then."""
        return self._messages == self.chunks == 1

    @property
    def text(self) -> str:
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def reasoning(self) -> str:
        return "".join(self._reasonings)

    def teach_chunking(self) -> None:
        """Tell other streams of this endpoint that each chunk is a token, if this one's count shows it so far."""
        if self._reported and self.tokens - self.chunks in (0, 1):
            self.chunking.learn(self.tokens, self.chunks)

    def most_seen(self) -> int | None:
        """The most tokens that the text so far can be; None where nothing says how many tokens a chunk of it is."""
        size = self._tokens_a_chunk()
        empty = max(0, self._empty)
        if self._reported:
            return self.tokens + empty
        if size is None:
            return self.tokens + empty if self._characters <= _COARSE * self.chunks else None
        return max(self.tokens, math.ceil(self.chunks * size) + self._others) + empty

    def usage(self) -> Usage:
        """What all tries have cost so far. `approximate` where the server's own count has not come: then the prompt
        counts as the most that it can be, unless a sibling taught it."""
        used = self._usage_of_this_try()
        return used if self.lost is _NOTHING else self.lost + used

    def completion(self, finish_reason: FinishReason) -> Completion:
        """What has come so far, as a completion that ended for this reason."""
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
        )

    def _usage_of_this_try(self) -> Usage:
        if not self._charged:
            return _NOTHING
        prompt = self.prompt_tokens
        tokens = self.tokens if self._charge is None else self._charge
        approximate = prompt is None or not self.exact_tokens or tokens != self.tokens
        if prompt is None:
            prompt = self.most_prompt
        return Usage(prompt, tokens, min(self._cached, prompt), min(self._reasoning_tokens, tokens), approximate)


def _most_words(text: str) -> int:
    """The most words that it can have, by its blanks: quicker than to cut it into words."""
    if not text:
        return 0
    return text.count(" ") + text.count("\n") + 1 - text[0].isspace() - text[-1].isspace()


def _count(said: int | None) -> int:
    """A detail of the usage; 0 where it is none."""
    return said if said is not None and 0 <= said <= MOST_TOKENS else 0
