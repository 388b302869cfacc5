"""`solve` and `sweep` from Python, against real servers over real sockets."""

import asyncio
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Candidate, Example, Problem, Run, Sampling
from tts.api.report import report
from tts.cli import main as cli
from tts.core.budget import Limits
from tts.core.result import Ends
from tts.reports.summary import warnings_of
from tts.runs.folder import JOURNAL, read_records
from tts.runs.grading_process import GradingProcess
from tts.tasks.example import Task
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, arithmetic, tokenize

SHORT = Sampling(max_tokens=40)
GYM = "reasoning-gym:chain_sum?size=3"


@pytest.fixture(scope="module")
def engine() -> Any:
    with FakeEngine() as running:
        yield running


def answers(*texts: str) -> Any:
    """A script that says the texts in turn, by seed order of arrival."""
    said = iter(texts)
    return lambda request: Reply(tokenize(next(said, texts[-1])))


def test_solve_returns_the_answer_its_candidates_and_what_they_cost(engine: FakeEngine) -> None:
    solved = tts.solve("What is 19 + 23?", "majority_vote:n=9", base_url=engine.base_url)
    assert solved.answer == "42"
    assert solved.selected in solved.candidates
    assert len(solved.candidates) == solved.cost.samples == 9
    assert solved.cost.tokens == sum(c.tokens for c in solved.candidates)
    assert solved.cost.usd is None


def test_solve_works_inside_a_running_loop_as_in_a_notebook(engine: FakeEngine) -> None:
    async def cell() -> tuple[str | None, str | None]:
        inside = tts.solve("What is 19 + 23?", "majority_vote:n=9", base_url=engine.base_url)
        twin = await tts.asolve("What is 19 + 23?", "majority_vote:n=9", base_url=engine.base_url)
        return inside.answer, twin.answer

    assert asyncio.run(cell()) == ("42", "42")


def test_an_error_of_a_call_shows_no_other_behind_it() -> None:
    with pytest.raises(tts.TTSError) as raised:
        tts.solve("What is 2 + 2?", "majority_vote:n=0", base_url="http://127.0.0.1:9/v1")
    assert raised.value.__context__ is None


def test_a_function_of_ones_own_is_a_strategy(engine: FakeEngine) -> None:
    async def longest(problem: Problem, run: Run, *, n: int = 4) -> Candidate:
        return max(await run.generate(n=n), key=lambda c: c.tokens)

    solved = tts.solve("What is 19 + 23?", longest, params={"n": 6}, base_url=engine.base_url)
    assert solved.selected is not None
    assert solved.selected.tokens == max(c.tokens for c in solved.candidates)
    assert len(solved.candidates) == 6


def test_a_budget_is_spent_but_never_passed(engine: FakeEngine) -> None:
    before = engine.stats().tokens
    solved = tts.solve(
        "What is 19 + 23?", "majority_vote:n=none", budget="tokens=300", sampling=SHORT, base_url=engine.base_url
    )
    assert 260 < solved.cost.tokens <= 300
    assert engine.stats().tokens - before <= 300
    assert solved.exhausted


def test_a_fixed_count_beyond_its_budget_gives_the_best_of_what_was_bought(engine: FakeEngine) -> None:
    solved = tts.solve(
        "What is 19 + 23?", "majority_vote:n=500", budget=Limits(tokens=300), sampling=SHORT, base_url=engine.base_url
    )
    assert solved.exhausted
    assert solved.answer == "42"
    assert solved.cost.tokens <= 300


def test_a_run_budget_holds_over_a_whole_sweep_and_at_the_server(engine: FakeEngine) -> None:
    engine.wait_idle()
    before = engine.stats().tokens
    result = tts.sweep(
        "arithmetic?size=30&seed=7",
        ["majority_vote:n=8", "genrm:n=4,verifications=3"],
        run_budget="tokens=900",
        sampling=SHORT,
        base_url=engine.base_url,
    )
    engine.wait_idle()
    assert result.complete
    assert 800 < result.spent.tokens <= 900
    assert engine.stats().tokens - before <= 900
    assert sum(row.exhausted for row in result.rows) > 0


