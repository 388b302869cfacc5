"""The embedded engine, asked without streaming where nothing but the text is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec

from benchmarks.tiny_model.lessons.lesson import Turn
from tts.core.actions import Request
from tts.errors import BadResponse
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.types import Completion

SLOTS = 32
TEMPERATURE = 0.8
TRIES = 5


class Engine:
    """Seeds are drawn in the order of the asks, so that an examination can be repeated."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession, client: OpenAIClient) -> None:
        self._url, self._session, self._client = f"{base_url}/chat/completions", session, client
        self._gate = asyncio.Semaphore(SLOTS + 8)
        self._seeds = iter(range(10**9))

    async def say(
        self, turns: Sequence[Turn], most: int = 450, temperature: float = TEMPERATURE, stop: Sequence[str] = ()
    ) -> tuple[str, int]:
        """The text, its thoughts included, and the number of its tokens."""
        body = {
            "messages": [turn._asdict() for turn in turns],
            "temperature": temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "max_tokens": most,
            "seed": next(self._seeds),
            "stop": list(stop),
        }
        found = await self._answer(body)
        message = found["choices"][0]["message"]
        thought = message.get("reasoning_content")
        text = message.get("content") or ""
        return (f"<think>{thought}</think>{text}" if thought else text), found["usage"]["completion_tokens"]

    async def _answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask again where the engine drops the connection, as it does now and then on a busy machine."""
        async with self._gate:
            for _ in range(TRIES - 1):
                with suppress(aiohttp.ClientConnectionError):
                    return await self._posted(body)
            return await self._posted(body)

    async def _posted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._session.post(self._url, json=body) as reply:
            reply.raise_for_status()
            found: dict[str, Any] = await reply.json()
            return found

    async def complete(self, request: Request) -> Completion:
        """The completion of a request as the library makes it, with another seed each time; an empty one is no failure
        here, but a reply that nobody can read."""
        seeded = msgspec.structs.replace(request, seed=next(self._seeds))
        async with self._gate:
            try:
                return await self._client.complete(seeded, CompletionBuilder())
            except BadResponse:
                return Completion("")
