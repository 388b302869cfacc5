"""The folder of a replay as the page is shown it: outcomes, of which no sample is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tts.errors import UnknownName
from tts.runs.folder import check_files
from tts.tasks.verdict import Verdict
from tts.view.grading import Pair
from tts.view.results import Results, cell_id, read_outcomes, trial_id
from tts.view.schema import (
    BillLine,
    Comparison,
    Grid,
    Overview,
    ProblemPage,
    ProblemShown,
    Spent,
    Text,
    TrialRow,
    TrialShown,
)

_NO_SAMPLES = "a replay keeps outcomes, and no samples: tts view of the pool that was replayed shows these"


class ReplayView:
    """See the module. A replay does not change: `refresh` reads nothing.

    Raises: RunError for a file that cannot be read.
    """

    version, live = 1, False

    def __init__(self, folder: Path) -> None:
        check_files(folder)
        self.path = folder
        outcomes = read_outcomes(folder)
        self.results = Results(outcomes)
        self._by_trial = {trial_id(outcome): outcome for outcome in outcomes}

    def refresh(self) -> bool:
        """Nothing is written to a replay that has ended."""
        return False

    def ungraded(self, trial: TrialShown | None = None) -> list[Pair]:
        """Outcomes of a replay keep the verdicts that they have."""
        return []

    def check(self) -> bool:
        """Outcomes have no checksums."""
        return False

    def learn(self, verdicts: Mapping[Pair, Verdict]) -> None:
        """There is nothing to learn."""

    def overview(self) -> Overview:
        outcomes, problems = self.results.outcomes, len(self.results.problems)
        samples, tokens = sum(o.samples for o in outcomes), sum(o.tokens for o in outcomes)
        return Overview(
            self.path.name, "replay", str(self.path), False, 1, problems, samples, len(outcomes), None,
            Spent(samples, tokens), self.results.cell_rows(), self.results.notes(),
        )  # fmt: skip

    def grid(self) -> Grid:
        return self.results.grid()

    def problem(self, id: str) -> ProblemPage:
        return ProblemPage(ProblemShown(id), self.results.by_cell(id))

    def trials(self, problem: str, cell: str) -> list[TrialRow]:
        return self.results.trials(problem, cell)

    def compare(self, a: str, b: str) -> Comparison:
        return self.results.compare(a, b)

    def trial(self, id: str) -> TrialShown:
        """What is known of a trial: its answer and what it cost."""
        found = self._by_trial.get(id)
        if found is None:
            raise UnknownName(f"there is no trial {id!r:.200}", name=id[:200])
        samples = found.tokens - found.verifier_tokens - found.cancelled_tokens
        kinds = {"samples": samples, "verification": found.verifier_tokens, "cancelled": found.cancelled_tokens}
        return TrialShown(
            id=id, problem=ProblemShown(found.problem_id), cell=cell_id(found.cell),
            strategy=f"{found.strategy}{':' if found.params else ''}{found.params}", seed=found.seed,
            state="decided" if found.error is None else "error", answer=found.answer, correct=found.correct,
            error=found.error, exhausted=found.exhausted, opened_s=found.opened_s, decided_s=found.decided_s,
            bill=[BillLine(what, tokens=tokens) for what, tokens in kinds.items() if tokens],
            total=BillLine("total", found.samples, found.tokens, found.prompt_tokens, found.usd, found.flops),
            notes=[_NO_SAMPLES],
        )  # fmt: skip

    def text(self, id: str) -> Text:
        """Raises: UnknownName, because no text is kept."""
        raise UnknownName(_NO_SAMPLES, name=id[:200])