def test_a_deadline_in_seconds_ends_the_trial_with_what_it_has() -> None:
    begun = count()

    def script(request: dict[str, Any]) -> Reply:
        return Reply(tokenize("Answer: 42"), per_token_s=0.0 if next(begun) < 6 else 3600.0)

    with FakeEngine(script) as slow:
        solved = tts.solve("What is 19 + 23?", "majority_vote:n=none", budget="seconds=1.5", base_url=slow.base_url,
                           concurrency=4)  # fmt: skip
        assert slow.wait_idle()
    assert solved.exhausted
    assert solved.answer == "42"
    assert solved.bill.cancelled.samples > 0


@pytest.mark.parametrize("name", ["solve", "sweep", "plan", "replay", "load"])
def test_an_async_function_and_its_twin_have_the_same_parameters_and_the_same_help(name: str) -> None:
    twin, function = getattr(tts, name), getattr(tts, f"a{name}")
    assert inspect.signature(twin) == inspect.signature(function)
    assert inspect.iscoroutinefunction(function)
    assert not inspect.iscoroutinefunction(twin)
    assert (twin.__name__, function.__name__) == (name, f"a{name}")
    assert twin.__doc__ == function.__doc__
    assert "Args:" in twin.__doc__


def test_what_a_sweep_needs_at_its_end_only_is_not_imported_before_its_first_request() -> None:
    program = "import sys, tts; tts.sweep; sys.exit(f'{late}' if (late := {'tts.reports.sweep', 'tts.reports.summary', "
    program += "'tts.analysis.frontier'} & {*sys.modules}) else 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_messages_and_problems_are_prompts_too(engine: FakeEngine) -> None:
    from tts.types import Message

    messages = (Message("system", "Be brief."), Message("user", "What is 19 + 23?"))
    for prompt in (messages, Problem("p", "What is 19 + 23?", system="Be brief.")):
        assert tts.solve(prompt, "majority_vote:n=5", base_url=engine.base_url).answer == "42"


def test_a_solve_in_a_folder_comes_back_whole_without_paying_again(engine: FakeEngine, tmp_path: Path) -> None:
    first = tts.solve("What is 19 + 23?", "genrm:n=3", base_url=engine.base_url, out=tmp_path)
    before = engine.stats().requests
    again = tts.solve("What is 19 + 23?", "genrm:n=3", base_url=engine.base_url, out=tmp_path)
    assert engine.stats().requests == before
    assert again == first
    third = tts.solve("What is 19 + 23?", "genrm:n=3", base_url=engine.base_url, out=tmp_path)
    assert third.cost == first.cost


def test_a_result_shows_itself_in_a_notebook_and_as_a_data_frame(engine: FakeEngine) -> None:
    solved = tts.solve("What is 19 + 23?", "best_of_n:n=4", base_url=engine.base_url)
    frame = solved.to_pandas()
    assert list(frame["selected"]).count(True) == 1
    assert frame["score"].notna().all()
    assert "<table>" in solved._repr_html_()
    swept = tts.sweep("arithmetic?size=4&seed=7", ["single", "majority_vote:n=3"], base_url=engine.base_url)
    assert list(swept.to_pandas()["strategy"]) == ["single", "majority_vote"]
    assert "<table>" in swept._repr_html_()


def test_markup_in_an_answer_is_shown_and_not_obeyed_by_a_notebook() -> None:
    with FakeEngine(answers(r"\boxed{<script>alert(1)</script>}")) as engine:
        shown = tts.solve("What?", "single", base_url=engine.base_url)._repr_html_()
    assert "<b>&lt;script&gt;" in shown
    assert "<script" not in shown


