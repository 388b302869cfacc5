"""The scope of one call of a strategy: its problem, budget, model, candidates, scores and fallback.

The trial's own strategy has a scope. `Run.solve`, `Run.on`, `Run.ask` and a judge open further ones within it, so that
a part of a strategy has candidates, a fallback and limits of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tts.core.budget import Ledger, Limits, Remaining
from tts.errors import InvalidParameter, unknown_model
from tts.types import Candidate, Cost, Problem, Sampling, Score

if TYPE_CHECKING:
    from tts.core.trials.coroutines import ForeignCode
    from tts.core.trials.trial import Trial

Fallback = Callable[[Sequence[Candidate], Mapping[str, Sequence[Score]]], Candidate | None]
_Kept = dict[str, tuple[dict[str, Candidate], dict[str, list[Score]]]]  # by id, of all problems under one `Scope.on`
Parts = Mapping["Scope", Sequence["Scope"]]  # scope -> those opened in it by `Run.solve` for the same problem
MOST_NESTED = 32  # parts in parts: one that opens itself would go on for ever without asking for anything


def first_paid(candidates: Sequence[Candidate], scores: Mapping[str, Sequence[Score]]) -> Candidate | None:
    """The first candidate with an answer, else the first that is not partial, else the first at all; what is returned
    where no selector was named."""
    answered = (c for c in candidates if c.answer is not None)
    return next(answered, next((c for c in candidates if not c.partial), candidates[0] if candidates else None))


def _said(candidate: Candidate) -> str:
    return candidate.text if candidate.answer is None else f"={candidate.answer}"


def best_of(scope: Scope, selected: Candidate, most: int, parts: Parts, foreign: ForeignCode) -> tuple[Candidate, ...]:
    """See `Scope.ranked`; the choice alone where the strategy's own selector fails."""
    try:
        return foreign.run(scope.ledgers[-1].name, lambda: tuple(scope.ranked(selected, most, parts)))
    except BaseException as raised:
        foreign.own(raised)
        return (selected,)


