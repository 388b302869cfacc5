"""The price of tokens in dollars: a dated table of prices, in whole picodollars a token, so that sums do not depend on
their order. An unknown price is None, never 0. Nothing here does I/O but `load_prices`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from tts.errors import InvalidParameter, UnknownCost, unknown_name
from tts.types import Usage, Value

SHIPPED_PRICES = Path(__file__).parents[1] / "data" / "prices.json"


class Price(Value, frozen=True):
    """Picodollars (1e-12 US dollars) per token. One dollar per million tokens is 1,000,000 of them.

    `cached_input` None: cached prompt tokens are charged as `input`; `reasoning` None: as `output`.
    """

    input: int
    output: int
    cached_input: int | None = None
    reasoning: int | None = None

    @classmethod
    def per_million(
        cls, *, input: float, output: float, cached_input: float | None = None, reasoning: float | None = None
    ) -> Price:
        """Make a price from US dollars per million tokens. Raises InvalidParameter for a negative or non-finite one."""
        return cls(
            _picodollars("input", input),
            _picodollars("output", output),
            None if cached_input is None else _picodollars("cached_input", cached_input),
            None if reasoning is None else _picodollars("reasoning", reasoning),
        )

    def charge(self, usage: Usage) -> int:
        """The price of a server's usage, in picodollars."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        reasoning = min(usage.reasoning_tokens, usage.completion_tokens)
        return (
            (usage.prompt_tokens - cached) * self.input
            + cached * (self.input if self.cached_input is None else self.cached_input)
            + (usage.completion_tokens - reasoning) * self.output
            + reasoning * (self.output if self.reasoning is None else self.reasoning)
        )

    def ceiling(self, prompt_tokens: int, generated_tokens: int) -> int:
        """The most that so many tokens can cost: whatever is cached or reasoning, at the dearer rate."""
        dearest_in = max(self.input, self.cached_input or 0)
        return prompt_tokens * dearest_in + generated_tokens * max(self.output, self.reasoning or 0)


def _picodollars(name: str, usd_per_million: float) -> int:
    if not (math.isfinite(usd_per_million) and usd_per_million >= 0):
        raise InvalidParameter(
            f"the {name} price must be a finite number of dollars per million tokens, at least 0, "
            f"but got {usd_per_million!r}",
            name=name,
            value=repr(usd_per_million),
        )
    # Through Decimal, so that 0.1 is a tenth; rounded up, so that a price too small to hold is not free.
    return math.ceil(Decimal(str(usd_per_million)) * 1_000_000)


def price_from_flags(price_in: float | None, price_out: float | None) -> Price | None:
    """The price that `--price-in` and `--price-out` name, in dollars per million tokens; None if neither is given."""
    if price_in is None and price_out is None:
        return None
    if price_in is None or price_out is None:
        missing = "--price-in" if price_in is None else "--price-out"
        raise InvalidParameter(f"--price-in and --price-out go together, but {missing} is missing", name=missing)
    return Price.per_million(input=price_in, output=price_out)


class PriceTable(Value, frozen=True):
    """Prices as they stood on `as_of` (ISO date), and their source. Names are matched exactly."""

    as_of: str
    source: str
    prices: Mapping[str, Price]

    def lookup(self, model: str) -> Price | None:
        """The model's price, or None: an unknown price is not 0, and a similar name is not the same model."""
        return self.prices.get(model)

    def unknown(self, model: str) -> UnknownCost:
        """The error for a dollar limit on a model without a price, with the nearest name that has one."""
        known = unknown_name("price of model", model, self.prices)
        return UnknownCost(
            f"a limit in dollars needs the price of {model!r}, which the table of {self.as_of} does not hold. "
            f"Give --price-in and --price-out (dollars per million tokens) or --prices FILE. {known.message}",
            model=model,
            as_of=self.as_of,
        )


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    input: float
    output: float
    cached_input: float | None = None
    reasoning: float | None = None
    source: str = ""


class _PriceFile(msgspec.Struct, forbid_unknown_fields=True):
    as_of: str
    source: str
    usd_per_million_tokens: dict[str, _Entry]
    note: str = ""


def load_prices(path: str | Path | None = None) -> PriceTable:
    """Read a price table: the shipped snapshot, or a file of the same form (`tts/data/prices.json`). The only I/O here.

    Raises:
        InvalidParameter: the file cannot be read, is not of that form, or holds an impossible price.
    """
    file = SHIPPED_PRICES if path is None else Path(path)
    try:
        table = msgspec.json.decode(file.read_bytes(), type=_PriceFile)
    except OSError as error:
        raise InvalidParameter(f"cannot read the price table {file}: {error.strerror}", path=str(file)) from error
    except msgspec.MsgspecError as error:
        raise InvalidParameter(
            f"the price table {file} must look like tts/data/prices.json, but: {error}", path=str(file)
        ) from error
    prices = {}
    for name, entry in table.usd_per_million_tokens.items():
        try:
            prices[name] = Price.per_million(
                input=entry.input, output=entry.output, cached_input=entry.cached_input, reasoning=entry.reasoning
            )
        except InvalidParameter as error:
            raise InvalidParameter(f"in {file}, model {name!r}: {error.message}", path=str(file), model=name) from error
    return PriceTable(table.as_of, table.source, prices)
