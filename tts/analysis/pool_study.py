"""The study of a pool: votes, races, best-of, coverage and its laws, difficulty, the frontier, up to more samples.

Questions that a pool cannot answer are left out, with a note that gives the reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from tts.analysis.frontier import Corner, Placed, Stretch, corners, stretches
from tts.analysis.selection import selection_of
from tts.errors import BadPool, MissingExtra
from tts.estimators import Curve, Floats, Grid, Ints, best_of, coverage, majority, shorter_wins, shortest
from tts.intervals import Interval, mean_interval
from tts.laws import Fit, Prediction, fit_coverage
from tts.models.prices import Price, price_from_flags
from tts.pools.pool import UNKNOWN as UNCOUNTED
from tts.pools.pool import Pool, Unanswered
from tts.types import Value

LAWS = ("power", "beta")
BEYOND = 8  # times the largest k: the end of the laws' curves
TABLED = 4  # times the largest k: the table's forecast
SATURATED = 0.005  # of accuracy
_BINS = 5
_RESAMPLES = 100  # of a law's bootstrap
_OFF = 0.02  # of coverage at the largest k: a law that is further off does not describe these problems


class Estimate(Value, frozen=True):
    """Estimates for one method with k samples of one model; means per problem.

    Args:
        method: coverage (pass@k: a right one is among them), majority, shortest (the race), best_of(SCORE), or
            `best_of(SCORE) without scoring` where the cost of its verifications was not recorded.
        low, high: 95 % interval over problems; None for a single problem.
        noise: standard error of accuracy that comes from drawing random subsets; 0 is exact.
        tokens: of all samples and of their verifications; sequential: of the longest chain of samples; None where they
            were not recorded.
        usd: None without a price, or without the tokens.
        on_frontier: of accuracy over tokens (`tts.analysis.frontier`); on_sequential_frontier, on_usd_frontier: over
        the others.
        ties: the methods from which one on the frontier of tokens is not distinguishable.
    """

    model: str
    method: str
    k: int
    accuracy: float
    low: float | None
    high: float | None
    noise: float
    tokens: float | None
    sequential: float | None
    usd: float | None
    on_frontier: bool = False
    on_sequential_frontier: bool = False
    on_usd_frontier: bool = False
    ties: tuple[str, ...] = ()


Measured = tuple[Estimate, dict[str, float]]  # with its accuracy on each problem


class Law(Value, frozen=True):
    """A law fitted to one model's coverage, from k = 1 to `BEYOND` times the largest k that was `seen`."""

    model: str
    law: str
    parameters: Mapping[str, float]
    seen: int
    predictions: tuple[Prediction, ...]


class PoolBin(Value, frozen=True):
    """Problems of one model that are about equally hard: pass@1 from `low` to `high`.

    `majority` is None where there are no answers to vote on."""

    model: str
    low: float
    high: float
    problems: int
    ks: tuple[int, ...]
    majority: tuple[float, ...] | None
    coverage: tuple[float, ...]


class ModelSummary(Value, frozen=True):
    """The table's line for one model; an unknown number is None.

    Args:
        samples: the largest k, which every problem has.
        majority, coverage: at the largest k; headroom: what lies between them.
        saturates: the smallest k from which majority stays within `SATURATED` of its value at the largest k; None also
            where it has not come to rest before that.
        shorter_wins: w, with its 95 % interval over problems; pairs: of a right and a wrong sample.
        power, beta: the laws at `TABLED` times the largest k.
    """

    model: str
    problems: int
    samples: int
    pass_at_1: Interval | None
    majority: float | None
    coverage: float
    headroom: float | None
    saturates: int | None
    shorter_wins: Interval | None
    pairs: int | None
    power: Prediction | None
    beta: Prediction | None


