"""Samples and candidates, for the tests of strategies and verifiers."""

from hypothesis import strategies as st

from tts.errors import ServerFailed
from tts.testing import Sample
from tts.testing.cluster import Outcome
from tts.types import Candidate, Completion

BROKEN = ServerFailed("the server is on fire")


def answers(outcome: Outcome) -> list[str | None]:
    return [candidate.answer for candidate in outcome.result.candidates]


def scored(*pairs: tuple[str | None, float | None]) -> list[Sample]:
    return [Sample(answer, scores={"judge": score}) for answer, score in pairs]


ANSWERS_THAT_ARRIVE = st.lists(
    st.tuples(st.sampled_from("AAABC?!"), st.integers(1, 20)), min_size=12, max_size=12, unique_by=lambda pair: pair[1]
)


def arriving(pairs) -> list[Sample | Exception]:
    """Of each a sample that takes so many seconds: `?` has no answer, and `!` fails."""
    return [BROKEN if a == "!" else Sample(None if a == "?" else a, seconds=s, tokens=s) for a, s in pairs]


def first_seen_majority(sequence):
    counts = {answer: sequence.count(answer) for answer in sequence if answer is not None}
    return max(counts, key=counts.get) if counts else None


def candidate(text: str = "Answer: 4", answer: str | None = "4", **completion) -> Candidate:
    return Candidate("p/1", text, answer, Completion(text, **completion))
