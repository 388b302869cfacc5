"""Debate and consultancy: a judge hears both sides of two answers."""

from statistics import fmean

from tts import Candidate, Problem, Run
from tts.selectors import majority
from tts.toolkit.labels import probability

ARGUE = "{q}\n\nYou are {me}. Argue that the answer is {mine}, not {other}. Be brief.\n\nSo far:\n{transcript}"
DECIDE = "{q}\n\n{transcript}\n\nWhich answer is right, A: {a} or B: {b}? Reply with one letter."


async def debate(problem: Problem, run: Run, *, n: int = 4, turns: int = 2, consultancy: bool = False) -> Candidate:
    """Let the majority's answer and the first other one be argued for, and choose the one that a judge believes.

    Kenton et al. (2024), arXiv:2407.04622. Differences from the paper: one model debates and judges; each answer is
    defended first once; the two answers are the run's own, of which none need be right.
    """
    run.fallback = majority
    found = await run.generate(n=n)
    top = run.pick()
    rival = next((c for c in found if c.answer not in (None, top.answer)), top)

    async def belief(a: Candidate, b: Candidate) -> float | None:
        """P(the majority is right) of a judge to whom `a` is shown as the answer A."""
        transcript = ""
        for me, mine, other in (("Alice", a, b), ("Bob", b, a))[: 2 - consultancy] * turns:
            facts = {"q": problem.prompt, "me": me, "mine": mine.answer, "other": other.answer}
            (said,) = await run.ask(ARGUE.format(**facts, transcript=transcript), max_tokens=120)
            transcript += f"{me}: {said.text.strip()}\n"
        prompt = DECIDE.format(q=problem.prompt, transcript=transcript, a=a.answer, b=b.answer)
        (verdict,) = await run.ask(prompt, temperature=0.0, max_tokens=2, top_logprobs=10)
        return probability(verdict, *("AB" if a is top else "BA"))

    beliefs = [] if rival is top else await run.gather(belief(top, rival), belief(rival, top))
    return rival if fmean([p for p in beliefs if p is not None] or [1.0]) < 0.5 else top


def rehearse(request, random):
    return random.choice("AB") if "Reply with one letter" in request.messages[-1].content else None
