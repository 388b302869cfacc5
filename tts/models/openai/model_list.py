"""The list of models that an endpoint serves, in the forms in which servers give it. Pure."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec


class Model(msgspec.Struct):
    """One entry of the list. The last five fields are different servers' words for the tokens of its context."""

    id: str
    owned_by: str | None = None
    max_model_len: Any = None  # vLLM, SGLang
    context_window: Any = None  # Groq
    context_length: Any = None  # OpenRouter, Together
    max_context_length: Any = None  # Mistral
    meta: Any = None  # llama.cpp: n_ctx in it


def models_in(body: bytes) -> list[Model] | None:
    """The models in a list, in OpenAI's form or bare; None if it is no such list. What is no model is left out."""
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    listed = plain.get("data") if isinstance(plain, dict) else plain
    if not isinstance(listed, list):
        return None
    found = []
    for each in listed:
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(each, Model))
    return found if found or not listed else None


def context_of(model: Model) -> int | None:
    """Tokens of the context that a model is served with; None if its server does not report it."""
    meta = model.meta if isinstance(model.meta, dict) else {}
    said = (
        model.max_model_len,
        model.context_window,
        model.context_length,
        model.max_context_length,
        meta.get("n_ctx"),
    )
    return next((tokens for tokens in said if type(tokens) is int and tokens > 0), None)


def contexts_of(models: list[Model]) -> dict[str, int]:
    """Tokens of context by model, for those whose server reports it."""
    return {model.id: tokens for model in models if (tokens := context_of(model)) is not None}


def engine_of(models: list[Model]) -> str | None:
    """The engine that names itself as the models' owner."""
    owner = models[0].owned_by if models else None
    return {"library": "ollama"}.get(owner or "", owner)
