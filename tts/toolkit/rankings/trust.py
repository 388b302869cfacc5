"""Trust in a verifier that has to be earned: by agreeing with clear votes, over the problems of a run.

A verifier that knows nothing, or the contrary of the truth, turns right votes into wrong answers. Nobody has labels,
but where a vote is clear, its answer is right more often than another: a verifier that scores it above the others
clearly more often than by chance knows something, one that scores it below knows worse. Each problem with a clear vote
adds one number to the run's memory (`Run.add`): the chance that the verifier scores a candidate with the vote's answer
above one with another. By these a verifier is

- trusted: all answers are its to choose from, as in a method's paper. The bound holds at every number of problems, so
  that one that knows nothing is hardly ever trusted, however long the run;
- unknown, as at the beginning, and in the single problem of `tts.solve`: it breaks the ties of the vote;
- distrusted: the plain vote stands.

A verifier that is right exactly where votes are wrong is distrusted, too: say `trust=blind` to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import Literal

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores, Selector, majority, value_of, whole
from tts.toolkit.votes import Equivalence, equated
from tts.types import Candidate

Trust = Literal["earned", "blind"]
CLEAR = 2  # votes by which the first answer of a clear vote leads
KEY = "trust in "  # and the verifier's name: under this a run remembers it
LEAST = 8  # problems with a clear vote, before anything is said of a verifier
HARDLY = -1.0  # standard errors from chance, below which it is distrusted
EVER = 0.05  # the chance that one that knows nothing is ever trusted, at most
AT_ABOUT = 30.0  # problems, where the least is asked of one that knows something
SPREAD = 0.25  # least standard deviation of a problem's number: a few equal ones do not make it certain


class Guard:
    """What a verifier may decide in one trial.

    Args:
        verifier: its name, by which the run remembers it.
        trust: `blind` trusts it from the beginning, and remembers nothing.
    """

    def __init__(self, run: Run, verifier: str, trust: Trust) -> None:
        require(trust in ("earned", "blind"), "trust", "'earned' or 'blind'", trust)
        self._run = run
        self._key = f"{KEY}{verifier}"
        self._earns = trust == "earned"
        self.trusted: bool | None = None if self._earns else True

    async def look(self) -> None:
        """See what the run knows of the verifier so far."""
        if self._earns:
            self.trusted = judged(await self._run.recall(self._key))

    async def learn(self, above: float | None) -> None:
        """Note the verifier's number of a problem, as `preference` has it (None says nothing), and look."""
        await self.look()
        if self._earns and above is not None:
            await self._run.add(self._key, {"problems": 1.0, "above": above, "squares": above * above})

    async def learn_from(
        self, candidates: Sequence[Candidate], equivalence: Equivalence, scores: Scores | None = None
    ) -> None:
        """Note the verifier's number of a problem, by the scores of its candidates, and look; None: the run's own."""
        if not self._earns:
            return
        candidates = await equated(self._run, candidates, equivalence)
        found = {c.id: value_of((self._run.scores if scores is None else scores).get(c.id, ())) for c in candidates}
        await self.learn(preference(candidates, {id: value for id, value in found.items() if value is not None}))

    def allowed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates among which the verifier chooses: those with an answer, if any has one; of an unknown
        verifier, those whose answers have the most votes; of a distrusted one, those of the vote's winner."""
        found = whole(candidates)
        answered = [c for c in found if c.answer is not None]
        if not answered or self.trusted:
            return answered or found
        votes = Counter(c.answer for c in answered)
        most = max(votes.values())
        level = {answer for answer, count in votes.items() if count == most}
        winner = next(c.answer for c in answered if c.answer in level)
        return [c for c in answered if (c.answer == winner if self.trusted is False else c.answer in level)]

    def over(self, select: Selector) -> Selector:
        """The selector, among the candidates that are allowed; as it is for a verifier that is trusted blindly."""

        def guarded(candidates: Sequence[Candidate], scores: Scores) -> Candidate | None:
            return select(self.allowed(candidates), scores) or majority(candidates, scores)

        return guarded if self._earns else select


def judged(sums: Mapping[str, float]) -> bool | None:
    """Whether a verifier is trusted, by the sums of a run's problems; None where that is not known."""
    problems = sums.get("problems", 0.0)
    if problems < LEAST:
        return None
    mean = sums.get("above", 0.0) / problems
    deviation = sqrt(max(0.0, sums.get("squares", 0.0) / problems - mean * mean))
    errors = (mean - 0.5) * sqrt(problems) / max(SPREAD, deviation)
    return True if errors >= _surely(problems) else False if errors <= HARDLY else None


def _surely(problems: float) -> float:
    """Standard errors beyond which a verifier is trusted: the boundary that a random walk crosses ever, at whatever
    number of problems somebody looks, with a probability of `EVER` at most (Robbins 1970, normal mixture)."""
    both = problems + AT_ABOUT
    return sqrt(both * log(both / (AT_ABOUT * EVER * EVER)) / problems)


def clear_answer(candidates: Sequence[Candidate]) -> str | None:
    """The answer of a clear vote; None where the vote is none."""
    votes = Counter(c.answer for c in whole(candidates) if c.answer is not None).most_common(2)
    if not votes or votes[0][1] - (votes[1][1] if len(votes) > 1 else 0) < CLEAR:
        return None
    return votes[0][0]


def preference(candidates: Sequence[Candidate], values: Mapping[str, float]) -> float | None:
    """The chance that a candidate with the answer of a clear vote is scored above one with another answer, ties
    counting half; None without a clear vote, another answer, or scores of both.

    Args:
        values: candidate id -> its score, of those that have one.
    """
    answer = clear_answer(candidates)
    scored = [c for c in candidates if answer is not None and c.answer is not None and c.id in values]
    ours = [values[c.id] for c in scored if c.answer == answer]
    others = [values[c.id] for c in scored if c.answer != answer]
    pairs = [(a > b) + (a == b) / 2 for a in ours for b in others]
    return sum(pairs) / len(pairs) if pairs else None
