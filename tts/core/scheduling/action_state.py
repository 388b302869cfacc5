"""Actions as the scheduler sees them: which have to be granted, and what has come of one so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from tts.core.actions import Generate, Progressed, Verify, Work
from tts.types import Completion, Usage


def needs_grant(action: Work) -> TypeGuard[Generate | Verify]:
    """Whether the action asks a model for something; functions and timers are free."""
    return type(action) is Generate or (type(action) is Verify and action.request is not None)


def so_far(events: Sequence[Progressed]) -> Completion:
    """The cut completion that these pieces make. A try that began anew begins at offset 0 again."""
    text: list[str] = []
    length = 0
    for event in events:
        if event.offset < length:
            text = ["".join(text)[: event.offset]]
        text.append(event.text)
        length = event.offset + len(event.text)
    used = Usage(completion_tokens=events[-1].tokens, approximate=True) if events else Usage()
    return Completion("".join(text), "cancelled", used)
