"""Scripted trees of steps, for the tests of searches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tts.core.actions import Request
from tts.testing import Outcome, Sample, StrategyContract

Child = tuple[str, float | None]


class Brief(StrategyContract):
    """The contract in one world and one process: a search asks much in each."""

    worlds = range(1)
    test_another_process_gives_the_same_journal = None


class Thorough(StrategyContract):
    """The contract in further worlds, for the system tests."""

    worlds = range(1, 3)


def tree(children: Mapping[str, Sequence[Child]], stop: str = "\n") -> Callable[[Request, int], Sample]:
    """A model's next steps, each with the score that the verifier `judge` gives it (None: an abstention).

    Args:
        children: prefix -> its next steps in the order of asking, again from the first where more are asked for; of a
            prefix that is not named, a solution without a score. `=4` is a solution with the answer 4.
        stop: the stop string that ends a step.
    """
    asked: Counter[str] = Counter()

    def script(request: Request, number: int) -> Sample:
        prefix = request.continue_from
        steps = children.get(prefix, [("=0", None)])
        name, score = steps[asked[prefix] % len(steps)]
        asked[prefix] += 1
        if name.startswith("="):
            return Sample(name[1:], scores={"judge": score})
        return Sample(text=name, stopped_by=stop, scores={"judge": score})

    return script


def prefixes(outcome: Outcome) -> dict[str, int]:
    """The number of samples that were asked for after each prefix."""
    return dict(Counter(action.request.continue_from for action in outcome.generated))
