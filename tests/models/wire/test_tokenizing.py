"""What is asked of each engine's tokenizer, and what is read of its answer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Request
from tts.models.wire.capabilities import PREFILL_FORMS, Capabilities
from tts.models.wire.tokenizing import counted_in, question_of
from tts.types import Message, Sampling, Tool

ASK = Request((Message("user", "How many?"),), Sampling(reasoning_effort="low", chat_template_kwargs={"enable": 1}))
TURN = {"role": "user", "content": "How many?"}


def asked(engine: str | None, request: Request = ASK, *, api: Any = "chat", alone: bool = False) -> Any:
    known = Capabilities(engine=engine, prefill_form=PREFILL_FORMS.get(engine or ""))
    return question_of(request, "m", api, known, alone=alone)


def test_vllm_is_asked_for_the_chat_as_its_template_will_see_it() -> None:
    path, body = asked("vllm", Request(ASK.messages, ASK.sampling, continue_from="Well,", tools=(Tool("now"),)))
    assert path == "/tokenize"
    assert body.pop("tools")[0]["function"]["name"] == "now"
    assert body == {
        "model": "m",
        "messages": [TURN, {"role": "assistant", "content": "Well,"}],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "chat_template_kwargs": {"reasoning_effort": "low", "enable": 1},
    }


def test_llama_cpp_is_asked_for_the_request_that_it_would_get() -> None:
    path, body = asked("llamacpp")
    assert path == "/v1/chat/completions/input_tokens"
    assert body["messages"] == [TURN] and body["chat_template_kwargs"] == {"enable": 1}


@pytest.mark.parametrize(("alone", "special"), [(True, False), (False, True)])
def test_a_text_alone_has_no_special_tokens_and_a_prompt_of_a_base_model_has(alone: bool, special: bool) -> None:
    api = "chat" if alone else "completions"
    for engine in ("vllm", "sglang"):
        body = {"model": "m", "prompt": "How many?", "add_special_tokens": special}
        assert asked(engine, api=api, alone=alone) == ("/tokenize", body)
    body = {"content": "How many?", "add_special": special, "parse_special": special}
    assert asked("llamacpp", api=api, alone=alone) == ("/tokenize", body)


@pytest.mark.parametrize(("engine", "alone"), [("sglang", False), ("ollama", True), ("ollama", False), (None, True)])
def test_nothing_is_asked_of_an_engine_without_such_a_tokenizer(engine: str | None, alone: bool) -> None:
    assert asked(engine, alone=alone) is None


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (b'{"count":3,"max_model_len":4096,"tokens":[1,2,3]}', 3),
        (b'{"input_tokens":24,"object":"response.input_tokens"}', 24),
        (b'{"tokens":[42,71]}', 2),
        (b'{"count":0,"tokens":[]}', 0),
        (b'{"count":-1}', None),
        (b'{"error":"no"}', None),
        (b"<html>", None),
    ],
)
def test_the_number_is_read_whatever_it_is_called(answer: bytes, tokens: int | None) -> None:
    assert counted_in(answer) == tokens


@given(st.binary(max_size=60))
def test_no_answer_breaks_the_reader(answer: bytes) -> None:
    found = counted_in(answer)
    assert found is None or found >= 0
