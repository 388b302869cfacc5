"""The probability of one label among a few, as a model's reply gives it: for judges."""

from __future__ import annotations

import math
import re

from tts.types import Completion

ENOUGH_MASS = 0.5  # below it the model preferred other tokens to the labels, whose ratio then means little


def masses(completion: Completion, *labels: str) -> dict[str, float] | None:
    """The probability of each label at the last token that is one of them; None where no token with log-probabilities
    is one, or none has any probability."""
    for position in reversed(completion.logprobs.tail if completion.logprobs else ()):
        if position.token.strip() in labels:
            shown = {position.token: position.logprob, **dict(position.top)}
            found = {name: sum(math.exp(p) for token, p in shown.items() if token.strip() == name) for name in labels}
            if any(found.values()):
                return found
    return None


def probability(completion: Completion, label: str, *others: str) -> float | None:
    """P(label), of the probability that it and the others have together, at the last token that is one of them.

    1 or 0 by the last of these words in the text, where no log-probabilities of such a token are known; None where the
    text has none. Of log-probabilities a completion keeps its last tokens alone: ask for few (`max_tokens=4`,
    `top_logprobs=10`).
    """
    labels = (label, *others)
    found = masses(completion, *labels)
    if found is not None:
        return found[label] / sum(found.values())
    words = re.findall(rf"(?<!\w)(?:{'|'.join(map(re.escape, labels))})(?!\w)", completion.text)
    return float(words[-1] == label) if words else None
