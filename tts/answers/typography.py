"""Characters that stand for a digit, a sign or a LaTeX command, written as that: `x²` is `x^{2}`.

Ranges keep their dash (`3–5` is not `-2`), and words of other alphabets keep their letters.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import re
import unicodedata

VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_SYMBOLS = {
    **dict.fromkeys("\u2212\uff0d\ufe63\u2010\u2011", "-"),
    **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\ufeff", ""),
    **dict.fromkeys("\u2044\u2215÷", "/"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("·⋅∙", "\\cdot "),
    **dict.fromkeys("≤⩽≦", "\\le "),
    **dict.fromkeys("≥⩾≧", "\\ge "),
    **{"×": "\\times ", "±": "\\pm ", "∓": "\\mp ", "≠": "\\ne ", "≈": "\\approx ", "∞": "\\infty "},
    **{"∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ", "∖": "\\setminus ", "∛": "\\sqrt[3]√"},
    **{"ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℚ": "\\mathbb{Q}", "ℕ": "\\mathbb{N}", "ℂ": "\\mathbb{C}"},
    **{"\u066b": ".", "\u066c": ",", "\u3001": ",", "∜": "\\sqrt[4]√", "º": "°", "˚": "°"},
    **{one: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", one).split("\u2044")) for one in VULGAR},
}
_GREEK_NAMES = {  # GREEK SMALL LETTER LAMDA, as Unicode spells it
    letter: unicodedata.name(letter).rpartition(" ")[2].replace("LAMDA", "LAMBDA")
    for letter in "αβγδεζηθικλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"
}
_GREEK = {letter: name.lower() if letter.islower() else name.capitalize() for letter, name in _GREEK_NAMES.items()}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₓₙₖₘ", "0123456789+-=()aexnkm", strict=True))

_DIGIT_GROUP = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f](?=\d{3}(?!\d))")
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]+")
_LOWERED_RUN = re.compile(f"[{''.join(_LOWERED)}]+")
_GREEK_WORD = re.compile(r"[\u0370-\u03ff]{2}")
_ROOT = re.compile(r"(\\sqrt\[\d\])?√\s*(?:(\d+(?:\.\d+)?|[a-zA-Z](?![a-zA-Z])|\\pi(?![a-zA-Z]))|(?=[({]))?")
_RANGE = re.compile(r"[\d.,]+\s*[\u2013\u2014]\s*[\d.,]+[^\d\\^=+*/]*")
_DASH = re.compile(r"\u2013|(?:(?<=[(\[{,=])|^)\s*[\u2014\u2015](?=\s*[\d.\\$])")


class _Characters(dict[int, str]):
    """A table for `str.translate`, with digits of any script, full-width and mathematical letters, too."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        digit = unicodedata.decimal(character, None)
        if digit is not None:
            return str(digit)
        if 0xFF01 <= code <= 0xFF5D:  # not the full-width ~, which stands between the ends of a range
            return chr(code - 0xFEE0)
        return unicodedata.normalize("NFKC", character) if 0x1D400 <= code <= 0x1D7FF else character


_CHARACTERS = _Characters({ord(character): text for character, text in _SYMBOLS.items()})


def plain(text: str) -> str:
    """`text` with its typographic characters written in ASCII or LaTeX where that is certain."""
    if text.isascii():
        return text
    text = _DIGIT_GROUP.sub("", text)
    text = _RAISED_RUN.sub(lambda run: "^{" + "".join(_RAISED[c] for c in run.group()) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + "".join(_LOWERED[c] for c in run.group()) + "}", text)
    text = text.translate(_CHARACTERS)
    if not _GREEK_WORD.search(text):
        text = "".join(f"\\{_GREEK[c]} " if c in _GREEK else c for c in text)
    text = _ROOT.sub(lambda root: (root[1] or "\\sqrt") + (f"{{{root[2]}}}" if root[2] else ""), text)
    return text if _RANGE.fullmatch(text.strip()) else _DASH.sub("-", text)