class Scope:
    """See the module.

    Args:
        name: of the strategy, for messages.
        problem: what is sampled, verified and read where nothing else is said.
        ledgers: those in which every request reserves, the innermost first and the trial's share last.
        parent: the scope in which this one was opened; None for the trial's own.
        model: which model requests ask that name none; None is the run's first.
        helps: whether all that is generated here helps to decide: it is billed as verification and is no candidate of
            the trial.

    Attributes:
        candidates: id -> candidate, of this scope, in order of arrival.
        scores: candidate id -> every score given in this scope.
        fallback: picks the answer where the strategy lets `BudgetExhausted` or `AllFailed` pass.
        depth: how many scopes there are around this one.
        exhausted: whether a ledger of this scope has turned down something that was asked for in it.
        ends_s: when the seconds of a part's limits will have passed; None without such a limit.
    """

    __slots__ = (
        "_kept",
        "candidates",
        "depth",
        "ends_s",
        "exhausted",
        "fallback",
        "helps",
        "ledgers",
        "model",
        "name",
        "parent",
        "problem",
        "scores",
    )

    def __init__(
        self,
        name: str,
        problem: Problem,
        ledgers: tuple[Ledger, ...],
        parent: Scope | None = None,
        *,
        model: str | None = None,
        helps: bool = False,
    ) -> None:
        self.name = name
        self.problem = problem
        self.ledgers = ledgers
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.model = model
        self.helps = helps
        self.candidates: dict[str, Candidate] = {}
        self.scores: dict[str, list[Score]] = {}
        self._kept: _Kept | None = None
        self.fallback: Fallback = first_paid
        self.exhausted = False
        self.ends_s: float | None = None

    def on(self, problem: Problem) -> Scope:
        """A scope for another problem under the same budget. All of one problem's id share candidates and scores: it is
        the same problem in other words. The problem of a scope around this one is that scope's again."""
        kept = self._kept
        if kept is None:
            kept = self._kept = {self.problem.id: (self.candidates, self.scores)}
        for around in self.chain():
            if around._kept is kept and around.problem == problem:
                return around
        scope = Scope(self.name, problem, self.ledgers, self, model=self.model, helps=self.helps)
        scope._kept = kept
        scope.candidates, scope.scores = kept.setdefault(problem.id, (scope.candidates, scope.scores))
        return scope

    def part(self, name: str, problem: Problem, limits: Limits, model: str | None) -> Scope:
        """A scope with candidates, scores and a fallback of its own, and with limits within those around it.

        Raises: InvalidParameter for parts that are nested without end.
        """
        inner = (Ledger(limits, f"{self.ledgers[-1].name}, its part {name}"),) if limits else ()
        scope = Scope(name, problem, inner + self.ledgers, self, model=model or self.model, helps=self.helps)
        if scope.depth > MOST_NESTED:
            names = [s.name for s in scope.chain()]
            raise InvalidParameter(
                f"{names[-1]} solves parts of parts, more than {MOST_NESTED} deep: the innermost ones are "
                f"{' in '.join(names[:4])}; a strategy must not be its own part without end",
                strategy=names[-1],
            )
        return scope

    def helper(self, model: str | None = None) -> Scope:
        """A scope for what helps to decide."""
        return Scope(self.name, self.problem, self.ledgers, self, model=model or self.model, helps=True)

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it, the innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def pick(self, parts: Parts) -> Candidate | None:
        """The fallback's choice among the candidates; where it makes none, that of the first part that has one, or the
        first candidate. A plugin's fallback may raise anything."""
        candidates = list(self.candidates.values())
        picked = self.fallback(candidates, self.scores)
        if picked is not None:
            return picked
        of_parts = (found for part in parts.get(self, ()) if (found := part.pick(parts)) is not None)
        return next(of_parts, first_paid(candidates, self.scores))

    def ranked(self, selected: Candidate, most: int, parts: Parts) -> Iterator[Candidate]:
        """The choice, and behind it the next best: what the fallback chooses of those that are left, of other answers
        and texts before it repeats one; then the same of the parts."""
        said, found, given = {_said(selected)}, {selected.id}, 1
        yield selected
        for scope in (self, *(inner for part in parts.get(self, ()) for inner in part.with_parts(parts))):
            every = scope.candidates.values()
            found |= {each.parent for each in every if each.depth and each.parent}  # texts that were gone on with
            left = [each for each in every if not each.partial and each.id not in found]
            while left and given < most:
                among = [each for each in left if _said(each) not in said] or left
                picked = scope.fallback(among, scope.scores)
                if picked is None or picked not in among:  # it chooses among what its strategy has set apart
                    picked = first_paid(among, scope.scores) or among[0]
                left.remove(picked)
                said.add(_said(picked))
                found.add(picked.id)
                given += 1
                yield picked

    def with_parts(self, parts: Parts) -> Iterator[Scope]:
        """This scope and those of its parts, however deep."""
        yield self
        for part in parts.get(self, ()):
            yield from part.with_parts(parts)

    def is_exhausted(self) -> bool:
        """Whether the budget of this scope, or one around it, has turned something down."""
        return any(scope.exhausted for scope in self.chain())

    def turned_down(self, ledger: str | None) -> bool:
        """Note that a ledger had no room for what was asked for here: in every scope that the ledger bounds.

        Args:
            ledger: the ledger's name; None, or a name of none of these ledgers, is the run's.

        Returns: whether it was no limit of a part, but the trial's or the run's.
        """
        names = [own.name for own in self.ledgers[:-1]]
        if ledger not in names:
            for scope in self.chain():
                scope.exhausted = True
            return True
        for scope in self.chain():
            if ledger not in [own.name for own in scope.ledgers]:
                break
            scope.exhausted = True
        return False

    def room(self, cost: Cost) -> int | None:
        """The number of times that `cost` fits now; None if no limit bounds it."""
        rooms = [room for ledger in self.ledgers if (room := ledger.room(cost)) is not None]
        return min(rooms, default=None)

    @property
    def limited(self) -> bool:
        """Whether anything bounds the samples that are asked for here."""
        return any(ledger.limits.bound_samples for ledger in self.ledgers)

    def is_stuck(self, cost: Cost) -> bool:
        """Whether a ledger has no room for `cost`, and nothing in flight whose end would make some."""
        return any(not ledger.reservations and ledger.room(cost) == 0 for ledger in self.ledgers)

    def left(self) -> Remaining:
        """The rest of the budget, the least of all ledgers' for each quantity; seconds are a clock, and left out."""
        rests = [ledger.left() for ledger in self.ledgers]
        least = {
            name: min((amount for rest in rests if (amount := getattr(rest, name)) is not None), default=None)
            for name in ("samples", "tokens", "usd", "flops", "steps")
        }
        return Remaining(**least)


def sampling_of(trial: Trial, model: str | None) -> Sampling:
    """The defaults of a model's requests, by its name in the run. Raises: UnknownName for a model that the run does not
    have."""
    known = trial._models
    if known is None or model is None:
        return trial._sampling
    if model in known:
        return known[model]
    raise unknown_model(model, known, f"{trial.spec.name}: ")
