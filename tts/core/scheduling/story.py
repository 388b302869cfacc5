"""The history of one action, told from the records of a run's journal, for debugging."""

from __future__ import annotations

from collections.abc import Iterable

from tts.core.actions import (
    Added,
    Cancelled,
    Counted,
    Event,
    Failed,
    Finished,
    Progressed,
    Recalled,
    Refused,
    Returned,
    Scored,
    Woke,
    trial_of,
)
from tts.core.journal.records import Allotted, Bounded, Decided, Granted, Hedged, Lost, Opened, Record, Shared, Stopped


def story(id: str, records: Iterable[Record]) -> list[str]:
    """Tell an action's history: a line for each record that names the action or decides over it, in order, each with
    the latest second of the run's clock in the journal: `    12.345 s  granted: 64 tokens reserved`. Empty if no record
    names the action.

    Args:
        id: the action's id, as in the journal.
        records: of one run, from the first on.
    """
    trial = trial_of(id)
    lines: list[str] = []
    at_s, is_known = 0.0, False
    for record in records:
        at_s = max(at_s, getattr(record, "at_s", at_s))
        line = _of_action(id, record)
        is_known |= line is not None
        line = line or _of_trial(trial, record)
        if line is not None:
            lines.append(f"{at_s:10.3f} s  {line}")
    return lines if is_known else []


def _of_action(id: str, record: Record) -> str | None:
    match record:
        case Shared(of=of) if of == id:
            return f"its sample was given to {record.id}, too"
        case Bounded(most=most) if id in most:
            tokens = most[id]
            return f"in flight: at most {'all its' if tokens is None else tokens} tokens may have been generated"
        case Granted() | Shared() | Hedged() | Lost() | Allotted() if record.id == id:
            return _booked(record)
        case (
            Finished() | Scored() | Returned() | Woke() | Recalled() | Added() | Counted()
            | Failed() | Cancelled() | Refused() | Progressed()
        ):  # fmt: skip
            return _happened(record) if record.id == id else None
    return None


def _booked(record: Granted | Shared | Hedged | Lost | Allotted) -> str:
    match record:
        case Granted():
            shared = f", shared as {record.share}" if record.share else ""
            return f"granted: {record.cost.tokens} tokens reserved{shared}"
        case Shared():
            return f"given the sample of {record.of}"
        case Hedged():
            return f"second request: {record.cost.tokens} tokens reserved"
        case Lost():
            return f"{'second request' if record.hedge else 'request'} lost: {record.cost.tokens} tokens booked"
        case Allotted():
            return "granted by its allocator" + ("" if record.value is None else f" for a bid of {record.value:g}")


def _happened(event: Event) -> str:
    said = ""
    match event:
        case Finished():
            by = f" by {event.completion.endpoint}" if event.completion.endpoint else ""
            said = f" ({event.completion.finish_reason}){by}: {event.usage.completion_tokens} tokens"
        case Scored():
            said = f" {'unknown' if event.score.value is None else format(event.score.value, 'g')}"
        case Failed() | Refused():
            said = f": {event.error.type}: {event.error.message}"
        case Cancelled():
            said = f": {event.usage.completion_tokens} tokens"
        case Progressed():
            said = f": {event.tokens} tokens so far"
        case Counted():
            said = f": {'no tokenizer' if event.tokens is None else event.tokens}"
        case Recalled(sums=amounts) | Added(amounts=amounts):
            said = f": {dict(amounts)}"
    return type(event).__name__.lower() + said


def _of_trial(trial: str, record: Record) -> str | None:
    match record:
        case Opened(trial=of) if of == trial:
            return f"{trial} was opened"
        case Stopped(trial=of) if of == trial:
            return f"{trial} was stopped by its allocator: {record.reason}"
        case Decided(trial=of) if of == trial:
            return f"{trial} was decided: {record.selected or 'nothing'} was selected"
    return None
