"""Which actor gets which action: siblings together, nobody overloaded, nothing forgotten when an actor is gone."""

import heapq
import random
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.clusters.ray import action_routing as module
from tts.clusters.ray.action_routing import ActionRouting

SPILL = 16_384  # tokens by which an actor must exceed the least busy one, and by a half as well, to lose siblings

keys = st.sampled_from("abcd")
problems = st.sampled_from(["p0", "p1", "p2"])
tokens = st.sampled_from([0, 1, 512, 6000, SPILL, 40_000])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), keys),
        st.tuples(st.just("close"), keys),
        st.tuples(st.just("reopen"), keys),
        st.tuples(st.just("learn"), keys, st.sampled_from([None, 1, 3, 64])),
        st.tuples(st.just("remove"), keys),
        st.tuples(st.just("place"), problems, tokens),
        st.tuples(st.just("place"), problems, tokens),
        st.tuples(st.just("place"), problems, tokens),
        st.tuples(st.just("second"), st.integers(0, 99)),
        st.tuples(st.just("end"), st.integers(0, 99)),
        st.tuples(st.just("end"), st.integers(0, 99)),
    ),
    max_size=60,
)


def far_more(home: int, least: int) -> bool:
    return home - least > SPILL and home > 1.5 * least


class Model:
    """What a placement must be like from outside, kept by hand."""

    def __init__(self) -> None:
        self.placement = ActionRouting()
        self.hands: dict[str, dict[str, int]] = {}  # actor -> id -> tokens
        self.open: set[str] = set()
        self.homes: dict[str, list[str]] = {}  # problem -> the actors that its actions went to, the latest last
        self.slots: dict[str, int | None] = {}
        self.names = iter(range(10**6))
        self.epochs: Counter[str] = Counter()

    def name(self, key: str) -> str:
        """Of the actor that holds this slot now: no name comes twice."""
        return f"{key}.{self.epochs[key]}"

    def add(self, key: str) -> None:
        self.epochs[key] += 1
        name = self.name(key)
        self.placement.add(name)
        self.hands[name] = {}
        self.slots[name] = 4
        self.open.add(name)

    def learn(self, key: str, slots: int | None) -> None:
        self.placement.learn(self.name(key), slots)
        self.slots[self.name(key)] = slots

    def ahead(self, name: str) -> int:
        """Actions that one more would have to wait for there."""
        slots = self.slots[name]
        return 0 if slots is None else max(0, len(self.hands[name]) + 1 - slots)

    def close(self, key: str) -> None:
        self.placement.close(self.name(key))
        self.open.discard(self.name(key))

    def reopen(self, key: str) -> None:
        if self.name(key) in self.hands:
            self.placement.reopen(self.name(key))
            self.open.add(self.name(key))

    def remove(self, key: str) -> None:
        name = self.name(key)
        assert self.placement.remove(name) == list(self.hands.pop(name, {}))
        assert self.placement.remove(name) == []
        self.open.discard(name)

    def place(self, problem: str, tokens: int, avoid: str | None = None) -> None:
        id = f"c0/{problem}/{next(self.names)}"
        chosen = self.placement.place(id, problem, tokens, avoid=avoid)
        able = {name: sum(self.hands[name].values()) for name in self.open - {avoid}}
        if not able:
            assert chosen is None
            assert self.placement.where(id) is None and not self.placement.ended(id)
            return
        assert chosen in able
        least = min(able, key=lambda name: (able[name], len(self.hands[name])))
        homes = [name for name in self.homes.get(problem, []) if name in able] if tokens else []
        home = min(homes, key=able.__getitem__, default=None)
        if home is not None and self.ahead(home) <= self.ahead(least) and not far_more(able[home], able[least]):
            assert able[chosen] == able[home] and chosen in homes
        else:
            assert (able[chosen], len(self.hands[chosen])) == (able[least], len(self.hands[least]))
        if avoid is None and tokens:
            self.homes[problem] = [name for name in self.homes.get(problem, []) if name != chosen] + [chosen]
        self.hands[chosen][id] = tokens

    def second(self, index: int) -> None:
        """Of something in hand, to somebody else."""
        if everything := self.everything():
            id = everything[index % len(everything)]
            there = self.placement.where(id)
            assert self.placement.has_another(id) == bool(self.open - {there})
            self.place(id.split("/")[1], 100, avoid=str(there))

    def end(self, index: int) -> None:
        if everything := self.everything():
            id = everything[index % len(everything)]
            name = self.placement.where(id)
            assert self.placement.ended(id)
            assert not self.placement.ended(id), "it ended twice"
            del self.hands[str(name)][id]

    def everything(self) -> list[str]:
        return [id for hand in self.hands.values() for id in hand]

    def check(self) -> None:
        assert sorted(self.placement) == sorted(self.everything())
        assert self.placement.busy == bool(self.everything())
        assert set(self.placement.seats) == set(self.hands)
        for name, hand in self.hands.items():
            assert self.placement.in_hand(name) == len(hand)
            assert self.placement.seats[name].outstanding_tokens == sum(hand.values())
            assert all(self.placement.where(id) == name for id in hand)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 4), steps)
