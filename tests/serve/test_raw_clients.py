"""`tts serve` as a process, asked by sockets that send half requests, garbage, several requests at once, or read a byte
now and then: others are answered meanwhile, and nothing is left of those in the end."""

import contextlib
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from serving import CHAT, serve_process

from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

MUTANTS, SETTLING_S = 200, 30.0
GARBAGE = [
    b"\x00\xff\xfe\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"NONSENSE\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000,
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n{}",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n[]GET / HTTP/1.1\r\n\x01",
]


def whole(text: str, **fields: Any) -> bytes:
    body = msgspec.json.encode({"messages": [{"role": "user", "content": text}], **fields})
    return f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    def script(request: dict[str, Any]) -> Reply:
        if "long" in str(request["messages"]):
            return Reply(tuple(f" {i}" for i in range(400)), per_token_s=0.01)
        return Reply(("Answer:", " 7"))

    with FakeEngine(script) as engine:
        yield engine


class Server:
    """The process, and sockets to it."""

    def __init__(self, pid: int, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self._files = Path(f"/proc/{pid}/fd")
        self._address = (urlsplit(url).hostname, urlsplit(url).port)

    def opened(self, sent: bytes) -> socket.socket:
        made = socket.create_connection(self._address, timeout=20)
        with contextlib.suppress(ConnectionError):
            made.sendall(sent)
        return made

    def check_others_are_answered(self) -> None:
        assert httpx2.get(f"{self.url}/health", timeout=20).status_code == 200

    def check_nothing_is_left(self, engine: FakeEngine, files: int) -> None:
        assert engine.wait_idle(), engine.stats()
        until_s = time.monotonic() + SETTLING_S
        while not (now := self.state()) <= (0, files) and time.monotonic() < until_s:
            time.sleep(0.05)
        assert now <= (0, files)
        assert "Traceback" not in self.log.read_text()

    def state(self) -> tuple[int, int]:
        """Chats under way, and open files."""
        text = httpx2.get(f"{self.url}/metrics", timeout=20).text
        running = re.search(r'tts_serve_running\{key="-"\} (\S+)', text)
        assert running is not None
        return int(float(running[1])), len(os.listdir(self._files))


@pytest.fixture(scope="module")
def server(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with serve_process(folder, engine.base_url, "--strategy", "single", "--max-tokens", "500") as (process, url):
        httpx2.post(f"{url}{CHAT}", json={"messages": [{"role": "user", "content": "sum"}]}, timeout=20)
        yield Server(process.pid, url, folder / "log")


@pytest.mark.system
def test_half_requests_and_stalled_bodies_hold_up_nobody_and_leave_nothing(server: Server, engine: FakeEngine) -> None:
    _, files = server.state()
    request = whole("sum")
    draw = random.Random(1)
    half = [server.opened(request[: draw.randrange(len(request))]) for _ in range(40)]
    server.check_others_are_answered()
    assert httpx2.post(f"{server.url}{CHAT}", json={"messages": [{"role": "user", "content": "sum"}]}).is_success
    for made in half:
        made.close()
    server.check_nothing_is_left(engine, files)


@pytest.mark.system
def test_garbage_is_refused_and_several_requests_at_once_are_answered_in_order(
    server: Server, engine: FakeEngine
) -> None:
    _, files = server.state()
    for sent in GARBAGE:
        with server.opened(sent) as made:
            made.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert made.recv(64)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 405", b"HTTP/1.1 431", b"HTTP/1.1 404", b"")
    draw, request = random.Random(2), whole("sum")
    for _ in range(MUTANTS):
        mutant = bytearray(request)
        for _ in range(draw.randint(1, 8)):
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
        server.opened(bytes(mutant)).close()
    server.check_others_are_answered()
    with server.opened(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" + whole("sum") + whole("sum", n=0)) as made:
        said = b""
        while said.count(b"HTTP/1.1 ") < 3 or not said.endswith(b"}"):
            said += made.recv(2**16)
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"200", b"400"]
    server.check_nothing_is_left(engine, files)


@pytest.mark.system
def test_clients_that_read_a_byte_now_and_then_hold_up_nobody_and_are_cancelled_once_they_go(
    server: Server, engine: FakeEngine
) -> None:
    _, files = server.state()
    left = engine.stats().left
    slow = [server.opened(whole("long", stream=True)) for _ in range(20)]
    assert engine.wait(lambda stats: stats.open_streams == 20)
    for made in slow:
        made.recv(1)
    server.check_others_are_answered()
    for made in slow:
        made.close()
    server.check_nothing_is_left(engine, files)
    assert engine.stats().left == left + 20 and engine.stats().tokens_after_leave == 0
