"""From outcomes to rows: means per cell with intervals, the owners of the frontier, and notes for the reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from tts.analysis.frontier import Corner, Placed, Stretch, corners, stretches
from tts.core.addresses import split_values
from tts.core.result import Ends
from tts.intervals import mean_interval
from tts.models.wire.endings import UNSAID

if TYPE_CHECKING:
    pass
from tts.runs.outcomes import Outcome
from tts.runs.row import Row

NO_REFERENCE = (
    "no problem has a reference answer, so accuracy is unknown; agreement is the mean share of a problem's samples "
    "that have the answer which was chosen"
)
NOTED = 0.05  # share of samples from which on they are noted
MUCH_UNSPENT = 0.2  # unspent share of a budget from which on it is noted


def summarise(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows in the order in which their cells first appear; 95 % intervals over problems."""
    cells: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        cells.setdefault(outcome.cell, []).append(outcome)
    graded = [_graded(members) for members in cells.values()]
    return _placed([_row(members, some) for members, some in zip(cells.values(), graded, strict=True)], graded)


def _placed(rows: Sequence[Row], graded: Sequence[Mapping[str, Sequence[float]]]) -> list[Row]:
    """The rows with their places on the frontiers."""
    means = [{problem: sum(values) / len(values) for problem, values in some.items()} for some in graded]

    def found(cost: Callable[[Row], float | None]) -> dict[int, Corner]:
        spent = {i: cost(row) for i, row in enumerate(rows) if means[i]}
        return corners({i: Placed(some, rows[i].owner, means[i]) for i, some in spent.items() if some})

    tokens, sequential = found(lambda row: row.tokens), found(lambda row: row.sequential_tokens)
    # A frontier in dollars among some of the rows would flatter these.
    usd = found(lambda row: row.usd) if all(row.usd is not None for row in rows) else {}
    return [
        msgspec.structs.replace(
            row,
            on_frontier=i in tokens,
            on_sequential_frontier=i in sequential,
            on_usd_frontier=i in usd,
            ties=tokens[i].ties if i in tokens else (),
        )
        for i, row in enumerate(rows)
    ]


def owners_of(rows: Sequence[Row]) -> list[Stretch]:
    """The owners of the frontier in tokens."""
    kept = [
        Corner(row.tokens, row.accuracy.mean, row.owner, row.ties)
        for row in rows
        if row.on_frontier and row.accuracy and row.tokens is not None
    ]
    return stretches(sorted(kept, key=lambda corner: corner.cost))


def _graded(members: Sequence[Outcome]) -> dict[str, list[float]]:
    """Verdicts by problem."""
    graded: dict[str, list[float]] = {}
    for o in members:
        if o.error is None and o.correct is not None:
            graded.setdefault(o.problem_id, []).append(float(o.correct))
    return graded


