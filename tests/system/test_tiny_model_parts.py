"""The lessons in which the small model takes chains apart, hints at mistakes, argues and judges: what they ask is the
library's own prompt, their replies are read by its readers, and they are right as often as their rates of slips say."""

import re
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.lessons import hinting, planning, splitting
from benchmarks.tiny_model.lessons.own import Own
from benchmarks.tiny_model.lessons.school import MASTERY, School
from benchmarks.tiny_model.teachers import arguments, parts
from benchmarks.tiny_model.teachers.chains import LINE, lines_of
from tts.answers.equivalence import extract
from tts.tasks.chains import LEVELS, Chain, chain
from tts.toolkit.prompts import debate, decomposition, hints, plans
from tts.toolkit.prompts.items import items
from tts.types import Completion

TEMPLATES = {"countdown": ["Make {target} from {numbers}."], "sudoku": ["Fill this in:\n{puzzle}"]}
MODES = (
    *("split", "part", "combine", "contract", "rest", "constraints", "follow"),
    *("hint", "hinted", "argue", "debate", "consult"),
)
CHAIN = Chain(
    "Start with 12. Add 5. Multiply by 3. Subtract 1. Add 2. What number do you get? End.",
    12,
    (("add", 5), ("multiply", 3), ("subtract", 1), ("add", 2)),
    ("Start with 12.", " Add 5.", " Multiply by 3.", " Subtract 1.", " Add 2.", " What number do you get? End."),
)
WRONG = "12+5=17\n17*3=41\n41-1=40\n40+2=42\nAnswer: 42"
seeds = st.integers(0, 10**6)


def school(own: bool) -> School:
    """A school with eight attempts at each of forty chains, or with made-up mistakes."""
    there = School(TEMPLATES, MASTERY)
    if not own:
        return there
    teacher, made = there.teachers["chain"], []
    for i in range(320):
        item, random = there.item("chain", f"s{i // 8}"), Random(i)
        text = teacher.think(random, item) if i % 4 == 0 else teacher.direct(random, item)
        made.append(Own("chain", f"s{i // 8}", "direct", text, teacher.right(item, text)))
    return School(TEMPLATES, MASTERY, made)


@pytest.fixture(scope="module", params=["own attempts", "made-up mistakes"])
def there(request: pytest.FixtureRequest) -> School:
    return school(request.param == "own attempts")


def lessons(there: School, mode: str, count: int = 150) -> list[tuple[str, str]]:
    """Prompts and replies."""
    random = Random(mode)
    made = [there.of_mode(random, f"{mode} chain") for _ in range(count)]
    return [(turns[-1].content, reply) for turns, reply in made]


def false_lines(text: str) -> list[str]:
    """Lines of arithmetic of which two sides are not equal."""
    lines = [line for line in text.split("\n") if "=" in line]
    return [line for line in lines if len({eval(side) for side in line.split("=")}) > 1]


