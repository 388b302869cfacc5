"""Whether a strategy can have as many candidates as a request wants choices, as far as that is known before it runs."""

from __future__ import annotations

from tts.api.arguments import as_spec
from tts.plugins.names import strategy
from tts.plugins.signatures import parameters
from tts.serve.catalogue import Chosen
from tts.serve.protocol.refusals import Refusal

SINGLE = "single"
_COUNTED_BY = {"first_finish": "k"}  # the parameter that bounds a strategy's candidates; elsewhere `n`


def strategy_name(text: str) -> str:
    """The name of the strategy that a text names with its parameters."""
    return text.partition(":")[0].strip()


def check_choices(chosen: Chosen, count: int) -> None:
    """Check that there can be `count` choices. `single` draws as many; other strategies draw what they draw, and the
    best of that are the choices. Raises: Refusal, UnknownName, InvalidParameter."""
    if count == 1:
        return
    most, why = chosen.limits.samples, f"its budget is {chosen.limits}"
    if strategy_name(chosen.strategy) != SINGLE:
        drawn, name = _drawn(chosen.strategy)
        if drawn is not None and (most is None or drawn < most):
            most, why = drawn, f"{chosen.strategy} has {drawn} candidates at the most: raise its {name}, or take single"
    if most is not None and most < count:
        raise Refusal(400, f"n is {count}, but there cannot be as many choices: {why}", param="n")


def _drawn(text: str) -> tuple[int | None, str]:
    spec, _ = as_spec(text, None)
    name = _COUNTED_BY.get(spec.name, "n")
    known = {each.name: each.default for each in parameters(strategy(spec.name))}
    value = spec.params.get(name, known.get(name))
    return (value if type(value) is int else None), name
