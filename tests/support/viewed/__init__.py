"""A run to look at, and a viewer of it without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

import tts
from tts.view.app import Viewer


def made(
    out: Path,
    *,
    problems: int = 4,
    seeds: int = 2,
    text: str = "So it is.",
    strategies: Sequence[str] = ("single", "majority_vote:n=2,5"),
) -> Path:
    """A sweep whose answers are 0, 1 and 2 by turns, after this text; problem i's reference is i."""

    async def answering(request: tts.Request) -> tts.Completion:
        return tts.Completion(f"{text}\nAnswer: {request.seed % 3}", usage=tts.Usage(5, 4))

    examples = [tts.Example(tts.Problem(f"a/b {i}", f"What is {i}?"), str(i)) for i in range(problems)]
    sampling = {"max_tokens": 20}
    tts.sweep(examples, strategies, model=answering, seeds=seeds, out=out, report=False, sampling=sampling)
    return out


class Browsing:
    """Asks a viewer."""

    def __init__(self, path: Path) -> None:
        self.viewer = Viewer(path)
        self._app = self.viewer.app()

    async def get(self, url: str, host: str = "127.0.0.1:1", **query: str) -> httpx2.Response:
        transport = httpx2.ASGITransport(self._app)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await http.get(url, params=query)

    async def json(self, url: str, **query: str) -> Any:
        reply = await self.get(url, **query)
        assert reply.status_code == 200, reply.text
        return reply.json()


def browsing(path: Path, work: Callable[[Browsing], Awaitable[None]]) -> None:
    """Look at what lies there."""

    async def within() -> None:
        client = Browsing(path)
        try:
            await work(client)
        finally:
            await client.viewer.close()

    with patch("tts.view.app.GRADING_S", 100.0):  # a machine that is busy with other things decides no verdict
        asyncio.run(within())
