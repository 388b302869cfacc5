"""Particle filtering over steps, with Gibbs iterations: prefixes are kept in proportion to their odds to be right."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from random import Random

from tts.checks import require
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted
from tts.selectors import named
from tts.toolkit.bandits import reward_of
from tts.toolkit.sampling import sample_by_turns
from tts.toolkit.steps import STEP, grow
from tts.types import Candidate, Problem, Score

SUREST = 0.999  # a score that says more is taken for this one


async def particle_filter(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    size: int = 8,
    depth: int = 40,
    stop: str = STEP,
    verifier: str = "prm",
    selector: str = "best_score",
) -> Candidate:
    """Sample a step of each of `size` particles, and draw as many of them again by their odds, until all have ended.

    Puri et al. (2025), arXiv:2502.01618. With `n` above `size` it is their particle Gibbs: of each iteration one
    particle is drawn by its odds, and takes part in all steps of the next iteration as it is.
    Differences from the paper: resampling is systematic instead of multinomial, which has the same mean and less
    variance; scores are kept within 0.001 and 0.999; a step without a score has even odds; a particle whose next step
    failed is left out until the next draw, and an iteration of which no particle is left is passed over; the answer is
    chosen among the solutions of all iterations.
    Blind trust: the verifier decides what is gone on with, whatever a vote would say.

    Args:
        n: particles that are begun in all; None begins iterations until the budget ends.
        size: particles of one iteration.
        depth: steps of a solution at most; what is longer does not vote.
        stop: the end of a step.
        verifier: of prefixes and solutions, with scores from 0 to 1.
        selector: best_score (the paper's), weighted_majority, majority or borda.
    Raises: AllFailed if no iteration came to its end, InvalidParameter, UnknownName.
    """
    require(n is None or n >= 1, "n", "at least 1, or none", n)
    require(size >= 1, "size", "at least 1", size)
    require(depth >= 1, "depth", "at least 1", depth)
    run = run.on(problem)
    select = named(selector)
    solutions: list[Candidate] = []
    run.fallback = lambda found, scores: select(solutions or found, scores)
    odds: dict[Candidate, float] = {}

    async def iteration(free: int, kept: Sequence[Candidate]) -> list[Candidate]:
        """The particles after their last step, of which `kept` is one, as its prefixes."""
        particles = await grow(run, [(None, free)], stop=stop)
        for level in range(depth):
            population = [*particles, *kept[: level + 1][-1:]]
            new = [particle for particle in dict.fromkeys(population) if particle not in odds]
            odds.update(zip(new, map(odds_of, await run.verify(new, verifier)), strict=True))
            if level == depth - 1 or not any(particle.partial for particle in population):
                break
            places = systematic([odds[particle] for particle in population], free, run.random)
            drawn = [population[place] for place in places]
            growing = Counter(particle for particle in drawn if particle.partial)
            particles = [particle for particle in drawn if not particle.partial]
            try:
                particles += await grow(run, growing.items(), stop=stop) if growing else []
            except (AllFailed, BudgetExhausted):
                if not particles:
                    raise
        return population

    begun, kept = 0, list[Candidate]()

    async def turn() -> bool:
        nonlocal begun, kept
        free = size - (begun > 0 and size > 1)  # of later iterations, one particle is kept
        free = free if n is None else min(free, n - begun)
        begun += free
        last = await iteration(free, kept)
        solutions.extend(particle for particle in last if particle.complete)
        if size > 1:
            (chosen,) = run.random.choices(last, [odds[particle] for particle in last])
            kept = run.ancestry(chosen)[-1 - chosen.depth :]
        return False

    turns = n if n is None or size == 1 else max(1, ceil((n - 1) / (size - 1)))
    await sample_by_turns(run, turn, n=turns)
    return run.pick()


def odds_of(score: Score) -> float:
    """The odds that a prefix is right: 1 where the score is not known. Raises: InvalidParameter for a score that is not
    from 0 to 1."""
    reward = reward_of(score)
    sure = 0.5 if reward is None else min(SUREST, max(1 - SUREST, reward))
    return sure / (1 - sure)


def systematic(weights: Sequence[float], count: int, random: Random) -> list[int]:
    """Draw `count` places by their weights, each as often as its share of the draws says, rounded up or down by one
    random number (Kitagawa 1996, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models")."""
    stride = sum(weights) / count
    point = random.uniform(0.0, stride)
    chosen: list[int] = []
    reached = 0.0
    for place, weight in enumerate(weights):
        reached += weight
        while point < reached and len(chosen) < count:
            chosen.append(place)
            point += stride
    return chosen + [len(weights) - 1] * (count - len(chosen))  # by rounding, the last point may lie beyond the end
