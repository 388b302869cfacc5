"""The process that alone holds a task's reference answers, and grades.

Strategies, selectors, allocators and verifiers run in the driver and in its worker processes. Neither has a reference:
a task that is named by its source is loaded here, in a process of its own, and only its problems go to the driver; of
examples that a program hands in, the driver sends the references here and keeps none. While the run goes on, no file of
its folder holds a reference either: this process takes `references.jsonl` and `outcomes.jsonl` of an earlier session
away, and writes the references when the driver is done with it, or gone. Its memory, and that of its workers, cannot be
read by other processes of the same user (Linux: not dumpable; root can).

Not kept from code of the same user on the same machine are the file that the task was loaded from, a
generator whose parameters are known (`arithmetic?size=50` can be computed anew), the objects of a program that made its
examples itself, and the verdicts on answers that were decided on, which the driver shows as the run goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from tts.errors import CallCrashed, TTSError
from tts.models.options import Target
from tts.runs.problem_files import (
    REFERENCES,
    VERDICTS,
    put_back,
    read_examples,
    read_references,
    references_away,
    taken_away,
    write_problems,
    write_references,
)
from tts.runs.verdict_files import RecordedGrader, read_verdicts, write_verdicts
from tts.tasks.example import Example, Task, problem_digests, problem_fields, problems_digest, references_digest
from tts.tasks.graders import (
    ExactGrader,
    Grader,
    Grading,
    NoReferences,
    grader_named,
    is_asked_again,
    not_an_answer,
)
from tts.tasks.llm_grader import LlmGrader, is_llm, opened
from tts.tasks.mini_code.grader import MINI_CODE, UNSAFE
from tts.tasks.own_grader import OwnGrader
from tts.tasks.sources import TaskSource
from tts.tasks.verdict import Verdict
from tts.types import ErrorInfo, Problem, Usage
from tts.workers.child import hide_memory
from tts.workers.killable_processes import Workers, environment

OnVerdict = Callable[[str, str | None, Verdict], None]
_MAIN = "from tts.runs.grading_process import serve; serve()"
_LAST = object()  # the last message
_END_LIMIT_S = 30.0  # for ending workers and writing the references, on a busy machine


class _Load(NamedTuple):
    """The task: its source, all of it, or the run folder that holds it."""

    given: TaskSource | Task | Path
    limit_s: float | None
    target: Target | None
    unsafe: bool


class _Hide(NamedTuple):
    """Take the references and verdicts of an earlier session out of this folder; put them back if no new ones are
    kept."""

    folder: Path


class _Keep(NamedTuple):
    """Write the problems into this folder now, the references when the driver is done."""

    folder: Path


class _Compare(NamedTuple):
    """Reply whether the run of a journal has these references: the digests are those of its header."""

    problems_digest: str
    problem_digests: str
    references_digest: str


class _Grade(NamedTuple):
    problem_id: str
    answer: str | None


class _Settle(NamedTuple):
    """Wait for all gradings, then repeat those that failed."""


class _Close(NamedTuple):
    """End: the driver is done."""


class _Loaded(NamedTuple):
    name: str
    grader: str
    problems: tuple[Problem, ...]
    digest: str
    digests: str
    prompts: Mapping[str, str | None]


class _Graded(NamedTuple):
    problem_id: str
    answer: str | None
    verdict: Verdict


class GradingProcess:
    """A task whose references are in another process: `async with GradingProcess(given) as task`.

    Args:
        given: the source of a task, a task, or a run folder that holds one.
        target: resolved, with the one role that grades, for the grader `llm`.
        unsafe: whether programs that a model wrote may be executed without a sandbox, to grade them.

    Attributes:
        name, grader: of the task; problems: of it, in order; digest: of the problems, without references, because
            plugins can read it; digests: of each one alone (`problem_digests`); prompts: how they are put to a model.
        limit_s: CPU time for one answer; None: the grader's own.
        on_verdict: called with each pair's verdict that `begin` did not have.

    Raises, on entering: as `tts.tasks.sources.load` and `grader_named`; BadProblem for a reference that no answer could
        equal; CallCrashed if the process ends.
    """

    limit_s: float | None = None

    def __init__(self, given: TaskSource | Task | Path, target: Target | None = None, *, unsafe: bool = False) -> None:
        self._target = target
        self._unsafe = unsafe
        self.on_verdict: OnVerdict = lambda *verdict: None
        self._given: TaskSource | Task | Path | None = given
        self._verdicts: dict[tuple[str, str | None], Verdict] = {}
        self._asked: set[tuple[str, str | None]] = set()
        self._reply: asyncio.Future[Any] | None = None
        self._dead: CallCrashed | None = None

    async def __aenter__(self) -> Self:
        given, self._given = self._given, None
        assert given is not None, "it is entered once"
        if isinstance(given, TaskSource) and given.source == "-":
            given = given.load()  # standard input is this process's
        self._start()
        try:
            loaded: _Loaded = await self._ask(_Load(given, self.limit_s, self._target, self._unsafe))
        except BaseException:
            await self._stop()
            raise
        self.name, self.grader, self.problems, self.digest, self.digests, self.prompts = loaded
        if isinstance(given, Task):  # the very objects, because their facts may hold values that JSON lacks
            self.problems = tuple(example.problem for example in given.examples)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._dead is None:
                await self._ask(_Close())
        except TTSError:
            if error is None:  # else that error is raised
                raise
        finally:
            await self._stop()

    async def hide(self, folder: Path) -> None:
        """Have the references and verdicts of an earlier session in this folder held elsewhere, until `keep` replaces
        them, or this ends. Raises: RunError."""
        await self._ask(_Hide(folder))

    async def keep(self, folder: Path) -> None:
        """Have the problems written into a run's folder, whose journal is open, and the references at the end. Raises:
        StorageFull, RunError."""
        await self._ask(_Keep(folder))

    async def agrees(self, problems_digest: str, problem_digests: str, references_digest: str) -> bool:
        """Whether the run with these digests in its header has these references, as far as that is known: by digests in
        the journals of older programs, else by the references that `hide` found. Raises: BadProblem."""
        same: bool = await self._ask(_Compare(problems_digest, problem_digests, references_digest))
        return same

    def begin(self, problem_id: str, answer: str | None) -> Verdict | None:
        """The verdict, if it is known already; otherwise `on_verdict` is called with it later."""
        if (unusable := not_an_answer(answer)) is not None:
            return unusable
        pair = problem_id, answer
        if pair not in self._verdicts and pair not in self._asked:
            if self._dead is not None:
                return Verdict(error=f"{type(self._dead).__name__}: {self._dead.message}")
            self._asked.add(pair)
            self._send(_Grade(*pair))
        return self._verdicts.get(pair)

    @property
    def usages(self) -> list[Usage]:
        """Usage of all requests to a model that the verdicts took, in earlier sessions, too."""
        return [usage for verdict in self._verdicts.values() for usage in verdict.usages]

    async def settle(self) -> None:
        """Wait for all gradings, then have those repeated that failed, one after the other."""
        if self._dead is None:
            with contextlib.suppress(CallCrashed):  # pairs without a verdict then have that error
                await self._ask(_Settle())

    # --- the process

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(private=True),
                process_group=0,  # Ctrl-C at the terminal goes to the driver alone
            )
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._receive)
        # uvloop undoes this: then a message that comes in parts would look like the end of the process.
        os.set_blocking(self._connection.fileno(), True)

    async def _stop(self) -> None:
        if not self._connection.closed:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
        try:
            await asyncio.to_thread(self._popen.wait, _END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    async def _ask(self, order: _Load | _Hide | _Keep | _Compare | _Settle | _Close) -> Any:
        """Send an order and wait for its reply, one at a time."""
        if self._dead is not None:
            raise self._dead
        self._reply = asyncio.get_running_loop().create_future()
        self._send(order)
        reply = await self._reply
        if isinstance(reply, ErrorInfo):
            raise reply.rebuild()
        return reply

    def _send(self, order: Any) -> None:
        try:
            self._connection.send(order)
        except OSError:
            self._ended()

    def _receive(self) -> None:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._ended()
            return
        if isinstance(message, _Graded):
            self._record(*message)
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(message)

    def _record(self, problem_id: str, answer: str | None, verdict: Verdict) -> None:
        pair = problem_id, answer
        self._asked.discard(pair)
        self._verdicts[pair] = verdict
        self.on_verdict(problem_id, answer, verdict)

    def _ended(self) -> None:
        """Turn all pending verdicts into errors, because the process has ended without an order."""
        if self._dead is not None:
            return
        self._dead = CallCrashed(
            "the grading process ended before the run; answers that it had not graded have no verdict"
        )
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._connection.close()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(self._dead)
        for pair in sorted(self._asked, key=str):
            self._record(*pair, Verdict(error=f"CallCrashed: {self._dead.message}"))


# --- the other end of the pipe


def serve() -> None:
    """The process's side: carry out orders until the driver says that it is done, or is gone."""
    hide_memory()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # it ends with the driver
        signal.signal(number, signal.SIG_IGN)
    server = _Server(Connection(int(sys.argv[1])), int(sys.argv[2]))
    asyncio.run(server.run())
    os._exit(0)  # all is written, and the end of an interpreter takes longer than most runs' last answer