def test_best_of_n_lets_the_verifier_decide() -> None:
    """The sure answer is the minority's: a vote would get it wrong."""
    sure, unsure = (("42", -0.01), ("9", -5.0)), (("7", -0.7), ("8", -0.8))

    def script(request: dict[str, Any]) -> Reply:
        if request["seed"] % 3 == 0:
            return Reply(("Answer: ", "42"), logprobs=(sure, sure))
        return Reply(("Answer: ", "7"), logprobs=(unsure, unsure))

    with FakeEngine(script) as engine:
        best = tts.solve("?", "best_of_n:n=12", base_url=engine.base_url)
        vote = tts.solve("?", "majority_vote:n=12", base_url=engine.base_url)
    assert {c.answer for c in best.candidates} == {"42", "7"}
    assert best.answer == "42"
    assert vote.answer == "7"


def test_votes_and_grades_know_mathematics_where_they_are_asked_to() -> None:
    texts = ("\\boxed{\\frac{\\sqrt{8}}{2}}", "\\boxed{5}", "\\boxed{\\sqrt{2}}", "\\boxed{5}", "\\boxed{2^{1/2}}")
    examples = [Example(Problem("p", "?"), "\\sqrt{2}")]
    votes = [f"{method},equivalence={e}" for method in ("majority_vote:n=5", "best_of_n:n=5,selector=majority")
             for e in ("math", "exact")]  # fmt: skip
    with FakeEngine(answers(*texts)) as engine:
        result = tts.sweep(examples, votes, base_url=engine.base_url, concurrency=1)
    assert [o.correct for o in result.outcomes] == ["math" in strategy for strategy in votes]
    for equivalence in ("math", "exact"):
        with FakeEngine(answers(*texts)) as engine:
            race = f"first_finish:n=5,k=5,equivalence={equivalence}"
            solved = tts.solve("?", race, base_url=engine.base_url, concurrency=1)
        assert len(solved.candidates) == 5 and (solved.answer == "5") == (equivalence == "exact"), race


def test_an_answer_that_hangs_the_grader_is_not_graded_and_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradingProcess, "limit_s", 2.0)
    tower = "\\boxed{\\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}}"
    script = lambda request: Reply(tokenize(tower if "hang" in json.dumps(request) else "\\boxed{\\sqrt{2}}"))  # noqa: E731
    examples = [Example(Problem(f"p{i}", "hang" if i < 1 else f"fine {i}"), "\\frac{2}{\\sqrt{2}}") for i in range(5)]
    with FakeEngine(script) as engine:
        result = tts.sweep(examples, "single", base_url=engine.base_url)
    assert [o.correct for o in result.outcomes] == [None, True, True, True, True]
    assert [o.ungraded is not None for o in result.outcomes] == [True, False, False, False, False]
    (row,) = result.rows
    assert row.accuracy is not None and row.accuracy.mean == 1.0
    assert (row.problems, row.ungraded, row.errors) == (5, 1, 0)
    assert any("1 of 5 answers could not be graded and are left out" in warning for warning in warnings_of(result.rows))


def test_answers_that_could_not_be_compared_are_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(self: Any, function: str, args: Any = (), **limits: Any) -> Any:
        return [0, -2, 0, -2, 1] if function == "tts.answers.symbolic:classes" else True

    monkeypatch.setattr("tts.workers.killable_processes.Workers.call", call)
    texts = ("\\boxed{x+1}", "\\boxed{9^{9^9}}", "\\boxed{1+x}", "\\boxed{9^{9^{9}}}", "\\boxed{\\sqrt{y}}")
    with FakeEngine(answers(*texts)) as engine:
        examples = [Example(Problem("p", "?"), "x+1")]
        spec = "majority_vote:n=5,equivalence=math"
        (row,) = tts.sweep(examples, spec, base_url=engine.base_url, concurrency=1).rows
    assert (row.uncompared, row.unanswered) == (2, 0)
    (warning,) = warnings_of([row])
    assert warning == "2 of 5 samples have answers that could not be compared with the others: each votes alone"


