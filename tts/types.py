"""The values of the public API: frozen, slotted, picklable, each its own JSON codec, units in the names.

A `Problem` goes in. A strategy asks for `Completion`s of it; each becomes a `Candidate`, its place in one trial.
A `Score` is a verifier's judgement of a candidate, made without the reference answer.
`Usage` is a server's count; `Cost` is the ledger's charge for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import msgspec

from tts.checks import as_text, finite_score, json_object, number, plain, require, strings, whole, writable
from tts.errors import TTSError, _rebuild
from tts.messages import ROLES as ROLES
from tts.messages import Message as Message
from tts.messages import Prompt as Prompt
from tts.messages import Role as Role
from tts.messages import Tool as Tool
from tts.messages import ToolCall as ToolCall
from tts.messages import Turns as Turns
from tts.messages import as_prompt as as_prompt
from tts.messages import as_tools as as_tools
from tts.values import Value as Value
from tts.values import shown_fields as shown_fields

Ending = Literal["text", "stop", "length", "cut", "unknown"]
FinishReason = Literal["stop", "length", "cancelled", "deadline", "content_filter", "tool_calls", "other"]
AnswerFormat = Literal["auto", "number", "boxed", "letter", "line", "text", "code"]
ScoreKind = Literal["probability", "logit", "scale", "pass_rate", "logprob", "rank"]
SCORE_KINDS: tuple[str, ...] = get_args(ScoreKind)

MOST_MAX_TOKENS = 16_384  # by default: most traces of thinking models end before, and hosted models take it
DIGEST = 12  # hex digits of one problem's digest
# Keys of a request's body that are no user's: those of other fields, and those that decide how much is generated.
_KEPT = frozenset((
    "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "best_of",
    "use_beam_search", "seed", "rid", "echo", "temperature", "top_p", "top_k", "min_p", "stop", "logprobs",
    "top_logprobs", "reasoning_effort", "chat_template_kwargs", "continue_final_message", "add_generation_prompt",
    "timings_per_token", "tools",
))  # fmt: skip
LEAST_MAX_TOKENS = 512  # the default where a budget or a context is small, and that of journals which name none


class Problem(Value, frozen=True):
    """A question, without its reference answer (that is a `tasks.Example`'s).

    Args:
        id: unique in its run; becomes part of every sample's key.
        prompt: the user turn.
        system: a system turn before it.
        answer_format: form of the answer in a completion (`tts.answers.extract.extract`).
        facts: public data a constraint checker may use (the numbers of a CountDown), plain JSON values.
        shots: worked examples before the prompt: user and assistant turns.
        answer_rule: a rule of the user's own for the place of the answer (`tts.answers.rules`).
        turns: those after the prompt: calls of tools, and their results.
        tools: those whose calls are answers, too, which vote by name and arguments: whoever has asked carries them out.
    """

    id: str
    prompt: str
    system: str | None = None
    answer_format: AnswerFormat = "auto"
    facts: Mapping[str, Any] = {}
    shots: tuple[Message, ...] = ()
    answer_rule: str | None = None
    turns: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()

    def __repr__(self) -> str:
        return shown_fields(self, ("shots", "answer_rule", "turns", "tools"))

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "id", as_text("the id of a problem", self.id))
        for name in ("prompt", "system"):
            value = getattr(self, name)
            if type(value) is not str and (value is not None or name == "prompt"):
                msgspec.structs.force_setattr(self, name, as_text(f"the {name} of a problem", value))
        for name, read in (("turns", as_prompt), ("tools", as_tools)):
            if value := getattr(self, name):
                msgspec.structs.force_setattr(self, name, read(value))

    @property
    def messages(self) -> Prompt:
        prompt = as_prompt(self.prompt, self.system)
        return (*prompt[:-1], *self.shots, prompt[-1], *self.turns)


class Sampling(Value, frozen=True):
    """Parameters of sampling. Every field is sent explicitly, because servers' defaults differ.

    Units: `max_tokens` generated tokens, reasoning included; `top_logprobs` alternatives per token (0: none asked for).
    `max_tokens` None lets a run choose a number before it starts: `tts.runs.plan.with_max_tokens`. One `stop`
    string may be given as it is; the field then is a tuple of it. `reasoning_effort` (low, medium, high ...) and
    `chat_template_kwargs` (`{"enable_thinking": false}`) go to the server by these names; `extra_body` is merged into
    the body of the request, and may not hold what has a field here or what the books count by.
    """

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int | None = None
    stop: str | tuple[str, ...] = ()
    top_logprobs: int = 0
    reasoning_effort: str | None = None
    chat_template_kwargs: Mapping[str, Any] = {}
    extra_body: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return shown_fields(self, ("reasoning_effort", "chat_template_kwargs", "extra_body"))

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):  # 1 and 1.0 are one sampling, and one sample's key
            if type(getattr(self, name)) is not float:
                msgspec.structs.force_setattr(self, name, number(name, getattr(self, name)))
        for name in ("top_k", "max_tokens", "top_logprobs"):
            if type(getattr(self, name)) is not int:
                msgspec.structs.force_setattr(self, name, whole(name, getattr(self, name)))
        if type(self.stop) is not tuple:
            msgspec.structs.force_setattr(self, "stop", strings("stop", self.stop))
        if self.stop:
            texts = all(isinstance(text, str) and text for text in self.stop)
            require(texts, "stop", "a string that is not empty, or up to 4 of them", self.stop)
        require(0 <= self.temperature < math.inf, "temperature", "at least 0", self.temperature)
        require(0 < self.top_p <= 1, "top_p", "in (0, 1]", self.top_p)
        require(self.top_k >= 0, "top_k", "at least 0 (0 switches it off)", self.top_k)
        require(0 <= self.min_p < 1, "min_p", "in [0, 1)", self.min_p)
        require(self.token_limit >= 1, "max_tokens", "at least 1", self.max_tokens)
        require(len(self.stop) <= 4, "stop", "at most 4 strings (OpenAI's and vLLM's limit)", self.stop)
        require(0 <= self.top_logprobs <= 20, "top_logprobs", "from 0 to 20", self.top_logprobs)
        if self.reasoning_effort is not None:
            said = isinstance(self.reasoning_effort, str) and self.reasoning_effort
            require(bool(said), "reasoning_effort", "a word that the server knows, such as low", self.reasoning_effort)
        for name in ("chat_template_kwargs", "extra_body"):
            if getattr(self, name) != {}:
                msgspec.structs.force_setattr(self, name, json_object(name, getattr(self, name)))
        if kept := sorted(_KEPT.intersection(self.extra_body)):
            rule = f"without {kept[0]}, which has an option of its own or is what the run's books count by"
            require(False, "extra_body", rule, self.extra_body)

    @property
    def token_limit(self) -> int:
        """`max_tokens`; `LEAST_MAX_TOKENS` where no run has chosen a number."""
        return LEAST_MAX_TOKENS if self.max_tokens is None else self.max_tokens


class Usage(Value, frozen=True):
    """Tokens as the server counted them. `approximate`: the client's own count, because the server's never came.

    `completion_tokens` includes `reasoning_tokens`; `prompt_tokens` includes `cached_tokens`.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    approximate: bool = False

    @classmethod
    def sum(cls, usages: Sequence[Usage]) -> Usage:
        """The sum of several."""
        return cls(
            sum([u.prompt_tokens for u in usages]),
            sum([u.completion_tokens for u in usages]),
            sum([u.cached_tokens for u in usages]),
            sum([u.reasoning_tokens for u in usages]),
            any(u.approximate for u in usages),
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.approximate or other.approximate,
        )


class Timing(Value, frozen=True):
    """Seconds from sending the request: to the first token (None: none came), and to its end."""

    total_s: float = 0.0
    first_token_s: float | None = None


class TokenLogprob(Value, frozen=True):
    """A position of a completion: the sampled token, its log-probability, and the alternatives the server showed."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class LogprobSummary(Value, frozen=True):
    """A summary of a completion's token log-probabilities.

    Args:
        mean: mean log-probability of the sampled tokens (nats).
        minimum: the least likely token's.
        self_certainty: mean KL divergence from the uniform distribution, `-1/(n·V) Σ_i Σ_j log(V·p_ij)`
            (Kang et al. 2025, arXiv:2502.18581), over the `top_logprobs` alternatives that the server showed, V their
            number, renormalised: an approximation of the full-vocabulary figure. None where no alternatives came.
        tail: the last tokens with their alternatives, for reading a verdict's probability.
        confidence: mean over the tokens of `-1/k Σ_j log p_j`, over the k `top_logprobs` alternatives that the server
            showed (nats; Fu et al. 2025, arXiv:2508.15260): the surer the model, the higher. None as above.
        lowest_group: the lowest mean confidence of a group of consecutive tokens, groups of as many as a `group` of
            `Run.streaming` says; of a shorter completion, its confidence. None where no groups were asked for.
    """

    mean: float
    minimum: float
    self_certainty: float | None = None
    tail: tuple[TokenLogprob, ...] = ()
    confidence: float | None = None
    lowest_group: float | None = None

    def __repr__(self) -> str:
        return shown_fields(self, ("confidence", "lowest_group"))


class Completion(Value, frozen=True):
    """A completion as it came over the wire.

    Args:
        text: the visible text; for a continuation, the text generated after the prefix.
        finish_reason: normalised; `cancelled` and `deadline` mark partial text.
        reasoning: the reasoning text, where the server keeps it apart.
        seed: the seed that was sent.
        answer: an answer that the source knows without text (a recorded pool); otherwise None.
        downgrades: parameters that this endpoint refused and that were left out; `finish_reason` if it never gives one,
            `stop_reason` if it did not say whether a stop string of the request ended the text.
        attempt: 1 for a first try.
        recorded_scores: by verifier, what a recorded pool holds for this sample: a score, or one a verification.
        stopped_by: the stop string that ended the text, which is not in it; None at the end of a text, and where the
            server does not say which.
        parsed: the JSON value of the text, where `Run.ask` was given a schema.
        tool_calls: the calls of tools that the model asked for, in its order.
    """

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    timing: Timing = Timing()
    reasoning: str = ""
    logprobs: LogprobSummary | None = None
    seed: int | None = None
    model: str = ""
    endpoint: str = ""
    attempt: int = 1
    downgrades: tuple[str, ...] = ()
    answer: str | None = None
    recorded_scores: Mapping[str, float | tuple[float | None, ...]] = {}
    stopped_by: str | None = None
    parsed: Any = None
    tool_calls: tuple[ToolCall, ...] = ()

    def __repr__(self) -> str:
        return shown_fields(self, ("stopped_by", "parsed", "tool_calls"))

    @property
    def ending(self) -> Ending:
        """The end of the text: the model's own (`text`), a `stop` string of the request, or its `length`; `cut` by
        anything else; `unknown` where the server did not say whether a stop string ended the text."""
        if self.finish_reason != "stop":
            return "length" if self.finish_reason == "length" else "cut"
        if self.stopped_by is not None:
            return "stop"
        return "unknown" if "stop_reason" in self.downgrades else "text"

    @property
    def message(self) -> Message:
        """The completion as a turn of the chat that goes on."""
        return Message("assistant", self.text, self.tool_calls)


class Candidate(Value, frozen=True):
    """A completion's place in one trial.

    Args:
        id: the action's id, e.g. `p17/3`; `p17/5.0.2` is the second action of the first chain of a `gather`.
        text: the whole text so far: the prefix it continued, then the completion.
        answer: the normalised answer, or None: then it abstains from every vote.
        parent: the id of the candidate it revises or continues.
        depth: steps before its last one: 0, or 1 more than that of the candidate whose text it continues.
        partial: a prefix of a text that grows: a stop string of the strategy's own, or its length, ended a step, or the
            end of the step is unknown. It has no answer, and so never votes.
    """

    id: str
    text: str
    answer: str | None
    completion: Completion
    parent: str | None = None
    depth: int = 0
    partial: bool = False

    def __repr__(self) -> str:
        return shown_fields(self, ("depth", "partial"))

    def __hash__(self) -> int:
        return hash(self.id)  # a completion may hold a mapping, which has none

    @property
    def tokens(self) -> int:
        return self.completion.usage.completion_tokens

    @property
    def order(self) -> tuple[int, ...]:
        """The id's numbers: candidates sorted by it are in the order of asking, whatever order they arrived in."""
        return _numbers(self.id.rpartition("/")[2])

    @property
    def complete(self) -> bool:
        """Whether the text came to its end, rather than to that of a step, and was not cut by a limit or cancelled. A
        stop string of the run's own sampling is the end of a text."""
        return self.completion.finish_reason == "stop" and not self.partial


class Score(Value, frozen=True):
    """A verifier's judgement of one candidate. `value` None is an abstention, never a low score.

    Args:
        kind: meaning of the number; scores of different kinds are never summed.
        mass: for a probability read from logprobs, the sum of the labels' probabilities.
        text: the rationale, where there is one.
        downgrades: parameters of the verification that its endpoint refused and that were left out; set by the cluster.
        steps: a score for each step of the text, where the verifier or judge looks at steps; None abstains of one.
        verdicts, unread: replies of a model that this rests on, and those among them that could not be read.

    Numbers of other libraries become floats. Raises: InvalidParameter for a value that is no finite number, an unknown
    kind, or a text that is none.
    """

    value: float | None
    verifier: str
    kind: ScoreKind = "probability"
    mass: float | None = None
    text: str = ""
    downgrades: tuple[str, ...] = ()
    steps: tuple[float | None, ...] = ()
    verdicts: int = 0
    unread: int = 0

    def __post_init__(self) -> None:
        if self.steps:
            steps = tuple(None if step is None else finite_score("value", step) for step in self.steps)
            msgspec.structs.force_setattr(self, "steps", steps)
        for name in ("value", "mass"):
            number = getattr(self, name)
            if number is not None and (type(number) is not float or not math.isfinite(number)):
                msgspec.structs.force_setattr(self, name, finite_score(name, number))
        for name in ("verifier", "text"):
            msgspec.structs.force_setattr(self, name, as_text(f"the {name} of a score", getattr(self, name)))
        if self.kind not in SCORE_KINDS:
            require(False, "the kind of a score", f"one of {', '.join(SCORE_KINDS)}", self.kind)


class TokenCount(Value, frozen=True):
    """The tokens of a text or of a prompt (`Run.count_tokens`, `Run.count_prompt`).

    Args:
        tokens: as the tokenizer of the model's server counts them, or the most that they can be.
        exact: whether the tokenizer has counted them.
        room: tokens that the model's context has left for a completion after a prompt; None for a text, and where the
            context is not known.
    """

    tokens: int
    exact: bool
    room: int | None = None


class Executed(Value, frozen=True):
    """The end of a program that a worker has run (`Run.execute`).

    Args:
        exit_status: 0 where it ended in order; the negative number of the signal that ended it; None where a limit did.
        stdout, stderr: its output, at most 64 KiB of each. Where there were tests: of the first that did not pass, or
            the last.
        passed: for each test, whether it did; None where wall-clock time ended it, which says nothing of the program.
        ended_by: the limit that ended it: `CPU time`, `wall-clock time`, or nothing.
    """

    exit_status: int | None
    stdout: str = ""
    stderr: str = ""
    passed: tuple[bool | None, ...] = ()
    ended_by: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ended in order and passed every test."""
        return self.exit_status == 0 and all(self.passed)


class Cost(Value, frozen=True):
    """The ledger's charge: exact integers, so that sums do not depend on their order.

    Args:
        samples: requests to a model, for generation and verification alike.
        tokens: generated tokens, reasoning, verification and cancelled ones included. Prompt tokens are priced in
            dollars and FLOPs; they are not in this count, because only generated tokens can be bounded exactly
            before a request leaves.
        picodollars: 1e-12 US dollars; None if the price is unknown.
        flops: floating-point operations; None if the model's size is unknown.
        steps: steps of sessions (`Run.session`).
    """

    samples: int = 0
    tokens: int = 0
    picodollars: int | None = 0
    flops: int | None = 0
    steps: int = 0

    def __repr__(self) -> str:
        return shown_fields(self, ("steps",))

    @property
    def usd(self) -> float | None:
        return None if self.picodollars is None else self.picodollars / 1e12

    @classmethod
    def sum(cls, costs: Sequence[Cost]) -> Cost:
        """The sum of several; an amount that is unknown of one is unknown of all."""
        return cls(
            sum([c.samples for c in costs]),
            sum([c.tokens for c in costs]),
            _sum([c.picodollars for c in costs]),
            _sum([c.flops for c in costs]),
            sum([c.steps for c in costs]),
        )

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.samples + other.samples,
            self.tokens + other.tokens,
            _plus(self.picodollars, other.picodollars),
            _plus(self.flops, other.flops),
            self.steps + other.steps,
        )

    def __sub__(self, other: Cost) -> Cost:
        return self + Cost(-other.samples, -other.tokens, _minus(other.picodollars), _minus(other.flops), -other.steps)


class ErrorInfo(Value, frozen=True):
    """An error as data, for events and journals."""

    type: str
    message: str
    facts: Mapping[str, Any] = {}

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """Describe any error as data: facts that JSON cannot hold become their descriptions."""
        name = writable(type(error).__name__)
        if isinstance(error, TTSError):
            facts = {writable(str(name)): plain(value) for name, value in error.facts.items()}
            return cls(name, writable(f"{error.message}"), facts)
        try:
            said = str(error)
        except Exception as again:
            said = f"its message cannot be read ({type(again).__name__})"
        return cls(name, writable(said) or name)

    def rebuild(self) -> TTSError:
        return _rebuild(self.type, self.message, self.facts)


class StrategySpec(Value, frozen=True):
    """A strategy and its hyper-parameters as data, as in the journal and on the command line."""

    name: str
    params: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return self.name + "".join(f"{':' if i == 0 else ','}{k}={v}" for i, (k, v) in enumerate(self.params.items()))


@lru_cache(4096)
def _numbers(path: str) -> tuple[int, ...]:
    return tuple(map(int, path.split(".")))


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _sum(amounts: Sequence[int | None]) -> int | None:
    return None if None in amounts else sum(amounts)  # type: ignore[arg-type]  # there is no None


def _minus(a: int | None) -> int | None:
    return None if a is None else -a
