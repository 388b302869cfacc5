"""A server of `tts serve` for tests: in this process, without a socket, or as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

import tts
from tts.serve.accounts import Accounts
from tts.serve.app import PATIENCE, Patience, Service
from tts.serve.catalogue import Catalogue
from tts.serve.keys import ANYBODY, Key
from tts.serve.origins import Origins
from tts.serve.protocol.fields import Wanted
from tts.serve.waiting import MOST_WAITING

SHORT = tts.Sampling(max_tokens=40)
STARTING_S = 60.0
CHAT = "/v1/chat/completions"
ASK = [{"role": "user", "content": "What is 3 + 4?"}]


class Model:
    """Answers 7, in four tokens, and keeps the requests; an error in `fails` is raised instead."""

    def __init__(self) -> None:
        self.requests: list[tts.Request] = []
        self.fails: Exception | None = None

    async def __call__(self, request: tts.Request) -> tts.Completion:
        await asyncio.sleep(0)
        self.requests.append(request)
        if self.fails is not None:
            raise self.fails
        return tts.Completion("So it is.\nAnswer: 7", usage=tts.Usage(5, 4))


class Served:
    """An open server.

    Attributes:
        app: to be called as ASGI says. http: a client of it. sent: see `left`; sending: set whenever it has grown.
    """

    def __init__(self, service: Service, client: tts.Client, accounts: Accounts) -> None:
        self.service = service
        self.app = service.app()
        self.sent: list[dict[str, Any]] = []
        self.sending = asyncio.Event()
        self.client = client
        self.accounts = accounts
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://served")

    async def ask(self, *, key: str = "", headers: Mapping[str, str] = {}, **fields: Any) -> httpx2.Response:
        """Ask for a chat; a field that is None is left out."""
        body = {name: value for name, value in {"messages": ASK, **fields}.items() if value is not None}
        sent = {**headers, **({"authorization": f"Bearer {key}"} if key else {})}
        return await self.http.post(CHAT, json=body, headers=sent)

    async def left(self, when: asyncio.Event, **fields: Any) -> list[dict[str, Any]]:
        """Ask for a chat as a client that goes away at this moment. Returns what had been sent by then; `sent` has it
        meanwhile."""
        self.sent = sent = list[dict[str, Any]]()
        body = msgspec.json.encode({"messages": ASK, **fields})
        parts = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            for part in parts:
                return part
            await when.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            self.sending.set()

        scope = {
            "type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
            "headers": [], "state": {}, "http_version": "1.1", "scheme": "http", "server": ("served", 80),
        }  # fmt: skip
        await self.app(scope, receive, send)
        return sent


def events_of(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of a stream, in their order; comments and the last one left out."""
    lines = b"".join(message.get("body", b"") for message in sent).decode().splitlines()
    return [msgspec.json.decode(line[6:]) for line in lines if line.startswith("data: {")]


@asynccontextmanager
async def served(
    model: Any = None,
    *,
    strategy: str = "majority_vote:n=3",
    budget: str = "",
    aliases: Mapping[str, Wanted] = {},
    keys: Iterable[Key] = (ANYBODY,),
    state: Path | None = None,
    forward_unknown: bool = False,
    sampling: tts.Sampling = SHORT,
    most_waiting: int = MOST_WAITING,
    patience: Patience = PATIENCE,
    log_prompts: bool = False,
    origins: Iterable[str] = (),
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve a function as the model, or the server of `options`."""
    found = [*keys]
    accounts = Accounts(found, state)
    given = options if "base_url" in options else {"model": model or Model(), **options}
    async with tts.Client(sampling=sampling, **given) as client:
        catalogue = Catalogue(client.model, Wanted(strategy, budget), aliases)
        pages = Origins([*origins], refuses_others=found == [ANYBODY])
        service = Service(
            client, catalogue, found, accounts, sampling, forward_unknown, most_waiting, patience, log_prompts, pages
        )
        opened = Served(service, client, accounts)
        async with opened.http:
            yield opened
    accounts.close()


@contextmanager
def serve_process(
    folder: Path, base_url: str, *options: str, keys: str = "", environment: Mapping[str, str] = {}
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process, in `folder`, and its URL without `/v1`. Its log is in the file `log`. Killed on leaving.

    Args:
        keys: what the file of keys holds, if there is to be one.
    """
    given = ["--keys", "keys.yaml"] if keys else []
    (folder / "keys.yaml").write_text(keys)
    command = [sys.executable, "-m", "tts", "serve", "--port", "0", "--base-url", base_url, "--cancellation", "close"]
    log = folder / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, *given, *options], cwd=folder, env={**os.environ, **environment}, stderr=written
        )
    try:
        until_s = time.monotonic() + STARTING_S
        while (found := re.search(r"serving .* at (http\S+)/v1", log.read_text())) is None:
            assert process.poll() is None and time.monotonic() < until_s, log.read_text()
            time.sleep(0.02)
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
