"""A panel of judges as one judge, of whose members some may be lazy, broken or in league."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tts.checks import require
from tts.core.addresses import split_joined
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted, UsageError, unknown_name
from tts.plugins.verifier_texts import seen_from_anywhere
from tts.toolkit.panels.aggregation import RULES, centred, varying
from tts.toolkit.panels.flips import leader_kept
from tts.types import Candidate, Problem, Score, ScoreKind

Vectors = dict[str, Sequence[Score]]  # by member


class Panel:
    """Ask several judges, and join their scores so that few cannot decide: `panel(verifiers=genrm+judge+rubric)`.

    A judge that says the same of all candidates is dropped; each other one's scores are taken less their median, over
    their deviation, at most 3 deviations from it; then a rule joins them (`tts.toolkit.panels.aggregation`): the mean
    without the highest and lowest, or the median, Krum, Bulyan or the flag of Almasi et al. (2023), arXiv:2302.05865,
    which holds against independent faults only. A member that raises an error, or scores no candidate, has failed: a
    reserve takes its place, or it is left out; below the quorum, the panel abstains. It abstains from a candidate that
    fewer than the quorum have scored, from one that is alone, and where no member tells the candidates apart.
    Against a deceptive judge (Ming et al. 2025, WAFER-QA, arXiv:2506.03332) the first answer may have a vote of its
    own, and the leading answer may change a few times only.
    Differences from the papers: scores are compared among the candidates, so that they mean nothing beyond them;
    z-scores are about the median.

    Args:
        verifiers: names of the members, verifiers or judges, with their parameters, joined by `+`.
        rule: `trimmed`, `median`, `mean`, `krum`, `bulyan` or `flag`.
        faulty: number of members that may be faulty; None: a quarter of them, but 1 of three.
        quorum: number of members that must have scored; None: more than half of them.
        reserve_verifiers: names of those that step in for members that fail, in order.
        first_vote: whether the answer of the first candidate counts as one more member, which prefers it.
        flips: most times that the leading answer may change in one trial; after that, it stays. None: no limit.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "panel"
    kind: ScoreKind = "scale"

    def __init__(
        self,
        *,
        verifiers: str = "genrm+judge+rubric",
        rule: str = "trimmed",
        faulty: int | None = None,
        quorum: int | None = None,
        reserve_verifiers: str = "",
        first_vote: bool = False,
        flips: int | None = None,
        model: str | None = None,
    ) -> None:
        self.verifiers, self.reserve_verifiers = verifiers, reserve_verifiers
        self._members, self._reserves = _names(verifiers), _names(reserve_verifiers)
        n = len(self._members)
        require(n >= 1, "verifiers", "at least 1 name", verifiers)
        if rule not in RULES:
            raise unknown_name("rule of a panel", rule, RULES)
        require(faulty is None or 0 <= faulty < n, "faulty", f"from 0 to {n - 1}, less than the members", faulty)
        least = {"krum": 2, "bulyan": 4}.get(rule, 0)
        bad = _faulty(n) if faulty is None else faulty
        if least and n < least * bad + 3:
            require(faulty is None, "faulty", f"at most {(n - 3) // least} for {rule} of {n} judges", faulty)
            require(n >= 3, "verifiers", f"at least 3 for {rule}", verifiers)
            bad = (n - 3) // least
        require(quorum is None or 1 <= quorum <= n, "quorum", f"from 1 to {n}, the members", quorum)
        require(flips is None or flips >= 0, "flips", "at least 0", flips)
        self.rule, self.faulty, self.quorum, self.first_vote, self.flips = rule, faulty, quorum, first_vote, flips
        self.model = model
        self._bad, self._least = bad, n // 2 + 1 if quorum is None else quorum

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The joint scores. Raises: UsageError for a member that the run cannot have."""
        given = await self._asked(run, candidates, self._members)
        failed = [name for name in self._members if name not in given]
        for reserve in self._reserves:
            if len(given) == len(self._members):
                break
            given |= await self._asked(run, candidates, [reserve])
        if len(given) < self._least:
            return self._none(given, candidates, f"{len(given)} judges gave scores, {self._least} are needed")
        table = np.array([[np.nan if s.value is None else s.value for s in scores] for scores in given.values()])
        if self.first_vote and candidates and candidates[0].answer is not None:
            table = np.vstack([table, [float(c.answer == candidates[0].answer) for c in candidates]])
        useful = varying(table)
        if len(candidates) < 2 or not useful.any():
            why = "nothing to compare it with" if len(candidates) < 2 else "no judge tells the candidates apart"
            return self._none(given, candidates, why)
        joined = RULES[self.rule](np.nan_to_num(centred(table[useful])), self._bad)
        enough = (~np.isnan(table)).sum(axis=0) >= self._least
        if self.flips is not None:
            joined = await leader_kept(run, f"{self.name} {self.verifiers}", candidates, joined, enough, self.flips)
        said = f"{self.rule} of {int(useful.sum())}" + (f"; failed: {', '.join(failed)}" if failed else "")
        return self._joined(given, joined, enough, said)

    async def _asked(self, run: Run, candidates: Sequence[Candidate], names: Sequence[str]) -> Vectors:
        """The scores of those judges that gave any."""

        async def one(name: str) -> tuple[str, Sequence[Score]]:
            try:
                return name, await run.verify(candidates, seen_from_anywhere(name))
            except (UsageError, BudgetExhausted, AllFailed):
                raise
            except Exception:  # a judge may be anybody's plugin
                return name, ()

        try:
            found = await run.gather(*map(one, names))
        except (BudgetExhausted, AllFailed):
            return {}
        return {name: scores for name, scores in found if any(score.value is not None for score in scores)}

    def _joined(
        self, given: Vectors, joined: npt.NDArray[np.float64], enough: npt.NDArray[np.bool_], said: str
    ) -> list[Score]:
        return [
            Score(float(value) if known else None, self.name, self.kind, text=said, **self._counts(given, place))
            for place, (value, known) in enumerate(zip(joined, enough, strict=True))
        ]

    def _none(self, given: Vectors, candidates: Sequence[Candidate], why: str) -> list[Score]:
        places = range(len(candidates))
        return [Score(None, self.name, self.kind, text=why, **self._counts(given, place)) for place in places]

    def _counts(self, given: Vectors, place: int) -> dict[str, Any]:
        own = [scores[place] for scores in given.values()]
        return {"verdicts": sum(s.verdicts for s in own), "unread": sum(s.unread for s in own)}


def _faulty(judges: int) -> int:
    return max(judges // 4, int(judges >= 3))


def _names(text: str) -> list[str]:
    """Raises: InvalidParameter for a name that comes twice: its scores would be one judge's, asked twice."""
    names = [name for name in map(str.strip, split_joined(text)) if name]
    require(len({*names}) == len(names), "verifiers", "names that differ", text)
    return names