class _Server:
    def __init__(self, connection: Connection, driver: int) -> None:
        self._connection = connection
        self._driver = driver
        self._over = asyncio.Event()
        self._workers = Workers(private=True)
        self._grading = Grading(ExactGrader())
        self._examples: dict[str, Example] = {}
        self._task: Task | None = None
        self._folder: Path | None = None
        self._hidden: dict[Path, bytes] = {}
        self._orders: set[asyncio.Task[None]] = set()
        self._stack = contextlib.AsyncExitStack()  # of the connections of a model that grades
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # In a thread of its own, so that this process reads while it writes: else both ends could wait for each other.
        self._speaker = threading.Thread(target=self._speak, daemon=True)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._connection.fileno(), self._receive)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # because a fork of the driver may hold the pipe open
                loop.add_reader(os.pidfd_open(self._driver), self._over.set)
        self._speaker.start()
        await self._over.wait()
        self._end()
        await self._stack.aclose()
        self._out.put(_LAST)
        self._speaker.join()

    def _end(self) -> None:
        reply: Any = None
        try:
            if self._folder is not None and self._task is not None:
                write_references(self._folder, self._task)
                if not is_asked_again(self._task.grader):
                    write_verdicts(self._folder, self._grading.verdicts)
            put_back(self._hidden)
        except Exception as error:
            reply = ErrorInfo.of(error)
        self._out.put(reply)
        self._workers.close()

    def _speak(self) -> None:
        while (message := self._out.get()) is not _LAST:
            try:
                self._connection.send(message)
            except OSError:  # the driver is gone
                return

    def _receive(self) -> None:
        try:
            order = self._connection.recv()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._over.set()
            return
        if isinstance(order, _Grade):
            verdict = self._grading.begin(self._examples[order.problem_id], order.answer)
            if verdict is not None:
                self._say(order.problem_id, order.answer, verdict)
        elif isinstance(order, _Close):
            self._over.set()
        else:
            doing = asyncio.get_running_loop().create_task(self._carry_out(order))
            self._orders.add(doing)
            doing.add_done_callback(self._orders.discard)

    def _say(self, problem_id: str, answer: str | None, verdict: Verdict) -> None:
        self._out.put(_Graded(problem_id, answer, verdict))

    async def _carry_out(self, order: _Load | _Hide | _Keep | _Compare | _Settle) -> None:
        reply: Any = None
        try:
            if isinstance(order, _Load):
                reply = await self._load(order)
            elif isinstance(order, _Hide):
                self._hide(order.folder)
            elif isinstance(order, _Keep):
                self._keep(order.folder)
            elif isinstance(order, _Compare):
                reply = self._agrees(order)
            else:
                await self._grading.settle()
        except Exception as error:
            reply = ErrorInfo.of(error)
        self._out.put(reply)

    def _hide(self, folder: Path) -> None:
        self._hidden = taken_away(folder)
        grader = self._grading.grader
        if isinstance(grader, LlmGrader) and (data := self._hidden.get(folder / VERDICTS)) is not None:
            grader.remember(read_verdicts(folder / VERDICTS, data))  # they were paid for

    async def _load(self, order: _Load) -> _Loaded:
        task = order.given
        if isinstance(task, Path) and references_away(task):
            grader: Grader = NoReferences(str(task))
            task = read_examples(task)
            task = msgspec.structs.replace(task, examples=tuple(_without_reference(e) for e in task.examples))
        elif isinstance(task, Path):
            folder, task = task, read_examples(task)
            asked = is_asked_again(task.grader)
            grader = await self._asked(task, order) if asked else RecordedGrader(task.grader, folder)
        else:
            task = task.load() if isinstance(task, TaskSource) else task
            if order.unsafe and task.grader == MINI_CODE:
                task = msgspec.structs.replace(task, grader=UNSAFE)
            grader = await self._asked(task, order)
        await _check_references(grader, task)
        self._task, self._grading = task, Grading(grader, self._say)
        self._examples = {example.problem.id: example for example in task.examples}
        digest = problems_digest([problem_fields(example.problem) for example in task.examples])
        problems = tuple(example.problem for example in task.examples)
        return _Loaded(task.name, task.grader, problems, digest, problem_digests(task.examples), task.prompts)

    async def _asked(self, task: Task, order: _Load) -> Grader:
        """The task's grader, ready."""
        if is_llm(task.grader) and order.target is not None:
            return await opened(task.grader, order.target, self._stack)
        grader = grader_named(task.grader, self._workers, order.limit_s)
        if isinstance(grader, OwnGrader):
            await grader.check()
        return grader

    def _agrees(self, run: _Compare) -> bool:
        assert self._task is not None
        examples = self._task.examples
        if run.references_digest:
            return references_digest(examples, run.problem_digests) == run.references_digest
        if not run.problem_digests:
            return problems_digest([msgspec.to_builtins(example) for example in examples]) == run.problems_digest
        now = {example.problem.id: example.reference for example in examples}
        before = [read_references(path, data) for path, data in self._hidden.items() if path.name == REFERENCES]
        return all(now.get(id, known) == known for references in before for id, known in references.items())

    def _keep(self, folder: Path) -> None:
        assert self._task is not None
        write_problems(folder, self._task)
        self._folder, self._hidden = folder, {}


def _without_reference(example: Example) -> Example:
    """The example with an empty reference, which `NoReferences` passes over; no grader is asked about an example with
    reference None."""
    return msgspec.structs.replace(example, reference="")


async def _check_references(grader: Grader, task: Task) -> None:
    for example in task.examples:
        if example.reference is not None:
            await grader.check_reference(example.reference, example.problem, example.line)