@given(seed=seeds)
@settings(max_examples=40)
def test_the_parts_of_a_chain_lead_to_its_answer_and_so_does_what_is_left_of_it(seed: int) -> None:
    random = Random(seed)
    made = chain(random, LEVELS[seed % 5])
    texts, values = parts.questions(made), parts.answers(made)
    assert len(texts) == len(values) == -(-len(made.steps) // parts.STEPS)
    assert values[-1] == made.answer
    value = made.start
    for number, after in enumerate(values, 1):
        solution = parts.careful(random, value, parts.steps_of(made, number), 0.0)
        assert extract(solution) == str(after)
        assert decomposition.references(texts[number - 1]) == ({number - 1} if number > 1 else set())
        value = after
    if len(made.steps) > parts.STEPS:
        assert parts.rest(made, parts.STEPS, values[0]).answer == made.answer


def test_parts_and_what_is_left_are_in_the_words_of_the_chain() -> None:
    assert parts.questions(CHAIN) == [
        "Start with 12. Add 5. Multiply by 3. Subtract 1. What number do you get?",
        "Start with #1. Add 2. What number do you get?",
    ]
    assert parts.rest(CHAIN, 3, 40).text == "Start with 40. Add 2. What number do you get? End."


def test_a_split_is_read_and_asks_for_all_steps_and_no_aside(there: School) -> None:
    for prompt, reply in lessons(there, "split"):
        found = decomposition.questions(reply)
        assert found is not None and prompt.startswith(found[0].rpartition(".")[0][:9])
        asides = ("Nobody", "Another number", "windows", "paid", "brother", "minutes old", "page number", "Do not use")
        assert not any(word in reply for word in asides)


def test_a_part_starts_from_what_is_known_and_is_solved_with_few_slips(there: School) -> None:
    slips = taken_apart = 0
    for prompt, reply in lessons(there, "part", 400):
        known, question = prompt.removeprefix("Known:\n").split("\n\nQuestion: ")
        if known != decomposition.NOTHING:
            assert reply.startswith(known.rpartition(" ")[2]) and f"#{len(known.splitlines())}" in question
        slips += len(false_lines(reply)) > 0
        taken_apart += any(line.count("=") > 1 for line in reply.split("\n"))
    assert 0 < slips < 60 and taken_apart > 50


def test_what_is_combined_is_the_last_answer_that_is_known(there: School) -> None:
    for prompt, reply in lessons(there, "combine"):
        assert prompt.partition("\n\nGive the answer")[0].endswith(f" {extract(reply)}")


def test_a_contracted_problem_is_shorter_and_begins_with_what_is_known(there: School) -> None:
    for prompt, reply in lessons(there, "contract"):
        found, known = decomposition.contracted(reply), prompt.split("\n\n")[1].rpartition(" ")[2]
        assert found is not None and len(found) < len(prompt.split("\n\n")[0])
        assert known in found.partition(".")[0].partition("+")[0]


def test_a_plan_is_scored_by_how_far_it_goes_and_now_and_then_too_well(there: School) -> None:
    assert planning.judged(Random(1), CHAIN, "\n".join([*lines_of(CHAIN), "Answer: 52"]), 0.0)[1] == 100
    assert planning.judged(Random(1), CHAIN, WRONG, 0.0) == (
        ["1. 12+5=17: yes", "2. 17*3=51, not 17*3=41: no"],
        -60,
    )
    assert planning.judged(Random(1), CHAIN, WRONG, 1.0)[1] == 100
    scores = [plans.mark(reply) for _, reply in lessons(there, "follow")]
    assert None not in scores and scores.count(100) > 40 and len({*scores}) > 5
    assert all(items(reply) for _, reply in lessons(there, "constraints"))


@pytest.mark.parametrize(
    ("attempt", "check", "hint", "place"),
    [
        (WRONG, "2. 17*3=51, not 41, wrong.", "Step 2, 17*3=41, is wrong. Work it out again.", 1),
        ("12+6=18", "1. 12+6 should be 12+5, wrong.", "Step 1, 12+6, is not what the problem says. Read it again.", 0),
        ("12+5=17", "2. 17*3 is missing, wrong.", "Step 2 is missing. Read the problem again.", 1),
        ("\n".join(lines_of(CHAIN)), "5. Answer 52, not 52, wrong.", "The answer is not the last result.", 4),
        ("Answer: 9", "1. No step is shown, wrong.", "No step is shown. Write down every step.", 0),
    ],
)
def test_a_hint_names_the_first_mistake(attempt: str, check: str, hint: str, place: int) -> None:
    attempt = attempt if "Answer" in attempt or place < 4 else f"{attempt}\nAnswer: 51"
    check = check.replace("not 52", "not 51")
    checks, given, where = hinting.hinted(Random(1), CHAIN, attempt, 0.0)
    assert (checks[-1], given, where) == (check, hint, place)
    assert f"{CHAIN.answer}" not in given


def test_a_hint_is_read_and_tells_neither_the_result_nor_the_answer(there: School) -> None:
    none = 0
    for _, reply in lessons(there, "hint"):
        found = hints.hint(reply)
        assert found is not None
        corrected = [line.partition("=")[2].partition(",")[0] for line in reply.split("\n") if line.endswith("wrong.")]
        assert not any(result and f"={result}," in found for result in corrected)
        none += found == hinting.NO_MISTAKE
    assert 5 < none < 50


def test_an_attempt_that_follows_a_hint_keeps_what_is_before_the_mistake_and_is_right_more_often_than_not(
    there: School,
) -> None:
    right = kept = 0
    for prompt, reply in lessons(there, "hinted"):
        attempt, hint = prompt.split("which is wrong:\n")[1].split("\n\nA teacher's hint:\n")
        number = hint.split(",")[0].split()[1]
        if number.isdigit():
            lines = [line for line in attempt.split("\n") if LINE.fullmatch(line)][: int(number) - 1]
            assert reply.split("\n")[: len(lines)] == lines
            kept += len(lines) > 0
        right += not false_lines(reply)
    assert kept > 30 and 80 < right < 150


@given(seed=seeds, answer=st.integers(1, 10**6))
@settings(max_examples=60)
def test_an_argument_without_slips_has_one_false_line_where_its_answer_is_wrong_and_none_where_it_is_right(
    seed: int, answer: int
) -> None:
    random = Random(seed)
    made = chain(random, LEVELS[seed % 5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arguments, "CARELESSNESS", (0.0,))
        for defended in (answer, made.answer):
            said = arguments.argument(random, made, defended).rpartition("</think>\n")[2]
            assert said.endswith(f"\nSo it is {defended}.") and said.count("=") == len(made.steps)
            assert len(false_lines(said)) == (defended != made.answer)


def test_a_judge_settles_the_first_line_on_which_two_sides_differ() -> None:
    def first(one: str, other: str) -> str:
        return arguments.debated(Random(2), one, other)

    assert first("12+5=17\n17*3=41", "12+5=17\n17*3=51") == "17 17, 41 51\n17*3=51, not 41."
    assert first("12+5=17", "12+5=18") == "17 18\n12+5=17, not 18."
    assert first("12+5=19", "12+5=18") == "19 18\n12+5=17, neither."
    assert first("12+5=17\n17*3=51", "12+5=17\n17*4=68") == "17 17\n17*3 or 17*4, hidden."
    assert first("12+5=17", "12+5=17") == "17 17\nNo step differs."


@pytest.mark.parametrize("mode", ["debate", "consult"])
def test_a_verdict_is_against_who_was_found_wrong_but_for_slips_of_the_other_side_and_the_judge(
    there: School, mode: str
) -> None:
    """The side that is found wrong is told by its line."""
    follows = []
    for prompt, reply in lessons(there, mode, 300):
        problem, _, *speeches = prompt.split("\n\n")[:-1]
        assert not any(digit in problem for digit in "0123456789")
        check, _, verdict = reply.rpartition("\n")
        assert debate.belief(Completion(reply)) == float(verdict.endswith("A"))
        found = re.search(r"(\S+?)=\S*, not (-?\d+)(?:, wrong)?\.\Z", check)
        if found:
            (loser,) = [said for said in speeches if f"\n{found[1]}={found[2]}\n" in said]
            defended = loser.partition(", for ")[2].partition(":")[0]
            follows.append((f"A: {defended}," in prompt) == verdict.endswith("B"))
    assert len(follows) > 60 and 0.8 < sum(follows) / len(follows) < 1


@pytest.mark.parametrize("mode", MODES)
def test_lessons_fit_the_context(there: School, mode: str) -> None:
    """A character is at most a token, and most words of the prompts are far fewer."""
    lengths = [len(prompt) + len(reply) for prompt, reply in lessons(there, mode, 100)]
    assert max(lengths) < 2048 and sum(lengths) / len(lengths) < 1200


def test_those_who_solve_parts_slip_as_often_as_they_are_careless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "CARELESSNESS", (25.0,))
    replies = [reply for _, reply in lessons(school(own=False), "part", 100)]
    assert sum(len(false_lines(reply)) > 0 for reply in replies) > 70
