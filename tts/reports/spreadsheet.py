"""Cells of CSV files that no spreadsheet takes for formulas."""

from __future__ import annotations

from tts.process.streams import visible

# Formulas begin with these; the last four are the wide forms of the first.
_SIGNS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def plain(value: object) -> object:
    """Make a field of a CSV file: several names in one; text that a spreadsheet would compute gets an apostrophe in
    front, as OWASP advises ("CSV Injection"), while numbers stay numbers."""
    text = "; ".join(value) if isinstance(value, tuple) else value
    if not isinstance(text, str):
        return text
    shown = visible(text)
    is_formula = shown.lstrip().startswith(_SIGNS) or text.lstrip(" \n").startswith(("\t", "\r"))
    return f"'{shown}" if is_formula else shown
