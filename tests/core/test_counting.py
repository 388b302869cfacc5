"""Counts of tokens by the tokenizers of servers: exact where there is one to ask, else a bound, and in the journal."""

from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Candidate, Problem, Run
from tts.core.actions import Count, Counted, Failed, Finished, Request, prompt_bound
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.trial import Trial
from tts.errors import InvalidParameter, ServerFailed
from tts.models.cost_model import CostModel, ModelCost
from tts.runs.folder import read_records
from tts.testing import StrategyContract
from tts.testing.engine import FakeEngine, Flavour
from tts.testing.replies import Reply
from tts.types import ErrorInfo, Message, Sampling, StrategySpec, TokenCount

CONTEXT = 1000
COSTS = CostModel({"solver": ModelCost(context_tokens=CONTEXT), "small": ModelCost()}, "solver")
TURNS = (Message("system", "Be brief."), Message("user", "How many are two and two?"))


async def counting(problem: Problem, run: Run) -> Candidate:
    """Sample once, of as many tokens as the prompt leaves room for."""
    counted = await run.count_prompt()
    room = 8 if counted.room is None else counted.room
    return (await run.generate(max_tokens=min(8, max(1, room))))[0]


class TestCounting(StrategyContract):
    strategy = counting


def trial(strategy: Any) -> Trial:
    sampling = Sampling(max_tokens=10)
    return Trial("c/p", Problem("p", "How many?"), strategy, StrategySpec("tried"), costs=COSTS, sampling=sampling)


@pytest.mark.parametrize(("said", "exact"), [(30, True), (None, False)])
def test_a_count_is_the_tokenizers_or_a_bound_that_says_so(said: int | None, exact: bool) -> None:
    seen: list[TokenCount] = []

    async def asks(problem: Problem, run: Run) -> Candidate:
        seen.append(await run.count_prompt(TURNS))
        seen.append(await run.count_prompt(TURNS, model="small"))
        seen.append(await run.count_tokens("é" * 7))
        return (await run.generate())[0]

    tried = trial(asks)
    actions = tried.start()
    while isinstance(action := actions[0], Count):
        actions = tried.tell(Counted(action.id, 0.0, said))
    tried.tell(Finished(action.id, 1.0, tts.Completion("Answer: 1")))
    assert tried.result.error is None
    bound = prompt_bound(Request(TURNS))
    tokens = bound if said is None else said
    assert seen == [
        TokenCount(tokens, exact, CONTEXT - tokens),
        TokenCount(tokens, exact, None),  # nobody knows how large the small model's context is
        TokenCount(14 if said is None else said, exact, None),
    ]


@pytest.mark.parametrize(
    ("flavour", "tokenizes", "of_text", "of_prompt"),
    [
        ("vllm", True, True, True),
        ("llamacpp", True, True, True),
        ("sglang", True, True, False),  # its tokenizer takes no chats
        ("openai", True, False, False),
        ("vllm", False, False, False),  # an older version, or a gateway that passes on the API alone
    ],
)
def test_the_count_of_a_prompt_is_what_its_server_charges(
    flavour: Flavour, tokenizes: bool, of_text: bool, of_prompt: bool
) -> None:
    seen: list[tuple[TokenCount, TokenCount]] = []

    async def asks(problem: Problem, run: Run) -> Candidate:
        counted = await run.count_prompt(TURNS), await run.count_tokens("one two three")
        (found,) = await run.generate(TURNS)
        if found.completion.usage.prompt_tokens == 12:  # not in the rehearsal
            seen.append(counted)
        return found

    with FakeEngine(lambda _: Reply(("4",)), flavour=flavour, tokenizes=tokenizes) as engine:
        tts.solve("How many?", asks, base_url=engine.base_url)
    bound = prompt_bound(Request(TURNS))
    assert seen == [
        (
            TokenCount(12 if of_prompt else bound, of_prompt),
            TokenCount(3 if of_text else 13, of_text),
        )
    ]


def test_a_prefix_counts_with_its_prompt() -> None:
    seen: list[int] = []

    async def asks(problem: Problem, run: Run) -> Candidate:
        counted = await run.count_prompt(continue_from="so far so good")
        (found,) = await run.generate(continue_from="so far so good")
        seen.append(counted.tokens - found.completion.usage.prompt_tokens)
        return found

    with FakeEngine(lambda _: Reply(("4",))) as engine:
        tts.solve("How many?", asks, base_url=engine.base_url)
    assert seen[-1] == 0


async def asks_for_more(problem: Problem, run: Run) -> Candidate:
    counted = await run.count_prompt()
    found = await run.generate(n=2)
    await run.generate(f"{counted.tokens} more")
    return found[0]


def test_a_resumed_trial_is_told_its_count_again_and_asks_nobody(tmp_path: Path) -> None:
    with FakeEngine(lambda _: Reply(("4",))) as engine:
        whole = tts.solve("How many are they?", asks_for_more, base_url=engine.base_url, out=tmp_path)
        journal = tmp_path / "journal.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True)
        last = max(i for i, record in enumerate(read_records(journal)) if isinstance(record, Finished))
        journal.write_bytes(b"".join(lines[:last]))  # killed before the last sample had come
        again = tts.solve("How many are they?", asks_for_more, base_url=engine.base_url, out=tmp_path)
        prompts = [request["messages"][-1]["content"] for request in engine.requests]
        assert engine.stats().counted == 1
    assert prompts == ["How many are they?"] * 2 + ["6 more"] * 2
    assert again.answer == whole.answer


def test_a_count_waits_for_a_server_that_is_away_and_is_not_replaced_by_a_bound() -> None:
    async def asks(problem: Problem, run: Run) -> Candidate:
        await run.count_prompt()
        return (await run.generate())[0]

    plan = [Planned("c", Problem("p", "How many?"), StrategySpec("asks"))]
    scheduler = Scheduler(plan, lambda _: asks, costs=COSTS, sampling=Sampling(max_tokens=8))
    (count,) = scheduler.start().actions
    assert isinstance(count, Count)
    for at_s in (1.0, 2.0):
        verdict, failed = scheduler.judge(Failed(count.id, at_s, ErrorInfo.of(ServerFailed("it restarts"))))
        assert isinstance(verdict, float) and verdict > 0
        assert scheduler.retry(failed).actions == [count]
    verdict, _ = scheduler.judge(Failed(count.id, 400.0, ErrorInfo.of(ServerFailed("it is gone"))))
    assert verdict == "stop"  # nobody has answered for as long as the run is patient
    (sample,) = scheduler.tell([Counted(count.id, 401.0, 9)]).actions
    assert sample.id != count.id
    assert scheduler.ledger.spent == tts.types.Cost()


def test_what_is_no_text_is_refused() -> None:
    async def asks(problem: Problem, run: Run) -> Candidate:
        await run.count_tokens(3)  # type: ignore[arg-type]
        raise AssertionError

    tried = trial(asks)
    tried.start()
    with pytest.raises(InvalidParameter, match="the text to be counted must be text, but got 3"):
        raise tried.result.error.rebuild()  # type: ignore[union-attr]
