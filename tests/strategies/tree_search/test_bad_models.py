"""Searches over models and verifiers that lack something, or say nothing: a typed error that says what, or a rule."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tts
import tts.testing.decoding
from tts.errors import CapabilityMissing
from tts.reports.summary import warnings_of
from tts.testing import FakeEngine, Misbehaviour, Reply

STEPS = ("beam_search:n=4,m=2,depth=4", "mcts:n=2,m=2,depth=4", "rebase:n=4,depth=4")
SEARCHES = (*STEPS, "ab_mcts:n=6")
LINES = ("a = 1", "b = 2", "Answer: 4")
Judged = Callable[[], Reply]


def label(right: float) -> Reply:
    return Reply(("+",), logprobs=((("+", math.log(right)), ("-", math.log(1 - right))),))


def script(judged: Judged = lambda: label(0.8), lines: tuple[str, ...] = LINES) -> Callable[[dict[str, Any]], Reply]:
    """A model that says these lines, and judges steps by one reply."""

    def reply(request: dict[str, Any]) -> Reply:
        if "last step right" in request["messages"][-1]["content"] or request.get("max_tokens") == 1:
            return judged()
        rest = lines[request.get("prefill", "").count("\n") :]
        return Reply(tuple(token for line in rest for token in (line, "\n"))[:-1])

    return reply


def solved(text: str, engine: FakeEngine, **how: Any) -> tts.Solved:
    how.setdefault("sampling", {"max_tokens": 32})
    return tts.solve("What is 2 + 2?", f"{text},verifier=prm", base_url=engine.base_url, **how)


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


@pytest.mark.parametrize("text", STEPS)
def test_a_server_that_cannot_continue_a_text_is_refused_before_anything_is_spent(text: str) -> None:
    with FakeEngine(script(), flavour="openai") as engine:
        with pytest.raises(CapabilityMissing, match="not known to be able to"):
            solved(text, engine, budget="tokens=1k")
        assert engine.stats().tokens == 0


@pytest.mark.parametrize("text", STEPS)
def test_a_server_that_does_not_say_what_ended_a_step_is_refused_at_the_first(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tts.testing.decoding, "_STOP_FIELD", {})
    with FakeEngine(script()) as engine:
        try:
            error = solved(text, engine).result.error
            message = error.message if error is not None and error.type == "CapabilityMissing" else ""
        except CapabilityMissing as raised:  # of the second step, once the endpoint is known
            message = raised.message
    assert "whether a stop string or the model ended" in message and "tts doctor" in message


@pytest.mark.parametrize(
    ("judged", "score"),
    [
        (lambda: Reply(("+",), misbehave=Misbehaviour.NAN_LOGPROBS), None),
        (lambda: Reply((), misbehave=Misbehaviour.EMPTY), None),
        (lambda: Reply(("~",), logprobs=((("~", -0.01), ("?", -5.0)),)), None),
        (lambda: label(0.5), 0.5),
    ],
    ids=["not a number", "nothing", "no label", "the same of all"],
)
@pytest.mark.parametrize("text", SEARCHES)
def test_a_verifier_without_a_usable_score_leads_to_an_answer_without_one(
    text: str, judged: Judged, score: float | None, engine: FakeEngine
) -> None:
    engine.script = script(judged)
    found = solved(text, engine)
    assert (found.result.error, found.answer) == (None, "4")
    values = {said.value for given in found.result.scores.values() for said in given}
    assert values == {score}


@pytest.mark.parametrize("text", SEARCHES)
def test_a_tree_that_is_wider_than_the_budget_ends_within_it(text: str, engine: FakeEngine) -> None:
    engine.script = script()
    found = solved(text, engine, budget="samples=5")
    assert found.result.error is None and found.result.exhausted and found.cost.samples == 5
    assert found.answer in ("4", None)


@pytest.mark.parametrize("lines", [("word " * 400,), ("same",) * 400], ids=["a step", "a text"])
@pytest.mark.parametrize("text", SEARCHES)
def test_what_never_ends_is_cut_and_abstains(text: str, lines: tuple[str, ...], engine: FakeEngine) -> None:
    engine.script = script(lines=lines)
    found = solved(text, engine, sampling={"max_tokens": 8})
    assert (found.result.error, found.answer) == (None, None) and found.warnings


@pytest.mark.parametrize("text", SEARCHES)
def test_a_model_that_says_nothing_after_a_step_has_ended_there(text: str, engine: FakeEngine) -> None:
    engine.script = script(lines=("Answer: 4", ""))
    found = solved(text, engine)
    assert (found.result.error, found.answer) == (None, "4")


def test_a_sweep_says_of_which_search_no_text_came_to_its_end(engine: FakeEngine, tmp_path: Any) -> None:
    engine.script = script(lines=("same",) * 400)
    swept = tts.sweep("arithmetic?size=2", [STEPS[0], "single"], base_url=engine.base_url, out=tmp_path, report=False)
    (note,) = [note for note in warnings_of(swept.rows) if "came to its end" in note]
    assert note.startswith(f"{STEPS[0]}: no text of 2 of 2 trials came to its end, so that they have no answer")
