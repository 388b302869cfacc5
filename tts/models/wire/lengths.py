"""Refusals of requests that are too long, and the lengths that they state. Pure.

The words are those of servers' sources, documentation and issues; the servers that use them stand beside.
"""

from __future__ import annotations

import re

_WORDS = (
    r"context_length_exceeded|exceed_context_size|string_above_max_length",  # codes of OpenAI, llama.cpp
    r"maximum context length|context length|context size",  # vLLM, SGLang, Mistral, DeepSeek, OpenRouter, LM Studio
    r"(?:exceeds?|than) (?:the |the model's |model )?context[ _]window|context window exceeds",  # OpenAI, MiniMax
    r"longer than the m\w+ model|longer than the model|longer than the specified maximum",  # vLLM
    r"max_tokens must be at least 1, got -",  # vLLM: the prompt has filled the context
    r"exceeds? the maximum (?:allowed )?(?:input )?length",  # SGLang, Volcengine
    r"input[ _]length[ _]error|exceeds? session_len|session max length",  # LMDeploy
    r"max_new_tokens. must be|inputs.{0,3} must have less than",  # TGI, Together
    r"maximum (?:prompt|input) length",  # xAI, vLLM, TensorRT-LLM
    r"model input length limit|max_seq_len",  # MLC, TabbyAPI, TensorRT-LLM
    r"range of input length",  # DashScope
    r"maximum number of tokens allowed",  # Gemini
    r"(?:prompt|input) is too (?:long|big)|prompt tokens too long|max input characters",  # Anthropic, Bedrock, Baidu
    r"exceeds? context limit",  # Anthropic
    r"too many (?:input )?tokens(?! per)",  # Mistral, Cohere, Bedrock
    r"exceeded model token limit|exceeds max length|exceeds? max message tokens",  # Moonshot, Zhipu, Volcengine
    r"exceed the total tokens limit|tokens? exceeds? the configured limit",  # watsonx, OpenAI
    r"reduce (?:the length of the|your) (?:messages?|prompt)",  # Groq, Azure
    r"request body too large for|request_too_large",  # GitHub Models, Anthropic
)
_TOO_LONG = re.compile("|".join(_WORDS), re.I)
# Larger than the limit of a minute: no wait helps (OpenAI answers 429, Groq 413).
_NEVER_FITS = re.compile(r"request too large for", re.I)

_NUMBER = r"[`(]*(\d[\d,]*)"
_CONTEXT = (  # of the prompt and `max_tokens` together
    rf"(?:maximum context length|context (?:window|limit)) (?:is|of) {_NUMBER}",
    rf"context length (?:is|of) only {_NUMBER}",
    rf"exceed context limit: [\d, +]+> {_NUMBER}",
    rf"too large for model with {_NUMBER}",
    rf"max_new_tokens. must be <= {_NUMBER}",
    rf"token limit: {_NUMBER}",
    rf"\(TPM\): limit {_NUMBER}",
)
_COMPLETION = (  # the most that `max_tokens` may be
    rf"supports at most {_NUMBER} completion tokens",
    rf"exceeds the model limit of {_NUMBER}",
    rf"max_(?:completion_|output_)?tokens\b.{{0,80}}?(?:less than or equal to |<= ?|\[1, ?){_NUMBER}",
    rf"max_tokens: \d+ > {_NUMBER}",
    rf"maxOutputTokens\b.{{0,80}}? to {_NUMBER} \(inclusive\)",
)
_BEYOND_COMPLETION = (rf"maxOutputTokens\b.{{0,80}}? to {_NUMBER} \(exclusive\)",)
_LIMITS = [
    (re.compile(pattern, re.I), more)
    for patterns, more in ((_CONTEXT, 0), (_BEYOND_COMPLETION, 0), (_COMPLETION, 1))
    for pattern in patterns
]


def is_too_long(status: int, said: str) -> bool:
    """Whether a refusal with this status means that the prompt, or the completion asked for, is too long."""
    if status in (413, 429):
        return bool(_NEVER_FITS.search(said)) or (status == 413 and says_too_long(said))
    return status in (400, 422, 500) and says_too_long(said)


def says_too_long(said: str) -> bool:
    """Whether these words mean that a request is too long."""
    return bool(_TOO_LONG.search(said))


def max_tokens_below(said: str) -> int | None:
    """The bound that `max_tokens` must stay below whatever the prompt, as a refusal states it; None where it says no
    number."""
    found = [int(at[1].replace(",", "")) + more for pattern, more in _LIMITS if (at := pattern.search(said))]
    return found[-1] if found else None