class Findings(Value, frozen=True):
    """All numbers of the report; `notes` tell what was left out and why, and what not to trust."""

    benchmark: str
    models: tuple[str, ...]
    summaries: tuple[ModelSummary, ...]
    estimates: tuple[Estimate, ...]
    laws: tuple[Law, ...]
    bins: tuple[PoolBin, ...]
    frontier: tuple[Stretch, ...]
    notes: tuple[str, ...]


def study_pool(
    pool: Pool,
    *,
    benchmark: str | None = None,
    models: Sequence[str] = (),
    price_in: float | None = None,
    price_out: float | None = None,
    verifier_tokens: Mapping[str, float] | None = None,
    unanswered: Unanswered = "abstain",
    seed: int = 0,
) -> Findings:
    """Compute all that the report shows from one benchmark's samples.

    Args:
        benchmark: its name, if the pool holds several; models: their names; none: all that were tried on it.
        price_in, price_out: US dollars per million tokens, of every model; without them there are no dollars.
        verifier_tokens: tokens of one verification by score column; the others cost what the pool recorded.
        unanswered: whether samples without an answer abstain from votes and races, or vote as a class of their own.
        seed: of random subsets and resampling.

    Raises: BadPool (several benchmarks to choose from, samples without a verdict, nothing but failures), UnknownName,
        InvalidParameter.
    """
    chosen = (pool if benchmark is None else pool.select(benchmark=benchmark)).priced(verifier_tokens or {})
    name = chosen.one_benchmark()
    price = price_from_flags(price_in, price_out)
    notes = _Notes()
    studies = []
    for model in dict.fromkeys(models or chosen.model.present):
        own = _without_failures(chosen.select(model=model), model, notes)
        if own is not None:
            studies.append(_Study(own, model, price, notes, unanswered, seed))
    if not studies:
        raise BadPool(f"every sample of {pool.name} on {name} failed: there is nothing to report", pool=pool.name)
    measured = [some for study_pool in studies for some in study_pool.measured]
    estimates, owners = _owned(measured, several=len(studies) > 1)
    return Findings(
        benchmark=name,
        models=tuple(study_pool.model for study_pool in studies),
        summaries=tuple(study_pool.summary for study_pool in studies),
        estimates=estimates,
        laws=tuple(law for study_pool in studies for law in study_pool.laws),
        bins=tuple(some for study_pool in studies for some in study_pool.bins),
        frontier=tuple(stretches(owners)),
        notes=tuple(notes.lines([study_pool.model for study_pool in studies])),
    )


def _without_failures(pool: Pool, model: str, notes: _Notes) -> Pool | None:
    """Without the problems of which every sample failed; None if these are all."""
    sound = pool.error.codes == UNCOUNTED
    failed = [g for g in pool.groups() if not sound[g.rows].any()]
    keep = np.ones(len(pool), dtype=bool)
    for group in failed:
        keep[group.rows] = False
    if not keep.any():
        notes.add("Left out", "every sample failed", model)
        return None
    if failed:
        some = ", ".join(g.problem_id for g in failed[:3]) + (", ..." if len(failed) > 3 else "")
        notes.add("Left out", f"{len(failed)} of the problems, whose every sample failed ({some})", model)
    return pool.select(where=keep)


class _Notes:
    """Notes on numbers left out, or not to be trusted, with the reason and the models that they hold for."""

    def __init__(self) -> None:
        self._models: dict[str, list[str]] = {}

    def add(self, what: str, why: str, model: str) -> None:
        self._models.setdefault(f"{what}: {why}", []).append(model)

    def lines(self, models: Sequence[str]) -> list[str]:
        return [
            text if set(models) <= set(some) else f"{text} ({', '.join(some)})" for text, some in self._models.items()
        ]


