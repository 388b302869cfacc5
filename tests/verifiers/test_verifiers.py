"""Verifiers: what they ask, how they read the reply, and what they refuse to guess."""

import math
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.core.protocols import question_of
from tts.plugins.names import built_in
from tts.plugins.verifiers import verifier
from tts.tasks import sources as tasks
from tts.testing import Sample, ScriptedCluster
from tts.types import Candidate, Completion, LogprobSummary, Problem, TokenLogprob, Usage
from tts.verifiers.confidence.self_certainty import SelfCertainty
from tts.verifiers.generative.genrm import GenRM
from tts.verifiers.generative.judge import Judge
from tts.verifiers.rules.constraint import Constraint, countdown

PROBLEM = Problem("p", "What is 2 + {2}?")


def candidate(text: str = "Answer: 4", answer: str | None = "4", **completion) -> Candidate:
    return Candidate("p/1", text, answer, Completion(text, **completion))


def token(said: str, /, **alternatives: float) -> TokenLogprob:
    """A position: what was sampled, and alternatives by name (`_` for a space) with their probabilities."""
    top = tuple((name.replace("_", " "), math.log(p)) for name, p in alternatives.items())
    return TokenLogprob(said, dict(top).get(said, -1.0), top)


def reply(text: str, *tail: TokenLogprob) -> Completion:
    return Completion(text, logprobs=LogprobSummary(-0.5, -1.0, None, tail) if tail else None)


# --- GenRM: the request


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


# --- GenRM: P(Yes) from log-probabilities


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


# --- GenRM: the verdict's text


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


# --- self-certainty


def test_self_certainty_is_the_summary_s_and_an_abstention_without_log_probabilities():
    sure = candidate(logprobs=LogprobSummary(-0.1, -0.5, 2.5))
    assert SelfCertainty().score(PROBLEM, sure).value == 2.5
    assert SelfCertainty().score(PROBLEM, candidate()).value is None
    assert SelfCertainty().score(PROBLEM, candidate(logprobs=LogprobSummary(-0.1, -0.5))).value is None
    assert SelfCertainty.candidate_logprobs > 0  # or no server would be asked for alternatives


# --- constraint: CountDown

FACTS = {"constraint": "countdown", "numbers": [3, 5, 7], "target": 26}


