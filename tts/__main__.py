"""`tts`, and `python -m tts`."""

import signal
import sys
from typing import NoReturn

from tts.process.interrupts import INTERRUPTED, leave_at_once_when_interrupted, like_ctrl_c


def main() -> NoReturn:
    """Run the command line. SIGTERM is handled like Ctrl-C. While modules are imported, before any work, either ends
    the process quietly. While the process ends, neither changes its exit status."""
    ctrl_c, sigterm = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    leave_at_once_when_interrupted()
    from tts.cli.main import main as run
    from tts.process.garbage import collect_less_often

    collect_less_often()
    signal.signal(signal.SIGINT, ctrl_c)
    signal.signal(signal.SIGTERM, like_ctrl_c if sigterm is signal.SIG_DFL else sigterm)
    try:
        run()
    except KeyboardInterrupt:  # while an error was being reported
        sys.exit(INTERRUPTED)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