def test_a_trial_whose_grading_raises_is_there_with_the_reason(engine: FakeEngine, tmp_path: Path) -> None:
    # No reasoning-gym dataset has such ids, which only the grading finds out.
    task = Task("x", tuple(Example(Problem(f"sum-{i}", "What is 2 + 3?"), "5") for i in range(3)), GYM)
    result = tts.sweep(task, "single", base_url=engine.base_url, out=tmp_path, report=False)
    assert result.complete
    assert [o.correct for o in result.outcomes] == [None] * 3
    assert all("has no problem 'sum-" in (o.ungraded or "") for o in result.outcomes)
    told = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    assert [o.get("ungraded", "") for o in told] == [o.ungraded or "" for o in result.outcomes]
    (row,) = result.rows
    assert (row.ungraded, row.errors) == (3, 0)


@pytest.mark.parametrize(
    ("reply", "counts", "told"),
    [
        (Reply(("on ", "and ") * 50), (4, 4, 24, 4, 0), "4 of 4 samples were cut at 24 tokens"),
        (Reply(("No.",), finish_reason="content_filter"), (4, 0, 0, 4, 4), "4 of 4 samples were refused"),
        (Reply(tokenize("Good morning!")), (4, 0, 0, 4, 0), "4 of 4 samples have no answer"),
        (Reply(tokenize("\\boxed{1}")), (4, 0, 0, 0, 0), None),
    ],
)
def test_samples_that_are_cut_refused_or_silent_are_counted_and_told(
    reply: Reply, counts: tuple[int, ...], told: str | None
) -> None:
    with FakeEngine(lambda request: reply) as engine:
        examples = [Example(Problem("p", "?"), "1")]
        sampling = Sampling(max_tokens=24)
        swept = tts.sweep(examples, "majority_vote:n=4", base_url=engine.base_url, sampling=sampling)
        solved = tts.solve("?", "majority_vote:n=4", base_url=engine.base_url, sampling=sampling)
    assert swept.rows[0].ends == Ends(*counts)
    for warnings in (warnings_of(swept.rows), solved.warnings):
        assert [w.startswith(told) for w in warnings if told] == [True] * len(warnings)
    assert solved.answer == (None if told else "1")


async def stopping(problem: Problem, run: Run, *, n: int = 3) -> Candidate:
    """All samples are stopped at their first words; then one is asked for that goes on after a step."""
    async with run.streaming(n=n, every=4) as stream:
        async for update in stream:
            stream.stop(update.id)
    (step,) = await run.generate(stop=" 3")
    return (await run.generate(continue_from=step))[0]


def test_samples_that_a_strategy_stopped_or_goes_on_with_are_not_counted_as_without_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(request: dict[str, Any]) -> Reply:
        if request["prefill"]:
            return Reply(("\\boxed{7}",))
        return Reply(tokenize(" 1 2 3 4 5 6 7 8"), per_token_s=0.0 if request.get("stop") else 0.05)

    with FakeEngine(script) as engine:
        result = tts.sweep([Example(Problem("p", "?"), "7")], stopping, base_url=engine.base_url, out=tmp_path)
    (row,) = result.rows
    assert row.accuracy is not None and row.accuracy.mean == 1.0
    assert row.ends == Ends(1)
    assert warnings_of(result.rows) == []
    page = (tmp_path / "report.html").read_text()
    assert "no answer</th>" not in page and "\\boxed" not in page
    with pytest.raises(SystemExit):
        cli.main(["report", str(tmp_path)])
    assert "no answer" not in capsys.readouterr().out


def test_an_error_of_the_server_is_no_wrong_answer() -> None:
    def script(request: dict[str, Any]) -> Reply:
        too_long = "? 0" in json.dumps(request)
        return Reply(tokenize("\\boxed{1}"), misbehave=Misbehaviour.CONTEXT_TOO_LONG if too_long else None)

    examples = [Example(Problem(f"p{i}", f"? {i}"), "1") for i in range(3)]
    with FakeEngine(script) as engine:
        result = tts.sweep(examples, "single", base_url=engine.base_url, concurrency=1, sampling=SHORT)
    failed, *fine = result.outcomes
    assert failed.error is not None and failed.correct is None and failed.ungraded is None
    assert [o.correct for o in fine] == [True, True]


