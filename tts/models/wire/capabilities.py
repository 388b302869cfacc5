"""The capabilities of an endpoint, its way to continue a text, and the way to cancel its streams. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from tts.types import Value

PrefillForm = Literal["continue_final_message", "trailing_assistant"]

# Ways of cancelling a stream. `close` closes it, for an engine that then stops: tokens that it may have decoded by then
# are charged. `abort` also calls the engine's abort API (SGLang's). `best_effort` charges such a request in full,
# because its progress is unknown. `auto` goes by the engine: `abort` for SGLang, `close` for those that stop (vLLM,
# llama.cpp, Ollama) and those that were seen to stop, and `best_effort` for every other.
Cancellation = Literal["auto", "close", "abort", "best_effort"]


class Capabilities(Value, frozen=True):
    """The capabilities of an endpoint. True: seen; False: seen not to; None: not known.

    Args:
        engine: the server's name as it reports it (`vllm`, `sglang`, `llamacpp`, `ollama`), if it does.
        prefill: the way to have it continue assistant text.
        n: several choices from one request, all different.
        seed: the same seed gives the same text, another seed another.
        usage_in_stream: the last chunk has the usage. `continuous_usage`: every chunk has it.
        abort_on_close: closing the connection stops the decoding.
        tools: the model's chat template shows it the tools of a request. A template that has no place for them leaves
            them out, and nothing is said of it.
        stop_reason: it says whether a stop string, and which, or the model ended a text.
        tokenizer: it counts the tokens of a prompt for whoever asks.
        measures: the pages that give numbers to a text, of reward models, as `Run.measure` names them; a server that
            has one generates nothing.
        tokens_spent: generated tokens that the probe has cost.
    """

    reachable: bool = False
    models: tuple[str, ...] = ()
    engine: str | None = None
    prefill: bool | None = None
    prefill_form: PrefillForm | None = None
    n: bool | None = None
    seed: bool | None = None
    logprobs: bool | None = None
    usage_in_stream: bool | None = None
    continuous_usage: bool | None = None
    abort_on_close: bool | None = None
    tools: bool | None = None
    stop_reason: bool | None = None
    tokenizer: bool | None = None
    measures: tuple[str, ...] = ()
    tokens_spent: int = 0
    problem: str = ""


# The way to have each engine continue assistant text (the others cannot, or are not known to).
PREFILL_FORMS: Mapping[str, PrefillForm] = {
    "vllm": "continue_final_message",
    "sglang": "continue_final_message",
    "llamacpp": "trailing_assistant",
    "ollama": "trailing_assistant",
}


# Whether each engine says which stop string ended a text, as `stop_reason`, `matched_stop` or `stopping_word` (others
# are not known to).
SAYS_STOP: Mapping[str, bool] = {"vllm": True, "sglang": True, "llamacpp": True, "ollama": False}


# Whether each engine gives log-probabilities of alternatives, unless it is told not to (others are not known to).
GIVES_LOGPROBS: Mapping[str, bool] = {"vllm": True, "sglang": True, "llamacpp": True}


def of_engine(engine: str | None, known: Capabilities) -> Capabilities:
    """What is known of an endpoint, with what its engine's name says where nothing else is."""
    says = SAYS_STOP.get(engine or "") if known.stop_reason is None else known.stop_reason
    shown = GIVES_LOGPROBS.get(engine or "") if known.logprobs is None else known.logprobs
    return msgspec.structs.replace(known, engine=engine or known.engine, stop_reason=says, logprobs=shown)


class _Template(msgspec.Struct):
    supports_tools: bool | None = None


class _Props(msgspec.Struct):
    chat_template_caps: _Template | None = None


def shows_tools(props: bytes) -> bool | None:
    """Whether the chat template shows the tools, as llama.cpp's `/props` say it; None where they do not."""
    try:
        said = msgspec.json.decode(props, type=_Props)
    except msgspec.DecodeError:
        return None
    return None if said.chat_template_caps is None else said.chat_template_caps.supports_tools


def cancellation_of(engine: str | None, stops: bool | None) -> Cancellation:
    """The way of cancelling a stream: only an engine that was seen to stop is trusted to."""
    if stops:
        return "close"
    return "abort" if engine == "sglang" else "best_effort"
