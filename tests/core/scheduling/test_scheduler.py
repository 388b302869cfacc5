"""Many trials under one ledger, in virtual time: sharing, refusals, memory, and resuming from anywhere."""

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.clusters.virtual.simulated import SimulatedCluster, World
from tts.core.actions import (
    Action,
    Cancel,
    Cancelled,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Refused,
    Request,
    Scored,
    Sleep,
    Verify,
    Woke,
    Work,
)
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import (
    VERSION,
    Decided,
    Granted,
    Header,
    Hedged,
    Lost,
    Opened,
    Record,
    Shared,
    decode,
    encode,
)
from tts.core.protocols import Strategy
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned, Step
from tts.core.trials.context import Run
from tts.core.trials.trial import Trial
from tts.errors import (
    ActorLost,
    DeadlineExceeded,
    InvalidParameter,
    ReplayDivergence,
    ServerFailed,
    TTSError,
    Unauthorized,
)
from tts.models.cost_model import CostModel, ModelCost
from tts.models.prices import Price
from tts.plugins.names import strategy as named
from tts.runs.folder import NoJournal
from tts.testing.worlds import NoisyWorld
from tts.types import (
    Candidate,
    Completion,
    Cost,
    ErrorInfo,
    Message,
    Problem,
    Sampling,
    Score,
    ScoreKind,
    StrategySpec,
    Timing,
    Usage,
)

MOST = 64  # max_tokens of every sample
ENDS = (Finished, Scored, Failed, Cancelled, Refused)


class Judge:
    """Asks the world."""

    kind: ScoreKind = "probability"
    candidate_logprobs = 0
    in_worker = False

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return Request((Message("user", f"{candidate.text} (Yes/No)"),), Sampling(max_tokens=8))

    def read(self, completion: Completion) -> Score:
        return Score({"Yes": 1.0, "No": 0.0}.get(completion.text), "judge")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        raise NotImplementedError


class Length(Judge):
    """Computes."""

    kind: ScoreKind = "scale"

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return None

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        return Score(float(candidate.tokens), "length", "scale")


VERIFIERS = {"judge": Judge(), "length": Length()}


async def patient(problem: Problem, run: Run, *, seconds: float = 4.0, n: int = 3) -> Candidate:
    """As many of `n` as come in time, else one more."""
    try:
        async with run.deadline(seconds):
            return (await run.generate(n=n))[-1]
    except DeadlineExceeded:
        return (await run.generate("and now?"))[0]


async def watching(problem: Problem, run: Run) -> Candidate:
    """Stops each of three once 16 tokens of it have come, and goes on from there."""
    stopped: list[Candidate] = []
    async with run.streaming(n=3, every=8) as stream:
        async for update in stream:
            if update.candidate is not None:
                stopped.append(update.candidate)
            elif update.tokens >= 16:
                stream.stop(update.id)
    first = min(stopped, key=lambda candidate: candidate.order)
    return (await run.generate(continue_from=first))[0]


async def doubting(problem: Problem, run: Run, *, least: float = 11.0) -> Candidate:
    """Stops each of four that was less confident than `least` in 8 tokens, and goes on from the longest."""
    ended: list[Candidate] = []
    async with run.streaming(n=4, every=8, top_logprobs=3) as stream:
        async for update in stream:
            if update.candidate is not None:
                ended.append(update.candidate)
            elif update.confidence is not None and update.confidence < least:
                stream.stop(update.id)
    longest = max(ended, key=lambda candidate: (len(candidate.text), candidate.order))
    return (await run.generate(continue_from=longest))[0]


async def distrusting(problem: Problem, run: Run, *, least: float = 15.0) -> Candidate:
    """Stops each of four of which a group of 8 tokens is less confident than `least`, asks for another in its place
    while there are fewer than six, and takes the one whose lowest group is the highest."""
    ended: list[Candidate] = []
    async with run.streaming(n=4, group=8, below=least, top_logprobs=3) as stream:
        async for update in stream:
            if update.candidate is None:
                stream.stop(update.id)
                stream.more(stream.asked < 6)
            else:
                ended.append(update.candidate)
    lows = {c.id: c.completion.logprobs.lowest_group or 0.0 for c in ended if c.completion.logprobs}
    return max(ended, key=lambda candidate: (lows.get(candidate.id, 0.0), candidate.order))


async def relay(problem: Problem, run: Run) -> Candidate:
    """Two chains take the first of three and ask it on; where one fails, the other is cancelled."""

    async def chain(number: int) -> Candidate:
        async with run.finishing(n=3, prompt=f"{number}: {problem.prompt}") as finishing:
            first = await anext(aiter(finishing))
        return (await run.generate(continue_from=first))[0]

    return (await run.gather(chain(0), chain(1)))[1]


OWN: dict[str, Strategy] = {"patient": patient, "watching": watching, "doubting": doubting, "relay": relay}
OWN["distrusting"] = distrusting


def resolve(name: str) -> Strategy:
    return OWN.get(name) or named(name)


def said(request: Request, draw: random.Random) -> str:
    """A text that no two samples have in common, so that prompts made of it are different, too."""
    if "(Yes/No)" in request.messages[-1].content:
        return draw.choice(("Yes", "No", "I cannot tell"))
    return f"{request.seed} said. Answer: {draw.randint(1, 5)}"


def planned(cells: Sequence[StrategySpec], problems: int = 2, share: Limits = Limits(), seed: int = 0) -> list[Planned]:
    return [
        Planned(f"c{i}", Problem(f"p{p}", f"Question {p}?"), spec, share, seed)
        for p in range(problems)
        for i, spec in enumerate(cells)
    ]


VOTE = StrategySpec("majority_vote", {"n": 3})
REPEATABLE = [
    VOTE,
    StrategySpec("majority_vote", {"n": 5}),
    StrategySpec("best_of_n", {"n": 3, "verifier": "length"}),
    StrategySpec("genrm", {"n": 2, "verifier": "judge"}),
    StrategySpec("sequential_revision", {"chains": 2, "rounds": 2}),
]
RACES = [StrategySpec("first_finish", {"n": 4}), StrategySpec("patient", {})]


