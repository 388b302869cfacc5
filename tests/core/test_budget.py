"""The ledger's law under any order of events, and limits as people write them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.core.budget import PICODOLLARS, Ledger, Limits, Remaining
from tts.errors import BudgetExhausted, BudgetTooSmall, InvalidParameter, UnknownCost, UnknownName
from tts.types import Cost

KEYS = ("p/1", "p/2", "p/3", "q/1")
COSTS = st.builds(
    Cost, st.integers(0, 3), st.integers(0, 60), st.integers(0, 60 * PICODOLLARS // 100), st.integers(0, 60)
)
LIMITS = st.builds(
    Limits,
    samples=st.none() | st.integers(1, 6),
    tokens=st.none() | st.integers(1, 150),
    usd=st.none() | st.floats(0.01, 1.5),
    flops=st.none() | st.integers(1, 150),
)
# What is done with a key, a cost, and the share of it that was really used (in hundredths).
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release", "charge"]), st.sampled_from(KEYS), COSTS, st.integers(0, 100)
    ),
    max_size=40,
)


def amounts(cost: Cost) -> tuple[int, int, int, int]:
    assert cost.picodollars is not None and cost.flops is not None
    return cost.samples, cost.tokens, cost.picodollars, cost.flops


def caps(limits: Limits) -> tuple[int | None, ...]:
    usd = None if limits.usd is None else round(limits.usd * PICODOLLARS)
    return limits.samples, limits.tokens, usd, limits.flops


def assert_the_law(ledger: Ledger) -> None:
    both = amounts(ledger.spent + ledger.reserved)
    for held, cap in zip(both, caps(ledger.limits), strict=True):
        assert cap is None or held <= cap


def part_of(cost: Cost, hundredths: int) -> Cost:
    return Cost(*(amount * hundredths // 100 for amount in amounts(cost)))


@settings(max_examples=100, deadline=None)
@given(LIMITS, DEEDS)
def test_spent_and_reserved_never_pass_the_limit_and_nothing_is_lost_in_any_order(
    limits: Limits, deeds: list[tuple[str, str, Cost, int]]
) -> None:
    ledger = Ledger(limits)
    held: dict[str, Cost] = {}
    spent = Cost()
    for deed, key, cost, used in deeds:
        if deed == "reserve" and key not in held:
            fits = ledger.fits(cost)
            assert fits == ledger.try_reserve(key, cost)
            if fits:
                held[key] = cost
        elif deed == "settle" and key in held:
            actual = part_of(held.pop(key), used)
            ledger.settle(key, actual)
            spent += actual
        elif deed == "release" and key in held:
            assert ledger.release(key) == held.pop(key)
        elif deed == "charge" and ledger.fits(cost):
            ledger.charge(cost)
            spent += cost
        assert ledger.spent == spent
        assert ledger.reserved == sum(held.values(), Cost())
        assert ledger.reservations == held
        assert_the_law(ledger)
    assert ledger.overrun == Cost()


@settings(max_examples=60, deadline=None)
@given(LIMITS, st.lists(COSTS, max_size=6), COSTS)
def test_room_is_how_often_a_cost_can_still_be_reserved(limits: Limits, before: list[Cost], cost: Cost) -> None:
    ledger = Ledger(limits)
    for i, other in enumerate(before):
        ledger.try_reserve(f"before/{i}", other)
    room = ledger.room(cost)
    assert (room is None) == all(
        cap is None or amount == 0 for cap, amount in zip(caps(limits), amounts(cost), strict=True)
    )
    if room is not None:
        for i in range(min(room, 10)):
            ledger.reserve(f"more/{i}", cost)
        if room <= 10:
            assert not ledger.fits(cost)
            with pytest.raises(BudgetExhausted):
                ledger.reserve("one too many", cost)


@settings(max_examples=60, deadline=None)
@given(LIMITS, COSTS, COSTS)
def test_what_does_not_fit_now_can_fit_later_only_beside_a_reservation(limits: Limits, held: Cost, cost: Cost) -> None:
    ledger = Ledger(limits)
    reserved = ledger.try_reserve("held", held)
    assert not (ledger.fits(cost) and not ledger.can_ever_fit(cost))
    if not reserved:
        assert ledger.fits(cost) == ledger.can_ever_fit(cost)
    else:
        later = ledger.can_ever_fit(cost)
        ledger.release("held")
        assert ledger.fits(cost) == later


@settings(max_examples=60, deadline=None)
@given(st.lists(COSTS, max_size=8), st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_the_order_of_events(costs: list[Cost], shuffler: object) -> None:
    shuffled = costs.copy()
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    totals = []
    for order in (costs, shuffled):
        ledger = Ledger(Limits())
        for i, cost in enumerate(order):
            ledger.reserve(str(i), cost)
        for i, cost in enumerate(order):
            ledger.settle(str(i), part_of(cost, 50))
        totals.append(ledger.spent)
    assert totals[0] == totals[1]


def test_a_key_cannot_hold_two_reservations() -> None:
    ledger = Ledger(Limits(tokens=1000))
    ledger.reserve("p/1", Cost(1, 10))
    with pytest.raises(InvalidParameter, match="p/1 already holds a reservation"):
        ledger.reserve("p/1", Cost(1, 10))
    assert ledger.reserved == Cost(1, 10)


def test_an_overrun_is_charged_in_full_and_counted() -> None:
    ledger = Ledger(Limits(tokens=100))
    ledger.reserve("p/1", Cost(1, 80))
    ledger.settle("p/1", Cost(1, 130))
    assert ledger.spent == Cost(1, 130)
    assert ledger.overrun == Cost(0, 50)
    assert not ledger.fits(Cost(1, 1))
    assert ledger.room(Cost(1, 1)) == 0


@pytest.mark.parametrize(("limits", "name"), [(Limits(usd=1.0), "usd"), (Limits(flops=10**12), "flops")])
@pytest.mark.parametrize("unknown", [Cost(1, 10, None, None)])
def test_a_limit_on_what_nobody_knows_is_refused_with_the_way_out(limits: Limits, name: str, unknown: Cost) -> None:
    ledger = Ledger(limits, "given")
    with pytest.raises(UnknownCost, match=f"the given budget limits {name}, but .* not known: give .* or limit tokens"):
        ledger.reserve("p/1", unknown)
    assert ledger.reservations == {}
    assert ledger.reserved == Cost()


def test_without_such_a_limit_what_is_unknown_stays_none_and_never_becomes_zero() -> None:
    ledger = Ledger(Limits(tokens=1000))
    ledger.reserve("p/1", Cost(1, 100, None, None))
    assert ledger.spent == Cost()
    ledger.settle("p/1", Cost(1, 60, None, 5))
    assert ledger.spent == Cost(1, 60, None, 5)
    ledger.charge(Cost(1, 1, 7, None))
    assert ledger.spent == Cost(2, 61, None, None)


def test_the_error_says_which_limit_how_much_was_asked_and_how_much_is_left() -> None:
    ledger = Ledger(Limits.parse("tokens=2k,usd=0.5"), "best/p17")
    ledger.charge(Cost(3, 1900, 10**11))
    with pytest.raises(BudgetExhausted) as caught:
        ledger.reserve("p/1", Cost(1, 512, 10**9))
    assert caught.value.message == (
        "best/p17: the budget of tokens=2k,usd=0.5 cannot hold the next action: it may need 512 tokens, 100 are left"
    )
    assert caught.value.facts == {"limit": "tokens", "asked": 512, "left": 100, "trial": "best/p17"}
    with pytest.raises(BudgetExhausted, match=r"it may need 0.41 usd, 0.4 are left"):
        ledger.reserve("p/1", Cost(1, 1, 410_000_000_000))


def test_left_is_what_is_neither_spent_nor_reserved_and_none_where_nothing_is_limited() -> None:
    ledger = Ledger(Limits(tokens=1000, usd=2.0))
    ledger.charge(Cost(1, 100, PICODOLLARS // 2))
    ledger.reserve("p/1", Cost(1, 300, PICODOLLARS))
    assert ledger.left() == Remaining(samples=None, tokens=600, usd=0.5, flops=None, seconds=None)


# --- limits as text


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", Limits()),
        ("tokens=2k,usd=0.5", Limits(tokens=2000, usd=0.5)),
        (" tokens=1.5m , samples=8 ", Limits(tokens=1_500_000, samples=8)),
        ("flops=2E", Limits(flops=2 * 10**18)),
        ("flops=3b", Limits(flops=3 * 10**9)),
        ("flops=1e15,seconds=90", Limits(flops=10**15, seconds=90.0)),
        ("tokens=2.01k", Limits(tokens=2010)),
        ("flops=1.15p", Limits(flops=1_150_000_000_000_000)),
        ("usd=0.001,seconds=0.25", Limits(usd=0.001, seconds=0.25)),
    ],
)
def test_limits_are_read_as_written(text: str, limits: Limits) -> None:
    assert Limits.parse(text) == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens", "budget tokens must be a number such as 500, 2k or 1.5m, but got ''"),
        ("1000", "does not say what 1000 limits: write tokens=1000 or samples=1000"),
        ("usd=1,2k", "does not say what 2k limits: write tokens=2k or samples=2k"),
        ("$0.5", "write usd=0.5"),
        ("tokens=many", "must be a number such as .*, but got 'many'"),
        ("tokens=-5", "must be a number such as"),
        ("tokens=40q", "must be a number such as .*, but got '40q'"),
        ("tokens=1e999", "must be a number such as"),
        ("tokens=0", "budget tokens must be above 0 and finite, but got 0"),
        ("tokens=0.5", "budget tokens must be a whole number, but got '0.5'"),
        ("samples=2.5", "budget samples must be a whole number, but got '2.5'"),
        ("usd=0.0", "budget usd must be above 0"),
        ("tokens=1k,tokens=2k", "'tokens=1k,tokens=2k' limits tokens twice: leave one out"),
    ],
)
def test_limits_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Limits.parse(text)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_must_be_positive_and_finite(value: float) -> None:
    with pytest.raises(InvalidParameter, match="budget seconds must be above 0 and finite, but got"):
        Limits(seconds=value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": "2k"}, "budget tokens must be a number, but got '2k'"),
        ({"tokens": 1.5}, "budget tokens must be a whole number, but got 1.5"),
        ({"samples": True}, "budget samples must be a number, but got True"),
        ({"flops": float("inf")}, "budget flops must be a whole number"),
        ({"usd": "1"}, "budget usd must be a number"),
    ],
)
def test_a_limit_of_another_kind_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Limits(**fields)


def test_a_whole_limit_may_be_given_as_a_float() -> None:
    assert Limits(tokens=2e3) == Limits(tokens=2000)  # type: ignore[arg-type]
    assert str(Limits(tokens=2e3)) == "tokens=2k"  # type: ignore[arg-type]


def test_an_unknown_limit_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match=r"unknown budget limit 'token'\. Did you mean 'tokens'"):
        Limits.parse("token=5")


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**7), st.integers(1, 10**4), st.floats(1e-9, 1e9), st.floats(1e-3, 1e6))
def test_a_limit_reads_back_as_it_is_shown(tokens: int, samples: int, usd: float, seconds: float) -> None:
    limits = Limits(samples=samples, tokens=tokens, usd=usd, seconds=seconds)
    assert Limits.parse(str(limits)) == limits


def test_no_limit_is_false_and_shows_as_nothing() -> None:
    assert not Limits()
    assert str(Limits()) == ""
    assert Limits(seconds=1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 10**6), st.integers(1, 50))
def test_shares_together_never_exceed_the_whole(samples: int, flops: int, parts: int) -> None:
    whole = Limits(samples=samples, flops=flops, usd=3.0, seconds=60.0)
    if min(samples, flops) < parts:
        with pytest.raises(BudgetTooSmall, match=f"too small to be divided among {parts} trials"):
            whole.divided(parts)
        return
    share = whole.divided(parts)
    assert share.samples is not None and samples - parts < share.samples * parts <= samples
    assert share.flops is not None and flops - parts < share.flops * parts <= flops
    assert share.usd == 3.0 / parts
    assert share.seconds == 60.0
    assert share.tokens is None
