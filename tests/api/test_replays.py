"""Replays: the strategies themselves over recorded samples, in virtual time."""

import random
from collections import Counter
from statistics import stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.api.replays import problems_of, replay
from tts.clusters.virtual.fleet import Fleet
from tts.clusters.virtual.queueing import cluster_for
from tts.clusters.virtual.recorded_scores import recorded_verifiers
from tts.clusters.virtual.recordings import Recordings
from tts.core.budget import Limits
from tts.core.scheduling.scheduler import Scheduler
from tts.errors import BadPool, BudgetTooSmall, InvalidParameter, PoolLacks, UnknownName
from tts.estimators import Grid, best_of, first_finishers, majority, shortest
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.plugins.spec import parse_specs
from tts.pools.pool import Pool, Sample
from tts.reports.terminal import rows_table
from tts.runs.plan import Cell, plan
from tts.types import LogprobSummary, Sampling

FLEET = Fleet()


def pool_of(problems=6, n=12, seed=0, **more):
    """Problems of different difficulty; wrong answers are shared, so that votes can be lost."""
    draw = random.Random(seed)
    rows = []
    for p in range(problems):
        for i in range(n):
            right = draw.random() < (p + 1) / (problems + 2)
            answer = "42" if right else draw.choice(["7", "8", None])
            tokens = draw.randint(10, 200)
            rows.append(
                Sample(
                    "b",
                    "m",
                    f"p{p}",
                    i,
                    answer=answer,
                    correct=right,
                    prompt_tokens=5,
                    completion_tokens=tokens,
                    seconds=tokens / 10,
                    scores={"rm": draw.random(), "judge": [draw.random() for _ in range(3)]},
                    **more,
                )
            )
    return Pool.of("synthetic", rows)


def carried(pool, text, *, seed=0, fleet=FLEET, verifiers=None, problems=None):
    """Everything that one strategy was given, by problem: results as they are."""
    verifiers = recorded_verifiers(pool) if verifiers is None else verifiers
    known = problems_of(pool)
    (spec,) = parse_specs(text)
    scheduler = Scheduler(
        plan([Cell(spec, Limits(), seed)], list(known.values())[:problems]),
        strategy,
        costs=CostModel(),
        verifiers=verifiers,
        sampling=Sampling(max_tokens=10_000),
        window=fleet.replicas * fleet.slots,
    )
    cluster = cluster_for(fleet)(Recordings(pool, fleet), known, verifiers, seed)
    results, rows = {}, {}

    def keep(result, decided):
        results[result.problem_id] = result
        rows[result.problem_id] = [cluster.row_of(c.id) for c in result.candidates]

    took_s = cluster.run(scheduler, on_result=keep)
    return results, rows, took_s, cluster


def standard_error(values):
    values = list(values)
    return stdev(values) / len(values) ** 0.5


def test_samples_are_drawn_without_replacement_and_all_of_them_can_be():
    pool = pool_of()
    _, rows, _, _ = carried(pool, "majority_vote:n=12")
    for group in pool.groups():
        assert sorted(rows[group.problem_id]) == list(range(group.start, group.stop))


def test_strategies_that_differ_only_in_number_see_the_same_samples_and_seeds_shuffle_them():
    pool = pool_of()
    _, few, _, _ = carried(pool, "majority_vote:n=4")
    _, many, _, _ = carried(pool, "majority_vote:n=8")
    _, raced, _, _ = carried(pool, "best_of_n:n=4,verifier=rm")
    for problem in few:
        assert set(few[problem]) < set(many[problem])
        assert set(raced[problem]) == set(few[problem])
    _, other, _, _ = carried(pool, "majority_vote:n=4", seed=1)
    assert other != few
    assert carried(pool, "majority_vote:n=4", seed=1)[1] == other


def test_a_verification_returns_the_recorded_score_and_a_vector_is_handed_out_in_order():
    pool = pool_of()
    results, rows, _, _ = carried(pool, "best_of_n:n=5,verifier=rm")
    for problem, result in results.items():
        values = dict(zip((c.id for c in result.candidates), rows[problem], strict=True))
        for id, scores in result.scores.items():
            assert [s.value for s in scores] == [pytest.approx(float(pool.scores["rm"][values[id]]))]
        answered = [row for row in rows[problem] if pool.answer[row] is not None] or rows[problem]
        best = max(answered, key=lambda row: pool.scores["rm"][row])
        assert values[result.selected.id] == best
    results, rows, _, _ = carried(pool, "genrm:n=2,verifications=3,verifier=judge")
    result = results["p0"]
    for candidate, row in zip(result.candidates, rows["p0"], strict=True):
        assert [s.value for s in result.scores[candidate.id]] == pytest.approx(pool.scores["judge"][row].tolist())


