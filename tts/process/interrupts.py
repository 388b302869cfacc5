"""What Ctrl-C and SIGTERM do to a process that runs the command line."""

import os
import signal
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # the exit status, whichever of the two signals it was


def leave_at_once_when_interrupted() -> None:
    """From here on Ctrl-C and SIGTERM end the process without a word: nothing has begun, or all has ended."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, like_ctrl_c):
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


def like_ctrl_c(number: int, frame: FrameType | None) -> None:
    """As whoever minds Ctrl-C at this moment does: Python, or the event loop that runs."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
