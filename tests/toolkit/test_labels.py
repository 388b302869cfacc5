"""The probability of a label: by log-probabilities where they show it, else by the words of the text."""

import math

import pytest

from tts.toolkit.labels import probability
from tts.types import Completion, LogprobSummary, TokenLogprob


def said(text: str, *tail: TokenLogprob) -> Completion:
    return Completion(text, logprobs=LogprobSummary(-1.0, -2.0, tail=tail) if tail else None)


def token(text: str, p: float, **others: float) -> TokenLogprob:
    return TokenLogprob(text, math.log(p), tuple((name, math.log(q)) for name, q in others.items()))


def test_it_is_the_share_of_the_labels_masses_at_the_last_token_that_is_one() -> None:
    reply = said("B, or A.", token("B", 0.9), token(" A", 0.3, B=0.1, C=0.5), token(".", 0.9, A=0.05))
    assert probability(reply, "A", "B") == pytest.approx(0.75)
    assert probability(reply, "B", "A") == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("text", "found"), [("A", 1.0), ("Not B but A!", 1.0), ("B.", 0.0), ("Abba", None), ("", None)]
)
def test_without_log_probabilities_it_is_what_the_text_says_last(text: str, found: float | None) -> None:
    assert probability(said(text), "A", "B") == found
    assert probability(said(text, token("~", 0.9)), "A", "B") == found


@pytest.mark.parametrize(("text", "found"), [("+", 1.0), (" -\n", 0.0), ("-5", None), ("It is right: +", 1.0)])
def test_a_label_may_be_a_sign(text: str, found: float | None) -> None:
    assert probability(said(text), "+", "-") == found


def test_a_label_of_no_probability_at_all_leaves_the_text() -> None:
    assert probability(said("A", TokenLogprob("A", -math.inf)), "A", "B") == 1.0
