"""Extraction of the answer from a completion.

Patterns that read a whole completion have a longest match (`tts.answers.cues`), and places that may hold an answer are
read up to `_PLACE` characters, so that a text takes time in proportion to its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache

from tts.answers.blocks import Content, content_after
from tts.answers.code import last_block
from tts.answers.cues import cues_from_the_end, is_denied
from tts.answers.letters import letter_at, stated_letter, unstated_letter
from tts.answers.normalise import has_words, kind, normalise, trimmed_lines
from tts.answers.typography import VULGAR, plain
from tts.types import AnswerFormat

_PLACE = 4_000  # characters of a place that are read for an answer
_NEAR = 300  # characters around the last digit of a text, where its last number stands

_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox|framebox)\s{0,9}\{|\\[{}\\]|[{}]")
_BARE_BOX = re.compile(r"\\boxed\s{0,9}(\\[dt]?frac\s?\d\s?\d|(?<=\s)[^\s${}\\]{1,200}|\d{1,200})")
_BETWEEN_BOXES = re.compile(
    r"[\s$,;&]*(?:(?:\\[()\[\]]|\\q?quad|\\text\s?\{\s*(?:and|or|,)\s*\}|\\(?:lor|land|vee)(?![a-z])|and|or|,|;)[\s$,;&]*)+"
    r"(?:\\\(\s*)?(?:[a-zA-Z](?:_\{?\w+\}?)?\s*=\s*)?"
)
_CHOICE_FIRST = re.compile(r"\(?([A-Z])(?:\)[.:]?|[.:]|$)(?![A-Za-z])")
_JSON_VALUE = re.compile(r"\s{0,20}(\"(?:[^\"\\\n]|\\.){1,500}\"|[-+\d.eE]{1,60}(?=\s{0,20}[,}\n]))")

_GROUP_SPACE = r"[ \u00a0\u2007\u2009\u202f]"
_DIGITS = (
    rf"(?:\d{{1,3}}(?:,\d{{3}}){{1,60}}(?![\d,])|\d{{1,3}}(?:{_GROUP_SPACE}\d{{3}}){{1,60}}(?!{_GROUP_SPACE}?\d)|\d+)"
)
_NUMBER = re.compile(
    r"(?:(?:(?:(?<=is )|(?<=be )|(?<=to )|(?<=of )|(?<=at )|(?<=now )|(?<=equals )|(?<=[:,=] )|^)[Mm]inus"
    r"|(?<!-)\b[Nn]egative)\s(?=[\d.\\$]))?(?:(?<![\w)\]}.])(?:[-+]\$?))?"
    r"(?:(?:\d{1,9}\s?)?\\[dtc]?frac\{-?\d+\}\{\d+\}"
    rf"|\d{{1,9}}\s\d{{1,9}}/\d{{1,9}}(?![\d/])"
    rf"|{_DIGITS}(?:\.\d+)?(?:\s?(?:x|\\times|\\cdot|\*)\s?10\^(?:\{{[-+]?\d{{1,3}}\}}|[-+]?\d{{1,3}})"
    r"|[eE][-+]?\d+(?![\w.]))?(?:/\d+(?![\d/]))?"
    r"|(?<![\w.])\.\d+)",
    re.ASCII,
)
_SENTENCE_END = re.compile(
    r"(?<!\bapprox)(?<!\bca)(?<!\bno)(?<!\bvs)(?<!\b[ap]\.m)(?<!\bU\.S)\.(?=\s|$)|[!?](?=\s)|\u3002", re.I
)
_FORMULA = re.compile(r"\\\(|\\\)|\\.|\$")
_ASIDE = re.compile(
    r"\s\((?=[^()]*(?:[a-z]{2}|=))|[,;:]?\s(?:since|because|as\s(?:we|the|it|shown)|where|which|and\snot|not|but\snot|rather\sthan"
    r"|instead\sof|so\s(?:we|the|that|it)|for\s(?:all|any|every|each|some))\b|\s[\u2013\u2014]\s"
)
_EXPLAINED = re.compile(r"[,;]\s(?:since|because|as|which|where|so|and\snot|not)\b")  # of an answer in words
_IN_OTHER_WORDS = re.compile(
    r",?\s(?:that\sis|i\.e\.|which\s(?:is|equals)|or\sequivalently|or\ssimply|namely)\b[,:]?\s"
)
_QUANTITY_OF = re.compile(
    r"\s(?!out\b)(?:[^\W\d_][^\s,;]*\s){0,3}?[^\W\d_][^\s,;]*,?\s(?:out\sof|of|from|after|in|for|on|with|at|than|when|if|because|per|during|every|each)\b"
)
_SEVERAL = re.compile(r"\b(?:and|or|to|through|mod|choose|times|over|plus|minus|divided|by)\b|[-+*/^=\u2013:%]")
_GOES_ON = re.compile(r"[a-zA-Z(^]|\s*[-+*/^=(\\]")  # of a number that is not the whole right side
_NOT = re.compile(r"\bnot\s[$*]{0,3}$")
_ANY_WORD = re.compile(r"[^\W\d_]{2}")
_CLOSING = re.compile(
    r"(?:\bI\s)?\bhope\s(?:this|that|it)\b|\blet\sme\sknow\b|\bfeel\sfree\b|\bif\syou\s(?:have|need|want|would|'d)|\bwould\syou\slike\b"
    r"|\bis\sthere\sanything\b",
    re.IGNORECASE,
)


_SHORT = 64  # characters of a text that many samples may have: a letter, a number, that of a pool without texts


def extract(text: str, answer_format: AnswerFormat = "auto", *, complete: bool = True) -> str | None:
    """The answer of a completion, normalised, or None: then it abstains.

    A `<think>` block is passed over, and one that never closes has no answer (a lone `</think>` ends a block that the
    prompt opened).

    Args:
        text: the whole completion.
        answer_format:
            auto: the last of `<answer>…</answer>`; else of `\\boxed{…}` (several that only "and" or "or" joins are one
                list); else of "Answer: …", "answer is …", their like in other languages and "#### …"; else the last
                number. What follows a cue is a line, a list, a table's row, a fenced block or display mathematics.
            number: a number, looked for at the same places.
            boxed: the last `\\boxed{…}` only.
            letter: a choice A to Z: tagged, boxed, stated ("the answer is B", "B is correct", "I choose (B)"), at the
                start of a line, or the last in parentheses that is not called wrong.
            line: the last line that is not empty, trimmed and otherwise as written.
            text: the last `<answer>…</answer>`, else everything, trimmed and otherwise as written.
            code: the content of the last closed block of Python (three backticks), as written.
        complete: whether the model ended by itself. Text that was cut has an answer only if it is marked (tags, a
            box, "Answer: …"): its last number or line is half a thought.
    """
    if len(text) <= _SHORT:
        return _read_again(text, answer_format, complete)
    return _read(text, answer_format, complete)


def _read(text: str, answer_format: AnswerFormat, complete: bool) -> str | None:
    visible = without_thinking(text)
    if visible is None:
        return None
    if not complete and answer_format not in ("boxed", "letter", "code"):  # these find nothing else
        stated = _tagged(visible) or _boxed(visible) or _cued(visible)
        if not stated:
            return None
    return _READERS[answer_format](visible, complete)


_read_again = lru_cache(1024)(_read)


def _auto(text: str, _complete: bool) -> str | None:
    place = _tagged(text)
    if place is None:
        place = _boxed(text)
    if place is None and (stated := _cued(text)) is not None:
        place = _out_of_its_sentence(stated)
    return _normalised_or_none(_last_number(text) if place is None else place)


def _number(text: str, complete: bool) -> str | None:
    for place in (_tagged(text), _boxed(text), _cued(text)):
        if place is not None and (number := _number_of(place[:_PLACE])):
            return normalise(number)
    return _normalised_or_none(_last_number(text)) if complete else None


def _letter(text: str, complete: bool) -> str | None:
    for place in (_tagged(text), _boxed(text)):
        if place is not None and (letter := letter_at(normalise(place)) or letter_at(place)):
            return letter
    return stated_letter(text) or (unstated_letter(text) if complete else None)


def _line(text: str, _complete: bool) -> str | None:
    return next((kept for line in reversed(text.splitlines()) if (kept := trimmed_lines(line))), None)


def _text(text: str, _complete: bool) -> str | None:
    tagged = _tagged(text)
    return trimmed_lines(text if tagged is None else tagged) or None


_READERS: dict[AnswerFormat, Callable[[str, bool], str | None]] = {
    "auto": _auto,
    "number": _number,
    "boxed": lambda text, _complete: _normalised_or_none(_boxed(text)),
    "letter": _letter,
    "line": _line,
    "text": _text,
    "code": lambda text, _complete: last_block(text),
}


def read_place(place: str, answer_format: AnswerFormat) -> str | None:
    """The answer at a place where a text is known to have it, in this format; None if there is none."""
    match answer_format:
        case "line" | "text":
            return trimmed_lines(place) or None
        case "code":
            return place.strip("\n") or None
        case "number":
            return _normalised_or_none(_number_of(place[:_PLACE]))
        case "letter":
            return letter_at(normalise(place)) or letter_at(place)
    return _normalised_or_none(place[:_PLACE])


# Places


def without_thinking(text: str) -> str | None:
    """The text without its `<think>` blocks; None if one never closes."""
    if "think>" not in text:
        return text
    kept: list[str] = []
    thinking = False
    for piece in re.split(r"(</?think>)", text):
        if piece == "<think>":
            thinking = True
        elif piece == "</think>":
            if not thinking:
                kept.clear()
            thinking = False
        elif not thinking:
            kept.append(piece)
    return None if thinking else "".join(kept)


def _tagged(text: str) -> str | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return text[start + len("<answer>") : end] if start >= 0 else None


def _boxed(text: str) -> str | None:
    """Content of the last closed `\\boxed{…}`, with those before it that only "and", "or" or commas part from it."""
    if "box" not in text:
        return None
    boxes = _boxes(text)
    bare = None
    for bare in _BARE_BOX.finditer(text, boxes[-1][2] if boxes else 0):  # noqa: B007 - the last one
        pass
    if bare is not None:
        return bare.group(1)
    if not boxes:
        return None
    contents = [text[boxes[-1][1] : boxes[-1][2]]]
    for (_, start, end), (next_command, _, _) in zip(reversed(boxes[:-1]), reversed(boxes), strict=False):
        if next_command - end > 60 or not _BETWEEN_BOXES.fullmatch(text, end + 1, next_command):
            break
        if text[start:end] != contents[0]:
            contents.insert(0, text[start:end])
    return ", ".join(contents)


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Start of the command, start and end of the content, of every closed box that holds no other, in one pass."""
    opened: list[tuple[int, int] | None] = []  # open groups; None for one that is not a box
    closed: list[tuple[int, int, int]] = []
    for match in _BOX_OR_BRACE.finditer(text, _before_boxes(text)):
        token = match.group()
        if token == "}":
            if opened and (box := opened.pop()) and not (closed and closed[-1][1] > box[1]):
                closed.append((*box, match.start()))
        elif token[-1] == "{" and token != "\\{":
            opened.append((match.start(), match.end()) if len(token) > 1 else None)
    return closed


