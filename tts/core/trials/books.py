"""The books of one trial: its candidates, scores, failures and costs, each sorted into the scope that asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial as bound

import msgspec

from tts.answers.extract import extract
from tts.answers.rules import read_answer
from tts.core.actions import (
    Call,
    Cancelled,
    End,
    Failed,
    Finished,
    Generate,
    Refused,
    Request,
    Scored,
    StepSession,
    Verify,
    Work,
)
from tts.core.protocols import CostModel
from tts.core.result import Bill, Spending
from tts.core.trials.asks import Asks
from tts.core.trials.coroutines import STEP_LIMIT_S, ForeignCode, InFlight, StepTimedOut
from tts.core.trials.endings import Mistakes
from tts.core.trials.scope import Scope
from tts.errors import CallTimedOut
from tts.messages import ToolCall, answer_of_calls
from tts.types import Candidate, Completion, ErrorInfo, Problem, Sampling, Score


class AnswerReader:
    """Reads the answers of one trial, by a rule of the user's own under guard.

    Args:
        trial: the trial's id.
        foreign: guards the rule's code.
        mistakes: turns what the code raises into errors.

    Attributes:
        error: what the rule has raised: it ends the trial, because an answer that cannot be read is not a wrong one.
    """

    def __init__(self, trial: str, foreign: ForeignCode, mistakes: Mistakes) -> None:
        self.error: Exception | None = None
        self._trial = trial
        self._foreign = foreign
        self._mistakes = mistakes

    def read(self, text: str, problem: Problem, *, complete: bool) -> str | None:
        """The answer in a text; None if there is none."""
        if problem.answer_rule is None:
            return extract(text, problem.answer_format, complete=complete)
        try:
            return self._foreign.run(self._trial, bound(read_answer, text, problem, complete=complete))
        except StepTimedOut:
            error: Exception = CallTimedOut(
                f"the rule for answers {problem.answer_rule} computed for {STEP_LIMIT_S:g} s of CPU time on one text "
                f"of problem {problem.id}, and was ended",
                problem=problem.id,
            )
        except BaseException as raised:
            error = self._mistakes.raised(self._foreign.own(raised))
        self.error = self.error or error
        return None


def is_partial(completion: Completion, asked: Request, own: Sampling) -> bool:
    """Whether a text grows step by step and has not come to its end, or is not known to have: it was asked for as a
    step, or with stop strings of a strategy's own, and ended neither by itself nor at one of the run's."""
    stops = asked.sampling.stop
    grows = stops != own.stop and not set(stops) <= set(own.stop)
    if completion.finish_reason != "stop":
        return grows or asked.step
    return grows and completion.ending != "text" and completion.stopped_by not in own.stop


def _with_calls(text: str, calls: Sequence[ToolCall]) -> str:
    """The text that judges see of a completion that calls the problem's tools."""
    return "\n".join([*([text] if text else []), *(f"{call.name}({call.arguments})" for call in calls)])


