"""CodeMonkeys: programs and tests that are written, run and mended; the program that passes most tests answers."""

from tts import Candidate, Problem, Run
from tts.toolkit.prompts.code import TESTS, program_in, repair, tests_in

NONE = "it has none"


async def codemonkeys(problem: Problem, run: Run, *, n: int = 3, tries: int = 2, tests: int = 2) -> Candidate:
    """Let n machines write tests, then a program that passes them; run all tests on every program.

    Ehrlich et al. (2025), arXiv:2501.14723. Differences from the paper: one function, not a repository; tests are
    asserts, mended by nobody; the program that passes most of them, and of equals the shortest, is not chosen by a
    further machine.
    """

    async def failure(program: str | None, own: tuple[str, ...]) -> tuple[str, str] | None:
        """The first test that a program does not pass, and the name of the error that it ends with."""
        if program is None:
            return NONE, ""
        done = await run.execute(program, tests=own, timeout_s=5.0)
        if done.ok:
            return None
        test = next((test for test, passed in zip(own, done.passed, strict=False) if not passed), NONE)
        return test, (done.stderr.splitlines() or [""])[-1].partition(":")[0]

    async def machine() -> tuple[tuple[str, ...], Candidate]:
        (written,) = await run.ask(TESTS.format(problem=problem.prompt, n=tests))
        own, prompt = tests_in(written.text) or (), problem.prompt
        for _ in range(tries):
            (edit,) = await run.generate(prompt=prompt, n=1)
            program = program_in(edit.text)
            if (failed := await failure(program, own)) is None:
                break
            prompt = repair(problem.prompt, program or edit.text, *failed)
        return own, edit

    async def votes(edit: Candidate) -> tuple[int, int]:
        program = program_in(edit.text)
        done = await run.execute(program, tests=all_tests, timeout_s=5.0) if program else None
        return sum(passed is True for passed in done.passed) if done else -1, -len(edit.text)

    pairs = await run.gather(*(machine() for _ in range(n)))
    all_tests = list(dict.fromkeys(test for own, _ in pairs for test in own))
    passed = await run.gather(*(votes(edit) for _, edit in pairs))
    return pairs[passed.index(max(passed))][1]


def rehearse(request, random):
    if "Do not write the function" in request.messages[-1].content:
        return random.choice(("```python\nassert solve() == 4\n```", "```python\nassert solve( == 4\n```"))
    return f"```python\ndef solve():\n    return {random.randint(3, 4)}\n```"
