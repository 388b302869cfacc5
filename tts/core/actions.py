"""Actions, which a trial asks for (imperatives), and events, which it is told (past participles).

Every action but `Cancel` ends exactly once, with one of the events in `End`; each of these has a `usage` and a
`timing`. `Progressed` may come before that. `OpenSession` ends only once it is cancelled.
Times (`at_s`) are seconds on the run's clock, which starts at 0 and stands still while the run is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from tts.types import (
    Candidate,
    Completion,
    ErrorInfo,
    Problem,
    Prompt,
    Sampling,
    Score,
    Timing,
    Tool,
    Usage,
    Value,
)

SOLVER = "solver"  # the name of a run's first model, which is asked where nothing names one
PROGRESS_TOKENS = 64  # between two pieces of a watched completion, where its strategy does not say how many
PAGES = ("pooling", "classify", "score")  # of servers that give numbers: vLLM's names, and SGLang's of `classify`
NO_USAGE = Usage()
NO_TIME = Timing()


# An action's id is written `CELL/PROBLEM/NUMBER`: "majority_vote:n=8#0/p17/3". The cell is a strategy with its budget,
# allocator and seed, without a slash; the problem's id may have slashes; the number has none: it is the action's within
# its trial, after the path of the chain that asked for it.


def trial_of(id: str) -> str:
    """The trial, `CELL/PROBLEM`, of an action's id."""
    return id.rpartition("/")[0]


def cell_of(id: str) -> str:
    """The cell of an action's or a trial's id."""
    return id.partition("/")[0]


def problem_of(id: str) -> str:
    """The problem of an action's id."""
    return id.rpartition("/")[0].partition("/")[2]


def problem_of_trial(id: str) -> str:
    """The problem of a trial's id."""
    return id.partition("/")[2]


_siblings: tuple[Any, Any, str] = (None, None, "")  # messages and sampling of the latest request, and their repr


class Request(Value, frozen=True):
    """A request to a model, as plain data.

    Args:
        messages: the chat so far, ending with a user turn.
        sampling: how to sample.
        seed: distinct for every sample, so that no two requests can be the same sample by accident.
        continue_from: assistant text to continue (prefill); the endpoint must be able to, or the cluster refuses.
        model: name of one of the run's models, its role; None is the first, the solver.
        timeout_s: seconds after which the partial text comes back with finish reason `deadline`.
        progress: whether `Progressed` events are wanted.
        schema: a JSON schema that the text should meet; a server that cannot be held to it is not.
        every: tokens between two of these events, at the least; 0: `PROGRESS_TOKENS`.
        tools: those that the model may ask for; the endpoint must be able to, or the request fails.
        group: consecutive tokens whose mean confidence is followed as the text comes; 0: none are. The endpoint must
            give log-probabilities, or the cluster refuses.
        below: the confidence of a group below which the only `Progressed` event comes; None: they come by `every`.
        step: whether the text is to go on from where a stop string ends it; the endpoint must be able to, and say which
            one did, or the cluster refuses.
        measure: the page of a server that gives numbers to a text in place of generating one, `pooling`, `classify` or
            `score`. A turn alone is measured as it is, several as a chat; `score` measures the last turn by those
            before it. The completion's text is the numbers, as JSON: a row for each part of the text.
    """

    messages: Prompt
    sampling: Sampling = Sampling()
    seed: int = 0
    continue_from: str = ""
    model: str | None = None
    timeout_s: float | None = None
    progress: bool = False
    schema: Mapping[str, Any] | None = None
    every: int = 0
    tools: tuple[Tool, ...] = ()
    group: int = 0
    below: float | None = None
    step: bool = False
    measure: str = ""

    def __repr__(self) -> str:
        """As it was before the last fields came, where they are not set: keys of samples and digests are made of it,
        for every request. The longest part of it, which siblings have in common, is kept for the next of them."""
        global _siblings  # noqa: PLW0603  # replaced as a whole: other threads may read it
        messages, sampling, shared = _siblings
        if self.messages is not messages or self.sampling is not sampling:
            shared = f"messages={self.messages!r}, sampling={self.sampling!r}"
            if type(self.messages) is tuple:  # a plugin may give a list, and change it
                _siblings = self.messages, self.sampling, shared
        added = self.added if self.schema or self.every or self.tools or self.group or self.step or self.measure else ""
        return (
            f"Request({shared}, seed={self.seed!r}, continue_from={self.continue_from!r}, model={self.model!r}, "
            f"timeout_s={self.timeout_s!r}, progress={self.progress!r}{added})"
        )

    @property
    def added(self) -> str:
        """The part of the `repr` that shows fields of later versions, which are shown only where they are set."""
        schema = f", schema={self.schema!r}" if self.schema else ""
        every = f", every={self.every!r}" if self.every else ""
        group = f", group={self.group!r}, below={self.below!r}" if self.group else ""
        tools = f", tools={self.tools!r}" if self.tools else ""
        step = ", step=True" if self.step else ""
        return schema + every + tools + group + step + (f", measure={self.measure!r}" if self.measure else "")


