import json

import pytest

from tts.errors import InvalidParameter, UnknownCost
from tts.models.prices import Price, PriceTable, load_prices, price_from_flags
from tts.types import Cost, Usage


def test_dollars_per_million_tokens_are_kept_exactly():
    price = Price.per_million(input=0.15, cached_input=0.075, output=0.6)
    assert price == Price(150_000, 600_000, 75_000)
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000, cached_tokens=200_000)
    assert Cost(picodollars=price.charge(usage)).usd == 0.8 * 0.15 + 0.2 * 0.075 + 0.6


def test_reasoning_is_charged_apart_only_where_it_is_priced_apart():
    usage = Usage(completion_tokens=10, reasoning_tokens=4)
    assert Price(1, 5).charge(usage) == 50
    assert Price(1, 5, reasoning=7).charge(usage) == 6 * 5 + 4 * 7


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_an_impossible_price_is_refused(bad):
    with pytest.raises(InvalidParameter, match="output price"):
        Price.per_million(input=1, output=bad)


def test_the_shipped_prices_are_dated_sourced_and_plausible():
    table = load_prices()
    assert len(table.as_of) == len("2026-01-01")
    assert "MIT" in table.source
    assert 10 <= len(table.prices) <= 20
    for price in table.prices.values():
        assert 0 < price.cached_input <= price.input <= price.output < 10**9


def test_an_unknown_price_is_none_and_its_error_offers_the_nearest_name():
    table = load_prices()
    assert table.lookup("gpt-4o-min") is None
    error = table.unknown("gpt-4o-min")
    assert isinstance(error, UnknownCost)
    assert "'gpt-4o-mini'" in error.message
    assert "--price-in" in error.message
    assert table.as_of in error.message


def test_a_price_file_of_ones_own_replaces_the_table(tmp_path):
    file = tmp_path / "prices.json"
    entry = {"input": 0, "output": 0.5, "reasoning": 1}
    file.write_text(json.dumps({"as_of": "2026-01-02", "source": "me", "usd_per_million_tokens": {"mine": entry}}))
    assert load_prices(file) == PriceTable("2026-01-02", "me", {"mine": Price(0, 500_000, None, 1_000_000)})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "must look like"),
        ('{"as_of": "x", "source": "y"}', "usd_per_million_tokens"),
        ('{"as_of": "x", "source": "y", "usd_per_million_tokens": {"m": {"input": 1}}}', "output"),
        ('{"as_of": "x", "source": "y", "usd_per_million_tokens": {"m": {"input": 1, "out": 1, "output": 1}}}', "out"),
        ('{"as_of": "x", "source": "y", "usd_per_million_tokens": {"m": {"input": -1, "output": 1}}}', "'m'"),
    ],
)
def test_a_price_file_that_cannot_be_used_says_why(tmp_path, content, says):
    file = tmp_path / "prices.json"
    file.write_text(content)
    with pytest.raises(InvalidParameter, match=says) as caught:
        load_prices(file)
    assert str(file) in caught.value.message


def test_a_price_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidParameter, match="No such file"):
        load_prices(tmp_path / "prices.json")


def test_price_flags_go_together():
    assert price_from_flags(None, None) is None
    assert price_from_flags(0, 0) == Price(0, 0)
    assert price_from_flags(1.5, 2) == Price(1_500_000, 2_000_000)
    with pytest.raises(InvalidParameter, match="--price-out is missing"):
        price_from_flags(1, None)