class Checked(Scheduler):
    """A scheduler whose law is checked after every step, and which keeps what it hands out."""

    def __init__(self, plan: Iterable[Planned], **settings: Any) -> None:
        settings = {"costs": CostModel(), "verifiers": VERIFIERS, "sampling": Sampling(max_tokens=MOST)} | settings
        self.limits = settings.get("limits", Limits())
        self.window = settings.get("window", 64)
        self.most_in_flight = 0
        self.bounds_of_hedges: dict[str, Cost] = {}
        self.actions: list[Work | Cancel] = []
        super().__init__(plan, settings.pop("resolve", resolve), **settings)

    def start(self) -> Step:
        return self.checked(super().start())

    def tell(self, events: Iterable[Event]) -> Step:
        return self.checked(super().tell(events))

    def reissue(self, orphans: Mapping[str, ErrorInfo | None]) -> Step:
        return self.checked(super().reissue(orphans))

    def hedge(self, id: str) -> Step | None:
        step = super().hedge(id)
        if step is None:
            return None
        (self.bounds_of_hedges[id],) = (r.cost for r in step.records if isinstance(r, Hedged))
        return self.checked(step)

    def hedge_ended(self, id: str, usage: Usage | None) -> Step:
        step = super().hedge_ended(id, usage)
        (lost,) = (r.cost for r in step.records if isinstance(r, Lost) and r.hedge)
        upper_bound = self.bounds_of_hedges.pop(id)
        assert (lost.samples, lost.tokens) == (1, upper_bound.tokens if usage is None else usage.completion_tokens)
        return self.checked(step)

    def checked(self, step: Step) -> Step:
        held = self.ledger.spent + self.ledger.reserved
        assert self.limits.tokens is None or held.tokens <= self.limits.tokens
        assert self.limits.samples is None or held.samples <= self.limits.samples
        assert len(self.ledger.reservations) - len(self.hedged) == self.in_flight <= self.window
        self.validate()
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.actions += step.actions
        return step


