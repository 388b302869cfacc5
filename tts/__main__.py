"""`tts`, and `python -m tts`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # the exit status, whichever of the two signals it was


def main() -> NoReturn:
    """Run the command line. SIGTERM is minded like Ctrl-C. While modules are imported either ends the process quietly:
    nothing has begun. While the process ends neither changes its exit status."""
    ctrl_c, sigterm = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    leave_at_once_when_interrupted()
    from tts.cli import main as run
    from tts.garbage import collect_less_often

    collect_less_often()
    signal.signal(signal.SIGINT, ctrl_c)
    signal.signal(signal.SIGTERM, _like_ctrl_c if sigterm is signal.SIG_DFL else sigterm)
    try:
        run()
    except KeyboardInterrupt:  # while an error was being told of
        sys.exit(INTERRUPTED)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def leave_at_once_when_interrupted() -> None:
    """From here on Ctrl-C and SIGTERM end the process without a word: nothing has begun, or all has ended."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _like_ctrl_c):
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)


def _like_ctrl_c(number: int, frame: FrameType | None) -> None:
    """As whoever minds Ctrl-C at this moment does: Python, or the event loop that runs."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


if __name__ == "__main__":
    main()
