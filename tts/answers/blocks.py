"""The text behind a cue: the rest of its line, or the display mathematics, code, list or table that follows."""

from __future__ import annotations

import re
from typing import NamedTuple

from tts.answers.normalise import has_words, kind, normalise, trimmed_lines

_SPACE = re.compile(r"[ \t*_]*")
_BLANK = re.compile(
    r"(?:[ \t]*(?:#{1,6}[ \t]|>[ \t]?|[-=*_]{3,}[ \t]*(?=\n)|[*_]{1,3}[ \t]*(?=\n))?[ \t]*\n)*"
    r"[ \t]*(?:#{1,6}[ \t]+|>[ \t]?)*"
)
_FENCE = re.compile(r"(`{3,}|~{3,})[^\n]*\n")
_DISPLAY = re.compile(r"\\\[|\$\$|\\begin\{(align|aligned|equation|gather|gathered|multline|split|flalign)(\*?)\}")
_LABEL = re.compile(r"\\(?:label|tag)\*?\{[^{}]*\}|\\(?:nonumber|notag)(?![a-zA-Z])")
_BULLET = re.compile(r"[ \t]*(?:[-•+‣·]|\*(?!\*))[ \t]+(?=\S)")
_NUMBERED = re.compile(r"[ \t]*(?:\(?(\d{1,2})[.)])[ \t]+(?=\S)")
_TABLE_RULER = re.compile(r"[\s|:\-=+]+")
_DEPTH = re.compile(r"\\(begin|end)\{|(\\\\)")


class Content(NamedTuple):
    """The text behind a cue. `is_block`: it is the answer, without a sentence around it."""

    text: str
    is_block: bool


def content_after(text: str, start: int, limit: int) -> Content | None:
    """The content behind `start`, or None if nothing follows. At most `limit` characters are read."""
    window = text[start : start + limit]
    here = _SPACE.match(window).end()  # type: ignore[union-attr]  # it matches everywhere
    line, _, below = window[here:].partition("\n")
    if not _is_ruler(line):
        return _display(window[here:]) or Content(line.strip(), is_block=False)
    below = below[_BLANK.match(below).end() :]  # type: ignore[union-attr]
    if not below.strip():
        return None
    return _fenced(below) or _display(below.lstrip(" \t*_")) or _table(below) or _listed(below) or _first_line(below)


def _is_ruler(line: str) -> bool:
    return not line.strip(" \t*_-=#:")


def _first_line(below: str) -> Content:
    return Content(below.strip().partition("\n")[0].strip(), is_block=False)


def _fenced(below: str) -> Content | None:
    fence = _FENCE.match(below)
    if not fence:
        return None
    end = below.find(fence[1], fence.end())
    inner = trimmed_lines(below[fence.end() : end if end >= 0 else len(below)])
    return Content(inner, is_block=True) if inner else None


def _display(below: str) -> Content | None:
    opening = _DISPLAY.match(below)
    if not opening:
        return None
    closing = {"\\[": "\\]", "$$": "$$"}.get(opening.group(), f"\\end{{{opening[1]}{opening[2]}}}")
    end = below.find(closing, opening.end())
    if end < 0:
        return None
    inner = below[opening.end() : end].strip()
    return _display(inner) or (Content(line, is_block=True) if (line := _one_line(_LABEL.sub("", inner))) else None)


def _one_line(display: str) -> str:
    """The result of aligned rows: the right side of a chain's last `=`, or one equation after another."""
    rows = _rows(display)
    if not rows:
        return ""
    sides = [row.split("=") for row in rows]
    if len(rows) > 1 and all(not side[0].strip() and len(side) > 1 for side in sides[1:]):
        return sides[-1][-1].strip()
    whole = ", ".join(rows)
    last = sides[-1][-1].strip()
    chain = (
        len(rows) == 1
        and not re.search(r"[,;](?!\d)", whole)
        and (len(sides[0]) > 2 or (len(sides[0]) == 2 and not re.search("[a-zA-Z]", sides[0][0])))
    )
    return last if chain and kind(normalise(last)) == "number" else whole


def _rows(display: str) -> list[str]:
    """Rows of an alignment without their `&`; the rows of a matrix in it stay together."""
    rows, depth, start = [], 0, 0
    for token in _DEPTH.finditer(display):
        if token[1]:
            depth += 1 if token[1] == "begin" else -1
        elif depth == 0:
            rows.append(display[start : token.start()])
            start = token.end()
    rows.append(display[start:])
    return [tidy for row in rows if (tidy := (row if "\\begin" in row else row.replace("&", "")).strip(" \t\n,;."))]


def _table(below: str) -> Content | None:
    """The first row below the ruler, else the first, without the label that comes before its values."""
    if not below.startswith("|"):
        return None
    lines = []
    for line in below.splitlines():
        if not line.strip().startswith("|"):
            break
        lines.append(line.strip())
    rulers = [i for i, line in enumerate(lines) if _TABLE_RULER.fullmatch(line) and "-" in line]
    body = lines[rulers[0] + 1 :] if rulers and rulers[0] + 1 < len(lines) else lines
    cells = [cell.strip(" *_`") for cell in body[0].strip("|").split("|")]
    values = [cell for cell in cells if kind(normalise(cell)) == "number"]
    return Content(", ".join(values) if values else cells[-1], is_block=True)


def _listed(below: str) -> Content | None:
    """The items of a list as one list of values; the first alone where the others explain it."""
    items: list[str] = []
    for line in below.splitlines():
        numbered = _NUMBERED.match(line)
        mark = _BULLET.match(line) or (numbered if numbered and int(numbered[1]) == len(items) + 1 else None)
        if mark is None:
            if line.strip() or not items:
                break
            continue
        items.append(line[mark.end() :].strip(" *_`"))
    if len(items) > 1 and not any(has_words(normalise(item)) for item in items):
        return Content(", ".join(normalise(item) for item in items), is_block=True)
    if not items or (len(items) == 1 and _NUMBERED.match(below)):
        return None  # "42. Because …" is a sentence
    return Content(items[0], is_block=False)