class Kept(NoJournal):
    """A journal in memory: what a file would give back."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records = list(records)

    def write(self, records: Iterable[Record]) -> None:
        self.records += [decode(encode(record), 1) for record in records]


class Ran:
    """One run to its end, in virtual time."""

    def __init__(
        self,
        plan: Sequence[Planned],
        world: World,
        before: Sequence[Record] = (),
        refeed: bool = False,
        **settings: Any,
    ) -> None:
        self.results: dict[str, Result] = {}
        self.journal = Kept(before)
        self.scheduler = Checked(plan, history=History(before, refeed=refeed), **settings)
        self.seconds = SimulatedCluster(world, VERIFIERS).run(
            self.scheduler, self.journal, lambda result, _: self.results.update({result.id: result})
        )

    @property
    def records(self) -> list[Record]:
        return self.journal.records

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def decided(self) -> dict[str, tuple[Any, ...]]:
        """What must not depend on when the run was interrupted."""
        return {
            d.trial: (d.selected, d.answer, d.bill, d.samples, d.exhausted, d.failed, d.error) for d in self.of(Decided)
        }


def assert_the_books_add_up(ran: Ran) -> tuple[Cost, Cost]:
    """Spent is what ended plus what was lost, every grant ends as one of them, and what cells paid is the former."""
    granted: dict[str, Cost] = {}
    hedged: set[str] = set()
    settled, lost = Cost(), Cost()
    for record in ran.records:
        if isinstance(record, Granted):
            assert record.id not in granted, "granted twice at once"
            granted[record.id] = record.cost
        elif isinstance(record, Hedged):
            assert record.id in granted and record.id not in hedged
            hedged.add(record.id)
        elif isinstance(record, Lost):
            lost += record.cost
            if record.hedge:
                hedged.remove(record.id)
            else:
                del granted[record.id]
        elif isinstance(record, ENDS) and granted.pop(record.id, None) is not None:
            settled += Cost(1, record.usage.completion_tokens)
    assert granted == {} and hedged == set()
    spent = ran.scheduler.ledger.spent
    assert (spent.samples, spent.tokens) == (settled.samples + lost.samples, settled.tokens + lost.tokens)
    assert (ran.scheduler.lost.samples, ran.scheduler.lost.tokens) == (lost.samples, lost.tokens)
    paid = [d.paid for d in ran.of(Decided)]
    assert sum(p.tokens for p in paid) == settled.tokens
    assert sum(p.samples for p in paid) == settled.samples
    return settled, lost


def assert_each_sample_came_once(ran: Ran) -> None:
    """By its key, which several cells may have; and every action ended once."""
    keys = {g.id: g.share or g.id for g in ran.of(Granted)}
    paid = Counter(keys[r.id] for r in ran.records if isinstance(r, Finished | Scored) and r.id in keys)
    assert set(paid.values()) <= {1}
    ended = [r.id for r in ran.records if isinstance(r, (*ENDS, Shared))]
    assert len(ended) == len(set(ended))


# --- many trials


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.sampled_from([*REPEATABLE, *RACES, StrategySpec("majority_vote", {"n": None})]), min_size=1, max_size=4
    ),
    st.integers(1, 4),
    st.none() | st.integers(1, 3000),
    st.none() | st.integers(1, 40),
    st.none() | st.floats(1.0, 40.0),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.2, 0.9]),
    st.integers(0, 9),
)
def test_no_plan_and_no_limit_breaks_the_law_and_every_trial_is_decided(
    cells: list[StrategySpec],
    problems: int,
    tokens: int | None,
    samples: int | None,
    seconds: float | None,
    window: int,
    failures: float,
    seed: int,
) -> None:
    plan = planned(cells, problems, Limits(tokens=400))
    limits = Limits(tokens=tokens, samples=samples, seconds=seconds)
    ran = Ran(plan, NoisyWorld(seed, failures=failures, text=said), limits=limits, window=window)
    assert list(ran.results) and set(ran.results) == {p.id for p in plan}
    assert_the_books_add_up(ran)
    assert_each_sample_came_once(ran)
    assert ran.scheduler.ledger.reservations == {}
    assert ran.scheduler.ledger.overrun == Cost()
    for result in ran.results.values():
        assert result.bill.total.tokens <= 400
        assert result.selected is not None or result.error is not None


def test_the_window_is_filled_and_never_passed() -> None:
    ran = Ran(planned([VOTE], 10), NoisyWorld(), window=7)
    assert ran.scheduler.most_in_flight == 7
    with pytest.raises(InvalidParameter, match="window must be at least 1, but got 0"):
        Checked([], window=0)


def test_trials_open_problem_by_problem_and_only_as_room_appears() -> None:
    plan = planned([VOTE, StrategySpec("single")], 6)
    scheduler = Checked(plan, window=3)
    step = scheduler.start()
    assert [r.trial for r in step.records if isinstance(r, Opened)] == ["c0/p0"]
    ran = Ran(plan, NoisyWorld(), window=3)
    assert [r.trial for r in ran.of(Opened)] == [p.id for p in plan]


def test_the_same_run_gives_the_same_journal() -> None:
    plan = planned([*REPEATABLE, *RACES], 3, Limits(tokens=500))
    one, other = (Ran(plan, NoisyWorld(1, failures=0.1), limits=Limits(tokens=5000)) for _ in range(2))
    assert one.records == other.records


def test_a_run_out_of_seconds_decides_what_it_never_opened() -> None:
    plan = planned([StrategySpec("majority_vote", {"n": 4})], 8)
    ran = Ran(plan, NoisyWorld(), limits=Limits(seconds=6.0), window=4)
    assert ran.seconds == pytest.approx(6.0)
    never = ran.results["c0/p7"]
    assert never.exhausted and never.selected is None and never.error is not None
    assert never.error.message == "c0/p7: the run's 6 s had passed before it was opened"
    assert_the_books_add_up(ran)


# --- sharing


def test_cells_of_one_problem_use_the_same_samples_and_pay_once() -> None:
    cells = [StrategySpec("majority_vote", {"n": n}) for n in (1, 2, 4, 8)]
    ran = Ran(planned(cells, 3), NoisyWorld())
    generated = [a for a in ran.scheduler.actions if isinstance(a, Generate)]
    assert len(generated) == 3 * 8
    assert len(ran.of(Shared)) == 3 * (1 + 2 + 4)
    largest = [c.completion for c in sorted(ran.results["c3/p1"].candidates, key=lambda c: c.order)]
    for cell, n in enumerate((1, 2, 4)):
        smaller = sorted(ran.results[f"c{cell}/p1"].candidates, key=lambda c: c.order)
        assert [c.completion for c in smaller] == largest[:n]
    spent = ran.scheduler.ledger.spent
    assert spent.samples == 24
    assert sum(r.bill.total.tokens for r in ran.results.values()) > spent.tokens
    assert_the_books_add_up(ran)


def test_verifications_of_shared_samples_are_shared() -> None:
    cells = [StrategySpec("genrm", {"n": 2, "verifier": "judge", "verifications": v}) for v in (1, 3)]
    ran = Ran(planned(cells, 1), NoisyWorld(text=said))
    assert ran.scheduler.ledger.spent.samples == 2 + 2 * 3
    assert [s.verifier for s in ran.results["c0/p0"].scores[ran.results["c0/p0"].candidates[0].id]] == ["judge"]
    assert_the_books_add_up(ran)


def test_other_seeds_and_other_problems_share_nothing() -> None:
    plan = [*planned([VOTE], 2), Planned("other", Problem("p1", "Question 1?"), VOTE, Limits(), 1)]
    ran = Ran(plan, NoisyWorld())
    assert ran.of(Shared) == []
    assert ran.scheduler.ledger.spent.samples == 9


def test_races_never_share() -> None:
    ran = Ran(planned([RACES[0], RACES[0]], 2), NoisyWorld())
    assert ran.of(Shared) == []
    assert ran.scheduler.ledger.spent.samples == 16
    seeds = [a.request.seed for a in ran.scheduler.actions if isinstance(a, Generate)]
    assert len(set(seeds)) == 16


class Scripted:
    """`fate(request, number)` is seconds and an outcome; None is an ordinary completion."""

    def __init__(self, fate: Callable[[Request, int], tuple[float, TTSError | None]]) -> None:
        self.fate = fate
        self.asked = 0

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        seconds, error = self.fate(request, self.asked)
        self.asked += 1
        if error is not None:
            return seconds, error
        return seconds, Completion("Answer: 4", usage=Usage(3, 10), timing=Timing(seconds), seed=request.seed)


def test_if_a_shared_sample_fails_the_next_that_waits_gets_it() -> None:
    error = ServerFailed("once")
    world = Scripted(lambda request, number: (1.0, error if number < 2 else None))
    ran = Ran(planned([StrategySpec("single")] * 4, 1), world)
    assert [r.answer for r in ran.results.values()] == [None, None, "4", "4"]
    assert [s.of for s in ran.of(Shared)] == ["c2/p0/1"]
    assert world.asked == 3
    assert_the_books_add_up(ran)


def test_if_a_shared_sample_is_cancelled_the_next_that_waits_gets_it() -> None:
    cells = [StrategySpec("patient", {"seconds": 2.0, "n": 1}), StrategySpec("single"), StrategySpec("single")]
    world = Scripted(lambda request, number: (5.0 if number == 0 else 1.0, None))
    ran = Ran(planned(cells, 1), world)
    assert [r.answer for r in ran.results.values()] == ["4", "4", "4"]
    assert [s.of for s in ran.of(Shared)] == ["c1/p0/1"]
    assert ran.results["c0/p0"].bill.cancelled.samples == 1
    assert_the_books_add_up(ran)


def test_one_that_waits_for_a_shared_sample_and_leaves_costs_nothing_and_harms_nobody() -> None:
    cells = [StrategySpec("single"), StrategySpec("patient", {"seconds": 2.0, "n": 1}), StrategySpec("single")]
    world = Scripted(lambda request, number: (5.0 if number == 0 else 1.0, None))
    ran = Ran(planned(cells, 1), world)
    assert [ran.results[f"c{i}/p0"].answer for i in range(3)] == ["4", "4", "4"]
    assert ran.results["c1/p0"].bill.total.samples == 1
    assert world.asked == 2
    assert_the_books_add_up(ran)


def test_what_is_cancelled_before_it_was_granted_never_leaves() -> None:
    ran = Ran(planned([StrategySpec("first_finish", {"n": 50})], 1), Scripted(lambda r, n: (1.0 + n, None)), window=4)
    assert ran.scheduler.ledger.spent.samples == 4
    assert len([r for r in ran.of(Refused) if r.error.type == "Withdrawn"]) == 46
    assert not ran.results["c0/p0"].exhausted


# --- refusals


def test_the_run_refuses_what_it_can_never_hold_and_trials_do_with_what_they_have() -> None:
    ran = Ran(planned([StrategySpec("majority_vote", {"n": 4})], 3), NoisyWorld(), limits=Limits(samples=6), window=8)
    assert [len(r.candidates) for r in ran.results.values()] == [4, 2, 0]
    assert [r.exhausted for r in ran.results.values()] == [False, True, True]
    last = ran.results["c0/p2"].error
    assert last is not None and last.type == "BudgetExhausted"
    assert last.message.startswith("run: the budget of samples=6 cannot hold the next action")
    assert ran.scheduler.ledger.spent.samples == 6


def test_a_run_that_limits_dollars_refuses_a_verification_nobody_can_price_and_goes_on() -> None:
    class Stranger(Judge):
        def request(self, problem: Problem, candidate: Candidate) -> Request | None:
            return Request((Message("user", "(Yes/No)"),), Sampling(max_tokens=8), model="nobody's")

    verifiers = {"judge": Stranger()}
    costs = CostModel({"": ModelCost(Price(input=1, output=2))})
    plan = planned([StrategySpec("genrm", {"n": 1, "verifier": "judge"}), StrategySpec("single")], 1)
    scheduler = Checked(plan, costs=costs, verifiers=verifiers, limits=Limits(usd=1.0))
    results: dict[str, Result] = {}
    SimulatedCluster(NoisyWorld(), verifiers).run(
        scheduler, None, lambda result, _: results.update({result.id: result})
    )
    error = results["c0/p0"].error
    assert error is not None and error.type == "UnknownCost"
    assert error.message.startswith("the run budget limits usd, but this model's usd are not known")
    assert results["c1/p0"].error is None
    assert scheduler.ledger.spent.samples == 1


def test_the_run_waits_for_room_that_what_is_in_flight_may_free() -> None:
    world = Scripted(lambda request, number: (1.0, None))
    ran = Ran(planned([StrategySpec("majority_vote", {"n": 6})], 1), world, limits=Limits(tokens=2 * MOST))
    assert len(ran.results["c0/p0"].candidates) == 6
    assert ran.scheduler.most_in_flight == 2
    assert ran.scheduler.ledger.spent.tokens == 60


def test_an_event_told_twice_counts_once_even_after_its_trial_has_closed() -> None:
    class Stuttering(Checked):
        def tell(self, events: Iterable[Event]) -> Step:
            said = list(events)
            step = super().tell([*said, *said])
            again = super().tell(said)
            assert (again.actions, again.results) == ([], [])
            return step

    plan = planned([*REPEATABLE, *RACES], 2)
    once = Ran(plan, NoisyWorld(2))
    twice = Stuttering(plan)
    results: dict[str, Result] = {}
    SimulatedCluster(NoisyWorld(2), VERIFIERS).run(twice, None, lambda result, _: results.update({result.id: result}))
    assert results == once.results
    assert twice.ledger.spent == once.scheduler.ledger.spent


# --- memory


@pytest.mark.parametrize("spec", [VOTE, StrategySpec("watching", {})], ids=["samples", "streams"])
def test_what_came_of_closed_problems_is_forgotten(spec: StrategySpec) -> None:
    def peak(problems: int) -> int:
        world = NoisyWorld(text=lambda request, draw: f"{request.seed}" * 1000 + " Answer: 4")
        plan = (p for p in planned([spec, spec], problems))
        scheduler = Scheduler(plan, resolve, costs=CostModel(), window=6)
        tracemalloc.start()
        try:
            SimulatedCluster(world).run(scheduler)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(80) < 2 * peak(10)


async def unlucky(problem: Problem, run: Run, *, n: int) -> Candidate:
    """The first of `n` chains fails when all of them have asked for more."""

    async def chain(number: int) -> None:
        await run.generate(str(number))
        if number == 0:
            raise ValueError("bad luck")
        await run.generate(f"{number} again")

    await run.gather(*map(chain, range(n)))
    raise AssertionError


OWN["unlucky"] = unlucky


@pytest.mark.parametrize("name", ["majority_vote", "first_finish", "unlucky"])
@pytest.mark.parametrize("share", [Limits(), Limits(tokens=MOST * 40)], ids=["no share", "a backlog"])
@pytest.mark.parametrize("window", [64, 10_000])
def test_the_work_for_each_sample_does_not_grow_with_their_number(name: str, share: Limits, window: int) -> None:
    def seconds(n: int) -> float:
        plan = planned([StrategySpec(name, {"n": n})], 1, share)
        world = Scripted(lambda request, number: (1.0 + number % 7, None))
        began = time.process_time()
        SimulatedCluster(world).run(Scheduler(plan, resolve, costs=CostModel(), window=window))
        return time.process_time() - began

    few = min(seconds(250) for _ in range(3))
    assert min(seconds(2000) for _ in range(2)) < 8 * 4 * few  # where each looks at all the others: 8 * 8


# --- fatal errors


def test_a_fatal_error_stops_the_run_books_what_was_in_flight_and_a_resumed_run_goes_on() -> None:
    locked = Unauthorized("the key was revoked", endpoint="e", status=401)
    plan = planned([StrategySpec("majority_vote", {"n": 4})], 4)
    whole = Ran(plan, Scripted(lambda r, n: (1.0 + r.seed % 7, None)), window=6)
    world = Scripted(lambda r, n: (1.0 + r.seed % 7, locked if n == 9 else None))
    scheduler, journal = Checked(plan, window=6), Kept()
    with pytest.raises(Unauthorized, match="the key was revoked"):
        SimulatedCluster(world, VERIFIERS).run(scheduler, journal)
    assert scheduler.done and scheduler.in_flight == 0
    assert scheduler.fatal == ErrorInfo.of(locked)
    assert not [r for r in journal.records if isinstance(r, Failed)], "it is not an end that its trial hears of"
    lost = {r.id for r in journal.records if isinstance(r, Lost)}
    ended = {r.id for r in journal.records if isinstance(r, Finished)}
    assert lost == {r.id for r in journal.records if isinstance(r, Granted)} - ended
    assert len(lost) > 1
    # Cancelled half-way: what had been decoded by then, and not a whole completion.
    assert sum(r.cost.tokens for r in journal.records if isinstance(r, Lost)) < 10 * (len(lost) - 1)
    again = Ran(plan, Scripted(lambda r, n: (1.0 + r.seed % 7, None)), journal.records, window=6)
    assert again.decided == whole.decided
    assert assert_the_books_add_up(again)[0] == Cost(16, 160)
    assert again.scheduler.lost.samples == len(lost)


def test_losing_an_end_charges_it_and_nothing_more_is_granted_after_a_fatal_one() -> None:
    scheduler = Checked(planned([StrategySpec("majority_vote", {"n": 5})], 2), window=3)
    a, b, c = (action.id for action in scheduler.start().actions)
    fatal = Failed(a, 1.0, ErrorInfo.of(Unauthorized("no")), Usage(1, 2))
    assert scheduler.is_fatal(fatal)
    assert not scheduler.is_fatal(Failed(a, 1.0, ErrorInfo.of(ServerFailed("no"))))
    assert scheduler.lose(fatal) == [Lost(a, Cost(1, 2, None, None))]
    assert scheduler.lose(fatal) == []
    finished = Finished(b, 1.5, Completion("Answer: 4", usage=Usage(1, 9)))
    assert scheduler.tell([finished]).actions == []
    assert scheduler.lose(Cancelled(c, 2.0, Completion("", "cancelled", Usage(1, 5)))) == [
        Lost(c, Cost(1, 5, None, None))
    ]
    assert scheduler.done
    assert (scheduler.lost.samples, scheduler.lost.tokens) == (2, 7)
    assert scheduler.ledger.spent.tokens == 16


def test_a_drained_run_ends_what_is_in_flight_and_goes_on_when_resumed() -> None:
    plan = planned(REPEATABLE, 4)
    whole = Ran(plan, NoisyWorld(3, text=said))
    scheduler, journal = Checked(plan, window=5), Kept()

    def drain(result: Result, decided: Decided) -> None:
        scheduler.draining = True

    SimulatedCluster(NoisyWorld(3, text=said), VERIFIERS).run(scheduler, journal, drain)
    assert 0 < len([r for r in journal.records if isinstance(r, Decided)]) < len(plan)
    again = Ran(plan, NoisyWorld(3, text=said), journal.records)
    assert again.decided == whole.decided
    assert assert_the_books_add_up(again)[1] == Cost()


# --- what carries actions out may die


class Mortal(SimulatedCluster):
    """Ends what is in flight in any order and repeats itself; at times what carries some of it dies without a word, and
    at times something is asked for a second time, for nothing.

    Args:
        draw: decides everything.
        deaths: how likely it is, at each turn, that something dies.
        hopeless: how likely it is that an action that loses its carrier must not be tried again.
    """

    def __init__(self, world: World, draw: random.Random, deaths: float, hopeless: float) -> None:
        super().__init__(world, VERIFIERS)
        self.draw, self.deaths, self.hopeless = draw, deaths, hopeless
        self.in_hand: dict[str, Work] = {}
        self.stopped: set[str] = set()
        self.shown: dict[str, int] = {}  # id -> how many tokens of it have been shown
        self.past: list[Event] = []

    def run(self, scheduler: Scheduler, journal: Any = None, on_result: Any = None) -> float:
        step = scheduler.start()
        self._now = scheduler.now
        while True:
            self._do(step, journal, on_result)
            assert set(self.in_hand) == set(scheduler.unended)
            if scheduler.done:
                return self._now
            assert self.in_hand or scheduler.hedged, "nothing is in flight, and yet the run goes on"
            luck = self.draw.random()
            if luck < 0.1 and self.in_hand:
                step = scheduler.hedge(self.draw.choice(sorted(self.in_hand))) or Step()
            elif scheduler.hedged and (luck < 0.2 or not self.in_hand):
                usage = self.draw.choice((None, Usage(), Usage(3, 5)))
                step = scheduler.hedge_ended(self.draw.choice(scheduler.hedged), usage)
            elif self.draw.random() < self.deaths:
                dying = [id for id in self.in_hand if self.draw.random() < 0.5]
                for id in dying:
                    self.let_go(id)
                ghosts = [event.id for event in self.draw.sample(self.past, min(2, len(self.past)))]
                step = scheduler.reissue({id: self.verdict() for id in [*dying, *ghosts]})
            else:
                several = min(len(self.in_hand), self.draw.choice((1, 1, 2, 5)))
                events = [self.next_of(id) for id in self.draw.sample(sorted(self.in_hand), several)]
                journal.write(events)
                self.past += [event for event in events if not isinstance(event, Progressed)]
                again = self.draw.sample(self.past, 1) if self.past and self.draw.random() < 0.3 else []
                step = scheduler.tell([*events, *again])

    def verdict(self) -> ErrorInfo | None:
        return ErrorInfo.of(ActorLost("too many have died")) if self.draw.random() < self.hopeless else None

    def let_go(self, id: str) -> Work:
        self.stopped.discard(id)
        self.shown.pop(id, None)
        return self.in_hand.pop(id)

    def next_of(self, id: str) -> Event:
        """Its end, or a piece of it."""
        action = self.in_hand[id]
        at_s = self._now = max(self._now, action.until_s if isinstance(action, Sleep) else 0.0)
        _, end = self._outcome(action)
        end = msgspec.structs.replace(end, at_s=at_s)
        shown = self.shown.get(id, 0)
        if isinstance(end, Finished) and isinstance(action, Generate) and action.request.progress:
            text, tokens = end.completion.text, end.usage.completion_tokens
            if shown < tokens and self.draw.random() < 0.8:
                more = self.shown[id] = min(tokens, shown + 16)
                begin, stop = len(text) * shown // tokens, len(text) * more // tokens
                return Progressed(id, at_s, text[begin:stop], begin, more)
        if id in self.stopped and self.draw.random() < 0.7:
            part = Completion("", "cancelled", Usage(0, min(shown, end.usage.completion_tokens)))
            end = Cancelled(id, at_s, part)
        self.let_go(id)
        return end

    def _carry_out(self, action: Action) -> None:
        if not isinstance(action, Cancel):
            assert action.id not in self.in_hand, "it is in somebody's hands already"
            self.in_hand[action.id] = action
        elif action.id in self.in_hand:
            self.stopped.add(action.id)


class Disturbed(Ran):
    """A run through which carriers die, to its end."""

    def __init__(
        self,
        plan: Sequence[Planned],
        world: World,
        draw: random.Random,
        before: Sequence[Record] = (),
        *,
        deaths: float = 0.2,
        hopeless: float = 0.0,
        **settings: Any,
    ) -> None:
        self.results = {}
        self.journal = Kept(before)
        self.scheduler = Checked(plan, history=History(before), **settings)
        self.seconds = Mortal(world, draw, deaths, hopeless).run(
            self.scheduler, self.journal, lambda result, _: self.results.update({result.id: result})
        )
        assert self.scheduler.ledger.reservations == {}
        assert self.scheduler.unended == []
        assert_each_sample_came_once(self)
        assert_the_books_add_up(self)


def assert_what_died_is_lost_at_its_worst_case(ran: Ran) -> None:
    granted: dict[str, Granted] = {}
    for record in ran.records:
        if isinstance(record, Granted):
            before = granted.get(record.id, record)
            assert (record.digest, record.cost, record.share) == (before.digest, before.cost, before.share)
            granted[record.id] = record
        elif isinstance(record, Lost) and not record.hedge:
            assert record.cost == granted[record.id].cost


def plus(cost: Cost, lost: Cost) -> tuple[int, int]:
    return cost.samples + lost.samples, cost.tokens + lost.tokens


cells_of_a_run = st.lists(st.sampled_from(REPEATABLE), min_size=1, max_size=3)
ORDERS = 15


@settings(max_examples=80, deadline=None)
@given(cells_of_a_run, st.integers(1, 2), st.integers(1, 6), st.integers(0, 999), st.sampled_from([0.05, 0.3, 0.6]))
def test_whoever_dies_whenever_the_answers_and_bills_are_those_of_an_undisturbed_run(
    cells: list[StrategySpec], problems: int, window: int, seed: int, deaths: float
) -> None:
    plan = planned(cells, problems, seed=seed)
    whole = Ran(plan, NoisyWorld(seed, text=said), window=window)
    for order in range(ORDERS):
        draw = random.Random(f"{seed} {order}")
        ran = Disturbed(plan, NoisyWorld(seed, text=said), draw, deaths=deaths, window=window)
        assert ran.decided == whole.decided
        assert_what_died_is_lost_at_its_worst_case(ran)
        spent = ran.scheduler.ledger.spent
        assert plus(spent, Cost()) == plus(whole.scheduler.ledger.spent, ran.scheduler.lost)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*REPEATABLE, *RACES, *map(StrategySpec, ("watching", "relay"))]), min_size=1, max_size=3),
    st.none() | st.integers(MOST, 2500),
    st.none() | st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 999),
)
def test_no_death_breaks_a_budget_and_every_trial_is_decided(
    cells: list[StrategySpec],
    tokens: int | None,
    samples: int | None,
    window: int,
    failures: float,
    hopeless: float,
    seed: int,
) -> None:
    """Races, deadlines, stopped streams, failures and refusals included: `Checked` looks at the law at every step."""
    plan = planned(cells, 2, seed=seed)
    limits = Limits(tokens=tokens, samples=samples)
    for order in range(ORDERS):
        world, draw = NoisyWorld(seed, failures=failures, text=said), random.Random(f"{seed} {order}")
        ran = Disturbed(plan, world, draw, hopeless=hopeless, limits=limits, window=window)
        assert set(ran.results) == set(ran.decided) == {p.id for p in plan}
        assert_what_died_is_lost_at_its_worst_case(ran)
        for result in ran.results.values():
            assert result.selected is not None or result.error is not None


@settings(max_examples=40, deadline=None)
@given(cells_of_a_run, st.integers(1, 6), st.integers(0, 999), st.floats(0.0, 1.0), st.booleans())
def test_the_journal_of_a_disturbed_run_resumes_to_the_same_result_from_any_prefix(
    cells: list[StrategySpec], window: int, seed: int, second: float, disturbed: bool
) -> None:
    plan = planned(cells, 2, seed=seed)
    whole = Ran(plan, NoisyWorld(seed, text=said), window=window)
    ran = Disturbed(plan, NoisyWorld(seed, text=said), random.Random(seed), deaths=0.3, window=window)

    def resumed(records: Sequence[Record]) -> Ran:
        world = NoisyWorld(seed, text=said)
        if not disturbed:
            return Ran(plan, world, records, window=window)
        return Disturbed(plan, world, random.Random(len(records)), records, window=window)

    for cut in range(0, len(ran.records), 7):
        again = resumed(ran.records[:cut])
        twice = resumed(again.records[: round(second * len(again.records))])
        for final in (again, twice):
            assert final.decided == whole.decided
            assert_the_books_add_up(final)
            assert_each_sample_came_once(final)
            assert plus(final.scheduler.ledger.spent, Cost()) == plus(
                whole.scheduler.ledger.spent, final.scheduler.lost
            )


def test_what_died_is_asked_for_again_under_the_same_seed_and_before_what_has_not_left_yet() -> None:
    scheduler = Checked(planned([StrategySpec("majority_vote", {"n": 6})], 1), window=4)
    first = [a for a in scheduler.start().actions if isinstance(a, Generate)]
    upper_bound = scheduler.ledger.reservations[first[0].id]
    step = scheduler.reissue({first[0].id: None, first[2].id: None})
    assert step.actions == [first[0], first[2]]
    lost = [record for record in step.records if isinstance(record, Lost)]
    assert sorted(record.id for record in lost) == [first[0].id, first[2].id]
    assert {record.cost for record in lost} == {upper_bound}
    assert [r.id for r in step.records if isinstance(r, Granted)] == [first[0].id, first[2].id]
    kinds = [type(record) for record in step.records]
    assert kinds.index(Granted) > kinds.index(Lost), "what is lost is on disk before it is asked for again"
    assert scheduler.lost == upper_bound + upper_bound
    assert scheduler.in_flight == 4


def test_what_has_ended_or_was_never_asked_for_has_no_carrier_to_lose() -> None:
    scheduler = Checked(planned([StrategySpec("majority_vote", {"n": 2})], 1))
    one, two = [a for a in scheduler.start().actions if isinstance(a, Generate)]
    scheduler.tell([Finished(one.id, 1.0, Completion("Answer: 4", usage=Usage(3, 10)))])
    before = scheduler.ledger.spent, scheduler.ledger.reserved
    step = scheduler.reissue({one.id: None, "c0/p0/3": None, "c9/p9/1": ErrorInfo("ActorLost", "six have died")})
    assert (step.actions, step.records, step.results) == ([], [], [])
    assert (scheduler.ledger.spent, scheduler.ledger.reserved) == before
    assert scheduler.lost == Cost()
    assert two.id in scheduler.unended


def test_a_shared_sample_whose_carrier_died_still_serves_all_who_wait_for_it() -> None:
    plan = planned([StrategySpec("single")] * 3, 1)
    scheduler = Checked(plan)
    (owner,) = scheduler.start().actions
    (again,) = scheduler.reissue({owner.id: None}).actions
    assert again == owner
    step = scheduler.tell([Finished(owner.id, 1.0, Completion("Answer: 4", usage=Usage(3, 10)))])
    assert [result.answer for result, _ in step.results] == ["4"] * 3
    assert len([record for record in step.records if isinstance(record, Shared)]) == 2
    assert scheduler.done


@pytest.mark.parametrize("told_to_stop", [True, False])
def test_one_that_ends_with_its_carrier_strands_nobody_who_waits_for_its_sample(told_to_stop: bool) -> None:
    """Cancelled ones end as cancelled, and those with an error as failed; the next that waits gets the sample."""
    cells = [StrategySpec("patient", {"seconds": 2.0, "n": 1}), StrategySpec("single"), StrategySpec("single")]
    scheduler = Checked(planned(cells, 1))
    actions = scheduler.start().actions
    (owner,) = [a for a in actions if isinstance(a, Generate)]
    upper_bound = scheduler.ledger.reservations[owner.id]
    if told_to_stop:
        (alarm,) = [a for a in actions if isinstance(a, Sleep)]
        stopping = scheduler.tell([Woke(alarm.id, 2.0)])
        assert Cancel(owner.id) in stopping.actions
        step = scheduler.reissue({owner.id: None})
        (end,) = [r for r in step.records if isinstance(r, ENDS)]
        assert end == Cancelled(owner.id, 2.0)
    else:
        error = ErrorInfo.of(ActorLost("six have died", id=owner.id))
        step = scheduler.reissue({owner.id: error})
        (end,) = [r for r in step.records if isinstance(r, ENDS)]
        assert end == Failed(owner.id, 0.0, error)
    assert [r for r in step.records if isinstance(r, Lost)] == [Lost(owner.id, upper_bound)]
    (heir,) = [a for a in step.actions if isinstance(a, Generate) and a.share == owner.share]
    assert heir.id == "c1/p0/1"
    told = scheduler.tell([Finished(heir.id, 3.0, Completion("Answer: 4", usage=Usage(3, 10)))])
    assert {result.id: result.answer for result, _ in told.results}.items() >= {"c1/p0": "4", "c2/p0": "4"}.items()
    assert owner.id not in scheduler.unended
    assert scheduler.reissue({owner.id: None}).records == []


def test_a_lost_sample_that_the_budget_cannot_pay_twice_is_refused_once_that_is_certain() -> None:
    scheduler = Checked(planned([StrategySpec("majority_vote", {"n": 4})], 1), limits=Limits(samples=4))
    first, *others = [a for a in scheduler.start().actions if isinstance(a, Generate)]
    step = scheduler.reissue({first.id: None})
    assert step.actions == []  # three are in flight, which might yet cost nothing
    events = [Finished(a.id, 1.0, Completion("Answer: 4", usage=Usage(3, 10))) for a in others]
    step = scheduler.tell(events)
    assert [r.error.type for r in step.records if isinstance(r, Refused)] == ["BudgetExhausted"]
    ((result, _),) = step.results
    assert (len(result.candidates), result.exhausted, result.answer) == (3, True, "4")
    assert scheduler.ledger.spent.samples == 4
    assert scheduler.done


def test_what_computes_is_handed_out_again_and_nothing_is_booked_for_it() -> None:
    scheduler = Checked(planned([StrategySpec("best_of_n", {"n": 1, "verifier": "length"})], 1))
    (sample,) = scheduler.start().actions
    step = scheduler.tell([Finished(sample.id, 1.0, Completion("Answer: 4", usage=Usage(3, 10)))])
    (verify,) = step.actions
    assert isinstance(verify, Verify) and verify.request is None
    spent = scheduler.ledger.spent
    for _ in range(3):
        again = scheduler.reissue({verify.id: None})
        assert (again.actions, again.records) == ([verify], [])
    assert (scheduler.ledger.spent, scheduler.lost) == (spent, Cost())
    failed = scheduler.reissue({verify.id: ErrorInfo("ActorLost", "six have died")})
    assert [type(record) for record in failed.records] == [Failed, Decided]
    assert scheduler.done and scheduler.unended == []


def test_a_run_that_is_about_to_stop_books_the_dead_and_asks_for_nothing_more() -> None:
    plan = planned([StrategySpec("majority_vote", {"n": 3})], 1)
    whole = Ran(plan, NoisyWorld(text=said))
    journal = Kept()
    scheduler = Checked(plan)
    step = scheduler.start()
    journal.write(step.records)
    scheduler.draining = True
    ids = [action.id for action in step.actions]
    step = scheduler.reissue(dict.fromkeys(ids))
    journal.write(step.records)
    assert step.actions == [] and scheduler.done
    assert sorted(r.id for r in step.records if isinstance(r, Lost)) == ids
    again = Ran(plan, NoisyWorld(text=said), journal.records)
    assert again.decided == whole.decided
    assert again.scheduler.ledger.spent.samples == 6


def test_samples_are_kept_until_the_plan_has_gone_on_to_the_next_problem() -> None:
    """Also while, for a moment, none of their problem's trials is open."""
    world = Scripted(lambda request, number: (1.0, None))
    ran = Ran(planned([StrategySpec("single")] * 4, 3), world, window=1)
    assert world.asked == 3
    assert len(ran.of(Shared)) == 9
    opened = [record.trial for record in ran.of(Opened)]
    assert opened == [f"c{cell}/p{problem}" for problem in range(3) for cell in range(4)]


