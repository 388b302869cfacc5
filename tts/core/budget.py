"""Limits, and the ledger that keeps them. Pure arithmetic.

THE LAW: at every instant `spent + reserved <= limit`, for samples, tokens, dollars, FLOPs and steps at once. A cost is
reserved at its worst case before the action leaves, settled at what was really used, and the difference released.
Seconds are a clock, not a sum: the ledger's holder (`core/trials/trial.py`, `core/scheduling/scheduler.py`) ends the
requests that run when the clock reaches the limit.

What "used" means: tokens are the server's count where its stream bears it out, and else our own
(`models/openai/token_count.py`). So a budget holds to the token where an engine counts its tokens, keeps
`max_tokens`, and stops when a stream is closed or aborted (vLLM, SGLang, llama.cpp, Ollama). A stream that did not come
to its end is charged with what came and with what may have been decoded and not sent: 2 to 8 chunks of one that was
cancelled, or as many as its engine decodes while its server is silent before it ends the stream, and in a second more
where it does not end it; all but a token of one chunk of one that broke off. Each is of the most tokens that counts,
log-probabilities or finished streams of the endpoint have shown in a chunk. While nothing has shown it, a cancelled
stream costs its whole reservation; on those engines, which send their first token alone, 2 to 8 tokens before it, and
16 a chunk before the second one; and a stream that breaks off costs a token a byte after its second chunk, 15 more than
came after its first, and nothing before that.

It holds, and less is bought, where nobody knows whether an engine stops: a cancelled stream then costs its whole
reservation. It holds up to an `overrun`, which is recorded, where a server ignores `max_tokens`. It does not hold
 - where an engine decodes on under the name of one that stops (`cancellation: probe` finds that out), or a proxy that
   breaks a stream lets the engine go on;
 - where a server decodes on for more than a second after a stream was closed whose end it did not tell, or, over TLS,
   where none can be told, for more than 8 chunks and 100 ms;
 - where tokens are neither counted nor one a chunk, or hidden ones are counted only at an end that is not reached:
   these are estimated;
 - where a server counts fewer tokens than it decoded, and not fewer than words, nor than characters / 16, nor than
   chunks (unless 6 characters a token are enough for its text): no text shows more. The rule for words charges an
   honest engine more where its vocabulary has tokens of several words and its count is below the number of words.
`benchmarks/models/budget_law.md` has the numbers.

All sums are of integers, so they are exact and do not depend on the order of events.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache

import msgspec

from tts.checks import number, whole
from tts.errors import BudgetExhausted, BudgetTooSmall, InvalidParameter, UnknownCost, unknown_name
from tts.types import Cost, Value, shown_fields

PICODOLLARS = 10**12
_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12, "p": 10**15, "e": 10**18}
_AMOUNT = re.compile(r"^\s*(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kmgbtpe]?)\s*$", re.IGNORECASE)


class Limits(Value, frozen=True):
    """Limits of spending, on one problem or on a whole run. None is no limit; the first one reached stops.

    Units: `samples` requests to a model (verifications count), `tokens` generated tokens (verification and cancelled
    requests included), `usd` US dollars, `flops` floating-point operations, `seconds` on the run's clock, `steps` of
    sessions (`Run.session`), failed ones included.
    """

    samples: int | None = None
    tokens: int | None = None
    usd: float | None = None
    flops: int | None = None
    seconds: float | None = None
    steps: int | None = None

    def __repr__(self) -> str:
        return shown_fields(self, ("steps",))

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            if type(value) is not int:
                value = (
                    number(f"budget {name}", value) if name in ("usd", "seconds") else whole(f"budget {name}", value)
                )
                msgspec.structs.force_setattr(self, name, value)
            if not 0 < value < math.inf:
                raise InvalidParameter(
                    f"budget {name} must be above 0 and finite, but got {value!r}", limit=name, value=repr(value)
                )
        if self.usd is not None and round(self.usd * PICODOLLARS) < 1:
            raise InvalidParameter(f"budget usd must be at least 1e-12, but got {self.usd!r}", limit="usd")

    @classmethod
    def parse(cls, text: str) -> Limits:
        """`tokens=2k,usd=0.5` -> Limits(tokens=2000, usd=0.5). Suffixes k, m, g (or b), t, p, e are powers of 1000."""
        return _parsed(text)

    @classmethod
    def _read(cls, text: str) -> Limits:
        found: dict[str, int | float] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, equals, amount = part.partition("=")
            if not equals and _AMOUNT.match(part.removeprefix("$")):
                what = f"usd={part[1:]}" if part.startswith("$") else f"tokens={part} or samples={part}"
                raise InvalidParameter(f"the budget {text!r} does not say what {part} limits: write {what}", name=part)
            if name not in cls.__struct_fields__:
                raise unknown_name("budget limit", name, cls.__struct_fields__)
            if name in found:
                raise InvalidParameter(
                    f"the budget {text!r} limits {name} twice: leave one out; several budgets for a sweep are written "
                    f"tokens=1k,2k",
                    limit=name,
                )
            match = _AMOUNT.match(amount)
            if not match:
                raise InvalidParameter(f"budget {name} must be a number such as 500, 2k or 1.5m, but got {amount!r}")
            value = Decimal(match[1]) * _SUFFIX[match[2].lower()]  # 2.01k is 2010, which floats miss
            if name in ("usd", "seconds"):
                found[name] = float(value)
            elif value == value.to_integral_value():
                found[name] = int(value)
            else:
                raise InvalidParameter(f"budget {name} must be a whole number, but got {amount!r}", limit=name)
        return cls(**found)  # type: ignore[arg-type]  # what must be whole has been made int above

    def __str__(self) -> str:
        """Text for `parse`, to the last digit: budgets that differ have different texts."""
        return ",".join(f"{n}={_exact(v)}" for n in self.__struct_fields__ if (v := getattr(self, n)) is not None)

    def __bool__(self) -> bool:
        return self != NO_LIMITS

    @property
    def bound_samples(self) -> bool:
        """Whether they end a strategy that samples as long as it can: steps alone do not."""
        return any(getattr(self, n) is not None for n in self.__struct_fields__ if n != "steps")

    def divided(self, parts: int) -> Limits:
        """An equal share for each of `parts` trials; seconds are a clock and are not divided.

        Raises: BudgetTooSmall where a share would be less than one sample, token, FLOP or step.
        """
        shares = {}
        for name in ("samples", "tokens", "flops", "steps"):
            whole = getattr(self, name)
            if whole is not None and whole < parts:
                raise BudgetTooSmall(
                    f"a budget of {self} is too small to be divided among {parts} trials: "
                    f"it has {_short(whole)} {name}",
                    limit=name,
                    parts=parts,
                )
            shares[name] = None if whole is None else whole // parts
        return Limits(**shares, usd=None if self.usd is None else self.usd / parts, seconds=self.seconds)

    def times(self, trials: int) -> Limits:
        """The limits of several trials together whose mean spending may be this; seconds stay as they are."""
        samples, tokens, usd, flops, steps = (
            None if amount is None else amount * trials
            for amount in (self.samples, self.tokens, self.usd, self.flops, self.steps)
        )
        return Limits(samples, tokens, usd, flops, self.seconds, steps)  # type: ignore[arg-type]  # whole stays whole


NO_LIMITS = Limits()


@lru_cache(256)
def _parsed(text: str) -> Limits:
    """Parts of strategies have the same few texts again and again."""
    return Limits._read(text)


@lru_cache(256)
def _caps(limits: Limits) -> tuple[tuple[int, int], ...]:
    """The places of the limited quantities among a cost's amounts, each with its limit. Cached as `_parsed`."""
    usd = None if limits.usd is None else round(limits.usd * PICODOLLARS)
    caps = (limits.samples, limits.tokens, usd, limits.flops, limits.steps)
    return tuple((i, cap) for i, cap in enumerate(caps) if cap is not None)


