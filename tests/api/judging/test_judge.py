"""`tts.judge`: recorded candidates, any judge, one ledger, one journal, and columns of a pool."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from judged_pool import Model, first_shown, pool

import tts
from tts import Problem, Request
from tts.errors import BadPool, InvalidParameter, PoolLacks, RunMismatch, UnknownName
from tts.pools.parquet import read_pool
from tts.runs.folder import JOURNAL


def test_scores_of_a_verifier_become_a_column_and_its_cost_is_on_the_bill(tmp_path: Path) -> None:
    model = Model()
    judged = tts.judge(pool(), "judge", model=model, out=tmp_path)
    (row,) = judged.rows
    assert (row.judge, row.scored, row.abstained, row.unknown) == ("judge", 6, 0, 0)
    assert row.cost.samples == len(model.asked) == 6 and judged.spent.tokens == row.cost.tokens == 6
    written = read_pool(judged.pool)
    assert written.scores["judge"].tolist() == [1, 0, 0] * 2
    assert written.correct.tolist() == [1, 0, 0] * 2 and len(written.references) == 2
    assert (written.verification_costs["judge"].tokens, written.verification_costs["judge"].max_tokens) == (1, 4)
    best = tts.replay(written, "best_of_n:n=3,verifier=judge")
    assert best.rows[0].accuracy.mean == 1


def test_no_judge_sees_a_verdict_or_a_reference() -> None:
    changed = dataclasses.replace(pool(), references={("sums", "p0"): "secret", ("sums", "p1"): "secret"})
    model = Model()
    tts.judge(changed, ["judge", "genrm"], model=model)
    assert len(model.asked) == 12 and not any("secret" in repr(request) for request in model.asked)


def test_the_same_call_pays_nothing_and_one_with_a_further_judge_for_this_one(tmp_path: Path) -> None:
    first = tts.judge(pool(), "judge", model=Model(), out=tmp_path)
    model = Model()
    again = tts.judge(pool(), "judge", model=model, out=tmp_path)
    assert not model.asked and again.judgements == first.judgements and again.spent == first.spent
    more = tts.judge(pool(), ["judge", first_shown], model=model, out=tmp_path)
    assert len(model.asked) == 2 and more.spent.samples == 8
    assert tts.load(tmp_path).judgements == more.judgements
    with pytest.raises(RunMismatch, match="holds scores of judge, too"):
        tts.judge(pool(), first_shown, model=model, out=tmp_path)


def test_a_killed_run_goes_on_with_what_was_paid(tmp_path: Path) -> None:
    whole = tts.judge(pool(), "judge", model=Model(), out=tmp_path, concurrency=1)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:9])
    ended = b"".join(lines[: len(lines) // 2]).count(b'"scored"')
    model = Model()
    judged = tts.judge(pool(), "judge", model=model, out=tmp_path, concurrency=1)
    assert 0 < len(model.asked) == 6 - ended < 6
    assert judged.judgements == whole.judgements


def test_a_budget_that_ends_leaves_scores_unknown_and_says_so(tmp_path: Path) -> None:
    judged = tts.judge(pool(), "judge", budget="samples=2", model=Model(), out=tmp_path)
    (row,) = judged.rows
    assert (row.scored, row.unknown, row.exhausted) == (4, 2, 2)
    assert "unknown, not 0" in judged.notes[0]
    written = read_pool(judged.pool)
    assert np.isnan(written.scores["judge"]).sum() == 2 == (written.verifications("judge") == 0).sum()


def test_a_judge_of_several_is_shown_both_orders_and_an_abstention_is_no_zero(tmp_path: Path) -> None:
    judged = tts.judge(pool(), first_shown, orders=2, model=Model(), out=tmp_path)
    (row,) = judged.rows
    assert (row.scored, row.abstained, row.unknown, row.cost.samples) == (8, 4, 0, 4)
    by_order = [[one.value for one in judged.judgements if (one.problem_id, one.order) == ("p0", o)] for o in (0, 1)]
    assert by_order == [[1.0, 0.0, None], [None, 0.0, 1.0]]
    (column,) = read_pool(judged.pool).scores.values()
    assert column.shape == (6, 2) and np.isnan(column).sum() == 4


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: tts.judge(pool(), "judgee"), UnknownName, "Did you mean 'judge'"),
        (lambda: tts.judge(pool(keep_text=False), "judge"), PoolLacks, "has no texts"),
        (lambda: tts.judge(dataclasses.replace(pool(), prompts={}), "judge"), PoolLacks, "has no prompt"),
        (lambda: tts.judge(pool(), []), InvalidParameter, "at least 1 judge"),
        (lambda: tts.judge(pool(), "judge", orders=3), InvalidParameter, "orders must be"),
        (lambda: tts.judge(pool(), "judge", samples=0), InvalidParameter, "samples must be"),
        (lambda: tts.judge(pool(), "judge", system="Be brief."), InvalidParameter, "asked already"),
        (lambda: tts.judge(7, "judge"), InvalidParameter, "recorded must be a pool"),
    ],
)
def test_a_call_that_cannot_work_says_why_before_anything_is_asked(call, error, said) -> None:
    with pytest.raises(error, match=said):
        call()


def test_a_column_that_is_there_is_replaced_on_demand_only(tmp_path: Path) -> None:
    judged = tts.judge(pool(), "judge", model=Model(), out=tmp_path / "first")
    with pytest.raises(BadPool, match="--overwrite"):
        tts.judge(judged.pool, "judge", model=Model(), out=tmp_path / "second")
    again = tts.judge(
        judged.pool, "judge", model=Model(), overwrite=True, pool_out=judged.pool, out=tmp_path / "second", samples=1
    )
    scores = read_pool(again.pool).scores["judge"]
    assert scores[0] == 1 and np.isnan(scores[1])


def test_parameters_in_lists_are_several_judges_and_limits_choose_what_is_judged() -> None:
    model = Model()
    judged = tts.judge(pool(), "genrm:max_tokens=8,16", samples=2, limit=1, model=model)
    assert [(row.judge, row.candidates) for row in judged.rows] == [
        ("genrm(max_tokens=8)", 2),
        ("genrm(max_tokens=16)", 2),
    ]
    assert {request.sampling.max_tokens for request in model.asked} == {8, 16} and judged.pool is None


def test_the_folder_of_a_run_is_judged_with_its_problems(tmp_path: Path) -> None:
    async def solver(request: Request) -> str:
        return "The answer is 4."

    tts.sweep([tts.Example(Problem("a", "2 + 2?"), "4")], "majority_vote:n=2", model=solver, out=tmp_path / "run")
    judged = tts.judge(tmp_path / "run", "judge", model=Model(), out=tmp_path / "judged")
    assert judged.rows[0].scored == 2 and read_pool(judged.pool).correct.tolist() == [1, 1]
