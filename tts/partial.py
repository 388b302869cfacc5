"""What has come of a completion so far: fed by chunks, read at any moment, whether it ended well, badly, or was cut."""

from __future__ import annotations

import math
from collections import deque

from tts.sse import Choice, Chunk, WireUsage
from tts.types import Completion, FinishReason, LogprobSummary, Timing, TokenLogprob, Usage

TAIL = 8  # tokens whose alternatives are kept
_IMPOSSIBLE = -1000.0  # servers write -inf as -9999 (vLLM) or so; such an alternative says nothing


class LogprobMeter:
    """Sums token log-probabilities into a `LogprobSummary` as they come."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._minimum = 0.0
        self._certainty = 0.0
        self._certain = 0
        self._tail: deque[TokenLogprob] = deque(maxlen=TAIL)

    def add(self, token: str, logprob: float, top: list[tuple[str, float]]) -> None:
        """Kang et al. 2025 (arXiv:2502.18581), eq. 9, for one position, over the alternatives that the server shows,
        renormalised: -1/V Σ_j log(V p_j) with p_j = exp(l_j) / Z."""
        self.count += 1
        self.sum += logprob
        self._minimum = min(self._minimum, logprob)
        self._tail.append(TokenLogprob(token, logprob, tuple(top)))
        shown = [p for _, p in top if p > _IMPOSSIBLE]
        if len(shown) > 1:
            log_z = math.log(sum(map(math.exp, shown)))
            self._certainty += log_z - math.log(len(shown)) - sum(shown) / len(shown)
            self._certain += 1

    def summary(self) -> LogprobSummary | None:
        if not self.count:
            return None
        certainty = self._certainty / self._certain if self._certain else None
        return LogprobSummary(self.sum / self.count, self._minimum, certainty, tuple(self._tail))


class Partial:
    """A completion under way. The caller makes one, hands it to `complete`, and can read it whenever it likes; after a
    cancellation, `partial.completion("cancelled")` is what was generated and what it cost.

    Attributes:
        prompt_tokens: as the server counted them, or as a sibling's request taught; None while unknown.
        tokens: generated so far in this try, reasoning included: the server's count where it keeps one, else the
            number of chunks with text. `exact_tokens` says whether that is known to be the number of tokens.
        continuous: whether the server reports usage with every chunk.
        one_token_chunks: whether this server was seen to send one token a chunk.
        lost: what earlier tries of the same request cost.
        attempt: 1 for the first try.
    """

    def __init__(self) -> None:
        self.lost = Usage()
        self.attempt = 1
        self.seed: int | None = None
        self.model = ""
        self.endpoint = ""
        self.downgrades: tuple[str, ...] = ()
        self.prompt_tokens: int | None = None
        self.prompt_bytes = 0
        self.one_token_chunks = False
        self._clear()

    def _clear(self) -> None:
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self.tokens = 0
        self.exact_tokens = False
        self.chunks = 0
        self.overran = False
        self.continuous = False
        self.finish: str | None = None
        self.final_usage: WireUsage | None = None
        self._cached = 0
        self._reasoning_tokens = 0
        self._meter = LogprobMeter()
        self._logprobs_dropped = False
        self._sent_s: float | None = None
        self._first_s: float | None = None
        self._end_s: float | None = None
        self._charged = False

    # -- what the client does -----------------------------------------------------------------------------------

    def begin(self, now_s: float) -> None:
        """The request leaves: from here on its prompt is charged."""
        self._sent_s = self._end_s = now_s
        self._charged = True

    def refused(self) -> None:
        """The server did no work for this try: it costs nothing."""
        self._charged = False

    def charge_in_full(self, max_tokens: int) -> tuple[int, bool]:
        """The server may decode on, unseen, until its limit: that is what this try is charged with. Returns `tokens`
        and `exact_tokens` as they were."""
        seen = self.tokens, self.exact_tokens
        if self._charged and not self.finish:
            self.tokens = max(self.tokens, max_tokens)
            self.exact_tokens = False
        return seen

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
        choice = chunk.choices[0] if chunk.choices else None
        part = None if choice is None else choice.delta or choice.message
        text = reasoning = ""
        if choice is not None:
            text = (choice.text if part is None else part.content) or ""
            reasoning = "" if part is None else part.reasoning or part.reasoning_content or ""
            self.finish = choice.finish_reason or self.finish
            self._count_choice(choice, bool(text or reasoning))
        if chunk.usage is not None or chunk.timings is not None:
            self._count_reported(chunk)
        self._end_s = now_s
        if chunk.model and not self.model:
            self.model = chunk.model
        if max_tokens is not None and self.tokens > max_tokens and not self.finish:
            self.overran = True
            text = reasoning = ""
        if text or reasoning:
            self._keep(text, reasoning, now_s)
        new = self._meter.count - counted
        return text, self.tokens - before, (self._meter.sum - summed) / new if new else None

    def drop_logprobs(self) -> None:
        """They were not numbers: none are kept of this completion."""
        self._meter = LogprobMeter()
        self._logprobs_dropped = True
        if "logprobs" not in self.downgrades:
            self.downgrades += ("logprobs",)

    def stop(self, now_s: float) -> None:
        """The try ends, however it does."""
        if self._sent_s is not None:
            self._end_s = now_s

    def _keep(self, text: str, reasoning: str, now_s: float) -> None:
        if self._first_s is None:
            self._first_s = now_s
        if text:
            self._texts.append(text)
        if reasoning:
            self._reasonings.append(reasoning)

    def _count_choice(self, choice: Choice, has_text: bool) -> None:
        rows = choice.logprobs.rows() if choice.logprobs is not None else []
        if not self._logprobs_dropped:
            for token, logprob, top in rows:
                self._meter.add(token, logprob, top)
        if rows or has_text:
            self.chunks += has_text
            self.tokens += len(rows) or 1
            self.exact_tokens = self.one_token_chunks or self._meter.count == self.tokens

    def _count_reported(self, chunk: Chunk) -> None:
        if chunk.timings is not None and chunk.timings.predicted_n is not None:
            self.tokens = chunk.timings.predicted_n
            self.exact_tokens = True
            if chunk.timings.prompt_n is not None:
                self.prompt_tokens = chunk.timings.prompt_n + (chunk.timings.cache_n or 0)
        usage = chunk.usage
        if usage is None:
            return
        if usage.prompt_tokens:
            self.prompt_tokens = usage.prompt_tokens
        if usage.completion_tokens is not None:
            self.tokens = usage.completion_tokens
            self.exact_tokens = True
        if usage.prompt_tokens_details is not None:
            self._cached = usage.prompt_tokens_details.cached_tokens or 0
        details = usage.completion_tokens_details
        self._reasoning_tokens = usage.reasoning_tokens or (details.reasoning_tokens if details else None) or 0
        if not chunk.choices or self.finish:
            self.final_usage = usage
        else:
            self.continuous = True

    # -- what anybody may read ----------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def reasoning(self) -> str:
        return "".join(self._reasonings)

    def usage(self) -> Usage:
        """What all tries have cost so far. `approximate` where the server's own count has not come: then the prompt
        is taken as a quarter of its bytes, unless a sibling taught it."""
        return self.lost + self._usage_of_this_try()

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
            return Usage()
        prompt = self.prompt_tokens
        approximate = prompt is None or not (self.exact_tokens or self.final_usage)
        if prompt is None:
            prompt = -(-self.prompt_bytes // 4)
        return Usage(
            prompt, self.tokens, min(self._cached, prompt), min(self._reasoning_tokens, self.tokens), approximate
        )
