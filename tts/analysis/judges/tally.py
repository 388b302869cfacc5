"""What a judge has done in a run: scores, abstentions, cost."""

from __future__ import annotations

from collections.abc import Sequence

from tts.core.result import Result
from tts.pools.pool import VerificationCost
from tts.runs.judgements import Judgement
from tts.types import Cost, Value


class JudgeRow(Value, frozen=True):
    """What one judge has done.

    Args:
        candidates: that it was to score; scored: with a number; abstained: asked about, without one; unknown: not
            asked about, because the budget or the run ended, or the requests failed.
        problems: decided ones; exhausted: of them, those whose budget ended first; errors: that the judge raised.
        failed: requests that failed for good.
        mean: of the scores, None without one.
        cost: of all its requests; prompt_tokens: that these read.
        error: the first one.
    """

    judge: str
    problems: int
    candidates: int
    scored: int
    abstained: int
    unknown: int
    exhausted: int
    failed: int
    errors: int
    mean: float | None
    cost: Cost
    prompt_tokens: int
    error: str | None = None

    @property
    def judgements(self) -> int:
        """Scores and abstentions."""
        return self.scored + self.abstained

    def verification_cost(self, max_tokens: int | None) -> VerificationCost | None:
        """The mean cost of the score of one candidate; None without one."""
        if not self.judgements:
            return None
        tokens, prompts = self.cost.tokens / self.judgements, self.prompt_tokens / self.judgements
        return VerificationCost(tokens, prompts, max_tokens)


def row_of(judge: str, results: Sequence[Result], judgements: Sequence[Judgement], candidates: int) -> JudgeRow:
    """Sum up one judge. `candidates`: that it was to score, shown in one order and in the other."""
    values = [one.value for one in judgements if one.value is not None]
    errors = [r.error for r in results if r.error is not None and r.error.type != "BudgetExhausted"]
    return JudgeRow(
        judge=judge,
        problems=len(results),
        candidates=candidates,
        scored=len(values),
        abstained=len(judgements) - len(values),
        unknown=candidates - len(judgements),
        exhausted=sum(result.exhausted for result in results),
        failed=sum(len(result.failures) for result in results),
        errors=len(errors),
        mean=sum(values) / len(values) if values else None,
        cost=Cost.sum([result.bill.total for result in results]),
        prompt_tokens=sum(result.bill.usage.prompt_tokens for result in results),
        error=f"{errors[0].type}: {errors[0].message}" if errors else None,
    )
