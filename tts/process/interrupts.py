"""Ctrl-C and SIGTERM in a process that runs the command line."""

import os
import signal
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # the exit status, whichever of the two signals it was


def leave_at_once_when_interrupted() -> None:
    """Have Ctrl-C and SIGTERM end the process silently from here on: no work has begun, or all has ended."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, like_ctrl_c):
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


def like_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Handle a signal like Ctrl-C at this moment: by Python, or by the running event loop."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