def _before_boxes(text: str) -> int:
    """The start of the backslashes in front of the first box: no group that opens before holds an answer."""
    start = text.rfind("\\", 0, text.find("box")) + 1
    return len(text[:start].rstrip("\\"))


def _cued(text: str) -> str | None:
    """The text behind the last cue that has any: to the end of its sentence, or a whole block."""
    for cue in cues_from_the_end(text):
        if is_denied(text, cue.end()):
            continue
        value = _JSON_VALUE.match(text, cue.end()) if '"' in cue.group() else None
        if value:
            return _json_text(value.group(1))
        content = content_after(text, cue.end(), _PLACE)
        if content is None or (cue.group().startswith("#") and not _is_marked_answer(content, text, cue.end())):
            continue
        if content.is_block:
            return content.text
        head = _SENTENCE_END.split(content.text, maxsplit=1)[0].strip()
        in_a_sentence = cue.group("verb") is not None or content.text[len(head) :][:1] in "!?\u3002"
        return head if head and (in_a_sentence or kind(normalise(head)) in ("number", "choice")) else content.text
    return None


def _json_text(value: str) -> str:
    try:
        return str(json.loads(value))
    except ValueError:
        return value.strip('"')


# Contents of a place


def _out_of_its_sentence(content: str) -> str:
    """The answer itself where a sentence goes on around it: "42 apples", "(B) Paris", "12 + 30 = 42.", "$x$, so"."""
    content = content[:_PLACE].strip(" \t*_`")
    choice = _CHOICE_FIRST.match(content)
    if choice:
        return choice.group(1)
    if kind(normalise(content)) != "other":
        return _EXPLAINED.split(content, maxsplit=1)[0]
    restated = _IN_OTHER_WORDS.split(content)[-1]
    content = restated if kind(normalise(restated)) == "number" else _without_aside(content)
    formulas = _formulas(content)
    whole = _undelimited(content) if formulas else content
    if len(formulas) == 1 and kind(normalise(whole)) == "other":
        return _last_side(formulas[0])
    if formulas or "\\" in content or kind(normalise(whole)) != "other":
        return whole
    return _last_side(content) if "=" in content else _amount(content) or content


