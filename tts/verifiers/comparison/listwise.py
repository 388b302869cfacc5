"""A judge of lists: which of several solutions is the best, asked in several orders."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.games import Game, Tally, scores
from tts.toolkit.judging.replies import replies, temperature_of
from tts.toolkit.prompts.lists import BEST, REPAIR, choice, chosen
from tts.toolkit.prompts.solutions import shown
from tts.types import Candidate, Problem, Score, ScoreKind


class Listwise:
    """Show several solutions in a list and ask for the best; a solution's score is the part of its lists that it wins.

    Toshniwal et al. (2025), GenSelect, arXiv:2507.17797, whose prompt it is. All are shown `orders` times, shuffled,
    because most judges prefer places in a list; more than `window` solutions are shown in lists of nearly equal length.
    Of equal solutions one is shown.
    An abstention: of an empty solution, of one that has no other beside it, and of one without a readable choice.
    Differences from the paper: solutions are shown whole, not as summaries; a score for each, and no knockout.

    Args:
        orders: number of times that all are shown.
        window: number of solutions in a list at most.
        max_tokens: of a choice.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "listwise"
    kind: ScoreKind = "probability"

    def __init__(self, *, orders: int = 2, window: int = 6, max_tokens: int = 512, model: str | None = None) -> None:
        require(orders >= 1, "orders", "at least 1", orders)
        require(window >= 2, "window", "at least 2", window)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        self.orders = orders
        self.window = window
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates by the lists that they are chosen from."""
        texts = [shown(candidate.text) for candidate in candidates]
        tallies = {text: Tally() for text in texts}

        async def asked(listed: Sequence[str]) -> None:
            found = await fitted(run, lambda parts: choice(BEST, problem.prompt, parts), listed, self.max_tokens)
            game = Game(None, asked=False)
            if found is not None:
                ((best, _),) = await replies(
                    run,
                    found.prompt,
                    lambda reply: chosen(reply.text, len(listed)),
                    repair=REPAIR,
                    temperature=temperature_of(self.orders),
                    max_tokens=self.max_tokens,
                )
                values = None if best is None else tuple(float(at == best) for at in range(len(listed)))
                game = Game(values, unread=best is None, left_out=found.left_out)
            for at, text in enumerate(listed):
                tallies[text].add(game, at)

        shown_texts = [*filter(None, tallies)]
        lists = [part for order in range(self.orders) for part in self._lists(shown_texts, order)]
        if lists:
            await run.gather(*map(asked, lists))
        return scores([tallies[text] for text in texts], texts, self.name, self.kind)

    def _lists(self, texts: Sequence[str], order: int) -> list[Sequence[str]]:
        """The texts in an order of its own, in lists of nearly equal length; none of one text alone. The order is a
        function of the texts, so that one list is shown alike by strategies that differ in anything else."""
        shuffled = Random(f"{order}/{texts}").sample(texts, len(texts))
        count = -(-len(shuffled) // self.window)
        return [part for i in range(count) if len(part := shuffled[i::count]) > 1]
