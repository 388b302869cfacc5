"""One trial as the page is shown it: its candidates, its judgements, its bill, and why its answer was selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tts.answers.rules import REGEX, read_answer
from tts.core.actions import (
    Call,
    Cancelled,
    End,
    Failed,
    Finished,
    Generate,
    OpenSession,
    Recall,
    Recalled,
    Refused,
    Request,
    Returned,
    Scored,
    StepSession,
    Verify,
    Work,
)
from tts.core.result import Bill
from tts.selectors import value_of
from tts.tasks.example import Example
from tts.tasks.verdict import Verdict
from tts.types import Candidate, Completion, Cost, Problem, Score
from tts.view.judged import STRATEGY
from tts.view.schema import BillLine, CandidateShown, ProblemShown, TrialShown, Verification
from tts.view.trials.reasons import because, reasons, reasons_of_judging, votes_of
from tts.view.trials.records import Recorded, TrialRecords
from tts.view.trials.retelling import Retold

PREVIEW = 200  # characters of a candidate's text in the list
_FREE = ("Woke", "Recalled", "Added", "Counted")  # ends of actions that no one pays for, nor looks at

Verdicts = Mapping[tuple[str, str | None], Verdict]


class Seen(NamedTuple):
    """All that is known of a trial.

    Args:
        told: the trial told its past again; None where that could not be done.
        last_times: action id -> the run's clock when it was granted.
        notes: what could not be shown.
    """

    records: TrialRecords
    told: Retold | None
    problem_id: str
    example: Example | None
    verdicts: Verdicts
    cell: str
    strategy: str
    seed: int | None
    last_times: Mapping[str, float | None]
    notes: Sequence[str] = ()


def shown_trial(seen: Seen) -> TrialShown:
    """The trial as `/api/trial` gives it."""
    records, decided = seen.records, seen.records.decided
    candidates = candidates_of(seen)
    selected = decided.selected if decided else None
    verdict = {
        answer: found.correct for (problem, answer), found in seen.verdicts.items() if problem == seen.problem_id
    }
    votes = votes_of(candidates, verdict)
    verifications = verifications_of(seen)
    judging = decided is not None and decided.strategy.name == STRATEGY
    answer = decided.answer if decided and not judging else None
    bill = bill_of(decided.bill if decided else spent_so_far(seen))
    paid = decided.paid if decided else spent_so_far(seen, paid=True).total
    error = decided.error if decided else None
    return TrialShown(
        id=records.id,
        problem=shown_problem(seen.problem_id, seen.example),
        cell=seen.cell,
        strategy=seen.strategy,
        seed=seen.seed,
        state="open" if decided is None else "error" if _is_infra(error) else "decided",
        answer=answer,
        correct=verdict.get(answer) if decided and not judging and not _is_infra(error) else None,
        error=f"{error.type}: {error.message}" if error else None,
        exhausted=decided.exhausted if decided else False,
        opened_s=records.opened.at_s if records.opened else None,
        decided_s=decided.at_s if decided else None,
        why=reasons_of_judging(records, candidates, verifications)
        if judging
        else reasons(seen.strategy, records, candidates, votes, verifications, remembered_of(seen)),
        votes=votes,
        candidates=[_explained(candidate, candidates, votes, selected) for candidate in candidates],
        verifications=verifications,
        bill=bill,
        total=total_of(bill, decided.bill.usage.prompt_tokens if decided else None),
        paid=_line("paid", paid),
        notes=seen.notes,
    )


def remembered_of(seen: Seen) -> dict[str, Mapping[str, float]]:
    """What the trial read last of the run's memory, by key."""
    ends = ((work, seen.records.actions.get(id)) for id, work in (seen.told.asked if seen.told else {}).items())
    return {
        work.key: action.end.sums
        for work, action in ends
        if isinstance(work, Recall) and action is not None and isinstance(action.end, Recalled)
    }


def _explained(
    candidate: CandidateShown, all_of_them: Sequence[CandidateShown], votes: Sequence[Any], selected: str | None
) -> CandidateShown:
    return msgspec.structs.replace(candidate, because=because(candidate, all_of_them, votes, selected))


def _is_infra(error: Any) -> bool:
    return error is not None and error.type != "BudgetExhausted"


