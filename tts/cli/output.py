"""Lines that several commands print."""

from __future__ import annotations

from typing import Any

from tts.process.streams import echo


def print_json(value: Any) -> None:
    """Print the JSON that a command with `--json` ends with."""
    from tts.api.results import as_json

    echo(as_json(value))


def complain(text: str) -> None:
    """Print a line of an error or a warning to standard error."""
    from tts.process.console import console, say

    say(console(stderr=True), text, 2)