class Remaining(Value, frozen=True):
    """The rest of a budget; None where there is no limit. Units as in `Limits`."""

    samples: int | None = None
    tokens: int | None = None
    usd: float | None = None
    flops: int | None = None
    seconds: float | None = None
    steps: int | None = None


class Ledger:
    """Reserve, settle, release against one set of limits. One for the run, one for each trial's share.

    Args:
        limits: of the spending.
        name: the ledger's owner, for messages.
    """

    __slots__ = (
        "_caps",
        "_flops_unknown",
        "_reserved",
        "_spent",
        "_usd_unknown",
        "limits",
        "name",
        "needs_price",
        "overrun",
        "reservations",
    )

    def __init__(self, limits: Limits, name: str = "run") -> None:
        self.limits = limits
        self.name = name
        self.reservations: dict[str, Cost] = {}
        self.overrun: Cost = Cost()
        self.needs_price = limits.usd is not None or limits.flops is not None
        self._spent = [0, 0, 0, 0, 0]
        self._reserved = [0, 0, 0, 0, 0]
        self._usd_unknown = self._flops_unknown = False
        self._caps = _caps(limits)

    @property
    def spent(self) -> Cost:
        """The sum of settled costs; dollars or FLOPs are None once an unknown amount was settled."""
        return self._cost(self._spent)

    @property
    def reserved(self) -> Cost:
        """The sum of reservations: actions in flight at their upper bounds."""
        return self._cost(self._reserved)

    def fits(self, cost: Cost) -> bool:
        """Whether `cost` can be reserved now."""
        if not self._caps:
            return True
        amounts, spent, reserved = _amounts(cost), self._spent, self._reserved
        for i, cap in self._caps:  # noqa: SIM110  # `all` would make a generator for every sample
            if spent[i] + reserved[i] + amounts[i] > cap:
                return False
        return True

    def can_ever_fit(self, cost: Cost) -> bool:
        """Whether `cost` could be reserved if all actions in flight turned out free."""
        amounts = _amounts(cost)
        return all(self._spent[i] + amounts[i] <= cap for i, cap in self._caps)

    def reserve(self, key: str, cost: Cost) -> None:
        """Hold `cost` under `key`.

        Raises:
            BudgetExhausted: it does not fit.
            UnknownCost: a limit is set on dollars or FLOPs, and this cost is not known in them.
            InvalidParameter: `key` already holds a reservation.
        """
        if not self.try_reserve(key, cost):
            raise self.exhausted(cost)

    def try_reserve(self, key: str, cost: Cost) -> bool:
        """Reserve like `reserve`, but return False if the cost does not fit."""
        if key in self.reservations:
            raise InvalidParameter(f"{key} already holds a reservation", key=key)
        if self.needs_price:
            self.check_known(cost)
        if self._caps and not self.fits(cost):
            return False
        self.reservations[key] = cost
        reserved = self._reserved
        reserved[0] += cost.samples  # by hand, because this is done for every sample
        reserved[1] += cost.tokens
        if cost.picodollars:
            reserved[2] += cost.picodollars
        if cost.flops:
            reserved[3] += cost.flops
        if cost.steps:
            reserved[4] += cost.steps
        return True

    def settle(self, key: str, actual: Cost) -> None:
        """Charge `actual` and release what `key` held. An overrun (a server that ignored `max_tokens`) is charged in
        full, and counted in `overrun`: the ledger tells the truth even where the server did not keep its word."""
        held = self.reservations.pop(key)
        reserved, spent = self._reserved, self._spent
        reserved[0] -= held.samples  # by hand, because this is done for every sample
        reserved[1] -= held.tokens
        if held.picodollars:
            reserved[2] -= held.picodollars
        if held.flops:
            reserved[3] -= held.flops
        if held.steps:
            reserved[4] -= held.steps
        over = actual.tokens > held.tokens or actual.samples > held.samples
        spent[0] += actual.samples
        spent[1] += actual.tokens
        if actual.picodollars is None:
            self._usd_unknown = True
        else:
            spent[2] += actual.picodollars
            over = over or actual.picodollars > (held.picodollars or 0)
        if actual.flops is None:
            self._flops_unknown = True
        else:
            spent[3] += actual.flops
            over = over or actual.flops > (held.flops or 0)
        if actual.steps:
            spent[4] += actual.steps
        if over:
            pairs = zip(_amounts(actual), _amounts(held), strict=True)
            self.overrun += Cost(*(max(0, used - asked) for used, asked in pairs))

    def release(self, key: str) -> Cost:
        """Give back the reservation of an action that never left, and return it."""
        held = self.reservations.pop(key)
        self._add(self._reserved, held, -1)
        return held

    def charge(self, cost: Cost) -> None:
        """Charge a cost that held no reservation: what a crash lost, or what an earlier session spent."""
        self._add(self._spent, cost, 1)
        self._usd_unknown |= cost.picodollars is None
        self._flops_unknown |= cost.flops is None

    def room(self, cost: Cost) -> int | None:
        """The number of times that `cost` fits now; None if no limit bounds it."""
        amounts = _amounts(cost)
        rooms = [(cap - self._spent[i] - self._reserved[i]) // amounts[i] for i, cap in self._caps if amounts[i] > 0]
        return max(0, min(rooms)) if rooms else None

    def left(self) -> Remaining:
        """The amounts neither spent nor reserved, of the quantities that are limited."""
        amounts: list[int | None] = [None, None, None, None, None]
        for i, cap in self._caps:
            amounts[i] = cap - self._spent[i] - self._reserved[i]
        samples, tokens, picodollars, flops, steps = amounts
        usd = None if picodollars is None else picodollars / PICODOLLARS
        return Remaining(samples, tokens, usd, flops, steps=steps)

    def check_known(self, cost: Cost) -> None:
        """Refuse a limit on a quantity in which this cost is unknown, rather than ignore the limit."""
        if not self.needs_price:
            return
        for name, limit, amount, how in (
            ("usd", self.limits.usd, cost.picodollars, "give a price (--prices FILE, or --price-in and --price-out)"),
            ("flops", self.limits.flops, cost.flops, "give the model's config.json (--model-config FILE)"),
        ):
            if limit is not None and amount is None:
                raise UnknownCost(
                    f"the {self.name} budget limits {name}, but this model's {name} are not known: {how}, "
                    f"or limit tokens or samples instead",
                    limit=name,
                )

    def exhausted(self, cost: Cost) -> BudgetExhausted:
        """The error for a cost that does not fit: the limit, the amount asked for, and the amount left."""
        for i, name, asked, left in self._shortages(cost):
            scale = PICODOLLARS if i == 2 else 1
            untouched = not (self._spent[i] or self._reserved[i]) and name in ("tokens", "usd", "flops")
            advice = "; raise it, or lower max_tokens" if untouched else ""
            return BudgetExhausted(
                f"{self.name}: the budget of {self.limits} cannot hold the next action: "
                f"it may need {_short(asked / scale)} {name}, {_short(max(0, left) / scale)} are left{advice}",
                limit=name,
                asked=asked / scale,
                left=max(0, left) / scale,
                trial=self.name,
            )
        return BudgetExhausted(f"{self.name}: the budget is closed", limit=None, trial=self.name)

    @staticmethod
    def _add(amounts: list[int], cost: Cost, sign: int) -> None:
        amounts[0] += sign * cost.samples
        amounts[1] += sign * cost.tokens
        amounts[2] += sign * (cost.picodollars or 0)
        amounts[3] += sign * (cost.flops or 0)
        amounts[4] += sign * cost.steps

    def _shortages(self, cost: Cost) -> Iterator[tuple[int, str, int, int]]:
        amounts = _amounts(cost)
        names = ("samples", "tokens", "usd", "flops", "steps")
        for i, cap in self._caps:
            left = cap - self._spent[i] - self._reserved[i]
            if amounts[i] > left:
                yield i, names[i], amounts[i], left

    def _cost(self, amounts: list[int]) -> Cost:
        samples, tokens, picodollars, flops, steps = amounts
        return Cost(
            samples,
            tokens,
            None if self._usd_unknown else picodollars,
            None if self._flops_unknown else flops,
            steps,
        )


def _amounts(cost: Cost) -> tuple[int, int, int, int, int]:
    """A cost's amounts; unknown ones count as 0, because `check_known` has refused them where a limit depends on
    them."""
    return cost.samples, cost.tokens, cost.picodollars or 0, cost.flops or 0, cost.steps


def _exact(value: float) -> str:
    return _short(value) if value == int(value) else format(Decimal(repr(value)), "f")


def _short(value: float) -> str:
    """Shorten a number: 2000 -> 2k, 1234567 -> 1234567, 0.5 -> 0.5."""
    for suffix, scale in (("t", 10**12), ("g", 10**9), ("m", 10**6), ("k", 10**3)):
        if value >= scale and value % (scale // 100) == 0 and value < scale * 1000:
            return f"{value / scale:g}{suffix}"
    return f"{value:g}" if value == int(value) < 10**6 or value != int(value) else str(int(value))
