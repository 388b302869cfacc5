"""A small pool, a model that judges it, and a judge with a bias."""

from collections.abc import Sequence

from tts import Candidate, Completion, Problem, Request, Run, Usage
from tts.pools.pool import Pool, Sample

RIGHT = {"p0": "4", "p1": "6"}


def pool(**more) -> Pool:
    """Two problems with three candidates each, the first of them right."""
    rows = [
        Sample(
            "sums",
            "small",
            problem,
            i,
            answer=answer,
            correct=answer == right,
            completion_tokens=5,
            text=f"The answer is {answer}.",
            prompt=f"What is {problem}?",
            reference=right,
        )
        for problem, right in RIGHT.items()
        for i, answer in enumerate((right, "9", "8"))
    ]
    return Pool.of("sums", rows, **more)


class Model:
    """Says Yes to what holds a right answer, No to others."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Completion:
        self.asked.append(request)
        said = "Yes" if any(f"is {right}." in request.messages[-1].content for right in RIGHT.values()) else "No"
        return Completion(said, usage=Usage(10, 1))


async def first_shown(problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[float | None]:
    """A judge that prefers the first place, asks once, and abstains from the last."""
    await run.ask("?", max_tokens=1)
    return [1.0, *[0.0] * (len(candidates) - 2), None]
