"""The body of a request to an OpenAI-compatible server. Pure: dicts, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from tts.core.actions import Request
from tts.errors import CapabilityMissing
from tts.models.wire.capabilities import Capabilities
from tts.models.wire.tools import message_json, tool_json

Api = Literal["chat", "completions"]


def body_of(request: Request, model: str, api: Api, capabilities: Capabilities) -> dict[str, Any]:
    """The JSON body of a streamed request.

    All parameters that shape the distribution are sent: servers' own defaults differ, and some take them from the
    model's files. Raises CapabilityMissing if the request continues assistant text and the endpoint is not known to be
    able to, and for tools where the API is that of text completions, or the model's template has none.
    """
    sampling = request.sampling
    body: dict[str, Any] = {"model": model, "stream": True}
    body |= _chat_of(request, capabilities) if api == "chat" else {"prompt": _text_of(request, capabilities)}
    body |= {
        "max_tokens": sampling.token_limit,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,  # 0 is an error in SGLang; -1 switches it off everywhere
        "min_p": sampling.min_p,
        "repetition_penalty": 1.0,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.top_logprobs and api == "chat":
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    elif sampling.top_logprobs:
        body["logprobs"] = sampling.top_logprobs
    if sampling.reasoning_effort is not None:
        body["reasoning_effort"] = sampling.reasoning_effort
    if sampling.chat_template_kwargs:
        body["chat_template_kwargs"] = dict(sampling.chat_template_kwargs)
    body |= sampling.extra_body
    if capabilities.engine == "llamacpp":
        body["timings_per_token"] = True
        if sampling.stop:
            body["verbose"] = True  # says in the last chunk whether a stop string ended the text
    if request.continue_from and api == "chat":
        _continue(body, request.continue_from, capabilities)
    return body


def check_followed(request: Request, left_out: Collection[str], capabilities: Capabilities) -> None:
    """Check that the log-probabilities that a request needs can come. Raises: CapabilityMissing, where the endpoint
    refuses them or is known to give none."""
    if request.group and ("logprobs" in left_out or capabilities.logprobs is False):
        raise CapabilityMissing(
            "this run reads the model's confidence (a verifier such as prm, or run.streaming(group=...)), and the "
            "endpoint gives no log-probabilities of alternatives. vLLM, SGLang and llama.cpp do; `tts doctor` shows "
            "what an endpoint can do.",
            capability="logprobs",
            engine=capabilities.engine,
        )


def check_step(request: Request, api: Api, capabilities: Capabilities) -> None:
    """Check that a step of a text can be told from its end, and the text go on, as far as that is known before anything
    is spent. Raises: CapabilityMissing."""
    if not request.step:
        return
    if capabilities.stop_reason is False and request.sampling.stop:
        raise CapabilityMissing(
            "this strategy grows texts step by step, and the endpoint does not say whether a stop string or the model "
            "ended a text, so that a step looks like a solution. vLLM, SGLang and llama.cpp say it; `tts doctor` shows "
            "what an endpoint can do.",
            capability="stop_reason",
            engine=capabilities.engine,
        )
    if api == "chat":
        _check_prefill(capabilities)


def _chat_of(request: Request, capabilities: Capabilities) -> dict[str, Any]:
    chat: dict[str, Any] = {"messages": [message_json(message) for message in request.messages]}
    if request.tools:
        if capabilities.tools is False:
            raise CapabilityMissing(
                "this strategy gives the model tools, and the chat template of the endpoint's model has no place for "
                "them: the model would never hear of them. Serve a model whose template has tools, such as Qwen's",
                capability="tools",
                engine=capabilities.engine,
            )
        chat["tools"] = [tool_json(tool) for tool in request.tools]
    return chat


def _text_of(request: Request, capabilities: Capabilities) -> str:
    if request.tools or any(message.role == "tool" for message in request.messages):
        raise CapabilityMissing(
            "this strategy gives the model tools, and the endpoint is asked for text completions, which have none: ask "
            "it by its chat API (/v1/chat/completions)",
            capability="tools",
            engine=capabilities.engine,
        )
    return "\n\n".join(message.content for message in request.messages) + request.continue_from


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as JSON. Halves of surrogate pairs, which UTF-8 cannot hold, are joined or replaced."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return msgspec.json.encode(_with_whole_characters(body))


def _with_whole_characters(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case dict():
            return {name: _with_whole_characters(each) for name, each in value.items()}
        case list():
            return [_with_whole_characters(each) for each in value]
    return value


def _check_prefill(capabilities: Capabilities) -> None:
    if capabilities.prefill_form is None:
        raise CapabilityMissing(
            "this strategy continues assistant text, and the endpoint "
            + ("cannot" if capabilities.prefill is False else "is not known to be able to")
            + ". vLLM, SGLang and llama.cpp can; `tts doctor` shows what an endpoint can do.",
            capability="prefill",
            engine=capabilities.engine,
        )


def _continue(body: dict[str, Any], prefix: str, capabilities: Capabilities) -> None:
    _check_prefill(capabilities)
    body["messages"].append({"role": "assistant", "content": prefix})
    if capabilities.prefill_form == "continue_final_message":
        body |= {"continue_final_message": True, "add_generation_prompt": False}


def without(body: dict[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """The body without parameters that an endpoint refuses, or with the names that it has for them."""
    body = {**body, "stream_options": dict(body["stream_options"])}
    for name in refused:
        match name:
            case "logprobs":
                body.pop("logprobs", None)
                body.pop("top_logprobs", None)
            case "continuous_usage_stats" | "include_usage":
                body.get("stream_options", {}).pop(name, None)
            case "max_tokens":  # OpenAI's reasoning models
                body["max_completion_tokens"] = body.pop("max_tokens")
            case _:
                body.pop(name, None)
    return body
