"""`tts serve` as a process: killed, started again, drained; and the sentences of one that cannot start."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from serving import served
from typer.testing import CliRunner

from tts.cli import main as cli
from tts.errors import ClusterUnreachable
from tts.pools.from_served import build_served_pool
from tts.runs.folder import JOURNAL, read_history
from tts.runs.served import read_requests, served_folders
from tts.serve.running import Lines, listening, serve
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

KEY = {"authorization": "Bearer secret"}


@contextmanager
def serving(
    folder: Path, engine: FakeEngine, *more: str, budget: str = "tokens=250"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its URL."""
    (folder / "keys.yaml").write_text(f"bob: {{key: $BOB, budget: {budget}}}\n")
    options = ["--port", "0", "--base-url", engine.base_url, "--keys", "keys.yaml", "--state", "state", "--journal",
               "journal", "--budget",
               "tokens=100", "--max-tokens", "40", "--strategy", "single", "--cancellation", "close"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "tts", "serve", *options, *more],
        cwd=folder, env={**os.environ, "BOB": "secret"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        found = re.search(r"at (http\S+)/v1", said)
        assert found is not None, said + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(url: str, text: str) -> httpx2.Response:
    body = {"messages": [{"role": "user", "content": text}]}
    return httpx2.post(f"{url}/v1/chat/completions", json=body, headers=KEY, timeout=20)


def given_up(url: str) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        ask(url, "slow")


@pytest.mark.system
def test_a_server_that_is_killed_forgets_no_spending_and_one_that_is_told_to_stop_finishes(tmp_path: Path) -> None:
    def script(request: dict[str, Any]) -> Reply:
        return Reply(("Answer:", " 7"), per_token_s=3600.0 if "slow" in str(request["messages"]) else 0.2)

    with FakeEngine(script) as engine:
        with serving(tmp_path, engine) as (process, url):
            assert ask(url, "quick").json()["usage"]["completion_tokens"] == 2
            lost = threading.Thread(target=given_up, args=(url,), daemon=True)
            lost.start()
            assert engine.wait(lambda stats: stats.requests == 2)
            process.send_signal(signal.SIGKILL)
            lost.join()
        (folder,) = served_folders(tmp_path / "journal")
        history = read_history(folder / JOURNAL)
        assert len(read_requests(folder)) == 2 and history.paid.tokens == 2
        assert len(history.granted) == 1 and history.unfinished.samples == 1
        with serving(tmp_path, engine) as (process, url):
            replies: list[httpx2.Response] = []
            asking = threading.Thread(target=lambda: replies.append(ask(url, "quick")), daemon=True)
            asking.start()
            assert engine.wait(lambda stats: stats.requests == 3)
            refused = ask(url, "quick")  # of 250 tokens, 2 and 100 are spent, and 100 held
            assert refused.status_code == 429 and "48 tokens are left" in refused.json()["error"]["message"]
            process.terminate()
            asking.join()
            assert replies[0].json()["choices"][0]["message"]["content"] == "Answer: 7"
            assert process.wait(timeout=60) == 0
            assert len(served_folders(tmp_path / "journal")) == 2
            assert len(build_served_pool(tmp_path / "journal")) == 2


def test_a_server_that_cannot_start_says_why_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (tmp_path / "keys.yaml").write_text("bob: {key: $HOME, budget: tokens=1k}\n")
        keys = str(tmp_path / "keys.yaml")
        for options, words in [
            (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from other machines, and there are no keys"),
            (["--port", port], f"--port {port} of 127.0.0.1 cannot be listened on: Address already in use"),
            (["--tls-cert", "none.pem"], "the TLS file none.pem cannot be read: No such file"),
            (["--tls-cert", keys], f"the TLS file {keys} holds no certificate with its key"),
            (["--keys", "none.yaml"], "--keys none.yaml cannot be read: No such file"),
            (["--keys", keys], "--budget tokens="),
            (["--aliases", keys], "the alias bob in"),
            (["--strategy", "singl"], "Did you mean 'single'?"),
        ]:
            ran = CliRunner().invoke(cli.app, ["serve", *options])
            assert isinstance(ran.exception, Exception)
            with pytest.raises(SystemExit) as left:
                cli.main(["serve", *options])
            assert left.value.code == 2
            assert words in cli._with_option(ran.exception), options  # type: ignore[arg-type]


def test_a_server_that_can_answer_nothing_any_more_ends_with_the_reason() -> None:
    async def within() -> None:
        async with served() as server:
            with listening("127.0.0.1", 0, has_keys=False) as opened:
                serving = asyncio.create_task(serve(server.service, opened, 1.0, {}))
                url = f"http://127.0.0.1:{opened.getsockname()[1]}/ready"
                async with httpx2.AsyncClient() as http:
                    assert (await http.get(url)).status_code == 200
                server.client._opened()._cluster._fail(ClusterUnreachable("the Ray cluster was lost"))
                with pytest.raises(ClusterUnreachable):
                    await serving
            assert (await server.http.get("/ready")).status_code == 503

    asyncio.run(within())


@pytest.mark.system
def test_a_client_that_reads_nothing_loses_its_connection_with_what_it_has_not_read(tmp_path: Path) -> None:
    """Closed in order, the connection would stay open until all that was sent is read."""

    def script(request: dict[str, Any]) -> Reply:
        return Reply(("x" * 700,) * 3900)

    options = ["--client-timeout-s", "0.5", "--budget", "tokens=20k", "--max-tokens", "4000"]
    with (
        FakeEngine(script) as engine,
        serving(tmp_path, engine, *options, budget="tokens=9m") as (_, url),
        socket.socket() as reader,
    ):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        turns = [{"role": "user", "content": "?"}]
        body = msgspec.json.encode({"messages": turns, "stream": True, "n": 3})
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
        reader.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert engine.wait(lambda stats: stats.requests == 3) and engine.wait_idle()
        running = 'tts_serve_running{key="bob"} 1'
        while running in httpx2.get(f"{url}/metrics", headers=KEY).text:
            time.sleep(0.1)
        sent = b"".join(iter(lambda: reader.recv(2**20), b""))  # to the connection's end
        assert sent and b"[DONE]" not in sent


def test_a_line_of_the_log_is_an_object_whoever_writes_it() -> None:
    def line(message: str, error: Exception | None = None) -> Any:
        found = (type(error), error, None) if error else None
        record = logging.LogRecord("tts.cluster", logging.WARNING, "", 1, message, None, found)
        record.created = 1_000_000_000.5
        return msgspec.json.decode(Lines().format(record))

    assert line('{"status":200}') == {"at": "2001-09-09T01:46:40.500Z", "level": "WARNING", "event": {"status": 200}}
    assert line("it is\nsilent")["event"] == "it is\nsilent"
    assert "ValueError: no" in line("broken", ValueError("no"))["traceback"]
