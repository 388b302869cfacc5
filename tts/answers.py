"""Where the answer stands in a completion, one spelling for it, and whether two spellings mean the same.

Pure text work: nothing here evaluates an expression, raises on any input, or takes more than about linear time.
`same` answers only what it is certain of; what is left (`None`) needs a computer algebra system, in a worker process
that can be killed (`tts.graders`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from tts.types import AnswerFormat

_LONGEST = 2_000  # characters: a longer answer is prose or noise, and is only trimmed
_MOST_DIGITS = 200  # of a numerator, a denominator or a decimal that is still brought to lowest terms
_MOST_WRAPPERS = 8  # of an answer that is still unwrapped

_LETTER = re.compile(r"[A-Z]")
_NUMBER_IN_TEXT = re.compile(
    r"(?:(?<![\w)\]}.])[-+\u2212])?"
    r"(?:\\[dtc]?frac\{-?\d+\}\{\d+\}"
    r"|(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?(?:[eE][-+]?\d+(?![\w.]))?(?:/\d+(?!/))?"
    r"|(?<![\w.])\.\d+)",
    re.ASCII,
)
_CUE = re.compile(
    r"(?:\banswers?\b(?:\s+(?:to|for)\s[^\n.:]{0,60}?)?[ \t*_]*(?P<verb>\bis\b|\bare\b)?(?(verb)[ \t*_]*:?|[:=])|\#{4})"
    r"[\s*_]*",
    re.IGNORECASE,
)
_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}\\]|[{}]")
_BARE_BOX = re.compile(r"\\boxed\s+([^\s${}\\]+)")
_CHOICE = re.compile(r"\(?([A-Z])(?:[).:]|$)(?![A-Za-z])")
_CHOICE_IN_TEXT = re.compile(r"\(([A-Z])\)|^[ \t*_]*([A-Z])[ \t*_.)]*$", re.MULTILINE)
_MATH_IN_TEXT = re.compile(r"\$(?! )([^$\n]+)(?<! )\$|\\\((.+?)\\\)")
_CHOICE_IN_BRACKETS = re.compile(r"\([A-Z]\)")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")

_CHARACTERS = str.maketrans(
    {
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},  # full-width digits
        **dict.fromkeys("\u2212\uff0d\ufe63", "-"),
        **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    }
)
_WRAPPERS = (("**", "**"), ("`", "`"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ('"', '"'))
_WRAPPING_COMMAND = re.compile(r"\\(?:boxed|fbox|mbox|text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit)\s*\{")
_SIZING = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?[ \t]*")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)(?=\d{3}(?!\d))")
_SPACING = re.compile(r"\\[,;:! ]|\\q?quad(?![a-zA-Z])|~")
_FRACTION_COMMAND = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_SHORT_FRACTION = re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)")

_PLAIN = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_DECIMAL = re.compile(rf"(?P<mantissa>{_PLAIN})(?:[eE](?P<exponent>[-+]?\d{{1,3}}))?", re.ASCII)
_FRACTION = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:\\frac\s*\{{\s*(?P<top>{_PLAIN})\s*\}}\s*\{{\s*(?P<bottom>{_PLAIN})\s*\}}"
    rf"|(?P<over>{_PLAIN})\s*/\s*(?P<under>{_PLAIN}))",
    re.ASCII,
)
_ASSIGNMENT = re.compile(r"[a-zA-Z]\s*=\s*(?P<value>[^=]+)")
_MONEY = re.compile(r"(?P<sign>[-+]?)\s*(?:US)?\\?\$\s*(?P<value>[-+]?[\d.][^$]*)")
_UNIT = re.compile(
    r"(?P<value>[\d.)}])\s*(?:(?P<percent>\\?%|percent)|dollars?|USD|degrees?|\u00b0|\^\s*\\circ|\^\s*\{\s*\\circ\s*\}"
    r"|\\(?:text|mathrm|textrm|mbox)\s*\{[^{}\d]*\})"
)
_CLOSED_UP = re.compile(r"\s*([,()\[\]{}=<>|\\^*/:;]|(?<=\s)[-+](?=\s))\s*")
_BRACED_SCRIPT = re.compile(r"([\^_])\{(\w)\}")
_PROSE = re.compile(r"[^\W\d_](?:[^\W\d_]|[ .,;:'\u2019-])*")
_MATH_WORDS = frozenset(
    {"infinity", "infty", "sqrt", "frac", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "asin", "acos", "atan"}
)


def extract(text: str, answer_format: AnswerFormat = "auto", *, complete: bool = True) -> str | None:
    """The answer of a completion, normalised, or None: then it abstains.

    A `<think>` block is passed over, and one that never closes has no answer (a lone `</think>` ends a block that the
    prompt opened).

    Args:
        text: the whole completion.
        answer_format:
            auto: the last of `<answer>…</answer>`; else of `\\boxed{…}`; else of "Answer: …", "answer is …" and
                "#### …"; else the last number.
            number: a number, looked for at the same places.
            boxed: the last `\\boxed{…}` only.
            letter: a choice A to Z: boxed, after "answer", in parentheses, or alone on its line.
            line: the last line that is not empty, trimmed and otherwise as written.
            text: the last `<answer>…</answer>`, else everything, trimmed and otherwise as written.
        complete: whether the model ended by itself. Text that was cut has an answer only where it says so (tags, a
            box, "Answer: …"): its last number or line is half a thought.
    """
    visible = _without_thinking(text)
    if visible is None:
        return None
    if complete or answer_format == "boxed":
        return _READERS[answer_format](visible)
    stated = _tagged(visible) or _boxed(visible) or _cued(visible)
    return stated if answer_format == "auto" or stated is None else _READERS[answer_format](visible)


def normalise(answer: str) -> str:
    """One spelling for an answer: `normalise(normalise(a)) == normalise(a)`.

    Numbers become canonical: integers without leading zeros, thousands separators or a trailing point (`1,234.0` is
    `1234`); decimals and fractions become one class (`0.50`, `.5`, `1/2` and `\\frac{1}{2}` are `0.5`), fractions that
    no decimal can write are in lowest terms (`2/6` is `1/3`). Powers are never evaluated, and nothing is rounded. The
    unit of an amount in dollars or degrees, or in a trailing `\\text{…}`, is dropped; a percent sign is kept, because
    `10%` may mean 10 or 0.1. Formulas lose the spaces and braces that do not matter; everything else keeps its words:
    only LaTeX wrappers, sizing and typographic spaces go, and punctuation at the end.
    """
    trimmed = _trimmed(answer)
    if len(trimmed) > _LONGEST:
        return trimmed
    now = trimmed
    for _ in range(_MOST_WRAPPERS):
        before, now = now, _step(now)
        if now == before:
            return now
    return trimmed  # nested more deeply than any answer


def same(a: str, b: str) -> bool | None:
    """Whether two answers mean the same: exact strings, integers, decimals, fractions, choices, words.

    Returns:
        True or False where that is certain; None where it takes algebra, or where math-verify's tolerance (six
        decimals) and its double reading of percentages decide.
    """
    a, b = normalise(a), normalise(b)
    if a == b:
        return bool(a)
    if not a or not b:
        return False
    kinds = _kind(a), _kind(b)
    if kinds == ("number", "number"):
        return _same_number(a, b)
    if kinds == ("words", "words"):
        return " ".join(a.casefold().split()) == " ".join(b.casefold().split())
    if "other" not in kinds:
        return False  # two choices that differ, or a number against a word
    return None


def classes(answers: Sequence[str]) -> list[int] | None:
    """For each answer the number of its class, counted from 0 in the order of first appearance.

    None if that takes algebra (`tts.symbolic.classes`, in a worker). An answer joins the first class whose
    representative, its first member, it is the `same` as.
    """
    numbers: dict[str, int] = {}
    representatives: list[str] = []
    for answer in answers:
        if answer in numbers:
            continue
        number = len(representatives)
        for other, representative in enumerate(representatives):
            verdict = same(representative, answer)
            if verdict is None:
                return None
            if verdict:
                number = other
                break
        else:
            representatives.append(answer)
        numbers[answer] = number
    return [numbers[answer] for answer in answers]


def is_plain(answer: str) -> bool:
    """Whether `answer` is a number, a choice or words: what `same` can compare with its like without algebra."""
    return _kind(normalise(answer)) != "other"


def _auto(text: str) -> str | None:
    place = _tagged(text)
    if place is None:
        place = _boxed(text)
    if place is None and (sentence := _cued(text)) is not None:
        place = _out_of_its_sentence(sentence)
    return _normalised_or_none(_last_number(text) if place is None else place)


def _number(text: str) -> str | None:
    for place in (_tagged(text), _boxed(text), _cued(text)):
        if place is not None and (number := _number_of(place)):
            return normalise(number)
    return _normalised_or_none(_last_number(text))


def _letter(text: str) -> str | None:
    for place in (_tagged(text), _boxed(text), _cued(text)):
        if place is not None:
            choice = _CHOICE.match(normalise(place)) or _CHOICE.match(place.strip(" \t*_`$"))
            if choice:
                return choice.group(1)
    last = None
    for last in _CHOICE_IN_TEXT.finditer(text):  # noqa: B007 - the last one
        pass
    return (last.group(1) or last.group(2)) if last else None


def _line(text: str) -> str | None:
    return next((kept for line in reversed(text.splitlines()) if (kept := _trimmed(line))), None)


def _text(text: str) -> str | None:
    tagged = _tagged(text)
    return _trimmed(text if tagged is None else tagged) or None


_READERS: dict[AnswerFormat, Callable[[str], str | None]] = {
    "auto": _auto,
    "number": _number,
    "boxed": lambda text: _normalised_or_none(_boxed(text)),
    "letter": _letter,
    "line": _line,
    "text": _text,
}


def _without_thinking(text: str) -> str | None:
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
    """What the last closed `\\boxed{…}` holds, braces inside it balanced, in one pass."""
    if "box" not in text:
        return None
    opened: list[int] = []  # where the content of an open group starts; negative for a group that is not a box
    last = (-1, -1)
    for match in _BOX_OR_BRACE.finditer(text):
        token = match.group()
        if token == "}":
            if opened and (start := opened.pop()) > last[0]:
                last = (start, match.start())
        elif token[-1] == "{" and token != "\\{":
            opened.append(match.end() if len(token) > 1 else -1)
    bare = None
    for bare in _BARE_BOX.finditer(text, max(last[1], 0)):  # noqa: B007 - the last one
        pass
    if bare is not None:
        return bare.group(1)
    return text[last[0] : last[1]] if last[0] >= 0 else None


def _cued(text: str) -> str | None:
    """What follows the last "Answer:", "answer is" or "####" that something follows, to the end of its line."""
    found = None
    for match in _CUE.finditer(text):
        if match.end() < len(text):  # the pattern takes the white space after it: here something follows
            found = match
    if found is None:
        return None
    line_end = text.find("\n", found.end())
    content = text[found.end() : line_end if line_end >= 0 else len(text)].strip()
    in_a_sentence = found.group("verb") is not None
    head = re.split(r"\.(?:\s|$)", content, maxsplit=1)[0]
    return head if in_a_sentence or _kind(normalise(head)) in ("number", "choice") else content


def _out_of_its_sentence(content: str) -> str:
    """The answer itself where a sentence goes on around it: "42 apples", "(B) Paris", "12 + 30 = 42.", "$x$, so"."""
    content = content.strip(" \t*_`")
    choice = _CHOICE.match(content)
    if choice:
        return choice.group(1)
    formulas = [match.group(1) or match.group(2) for match in _MATH_IN_TEXT.finditer(content)]
    if len(formulas) == 1:
        return formulas[0]
    if _kind(normalise(content)) != "other" or "\\" in content:
        return content
    before_parenthesis = content.partition(" (")[0]
    if _kind(normalise(before_parenthesis)) == "number":
        return before_parenthesis
    left, equals, right = content.rpartition("=")
    if equals and not re.search(r"[;=]|, |\band\b|\bor\b", left):
        first = _NUMBER_IN_TEXT.match(right.strip(" $*"))
        if first:
            return first.group()
    numbers = [match.group() for match in _NUMBER_IN_TEXT.finditer(content)]
    return numbers[0] if len(numbers) == 1 and _WORD.search(content) and "%" not in content else content


def _number_of(content: str) -> str | None:
    """The number that a piece of text gives as its result: after its last `=`, else its first."""
    whole = normalise(content)
    if _kind(whole) == "number":
        return whole
    first = _NUMBER_IN_TEXT.match(content.rpartition("=")[2].strip(" $*"))
    first = first or _NUMBER_IN_TEXT.search(content)
    return first.group() if first else None


def _last_number(text: str) -> str | None:
    last = None
    for last in _NUMBER_IN_TEXT.finditer(text):  # noqa: B007 - the last one
        pass
    return last.group() if last else None


def _trimmed(text: str) -> str:
    """Lines without space around them or at their seams; empty lines go."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _normalised_or_none(answer: str | None) -> str | None:
    return (normalise(answer) or None) if answer is not None else None