def shown_problem(id: str, example: Example | None) -> ProblemShown:
    """A problem whole; of one that the folder does not hold, its id."""
    if example is None:
        return ProblemShown(id)
    return ProblemShown(id, [turn_of(message) for message in example.problem.messages], example.reference)


def turn_of(message: Any) -> dict[str, Any]:
    """A turn of a chat as plain values."""
    plain: dict[str, Any] = msgspec.to_builtins(message)
    return plain


# --- candidates


def candidates_of(seen: Seen) -> list[CandidateShown]:
    """Every action that a candidate could come of, and every program and step, in the order of asking."""
    told = {} if seen.told is None else {found.id: found for found in seen.told.result.candidates}
    shown = []
    for action in seen.records.actions.values():
        work = seen.told.asked.get(action.id) if seen.told else None
        kind = kind_of(work, action.end)
        if kind is not None and kind not in ("score", "ask"):
            shown.append(_candidate(seen, action, work, kind, told.get(action.id)))
    made = [found for id, found in told.items() if id not in seen.records.actions]  # put together from others
    shown += [_proposed(seen, found) for found in made]
    return shown + _recorded(seen)


def _recorded(seen: Seen) -> list[CandidateShown]:
    """The recorded candidates that judges were asked about, with what they gave."""
    if seen.told is None or seen.told.recorded is None:
        return []
    shown, trial = [], seen.records.id
    for found in seen.told.recorded.candidates:
        given = seen.told.result.scores.get(found.id, ())
        completion = found.completion
        shown.append(
            CandidateShown(
                id=seen.told.shown_id(trial, found.id), kind="recorded", state="finished",
                text_preview=found.text[:PREVIEW], chars=len(found.text), answer=found.answer,
                score=value_of(given), scores=_by_verifier(given), tokens=completion.usage.completion_tokens or None,
                model=completion.model, finish_reason=completion.finish_reason,
            )
        )  # fmt: skip
    return shown


def _by_verifier(given: Sequence[Score]) -> dict[str, float | None]:
    return {name: value_of([s for s in given if s.verifier == name]) for name in {s.verifier: 0 for s in given}}


def answers_of(seen: Seen) -> set[str]:
    """The answers of a trial's candidates."""
    return {found.answer for found in candidates_of(seen) if found.answer is not None}


def kind_of(work: Work | None, end: End | None) -> str | None:
    """What an action is: `generate`, `ask` (it helps to decide), `measure`, `score`, `execute`, `session`, `step`; None
    for one without anything to show. Without `work`, what its end says."""
    if isinstance(work, Generate):
        return "measure" if work.request.measure else "ask" if work.helps else "generate"
    for kind, name in ((Verify, "score"), (Call, "execute"), (OpenSession, "session"), (StepSession, "step")):
        if isinstance(work, kind):
            return name
    if work is not None or (end is not None and type(end).__name__ in _FREE):
        return None
    if isinstance(end, Scored):
        return "score"
    return "execute" if isinstance(end, Returned) else "generate"


def _candidate(seen: Seen, action: Recorded, work: Work | None, kind: str, found: Candidate | None) -> CandidateShown:
    end, completion = action.end, action.completion
    request = getattr(work, "request", None)
    usage = end.usage if end is not None else None
    text = found.text if found else completion.text if completion else _returned(end)
    answer = found.answer if found else _answer(seen, completion, end) if seen.told is None else None
    scores = seen.told.result.scores.get(action.id, ()) if seen.told else ()
    decided, times = seen.records.decided, times_of(action, seen.last_times.get(action.id))
    return CandidateShown(
        id=action.id,
        kind=kind,
        state=action.state,
        parent=found.parent if found else None,
        depth=found.depth if found else 0,
        text_preview=text[:PREVIEW],
        chars=len(text),
        answer=answer,
        correct=_correct(seen, answer),
        score=value_of(scores),
        scores=_by_verifier(scores),
        tokens=usage.completion_tokens if usage else None,
        prompt_tokens=usage.prompt_tokens if usage else None,
        seed=request.seed if isinstance(request, Request) else completion.seed if completion else None,
        temperature=request.sampling.temperature if isinstance(request, Request) else None,
        endpoint=completion.endpoint if completion else "",
        model=(completion.model if completion else "") or (getattr(request, "model", None) or ""),
        granted_s=times.granted_s,
        sent_s=times.sent_s,
        first_token_s=times.first_token_s,
        ended_s=times.ended_s,
        hedged=action.hedged,
        error=end.error.message if isinstance(end, Failed | Refused) else None,
        finish_reason=completion.finish_reason if completion and end is not None else None,
        selected=decided is not None and decided.selected == action.id,
        partial=found.partial if found else False,
        steps=(found.depth if found else 0) + 1,
        votes=answer is not None and kind == "generate" and isinstance(end, Finished),
    )