# --- resuming


@pytest.mark.parametrize("failures", [0.0, 0.15])
@pytest.mark.parametrize("window", [3, 64])
def test_resuming_from_every_prefix_of_a_journal_gives_the_same_results(failures: float, window: int) -> None:
    plan = planned(REPEATABLE, 2)

    def world() -> World:
        return NoisyWorld(5, failures=failures, text=said)

    whole = Ran(plan, world(), window=window)
    settled, lost = assert_the_books_add_up(whole)
    assert lost == Cost()
    for cut in range(len(whole.records)):
        again = Ran(plan, world(), whole.records[:cut], window=window)
        if (
            failures == 0.0
        ):  # a sample that failed for one cell is tried again for the next: whose turn it is may differ
            assert again.decided == whole.decided, cut
            assert assert_the_books_add_up(again)[0] == settled
        assert set(again.decided) == set(whole.decided)
        assert_each_sample_came_once(again)
        assert_the_books_add_up(again)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3), st.integers(0, 5), st.booleans())
def test_a_run_that_crashes_again_and_again_still_adds_up(cuts: list[float], seed: int, races: bool) -> None:
    plan = planned([*REPEATABLE, *RACES] if races else REPEATABLE, 2)
    whole = Ran(plan, NoisyWorld(seed, text=said), window=5)
    ran = whole
    for cut in cuts:
        ran = Ran(plan, NoisyWorld(seed, text=said), ran.records[: round(cut * len(ran.records))], window=5)
    settled, _ = assert_the_books_add_up(ran)
    assert_each_sample_came_once(ran)
    assert set(ran.decided) == set(whole.decided)
    if not races:
        assert ran.decided == whole.decided
        assert settled == assert_the_books_add_up(whole)[0]


