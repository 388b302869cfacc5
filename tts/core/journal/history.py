"""A journal read back: the state of a run from the records of its earlier sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import msgspec

from tts.core.actions import (
    Added,
    Event,
    Failed,
    Finished,
    Progressed,
    Refused,
    Scored,
    cell_of,
    problem_of,
    problem_of_trial,
    trial_of,
)
from tts.core.journal.records import (
    PROBE,
    READABLE,
    VERSION,
    Allotted,
    Bounded,
    Decided,
    Granted,
    Header,
    Hedged,
    Lost,
    Opened,
    Record,
    Repriced,
    Shared,
    Stopped,
    as_json,
)
from tts.core.memory import RunMemory
from tts.core.outages import is_outage, was_its_own
from tts.errors import JournalCorrupt, RunMismatch
from tts.types import LEAST_MAX_TOKENS, Cost, ErrorInfo, Sampling


class History:
    """A journal read back: decided trials, events to tell again, and losses.

    Attributes:
        where: the journal's folder, for messages.
        configs: of all headers: the run's first one, and one for each extension.
        decided: trial id -> its record; cells: ids of all cells, in the order of the plan.
        opened: trial id -> its start on the run's clock, for trials not decided.
        events: trial id -> its events in order, for trials not decided; where an allocator cancelled what was in
            flight, its record is among them.
        granted: action id -> its last grant, for actions that have not ended.
        bounded: action id -> the most tokens that may have been generated for it, where less than its grant.
        rate: tokens a second of the fastest stream that was noted last.
        shared: action id -> the action whose sample it was given.
        lost: ids whose last attempt was booked as lost: an end that follows costs nothing more.
        digests: action id -> digest of its contents, for trials not decided.
        allotted: trial id -> ids of its asks that an allocator has granted, for trials not decided; stopped: the reason
            why it gives them no more; repriced: cell -> its prices.
        infra_errors: trials that were decided with samples missing because a server was away, or without a result
            because of servers' errors.
        cut: whether the run's budget has turned an action down.
        paid: the run's spending in decided trials and in the losses booked so far; `wasted` is those losses, less
            `probed`, the charges for probes of endpoints.
        memory: the sums that its trials have added up.
        at_s: the last time on the run's clock.

    With `refeed`, decided trials count as open: they are re-fed in full, so that their candidates come back.

    Memory: events of decided trials are dropped as the journal is read, samples once their problem's trials are all
    decided and another problem has been opened; so it stays proportional to what was open. Where a problem is opened
    again (the run was extended), `reread` gives its `Granted`, `Finished` and `Scored` records once more.
    """

    def __init__(
        self,
        records: Iterable[Record] = (),
        *,
        refeed: bool = False,
        reread: Callable[[str], Iterable[Record]] | None = None,
    ) -> None:
        self.where = "the folder"
        self.configs: list[Mapping[str, Any]] = []
        self.decided: dict[str, Decided] = {}
        self.cells: dict[str, None] = {}
        self.opened: dict[str, float] = {}
        self.events: dict[str, list[Event | Stopped]] = {}
        self.granted: dict[str, Granted] = {}
        self.digests: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.lost: set[str] = set()
        self.bounded: dict[str, int] = {}
        self.rate = 0.0
        self.version = VERSION
        self.hedged: dict[str, Cost] = {}
        self.allotted: dict[str, set[str]] = {}  # by trial
        self.stopped: dict[str, str] = {}
        self.repriced: dict[str, Repriced] = {}
        self.infra_errors: set[str] = set()
        self.cut = False
        self.paid = Cost()
        self.wasted = Cost()
        self.probed = Cost()
        self.memory = RunMemory()
        self.at_s = 0.0
        self._samples: dict[str, dict[str, Finished | Scored]] = {}  # by problem
        self._keys: dict[str, dict[str, str]] = {}  # by problem: id -> share key
        self._forgotten: set[str] = set()  # problems
        self._trials: Counter[str] = Counter()  # problem -> its open trials
        self._latest = ""  # the problem that was opened last
        self._open_costs: dict[str, Cost] = {}
        self._refeed = refeed
        self._reread = reread
        for number, record in enumerate(records, 1):
            try:
                self._add(record)
            except KeyError as error:
                raise JournalCorrupt(
                    f"journal line {number} refers to {error}, but no earlier line starts {error}", line=number
                ) from None

    def _add(self, record: Record) -> None:  # noqa: PLR0912  # one branch for each kind of record
        match record:
            case Header():
                if record.version not in READABLE:
                    raise RunMismatch(
                        f"the journal is of version {record.version}, which this program (version {VERSION}) cannot "
                        f"read: resume it with {record.program}, or choose another folder",
                        version=record.version,
                    )
                self.version = record.version
                self.configs.append(record.config)
            case Opened():
                self.cells.setdefault(cell_of(record.trial))
                self.decided.pop(record.trial, None)  # a server was away: the trial is done again
                self.memory.reopen(record.trial)
                self.infra_errors.discard(record.trial)
                self.opened[record.trial] = record.at_s
                self.events[record.trial] = []
                self._begin(problem_of_trial(record.trial))
            case Bounded():
                self._bound(record)
            case Granted():
                self.granted[record.id] = record
                self.bounded.pop(record.id, None)
                if record.share is not None:
                    self._keys.setdefault(problem_of(record.id), {})[record.id] = record.share
                self.lost.discard(record.id)
                self.digests[record.id] = record.digest
            case Hedged():
                self.hedged[record.id] = record.cost
            case Lost():
                self._add_loss(record)
            case Allotted() | Stopped() | Repriced():
                self._add_allocation(record)
            case Decided() if self._refeed or record.trial in self.decided:
                pass
            case Decided():
                self._decide(record)
            case Shared():
                origin = self._samples[problem_of(record.of)][record.of]
                self.shared[record.id] = record.of
                self._feed(msgspec.structs.replace(origin, id=record.id, at_s=record.at_s))
            case _:
                if isinstance(record, Refused) and _refuser(record.error.facts) == "run":
                    self.cut = True
                elif isinstance(record, Added):
                    self.memory.take(record)
                self._feed(record)
        at_s = getattr(record, "at_s", None)
        if at_s is not None:
            self.at_s = max(self.at_s, at_s)

    def _bound(self, record: Bounded) -> None:
        self.rate = record.rate or self.rate
        for id, most in record.most.items():
            if id in self.granted and most is not None:
                self.bounded[id] = most
            else:
                self.bounded.pop(id, None)

    def reopen_failed(self, among: Container[str]) -> None:
        """Open again those of these trials that have infrastructure errors: they are done again, with the samples that
        they have. Their earlier spending stays booked."""
        for trial in [*self.infra_errors]:
            if trial in self.decided and trial in among:
                del self.decided[trial]
                self.infra_errors.discard(trial)

    def _decide(self, record: Decided) -> None:
        self.decided[record.trial] = record
        if record.error is not None and _is_a_servers(record.error):
            self.infra_errors.add(record.trial)
        self.paid += record.paid
        if self.opened.pop(record.trial, None) is not None:
            problem = problem_of_trial(record.trial)
            self._trials[problem] -= 1
            self._forget(problem)
        self._open_costs.pop(record.trial, None)
        self.allotted.pop(record.trial, None)
        self.stopped.pop(record.trial, None)
        for event in self.events.pop(record.trial, ()):
            if not isinstance(event, Stopped):
                self.digests.pop(event.id, None)
                self.shared.pop(event.id, None)

    def _add_loss(self, record: Lost) -> None:
        self.paid += record.cost
        if record.id == PROBE:
            self.probed += record.cost
            return
        self.wasted += record.cost
        if record.hedge:
            self.hedged.pop(record.id, None)
        else:
            self.granted.pop(record.id, None)
            self.lost.add(record.id)

    def _add_allocation(self, record: Allotted | Stopped | Repriced) -> None:
        if isinstance(record, Allotted):
            self.allotted.setdefault(trial_of(record.id), set()).add(record.id)
        elif isinstance(record, Stopped):
            self.stopped[record.trial] = record.reason
            if record.cancels:
                self.events[record.trial].append(record)
        else:
            self.repriced[record.cell] = record

    def _feed(self, event: Event) -> None:
        trial = trial_of(event.id)
        if trial in self.decided:
            return  # told twice
        self.events[trial].append(event)
        if not isinstance(event, Progressed) and self.granted.pop(event.id, None) is not None:
            self.bounded.pop(event.id, None)
            cost = Cost(1, event.usage.completion_tokens, None, None)
            self._open_costs[trial] = self._open_costs.get(trial, Cost()) + cost
        if isinstance(event, Finished | Scored):
            self._samples.setdefault(problem_of(event.id), {})[event.id] = event
        elif isinstance(event, Failed) and is_outage(event.error) and not was_its_own(event.error):
            self.infra_errors.add(trial)

    def _begin(self, problem: str) -> None:
        before, self._latest = self._latest, problem
        self._trials[problem] += 1
        if problem in self._forgotten and self._reread is not None:
            self._forgotten.discard(problem)
            self._keys[problem], self._samples[problem] = _keyed(self._reread(problem))
        self._forget(before)

    def _forget(self, problem: str) -> None:
        """Drop a problem's samples, unless it has open trials or is the latest: others of the same problem may follow
        (runs go problem by problem)."""
        if problem == self._latest or self._trials[problem] > 0:
            return
        del self._trials[problem]
        self._keys.pop(problem, None)
        if self._samples.pop(problem, None):
            self._forgotten.add(problem)

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The config of the latest header; None for a run that has not begun."""
        return self.configs[-1] if self.configs else None

    @property
    def unfinished(self) -> Cost:
        """The cost of undecided trials, with requests in flight at their upper bounds. Its dollars and
        FLOPs are unknown: the journal has no prices."""
        in_flight = (
            Cost(1, min(granted.cost.tokens, self.bounded.get(id, granted.cost.tokens)), None, None)
            for id, granted in self.granted.items()
            if self.bounded.get(id) != 0
        )
        return sum((*self._open_costs.values(), *in_flight, *self.hedged.values()), Cost())

    @property
    def samples(self) -> dict[str, dict[str, tuple[str, Finished | Scored]]]:
        """Samples that trials to come may use without paying again: problem -> share key -> (id, event)."""
        found = {problem: _by_key(self._keys.get(problem, {}), ended) for problem, ended in self._samples.items()}
        return {problem: samples for problem, samples in found.items() if samples}

    def samples_of(self, problem: str) -> dict[str, tuple[str, Finished | Scored]]:
        """Samples of a problem that has been forgotten since, as in `samples`; empty for any other."""
        if problem not in self._forgotten or self._reread is None:
            return {}
        return _by_key(*_keyed(self._reread(problem)))

    def check(self, config: Mapping[str, Any], free: Container[str] = ()) -> None:
        """Compare `config` with the journal's. Raises: RunMismatch with every setting that differs, but for those that
        are `free` to, and for plugins, prompts and contexts that the journal of an older program does not name."""
        if self.config is None:
            return
        old, new = _flat(as_json(self.config)), _flat(as_json(config))
        keys = sorted(key for key in old.keys() | new.keys() if key.partition(".")[0] not in free)
        differing = [k for k in keys if old.get(k) != new.get(k) and (k in old or not k.startswith(_NOT_IN_OLDER))]
        if not differing:
            return
        shown = "; ".join(dict.fromkeys(_difference(key, old.get(key), new.get(key)) for key in differing[:5]))
        raise RunMismatch(
            f"{self.where} holds a run with another configuration ({shown}); choose another --out, or repeat the "
            f"command that started it to resume it",
            differing=differing,
        )