def test_another_endpoint_can_verify(engine: FakeEngine) -> None:
    with FakeEngine(models=("judge",)) as judge:
        solved = tts.solve(
            "What is 19 + 23?", "genrm:n=3,verifications=2", base_url=engine.base_url, verifier_base_url=judge.base_url
        )
        assert judge.stats().requests == 6
    assert solved.answer == "42"
    assert solved.bill.verifier.samples == 6


def test_several_servers_share_the_work_and_one_that_dies_is_replaced() -> None:
    with FakeEngine(arithmetic(per_token_s=0.005)) as first, FakeEngine(arithmetic(per_token_s=0.005)) as second:
        result = tts.sweep(
            "arithmetic?size=20&seed=7", "majority_vote:n=4", base_url=[first.base_url, second.base_url], concurrency=8
        )
        assert result.complete
        assert min(first.stats().requests, second.stats().requests) > 10


def test_dollars_and_flops_are_counted_where_price_and_config_are_given(engine: FakeEngine, tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 1000, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    solved = tts.solve("What is 19 + 23?", "majority_vote:n=5", base_url=engine.base_url, price_in=1.0, price_out=2.0,
                       model_config=tmp_path / "config.json")  # fmt: skip
    usage = solved.bill.usage
    assert solved.cost.usd == pytest.approx((usage.prompt_tokens * 1.0 + usage.completion_tokens * 2.0) / 1e6)
    assert solved.cost.flops is not None and solved.cost.flops > 0


def test_cells_share_samples_but_races_do_not(engine: FakeEngine) -> None:
    before = engine.stats().requests
    result = tts.sweep(
        "arithmetic?size=5&seed=7", ["majority_vote:n=2,4,8", "best_of_n:n=8", "single"], base_url=engine.base_url
    )
    assert engine.stats().requests - before == 5 * 8 == result.spent.samples
    raced = tts.sweep("arithmetic?size=5&seed=7", ["first_finish:n=2", "majority_vote:n=2"], base_url=engine.base_url)
    assert raced.spent.samples == 5 * 4


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(engine: FakeEngine) -> None:
    def texts(seed: int) -> list[str]:
        solved = tts.solve("What is 19 + 23?", "majority_vote:n=4", seed=seed, base_url=engine.base_url)
        return sorted(c.text for c in solved.candidates)

    assert texts(1) == texts(1) != texts(2)


def test_a_parameter_the_server_refuses_is_left_out_and_recorded(tmp_path: Path) -> None:
    with FakeEngine(rejects=("min_p",)) as picky:
        solved = tts.solve(
            "What is 19 + 23?",
            "majority_vote:n=3",
            base_url=picky.base_url,
            sampling=Sampling(min_p=0.1, max_tokens=40),
        )
    assert solved.answer is not None
    assert all("min_p" in c.completion.downgrades for c in solved.candidates)


def test_no_reference_is_no_accuracy(engine: FakeEngine) -> None:
    result = tts.sweep([Example(Problem("p", "What is 1 + 1?"))], "single", base_url=engine.base_url)
    assert result.rows[0].accuracy is None
    assert result.outcomes[0].correct is None


def test_the_journal_never_holds_the_reference(engine: FakeEngine, tmp_path: Path) -> None:
    examples = [Example(Problem("p", "What is 1 + 1?"), "-271828")]
    tts.sweep(examples, ["majority_vote:n=3", "genrm:n=2"], base_url=engine.base_url, out=tmp_path)
    assert list(read_records(tmp_path / JOURNAL))
    assert "271828" not in (tmp_path / JOURNAL).read_text()


def test_a_strategy_cannot_call_what_knows_the_references(engine: FakeEngine) -> None:
    async def cheat(problem: Problem, run: Run) -> Candidate:
        await run.call("tts.tasks.sources:load", "arithmetic?size=1")
        return (await run.generate())[0]

    with pytest.raises(tts.UsageError, match="knows the reference answers"):
        tts.solve("What is 19 + 23?", cheat, base_url=engine.base_url)


def test_a_crash_in_a_strategy_names_the_place_and_keeps_what_was_paid(engine: FakeEngine) -> None:
    async def broken(problem: Problem, run: Run) -> Candidate:
        await run.generate(n=3)
        raise KeyError("oops")

    solved = tts.solve("What is 19 + 23?", broken, base_url=engine.base_url)
    assert solved.answer is None
    assert solved.error is not None and solved.error.type == "StrategyCrashed"
    assert __file__ in solved.error.facts["where"]
    assert len(solved.candidates) == 3


def test_the_report_reads_an_unfinished_run(engine: FakeEngine, tmp_path: Path) -> None:
    result = tts.sweep("arithmetic?size=6&seed=7", "majority_vote:n=2", base_url=engine.base_url, out=tmp_path,
                       concurrency=2)  # fmt: skip
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[: len(lines) // 2]))
    half = report(tmp_path)
    assert not half.complete
    assert 0 < len(half.outcomes) < len(result.outcomes)


def test_a_dead_server_among_several_is_gone_without(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    dead = "http://127.0.0.1:9/v1"
    for urls in ([dead, engine.base_url], [engine.base_url, dead]):
        assert tts.solve("What is 19 + 23?", "majority_vote:n=9", base_url=urls).answer == "42"


def test_a_server_without_a_list_of_models_is_asked_for_the_one_that_was_named(engine: FakeEngine) -> None:
    from tts.models.wire.address import normalise_base_url

    class NoList(FakeEngine):
        def _get(self, connection: Any, path: str, key: str) -> None:
            super()._get(connection, "/nowhere" if path.endswith("/models") else path, key)

    with NoList() as plain:
        assert normalise_base_url(plain.base_url) == plain.base_url
        assert tts.solve("What is 19 + 23?", "majority_vote:n=9", base_url=plain.base_url, model="fake").answer == "42"


def test_the_key_of_the_first_server_is_never_sent_to_the_verifiers(engine: FakeEngine) -> None:
    with FakeEngine(models=("judge",)) as judge:
        tts.solve("What is 19 + 23?", "genrm:n=2", base_url=engine.base_url, api_key="sk-secret",
                  verifier_base_url=judge.base_url)  # fmt: skip
        assert judge.stats().requests_by_key.keys() == {"EMPTY"}
    assert "sk-secret" in engine.stats().requests_by_key


def test_a_verifier_under_the_same_name_has_a_price_of_its_own(engine: FakeEngine) -> None:
    with FakeEngine() as judge:
        solved = tts.solve("What is 19 + 23?", "genrm:n=2,verifications=1", base_url=engine.base_url, price_in=0.0,
                           price_out=1.0, verifier_base_url=judge.base_url, verifier_price_in=0.0,
                           verifier_price_out=3.0, budget="usd=1")  # fmt: skip
    answers, verifier = solved.bill.answers, solved.bill.verifier
    assert solved.cost.usd == pytest.approx((answers.tokens + 3 * verifier.tokens) / 1e6)


def test_verifications_that_all_abstain_are_told_and_not_taken_for_a_choice() -> None:
    with FakeEngine(rejects=("logprobs",)) as bare:
        result = tts.sweep("arithmetic?size=3&seed=7", ["best_of_n:n=3", "single"], base_url=bare.base_url)
    best, single = result.rows
    assert best.abstained == 1.0
    assert single.abstained is None
    assert "logprobs" in best.downgrades


def test_problems_with_one_id_are_refused_by_their_number(engine: FakeEngine) -> None:
    twice = [Example(Problem("a", "1 + 1?")), Example(Problem("a", "1 + 2?"))]
    with pytest.raises(tts.UsageError, match="problem 2 has the id 'a'"):
        tts.sweep(twice, "single", base_url=engine.base_url)


def test_wrong_arguments_get_a_sentence(engine: FakeEngine) -> None:
    with pytest.raises(tts.UsageError, match="Did you mean 'base_url'"):
        tts.solve("1 + 1?", base_ur=engine.base_url)  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(tts.UsageError, match="budget must be text"):
        tts.solve("1 + 1?", budget=2000, base_url=engine.base_url)  # type: ignore[arg-type]  # likewise
    with pytest.raises(tts.UsageError, match="a prompt must be text"):
        tts.solve(None, base_url=engine.base_url)  # type: ignore[arg-type]  # likewise
    with pytest.raises(tts.UsageError, match="must look like"):
        tts.solve("1 + 1?", base_url="http://127.0.0.1:99999")
    dicts: Any = [{"role": "user", "content": "What is 19 + 23?"}]
    assert tts.solve(dicts, "majority_vote:n=9", base_url=engine.base_url).answer == "42"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stategy": "single"}, "parameter of solve 'stategy'. Did you mean 'strategy'"),
        ({"temperature": 0.2}, "write sampling={'temperature': ...}"),
        ({"sampling": {"max_token": 3}}, "Did you mean 'max_tokens'"),
        ({"sampling": 0.7}, "a tts.Sampling or a mapping"),
        ({"n": 4}, "goes into params={'n': ...}"),
        ({"out": 5}, "out must be the path of a folder, but got 5"),
        ({"params": [3]}, "params must be a mapping"),
        ({"params": {3: 4}}, "params must be a mapping of names"),
        ({"strategy": None}, "a strategy must be its name, or `async def"),
        ({"strategy": len}, "a strategy must be its name, or `async def"),
        ({"seed": "x"}, "seeds must be a whole number"),
        ({"concurrency": "8"}, "concurrency must be a whole number, but got a str"),
        ({"base_url": 8000}, "base_url must be text or a list of texts or None"),
        ({"price_in": "1"}, "price_in must be a number"),
        ({"prompt": "half \ud83d"}, "half of a surrogate pair"),
    ],
)
def test_what_a_call_gives_wrongly_is_named_with_what_to_write(given: dict[str, Any], words: str) -> None:
    call: dict[str, Any] = {"prompt": "1 + 1?", "base_url": "http://127.0.0.1:9/v1", **given}
    with pytest.raises(tts.UsageError) as caught:
        tts.solve(**call)
    assert words in str(caught.value)


def test_budgets_and_strategies_of_a_sweep_are_texts_or_the_values_they_mean(engine: FakeEngine) -> None:
    specs, budgets = [tts.StrategySpec("majority_vote", {"n": 2})], [Limits(tokens=2000), "tokens=3k"]
    swept = tts.sweep("arithmetic?size=1", specs, budgets=budgets, run_budget=Limits(tokens=9000),
                      base_url=engine.base_url, sampling={"max_tokens": 30, "stop": "never"})  # fmt: skip
    assert [(row.params, row.budget) for row in swept.rows] == [("n=2", "tokens=2k"), ("n=2", "tokens=3k")]
    assert swept.sampling.stop == ("never",)
    with pytest.raises(tts.UsageError, match="write 'tokens=1000' or 'samples=1000'"):
        tts.sweep("arithmetic?size=1", "single", budgets=[1000], base_url=engine.base_url)  # type: ignore[list-item]  # the point


def test_progress_is_shown_or_told_and_comes_to_the_end(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    tts.sweep("arithmetic?size=3", "majority_vote:n=1,2", base_url=engine.base_url,
              progress=lambda done, of: told.append((done, of)))  # fmt: skip
    assert told == [(done, 6) for done in range(7)]
    tts.sweep("arithmetic?size=3", "single", base_url=engine.base_url, progress=True)
    assert "/3 trials" in capsys.readouterr().err
    tts.sweep("arithmetic?size=3", "single", base_url=engine.base_url)
    assert capsys.readouterr() == ("", "")


def test_problems_without_references_show_how_far_the_samples_agree() -> None:
    def script(request: dict[str, Any]) -> Reply:
        (question,) = [turn["content"] for turn in request["messages"]]
        return Reply(tokenize(f"Answer: {request['seed'] if 'open' in question else 7}"))

    problems = [Example(Problem("a", "closed?")), Example(Problem("b", "open?"))]
    with FakeEngine(script) as engine:
        swept = tts.sweep(problems, "majority_vote:n=4", base_url=engine.base_url)
    assert [outcome.agreement for outcome in swept.outcomes] == [1.0, 0.25]
    (row,) = swept.rows
    assert (row.accuracy, row.agreement) == (None, 0.625)
    assert any("no problem has a reference answer" in note for note in warnings_of(swept.rows))


def test_a_changed_strategy_file_is_another_run(engine: FakeEngine, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    source = "async def mine(problem, run, *, n: int = 2):\n    return (await run.generate(n=n))[{}]\n"
    plugin.write_text(source.format(0))
    tts.sweep("arithmetic?size=2&seed=7", f"{plugin}:mine", base_url=engine.base_url, out=tmp_path / "run")
    plugin.write_text(source.format(1))
    with pytest.raises(tts.TTSError, match="another configuration"):
        tts.sweep("arithmetic?size=2&seed=7", f"{plugin}:mine", base_url=engine.base_url, out=tmp_path / "run")


def test_an_unfinished_run_reports_what_it_had_spent(engine: FakeEngine, tmp_path: Path) -> None:
    tts.sweep("arithmetic?size=6&seed=7", "majority_vote:n=4", base_url=engine.base_url, out=tmp_path, concurrency=4)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[: len(lines) // 2]))
    granted = sum(b'"granted"' in line for line in lines[: len(lines) // 2])
    half = report(tmp_path)
    assert half.spent.samples == granted
    assert half.spent.usd is None


def test_an_interrupt_in_a_notebook_stops_the_run_at_once(request: pytest.FixtureRequest) -> None:
    # Python's own handler, which is not there where the tests run in the background of a shell.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before) and None)

    def interrupt() -> None:
        slow.wait(lambda s: s.open_streams > 0)
        os.kill(os.getpid(), signal.SIGINT)

    async def cell(url: str) -> None:
        threading.Thread(target=interrupt).start()
        tts.solve("What is 19 + 23?", "majority_vote:n=4", base_url=url)

    with FakeEngine(arithmetic(per_token_s=3600.0)) as slow:
        with contextlib.closing(asyncio.new_event_loop()) as loop, pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell(slow.base_url))
        assert slow.wait(lambda s: s.open_streams == 0 and s.left == s.requests)


def test_a_budget_in_other_words_is_the_same_cell_and_budgets_that_differ_in_the_last_digit_are_not(
    engine: FakeEngine,
) -> None:
    def cells(budgets: list[str]) -> list[str]:
        swept = tts.sweep("arithmetic?size=1", "majority_vote:n=1", budgets=budgets, base_url=engine.base_url)
        assert swept.complete
        return [row.budget for row in swept.rows]

    assert cells(["tokens=1k,1000", "tokens=1e3"]) == ["tokens=1k"]
    assert len(cells(["seconds=1000.0000001", "seconds=1000.0000002"])) == 2


@pytest.mark.parametrize(
    "strategy", [lambda problem, run: 5, lambda problem, run: 1 / 0, print], ids=["5", "1/0", "print"]
)
def test_a_function_that_is_no_coroutine_function_fails_as_a_strategy_does(strategy: Any) -> None:
    with FakeEngine(arithmetic()) as engine:
        error = tts.solve("What is 1 + 1?", strategy, base_url=engine.base_url).result.error
    assert error is not None
    assert error.type == "StrategyCrashed"
    assert "'send'" not in error.message
