import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tts.answers.cues
import tts.answers.extract
import tts.answers.letters
from tts.answers.equivalence import classes, extract, is_plain, normalise, same

PIECES = [
    *"012.,-+/ \n{}()$xABeE=%^_\\|:;~'\"",
    *("\\frac{", "\\boxed{", "\\text{", "\\left", "\\right", "\\,", "\\!", "\\%", "$$", "\\(", "\\)", "\\[", "^\\circ"),
    *("answer is ", "Answer: ", "####", "<think>", "</think>", "<answer>", "</answer>", "**", "dollars", "answer to "),
    *(
        "\u2212",
        "\u00a0",
        "\x85",
        "\u2028",
        "\u0663",
        "\u00b2",
        "\uff15",
        "\u221a",
        "\u00bd",
        "\u7b54\u6848",
        "12",
        "111,",
    ),
    *(
        "answer is a ",
        "1,",
        "1/",
        "1e",
        r"\boxed a",
        "(A)",
        "(A) is ",
        "$a",
        "<answer>a",
        "- 1\n",
        "| 1 ",
        "\\\\ ",
        "```\n",
    ),
    *("\\begin{align}", "\\begin{pmatrix}", "I choose ", "not ", "hope this ", "sqrt(", '"answer": "', "1 ", "1'234"),
]
latexish = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
FORMATS = ("auto", "number", "boxed", "letter", "line", "text")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{3}, no: \boxed{\frac{1}{3}}.", "1/3"),
        (r"thus \boxed{\text{even } \{1, \{2\}\}}", r"\text{even } \{1, \{2\}\}"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"first \boxed{3}, then \boxed{4", "3"),
        (r"\boxed 7$", "7"),
        (r"The answer is $\boxed{5}$. Answer: 6", "5"),
        ("Answer: 5\nNo. Answer: 6", "6"),
        ("**Final Answer:** 42", "42"),
        ("The answer to the question is 7. I hope that helps.", "7"),
        ("The answer is:\n\n$$\\frac{3}{4}$$", "0.75"),
        ("Answer: 5\n\nAnswer:", "5"),
        ("He has 3 left.\n#### 1,234", "1234"),
        ("The answer is 5 apples.", "5"),
        ("Answer: 34 + 57 = 91.", "91"),
        ("Answer: 17 (that is 12+5)", "17"),
        ("Answer: a=1, b=2", "a=1,b=2"),
        ("Answer: 3 and 4", "3 and 4"),
        ("The answer is (B) Paris", "B"),
        ("Answer: $x^2+1$", "x^2+1"),
        ("the total was 12, so 30 remain", "30"),
        ("10-3", "3"),
        ("at -3 degrees", "-3"),
        (r"which is \frac{3}{4}", "0.75"),
        ("It costs $18.50.", "18.5"),
        ("no idea", None),
        ("", None),
        ("<think>Answer: 3</think>Answer: 4", "4"),
        ("<think>Answer: 3", None),
        ("Answer: 3</think>So it is 4", "4"),
        ("<think>a</think>Answer: 5<think>b</think>", "5"),
        ("Answer: 1 <answer>2</answer>", "2"),
    ],
)
def test_auto_finds_the_last_box_then_the_last_stated_answer_then_the_last_number(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("text", "answer_format", "answer"),
    [
        ("Answer: x = 5 apples, not 6", "number", "5"),
        (r"\boxed{\text{none}} of 12", "number", "12"),
        ("none", "number", None),
        ("Answer: 5", "boxed", None),
        (r"\boxed{x + 1}", "boxed", "x+1"),
        ("I think (A), but finally (C)", "letter", "C"),
        ("Answer: B. Paris", "letter", "B"),
        (r"\boxed{\text{(D)}}", "letter", "D"),
        ("reasons\n\n**E**\n", "letter", "E"),
        ("A cat sat.", "letter", None),
        ("one\n two  three \n\n", "line", "two three"),
        ("1/2\n0.50", "line", "0.50"),
        (" 1 2\n\n 3 4 ", "text", "1 2\n3 4"),
        ("so <answer>1 2\n3 4</answer>.", "text", "1 2\n3 4"),
        (" \n ", "text", None),
    ],
)
def test_every_format_looks_where_it_says(text, answer_format, answer):
    assert extract(text, answer_format) == answer


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        (("42", "42.", "042", "+42", "42.0", "42.00", "$42$", r"\boxed{42}", "x = 42", "\uff14\uff12"), "42"),
        (("1234", "1,234", r"1{,}234", r"1\,234", r"1,\!234", "1234.0", "1.234e3"), "1234"),
        (("0.5", ".5", "0.50", "1/2", "2/4", r"\frac{1}{2}", r"\dfrac12", r"\frac{-1}{-2}", "5e-1"), "0.5"),
        (("-1/3", r"-\frac{1}{3}", r"\frac{-1}{3}", "2/-6", "\u22121/3"), "-1/3"),
        (("0", "-0", "0.0", "0/5"), "0"),
        (("18", "$18", r"\$18.00", "18 dollars", r"18\text{ dollars}", "US$18"), "18"),
        (("90", r"90^\circ", r"90^{\circ}", "90\u00b0", "90 degrees"), "90"),
        (("10%", r"10\%", "10 percent", "10.0 %"), "10%"),
        (("Paris", "**Paris**", r"\text{Paris}", '"Paris."', "  Paris "), "Paris"),
        (("B", "(B)", r"\text{(B)}", "B."), "B"),
        (("(3,4)", r"\left( 3, 4 \right)", r"\bigl(3,\,4\bigr)", "$(3, 4)$"), "(3,4)"),
        (("x^2+1", "x^{2} + 1"), "x^2+1"),
    ],
)
def test_one_spelling_for_all_that_certainly_mean_the_same(spellings, canonical):
    assert {spelling: normalise(spelling) for spelling in spellings} == dict.fromkeys(spellings, canonical)


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^9}",
        "1e999999999",
        "1/0",
        "1,2345",
        "1 2",
        "[2, 3]",
        r"5\text{ or }6",
        "12:30",
        "2 pi",
        "1" * 5000,
        "x" * 9999,
    ],
)
def test_what_is_no_plain_number_is_left_as_written(answer):
    assert normalise(answer).replace(" ", "") == answer.replace(" ", "")


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ("1/2", r"\frac{1}{2}", True),
        ("1,000", "1e3", True),
        ("Paris", "paris", True),
        ("7", "8", False),
        ("1" * 5000, "1" * 4999 + "2", False),
        ("1/3", "0.3", False),
        ("0.1", "0.2", False),
        ("10%", "20%", False),
        ("A", "B", False),
        ("A", "7", False),
        ("none of them", "7", False),
        ("", "", False),
        ("", "7", False),
        ("1/3", "0.333333", None),
        ("10%", "10", None),
        ("10%", "0.1", None),
        ("1 2", "12", None),
        ("x+1", "1+x", None),
        ("9^{9^9}", "7", None),
        ("1e999999999", "7", None),
        (r"\pi", "3.14159", None),
        ("infinity", "Infinity", None),
    ],
)
def test_same_is_certain_or_says_that_it_is_not(a, b, verdict):
    assert same(a, b) is verdict
    assert same(b, a) is verdict


