"""Virtual time."""

from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.virtual.clock import VirtualClock
from tts.core.actions import Woke


@given(st.lists(st.integers(0, 3)))
def test_events_come_by_their_times_and_those_of_one_time_as_they_were_put(times):
    clock = VirtualClock()
    for number, at_s in enumerate(times):
        clock.put(float(at_s), Woke(f"c/p/{number}", at_s))
    taken = []
    for _ in times:
        event = clock.take()
        assert clock.now_s == event.at_s
        taken.append(event.id)
    assert taken == [f"c/p/{number}" for number, _ in sorted(enumerate(times), key=lambda pair: pair[1])]
