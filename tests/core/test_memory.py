"""A run's memory: sums that do not depend on the order of additions, and what a trial has read is in the journal."""

import math
import random
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts import Candidate, Limits, Problem, Run
from tts.core.actions import Add, Added, Recall, Recalled
from tts.core.journal.history import History
from tts.core.journal.records import Decided, Record, decode, encode
from tts.core.memory import RunMemory
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.trial import Trial
from tts.errors import ReplayDivergence
from tts.models.cost_model import CostModel
from tts.testing import ScriptedCluster, StrategyContract
from tts.testing.disorder import Disorder
from tts.types import Sampling, StrategySpec

TEMPERATURES = ("0.2", "0.7", "1.3")
PROBLEMS = [Problem(f"p{i}", f"How many are {i}?") for i in range(5)]
amounts = st.dictionaries(st.sampled_from("abc"), st.floats(-1e100, 1e100), min_size=1)


async def bandit(problem: Problem, run: Run, *, n: int = 2, explore: float = 1.0) -> Candidate:
    """Sample at the temperature whose samples have agreed most, by UCB1 (Auer et al. 2002), over all problems."""
    tries, wins = await run.recall("tries"), await run.recall("wins")
    seen = sum(tries.values())

    def upper(arm: str) -> float:
        tried = tries.get(arm, 0.0)
        return math.inf if not tried else wins.get(arm, 0.0) / tried + explore * math.sqrt(math.log(seen) / tried)

    arm = max(TEMPERATURES, key=upper)
    found = await run.generate(n=n, temperature=float(arm))
    await run.add("tries", {arm: 1.0})
    await run.add("wins", {arm: 0.1 * len({candidate.answer for candidate in found})})
    return found[0]


class TestBandit(StrategyContract):
    strategy = bandit


