"""Pools: rows in, columns, Parquet, and rows out again."""

import gzip
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.errors import BadPool, InvalidParameter, UnknownName
from tts.estimators import Grid, best_of, coverage, majority, shortest
from tts.pools.formats.imports import import_pool
from tts.pools.info import about
from tts.pools.parquet import read_pool, write_pool
from tts.pools.pool import Pool, Sample
from tts.types import LogprobSummary

words = st.text(st.characters(codec="utf-8"), max_size=6)
counts = st.one_of(st.none(), st.integers(0, 2**31 - 1))
numbers = st.floats(-1e6, 1e6, width=32)


@st.composite
def samples(draw):
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.sampled_from("pqr"), st.integers(0, 5)),
            min_size=1,
            max_size=30,
            unique=True,
        )
    )
    width = draw(st.sampled_from([0, 3]))
    score = st.one_of(st.none(), numbers) if not width else st.lists(st.one_of(st.none(), numbers), max_size=3)
    return [
        Sample(
            *key,
            answer=draw(st.one_of(st.none(), words)),
            correct=draw(st.one_of(st.none(), st.booleans())),
            prompt_tokens=draw(counts),
            completion_tokens=draw(counts),
            reasoning_tokens=draw(counts),
            seconds=draw(st.one_of(st.none(), st.floats(0, 1e5, width=32))),
            finish_reason=draw(st.sampled_from([None, "stop", "length"])),
            error=draw(st.one_of(st.none(), words)),
            scores={"rm": draw(score)},
            text=draw(st.one_of(st.none(), words)),
            prompt=f"Problem {key[2]} of {key[0]}",
            reference=None if key[2] == "r" else "42",
        )
        for key in keys
    ]


def padded(sample: Sample) -> tuple[object, ...]:
    """The row as a pool gives it back: without its text, its id the rank in its group, its scores at full width."""
    score = sample.scores.get("rm")
    if isinstance(score, list | tuple):
        score = tuple(score) + (None,) * (3 - len(score))
        score = None if all(s is None for s in score) else score
    return (*(getattr(sample, n) for n in Sample.__struct_fields__ if n not in ("scores", "text", "sample_id")), score)


@settings(deadline=None)
@given(samples(), st.booleans())
def test_what_goes_in_comes_out_also_through_a_file(tmp_path_factory, rows, through_a_file):
    pool = Pool.of("test", rows)
    if through_a_file:
        path = tmp_path_factory.mktemp("pool") / "pool.parquet"
        pool = read_pool(write_pool(pool, path))
    assert pool.name == "test"
    assert len(pool) == len(rows)
    back = [pool.row(i) for i in range(len(pool))]
    by_key = {(r.benchmark, r.model, r.problem_id): [] for r in rows}
    for r in sorted(rows, key=lambda r: r.sample_id):
        by_key[r.benchmark, r.model, r.problem_id].append(r)
    groups = pool.groups()
    assert {(g.benchmark, g.model, g.problem_id) for g in groups} == set(by_key)
    for group in groups:
        expected = by_key[group.benchmark, group.model, group.problem_id]
        assert [padded(r) for r in back[group.rows]] == [padded(r) for r in expected]
        assert [r.sample_id for r in back[group.rows]] == list(range(len(expected)))
        assert pool.texts(group) == [r.text for r in expected]


def simple(n=2, **more):
    return [Sample("b", "m", "p", i, answer="1", correct=True, completion_tokens=5, **more) for i in range(n)]


def test_the_confidences_of_groups_of_tokens_come_out_as_they_went_in_also_through_a_file(tmp_path):
    shown = LogprobSummary(-0.5, -2.0, None, (), 9.5, 8.0)
    rows = [
        Sample("b", "m", "p", 0, logprobs=shown, confidences=(8.0, 9.5, 11.0), sampling={"group": 8}),
        Sample("b", "m", "p", 1, logprobs=shown, confidences=(8.5,), sampling={"group": 8}),
        Sample("b", "m", "p", 2, sampling={"group": 8}),
    ]
    pool = Pool.of("b", rows)
    for each in (pool, Pool.read(write_pool(pool, tmp_path / "b.parquet")), pool.take(np.arange(3))):
        assert [each.row(i) for i in range(3)] == rows
    without = Pool.of("b", [msgspec.structs.replace(row, confidences=()) for row in rows])
    assert without.confidences is None and Pool.read(write_pool(without, tmp_path / "b.parquet")).confidences is None