def test_whatever_comes_and_goes_siblings_stay_until_far_more_is_there_and_the_totals_end_at_zero(
    actors: int, steps: list[tuple[Any, ...]]
) -> None:
    model = Model()
    for key in "abcd"[:actors]:
        model.add(key)
    for what, *arguments in steps:
        if what == "add" and model.name(arguments[0]) in model.hands:
            continue
        getattr(model, what)(*arguments)
        model.check()
    while model.everything():
        model.end(0)
    model.check()
    assert not model.placement.busy
    assert all(seat.outstanding_tokens == 0 and not seat.work for seat in model.placement.seats.values())
    assert list(model.placement) == []


def seated(*names: str, slots: int | None = None) -> ActionRouting:
    placement = ActionRouting()
    for name in names:
        placement.add(name, slots)
    return placement


def test_siblings_stay_together_and_other_problems_go_elsewhere() -> None:
    placement = seated("a", "b", "c")
    at = {
        problem: {placement.place(f"{problem}/{i}", problem, 512) for i in range(10)} for problem in ("p0", "p1", "p2")
    }
    assert sorted(len(names) for names in at.values()) == [1, 1, 1]
    assert set.union(*at.values()) == {"a", "b", "c"}


def test_siblings_spill_once_their_actor_exceeds_the_least_by_more_than_the_limit_and_by_a_half() -> None:
    placement = seated("a", "b")
    home = placement.place("p0/0", "p0", SPILL)
    assert placement.place("p0/1", "p0", 1) == home  # 16,384 more is not more than 16,384
    other = placement.place("p0/2", "p0", 40_000)
    assert other != home
    # Both hold the prompt now, with 16,385 and 40,000 tokens to go: the one with less gets the next.
    assert placement.place("p0/3", "p0", 60_000) == home
    assert placement.place("p0/4", "p0", 1) == other


@pytest.mark.parametrize(("siblings", "each"), [(4, [4]), (5, [4, 1]), (16, [4, 4, 4, 4]), (32, [8, 8, 8, 8])])
def test_siblings_fill_the_slots_of_one_actor_before_those_of_the_next(siblings: int, each: list[int]) -> None:
    placement = seated("a", "b", "c", "d", slots=4)
    where = Counter(placement.place(f"p0/{i}", "p0", 512) for i in range(siblings))
    assert sorted(where.values(), reverse=True) == each


def test_siblings_stay_where_nobody_knows_a_limit_and_leave_once_one_is_learned() -> None:
    placement = seated("a", "b")
    assert {placement.place(f"p0/{i}", "p0", 10) for i in range(20)} == {"a"}
    placement.learn("a", 8)
    placement.learn("b", 8)
    placement.learn("nobody", 8)
    assert placement.place("p0/20", "p0", 10) == "b"


def makespan(lengths: list[float], placement: ActionRouting, slots: int) -> float:
    """When the last of these siblings ends, all given out at once; engines begin what they have in its order."""
    queues: dict[Any, deque[float]] = {}
    for number, length in enumerate(lengths):
        queues.setdefault(placement.place(f"p0/{number}", "p0", 512), deque()).append(length)
    return max(list_schedule(queue, slots) for queue in queues.values())


