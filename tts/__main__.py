"""`tts`, and `python -m tts`."""

import os
import signal
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Ctrl-C while its modules are imported ends it quietly: nothing has begun."""
    minded = signal.getsignal(signal.SIGINT)
    if minded is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from tts.cli import main as run

    signal.signal(signal.SIGINT, minded)
    run()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
