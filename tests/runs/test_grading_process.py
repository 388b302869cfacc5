"""Law 5 in fact: nothing that a plugin can reach while a run goes on holds a reference answer."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tts.errors import BadProblem, InvalidParameter, UnknownName
from tts.runs.folder import JOURNAL
from tts.runs.grading_process import GradingProcess
from tts.runs.problem_files import PROBLEMS, REFERENCES, read_examples
from tts.tasks.example import Example, Task
from tts.tasks.sources import TaskSource
from tts.tasks.verdict import Verdict
from tts.testing.engine import FakeEngine
from tts.types import Problem
from tts.workers.killable_processes import Workers

SECRET = "868306514"  # in no prompt, so that whoever has it has the reference

THIEF = """
import gc, glob, os, sys
from tts.types import Score

HERE = os.path.dirname(__file__)
SECRET = "868306" + "514"

def holds(value, depth=2):
    if isinstance(value, (str, bytes)):
        return SECRET in str(value)
    if isinstance(value, dict):
        inner = [*value.values()]
    elif isinstance(value, (list, tuple, set)):
        inner = [*value]
    else:
        names = getattr(type(value), "__struct_fields__", ())
        inner = [getattr(value, name, None) for name in names] if isinstance(names, tuple) else []
    return depth > 0 and any(holds(one, depth - 1) for one in inner)

def files():
    found = []
    for pattern in (HERE + "/run/**", "/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline"):
        for path in glob.glob(pattern, recursive=True):
            try:
                with open(path, "rb") as file:
                    found += [path] if SECRET.encode() in file.read() else []
            except OSError:
                pass
    return found

def note(where, found):
    with open(HERE + "/found.txt", "a") as log:
        print(where, found, file=log)

class Looks:
    kind, candidate_logprobs, in_worker = "probability", 0, True
    def request(self, problem, candidate): return None
    def read(self, completion): ...
    def score(self, problem, candidate):
        note("verifier", files() + [name for name, value in os.environ.items() if "open-sesame" in value])
        return Score(1.0, "looks")

async def thief(problem, run, *, verifier: str = "thief.py:Looks"):
    candidates = await run.generate()
    if candidates[0].completion.model != "synthetic":  # the rehearsal's
        objects = [o for o in gc.get_objects() if o is not globals()]
        note("memory", [type(o).__name__ for o in objects if holds(o)])
        frame, held = sys._getframe(1), []
        while frame:
            held += [name for name, value in frame.f_locals.items() if holds(value)]
            frame = frame.f_back
        note("frames", held)
        note("files", files())
    await run.verify(candidates, verifier)
    return candidates[0]