def _row(members: Sequence[Outcome], graded: Mapping[str, Sequence[float]]) -> Row:
    sound = [o for o in members if o.error is None]

    def mean(value: Callable[[Outcome], float | None]) -> float | None:
        values = [v for o in sound if (v := value(o)) is not None]
        return sum(values) / len(values) if values and len(values) == len(sound) else None

    head = members[0]
    verified = sum(o.verifications for o in members)
    return Row(
        cell=head.cell,
        strategy=head.strategy,
        params=head.params,
        budget=head.budget,
        problems=len({o.problem_id for o in sound}),
        seeds=len({o.seed for o in sound}),
        accuracy=mean_interval(graded),
        samples=mean(lambda o: o.samples),
        tokens=mean(lambda o: o.tokens),
        prompt_tokens=mean(lambda o: o.prompt_tokens),
        sequential_tokens=mean(lambda o: o.sequential_tokens),
        verifier_tokens=mean(lambda o: o.verifier_tokens),
        cancelled_tokens=mean(lambda o: o.cancelled_tokens),
        usd=mean(lambda o: o.usd),
        flops=mean(lambda o: o.flops),
        steps=mean(lambda o: o.steps),
        seconds=mean(lambda o: o.seconds),
        latency_s=mean(lambda o: o.latency_s),
        exhausted=sum(o.exhausted for o in sound),
        failed=sum(o.failed for o in members),
        errors=len(members) - len(sound),
        error_tokens=sum(o.tokens for o in members if o.error is not None),
        on_frontier=False,
        abstained=sum(o.abstained for o in members) / verified if verified else None,
        downgrades=tuple(sorted({d for o in members for d in o.downgrades})),
        decision_p50_s=_decision(sound, 0.5),
        decision_p99_s=_decision(sound, 0.99),
        makespan_s=_makespan(sound),
        late_tokens=mean(lambda o: o.late_tokens),
        allocator=head.allocator,
        unserved=sum(o.exhausted and not o.samples for o in sound),
        unspent=_mean([o.unspent for o in sound if o.unspent is not None]),
        next_cost=_mean([o.next_cost for o in sound if o.next_cost is not None]),
        next_action=" or ".join(sorted({o.next_action for o in sound if o.next_action})),
        short=sum(o.unspent is not None for o in sound),
        ungraded=sum(o.ungraded is not None for o in sound),
        ungraded_why=next((o.ungraded for o in sound if o.ungraded is not None), ""),
        unpriced=mean(lambda o: o.unpriced) or 0.0,
        candidates=sum(o.candidates for o in members),
        cut=_over(sum, [o.cut for o in members]),
        cut_at=_over(max, [o.cut_at for o in members]),
        unanswered=_over(sum, [o.unanswered for o in members]),
        refused=_over(sum, [o.refused for o in members]),
        uncompared=_over(sum, [o.uncompared for o in members]),
        agreement=_mean([o.agreement for o in sound if o.agreement is not None]),
        unended=sum(_is_unended(o) for o in sound),
    )


