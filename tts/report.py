"""From what a sweep measured to a report: rows per cell, then CSV, JSON, one self-contained HTML file, PNG and SVG.

A cell is one strategy with its parameters under one budget; an `Outcome` is one problem with one seed in it. The
pictures are in `tts/charts.py` (extra `report`); everything else here needs only the standard library and numpy.
"""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tts.endings import WITHOUT_FINISH
from tts.errors import MissingExtra, StorageFull
from tts.frontier import Corner, Placed, Stretch, corners, gained, stretches, tie_of
from tts.intervals import Interval, mean_interval
from tts.outcome import Ends
from tts.runfolder import check_files
from tts.streams import visible
from tts.types import Value

if TYPE_CHECKING:
    from tts.charts import Picture

NOTED = 0.05  # the share of samples from which on something is said of them
MUCH_UNSPENT = 0.2  # the share of a budget that a reader must be told was left


class Outcome(Value, frozen=True):
    """One problem, solved once.

    Args:
        cell: label of the strategy, its parameters and its budget; unique to the cell.
        correct: None if the problem has no reference answer, or the answer could not be graded. A wrong, missing or
            unparseable answer is False.
        ungraded: why the answer could not be graded (a limit, a crash, an error of the grader's); None if it was, or if
            there is no reference.
        tokens: all generated tokens; `verifier_tokens` and `cancelled_tokens` are parts of it, and do not overlap.
        prompt_tokens: of all requests, cached ones included.
        sequential_tokens: the longest chain of tokens that had to be generated one after another.
        usd, flops: None where the price or the model's size is unknown.
        seconds: of model requests, summed; `latency_s`: from the first action to the answer.
        exhausted: the budget turned down something that the strategy asked for.
        unspent: the share of the problem's budget that was then left, 0 to 1; next_cost: the share that the next action
            might have cost, a sample or a verification (next_action). None where this budget did not end the search.
        failed: how many requests failed for good; the strategy went on without them.
        verifications, abstained: how many scores were asked for, and how many of them gave none.
        unpriced: verifications of a replay whose cost was not recorded; they are in no other number of this row.
        downgrades: parameters that a server refused and that were left out.
        opened_s, decided_s: when the search was opened and when it was decided, on the run's clock, where that is kept.
        late_tokens: those that were decoded after the decision, before the cancellations had arrived.
        allocator: which shared the cell's budget out; "" where each problem had a budget of its own. stopped: why it
            gave this problem no more, "" if it was not it that ended the search.
        candidates: samples that came back; of these `cut`, `unanswered`, `refused` and `uncompared` are the counts
            of `Ends`, and `cut_at` is how long the longest of those that were cut is. None where nobody counted.
        agreement: the share of the samples that have the answer which was selected; None where there is none.
        error: set if the infrastructure, not the model, is why there is no answer. Such an outcome is left out of
            accuracy and of all means, and counted apart.
    """

    cell: str
    strategy: str
    params: str
    budget: str
    seed: int
    problem_id: str
    answer: str | None
    correct: bool | None
    samples: int
    tokens: int
    prompt_tokens: int
    sequential_tokens: int
    verifier_tokens: int
    cancelled_tokens: int
    usd: float | None
    flops: int | None
    seconds: float
    latency_s: float
    exhausted: bool = False
    failed: int = 0
    error: str | None = None
    verifications: int = 0
    abstained: int = 0
    downgrades: tuple[str, ...] = ()
    opened_s: float | None = None
    decided_s: float | None = None
    late_tokens: int | None = None
    allocator: str = ""
    stopped: str = ""
    ungraded: str | None = None
    unpriced: int = 0
    unspent: float | None = None
    next_cost: float | None = None
    next_action: str = ""
    candidates: int = 0
    cut: int | None = None
    cut_at: int | None = None
    unanswered: int | None = None
    refused: int | None = None
    uncompared: int | None = None
    agreement: float | None = None


