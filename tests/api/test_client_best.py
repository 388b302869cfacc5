"""A client's call may ask for the best answers, not for one alone, and hears of the choice before its bill."""

import asyncio
from collections.abc import Iterable
from typing import Any

import tts
from tts import Candidate, Problem, Run
from tts.core.actions import Event, Generate, Verify
from tts.core.result import Result
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Cost


def ranked(texts: Iterable[str], strategy: Any, best: int) -> list[str]:
    replies = iter(texts)

    async def model(request: tts.Request) -> tts.Completion:
        return tts.Completion(next(replies), usage=tts.Usage(5, 4))

    async def within() -> tts.Solved:
        async with tts.Client(model=model, sampling={"max_tokens": 40}) as client:
            return await client.solve("?", strategy, best=best)

    solved = asyncio.run(within())
    assert solved.error is None and solved.ranked[0] == solved.selected
    assert len({candidate.id for candidate in solved.ranked}) == len(solved.ranked)
    return [candidate.answer or candidate.text for candidate in solved.ranked]


VOTES = ["Answer: 7", "Answer: 12", "Answer: 9", "Answer: 12", "Answer: 9", "Answer: 12"]


def test_the_next_best_have_the_next_most_votes_and_no_answer_is_repeated_before_all_were_said() -> None:
    assert ranked(VOTES, "majority_vote:n=6", 3) == ["12", "9", "7"]
    assert ranked(VOTES, "majority_vote:n=6", 5) == ["12", "9", "7", "12", "9"]
    assert ranked(VOTES, "majority_vote:n=6", 9) == ["12", "9", "7", "12", "9", "12"]
    assert ranked(VOTES, "majority_vote:n=6", 1) == ["12"]


def test_the_next_best_of_a_scored_choice_have_the_next_best_scores() -> None:
    async def brief(problem: Problem, run: Run, *, n: int = 4) -> Candidate:
        run.fallback = lambda found, scores: min(found, key=lambda each: len(each.text), default=None)
        return run.pick(await run.generate(n=n))

    assert ranked(["aaa", "a", "aaaa", "aa"], brief, 3) == ["a", "aa", "aaa"]


def test_a_part_has_the_next_best_where_the_strategy_itself_has_one_candidate() -> None:
    async def outer(problem: Problem, run: Run) -> Candidate:
        return await run.solve("majority_vote:n=6")

    assert ranked(VOTES, outer, 3) == ["12", "9", "7"]


def test_a_selector_that_fails_or_chooses_what_is_gone_costs_no_answer() -> None:
    async def stubborn(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=3)
        run.fallback = lambda among, scores: found[1]
        return found[1]

    async def failing(problem: Problem, run: Run) -> Candidate:
        found = await run.generate(n=3)
        run.fallback = lambda among, scores: 1 / 0  # type: ignore[return-value]
        return found[0]

    assert ranked(["a", "b", "c"], stubborn, 3) == ["b", "a", "c"]
    assert ranked(["a", "b", "c"], failing, 3) == ["a"]


class Heard:
    """Keeps what it hears, in its order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.decision = asyncio.Event()

    def opened(self) -> None: ...

    def heard(self, event: Event) -> None: ...

    def began(self, action: Generate | Verify) -> None:
        self.told.append("began")

    def decided(self, result: Result) -> None:
        self.told.append(f"decided {result.answer}")
        self.decision.set()

    def paid(self, cost: Cost) -> None:
        self.told.append("paid")


def test_the_choice_of_a_race_is_heard_before_the_losers_have_ended() -> None:
    heard: list[str] = []

    def script(request: dict[str, Any]) -> Reply:
        heard.append("")
        return Reply(("Answer:", " 7"), per_token_s=0.001 if len(heard) == 1 else 3600.0)

    async def within(engine: FakeEngine) -> list[str]:
        async with tts.Client(base_url=engine.base_url, sampling={"max_tokens": 40}) as client:
            observer = Heard()
            await client.solve("?", "first_finish:n=3", observer=observer)
            return observer.told

    with FakeEngine(script) as engine:
        assert asyncio.run(within(engine)) == ["began"] * 3 + ["decided 7", "paid"]


def test_an_observer_that_fails_costs_neither_its_call_nor_the_others_their_answers() -> None:
    class Failing(Heard):
        def opened(self) -> None:
            raise ValueError("mine")

        def heard(self, event: Event) -> None:
            raise ValueError("mine")

    async def model(request: tts.Request) -> tts.Completion:
        return tts.Completion("Answer: 7", usage=tts.Usage(5, 4))

    async def within() -> list[str]:
        failing = Failing()
        async with tts.Client(model=model, sampling={"max_tokens": 40}) as client:
            calls = client.solve("?", "single", observer=failing), client.solve("?", "majority_vote:n=3")
            assert [solved.answer for solved in await asyncio.gather(*calls)] == ["7", "7"]
        return failing.told

    assert asyncio.run(within()) == ["began", "paid"]