def _returned(end: End | None) -> str:
    return msgspec.json.encode(end.value).decode() if isinstance(end, Returned) else ""


def _proposed(seen: Seen, found: Candidate) -> CandidateShown:
    """A candidate that the strategy has put together itself."""
    decided = seen.records.decided
    return CandidateShown(
        id=found.id, kind="proposed", state="finished", parent=found.parent, text_preview=found.text[:PREVIEW],
        chars=len(found.text), answer=found.answer, correct=_correct(seen, found.answer),
        selected=decided is not None and decided.selected == found.id,
    )  # fmt: skip


def _answer(seen: Seen, completion: Completion | None, end: End | None) -> str | None:
    """The answer in a text, where the trial could not be told its past again."""
    if completion is None or not isinstance(end, Finished):
        return None
    problem = seen.example.problem if seen.example else Problem(seen.problem_id, "")
    if completion.answer is not None or (problem.answer_rule and not problem.answer_rule.startswith(REGEX)):
        return completion.answer
    return read_answer(completion.text, problem, complete=completion.finish_reason == "stop")


def _correct(seen: Seen, answer: str | None) -> bool | None:
    if answer is None:
        return None
    found = seen.verdicts.get((seen.problem_id, answer))
    return None if found is None else found.correct


class Times(NamedTuple):
    """Of an action, on the run's clock."""

    granted_s: float | None
    sent_s: float | None
    first_token_s: float | None
    ended_s: float | None


def times_of(action: Recorded, granted_s: float | None) -> Times:
    """When an action was granted, sent, answered first and ended, as far as its end says it."""
    end = action.origin or action.end
    if end is None or isinstance(end, Refused):
        first = action.pieces[0].at_s if action.pieces else None
        return Times(granted_s, None, first, getattr(end, "at_s", None))
    timing = end.timing
    sent = round(end.at_s - timing.total_s, 6) if timing.total_s else None
    first = round(sent + timing.first_token_s, 6) if sent is not None and timing.first_token_s is not None else None
    granted = granted_s if action.of is None else sent
    if granted is not None and sent is not None:
        granted = min(granted, sent)
    return Times(granted, sent, first, end.at_s)


# --- judgements


def verifications_of(seen: Seen) -> list[Verification]:
    """Every judgement, and every request that helped to decide, in the order of asking."""
    found = []
    for action in seen.records.actions.values():
        work = seen.told.asked.get(action.id) if seen.told else None
        if kind_of(work, action.end) in ("score", "ask"):
            found.append(_verification(seen, action, work))
    alike, asked = _alike(seen), {id for each in found for id in each.of}
    return [
        msgspec.structs.replace(each, alike=[id for of in each.of for id in alike.get(of, ()) if id not in asked])
        for each in found
    ]


def _alike(seen: Seen) -> dict[str, list[str]]:
    """By the shown id of a candidate, all that have its text."""
    by_text: dict[str, list[str]] = {}
    for found in _judgeable(seen):
        if found.text.strip() and seen.told is not None:
            by_text.setdefault(found.text.strip(), []).append(seen.told.shown_id(seen.records.id, found.id))
    return {id: ids for ids in by_text.values() if len(ids) > 1 for id in ids}


def _judgeable(seen: Seen) -> Sequence[Candidate]:
    """The candidates that a judge can be asked about."""
    if seen.told is None:
        return ()
    return seen.told.result.candidates if seen.told.recorded is None else seen.told.recorded.candidates


