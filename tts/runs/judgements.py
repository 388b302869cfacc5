"""The scores that judges have given to recorded candidates, one a line of a run folder's `scores.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tts.errors import RunError
from tts.runs.folder import write_atomically
from tts.tasks.file_limits import TooLarge, lines
from tts.types import ScoreKind, Value

SCORES, JUDGED, POOL = "scores.jsonl", "judged.json", "pool.parquet"  # of a run folder


class Judgement(Value, frozen=True):
    """One judge's score of one recorded candidate.

    Args:
        judge: its name in the run, with parameters.
        order: 0 where the candidates were shown as they were recorded, 1 in reverse.
        value: None is an abstention.
        verdicts, unread: the replies that it took, and those of them that could not be read.
        text: the rationale, where there is one.
    """

    judge: str
    benchmark: str
    model: str
    problem_id: str
    sample_id: int
    order: int
    value: float | None
    kind: ScoreKind = "scale"
    mass: float | None = None
    verdicts: int = 0
    unread: int = 0
    text: str = ""


def write_judgements(folder: Path, judgements: Iterable[Judgement]) -> Path:
    """Write `scores.jsonl`. Raises: StorageFull, RunError."""
    path = folder / SCORES
    write_atomically(path, b"".join(msgspec.json.encode(one) + b"\n" for one in judgements))
    return path


def read_judgements(folder: Path) -> list[Judgement]:
    """Read `scores.jsonl`. Raises: RunError."""
    path = folder / SCORES
    try:
        with path.open("rb") as file:
            return [msgspec.json.decode(line, type=Judgement) for line in lines(file)]
    except TooLarge as error:
        raise RunError(f"{path} {error}", path=str(path)) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}", path=str(path)) from None
    except ValueError as error:
        raise RunError(f"{path} is not as `tts judge` writes it: {error}", path=str(path)) from None