@st.composite
def expressions(draw, depth=3):
    """(text, value or None for a division by zero, numbers used)."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        number = draw(st.sampled_from((2, 3, 4, 5, 25, 100)))
        negative = draw(st.booleans())
        return (f"-{number}" if negative else str(number), Fraction(-number if negative else number), [number])
    (left, a, used_a), (right, b, used_b) = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    op = draw(st.sampled_from("+-*/"))
    if a is None or b is None or (op == "/" and b == 0):
        value = None
    else:
        value = {"+": a + b, "-": a - b, "*": a * b}.get(op) if op != "/" else a / b
    space = draw(st.sampled_from(["", " "]))
    return f"({left}{space}){op}{space}({right})", value, used_a + used_b


@settings(max_examples=200, deadline=None)
@given(expressions(), st.data())
def test_countdown_agrees_with_exact_arithmetic_done_beside_it(expression, data):
    text, value, used = expression
    numbers = data.draw(st.permutations(used))
    if value is not None and value.denominator == 1:
        facts = {"numbers": numbers, "target": int(value)}
        assert countdown(text, facts) is None
        assert countdown(text, {**facts, "target": int(value) + 1}) is not None
        assert countdown(text, {**facts, "numbers": [*numbers, 9]}) == "does not use every number"
        assert countdown(text, {**facts, "numbers": [*numbers, 9], "use_all": False}) is None
        assert "uses numbers it does not have" in countdown(text, {**facts, "numbers": numbers[1:]})
    else:
        assert countdown(text, {"numbers": numbers, "target": 1}) is not None


def test_countdown_knows_what_python_s_eval_knows():
    text = "(3 + 5) * 7 - 3 / 5"
    assert countdown(text, {"numbers": [3, 5, 7, 3, 5], "target": 56}) == f"makes {Fraction(277, 5)}, not 56"
    assert countdown("3 * 7 + 5", FACTS) is None
    assert countdown("3 * 7 + 5 = 26", FACTS) is None
    assert countdown("7/3*3*3 + 5", {"numbers": [7, 3, 3, 3, 5], "target": 26}) is None  # exact, not nearly


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9**9",
        "3**26",
        "3<<26",
        "7//5",
        "26",
        "().__class__.__bases__[0].__subclasses__()",
        "__import__('os').system('true')",
        "(3).real",
        "f(3)",
        "[3, 5][7]",
        "lambda: 3",
        "3 if 5 else 7",
        "(x := 3)",
        "True + 5 + 7",
        "1e400",
        "3j",
        "0x1A",
        "2_6",
        "'3' + '5'",
        "\u0663 * 7 + 5",
        "\uff13 * 7 + 5",
        "\u00b3 * 7 + 5",
        "3 \u00d7 7 + 5",
        "3 * 7 + 5\x00",
        "3 * 7 + 5\n",
        "3 * 7\n+ 5",
        "3 * 7 + 5 # and more",
        "3 * 7 + 5;",
        "((3 * 7 + 5",
        "5 / (3 - 3)",
        "",
        "(" * 10_000 + "3" + ")" * 10_000,
        "(" * 140 + "3*7+5" + ")" * 140,
        "-" * 10_000 + "26",
        "1+" * 10_000 + "1",
        "9" * 100_000,
        "9" * 299,
        "*".join(["9" * 98] * 3),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_a_model_should_not_have_written_is_refused_quickly(text):
    facts = {"numbers": [3, 5, 7], "target": 26}
    started = time.process_time()
    reason = countdown(text, facts)
    assert time.process_time() - started < 5
    if text.strip() != "3 * 7 + 5" and text != "(" * 140 + "3*7+5" + ")" * 140:
        assert reason is not None
        assert len(reason) < 1000


def test_signs_and_brackets_may_be_stacked_as_deep_as_an_answer_is_long():
    assert countdown("-" * 280 + "3*7+5", FACTS) is None


@given(st.text(alphabet="0123456789+-*/() .=x\u0663", max_size=40))
def test_no_text_makes_the_checker_fail(text):
    score = Constraint().score(Problem("p", "?", facts=FACTS), candidate(text, text))
    assert score.value in (0.0, 1.0)


def test_the_constraint_abstains_where_there_is_nothing_to_check():
    for facts in ({}, {"constraint": "sudoku", "puzzle": []}, {"numbers": [7, 4, 4, 1]}, {"constraint": "countdown"}):
        assert Constraint().score(Problem("p", "?", facts=facts), candidate()).value is None


def test_a_candidate_without_an_answer_does_not_satisfy_the_constraint():
    score = Constraint().score(Problem("p", "?", facts=FACTS), candidate(answer=None))
    assert (score.value, score.kind) == (0.0, "pass_rate")


def test_the_constraint_checks_reasoning_gym_s_countdown_from_the_problem_to_the_selection():
    pytest.importorskip("reasoning_gym")
    for example in tasks.load("reasoning-gym:countdown?size=4&seed=7").examples:
        right = example.reference
        wrong = f"{right} + 1"
        script = [Sample(text=f"<answer>{text}</answer>") for text in (wrong, "I give up", right)]
        cluster = ScriptedCluster(script, verifiers={"constraint": Constraint()})
        outcome = cluster.run("best_of_n:n=3,verifier=constraint", example.problem)
        assert outcome.result.answer == right
        assert [s.value for scores in outcome.result.scores.values() for s in scores] == [0.0, 0.0, 1.0]


# --- all of the library's


@pytest.mark.parametrize("name", built_in("verifiers"))
def test_every_verifier_of_the_library_either_asks_or_computes(name):
    made = verifier(name)
    assert made.name == name
    asked = question_of(made, PROBLEM, candidate())
    if asked is None:
        assert not hasattr(made, "read") and made.score(PROBLEM, candidate()).verifier == name
    else:
        assert not hasattr(made, "score") and asked.messages[-1].role == "user"
        score = made.read(Completion("Yes", usage=Usage(5, 1)))
        assert (score.verifier, score.kind, score.value) == (name, made.kind, 1.0)


def test_a_verifier_that_asks_can_be_sent_to_another_model():
    assert verifier("judge", "big").request(PROBLEM, candidate()).model == "big"
    assert question_of(verifier("constraint", "big"), PROBLEM, candidate()) is None
