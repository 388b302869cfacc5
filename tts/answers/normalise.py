"""The normal form of an answer: LaTeX without parts that do not change its meaning, and numbers in lowest terms.

Pure text work: no function here evaluates an expression or raises on any input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from tts.answers.typography import plain

Kind = Literal["number", "choice", "words", "time", "other"]

_LONGEST = 2_000  # characters: a longer answer is prose or noise, and is only trimmed
_MOST_DIGITS = 200  # of a numerator, a denominator or a decimal that is still brought to lowest terms
_MOST_LAYERS = 8  # of an answer that is still unwrapped

_ROW = r"(\\\\)"  # the end of a matrix row: looked for first, so that its second half is not read as `\ ` or `\[`
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-zA-Z*]*\}")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_LETTER = re.compile(r"[A-Z]")
_CHOICE_IN_BRACKETS = re.compile(r"\([A-Z]\)")
_BRACE = re.compile(r"\\[{}\\]|[{}]")

# LaTeX

_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|\{\\,\}|\{\s\})(?=\d{3}(?!\d))")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_NOTHING = re.compile(  # sizes, fonts and delimiters of mathematics
    rf"{_ROW}|\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\.?[ \t]*"
    r"|\\(?:display|text|script)style(?![a-zA-Z])\s*|\\(?:bf|rm|it|sf|tt|large|Large|huge|limits)(?![a-zA-Z])\s*"
    r"|\\hline(?![a-zA-Z])"
)
_SPACE = re.compile(rf"{_ROW}|\\[,;:!> ]|\\q?quad(?![a-zA-Z])|\\(?:h|v)space\*?\{{[^{{}}]*\}}")
_TIE = re.compile(r"(?<!\d)~|~(?!\d)")
_FONT_GROUP = re.compile(r"\{\\(?:bf|rm|it|sf|tt)(?![a-zA-Z])\s*([^{}]*)\}")
_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|pmb)\s*\{([^{}]*)\}")
_INLINE = re.compile(r"(?<!\\)\$(?! )((?:\\.|[^$\n\\])+)(?<! )\$(?!\d)")
_NAMES = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), "frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "binom"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), "ge"),
    **{"neq": "ne", "varnothing": "emptyset", "lbrace": "{", "rbrace": "}", "cr": "\\"},
}
_NAME = re.compile(rf"{_ROW}|\\({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?![a-zA-Z])")
_OPERATIONS = {"factorial": "!", "squared": "^2", "cubed": "^3", "pi": "\\pi "}
_OPERATION = re.compile(rf"\\text\s*\{{\s*({'|'.join(_OPERATIONS)})\s*\}}")
_BRACKET_NAME = re.compile(rf"{_ROW}|\\(lt|gt|lparen|rparen|lbrack|rbrack)(?![a-zA-Z]) *")
_BRACKETS = {"lt": "<", "gt": ">", "lparen": "(", "rparen": ")", "lbrack": "["}
_VECTOR = re.compile(r"\\langle(?![a-zA-Z])\s*([^|<>]*,[^|<>]*?)\s*\\rangle(?![a-zA-Z])")
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z])")
_DELIMITER = re.compile(rf"{_ROW}|\\[()\[\]]")
_SHORT_FRACTION = re.compile(r"\\(frac|binom)\s*(?:(\d)\s*(\d)(?!\d)|(\d)\s*(?=\{)|(\{[^{}]*\})\s*(\d)(?!\d))")
_OVER = re.compile(r"\{([^{}]*)\\over(?![a-zA-Z])\s*([^{}]*)\}")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d)")
_ROOT_OF_BRACKETS = re.compile(r"(?:\\|(?<![\\a-zA-Z]))sqrt\s*\(")
_SHORT_SET = re.compile(r"\\mathbb\s+([A-Z])")
_CONTROL_SPACE = re.compile(r"(\\[a-zA-Z]+) +(?=[^a-zA-Z\s])")

_MATRIX = re.compile(r"\\(begin|end)\{(?:[bB]|small|p small|psmall|bsmall)matrix\}")
_BRACKETED_ARRAY = re.compile(
    r"[\[(]\s*\\begin\{(array|matrix|smallmatrix)\}(?:\{[lcr ]*\})?((?:(?!\\begin|\\end).)*)\\end\{\1\}\s*[\])]",
    re.DOTALL,
)
_BARE_ARRAY = re.compile(r"\\begin\{(array|matrix)\}(?:\{[lcr ]*\})?((?:(?!\\begin|\\end).)*)\\end\{\1\}", re.DOTALL)
_ROW_SKIP = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm)\s*\]")
_LAST_ROW_END = re.compile(r"(?:\\\\\s*)+(?=\\end\{)")

_WRAPPERS = (("**", "**"), ("__", "__"), ("`", "`"), ("$$", "$$"), ("$", "$"), ('"', '"'), ("*", "*"))
_WRAPPING_COMMAND = re.compile(
    r"\\(?:boxed|fbox|mbox|text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathsf|mathit|underline|ensuremath)\s*\{"
)
_CLOSED_UP = re.compile(r"\s*([,()\[\]{}=<>|\\^*/:;&]|(?<=\s)[-+](?=\s))\s*")
_WOULD_BE_ONE_NUMBER = re.compile(r"(?<!\d)\d{1,3}\x00\d{3}(?!\d)|\.\d{3}\x00\d{1,2}(?!\d)")
_BRACED_SCRIPT = re.compile(r"([\^_])\{(\w|\\[a-zA-Z]+)\}(?!\w)")
_PROSE = re.compile(r"[^\W\d_](?:[^\W\d_]|[ .,;:'\u2019-])*")
_MATH_WORDS = frozenset(
    {"infinity", "infty", "sqrt", "frac", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "asin", "acos", "atan"}
)

# Numbers

_PLAIN = r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)"
_DECIMAL = re.compile(rf"(?P<mantissa>{_PLAIN})(?:[eE](?P<exponent>[-+]?\d{{1,3}}))?", re.ASCII)
_SCIENTIFIC = re.compile(
    rf"(?P<mantissa>{_PLAIN})\s*(?:\\times|\\cdot|x|\*)\s*10\s*\^\s*(?:\{{\s*(?P<braced>[-+]?\d{{1,3}})\s*\}}"
    r"|(?P<exponent>[-+]?\d{1,3}))",
    re.ASCII,
)
_FRACTION = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:\\frac\s*\{{\s*(?P<top>{_PLAIN})\s*\}}\s*\{{\s*(?P<bottom>{_PLAIN})\s*\}}"
    rf"|(?P<over>{_PLAIN})\s*/\s*(?P<under>{_PLAIN}))",
    re.ASCII,
)
_MIXED = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\s*\\frac\s*\{\s*(?P<top>\d+)\s*\}\s*\{\s*(?P<bottom>\d+)\s*\}"
    r"|\s+(?:and\s+)?(?P<over>\d+)\s*/\s*(?P<under>\d+))",
    re.ASCII,
)
_GROUPS = (  # digits in threes, apart from 1,234: spaces, apostrophes, points; lakhs
    re.compile(r"([-+]?\d{1,3}(?:[ ']\d{3})+)(?:[.,](\d+))?", re.ASCII),
    re.compile(r"([-+]?\d{1,3}(?:\.\d{3}){2,})(?:,(\d+))?", re.ASCII),
    re.compile(r"([-+]?\d{1,3}\.\d{3}),(\d{1,2})", re.ASCII),
    re.compile(r"([-+]?\d{1,2}(?:,\d\d)*,0\d(?:,\d\d)*,\d{3})(?:\.(\d+))?", re.ASCII),
)
_ASSIGNMENT = re.compile(
    r"(?:[a-zA-Z]|\\[a-zA-Z]+)(?:_(?:\w|\{\w+\}))?(?:\(\w+\))?\s*(?:=|\\approx)\s*(?P<value>[^=]+)"
)
_APPROXIMATELY = re.compile(r"(?:\\approx|\\sim(?:eq)?|~|=|:)\s*(?=[-+\d.\\$(])")
_SIGN_WORD = re.compile(r"(?:\\text\s*\{\s*)?(negative|minus|positive)\b\s*\}?\s*(?=[\d.\\$])", re.IGNORECASE)
_CURRENCY = (
    r"(?:(?:US|A|C|CA|AU|NZ|HK|S|R)?\\?\$|[€£¥₹₩₽₪₫฿]|\\pounds|\\(?:text)?euro|\\textdollar|USD|EUR|GBP|INR|JPY|Rs\.?)"
)
_MONEY = re.compile(rf"(?P<sign>[-+]?)\s*(?:\\text\s*\{{\s*)?{_CURRENCY}\s*\}}?\s*(?P<value>[-+]?[\d.][^$]*)")
_SCALES: Mapping[str, Fraction] = {
    **{"dozen": Fraction(12), "hundred": Fraction(10**2), "thousand": Fraction(10**3), "million": Fraction(10**6)},
    **{"billion": Fraction(10**9), "trillion": Fraction(10**12)},
    **dict.fromkeys(("half", "halves"), Fraction(1, 2)),
    **dict.fromkeys(("third", "thirds"), Fraction(1, 3)),
    **dict.fromkeys(("fourth", "fourths"), Fraction(1, 4)),
    **dict.fromkeys(("fifth", "fifths"), Fraction(1, 5)),
}
_SCALE = re.compile(rf"(?P<value>.*[\d}}])\s*(?:\\text\s*\{{\s*)?(?P<scale>{'|'.join(_SCALES)})\s*\}}?", re.IGNORECASE)
_NO_UNIT = (  # words of a trailing \text{…} that say more than the unit
    rf"{'|'.join(_SCALES)}|percent|or|and|mod|times|choose|[ap]\.?\s?m"
)
_LENGTHS = r"(?:[mcdk]m|in|ft|yd|mi|inch(?:es)?|foot|feet|yards?|(?:milli|centi|kilo)?met(?:er|re)s?|miles?|units?)"
_UNITS = (
    rf"(?:(?:sq(?:uare|\.)?|cu(?:bic|\.)?)\s+)?{_LENGTHS}(?:\s*\^\s*\{{?[23]\}}?)?(?:\s+(?:squared|cubed))?"
    r"|[mk]g|(?:kilo|milli)?grams?|lbs?|pounds?|oz|ounces?|tons?|ml|(?:milli)?lit(?:er|re)s?|gallons?|[km]?Hz"
    r"|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|months?|years?|mph|k?m/h|kmh|m/s|cents?|dollars?|euros?"
    r"|rupees?|yen|USD|EUR|GBP|INR|degrees?|radians?|people|students?|apples?|ways|times"
)
_UNIT = re.compile(
    r"(?P<value>[\d.)}])\s*(?:(?P<percent>\\?%|percent|\\text\s*\{\s*(?:\\?%|percent)\s*\})"
    r"|(?:\u00b0|\^\s*\\circ|\^\s*\{\s*\\circ\s*\})\s*(?:\\(?:text|mathrm)\s*\{\s*)?[CF]?\s*\}?|[€£¥₹₩₽₪₫฿]|\\\$|\\euro"
    rf"|\\(?:text|mathrm|textrm|mbox)\s*\{{(?!\s*(?:{_NO_UNIT})\b)[^{{}}\d]*\}}(?:\s*\^\s*\{{?[23]\}}?)?"
    rf"|(?:{_UNITS})(?:\s*(?:/|\s+per\s+|\s+an?\s+|\s+each\s*)\s*[a-z]*)?)$"
)
_CLOCK = re.compile(r"(\d{1,2})(?::([0-5]\d))?\s*(?:\\text\s*\{\s*)?([aApP])\.?\s?[mM]\.?\s*\}?", re.ASCII)
_CLOCK_SPELT = re.compile(r"\d{1,2}:\d\d [ap]m", re.ASCII)


@lru_cache(maxsize=1024)
def normalise(answer: str) -> str:
    """The normal form of an answer: `normalise(normalise(a)) == normalise(a)`.

    Numbers become canonical: integers without leading zeros, digit groups or a trailing point (`1,234.0`, `1 234` and
    `1.234.567,0` are `1234` and `1234567`); decimals, fractions and mixed numbers become one class (`0.50`, `.5`, `1/2`
    and `½` are `0.5`, `2 1/2` is `2.5`), fractions that no decimal can write are in lowest terms (`2/6` is `1/3`), `5
    million` and `5 \\times 10^6` are `5000000`. No other power is evaluated, and nothing is rounded. Currencies, units
    and a trailing `\\text{…}` are dropped from a number; a percent sign is kept, because `10%` may mean 10 or 0.1. `(1,
    234)` stays two numbers. Times of day become `5:30 pm`. Formulas lose the spaces and braces that do not matter, and
    matrices get round brackets; everything else keeps its words: only LaTeX wrappers, fonts, sizes and typographic
    spaces go, and punctuation at the end.
    """
    trimmed = trimmed_lines(answer)
    if len(trimmed) > _LONGEST:
        return trimmed
    now = trimmed
    for _ in range(_MOST_LAYERS):
        before, now = now, _step(now)
        if now == before:
            return now
        if len(now) > _LONGEST:
            return trimmed
    return trimmed  # nested more deeply than any answer


def kind(s: str) -> Kind:
    """number (also a percentage), choice, words, time (of day), or other: of a normalised answer."""
    if _LETTER.fullmatch(s):
        return "choice"
    if _number(s.removesuffix("%")) is not None:
        return "number"
    if _CLOCK_SPELT.fullmatch(s):
        return "time"
    if _PROSE.fullmatch(s) and any(len(word) >= 4 or word in ("yes", "no") for word in s.casefold().split()):
        return "other" if _MATH_WORDS.intersection(re.split(r"\W+", s.casefold())) else "words"
    return "other"


def has_words(s: str) -> bool:
    """Whether a text has a word of two letters or more outside LaTeX commands."""
    return bool(_WORD.search(_ENVIRONMENT.sub("", s) if "\\" in s else s))


def trimmed_lines(text: str) -> str:
    """Lines without space around them or at their seams; empty lines go."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _step(s: str) -> str:
    """Remove one layer of all that does not change an answer's meaning."""
    s = plain(s)
    if "$" in s:
        s = _INLINE.sub(r"\1", s)
    if "{," in s or "\\" in s:
        s = _latex(s)
    s = trimmed_lines(_TIE.sub(" ", s))
    s = s if s.endswith("..") else s.rstrip(".\u3002,;: ")
    s = _unwrapped(s)
    if _CHOICE_IN_BRACKETS.fullmatch(s):
        s = s[1]
    if "\n" not in s and not has_words(s):
        s = _BRACED_SCRIPT.sub(r"\1\2", _closed_up(s))
    return trimmed_lines(_canonical(s))