def _verification(seen: Seen, action: Recorded, work: Work | None) -> Verification:
    end = action.end
    score = end.score if isinstance(end, Scored) else None
    times = times_of(action, seen.last_times.get(action.id))
    text = score.text if score else action.completion.text if action.completion else ""
    return Verification(
        id=action.id,
        of=_judged(seen, work),
        judge=work.verifier if isinstance(work, Verify) else score.verifier if score else _asked_by(seen),
        state=action.state,
        score=score.value if score else None,
        verdict="abstained" if score and score.value is None else text[-PREVIEW:] or None,
        tokens=end.usage.completion_tokens if end else None,
        prompt_tokens=end.usage.prompt_tokens if end else None,
        started_s=times.sent_s if times.sent_s is not None else times.granted_s,
        ended_s=times.ended_s,
        has_transcript=isinstance(work, Generate)
        or (isinstance(work, Verify) and work.request is not None)
        or bool(text),
        error=end.error.message if isinstance(end, Failed | Refused) else None,
    )


def _judged(seen: Seen, work: Work | None) -> list[str]:
    """The candidates that a judgement is of: the one it was asked about, or those whose texts its prompt shows, in the
    order of the prompt. Of candidates with the same text the first stands for all, as a judge sees it once."""
    if seen.told is None:
        return []
    trial = seen.records.id
    if isinstance(work, Verify):
        return [seen.told.shown_id(trial, work.candidate.id)]
    if not isinstance(work, Generate):
        return []
    prompt = "\n".join(message.content for message in work.request.messages)
    return [seen.told.shown_id(trial, id) for id in shown_in(prompt, {c.id: c.text for c in _judgeable(seen)})]


def shown_in(prompt: str, texts: Mapping[str, str]) -> list[str]:
    """The ids of the texts that a prompt shows, in its order; a text within another one is not shown for itself."""
    first: dict[str, str] = {}
    for id, text in texts.items():
        if text.strip():
            first.setdefault(text.strip(), id)
    places: list[tuple[int, str]] = []
    for text in sorted(first, key=len, reverse=True):
        at = prompt.find(text)
        if at >= 0:
            places.append((at, first[text]))
            prompt = prompt.replace(text, "\0" * len(text))
    return [id for _, id in sorted(places)]


def _asked_by(seen: Seen) -> str:
    """Who asked a question that helped to decide: the only judge there is, or else the strategy."""
    scores = seen.told.result.scores.values() if seen.told else ()
    names = {score.verifier for given in scores for score in given}
    return names.pop() if len(names) == 1 else seen.strategy.partition(":")[0]


# --- the bill


def bill_of(bill: Bill) -> list[BillLine]:
    """A bill by purpose; lines without a cost are left out."""
    lines = {"samples": bill.answers, "verification": bill.verifier, "cancelled": bill.cancelled, "failed": bill.failed}
    return [_line(what, cost) for what, cost in lines.items() if cost.samples or cost.tokens or cost.steps]


def spent_so_far(seen: Seen, paid: bool = False) -> Bill:
    """The bill of a trial that is not decided, in requests and tokens. `paid`: without what other trials paid for."""
    costs: dict[str, list[Cost]] = {"answers": [], "verifier": [], "cancelled": [], "failed": []}
    for action in seen.records.actions.values():
        end = action.end
        work = seen.told.asked.get(action.id) if seen.told else None
        if end is None or isinstance(end, Refused) or (action.granted is None and (paid or action.of is None)):
            continue
        heading = "verifier" if kind_of(work, end) in ("score", "ask", "measure") else "answers"
        heading = "failed" if isinstance(end, Failed) else "cancelled" if isinstance(end, Cancelled) else heading
        costs[heading].append(Cost(1, end.usage.completion_tokens, None, None))
    summed = {heading: Cost.sum(found) for heading, found in costs.items()}
    return Bill(summed["answers"], summed["verifier"], summed["cancelled"], summed["failed"])


def total_of(lines: Sequence[BillLine], prompt_tokens: int | None) -> BillLine:
    """The sum of a bill; an amount that is unknown of one line is unknown of all."""
    sums = {
        name: None if any(getattr(line, name) is None for line in lines) else sum(getattr(line, name) for line in lines)
        for name in ("samples", "tokens", "usd", "flops")
    }
    return BillLine("total", prompt_tokens=prompt_tokens, **sums)


def _line(what: str, cost: Cost) -> BillLine:
    return BillLine(what, cost.samples, cost.tokens, None, cost.usd, cost.flops)
