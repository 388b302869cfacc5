"""One budget for many problems: it holds in any order of events, nobody's share is stranded, and decisions repeat."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tts.allocators.marginal import marginal
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.actions import Finished, Generate, Refused, Request
from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.core.allocation.shared_budget import SharedBudget
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Allotted, Decided, Granted, Lost, Record, Repriced, Stopped, decode, encode
from tts.core.protocols import Strategy, Verifier
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.context import Run
from tts.core.trials.endings import STOPPED
from tts.errors import AllocatorCrashed
from tts.models.cost_model import CostModel
from tts.plugins import parts
from tts.plugins.names import allocator_of, built_in
from tts.plugins.verifiers import verifier
from tts.runs.folder import NoJournal
from tts.testing import Disorder
from tts.types import Candidate, Completion, Cost, Problem, Sampling, Score, ScoreKind, StrategySpec, Usage

MOST = 50  # tokens of a sample
VOTE = StrategySpec("majority_vote", {"n": None})
STRATEGIES = [
    VOTE,
    StrategySpec("majority_vote", {"n": None, "stop_at": 0.95}),
    StrategySpec("esc", {"n": None}),
    StrategySpec("best_of_n", {"n": None, "verifier": "judge"}),
    StrategySpec("genrm", {"n": None, "verifier": "judge"}),
    StrategySpec("best_of_n", {"n": None, "verifier": "proof"}),
    StrategySpec("composed"),
]
PROVEN = StrategySpec("best_of_n", {"n": None, "verifier": "proof"})
TRUSTING = StrategySpec("success", {"trust": 1.0})


class Proof:
    """A verifier that asks no model: the answer must be 7."""

    kind: ScoreKind = "pass_rate"
    candidate_logprobs = 0
    in_worker = False

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return None

    def read(self, completion: Completion) -> Score:
        raise AssertionError("nothing was asked")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        return Score(float(candidate.answer == "7"), "proof")


VERIFIERS: Mapping[str, Verifier] = {"judge": verifier("judge"), "proof": Proof()}
JUDGED = MOST * 20  # the judge's request may be longer than a sample


async def composed(problem: Problem, run: Run) -> Candidate:
    """Helpers and parts, of which allocators see the samples as they see any."""
    best = await run.solve("majority_vote:n=4", limits="samples=3")
    await run.ask("Is that right?", n=2)
    async with run.race(run.solve("single"), run.generate(n=2)) as done:
        async for _ in done:
            break
    return best


def resolved(text: str) -> Strategy:
    return composed if text == "composed" else parts.part(text)


def problems(n: int) -> list[Problem]:
    return [Problem(f"p{i}", f"Question {i}?") for i in range(n)]


def scheduler_of(
    cells: dict[str, tuple[StrategySpec, Allocator, Limits]],
    n: int,
    *,
    history: History | None = None,
    limits: Limits = Limits(),
    window: int = 8,
) -> Scheduler:
    costs = CostModel()
    return Scheduler(
        [Planned(cell, problem, spec) for problem in problems(n) for cell, (spec, _, _) in cells.items()],
        resolved,
        costs=costs,
        verifiers=VERIFIERS,
        sampling=Sampling(max_tokens=MOST),
        limits=limits,
        window=window,
        history=history,
        shared_budgets={cell: SharedBudget(cell, how, most, costs) for cell, (_, how, most) in cells.items()},
    )


def shared_budgets(scheduler: Scheduler) -> dict[str, SharedBudget]:
    return dict(scheduler._shared_budgets)


def assert_within(shared: SharedBudget) -> None:
    held, limits = shared.ledger.spent + shared.ledger.reserved, shared.ledger.limits
    assert limits.tokens is None or held.tokens <= limits.tokens
    assert limits.samples is None or held.samples <= limits.samples
    assert len(shared.ledger.reservations) == shared.in_flight


def one_order(seed: int) -> None:
    """A random run to its end: no limit is passed at any step, and when it ends nothing is held."""
    draw = random.Random(seed)
    cells = {}
    for number in range(draw.randint(1, 2)):
        spec, how = draw.choice(STRATEGIES), draw.choice([*map(StrategySpec, sorted(built_in("allocators"))), TRUSTING])
        limits = Limits(tokens=draw.randint(1, 6000), samples=draw.choice((None, draw.randint(1, 60))))
        cells[f"c{number}"] = (spec, allocator_of(how), limits)
    total = Limits(tokens=draw.choice((None, draw.randint(1, 8000))))
    scheduler = scheduler_of(cells, draw.randint(1, 5), limits=total, window=draw.randint(1, 9))

    def check(scheduler: Scheduler) -> None:
        for shared in shared_budgets(scheduler).values():
            assert_within(shared)
        held = scheduler.ledger.spent + scheduler.ledger.reserved
        assert total.tokens is None or held.tokens <= total.tokens

    driver = Disorder(seed, failures=draw.choice((0.0, 0.2, 0.9)), after=check)
    assert driver.run(scheduler)
    assert len(driver.results) == len(cells) * len({r.problem_id for r in driver.results.values()})
    for cell, shared in shared_budgets(scheduler).items():
        assert shared.in_flight == 0 and not shared.ledger.reservations
        spent = sum((r.bill.total for id, r in driver.results.items() if id.startswith(cell)), Cost())
        assert (shared.ledger.spent.tokens, shared.ledger.spent.samples) == (spent.tokens, spent.samples)
        stopped = {r.trial for r in driver.records if isinstance(r, Stopped) and r.trial.startswith(cell)}
        hungry = [r.id for r in driver.results.values() if r.id.startswith(cell) and r.id not in stopped]
        hungry = [id for id in hungry if driver.results[id].error is None and cells[cell][0] == VOTE]
        failed_out = {id for id in hungry if len(driver.results[id].failures) >= 8}
        if set(hungry) - failed_out and total.tokens is None:
            # Somebody would have taken more: then the shared budget has no room for one more sample.
            assert not shared.ledger.fits(Cost(1, MOST))


@pytest.mark.parametrize("block", range(6))
def test_in_any_order_of_events_no_limit_is_passed_and_no_share_is_stranded(block: int) -> None:
    """`python benchmarks/methods/allocation.py limits` does the same for 10,000 orders."""
    for seed in range(100 * block, 100 * block + 100):
        one_order(seed)


# --- decisions


def votes(answers: dict[str, Sequence[str]]) -> Any:
    """A world in which the k-th sample of a problem says so, the last one for good; all take a second, 10 tokens."""
    given: Counter[str] = Counter()

    class Scripted(SyntheticWorld):
        def __init__(self) -> None:
            pass

        def complete(self, request: Request) -> tuple[float, Completion]:
            prompt = request.messages[-1].content
            said = answers[prompt]
            text = said[min(given[prompt], len(said) - 1)]
            given[prompt] += 1
            return 1.0, Completion(f"Answer: {text}" if text else "I cannot say", usage=Usage(1, 10))

    return Scripted()


class Kept(NoJournal):
    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records: Any) -> None:
        self.records += [decode(encode(record), 1) for record in records]


def ran(
    world: Any, how: Allocator, limits: Limits, n: int, spec: StrategySpec = VOTE, window: int = 8
) -> tuple[dict[str, Result], list[Record]]:
    scheduler = scheduler_of({"c": (spec, how, limits)}, n, window=window)
    kept, results = Kept(), {}
    SimulatedCluster(world, VERIFIERS).run(scheduler, kept, lambda r, _: results.update({r.problem_id: r}))
    return results, kept.records


def test_what_a_solved_problem_does_not_use_goes_to_the_others() -> None:
    world = votes({"Question 0?": ["7"], "Question 1?": ["1", "2", "3", "4", "5", "6", "7", "8", "9"] * 9})
    how = allocator_of(StrategySpec("adaptive_consistency"))
    results, records = ran(world, how, Limits(samples=24), 2, window=1)
    assert len(results["p0"].candidates) == 4  # 4 : 0 cannot be doubted at 0.95, 3 : 0 can
    assert len(results["p1"].candidates) == 20
    (stopped,) = (r for r in records if isinstance(r, Stopped))
    assert (stopped.trial, stopped.reason, stopped.samples, stopped.votes) == ("c/p0", "solved", 4, (4,))
    decided = {r.problem_id: r for r in records if isinstance(r, Decided)}
    assert (decided["p0"].stopped, decided["p1"].stopped) == ("solved", "")
    assert decided["p0"].at_s < decided["p1"].at_s, "a stopped problem's answer need not wait for the others"


def test_a_contested_vote_gets_more_than_a_unanimous_one() -> None:
    world = votes({"Question 0?": ["7"], "Question 1?": ["1", "2"] * 40})
    results, _ = ran(world, marginal(floor=0.0), Limits(samples=16), 2, window=1)
    assert len(results["p1"].candidates) > 2 * len(results["p0"].candidates)
    assert sum(len(r.candidates) for r in results.values()) == 16


def test_every_problem_has_its_first_sample_before_any_has_its_third() -> None:
    world = votes({f"Question {i}?": ["1", "2"] * 20 for i in range(6)})
    _, records = ran(world, marginal(), Limits(samples=30), 6, window=3)
    order = [r.id.split("/")[1] for r in records if isinstance(r, Allotted)]
    assert order[:12] == [f"p{i}" for i in range(6)] * 2
    values = [r.value for r in records if isinstance(r, Allotted)]
    assert values[:12] == [None] * 12 and all(v is not None and v > 0 for v in values[12:])


def test_a_budget_too_small_for_all_serves_the_first_in_the_plan_and_says_so() -> None:
    world = votes({f"Question {i}?": ["1"] for i in range(5)})
    results, _ = ran(world, marginal(), Limits(samples=3), 5)
    assert [len(results[f"p{i}"].candidates) for i in range(5)] == [1, 1, 1, 0, 0]
    error = results["p4"].error
    assert error is not None and error.type == "BudgetExhausted" and "samples=3" in error.message


def test_one_problem_alone_gets_everything_until_it_is_stopped() -> None:
    results, _ = ran(votes({"Question 0?": ["1", "2"] * 40}), marginal(floor=0.0), Limits(samples=20), 1)
    assert len(results["p0"].candidates) == 20


def test_samples_without_an_answer_buy_a_problem_less_and_less() -> None:
    mute = {f"Question {i}?": [""] for i in range(2)}
    world = votes(mute | {"Question 2?": ["1", "2"] * 40})
    results, records = ran(world, marginal(), Limits(samples=400), 3)
    assert all(r.answer is None for id, r in results.items() if id != "p2")
    assert {r.trial: r.reason for r in records if isinstance(r, Stopped)}["c/p0"] in ("saturated", "full")


def test_no_problem_gets_more_than_the_most_even_without_any_limit() -> None:
    results, records = ran(votes({"Question 0?": ["1", "2"] * 40}), marginal(floor=0.0, max_samples=9), Limits(), 1)
    assert len(results["p0"].candidates) == 9
    assert [r.reason for r in records if isinstance(r, Stopped)] == ["full"]


def test_the_answer_so_far_is_there_from_the_first_sample_on() -> None:
    seen: dict[str, str | None] = {}

    def look(scheduler: Scheduler) -> None:
        for result in scheduler.partial:
            if result.candidates:
                seen[result.problem_id] = result.answer
                assert result.selected is not None

    scheduler = scheduler_of({"c": (VOTE, marginal(), Limits(samples=12))}, 3)
    Disorder(1, failures=0.0, after=look).run(scheduler)
    assert set(seen) == {"p0", "p1", "p2"}


def test_a_dear_problem_must_promise_more_than_a_cheap_one() -> None:
    shared = SharedBudget("c", marginal(floor=0.0, pilot=2), Limits(tokens=10**6), CostModel())
    tokens = {"dear": 40, "cheap": 10}
    for name in tokens:
        shared.open(f"c/{name}", name, {})
        ask(shared, name, 5)
    shared.wake(None)
    for answer in "1122":
        granted = shared.grant()
        assert isinstance(granted, Generate)
        end(shared, granted, answer, tokens[granted.id.split("/")[1]])
    granted = shared.grant()
    assert isinstance(granted, Generate) and granted.id.startswith("c/cheap/")


def ask(shared: SharedBudget, name: str, n: int) -> None:
    for i in range(n):
        shared.ask(Generate(f"c/{name}/{i}", Request((), Sampling(max_tokens=MOST))))


def end(shared: SharedBudget, action: Generate, answer: str | None, tokens: int) -> None:
    completion = Completion("", usage=Usage(1, tokens))
    shared.on_event(Finished(action.id, 0.0, completion), Candidate(action.id, "", answer, completion))


def test_a_verification_comes_before_the_next_sample_of_its_problem() -> None:
    _, records = ran(
        SyntheticWorld(lambda prompt: 0.5, lambda prompt: "1", tokens=8),
        allocator_of(StrategySpec("success", {"floor": 0.0})),
        Limits(samples=60),
        2,
        StrategySpec("best_of_n", {"n": None, "verifier": "judge"}),
    )
    granted = [r for r in records if isinstance(r, Granted)]
    verified = [r for r in records if type(r).__name__ == "Scored"]
    assert len(granted) == 60 and len(verified) >= 26, "verifications compete for the same budget, and are not starved"


def test_an_allocator_that_raises_stops_the_run_and_is_named() -> None:
    def bid(standing: Standing, outlook: Outlook) -> Bid:
        raise ZeroDivisionError("no votes")

    with pytest.raises(AllocatorCrashed, match="ZeroDivisionError for problem p0: no votes"):
        ran(votes({"Question 0?": ["1"]}), Allocator(bid), Limits(samples=9), 1)


UNSOUND: list[Any] = [None, 1.0, Bid(float("nan")), Bid(float("inf")), Bid(0.0, "a\nb"), Bid(0.0, "\ud800")]
UNSOUND += [Bid(0.0, True), Bid("1"), Bid(0.0, "done", None)]  # type: ignore[arg-type]


@pytest.mark.parametrize("bid", UNSOUND)
def test_a_bid_that_nobody_could_rank_or_write_down_stops_the_run_and_is_shown(bid: Any) -> None:
    with pytest.raises(AllocatorCrashed, match=r"its allocator gave .* for problem p0, not a Bid of a finite value"):
        ran(votes({"Question 0?": ["1"]}), Allocator(lambda standing, outlook: bid), Limits(samples=9), 1)


def test_problems_that_come_late_are_served_by_a_price() -> None:
    """A plan may be an endless stream, where each problem is decided on alone."""
    costs, served = CostModel(), []
    how = allocator_of(StrategySpec("price", {"max_samples": 8}))

    def stream() -> Iterator[Planned]:
        for i in range(1000):
            served.append(i)
            yield Planned("c", Problem(f"p{i}", f"Question {i}?"), VOTE)

    scheduler = Scheduler(
        stream(), parts.part, costs=costs, sampling=Sampling(max_tokens=MOST), window=4,
        shared_budgets={"c": SharedBudget("c", how, Limits(), costs)},
    )  # fmt: skip
    driver = Disorder(0)
    assert not driver.run(scheduler, most=200)
    assert len(served) < 60, "the stream was read only as far as there was room"
    assert len(driver.results) > 10


def test_two_allocators_share_samples_and_each_pays_its_own_budget_for_them() -> None:
    uniform = allocator_of(StrategySpec("uniform"))
    cells = {name: (VOTE, uniform, Limits(samples=12)) for name in ("a", "b")}
    scheduler = scheduler_of(cells, 3)
    driver = Disorder(3, failures=0.0)
    driver.run(scheduler)
    assert [shared.ledger.spent.samples for shared in shared_budgets(scheduler).values()] == [12, 12]
    assert scheduler.ledger.spent.samples == 12, "what both ask for is bought once"


def test_how_often_samples_agree_is_learned_from_every_problem_and_written_down() -> None:
    answers = {f"Question {i}?": ["1"] for i in range(6)} | {"Question 6?": ["1", "2"] * 40, "Question 7?": ["", "3"]}
    seen: list[float] = []

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        seen.append(outlook.agreement)
        return Bid(1.0, "done" if standing.agreed is not None else "")

    _, records = ran(votes(answers), Allocator(bid, pilot=2, max_in_flight=1), Limits(samples=100), 8, window=4)
    last = [r for r in records if isinstance(r, Repriced)][-1]
    assert (last.pairs, last.agreed) == (7, 6), "a sample without an answer is no part of a pair"
    assert seen[-1] == (6 + 2) / (7 + 3)
    assert {r.trial: r.agreed for r in records if isinstance(r, Decided)}["c/p6"] is False
    assert {r.reason for r in records if isinstance(r, Stopped)} == {"done"}, "reasons may be an allocator's own"


@pytest.mark.parametrize("window", [4, 16, 64])
@pytest.mark.parametrize(
    "how", [marginal(floor=0.004), *map(allocator_of, map(StrategySpec, ("adaptive_consistency", "blend_asc", "esc")))]
)
def test_more_requests_in_flight_buy_no_needless_samples(how: Allocator, window: int) -> None:
    world = {f"Question {i}?": (["1"] * (1 + i) + ["2"] * i + ["1"] * 64)[:64] for i in range(5)}
    alone, _ = ran(votes(world), how, Limits(), 5, window=1)
    many, _ = ran(votes(world), how, Limits(), 5, window=window)
    assert {id: len(r.candidates) for id, r in many.items()} == {id: len(r.candidates) for id, r in alone.items()}


# --- what is in flight when a problem is stopped


def paced(samples: Sequence[tuple[str, float]]) -> Any:
    """A world in which the k-th sample says so and takes so many seconds, ten tokens in each."""
    rest = iter(samples)

    class Paced(SyntheticWorld):
        def __init__(self) -> None:
            pass

        def complete(self, request: Request) -> tuple[float, Completion]:
            text, seconds = next(rest)
            return seconds, Completion(f"Answer: {text}", usage=Usage(1, round(10 * seconds)))

    return Paced()


def test_what_is_in_flight_of_a_proven_problem_is_cancelled_and_charged_as_far_as_it_had_come() -> None:
    world = paced([("7", 2.0), ("1", 1.0), *[("7", 5.0)] * 9])
    results, records = ran(world, allocator_of(TRUSTING), Limits(tokens=1000), 1, PROVEN)
    result = results["p0"]
    assert [c.answer for c in result.candidates] == ["1", "7"] and result.answer == "7"
    assert not result.exhausted and result.error is None
    # Two that began at once had come 20 tokens far; one of a second later, 10; the last one had not begun.
    assert (result.bill.answers.tokens, result.bill.cancelled.tokens) == (30, 50)
    (stopped,) = (r for r in records if isinstance(r, Stopped))
    assert (stopped.reason, stopped.samples, stopped.cancels) == ("solved", 2, True)
    (decided,) = (r for r in records if isinstance(r, Decided))
    assert (decided.at_s, decided.stopped) == (2.0, "solved"), "the answer does not wait for what cannot change it"


def test_pilot_samples_are_not_cancelled() -> None:
    how = allocator_of(StrategySpec("bandit", {"confirm": 1}))
    results, _ = ran(paced([("7", 1.0), ("1", 4.0), *[("7", 5.0)] * 9]), how, Limits(tokens=1000), 1, PROVEN)
    assert [c.answer for c in results["p0"].candidates] == ["7", "1"]


def test_a_rule_that_does_not_cancel_waits_for_what_is_in_flight() -> None:
    world = [("7", 1.0), ("7", 1.0), *[("7", 4.0)] * 9]
    results, records = ran(paced(world), allocator_of(StrategySpec("bandit")), Limits(tokens=1000), 1, PROVEN)
    assert results["p0"].bill.cancelled.tokens == 0 and len(results["p0"].candidates) > 2
    assert [r.cancels for r in records if isinstance(r, Stopped)] == [False]


# --- resuming


def part(seed: int, told: int, how: str = "marginal") -> tuple[Scheduler, Disorder]:
    scheduler = scheduler_of({"c": (VOTE, allocator_of(StrategySpec(how)), Limits(tokens=1200))}, 4)
    driver = Disorder(seed)
    driver.run(scheduler, most=told)
    return scheduler, driver


@pytest.mark.parametrize("seed", range(60))
def test_a_resumed_run_decides_as_the_one_that_died_would_have(seed: int) -> None:
    draw = random.Random(seed)
    how = draw.choice(["marginal", "adaptive_consistency", "esc", "blend_asc", "bandit", "price"])
    alive, driver = part(seed, draw.randint(0, 60), how)
    written = [decode(encode(r), 1) for r in driver.records]
    resumed = scheduler_of(
        {"c": (VOTE, allocator_of(StrategySpec(how)), Limits(tokens=1200))}, 4, history=History(written)
    )
    step = resumed.start()
    assert {a.id for a in step.actions} == set(driver._live), "what was in flight is asked for again, and nothing else"
    assert not [r for r in step.records if isinstance(r, Allotted | Stopped | Repriced)]
    ours, theirs = shared_budgets(alive)["c"], shared_budgets(resumed)["c"]
    assert ours.ledger.spent == theirs.ledger.spent and ours.ledger.reserved == theirs.ledger.reserved
    # From here on both are told the same.
    while driver._live and not alive.done:
        event = driver._end(next(iter(driver._live)))
        one, two = alive.tell([event]), resumed.tell([event])
        assert decisions(one.records) == decisions(two.records)
        assert [a.id for a in one.actions] == [a.id for a in two.actions]
        driver.records += [event]
        for action in one.actions:
            driver._take(action)
    assert alive.done and resumed.done


@pytest.mark.parametrize("told", range(4, 44, 2))
def test_what_an_allocator_cancelled_before_a_crash_stays_cancelled(told: int) -> None:
    def proven(history: History | None = None) -> Scheduler:
        cells = {"c": (PROVEN, allocator_of(TRUSTING), Limits())}
        return scheduler_of(cells, 4, history=history, window=16)

    alive, driver = proven(), Disorder(told)
    driver.run(alive, most=told)
    cut_off = {r.trial for r in driver.records if isinstance(r, Stopped) and r.cancels}
    resumed = proven(History([decode(encode(r), 1) for r in driver.records]))
    step = resumed.start()
    assert {a.id for a in step.actions} == set(driver._live) - driver._cancelled
    assert not [r for r in step.records if isinstance(r, Allotted | Stopped)]
    found = {result.id: result for result, _ in step.results}
    while not (alive.done and resumed.done) and driver._live:  # both are told the same
        event = driver._end(next(iter(driver._live)))
        one, two = alive.tell([event]), resumed.tell([event])
        found |= {result.id: result for result, _ in two.results}
        driver.results |= {result.id: result for result, _ in one.results}
        for action in one.actions:
            driver._take(action)
    for trial in cut_off & found.keys():
        assert found[trial].selected == driver.results[trial].selected
        assert found[trial].scores == driver.results[trial].scores


def decisions(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if isinstance(r, Allotted | Stopped | Repriced | Refused | Decided)]


def test_what_a_crash_loses_is_not_taken_from_the_problems() -> None:
    alive, driver = part(1, 9)
    resumed = scheduler_of(
        {"c": (VOTE, marginal(), Limits(tokens=1200))},
        4,
        history=History([decode(encode(r), 1) for r in driver.records]),
    )
    step = resumed.start()
    lost = [r for r in step.records if isinstance(r, Lost)]
    assert lost and resumed.lost.tokens == sum(r.cost.tokens for r in lost)
    assert shared_budgets(resumed)["c"].ledger.spent == shared_budgets(alive)["c"].ledger.spent


def test_what_is_told_twice_counts_once() -> None:
    scheduler = scheduler_of({"c": (VOTE, marginal(), Limits(tokens=2000))}, 3)
    driver = Disorder(5, failures=0.0)
    driver.run(scheduler, most=6)
    before = shared_budgets(scheduler)["c"].ledger.spent
    for record in list(driver.records):
        if isinstance(record, Finished):
            scheduler.tell([record])
    assert shared_budgets(scheduler)["c"].ledger.spent == before


def test_a_stopped_problem_is_told_why() -> None:
    _, records = ran(votes({"Question 0?": ["7"]}), allocator_of(StrategySpec("esc")), Limits(samples=40), 1)
    refused = [r for r in records if isinstance(r, Refused)]
    assert refused and all(r.error.facts["limit"] == STOPPED for r in refused)
    assert "stopped it after 5 samples: solved" in refused[0].error.message