class Generate(Value, frozen=True, tag="generate"):
    """Sample one completion. `share` is the key under which other trials of the run may use the same sample:
    set only where the strategy waits for all it asked for, so that no length bias can leak between them. `race`: the
    strategy looks at which of several ends first, so that they have to leave together. `helps`: the text helps to
    decide; it is no candidate, and is billed as verification. `asks`: models are asked about the text while it comes,
    so that it must not take the last slot."""

    id: str
    request: Request
    share: str | None = None
    race: bool = False
    helps: bool = False
    asks: bool = False

    def __repr__(self) -> str:  # as `shown_fields` does it, and faster: digests are made of it, for every sample
        helps = ", helps=True" if self.helps else ""
        return f"Generate(id={self.id!r}, request={self.request!r}, share={self.share!r}, race={self.race!r}{helps})"


class Verify(Value, frozen=True, tag="verify"):
    """Score one candidate with the named verifier: through `request` if it asks a model, else in a worker process."""

    id: str
    verifier: str
    problem: Problem
    candidate: Candidate
    request: Request | None = None
    share: str | None = None


class Call(Value, frozen=True, tag="call"):
    """Run the pure function `module:qualname` on JSON-like arguments in a worker process, which is killed after
    `timeout_s` of CPU time."""

    id: str
    function: str
    args: tuple[Any, ...]
    timeout_s: float


class OpenSession(Value, frozen=True, tag="open_session"):
    """Keep a session open, in a process of its own, until this action is cancelled, which ends the process.

    Args:
        environment: the address of the class, or function, that makes the session's environment of `args` (JSON-like).
        unsafe_execute: whether the environment may execute what a model wrote.
    """

    id: str
    environment: str
    args: tuple[Any, ...]
    unsafe_execute: bool = False


class StepSession(Value, frozen=True, tag="step_session"):
    """Take a step of a session: `environment.step(action)` in the session's process, which is killed after `timeout_s`
    of CPU time. A session without a process (the run was resumed, the process has died) gets one anew.

    Args:
        session: the session, as it was opened.
        action: of this step, JSON-like.
        past: the actions and observations of all steps before this one: a new process takes them again first, and must
            observe the same.
    """

    id: str
    session: OpenSession
    action: Any
    past: tuple[tuple[Any, Any], ...]
    timeout_s: float


class Sleep(Value, frozen=True, tag="sleep"):
    """Tell `Woke` when the run's clock reaches `until_s`."""

    id: str
    until_s: float


class Recall(Value, frozen=True, tag="recall"):
    """Read the sums that the trials of the cell have added under this key so far. The scheduler answers by itself."""

    id: str
    key: str


class Add(Value, frozen=True, tag="add"):
    """Add these amounts, by arm, to the sums of the cell's trials. The scheduler does that by itself, once."""

    id: str
    key: str
    amounts: Mapping[str, float]


class Count(Value, frozen=True, tag="count"):
    """Count the tokens of the prompt that this request would have, chat template and all; or of its message's text
    `alone`. The request itself never leaves."""

    id: str
    prompt: Request
    alone: bool = False

    @property
    def most(self) -> int:
        """The most tokens that there can be."""
        return text_bound(self.prompt.messages[0].content) if self.alone else prompt_bound(self.prompt)


@final
class Cancel(Value, frozen=True, tag="cancel"):
    """Stop the action with this id, all the way to the engine. It still ends, as `Cancelled` or
    with the end that overtook."""

    id: str


class Finished(Value, frozen=True, tag="finished"):
    """A `Generate` ended with a completion."""

    id: str
    at_s: float
    completion: Completion

    @property
    def usage(self) -> Usage:
        return self.completion.usage

    @property
    def timing(self) -> Timing:
        return self.completion.timing


