"""Prompts of judges fit into a context: the longest solutions lose their middles, and nothing else is lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tts.toolkit.judging.fitting import LEFT_OUT, fitted
from tts.types import TokenCount


class Context:
    """A run whose model has a token a character."""

    def __init__(self, tokens: int, *, known: bool = True) -> None:
        self.tokens, self.known = tokens, known

    def room(self, prompt: str) -> int | None:
        return max(0, self.tokens - len(prompt)) if self.known else None

    async def count_prompt(self, prompt: str) -> TokenCount:
        return TokenCount(len(prompt), True, self.room(prompt))


def joined(texts):
    return "?" + "|".join(texts)


texts = st.lists(st.integers(0, 900), min_size=1, max_size=4).map(lambda lengths: [f"({'x' * n})" for n in lengths])


@given(texts, st.integers(1, 2000))
def test_a_prompt_leaves_room_for_the_reply_and_solutions_keep_their_ends(solutions, context) -> None:
    found = asyncio.run(fitted(Context(context), joined, solutions, 100))
    if len(joined(solutions)) + 100 <= context:
        assert found == (joined(solutions), 0)
    elif found is not None:
        assert len(found.prompt) + 100 <= context and found.left_out > 0
        kept = found.prompt[1:].split("|")
        assert all(part[0] == "(" and part[-1] == ")" for part in kept)
        both = [*zip(solutions, kept, strict=True)]
        assert all(LEFT_OUT in part for whole, part in both if part != whole)
        shortest_cut = min(len(whole) for whole, part in both if part != whole)
        assert all(len(whole) <= shortest_cut for whole, part in both if part == whole)
    else:  # their ends alone are too long
        assert len(joined([])) + 250 * len(solutions) + 100 > context


def test_a_context_that_nobody_knows_cuts_nothing() -> None:
    assert asyncio.run(fitted(Context(5, known=False), joined, ["x" * 99], 100)) == (joined(["x" * 99]), 0)