@pytest.mark.parametrize("strategy", ["watching", "doubting", "distrusting"])
def test_the_text_that_had_come_of_a_stopped_stream_survives_a_crash(strategy: str) -> None:
    plan = planned([StrategySpec(strategy)], 1)

    def world() -> World:
        return NoisyWorld(2, text=said)

    def asked(ran: Ran) -> set[str]:
        return {candidate.id for candidate in ran.results["c0/p0"].candidates}

    whole = Ran(plan, world())
    selected = whole.results["c0/p0"].selected
    assert selected is not None and len(whole.of(Progressed)) > 3
    for cut in range(len(whole.records)):
        again = Ran(plan, world(), whole.records[:cut])
        assert again.results["c0/p0"].selected == selected, cut
        assert asked(again) == asked(whole), cut
        assert_the_books_add_up(again)
        for second in range(cut, len(again.records), 3):
            assert Ran(plan, world(), again.records[:second]).results["c0/p0"].selected == selected, (cut, second)


def test_what_was_lost_before_its_cancellation_came_is_not_paid_again() -> None:
    plan = planned([RACES[0]], 1)
    whole = Ran(plan, NoisyWorld())
    cut = next(i for i, r in enumerate(whole.records) if isinstance(r, Finished)) + 1
    resumed = Ran(plan, NoisyWorld(), whole.records[:cut])
    assert [type(r) for r in resumed.records[cut:]] == [*[Lost, Cancelled] * 3, Decided]
    for again in range(cut, len(resumed.records)):
        ran = Ran(plan, NoisyWorld(), resumed.records[:again])
        settled, lost = assert_the_books_add_up(ran)
        assert (settled.samples, lost.samples) == (1, 3)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(64, 2500), st.integers(1, 40), st.integers(1, 8))
