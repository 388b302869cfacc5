"""The lessons of the small model: teachers who solve, err and check, against checkers that are not theirs."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tiny_model.lessons.own import Attempts, Own, visible
from benchmarks.tiny_model.lessons.revising import revision
from benchmarks.tiny_model.lessons.school import BASICS, KINDS, MASTERY, POLISH, School, Stage
from benchmarks.tiny_model.lessons.verifying import Verifying, verification
from benchmarks.tiny_model.teachers import chains as slips
from benchmarks.tiny_model.teachers import prompts
from benchmarks.tiny_model.teachers.countdown import Puzzle
from benchmarks.tiny_model.teachers.teacher import REASONING_GYM, VERDICT, Item
from tts.answers.equivalence import extract
from tts.core.actions import Request
from tts.models.weights import skills
from tts.tasks.graders import grader_named
from tts.tasks.sources import load
from tts.types import Candidate, Completion, Problem
from tts.verifiers.generative.genrm import STEP_BY_STEP, GenRM
from tts.verifiers.generative.judge import DIRECT
from tts.workers.killable_processes import Workers

TEMPLATES = {
    "countdown": ["Make {target} from {numbers}. Say it in <answer> tags."],
    "sudoku": ["Fill this in:\n{puzzle}\nSay it in <answer> tags."],
}
SOLVING = ("direct", "think", "verify", "judge", "revise")
seeds = st.integers(0, 10**6)


def school(**options: object) -> School:
    return School(TEMPLATES, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=60)
def test_a_teacher_solves_errs_and_knows_which(kind: str, seed: int) -> None:
    teacher, random = school().teachers[kind], Random(seed)
    item = teacher.make(random)
    assert teacher.right(item, teacher.solve(item))
    assert not teacher.right(item, teacher.wrong(random, item))
    assert not teacher.right(item, "I do not know.")
    assert not teacher.right(item, "")
    thought = teacher.think(random, item)
    assert thought.startswith("<think>\n")
    assert teacher.right(item, thought) == teacher.right(item, visible(thought))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=60)
def test_a_check_that_overlooks_nothing_passes_the_solution_and_nothing_wrong(kind: str, seed: int) -> None:
    teacher, random = school().teachers[kind], Random(seed)
    item = teacher.make(random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slips, "OVERLOOKED", 0.0)
        assert "wrong" not in teacher.verify(random, item, teacher.solve(item))
        for text in (teacher.wrong(random, item), teacher.direct(random, item), "no answer"):
            # Two slips may cancel: a check may fault what ends right, but passes nothing that does not.
            assert teacher.right(item, text) or "wrong" in teacher.verify(random, item, text)


def test_slips_are_overlooked_now_and_then() -> None:
    teacher, random = school().teachers["chain"], Random(1)
    found = []
    for _ in range(400):
        item = teacher.make(random)
        text = teacher.wrong(random, item)
        found.append("wrong" in teacher.verify(random, item, text))
    assert 0.70 < sum(found) / len(found) < 0.85


@pytest.mark.parametrize("kind", ["chain", "countdown"])
def test_some_direct_solutions_are_wrong_and_some_are_right(kind: str) -> None:
    teacher, random = school().teachers[kind], Random(1)
    items = [teacher.make(random) for _ in range(200)]
    assert 40 < sum(teacher.right(item, teacher.direct(random, item)) for item in items) < 180


def test_sums_are_asked_as_the_source_asks_them() -> None:
    teacher, random = school().teachers["chain"], Random(1)
    asked = [item.prompt for item in (teacher.make(random) for _ in range(400)) if item.prompt.startswith("What is ")]
    form = re.compile(r"What is \d+( [-+] \d+)+\?")
    assert 10 < len(asked) < 70
    assert all(form.match(prompt) for prompt in asked)
    for example in load("arithmetic?size=5").examples:
        matched = form.match(example.problem.prompt)
        assert matched is not None
        assert any(prompt.endswith(example.problem.prompt[matched.end() :]) for prompt in asked)


@pytest.mark.parametrize("stage", [MASTERY, POLISH])
def test_a_lesson_is_asked_as_the_library_asks_it_and_its_verdict_is_the_truth_or_what_the_check_found(
    stage: Stage,
) -> None:
    """For problems with attempts of the model's own, and for those without. Problems are found by their prompts."""
    asks = {mode: share for mode, share in stage.shares.items() if mode.split()[0] in SOLVING}
    stage = stage._replace(shares=asks)
    own = _attempts(school(stage=stage))
    there, random = school(stage=stage, own=own), Random(3)
    problems: dict[str, tuple[str, Item]] = {}
    for kind, teacher in there.teachers.items():
        teacher.make = _noted(kind, teacher.make, problems)  # type: ignore[method-assign]
    seen: Counter[str] = Counter()
    for _ in range(400):
        lesson = there.lesson(random)
        user = lesson.turns[-1].content
        ((kind, item),) = [found for prompt, found in problems.items() if prompt in user]
        right = there.teachers[kind].right
        if "\nAttempt 1:\n" in user:
            assert right(item, lesson.reply)
            seen["revise"] += 1
        elif VERDICT in lesson.reply or lesson.reply in ("Yes", "No"):
            asked = DIRECT if lesson.reply in ("Yes", "No") else STEP_BY_STEP
            solution = _between(user, *asked.format(problem=item.prompt, solution="|").split("|"))
            fooled = asked is STEP_BY_STEP and not lesson.reply.partition(f"\n{VERDICT}")[0].endswith("wrong.")
            verdict = right(item, solution) or (fooled and stage.believed)
            assert GenRM().read(Completion(lesson.reply)).value == float(verdict)
            seen["fooled"] += not right(item, solution) and verdict
            seen[f"verify {right(item, solution)}"] += 1
        else:
            seen["think" if lesson.reply.startswith("<think>") else "direct"] += 1
        problems.clear()
    assert seen.keys() == {"revise", "verify True", "verify False", "think", "direct", "fooled"}
    assert (seen["fooled"] > 0) == stage.believed