def _step(s: str) -> str:
    """Remove one layer of everything that does not change what an answer means. Never makes it longer twice."""
    s = s.translate(_CHARACTERS)
    if "\\" in s:
        s = _THOUSANDS.sub(",", s) if "," in s or "\\," in s else s
        s = _SIZING.sub("", s)
        s = _SPACING.sub(" ", s)
        s = _FRACTION_COMMAND.sub(r"\\frac", s)
        s = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", s)
        s = " ".join(s.split())
    elif "{,}" in s:
        s = _THOUSANDS.sub(",", s)
    s = _trimmed(s)
    s = s if s.endswith("..") else s.rstrip(".\u3002,;: ")
    for opening, closing in _WRAPPERS:
        inner = s[len(opening) : -len(closing)]
        if (
            len(s) > len(opening) + len(closing)
            and s.startswith(opening)
            and s.endswith(closing)
            and opening not in inner
        ):
            s = inner
            break
    wrapping = _WRAPPING_COMMAND.match(s)
    if wrapping and s.endswith("}") and _closes_at_the_end(s, wrapping.end()):
        s = s[wrapping.end() : -1]
    if _CHOICE_IN_BRACKETS.fullmatch(s):
        s = s[1]
    if "\n" not in s and not _WORD.search(s):
        s = _BRACED_SCRIPT.sub(r"\1\2", _CLOSED_UP.sub(r"\1", s))
    return _trimmed(_canonical(s))


