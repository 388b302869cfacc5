"""The strategies' contract on every cluster: simulated, local and Ray give the same results for the same events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
from live import Carrier, replayed

from tts.clusters.spec import ClusterSpec
from tts.core.actions import Cancelled, Failed, Finished, Refused, Scored
from tts.core.budget import Limits
from tts.core.journal.records import Allotted, Decided, Granted, Lost, Record, Stopped
from tts.plugins.names import built_in
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, arithmetic, last_user_text
from tts.types import Problem, Usage

SUMS = arithmetic(error_rate=0.4, per_token_s=0.002)


def script(request: dict[str, Any]) -> Reply:
    """Sums; of those asked for "in a storm" every other sample is refused for good."""
    reply = SUMS(request)
    refused = "n a storm" in last_user_text(request) and Random(request["seed"]).random() < 0.5
    return msgspec.structs.replace(reply, misbehave=Misbehaviour.CONTEXT_TOO_LONG) if refused else reply


BROKEN = [Problem(f"b{i}", f"In a storm, what is {17 + i} + {25 * i}?") for i in range(6)]
PROBLEMS = [Problem(f"p{i}", f"What is {17 + i} + {25 * i}?") for i in range(6)]
ORDER_FREE = [
    "single",
    "best_of_n:n=4,verifier=judge,selector=borda",
    "majority_vote:n=6",
    "esc:n=6,window=3,min_in_flight=6",
    "majority_vote:n=8,stop_at=0.95",
    "majority_vote:n=4,equivalence=math",
    "genrm:n=3,verifications=2",
    "sequential_revision:rounds=2",
    "compute_optimal:policy=0.5:sequential_revision/2x3;best_of_n/5,pilot=3,verifier=judge",
]
FIRST_COME = [
    "first_finish:n=5,k=2",
    "majority_vote:n=8,stop_at=0.95,min_in_flight=8",
    "no_thinking:n=4,verifier=judge",
]
FIRST_COME += sorted(built_in("strategies").keys() - {text.partition(":")[0] for text in ORDER_FREE + FIRST_COME})
ENDS = Finished | Scored | Failed | Cancelled | Refused


@pytest.fixture(scope="module", params=["simulated", "local", pytest.param("ray", marks=pytest.mark.system)])
def carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    spec = None
    if request.param == "ray":
        cluster = request.getfixturevalue("ray_cluster")
        two = {"count": 2}
        # A busy machine may keep an actor silent for long, which is no death.
        spec = ClusterSpec(address=cluster.address, generators=two, verifiers=two, heartbeat_s=400)
    with FakeEngine(script) as engine, Carrier(request.param, script, engine.base_url, spec) as opened:
        yield opened
        assert engine.wait_idle()


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with Carrier("simulated", script, "") as simulated:
        return {text: answers(simulated.run(text, PROBLEMS)[1]) for text in ORDER_FREE}


@pytest.fixture(scope="module")
def expected_of_broken() -> dict[str, Any]:
    with Carrier("simulated", script, "") as simulated:
        return {text: answers(simulated.run(text, BROKEN)[1]) for text in ORDER_FREE}


def answers(results: dict[str, Any]) -> dict[str, str | None]:
    return {trial: result.answer for trial, result in results.items()}


def assert_each_grant_ended_once(records: list[Record]) -> None:
    """And nothing else ended, but for scores that a verifier computed: they cost nothing and have no grant."""
    granted = Counter(record.id for record in records if isinstance(record, Granted))
    ends = [record for record in records if isinstance(record, ENDS) and not isinstance(record, Refused)]
    ended = Counter(end.id for end in ends)
    computed = {end.id for end in ends if isinstance(end, Scored) and end.usage == Usage()} - granted.keys()
    assert granted.keys() | computed == ended.keys()
    assert set(granted.values()) == set(ended.values()) == {1}


@pytest.mark.parametrize("text", ORDER_FREE)
def test_the_answers_are_those_of_the_simulation_where_order_does_not_matter(
    text: str, carrier: Carrier, expected: dict[str, Any]
) -> None:
    _, results, _ = carrier.run(text, PROBLEMS)
    assert answers(results) == expected[text]
    assert len(results) == len(PROBLEMS)


@pytest.mark.parametrize("text", ORDER_FREE + FIRST_COME)
def test_a_fresh_scheduler_told_the_same_events_decides_the_same_and_asks_for_nothing(
    text: str, carrier: Carrier
) -> None:
    records, results, scheduler = carrier.run(text, PROBLEMS)
    step = replayed(text, PROBLEMS, records)
    assert not step.actions
    assert {result.id: result for result, _ in step.results} == results
    assert_each_grant_ended_once(records)
    assert not scheduler.ledger.reservations


@pytest.mark.parametrize("text", ORDER_FREE + FIRST_COME)
def test_no_budget_is_passed_and_none_is_stranded(text: str, carrier: Carrier) -> None:
    records, results, scheduler = carrier.run(text, PROBLEMS, limits=Limits(tokens=400), share=Limits(tokens=120))
    assert scheduler.ledger.spent.tokens <= 400
    assert not scheduler.ledger.reservations
    assert len(results) == len(PROBLEMS)
    for result in results.values():
        assert result.bill.total.tokens <= 120
    assert_each_grant_ended_once(records)


@pytest.mark.parametrize("text", ["majority_vote:n=6", "genrm:n=3,verifications=2", "sequential_revision:rounds=2"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_a_journal_that_breaks_off_anywhere_is_resumed_to_the_same_answers(
    text: str, part: float, carrier: Carrier, expected: dict[str, Any]
) -> None:
    records, _, _ = carrier.run(text, PROBLEMS)
    kept = records[: round(len(records) * part)]
    again, results, scheduler = carrier.run(text, PROBLEMS, history=kept)
    decided = {r.trial: r.answer for r in kept if isinstance(r, Decided)} | answers(results)
    assert decided == expected[text]
    lost = {r.id for r in again if isinstance(r, Lost)}
    had = {r.id for r in kept if isinstance(r, Finished | Scored)}
    assert not had & {r.id for r in again if isinstance(r, Granted)}
    assert lost == {r.id for r in kept if isinstance(r, Granted)} - had
    assert not scheduler.ledger.reservations


@pytest.mark.parametrize("text", ORDER_FREE + FIRST_COME)
def test_samples_that_fail_end_in_an_answer_or_a_typed_error(
    text: str, carrier: Carrier, expected_of_broken: dict[str, Any]
) -> None:
    records, results, scheduler = carrier.run(text, BROKEN)
    assert any(isinstance(record, Failed) for record in records)
    assert all(result.selected is not None or result.error is not None for result in results.values())
    assert scheduler.fatal is None
    if text in ORDER_FREE:
        assert answers(results) == expected_of_broken[text]
    assert_each_grant_ended_once(records)


def allotments(carrier: Carrier, text: str, how: str, window: int) -> tuple[Any, Any]:
    limits = Limits(samples=30)
    records, results, scheduler = carrier.run(text, PROBLEMS, shared=(how, limits), window=window)
    shared = scheduler._shared_budgets["cell"]
    assert shared.in_flight == 0 and not shared.ledger.reservations
    assert shared.ledger.spent.samples <= 30
    assert sum(r.bill.total.samples for r in results.values()) == shared.ledger.spent.samples
    return [r for r in records if isinstance(r, Allotted | Stopped)], results


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("majority_vote:n=none", "marginal"),
        ("majority_vote:n=none", "blend_asc"),
        ("best_of_n:n=none,verifier=judge", "success"),
    ],
)
def test_an_allocator_decides_alike_on_every_cluster(carrier: Carrier, text: str, how: str) -> None:
    """With one request in flight the events come in one order everywhere."""
    with Carrier("simulated", script, "") as simulated:
        expected, results = allotments(simulated, text, how, 1)
    found, _ = allotments(carrier, text, how, 1)
    assert [decision(r) for r in found] == [decision(r) for r in expected]
    assert len(found) > 12 and len({len(r.candidates) for r in results.values()}) > 1, "not all got the same"


def test_a_shared_budget_is_spent_to_its_end_with_many_in_flight(carrier: Carrier) -> None:
    _, results = allotments(carrier, "majority_vote:n=none", "uniform", 16)
    counts = [len(results[f"cell/p{i}"].candidates) for i in range(6)]
    assert sum(counts) == 30
    assert min(counts) >= 4, "one whose four asks are all in flight may be overtaken by one sample"


def decision(record: Allotted | Stopped) -> Any:
    return (record.id, record.value) if isinstance(record, Allotted) else (record.trial, record.reason, record.votes)