def test_whether_what_is_verified_is_right_cannot_be_told_from_the_problem() -> None:
    """Long chains go wrong more often; a verifier must not learn that from its lessons."""
    own = _attempts(school())
    there = school()
    verifying, random = Verifying(there.teachers, Attempts(there.teachers, own), believed=False), Random(4)
    shown: dict[str, list[bool]] = {}
    for _ in range(4000):
        item, text, right = verifying.solved(random, "chain")
        assert there.teachers["chain"].right(item, text) == right
        shown.setdefault(item.prompt, []).append(right)
    assert len(shown) == len({a.seed for a in own if a.right} & {a.seed for a in own if not a.right}) > 10
    assert all(0.25 < sum(right) / len(right) < 0.75 for right in shown.values())


@pytest.mark.parametrize("stage", [BASICS, MASTERY, POLISH])
def test_a_stage_gives_every_mode_of_every_family_a_share(stage: Stage) -> None:
    assert {mode for family in school().families for mode in family.modes} == stage.shares.keys()
    assert min(stage.shares.values()) > 0
    with pytest.raises(ValueError, match="fly"):
        school(stage=stage._replace(shares={"fly": 1.0}))


def _noted(
    kind: str, make: Callable[[Random], Item], problems: dict[str, tuple[str, Item]]
) -> Callable[[Random], Item]:
    def made(random: Random) -> Item:
        item = make(random)
        problems[item.prompt] = kind, item
        return item

    return made


def _between(text: str, before: str, after: str) -> str:
    assert text.startswith(before) and text.endswith(after)
    return text[len(before) : len(text) - len(after)]


def _attempts(there: School) -> list[Own]:
    """Four at each of forty chains."""
    made, teacher = [], there.teachers["chain"]
    for i in range(160):
        item = there.item("chain", f"s{i % 40}")
        text = teacher.direct(Random(i), item)
        made.append(Own("chain", f"s{i % 40}", "direct", text, teacher.right(item, text)))
    return made


def test_a_verification_is_worded_as_the_verifier_words_it() -> None:
    item = school().item("chain", "s1")
    text = school().teachers["chain"].solve(item)
    request = GenRM().request(Problem("p", item.prompt), Candidate("c", text, None, Completion(text)))
    assert isinstance(request, Request)
    assert verification(item, text, True, "checks").turns[-1].content == request.messages[0].content


def test_attempts_are_shown_in_order_and_without_their_thoughts() -> None:
    item = school().item("chain", "s1")
    shown = revision(item, [visible("<think>\n1+1=3\n</think>\nAnswer: 2"), "Answer: 4"])
    assert "1+1=3" not in shown
    assert shown.index("Answer: 2") < shown.index("Answer: 4")


def test_the_packages_own_problems_are_worded_so_and_its_scorer_agrees(tmp_path: Path, reasoning_gym: Workers) -> None:
    prompts.write(tmp_path / "prompts.json")
    there = School(json.loads((tmp_path / "prompts.json").read_text()))
    assert all("{target}" in template and "{numbers}" in template for template in there.teachers["countdown"].prompts)  # type: ignore[attr-defined]
    assert all("{puzzle}" in template for template in there.teachers["sudoku"].prompts)  # type: ignore[attr-defined]

    async def graded() -> None:
        for kind, family in REASONING_GYM.items():
            source = f"{family}{'&' if '?' in family else '?'}size=8&seed=99"
            grader, teacher = grader_named(source, reasoning_gym), there.teachers[kind]
            for example in load(source).examples:
                answer = example.reference
                assert answer is not None
                item = _as_item(kind, example.problem, answer)
                for text in (f"<answer>{answer}</answer>", teacher.wrong(Random(1), item)):
                    verdict = await grader.grade(extract(text, "text"), answer, example.problem)
                    assert verdict == teacher.right(item, text), text

    asyncio.run(graded())


def _as_item(kind: str, problem: Problem, answer: str) -> object:
    facts = problem.facts
    if kind == "countdown":
        numbers = tuple(facts["numbers"])
        return Item(problem.prompt, Puzzle(numbers, facts["target"], numbers, ("+",) * (len(numbers) - 1)))
    cells = tuple(int(cell) for cell in answer.split())
    return Item(problem.prompt, (tuple(n for row in facts["puzzle"] for n in row), cells))


def test_what_the_shipped_model_says_it_was_trained_to_do_is_taught() -> None:
    trained = skills()
    assert trained is not None
    taught = {mode for family in school().families for mode in family.modes}
    assert {f"{mode.name} {kind}" for mode in trained.modes for kind in mode.problems} == taught