def _closed_up(s: str) -> str:
    """`(3,4)` for `( 3, 4 )`; but `1, 234`, which without its space would be another number, keeps it."""

    def tight(found: re.Match[str]) -> str:
        if found[1] != "," or len(found.group()) == 1:
            return found[1]
        around = s[max(0, found.start() - 8) : found.start()] + "\x00" + s[found.end() : found.end() + 4]
        return ", " if _WOULD_BE_ONE_NUMBER.search(around) else ","

    return _CLOSED_UP.sub(tight, s)


def _latex(s: str) -> str:
    s = _DECIMAL_COMMA.sub(".", _THOUSANDS.sub("", s))
    if "\\" not in s:
        return s
    if "\\begin" not in s:
        s = _DOUBLED.sub(r"\\", s)  # of a text that was escaped twice
    s = _NOTHING.sub(lambda found: found[1] or "", _FONT_GROUP.sub(_set_free, _undelimited(s)))
    s = _BOLD.sub(_set_free, _SPACE.sub(lambda found: found[1] or " ", s))
    s = _NAME.sub(lambda found: found[1] or "\\" + _NAMES[found[2]], s)
    s = _OPERATION.sub(lambda found: _OPERATIONS[found[1]], s)
    s = _BRACKET_NAME.sub(lambda found: found[1] or _BRACKETS.get(found[2], "]"), s)
    s = _VECTOR.sub(r"(\1)", _SHORT_SET.sub(r"\\mathbb{\1}", _OVER.sub(r"\\frac{\1}{\2}", s)))
    s = _SHORT_FRACTION.sub(_braced_fraction, _SHORT_ROOT.sub(r"\\sqrt{\1}", s))
    s = _braced_roots(s)
    if "\\begin" in s:
        s = _matrices(s)
    return _CONTROL_SPACE.sub(r"\1", " ".join(s.split()))


