"""A sample asked for twice counts once; what the other request cost is on the books."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Carrier

from tts.actions import Cancelled, Failed, Finished
from tts.clusters.hedges import COPY, Hedges
from tts.clusters.spec import ClusterSpec
from tts.journal import Hedged, History, Lost
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic
from tts.types import Completion, Cost, ErrorInfo, Problem, Usage

PROBLEMS = [Problem(f"p{i}", f"What is {17 + i} + {25 * i}?") for i in range(8)]
ENDS = {
    "finished": lambda id: Finished(id, 1.0, Completion("5", usage=Usage(1, 5))),
    "failed": lambda id: Failed(id, 1.0, ErrorInfo("ServerFailed", "no"), Usage(1, 5)),
    "cancelled": lambda id: Cancelled(id, 1.0, Completion("", "cancelled", Usage(1, 5))),
}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["begun", "finished", "failed", "cancelled", "died"]), st.sampled_from(["", COPY])),
        max_size=8,
    ),
    last=st.sampled_from(["finished", "failed", "cancelled", "died"]),
)
def test_whatever_happens_to_the_two_the_sample_ends_once_and_the_other_is_lost_once(
    steps: list[tuple[str, str]], last: str
) -> None:
    hedges = Hedges()
    hedges.begin("s")
    told, orphans, lost = [], [], []
    running = {"s", "s" + COPY}
    for what, which in [*steps, (last, ""), (last, COPY)]:
        request = "s" + which
        if request not in running:
            continue
        if what == "begun":
            hedges.begun(request)
            continue
        running.discard(request)
        if what == "died":
            orphans += [id for id in [hedges.orphaned(request)] if id is not None]
        else:
            told += [event for event in [hedges.heard(ENDS[what](request))] if event is not None]
        lost += hedges.lost
        hedges.lost.clear()
    assert len(told) + len(orphans) == 1
    assert all(event.id == "s" for event in told) and set(orphans) <= {"s"}
    assert lost == ["s"]
    assert "s" not in hedges


def test_the_first_to_show_a_token_is_kept_and_the_other_cancelled() -> None:
    hedges = Hedges()
    copy = hedges.begin("s")
    hedges.begun(copy)
    assert hedges.cancels == ["s"]
    assert hedges.heard(ENDS["cancelled"]("s")) is None
    event = hedges.heard(ENDS["finished"](copy))
    assert event is not None and event.id == "s"
    assert hedges.lost == {"s": Usage(1, 5)}


def test_a_straggler_is_asked_for_elsewhere_and_what_that_cost_is_booked(ray_cluster: Any) -> None:
    spec = ClusterSpec(address=ray_cluster.address, generators={"count": 2}, verifiers={"count": 1}, hedge_after_s=0.3)
    script = arithmetic(error_rate=0.4)
    with Carrier("simulated", script, "") as simulated:
        expected = {search: r.answer for search, r in simulated.run("majority_vote:n=4", PROBLEMS)[1].items()}
    # The first engine is stuck: no request there would show a token within the test's limit.
    with FakeEngine(arithmetic(error_rate=0.4, first_byte_s=100)) as stuck, FakeEngine(script) as quick:
        with Carrier("ray", script, [stuck.base_url, quick.base_url], spec) as carrier:
            records, results, conductor = carrier.run("majority_vote:n=4", PROBLEMS)
        assert stuck.wait_idle()
        assert stuck.stats().left > 0
        assert stuck.stats().tokens == 0
    assert {search: result.answer for search, result in results.items()} == expected
    ended = Counter(record.id for record in records if isinstance(record, Finished))
    assert len(ended) == 4 * len(PROBLEMS)
    assert set(ended.values()) == {1}
    hedged = [record for record in records if isinstance(record, Hedged)]
    lost = [record for record in records if isinstance(record, Lost)]
    assert hedged
    assert {record.id for record in hedged} == {record.id for record in lost}
    assert all(record.hedge for record in lost)
    assert conductor.lost == sum((record.cost for record in lost), Cost())
    assert conductor.ledger.spent.samples == sum(ended.values()) + len(lost)
    assert not conductor.ledger.reservations
    # The problem's share has not paid for it.
    assert all(result.bill.total.samples == 4 for result in results.values())

    before_the_loser_ended = records[: records.index(lost[0])]
    left = History(before_the_loser_ended).hedged
    assert left[lost[0].id] == next(record.cost for record in hedged if record.id == lost[0].id)


@pytest.mark.parametrize("hedge", [0, -1.0])
def test_a_wait_before_hedging_must_be_above_zero(hedge: float) -> None:
    with pytest.raises(Exception, match="hedge_after_s"):
        ClusterSpec.of("ray", hedge_after_s=hedge)
