"""Dynasor: a thought is probed for its answer while it is written, and ends once the answers agree without hedging."""

import re
from collections.abc import Sequence

from tts.core.trials.context import Run
from tts.toolkit.thinking import Probed, at_least, think_and_probe, token_shares
from tts.types import Candidate, Problem

HEDGES = re.compile(r"wait|hold|but|okay|no|hmm", re.IGNORECASE)


async def dynasor(
    problem: Problem,
    run: Run,
    *,
    every: int = 64,
    agree: int = 3,
    probe: int = 20,
    think: int | None = None,
    answer: int | None = None,
) -> Candidate:
    """Probe the thought each `every` tokens, and end it once `agree` probes in a row give one answer and none hedges.

    Fu et al. (2024), Certaindex, arXiv:2412.20993, and the code of its authors, whose middle effort saves with 3 probes
    (mild 8, low 5, high 2). Differences from the paper: a probe closes the thought and begins the answer, where theirs
    goes on in the thought, at temperature 0 instead of 0.6; answers are equal as votes count them. As in their code the
    thought is written on while a probe is answered, any text with one of six words in it hedges ("not" does, by "no"),
    and the answer is the last probe's. A probe is billed as verification, as what helps to decide, and does not vote.

    Args:
        every: tokens of thought from one probe to the next.
        agree: number of the latest probes that must agree.
        probe: tokens of a probe at most.
        think: tokens of the thought at most; None is the run's `max_tokens` less those of the answer.
        answer: tokens of the answer after a thought that ended otherwise; None is an eighth of `max_tokens`.
    Raises: AllFailed, InvalidParameter, CapabilityMissing for a server that cannot continue text.
    """
    run = run.on(problem)
    for name, value, least in (("every", every, 1), ("agree", agree, 2), ("probe", probe, 1)):
        at_least(name, value, least)
    think, answer = token_shares(run, think, answer)

    def settled(probes: Sequence[Probed]) -> bool:
        latest = probes[-agree:]
        one = {probed.answer for probed in latest}
        return len(latest) == agree and len(one) == 1 and None not in one and not any(map(hedges, latest))

    return await think_and_probe(
        run, lambda text: [text], settled, every=every, think=think, probe_tokens=probe, answer=answer
    )


def hedges(probed: Probed) -> bool:
    """Whether the model doubts the answer to a probe."""
    return HEDGES.search(probed.said) is not None
