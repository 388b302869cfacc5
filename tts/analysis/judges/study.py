"""How far a judge can be trusted: its scores beside verdicts. Pure.

A judge *accepts* a candidate whose score reaches its operating point: as given, else 1/2 for scores in [0, 1], and
unknown for any others. What needs verdicts is taken over the candidates that have one and a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tts.analysis.judges.agreement import cohen_kappa, jackknifed, krippendorff_alpha, spearman_rho
from tts.analysis.judges.calibration import ReliabilityBin, expected_calibration_error, reliability
from tts.analysis.judges.pairs import (
    JudgedCandidate,
    best_picks,
    by_problem,
    length_bias,
    pairs_right,
    position_bias,
    self_preference,
    swap_consistency,
)
from tts.intervals import Interval, mean_interval
from tts.types import Value

Graded = tuple[str, float, bool]  # problem, score, verdict


class JudgeFacts(Value, frozen=True):
    """What is known of a judge beside its scores; None is unknown.

    Args:
        model: that the judge asks.
        tokens, usd: mean cost of a judgement.
        verdicts, unread: replies that its scores rest on, and those of them that could not be read; None where replies
            were not counted.
    """

    model: str | None = None
    tokens: float | None = None
    usd: float | None = None
    verdicts: int | None = None
    unread: int = 0


class JudgeReport(Value, frozen=True):
    """One judge's numbers; shares in [0, 1], intervals over problems, None where something is unknown.

    Args:
        candidates: that it was asked about; problems: of these; scored: with a number; graded: of them, with a verdict.
        base: share of right candidates among the graded.
        threshold: the operating point.
        accuracy, precision, recall: of accepting what is right; accepted: share of candidates.
        kappa: Cohen's, of acceptance and verdict; alpha: Krippendorff's, of the same; rho: Spearman's, of score and
            verdict.
        pairs, ties: of pairs of a right and a wrong candidate, the share in which the right one has the higher score,
            and in which neither has.
        best, lift: accuracy of the candidate with the highest score, and what that is above a random one.
        ece: expected calibration error, of scores in [0, 1]; bins: of its picture.
        consistency, position: shown in reverse (`pairs.swap_consistency`, `position_bias`); length, own: biases
            (`length_bias`, `self_preference`).
        invalid: share of replies that could not be read, or, where replies were not counted, of abstentions; None
            without a reply.
        tokens, usd: mean cost of a judgement.
    """

    judge: str
    candidates: int
    problems: int
    scored: int
    graded: int
    base: Interval | None
    threshold: float | None
    accuracy: Interval | None
    precision: Interval | None
    recall: Interval | None
    accepted: Interval | None
    kappa: Interval | None
    alpha: Interval | None
    rho: Interval | None
    pairs: Interval | None
    ties: Interval | None
    best: Interval | None
    lift: Interval | None
    ece: Interval | None
    consistency: Interval | None
    position: Interval | None
    length: Interval | None
    own: Interval | None
    invalid: float | None
    tokens: float | None
    usd: float | None
    bins: tuple[ReliabilityBin, ...] = ()

    @property
    def adverse(self) -> bool:
        """Whether its best candidates are worse than random ones, beyond noise."""
        return self.lift is not None and self.lift.high is not None and self.lift.high < 0


class JudgeStudy(Value, frozen=True):
    """All judges of one pool or run. `alpha`: Krippendorff's, of the acceptances of all judges; None for one judge."""

    judges: tuple[JudgeReport, ...]
    alpha: Interval | None
    notes: tuple[str, ...] = ()


