"""GenSelect: a choice from a list, group by group."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence

from tts.checks import require
from tts.core.trials.context import Run
from tts.selectors import Scores, whole
from tts.toolkit.prompts.lists import BEST
from tts.toolkit.rankings.lists import MAX_TOKENS, choice_of
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem

Group = Sequence[Candidate]
Choices = Mapping[tuple[str, ...], int | None]  # ids of a group's candidates -> the place of the chosen one


async def genselect(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    window: int = 8,
    max_tokens: int = MAX_TOKENS,
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Have the model choose the best of each `window` candidates, then of the chosen, until one is left.

    Toshniwal et al. (2025), arXiv:2507.17797. Differences from the paper: solutions are shown whole, not as summaries;
    of a group whose choice cannot be read, does not fit into the model's context, or was not paid for, the candidate
    with the most frequent answer goes on, and of several the first; a group with one answer has nothing to choose.
    Blind trust: the model's choices decide, whatever the vote says.

    Args:
        n: number of samples; None spends the budget, on `window` samples and then the choices, in turns.
        window: candidates in a group.
        max_tokens: of a choice.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, InvalidParameter.
    """
    require(window >= 2, "window", "at least 2", window)
    run = run.on(problem)
    choices: dict[tuple[str, ...], int | None] = {}

    def select(candidates: Sequence[Candidate], _: Scores) -> Candidate | None:
        return _concluded(_rounds(_players(candidates), choices, window))

    async def ask(group: Group) -> None:
        choices[_ids(group)] = await choice_of(run, BEST, group, max_tokens)

    async def decided(candidates: Sequence[Candidate], _: Sequence[Candidate] = ()) -> bool:
        spelt = await equated(run, candidates, equivalence)
        for groups in _rounds(_players(spelt), choices, window):
            await run.gather(*map(ask, groups))
        return False

    run.fallback = select
    if n is None:
        candidates = await sample_until(run, decided, n=None, size=window)
    else:
        candidates = await run.generate(n=n)
        await decided(candidates)
    return await choose(run, select, candidates, equivalence)


def _rounds(
    candidates: Sequence[Candidate], choices: Choices, window: int
) -> Generator[Sequence[Group], None, Candidate | None]:
    """The groups of each round that are still to be chosen from, and then the winner; None without candidates."""
    votes = Counter(candidate.answer for candidate in candidates)

    def winner(group: Group) -> Candidate:
        place = choices.get(_ids(group))
        return max(group, key=lambda c: votes[c.answer]) if place is None else group[place]

    left = [*candidates]
    while len(left) > 1:
        groups = [left[i : i + window] for i in range(0, len(left), window)]
        asked = [group for group in groups if _differ(group) and _ids(group) not in choices]
        if asked:
            yield asked
        left = [winner(group) for group in groups]
    return left[0] if left else None


def _concluded(rounds: Generator[Sequence[Group], None, Candidate | None]) -> Candidate | None:
    while True:
        try:
            next(rounds)
        except StopIteration as end:
            winner: Candidate | None = end.value
            return winner


def _players(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those with an answer, if any has one."""
    found = whole(candidates)
    return [candidate for candidate in found if candidate.answer is not None] or found


def _differ(group: Group) -> bool:
    """Whether there is something to choose: several answers, or texts where there are none."""
    return len({candidate.text if candidate.answer is None else candidate.answer for candidate in group}) > 1


def _ids(group: Group) -> tuple[str, ...]:
    return tuple(candidate.id for candidate in group)
