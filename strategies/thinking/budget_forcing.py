"""Budget forcing: thinking that is cut at a number of tokens, and sent on where it ends earlier."""

from tts.core.trials.context import Run
from tts.toolkit.thinking import BEGUN, ENDED, answer_after, at_least, text_of, token_shares
from tts.types import Candidate, Problem


async def budget_forcing(
    problem: Problem,
    run: Run,
    *,
    waits: int = 1,
    think: int | None = None,
    answer: int | None = None,
    wait: str = "Wait",
) -> Candidate:
    """Let the model think, go on `waits` times with "Wait" where it ends its thought, and answer after `think` tokens.

    Muennighoff et al. (2025), s1, arXiv:2501.19393; Huang et al. (2025), m1, arXiv:2504.00869 (8,192 tokens of thought
    and 1,024 of answer). Differences from the papers: a model that ends its turn without closing its thought has ended
    the thought; one that ends its thought itself then answers without the words "Final Answer:".

    Args:
        waits: number of ends of the thought that are replaced.
        think: tokens of the thought in all; None is the run's `max_tokens` less those of the answer.
        answer: tokens of the answer at most, which is sampled at temperature 0; None is an eighth of `max_tokens`.
        wait: text that replaces an end.
    Raises: AllFailed, InvalidParameter, CapabilityMissing for a server that cannot continue text.
    """
    run = run.on(problem)
    at_least("waits", waits, 0)
    left, answer = token_shares(run, think, answer)
    (thought,) = await run.generate(continue_from=BEGUN, stop=ENDED, max_tokens=left)
    for _ in range(waits):
        left -= thought.tokens
        if left < 1 or thought.completion.finish_reason != "stop":
            break
        going_on = text_of(thought) + wait
        (thought,) = await run.generate(continue_from=going_on, parent=thought, stop=ENDED, max_tokens=left)
    return await answer_after(run, thought, max_tokens=answer)
