"""Self-contained pages: the templates, numbers as people read them, and text that is shown and never obeyed."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tts.intervals import Interval
from tts.process.streams import visible

if TYPE_CHECKING:
    from jinja2 import Environment

UNKNOWN = "\N{EN DASH}"


class Noted(NamedTuple):
    """A cell of a table: a text, and a note in small letters beside it."""

    text: str
    note: str


Cell = str | Noted


def escape(text: str) -> str:
    """Text of a page: markup, control characters and marks that turn the direction of writing are shown, not obeyed."""
    return html.escape(visible(text))


def render(template: str, **values: Any) -> str:
    """A file of `tts/reports/templates/` with these values, which are escaped as `escape` does.

    Raises: jinja2.UndefinedError for a value that the template uses and that is not given.
    """
    return _templates().get_template(template).render(values)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here: most runs write no report

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {}  # a chart's keys in their own order
    return templates


def _harmless(value: object) -> object:
    """A value as a template prints it: HTML as it is, everything else as text without control characters."""
    return value if hasattr(value, "__html__") else visible(str(value))


def shown_percent(interval: Interval | None) -> Cell:
    """The mean, with the interval as a note; a dash for None."""
    if interval is None:
        return UNKNOWN
    mean = f"{100 * interval.mean:.1f}"
    if interval.low is None or interval.high is None:
        return mean
    return Noted(mean, f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]")


def shown_count(value: int | None) -> str:
    """Format a count in full; a dash for None."""
    return UNKNOWN if value is None else f"{value:,}"


def shown_number(value: float | None) -> str:
    """Format a number with three significant digits, in full up to 100,000, in powers of ten beyond; a dash for
    None."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