def test_a_tight_budget_holds_across_crashes(
    first: float, second: float, tokens: int, samples: int, window: int
) -> None:
    """The scheduler is checked after every step: also while it is still re-feeding what others had spent."""
    plan = planned([*REPEATABLE, *RACES], 2)
    limits = Limits(tokens=tokens, samples=samples)
    ran = Ran(plan, NoisyWorld(text=said), limits=limits, window=window)
    for cut in (first, second):
        ran = Ran(
            plan, NoisyWorld(text=said), ran.records[: round(cut * len(ran.records))], limits=limits, window=window
        )
    assert_the_books_add_up(ran)
    assert set(ran.decided) == {p.id for p in plan}


def test_nothing_is_granted_before_all_that_was_open_is_back() -> None:
    """Else the ledger would not know what the others had spent."""
    plan = planned([StrategySpec("majority_vote", {"n": 4})], 2)
    world = Scripted(lambda request, number: (1.0 + number, None))
    whole = Ran(plan, world, limits=Limits(samples=8), window=5)
    cut = next(i for i, r in enumerate(whole.records) if isinstance(r, Finished) and r.id.startswith("c0/p1")) + 1
    scheduler = Checked(plan, limits=Limits(samples=8), window=5, history=History(whole.records[:cut]))
    step = scheduler.start()
    ended = len([r for r in whole.records[:cut] if isinstance(r, Finished)])
    lost = len([r for r in step.records if isinstance(r, Lost)])
    assert lost > 0
    assert len([a for a in step.actions if isinstance(a, Generate)]) == min(5, 8 - ended - lost)


