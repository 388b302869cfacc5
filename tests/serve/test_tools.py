"""Tools pass through to the model, their calls vote by name and arguments, and come back in OpenAI's shape."""

import asyncio
from typing import Any

import msgspec
import pytest
from serving import ASK, events_of, served

import tts
from tts.errors import InvalidParameter
from tts.messages import answer_of_calls
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Tool, ToolCall

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "number"}}}
WEATHER = Tool("weather", "Tells the weather.", SCHEMA)
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}},
         {"type": "function", "function": {"name": "news", "strict": True}}]  # fmt: skip


class Calling:
    """Asks for these calls, a text of them a reply; keeps the requests."""

    def __init__(self, *replies: tuple[str, str] | str) -> None:
        self.requests: list[tts.Request] = []
        self._replies = iter(replies)

    async def __call__(self, request: tts.Request) -> tts.Completion:
        self.requests.append(request)
        reply, usage = next(self._replies), tts.Usage(5, 4)
        if isinstance(reply, str):
            return tts.Completion(reply, usage=usage)
        call = ToolCall(f"c{len(self.requests)}", *reply)
        return tts.Completion("", "tool_calls", usage, tool_calls=(call,))


def asked(model: Any, **fields: Any) -> Any:
    async def within() -> Any:
        async with served(model) as server:
            return (await server.ask(**{"tools": TOOLS, **fields})).json()

    return asyncio.run(within())


def test_calls_vote_by_their_name_and_arguments_however_these_are_written() -> None:
    again = '{"days":2.0,"city":"Paris"}'
    model = Calling(("news", "{}"), ("weather", '{"city": "Paris", "days": 2}'), "Answer: 7", ("weather", again))
    reply = asked(model, tts={"strategy": "majority_vote:n=4"}, tool_choice="auto", parallel_tool_calls=False)
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    function = {"name": "weather", "arguments": '{"city": "Paris", "days": 2}'}
    assert choice["message"]["tool_calls"] == [{"id": "c2", "type": "function", "function": function}]
    assert reply["usage"]["tts"]["answer"] == 'weather({"city":"Paris","days":2})'
    assert [tool.name for tool in model.requests[0].tools] == ["weather", "news"]
    assert model.requests[0].tools[1].strict is True
    assert model.requests[0].sampling.extra_body == {"tool_choice": "auto", "parallel_tool_calls": False}


def test_equal_calls_are_one_answer_and_one_that_cannot_be_carried_out_is_none() -> None:
    tools = (WEATHER,)
    paris, rome = ToolCall("a", "weather", '{"city":"Paris"}'), ToolCall("b", "weather", '{ "city": "Rome"}')
    assert answer_of_calls([paris, rome], tools) == answer_of_calls([rome, paris], tools)
    assert answer_of_calls([paris], tools) != answer_of_calls([rome], tools)
    for wrong in (ToolCall("", "wether"), ToolCall("", "weather", '{"city":'), ToolCall("", "weather", "[1]")):
        assert answer_of_calls([paris, wrong], tools) is None
    assert answer_of_calls([], tools) is None
    for depth in (300, 600, 900):  # whatever a model nests, it ends no run
        deep = msgspec.structs.replace(paris, arguments='{"city": ' + "[" * depth + "]" * depth + "}")
        answer_of_calls([deep], tools)


def test_a_chat_that_ends_with_the_results_of_tools_reaches_the_model_as_it_is() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "Sunny"}]},
    ]  # fmt: skip
    model = Calling("Answer: 7")
    reply = asked(model, messages=turns, tts={"strategy": "single"})
    assert reply["choices"][0]["message"]["content"] == "Answer: 7"
    assert [(turn.role, turn.content) for turn in model.requests[0].messages] == [
        ("system", "Be brief."), ("user", ASK[0]["content"]), ("assistant", ""), ("tool", "Sunny"),
    ]  # fmt: skip
    assert model.requests[0].messages[2].tool_calls == (ToolCall("c1", "weather", '{"city": "Rome"}'),)
    assert model.requests[0].messages[3].tool_call_id == "c1"