class _Study:
    """The study of one model."""

    def __init__(
        self, pool: Pool, model: str, price: Price | None, notes: _Notes, unanswered: Unanswered, seed: int
    ) -> None:
        self.model = model
        self._note: Callable[[str, str], None] = lambda what, why: notes.add(what, why, model)
        self._grid = grid = self._arranged(pool, unanswered)
        self._price, self._seed = price, seed
        self._scoring = pool.verification_costs
        self._judged = {f"best_of({name})": cost.prompt_tokens for name, cost in self._scoring.items()}
        self._prompt = self._mean_prompt(pool)
        most = int(grid.counts.min())
        if most < int(grid.counts.max()) / 2:
            where = grid.problems[int(grid.counts.argmin())]
            self._note("Short", f"k ends at {most}, because problem {where} has no more samples")
        self._ks = [*(2**i for i in range(most.bit_length())), *([most] if most & (most - 1) else [])]
        self._coverage = coverage(grid, self._ks)
        self._majority = self._vote()
        self.measured = [some for curve in self._curves() for some in self._estimates(curve)]
        fits = self._fits()
        self.laws = [self._law(law, fit) for law, fit in fits.items()]
        self.bins = self._binned()
        self.summary = self._summed(fits)

    def _arranged(self, pool: Pool, unanswered: Unanswered) -> Grid:
        """Arrange a model's samples, and note the convention of its votes, where that matters."""
        grid = Grid.of(pool)
        if not grid.answers:
            self._note("No votes and no races", "no sample has an answer, so nobody knows who would vote with whom")
            return grid
        right = int((grid.correct & (grid.classes < 0)).sum())
        if right:
            self._note("Votes", f"{right:,} samples without an answer are right: no vote can find them")
        if unanswered == "vote":
            self._note("Votes and races", "samples without an answer are a class of their own that can win")
        return Grid.of(pool, unanswered=unanswered)

    # --- curves

    def _curves(self) -> list[Curve]:
        grid = self._grid
        curves = [self._coverage]
        if len(self._ks) == 1:
            where = "every problem" if grid.counts.max() == 1 else f"problem {grid.problems[int(grid.counts.argmin())]}"
            self._note("No votes, races, best-of and laws", f"{where} has one sample")
            return curves
        curves += [] if self._majority is None else [self._majority]
        if grid.tokens is None or np.isnan(grid.tokens[grid.there]).any():
            self._note("No races and no costs", "the tokens of some samples were not recorded")
        elif grid.answers:
            curves.append(shortest(grid, self._ks))
        scored = [name for name, column in grid.scores.items() if not np.isnan(column[grid.there]).all()]
        if not scored:
            self._note("No best-of", "no sample has a score")
        else:
            unpriced = ", ".join(name for name in scored if name not in self._scoring)
            if unpriced:
                why = f"the tokens of a verification by {unpriced} were not recorded (--verifier-tokens gives them)"
                self._note("Best-of without scoring", why)
        for name in scored:
            found = selection_of(grid, name, rules=("best_of",), seed=self._seed)
            for warning in found.warnings() if found is not None else ():
                self._note("Choosing by a score", warning)
        return curves + [self._scored(curve, name) for name in scored if (curve := self._best_of(name)) is not None]

    def _best_of(self, score: str) -> Curve | None:
        """Best-of curve, up to the number of samples that the verifier was asked about in every problem."""
        counts = self._grid.judged(score).counts
        fewest = int(counts.min())
        if fewest < self._ks[-1]:
            where = self._grid.problems[int(counts.argmin())]
            self._note(
                f"best_of({score})", f"k ends at {fewest}: it was asked about no more samples of problem {where}"
            )
        return best_of(self._grid, [k for k in self._ks if k <= fewest], score) if fewest else None

    def _scored(self, curve: Curve, name: str) -> Curve:
        """The curve with its verifications' tokens; named `without scoring` where they are unknown."""
        cost = self._scoring.get(name)
        if cost is None:
            return replace(curve, name=f"{curve.name} without scoring")
        return replace(curve, tokens=None if curve.tokens is None else curve.tokens + cost.tokens * curve.ks)

    def _vote(self) -> Curve | None:
        """Majority curve, at more sizes than are shown, to find where it comes to rest."""
        most = self._ks[-1]
        if not self._grid.answers or most == 1:
            return None
        sizes = np.unique([*self._ks, *np.geomspace(1, most, 40).round().astype(int)]).tolist()
        # The more problems, the fewer draws bring their mean to the same precision.
        draws = int(np.clip(30_000 // len(self._grid.problems), 100, 1000))
        return majority(self._grid, sizes, draws=draws, seed=self._seed)

    def _estimates(self, curve: Curve) -> Iterable[Measured]:
        accuracy = curve.mean()
        for i, k in enumerate(curve.ks.tolist()):
            if k not in self._ks:
                continue
            interval = curve.interval(k)
            tokens = None if curve.tokens is None else float(curve.tokens[:, i].mean())
            sequential = None if curve.sequential is None else float(curve.sequential[:, i].mean())
            found = Estimate(
                model=self.model,
                method=curve.name,
                k=k,
                accuracy=float(accuracy[i]),
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                noise=float(curve.noise[i]),
                tokens=tokens,
                sequential=sequential,
                usd=self._usd(k, tokens, self._judged.get(curve.name, 0.0)),
            )
            yield found, curve.at(k)

    def _mean_prompt(self, pool: Pool) -> float | None:
        """Prompt tokens of a request, the mean over problems."""
        if self._price is None:
            return None
        if self._price.input == 0:
            return 0.0
        if (pool.prompt_tokens == UNCOUNTED).any():
            self._note("No dollars", "some prompt tokens were not recorded (a price of 0 for them leaves them out)")
            return None
        return float(np.mean([pool.prompt_tokens[group.rows].mean() for group in pool.groups()]))

    def _usd(self, k: int, tokens: float | None, verification_prompt: float) -> float | None:
        """Dollars of a curve's requests; every prompt is charged in full, those of verifications included."""
        if self._price is None or self._prompt is None or tokens is None:
            return None
        prompt = self._prompt + verification_prompt
        return (self._price.input * prompt * k + self._price.output * tokens) * 1e-12

    # --- laws

    def _fits(self) -> dict[str, Fit]:
        found: dict[str, Fit] = {}
        for law in LAWS if len(self._ks) > 1 else ():
            right = self._grid.correct.sum(axis=1)
            try:
                with warnings.catch_warnings():  # scipy warns that it cannot estimate the fit's error from two sizes
                    warnings.simplefilter("ignore")
                    found[law] = fit_coverage(law, right, self._grid.counts, resamples=_RESAMPLES, seed=self._seed)
            except MissingExtra as error:
                self._note("No laws of coverage", str(error))
                break
            except (BadPool, RuntimeError) as error:  # the latter is scipy's, of a fit that does not converge
                self._note(f"No {law} law", str(error))
                continue
            if abs(found[law].values([self._ks[-1]])[0] - self._coverage.mean()[-1]) > _OFF:
                self._note(f"Do not trust the {law} law", f"it misses its own data by over {100 * _OFF:g} points")
        return found

    def _law(self, law: str, fit: Fit) -> Law:
        sizes = np.unique(np.geomspace(1, BEYOND * fit.seen, 40).round().astype(int)).tolist()
        sizes = sorted({*sizes, fit.seen})
        return Law(self.model, law, fit.parameters, fit.seen, tuple(fit.predict(k) for k in sizes))

    # --- problems that are equally hard

    def _binned(self) -> list[PoolBin]:
        if len(self._ks) == 1:
            return []
        ease = self._coverage.accuracy[:, 0]
        of_bin = difficulty_bins(ease)
        vote = self._majority
        votes = None if vote is None else vote.accuracy[:, np.isin(vote.ks, self._ks)]
        return [
            PoolBin(
                model=self.model,
                low=float(ease[some].min()),
                high=float(ease[some].max()),
                problems=int(some.sum()),
                ks=tuple(self._ks),
                majority=None if votes is None else tuple(votes[some].mean(axis=0).tolist()),
                coverage=tuple(self._coverage.accuracy[some].mean(axis=0).tolist()),
            )
            for some in (of_bin == number for number in range(int(of_bin.max()) + 1))
        ]

    # --- one line of the table

    def _summed(self, fits: Mapping[str, Fit]) -> ModelSummary:
        most = self._ks[-1]
        best = float(self._coverage.mean()[-1])
        vote = None if self._majority is None else float(self._majority.mean()[-1])
        w, pairs = self._shorter_wins()
        ahead = {law: fit.predict(TABLED * fit.seen) for law, fit in fits.items()}
        return ModelSummary(
            model=self.model,
            problems=len(self._grid.problems),
            samples=most,
            pass_at_1=self._coverage.interval(1),
            majority=vote,
            coverage=best,
            headroom=None if vote is None else best - vote,
            saturates=None if self._majority is None else rests_at(self._majority.ks, self._majority.mean()),
            shorter_wins=w,
            pairs=pairs,
            power=ahead.get("power"),
            beta=ahead.get("beta"),
        )

    def _shorter_wins(self) -> tuple[Interval | None, int | None]:
        try:
            wins, pairs = shorter_wins(self._grid)
        except BadPool:
            return None, None  # noted already: no races
        if not pairs.sum():
            self._note("No w", "no problem has both a right and a wrong sample")
            return None, 0
        return ratio(wins, pairs), int(pairs.sum())


def difficulty_bins(ease: Floats) -> Ints:
    """The bin of each problem, hardest first: quintiles of pass@1, equal ones together, so that there may be fewer."""
    edges = np.unique(np.quantile(ease, np.arange(1, _BINS) / _BINS))
    return np.unique(np.searchsorted(edges, ease, side="left"), return_inverse=True)[1].astype(np.int64)


def rests_at(ks: Ints, values: Floats) -> int | None:
    """The smallest size from which on all values are within `SATURATED` of the last one; None if that is the last."""
    away = np.flatnonzero(np.abs(values - values[-1]) > SATURATED + 1e-12)
    first = int(away[-1]) + 1 if len(away) else 0
    return None if first == len(ks) - 1 else int(ks[first])


def ratio(wins: Floats, pairs: Floats) -> Interval:
    """The first's sum over the second's, with its 95 % interval over problems that have pairs."""
    there = np.flatnonzero(pairs)
    shares = {str(i): [float(wins[i] / pairs[i])] for i in there}
    found = mean_interval(shares, weights={str(i): float(pairs[i]) for i in there})
    assert found is not None
    return found


def _owned(measured: Sequence[Measured], *, several: bool) -> tuple[tuple[Estimate, ...], list[Corner]]:
    """The estimates with the frontiers that they are on, and the corners of that in tokens.

    Coverage is on none, because it does not tell the right sample. With one sample there is nothing to choose, so it
    belongs to no method.
    """

    def found(cost: Callable[[Estimate], float | None]) -> dict[int, Corner]:
        placed = {}
        for i, (e, accuracies) in enumerate(measured):
            if e.method != "coverage" and (spent := cost(e)):
                owner = ("one sample" if e.k == 1 else e.method) + (f" of {e.model}" if several else "")
                placed[i] = Placed(spent, owner, accuracies)
        return corners(placed)

    tokens, sequential, usd = found(lambda e: e.tokens), found(lambda e: e.sequential), found(lambda e: e.usd)
    marked = tuple(
        msgspec.structs.replace(
            e,
            on_frontier=i in tokens,
            on_sequential_frontier=i in sequential,
            on_usd_frontier=i in usd,
            ties=tokens[i].ties if i in tokens else (),
        )
        for i, (e, _) in enumerate(measured)
    )
    return marked, list(tokens.values())