def _is_unended(o: Outcome) -> bool:
    """Whether its texts had begun, and none came to its end; where that was not counted, they are taken to have."""
    return o.answer is None and o.cut is not None and not o.candidates and o.tokens > 0 and not o.exhausted


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _over(total: Callable[[Sequence[int]], int], counts: Sequence[int | None]) -> int | None:
    """Total of counts; None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return total(known) if len(known) == len(counts) else None


def _decision(outcomes: Sequence[Outcome], quantile: float) -> float | None:
    """A quantile of the time from opening a trial to its decision: the nearest rank."""
    times = sorted(o.decided_s - o.opened_s for o in outcomes if o.decided_s is not None and o.opened_s is not None)
    return times[math.ceil(quantile * len(times)) - 1] if times and len(times) == len(outcomes) else None


def _makespan(outcomes: Sequence[Outcome]) -> float | None:
    last: dict[int, float] = {}
    for o in outcomes:
        if o.decided_s is None:
            return None
        last[o.seed] = max(last.get(o.seed, 0.0), o.decided_s)
    return sum(last.values()) / len(last) if last else None


def warnings_of(rows: Sequence[Row], *, recorded: bool = False) -> list[str]:
    """Notes on facts that the table does not show.

    Args:
        recorded: whether the samples were recorded earlier, so that none of them can be drawn anew.
    """
    found = []
    if rows and all(r.accuracy is None and not r.ungraded and r.agreement is not None for r in rows):
        found.append(NO_REFERENCE)
    exhausted = sum(r.exhausted for r in rows if "n=None" not in split_values(r.params))  # an open count is to
    trials = sum(r.problems * r.seeds for r in rows)
    if exhausted:
        found.append(f"{exhausted} of {trials} trials ended because a budget ran out; no answer counts as a wrong one")
    found += [
        f"{r.series}, budget {r.budget or 'of the run'}: it ended before the first sample of {r.unserved} of "
        f"{r.problems * r.seeds} trials; problems are served in the order given"
        for r in rows
        if r.unserved
    ]
    found += [
        f"{r.series}{':' if r.params else ''}{r.params}, budget {r.budget}: {100 * r.unspent:.0f} % of the budget was "
        f"left in the {r.short} of {r.problems * r.seeds} trials that it ended, because one more {r.next_action} may "
        f"cost {100 * r.next_cost:.0f} % of it (all that the request may generate is reserved)"
        + ("; a lower --max-tokens spends more" if r.next_action == "sample" and not recorded else "")
        for r in rows
        if r.unspent is not None and r.next_cost is not None and r.unspent >= MUCH_UNSPENT
    ]
    downgrades = sorted({d for r in rows for d in r.downgrades})
    if downgrades:
        found.append(without_parameters(downgrades))
    found += _sample_warnings(rows, recorded)
    found += [
        f"{r.name}: no text of {r.unended} of {r.problems * r.seeds} trials came to its end, so that they have no "
        f"answer: give the search a larger n or depth, or its steps more tokens (--max-tokens)"
        for r in rows
        if r.unended
    ]
    found += [
        f"{r.name}: {100 * r.abstained:.0f} % of its verifications gave no score"
        + ("; it chose by majority instead" if r.abstained == 1 else "")
        for r in rows
        if r.abstained
    ]
    ungraded = sum(r.ungraded for r in rows)
    if ungraded:
        why = next(r.ungraded_why for r in rows if r.ungraded)
        found.append(
            f"{ungraded} of {trials} answers could not be graded and are left out of the accuracy; the first: {why}"
        )
    failed = sum(r.failed for r in rows)
    if failed:
        found.append(f"{failed} requests failed for good; their trials went on without them")
    return found


def _sample_warnings(rows: Sequence[Row], recorded: bool) -> Iterator[str]:
    """Each note once, of the row that has the most such samples: rows share samples, so that a sum counts twice."""
    counts: tuple[Callable[[Ends], int], ...] = (
        *(lambda e: e.cut, lambda e: e.refused, lambda e: e.unanswered),
        lambda e: e.uncompared,
    )
    for i, count in enumerate(counts):
        noted = [row for row in rows if notes_on(row.ends, recorded=recorded)[i]]
        if noted:
            worst = max(noted, key=lambda row: count(row.ends))
            yield (f"{worst.name}: " if len(rows) > 1 else "") + notes_on(worst.ends, recorded=recorded)[i]


def without_parameters(names: Sequence[str]) -> str:
    """A note on parameters that matter, and that a server refused; and on what a server does not say of ends."""
    refused = ", ".join(name for name in names if name not in UNSAID)
    notes = [f"a server refused these parameters, and requests went without them: {refused}"] if refused else []
    return "; ".join(notes + [f"a server {UNSAID[name]}" for name in names if name in UNSAID])


def notes_on(ends: Ends, *, recorded: bool = False) -> tuple[str, str, str, str]:
    """Notes on samples that were cut, that were refused, without an answer for neither reason, and with an answer that
    could not be compared; "" where too few to matter (below 5 % of the first and the third kind)."""
    few, of = NOTED * ends.samples, f"of {ends.samples:,} samples"
    more = "raise --max-tokens, unless the strategy or the context ends there"
    more = "longer ones have to be drawn from the model" if recorded else more
    cut = f"{ends.cut:,} {of} were cut at {ends.cut_at:,} tokens: {more}"
    refused = f"{ends.refused:,} {of} were refused by the model's content filter"
    silent = f"{ends.unanswered:,} {of} have no answer that could be read; a prompt that asks for \\boxed{{}} helps"
    uncompared = f"{ends.uncompared:,} {of} have answers that could not be compared with the others: each votes alone"
    unexplained = ends.unanswered - ends.cut - ends.refused
    return (
        cut if ends.cut and ends.cut >= few else "",
        refused if ends.refused else "",
        silent if unexplained > 0 and unexplained >= few else "",
        uncompared if ends.uncompared else "",
    )