_NOT_IN_OLDER = ("plugins.", "prompts.", "contexts.")


def _difference(key: str, old: Any, new: Any) -> str:
    """One setting that differs, in words: the digest of problems or of a file says nothing to anybody."""
    if "digest" in key:
        return "other problems"
    if key.startswith("plugins."):
        return f"{key.removeprefix('plugins.')} was changed"
    if key.startswith("contexts."):
        return f"the context of the model {key.removeprefix('contexts.')}: was {old or 'not known'}, now {new} tokens"
    before, _, field = key.rpartition(".")
    if before.endswith("sampling"):  # a record has what differs from the defaults
        default = LEAST_MAX_TOKENS if field == "max_tokens" else getattr(Sampling(), field, None)
        old, new = (default if value is None else value for value in (old, new))
    return f"{key}: was {old!r}, now {new!r}"


def _refuser(facts: Mapping[str, Any]) -> Any:
    """The id of the ledger that refused; older programs wrote it under another key."""
    return facts.get("trial") or facts.get("search")


def _is_a_servers(error: ErrorInfo) -> bool:
    """Whether a trial had no result because of servers' errors that were not the fault of its requests."""
    cause = error.facts.get("cause")
    if error.type == "AllFailed" and isinstance(cause, dict):
        error = msgspec.convert(cause, ErrorInfo)
    return (is_outage(error) or error.type in ("RequestRejected", "ContextTooLong")) and not was_its_own(error)


def _keyed(records: Iterable[Record]) -> tuple[dict[str, str], dict[str, Finished | Scored]]:
    """Share keys, and samples, by id."""
    keys: dict[str, str] = {}
    samples: dict[str, Finished | Scored] = {}
    for record in records:
        if isinstance(record, Granted) and record.share is not None:
            keys[record.id] = record.share
        elif isinstance(record, Finished | Scored):
            samples[record.id] = record
    return keys, samples


def _by_key(
    keys: Mapping[str, str], samples: Mapping[str, Finished | Scored]
) -> dict[str, tuple[str, Finished | Scored]]:
    return {keys[id]: (id, event) for id, event in samples.items() if id in keys}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {} if value == "" else {prefix: value}  # a setting that an older program did not know is not set
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return found
