"""How many tokens a sample may have where nobody says: `tts.sweeps.with_max_tokens`, and what a run makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Problem, Sampling
from tts.budget import Limits
from tts.costs import CostModel, ModelCost, Price
from tts.errors import BudgetTooSmall
from tts.runfolder import JOURNAL
from tts.sweeps import Cell, with_max_tokens
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
        refused = tts.solve("?", "single", base_url=engine.base_url, sampling=Sampling(max_tokens=4096))
    assert refused.error is not None and "lower max_tokens" in refused.error.message


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
        assert tts.api.report(folder).sampling.max_tokens == number
        assert f"max_tokens {number}" in (folder / "report.html").read_text()
