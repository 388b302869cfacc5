"""What the benchmarks of `tts serve` share: an engine and a server in processes of their own, clients on bare sockets,
and the CPU time, memory and open files of a process. Linux only."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec

from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

KEY = "secret"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STARTING_S = ANSWERING_S = 60.0
TAG = re.compile(r"#(\d+)")


class Pace(NamedTuple):
    """How the engine decodes: seconds until the first token and between tokens, and tokens of a reply."""

    first_s: float = 0.0
    token_s: float = 0.0
    tokens: int = 12


# -- the engine ------------------------------------------------------------------------------------------------------


class Tagged:
    """A fake engine in a process of its own, which knows by the number after `#` in its prompt whose a request was."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def page(self, path: str) -> Any:
        return page(self.url.removesuffix("/v1") + path)

    def pace(self, pace: Pace) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(pace).decode() + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def tags(self) -> dict[int, int]:
        """The tag of each request by its seed; the pace stays."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("tags\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=dict[int, int])

    @property
    def cpu_s(self) -> float:
        return cpu_s(self._process.pid)


@contextmanager
def tagged(pace: Pace) -> Iterator[Tagged]:
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            engine = Tagged(process, process.stdout.readline().strip())
            engine.pace(pace)
            yield engine
        finally:
            process.communicate("")


def main() -> None:
    """Be the engine: a line of standard input is a pace, or asks for the tags."""
    pace, tags = Pace(), dict[int, int]()

    def script(request: dict[str, Any]) -> Reply:
        found = TAG.search(str(request["messages"]))
        if found and request.get("seed") is not None:
            tags[request["seed"]] = int(found[1])
        words = (" Well,", " so", " it", " must", " be.")
        tokens = tuple(words[i % 5] for i in range(pace.tokens - 3))
        return Reply((*tokens, "\n", "Answer:", " 7"), first_byte_s=pace.first_s, per_token_s=pace.token_s)

    with FakeEngine(script) as engine:
        print(engine.base_url, flush=True)
        for line in sys.stdin:
            if line.strip() == "tags":
                print(msgspec.json.encode(tags).decode(), flush=True)
            else:
                pace = msgspec.json.decode(line, type=Pace)
                print("paced", flush=True)


# -- the server ------------------------------------------------------------------------------------------------------


class Server(NamedTuple):
    """A server of OpenAI's API: of `model`, at a URL without `/v1`."""

    process: subprocess.Popen[bytes]
    url: str
    model: str = "fake"


@contextmanager
def serving(engine: str, folder: Path, strategy: str = "majority_vote:n=8", tokens: int = 4000) -> Iterator[Server]:
    """`tts serve` as it would be run: with keys, and state on disk; its log in the folder. A request may spend so many
    tokens."""
    hashed = hashlib.sha256(KEY.encode()).hexdigest()
    (folder / "keys.yaml").write_text(f"bench: {{key: 'sha256:{hashed}', budget: tokens=1000m}}\n")
    command = [
        sys.executable, "-m", "tts", "serve", "--port", "0", "--base-url", engine, "--keys", "keys.yaml", "--state",
        "state", "--budget", f"tokens={tokens}", "--max-tokens", "400", "--strategy", strategy, "-c", "512",
        "--cancellation", "close",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("ab") as written:
        process = subprocess.Popen(command, cwd=folder, stderr=written)
    try:
        until_s = time.monotonic() + STARTING_S
        while (found := re.search(r"serving .* at (http\S+)/v1", log.read_text())) is None:
            if process.poll() is not None or time.monotonic() > until_s:
                sys.exit(f"tts serve did not start: {log.read_text()}")
            time.sleep(0.05)
        yield Server(process, found[1])
    finally:
        process.terminate()
        process.wait()


# -- clients ---------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """Times on the machine's monotonic clock; `first_s` of the first event with text, of a stream."""

    status: int
    began_s: float
    first_s: float
    ended_s: float
    text: bytes

    @property
    def ms(self) -> float:
        return 1000 * (self.ended_s - self.began_s)


class Client:
    """A connection that is kept."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self._host, self._port, limit=2**20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, body: Mapping[str, Any] | None, path: str = "/v1/chat/completions") -> float:
        """Returns when."""
        raw = b"" if body is None else msgspec.json.encode(body)
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        more = f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        now = time.monotonic()
        self.writer.write((head + more).encode() + raw)
        return now

    async def ask(self, body: Mapping[str, Any] | None, path: str = "/v1/chat/completions") -> Answer:
        """Raises: TimeoutError."""
        async with asyncio.timeout(ANSWERING_S):
            return await self._asked(body, path)

    async def _asked(self, body: Mapping[str, Any] | None, path: str) -> Answer:
        began_s = self.send(body, path)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        status, first_s = int(head.split(None, 2)[1]), 0.0
        if found := re.search(rb"content-length: (\d+)", head):
            text = await self.reader.readexactly(int(found[1]))
        else:
            text = b""
            async for piece in self._chunks() if b"transfer-encoding: chunked" in head else self._lines():
                if not first_s and b'"content":"' in piece.replace(b'"content":""', b"").replace(b": ", b":"):
                    first_s = time.monotonic()
                text += piece
        answer = Answer(status, began_s, first_s, time.monotonic(), text)
        if b"connection: close" in head:
            self.writer.close()
            await self.__aenter__()
        return answer

    async def _lines(self) -> AsyncIterator[bytes]:
        async for line in self.reader:
            yield line

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)


def chat(tag: int, *, model: str = "fake", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": f"What is 3 + 4? #{tag}"}], **fields}


def run(made: Callable[[], Awaitable[Any]]) -> Any:
    import uvloop

    async def within() -> Any:
        return await made()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(within())


def page(url: str, body: Any = None) -> Any:
    """A page's JSON, or its text."""
    sent = None if body is None else msgspec.json.encode(body)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with urlopen(Request(url, sent, headers), timeout=30) as answer:
        raw: bytes = answer.read()
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode()


# -- of a process ----------------------------------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """CPU time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def memory_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# -- numbers ---------------------------------------------------------------------------------------------------------


def quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def interval(values: Sequence[float], of: Callable[[Sequence[float]], float]) -> tuple[float, float]:
    """95 %, by bootstrap."""
    draw = random.Random(0)
    drawn = sorted(of(draw.choices(values, k=len(values))) for _ in range(500))
    return drawn[12], drawn[487]


def machine(before: float) -> str:
    """Where and how busy: `before` is the load average before the measurement."""
    return (
        f"on {os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}); the load average was "
        f"{before:.1f} before and {os.getloadavg()[0]:.1f} after"
    )


if __name__ == "__main__":
    main()
