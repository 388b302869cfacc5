"""NoThinking: answers behind a thought that is over before it has begun, many of them."""

from tts.core.trials.context import Run
from tts.selectors import named
from tts.toolkit.sampling import sample_and_verify
from tts.toolkit.thinking import BEGUN, closed
from tts.toolkit.votes import Equivalence, choose
from tts.types import Candidate, Problem


async def no_thinking(
    problem: Problem,
    run: Run,
    *,
    n: int | None = 8,
    verifier: str = "self_certainty",
    selector: str = "borda",
    thought: str = "I know enough about this, so there is nothing left to think about.",
    prefill: bool = True,
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `n` answers, each behind a closed thought, and choose by the model's confidence in them.

    Ma et al. (2025), arXiv:2504.09858, whose choice without a perfect verifier is a Borda vote by self-certainty, or
    the most confident (`selector=best_score`). Differences from the paper: the thought is in words of our own; an
    answer that is cut at the limit of tokens is not completed by force, and abstains unless it says what it is.
    Blind trust: the verifier's scores decide, whatever the vote says.

    Args:
        n: number of answers; None spends the rest of the budget.
        verifier: the name of one of the run's verifiers.
        selector: borda, best_score, weighted_majority or majority.
        thought: text of the thought that is over; empty for models that were trained to have none.
        prefill: whether the answer's turn begins with the thought; else the chat template is told not to let the model
            think (`enable_thinking`), for servers that cannot continue text.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed, UnknownName, CapabilityMissing for a server that cannot continue text.
    """
    run = run.on(problem)
    run.fallback = select = named(selector)
    if prefill:
        candidates = await sample_and_verify(run, verifier, n=n, continue_from=closed(BEGUN + thought))
    else:
        template = {**run.sampling.chat_template_kwargs, "enable_thinking": False}
        candidates = await sample_and_verify(run, verifier, n=n, chat_template_kwargs=template)
    return await choose(run, select, candidates, equivalence)
