"""What judges have done, and how far each can be trusted: tables for a terminal, CSV, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tts.analysis.judges.tally import JudgeRow
from tts.reports.html import UNKNOWN

if TYPE_CHECKING:
    from rich.table import Table


def judged_table(rows: Sequence[JudgeRow], width: int) -> Table:
    """What each judge of a run has done, for a terminal of so many columns."""
    from tts.process.console import plain_table

    head = ["judge", "scored", "abstained", "unknown", "mean", "requests", "tokens", "a score"]
    lines = [
        [
            row.judge,
            f"{row.scored:,}",
            f"{row.abstained:,}",
            f"{row.unknown:,}",
            UNKNOWN if row.mean is None else f"{row.mean:.3g}",
            f"{row.cost.samples:,}",
            f"{row.cost.tokens:,}",
            UNKNOWN if not row.judgements else f"{row.cost.tokens / row.judgements:,.0f} tokens",
        ]
        for row in rows
    ]
    return plain_table(head, lines, width)
