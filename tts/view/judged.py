"""The recorded candidates that a run of judges was about, from the files that it leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tts.errors import TTSError
from tts.pools.recorded import RecordedGroup, recorded_groups
from tts.runs.judgements import POOL, SCORES, read_judgements

STRATEGY = "judged"  # of every trial of such a run
_LATER = "the folder has the recorded candidates once the run has ended, and then the page says whom a reply is about"


class Judged:
    """The candidates that were judged, by problem. They are read when the first is asked for, once the run has ended.

    Attributes:
        note: why there are none; "" where there are.
    """

    def __init__(self, folder: Path) -> None:
        self.note = ""
        self._folder = folder
        self._groups: Mapping[str, RecordedGroup] = {}
        self._stamp: int | None = None

    def group(self, problem_id: str) -> RecordedGroup | None:
        """The candidates of a problem, by its id in the run; None where they are not known."""
        scores = self._folder / SCORES
        if not scores.is_file() or not (self._folder / POOL).is_file():
            self.note = _LATER
            return None
        stamp = scores.stat().st_mtime_ns
        if stamp != self._stamp:
            self._stamp, self.note, self._groups = stamp, "", {}
            try:
                self._groups = _read(self._folder)
            except TTSError as error:
                self.note = f"the recorded candidates cannot be read ({error})"
        return self._groups.get(problem_id)


def _read(folder: Path) -> dict[str, RecordedGroup]:
    """The groups by the ids that their problems have in the run, which name benchmark and model where there are
    several. Each has as many candidates as were judged of any. Raises: TTSError."""
    from tts.pools.parquet import read_pool  # pyarrow takes a while

    samples: dict[tuple[str, str, str], set[int]] = {}
    for one in read_judgements(folder):
        samples.setdefault((one.benchmark, one.model, one.problem_id), set()).add(one.sample_id)
    if not samples:
        return {}
    alone = len({key[:2] for key in samples}) == 1
    found = {}
    for group in recorded_groups(read_pool(folder / POOL), samples=max(map(len, samples.values()))):
        key = group.benchmark, group.model, group.problem_id
        if key in samples:
            for id in (group.problem_id, f"{group.problem_id} of {group.benchmark} by {group.model}")[not alone :]:
                problem = msgspec.structs.replace(group.problem, id=id)
                found[id] = msgspec.structs.replace(group, problem=problem)
    return found
