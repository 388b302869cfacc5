"""Judges before a scripted model, for their tests."""

from collections.abc import Callable

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.plugins.verifiers import verifier
from tts.testing import Sample, ScriptedCluster
from tts.testing.cluster import Outcome
from tts.types import Problem, Score


def judged(
    judge: str,
    texts: list[str],
    reply: Callable[[str], str | Sample],
    *,
    problem: str | Problem = "What is 2 + 2?",
    budget: Limits = Limits(),
) -> tuple[list[Score], Outcome]:
    """The scores of texts by a judge, and the outcome. `reply`: to the last turn of what it asks."""
    found: list[Score] = []

    def model(request: Request, number: int) -> Sample:
        said = texts[number] if number < len(texts) else reply(request.messages[-1].content)
        return said if isinstance(said, Sample) else Sample(text=said, tokens=1)

    async def strategy(problem, run):
        candidates = await run.generate(n=len(texts))
        found.extend(await run.verify(candidates, "it"))
        return candidates[0]

    outcome = ScriptedCluster(model, verifiers={"it": verifier(judge)}, budget=budget).run(strategy, problem)
    if outcome.result.error is not None:
        raise outcome.result.error.rebuild()
    return found, outcome


def asked(outcome: Outcome) -> list[Request]:
    """What the judge asked."""
    return [action.request for action in outcome.generated if action.helps]


def values(scores: list[Score]) -> list[float | None]:
    return [score.value for score in scores]
