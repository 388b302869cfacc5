"""Tools in a strategy: the calls that it sees, the turns that answer them, and what they are in keys and budgets."""

import msgspec
import pytest

from tts import Candidate, Completion, Message, Problem, Run, Tool, ToolCall
from tts.core.actions import Finished, Generate, Request, prompt_bound
from tts.core.journal.records import as_recorded, decode, digest, encode
from tts.core.trials.seeds import share_base
from tts.errors import InvalidParameter
from tts.messages import as_prompt, as_tools
from tts.testing import Sample, ScriptedCluster, StrategyContract
from tts.toolkit.tools import refusal
from tts.types import Sampling

ADD = Tool(
    "add",
    "Adds two numbers.",
    {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a"]},
)
OPENAI_S = {
    "type": "function",
    "function": {"name": "add", "description": "Adds two numbers.", "parameters": ADD.parameters},
}


async def agent(problem: Problem, run: Run, *, rounds: int = 4) -> Candidate:
    """Answer calls of `add` until the model calls no more."""
    turns = list(problem.messages)
    for _ in range(rounds):
        (found,) = await run.generate(turns, tools=[ADD])
        turns.append(found.completion.message)
        for call in found.completion.tool_calls:
            numbers = call.parsed or {}
            turns.append(refusal(call, [ADD]) or call.result(f"{sum(map(float, numbers.values())):g}"))
        if not found.completion.tool_calls:
            break
    return found


class TestAgent(StrategyContract):
    strategy = agent


def calling(*calls: ToolCall) -> Sample:
    return Sample(text="", tool_calls=calls)


def test_a_strategy_answers_calls_and_goes_on_and_calls_alone_are_no_answer() -> None:
    script = [
        calling(ToolCall("c1", "add", '{"a": 2, "b": 3}'), ToolCall("c2", "sub"), ToolCall("c3", "add", "{")),
        "5",
    ]
    outcome = ScriptedCluster(script).run(agent, Problem("p", "2 + 3?", answer_format="text"))
    assert outcome.result.error is None and outcome.result.answer == "Answer: 5"
    asked = outcome.result.candidates[0]
    assert (asked.answer, asked.completion.finish_reason, asked.complete) == (None, "tool_calls", False)
    assert [tool.name for tool in outcome.generated[1].request.tools] == ["add"]
    assert outcome.generated[1].request.messages[1:] == (
        Message("assistant", "", asked.completion.tool_calls),
        Message("tool", "5", tool_call_id="c1"),
        Message("tool", "Error: there is no tool 'sub'. The tools are: add.", tool_call_id="c2"),
        Message("tool", "Error: the arguments of add must be a JSON object, but are '{'.", tool_call_id="c3"),
    )


def test_arguments_that_the_schema_does_not_allow_are_answered_with_the_reason() -> None:
    said = refusal(ToolCall("c", "add", '{"b": 1}'), [ADD])
    assert said is not None and "at $: 'a' is a required property" in said.content
    assert refusal(ToolCall("c", "now", ""), [Tool("now")]) is None


def test_helpers_may_have_tools_too() -> None:
    async def asks(problem: Problem, run: Run) -> Candidate:
        (reply,) = await run.ask("Which?", tools=[OPENAI_S])
        assert reply.tool_calls[0].parsed == {"a": 1}
        return (await run.generate())[0]

    assert ScriptedCluster([calling(ToolCall("c", "add", '{"a": 1}')), "5"]).run(asks).result.answer == "5"


def test_tools_in_openai_s_form_and_turns_in_openai_s_form_are_read() -> None:
    assert as_tools([OPENAI_S]) == as_tools([ADD]) == (ADD,)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
    ]
    asked = Message("assistant", "", (ToolCall("c1", "add", '{"a": 1}'),))
    assert as_prompt(turns) == (asked, Message("tool", "1", tool_call_id="c1"))


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ("add", "tools must be a list of tools"),
        ([7], "a tool must be a Tool, or a function in OpenAI's form"),
        ([{"name": "no spaces"}], "1 to 64 letters, digits, _ and -"),
        ([ADD, OPENAI_S], "the names of the tools of a request must be different, but got 'add'"),
        ([{"name": "a", "parameters": [1]}], "the parameters of the tool a must be a JSON object"),
    ],
)
def test_what_is_no_tool_is_refused_before_a_model_is_asked(tools: object, says: str) -> None:
    async def asks(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(tools=tools))[0]  # type: ignore[arg-type]  # each of these is wrong

    outcome = ScriptedCluster([]).run(asks)
    assert outcome.result.error is not None and says in outcome.result.error.message and not outcome.generated


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"role": "tool", "content": None}, "the content of a message must be text"),
        ({"role": "user", "content": "x", "tool_call_id": "c"}, "must be tool, but got 'user'"),
        ({"role": "user", "content": "x", "tool_calls": [ToolCall("c", "add")]}, "must be assistant, but got 'user'"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"name": "add"}]}, "a tool call must be a ToolCall"),
    ],
)
def test_turns_that_no_server_would_take_are_refused(turn: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        as_prompt([turn])


def test_tools_and_calls_are_part_of_a_sample_s_key_where_they_are_used_and_of_nobody_else_s() -> None:
    ask = (Message("user", "?"), Message("assistant", "x"))
    plain, tools = Request(ask, Sampling(max_tokens=8)), Request(ask, Sampling(max_tokens=8), tools=(ADD,))
    called = Request((ask[0], Message("assistant", "x", (ToolCall("c", "add"),))), Sampling(max_tokens=8))
    assert len({share_base(0, "p", request) for request in (plain, tools, called)}) == 3
    assert len({digest(Generate("c/p/0", request)) for request in (plain, tools, called)}) == 3
    assert "tool" not in repr(Generate("c/p/0", plain))
    again = msgspec.json.decode(msgspec.json.encode(Generate("c/p/0", tools)), type=Generate)
    assert digest(again) == digest(Generate("c/p/0", tools))
    assert prompt_bound(tools) > prompt_bound(plain) + 1024


def test_calls_are_in_the_journal_as_they_came() -> None:
    calls = (ToolCall("c", "add", '{"a": "\\ud83d'), ToolCall("", "", "{"))
    event = Finished("c/p/1", 0.0, Completion("", "tool_calls", tool_calls=calls))
    assert decode(encode(as_recorded(event)), 1) == event
    odd = msgspec.structs.replace(event, completion=Completion("", tool_calls=(ToolCall("c", "add", "\ud83d"),)))
    kept = as_recorded(odd)
    assert isinstance(kept, Finished) and kept.completion.tool_calls == (ToolCall("c", "add", "\ufffd"),)