def _undelimited(s: str) -> str:
    """Remove `\\(` and `\\)`; but a lone `\\(` that closes with `)` is a bracket."""
    bracket = "\\)" not in s and s.count(")") > s.count("(") - s.count("\\(")
    return _DELIMITER.sub(lambda found: found[1] or ("(" if bracket and found.group() == "\\(" else ""), s)


def _set_free(font: re.Match[str]) -> str:
    """The content of a font command, apart from a command before it."""
    before = font.string[max(0, font.start() - 1) : font.start()]
    return (" " if before.isalpha() else "") + font[1]


def _braced_fraction(found: re.Match[str]) -> str:
    name, top, bottom, first, braced, last = found.groups()
    if top:
        return f"\\{name}{{{top}}}{{{bottom}}}"
    return f"\\{name}{{{first}}}" if first else f"\\{name}{braced}{{{last}}}"


def _braced_roots(s: str) -> str:
    """`\\sqrt{x(y+1)}` for `sqrt(x(y+1))`."""
    while found := _ROOT_OF_BRACKETS.search(s):
        depth, end = 1, found.end()
        while depth and end < len(s):
            depth += (s[end] == "(") - (s[end] == ")")
            end += 1
        if depth:
            return s
        s = f"{s[: found.start()]}\\sqrt{{{s[found.end() : end - 1]}}}{s[end:]}"
    return s