def test_more_verifications_than_were_recorded_are_refused_before_anything_is_replayed():
    with pytest.raises(PoolLacks, match="has 3 recorded scores of judge"):
        replay(pool_of(), "genrm:n=2,verifications=4,verifier=judge")


def test_the_tokens_of_a_prompt_are_those_that_were_recorded_and_no_others(tmp_path):
    plugin = tmp_path / "counting.py"
    plugin.write_text("""
async def counting(problem, run, *, text=""):
    counted = await (run.count_tokens(text) if text else run.count_prompt())
    return (await run.generate(n=counted.tokens))[0]
""")
    row = replay(pool_of(), f"{plugin}:counting").rows[0]
    assert row.samples == 5  # of which each has a prompt of 5 tokens
    with pytest.raises(PoolLacks, match="counts the tokens of something else than the problem's own prompt"):
        replay(pool_of(), f"{plugin}:counting:text=some")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequential_revision", "asks something else than the problem"),
        ("majority_vote:n=13", "would be sample 13 of p0, of which 12 are recorded"),
        ("best_of_n", "asks the verifier 'self_certainty', but synthetic has not recorded it.*Known: judge, rm"),
    ],
)
def test_what_was_not_recorded_is_refused_by_name(text, message):
    with pytest.raises(PoolLacks, match=message):
        replay(pool_of(), ["single", text])


def test_a_strategy_that_goes_on_from_a_text_cannot_be_replayed(tmp_path):
    (tmp_path / "on.py").write_text(
        "async def on(problem, run):\n"
        "    (first,) = await run.generate()\n"
        "    return (await run.generate(continue_from=first))[0]\n"
    )
    with pytest.raises(PoolLacks, match="continues a text, and only whole samples were recorded"):
        replay(pool_of(), f"{tmp_path}/on.py:on")


ASKING = """
async def asking(problem, run, *, how="", tokens=0):
    other = {"temperature": 0.1, "top_p": 0.5, "top_k": 3, "min_p": 0.2, "stop": ("###",), "top_logprobs": 3}
    sampling = {how: other[how]} if how in other else {}
    sampling |= {"max_tokens": tokens} if tokens else {}
    prompt = f"Think: {problem.prompt}" if how == "prompt" else None
    return (await run.generate(prompt, **sampling))[0]

async def stopping(problem, run, *, at=1):
    async with run.streaming(n=2) as stream:
        async for update in stream:
            if update.candidate is None and update.tokens >= at:
                stream.stop(update.id)
    return update.candidate

async def rewriting(problem, run, *, answer="42"):
    import msgspec
    (first,) = await run.generate()
    return msgspec.structs.replace(first, answer=answer)
"""


@pytest.fixture
def asking(tmp_path):
    (tmp_path / "asking.py").write_text(ASKING)
    return f"{tmp_path}/asking.py"


@pytest.mark.parametrize("how", ["temperature", "top_p", "top_k", "min_p", "stop", "top_logprobs", "prompt"])
def test_a_request_that_was_not_recorded_is_refused(asking, how):
    """Here nobody knows how the samples were drawn: then only the defaults stand for it."""
    with pytest.raises(PoolLacks, match=r"asks (for|something else)"):
        replay(pool_of(), f"{asking}:asking:how={how}")


def test_samples_that_are_known_to_have_been_drawn_like_that_are_given(asking):
    known = {"temperature": 0.1, "stop": ("###",)}
    pool = pool_of(sampling=known)
    for how in known:
        assert replay(pool, f"{asking}:asking:how={how}").rows[0] is not None
    assert replay(pool, "single:temperature=0.1").rows[0].errors == 0
    with pytest.raises(PoolLacks, match=r"temperature=0\.7, and they were drawn with 0\.1"):
        replay(pool, "single:temperature=0.7")
    mixed = [Sample("b", "m", "p", i, "1", True, completion_tokens=5, sampling={"temperature": i / 2}) for i in (0, 1)]
    with pytest.raises(PoolLacks, match="how they were drawn is not known"):
        replay(Pool.of("x", mixed), "single:temperature=0.5")


def test_a_stream_is_refused_because_nobody_recorded_what_it_said_half_way(asking):
    with pytest.raises(PoolLacks, match="streams its samples, and what they said half-way was not recorded"):
        replay(pool_of(), f"{asking}:stopping")


