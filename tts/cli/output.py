"""Lines that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tts.process.streams import echo

if TYPE_CHECKING:
    from tts.intervals import Interval
    from tts.runs.forecast import Spread


def print_json(value: Any) -> None:
    """Print the JSON that a command with `--json` ends with."""
    from tts.api.results import as_json

    echo(as_json(value))


def complain(text: str) -> None:
    """Print a line of an error or a warning to standard error."""
    from tts.process.console import console, say

    say(console(stderr=True), text, 2)


def points(gain: Interval | Spread | None) -> str:
    """`+1.2 points [-0.3, +2.7]`, of a difference of shares."""
    if gain is None:
        return "not compared"
    between = "" if gain.low is None or gain.high is None else f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{100 * gain.mean:+.1f} points{between}"
