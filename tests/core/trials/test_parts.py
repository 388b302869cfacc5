"""Parts, helpers, races and judges of a strategy: whose candidates they make, and whose budget they spend."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts import Candidate, Limits, Problem, Run, Score
from tts.core.actions import Cancel, Request
from tts.errors import AllFailed, InvalidParameter, ServerFailed
from tts.plugins.verifiers import made
from tts.testing import Outcome, Sample, ScriptedCluster

WHOLE = Problem("whole", "How many?")


def ran(strategy: Any, script: Any = None, **how: Any) -> Outcome:
    """The outcome of the strategy, which must have none of its asserts fail."""
    outcome = ScriptedCluster(script or said, **how).run(strategy, WHOLE)
    error = outcome.result.error
    assert error is None, error.message + str(error.facts)
    return outcome


def said(request: Request, number: int) -> Sample:
    """Helpers are told `fine`, samples an answer."""
    return Sample(text="fine" if "opinion" in request.messages[-1].content else f"Answer: {number}")


def texts(*given: str) -> list[Sample]:
    return [Sample(text=text) for text in given]


async def with_opinions(problem: Problem, run: Run) -> Candidate:
    found = await run.generate(n=2)
    opinions = await run.ask("Your opinion?", n=2)
    assert [o.text for o in opinions] == ["fine", "fine"]
    assert run.candidates == found
    await run.generate(n=10)
    return found[0]


def test_what_helps_to_decide_is_no_candidate_and_is_billed_as_verification() -> None:
    outcome = ran(with_opinions)
    result = outcome.result
    assert len(result.candidates) == 12
    assert all(c.answer != "fine" for c in result.candidates)
    assert (result.bill.answers.samples, result.bill.verifier.samples) == (12, 2)
    assert [a.helps for a in outcome.generated] == [False] * 2 + [True] * 2 + [False] * 10


def test_what_helps_to_decide_is_never_fallen_back_on() -> None:
    async def asks_first(problem: Problem, run: Run) -> Candidate:
        await run.ask("Your opinion?")
        return (await run.generate())[0]

    result = ScriptedCluster(said, budget=Limits(samples=1)).run(asks_first, WHOLE).result
    assert result.selected is None and result.error is not None and result.error.type == "BudgetExhausted"


YES = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}


async def sure(problem: Problem, run: Run) -> Candidate:
    (own,) = await run.generate()
    (reply,) = await run.ask("Sure? Your opinion:", schema=YES)
    return own if reply.parsed["sure"] else run.propose("Answer: none")


@pytest.mark.parametrize("text", ['{"sure": true}', 'Well:\n```json\n{"sure": true}\n```'])
def test_a_reply_that_meets_the_schema_is_read_as_its_value(text: str) -> None:
    outcome = ran(sure, texts("Answer: 1", text))
    assert outcome.result.answer == "1"
    assert outcome.generated[1].request.schema == YES


def test_a_reply_that_does_not_meet_the_schema_is_asked_for_once_more() -> None:
    outcome = ran(sure, texts("Answer: 1", '{"sure": "yes"}', '{"sure": false}'))
    assert outcome.result.answer == "none"
    repaired = outcome.generated[2].request
    assert [m.role for m in repaired.messages] == ["user", "assistant", "user"]
    assert "$.sure" in repaired.messages[-1].content


def test_a_schema_that_is_never_met_ends_as_an_exhausted_budget_does() -> None:
    outcome = ScriptedCluster(texts("Answer: 1", "yes", "yes!")).run(sure, WHOLE)
    assert outcome.result.answer == "1" and outcome.result.error is None

    async def alone(problem: Problem, run: Run) -> Candidate:
        await run.ask("Sure?", schema=YES)
        raise AssertionError("unreachable")

    error = ScriptedCluster(texts("yes", "yes!")).run(alone, WHOLE).result.error
    assert error is not None and error.type == "AllFailed" and "of the last one, 'yes!': it is no JSON" in error.message


def test_what_is_no_schema_is_refused_before_anything_is_asked() -> None:
    async def bad(problem: Problem, run: Run) -> Candidate:
        await run.ask("Sure?", schema={"type": "colour"})
        raise AssertionError("unreachable")

    outcome = ScriptedCluster([]).run(bad, WHOLE)
    assert outcome.result.error is not None and "JSON schema" in outcome.result.error.message
    assert not outcome.generated


async def asks(problem: Problem, run: Run, *, n: int = 3) -> Candidate:
    found = await run.generate(n=n)
    return found[-1]


def solver(limits: str = "", **how: Any) -> Any:
    async def outer(problem: Problem, run: Run) -> Candidate:
        picked = await run.solve(asks, limits=limits, **how)
        assert run.candidates == ([] if how.get("adopt") is False else [picked])
        (own,) = await run.generate()
        return own if how.get("adopt") is False else picked

    return outer


def test_a_part_has_candidates_of_its_own_and_its_pick_is_adopted_unless_told_otherwise() -> None:
    assert ran(solver()).result.answer == "2"
    assert ran(solver(adopt=False)).result.answer == "3"


def test_a_part_is_held_to_its_limits_and_the_whole_goes_on() -> None:
    outcome = ran(solver("samples=2"))
    assert outcome.result.answer == "1"  # the last of the two that the part's limits held
    assert len(outcome.generated) == 3
    assert not outcome.result.exhausted  # the budget of the whole is not: there is none


def test_what_a_part_asks_for_waits_until_what_is_in_flight_makes_room() -> None:
    async def four(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=4, max_tokens=20)  # 10 tokens each: two at a time are within 50
        assert len(found) == 4 and not run.exhausted
        return found[-1]

    async def both(problem: Problem, run: Run) -> Candidate:
        found = await run.gather(run.solve(four, limits="tokens=50"), run.solve(four, limits="tokens=50"))
        await run.solve(four)
        return found[0]

    outcome = ran(both, budget=Limits(tokens=1000))
    assert len(outcome.result.candidates) == 12
    assert outcome.seconds == 4.0  # two samples, one, one; then four at once


def test_limits_of_a_part_that_hold_nothing_are_told_and_the_fallback_decides() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        await run.generate(n=2)
        return await run.solve(asks, limits="tokens=1")

    result = ran(outer).result
    assert result.answer == "0" and not result.exhausted


def test_where_the_whole_has_no_candidate_it_falls_back_on_those_of_its_parts() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        await run.solve(last, adopt=False)
        return (await run.generate())[0]

    async def last(problem: Problem, run: Run) -> Candidate:
        run.fallback = lambda found, scores: found[-1] if found else None
        return (await run.generate(n=2))[0]

    outcome = ran(outer, budget=Limits(samples=2))
    assert outcome.result.answer == "1" and outcome.result.exhausted


def test_a_part_whose_seconds_have_passed_gives_its_fallbacks_pick() -> None:
    async def slow(problem: Problem, run: Run) -> Candidate:
        await run.generate(n=2)
        await run.sleep(100.0)
        raise AssertionError("unreachable")

    async def outer(problem: Problem, run: Run) -> Candidate:
        return await run.solve(slow, limits="seconds=10")

    outcome = ran(outer)
    assert outcome.result.answer == "0" and outcome.seconds <= 10.0


def test_a_part_of_another_problem_is_no_candidate_of_the_whole() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        other = await run.solve("majority_vote:n=3", Problem("other", "Which?"))
        assert run.candidates == []
        (own,) = await run.generate(f"Given {other.answer}: how many?")
        await run.generate(n=9)
        return own

    result = ran(outer, budget=Limits(samples=5)).result
    assert result.answer == "3"


def test_strategies_that_are_parts_of_themselves_without_end_are_told_before_anything_is_asked() -> None:
    async def loops(problem: Problem, run: Run) -> Candidate:
        return await run.solve(loops)

    outcome = ScriptedCluster([]).run(loops, WHOLE)
    assert outcome.result.error is not None and "without end" in outcome.result.error.message
    assert not outcome.generated


def test_a_race_gives_values_in_order_of_arrival_and_leaving_it_cancels_the_rest() -> None:
    async def racer(run: Run, after_s: float, name: str) -> str:
        await run.sleep(after_s)
        await run.generate()
        return name

    seen: list[str] = []

    async def outer(problem: Problem, run: Run) -> Candidate:
        async with run.race(racer(run, 30.0, "slow"), racer(run, 10.0, "fast")) as done:
            async for name in done:
                seen.append(name)
                if name == "fast":
                    done.start(racer(run, 5.0, "late"))
                else:
                    break
        return run.candidates[-1]

    outcome = ran(outer)
    assert seen == ["fast", "late"]
    assert outcome.result.error is None
    assert any(isinstance(action, Cancel) for action in outcome.actions)


def test_a_chain_of_a_race_that_failed_leaves_its_siblings_alone() -> None:
    def script(request: Request, number: int) -> Any:
        return ServerFailed("down", status=500) if "bad" in request.messages[-1].content else Sample("1")

    async def outer(problem: Problem, run: Run) -> Candidate:
        async with run.race(run.generate("bad"), run.generate("good"), run.generate("bad")) as done:
            found = [c async for (c,) in done]
        assert len(found) == 1
        return found[0]

    async def all_bad(problem: Problem, run: Run) -> Candidate:
        async with run.race(run.generate("bad"), run.generate("bad")) as done:
            async for _ in done:
                raise AssertionError("unreachable")
        raise AssertionError("unreachable")

    assert ran(outer, script).result.answer == "1"
    error = ScriptedCluster(script).run(all_bad, WHOLE).result.error
    assert error is not None and error.type == AllFailed.__name__


async def longest(problem: Problem, candidates: Any, run: Run, *, aspect: str = "length") -> list[float | None]:
    """A judge: one helper a candidate, and an abstention for the first."""
    await run.gather(*(run.ask(f"Your opinion of {aspect}?") for _ in candidates))
    assert (await run.generate())[0].answer is None  # nothing of a judge's is an answer
    return [None, *(float(i) for i in range(1, len(candidates)))]


def test_a_judge_is_named_where_a_verifier_is_and_its_requests_are_billed_as_verification() -> None:
    async def outer(problem: Problem, run: Run, *, verifier: str = "longest(aspect=style)") -> Candidate:
        found = await run.generate(n=3)
        scores = await run.verify(found, verifier)
        assert [s.value for s in scores] == [None, 1.0, 2.0]
        assert {s.verifier for s in scores} == {"longest(aspect=style)"}
        return found[2]

    judge = made(longest, "longest(aspect=style)")
    outcome = ran(outer, verifiers={"longest(aspect=style)": judge})
    assert outcome.result.answer == "2"
    assert outcome.result.bill.verifier.samples == 4
    assert any("style" in a.request.messages[-1].content for a in outcome.generated)
    assert {len(scores) for scores in outcome.result.scores.values()} == {1}


async def stepwise(problem: Problem, candidates: Any, run: Run) -> list[Score]:
    return [Score(0.5, "stepwise", "scale", steps=(1, None, 0.5)) for _ in candidates]


def test_a_judge_may_score_the_steps_of_a_text() -> None:
    async def outer(problem: Problem, run: Run, *, verifier: str = "stepwise") -> Candidate:
        found = await run.generate(n=2)
        await run.verify(found, verifier)
        return found[0]

    result = ran(outer, verifiers={"stepwise": made(stepwise, "stepwise")}).result
    assert {score.steps for scores in result.scores.values() for score in scores} == {(1.0, None, 0.5)}
    with pytest.raises(InvalidParameter, match="finite number"):
        Score(0.5, "stepwise", steps=(float("nan"),))


def test_a_judge_whose_budget_is_spent_abstains() -> None:
    async def outer(problem: Problem, run: Run, *, verifier: str = "longest") -> Candidate:
        found = await run.generate(n=3)
        assert [s.value for s in await run.verify(found, verifier)] == [None] * 3
        return found[1]

    outcome = ScriptedCluster(said, verifiers={"longest": made(longest, "longest")}, budget=Limits(samples=3)).run(
        outer, WHOLE
    )
    assert outcome.result.answer == "1" and outcome.result.exhausted


def test_what_a_judge_says_of_one_company_is_not_mixed_with_what_it_said_of_another() -> None:
    async def outer(problem: Problem, run: Run, *, verifier: str = "rank") -> Candidate:
        one, two, three = await run.generate(n=3)
        assert [s.value for s in await run.verify([one, two], verifier)] == [0.0, 1.0]
        assert [s.value for s in await run.verify([three, one], verifier)] == [0.0, 1.0]
        assert [s.value for s in await run.verify([two, one], verifier, repeats=2)] == [0.0, 1.0]
        assert run.mean_score(one, verifier).value == 0.75  # over all of them
        return one

    async def rank(problem: Problem, candidates: list[Candidate], run: Run) -> list[float]:
        return [float(place) for place, _ in enumerate(candidates)]

    assert ran(outer, verifiers={"rank": made(rank, "rank")}).result.answer == "0"


def test_at_most_so_many_chains_run_at_a_time_and_those_behind_begin_as_others_end() -> None:
    running: list[int] = [0, 0]

    async def chain(run: Run, number: int) -> int:
        running[0] += 1
        running[1] = max(running)
        await run.sleep(1.0 + number % 2)
        running[0] -= 1
        return number

    async def outer(problem: Problem, run: Run) -> Candidate:
        assert await run.gather(*(chain(run, i) for i in range(7)), max_running=3) == [*range(7)]
        return run.propose("Answer: 1")

    outcome = ran(outer)
    assert running == [0, 3] and outcome.seconds == 4.0


@pytest.mark.parametrize("max_running", [1, 2])
def test_a_chain_that_fails_keeps_those_behind_from_starting(max_running: int) -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        started = []

        async def chain(number: int) -> None:
            started.append(number)
            raise KeyError(number)

        try:
            await run.gather(*(chain(i) for i in range(5)), max_running=max_running)
        except ExceptionGroup:
            assert len(started) == max_running
        return run.propose("Answer: 1")

    ran(outer)  # pytest fails a coroutine that was never awaited


def test_less_than_one_chain_at_a_time_is_refused() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        await run.gather(run.sleep(1.0), max_running=0)
        raise AssertionError("unreachable")

    error = ScriptedCluster([]).run(outer, WHOLE).result.error
    assert error is not None and "max_running must be at least 1, but got 0" in error.message


def test_a_part_whose_seconds_pass_before_it_has_anything_ends_as_a_spent_budget_does() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        (own,) = await run.generate()
        await run.gather(run.solve(asks, limits="seconds=0.5"), run.generate())  # its siblings go on
        await run.solve(asks, limits="seconds=0.5")
        return own

    outcome = ran(outer)
    assert outcome.result.answer == "0" and len(outcome.result.candidates) == 2


def test_a_part_can_be_given_its_problem_in_other_words() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        picked = await run.solve(asks, "How many in all?", n=1)
        assert run.candidates == [picked]
        return picked

    asked = ScriptedCluster(said).run(outer, Problem("whole", "How many?", "Count.", "number")).generated
    assert [m.content for m in asked[0].request.messages] == ["Count.", "How many in all?"]


def test_a_strategy_picks_by_its_own_fallback() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        run.fallback = lambda found, scores: found[-1] if len(found) > 2 else None
        found = await run.generate(n=3)
        assert run.pick(found[:2]) is found[0]  # it makes no choice of two
        assert run.pick() is found[2]
        return run.pick([])

    assert ran(outer).result.answer == "2"  # nothing to pick from ends as an exhausted budget does


def test_what_was_paid_for_is_not_lost_where_the_fallback_picks_nothing() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        run.fallback = lambda candidates, scores: None
        await run.generate(n=2)
        return (await run.generate(n=2))[0]

    script = [*texts("I do not know", "Answer: 1"), ServerFailed("boom"), ServerFailed("boom")]
    assert ran(outer, script).result.answer == "1"
    assert ScriptedCluster(said, budget=Limits(samples=1)).run(outer, WHOLE).result.answer == "0"


def test_a_proposed_text_is_a_candidate_that_cost_nothing() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=2)
        whole = run.propose("So:\nAnswer: 12", parents=found)
        assert run.candidates == [*found, whole] and whole.parent == found[0].id
        (score,) = await run.verify([whole], "genrm")
        assert score.verifier == "genrm"  # no parameter names it: it is found when it is asked for
        return whole

    outcome = ran(outer)
    assert outcome.result.answer == "12" and outcome.result.bill.answers.samples == 2


def test_each_request_asks_the_model_of_its_call_of_its_part_or_the_first() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        await run.generate(model="large")
        await run.solve(asks, model="small", n=1)
        await run.ask("Your opinion?", model="judge")
        return (await run.generate())[0]

    outcome = ran(outer)
    assert [a.request.model for a in outcome.generated] == ["large", "small", "judge", None]


def test_a_text_can_be_continued_as_a_candidate_can() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        (first,) = await run.generate(continue_from="Let me see. ")
        assert first.text == "Let me see. Answer: 0" and first.parent is None
        (second,) = await run.generate(continue_from=first)
        assert second.parent == first.id
        return second

    outcome = ran(outer)
    assert [a.request.continue_from for a in outcome.generated] == ["Let me see. ", "Let me see. Answer: 0"]


# --- the budget, whatever is put into what


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Any:
    kind = draw(st.sampled_from(["generate", "ask", "solve", "race", "gather"] if depth else ["generate", "ask"]))
    if kind in ("generate", "ask"):
        return kind, draw(st.integers(1, 4))
    inside = draw(st.lists(trees(depth=depth - 1), min_size=1, max_size=3))
    limits = draw(st.sampled_from(["", "samples=1", "samples=3", "tokens=40", "tokens=100,samples=2"]))
    return (kind, limits, inside) if kind == "solve" else (kind, inside)


async def walk(run: Run, tree: Any) -> None:
    match tree:
        case "generate", n:
            await run.generate(n=n, max_tokens=20)
        case "ask", n:
            await run.ask("Your opinion?", n=n, max_tokens=20)
        case "solve", limits, inside:

            async def part(problem: Problem, part: Run) -> Candidate:
                before = len(part.candidates)
                assert before == 0
                for each in inside:
                    await walk(part, each)
                return (await part.generate(max_tokens=20))[0]

            await run.solve(part, limits=limits)
        case "race", inside:
            async with run.race(*(walk(run, each) for each in inside)) as done:
                async for _ in done:
                    break
        case "gather", inside:
            await run.gather(*(walk(run, each) for each in inside))


@settings(max_examples=60, deadline=None)
@given(tree=trees(), samples=st.integers(1, 12))
def test_no_nesting_of_parts_races_and_helpers_spends_more_than_any_limit_around_it(tree: Any, samples: int) -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        await run.generate(max_tokens=20)
        await walk(run, tree)
        return (await run.generate(max_tokens=20))[0]

    outcome = ran(outer, budget=Limits(samples=samples))
    result = outcome.result
    assert result.bill.total.samples <= samples
    assert result.error is None and result.selected is not None  # the first sample always fits
    assert result.selected in result.candidates


def test_a_continuation_goes_on_after_the_stop_string_that_ended_its_candidate() -> None:
    async def steps(problem: Problem, run: Run) -> Candidate:
        (step,) = await run.generate(stop="\n")
        while step.completion.stopped_by:
            (step,) = await run.generate(continue_from=step, stop="\n")
        return step

    script = [Sample(text="one", stopped_by="\n"), Sample(text="two", stopped_by="\n"), Sample(text="Answer: 3")]
    outcome = ran(steps, script)
    assert [action.request.continue_from for action in outcome.generated] == ["", "one\n", "one\ntwo\n"]
    assert outcome.result.selected is not None and outcome.result.selected.text == "one\ntwo\nAnswer: 3"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda run: run.solve(7), "a part must be the text of a strategy"),
        (lambda run: run.solve(lambda problem, run: None), "a part must be the text of a strategy"),
        (lambda run: run.solve(asks, most=3), "unexpected keyword argument 'most'"),
        (lambda run: run.generate(continue_from=3), "continue_from must be a text or a Candidate"),
        (lambda run: run.ask("x", schema={"$ref": "http://127.0.0.1:9/a.json"}), "must refer to itself only"),
        (lambda run: run.ask("x", schema={"$ref": "#/$defs/none"}), "leads nowhere"),
        (lambda run: run.call("nowhere"), "must be module:name, path/file.py:name, or :name in the strategy's own"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(mistake: Any, message: str) -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        await mistake(run)
        raise AssertionError("unreachable")

    error = ScriptedCluster(lambda request, number: Sample(text="{}")).run(outer, WHOLE).result.error
    assert error is not None and error.type == "InvalidParameter" and message in error.message


def test_a_proposed_text_that_is_none_is_refused() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        return run.propose(7)  # type: ignore[arg-type]

    error = ScriptedCluster([]).run(outer, WHOLE).result.error
    assert error is not None and "the text of a proposed candidate must be text" in error.message
