"""Programs that a strategy executes: their limits, what they leave behind, and who allows them."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tts
import tts.testing
from tts import Candidate, Problem, Run
from tts.core.actions import Call
from tts.errors import UsageError
from tts.testing import ScriptedCluster
from tts.testing.engine import FakeEngine
from tts.types import Executed
from tts.workers.killable_processes import Workers


@pytest.fixture(scope="module")
def workers() -> Any:
    with Workers(1) as found:
        yield found


def executed(workers: Workers, program: str, stdin: str = "", tests: Any = (), timeout_s: float = 5.0) -> Executed:
    """On a machine that may be so busy that a program waits for minutes."""
    args = (program, stdin, [*tests], timeout_s, 500.0)
    found = workers.call_sync("tts.workers.programs:executed", args, timeout_s=30.0)
    return msgspec.convert(found, Executed)


def test_a_program_has_its_input_and_its_output_is_kept(workers: Workers) -> None:
    found = executed(workers, "import sys; print(int(input()) + 1); print('é', file=sys.stderr); sys.exit(3)", "4")
    assert found == Executed(3, "5\n", "é\n")
    assert not found.ok and executed(workers, "pass").ok


def test_each_test_is_a_run_of_its_own_and_the_first_that_fails_is_shown(workers: Workers) -> None:
    program = "def double(x): return 2 * x\nif __name__ == '__main__': print('here')"
    found = executed(
        workers, program, tests=["assert double(2) == 4", "assert double(2) == 5", "assert double(0) == 0"]
    )
    assert found.passed == (True, False, True) and "AssertionError" in found.stderr and not found.ok
    pairs = executed(workers, "print(int(input()) * 2)", tests=[("2", "4"), ("3", "6\n\n")])
    assert pairs.ok and pairs.passed == (True, True)


def test_a_program_that_computes_without_end_is_ended_by_its_cpu_time(workers: Workers) -> None:
    found = executed(workers, "print('begun', flush=True)\nwhile True: pass", tests=["pass"], timeout_s=1.0)
    assert (found.exit_status, found.ended_by, found.passed, found.stdout) == (None, "CPU time", (False,), "begun\n")


def test_a_program_has_neither_this_environment_nor_this_folder_and_leaves_no_process(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    program = "import os; print(os.environ.get('OPENAI_API_KEY')); print(os.getcwd())"
    key, folder = executed(workers, program).stdout.split()
    assert key == "None" and not Path(folder).exists()
    forks = "import os, time\npid = os.fork()\nif not pid: time.sleep(600)\nprint(pid)"
    left = int(executed(workers, forks).stdout)
    assert any(not _runs(left) or time.sleep(0.02) for _ in range(500))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


async def runs_it(problem: Problem, run: Run, *, n: int = 1) -> Candidate:
    """The first sample whose program prints an answer."""
    found = await run.generate(n=n)
    for candidate in found:
        said = await run.execute(candidate.text, timeout_s=2.0)
        if said.ok and said.stdout:
            return run.propose(f"Answer: {said.stdout}", [candidate])
    return found[0]


def test_a_strategy_sees_what_a_program_said_and_the_journal_has_it() -> None:
    outcome = ScriptedCluster([tts.testing.Sample(text="print(6 * 7)")]).run(runs_it)
    assert outcome.result.error is None and outcome.result.answer == "42"
    (call,) = [action for action in outcome.actions if isinstance(action, Call)]
    assert call.args[0] == "print(6 * 7)"


def test_no_program_is_executed_unless_the_run_allows_it_and_that_is_found_before_a_model_is_asked() -> None:
    with FakeEngine() as engine:
        with pytest.raises(UsageError, match=r"no sandbox around them.*--unsafe-execute \(unsafe_execute=True\)"):
            tts.solve("What is 2 + 2?", runs_it, base_url=engine.base_url)
        assert engine.stats().requests == 0
        solved = tts.solve("What is 2 + 2?", runs_it, base_url=engine.base_url, unsafe_execute=True)
        assert solved.error is None and solved.answer is not None
        with tts.Client(base_url=engine.base_url, unsafe_execute=True) as client:
            assert client.solve_sync("What is 2 + 2?", runs_it).answer is not None


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"timeout_s": 0.0}, "timeout_s must be above 0"),
        ({"tests": [7]}, "a test must be code, or a pair"),
        ({"stdin": 7}, "stdin must be text"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_sentence(how: dict[str, Any], says: str) -> None:
    async def wrong(problem: Problem, run: Run) -> Candidate:
        await run.execute("pass", **how)
        raise AssertionError("unreachable")

    error = ScriptedCluster([]).run(wrong).result.error
    assert error is not None and says in error.message
