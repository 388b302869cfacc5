"""`tts`, and `python -m tts`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Ctrl-C while its modules are imported ends it quietly: nothing has begun. Signals while the
    process ends do not change its exit status."""
    minded = signal.getsignal(signal.SIGINT)
    leave_at_once_when_interrupted()
    from tts.cli import main as run

    signal.signal(signal.SIGINT, minded)
    try:
        run()
    except KeyboardInterrupt:  # while an error was being told of
        sys.exit(128 + signal.SIGINT)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def leave_at_once_when_interrupted() -> None:
    """From here on Ctrl-C ends the process without a word: nothing has begun, or all has ended."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
