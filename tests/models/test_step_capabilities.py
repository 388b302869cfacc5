"""Searches over steps need a server that says what ended a step and can go on: found out before they spend."""

import asyncio

import pytest

import tts
from tts import Candidate, Completion, Problem, Run
from tts.core.actions import Request
from tts.errors import CapabilityMissing
from tts.models.findings import capabilities
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.wire.capabilities import Capabilities
from tts.models.wire.request import check_step
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.toolkit.steps import grow
from tts.types import Message, Sampling

STEP = Request((Message("user", "?"),), Sampling(max_tokens=8, stop="\n"), step=True)


async def one_step(problem: Problem, run: Run) -> Candidate:
    return (await grow(run, [(None, 2)], max_tokens=8))[0]


def engine(flavour: str) -> FakeEngine:
    return FakeEngine(lambda _: Reply(("one\n",)), flavour=flavour)  # type: ignore[arg-type]  # others name themselves, too


@pytest.mark.parametrize(
    ("flavour", "said"), [("openai", "continues assistant text"), ("ollama", "does not say whether")]
)
def test_a_server_that_is_known_to_lack_what_steps_need_is_refused_before_anything_is_sent(
    flavour: str, said: str
) -> None:
    with engine(flavour) as server:
        with pytest.raises(CapabilityMissing, match=said) as raised:
            tts.solve("?", one_step, base_url=server.base_url, model="fake")
        assert "tts doctor" in raised.value.message and not server.requests


@pytest.mark.parametrize("flavour", ["vllm", "sglang", "llamacpp"])
def test_the_engines_that_say_what_ended_a_text_are_not_refused(flavour: str) -> None:
    with engine(flavour) as server:
        solved = tts.solve("?", one_step, base_url=server.base_url, model="fake")
    assert solved.error is None and solved.text == "one" and solved.answer is None
    assert any("no text came to its end" in warning for warning in solved.warnings)


def test_only_steps_need_it() -> None:
    lacking = Capabilities(stop_reason=False, prefill_form="trailing_assistant")
    with pytest.raises(CapabilityMissing, match="step by step"):
        check_step(STEP, "chat", lacking)
    check_step(Request(STEP.messages, STEP.sampling), "chat", lacking)
    check_step(STEP, "chat", Capabilities(prefill_form="trailing_assistant"))  # unknown: the first reply will tell


def test_a_server_that_turns_out_not_to_say_it_costs_the_first_steps_alone_which_are_kept() -> None:
    with engine("openai") as server:
        models = {"solver": {"base_url": server.base_url, "model": "fake", "api": "completions"}}
        solved = tts.solve("?", one_step, models=models)
        assert solved.error is not None and solved.error.type == "CapabilityMissing"
        assert "of any step" in solved.error.message
        assert 1 <= solved.cost.samples <= 2, "both, unless the first reply comes before the second request is sent"
        assert [candidate.partial for candidate in solved.candidates] == [True] * solved.cost.samples


def test_an_endpoint_that_did_not_say_it_is_given_no_further_step() -> None:
    async def main() -> Completion:
        async with OpenAIClient(server.base_url, model="fake", api="completions") as client:
            first = await client.complete(STEP, CompletionBuilder())
            sent = len(server.requests)
            with pytest.raises(CapabilityMissing, match="does not say whether"):
                await client.complete(STEP, CompletionBuilder())
            assert len(server.requests) == sent
            return first

    with engine("openai") as server:
        assert asyncio.run(main()).ending == "unknown"


@pytest.mark.parametrize(("flavour", "says"), [("vllm", True), ("openai", False)])
def test_doctor_shows_whether_a_server_says_what_ended_a_text(flavour: str, says: bool) -> None:
    async def main() -> Capabilities:
        async with OpenAIClient(server.base_url, model="fake") as client:
            return await client.probe()

    with FakeEngine(lambda _: Reply(("1", ",", " 2")), flavour=flavour) as server:  # type: ignore[arg-type]
        seen = asyncio.run(main())
    assert seen.stop_reason is says
    (finding,) = [each for each in capabilities("e", seen) if "stop reasons" in each.what]
    assert finding.ok is says
