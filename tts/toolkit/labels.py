"""The probability of one label among a few, as a model's reply gives it: for judges."""

from __future__ import annotations

import math
import re

from tts.types import Completion


def probability(completion: Completion, label: str, *others: str) -> float | None:
    """P(label), of the probability that it and the others have together, at the last token that is one of them.

    1 or 0 by the last of these words in the text, where no log-probabilities of such a token are known; None where the
    text has none. Of log-probabilities a completion keeps its last tokens alone: ask for few (`max_tokens=4`,
    `top_logprobs=10`).
    """
    labels = (label, *others)
    for position in reversed(completion.logprobs.tail if completion.logprobs else ()):
        if position.token.strip() in labels:
            shown = {position.token: position.logprob, **dict(position.top)}
            masses = {name: sum(math.exp(p) for token, p in shown.items() if token.strip() == name) for name in labels}
            if any(masses.values()):
                return masses[label] / sum(masses.values())
    words = re.findall(rf"(?<!\w)(?:{'|'.join(map(re.escape, labels))})(?!\w)", completion.text)
    return float(words[-1] == label) if words else None
