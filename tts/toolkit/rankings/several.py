"""Several names in one parameter, `judge+genrm(max_tokens=64)`."""

from __future__ import annotations

from tts.core.addresses import split_joined
from tts.errors import InvalidParameter


def joined(text: str) -> list[str]:
    """The names between the plus signs. Raises: InvalidParameter where there is none."""
    found = list(filter(None, map(str.strip, split_joined(text))))
    if not found:
        raise InvalidParameter(f"expected names joined by +, such as judge+genrm, but got {text!r}", value=text)
    return found
