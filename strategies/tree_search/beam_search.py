"""Beam search over steps: keep the most promising prefixes, sample their next steps, vote among the solutions."""

from contextlib import suppress
from math import ceil

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.selectors import weighted_majority
from tts.toolkit.steps import STEP, grow, ranked
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def beam_search(
    problem: Problem,
    run: Run,
    *,
    n: int = 16,
    m: int = 4,
    depth: int = 40,
    lookahead: int = 0,
    stop: str = STEP,
    verifier: str = "prm",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Keep the best n/m of `n` prefixes, sample `m` next steps of each, and vote among the solutions by their scores.

    Snell et al. (2024), arXiv:2408.03314, section 5; at the ends of stages alone (`stop`) Ma et al. (2025),
    arXiv:2503.23803. Differences from the papers: a solution keeps its place, so that the beam narrows as solutions
    come; where m does not divide the width, the last prefix has fewer next steps; a prefix without a score ranks last,
    and of equals the first sampled is the better one; a prefix whose lookahead fails is scored by what came of it until
    then; where no next step comes, the solutions so far vote.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: prefixes side by side, and solutions at most.
        m: next steps of each prefix that is kept, 4 or the root of n in the paper; from 1 (all are kept) to n (one is).
        depth: steps of a solution at most; what is longer does not vote.
        lookahead: further steps at temperature 0 after which a prefix is scored, 0, 1 or 3 in the paper; their texts do
            not vote.
        stop: the end of a step.
        verifier: of prefixes and solutions.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed if no first step came, InvalidParameter, UnknownName.
    """
    require(n >= 1, "n", "at least 1", n)
    require(1 <= m <= n, "m", f"from 1 to n = {n}", m)
    require(depth >= 1, "depth", "at least 1", depth)
    require(lookahead >= 0, "lookahead", "at least 0", lookahead)
    run = run.on(problem)
    solutions: list[Candidate] = []
    run.fallback = lambda found, scores: weighted_majority(solutions or found, scores)

    async def rolled(step: Candidate) -> tuple[Candidate, Candidate]:
        end = step
        with suppress(AllFailed, BudgetExhausted):
            for _ in range(lookahead):
                if end.partial:
                    (end,) = await grow(run, [(end, 1)], stop=stop, temperature=0.0)
        return step, end

    steps = await grow(run, [(None, n)], stop=stop)
    for level in range(depth):
        solutions += [step for step in steps if step.complete]
        ends = dict(await run.gather(*map(rolled, steps)))
        values = dict(zip(ends, await run.verify(list(ends.values()), verifier), strict=True))
        room = n - len(solutions)
        best = [step for step in ranked(steps, values) if step.partial][: ceil(room / m)]
        if not best or level == depth - 1:
            break
        try:
            steps = await grow(run, [(prefix, min(m, room - m * i)) for i, prefix in enumerate(best)], stop=stop)
        except (AllFailed, BudgetExhausted):
            break
    return await choose(run, weighted_majority, solutions or steps, equivalence)
