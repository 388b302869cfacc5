"""That a server is away decides nothing: what fails is asked for again, or the run stops so that it can be resumed."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Kept

from tts import errors
from tts.clusters.bounds import Bounds
from tts.clusters.local import LocalCluster
from tts.core.actions import Failed, Finished, Request, problem_of, prompt_bound
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.journal.records import Bounded, Decided, Granted, Lost, Record
from tts.core.outages import MOST_TRIES, Outages
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel, ModelCost
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.prices import Price
from tts.plugins.names import strategy
from tts.runs.folder import Journal
from tts.types import Completion, Cost, ErrorInfo, Problem, StrategySpec, Usage

HERE = "http://here/v1"
BROKEN = errors.StreamBroken("the stream broke", endpoint=HERE)
BUSY = errors.Overloaded("HTTP 429", endpoint=HERE)


def verdicts(
    outages: Outages, id: str, error: errors.TTSError, times: Sequence[float], between: Callable[[], None]
) -> list[Any]:
    found = []
    for at_s in times:
        outages.left(id)
        between()
        found.append(outages.failed(id, ErrorInfo.of(error), at_s, HERE))
    return found


def test_a_timeout_counts_twice_because_each_takes_minutes() -> None:
    timed_out = errors.TimedOut("nothing came", endpoint=HERE)
    outages = Outages()
    found = verdicts(outages, "p/1", timed_out, range(MOST_TRIES // 2), answer(outages))
    assert found == [*(0.5 * 2**i for i in range(MOST_TRIES // 2 - 1)), "final"]


@pytest.mark.parametrize(("waited_s", "verdict"), [(9.0, 0.5), (11.0, "stop")])
def test_the_time_that_a_request_has_waited_for_its_server_is_a_part_of_the_patience(
    waited_s: float, verdict: Any
) -> None:
    outages = Outages(patience_s=10.0)
    outages.left("p/1")
    error = errors.StreamBroken("the stream broke", endpoint=HERE, waited_s=waited_s)
    assert outages.failed("p/1", ErrorInfo.of(error), 100.0, HERE) == verdict


def answer(outages: Outages, by: str = HERE) -> Callable[[], None]:
    """Another request leaves, and is answered."""

    def leave_and_return() -> None:
        outages.left("another")
        outages.answered("another", by)

    return leave_and_return


def nobody() -> None:
    pass


@pytest.mark.parametrize("kind", [errors.ServerFailed, errors.StreamBroken, errors.Overloaded, errors.Unauthorized])
def test_what_fails_alone_while_later_requests_are_answered_there_fails_for_good(kind: type[errors.TTSError]) -> None:
    outages = Outages()
    *before, last = verdicts(outages, "p/1", kind("no"), range(MOST_TRIES), answer(outages))
    assert last == "final"
    assert before == [0.5, 1.0, 2.0, 4.0, 8.0]


@given(st.lists(st.floats(0.0, 299.0), min_size=1, max_size=40))
def test_while_nobody_is_answered_nothing_fails_for_good_and_the_run_goes_on_within_its_patience(
    times: list[float],
) -> None:
    outages = Outages(patience_s=300.0)
    found = verdicts(outages, "p/1", BROKEN, sorted(times), nobody)
    assert all(isinstance(verdict, float) and 0 < verdict <= 8 for verdict in found)


def test_that_a_failing_request_has_ended_is_no_answer() -> None:
    outages = Outages()
    outages.left("p/1")
    outages.failed("p/1", ErrorInfo.of(BUSY), 1.0, HERE)
    outages.ended("p/1")
    assert outages.since_s == math.inf and not outages.answering
    answer(outages)()
    assert outages.answering


def test_when_patience_ends_the_run_stops_and_an_answer_renews_it() -> None:
    outages = Outages(patience_s=10.0)
    assert verdicts(outages, "p/1", BROKEN, [0.0, 9.0], nobody) == [0.5, 1.0]
    answer(outages)()
    assert verdicts(outages, "p/1", BROKEN, [11.0, 20.0, 21.0], nobody)[-1] == "stop"


def test_answers_of_another_server_or_to_requests_that_had_left_before_say_nothing() -> None:
    outages = Outages()
    outages.left("slow")
    assert "final" not in verdicts(outages, "p/1", BROKEN, [1.0] * 20, answer(outages, "http://elsewhere/v1"))
    outages.answered("slow", HERE)
    assert "final" not in verdicts(outages, "p/1", BROKEN, [1.0] * 20, nobody)


@pytest.mark.parametrize("served", [["a", "b"], None])
def test_a_model_that_no_endpoint_serves_is_known_at_once(served: list[str] | None) -> None:
    listed = {} if served is None else {"served": served}
    unknown = errors.ModelNotFound("no such model", endpoint=HERE, everywhere=True, **listed)
    outages = Outages()
    assert verdicts(outages, "x", unknown, [1.0], nobody) == ["stop"]
    said = outages.explained("x", ErrorInfo.of(unknown), "stop").message
    assert said == "no such model No request had been answered before: the run stops at once."


@pytest.mark.parametrize(
    ("facts", "answered"),
    [
        ({"everywhere": True, "served": ["a"]}, True),  # it served the model a moment ago: it restarts
        ({"everywhere": True, "served": []}, False),  # it has not loaded its model yet
        ({"served": ["a"]}, False),  # another endpoint may serve it
    ],
)
def test_a_server_that_may_serve_the_model_soon_is_asked_again(facts: dict[str, Any], answered: bool) -> None:
    outages = Outages()
    if answered:
        answer(outages)()
    unknown = errors.ModelNotFound("no such model", endpoint=HERE, **facts)
    assert "stop" not in verdicts(outages, "x", unknown, range(MOST_TRIES - 1), nobody)


@pytest.mark.parametrize("kind", [errors.Unauthorized, errors.NoCredit, errors.ModelNotFound, errors.BadResponse])
def test_what_waiting_does_not_mend_stops_the_run_after_a_few_tries(kind: type[errors.TTSError]) -> None:
    found = verdicts(Outages(), "p/1", kind("no"), range(MOST_TRIES), nobody)
    assert found[-1] == "stop" and "stop" not in found[:-1] and "final" not in found


@pytest.mark.parametrize("kind", [errors.ContextTooLong, errors.RequestRejected, errors.CallFailed])
def test_the_fault_of_a_request_is_final_at_once(kind: type[errors.TTSError]) -> None:
    assert verdicts(Outages(), "p/1", kind("no"), [0.0], nobody) == ["final"]


def test_patience_that_nobody_needed_for_long_does_not_count() -> None:
    outages = Outages(patience_s=10.0)
    verdicts(outages, "p/1", BROKEN, [0.0], nobody)
    outages.ended("p/1")  # its race was over
    assert verdicts(outages, "p/2", BROKEN, [1000.0], nobody) == [0.5]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_server_that_gives_errors_at_random_makes_no_request_fail_for_good(share: float) -> None:
    outages, rng, final = Outages(patience_s=1e9), Random(7), 0
    waiting = [str(i) for i in range(400)]
    for at_s in range(300):
        for id in waiting:
            outages.left(id)
        for id in [*waiting]:
            if rng.random() >= share:
                outages.answered(id, HERE)
                waiting.remove(id)
            elif outages.failed(id, ErrorInfo.of(errors.ServerFailed("HTTP 500")), float(at_s), HERE) == "final":
                final += 1
                waiting.remove(id)
        answer(outages)()
    assert (waiting, final) == ([], 0)
    poisoned = verdicts(outages, "p/1", errors.ServerFailed("HTTP 500"), range(300, 400), answer(outages))
    assert "final" in poisoned, "and one that always gets an error does"


@given(st.integers(2, 200), st.integers(0, 199))
def test_whoever_fells_an_engine_is_found_and_none_of_its_neighbours_is_blamed(crowd: int, culprit: int) -> None:
    """Each round, everybody who may leave is on the engine, and the culprit takes them all along."""
    culprit %= crowd
    outages, waiting, rounds, blamed = Outages(), list(range(crowd)), 0, []
    while waiting and rounds < 1000:
        rounds += 1
        on = []
        for who in waiting:
            if outages.may_leave(str(who)):
                outages.left(str(who))
                on.append(who)
        answer(outages)()
        assert on, "somebody may always leave"
        for who in on:
            if culprit not in on:
                outages.answered(str(who), HERE)
                waiting.remove(who)
            elif outages.failed(str(who), ErrorInfo.of(BROKEN), float(rounds), HERE) == "final":
                outages.ended(str(who))
                blamed.append(who)
                waiting.remove(who)
    assert blamed == [culprit]
    assert not waiting


# --- on a cluster


class Scripted:
    """A model of which the n-th try of each seed does what a script says: an error with its usage, or None."""

    def __init__(self, script: Callable[[int, int], errors.TTSError | None], cost: Usage = Usage(0, 0)) -> None:
        self.tries: Counter[int] = Counter()
        self._script = script
        self._cost = cost

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: Any = None, *, race: bool = False
    ) -> Completion:
        self.tries[request.seed] += 1
        await asyncio.sleep(0)
        error = self._script(request.seed, self.tries[request.seed])
        if error is not None:
            usage = {"prompt_tokens": self._cost.prompt_tokens, "completion_tokens": self._cost.completion_tokens}
            raise type(error)(error.message, **error.facts, usage=usage)
        return Completion("Answer: 4", usage=Usage(5, 3), endpoint=HERE, seed=request.seed)


def remembered(records: Sequence[Record]) -> History:
    """Read from a journal that can be read again."""
    kept = [r for r in records if isinstance(r, Granted | Finished)]
    return History(records, reread=lambda problem: (r for r in kept if problem_of(r.id) == problem))


def run(
    model: Scripted, *, history: Sequence[Record] = (), limits: Limits = Limits(), patience_s: float = 60.0, n: int = 3
) -> tuple[list[Record], Scheduler]:
    """Four problems on a local cluster without waiting between tries."""
    plan = [Planned("cell", Problem(f"p{i}", f"{i} + 1"), StrategySpec("majority_vote", {"n": n})) for i in range(4)]
    price = ModelCost(Price.per_million(input=1.0, output=1.0))
    past = remembered(history)
    past.reopen_failed({planned.id for planned in plan})
    scheduler = Scheduler(
        plan, strategy, costs=CostModel({"": price}), limits=limits, history=past, patience_s=patience_s
    )
    kept = Kept()
    asyncio.run(LocalCluster({"": model}).run(scheduler, kept))
    return kept.records, scheduler


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.core.outages.FIRST_S", 0.001)
    monkeypatch.setattr("tts.core.outages.LONGEST_S", 0.002)


def first_fails(error: errors.TTSError) -> Callable[[int, int], errors.TTSError | None]:
    return lambda seed, number: error if number <= 2 else None


@pytest.mark.usefixtures("at_once")
def test_what_broke_is_asked_for_again_under_its_seed_and_the_broken_tries_are_booked_as_lost() -> None:
    model = Scripted(first_fails(BROKEN), Usage(5, 2))
    records, scheduler = run(model)
    assert set(model.tries.values()) == {3} and len(model.tries) == 12
    assert not [r for r in records if isinstance(r, Failed)]
    lost = [r for r in records if isinstance(r, Lost)]
    assert [(r.cost.samples, r.cost.tokens, r.cost.picodollars) for r in lost] == [(1, 2, 7_000_000)] * 24
    assert Counter(r.id for r in records if isinstance(r, Granted)) == Counter(
        {r.id: 3 for r in records if isinstance(r, Finished)}
    ), "each try had a reservation of its own"
    assert scheduler.ledger.spent.tokens == 12 * 3 + 24 * 2
    assert not scheduler.ledger.reservations


@pytest.mark.usefixtures("at_once")
def test_what_was_refused_before_any_work_costs_nothing_and_keeps_its_reservation() -> None:
    records, scheduler = run(Scripted(first_fails(BUSY)))
    assert not [r for r in records if isinstance(r, Lost | Failed)]
    assert scheduler.ledger.spent.samples == 12
    assert Counter(r.id for r in records if isinstance(r, Granted)).most_common(1)[0][1] == 1


@pytest.mark.usefixtures("at_once")
def test_a_prompt_that_no_server_counted_is_booked_at_the_most_it_can_be() -> None:
    class Unsure(Scripted):
        async def complete(self, request: Request, builder: CompletionBuilder, *args: Any, **more: Any) -> Completion:
            self.tries[request.seed] += 1
            if self.tries[request.seed] == 1:
                raise errors.ServerFailed("HTTP 500", usage={"prompt_tokens": 1, "approximate": True})
            self.bound = prompt_bound(request)
            return Completion("Answer: 4", usage=Usage(5, 3))

    model = Unsure(lambda *_: None)
    records, _ = run(model, n=1)
    assert {r.cost.picodollars for r in records if isinstance(r, Lost)} == {model.bound * 1_000_000}


@pytest.mark.usefixtures("at_once")
def test_no_budget_is_passed_by_what_breaks_again_and_again() -> None:
    limits = Limits(samples=20)
    records, scheduler = run(Scripted(lambda seed, number: BROKEN if number < 5 else None, Usage(5, 2)), limits=limits)
    assert scheduler.ledger.spent.samples <= 20
    assert len([r for r in records if isinstance(r, Decided)]) == 4


@pytest.mark.parametrize("error", [BROKEN, BUSY, errors.NoCredit("no credit"), errors.BadResponse("a page")])
@pytest.mark.usefixtures("at_once")
def test_a_run_that_stops_in_an_outage_has_decided_nothing_by_it_and_the_same_command_completes_it(
    error: errors.EndpointError,
) -> None:
    plan = [Planned("cell", Problem(f"p{i}", "1 + 1"), StrategySpec("majority_vote", {"n": 3})) for i in range(4)]
    answers, journal = iter(range(6)), Kept()
    broken = Scripted(lambda *_: None if next(answers, None) is not None else error, Usage(5, 2))
    stopped = Scheduler(plan, strategy, costs=CostModel(), patience_s=0.05)
    with pytest.raises(type(error), match="the same command goes on"):
        asyncio.run(LocalCluster({"": broken}).run(stopped, journal))
    assert not [r for r in journal.records if isinstance(r, Failed)]
    again = Scheduler(plan, strategy, costs=CostModel(), history=History(journal.records))
    asyncio.run(LocalCluster({"": Scripted(lambda *_: None)}).run(again, journal))
    decided = [r for r in journal.records if isinstance(r, Decided)]
    assert [(r.samples, r.failed, r.error) for r in decided] == [(3, 0, None)] * 4
    assert Counter(Counter(r.id for r in journal.records if isinstance(r, Finished)).values()) == {1: 12}


def test_a_repeated_command_repairs_what_an_older_program_had_decided_in_an_outage() -> None:
    """Its journal has failures of servers as ends of samples, and what was decided without those samples."""
    whole, scheduler = run(Scripted(lambda *_: None))
    answers = {r.trial: (r.answer, r.samples) for r in whole if isinstance(r, Decided)}
    torn = Failed("", 0.0, ErrorInfo.of(BROKEN), Usage(5, 1))
    changed = {"cell/p1/2": lambda r: msgspec.structs.replace(torn, id=r.id)}
    changed["cell/p1"] = lambda r: msgspec.structs.replace(r, samples=2, failed=1)

    def older(record: Record) -> Record:
        ended = record.id if isinstance(record, Finished) else record.trial if isinstance(record, Decided) else ""
        return changed.get(ended, lambda r: r)(record)

    old = [older(record) for record in whole]
    model = Scripted(lambda *_: None)
    records, again = run(model, history=old)
    assert model.tries.total() == 1, "only the sample that is missing"
    decided = {r.trial: (r.answer, r.samples) for r in records if isinstance(r, Decided)}
    assert decided == {"cell/p1": answers["cell/p1"]}
    assert again.ledger.spent.tokens == scheduler.ledger.spent.tokens + 3, "what was paid stays paid"
    read = remembered([*old, *records])
    assert {trial: (d.answer, d.samples) for trial, d in read.decided.items()} == answers
    assert read.paid.tokens == again.ledger.spent.tokens
    untouched = Scripted(lambda *_: None)
    run(untouched, history=[*old, *records])
    assert not untouched.tries


@pytest.mark.parametrize(("facts", "again"), [({}, True), ({"tries": 6}, False)])
def test_a_trial_without_a_result_is_done_again_unless_the_fault_was_its_own(
    facts: dict[str, Any], again: bool
) -> None:
    whole, _ = run(Scripted(lambda *_: None), n=1)
    cause = msgspec.to_builtins(ErrorInfo("ServerFailed", "HTTP 500", facts))
    error = ErrorInfo("AllFailed", "all failed", {"cause": cause})
    old = [
        msgspec.structs.replace(r, error=error, answer=None) if isinstance(r, Decided) and r.problem_id == "p2" else r
        for r in whole
        if not (isinstance(r, Finished) and r.id.startswith("cell/p2/"))
    ]
    records, _ = run(Scripted(lambda *_: None), history=old, n=1)
    assert [r.trial for r in records if isinstance(r, Decided)] == ["cell/p2"] * again


class Queue(Scripted):
    """Nothing ever comes to a server."""

    async def complete(self, request: Request, builder: CompletionBuilder, *args: Any, **more: Any) -> Completion:
        await asyncio.sleep(3600)
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Scripted, Queue])
@pytest.mark.usefixtures("at_once")
def test_a_run_that_waits_for_a_server_hears_that_it_is_to_stop_and_has_lost_nothing(kind: type[Scripted]) -> None:
    plan = [Planned("cell", Problem("p0", "1 + 1"), StrategySpec("majority_vote", {"n": 3}))]
    scheduler, journal = Scheduler(plan, strategy, costs=CostModel(), patience_s=3600.0), Kept()
    cluster = LocalCluster({"": kind(lambda *_: BUSY)})

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.05, cluster.drain)
        await asyncio.wait_for(cluster.run(scheduler, journal), 60)

    asyncio.run(main())
    assert {r.cost for r in journal.records if isinstance(r, Lost)} == {Cost()}
    assert not [r for r in journal.records if isinstance(r, Failed | Decided)]


class Refusing(Scripted):
    """A pool: a try is refused and waits, twice, then is with a server, and succeeds. `with_server` are the requests
    that are there when so many records had been written."""

    def __init__(self, kept: Noting) -> None:
        super().__init__(lambda *_: None)
        self.kept = kept
        self.sent: list[tuple[int, int]] = []  # records before it left, and when it had ended

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: Any = None, *, race: bool = False
    ) -> Completion:
        for _ in range(2):
            builder.begin(0.0)
            builder.refused()
            await asyncio.sleep(2.5 * Bounds().ahead.tick_s)
            builder.restart()
        builder.begin(0.0)
        left = len(self.kept.records)
        await asyncio.sleep(2.5 * Bounds().ahead.tick_s)
        self.sent.append((left, len(self.kept.records)))
        return Completion("Answer: 4", usage=Usage(5, 3), endpoint=HERE, seed=request.seed)


class Noting(Journal):
    """What a local cluster notes bounds in."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.history = History()

    def write(self, records: Iterable[Record]) -> None:
        self.records += records


