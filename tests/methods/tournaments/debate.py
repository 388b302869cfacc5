"""Debate and consultancy: a judge hears both sides of two answers."""

from statistics import fmean

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.prompts.debate import ARGUE, DECIDE, belief, hidden, transcript


async def debate(
    problem: Problem, run: Run, *, n: int = 4, turns: int = 1, consultancy: bool = False, blind: bool = False
) -> Candidate:
    """Let the majority's answer and the first other one be argued for, and choose the one that a judge believes.

    Kenton et al. (2024), arXiv:2407.04622. Differences from the paper: one model debates and judges; each answer is
    defended first once; the two answers are the run's own, of which none need be right.

    Args: blind: whether the judge does not see the numbers of the problem.
    """
    run.fallback = majority
    found = await run.generate(n=n)
    top = run.pick()
    rival = next((c for c in found if c.answer not in (None, top.answer)), top)

    async def right(a: Candidate, b: Candidate) -> float | None:
        """P(the majority is right) of a judge to whom `a` is shown as the answer A."""
        said = []
        for name, answer in (("Alice", a.answer), ("Bob", b.answer))[: 2 - consultancy] * turns:
            prompt = ARGUE.format(problem=problem.prompt, name=name, answer=answer, transcript=transcript(said))
            (speech,) = await run.ask(prompt)
            said.append((name, answer, speech.text))
        shown = hidden(problem.prompt) if blind else problem.prompt
        prompt = DECIDE.format(problem=shown, a=a.answer, b=b.answer, transcript=transcript(said))
        (verdict,) = await run.ask(prompt, top_logprobs=10)
        p = belief(verdict)
        return p if p is None or a is top else 1 - p

    beliefs = [] if rival is top else await run.gather(right(top, rival), right(rival, top))
    return rival if fmean([p for p in beliefs if p is not None] or [1.0]) < 0.5 else top


def rehearse(request, random):
    if "Verdict: A or B" in request.messages[-1].content:
        return random.choice(("They differ in the last step.\nVerdict: A", "Verdict: B", "Neither."))