def _closes_at_the_end(s: str, start: int) -> bool:
    depth = 1
    for match in _BOX_OR_BRACE.finditer(s, start):
        token = match.group()
        if token == "}":
            depth -= 1
            if depth == 0:
                return match.end() == len(s)
        elif token[-1] == "{" and token != "\\{":
            depth += 1
    return False


def _canonical(s: str) -> str:
    """The canonical number that `s` writes, or `s`."""
    percent = ""
    bare = s
    unit = _UNIT.search(bare)
    if unit and unit.end() == len(bare):
        percent = "%" if unit.group("percent") else ""
        bare = bare[: unit.end("value")]
    money = _MONEY.fullmatch(bare)
    if money:
        bare = money.group("sign") + money.group("value")
    assignment = _ASSIGNMENT.fullmatch(bare)
    if assignment:
        bare = assignment.group("value").strip()
    number = _canonical_number(bare)
    return s if number is None else number + percent


def _canonical_number(s: str) -> str | None:
    decimal = _DECIMAL.fullmatch(s)
    if decimal:
        return _canonical_decimal(decimal.group("mantissa"), int(decimal.group("exponent") or 0))
    fraction = _FRACTION.fullmatch(s)
    if not fraction:
        return None
    top = fraction.group("top") or fraction.group("over")
    bottom = fraction.group("bottom") or fraction.group("under")
    if len(top) > _MOST_DIGITS or len(bottom) > _MOST_DIGITS:
        return None
    denominator = Fraction(bottom.replace(",", "").rstrip("."))
    if denominator == 0:
        return None
    value = Fraction(top.replace(",", "").rstrip(".")) / denominator
    return _canonical_fraction(-value if fraction.group("sign") == "-" else value)


