"""A run folder, finished or not, as the page is shown it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from tts.core.actions import cell_of, problem_of_trial, trial_of
from tts.core.journal.records import Bounded, Decided, Lost
from tts.errors import JournalCorrupt, RunError, TTSError, UnknownName
from tts.plugins.names import built_in
from tts.plugins.spec import parse_specs, split_spec
from tts.reports.summary import NO_REFERENCE
from tts.runs.config import RunConfig
from tts.runs.extension import together
from tts.runs.folder import ASKED, JOURNAL, check_files
from tts.runs.foreign_runs import cell_recorded, searches_asked_for
from tts.runs.kinds import command_of
from tts.runs.outcomes import Outcome
from tts.runs.plan import outcome_of
from tts.runs.problem_files import OUTCOMES, PROBLEMS, read_examples, references_away
from tts.tasks.example import Example
from tts.tasks.file_limits import TooLarge, read_whole
from tts.tasks.verdict import Verdict
from tts.types import Cost, Problem, StrategySpec
from tts.view.grading import Pair, at_once
from tts.view.index import JournalIndex
from tts.view.judged import STRATEGY, Judged
from tts.view.liveness import is_written
from tts.view.results import PREVIEW, Results, cell_id, cell_of_trial, read_outcomes, seed_of_trial, trial_id
from tts.view.schema import Comparison, Grid, Overview, ProblemPage, ProblemRow, Spent, Text, TrialRow, TrialShown
from tts.view.trials.details import Seen, answers_of, shown_problem, shown_trial
from tts.view.trials.records import read_trial
from tts.view.trials.retelling import names_code, retold
from tts.view.trials.texts import text_of

T = TypeVar("T")


class RunView:
    """See the module. Every method reads what it needs; `refresh` takes in what was written since.

    Args:
        folder: of a sweep, a solve or a judge.

    Attributes:
        version: grows with every change. live: whether the run is being written.
    """

    def __init__(self, folder: Path) -> None:
        check_files(folder)
        self.path = folder
        self.index = JournalIndex(folder / JOURNAL)
        self.version = 0
        self.live = False
        self.damage: JournalCorrupt | None = None
        self.examples: Mapping[str, Example] = {}
        self.verdicts: dict[Pair, Verdict] = {}
        self._seen: tuple[str, int, Seen] | None = None
        self._grader = ""
        self._judged = Judged(folder)
        self._decided: dict[int, Decided] = {}  # by line; none where the folder's outcomes say what they do
        self._paid: dict[int, Cost] = {}  # by line
        self._written: list[Outcome] = []  # in the folder
        self._as_written = False  # whether these are the journal's
        self._lost = Cost()
        self._losses = self._generation = 0
        self._files: list[tuple[str, int, int]] = []
        self._behind = True  # whether something was written that is not taken in
        self.refresh()

    def refresh(self) -> bool:
        """Take in what was written since. Returns whether anything was. Raises: RunError, BadProblem."""
        live = is_written(self.path / JOURNAL)
        files = [_stamp(self.path / name) for name in (PROBLEMS, ASKED, OUTCOMES)]
        grown = self.index.read_on()
        if not (grown or self._behind) and (live, files) == (self.live, self._files):
            return False
        self._behind, self.live = True, live  # what cannot be read now is looked at again
        if files != self._files:
            self._read_files()
            self._files = files
        self._read_ends()
        self._compute()
        self._behind = False
        self.version += 1
        return True

    def _read_files(self) -> None:
        if (self.path / PROBLEMS).is_file():
            task = read_examples(self.path)
            self._grader = task.grader
            self.examples = {example.problem.id: example for example in task.examples}
        elif (self.path / ASKED).is_file():
            problem = _decoded(self.path / ASKED, Problem)
            self.examples = {problem.id: Example(problem)}
        if (self.path / OUTCOMES).is_file():
            self._written = read_outcomes(self.path)
            graded = (outcome for outcome in self._written if outcome.error is None)
            self.verdicts |= {(o.problem_id, o.answer): Verdict(o.correct, o.ungraded) for o in graded}

    def _are_written(self) -> bool:
        """Whether the folder's outcomes are those of the journal: of each of its trials one, none of which was done
        again."""
        index = self.index
        same = not self.live and len(self._written) == len(index.decided) == len(index.decisions)
        return same and all(trial_id(outcome) in index.decided for outcome in self._written)

    def _read_ends(self) -> None:
        index = self.index
        if self._generation != index.generation:  # another journal lies in its place
            self._decided, self._paid, self._lost, self._losses = {}, {}, Cost(), 0
            self._generation = index.generation
        self._as_written = self._are_written()
        if not self._as_written:
            new = [line for line in index.decisions if line not in self._decided]
            self._decided |= {line: record for line, record in index.lines(new) if isinstance(record, Decided)}
            self._paid |= {line: self._decided[line].paid for line in new if line in self._decided}
        unpaid = [line for line in index.decisions if line not in self._paid]
        self._paid |= {line: _paid(data) for line, data in zip(unpaid, index.raw(unpaid), strict=True)}
        lost = [record for _, record in index.lines(index.losses[self._losses :]) if isinstance(record, Lost)]
        self._lost = Cost.sum([self._lost, *(record.cost for record in lost)])
        self._losses = len(index.losses)

    def _compute(self) -> None:
        """All that is shown of the outcomes."""
        outcomes = self._written if self._as_written else self._outcomes()
        if self._of_judges():  # their strategy returns some candidate: it selects none
            outcomes = [msgspec.structs.replace(outcome, answer=None) for outcome in outcomes]
        self.open_trials = [trial for trial in self.index.opened if trial not in self.index.decided]
        problems = {id: _problem_row(example) for id, example in self.examples.items()}
        labels = dict.fromkeys(cell.rpartition("#")[0] for cell in self.index.cells)
        self.results = Results(outcomes, self.open_trials, problems, labels)

    def _outcomes(self) -> list[Outcome]:
        """The outcomes of the trials that are decided, in the order of the plan. Raises: JournalCorrupt."""
        index, cells = self.index, {}
        current = {trial: self._decided[line] for trial, line in index.decided.items() if line in self._decided}
        for trial, decided in current.items():
            cell = cell_of(trial)
            if cell not in cells:
                cells[cell] = cell_recorded(cell, decided.strategy)
        places, rows = ({name: at for at, name in enumerate(names)} for names in (index.cells, self.examples))
        return [
            outcome_of(decided, cells[cell_of(trial)], self._verdict(decided.problem_id, decided.answer))
            for trial, decided in sorted(
                current.items(), key=lambda pair: (places[cell_of(pair[0])], rows.get(problem_of_trial(pair[0]), -1))
            )
        ]

    def ungraded(self, trial: TrialShown | None = None) -> list[Pair]:
        """Problems and answers, of a trial's candidates or of all trials that are decided, without a verdict, although
        the folder has what it takes to grade them."""
        if self.live or not (self.path / PROBLEMS).is_file() or references_away(self.path):
            return []
        if trial is not None:
            asked = [(trial.problem.id, candidate.answer) for candidate in trial.candidates]
            wanted = [pair for pair in asked if pair[1] is not None]
        else:
            wanted = [(o.problem_id, o.answer) for o in self.results.outcomes if o.error is None]
        return [pair for pair in dict.fromkeys(wanted) if pair not in self.verdicts and pair[0] in self.examples]

    def check(self) -> bool:
        """Compare every line with its checksum: a journal that was changed is shown, and said to be."""
        self.damage = self.index.damage()
        if self.damage is None:
            return False
        self.version += 1
        return True

    def learn(self, verdicts: Mapping[Pair, Verdict]) -> None:
        """Take in verdicts."""
        self.verdicts.update(verdicts)
        if any((outcome.problem_id, outcome.answer) in verdicts for outcome in self.results.outcomes):
            self._compute()
            self.version += 1

    def _verdict(self, problem_id: str, answer: str | None) -> Verdict:
        pair = problem_id, answer
        if pair not in self.verdicts and (example := self.examples.get(problem_id)) is not None:
            verdict = at_once(self._grader, example.reference, answer)
            if verdict is None:
                return Verdict()
            self.verdicts[pair] = verdict
        return self.verdicts.get(pair, Verdict())

    # --- what the page asks for

    def overview(self) -> Overview:
        paid = Cost.sum([*self._paid.values()]) + self._lost + self._unfinished()
        config, planned = self._config()
        return Overview(
            title=f"{config.model} on {config.problems}" if config else self.path.name,
            kind="judge" if self._of_judges() else command_of(self.path) or "run",
            path=str(self.path),
            live=self.live,
            version=self.version,
            problems=len(self.results.problems),
            samples=paid.samples,
            trials=len(self.results.outcomes),
            planned=planned,
            spent=Spent(paid.samples, paid.tokens, paid.usd, paid.flops),
            cells=self.results.cell_rows(),
            notes=self._notes(planned),
        )

    def grid(self) -> Grid:
        return self.results.grid()

    def problem(self, id: str) -> ProblemPage:
        recorded = self._judged.group(id) if self._of_judges() else None
        example = Example(recorded.problem) if recorded else self.examples.get(id)
        return ProblemPage(shown_problem(id, example), self.results.by_cell(id))

    def trials(self, problem: str, cell: str) -> list[TrialRow]:
        return self.results.trials(problem, cell)

    def compare(self, a: str, b: str) -> Comparison:
        return self.results.compare(a, b)

    def trial(self, id: str) -> TrialShown:
        seen = self.seen(id)
        for answer in answers_of(seen):
            self._verdict(seen.problem_id, answer)
        return shown_trial(seen)

    def text(self, id: str) -> Text:
        found = text_of(self.seen(trial_of(id)), id)
        if found is None:
            raise UnknownName(f"there is no request {id!r:.200}", name=id[:200])
        return found

    def seen(self, trial: str) -> Seen:
        """All that is known of a trial; of the latest one it is kept, for its texts. Raises: UnknownName,
        JournalCorrupt."""
        if self._seen is None or self._seen[:2] != (trial, self.version):
            self._seen = trial, self.version, self._seen_of(trial)
        return self._seen[2]

    def _seen_of(self, trial: str) -> Seen:
        if trial not in self.index.opened and trial not in self.index.decided:
            raise UnknownName(f"there is no trial {trial!r:.200}", name=trial[:200])
        records, problem_id = read_trial(self.index, trial), problem_of_trial(trial)
        (config, _), spec = self._config(), self._spec(cell_of(trial))
        recorded = self._judged.group(problem_id) if self._of_judges() else None
        example = Example(recorded.problem) if recorded else self.examples.get(problem_id)
        problem = Problem(problem_id, "") if example is None else example.problem
        told = (
            "its configuration cannot be read" if config is None else retold(records, spec, problem, config, recorded)
        )
        times = {a.id: self.index.last_time(a.line) for a in records.actions.values() if a.line}
        notes = [told] if isinstance(told, str) and not self._judged.note else []
        if self._judged.note:
            notes.append(self._judged.note)
        elif example is None:
            notes.append("the folder does not hold the problem's text")
        return Seen(
            records, None if isinstance(told, str) else told, problem_id, example, self.verdicts, cell_of_trial(trial),
            str(spec or cell_of_trial(trial)), seed_of_trial(trial), times, notes,
        )  # fmt: skip

    def _of_judges(self) -> bool:
        return any(cell.partition(":")[0] == STRATEGY for cell in self.index.cells)

    def _spec(self, cell: str) -> StrategySpec | None:
        """The strategy of a cell: a trial that is decided says it, or else the configuration."""
        decided = [line for trial, line in self.index.decided.items() if cell_of(trial) == cell][:1]
        for _, record in self.index.lines(decided):
            return record.strategy if isinstance(record, Decided) else None
        config, _ = self._config()
        for text in config.strategies if config else ():
            if split_spec(text, "strategy")[0] not in built_in("strategies") or names_code([text.partition(":")[2]]):
                continue
            with contextlib.suppress(TTSError):  # a parameter that there is no more; the spec of another cell
                for spec in parse_specs(text):
                    if cell.startswith(cell_id(str(spec))) and cell_recorded(cell, spec).spec == spec:
                        return spec
        return None

    def _config(self) -> tuple[RunConfig | None, int | None]:
        """The run's configuration, and the number of trials that were asked for."""
        configs = [header.config for header in self.index.configs()]
        try:
            count = max(len(self.examples), 1)
            return together(configs), searches_asked_for(map(RunConfig.read, configs), count)
        except (TTSError, IndexError):
            return None, None

    def _notes(self, planned: int | None) -> list[str]:
        found = [] if self.damage is None else [self.damage.message]
        if self.index.unreadable is not None:
            found.append(f"line {self.index.unreadable + 1} of {JOURNAL} cannot be read, and is left out")
        done = len(self.results.outcomes)
        if self.live:
            found.append(f"the run is going on: {done} of {planned or 'an unknown number of'} trials are decided")
            if not any(outcome.correct is not None for outcome in self.results.outcomes):
                found.append("answers are graded here once the run has ended: until then another process has the keys")
        elif self.open_trials or (planned and done < planned):
            of = max(planned or 0, done + len(self.open_trials))
            found.append(f"{done} of {of} trials are decided; repeat the command of the run to go on")
        if self._of_judges():
            return found  # the others are about answers
        return found + [note for note in self.results.notes() if not self.live or note != NO_REFERENCE]

    def _unfinished(self) -> Cost:
        """The cost of trials that are not decided: what has ended at its cost, and of a run that was stopped, what was
        in flight, at its upper bound."""
        found, in_flight = Cost(), dict[str, tuple[int, int]]()  # action -> the line of its grant, its reservation
        for trial in self.open_trials:
            for action in read_trial(self.index, trial).actions.values():
                if action.granted is None or action.of is not None or action.lost:
                    continue
                if action.end is None:
                    in_flight[action.id] = action.line, action.granted.cost.tokens
                else:
                    found += Cost(1, action.end.usage.completion_tokens, None, None)
        most = {} if self.live else self._at_most(in_flight)
        return Cost.sum([found, *(Cost(1, tokens, None, None) for tokens in most.values() if tokens)])

    def _at_most(self, in_flight: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """Tokens that actions in flight may have cost at the most: by their reservations, or what the journal says
        after their grants."""
        most = {id: tokens for id, (_, tokens) in in_flight.items()}
        first = min((line for line, _ in in_flight.values()), default=0)
        for number, record in self.index.lines([line for line in self.index.bounds if line > first]):
            for id, bound in record.most.items() if in_flight and isinstance(record, Bounded) else ():
                if id in in_flight and number > in_flight[id][0]:
                    reserved = in_flight[id][1]
                    most[id] = reserved if bound is None else min(reserved, bound)
        return most


class _Paid(msgspec.Struct):
    """The part of a trial's end that says what the run paid for it."""

    paid: Cost


def _paid(line: bytes) -> Cost:
    try:
        return msgspec.json.decode(line, type=_Paid).paid
    except (ValueError, RecursionError) as error:
        raise JournalCorrupt(f"the journal has the end of a trial that cannot be read: {error}") from None


def _problem_row(example: Example) -> ProblemRow:
    return ProblemRow(example.problem.id, example.problem.prompt[:PREVIEW], example.reference)


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_whole(path), type=kind)
    except (TooLarge, OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is not as a run writes it: {error}", path=str(path)) from None


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, status.st_mtime_ns, status.st_size
