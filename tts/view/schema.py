"""The JSON that the page is given. Times are seconds on the run's clock; an unknown value is null, never 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tts.intervals import Interval


class Spent(msgspec.Struct, frozen=True):
    """What a run has paid."""

    samples: int | None = None
    tokens: int | None = None
    usd: float | None = None
    flops: int | None = None


class CellRow(msgspec.Struct, frozen=True):
    """A strategy with its parameters under one budget, or a recorded set of samples. Quantities are means a trial, as
    in `tts.runs.row.Row`; `errors` and `exhausted` are counts of trials."""

    id: str
    strategy: str
    params: str = ""
    budget: str = ""
    allocator: str = ""
    seeds: int = 1
    problems: int = 0
    trials: int = 0
    accuracy: Interval | None = None
    samples: float | None = None
    tokens: float | None = None
    prompt_tokens: float | None = None
    verifier_tokens: float | None = None
    cancelled_tokens: float | None = None
    sequential_tokens: float | None = None
    usd: float | None = None
    latency_s: float | None = None
    errors: int = 0
    exhausted: int = 0
    on_frontier: bool = False
    ties: Sequence[str] = ()


class Overview(msgspec.Struct, frozen=True):
    """`/api/overview`. `planned`: number of trials that were asked for; None where nothing says so."""

    title: str
    kind: str
    path: str
    live: bool
    version: int
    problems: int
    samples: int | None
    trials: int
    planned: int | None
    spent: Spent
    cells: Sequence[CellRow]
    notes: Sequence[str] = ()


class ProblemRow(msgspec.Struct, frozen=True):
    """A row of the heat map; `prompt` is its beginning."""

    id: str
    prompt: str | None = None
    reference: str | None = None


class Grid(msgspec.Struct, frozen=True):
    """`/api/grid`: for each problem, a value for each cell. `state`: `decided`, `open`, `error`, `ungraded`, or null
    where the problem has not been begun."""

    problems: Sequence[ProblemRow]
    cells: Sequence[str]
    score: Sequence[Sequence[float | None]]
    tokens: Sequence[Sequence[float | None]]
    samples: Sequence[Sequence[float | None]]
    state: Sequence[Sequence[str | None]]


class TrialRow(msgspec.Struct, frozen=True):
    """`/api/trials`: one seed of one problem in one cell."""

    id: str
    seed: int | None = None
    answer: str | None = None
    correct: bool | None = None
    tokens: int | None = None
    samples: int | None = None
    latency_s: float | None = None
    error: str | None = None
    exhausted: bool = False
    state: str = "decided"


class ProblemShown(msgspec.Struct, frozen=True):
    """A problem whole; `prompt` are the turns that a model is shown, as `{role, content}`."""

    id: str
    prompt: Sequence[Mapping[str, Any]] | None = None
    reference: str | None = None


class CellTrials(msgspec.Struct, frozen=True):
    """The trials of one cell on a problem."""

    cell: str
    trials: Sequence[TrialRow]


class ProblemPage(msgspec.Struct, frozen=True):
    """`/api/problem`: a problem whole, and all trials of it."""

    problem: ProblemShown
    cells: Sequence[CellTrials]


class Vote(msgspec.Struct, frozen=True):
    """A class of equal answers: `count` candidates, `weight` the sum of their scores."""

    answer: str
    count: int
    weight: float | None = None
    correct: bool | None = None


class CandidateShown(msgspec.Struct, frozen=True):
    """A request of a trial, whatever came of it."""

    id: str
    kind: str
    state: str
    parent: str | None = None
    depth: int = 0
    text_preview: str = ""
    chars: int = 0
    answer: str | None = None
    correct: bool | None = None
    score: float | None = None
    scores: Mapping[str, float | None] = {}
    tokens: int | None = None
    prompt_tokens: int | None = None
    seed: int | None = None
    temperature: float | None = None
    endpoint: str = ""
    model: str = ""
    granted_s: float | None = None
    sent_s: float | None = None
    first_token_s: float | None = None
    ended_s: float | None = None
    hedged: bool = False
    error: str | None = None
    finish_reason: str | None = None
    selected: bool = False
    because: str = ""
    partial: bool = False
    steps: int = 0
    votes: bool = False


class Verification(msgspec.Struct, frozen=True):
    """A judgement of the candidates `of`, by a model or by a computation, in the order in which they were shown.
    `alike`: candidates with the text of one of them that no judgement is of."""

    id: str
    of: Sequence[str]
    judge: str
    state: str
    alike: Sequence[str] = ()
    score: float | None = None
    verdict: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    started_s: float | None = None
    ended_s: float | None = None
    has_transcript: bool = False
    error: str | None = None


class BillLine(msgspec.Struct, frozen=True):
    """What a trial cost, for one purpose."""

    what: str
    samples: int | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    usd: float | None = None
    flops: int | None = None


class TrialShown(msgspec.Struct, frozen=True):
    """`/api/trial`. `total` is the sum of `bill`; `paid` is what the run paid for this trial, less where samples of
    other trials were used again. `notes` say what could not be shown, and why."""

    id: str
    problem: ProblemShown
    cell: str
    strategy: str
    seed: int | None = None
    state: str = "decided"
    answer: str | None = None
    correct: bool | None = None
    error: str | None = None
    exhausted: bool = False
    opened_s: float | None = None
    decided_s: float | None = None
    why: Sequence[str] = ()
    votes: Sequence[Vote] = ()
    candidates: Sequence[CandidateShown] = ()
    verifications: Sequence[Verification] = ()
    bill: Sequence[BillLine] = ()
    total: BillLine = BillLine("total")
    paid: BillLine | None = None
    notes: Sequence[str] = ()


class Text(msgspec.Struct, frozen=True):
    """`/api/text`: all that a request was given and returned. `text` None: it is not kept; `note` says why."""

    text: str | None = None
    reasoning: str | None = None
    prompt: Sequence[Mapping[str, Any]] | None = None
    tool_calls: Sequence[Mapping[str, Any]] | None = None
    transcript: Sequence[Mapping[str, Any]] | None = None
    note: str = ""


class McNemar(msgspec.Struct, frozen=True):
    """A test of whether two cells differ, over the problems that only one of them solves. `statistic` is None where the
    test is exact."""

    p: float
    statistic: float | None = None
    exact: bool = True


class Flip(msgspec.Struct, frozen=True):
    """A problem on which two cells differ: each one's mean correctness over seeds."""

    problem: str
    a: float | None
    b: float | None
    prompt: str | None = None
    answer_a: str | None = None
    answer_b: str | None = None


class Comparison(msgspec.Struct, frozen=True):
    """`/api/compare`: counts of the problems that both have, the test, and the mean difference a - b with its interval.

    With several seeds, `only_a` counts the problems that a solves more often; `both` and `neither` are those that the
    cells solve equally often, at least and less than half the time.
    """

    a: str
    b: str
    both: int
    only_a: int
    only_b: int
    neither: int
    mcnemar: McNemar | None
    difference: Interval | None
    flips: Sequence[Flip] = ()
