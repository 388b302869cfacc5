"""How many tokens a sample may have where nobody says: `tts.runs.plan.with_max_tokens`, and what a run makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Problem, Sampling
from tts.core.budget import Limits
from tts.errors import BudgetTooSmall
from tts.models.cost_model import CostModel, ModelCost
from tts.models.prices import Price
from tts.models.wire.failures import error_of
from tts.runs.folder import JOURNAL
from tts.runs.plan import Cell, with_max_tokens
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply, tokenize
from tts.types import LEAST_MAX_TOKENS, StrategySpec

SPEC = StrategySpec("single")
PRICED = CostModel({"m": ModelCost(Price.per_million(input=1, output=10))}, "m")


def chosen(
    *shares: str, run: str = "", context: int | None = None, costs: CostModel = PRICED, given: int | None = None
) -> int | None:
    cells = [Cell(SPEC, Limits.parse(share), 0) for share in shares or ("",)]
    sampling = Sampling(max_tokens=given)
    return with_max_tokens(sampling, cells, [Problem("p", "?")], costs, Limits.parse(run), context).max_tokens


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (chosen(), 16384),
        (chosen("samples=3,seconds=9"), 16384),  # neither is a limit on tokens
        (chosen("tokens=65536"), 16384),
        (chosen("tokens=65535"), 8192),
        (chosen("tokens=64k", "tokens=9k"), 2048),  # one number for all cells: the smallest budget decides
        (chosen("tokens=2k"), 512),
        (chosen("tokens=600"), 512),
        (chosen(run="tokens=8192"), 2048),
        (chosen("tokens=64k", run="tokens=1m"), 8192),
        (chosen(context=131_072), 16384),
        (chosen(context=32_768), 16384),
        (chosen(context=8192), 4096),
        (chosen(context=1024), 512),
        (chosen(context=600), 300),
        (chosen("tokens=16k", context=4096), 2048),
        (chosen("usd=0.1"), 2048),  # a token costs $1e-5, the prompt next to nothing
        (chosen("usd=0.0001"), 512),
        (chosen("tokens=2k", context=1024, given=7), 7),
        (chosen("tokens=2k", given=40_000), 40_000),
    ],
)
def test_a_sample_may_have_what_context_and_smallest_budget_allow(found: int | None, expected: int) -> None:
    assert found == expected


def thinks(tokens: int) -> Any:
    """A model that thinks for so many tokens before it answers."""
    return lambda request: Reply(tokenize("The answer is \\boxed{7}."), reasoning=("hm ",) * tokens)


def test_a_thinking_model_comes_to_its_end_by_default() -> None:
    with FakeEngine(thinks(6_000)) as engine:
        solved = tts.solve("What is 3 + 4?", "single", base_url=engine.base_url)
    assert solved.answer == "7"
    assert solved.warnings == []
    assert solved.candidates[0].tokens > 6_000


def test_a_server_that_says_how_long_its_context_is_is_asked_for_no_more() -> None:
    """vLLM refuses a request whose prompt and max_tokens together do not fit."""
    with FakeEngine(thinks(10), context_tokens=4096) as engine:
        assert tts.solve("What is 3 + 4?", "single", base_url=engine.base_url).answer == "7"
        assert engine.requests[-1]["max_tokens"] == 2048
        with pytest.raises(tts.EndpointError, match="lower max_tokens"):
            tts.solve("?", "single", base_url=engine.base_url, sampling=Sampling(max_tokens=4096))


def test_small_budgets_work_as_they_always_did_and_too_small_ones_say_what_to_change() -> None:
    with FakeEngine(thinks(10)) as engine:
        solved = tts.solve("What is 3 + 4?", "majority_vote:n=8", budget="tokens=2k", base_url=engine.base_url)
        assert (solved.answer, len(solved.candidates), solved.exhausted) == ("7", 8, False)
        with pytest.raises(BudgetTooSmall, match=r"lower max_tokens \(now 512\)"):
            tts.solve("What is 3 + 4?", "single", budget="tokens=500", base_url=engine.base_url)


def test_the_number_is_in_the_journal_and_in_the_result(tmp_path: Path) -> None:
    for budget, number in (("", 16384), ("tokens=8k", 1024), ("tokens=1k", LEAST_MAX_TOKENS)):
        folder = tmp_path / str(number)
        with FakeEngine(thinks(1)) as engine:
            again = [
                tts.sweep("arithmetic?size=2", "single", budgets=budget, base_url=engine.base_url, out=folder)
                for _ in range(2)  # the second finds the run complete, under the same configuration
            ]
        assert {result.sampling.max_tokens for result in again} == {number}
        header = json.loads((folder / JOURNAL).read_text().splitlines()[0])
        assert header["config"]["sampling"].get("max_tokens", LEAST_MAX_TOKENS) == number
        assert tts.api.report.report(folder).sampling.max_tokens == number
        assert f"max_tokens {number}" in (folder / "report.html").read_text()


@pytest.mark.parametrize("call", ["solve", "sweep"])
def test_more_tokens_than_the_context_holds_stop_the_run_at_the_first_refusal(call: str) -> None:
    sampling = {"max_tokens": 300}
    with FakeEngine(thinks(10), context_tokens=300) as engine, pytest.raises(tts.EndpointError) as caught:
        if call == "solve":
            tts.solve("1 + 1?", "majority_vote:n=40", sampling=sampling, base_url=engine.base_url, concurrency=2)
        else:
            tts.sweep("arithmetic?size=40", "single", sampling=sampling, base_url=engine.base_url, concurrency=2)
    assert engine.stats().requests <= 2
    assert "maximum context length is 300 tokens" in str(caught.value) and "lower max_tokens" in str(caught.value)


def test_one_prompt_that_is_too_long_for_the_context_stops_nobody_elses() -> None:
    problems = [tts.Example(tts.Problem("long", "word " * 400)), tts.Example(tts.Problem("short", "1 + 1?"), "2")]
    with FakeEngine(thinks(10), context_tokens=300) as engine:
        swept = tts.sweep(problems, "single", sampling={"max_tokens": 200}, base_url=engine.base_url)
    assert [outcome.error is None for outcome in swept.outcomes] == [False, True]


@pytest.mark.parametrize(
    ("said", "below"),
    [
        ("This model's maximum context length is 8192 tokens and your request has 20 input tokens", 8192),
        ("exceeds the model's maximum context length of 4,096 tokens. You requested a total of 200020 tokens", 4096),
        ("max_tokens is too large: 99999. This model supports at most 16384 completion tokens", 16385),
        ("`max_tokens` must be less than or equal to `8192`, the maximum for this model", 8193),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8193),
        ("the request exceeds the available context size (8192 tokens), try increasing it", None),
    ],
)
def test_what_a_server_allows_at_most_is_read_from_its_refusal(said: str, below: int | None) -> None:
    error = error_of(400, {}, json.dumps({"error": {"message": said}}).encode(), "http://x/v1", "m")
    assert error.facts.get("max_tokens_below") == below
