"""Parts of pages that load nothing: tables, numbers as people read them, and text that is shown and never obeyed."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tts.intervals import Interval
from tts.process.streams import visible

if TYPE_CHECKING:
    pass


def escape(text: str) -> str:
    """Text of a page: markup, control characters and marks that turn the direction of writing are shown, not obeyed."""
    return html.escape(visible(text))


UNKNOWN = "\N{EN DASH}"
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1080px; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; }
p { margin: 0 0 .8rem; color: #444; max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: 0 0 1rem; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: .6rem 0 0; } figure svg { max-width: 100%; height: auto; }
.table { overflow-x: auto; } .table + p { margin-top: .8rem; }
table { border-collapse: collapse; font-size: 11.5px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .2rem .32rem; text-align: right; border-bottom: 1px solid #e6e6e6; }
th { border-bottom: 1.5px solid #333; font-weight: 600; vertical-align: bottom; }
.t { text-align: left; } tr.first td { border-top: 1.5px solid #bbb; }
tr.frontier td { font-weight: 600; background: #f3f6fa; }
ul { margin: 0 0 .8rem; padding-left: 1.2rem; color: #444; max-width: 46rem; }
small { color: #666; font-weight: 400; } td.t small { white-space: normal; }
@page { size: A4; margin: 12mm; }
@media print { body { margin: 0; max-width: none; padding: 0; } section, tr { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; } table { font-size: 8px; } .table { overflow: visible; }
  tr.frontier td { background: none; } }
"""
# The browser itself is told to load nothing: the file must look the same on a machine without a network. Vega compiles
# its expressions, hence 'unsafe-eval'.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"


def html_page(facts: Mapping[str, object], body: str, title: str) -> str:
    """A page that loads nothing: `title` (or the facts' own) as heading, the facts, the body (HTML)."""
    title = escape(str(facts.get("title", title)))
    run = "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>\n" for k, v in facts.items() if k != "title")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<dl>
{run}</dl>
{body}
</body>
</html>
"""


def html_table(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    text_columns: int,
    text_last: bool = False,
    marks: Sequence[str] = (),
) -> str:
    """A table of cells that are HTML already.

    Args:
        text_columns: so many of the first are set flush left; text_last: the last one, too.
        marks: a class for each line.
    """

    def cells(tag: str, texts: Sequence[str]) -> str:
        left = [i < text_columns or (text_last and i == len(texts) - 1) for i in range(len(texts))]
        return "".join(f"<{tag}{' class=t' * flush}>{text}</{tag}>" for flush, text in zip(left, texts, strict=True))

    classes = marks or [""] * len(lines)
    rows = [f'<tr class="{mark}">{cells("td", line)}</tr>' for mark, line in zip(classes, lines, strict=True)]
    return f"""<div class="table"><table>
<thead><tr>{cells("th", head)}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody></table></div>"""


def shown_percent(interval: Interval | None) -> str:
    """With its interval; as HTML."""
    if interval is None:
        return UNKNOWN
    mean = f"{100 * interval.mean:.1f}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} <small>[{100 * interval.low:.1f}, {100 * interval.high:.1f}]</small>"


def shown_count(value: int | None) -> str:
    """In full; a dash for None."""
    return UNKNOWN if value is None else f"{value:,}"


def shown_number(value: float | None) -> str:
    """Three significant digits, in full up to 100,000 and in powers of ten beyond; a dash for None."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