def confident(*confidences, answers, whole=True):
    """One problem whose samples have these answers, and these confidences in their groups of 10 tokens."""
    samples = [
        Sample(
            "b",
            "m",
            "p",
            i,
            answer=answers[i],
            correct=answers[i] == "7",
            completion_tokens=10 * len(own) + 5,
            logprobs=LogprobSummary(-0.3, -3.0, None, (), sum(own) / len(own), min(own)),
            confidences=own if whole else (),
            sampling={"top_logprobs": 20, "group": 10},
        )
        for i, own in enumerate(confidences)
    ]
    return Pool.of("confident", samples)


@pytest.mark.parametrize("fleet", [Fleet(tokens_per_s=1.0), Fleet(tokens_per_s=1.0, slots=2, in_flight=2)])
@pytest.mark.parametrize("run_budget", ["", "tokens=1M"])  # without a scheduler, and with one
def test_a_recorded_sample_is_stopped_after_the_group_that_is_not_confident(fleet, run_budget):
    pool = confident(*[(12.0, 11.0, 12.0, 12.0)] * 4, *[(12.0, 10.0, 12.0, 12.0)] * 4, answers="12345678")
    spec = "deepconf:n=8,warmup=2,window=10,keep=1,consensus=1,in_flight=8"
    tokens = {outcome.tokens for outcome in replay(pool, spec, fleet=fleet, run_budget=run_budget, seeds=20).outcomes}
    assert tokens == {8 * 45, 4 * 45 + 4 * 20}  # the second where the warm-up was of the first four


def test_the_offline_filter_needs_no_more_than_the_lowest_group_and_stopping_needs_all():
    pool = confident((9.0, 8.0), (9.0, 8.0), (7.0, 6.0), (7.0, 6.0), (7.0, 6.0), answers="77888", whole=False)
    assert replay(pool, "majority_vote:n=5").outcomes[0].answer == "8"
    assert replay(pool, "deepconf:n=5,warmup=none,window=10,keep=0.4").outcomes[0].answer == "7"
    with pytest.raises(PoolLacks, match="only that of the lowest was recorded"):
        replay(pool, "deepconf:n=5,warmup=4,window=10,keep=0.4,consensus=1", seeds=9)
    with pytest.raises(PoolLacks, match="groups of 20 tokens, and those of 10 tokens were recorded"):
        replay(pool, "deepconf:n=5,warmup=none,window=20")
    with pytest.raises(PoolLacks, match="groups of 2048 tokens, and none were recorded"):
        replay(pool_of(), "deepconf:n=5,warmup=none,top_logprobs=2")


@pytest.mark.parametrize("tokens", [1, 9, 10, 11])
def test_a_sample_that_was_cut_has_no_answer_and_is_wrong_whatever_was_recorded_of_the_whole(asking, tokens):
    rows = [Sample("b", "m", "p", i, "1", True, completion_tokens=10, scores={"rm": 0.5}) for i in range(3)]
    text = f"{asking}:asking:tokens={tokens}"
    (outcome,) = replay(Pool.of("x", rows), text).outcomes
    assert (outcome.answer, outcome.correct, outcome.tokens) == (
        ("1", True, 10) if tokens >= 10 else (None, False, tokens)
    )
    cut = replay(Pool.of("x", rows), ["majority_vote:n=3", "best_of_n:n=3,verifier=rm"], max_tokens=tokens)
    assert {o.correct for o in cut.outcomes} == {tokens >= 10}
    ungraded = [Sample("b", "m", "p", i, "1", None, completion_tokens=10) for i in range(3)]
    assert replay(Pool.of("x", ungraded), text).outcomes[0].correct is None  # no reference: live it is not graded, too


def test_a_sample_that_was_cut_when_it_was_recorded_cannot_be_longer(asking):
    rows = [Sample("b", "m", "p", i, None, False, completion_tokens=10, finish_reason="length") for i in range(3)]
    with pytest.raises(PoolLacks, match="asks for up to 11 tokens, and its sample was cut at 10"):
        replay(Pool.of("x", rows), f"{asking}:asking:tokens=11")
    assert replay(Pool.of("x", rows), "single").rows[0].accuracy.mean == 0


def test_an_answer_that_the_strategy_made_up_has_no_recorded_verdict_unless_a_sample_gave_it(asking):
    rows = [Sample("b", "m", "p", i, a, a == "42", completion_tokens=10) for i, a in enumerate(["7", "42", "7"])]
    for answer, verdict in (("42", True), ("7", False), ("8", None)):
        found = replay(Pool.of("x", rows), f"{asking}:rewriting:answer={answer}", seeds=4)
        assert {o.correct for o in found.outcomes} == {verdict}