def test_classes_are_numbered_as_first_seen_and_need_algebra_only_where_it_matters():
    assert classes(["7", "0.5", "7.0", "Paris", "1/2", "paris"]) == [0, 1, 0, 2, 1, 2]
    assert classes([]) == []
    assert classes(["x+1", "x + 1"]) == [0, 0]
    assert classes(["x+1", "7"]) is None


def test_plain_answers_are_numbers_choices_and_words():
    assert all(map(is_plain, ["7", "1/3", "10%", "B", "Monday", "not possible"]))
    assert not any(map(is_plain, ["x", "x+1", r"\sqrt{2}", "", "{1,2}"]))


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=40) | latexish, latexish, st.booleans())
def test_nothing_raises_and_normalising_twice_changes_nothing(a, b, complete):
    once = normalise(a)
    assert normalise(once) == once
    for answer_format in FORMATS:
        answer = extract(a, answer_format, complete=complete)
        assert answer is None or answer
        if answer is not None and answer_format not in ("line", "text"):
            assert normalise(answer) == answer
    assert same(a, b) == same(b, a)
    assert same(a, once) is bool(once)


@pytest.mark.parametrize(
    "text", ["The answer is 42 apples", r"so \boxed{042", "Answer: $42$ in all, be", "Antwort: 42"]
)
def test_a_text_that_was_cut_has_the_answer_that_it_states_and_no_other(text):
    assert extract(text, complete=False) == (None if "boxed" in text else "42")
    assert extract(text, "number", complete=False) == (None if "boxed" in text else "42")
    assert extract("12 and then 42", complete=False) is None
    assert extract("the answer is unclear, maybe 3 or", "letter", complete=False) is None


@given(st.integers(), st.integers(1, 10**6))
def test_fractions_are_equal_exactly_when_their_values_are(numerator, factor):
    fraction = f"{numerator}/97"
    assert same(fraction, rf"\frac{{{numerator * factor}}}{{{97 * factor}}}") is True
    assert same(fraction, f"{numerator + 97}/97") is False


def longest(pattern):
    import re._parser as parser  # the only place that knows

    return parser.parse(pattern.pattern, pattern.flags).getwidth()[1]


def patterns(module):
    return {name: value for name, value in vars(module).items() if isinstance(value, re.Pattern)}


def test_patterns_that_read_a_whole_completion_have_a_longest_match():
    # Each attempt to match then costs a constant at most, whatever the text.
    whole = {**patterns(tts.answers.cues), **patterns(tts.answers.letters)}
    whole |= {
        name: getattr(tts.answers.extract, name) for name in ("_BOX_OR_BRACE", "_BARE_BOX", "_CLOSING", "_JSON_VALUE")
    }
    assert len(whole) > 10
    assert {name: longest(pattern) for name, pattern in whole.items() if longest(pattern) > 5_000} == {}


@pytest.mark.timeout(120)
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join),
    st.sampled_from(["", "Answer: ", r"\boxed{"]),
)
def test_a_long_completion_of_anything_is_read_in_linear_time(piece, before):
    # Quadratic work on this much text takes minutes.
    text = before + piece * (60_000 // len(piece))
    for answer_format in FORMATS:
        extract(text, answer_format)
    same(text, text[: len(text) // 2])
