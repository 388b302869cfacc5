"""What a run needs of its models beyond text is refused before anything is spent, where a model does not give it."""

import asyncio
from typing import Any

import pytest

import tts
from tts.clusters.engines.vllm import VLLMModel
from tts.clusters.spec import Engine
from tts.core.actions import Request
from tts.errors import CapabilityMissing
from tts.models.openai.completion_builder import CompletionBuilder
from tts.testing import FakeEngine, arithmetic
from tts.types import Message

PRM, REWARD = "best_of_n:n=2,verifier=prm", "best_of_n:n=2,verifier=reward_model"
SILENT = ("logprobs", "top_logprobs")


def solved(text: str, engine: FakeEngine, **how: Any) -> tts.Solved:
    return tts.solve("What is 2 + 2?", text, base_url=engine.base_url, **how)


async def words(request: tts.Request) -> str:
    return "Answer: 4"


async def numbers(request: tts.Request) -> str:
    return "[[0.9]]" if request.measure else "Answer: 4"


numbers.measures = True  # type: ignore[attr-defined]


def test_a_server_that_refuses_log_probabilities_is_refused_before_a_token_is_decoded() -> None:
    with FakeEngine(arithmetic(), flavour="openai", rejects=SILENT) as engine:
        with pytest.raises(CapabilityMissing, match=r"gives no log-probabilities, which the verifier prm reads.*genrm"):
            solved(PRM, engine)
        assert engine.stats().tokens == 0


def test_so_is_the_model_of_another_role_and_in_a_sweep_and_in_a_client(tmp_path: Any) -> None:
    with FakeEngine(arithmetic()) as engine, FakeEngine(arithmetic(), flavour="openai", rejects=SILENT) as judge:
        models = {"judge": {"model": "fake", "base_url": judge.base_url}}
        with pytest.raises(CapabilityMissing, match=r"the role judge: .* gives no log-probabilities"):
            solved(PRM, engine, models=models)
        with pytest.raises(CapabilityMissing, match="the role judge"):
            tts.sweep("arithmetic?size=2", PRM, base_url=engine.base_url, models=models, out=tmp_path / "run")
        with tts.Client(base_url=engine.base_url, models=models) as client, pytest.raises(CapabilityMissing):
            client.solve_sync("What is 2 + 2?", PRM)
        assert engine.stats().tokens == judge.stats().tokens == 0


def test_finding_out_costs_a_token_that_is_on_the_bill_and_nothing_of_an_engine_that_is_known_to_give_them() -> None:
    for flavour, probed in (("openai", 1), ("vllm", 0)):
        with FakeEngine(arithmetic(), flavour=flavour) as engine:
            found = solved(PRM, engine)
            assert (found.probed.tokens, found.cost.tokens) == (probed, engine.stats().tokens)


def test_a_solution_with_a_budget_spends_none_of_it_on_finding_out() -> None:
    with FakeEngine(arithmetic(), flavour="openai") as engine:
        found = solved(PRM, engine, budget="samples=4")
        assert found.result.bill.total.samples == 4 and not found.probed.samples


def test_a_model_that_gives_no_numbers_is_refused_before_anything_is_asked() -> None:
    asked: list[Request] = []

    async def mine(request: tts.Request) -> str:
        asked.append(request)
        return "[[0.5]]"

    with FakeEngine(arithmetic()) as engine:
        for prm, said in (
            ({"model": "fake", "base_url": engine.base_url}, r"the role prm: http.* has no /pooling"),
            ({"model": mine}, r"the role prm, mine, which gives text and no numbers"),
            ("embedded:tts-tiny", r"the role prm, tts-tiny, which gives text and no numbers"),
        ):
            with pytest.raises(CapabilityMissing, match=said):
                solved(REWARD, engine, models={"prm": prm})
        assert engine.stats().tokens == 0 and not asked


def test_a_function_that_says_so_gives_numbers() -> None:
    found = tts.solve("What is 2 + 2?", f"{REWARD}(convention=score)", model=words, models={"prm": {"model": numbers}})
    assert found.result.error is None and found.answer == "4"
    assert [scores[0].value for scores in found.result.scores.values()] == [0.9, 0.9]


def test_an_engine_inside_the_generators_refuses_to_measure() -> None:
    request = Request((Message("user", "a text"),), measure="pooling")
    with pytest.raises(CapabilityMissing, match="generates text and measures none"):
        asyncio.run(VLLMModel(Engine(kind="vllm", model="m")).complete(request, CompletionBuilder()))
