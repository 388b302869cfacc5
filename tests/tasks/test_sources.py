import io
import json
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.answers.equivalence import extract, same
from tts.errors import BadProblem, InvalidParameter, UnknownName
from tts.runs.problem_files import (
    PROBLEMS,
    put_back,
    read_examples,
    references_away,
    taken_away,
    write_problems,
    write_references,
)
from tts.tasks.example import Example, Task, problem_digests
from tts.tasks.sources import load
from tts.types import Problem
from tts.workers.killable_processes import Workers


@pytest.fixture
def write(tmp_path):
    """Rows, or raw lines, to a file; its path as text."""

    def to_file(*rows):
        path = tmp_path / "problems.jsonl"
        lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return str(path)

    return to_file


def refused(source, **options):
    with pytest.raises(BadProblem) as caught:
        load(source, **options)
    return caught.value


def test_columns_are_found_by_their_usual_names(write):
    for prompt in ("question", "prompt", "problem"):
        for answer in ("answer", "solution", "target", "label", "reference"):
            task = load(write({"id": "a", prompt: "2+2?", answer: "4"}, {"id": "b", prompt: "3+3?", answer: "6"}))
            assert task.examples == (
                Example(Problem("a", "2+2?"), "4", 1),
                Example(Problem("b", "3+3?"), "6", 2),
            )
            assert task.grader == "math"


def test_flags_override_the_usual_names(write):
    path = write({"id": 1, "key": 7, "question": "no", "q": "yes", "answer": "no", "gold": 42})
    [example] = load(path, id_column="key", prompt_column="q", answer_column="gold").examples
    assert example == Example(Problem("7", "yes"), "42", 1)


def test_rows_without_an_id_are_named_by_their_line(write):
    task = load(write({"question": "a"}, b"", {"question": "b"}))
    assert [(example.problem.id, example.line, example.reference) for example in task.examples] == [
        ("p1", 1, None),
        ("p3", 3, None),
    ]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("She has 3 * 4 = <<3*4=12>>12 left.\n#### 1,012", "1,012"),
        (r"We get \boxed{1}, so $x = \boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (0.1, "0.1"),
        (12345678901234567890123, "12345678901234567890123"),
        ("B", "B"),
        (None, None),
    ],
)
def test_reference_answers_are_taken_from_where_the_benchmarks_put_them(write, answer, reference):
    [example] = load(write({"question": "?", "answer": answer})).examples
    assert example.reference == reference


def test_messages_give_the_system_turn_and_the_user_turn(write):
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}
    task = load(write({"messages": [system, user], "answer": 4}, {"messages": [user], "answer": 4}), system="Think.")
    assert [(e.problem.system, e.problem.prompt) for e in task.examples] == [("Be brief.", "2+2?"), ("Think.", "2+2?")]
    for messages in (
        [],
        [user, {"role": "assistant", "content": "4"}],
        [user, user],
        [system],
        "",
        [1],
        [{"role": "user"}],
    ):
        assert refused(write({"messages": messages})).facts["line"] == 1


def test_prompts_keep_their_unicode_and_their_line_breaks(write):
    prompt = "¿Cuánto es 2\u00d73?\u2028 日本語 \U0001f9ee\n\tend "
    [example] = load(
        write(b'\xef\xbb\xbf{"question": ' + json.dumps(prompt, ensure_ascii=False).encode() + b"}")
    ).examples
    assert example.problem.prompt == prompt


def test_choices_are_read_as_letters_where_all_references_are(write):
    letters = load(write({"question": "?", "answer": "A"}, {"question": "?", "answer": "C"}))
    assert {example.problem.answer_format for example in letters.examples} == {"letter"}
    mixed = write({"question": "?", "answer": "A"}, {"question": "?", "answer": "12"})
    assert {example.problem.answer_format for example in load(mixed).examples} == {"auto"}
    assert {example.problem.answer_format for example in load(mixed, answer_format="boxed").examples} == {"boxed"}


def test_a_limit_takes_the_first_problems_and_reads_no_further(write):
    path = write({"question": "a"}, {"question": "b"}, b"this is not JSON")
    assert [example.problem.prompt for example in load(path, limit=2).examples] == ["a", "b"]
    with pytest.raises(InvalidParameter, match="limit must be at least 1, but got 0"):
        load(path, limit=0)