def _canonical_decimal(mantissa: str, exponent: int) -> str | None:
    """By moving characters, so that a number of any length costs its length. None: too large to write out."""
    if abs(exponent) > 30:
        return None
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, part = mantissa.lstrip("+-").replace(",", "").partition(".")
    if exponent > 0:
        part = part.ljust(exponent, "0")
        whole, part = whole + part[:exponent], part[exponent:]
    elif exponent < 0:
        whole = whole.rjust(-exponent, "0")
        whole, part = whole[:exponent], whole[exponent:] + part
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    text = f"{whole}.{part}" if part else whole
    return text if text == "0" else sign + text


def _canonical_fraction(value: Fraction) -> str:
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return sign + text


def _kind(s: str) -> str:
    """number (also a percentage), choice, words, or other: of a normalised answer."""
    if _LETTER.fullmatch(s):
        return "choice"
    if _canonical_number(s.removesuffix("%")) is not None:
        return "number"
    if _PROSE.fullmatch(s) and any(len(word) >= 4 or word in ("yes", "no") for word in s.casefold().split()):
        return "other" if _MATH_WORDS.intersection(re.split(r"\W+", s.casefold())) else "words"
    return "other"


def _same_number(a: str, b: str) -> bool | None:
    """Of two canonical numbers that differ as strings."""
    if a.endswith("%") != b.endswith("%"):
        return None
    a, b = a.removesuffix("%"), b.removesuffix("%")
    if a.lstrip("-").isdigit() and b.lstrip("-").isdigit():
        return False
    if max(len(a), len(b)) > 2 * _MOST_DIGITS:
        return None
    near = abs(Fraction(a) - Fraction(b)) < Fraction(1, 100_000)
    return None if near else False
