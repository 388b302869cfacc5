"""What is carried out for a strategy besides samples: questions to models (`Run.ask`) and numbers of servers that do
not generate (`Run.measure`), pure functions (`Run.call`) and programs (`Run.execute`) by worker processes, sleep, reads
and additions of the run's memory by the scheduler, counts of tokens by the tokenizers of servers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from tts.checks import as_text, number, require, shown
from tts.core.actions import PAGES, Add, Call, Count, Counted, End, Recall, Request, Returned, Sleep
from tts.core.addresses import beside, check_address, knows_references, portable
from tts.core.memory import MOST_ASKED
from tts.core.trials.blocks import request_of
from tts.core.trials.endings import error_of
from tts.errors import CallFailed, InvalidParameter, UsageError
from tts.types import Completion, Executed, TokenCount, Turns

if TYPE_CHECKING:
    from tts.core.trials.context import Run

T = TypeVar("T")
EXECUTE = "tts.workers.programs:executed"
MOST_PROGRAM_S = 600.0


async def ask(
    helper: Run, request: Request, n: int | None, schema: Mapping[str, Any] | None, logprobs: bool
) -> list[Completion]:
    """See `Run.ask`; `helper` is the run in the scope of what only helps to decide."""
    if logprobs:
        request = msgspec.structs.replace(request, group=1)
    if schema is None:
        return [candidate.completion for candidate in await helper._sampled(request, n)]
    from tts.core.trials.schemas import check_schema, meeting  # 40 ms to import, which few strategies need

    check_schema(schema)
    request = msgspec.structs.replace(request, schema=schema)
    return await meeting(helper, request, schema, [c.completion for c in await helper._sampled(request, n)])


async def measured(
    run: Run, prompt: Turns, page: str, model: str | None, sampling: Mapping[str, Any]
) -> list[list[float | None]]:
    """See `Run.measure`."""
    require(page in PAGES, "page", f"one of {', '.join(PAGES)}", page)
    request = request_of(run, prompt, None, None, {**sampling, "temperature": 0.0, "max_tokens": 1}, model)
    (reply,) = await run._sampled(msgspec.structs.replace(request, measure=page), 1)
    try:
        return msgspec.json.decode(reply.completion.text, type=list[list[float | None]])
    except msgspec.DecodeError:
        said = f"{model or 'the model'} was asked for numbers of /{page}, but replied {shown(reply.completion.text)}"
        raise CallFailed(f"{said}: `tts doctor` shows which of these pages a server has") from None


async def sleep(run: Run, seconds: float) -> None:
    """See `Run.sleep`."""
    if not 0 <= seconds < math.inf:
        raise InvalidParameter(f"sleep must be at least 0 seconds, but got {seconds!r}", seconds=seconds)
    await run._end_of(Sleep(run._trial._next_id(), run.now_s + seconds))


async def call(run: Run, function: Callable[..., T] | str, args: tuple[Any, ...], timeout_s: float) -> T:
    """See `Run.call`."""
    name = addressed(run, function)
    as_sent(f"the arguments of {name}", args)
    event = await run._end_of(Call(run._trial._next_id(), name, args, timeout_s))
    if isinstance(event, Returned):
        return cast(T, event.value)
    raise error_of(event)


def addressed(run: Run, function: Callable[..., Any] | str) -> str:
    """The address of a function or a class, by which a worker process finds it. Raises: InvalidParameter for one that
    no worker could import, or that knows reference answers."""
    if isinstance(function, str):
        name = beside(run._owner(), function)
        where, _, named = name.rpartition(":")
        form = "module:name, path/file.py:name, or :name in the strategy's own file"
        require(bool(where and named), "what a worker runs", form, function)
    else:
        name = portable(run._owner(), function_of(run._trial._strategy), check_address(function))
    if knows_references(name):
        raise InvalidParameter(f"{name} knows the reference answers: no strategy may call it", function=name)
    return name


def as_sent(named: str, value: T) -> T:
    """The value as it is in a worker process and in a journal. Raises: InvalidParameter for one that is not
    JSON-like."""
    try:
        return cast(T, msgspec.json.decode(msgspec.json.encode(value), type=tuple if type(value) is tuple else Any))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParameter(f"{named} must be JSON-like: {error}", name="args") from error


def function_of(strategy: Any) -> Any:
    """The function of a strategy, which may be a functools.partial."""
    return getattr(strategy, "func", strategy)


async def remembered(run: Run, action: Recall | Add) -> End:
    """The answer of the run's memory. Raises: UsageError for a trial that asks without end."""
    trial = run._trial
    trial.remembered += 1
    if trial.remembered > MOST_ASKED:
        raise UsageError(
            f"{trial.id} has read and added to the run's memory {MOST_ASKED:,} times: a strategy that waits for other "
            f"trials must let time pass (run.sleep), and end by itself"
        )
    return await run._end_of(action)


async def execute(
    run: Run, program: str, stdin: str, tests: Sequence[str | tuple[str, str]], timeout_s: float
) -> Executed:
    """See `Run.execute`."""
    if not run._trial.unsafe_execute:
        raise UsageError(
            f"{run._trial.spec.name} executes programs that a model wrote, and there is no sandbox around them: they "
            f"can read and change whatever you can. Where nothing is to be lost, allow that with --unsafe-execute "
            f"(unsafe_execute=True)",
            strategy=run._trial.spec.name,
        )
    require(
        0 < number("timeout_s", timeout_s) <= MOST_PROGRAM_S,
        "timeout_s",
        f"above 0 and at most {MOST_PROGRAM_S:g} s",
        timeout_s,
    )
    require(not isinstance(tests, str), "tests", "a list of tests", tests)
    for test in tests:
        pair = isinstance(test, tuple | list) and len(test) == 2 and all(isinstance(text, str) for text in test)
        require(pair or isinstance(test, str), "a test", "code, or a pair of an input and the output expected", test)
    whole_s = timeout_s * max(1, len(tests))
    given = (as_text("program", program), as_text("stdin", stdin), [*tests], timeout_s)
    return msgspec.convert(await call(run, EXECUTE, given, whole_s), Executed)


async def count(run: Run, prompt: Request, *, alone: bool = False) -> TokenCount:
    """See `Run.count_prompt`; `alone`: `Run.count_tokens`. Raises: the error of a server that refuses to answer."""
    action = Count(run._trial._next_id(), prompt, alone)
    event = await run._end_of(action)
    if not isinstance(event, Counted):
        raise error_of(event)
    tokens = action.most if event.tokens is None else event.tokens
    context = None if alone else run._trial._costs.context_tokens(prompt)
    room = None if context is None else max(0, context - tokens)
    return TokenCount(tokens, event.tokens is not None, room)
