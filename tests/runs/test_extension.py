"""A folder that gets more cells and problems: only what is new is paid for, and nothing comes out anew."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tts
from tts.api.report import report
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.actions import Finished, Refused
from tts.core.journal.history import History
from tts.core.journal.records import VERSION, Decided, Granted, Header, Lost, Opened, Record
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import BudgetTooSmall, RunMismatch
from tts.models.cost_model import CostModel
from tts.plugins.dependencies import verifiers_of
from tts.plugins.names import strategy
from tts.runs.config import RunConfig
from tts.runs.extension import extension, together
from tts.runs.folder import JOURNAL, Journal, read_records
from tts.runs.foreign_runs import searches_asked_for
from tts.runs.grading_process import GradingProcess
from tts.runs.plan import cells_of, plan, shared_budgets_of
from tts.runs.problem_files import write_references
from tts.tasks.example import Example, Task, problem_digests, problems_digest, references_digest
from tts.testing import FakeEngine, arithmetic
from tts.types import Cost, ErrorInfo, Problem, Sampling

EXAMPLES = [Example(Problem(f"p{i}", f"What is {i} + 1?"), str(i + 1)) for i in range(6)]


def config(strategies: Sequence[str], problems: int | Sequence[int] = 3, **settings: Any) -> RunConfig:
    numbers = range(problems) if isinstance(problems, int) else problems
    examples = [EXAMPLES[i] for i in numbers]
    given = {"model": "m", "seeds": (0,), "sampling": {"max_tokens": 300}, **settings}
    digests = problem_digests(examples)
    return RunConfig.checked(
        problems=f"size={len(examples)}", problems_digest=digests, problem_digests=digests,
        strategies=tuple(strategies), **given,
    )  # fmt: skip


def history_of(*configs: RunConfig, records: Sequence[Record] = ()) -> History:
    headers = [Header(VERSION, "tts", known.model_dump(mode="json")) for known in configs]
    return History([*headers, *records])


def run(folder: Path, wanted: RunConfig, problems: int | Sequence[int] = 3) -> tuple[list[Record], Scheduler]:
    """Carry a command out in virtual time, as `tts.asweep` does."""
    numbers = range(problems) if isinstance(problems, int) else problems
    listed = [EXAMPLES[i].problem for i in numbers]
    cells = cells_of(wanted, len(listed))
    verifiers = verifiers_of(wanted.specs())
    with Journal(folder, wanted.model_dump(mode="json"), may_grow=True) as journal:
        if extension(journal.history, wanted):
            journal.extend(wanted.model_dump(mode="json"))
        scheduler = Scheduler(
            plan(cells, listed), strategy, costs=CostModel(), verifiers=verifiers, sampling=wanted.sampled(),
            limits=wanted.run_limits(), window=4, history=journal.history,
            shared_budgets=shared_budgets_of(cells, CostModel()),
        )  # fmt: skip
        world = SyntheticWorld(lambda _: 0.5, lambda _: "4")
        SimulatedCluster(world, verifiers).run(scheduler, journal)
    return list(read_records(folder / JOURNAL)), scheduler


def bought(records: Sequence[Record]) -> int:
    return sum(isinstance(record, Finished) for record in records)


def answers(records: Sequence[Record]) -> dict[str, tuple[str | None, int]]:
    return {r.trial: (r.answer, r.bill.total.tokens) for r in records if isinstance(r, Decided)}


GROWTH = [
    (["majority_vote:n=2,4"], 3, {}),
    (["majority_vote:n=2,4,8", "best_of_n:n=4"], 3, {}),
    (["majority_vote:n=2,4"], 3, {"seeds": (0, 1)}),
    (["majority_vote:n=2,4,8", "best_of_n:n=4"], [4, 0, 1, 2, 3], {"seeds": (0, 1)}),
]  # fmt: skip


def test_a_folder_that_grows_costs_and_gives_what_one_run_of_all_does(tmp_path: Path) -> None:
    before: dict[str, tuple[str | None, int]] = {}
    for strategies, problems, settings in GROWTH:
        records, scheduler = run(tmp_path / "grown", config(strategies, problems, **settings), problems)
        now = answers(records)
        assert before.items() <= now.items(), "what is decided stays"
        before = now
    at_once, whole = run(tmp_path / "once", config(*GROWTH[-1][:2], seeds=(0, 1)), [4, 0, 1, 2, 3])
    assert now == answers(at_once)
    assert bought(records) == bought(at_once)
    assert scheduler.ledger.spent == whole.ledger.spent
    decided = [record.trial for record in records if isinstance(record, Decided)]
    assert len(decided) == len(set(decided)) == 2 * 4 * 5


def test_an_extension_killed_anywhere_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    first, second = config(GROWTH[0][0]), config(GROWTH[1][0], 5)
    run(tmp_path / "whole", first)
    begun = len((tmp_path / "whole" / JOURNAL).read_bytes())
    expected, undisturbed = run(tmp_path / "whole", second, 5)
    data = (tmp_path / "whole" / JOURNAL).read_bytes()
    draw = random.Random(4)
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(data[: draw.randrange(begun, len(data))])
        records, scheduler = run(folder, second, 5)
        assert answers(records) == answers(expected)
        wasted = sum((record.cost for record in records if isinstance(record, Lost)), Cost())
        assert scheduler.ledger.spent == undisturbed.ledger.spent + wasted
        assert bought(records) == bought(expected)


def test_a_first_run_that_was_killed_can_be_extended_at_once(tmp_path: Path) -> None:
    first, second = config(GROWTH[0][0], 5), config(GROWTH[1][0], 5)
    run(tmp_path / "a", first, 5)
    data = (tmp_path / "a" / JOURNAL).read_bytes()
    expected, _ = run(tmp_path / "a", second, 5)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / JOURNAL).write_bytes(data[: len(data) * 2 // 3])
    records, _ = run(tmp_path / "b", second, 5)
    assert answers(records) == answers(expected)
    assert bought(records) == bought(expected)
    assert any(isinstance(record, Lost) for record in records)


def test_a_cell_of_an_allocator_can_be_added_and_one_that_shares_its_budget_gets_no_more_problems(
    tmp_path: Path,
) -> None:
    budgets = {"budgets": ("tokens=2k",)}
    open_ended = ["majority_vote:n=none"]
    run(tmp_path, config(open_ended, **budgets))
    more = config(open_ended, **budgets, allocators=("equal", "marginal"))
    records, _ = run(tmp_path, more)
    assert len(answers(records)) == 2 * 3
    with pytest.raises(RunMismatch, match=r"share a budget, which would be tokens=8k for 4 instead of 3"):
        extension(
            history_of(more, records=[r for r in records if isinstance(r, Opened)]),
            config(open_ended, 4, **budgets, allocators=("equal", "marginal")),
        )


# --- what is said and what is refused


def test_what_is_added_is_said_in_numbers() -> None:
    history = history_of(config(["majority_vote:n=2,4"]))
    assert extension(history, config(["majority_vote:n=2,4"])) == ""
    assert extension(history, config(["majority_vote:n=2"])) == ""
    said = extension(history, config(["majority_vote:n=2,4,8"], 4, seeds=(0, 1)))
    assert said == "adds 4 cells and 1 problem to a run of 2 cells on 3 problems"


def test_a_folder_is_what_all_its_commands_are_together() -> None:
    configs = [config(["majority_vote:n=2"]), config(["single"], 5), config(["majority_vote:n=2"], 5, seeds=(0, 1))]
    history = history_of(*configs)
    assert searches_asked_for(configs, 5) == 3 * 5
    assert searches_asked_for(configs[:2], 5) == 3 + 5
    whole = together(history.configs)
    assert (whole.strategies, whole.seeds, whole.allocators) == (("majority_vote:n=2", "single"), (0, 1), None)
    assert whole.problems == "size=5"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (config(["single"], model="another"), "model: was 'm', now 'another'"),
        (config(["single"], sampling={"max_tokens": 300, "temperature": 0.0}), "sampling.temperature"),
        (config(["single"], verifier_model="judge"), "verifier_model"),
        (config(["single"], grader="math"), "grader"),
        (config(["single"], 2), "1 of its 3 problems were changed or left out"),
        (config(["single"], [0, 1, 5]), "1 of its 3 problems were changed or left out"),
        (
            config(["single"], run_budget="tokens=1k"),
            "would be tokens=1k: in one folder it can only grow",
        ),
        (config(["single"], run_budget="tokens=2k,seconds=5"), "its seconds not at all"),
        (
            config(["single"], run_budget="tokens=2k", plugins={"mine.py": "ab"}),
            "another configuration (mine.py changed since",
        ),
    ],
)
def test_whatever_decides_how_a_sample_comes_out_is_refused_by_name(other: RunConfig, named: str) -> None:
    before = config(["single"], run_budget="tokens=2k", budgets=("tokens=500",), plugins={"mine.py": "cd"})
    other = other.model_copy(update={"budgets": ("tokens=500",), "run_budget": other.run_budget or "tokens=2k"})
    with pytest.raises(RunMismatch) as caught:
        extension(history_of(before), other)
    assert named in caught.value.message


def test_a_run_budget_grows_where_it_has_cut_nothing() -> None:
    small, large = config(["single"], run_budget="tokens=2k"), config(["single"], run_budget="tokens=3k")
    assert extension(history_of(small), large) == ""
    refused = Refused("single#0/p0/1", 1.0, ErrorInfo("BudgetExhausted", "no", {"trial": "run", "limit": "tokens"}))
    history = history_of(small, records=[Opened("single#0/p0", 0.0), refused])
    assert extension(history, small) == ""
    with pytest.raises(RunMismatch, match="the smaller one has cut trials short"):
        extension(history, large)


def test_parts_of_a_run_budget_cannot_change() -> None:
    before = config(["majority_vote:n=none"], run_budget="tokens=30k")
    with pytest.raises(RunMismatch, match="an equal part of the run's budget of tokens=30k, which would be another"):
        opened = Opened("majority_vote:n=none@tokens=10k#0/p0", 0.0)
        history = history_of(before, records=[opened])
        extension(history, config(["majority_vote:n=none", "single"], run_budget="tokens=30k"))


def test_a_command_may_not_leave_out_what_is_under_way() -> None:
    before = config(["single", "majority_vote:n=2"])
    records = [Opened("single#0/p0", 0.0), Granted("single#0/p0/1", "d", Cost(1, 300))]
    history = history_of(before, records=records)
    assert extension(history, config(["single", "majority_vote:n=4"])) != ""
    with pytest.raises(RunMismatch, match="leaves out single, of which trials are under way"):
        extension(history, config(["majority_vote:n=2,4"]))


def test_the_problems_of_an_older_programs_run_cannot_be_extended_but_its_cells_can() -> None:
    old = config(["single"]).model_dump(mode="json")
    del old["problem_digests"], old["references_digest"]
    history = History([Header(3, "tts 0.9", old)])
    assert extension(history, config(["single", "majority_vote:n=2"])) == "adds 1 cell to a run of 1 cell on 3 problems"
    with pytest.raises(RunMismatch, match="the problems of an older program's run were changed or left out"):
        extension(history, config(["single"], 4))


def test_a_sweep_goes_on_in_its_folder_and_refuses_other_references(tmp_path: Path) -> None:
    with FakeEngine(arithmetic()) as engine:
        given: dict[str, Any] = {"base_url": engine.base_url, "out": tmp_path, "report": False}
        given["sampling"] = Sampling(max_tokens=64)
        first = tts.sweep(EXAMPLES[:2], "majority_vote:n=2", **given)
        second = tts.sweep(EXAMPLES[:3], ["majority_vote:n=2,3"], **given)
        assert (len(first.outcomes), len(second.outcomes), second.planned) == (2, 6, 6)
        assert engine.stats().requests == second.spent.samples == 3 * 3
        again = report(tmp_path)
        assert (again.outcomes, again.planned) == (second.outcomes, 6)
        changed = [*EXAMPLES[:2], Example(EXAMPLES[2].problem, "99"), EXAMPLES[3]]
        with pytest.raises(RunMismatch, match=r"the references of the problems in .* were changed"):
            tts.sweep(changed, ["majority_vote:n=2,3"], **given)
        assert engine.stats().requests == 9


def test_a_strategy_whose_verifier_reads_log_probabilities_is_added_with_samples_of_its_own(tmp_path: Path) -> None:
    with FakeEngine(arithmetic()) as engine:
        given: dict[str, Any] = {"base_url": engine.base_url, "out": tmp_path, "report": False}
        tts.sweep(EXAMPLES[:2], "majority_vote:n=2", **given)
        second = tts.sweep(EXAMPLES[:2], ["majority_vote:n=2", "best_of_n:n=2"], **given)
        assert (len(second.outcomes), second.spent.samples, second.sampling.top_logprobs) == (4, 8, 5)
        third = tts.sweep(EXAMPLES[:3], "majority_vote:n=2,3", **given)
        assert third.sampling.top_logprobs == 5, "what a folder has, it keeps"
        assert (len(third.outcomes), third.spent.samples) == (2 * 3 + 1 * 2, 8 + 2 * 1 + 3)
        assert all("top_logprobs" in request for request in list(engine.requests)[4:])


def test_no_log_probabilities_are_added_while_trials_are_under_way_without() -> None:
    before, more = config(["single"]), config(["single"], sampling={"max_tokens": 300, "top_logprobs": 5})
    (cell,) = cells_of(before, 3)
    assert extension(history_of(before), more) == ""
    with pytest.raises(RunMismatch, match=r"reads 5 log-probabilities a token, and trials of single are under way"):
        extension(history_of(before, records=[Opened(f"{cell.id}/p0", 0.0)]), more)


def test_the_length_of_samples_stays_what_the_first_command_chose(tmp_path: Path) -> None:
    with FakeEngine(arithmetic()) as engine:
        given: dict[str, Any] = {"base_url": engine.base_url, "out": tmp_path / "run", "report": False}
        first = tts.sweep(EXAMPLES[:2], "majority_vote:n=none", budgets="samples=2,tokens=40k", **given)
        for budgets in (["samples=2,tokens=40k", "samples=2,tokens=20k"], "samples=2,tokens=99k"):
            again = tts.sweep(EXAMPLES[:2], "majority_vote:n=none", budgets=budgets, **given)
            assert again.sampling == first.sampling
        with pytest.raises(BudgetTooSmall, match=r"may need 8192 tokens; .* another --out: .* that of .*run"):
            tts.sweep(EXAMPLES[:2], "majority_vote:n=none", budgets="tokens=4k", **given)
        with pytest.raises(RunMismatch, match=r"run holds a run .*\(sampling.max_tokens: was 8192, now 512\)"):
            tts.sweep(EXAMPLES[:2], "majority_vote:n=none", budgets="tokens=4k", sampling={"max_tokens": 512}, **given)


def test_a_header_says_nothing_of_references_because_a_plugin_could_try_guesses_by_it(tmp_path: Path) -> None:
    headers = []
    with FakeEngine(arithmetic()) as engine:
        for reference in ("1", "2"):
            folder = tmp_path / reference
            task = [Example(EXAMPLES[0].problem, reference)]
            tts.sweep(
                task, "single", base_url=engine.base_url, out=folder, report=False, sampling=Sampling(max_tokens=64)
            )
            headers.append((folder / JOURNAL).read_bytes().splitlines()[0])
    assert headers[0] == headers[1]


def test_headers_of_older_programs_tell_changed_references_by_their_digests(tmp_path: Path) -> None:
    task: list[Example] = pickle.loads(pickle.dumps(EXAMPLES[:2]))  # as the process gets them: digests can tell
    other = [task[0], Example(task[1].problem, "99")]
    whole = problems_digest([msgspec.to_builtins(example) for example in task])
    each = problem_digests(task)
    old = [(whole, "", ""), (whole, each, references_digest(task, each))]
    write_references(tmp_path, Task("t", tuple(task), "exact"))

    async def compare(given: Sequence[Example], same: bool) -> None:
        async with GradingProcess(Task("t", tuple(given), "exact")) as process:
            assert [await process.agrees(*digests) for digests in old] == [same, same]
            assert await process.agrees("", each, ""), "nothing is known of them"
            await process.hide(tmp_path)
            assert await process.agrees("", each, "") is same

    asyncio.run(compare(task, True))
    asyncio.run(compare(other, False))
