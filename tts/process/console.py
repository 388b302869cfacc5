"""Lines and tables on a terminal; on a pipe, unwrapped and complete."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tts.process.streams import visible

if TYPE_CHECKING:
    pass


PIPE_WIDTH = 1000  # columns
GAP = 2  # between the columns of a table


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, title: str | None = None) -> Table:
    """Format rows of text under their heads: the first column to the left, the others to the right. Last columns
    without room in `width` are named below."""
    columns = [[head, *(row[i] for row in rows)] for i, head in enumerate(heads)]
    widths = [max(map(cell_len, column)) + GAP for column in columns]
    count = next(n for n in range(len(heads), 0, -1) if n == 1 or sum(widths[:n]) - GAP <= width)
    caption = f"no room here for: {', '.join(heads[count:])}" if count < len(heads) else None
    table = Table(
        box=None, header_style="bold", padding=(0, GAP, 0, 0), pad_edge=False, title=title or None, caption=caption
    )
    table.title_justify = table.caption_justify = "left"
    for i, head in enumerate(heads[:count]):
        table.add_column(head, justify="right" if i else "left", no_wrap=i > 0, overflow="fold")
    for row in rows:
        table.add_row(*row[:count])
    return table


def say(out: Console, text: str, hang: int = 0) -> None:
    """Print a line: on a terminal wrapped between words, its further lines `hang` columns in; elsewhere as it is."""
    if out.is_terminal:
        text = textwrap.fill(
            text, out.width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
        )
    out.print(text, soft_wrap=True)


def console(stderr: bool = False) -> Console:
    """A console that honours NO_COLOR, COLUMNS and pipes, and wraps or leaves out no text. Brackets are printed
    as they are: names of strategies, files and problems hold them."""
    stream = sys.stderr if stderr else sys.stdout
    known = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()
    width = None if known else PIPE_WIDTH
    return _Terminal(file=stream, width=width, markup=False, emoji=False, highlight=False, force_jupyter=False)


class _Terminal(Console):
    """A console that shows the control characters of printed text; its own colours and movements stay."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)