class Books:
    """See the module.

    Args:
        answers: reads them.
        asks: the trial's open requests, whose ledgers are settled here.
        costs: prices actions.
        root: the scope of the trial's own strategy.
        sampling, models: the run's own, and that of each of its models by name, where they are known.

    Attributes:
        candidates: id -> candidate, of all scopes but those whose texts only help; in order of arrival.
        scores: candidate id -> every score given in any scope.
        failures: the errors of actions that failed for good.
    """

    def __init__(
        self,
        answers: AnswerReader,
        asks: Asks,
        costs: CostModel,
        root: Scope,
        sampling: Sampling,
        models: Mapping[str, Sampling] | None,
    ) -> None:
        self._answers = answers
        self.candidates: dict[str, Candidate] = {}
        self.scores: dict[str, list[Score]] = {}
        self.failures: list[ErrorInfo] = []
        self._asks = asks
        self._costs = costs
        self._root = root
        self._sampling = sampling
        self._models = models or {}
        self._spending = Spending()
        self._parents: dict[str, Candidate] = {}
        self._scopes: dict[str, Scope] = {}  # candidate id -> where it was asked for, if not in the root

    def bill(self, depth: tuple[int, float]) -> Bill:
        """The bill so far; `depth` is the longest chain, in tokens and seconds."""
        return self._spending.bill(depth)

    def note_parent(self, id: str, parent: Candidate) -> None:
        """The sample that was asked for under this id revises or continues `parent`."""
        self._parents[id] = parent

    def problem_of(self, id: str) -> Problem:
        """The problem that the candidate with this id was asked for."""
        return self._scopes.get(id, self._root).problem

    def settle(self, ask: InFlight, event: End) -> None:
        """Settle the ledgers of an action that has ended, and sort its cost into the bill."""
        action, heading = ask.action, "answers"
        used: Completion | End = event
        if type(event) is Finished:
            used = event.completion
            self.add_candidate(ask.scope, action, used)
        else:
            heading = self._other(ask, event)
        usage, timing = used.usage, used.timing
        tokens, seconds = ask.depth
        ask.reached = tokens + usage.completion_tokens, seconds + timing.total_s
        if not (ask.cost.samples or ask.cost.steps):
            return
        if type(event) is Refused:
            self._asks.turned_down(ask.scope, action, event.error)
            for ledger in ask.scope.ledgers:
                ledger.release(event.id)
            return
        cost = self._costs.actual(action, usage)
        for ledger in ask.scope.ledgers:
            ledger.settle(event.id, cost)
        if heading == "answers" and (type(action) is Verify or ask.scope.helps):
            heading = "verifier"
        self._spending.add(heading, cost, usage, timing.total_s)

    def _other(self, ask: InFlight, event: End) -> str:
        """Note what came instead of a completion; returns the heading of its cost."""
        action = ask.action
        if isinstance(event, Scored) and isinstance(action, Verify):
            score = event.score
            if score.verifier != action.verifier:  # what the run calls it; a plugin may call itself otherwise
                score = msgspec.structs.replace(score, verifier=action.verifier)
            self.add_score(ask.scope, action.candidate, score)
        elif isinstance(event, Failed):
            if not isinstance(action, Call | StepSession):  # their errors are raised in the strategy
                self.failures.append(event.error)
            return "failed"
        elif isinstance(event, Cancelled) and ask.mailbox.closed:
            return "cancelled"
        return "answers"

    def add_score(self, scope: Scope, candidate: Candidate, score: Score) -> None:
        """A verifier has given this score in this scope."""
        scope.scores.setdefault(candidate.id, []).append(score)
        self.scores.setdefault(candidate.id, []).append(score)

    def add_candidate(self, scope: Scope, action: Work, completion: Completion) -> Candidate:
        """Add a sample's completion as a candidate of its scope, and of the trial unless it only helps to decide."""
        request = action.request if isinstance(action, Generate) else None
        prefix = "" if request is None else request.continue_from
        text = prefix + completion.text
        if scope.helps:
            candidate = Candidate(action.id, text, None, completion)
            scope.candidates[action.id] = candidate
            return candidate
        own = self._sampling if request is None else self._models.get(request.model or "", self._sampling)
        partial = request is not None and is_partial(completion, request, own)
        answer = None if partial else completion.answer
        tools = scope.problem.tools
        if completion.tool_calls and tools and request is not None and request.tools == tools:
            answer, text = answer_of_calls(completion.tool_calls, tools), _with_calls(text, completion.tool_calls)
        elif answer is None and not partial and (text or not completion.tool_calls):  # calls alone are no answer
            answer = self._answers.read(text, scope.problem, complete=completion.finish_reason == "stop")
        parent, depth = self._parents.pop(action.id, None), 0
        if parent is not None and prefix and prefix.startswith(parent.text):
            depth = parent.depth + 1
        up = None if parent is None else parent.id
        candidate = Candidate(action.id, text, answer, completion, up, depth, partial)
        self.keep(scope, candidate)
        return candidate

    def ancestry(self, candidate: Candidate) -> list[Candidate]:
        """See `Run.ancestry`."""
        found = [candidate]
        while (up := self.candidates.get(found[-1].parent or "")) is not None:
            found.append(up)
        return found[::-1]

    def keep(self, scope: Scope, candidate: Candidate) -> None:
        """A candidate of this scope has come, or was put together there."""
        scope.candidates[candidate.id] = self.candidates[candidate.id] = candidate
        if scope is not self._root:
            self._scopes[candidate.id] = scope