def test_samples_of_decided_cells_serve_those_that_a_resumed_run_opens() -> None:
    plan = planned([StrategySpec("majority_vote", {"n": n}) for n in (3, 3, 3)], 1)
    whole = Ran(plan, NoisyWorld(), window=1)
    cut = next(i for i, r in enumerate(whole.records) if isinstance(r, Decided)) + 1
    again = Ran(plan, NoisyWorld(), whole.records[:cut], window=1)
    assert again.scheduler.ledger.spent.samples == 3
    assert [a for a in again.scheduler.actions if isinstance(a, Generate)] == []
    assert again.decided == whole.decided


def test_an_event_that_is_in_the_journal_twice_counts_once_on_resume() -> None:
    plan = planned([StrategySpec("majority_vote", {"n": 4}), *RACES], 2)
    whole = Ran(plan, NoisyWorld(7))
    doubled = [copy for r in whole.records for copy in ([r, r] if isinstance(r, (*ENDS, Progressed)) else [r])]
    for cut in range(0, len(doubled), 3):
        again = Ran(plan, NoisyWorld(7), doubled[:cut])
        assert set(again.decided) == set(whole.decided)


@pytest.mark.parametrize(
    "spec",
    [
        StrategySpec("majority_vote", {"n": 2}),
        StrategySpec("majority_vote", {"n": 4, "stop_at": 0.9}),  # three samples at first: alike, they decide it
        StrategySpec("first_finish", {"n": 4}),
        StrategySpec("single"),
    ],
    ids=str,
)
def test_a_strategy_that_asks_for_something_else_on_resume_is_found_out(spec: StrategySpec) -> None:
    was = StrategySpec("majority_vote", {"n": 4})
    whole = Ran(planned([was], 1), NoisyWorld())
    for cut in range(5, len(whole.records) - 1):  # opened, four grants, then the ends
        with pytest.raises(ReplayDivergence, match=r"c0/p0: the journal has c0/p0/.*start a new run folder"):
            Ran(planned([spec], 1), NoisyWorld(), whole.records[:cut])


