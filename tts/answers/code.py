"""The code of a reply, between the fences of Markdown."""

from __future__ import annotations

import re
from textwrap import dedent

_FENCE = re.compile(r"[ \t]*(`{3,})[ \t]*(\w*)[ \t]*")
_LANGUAGES = ("", "python", "py", "python3")


def last_block(text: str) -> str | None:
    """The last closed block of Python, as written, without spaces at the ends of lines; None if there is none.

    A block begins with a line of three or more backticks and no language, or Python's name; another one's content is
    passed over.
    """
    found, opened, language, lines = None, None, "", list[str]()
    for line in text.splitlines():
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence:
                opened, language, lines = fence[1], fence[2].lower(), []
        elif fence and len(fence[1]) >= len(opened) and not fence[2]:
            if language in _LANGUAGES:
                found = dedent("\n".join(line.rstrip() for line in lines)).strip("\n") or found
            opened = None
        else:
            lines.append(line)
    return found
