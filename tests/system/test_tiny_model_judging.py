"""The lessons of the small model's judging modes: what they ask is the library's own prompt, their replies are read by
its readers, and they are right as often as their rates of slips say."""

import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.lessons.judging import choosing, comparing
from benchmarks.tiny_model.lessons.judging.tried import ROOM
from benchmarks.tiny_model.lessons.own import Own
from benchmarks.tiny_model.lessons.school import MASTERY, School
from benchmarks.tiny_model.teachers import chains as slips
from benchmarks.tiny_model.teachers.agreement import agreement, right_steps
from benchmarks.tiny_model.teachers.teacher import Item
from tts.answers.equivalence import extract
from tts.tasks.chains import Chain
from tts.toolkit.prompts.lists import chosen
from tts.toolkit.prompts.pairs import decision
from tts.toolkit.prompts.scores import score
from tts.toolkit.prompts.steps import probability_of_right, signs
from tts.types import Completion

TEMPLATES = {"countdown": ["Make {target} from {numbers}."], "sudoku": ["Fill this in:\n{puzzle}"]}
LESSONS = 150
CHAIN = Chain("Start with 12. Add 5. Multiply by 3.", 12, (("add", 5), ("multiply", 3)))


def school(own: bool) -> School:
    """A school with eight attempts at each of forty problems of two kinds, or with made-up mistakes."""
    there = School(TEMPLATES, MASTERY)
    if not own:
        return there
    made = []
    for kind in ("chain", "countdown"):
        for i in range(320):
            teacher, item, random = there.teachers[kind], there.item(kind, f"s{i // 8}"), Random(i)
            text = teacher.think(random, item) if i % 4 == 0 else teacher.direct(random, item)
            made.append(Own(kind, f"s{i // 8}", "direct", text, teacher.right(item, text)))
    return School(TEMPLATES, MASTERY, made)


@pytest.fixture(params=["own attempts", "made-up mistakes"])
def there(request: pytest.FixtureRequest) -> School:
    return school(request.param == "own attempts")


@pytest.fixture
def no_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "OVERLOOKED", (0.0, 0.0))
    monkeypatch.setattr(choosing, "OVERLOOKED", 0.0)
    monkeypatch.setattr(slips, "OVERLOOKED", 0.0)


Lessons = list[tuple[Item, str, str, list[str]]]


def lessons(there: School, mode: str, count: int = LESSONS) -> Lessons:
    """Problems, prompts, replies, and the solutions that the prompts show."""
    problems: dict[str, Item] = {}
    teacher, random, found = there.teachers[mode.split()[1]], Random(mode), []
    make = teacher.make

    def noted(random: Random) -> Item:
        item = make(random)
        problems[item.prompt] = item
        return item

    teacher.make = noted  # type: ignore[method-assign]
    for _ in range(count):
        ((_, prompt),), reply = there.of_mode(random, mode)
        (item,) = [item for problem, item in problems.items() if prompt.startswith(f"{problem}\n\n")]
        problems.clear()
        shown = prompt.removeprefix(item.prompt).rpartition("\n\n")[0].partition("\n\nRubric:\n")[0].split("\n\n")
        solutions = [
            part.partition("\n")[2] for part in shown if part.startswith(("Solution", "A solution", "The steps"))
        ]
        found.append((item, prompt, reply, solutions))
    return found


def rights(there: School, kind: str, item: Item, solutions: list[str]) -> list[bool]:
    return [there.teachers[kind].right(item, text) for text in solutions]


@pytest.mark.parametrize("kind", ["chain", "countdown"])
@pytest.mark.usefixtures("no_slips")
def test_a_comparison_without_slips_names_the_right_one_or_a_tie(there: School, kind: str) -> None:
    seen: Counter[str] = Counter()
    for item, _, reply, (a, b) in lessons(there, f"compare {kind}"):
        expected = {(True, False): "A>B", (False, True): "B>A"}.get(tuple(rights(there, kind, item, [a, b])), "A=B")
        found = decision(reply)
        seen[expected] += 1
        seen["otherwise"] += found != expected  # where two slips cancel, or the answer of right steps is another
        assert found is not None
    assert min(seen["A>B"], seen["B>A"], seen["A=B"]) > LESSONS / 6
    assert seen["otherwise"] <= 3


def test_slips_of_the_first_solution_are_overlooked_more_often_than_those_of_the_second() -> None:
    there = school(own=True)
    missed: dict[str, list[bool]] = {"A>B": [], "B>A": []}
    for item, _, reply, solutions in lessons(there, "compare chain", 900):
        right = rights(there, "chain", item, solutions)
        if right[0] != right[1]:
            expected = "A>B" if right[0] else "B>A"
            missed[expected].append(decision(reply) != expected)
    first, second = (sum(missed[better]) / len(missed[better]) for better in ("B>A", "A>B"))
    assert first == pytest.approx(comparing.OVERLOOKED[0], abs=0.08)
    assert second == pytest.approx(comparing.OVERLOOKED[1], abs=0.08)


