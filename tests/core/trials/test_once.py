"""A coroutine whose value several chains share (`Run.once`): who pays for it, and what becomes of it on the way."""

from typing import Any

import pytest

from tts import Candidate, Limits, Problem, Run
from tts.core.actions import Request
from tts.core.trials.seeds import once_path
from tts.errors import ServerFailed
from tts.testing import Outcome, Sample, ScriptedCluster
from tts.types import Message


def ran(strategy: Any, script: Any = None, **how: Any) -> Outcome:
    outcome = ScriptedCluster(script or (lambda request, number: Sample(text=f"{number}")), **how).run(strategy)
    assert outcome.result.error is None, outcome.result.error
    return outcome


async def opinion(run: Run, key: object = "it") -> str:
    (reply,) = await run.once(key, lambda: run.ask("Your opinion?"))
    return reply.text


def opinions(outcome: Outcome) -> int:
    return outcome.prompts.count("Your opinion?")


def test_chains_at_the_same_time_and_later_ones_have_one_value_that_was_paid_once() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        first = await run.gather(*(opinion(run) for _ in range(3)))
        assert len({*first, await opinion(run)}) == 1
        assert await opinion(run, "else") not in first
        return (await run.generate())[0]

    outcome = ran(strategy)
    assert opinions(outcome) == 2
    assert outcome.result.bill.verifier.samples == 2


def test_samples_have_keys_by_the_name_of_the_coroutine_where_it_is_the_same_in_any_process() -> None:
    assert once_path((None, ("prm", 1, (Message("user", "a"),)))) == once_path(
        (None, ("prm", 1, (Message("user", "a"),)))
    )
    assert once_path(("a", "b")) != once_path(("ab",)) != once_path(("a", "c"))
    assert once_path(object()) is once_path(("a", frozenset("ab"))) is None


def test_a_value_is_of_the_model_that_was_asked() -> None:
    async def part(problem: Problem, run: Run) -> Candidate:
        return run.propose(await opinion(run))

    async def strategy(problem: Problem, run: Run) -> Candidate:
        found = [await run.solve(part, model=model) for model in ("small", "large", "small")]
        assert found[0].text == found[2].text != found[1].text
        return found[0]

    assert [action.request.model for action in ran(strategy).generated] == ["small", "large"]


def test_what_failed_is_begun_again_by_the_next_chain_that_waits() -> None:
    def script(request: Request, number: int) -> Sample:
        return Sample(error=ServerFailed("down", endpoint="e", status=500)) if number < 2 else Sample(text="fine")

    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert await run.gather(*(opinion(run) for _ in range(4))) == ["fine", "fine"]  # two chains failed
        return run.propose("4")

    assert opinions(ran(strategy, script)) == 3


async def impatient(run: Run) -> str:
    async with run.race(opinion(run), run.sleep(0.5)) as done:
        return str(await anext(done))


async def late(run: Run, chain: Any) -> str:
    await run.sleep(0.1)
    return str(await chain)


def test_what_its_caller_left_is_cancelled_and_begun_again_by_a_chain_that_waits() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert await run.gather(impatient(run), late(run, opinion(run))) == ["None", "1"]
        return run.propose("4")

    outcome = ran(strategy)
    assert opinions(outcome) == 2 and len(outcome.cancelled) == 1
    assert outcome.seconds == pytest.approx(1.5)


def test_a_chain_that_waited_may_leave_and_the_value_still_comes() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        assert await run.gather(opinion(run), late(run, impatient(run))) == ["0", "None"]
        return run.propose("4")

    outcome = ran(strategy)
    assert opinions(outcome) == 1 and outcome.seconds == pytest.approx(1.0)


def test_each_chain_that_waits_is_refused_by_its_own_budget() -> None:
    async def part(problem: Problem, run: Run) -> Candidate:
        return run.propose(await opinion(run))

    async def strategy(problem: Problem, run: Run) -> Candidate:
        poor = run.solve(part, limits="tokens=1")
        (found,) = await run.gather(poor, run.solve(part, limits="samples=1"))
        return found

    assert opinions(ran(strategy, budget=Limits(samples=3))) == 1


def test_a_value_that_was_waited_for_lengthens_the_longest_chain_of_those_who_use_it() -> None:
    async def strategy(problem: Problem, run: Run) -> Candidate:
        await opinion(run)

        async def uses_it() -> Candidate:
            await opinion(run)
            return (await run.generate())[0]

        (found,) = await run.gather(uses_it())
        return found

    assert ran(strategy).result.bill.sequential_tokens == 20
