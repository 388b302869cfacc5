"""The choice, A to Z, that a completion settles on.

The last of all statements counts ("the answer is B", "B is correct", "I choose (B)", "Antwort: B"); without one a line
that starts with a choice; without that the last choice in brackets that is not called wrong. The article "A" and the
pronoun "I" are no choices, and two letters ("A and C") are no answer.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import re

from tts.answers.cues import CHOICE, is_denied

_MARKS = r"[\s*_`\"'“”„‘’$~>]"
_OPEN = rf"(?:{_MARKS}|\\[(\[ ]|\\(?:boxed|fbox|text(?:bf|rm|it)?|math(?:rm|bf|sf|it))\s?\{{|[{{<]){{0,10}}"
_NOUN = (
    r"(?:the\s)?(?:(?:correct|right|best|final)\s)?"
    r"(?:option|choice|letter|answer|alternative|number|statement|optie|opción|opcion|wahl)"
)
_AT = re.compile(
    rf"{_OPEN}(?:{_NOUN}\s?(?:is|:)?\s?)?{_OPEN}(?P<bracket>[(\[]?)\s?(?P<letter>[A-Za-z])(?![A-Za-z0-9]|['’][a-z]|\s?=)"
    rf"(?P<shut>(?:[*_`\"'”’)\]}}$.:]|\\[)\]]){{0,8}})",
    re.IGNORECASE,
)
_AFTER_AN_ARTICLE = re.compile(
    r"[ \t]{1,20}"
    r"(?!(?:because|since|as|is|was|and|or|but|which|for|due|with|from|not|per|by|given|instead|rather)\b)[a-z]"
)
_AFTER_A_SMALL_LETTER = re.compile(r"[ \t]{0,20}(?:$|[\n.,;:!)\]}]|(?:because|since|as|is|but|not)\b)")
_ANOTHER = re.compile(
    r"\s?(?:,|;|/|&|and|or|und|y|et|和)\s?(?:and\s)?[(\[*]{0,3}[A-Z](?![^\W_]|['’])[)\]*.\s]{0,4}(?:$|\n|and|or|are)"
)

_VERDICT = re.compile(
    r"(?<![^\W_])[(\[*_]{0,4}(?P<letter>[A-Z])[)\]*_]{0,4}[.:,]?\s{0,2}"
    r"(?:(?:is|are|seems|must\sbe|would\sbe|should\sbe|has\sto\sbe|as)\s)?"
    r"(?:(?:also|the|clearly|indeed|therefore|thus|definitely|our|my|most\slikely)\s){0,2}"
    r"(?:correct|right|best|true|yes|✓|✔|✅|answer)(?![^\W_])(?!\s(?:if|only|that|or|and)\b)"
)
_BRACKETED = re.compile(r"[(\[](?P<letter>[A-Z])[)\]]")
_LINE_START = re.compile(
    r"^[ \t*_#>`\-•]{0,8}(?:(?:Option|Choice)\s)?"
    r"(?:[(\[](?P<bracketed>[A-Z])[)\]]|(?P<letter>[A-Z])(?:[).:]|\s?[-–—](?=\s)))[*_:.]{0,4}(?=\s|$)",
    re.MULTILINE,
)
_ALONE = re.compile(
    r"^[ \t*_#>`$\-]{0,8}(?:Option\s|Choice\s)?[(\[]?(?P<letter>[A-Z])[ \t*_.)\]$`]{0,8}$", re.MULTILINE
)
_ELIMINATED = re.compile(
    r"(?:eliminat|rul(?:ed?|ing)\sout|discard|exclud|incorrect|wrong|n['’]t|\bnot|neither|nor|reject)[^\n.]{0,60}$",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"[ \t*_]{0,4}(?:(?:is|are|was|seems|:|,|-|–|—|=)[ \t]{0,2}){0,2}(?:also\s|clearly\s|too\s)?"
    r"(?:not|no|wrong|incorrect|false|nonsense|eliminated|impossible|invalid|out|cannot|can't|isn't|❌|✗|✘)(?![^\W_])",
    re.IGNORECASE,
)
_IS_WRONG = re.compile(r"\s(?:is|are|was)\s(?:also\s|clearly\s)?(?:not|wrong|incorrect|false|impossible)\b")
_LAST_WORD = re.compile(r"\bis\s[(\[*_]{0,4}(?P<letter>[B-HJ-Z])[)\]*_.]{0,5}\s{0,9}\Z")
_CIRCLED = {0x24B6 + i: chr(65 + i) for i in range(26)} | {0xFF21 + i: chr(65 + i) for i in range(26)}


def letter_at(place: str) -> str | None:
    """The choice that a place which holds nothing but the answer starts with: "(B) Paris", "b", "option B"."""
    return _choice(place.translate(_CIRCLED).strip(), 0)


def stated_letter(text: str) -> str | None:
    """The choice of the last statement that names one."""
    text = text.translate(_CIRCLED)
    found: tuple[int, str] | None = None
    for cue in CHOICE.finditer(text):
        choice = None if is_denied(text, cue.end()) else _choice(text, cue.end()) or _in_its_sentence(text, cue.end())
        if choice is not None:
            found = cue.start(), choice
    for verdict in _VERDICT.finditer(text):
        if found is None or verdict.start() > found[0]:
            found = verdict.start(), verdict["letter"]
    return found[1] if found else None


def unstated_letter(text: str) -> str | None:
    """The choice that a line starts with or consists of, else the last in brackets that is not called wrong."""
    text = text.translate(_CIRCLED)
    alone = [match["letter"] for match in _ALONE.finditer(text)]
    if alone:
        return alone[-1]
    starts = [match["bracketed"] or match["letter"] for match in _LINE_START.finditer(text) if not _denied(text, match)]
    listed = starts[: len(set(starts))] == [chr(65 + i) for i in range(len(set(starts)))]
    if starts and (len(set(starts)) == 1 or not listed):
        return starts[0]
    ending = _LAST_WORD.search(text[-60:])
    if ending:
        return ending["letter"]
    last = None
    for match in _BRACKETED.finditer(text):
        if not _denied(text, match):
            last = match["letter"]
    return last


def _choice(text: str, start: int) -> str | None:
    found = _AT.match(text, start)
    if not found:
        return None
    letter, end = found["letter"], found.end()
    marked = bool(found["bracket"] or found["shut"].strip("."))
    if letter.islower():
        small = letter in "abcdefghij" and (marked or _AFTER_A_SMALL_LETTER.match(text, end, end + 40))
        return letter.upper() if small else None
    if letter in "AI" and not marked and not found["shut"] and _AFTER_AN_ARTICLE.match(text, end, end + 40):
        return None
    return None if _ANOTHER.match(text, end, end + 40) or _IS_WRONG.match(text, end, end + 40) else letter


def _in_its_sentence(text: str, start: int) -> str | None:
    """ "The answer is Paris (B)." """
    sentence = re.split(r"[.\n。]", text[start : start + 200], maxsplit=1)[0]
    found = _BRACKETED.search(sentence)
    return found["letter"] if found else None


def _denied(text: str, match: re.Match[str]) -> bool:
    return bool(_WRONG.match(text, match.end())) or bool(
        _ELIMINATED.search(text[max(0, match.start() - 80) : match.start()])
    )