def test_the_solutions_that_agree_are_named_behind_each_step_until_none_does() -> None:
    texts = {
        "1": "12+5=17\n17*3=51\nAnswer: 51",
        "2": "12+5=17\n17*3=41\nAnswer: 41",
        "3": "Answer: 51",
        "4": "12+6=18",
    }
    found = agreement(Random(1), CHAIN, texts, [0.0] * 4)
    assert found.text == "12+5=17: 123\n17*3=51: 13\nAnswer 51: 13"
    assert found.kept == (3, 1, 3, 0)
    alone = agreement(Random(1), CHAIN, {"2": texts["2"]}, [0.0])
    assert (alone.text, alone.kept) == ("12+5=17: 2\n17*3=51: none", (1,))
    followed = agreement(Random(1), CHAIN, texts, [0.0, 1.0, 0.0, 0.0])
    assert (followed.text, followed.kept) == ("12+5=17: 123\n17*3=41: 23\nAnswer 41: 2", (1, 3, 2, 0))


@pytest.mark.usefixtures("no_slips")
def test_the_best_without_slips_is_a_right_one_wherever_there_is_one(there: School) -> None:
    places: Counter[int | None] = Counter()
    otherwise = 0
    for item, _, reply, solutions in lessons(there, "best chain"):
        index, right = chosen(reply, len(solutions)), rights(there, "chain", item, solutions)
        assert index is not None
        otherwise += any(right) and not right[index]
        places[index] += 1
    assert otherwise <= 2 and len(places) >= 4


def test_the_most_consistent_has_the_commonest_answer(there: School) -> None:
    for _, _, reply, solutions in lessons(there, "consistent chain"):
        answers = Counter(answer for answer in map(extract, solutions) if answer is not None)
        index = chosen(reply, len(solutions))
        assert index is not None
        assert not answers or answers[extract(solutions[index]) or ""] == max(answers.values())


@pytest.mark.parametrize("mode", ["principles chain", "rubric chain"])
@pytest.mark.usefixtures("no_slips")
def test_a_score_without_slips_is_ten_where_all_is_right_and_grows_with_the_steps_before_the_first_slip(
    there: School, mode: str
) -> None:
    values: dict[str, list[int]] = {"right": [], "late": [], "early": []}
    for item, _, reply, (solution,) in lessons(there, mode):
        found = score(reply)
        assert found is not None
        right = right_steps(item.data, solution)
        assert (found == 10) == right[-1] or there.teachers["chain"].right(item, solution)
        values["right" if right[-1] else "late" if sum(right) >= len(right) / 2 else "early"].append(found)
    means = [sum(found) / len(found) for found in values.values()]
    assert means[0] > means[1] + 2 > means[2] + 4


def test_a_score_is_ten_for_some_wrong_solutions_because_checks_overlook_slips() -> None:
    there, tens = school(own=True), []
    for item, _, reply, (solution,) in lessons(there, "principles chain", 400):
        if not there.teachers["chain"].right(item, solution):
            tens.append(score(reply) == 10)
    assert 0.1 < sum(tens) / len(tens) < slips.OVERLOOKED


def test_the_sign_of_a_step_is_exact(there: School) -> None:
    seen: Counter[str] = Counter()
    for item, _, reply, (prefix,) in lessons(there, "step chain"):
        solved = there.teachers["chain"].solve(item).split("\n")
        lines = prefix.split("\n")
        right = lines == solved[: len(lines)] or lines == solved[-1:]
        assert probability_of_right(Completion(reply)) == right, prefix
        seen[reply] += 1
    assert min(seen["+"], seen["-"]) > LESSONS / 6


def test_all_signs_of_a_solution_are_those_of_its_prefixes(there: School) -> None:
    for item, _, reply, (solution,) in lessons(there, "steps chain"):
        lines = [line.partition(". ")[2] for line in solution.split("\n")]
        found = signs(reply, len(lines))
        assert found == right_steps(item.data, "\n".join(lines))
        assert found == sorted(found, reverse=True)  # what follows a wrong step is wrong


@pytest.mark.parametrize("kind", ["chain", "countdown"])
def test_an_aggregate_is_right_whatever_it_was_made_of(there: School, kind: str) -> None:
    counts = set()
    for item, _, reply, solutions in lessons(there, f"aggregate {kind}"):
        assert there.teachers[kind].right(item, reply)
        if kind == "countdown" and any(rights(there, kind, item, solutions)):
            assert reply in solutions
        counts.add(len(solutions))
    assert counts == {2, 3, 4}


def test_solutions_of_a_prompt_have_room(there: School) -> None:
    """A character is at most a token, and the words of the templates and problems are far fewer tokens."""
    for mode in ("best chain", "consistent chain", "aggregate chain", "compare chain"):
        for item, _, reply, solutions in lessons(there, mode, 60):
            assert len(solutions) == 2 or sum(map(len, solutions)) <= ROOM
            assert sum(map(len, solutions)) + len(reply) + len(item.prompt.split()) * 4 < 2048
