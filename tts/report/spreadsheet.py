"""Cells of CSV files that no spreadsheet takes for formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts.process.streams import visible

if TYPE_CHECKING:
    pass


_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # the last four are the wide forms of the first


def plain(value: object) -> object:
    """For a field of a CSV file: several names in one; text that a spreadsheet would compute begins with an apostrophe,
    as OWASP has it ("CSV Injection"), while numbers stay numbers."""
    text = "; ".join(value) if isinstance(value, tuple) else value
    if not isinstance(text, str):
        return text
    return f"'{visible(text)}" if text.lstrip(" \n").startswith(_FORMULA) else visible(text)
