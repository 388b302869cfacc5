"""What lies at a path: a run, a pool, or nothing that can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tts.errors import InvalidParameter
from tts.runs.folder import JOURNAL, PLAN
from tts.runs.problem_files import OUTCOMES
from tts.runs.served import check_not_served
from tts.tasks.verdict import Verdict
from tts.view.grading import Pair
from tts.view.replay import ReplayView
from tts.view.run import RunView
from tts.view.schema import Comparison, Grid, Overview, ProblemPage, Text, TrialRow, TrialShown


class View(Protocol):
    """What the page is shown: of a run, or of a pool. Unknown names raise UnknownName.

    Attributes:
        version: grows with every change. live: whether changes may come. path: of what is shown.

    `ungraded`: problems and answers, of a trial or of all that are decided, on which there is no verdict although there
    could be one; `learn` takes them in. `check`: whether the records were found not to be as they were written.
    """

    version: int
    live: bool
    path: Path

    def refresh(self) -> bool: ...
    def ungraded(self, trial: TrialShown | None = None) -> list[Pair]: ...
    def check(self) -> bool: ...
    def learn(self, verdicts: Mapping[Pair, Verdict]) -> None: ...
    def overview(self) -> Overview: ...
    def grid(self) -> Grid: ...
    def problem(self, id: str) -> ProblemPage: ...
    def trials(self, problem: str, cell: str) -> list[TrialRow]: ...
    def trial(self, id: str) -> TrialShown: ...
    def text(self, id: str) -> Text: ...
    def compare(self, a: str, b: str) -> Comparison: ...


def opened(path: Path) -> View | None:
    """Open a run folder or a pool; None where nothing is there yet.

    Raises: InvalidParameter for what is neither, or holds nothing to look at; as the reading of it does.
    """
    if path.is_file() or str(path) == "example":
        from tts.view.pool import PoolView  # pyarrow takes a while

        return PoolView(path)
    if not path.exists():
        if path.suffix or not path.parent.is_dir():
            raise InvalidParameter(f"there is no {path}: name a run folder (--out of tts sweep) or a pool", name="path")
        return None
    check_not_served(path)
    if (path / JOURNAL).is_file():
        return RunView(path)
    if (path / OUTCOMES).is_file():
        return ReplayView(path)
    if (path / PLAN).is_file():
        raise InvalidParameter(
            f"{path} holds a plan, which has no samples to look at: tts plan shows it", path=str(path)
        )
    if not any(path.iterdir()):
        return None  # a run may have made the folder, and no more yet
    raise InvalidParameter(
        f"{path} holds no run of tts: it has no {JOURNAL}; name the folder that --out of tts sweep or tts solve named, "
        f"or a pool",
        path=str(path),
    )
