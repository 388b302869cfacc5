"""A sample asked for twice counts once; what the other request cost is on the books."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Carrier

from tts.clusters.ray.hedges import COPY, Hedges
from tts.clusters.spec import ClusterSpec
from tts.core.actions import Cancelled, Failed, Finished
from tts.core.journal.history import History
from tts.core.journal.records import Hedged, Lost
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic
from tts.types import Completion, Cost, ErrorInfo, Problem, Usage

PROBLEMS = [Problem(f"p{i}", f"What is {17 + i} + {25 * i}?") for i in range(8)]
ENDS = {
    "finished": lambda id: Finished(id, 1.0, Completion("5", usage=Usage(1, 5))),
    "failed": lambda id: Failed(id, 1.0, ErrorInfo("ServerFailed", "no"), Usage(1, 5)),
    "cancelled": lambda id: Cancelled(id, 1.0, Completion("", "cancelled", Usage(1, 5))),
}


class Actors:
    """Both actors of a pair, as far as its two requests go: a cancelled one ends as such, a dead one tells nothing."""

    def __init__(self) -> None:
        self.hedges = Hedges()
        self.hedges.begin("s")
        self.running = {"s", "s" + COPY}
        self.cancelled: set[str] = set()
        self.told: list[Any] = []
        self.orphans: list[str] = []
        self.lost: list[str] = []

    def do(self, what: str, request: str) -> None:
        if request not in self.running:
            return
        if what == "begun":
            self.hedges.begun(request)
        elif what == "died":
            self.running.discard(request)
            self.orphans += [id for id in [self.hedges.orphaned(request)] if id is not None]
        elif what != "cancelled" or request in self.cancelled:
            self.running.discard(request)
            self.told += [event for event in [self.hedges.on_event(ENDS[what](request))] if event is not None]
        self.cancelled |= set(self.hedges.cancels)
        self.hedges.cancels.clear()
        self.lost += self.hedges.lost
        self.hedges.lost.clear()
        if self.hedges.orphans:
            assert not self.running  # else two requests with one id would be under way
        self.orphans += self.hedges.orphans
        self.hedges.orphans.clear()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["begun", "finished", "failed", "cancelled", "died"]), st.sampled_from(["", COPY])),
        max_size=8,
    ),
    last=st.sampled_from(["finished", "failed", "died"]),
)
def test_whatever_happens_to_the_two_the_sample_ends_once_and_the_other_is_lost_once(
    steps: list[tuple[str, str]], last: str
) -> None:
    actors = Actors()
    for what, which in [*steps, (last, ""), (last, COPY)]:
        actors.do(what, "s" + which)
    assert len(actors.told) + len(actors.orphans) == 1
    assert all(event.id == "s" for event in actors.told) and set(actors.orphans) <= {"s"}
    assert actors.lost == ["s"]
    assert "s" not in actors.hedges
    # What the hedge itself had cancelled is never the sample's end: it would vanish without a trace.
    assert not any(isinstance(event, Cancelled) for event in actors.told)


def test_two_that_show_a_token_at_once_do_not_cancel_each_other() -> None:
    hedges = Hedges()
    copy = hedges.begin("s")
    hedges.begun("s")
    hedges.begun(copy)
    assert hedges.cancels == [copy]
    assert hedges.on_event(ENDS["cancelled"](copy)) is None
    event = hedges.on_event(ENDS["finished"]("s"))
    assert isinstance(event, Finished) and event.id == "s"


def spec_of(cluster: Any) -> ClusterSpec:
    """Without deaths: a busy machine may keep an actor silent for long."""
    one, two = {"count": 1}, {"count": 2}
    return ClusterSpec(address=cluster.address, generators=two, verifiers=one, hedge_after_s=0.3, heartbeat_s=400)


def wait_for_both(carrier: Carrier) -> None:
    """A run goes on with one actor where the other is late, and then has nobody else to ask."""
    while any(slot.since_s is not None for slot in carrier.backend._group._slots):
        carrier.idle(0.05)


@pytest.mark.system
def test_engines_that_stall_and_go_on_together_lose_no_sample(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster)
    script = arithmetic(error_rate=0.4, first_byte_s=1.0, per_token_s=0.02)
    with (
        FakeEngine(script) as one,
        FakeEngine(script) as other,
        Carrier("ray", script, [one.base_url, other.base_url], spec) as carrier,
    ):
        wait_for_both(carrier)
        records, results, scheduler = carrier.run("majority_vote:n=4", PROBLEMS)
    ended = Counter(record.id for record in records if isinstance(record, Finished))
    assert len(ended) == 4 * len(PROBLEMS)
    assert not any(isinstance(record, Cancelled) for record in records)
    assert any(isinstance(record, Hedged) for record in records)
    assert all(len(result.candidates) == 4 for result in results.values())
    assert not scheduler.ledger.reservations


def test_the_first_to_show_a_token_is_kept_and_the_other_cancelled() -> None:
    hedges = Hedges()
    copy = hedges.begin("s")
    hedges.begun(copy)
    assert hedges.cancels == ["s"]
    assert hedges.on_event(ENDS["cancelled"]("s")) is None
    event = hedges.on_event(ENDS["finished"](copy))
    assert event is not None and event.id == "s"
    assert hedges.lost == {"s": Usage(1, 5)}


@pytest.mark.system
def test_a_straggler_is_asked_for_elsewhere_and_what_that_cost_is_booked(ray_cluster: Any) -> None:
    spec = spec_of(ray_cluster)
    script = arithmetic(error_rate=0.4)
    with Carrier("simulated", script, "") as simulated:
        expected = {trial: r.answer for trial, r in simulated.run("majority_vote:n=4", PROBLEMS)[1].items()}
    # The first engine is stuck: no request there would show a token within the test's limit.
    with FakeEngine(arithmetic(error_rate=0.4, first_byte_s=100)) as stuck, FakeEngine(script) as quick:
        with Carrier("ray", script, [stuck.base_url, quick.base_url], spec) as carrier:
            wait_for_both(carrier)
            records, results, scheduler = carrier.run("majority_vote:n=4", PROBLEMS)
        assert stuck.wait_idle()
        assert stuck.stats().left > 0
        assert stuck.stats().tokens == 0
    assert {trial: result.answer for trial, result in results.items()} == expected
    ended = Counter(record.id for record in records if isinstance(record, Finished))
    assert len(ended) == 4 * len(PROBLEMS)
    assert set(ended.values()) == {1}
    hedged = [record for record in records if isinstance(record, Hedged)]
    lost = [record for record in records if isinstance(record, Lost)]
    assert hedged
    assert {record.id for record in hedged} == {record.id for record in lost}
    assert all(record.hedge for record in lost)
    assert scheduler.lost == sum((record.cost for record in lost), Cost())
    assert scheduler.ledger.spent.samples == sum(ended.values()) + len(lost)
    assert not scheduler.ledger.reservations
    # The problem's share has not paid for it.
    assert all(result.bill.total.samples == 4 for result in results.values())

    before_the_loser_ended = records[: records.index(lost[0])]
    left = History(before_the_loser_ended).hedged
    assert left[lost[0].id] == next(record.cost for record in hedged if record.id == lost[0].id)


@pytest.mark.parametrize("hedge", [0, -1.0])
def test_a_wait_before_hedging_must_be_above_zero(hedge: float) -> None:
    with pytest.raises(Exception, match="hedge_after_s"):
        ClusterSpec.of("ray", hedge_after_s=hedge)