def test_a_dash_reads_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"question": "2+2?", "answer": 4}\n')))
    assert load("-").examples == (Example(Problem("p1", "2+2?"), "4", 1),)


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ([{"question": "a"}, b'{"question": "b"'], 2, "is not JSON"),
        ([{"question": "a"}, b'{"question": "\xff"}'], 2, "is not UTF-8: invalid start byte at byte 14"),
        ([{"question": "a"}, b'[{"question": "a"}]'], 2, "must be a JSON object, but is a list"),
        ([b"[" * 100_000], 1, "nested too deeply"),
        ([{"query": "a", "gold": "b"}], 1, "its columns are: query, gold"),
        ([{"question": "a", "answer": "1"}, {"question": "b", "gold": "1"}], 2, "has no 'answer'"),
        ([{"question": "a"}, {"answer": "1"}], 2, "has no 'question'"),
        ([{"question": " "}], 1, "empty text"),
        ([{"question": None}], 1, "null"),
        ([{"question": "a", "answer": ["1", "2"]}], 1, "'answer', but has a list"),
        ([{"question": "a", "answer": True}], 1, "'answer', but has true or false"),
        ([{"question": "a", "answer": "so \n#### "}], 1, "empty 'answer'"),
        ([{"question": "a", "id": None}], 1, "'id', but has null"),
        ([{"question": "a", "id": "x"}, b"", {"question": "b", "id": "x"}], 3, "the id 'x', which line 1 has too"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_its_line(write, rows, line, words):
    path = write(*rows)
    error = refused(path)
    assert error.facts["line"] == line
    assert error.message.startswith(f"{path}: line {line} ")
    assert words in error.message


def test_a_column_that_is_not_there_is_named_with_those_that_are(write):
    path = write({"question": "a", "gold": "1"})
    for flag in ("id_column", "prompt_column", "answer_column"):
        assert "has no column 'nope'; its columns are: question, gold" in refused(path, **{flag: "nope"}).message


def test_nothing_to_solve_is_an_error(write, tmp_path):
    assert "holds no problems" in refused(write(b"", b" ")).message
    assert "No such file" in refused(str(tmp_path / "absent.jsonl")).message
    assert "reasoning-gym:NAME" in refused("gsm8k").message
    assert "Is a directory" in refused(str(tmp_path)).message


def test_arithmetic_is_the_same_each_time_and_its_answers_are_right():
    task = load("arithmetic?size=40&seed=7&terms=4&digits=2&operations=plus,minus,times")
    assert task == load("arithmetic?size=40&seed=7&terms=4&digits=2&operations=plus,minus,times")
    assert task.grader == "exact"
    assert len({example.problem.id for example in task.examples}) == 40
    for example in task.examples:
        expression = example.problem.prompt.removeprefix("What is ").partition("?")[0]
        assert set(expression) <= set("0123456789+-*() ")
        assert str(eval(expression)) == example.reference
        assert "Answer: N" in example.problem.prompt
        assert same(extract(f"Answer: {example.reference}.", example.problem.answer_format), example.reference)


def test_more_arithmetic_starts_with_the_same_problems():
    assert load("arithmetic?size=9&seed=1", limit=3).examples == load("arithmetic?size=3&seed=1").examples
    assert load("arithmetic?size=3&seed=1").examples != load("arithmetic?size=3&seed=2").examples
    assert len(load("arithmetic").examples) == 50


def test_arithmetic_asks_for_steps_unless_told_not_to():
    assert load("arithmetic?size=1&seed=7").examples[0].problem.prompt.endswith("where N is the number.")
    assert load("arithmetic?size=1&seed=7&steps=false").examples[0].problem.prompt.endswith("?")
    with pytest.raises(InvalidParameter, match="steps must be true or false"):
        load("arithmetic?steps=2")


def test_arithmetic_refuses_what_it_does_not_know():
    with pytest.raises(UnknownName, match="Did you mean 'digits'"):
        load("arithmetic?digit=2")
    with pytest.raises(UnknownName, match="operation"):
        load("arithmetic?operations=plus,over")
    for query in ("size=0", "terms=1", "digits=x", "digits=0", "seed=-1", "size=2.5", "size=true"):
        with pytest.raises(InvalidParameter, match=query.partition("=")[0]):
            load(f"arithmetic?{query}")


def test_reasoning_gym_problems_ask_for_an_answer_that_can_be_found(reasoning_gym):
    task = load("reasoning-gym:chain_sum?size=3&seed=7&min_terms=3&max_terms=3")
    assert task == load("reasoning-gym:chain_sum?size=3&seed=7&min_terms=3&max_terms=3")
    assert [example.problem.id for example in task.examples] == ["chain_sum-0", "chain_sum-1", "chain_sum-2"]
    for example in task.examples:
        assert example.problem.prompt.endswith('End with "Answer: " and the answer.')
        assert extract(f"Answer: {example.reference}", example.problem.answer_format) == example.reference
    [example] = load("reasoning-gym:sudoku?seed=7", limit=1).examples
    reply = f"Here: <answer>\n{example.reference}\n</answer>"
    assert extract(reply, example.problem.answer_format) == example.reference


def test_reasoning_gym_problems_do_not_differ_from_process_to_process(reasoning_gym):
    # This one goes through a set of strings, whose order depends on the hash seed.
    words = "tts.tasks.reasoning_gym:entries", ("reasoning-gym:word_ladder?size=5&seed=7", 5)
    with Workers(1) as another:
        one, other = (workers.call_sync(*words, timeout_s=300.0) for workers in (reasoning_gym, another))
    assert one == other


def test_public_facts_are_there_and_the_answer_is_not_among_them(reasoning_gym):
    public = {
        "countdown": {"numbers", "target"},
        "futoshiki": {"puzzle"},
        "mini_sudoku": {"puzzle"},
        "n_queens": {"puzzle"},
        "puzzle24": {"numbers"},
        "sudoku": {"puzzle"},
        "tower_of_hanoi": {"num_disks", "num_pegs", "start_peg", "target_peg"},
        **{
            name: set()
            for name in ("chain_sum", "gsm_symbolic", "leg_counting", "maze", "rubiks_cube", "shortest_path")
        },
    }
    for name, keys in public.items():
        for entry in reasoning_gym.call_sync(
            "tts.tasks.reasoning_gym:entries", (f"reasoning-gym:{name}?size=5", 3), timeout_s=300.0
        ):
            assert set(entry) == {"question", "answer", "facts"}
            assert set(entry["facts"]) == keys
            assert entry["answer"] not in entry["facts"].values()
            assert not entry["answer"] or entry["answer"] not in json.dumps(entry["facts"])
    [example] = load("reasoning-gym:countdown?size=1&seed=7").examples
    assert example.problem.facts == {"numbers": [83, 94, 74, 90, 40], "target": 169}


def test_an_unknown_dataset_or_parameter_is_named_with_the_nearest(reasoning_gym):
    with pytest.raises(UnknownName, match="Did you mean 'chain_sum'"):
        load("reasoning-gym:chain_sums?size=2")
    with pytest.raises(UnknownName, match="Did you mean 'min_terms'"):
        load("reasoning-gym:chain_sum?min_term=2")
    with pytest.raises(InvalidParameter, match="min_terms must be positive"):
        load("reasoning-gym:chain_sum?min_terms=0")
    with pytest.raises(InvalidParameter):
        load("reasoning-gym:chain_sum?min_terms=many")


def test_a_task_written_into_a_run_comes_back(tmp_path, write):
    for task in (load("arithmetic?size=3"), load(write({"question": "¿?\u2028", "answer": None, "id": "é"}))):
        write_problems(tmp_path, task)
        write_references(tmp_path, task)
        assert read_examples(tmp_path) == task
        assert not references_away(tmp_path)
    for content in (b"", b"{", b'{"name": 1}\n'):
        (tmp_path / PROBLEMS).write_bytes(content)
        with pytest.raises(BadProblem):
            read_examples(tmp_path)
    with pytest.raises(BadProblem, match="No such file"):
        read_examples(tmp_path / "absent")


def test_a_runs_problems_hold_no_reference_and_say_that_there_are_some(tmp_path):
    task = load("arithmetic?size=3&digits=9")
    write_problems(tmp_path, task)
    written = (tmp_path / PROBLEMS).read_text()
    assert not any(example.reference in written for example in task.examples)
    assert references_away(tmp_path)
    assert [example.problem for example in read_examples(tmp_path).examples] == [e.problem for e in task.examples]
    write_references(tmp_path, task)
    held = taken_away(tmp_path)
    assert references_away(tmp_path)
    put_back(held)
    assert read_examples(tmp_path) == task
    unknown = Task("t", (Example(Problem("p", "?")),), "exact")
    write_problems(tmp_path, unknown)
    assert not references_away(tmp_path)


def test_problems_of_an_earlier_version_bring_their_references(tmp_path):
    lines = '{"name":"x","examples":[],"grader":"exact"}\n{"problem":{"id":"p","prompt":"?"},"reference":"7"}\n'
    (tmp_path / PROBLEMS).write_text(lines)
    assert read_examples(tmp_path).examples == (Example(Problem("p", "?"), "7"),)
    assert not references_away(tmp_path)


# --- digests


FACTS = st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.integers(), max_size=2), max_size=3)


@given(st.text(min_size=1, max_size=5), st.none() | st.just(""), st.sampled_from(["auto", "letter"]), FACTS)
def test_equal_problems_have_equal_digests_wherever_they_come_from(
    prompt: str, system: str | None, form: Any, facts: dict[str, Any]
) -> None:
    problem = Problem("p", prompt, system, form, facts)
    backwards = Problem("p", prompt, system, "".join([form[:1], form[1:]]), dict(reversed(facts.items())))
    others = [
        backwards,
        pickle.loads(pickle.dumps(problem)),
        msgspec.json.decode(msgspec.json.encode(problem), type=Problem),
    ]
    assert {problem_digests([Example(each)]) for each in (problem, *others)} == {problem_digests([Example(problem)])}
    assert problem_digests([Example(problem)]) != problem_digests([Example(Problem("p", prompt + "x"))])


def test_a_digest_of_an_older_program_is_that_of_the_problem_in_a_file() -> None:
    assert problem_digests([Example(Problem("p0", "What is 0 + 2?"))]) == "df3dd8143766"
