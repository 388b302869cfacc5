"""The strategies and verifiers that a strategy names while it runs: `Run.solve("best_of_n:n=4")`."""

from __future__ import annotations

from functools import partial

from tts.core.protocols import Strategy, Verifier, logprobs_for
from tts.errors import InvalidParameter
from tts.plugins.names import strategy
from tts.plugins.spec import parse_specs
from tts.plugins.verifiers import verifier


def part(text: str) -> Strategy:
    """The strategy that a text names, with the parameters that the text gives.

    Raises: UnknownName for the strategy or a parameter; InvalidParameter for a value of the wrong type, or a text that
        names several strategies.
    """
    specs = parse_specs(text)
    if len(specs) != 1:
        raise InvalidParameter(f"a part must be one strategy, but {text!r} names {len(specs)}", strategy=text)
    function = strategy(specs[0].name)
    return partial(function, **specs[0].params) if specs[0].params else function


class Verifiers(dict[str, Verifier]):
    """Verifiers by name: those that the parameters of strategies name, and others when they are first asked for.

    Args:
        model: the model that those which ask one ask.
    """

    def __init__(self, known: dict[str, Verifier], model: str | None = None) -> None:
        super().__init__(known)
        self.model = model

    def __missing__(self, name: str) -> Verifier:
        """Raises: as `verifier`; InvalidParameter for one that reads log-probabilities, which candidates have only
        where it was known before they were sampled."""
        found = verifier(name, self.model)
        if logprobs_for(found):
            raise InvalidParameter(
                f"the verifier {name} reads log-probabilities, which must be asked for with each sample: name it in a "
                f"parameter of the strategy, such as `*, verifier: str = {name!r}`",
                name=name,
            )
        self[name] = found
        return found