def _matrices(s: str) -> str:
    s = _LAST_ROW_END.sub("", _ROW_SKIP.sub(r"\\\\ ", s))
    s = _BRACKETED_ARRAY.sub(r"\\begin{pmatrix}\2\\end{pmatrix}", s)
    s = _MATRIX.sub(r"\\\1{pmatrix}", s)
    whole = _BARE_ARRAY.fullmatch(s.strip())
    return f"\\begin{{pmatrix}}{whole[2]}\\end{{pmatrix}}" if whole else s


def _unwrapped(s: str) -> str:
    for opening, closing in _WRAPPERS:
        inner = s[len(opening) : -len(closing)]
        whole = len(s) > len(opening) + len(closing) and s.startswith(opening) and s.endswith(closing)
        if whole and opening not in inner:
            s = inner
            break
    wrapping = _WRAPPING_COMMAND.match(s)
    if wrapping and s.endswith("}") and _closes_at_the_end(s, wrapping.end()):
        return s[wrapping.end() : -1]
    return s


def _closes_at_the_end(s: str, start: int) -> bool:
    depth = 1
    for match in _BRACE.finditer(s, start):
        token = match.group()
        if token == "}":
            depth -= 1
            if depth == 0:
                return match.end() == len(s)
        elif token == "{":
            depth += 1
    return False


