"""Allocators over the calls of a client: each call ends where its samples are worth their cost no more."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import tts
from tts.api.serving.allocation import as_allocation
from tts.core.allocation.allocator import Allocator, Bid, Outlook, Prior, Standing
from tts.core.allocation.shared_budget import MOST_PRIOR, SharedBudget
from tts.core.allocation.streams import MOST_STREAMS, Streams
from tts.core.budget import Limits
from tts.core.journal.records import Repriced
from tts.errors import InvalidParameter, PoolLacks, TTSError
from tts.models.cost_model import CostModel
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool, Sample
from tts.pools.priors import prior_of
from tts.types import Cost

OPEN = "majority_vote:n=none"


async def model(request: tts.Request) -> tts.Completion:
    """Right nearly always where the prompt says that it is easy."""
    await asyncio.sleep(0)
    prompt = request.messages[-1].content
    drawn = random.Random(f"{request.seed}{prompt}")
    answer = 7 if drawn.random() < (0.97 if "easy" in prompt else 0.5) else drawn.choice([1, 2, 3])
    return tts.Completion(f"Answer: {answer}", usage=tts.Usage(5, 4))


def using(use: Callable[[tts.Client], Awaitable[None]], **options: Any) -> None:
    async def within() -> None:
        async with tts.Client(model=model, sampling={"max_tokens": 16}, concurrency=8, **options) as client:
            await use(client)
            assert client.in_flight == client.waiting == 0

    asyncio.run(within())


def test_calls_side_by_side_get_samples_as_long_as_these_are_worth_their_price() -> None:
    async def use(client: tts.Client) -> None:
        prompts = [f"{kind} {n}" for n in range(12) for kind in ("easy", "hard")]
        solved = await asyncio.gather(*(client.solve(prompt, OPEN, caller=prompt) for prompt in prompts))
        easy, hard = (sum(len(one.candidates) for one in solved[first::2]) for first in (0, 1))
        assert easy < hard and client.spent.samples == easy + hard
        assert not any(one.exhausted for one in solved)

    using(use, allocator="price")


def test_a_calls_own_budget_holds_under_an_allocator_and_a_strategy_with_a_number_spends_that() -> None:
    async def use(client: tts.Client) -> None:
        assert len((await client.solve("hard", OPEN, budget="samples=3")).candidates) == 3
        assert len((await client.solve("hard", "majority_vote:n=5")).candidates) == 5
        assert len((await client.solve("hard", OPEN, allocator="equal", budget="samples=9")).candidates) == 9
        with pytest.raises(InvalidParameter, match="fixed number of samples"):
            await client.solve("hard", "majority_vote:n=5", allocator="price")

    using(use, allocator="price:price=0.0001,pilot=4")


def test_a_call_without_time_for_another_sample_answers_with_those_it_has() -> None:
    async def use(client: tts.Client) -> None:
        solved = await client.solve("hard", OPEN, allocator="deadline:slack=100,pilot=2", budget="seconds=0.5")
        assert len(solved.candidates) >= 2 and solved.answer is not None

    using(use)


def test_a_cancelled_call_leaves_nothing_to_its_allocator() -> None:
    async def use(client: tts.Client) -> None:
        calls = [asyncio.ensure_future(client.solve(f"hard {n}", OPEN)) for n in range(20)]
        await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await client.solve("easy", OPEN)).answer == "7"
        assert client._opened().scheduler._shared_budgets == {}

    using(use, allocator="price")


@pytest.mark.parametrize(
    ("text", "words"),
    [("marginal", "ranks the problems of a closed set"), ("uniform", r"decides on each by itself \(deadline, price\)"),
     ("pric", "Did you mean 'price'"), ("price:price=0.1,0.2", "must be one"), ("price:price=9", "from 1e-09 to 1")],
)  # fmt: skip
def test_an_allocator_that_cannot_work_on_calls_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(TTSError, match=words):
        as_allocation(text)
    with pytest.raises(TTSError, match=words):
        tts.Client(model=model, allocator=text)


def test_a_pool_says_what_a_sample_costs_and_how_often_two_agree(tmp_path: Path) -> None:
    rows = [Sample("b", "Model", f"p{p}", n, answer=str(n % 2 if p else 7), completion_tokens=4 + 2 * n, seconds=0.5)
            for p in range(2) for n in range(3)]  # fmt: skip
    failed = Sample("b", "Model", "p0", 9, error="away", completion_tokens=1000)
    pool = Pool.of("served", [*rows, failed], keep_text=False)
    found = prior_of(pool, "Model", CostModel())
    assert (found.samples, found.cost.tokens, found.seconds, found.pairs, found.agreed) == (6, 6, 0.5, 2, 1)
    with pytest.raises(PoolLacks, match="no samples of the model other"):
        prior_of(pool, "other", CostModel())

    file = write_pool(pool, tmp_path / "p.parquet")

    async def use(client: tts.Client) -> None:
        assert (await client.solve("easy", OPEN)).answer == "7"

    with pytest.raises(PoolLacks, match="of the model model"):
        using(use, allocator="price", allocator_pool=file)


def test_a_stream_begins_with_its_prior_and_only_idle_streams_are_forgotten() -> None:
    seen: list[Outlook] = []

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        seen.append(outlook)
        return Bid(0.5)

    rule = Allocator(bid, compares=False)
    streams = Streams(CostModel(), Prior(10 * MOST_PRIOR, Cost(1, 50), 2.0, 10 * MOST_PRIOR, 9 * MOST_PRIOR))
    stream = streams.of("first", rule)
    stream.wake(None)
    (priced,) = [record for record in stream.records if isinstance(record, Repriced)]
    assert (priced.samples, priced.mean[1], priced.seconds, priced.pairs) == (MOST_PRIOR, 50, 2.0, MOST_PRIOR)
    assert abs(priced.agreed / priced.pairs - 0.9) < 0.01
    assert isinstance(stream, SharedBudget) and stream.ledger.limits == Limits()
    stream.open("c/p", "p", {})
    for n in range(2 * MOST_STREAMS):
        streams.of(str(n), rule)
    assert streams.of("first", rule) is stream
    last = streams.of("127", rule)
    assert streams.of("127", rule) is last and not seen
