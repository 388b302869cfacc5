"""The worker's side of `tts.workers.killable_processes`: reads orders, runs functions and replies, until the pipe
closes."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from tts.errors import CallFailed, TTSError
from tts.types import ErrorInfo, Value

PRIVATE = "TTS_PRIVATE"  # the environment variable: `no` where functions of strategies and verifiers run, else `yes`
LENGTH = struct.Struct(">Q")  # of an order or a reply, in bytes, before it


class Order(Value, frozen=True):
    function: str
    args: tuple[Any, ...]
    timeout_s: float
    file: str | None = None  # of the function's module, if it has been imported here


class Reply(Value, frozen=True):
    value: Any = None
    error: ErrorInfo | None = None


def serve() -> None:
    """The worker's side: read an order, import its function, report that, run it, reply; until the pipe closes."""
    memory_bytes, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    if os.environ[PRIVATE] == "yes":
        hide_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory(memory_bytes)
    # The function's output must not end up between two frames, and its input must not be an order.
    orders, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    while len(header := orders.read(LENGTH.size)) == LENGTH.size:
        order = msgspec.json.decode(orders.read(*LENGTH.unpack(header)), type=Order)
        reply = _carry_out(order, lambda: write_frame(replies.fileno(), b""))
        write_frame(replies.fileno(), reply)


def _carry_out(order: Order, started: Callable[[], None]) -> bytes:
    ready = False
    try:
        function = resolved(order.function, order.file)
        started()
        ready = True
        _limit_cpu(order.timeout_s)
        return msgspec.json.encode(Reply(function(*order.args)))
    except TTSError as error:
        info = ErrorInfo.of(error)
    except BaseException as error:  # SystemExit and a library's own BaseExceptions are this call's failures too
        message = f"{order.function} raised {type(error).__name__}: {error}"[:2_000]
        info = ErrorInfo("CallFailed", message, {"function": order.function, "error": type(error).__name__})
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if not ready:
        started()
    return msgspec.json.encode(Reply(error=info))


def resolved(name: str, file: str | None) -> Callable[..., Any]:
    """The function or class at this address; `file` is that of its module in the parent, if it has been imported there.
    Raises: InvalidParameter or UnknownName where it cannot be imported; CallFailed for what is no function."""
    from tts.plugins.loading import by_address

    module, _, qualname = name.rpartition(":")
    if file is not None and not _importable(module):
        name = f"{file}:{qualname}"  # a module that only the parent finds, as pytest's may be
    found: Callable[..., Any] = by_address(name)
    if not callable(found):
        raise CallFailed(f"{name} is not a function", function=name)
    return found


def _importable(module: str) -> bool:
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def write_frame(fd: int, data: bytes) -> None:
    """Write a length and so many bytes."""
    left = memoryview(LENGTH.pack(len(data)) + data)
    while left:
        left = left[os.write(fd, left) :]


def hide_memory() -> None:
    """Let no other process of this user read this one's memory, environment or files (Linux; root still can)."""
    if sys.platform == "linux":
        import ctypes

        set_dumpable = 4  # PR_SET_DUMPABLE, linux/prctl.h
        ctypes.CDLL(None, use_errno=True).prctl(set_dumpable, 0)


def die_with(parent: int) -> None:
    """Linux kills this process with its parent, even inside a computation. Elsewhere the closed pipe ends it between
    calls, and within a call the limit of CPU time, which needs no parent."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, linux/prctl.h
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that
        os._exit(1)


def _limit_memory(memory_bytes: int) -> None:
    import resource

    with contextlib.suppress(ValueError, OSError, AttributeError):  # macOS refuses
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_cpu(timeout_s: float) -> None:
    """Have the kernel end this process once it has used so much more CPU time, whatever it is computing then."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process; the function called before may have caught it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    signal.setitimer(signal.ITIMER_PROF, timeout_s)