def _canonical(s: str) -> str:
    """The canonical number or time of day that `s` writes, or `s`."""
    clock = _CLOCK.fullmatch(s)
    if clock:
        return f"{int(clock[1])}:{clock[2] or '00'} {clock[3].lower()}m"
    bare, percent = s, ""
    unit = _UNIT.search(bare)
    if unit:
        percent = "%" if unit.group("percent") else ""
        bare = bare[: unit.end("value")]
    assignment = _ASSIGNMENT.fullmatch(bare)
    if assignment:
        bare = assignment.group("value").strip()
    bare = _APPROXIMATELY.sub("", bare, count=1) if _APPROXIMATELY.match(bare) else bare
    sign = _SIGN_WORD.match(bare)
    if sign:
        bare = ("" if sign[1].casefold() == "positive" else "-") + bare[sign.end() :]
    money = _MONEY.fullmatch(bare)
    if money:
        bare = money.group("sign") + money.group("value")
    number = _scaled(bare)
    return s if number is None else number + percent


def _scaled(s: str) -> str | None:
    scale = _SCALE.fullmatch(s)
    if not scale:
        return _number(s)
    number = _number(scale.group("value").strip())
    if number is None or len(number) > _MOST_DIGITS:
        return None
    return _fraction(Fraction(number) * _SCALES[scale.group("scale").casefold()])


def _number(s: str) -> str | None:
    """The canonical form of a number without unit, or None."""
    decimal = _DECIMAL.fullmatch(s)
    if decimal:
        return _decimal(decimal.group("mantissa"), int(decimal.group("exponent") or 0))
    scientific = _SCIENTIFIC.fullmatch(s)
    if scientific:
        return _decimal(scientific.group("mantissa"), int(scientific.group("braced") or scientific.group("exponent")))
    for groups in _GROUPS:
        grouped = groups.fullmatch(s)
        if grouped:
            return _decimal(f"{re.sub(r'[^-+0-9]', '', grouped[1])}.{grouped[2] or ''}", 0)
    return _ratio(_FRACTION.fullmatch(s), mixed=False) or _ratio(_MIXED.fullmatch(s), mixed=True)


def _ratio(found: re.Match[str] | None, *, mixed: bool) -> str | None:
    if not found:
        return None
    top = found.group("top") or found.group("over")
    bottom = found.group("bottom") or found.group("under")
    if len(top) > _MOST_DIGITS or len(bottom) > _MOST_DIGITS:
        return None
    denominator = Fraction(bottom.replace(",", "").rstrip("."))
    if denominator == 0:
        return None
    value = Fraction(top.replace(",", "").rstrip(".")) / denominator
    if mixed:
        whole = found.group("whole").replace(",", "")
        if not 0 < value < 1 or len(whole) > _MOST_DIGITS:
            return None  # 2 3/2 is no mixed number
        value += int(whole)
    return _fraction(-value if found.group("sign") == "-" else value)


def _decimal(mantissa: str, exponent: int) -> str | None:
    """Shift the decimal point by moving characters, at a cost of the number's length. None: too large to write out."""
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


def _fraction(value: Fraction) -> str:
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