"""


def opened(
    given: TaskSource | Task | Path, *answers: tuple[str, str | None]
) -> tuple[GradingProcess, dict[Any, Verdict]]:
    """The process, closed again, and its verdicts on pairs of problem and answer."""
    found: dict[Any, Verdict] = {}

    async def main() -> GradingProcess:
        async with GradingProcess(given) as task:
            task.on_verdict = lambda problem, answer, verdict: found.setdefault((problem, answer), verdict)
            for problem_id, answer in answers:
                verdict = task.begin(problem_id, answer)
                if verdict is not None:
                    found[problem_id, answer] = verdict
            await task.settle()
        return task

    return asyncio.run(main()), found


def test_neither_memory_nor_frames_nor_files_nor_workers_hold_a_reference(tmp_path: Path) -> None:
    (tmp_path / "thief.py").write_text(THIEF)
    (tmp_path / "asked.jsonl").write_text(f'{{"question": "Which number?", "answer": "{SECRET}"}}\n')
    command = [sys.executable, "-m", "tts", "sweep", "asked.jsonl", "-s", "thief.py:thief", "-o", "run", "--no-report"]
    with FakeEngine() as engine:
        for session in (1, 2):  # the second one in a folder that an earlier one has left
            ran = subprocess.run(
                [*command, "--base-url", engine.base_url],
                cwd=tmp_path,
                env={**os.environ, "OPENAI_API_KEY": "sk-open-sesame", "ANY_TOKEN": "open-sesame"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            told = set((tmp_path / "found.txt").read_text().splitlines())
            assert told == {"memory []", "frames []", "files []", "verifier []"}, session
            assert SECRET in (tmp_path / "run" / REFERENCES).read_text()
            (tmp_path / "run" / JOURNAL).unlink()  # so that the strategy is run again


def test_pairs_are_graded_once_each_and_odd_answers_are_no_verdict() -> None:
    task, found = opened(
        Task("x", (Example(Problem("p", "?"), "0.5"), Example(Problem("q", "?"))), "exact"),
        *[("p", "1/2"), ("p", "2"), ("p", None), ("p", 7), ("q", "1"), ("p", "half \ud83d")],  # type: ignore[list-item]
    )
    correct = {pair: verdict.correct for pair, verdict in found.items()}
    assert correct == {
        **{("p", "1/2"): True, ("p", "2"): False, ("p", None): False, ("p", 7): None},
        **{("q", "1"): None, ("p", "half \ud83d"): False},
    }
    assert "not" not in (found["q", "1"].error or "") and "is text or None" in (found["p", 7].error or "")
    assert [p.id for p in task.problems] == ["p", "q"]


def test_errors_of_loading_are_those_of_loading_here() -> None:
    with pytest.raises(UnknownName, match="parameter of arithmetic 'sise'"):
        opened(TaskSource("arithmetic?sise=3"))
    with pytest.raises(BadProblem, match=r"the reference answer '\\\\text\{' of problem 'p' \(line 3\)"):
        opened(Task("x", (Example(Problem("p", "?"), r"\text{", 3),), "math"))


def test_what_was_hidden_is_put_back_unless_something_is_kept(tmp_path: Path) -> None:
    source = TaskSource("arithmetic?size=2")
    (tmp_path / REFERENCES).write_bytes(b"earlier")

    async def main(keep: bool) -> list[bool]:
        async with GradingProcess(source) as task:
            await task.hide(tmp_path)
            there = [(tmp_path / REFERENCES).exists()]
            if keep:
                await task.keep(tmp_path)
            return [*there, (tmp_path / REFERENCES).exists()]

    assert asyncio.run(main(keep=False)) == [False, False]
    assert (tmp_path / REFERENCES).read_bytes() == b"earlier"
    assert asyncio.run(main(keep=True)) == [False, False]
    assert read_examples(tmp_path) == source.load()


def test_a_task_that_comes_in_many_parts_is_whole() -> None:
    uvloop = pytest.importorskip("uvloop")
    examples = tuple(Example(Problem(f"p{i}", "x" * 100_000), "1") for i in range(200))

    async def main() -> int:
        async with GradingProcess(Task("long", examples, "exact")) as task:
            return len(task.problems)

    assert uvloop.run(main()) == len(examples)


def test_no_function_of_a_plugin_loads_a_task() -> None:
    with Workers(1) as workers, pytest.raises(InvalidParameter, match="may not load a task"):
        workers.call_sync(
            "builtins:eval",
            ("__import__('tts.tasks.sources').tasks.sources.load('arithmetic?size=2')",),
            timeout_s=60.0,
        )


def test_a_grading_process_that_is_killed_leaves_answers_without_a_verdict() -> None:
    async def main() -> Verdict | None:
        async with GradingProcess(TaskSource("arithmetic?size=1")) as task:
            task._popen.kill()
            task.begin("sum-0", "1")  # before or after this process hears of its end
            await task.settle()
            return task.begin("sum-0", "1")

    verdict = asyncio.run(main())
    assert verdict is not None and verdict.correct is None
    assert "the grading process ended before the run" in (verdict.error or "")


@pytest.mark.skipif(sys.platform != "linux", reason="the guarantee is Linux's")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any process")
def test_the_memory_of_the_grading_process_cannot_be_read() -> None:
    async def main() -> None:
        async with GradingProcess(TaskSource("arithmetic?size=1")) as task:
            with pytest.raises(PermissionError):
                os.open(f"/proc/{task._popen.pid}/mem", os.O_RDONLY)

    asyncio.run(main())


def test_a_driver_that_is_killed_leaves_the_references_in_its_folder(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from tts.runs.grading_process import GradingProcess\nfrom tts.tasks.sources import TaskSource\n"
        "async def main():\n"
        "    async with GradingProcess(TaskSource('arithmetic?size=2')) as task:\n"
        "        await task.keep(Path(sys.argv[1]))\n"
        "        print(task._popen.pid, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    grading = int(driver.stdout.readline())
    assert (tmp_path / PROBLEMS).is_file() and not (tmp_path / REFERENCES).exists()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    while Path(f"/proc/{grading}").exists() and Path(f"/proc/{grading}/cmdline").read_bytes():
        time.sleep(0.01)
    assert all(example.reference for example in read_examples(tmp_path).examples)