@pytest.mark.parametrize("strategy", ["single", "majority_vote:n=2", "first_finish:n=2"])
def test_calls_are_streamed_whole_behind_the_text_before_them(strategy: str) -> None:
    calls = (ToolCall("c1", "weather", '{"city": "Rome"}'), ToolCall("", "news", "{}"))

    async def within(engine: FakeEngine) -> list[dict[str, Any]]:
        async with served(base_url=engine.base_url) as server:
            await server.left(asyncio.Event(), stream=True, tools=TOOLS, tts={"strategy": strategy})
            return events_of(server.sent)

    with FakeEngine(lambda request: Reply(("Let", " me", " see."), tool_calls=calls)) as engine:
        choices = [event["choices"][0] for event in asyncio.run(within(engine))]
        assert engine.requests[0]["tools"][1]["function"]["strict"] is True
    deltas = [choice["delta"] for choice in choices]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let me see."
    found = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["function"]["name"], call["function"]["arguments"]) for call in found] == [
        (0, "weather", '{"city": "Rome"}'), (1, "news", "{}"),
    ]  # fmt: skip
    assert all(call["id"] for call in found) and found[0]["type"] == "function"
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": "weather"}, "tools", "must be a list"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]", "of type 'custom'"),
    ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools", "1 to 64 letters"),
    ({"tools": [*TOOLS, TOOLS[0]]}, "tools", "must be different"),
    ({"tools": [], "tool_choice": "required"}, "tool_choice", "there are none"),
    ({"tool_choice": {"type": "function", "function": {"name": "wether"}}}, "tool_choice", '"weather"'),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls", "true or false"),
    ({"functions": []}, "functions", "not supported"),
    ({"messages": [*ASK, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id", "must name the call"),
    ({"messages": [*ASK, {"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "messages[1].tool_calls[0]", "must be"),
    ({"tts": {"strategy": "sequential_revision"}}, "tools", "sequential_revision takes no tools"),
    ({"tts": {"strategy": "beam_search:verifier=prm"}}, "tools", "beam_search takes no tools"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "words"), REFUSED)
def test_what_cannot_be_done_with_tools_is_refused_by_name_before_anything_is_spent(
    fields: dict[str, Any], param: str, words: str
) -> None:
    model = Calling()
    error = asked(model, **fields)["error"]
    assert error["param"] == param and words in error["message"]
    assert model.requests == []


def test_how_tools_are_chosen_is_not_said_to_those_who_help_to_decide() -> None:
    class Scoring(Calling):
        async def __call__(self, request: tts.Request) -> tts.Completion:
            if len(self.requests) < 2:
                return await super().__call__(request)
            self.requests.append(request)
            return tts.Completion("1", usage=tts.Usage(5, 1))

    model = Scoring(("news", "{}"), ("weather", '{"city": "Rome"}'))
    asked(model, tts={"strategy": "usc:n=2"}, tool_choice="required")
    assert model.requests[0].sampling.extra_body == {"tool_choice": "required"}
    assert model.requests[2].sampling.extra_body == {} and not model.requests[2].tools
    assert 'weather({"city": "Rome"})' in model.requests[2].messages[-1].content


def test_a_model_that_would_never_hear_of_the_tools_is_refused_by_name() -> None:
    async def within(engine: FakeEngine) -> Any:
        async with served(base_url=engine.base_url) as server:
            return await server.ask(tools=TOOLS)

    with FakeEngine(flavour="llamacpp", shows_tools=False) as engine:
        reply = asyncio.run(within(engine))
        assert reply.status_code == 400 and engine.stats().requests == 0
        assert reply.json()["error"]["param"] == "tools" and "no place for them" in reply.json()["error"]["message"]


def test_a_problem_with_tools_is_solved_without_a_server_too() -> None:
    async def within() -> tts.Solved:
        async with tts.Client(model=Calling(("news", "{}"))) as client:
            return await client.solve(tts.Problem("p", "News?", tools=[TOOLS[1]]), "single")

    solved = asyncio.run(within())
    assert solved.answer == solved.text == "news({})" and solved.selected.completion.tool_calls[0].name == "news"


def test_a_chat_must_have_a_user_turn_before_the_results_of_tools() -> None:
    from tts.api.problems import as_problem

    with pytest.raises(InvalidParameter, match="must have a user turn"):
        as_problem([{"role": "tool", "content": "x", "tool_call_id": "c"}])  # type: ignore[arg-type]
