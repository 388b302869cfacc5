"""CodeMonkeys: programs and tests that are written, run and mended; the program that passes most tests answers."""

import re

from tts import Candidate, Problem, Run
from tts.errors import CallCrashed, CallFailed, CallTimedOut

TEST = "{q}\n\nWrite a test of it: Python asserts that call `solve`. Reply with one ```python block."
EDIT = "{q}\n\nWrite the Python function `solve`. Reply with one ```python block."
MEND = "{ask}\n\nYour last version:\n{last}\n\nIt said:\n{said}\nMend it."


def execute(*programs: str) -> str:
    """Run programs one after the other in one scope, as a worker does: a process with a time limit, and no sandbox."""
    scope = {}
    for program in programs:
        exec(program, scope)
    return ""


async def codemonkeys(problem: Problem, run: Run, *, n: int = 3, tries: int = 2) -> Candidate:
    """Let n machines write a test, then a program that passes it; run every test on every program.

    Ehrlich et al. (2025), arXiv:2501.14723. Differences from the paper: one function, not a repository; the program
    with the most votes, and of equals the shortest, is not chosen by a further machine.
    """

    def program(text: str) -> str:
        return (re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL) or [""])[-1]

    async def complaint(*programs: str) -> str:
        try:
            return await run.call(execute, *programs, timeout_s=5.0)
        except (CallFailed, CallTimedOut, CallCrashed) as error:
            return error.message

    async def write(send, ask, check):
        prompt = ask = ask.format(q=problem.prompt)
        for _ in range(tries):
            (version,) = await send(prompt)
            if not (said := await check(program(version.text))):
                break
            prompt = MEND.format(ask=ask, last=version.text, said=said)
        return version

    async def machine() -> tuple[str, Candidate]:
        test = await write(run.ask, TEST, lambda code: complaint(f"compile({code!r}, 'test', 'exec')"))
        return program(test.text), await write(run.generate, EDIT, lambda code: complaint(code, program(test.text)))

    async def votes(edit: Candidate) -> tuple[int, int]:
        said = await run.gather(*(complaint(program(edit.text), test) for test, _ in pairs))
        return said.count(""), -len(edit.text)

    pairs = await run.gather(*(machine() for _ in range(n)))
    passed = await run.gather(*(votes(edit) for _, edit in pairs))
    return pairs[passed.index(max(passed))][1]


def rehearse(request, random):
    if "asserts" in request.messages[-1].content:
        return random.choice(("```python\nassert solve() == 4\n```", "```python\nassert solve( == 4\n```"))
    return f"```python\ndef solve():\n    return {random.randint(3, 4)}\n```"