class Row(Value, frozen=True):
    """One cell. Quantities are means per problem and seed, over the outcomes without an error.

    Args:
        problems, seeds: how many different ones the means are over.
        accuracy: over the problems whose answers were graded; None if there are none.
        ungraded: how many answers could not be graded, and are in no accuracy; ungraded_why: the first one's reason.
        samples ... latency_s: as in `Outcome`; None if there was no outcome without an error.
        unspent, next_cost, next_action: as in `Outcome`, over the `short` searches that have them; None if none has.
        exhausted, failed, errors: counts; `error_tokens` is what the outcomes with an error spent in all.
        abstained: the share of verifications that gave no score; None if there were none.
        downgrades: parameters that some server refused and that were left out.
        decision_p50_s, decision_p99_s: from a search's being opened to its decision; makespan_s: from the first action
            of all to the last decision, the mean over seeds; late_tokens: as in `Outcome`. None where it was not kept.
        unpriced: verifications a problem whose cost was not recorded: tokens, samples and prices are without them.
        allocator: as in `Outcome`. unserved: how many searches the budget did not reach with a single sample.
        on_frontier: over `tokens`: the cheapest row, what its strategy's dearer rows add, and what beats these by more
            than noise (`tts.frontier`); never one that spent nothing.
        on_sequential_frontier, on_usd_frontier: the same for `sequential_tokens`, and for `usd` if every row knows it.
        ties: the strategies from which a row on the frontier of `tokens` is not distinguishable.
        candidates, cut, unanswered, refused, uncompared: as in `Outcome`, summed; cut_at: the most.
        agreement: as in `Outcome`, the mean: it needs no reference answers.
    """

    cell: str
    strategy: str
    params: str
    budget: str
    problems: int
    seeds: int
    accuracy: Interval | None
    samples: float | None
    tokens: float | None
    prompt_tokens: float | None
    sequential_tokens: float | None
    verifier_tokens: float | None
    cancelled_tokens: float | None
    usd: float | None
    flops: float | None
    seconds: float | None
    latency_s: float | None
    exhausted: int
    failed: int
    errors: int
    error_tokens: int
    on_frontier: bool
    abstained: float | None = None
    downgrades: tuple[str, ...] = ()
    decision_p50_s: float | None = None
    decision_p99_s: float | None = None
    makespan_s: float | None = None
    late_tokens: float | None = None
    allocator: str = ""
    unserved: int = 0
    ungraded: int = 0
    ungraded_why: str = ""
    unpriced: float = 0.0
    on_sequential_frontier: bool = False
    on_usd_frontier: bool = False
    ties: tuple[str, ...] = ()
    unspent: float | None = None
    next_cost: float | None = None
    next_action: str = ""
    short: int = 0
    candidates: int = 0
    cut: int | None = None
    cut_at: int | None = None
    unanswered: int | None = None
    refused: int | None = None
    uncompared: int | None = None
    agreement: float | None = None

    @property
    def ends(self) -> Ends:
        """How its samples ended, as far as known."""
        counts = self.cut, self.cut_at, self.unanswered, self.refused, self.uncompared
        return Ends(self.candidates, *(count or 0 for count in counts))

    @property
    def name(self) -> str:
        """The strategy with its parameters, as on the command line."""
        return f"{self.strategy}{':' if self.params else ''}{self.params}"

    @property
    def series(self) -> str:
        """What belongs together in a picture: a strategy, and who shares its budget out."""
        return f"{self.strategy} by {self.allocator}" if self.allocator else self.strategy

    @property
    def owner(self) -> str:
        """Whose a place on a frontier is: the series, and that its cost leaves the scoring out, where it does."""
        return f"{self.series} without scoring" if self.unpriced else self.series


def summarise(outcomes: Iterable[Outcome]) -> list[Row]:
    """Rows in the order in which their cells first appear; 95 % intervals over problems."""
    cells: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        cells.setdefault(outcome.cell, []).append(outcome)
    graded = [_graded(members) for members in cells.values()]
    return _placed([_row(members, some) for members, some in zip(cells.values(), graded, strict=True)], graded)


def _placed(rows: Sequence[Row], graded: Sequence[Mapping[str, Sequence[float]]]) -> list[Row]:
    """The rows with their places on the frontiers."""
    means = [{problem: sum(values) / len(values) for problem, values in some.items()} for some in graded]

    def found(cost: Callable[[Row], float | None]) -> dict[int, Corner]:
        spent = {i: cost(row) for i, row in enumerate(rows) if means[i]}
        return corners({i: Placed(some, rows[i].owner, means[i]) for i, some in spent.items() if some})

    tokens, sequential = found(lambda row: row.tokens), found(lambda row: row.sequential_tokens)
    # A frontier in dollars among some of the rows would flatter these.
    usd = found(lambda row: row.usd) if all(row.usd is not None for row in rows) else {}
    return [
        msgspec.structs.replace(
            row,
            on_frontier=i in tokens,
            on_sequential_frontier=i in sequential,
            on_usd_frontier=i in usd,
            ties=tokens[i].ties if i in tokens else (),
        )
        for i, row in enumerate(rows)
    ]