def crashed(records: Sequence[Record]) -> Cost:
    """What a run books as lost that was killed when these records had been written."""
    plan = [Planned("cell", Problem("p0", "1 + 1"), StrategySpec("majority_vote", {"n": 1}))]
    price = ModelCost(Price.per_million(input=1.0, output=1.0))
    again = Scheduler(plan, strategy, costs=CostModel({"": price}), history=History(records))
    again.start()
    return again.lost


def one_sample(model: Callable[[Noting], Any]) -> tuple[Any, list[Record]]:
    plan = [Planned("cell", Problem("p0", "1 + 1"), StrategySpec("majority_vote", {"n": 1}))]
    kept = Noting()
    price = ModelCost(Price.per_million(input=1.0, output=1.0))
    scheduler = Scheduler(plan, strategy, costs=CostModel({"": price}))
    scripted = model(kept)
    asyncio.run(LocalCluster({"": scripted}).run(scheduler, kept))
    return scripted, kept.records


def test_a_driver_that_is_killed_while_a_pool_waits_books_nothing_and_never_too_little() -> None:
    model, records = one_sample(Refusing)
    (left, ended) = model.sent[0]
    booked = [crashed(records[:end]).tokens for end in range(1, len(records) + 1)]
    assert 0 in booked[2:left], "refused, and known to be"
    assert min(booked[left - 1 : ended]) == 512, "it is with a server, and nobody knows how far"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("error", "cost", "booked"),
    [(BUSY, Usage(0, 0), 0), (errors.ServerFailed("HTTP 500"), Usage(5, 0), 1), (BROKEN, Usage(5, 7), 7)],
)
def test_a_driver_that_is_killed_in_an_outage_books_what_the_failed_try_has_cost(
    error: errors.TTSError, cost: Usage, booked: int
) -> None:
    _, records = one_sample(lambda kept: Scripted(lambda _, number: error if number <= 3 else None, cost))
    noted = [(at, record) for at, record in enumerate(records, 1) if isinstance(record, Bounded)]
    held = [at for at, record in noted if [*record.most.values()] == [booked]]
    assert len(held) == 3
    for at in held:
        before = sum((record.cost for record in records[:at] if isinstance(record, Lost)), Cost())
        lost = crashed(records[:at])
        assert lost.tokens - before.tokens == booked
        assert (lost.picodollars > before.picodollars) == (booked > 0), "its prompt is paid, too"
    granted = [at for at, record in enumerate(records, 1) if isinstance(record, Granted)]
    assert all(crashed(records[:at]).tokens >= 512 for at in granted), "until it is known how it ended"


def test_an_outage_that_began_earlier_than_was_thought_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tts.clusters.base.SAY_AFTER_S", 0.0)
    monkeypatch.setattr("tts.core.outages.FIRST_S", 0.001)
    monkeypatch.setattr("tts.core.outages.LONGEST_S", 0.002)

    def waits(seed: int, number: int) -> errors.TTSError | None:
        return errors.Overloaded("HTTP 429", endpoint=HERE, waited_s=float(number)) if number <= 9 else None

    run(Scripted(waits))
    said = [record.message for record in caplog.records]
    assert len([text for text in said if "answered again" in text]) == 1 == len(said) - 1, said


@pytest.mark.usefixtures("at_once")
def test_whoever_watches_is_told_once_that_nobody_answers_and_once_that_somebody_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tts.clusters.base.SAY_AFTER_S", 0.0)
    run(Scripted(lambda seed, number: BUSY if number <= 20 else None))
    said = [record.message for record in caplog.records]
    assert len(said) == 2, said
    assert "--patience" in said[0] and "HTTP 429" in said[0]
    assert "answered again" in said[1]
