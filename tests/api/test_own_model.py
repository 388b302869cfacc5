"""`model=` as an async function of the program: what is asked, what it is charged with, and how it fails."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Completion, Request, Sampling, Usage
from tts.core.actions import prompt_bound

SHORT = Sampling(max_tokens=40)


async def says_42(request: Request) -> str:
    return "The answer is 42."


async def counts(request: Request) -> Completion:
    return Completion(f"The answer is {request.seed % 2}.", usage=Usage(11, 7))


def test_a_function_is_asked_with_messages_sampling_and_seeds_that_differ() -> None:
    asked: list[Request] = []

    async def mine(request: Request) -> str:
        asked.append(request)
        return "The answer is 42."

    solved = tts.solve("What is 19 + 23?", "majority_vote:n=5", model=mine, sampling=SHORT)
    assert solved.answer == "42"
    assert len({request.seed for request in asked}) == len(asked) == 5
    assert all("What is 19 + 23?" in request.messages[-1].content for request in asked)
    assert {request.sampling.max_tokens for request in asked} == {40}
    assert {candidate.completion.model for candidate in solved.candidates} == {"mine"}


def test_text_costs_all_that_was_reserved_and_a_completion_what_it_says() -> None:
    told = tts.solve("?", "majority_vote:n=3", model=says_42, sampling=SHORT)
    assert told.cost.tokens == 3 * 40
    assert all(candidate.completion.usage.approximate for candidate in told.candidates)
    counted = tts.solve("?", "majority_vote:n=3", model=counts, sampling=SHORT)
    assert counted.cost.tokens == 3 * 7
    assert {candidate.completion.usage for candidate in counted.candidates} == {Usage(11, 7)}


def test_a_completion_that_counts_no_prompt_is_charged_with_the_most_that_it_can_be() -> None:
    bounds: list[int] = []

    async def half(request: Request) -> Completion:
        bounds.append(prompt_bound(request))
        return Completion("The answer is 1.", usage=Usage(completion_tokens=7))

    solved = tts.solve("?", "single", model=half, price_in=1.0, price_out=0.0)
    assert solved.cost.usd == pytest.approx(bounds[0] / 1e6)
    assert solved.candidates[0].completion.usage == Usage(bounds[0], 7, approximate=True)


@pytest.mark.parametrize("model", [says_42, counts])
def test_a_budget_holds_for_a_function(model: Any) -> None:
    solved = tts.solve("?", "majority_vote:n=none", budget="tokens=300", model=model, sampling=SHORT, concurrency=3)
    assert solved.exhausted
    assert 260 < solved.cost.tokens <= 300


def test_no_more_calls_are_under_way_than_the_concurrency_allows() -> None:
    running = most = 0

    async def mine(request: Request) -> str:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1
        return "The answer is 42."

    tts.solve("?", "majority_vote:n=12", model=mine, concurrency=3)
    assert most == 3


async def raises(request: Request) -> str:
    raise KeyError("no weights")


async def gives_five(request: Request) -> Any:
    return 5


async def owes(request: Request) -> Completion:
    return Completion("x", usage=Usage(1, -3))


async def gives_up(request: Request) -> str:
    raise asyncio.CancelledError


async def waits_too_long(request: Request) -> str:
    raise TimeoutError("mine")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (raises, "the model, the function raises, raised KeyError: 'no weights'"),
        (gives_five, "the model, the function gives_five, returned 5, but must return text or a tts.Completion"),
        (owes, "whose counts must be whole numbers from 0 on"),
        (gives_up, "raised CancelledError, though nobody had cancelled it"),
        (waits_too_long, "raised TimeoutError: mine"),
    ],
)
def test_an_error_of_the_function_is_one_clear_failure_and_costs_what_was_reserved(model: Any, said: str) -> None:
    solved = tts.solve("?", "single", model=model, sampling=SHORT)
    assert solved.answer is None
    assert solved.error is not None and said in solved.error.message
    assert (solved.cost.samples, solved.cost.tokens) == (1, 40)


def test_a_cancelled_sample_cancels_its_coroutine_and_is_charged_in_full() -> None:
    cancelled: list[int] = []
    first = True

    async def mine(request: Request) -> Completion:
        nonlocal first
        if first:
            first = False
            return Completion("The answer is 42.", usage=Usage(1, 5))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(request.seed)
            raise
        raise AssertionError

    solved = tts.solve("?", "first_finish:n=4", model=mine, sampling=SHORT)
    assert solved.answer == "42"
    assert len(cancelled) == 3
    assert solved.cost.tokens == 5 + 3 * 40


def test_a_sweep_and_a_client_ask_functions_too_and_a_sweep_goes_on_in_its_folder(tmp_path: Path) -> None:
    asked = 0

    async def mine(request: Request, *, answer: str) -> Completion:
        nonlocal asked
        asked += 1
        return Completion(f"The answer is {answer}.", usage=Usage(3, 4))

    model = partial(mine, answer="5")
    for _ in range(2):
        swept = tts.sweep("arithmetic?size=3", ["single", "majority_vote:n=2"], model=model, out=tmp_path, report=False)
        assert swept.complete and swept.spent.tokens == 3 * 2 * 4
    assert asked == 6
    with tts.Client(model=model) as client:
        assert client.solve_sync("?", "single").answer == "5"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": lambda request: "42"}, "model must be a name, or a function such as `async def mine"),
        ({"model": says_42, "base_url": "http://127.0.0.1:9/v1"}, "no server is asked: leave out http://127.0.0.1:9"),
        ({"model": says_42, "verifier_model": "judge"}, "name the verifier's server with verifier_base_url"),
        ({"model": says_42, "cluster": "ray"}, "model is a function of this process, and actors are in others"),
        ({"model": 5}, "model must be text or a path or a function or None, but got a int"),
    ],
)
def test_what_a_function_cannot_be_combined_with_is_refused_before_anything_is_asked(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(tts.UsageError, match=said.replace("(", r"\(").replace("`", ".")):
        tts.solve("?", "single", **given)


def test_a_server_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert tts.solve("?", "single", model=says_42).answer == "42"
