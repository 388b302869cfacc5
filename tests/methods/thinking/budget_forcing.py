"""Budget forcing: thinking that is held to a length."""

from tts import Candidate, Problem, Run


async def budget_forcing(
    problem: Problem, run: Run, *, waits: int = 1, think: int = 160, answer: int = 48
) -> Candidate:
    """Let the model think for `think` tokens: send it on with "Wait" where it ends earlier, then have it answer.

    Muennighoff et al. (2025), s1, arXiv:2501.19393; Huang et al. (2025), m1, arXiv:2504.00869. Differences from the
    papers: the limits are tens of tokens by default.

    Args:
        waits: how often an early end is replaced.
        think: tokens of thinking in all.
        answer: tokens of the answer, which is sampled at temperature 0.
    """
    text, last = "<think>\n", None
    for turn in range(waits + 1):
        (last,) = await run.generate(continue_from=text, parent=last, stop="</think>", max_tokens=think)
        text, think = last.text, think - last.tokens
        if think < 1:
            break
        text += "Wait" if turn < waits else ""
    text = f"{text.rstrip()}\n</think>\nFinal Answer:"
    return (await run.generate(continue_from=text, parent=last, temperature=0.0, max_tokens=answer))[0]
