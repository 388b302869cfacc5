"""Verifiers that ask a model: what they ask, how they read the reply, and what they refuse to guess."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import candidate

from tts.testing import Sample, ScriptedCluster
from tts.types import Completion, LogprobSummary, Problem, TokenLogprob
from tts.verifiers.generative.genrm import GenRM
from tts.verifiers.generative.judge import Judge

PROBLEM = Problem("p", "What is 2 + {2}?")


def token(said: str, /, **alternatives: float) -> TokenLogprob:
    """A position: what was sampled, and alternatives by name (`_` for a space) with their probabilities."""
    top = tuple((name.replace("_", " "), math.log(p)) for name, p in alternatives.items())
    return TokenLogprob(said, dict(top).get(said, -1.0), top)


def reply(text: str, *tail: TokenLogprob) -> Completion:
    return Completion(text, logprobs=LogprobSummary(-0.5, -1.0, None, tail) if tail else None)


def test_genrm_shows_the_problem_and_the_solution_and_asks_for_alternatives():
    request = GenRM(max_tokens=99, model="judge-7b").request(PROBLEM, candidate("So {4}. Answer: 4"))
    prompt = request.messages[0].content
    assert "What is 2 + {2}?" in prompt and "So {4}. Answer: 4" in prompt
    assert prompt.endswith("Verification: Is the answer correct (Yes/No)? Yes or No")
    assert (request.sampling.max_tokens, request.sampling.top_logprobs, request.model) == (99, 10, "judge-7b")
    assert request.sampling.temperature > 0


@pytest.mark.parametrize(
    "text",
    [
        "<think>secret</think>Answer: 4",
        "secret</think>\n\nAnswer: 4",
        "<think>a</think><think>secret</think> Answer: 4",
    ],
)
def test_the_thinking_of_a_solution_is_not_shown_to_the_verifier(text):
    prompt = GenRM().request(PROBLEM, candidate(text)).messages[0].content
    assert "Solution:\nAnswer: 4\n" in prompt
    assert "secret" not in prompt


def test_the_judge_asks_for_one_word_and_always_the_same():
    request = Judge().request(PROBLEM, candidate())
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.0, 4)
    assert request.messages[0].content.endswith("Reply with one word.")


@pytest.mark.parametrize("said", ["Yes", " Yes", " YES", "\u2581yes", "\u0120Yes", "**Yes", '"Yes"', "yes.", " Yes,"])
def test_every_surface_form_of_a_verdict_is_read(said):
    position = TokenLogprob(said, math.log(0.7), ((said, math.log(0.7)), (" No", math.log(0.2))))
    score = Judge().read(reply("Yes", position))
    assert score.value == pytest.approx(0.7 / 0.9)
    assert score.mass == pytest.approx(0.9)
    assert score.kind == "probability"


def test_the_forms_of_one_label_are_summed():
    position = token(" No", Yes=0.1, _Yes=0.15, yes=0.05, No=0.2, _No=0.3, Maybe=0.1)
    score = Judge().read(reply(" No", position))
    assert (score.value, score.mass) == (pytest.approx(0.3 / 0.8), pytest.approx(0.8))


def test_the_sampled_verdict_counts_even_where_the_server_does_not_list_it():
    position = TokenLogprob("Yes", math.log(0.6), (("No", math.log(0.2)),))
    assert Judge().read(reply("Yes", position)).value == pytest.approx(0.75)
    assert Judge().read(reply("No", TokenLogprob("No", math.log(0.9)))).value == 0.0


def test_labels_that_were_unlikely_are_not_trusted_and_the_text_is():
    score = Judge().read(reply("Yes", token("Yes", Yes=0.1, No=0.3, Perhaps=0.6)))
    assert score.value == 1.0
    assert score.mass == pytest.approx(0.4)


def test_a_probability_of_zero_is_a_value_and_not_missing():
    score = Judge().read(reply("No", token("No", No=0.99)))
    assert score.value == 0.0


LINE = "Verification: Is the answer correct (Yes/No)?"


def test_the_probability_is_read_at_the_verdict_and_not_at_another_yes_or_no():
    text = f"Step 1: no problem. {LINE} Yes. There is no error."
    tail = (
        token(" no", _no=0.9, _a=0.1),
        token(" problem"),
        token(" Yes", _Yes=0.8, _No=0.1),
        token("."),
        token(" no", _no=0.99),
        token(" error"),
    )
    score = GenRM().read(reply(text, *tail))
    assert score.value == pytest.approx(0.8 / 0.9)


def test_where_the_tail_does_not_reach_back_to_the_verdict_its_text_decides():
    score = GenRM().read(reply(f"{LINE} Yes. There is no error", token(" no", _no=0.99), token(" error")))
    assert (score.value, score.mass) == (1.0, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{LINE} Yes", 1.0),
        (f"{LINE} **No**.", 0.0),
        ("Is the answer correct (yes/no)? YES\nBecause it is.", 1.0),
        ("... the sum is right.\n\nYes", 1.0),
        (f"{LINE} No\nWait, I was wrong.\n{LINE} Yes", 1.0),
        (f"{LINE} Yes\nHmm.\n{LINE} No\n", 0.0),
        (f"<think>{LINE} No</think>{LINE} Yes", 1.0),
        (f"{LINE} No</think>{LINE} Yes", 1.0),
        (f"<think>{LINE} No, and so", None),
        (f"{LINE} Yes or No", None),
        ("There is nothing to say.", None),
        ("No mistakes so far, but I have not finished", None),
        ("", None),
    ],
)
def test_the_last_verdict_wins_and_without_one_the_verifier_abstains(text, value):
    score = GenRM().read(reply(text))
    assert score.value == value
    assert score.text == text


@pytest.mark.parametrize(("text", "value"), [("Yes, it is", 1.0), ("**No**, because", 0.0), ("It depends", None)])
def test_a_judge_may_say_its_word_first(text, value):
    assert Judge().read(reply(text)).value == value


def test_a_reply_without_a_verdict_is_an_abstention_even_if_some_token_was_nearly_a_label():
    score = GenRM().read(reply("<think>no", token("no", no=0.9)))
    assert score.value is None


@given(st.text(max_size=200))
def test_no_reply_makes_a_judge_fail(text):
    for judge in (GenRM(), Judge()):
        assert judge.read(Completion(text)).value in (None, 0.0, 1.0)


def test_a_long_reply_is_read_quickly():
    started = time.process_time()
    GenRM().read(Completion("yes or no " * 50_000))
    GenRM().read(Completion("correct (yes/no)" * 20_000 + " " * 50_000))
    GenRM().read(Completion("correct" + " " * 50_000 + "(yes/no)" + " \n" * 50_000 + "?"))
    Judge().read(Completion(" " * 100_000 + "no" + " ." * 50_000 + "!"))
    assert time.process_time() - started < 5


def test_genrm_end_to_end_is_charged_and_averaged():
    def world(request, number):
        if number < 2:
            return Sample(str(number))
        asked_about_0 = "Answer: 0" in request.messages[0].content
        return Sample(text=f"{LINE} {'No' if asked_about_0 else 'Yes'}", tokens=30)

    outcome = ScriptedCluster(world, verifiers={"genrm": GenRM()}).run("genrm:n=2,verifications=3")
    assert outcome.result.answer == "1"
    assert outcome.result.bill.verifier.tokens == 180
    assert [score.value for scores in outcome.result.scores.values() for score in scores] == [0.0] * 3 + [1.0] * 3