def test_a_sample_that_comes_twice_is_named():
    with pytest.raises(BadPool, match=r"sample 0 of m on p comes twice"):
        Pool.of("x", [*simple(), *simple(1)])


def test_a_pool_without_samples_is_refused():
    with pytest.raises(BadPool, match="holds no samples"):
        Pool.of("x", [])


def test_a_score_that_is_now_a_number_and_now_a_list_is_refused():
    with pytest.raises(BadPool, match="has numbers and lists of numbers"):
        Pool.of("x", [*simple(1, scores={"rm": 1.0}), Sample("b", "m", "p", 9, scores={"rm": [1.0, 2.0]})])


def test_selecting_keeps_groups_texts_and_prompts_together():
    rows = [Sample("b", m, p, i, text=f"{m}{p}{i}", prompt=p) for m in "mn" for p in "pq" for i in range(3)]
    some = Pool.of("x", rows).select(model="n", problems=["q"])
    (group,) = some.groups()
    assert (group.model, group.problem_id, len(group)) == ("n", "q", 3)
    assert some.texts(group) == ["nq0", "nq1", "nq2"]
    with pytest.raises(UnknownName, match="unknown model 'o'"):
        some.select(model="o")


def test_averages_over_several_benchmarks_are_refused_with_their_names():
    with pytest.raises(BadPool, match="2 benchmarks: a, b; choose one"):
        Pool.of("x", [Sample("a", "m", "p", 0), Sample("b", "m", "p", 0)]).one_benchmark()


def test_samples_without_a_verdict_are_counted_and_can_be_left_out():
    pool = Pool.of("x", [*simple(), Sample("b", "m", "p", 8), Sample("b", "m", "p", 9, error="on fire")])
    with pytest.raises(BadPool, match="1 of 4 samples of x have no verdict"):
        pool.check_graded()
    pool.graded().check_graded()
    assert len(pool.graded()) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"PAR1nonsensePAR1", "cannot be read"),
    ],
)
def test_a_file_that_is_no_parquet_is_named(tmp_path, content, message):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(BadPool, match=message):
        read_pool(path)


