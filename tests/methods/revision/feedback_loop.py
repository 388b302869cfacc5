"""A feedback loop: a teacher hints at the mistake of an attempt that a verifier finds wrong."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.hints import about, again, hint


async def feedback_loop(problem: Problem, run: Run, *, rounds: int = 3, verifier: str = "genrm") -> Candidate:
    """Attempt a problem with a hint after each attempt that is found wrong, until one is found right.

    Balachandran et al. (2025), arXiv:2504.00294. Differences from the paper: a verifier, in place of the reference
    answer, says whether an attempt is wrong; the teacher checks before it hints; an attempt is shown the last one.
    """
    (best,) = await run.generate()
    run.fallback = lambda *_: best
    for _ in range(rounds - 1):
        (score,) = await run.verify([best], verifier)
        if score.value is None or score.value >= 0.5:
            break
        (reply,) = await run.ask(about(problem.prompt, best.text))
        said = hint(reply.text)
        if said is None:
            break
        (best,) = await run.generate(again(problem.prompt, best.text, said), parent=best)
    return best


def rehearse(request, random):
    if "A student's attempt" in request.messages[-1].content:
        return random.choice(("1. 1+1=3, wrong.\nHint: Look at step 1 again.", "I see nothing."))