def test_a_score_is_handed_out_once_for_each_verification_that_was_recorded():
    rows = [Sample("b", "m", "p", i, "1", True, completion_tokens=5, scores={"rm": 0.5}) for i in range(2)]
    with pytest.raises(PoolLacks, match="has 1 recorded scores of rm"):
        replay(Pool.of("x", rows), "genrm:n=2,verifications=2,verifier=rm")


def test_recorded_failures_are_replayed_as_failures_and_left_out_of_what_is_selected():
    rows = [Sample("b", "m", "p", i, answer="1", correct=True, completion_tokens=5, seconds=1.0) for i in range(2)]
    rows += [Sample("b", "m", "p", i, error="ServerFailed: on fire", completion_tokens=None) for i in (2, 3)]
    found = replay(Pool.of("x", rows), "majority_vote:n=4")
    (row,) = found.rows
    assert row.failed == 2
    assert row.errors == 0
    assert row.accuracy.mean == 1.0
    assert row.tokens == 10


def test_the_fleet_decides_how_long_it_takes():
    pool = pool_of(problems=3, n=4)
    tokens = int(pool.completion_tokens.sum())
    one = replay(pool, "majority_vote:n=4", fleet=Fleet(slots=1, tokens_per_s=10.0)).rows[0]
    assert one.makespan_s == pytest.approx(tokens / 10)
    wide = replay(pool, "majority_vote:n=4", fleet=Fleet(slots=64, tokens_per_s=10.0)).rows[0]
    assert wide.makespan_s == pytest.approx(int(pool.completion_tokens.max()) / 10)
    assert wide.tokens == one.tokens
    two = replay(pool, "majority_vote:n=4", fleet=Fleet(replicas=2, slots=32, tokens_per_s=10.0)).rows[0]
    assert two.makespan_s == wide.makespan_s
    slow = replay(pool, "single", fleet=Fleet(tokens_per_s=1e9, prefill_tokens_per_s=1.0)).rows[0]
    assert slow.latency_s == pytest.approx(5.0, abs=0.01)
    recorded = replay(pool, "majority_vote:n=4", fleet=Fleet(recorded_times=True, tokens_per_s=1e-6)).rows[0]
    assert recorded.makespan_s == pytest.approx(float(pool.seconds.max()))


def test_the_time_to_a_decision_is_from_its_opening_and_its_quantiles_are_ranks():
    pool = pool_of(problems=4, n=2)
    found = replay(pool, "single", fleet=Fleet(slots=1, tokens_per_s=1.0), seeds=1)
    times = sorted(o.decided_s - o.opened_s for o in found.outcomes)
    assert times == sorted(float(o.tokens) for o in found.outcomes)
    assert found.rows[0].decision_p50_s == times[1]
    assert found.rows[0].decision_p99_s == times[3]


def test_tokens_decoded_while_a_cancellation_is_on_its_way_are_counted_and_paid():
    rows = [
        Sample("b", "m", "p", i, answer="1", correct=True, completion_tokens=tokens)
        for i, tokens in enumerate((10, 100, 100, 12))
    ]
    pool = Pool.of("x", rows)
    at_once = replay(pool, "first_finish:n=4", fleet=Fleet(tokens_per_s=1.0)).rows[0]
    assert at_once.tokens == 40
    assert at_once.late_tokens == 0
    late = replay(pool, "first_finish:n=4", fleet=Fleet(tokens_per_s=1.0, cancel_s=5.0)).rows[0]
    assert late.late_tokens == 5 + 5 + 2  # one of them ends by itself before the cancellation is there
    assert late.tokens == 52
    assert late.sequential_tokens == at_once.sequential_tokens == 10


def test_a_cut_at_max_tokens_takes_the_answer_and_a_budget_holds():
    pool = pool_of()
    cut = replay(pool, "majority_vote:n=4", max_tokens=50)
    assert all(o.tokens <= 200 for o in cut.outcomes)
    assert cut.rows[0].accuracy.mean < replay(pool, "majority_vote:n=4").rows[0].accuracy.mean
    spent = replay(pool, "majority_vote:n=none", budgets="tokens=600", max_tokens=200)
    assert all(o.tokens <= 600 for o in spent.outcomes)
    assert max(o.samples for o in spent.outcomes) > 3
    with pytest.raises(BudgetTooSmall):
        replay(pool, "majority_vote:n=none", budgets="tokens=100", max_tokens=200)