def list_schedule(lengths: Any, slots: int) -> float:
    free = [0.0] * slots
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


@pytest.mark.parametrize("siblings", [16, 32])
def test_the_makespan_of_siblings_is_near_that_of_one_engine_with_all_the_slots(siblings: int) -> None:
    draw = random.Random(siblings)
    ratios = []
    for _ in range(200):
        lengths = [draw.lognormvariate(0.0, 0.5) for _ in range(siblings)]
        ratios.append(makespan(lengths, seated(*"abcd", slots=4), 4) / list_schedule(lengths, 16))
    assert sum(ratios) / len(ratios) <= 1.2


def test_work_without_tokens_is_spread_by_its_number() -> None:
    placement = seated("a", "b", "c", "d")
    where = Counter(placement.place(f"p{i}/1", f"p{i}", 0) for i in range(40))
    assert set(where.values()) == {10}


def test_an_action_given_to_a_closed_actor_is_in_its_hands_like_any_other() -> None:
    placement = seated("a", "b")
    placement.close("a")
    placement.give("p0/0", "a", 100)
    assert placement.where("p0/0") == "a" and placement.in_hand("a") == 1
    placement.reopen("a")
    assert placement.place("p1/0", "p1", 10) == "b", "the other has less to do"
    assert placement.remove("a") == ["p0/0"]


def test_nothing_goes_to_an_actor_that_is_closed_and_what_it_has_may_end() -> None:
    placement = seated("a", "b")
    home = placement.place("p0/0", "p0", 100)
    assert home is not None
    placement.close(home)
    assert {placement.place(f"p0/{i}", "p0", 100_000) for i in range(1, 5)} == {"a", "b"} - {home}
    assert placement.in_hand(home) == 1
    assert placement.ended("p0/0")
    assert placement.remove(home) == []
    placement.close("nobody")
    assert placement.remove("nobody") == []


def test_with_nobody_open_nothing_is_placed_and_nothing_counted() -> None:
    placement = ActionRouting()
    assert placement.place("p0/0", "p0", 5) is None
    placement.add("a")
    assert placement.place("p0/1", "p0", 5, avoid="a") is None
    placement.close("a")
    assert placement.place("p0/2", "p0", 5) is None
    assert not placement.busy and list(placement) == []
    assert placement.seats["a"].outstanding_tokens == 0


def test_who_is_gone_leaves_exactly_what_was_in_hand_in_the_order_it_came() -> None:
    placement = seated("a")
    for i in range(6):
        placement.place(f"p0/{i}", "p0", 10)
    placement.ended("p0/2")
    placement.ended("p0/4")
    placement.add("b")
    assert placement.remove("a") == ["p0/0", "p0/1", "p0/3", "p0/5"]
    assert list(placement) == [] and not placement.busy
    assert placement.where("p0/0") is None
    assert not placement.ended("p0/0"), "an end that comes after its actor's death counts for nobody"
    assert placement.seats["b"].outstanding_tokens == 0
    assert placement.place("p0/0", "p0", 10) == "b"


def test_a_second_request_does_not_take_its_siblings_with_it() -> None:
    placement = seated("a", "b")
    home = placement.place("p0/0", "p0", 10)
    assert placement.has_another("p0/0")
    other = placement.place("p0/0~", "p0", 10, avoid=home)
    assert other not in (home, None)
    assert placement.place("p0/1", "p0", 10) == home
    placement.close(str(other))
    assert not placement.has_another("p0/0")


def test_problems_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    placement = seated("a", "b")
    assert placement.place("p0/0", "p0", 10) == "a"
    assert placement.place("p1/0", "p1", 5) == "b"
    assert placement.place("p0/1", "p0", 10) == "a"  # still remembered, and again the latest
    assert placement.place("p2/0", "p2", 5) == "b"  # p1 is forgotten now
    assert placement.place("p0/2", "p0", 10) == "a"  # and p0 is not
    for problem in ("p3", "p4"):
        assert placement.place(f"{problem}/0", problem, 5) == "b"
    assert placement.place("p0/3", "p0", 10) == "b"