def study_judges(
    judged: Mapping[str, Sequence[JudgedCandidate]],
    facts: Mapping[str, JudgeFacts] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> JudgeStudy:
    """Study judges, by name. `thresholds`: operating points, in place of those of the module."""
    facts, thresholds = facts or {}, thresholds or {}
    points = {name: thresholds.get(name, _default_point(some)) for name, some in judged.items()}
    reports = tuple(_report(name, some, facts.get(name, JudgeFacts()), points[name]) for name, some in judged.items())
    return JudgeStudy(reports, _alpha_of_all(judged, points), _notes(reports))


def _default_point(judged: Sequence[JudgedCandidate]) -> float | None:
    scores = [one.score for one in judged if one.score is not None]
    return 0.5 if scores and min(scores) >= 0 and max(scores) <= 1 else None


def _report(name: str, judged: Sequence[JudgedCandidate], facts: JudgeFacts, point: float | None) -> JudgeReport:
    problems = by_problem(judged)
    asked = [one for some in problems.values() for one in some]
    scored = [(one.problem, one.score, one.correct) for one in asked if one.score is not None]
    graded: list[Graded] = [(p, score, right) for p, score, right in scored if score is not None and right is not None]
    in_unit = bool(graded) and all(0 <= score <= 1 for _, score, _ in graded)
    pairs, ties = pairs_right(problems)
    best, lift = best_picks(problems)
    return JudgeReport(
        judge=name,
        candidates=len(asked),
        problems=len(problems),
        scored=len(scored),
        graded=len(graded),
        base=_share(graded, lambda score, right: right),
        threshold=point,
        **_at(graded, point),
        rho=_jackknifed(graded, lambda some: spearman_rho([s for _, s, _ in some], [float(r) for _, _, r in some])),
        pairs=pairs,
        ties=ties,
        best=best,
        lift=lift,
        ece=_jackknifed(graded, expected_calibration_error, (0.0, 1.0)) if in_unit else None,
        consistency=swap_consistency(problems),
        position=position_bias(problems),
        length=length_bias(problems),
        own=self_preference(problems, facts.model),
        invalid=_invalid(facts, [value for one in asked for order in one.orders for value in order]),
        tokens=facts.tokens,
        usd=facts.usd,
        bins=tuple(reliability(graded)) if in_unit else (),
    )


def _invalid(facts: JudgeFacts, given: Sequence[float | None]) -> float | None:
    if facts.verdicts is not None:
        return facts.unread / facts.verdicts if facts.verdicts else None
    return given.count(None) / len(given) if given else None


def _at(graded: Sequence[Graded], point: float | None) -> dict[str, Interval | None]:
    """What depends on the operating point."""
    names = ("accuracy", "precision", "recall", "accepted", "kappa", "alpha")
    if point is None:
        return dict.fromkeys(names)

    def both(some: Sequence[Graded]) -> tuple[list[bool], list[bool]]:
        return [score >= point for _, score, _ in some], [right for _, _, right in some]

    return {
        "accuracy": _share(graded, lambda score, right: (score >= point) == right),
        "precision": _share([one for one in graded if one[1] >= point], lambda score, right: right),
        "recall": _share([one for one in graded if one[2]], lambda score, right: score >= point),
        "accepted": _share(graded, lambda score, right: score >= point),
        "kappa": _jackknifed(graded, lambda some: cohen_kappa(*both(some))),
        "alpha": _jackknifed(graded, lambda some: krippendorff_alpha([*zip(*both(some), strict=True)])),
    }


def _share(graded: Sequence[Graded], holds: Callable[[float, bool], bool]) -> Interval | None:
    """The share of candidates for which something holds, with its interval over problems."""
    values: dict[str, list[float]] = {}
    for problem, score, right in graded:
        values.setdefault(problem, []).append(float(holds(score, right)))
    return mean_interval(values, weights={problem: len(some) for problem, some in values.items()})


def _jackknifed(
    graded: Sequence[Graded],
    statistic: Callable[[Sequence[Graded]], float | None],
    ends: tuple[float, float] = (-1.0, 1.0),
) -> Interval | None:
    """A statistic of candidates, jackknifed over problems."""
    units: dict[str, list[Graded]] = {}
    for one in graded:
        units.setdefault(one[0], []).append(one)

    def of(some: Sequence[list[Graded]]) -> float | None:
        return statistic([one for unit in some for one in unit])

    return jackknifed(of, [*units.values()], ends)


def _alpha_of_all(
    judged: Mapping[str, Sequence[JudgedCandidate]], points: Mapping[str, float | None]
) -> Interval | None:
    """Krippendorff's alpha of what each judge accepts, over all candidates that two or more have scored."""
    ratings: dict[str, dict[tuple[str, int], list[bool]]] = {}
    for name, some in judged.items():
        point = points[name]
        for one in some:
            if point is not None and one.score is not None:
                unit = ratings.setdefault(one.problem, {})
                unit.setdefault((one.model, one.sample), []).append(one.score >= point)
    if len(judged) < 2 or not ratings:
        return None
    units = [[*by_candidate.values()] for by_candidate in ratings.values()]
    return jackknifed(lambda some: krippendorff_alpha([one for unit in some for one in unit]), units)


def _notes(reports: Sequence[JudgeReport]) -> tuple[str, ...]:
    found = []
    for report in reports:
        if report.adverse:
            found.append(f"{report.judge} selects adversely: its best candidates are less often right than random ones")
        if report.scored and not report.graded:
            found.append(f"{report.judge}: no candidate has a verdict, so that only what needs none is known")
        if report.threshold is None and report.scored:
            found.append(f"{report.judge}: its scores leave [0, 1], so that its operating point must be given")
    return tuple(found)
