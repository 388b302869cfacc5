"""PlanGEN: a bandit over strategies, rewarded by a check of the problem's constraints."""

from tts import Candidate, Problem, Run
from tts.toolkit.bandits import Arm
from tts.toolkit.prompts.plans import CONSTRAINTS, followed, mark

ARMS = ("majority_vote:n=3", "sequential_revision:chains=1,rounds=2")


async def plangen(
    problem: Problem, run: Run, *, rounds: int = 3, enough: int = 95, best_strategy: str = "best_of_n:n=3"
) -> Candidate:
    """Choose a strategy by UCB, have its plan checked against the constraints, and keep the best plan.

    Parmar et al. (2025), arXiv:2502.16111. Differences from the paper: the arms are strategies of this library; the
    bound has neither the model's prior nor the terms for diversity and recovery.
    """
    arms, plans = {name: Arm() for name in (best_strategy, *ARMS)}, {}
    run.fallback = lambda found, _: max(plans or found, key=plans.get, default=None)
    (rules,) = await run.ask(CONSTRAINTS.format(problem=problem.prompt), temperature=0.0)
    for pulls in range(1, rounds + 1):
        arm = max(arms, key=lambda name: arms[name].bound(pulls))
        plan = await run.solve(arm)
        (check,) = await run.ask(followed(problem.prompt, rules.text, plan.text), temperature=0.0)
        score = mark(check.text)
        if score is None:
            continue
        plans[plan] = score
        arms[arm].add((score + 100) / 200)
        if score >= enough:
            break
    return run.pick()


def rehearse(request, random):
    if "Score: N" in request.messages[-1].content:
        return f"Two of them.\nScore: {random.randint(-100, 120)}"