def _without_aside(content: str) -> str:
    """The content without the explanation that follows it."""
    head = _ASIDE.split(content, maxsplit=1)[0].strip(" *_`")
    closed = head.count("$") % 2 == 0 and head.count("{") == head.count("}")
    return head if head and closed else content


def _formulas(content: str) -> list[str]:
    """Texts between single dollars or `\\(` and `\\)`, in one pass."""
    found, opened, closing = [], -1, ""
    for token in _FORMULA.finditer(content):
        mark, after = token.group(), content[token.end() : token.end() + 1]
        if opened < 0 and (mark == "\\(" or (mark == "$" and after not in (" ", ""))):
            opened, closing = token.end(), "\\)" if mark == "\\(" else "$"
        elif opened >= 0 and mark == closing:
            if mark == "\\)" or (content[token.start() - 1] != " " and not after.isdigit() and token.start() > opened):
                found.append(content[opened : token.start()].strip())
                opened = -1
            else:
                opened = token.end()
    return found


def _undelimited(content: str) -> str:
    return _FORMULA.sub(lambda mark: "" if mark.group() in ("$", "\\(", "\\)") else mark.group(), content)


def _last_side(equation: str) -> str:
    """The result of a calculation: 42 of `12 + 30 = 42`; an equation that is no calculation is left whole."""
    left, equals, right = equation.rpartition("=")
    if not equals or re.search(r"[;<>]|, |\band\b|\bor\b", left):
        return equation
    first = _NUMBER.match(right := right.strip(" $*"))
    if first and "\\" not in equation and not _GOES_ON.match(right, first.end()):
        return first.group()
    calculated = "=" in left or not re.search(r"(?<!\\)\b[a-zA-Z]", left)
    return right.strip() if calculated and kind(normalise(right)) == "number" else equation