class Scored(Value, frozen=True, tag="scored"):
    """A `Verify` ended with a score (whose value may be None: an abstention)."""

    id: str
    at_s: float
    score: Score
    usage: Usage = Usage()
    timing: Timing = Timing()


class Returned(Value, frozen=True, tag="returned"):
    """A `Call` ended with a JSON-like value, or a `StepSession` with an observation."""

    id: str
    at_s: float
    value: Any
    timing: Timing = Timing()

    @property
    def usage(self) -> Usage:
        return NO_USAGE


class _Free(Value, frozen=True):
    """An end that costs nothing."""

    id: str
    at_s: float

    @property
    def usage(self) -> Usage:
        return NO_USAGE

    @property
    def timing(self) -> Timing:
        return NO_TIME


class Woke(_Free, frozen=True, tag="woke"):
    """A `Sleep` ended."""


class Recalled(_Free, frozen=True, tag="recalled"):
    """A `Recall` ended with these sums, by arm."""

    sums: Mapping[str, float]


class Added(_Free, frozen=True, tag="added"):
    """An `Add` was counted."""

    key: str
    amounts: Mapping[str, float]


class Counted(_Free, frozen=True, tag="counted"):
    """A `Count` ended with the tokens that the server's tokenizer counts; None: the server has none to ask."""

    tokens: int | None


class Failed(Value, frozen=True, tag="failed"):
    """The action failed for good; `usage` is what it cost all the same."""

    id: str
    at_s: float
    error: ErrorInfo
    usage: Usage = Usage()
    timing: Timing = Timing()


class Cancelled(Value, frozen=True, tag="cancelled"):
    """The action was cancelled; `completion` is what had been generated by then."""

    id: str
    at_s: float
    completion: Completion = Completion("", "cancelled")

    @property
    def usage(self) -> Usage:
        return self.completion.usage

    @property
    def timing(self) -> Timing:
        return self.completion.timing


class Refused(_Free, frozen=True, tag="refused"):
    """The run's budget cannot hold this action: it never left, and costs nothing."""

    error: ErrorInfo


@final
class Progressed(Value, frozen=True, tag="progressed"):
    """A piece of a completion has come: `text`, which begins at character `offset` of this try's text.

    `tokens` is the number generated by this try so far; `mean_logprob` and `confidence` (`LogprobSummary`) are of this
    piece, but the confidence of a request with `below` is that of its group of tokens. A request that is sent again
    after a crash begins at offset 0 again: readers that join the pieces cut there, so that none counts twice.
    """

    id: str
    at_s: float
    text: str
    offset: int
    tokens: int
    mean_logprob: float | None = None
    confidence: float | None = None


# Where every sample passes, types are compared (`type(event) is Progressed`): where the answer is no, `isinstance` is
# four times as slow with a class of msgspec's. `@final` lets type checkers conclude what all others are.
Work = Generate | Verify | Call | OpenSession | StepSession | Sleep | Recall | Add | Count
Action = Work | Cancel
End = Finished | Scored | Returned | Woke | Recalled | Added | Counted | Failed | Cancelled | Refused
Event = End | Progressed


def is_sample(action: Action) -> bool:
    """Whether a candidate comes of it."""
    return type(action) is Generate and not action.helps


def prompt_bound(request: Request) -> int:
    """An upper bound of the prompt tokens that a server will count: UTF-8 bytes, 8 a message, and 256 for the template.

    Tokenisers that fall back on bytes (byte-level BPE, SentencePiece with byte fallback) never make more tokens than
    there are bytes. A chat template adds a few marker tokens per message, and may add a system turn of its own, for
    which 256 is ample in the templates of today's open models. Tools come with instructions, and their JSON may be
    indented: twice their bytes, and 1,024 for the instructions.
    """
    texts = [message.content for message in request.messages]
    if request.continue_from:
        texts.append(request.continue_from)
    calls = [call for message in request.messages if message.tool_calls for call in message.tool_calls]
    if calls or request.tools:
        texts += [2 * repr(calls), 2 * repr(request.tools), " " * 1024]
    return sum(text_bound(text) + 8 for text in texts) + 256


def text_bound(text: str) -> int:
    """An upper bound of the tokens of a text alone: its UTF-8 bytes."""
    return len(text.encode("utf-8", "surrogatepass"))
