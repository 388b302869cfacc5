"""Atom of Thoughts: a question contracted to a simpler one, in front of any strategy."""

from tts import Candidate, Problem, Run

FIELDS = {"question": {"type": "string"}, "answer": {"type": "string"}, "depends": {"type": "boolean"}}
PARTS = {"type": "array", "items": {"type": "object", "properties": FIELDS, "required": [*FIELDS]}}
DECOMPOSE = "{q}\n\nSolution:\n{solution}\n\nList its sub-questions, in JSON: question, answer, depends (on others)."
CONTRACT = "Question: {q}\n\nKnown:\n{known}\n\nOpen:\n{open}\n\nWrite one simpler question, taking the known as given."
SYNTHESISE = "{q}\n\nSolutions:\n\n{solutions}\n\nSolve the problem. End in the form that it asks for."


async def atom(problem: Problem, run: Run, *, depth: int = 1, strategy: str = "single") -> Candidate:
    """Solve the question, and the simpler ones that it is contracted to; choose what their synthesis agrees with.

    Teng et al. (2025), arXiv:2502.12018. Differences from the paper: any strategy solves; the score of a solution is
    its agreement with the synthesis; contraction goes on, as the paper says and its code does not.
    """
    direct = await run.solve(strategy)
    run.fallback = lambda *_: direct
    found = [direct, await run.solve(strategy, f"{problem.prompt}\n\nSolve it in several steps.")]
    question = problem.prompt
    for _ in range(depth):
        prompt = DECOMPOSE.format(q=question, solution=found[-1].text)
        (parts,) = await run.ask(prompt, schema=PARTS)
        known = "\n".join(f"{part['question']} {part['answer']}" for part in parts.parsed if not part["depends"])
        rest = "\n".join(part["question"] for part in parts.parsed if part["depends"])
        (simpler,) = await run.ask(CONTRACT.format(q=question, known=known, open=rest))
        question = simpler.text
        found.append(await run.solve(strategy, question))
    solutions = "\n\n".join(c.text for c in found)
    whole = await run.solve(strategy, SYNTHESISE.format(q=problem.prompt, solutions=solutions))
    return next((c for c in found if c.answer == whole.answer), direct)


def rehearse(request, random):
    if request.schema:
        return random.choice(('[{"question": "1 + 1?", "answer": "2", "depends": false}]', "1 + 1, then 2 + 2"))
