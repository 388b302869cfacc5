"""The tokens of a completion so far: the server's count as far as it is credible, and the client's estimate. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tts.models.openai.chunking import Chunking
from tts.models.openai.logprob_meter import LogprobMeter
from tts.models.wire.sse import Choice, Chunk, WireUsage
from tts.models.wire.tools import CallPieces
from tts.types import ToolCall

MOST_TOKENS = 1 << 24  # beyond any model's context: a larger count is no count
_LONGEST_TOKEN = 6  # characters, in the mean of a text: English prose has 4 to 5 in today's vocabularies
_FINE = 2  # characters a chunk, in the mean of so many chunks: less may be pieces of tokens
_FINE_CHUNKS = 32
_IN_A_TOKEN = 4  # characters, of a piece of a tool call: a name comes as a whole, and some pieces are empty
_COARSE = 8  # and more cannot be single tokens
_MOST_PIECES = 8  # chunks a token, while a stream may turn out to be in pieces of tokens
_LONGEST_OF_ALL = 16  # characters a token, in the mean of a text, beyond which no count is believed
_BYTES_A_TOKEN = 3  # for a text in pieces that are clearly more than a token; English prose has 4, Chinese 3
_NO_FINISH = frozenset(("", "null", "none", "None"))
_FASTEST = 4000  # tokens a second: more than any engine generates for one request


class TokenCount:
    """The text and the tokens that the stream of one try has brought.

    A server's count is taken if it is a whole number that the stream bears out: not less than what was streamed (a
    token a chunk, unless tokens are that long; a token a word, since no usual vocabulary has tokens of two words; a
    token for 16 characters), not more than `max_tokens` unless the text is as long as that, or the server itemises the
    rest as reasoning and there was time for it. Otherwise the count is the client's estimate, and the usage is
    `approximate`. Chunks after the last credible count are counted at the tokens a chunk that the counts have shown.

    Attributes:
        prompt_tokens: as the server counted them, or as a sibling's request taught; None while unknown.
        max_tokens: the most that the server was allowed to generate; None: not known.
        tokens: generated so far in this try, reasoning included: the server's count where it keeps one, else the
            number of chunks with text. `exact_tokens` says whether that is known to be the number of tokens.
        continuous: whether the server reports usage with every chunk.
        chunking: how this server cuts its streams into chunks.
        group: tokens of a group whose confidence is followed (`LogprobMeter`); 0: none is.
        declined: whether the model refused to answer (`refusal` in place of content).
        done: whether the stream's end came, as `[DONE]`.
        stop_said: what the server said to have stopped the text: a string, or the number of a token; None: the model
            ended; UNSET: nothing was said.
        overran: whether more tokens than allowed came, and no end.
    """

    def __init__(self) -> None:
        self.prompt_tokens: int | None = None
        self.max_tokens: int | None = None
        self.chunking = Chunking()
        self.group = 0
        self._clear_count()

    def _clear_count(self) -> None:
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._calls: CallPieces | None = None  # of tools, once the first has begun
        self.tokens = 0
        self.exact_tokens = False
        self.chunks = 0
        self.overran = False
        self.declined = False
        self.done = False
        self.continuous = False
        self.finish: str | None = None
        self.stop_said: Any = msgspec.UNSET
        self.final_usage: WireUsage | None = None
        self._counted = 0  # the client's own count of the stream
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
        self._cached = 0
        self._reasoning_tokens = 0
        self._meter = LogprobMeter(self.group)
        self._logprobs_dropped = False
        self._sent_s: float | None = None
        self._end_s: float | None = None
        self._one_token_chunks = False

    # -- for any reader -----------------------------------------------------------------------------------------

    @property
    def counted_by_server(self) -> bool:
        """Whether `tokens` is the server's count."""
        return self._reported

    @property
    def finished(self) -> bool:
        """Whether the text may be taken for the whole: a finish reason came, and not with every chunk."""
        return self.ended or (self.finish is not None and not self._finish_everywhere)

    @property
    def ended(self) -> bool:
        """Whether the server has ended the completion. A finish reason beside the first text may be one that comes with
        every chunk: alone it is not enough."""
        return self.finish is not None and (self._end_said or self.done)

    @property
    def is_whole(self) -> bool:
        """Whether one whole message came, and not parts of one: the completion has then ended."""
        return self._messages == self.chunks == 1

    @property
    def text(self) -> str:
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def reasoning(self) -> str:
        return "".join(self._reasonings)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return () if self._calls is None else self._calls.calls()

    def teach_chunking(self) -> None:
        """Tell other streams of this endpoint that each chunk is a token, if this one's count shows it so far."""
        if self._reported and self.tokens - self.chunks in (0, 1):
            self.chunking.learn(self.tokens, self.chunks)

    def most_seen(self) -> int | None:
        """The most tokens that the text so far can be; None while the tokens a chunk are unknown."""
        size = self._tokens_a_chunk()
        empty = max(0, self._empty)
        if self._reported:
            return self.tokens + empty
        if size is None:
            return self.tokens + empty if self._characters <= _COARSE * self.chunks else None
        return max(self.tokens, math.ceil(self.chunks * size) + self._others) + empty

    # -- chunks -------------------------------------------------------------------------------------------------

    def _take(self, choice: Choice) -> tuple[str, str]:
        """Count a choice's tokens. Returns its text and its reasoning."""
        part = choice.delta
        if part is None and choice.message is not None:
            part = choice.message
            self._messages += 1
        text = (choice.text if part is None else part.content) or ""
        reasoning = "" if part is None else part.reasoning or part.reasoning_content or part.thinking or ""
        if part is not None and part.refusal:
            text, self.declined = text + part.refusal, True
        characters = len(text) + len(reasoning)
        if part is not None and part.tool_calls:
            if self._calls is None:
                self._calls = CallPieces()
            self._calls.add(part.tool_calls)
            said = sum(piece.length for piece in part.tool_calls) if part is choice.message else 0
            characters = max(characters, said, _IN_A_TOKEN)
        self._count_choice(choice, characters)
        if choice.finish_reason and choice.finish_reason not in _NO_FINISH:
            self._finishes(choice.finish_reason, bool(text or reasoning))
        return text, reasoning

    def _is_asked_for(self, choice: Choice) -> bool:
        """Whether a choice is the first; any other costs a token at least, and is not read."""
        if self._index is None:
            self._index = choice.index
        if choice.index == self._index:
            return True
        self._pass_by(choice)
        return False

    def _pass_by(self, choice: Choice) -> None:
        """Count tokens that were generated and are no part of this completion."""
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

    def _finishes(self, reason: str, with_text: bool) -> None:
        """Whether a finish reason ends the stream: for servers that send one with every chunk, only one without
        text."""
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

    # -- the server's count -------------------------------------------------------------------------------------

    def _count_reported(self, chunk: Chunk) -> None:
        timings, usage = chunk.timings, chunk.usage
        if usage is not None and self._goes_on(usage) and chunk.choices and self.finish is None:
            return
        if timings is not None and timings.predicted_n is not None:
            self._believe(timings.predicted_n)
            if timings.prompt_n is not None:
                self._take_prompt(timings.prompt_n + (timings.cache_n or 0))
                self._cached = _count(timings.cache_n)
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
        """Take this count, if it is valid and the stream bears it out; else the client's own stands."""
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
        longest = _LONGEST_TOKEN if not self._in_pieces else _LONGEST_OF_ALL
        seen = said - self._others
        if seen < self._counted and not seen * longest >= self._characters > 0:
            return False  # chunks may be less than a token, but its tokens are not as long as that
        limit = self.max_tokens
        if limit is None or seen <= limit:
            return True
        return seen - self._reasoning_tokens <= max(limit, self._text_bytes(), self._characters)

    def _most_hidden(self) -> int:
        """Upper bound of tokens without a text: as many as were allowed, and some servers' limit is one
        of the visible ones, so that others come beside, as many as there was time for."""
        passed_s = 0.0 if self._sent_s is None or self._end_s is None else self._end_s - self._sent_s
        return MOST_TOKENS if self.max_tokens is None else self.max_tokens + math.ceil(_FASTEST * passed_s)

    def _take_what_was_allowed(self) -> None:
        """Charge the limit, because the server's count is absurd, but shows that more was generated than seen."""
        self._reasoning_tokens = 0
        self._offset = max(0, (self.max_tokens or 0) - self._counted)
        self.tokens = self._counted + self._others + self._offset
        self._reported = self.exact_tokens = False

    def _take_count(self, tokens: int) -> None:
        """Take the server's count of this choice, and learn from it the tokens a chunk since its last count."""
        if self._first_count is None:
            self._first_count = tokens, self.chunks
        elif self._uncounted:
            grown = tokens - (self._counted - self._uncounted + self._offset)
            self._most_a_chunk = max(self._most_a_chunk, grown - self._uncounted + 1)  # the others had one at least
        self._uncounted = 0
        self._offset = tokens - self._counted

    # -- the client's own count ---------------------------------------------------------------------------------

    def _seen(self) -> int:
        """The best count of the tokens that came."""
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

    def _tokens_a_chunk(self) -> float | None:
        """Tokens a chunk, of this stream or of finished ones, the larger of them; None: unknown."""
        own = self._own_tokens_a_chunk()
        return max((size for size in (own, self.chunking.most) if size is not None), default=None)

    def _own_tokens_a_chunk(self) -> float | None:
        """Tokens a chunk of this stream by the server's counts, or its log-probabilities. A first count may include
        hidden reasoning, and one token in the first chunk shows nothing, because many engines send that alone."""
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
        """Whether the server's counts cover chunks after its first count, and after the first chunk."""
        return self._first_count is not None and self.chunks - self._uncounted > max(1, self._first_count[1])

    def _beyond(self) -> int:
        """Tokens that the chunks since the last count may have had beyond one each."""
        size = self._tokens_a_chunk() if self._first_count is not None else None
        return 0 if size is None else math.ceil(self._uncounted * max(0.0, size - 1.0))

    def _has_more_words(self, tokens: int) -> bool:
        """Whether the text has more words than tokens: no vocabulary in wide use has tokens of two words."""
        return _most_words(self.text) + _most_words(self.reasoning) > tokens and self._count_words() > tokens

    def _count_words(self) -> int:
        return len(self.text.split()) + len(self.reasoning.split())

    def _text_bytes(self) -> int:
        return sum(len(text.encode("utf-8", "replace")) for text in (*self._texts, *self._reasonings))

    def _forget_count(self) -> None:
        """Drop a count that is too small for the text, which chunks of many tokens would bear out otherwise."""
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
        return min(guess, max(limit, -(-self._characters // _LONGEST_TOKEN)))


def _most_words(text: str) -> int:
    """Upper bound of a text's words, by its blanks: quicker than to cut it into words."""
    if not text:
        return 0
    return text.count(" ") + text.count("\n") + 1 - text[0].isspace() - text[-1].isspace()


def _count(said: int | None) -> int:
    """A detail of the usage as a number; 0 if it is not one."""
    return said if said is not None and 0 <= said <= MOST_TOKENS else 0