def test_a_run_s_budget_is_each_cell_s_own():
    pool = pool_of()
    found = replay(pool, "majority_vote:n=2,8", run_budget="samples=24", seeds=2)
    by_cell = Counter()
    for o in found.outcomes:
        by_cell[o.cell, o.seed] += o.samples
    assert by_cell["majority_vote:n=2", 0] == by_cell["majority_vote:n=2", 1] == 12
    assert by_cell["majority_vote:n=8", 0] == by_cell["majority_vote:n=8", 1] == 24


def test_a_verification_costs_what_it_is_said_to():
    pool = pool_of()
    free = replay(pool, "best_of_n:n=3,verifier=rm").rows[0]
    paid = replay(pool, "best_of_n:n=3,verifier=rm", verifier_tokens={"rm": 7}).rows[0]
    assert (free.verifier_tokens, free.unpriced, paid.unpriced) == (0, 3, 0)
    cells = [{str(cell) for column in rows_table([row]).columns for cell in column.cells} for row in (free, paid)]
    assert "without scoring" in cells[0]
    assert "without scoring" not in cells[1]
    assert paid.verifier_tokens == 21
    assert paid.tokens == free.tokens + 21
    assert paid.accuracy == free.accuracy
    assert paid.samples == 6


def test_prices_and_reports_are_as_of_a_sweep(tmp_path):
    found = replay(pool_of(), "majority_vote:n=2,4", price_out=1.0, price_in=0.0, out=tmp_path)
    assert found.rows[0].usd == pytest.approx(found.rows[0].tokens / 1e6)
    assert found.replayed.usd == pytest.approx(found.replayed.tokens / 1e6)
    page = (tmp_path / "report.html").read_text()
    assert "in virtual time; nothing was paid" in page
    assert (tmp_path / "outcomes.jsonl").read_text().count("\n") == len(found.outcomes) == 12


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"slots": 0}, "slots must be above 0"), ({"tokens_per_s": -1.0}, "tokens_per_s"), ({"cancel_s": -1}, "cancel_s")],
)
def test_a_fleet_that_cannot_be_is_refused(fields, message):
    with pytest.raises(InvalidParameter, match=message):
        replay(pool_of(), "single", fleet=Fleet(**fields))


def test_of_several_models_or_benchmarks_one_must_be_chosen():
    rows = [Sample(b, m, "p", 0, answer="1", correct=True, completion_tokens=1) for b in "ab" for m in "mn"]
    pool = Pool.of("x", rows)
    with pytest.raises(BadPool, match="2 benchmarks: a, b"):
        replay(pool, "single")
    with pytest.raises(BadPool, match="2 models: m, n"):
        replay(pool, "single", benchmark="a")
    with pytest.raises(UnknownName, match="model"):
        replay(pool, "single", benchmark="a", model="o")
    assert replay(pool, "single", benchmark="a", model="n").rows[0].accuracy.mean == 1.0


def test_samples_without_tokens_or_verdicts_are_no_silent_zeros():
    rows = [Sample("b", "m", "p", i, answer="1", correct=True) for i in range(2)]
    with pytest.raises(PoolLacks, match=r"tokens of sample . of p were not recorded"):
        replay(Pool.of("x", rows), "single")
    rows = [Sample("b", "m", "p", i, answer="1", completion_tokens=3) for i in range(2)]
    assert replay(Pool.of("x", rows), "single").rows[0].accuracy is None


async def learning(problem, run, *, most: int = 4):
    """As many samples as have paid so far: what one problem reads is what others have added before."""
    gains = await run.recall("gains")
    found = await run.generate(n=int(max(gains, key=gains.get, default="2")))
    await run.add("gains", {str(n): 0.1 * len({c.answer for c in found[:n]}) - 0.05 * n for n in range(1, most)})
    return found[0]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 5, 64]),
    st.sampled_from([0.0, 0.7]),
    st.sampled_from(["", "tokens=600", "samples=4,tokens=900", "seconds=20"]),
)
def test_with_and_without_a_scheduler_the_same_comes_out_to_the_token_and_the_second(seed, slots, cancel_s, share):
    """A budget of the run brings the scheduler in; one that never binds must change nothing."""
    pool = pool_of(problems=4, n=9, seed=seed)
    texts = [
        "majority_vote:n=5",
        "majority_vote:n=9,stop_at=0.8",
        "majority_vote:n=9,stop_at=0.8,min_in_flight=9",
        "esc:n=9,window=3",
        "first_finish:n=6,k=2",
        "best_of_n:n=3,verifier=rm",
        "genrm:n=2,verifications=3,verifier=judge",
        learning,
    ]
    fleet = Fleet(slots=slots, tokens_per_s=10.0, cancel_s=cancel_s)
    options = {"fleet": fleet, "seeds": 2, "budgets": share, "verifier_tokens": {"rm": 3}, "max_tokens": 200}
    alone = replay(pool, texts, **options)
    conducted = replay(pool, texts, run_budget="samples=1m", **options)
    assert alone.outcomes == conducted.outcomes
    assert alone.replayed == conducted.replayed