def test_somebody_else_s_parquet_and_missing_columns_are_told_apart(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    parquet.write_table(arrow.table({"a": [1]}), path)
    with pytest.raises(BadPool, match="is a Parquet file, but no pool"):
        read_pool(path)
    whole = parquet.read_table(write_pool(Pool.of("x", simple()), path))
    fewer = whole.drop_columns(["correct", "answer"]).replace_schema_metadata(whole.schema.metadata)
    parquet.write_table(fewer, path)
    with pytest.raises(BadPool, match="lacks the columns answer, correct"):
        read_pool(path)


@pytest.mark.parametrize(
    "column", ["answer", "problem_id", "sample", "correct", "completion_tokens", "seconds", "text"]
)
def test_a_column_of_another_type_is_named(tmp_path: Path, column: str) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = write_pool(Pool.of("x", simple()), tmp_path / "x.parquet")
    whole = parquet.read_table(path)
    other = arrow.array([[{"a": 1.5}]] * len(whole))
    columns = {name: whole[name] for name in whole.column_names} | {column: other}
    parquet.write_table(arrow.table(columns).replace_schema_metadata(whole.schema.metadata), path)
    with pytest.raises(BadPool, match=f"types that no pool has: {column} of type list"):
        read_pool(path)


def test_a_pool_that_is_not_there_and_one_with_a_wrong_name_are_refused(tmp_path):
    with pytest.raises(BadPool, match="there is no pool at"):
        read_pool(tmp_path / "x.parquet")
    with pytest.raises(BadPool, match=r"written as NAME\.parquet"):
        write_pool(Pool.of("x", simple()), tmp_path / "x.csv")


def test_a_pool_of_more_rows_than_a_row_group_keeps_its_words_and_texts(tmp_path, monkeypatch):
    from tts.pools import parquet as poolfile

    monkeypatch.setattr(poolfile, "ROWS_IN_A_GROUP", 7)
    rows = [
        Sample("b", "m", f"p{p}", i, answer=f"{p} {i % 2}", text=f"text {p} {i}", correct=True)
        for p in range(6)
        for i in range(5)
    ]
    pool = read_pool(write_pool(Pool.of("x", rows), tmp_path / "x.parquet"))
    assert [pool.row(i).answer for i in range(30)] == [r.answer for r in rows]
    assert pool.texts(pool.groups()[4]) == [f"text 4 {i}" for i in range(5)]


def test_about_says_what_can_be_asked_and_what_not():
    rows = [
        Sample("b", "m", "p", 0, answer="1", correct=True, completion_tokens=10, scores={"rm": 0.5}),
        Sample("b", "m", "p", 1, answer=None, correct=False, completion_tokens=20),
        Sample("b", "m", "p", 2, error="on fire"),
        Sample("b", "m", "q", 0, answer="1", correct=False, completion_tokens=30, scores={"rm": 0.1}),
    ]
    found = about(Pool.of("x", rows))
    (part,) = found.parts
    assert part.samples == (1, 2)
    assert part.total == 4
    assert part.failures == 1
    assert part.pass_at_1 == 0.25  # of the problems' own rates, 1/2 and 0
    assert part.answered == 2 / 3
    assert part.tokens == 20
    assert part.seconds is None
    assert part.scores == ("rm",)
    assert "pass@k for k up to 1" in found.can
    assert "best-of-n by rm for n up to 1" in found.can  # of p, one sample was scored
    assert any(line.startswith("recorded times: 3 of 3 samples") for line in found.cannot)
    assert any("one sample of some problem" in line for line in found.cannot)
    assert any(line.startswith("revisions") for line in found.cannot)


ASKED = re.compile(r"(pass@k|votes|races|best-of-n by (\S+)|weighted votes by (\S+)) for [kn] up to (\d+)")


def answered_question(grid: Grid, line: str) -> None:
    """Ask what a line of `can` promises, at the size it names and at one more. Raises: what the estimator raises."""
    match = ASKED.fullmatch(line)
    kind, most = match[1].partition(" by ")[0], int(match[4])
    ask = {
        "pass@k": lambda k: coverage(grid, [k]),
        "votes": lambda k: majority(grid, [k]),
        "races": lambda k: shortest(grid, [k]),
        "best-of-n": lambda k: best_of(grid, [k], match[2]),
        "weighted votes": lambda k: majority(grid, [k], score=match[3]),
    }[kind]
    assert np.isfinite(ask(most).mean()).all()
    with pytest.raises(InvalidParameter, match="k must be from 1 to"):
        ask(most + 1)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_info_says_can_be_asked_can_be_and_what_it_says_cannot_is_refused(data):
    """Pools with odd content: no answers, no tokens, no verdicts, scores of some, problems that failed, two models."""
    maybe = {name: data.draw(st.booleans()) for name in ("answers", "tokens", "graded", "scored", "failed")}
    rows = [
        Sample(
            "b",
            model,
            f"p{p}",
            i,
            answer=data.draw(st.sampled_from(["1", "2", None])) if maybe["answers"] else None,
            correct=data.draw(st.booleans()) if maybe["graded"] or i else None,
            completion_tokens=5 if maybe["tokens"] or i else None,
            scores={"rm": data.draw(st.sampled_from([0.5, 1.0, -1.0, None]))} if maybe["scored"] and i <= p else {},
            error="on fire" if maybe["failed"] and p == 0 else None,
        )
        for model in "mn"[: data.draw(st.integers(1, 2))]
        for p in range(3)
        for i in range(p + 2)
    ]
    pool = Pool.of("x", rows)
    for model in pool.model.present:
        own = pool.select(model=model)
        found = about(own)
        lines = [line for line in found.can if ASKED.fullmatch(line)]
        refused = {line.partition(":")[0] for line in found.cannot}
        if "pass@k" in refused:
            with pytest.raises(BadPool):
                Grid.of(own)
            assert not lines
            continue
        grid = Grid.of(own)
        for line in lines:
            answered_question(grid, line)
        for question, ask in (("votes", lambda g: majority(g, [1])), ("races", lambda g: shortest(g, [1]))):
            if question in refused:
                with pytest.raises(BadPool):
                    ask(grid)
            else:
                assert any(line.startswith(question) for line in lines)
        assert any("failed" in line for line in found.cannot) == bool(grid.failed)


def test_what_holds_of_one_part_only_names_it():
    rows = [
        Sample("b", m, "p", i, "1" if m == "m" else None, True, completion_tokens=5) for m in "mn" for i in range(2)
    ]
    found = about(Pool.of("x", rows))
    assert "pass@k for k up to 2" in found.can
    assert "votes for n up to 2 (m)" in found.can
    assert "votes: no sample has an answer (n)" in found.cannot


def test_of_what_was_left_out_nothing_is_in_the_file(tmp_path):
    """No word, prompt, reference or text of a problem that was selected away."""
    rows = [
        Sample("b", "m", p, 0, f"answer-{p}", p == "kept", text=f"text-{p}", prompt=f"prompt-{p}", reference=f"ref-{p}")
        for p in ("kept", "dropped")
    ]
    path = write_pool(Pool.of("x", rows).select(problems=["kept"]), tmp_path / "x.parquet")
    pool = read_pool(path)
    assert pool.problem.table == ("kept",)
    assert pool.answer.table == ("answer-kept",)
    assert list(pool.prompts.values()) == ["prompt-kept"]
    import pyarrow.parquet

    said = str(pyarrow.parquet.read_table(path).to_pydict()) + str(pyarrow.parquet.read_schema(path).metadata)
    assert "kept" in said
    assert "dropped" not in said


def test_a_score_that_was_not_asked_for_is_no_abstention_also_in_a_file(tmp_path):
    scores = [{"rm": 0.5, "judge": [0.5, None]}, {"rm": None, "judge": [None]}, {}]
    rows = [Sample("b", "m", "p", i, "1", True, scores=s) for i, s in enumerate(scores)]
    for pool in (Pool.of("x", rows), read_pool(write_pool(Pool.of("x", rows), tmp_path / "x.parquet"))):
        assert [sorted(pool.row(i).scores) for i in range(3)] == [["judge", "rm"], ["judge", "rm"], []]
        assert pool.verifications("judge").tolist() == [2, 1, 0]
        assert pool.verifications("rm").tolist() == [1, 1, 0]


ROW = {"benchmark": "b", "model": "m", "problem_id": "p", "sample_id": 0, "answer": "033", "correct": True}


def written(path: Path, *rows: object, packed: bool = False) -> Path:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_the_common_form_is_read_gzipped_or_not(tmp_path, packed):
    meta = {"input_tokens": 7, "reasoning_tokens": 3, "total_time": 1.5, "scores": {"prm": {"min": 0.1}}, "conf": 2.5}
    path = written(
        tmp_path / "x",
        {**ROW, "completion_tokens": 9, "score": 0.5, "meta": meta, "problem": "Why?", "reference": 42, "text": "So."},
        {**ROW, "sample_id": 1, "answer": None, "correct": None, "meta": {"error": "on fire"}},
        packed=packed,
    )
    pool = import_pool([path], scores=["conf"])
    row = pool.row(0)
    assert (row.answer, row.correct, row.prompt_tokens, row.completion_tokens) == ("33", True, 7, 9)
    assert (row.reasoning_tokens, row.seconds, row.prompt, row.reference) == (3, 1.5, "Why?", "42")
    assert row.scores == {"score": 0.5, "prm.min": pytest.approx(0.1), "conf": 2.5}
    assert pool.texts(pool.groups()[0]) == ["So.", None]
    assert pool.row(1).error == "on fire"
    assert np.isnan(pool.scores["score"][1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, {**ROW, "sample_id": 1, "correct": "yes"}], r"line 2: .*\$\.correct"),
        ([{k: v for k, v in ROW.items() if k != "model"}], r"line 1: .*`model`"),
        ([[1, 2]], "line 1: Expected `object`"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(tmp_path, rows, message):
    with pytest.raises(BadPool, match=message):
        import_pool([written(tmp_path / "x.jsonl", *rows)])


def test_half_a_gzip_file_and_half_a_line_are_named(tmp_path):
    path = written(tmp_path / "x.jsonl.gz", *({**ROW, "sample_id": i} for i in range(1000)), packed=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadPool, match=r"x\.jsonl\.gz"):
        import_pool([path])
    (tmp_path / "y").write_text('{"benchmark": ')
    with pytest.raises(BadPool, match="not JSON"):
        import_pool([tmp_path / "y"])