def owners_of(rows: Sequence[Row]) -> list[Stretch]:
    """Who owns the frontier in tokens."""
    kept = [
        Corner(row.tokens, row.accuracy.mean, row.owner, row.ties)
        for row in rows
        if row.on_frontier and row.accuracy and row.tokens is not None
    ]
    return stretches(sorted(kept, key=lambda corner: corner.cost))


def _graded(members: Sequence[Outcome]) -> dict[str, list[float]]:
    """Verdicts by problem."""
    graded: dict[str, list[float]] = {}
    for o in members:
        if o.error is None and o.correct is not None:
            graded.setdefault(o.problem_id, []).append(float(o.correct))
    return graded


def _row(members: Sequence[Outcome], graded: Mapping[str, Sequence[float]]) -> Row:
    sound = [o for o in members if o.error is None]

    def mean(value: Callable[[Outcome], float | None]) -> float | None:
        values = [v for o in sound if (v := value(o)) is not None]
        return sum(values) / len(values) if values and len(values) == len(sound) else None

    head = members[0]
    verified = sum(o.verifications for o in members)
    return Row(
        cell=head.cell,
        strategy=head.strategy,
        params=head.params,
        budget=head.budget,
        problems=len({o.problem_id for o in sound}),
        seeds=len({o.seed for o in sound}),
        accuracy=mean_interval(graded),
        samples=mean(lambda o: o.samples),
        tokens=mean(lambda o: o.tokens),
        prompt_tokens=mean(lambda o: o.prompt_tokens),
        sequential_tokens=mean(lambda o: o.sequential_tokens),
        verifier_tokens=mean(lambda o: o.verifier_tokens),
        cancelled_tokens=mean(lambda o: o.cancelled_tokens),
        usd=mean(lambda o: o.usd),
        flops=mean(lambda o: o.flops),
        seconds=mean(lambda o: o.seconds),
        latency_s=mean(lambda o: o.latency_s),
        exhausted=sum(o.exhausted for o in sound),
        failed=sum(o.failed for o in members),
        errors=len(members) - len(sound),
        error_tokens=sum(o.tokens for o in members if o.error is not None),
        on_frontier=False,
        abstained=sum(o.abstained for o in members) / verified if verified else None,
        downgrades=tuple(sorted({d for o in members for d in o.downgrades})),
        decision_p50_s=_decision(sound, 0.5),
        decision_p99_s=_decision(sound, 0.99),
        makespan_s=_makespan(sound),
        late_tokens=mean(lambda o: o.late_tokens),
        allocator=head.allocator,
        unserved=sum(o.exhausted and not o.samples for o in sound),
        unspent=_mean([o.unspent for o in sound if o.unspent is not None]),
        next_cost=_mean([o.next_cost for o in sound if o.next_cost is not None]),
        next_action=" or ".join(sorted({o.next_action for o in sound if o.next_action})),
        short=sum(o.unspent is not None for o in sound),
        ungraded=sum(o.ungraded is not None for o in sound),
        ungraded_why=next((o.ungraded for o in sound if o.ungraded is not None), ""),
        unpriced=mean(lambda o: o.unpriced) or 0.0,
        candidates=sum(o.candidates for o in members),
        cut=_over(sum, [o.cut for o in members]),
        cut_at=_over(max, [o.cut_at for o in members]),
        unanswered=_over(sum, [o.unanswered for o in members]),
        refused=_over(sum, [o.refused for o in members]),
        uncompared=_over(sum, [o.uncompared for o in members]),
        agreement=_mean([o.agreement for o in sound if o.agreement is not None]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _over(total: Callable[[Sequence[int]], int], counts: Sequence[int | None]) -> int | None:
    """None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return total(known) if len(known) == len(counts) else None


def _decision(outcomes: Sequence[Outcome], quantile: float) -> float | None:
    """A quantile of the time from opening a search to its decision: the nearest rank."""
    times = sorted(o.decided_s - o.opened_s for o in outcomes if o.decided_s is not None and o.opened_s is not None)
    return times[math.ceil(quantile * len(times)) - 1] if times and len(times) == len(outcomes) else None


def _makespan(outcomes: Sequence[Outcome]) -> float | None:
    last: dict[int, float] = {}
    for o in outcomes:
        if o.decided_s is None:
            return None
        last[o.seed] = max(last.get(o.seed, 0.0), o.decided_s)
    return sum(last.values()) / len(last) if last else None


def warnings_of(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know and would not see."""
    found = []
    if rows and all(r.accuracy is None and not r.ungraded and r.agreement is not None for r in rows):
        found.append(
            "no problem has a reference answer, so accuracy is unknown; agreement is the mean share of a problem's "
            "samples that have the answer which was chosen"
        )
    exhausted = sum(r.exhausted for r in rows if "n=None" not in r.params.split(","))  # that count asks for no less
    searches = sum(r.problems * r.seeds for r in rows)
    if exhausted:
        found.append(
            f"{exhausted} of {searches} searches ended because a budget ran out; no answer counts as a wrong one"
        )
    found += [
        f"{r.series}, budget {r.budget or 'of the run'}: it ended before the first sample of {r.unserved} of "
        f"{r.problems * r.seeds} searches; problems are served in the order given"
        for r in rows
        if r.unserved
    ]
    found += [
        f"{r.series}{':' if r.params else ''}{r.params}, budget {r.budget}: {100 * r.unspent:.0f} % of the budget was "
        f"left in the {r.short} of {r.problems * r.seeds} searches that it ended, because one more {r.next_action} may "
        f"cost {100 * r.next_cost:.0f} % of it (all that the request may generate is reserved)"
        + ("; a lower --max-tokens spends more" if r.next_action == "sample" else "")
        for r in rows
        if r.unspent is not None and r.next_cost is not None and r.unspent >= MUCH_UNSPENT
    ]
    downgrades = sorted({d for r in rows for d in r.downgrades})
    if downgrades:
        found.append(without_parameters(downgrades))
    found += _sample_warnings(rows)
    found += [
        f"{r.name}: {100 * r.abstained:.0f} % of its verifications gave no score"
        + ("; it chose by majority instead" if r.abstained == 1 else "")
        for r in rows
        if r.abstained
    ]
    ungraded = sum(r.ungraded for r in rows)
    if ungraded:
        why = next(r.ungraded_why for r in rows if r.ungraded)
        found.append(
            f"{ungraded} of {searches} answers could not be graded and are left out of the accuracy; the first: {why}"
        )
    failed = sum(r.failed for r in rows)
    if failed:
        found.append(f"{failed} requests failed for good; their searches went on without them")
    return found


def _sample_warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Each note once, of the row that has the most such samples: rows share samples, so that a sum counts twice."""
    counts: tuple[Callable[[Ends], int], ...] = (
        *(lambda e: e.cut, lambda e: e.refused, lambda e: e.unanswered),
        lambda e: e.uncompared,
    )
    for i, count in enumerate(counts):
        noted = [row for row in rows if notes_on(row.ends)[i]]
        if noted:
            worst = max(noted, key=lambda row: count(row.ends))
            yield (f"{worst.name}: " if len(rows) > 1 else "") + notes_on(worst.ends)[i]


def without_parameters(names: Sequence[str]) -> str:
    """On parameters that matter, and that a server refused; and on a server that gives no finish reason."""
    refused = ", ".join(name for name in names if name != WITHOUT_FINISH)
    notes = [f"a server refused these parameters, and requests went without them: {refused}"] if refused else []
    if WITHOUT_FINISH in names:
        notes.append("a server gave no finish reason: a stream that it ended in order was taken for a whole completion")
    return "; ".join(notes)


def notes_on(ends: Ends) -> tuple[str, str, str, str]:
    """On samples that were cut, that were refused, without an answer for neither reason, and with an answer that could
    not be compared; "" where too few to matter (below 5 % of the first and the third kind)."""
    few, of = NOTED * ends.samples, f"of {ends.samples:,} samples"
    cut = f"{ends.cut:,} {of} were cut at {ends.cut_at:,} tokens: raise --max-tokens, unless the context ends there"
    refused = f"{ends.refused:,} {of} were refused by the model's content filter"
    silent = f"{ends.unanswered:,} {of} have no answer that could be read; a prompt that asks for \\boxed{{}} helps"
    uncompared = f"{ends.uncompared:,} {of} have answers that could not be compared with the others: each votes alone"
    unexplained = ends.unanswered - ends.cut - ends.refused
    return (
        cut if ends.cut and ends.cut >= few else "",
        refused if ends.refused else "",
        silent if unexplained > 0 and unexplained >= few else "",
        uncompared if ends.uncompared else "",
    )


_NOTHING = "There is nothing to draw: no cell has both an accuracy and a cost."


def write_report(
    folder: Path,
    rows: Sequence[Row],
    facts: Mapping[str, object],
    outcomes: Sequence[Outcome] = (),
    *,
    draws: bool = True,
) -> dict[str, Path]:
    """Write `report.html`, `report.csv`, `report.json`, and each picture as PNG and SVG, into `folder`.

    Args:
        facts: what to say about the run, shown in this order (model, date, budget, seeds ...); `title` is the heading.
        outcomes: what the rows are of, for the picture of where an allocator's tokens went.
        draws: whether there are to be pictures; without, nothing is imported to draw with.

    Returns:
        File name -> path.

    Raises:
        MissingExtra: the extra `report` is not installed. CSV, JSON and an HTML file with the table are written before.
        StorageFull: the folder cannot be written.
    """
    files: dict[str, str | bytes] = {
        "report.csv": _csv(rows),
        "report.json": msgspec.json.format(
            msgspec.json.encode({"version": 1, "facts": facts, "rows": rows}, enc_hook=str), indent=1
        ),
    }

    def draw() -> list[Picture]:
        from tts import allocationchart, charts

        where = allocationchart.allocation(outcomes)
        return charts.pictures(rows) + ([where] if where else [])

    if not (draws and rows):
        return _write(folder, {**files, "report.html": _html(rows, facts, "" if rows else f"<p>{_NOTHING}</p>")})
    return write_illustrated(folder, files, "report.html", draw, lambda figures: _html(rows, facts, figures))


def write_illustrated(
    folder: Path,
    files: Mapping[str, str | bytes],
    name: str,
    draw: Callable[[], Sequence[Picture]],
    html: Callable[[str], str],
    nothing: str = _NOTHING,
) -> dict[str, Path]:
    """Write the files, the pictures, and the page `name` that holds these: `html` is given them as HTML.

    Args:
        draw: imports what it draws with.
        nothing: what the page says where there are no pictures.

    Raises:
        MissingExtra: the extra `report` is not installed. The files and a page without pictures are written before.
        StorageFull: the folder cannot be written.
    """
    try:
        pictures = draw()
        from tts.charts import embedded, png_of
    except ImportError as error:
        written = _write(folder, {**files, name: html("")})
        raise MissingExtra(
            f"the pictures need the extra `report` ({error.name} is missing): pip install 'test-time-scaling[report]'. "
            f"The table is in {written[name]}.",
            extra="report",
            written=[str(path) for path in written.values()],
        ) from error
    drawn: dict[str, str | bytes] = dict(files)
    svgs = {picture.name: picture.svg() for picture in pictures}
    for picture, svg in svgs.items():
        drawn[f"{picture}.png"], drawn[f"{picture}.svg"] = png_of(svg), svg
    drawn[name] = html(embedded(pictures, svgs) if pictures else f"<p>{nothing}</p>")
    return _write(folder, drawn)


def _write(folder: Path, files: Mapping[str, str | bytes]) -> dict[str, Path]:
    paths = {name: folder / name for name in files}
    check_files(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            paths[name].write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StorageFull(f"cannot write the report into {folder}: {error.strerror}", path=str(folder)) from error
    return paths


def _csv(rows: Sequence[Row]) -> str:
    """One line per row, unknown as an empty field; accuracy is spread over four columns."""
    names = [n for n in Row.__struct_fields__ if n != "accuracy"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "accuracy", "accuracy_low", "accuracy_high", "accuracy_problems"])
    for row in rows:
        a = row.accuracy
        writer.writerow([*(plain(getattr(row, n)) for n in names), *((a.mean, a.low, a.high, a.n) if a else ("",) * 4)])
    return text.getvalue()


_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # the last four are the wide forms of the first


def plain(value: object) -> object:
    """For a field of a CSV file: several names in one; text that a spreadsheet would compute begins with an apostrophe,
    as OWASP has it ("CSV Injection"), while numbers stay numbers."""
    text = "; ".join(value) if isinstance(value, tuple) else value
    if not isinstance(text, str):
        return text
    return f"'{visible(text)}" if text.lstrip(" \n").startswith(_FORMULA) else visible(text)


def escape(text: str) -> str:
    """Text of a page: markup, control characters and marks that turn the direction of writing are shown, not obeyed."""
    return html.escape(visible(text))


UNKNOWN = "\N{EN DASH}"

_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("strategy", lambda r: escape(r.series)),
    ("parameters", lambda r: escape(r.params)),
    ("budget", lambda r: escape(r.budget)),
    ("accuracy", lambda r: shown_percent(r.accuracy)),
    ("tokens", lambda r: shown_number(r.tokens)),
    ("sequential", lambda r: shown_number(r.sequential_tokens)),
    ("verifier", lambda r: "without scoring" if r.unpriced else shown_number(r.verifier_tokens)),
    ("cancelled", lambda r: shown_number(r.cancelled_tokens)),
    ("samples", lambda r: shown_number(r.samples)),
    ("USD", lambda r: shown_number(r.usd)),
    ("FLOPs", lambda r: shown_number(r.flops)),
    ("latency s", lambda r: shown_number(r.latency_s)),
    ("decided p50 s", lambda r: shown_number(r.decision_p50_s)),
    ("p99 s", lambda r: shown_number(r.decision_p99_s)),
    ("makespan s", lambda r: shown_number(r.makespan_s)),
    ("late", lambda r: shown_number(r.late_tokens)),
    ("problems", lambda r: str(r.problems)),
    ("exhausted", lambda r: str(r.exhausted)),
    ("cut", lambda r: shown_count(r.cut)),
    ("no answer", lambda r: shown_count(r.unanswered)),
    ("refused", lambda r: shown_count(r.refused)),
    ("not compared", lambda r: shown_count(r.uncompared)),
    ("failed", lambda r: str(r.failed)),
    ("not graded", lambda r: str(r.ungraded)),
    ("errors", lambda r: str(r.errors)),
)

_ONLY_IF_KNOWN = ("decided p50 s", "p99 s", "makespan s", "late")  # columns of runs that keep times
_ONLY_IF_ANY = ("cut", "no answer", "refused", "not compared", "failed", "not graded")

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


def _html(rows: Sequence[Row], facts: Mapping[str, object], figures: str) -> str:
    empty = dict.fromkeys(_ONLY_IF_KNOWN, (UNKNOWN,)) | dict.fromkeys(_ONLY_IF_ANY, (UNKNOWN, "0"))
    unknown = {name for name, show in _COLUMNS if all(show(r) in empty.get(name, ()) for r in rows)}
    columns = [(name, show) for name, show in _COLUMNS if name not in unknown]
    strategies = list(dict.fromkeys(r.series for r in rows))
    lines, marks, before = [], [], None
    for row in sorted(rows, key=lambda r: strategies.index(r.series)):  # each strategy's in the order given
        lines.append([show(row) for _, show in columns])
        marks.append(" ".join(["frontier"] * row.on_frontier + ["first"] * (before not in (None, row.series))))
        before = row.series
    late = "" if "late" in unknown else " Late ones were decoded after the decision, before cancellations arrived."
    body = f"""{figures}
{_owners(rows)}
<h2>All cells</h2>
<p>Means per problem. Accuracy with its 95 % interval over problems, in percent. Tokens are generated tokens;
those of the verifier and of cancelled samples are part of them.{late} Shaded rows are on the frontier, of which
the table above tells more. Outcomes that the infrastructure spoilt are counted under errors and in no mean;
answers that could not be graded are in no accuracy. Of the samples, those are counted that were cut at their most
tokens, that have no answer, or that the model refused, and the requests that failed; a count that is 0 everywhere is
left out.
A dash is a value that nobody knows. Prompt tokens and more are in <code>report.csv</code>.</p>
{html_table([name for name, _ in columns], lines, text_columns=3, marks=marks)}"""
    return html_page(facts, body, "Test-time scaling report")


def _owners(rows: Sequence[Row]) -> str:
    found = owners_of(rows)
    if not found:
        return ""
    return f"""<h2>Who owns the frontier</h2>
<p>The strategy to take for so many generated tokens per problem. {OWNING}</p>
{owners_table(found, "strategy")}"""


OWNING = """The frontier starts with the cheapest. Its owner keeps it, and goes up with its own better points, until
another one beats the owner's best so far by more than noise: the 95 % interval of the paired difference, problem by
problem, lies above 0. Who costs less than the stretch's end and is <em>not distinguishable</em> from the owner, because
that interval holds 0, is named beside it. The comparisons are not corrected for their number: between equals, one in
forty takes over."""


def owners_table(found: Sequence[Stretch], owner: str) -> str:
    """The stretches of a frontier in tokens, as HTML."""
    lines = [
        [
            shown_number(s.start),
            "any more" if s.end is None else shown_number(s.end),
            gained(s),
            escape(s.owner) + (f" <small>({escape(tie_of(s))})</small>" if s.ties else ""),
        ]
        for s in found
    ]
    return html_table(["from tokens", "to tokens", "accuracy", owner], lines, text_columns=0, text_last=True)


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