def test_other_sampling_parameters_on_resume_are_found_out_by_the_digest() -> None:
    plan = planned([VOTE], 1)
    whole = Ran(plan, NoisyWorld())
    with pytest.raises(ReplayDivergence, match="'max_tokens': 65"):
        Ran(plan, NoisyWorld(), whole.records[:3], sampling=Sampling(max_tokens=MOST + 1))


def test_refeeding_brings_back_the_candidates_of_decided_trials_without_asking_anything() -> None:
    plan = planned([*REPEATABLE, *RACES], 2)
    whole = Ran(plan, NoisyWorld(9, text=said))
    again = Ran(plan, Scripted(lambda request, number: pytest.fail("nothing was missing")), whole.records, refeed=True)
    assert again.results == whole.results
    assert again.scheduler.actions == []
    assert again.scheduler.ledger.spent == whole.scheduler.ledger.spent
    assert History(again.records).decided.keys() == whole.results.keys()


def test_the_clock_goes_on_where_it_stood() -> None:
    plan = planned([StrategySpec("majority_vote", {"n": 4})], 2)
    whole = Ran(plan, NoisyWorld(), window=2)
    cut = len(whole.records) // 2
    before = max(getattr(r, "at_s", 0.0) for r in whole.records[:cut])
    again = Ran(plan, NoisyWorld(), whole.records[:cut], window=2)
    after = [r.at_s for r in again.records[cut:] if hasattr(r, "at_s")]
    assert min(after) >= before
    assert again.seconds > before


def test_a_resumed_run_reads_any_order_of_ends_as_the_cluster_gave_them() -> None:
    """Two paces give the same samples in another order: the journal of one is no divergence for the other."""
    plan = planned(REPEATABLE, 2)
    fast, slow = (Ran(plan, NoisyWorld(5, pace, text=said)) for pace in (0, 1))
    assert [r.id for r in fast.of(Finished)] != [r.id for r in slow.of(Finished)]
    for cut in range(0, len(fast.records), 5):
        again = Ran(plan, NoisyWorld(5, 1, text=said), fast.records[:cut])
        assert {k: v[:2] for k, v in again.decided.items()} == {k: v[:2] for k, v in slow.decided.items()}


def test_a_header_alone_is_a_run_that_has_not_begun() -> None:
    plan = planned([VOTE], 1)
    header = Header(VERSION, "tts", {"model": "m"})
    assert Ran(plan, NoisyWorld(), [header]).decided == Ran(plan, NoisyWorld()).decided


def test_an_end_may_come_in_one_batch_with_others() -> None:
    plan = planned([StrategySpec("majority_vote", {"n": 3})], 2)
    scheduler = Checked(plan)
    actions = [a for a in scheduler.start().actions if isinstance(a, Generate)]
    events: list[End] = [Finished(a.id, 1.0, Completion("Answer: 4", usage=Usage(3, 10))) for a in actions]
    step = scheduler.tell(events)
    assert [result.answer for result, _ in step.results] == ["4", "4"]
    assert scheduler.done and scheduler.unended == []


def test_the_text_of_a_stopped_stream_survives_its_carrier() -> None:
    scheduler = Checked(planned([StrategySpec("watching")], 1))
    first, *others = [action.id for action in scheduler.start().actions]
    step = scheduler.tell([Progressed(first, 1.0, "Answer: 4", 0, 16)])
    assert Cancel(first) in step.actions
    for id in others:
        scheduler.tell([Finished(id, 2.0, Completion("Answer: 5", usage=Usage(3, 10)))])
    step = scheduler.reissue({first: None})
    (end,) = [record for record in step.records if isinstance(record, Cancelled)]
    assert end.completion.text == "Answer: 4"


def test_a_late_end_of_what_waits_to_be_asked_for_again_leaves_nothing_reserved() -> None:
    scheduler = Checked(planned([StrategySpec("majority_vote", {"n": 2})], 1), window=2)
    one, two = scheduler.start().actions
    scheduler.draining = True
    scheduler.reissue({one.id: None})
    scheduler.draining = False
    ends = [Finished(id, 1.0, Completion("Answer: 4", usage=Usage(3, 10))) for id in (one.id, two.id)]
    scheduler.tell(ends)
    assert scheduler.unended == []
    assert scheduler.ledger.reservations == {}


@settings(max_examples=100, deadline=None)
@given(st.integers())
def test_a_rule_that_stops_single_streams_decides_the_same_in_any_order_of_their_pieces(seed: int) -> None:
    draw = random.Random(seed)
    spec = StrategySpec("doubting")
    whole = Ran(planned([spec], 1), NoisyWorld(2, text=said))
    told: dict[str, list[Event]] = {}
    for record in whole.records:
        if isinstance(record, Progressed | Finished | Cancelled):
            told.setdefault(record.id, []).append(record)
    stopped = {id for id, events in told.items() if isinstance(events[-1], Cancelled)}
    assert 0 < len(stopped) < len(told) == 5

    trial = Trial("c0/p0", Problem("p0", "Question 0?"), doubting, spec, costs=CostModel(), sampling=Sampling())
    asked, before, cancelled = {action.id for action in trial.start()}, list[Event](), set[str]()
    while open_ids := sorted(id for id in asked if told[id]):
        again = before and draw.random() < 0.3
        event = draw.choice(before) if again else told[draw.choice(open_ids)].pop(0)
        before.append(event)
        actions = trial.tell(event)
        cancelled |= {action.id for action in actions if isinstance(action, Cancel)}
        asked |= {action.id for action in actions if isinstance(action, Generate)}
    assert cancelled == stopped
    assert trial.result.selected == whole.results["c0/p0"].selected
