"""PlanGEN: a bandit over strategies, rewarded by a check of the problem's constraints."""

from tts import Candidate, Problem, Run
from tts.toolkit.bandits import Arm

CONSTRAINTS = "{q}\n\nList the constraints that a correct answer must satisfy."
CHECK = "{q}\n\nConstraints:\n{rules}\n\nPlan:\n{plan}\n\nHow good is the plan? Reply with a number from -100 to 100."
SCORE = {"type": "integer", "minimum": -100, "maximum": 100}
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
    (rules,) = await run.ask(CONSTRAINTS.format(q=problem.prompt), temperature=0.0)
    for pulls in range(1, rounds + 1):
        arm = max(arms, key=lambda name: arms[name].bound(pulls))
        plan = await run.solve(arm)
        prompt = CHECK.format(q=problem.prompt, rules=rules.text, plan=plan.text)
        (check,) = await run.ask(prompt, schema=SCORE, temperature=0.0)
        plans[plan] = check.parsed
        arms[arm].add((check.parsed + 100) / 200)
        if check.parsed >= enough:
            break
    return run.pick()


def rehearse(request, random):
    return str(random.randint(-100, 120)) if request.schema else None