def _amount(content: str) -> str | None:
    """The one number of a phrase in words: "42 apples", "42 apples out of 50"; not "12 cm and 3 mm", "1 out of 6"."""
    numbers = list(_NUMBER.finditer(content))
    if not numbers or not _ANY_WORD.search(content):
        return None
    first = numbers[0].group()
    after = content[numbers[0].end() :]
    percent = re.match(r"\s?(?:\\?%|percent\b)", after)
    if len(numbers) == 1:
        return first + "%" if percent else first
    between = content[numbers[0].end() : numbers[1].start()]
    return first if _QUANTITY_OF.match(between) and not percent and not _SEVERAL.search(between) else None


def _number_of(content: str) -> str | None:
    """The number that a piece of text gives as its result: after its last `=`, else its first."""
    for whole in (content, _out_of_its_sentence(content)):
        if kind(normalise(whole)) == "number":
            return normalise(whole)
    text = plain(content)
    first = _NUMBER.match(text.rpartition("=")[2].strip(" $*")) or _NUMBER.search(text)
    return _as_number(first.group()) if first else None


def _last_number(text: str) -> str | None:
    """The last number before the closing phrases ("I hope this helps with your 3 questions")."""
    tail = max(0, len(text) - 500)
    for closing in _CLOSING.finditer(text, tail):
        if (number := _last_number_before(text, closing.start())) is not None:
            return number
    return _last_number_before(text, len(text))


def _last_number_before(text: str, end: int) -> str | None:
    last = next((i for i in range(end - 1, -1, -1) if text[i].isdecimal() or text[i] in VULGAR), None)
    if last is None:
        return None
    start = max(0, last - _NEAR)
    while start and text[start - 1] in "0123456789,.":
        start -= 1
    near = plain(text[start : min(end, last + _NEAR)])
    numbers = [
        found.group()
        for found in _NUMBER.finditer(near)
        if not _NOT.search(near[max(0, found.start() - 8) : found.start()])
    ]
    return _as_number(numbers[-1]) if numbers else None


def _as_number(spelling: str) -> str:
    """A number, of which only the last part counts if it looks like a mixed number and is none: "3 7/2"."""
    return spelling if kind(normalise(spelling)) == "number" else spelling.rsplit(maxsplit=1)[-1]


def _is_marked_answer(content: Content, text: str, end: int) -> bool:
    """Whether "#### …" marks an answer, as in GSM8K, and not a heading: a value, or the end of the text."""
    return not has_words(normalise(content.text)) or not text[end : end + _PLACE].strip().partition("\n")[2].strip()


def _normalised_or_none(answer: str | None) -> str | None:
    return (normalise(answer) or None) if answer is not None else None