@given(st.lists(amounts, min_size=1, max_size=8), st.randoms())
def test_sums_are_exact_whatever_the_order_of_additions_and_however_often_they_are_told(
    given_amounts: list[dict[str, float]], draw: random.Random
) -> None:
    additions = [Added(f"c/p{i}/1", 0.0, "k", amount) for i, amount in enumerate(given_amounts)]
    shuffled = [*additions, *additions[: len(additions) // 2]]
    draw.shuffle(shuffled)
    one, other = RunMemory(), RunMemory()
    for added in additions:
        one.take(added)
    for added in shuffled:
        other.take(added)
    exact = {
        arm: float(sum((Fraction(amount[arm]) for amount in given_amounts if arm in amount), Fraction()))
        for arm in sorted({arm for amount in given_amounts for arm in amount})
    }
    read = one.read("c/p0", "k")
    assert read == other.read("c/p0", "k") == exact
    assert list(read) == sorted(read)
    for added in additions:
        other.reopen(added.id.rpartition("/")[0])
    assert other.read("c/p0", "k") == {}


def test_cells_are_independent_and_a_memory_that_is_alone_is_of_one_trial() -> None:
    shared, alone = RunMemory(), RunMemory(alone=True)
    for memory in (shared, alone):
        memory.answer(Add("c#0/p1/1", "k", {"a": 1.0}), 0.0)
        memory.answer(Add("c#1/p1/1", "k", {"a": 5.0}), 0.0)
    assert shared.answer(Recall("c#0/p2/1", "k"), 3.0) == Recalled("c#0/p2/1", 3.0, {"a": 1.0})
    assert alone.read("c#0/p2", "k") == {}
    assert alone.read("c#0/p1", "k") == {"a": 1.0}
    alone.close("c#0/p1")
    assert alone.read("c#0/p1", "k") == {}


def scheduler(records: Iterable[Record] = (), strategy: Any = bandit, again: bool = False) -> Scheduler:
    plan = [
        Planned(cell, problem, StrategySpec("bandit"), Limits(samples=20), seed)
        for problem in PROBLEMS
        for seed, cell in enumerate(("bandit#0", "bandit#1"))
    ]
    history = History([decode(encode(record), 1) for record in records])
    if again:
        history.reopen_failed({planned.id for planned in plan})
    return Scheduler(
        plan,
        lambda _: strategy,
        costs=CostModel(),
        sampling=Sampling(max_tokens=8),
        limits=Limits(samples=10_000),
        window=3,
        history=history,
    )


def sums_of(records: Iterable[Record]) -> dict[tuple[str, str, str], Fraction]:
    """The sums by cell, key and arm that the journal's additions make, each counted once."""
    sums: dict[tuple[str, str, str], Fraction] = {}
    for added in {record.id: record for record in records if isinstance(record, Added)}.values():
        for arm, amount in added.amounts.items():
            place = added.id.partition("/")[0], added.key, arm
            sums[place] = sums.get(place, Fraction()) + Fraction(amount)
    return sums


def held(memory: RunMemory, sums: Mapping[tuple[str, str, str], Fraction]) -> bool:
    """Whether the memory has just these sums."""
    read = {
        (cell, key, arm): amount
        for cell in ("bandit#0", "bandit#1")
        for key in ("tries", "wins")
        for arm, amount in memory.read(f"{cell}/any", key).items()
    }
    return read == {place: float(amount) for place, amount in sums.items()}


def replayed(trial_id: str, records: Iterable[Record]) -> str | None:
    """The selection of a trial that is told its part of a journal again, in one go."""
    cell, _, problem_id = trial_id.partition("/")
    problem = next(problem for problem in PROBLEMS if problem.id == problem_id)
    seed = int(cell[-1])
    trial = Trial(
        trial_id, problem, bandit, StrategySpec("bandit"), costs=CostModel(), share=Limits(samples=20), seed=seed,
        sampling=Sampling(max_tokens=8),
    )  # fmt: skip
    history = History(records, refeed=True)
    trial.start(history.opened[trial_id])
    for event in history.events[trial_id]:
        assert not hasattr(event, "trial")
        trial.tell(event)  # type: ignore[arg-type]  # no allocator has stopped anything
    return trial.result.selected.id if trial.result.selected else None


@pytest.mark.parametrize("seed", range(60))
def test_runs_in_any_order_killed_anywhere_keep_their_decisions_and_count_every_addition_once(seed: int) -> None:
    draw = random.Random(seed)
    records: list[Record] = []
    while True:
        disorder, run = Disorder(draw.randrange(10**6), failures=0.2), scheduler(records)
        over = disorder.run(run, most=draw.randint(1, 12))
        records += disorder.records
        assert held(run._memory, sums_of(records))
        if over:
            break
        records = records[: len(records) - draw.randint(0, 2)]  # the last lines were not written
    decided = {record.trial: record for record in records if isinstance(record, Decided)}
    assert len(decided) == 2 * len(PROBLEMS)
    assert held(History(records).memory, sums_of(records))
    for trial_id, record in decided.items():
        assert replayed(trial_id, records) == record.selected


def test_a_trial_that_a_server_failed_begins_anew_with_nothing_added() -> None:
    first, run = Disorder(1, failures=1.0), scheduler(strategy=failing)
    assert first.run(run)
    assert held(run._memory, sums_of(first.records))
    again = Disorder(2, failures=0.0)
    run = scheduler(first.records, strategy=otherwise, again=True)
    assert again.run(run)
    for memory in (run._memory, History([*first.records, *again.records]).memory):
        assert memory.read("bandit#0/any", "tries") == {"0.7": 5.0}


async def failing(problem: Problem, run: Run) -> Candidate:
    await run.add("tries", {"0.2": 1.0})
    return (await run.generate())[0]


async def otherwise(problem: Problem, run: Run) -> Candidate:
    await run.add("tries", {"0.7": 1.0})
    return (await run.generate())[0]


def test_an_addition_that_changed_since_the_journal_was_written_is_refused() -> None:
    disorder = Disorder(1)
    disorder.run(scheduler(strategy=failing), most=1)
    with pytest.raises(ReplayDivergence, match=r"it now adds \{'0.7': 1.0\} to 'tries'"):
        Disorder(1).run(scheduler(disorder.records, strategy=otherwise))


@pytest.mark.parametrize(
    ("key", "given_amounts", "says"),
    [
        (3, {"a": 1.0}, "the key of a run's memory must be text, but got 3"),
        ("k", {3: 1.0}, "an arm of what is added to 'k' must be text, but got 3"),
        ("k", [1.0], "must be a mapping from texts to numbers"),
        ("k", {"a": math.inf}, "must be a finite number"),
        ("k", {"a": "1"}, "must be a number, but got '1'"),
    ],
)
def test_what_cannot_be_summed_is_refused_with_a_sentence(key: Any, given_amounts: Any, says: str) -> None:
    async def adds(problem: Problem, run: Run) -> Candidate:
        assert await run.recall("nobody has added") == {}
        await run.add(key, given_amounts)
        raise AssertionError("unreachable")

    error = ScriptedCluster([]).run(adds).result.error
    assert error is not None and error.type == "InvalidParameter" and says in error.message


def test_an_arm_that_nobody_has_added_to_is_said_with_what_reads_it_as_0() -> None:
    seen: list[float] = []

    async def reads(problem: Problem, run: Run) -> Candidate:
        await run.add("tries", {"hot": 2.0})
        sums = await run.recall("tries")
        seen.extend([sums["hot"], sums.get("cold", 0.0)])
        sums["cold"]
        raise AssertionError("unreachable")

    error = ScriptedCluster([]).run(reads).result.error
    assert seen == [2.0, 0.0]
    assert error is not None and error.type == "UnknownName"
    assert "no trial has added to 'cold' of 'tries' so far (it has 'hot'): sums.get('cold', 0.0)" in error.message


def test_a_strategy_that_reads_without_end_is_ended() -> None:
    async def waits(problem: Problem, run: Run) -> Candidate:
        while not await run.recall("ready"):
            pass
        raise AssertionError("unreachable")

    error = ScriptedCluster([]).run(waits).result.error
    assert error is not None and "run.sleep" in error.message
