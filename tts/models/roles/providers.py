"""Providers of OpenAI-compatible APIs, by the name in front of a model's: `openai:gpt-5-mini`."""

from __future__ import annotations

from typing import NamedTuple


class Provider(NamedTuple):
    """A provider's API.

    Args:
        base_url: of the API.
        key_variable: the variable of the environment that holds its key.
    """

    base_url: str
    key_variable: str


PROVIDERS = {
    "cerebras": Provider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "deepinfra": Provider("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "deepseek": Provider("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "fireworks": Provider("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "gemini": Provider("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "nvidia": Provider("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together": Provider("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "xai": Provider("https://api.x.ai/v1", "XAI_API_KEY"),
}


def split_provider(model: str) -> tuple[Provider | None, str]:
    """The provider that a text names and the model's name there; None and the text where it names none."""
    name, colon, rest = model.partition(":")
    provider = PROVIDERS.get(name) if colon and rest else None
    return (provider, rest) if provider else (None, model)
