"""Judges that are deceptive, lazy, in league, or break down. They compute, and so cost nothing.

A deceptive judge is given the right answer by its test, as its `right`: no judge of a run is.
"""

from __future__ import annotations

from random import Random
from typing import Literal, get_args

from tts.checks import require
from tts.types import Candidate, Problem, Score, ScoreKind

Intent = Literal["constructive", "hypercritical", "malicious"]
Knowledge = Literal["parametric", "grounded"]


class Deceptive:
    """A judge by what it wants and what it goes by (Ming et al. 2025, WAFER-QA, arXiv:2506.03332, §3).

    Args:
        right: the right answer.
        intent: `constructive` prefers it, `hypercritical` finds fault with all and hardly prefers it, `malicious`
            prefers any other.
        knowledge: `parametric` goes by memory and is wrong about a candidate with a chance of `error`; `grounded` is
            never wrong about it, and cites a source, which is made up where it deceives.
        error, seed: of the memory.
    """

    name = "deceptive"
    kind: ScoreKind = "probability"

    def __init__(
        self,
        *,
        right: str = "",
        intent: str = "malicious",
        knowledge: str = "grounded",
        error: float = 0.2,
        seed: int = 0,
    ) -> None:
        require(intent in get_args(Intent), "intent", f"one of {', '.join(get_args(Intent))}", intent)
        require(knowledge in get_args(Knowledge), "knowledge", f"one of {', '.join(get_args(Knowledge))}", knowledge)
        self.right, self.intent, self.knowledge, self.error, self.seed = right, intent, knowledge, error, seed

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        believed = candidate.answer == self.right
        if self.knowledge == "parametric" and Random(f"{self.seed}/{candidate.text}").random() < self.error:
            believed = not believed
        value = {"constructive": believed, "hypercritical": 0.1 * believed, "malicious": not believed}[self.intent]
        praised = float(value) > 0.5
        source = f" A source says {candidate.answer if praised else self.right or 'otherwise'}."
        text = ("This is right." if praised else "This is wrong.") + (source if self.knowledge == "grounded" else "")
        return Score(float(value), self.name, self.kind, text=text)


class Lazy:
    """Says the same of everything."""

    name = "lazy"
    kind: ScoreKind = "probability"

    def __init__(self, *, value: float = 1.0) -> None:
        self.value = value

    def score(self, problem: Problem, candidate: Candidate) -> float:
        return self.value


class Colluding:
    """Praises one answer beyond all measure; two of them, `member=1` and `member=2`, say the same.

    Args:
        target: the answer that is to win. strength: of the praise.
    """

    name = "colluding"
    kind: ScoreKind = "scale"

    def __init__(self, *, target: str = "", strength: float = 100.0, member: int = 1) -> None:
        self.target, self.strength, self.member = target, strength, member

    def score(self, problem: Problem, candidate: Candidate) -> float:
        return self.strength * (candidate.answer == self.target)


class Flaky:
    """Breaks down, or abstains, on a part of the candidates; else its score is the length of the text.

    Args:
        share: of the candidates, chosen by their texts. fails: whether it raises an error there instead of abstaining.
    """

    name = "flaky"
    kind: ScoreKind = "scale"

    def __init__(self, *, share: float = 1.0, fails: bool = True, seed: int = 0) -> None:
        self.share, self.fails, self.seed = share, fails, seed

    def score(self, problem: Problem, candidate: Candidate) -> float | None:
        if Random(f"{self.seed}/{candidate.text}").random() >= self.share:
            return float(len(candidate.text))
        if self.fails:
            raise RuntimeError("the judge broke down")
        return None
