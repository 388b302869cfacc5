"""API keys: their sources, and the characters that a header can hold."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from tts.errors import InvalidParameter

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_OURS = frozenset(("host", "content-type", "content-length", "transfer-encoding", "connection", "accept-encoding"))


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises: InvalidParameter, without the value, for a header that no request can have, or that is the client's."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidParameter(
                f"headers must have names of letters, digits and -, but got {name!r}", name="headers"
            )
        if name.lower() in _OURS:
            raise InvalidParameter(f"headers may not hold {name}, which the client sets itself", name="headers")
        if not isinstance(value, str) or not value.strip() or not all(" " <= c <= "~" for c in value):
            raise InvalidParameter(
                f"headers must have values of visible ASCII characters and blanks, but that of {name} is another",
                name="headers",
            )


def checked_key(given: str | None) -> str | None:
    """The API key that was given, or else that of the environment. Raises: InvalidParameter, without the key."""
    environment = os.environ.get("OPENAI_API_KEY")
    key = given or environment
    return check_key(key, "OPENAI_API_KEY" if key == environment else "the API key") if key else None


def check_key(key: str, source: str) -> str:
    """The key, if a header can hold it. Raises: InvalidParameter, without the key."""
    if not isinstance(key, str):
        raise InvalidParameter(f"{source} must be text, but is of the type {type(key).__name__}", name="api_key")
    at = next((at for at, character in enumerate(key) if not "!" <= character <= "~"), None)
    if at is None:
        return key
    found = key[at]
    kind = "a line break" if found in "\r\n" else "a blank" if found.isspace() else f"U+{ord(found):04X}"
    hint = " Leave out the word Bearer." if key.lower().startswith("bearer ") else ""
    raise InvalidParameter(
        f"{source} holds {kind} (character {at + 1} of {len(key)}), and keys are visible ASCII characters: was it "
        f"copied with something around it?{hint}",
        name="api_key",
    )
