"""Solutions as prompts show them."""

from __future__ import annotations

from collections.abc import Iterable

from tts.answers.extract import without_thinking


def shown(text: str) -> str:
    """A solution without its thoughts; empty where those never ended."""
    return (without_thinking(text) or "").strip()


def numbered(texts: Iterable[str]) -> str:
    """Several solutions, each under its number; the first is 1."""
    return "\n\n".join(f"Solution {number}:\n{shown(text)}" for number, text in enumerate(texts, 1))