@settings(deadline=None, max_examples=2)
@given(st.integers(0, 10**6))
def test_the_strategies_and_the_estimators_agree(seed):
    """Two ways to the same number: the coroutines over shuffles, and the formulas over subsets."""
    pool, shuffles = pool_of(problems=5, n=9, seed=seed), 150
    grid = Grid.of(pool)
    cases = {
        "majority_vote:n=4": majority(grid, [4]),
        "first_finish:n=4": shortest(grid, [4]),
        "first_finish:n=5,k=3": first_finishers(grid, [5], 3),
        "best_of_n:n=4,verifier=rm": best_of(grid, [4], "rm"),
        "best_of_n:n=4,verifier=rm,selector=weighted_majority": majority(grid, [4], score="rm"),
    }
    found = replay(pool, list(cases), seeds=shuffles)
    for row, curve in zip(found.rows, cases.values(), strict=True):
        outcomes = [o for o in found.outcomes if o.cell == row.cell]
        assert len(outcomes) == shuffles * len(grid.problems)
        # A shuffle's answer is right or wrong: at most this much noise in the mean of them all.
        noise = 0.5 / len(outcomes) ** 0.5
        assert abs(row.accuracy.mean - curve.mean()[0]) < 5 * noise, row.cell
        noise = standard_error(o.tokens for o in outcomes)
        assert abs(row.tokens - curve.tokens.mean()) < 5 * noise, row.cell
        noise = standard_error(o.sequential_tokens for o in outcomes)
        assert abs(row.sequential_tokens - curve.sequential.mean()) < 5 * noise, row.cell


@pytest.mark.parametrize("run_budget", ["", "samples=1k"])
def test_the_id_of_a_problem_may_hold_slashes(run_budget):
    rows = [Sample("b", "m", f"Set/{p}/x", i, "1", p > 0, completion_tokens=5) for p in range(2) for i in range(3)]
    found = replay(Pool.of("x", rows), "majority_vote:n=3", run_budget=run_budget, report=False)
    assert {o.problem_id: o.correct for o in found.outcomes} == {"Set/0/x": False, "Set/1/x": True}


def test_requests_beyond_the_slots_wait_on_their_replica_and_the_makespan_shows_it() -> None:
    pool = pool_of()
    few = replay(pool, "majority_vote:n=4", fleet=Fleet(replicas=2, slots=2, tokens_per_s=10.0))
    many = replay(pool, "majority_vote:n=4", fleet=Fleet(replicas=2, slots=2, tokens_per_s=10.0, in_flight=64))
    wide = replay(pool, "majority_vote:n=4", fleet=Fleet(replicas=2, slots=64, tokens_per_s=10.0))
    assert {o.answer for o in few.outcomes} == {o.answer for o in many.outcomes}
    assert few.rows[0].makespan_s is not None and many.rows[0].makespan_s is not None
    assert wide.rows[0].makespan_s is not None
    assert wide.rows[0].makespan_s < many.rows[0].makespan_s <= 1.5 * few.rows[0].makespan_s


async def put_together(problem, run, *, n: int = 3):
    """Two parts, and an answer of the strategy's own wording."""
    voted = await run.solve("majority_vote", n=n)
    other = await run.solve("majority_vote", n=n, limits=f"samples={n - 1}")
    return run.propose(f"Answer: {voted.answer if voted.answer is not None else other.answer}", [voted, other])


def test_parts_are_replayed_and_an_answer_that_was_put_together_has_the_verdict_of_the_recorded_ones():
    pool = pool_of(problems=6, n=12)
    (vote,), (own,) = (replay(pool, [s], seeds=3).rows for s in ("majority_vote:n=3", put_together))
    assert own.errors == 0
    assert own.accuracy == vote.accuracy
    assert own.candidates == (5 + 1) * 6 * 3
