"""The CPU time that one request costs, layer by layer, beside an aiohttp loop; writes the table of ladder.md.

    python benchmarks/models/ladder.py [--requests 4000] [--repeats 5] [--only LAYER ...]

The server is in a process of its own, and so is each measurement; the layers take turns, so that what else the machine
does falls on all of them, and the best of the repeats counts. CPU time is the client process's, without its imports;
a sweep's includes its plan, its checks and its journal, and not its process for grading.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AT_ONCE, SAMPLES, MAX_TOKENS, TOKENS = 256, 8, 128, 100
EVENTS = (1, 100)  # of one reply

One = Callable[[int], Awaitable[object]]


# -- the server: as little as can be told from one -------------------------------------------------------------------


def chunk_of(choices: list[Any], tokens: int) -> bytes:
    usage = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": choices}
    event = b"data: " + json.dumps({**body, "usage": usage}, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def streamed(events: int) -> bytes:
    """A whole response: `TOKENS` words in so many events, which say what they cost, as vLLM's do."""
    words = [*[" so"] * (TOKENS - 1), " \\boxed{42}"]
    size = TOKENS // events
    pieces = ["".join(words[at : at + size]) for at in range(0, TOKENS, size)]
    sent = []
    for at, text in enumerate(pieces):
        finish = "stop" if at == len(pieces) - 1 else None
        sent.append(chunk_of([{"index": 0, "delta": {"content": text}, "finish_reason": finish}], size * (at + 1)))
    done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(sent) + chunk_of([], TOKENS) + done


def whole() -> bytes:
    usage = {"prompt_tokens": 20, "completion_tokens": TOKENS, "total_tokens": 20 + TOKENS}
    message = {"role": "assistant", "content": " so" * (TOKENS - 1) + " \\boxed{42}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return answer({"id": "c", "object": "chat.completion", "model": "fake", "choices": [choice], "usage": usage})


def answer(plain: Any) -> bytes:
    body = json.dumps(plain).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Server(asyncio.Protocol):
    """One connection: every request is answered at once, after `DELAY_S`, with bytes that were made before."""

    delay_s = 0.0
    stream = whole_body = b""
    models = answer({"object": "list", "data": [{"id": "fake", "owned_by": "vllm", "max_model_len": 100000}]})

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, blank, body = self._held.partition(b"\r\n\r\n")
        if not blank:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return
        self._held = b""
        reply = self.models if head.startswith(b"GET") else self.stream if b'"stream":true' in body else self.whole_body
        asyncio.get_running_loop().call_later(self.delay_s, self._transport.write, reply)


async def serve(events: int, delay_s: float) -> None:
    Server.stream, Server.whole_body, Server.delay_s = streamed(events), whole(), delay_s
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def serving(events: int, delay_s: float = 0.0) -> Any:
    command = [sys.executable, __file__, "--serve", str(events), str(delay_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate("")


# -- the layers ------------------------------------------------------------------------------------------------------


def prompt(k: int) -> str:
    return f"Problem {k // SAMPLES}: compute its secret number. Put the final answer in \\boxed{{}}."


def body(k: int) -> dict[str, Any]:
    message = {"role": "user", "content": prompt(k)}
    return {"model": "fake", "messages": [message], "max_tokens": MAX_TOKENS, "temperature": 0.7, "seed": k}


async def in_turns(one: One, requests: int) -> float:
    """CPU seconds of so many requests, `AT_ONCE` at a time, after some that are not counted."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(k: int) -> None:
        async with gate:
            await one(k)

    await asyncio.gather(*(gated(k) for k in range(AT_ONCE)))
    began = time.process_time()
    await asyncio.gather(*(gated(k) for k in range(requests)))
    return time.process_time() - began


def session() -> Any:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def aiohttp_and_json(url: str, requests: int) -> float:
    async with session() as http:

        async def one(k: int) -> object:
            async with http.post(f"{url}/chat/completions", json=body(k)) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        return await in_turns(one, requests)


async def and_parser(url: str, requests: int) -> float:
    from tts.models.openai.completion_builder import CompletionBuilder
    from tts.models.openai.reading import Reader

    async with session() as http:

        async def one(k: int) -> object:
            builder = CompletionBuilder()
            builder.max_tokens = MAX_TOKENS
            builder.begin(0.0)
            reader = Reader(builder, url, limit=MAX_TOKENS, most_bytes=1 << 22, on_progress=None)
            asked = json.dumps({**body(k), "stream": True}, separators=(",", ":"))
            async with http.post(f"{url}/chat/completions", data=asked) as response:
                async for data in response.content.iter_any():
                    reader.feed(data)
            reader.close()
            return builder.text

        return await in_turns(one, requests)


async def and_client(url: str, requests: int) -> float:
    from tts.models.openai.client import OpenAIClient

    async with OpenAIClient(url, model="fake") as client:
        return await through(client, requests)


async def and_pool(url: str, requests: int) -> float:
    from tts.models.endpoint_pool import EndpointPool
    from tts.models.openai.client import OpenAIClient

    async with EndpointPool([OpenAIClient(url, model="fake", max_retries=0)]) as pool:
        return await through(pool, requests)


async def through(client: Any, requests: int) -> float:
    from tts.core.actions import Request
    from tts.models.openai.completion_builder import CompletionBuilder
    from tts.types import Message, Sampling

    sampling = Sampling(max_tokens=MAX_TOKENS)

    async def one(k: int) -> object:
        return await client.complete(Request((Message("user", prompt(k)),), sampling, seed=k), CompletionBuilder())

    return await in_turns(one, requests)


def and_sweep(url: str, requests: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        sweep_in(Path(folder, "first"), url, SAMPLES)  # it imports what a run needs
        began = time.process_time()
        sweep_in(Path(folder, "counted"), url, requests)
        return time.process_time() - began


def sweep_in(folder: Path, url: str, requests: int) -> None:
    import tts

    folder.mkdir()
    problems = folder / "problems.jsonl"
    rows = [{"id": f"p{k}", "question": prompt(SAMPLES * k), "answer": "42"} for k in range(requests // SAMPLES)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tts.sweep(
        problems, f"majority_vote:n={SAMPLES}", out=folder / "run", report=False, base_url=url, model="fake",
        concurrency=AT_ONCE, sampling={"max_tokens": MAX_TOKENS},
    )  # fmt: skip


LAYERS: dict[str, Any] = {
    "aiohttp and JSON": aiohttp_and_json,
    "aiohttp and tts's parser": and_parser,
    "OpenAIClient": and_client,
    "EndpointPool": and_pool,
    "sweep: scheduler, journal, grading": and_sweep,
}


def measure(layer: str, url: str, requests: int) -> float:
    found = LAYERS[layer](url, requests)
    if asyncio.iscoroutine(found):
        import uvloop

        found = uvloop.run(found)
    return float(found)


# -- the table -------------------------------------------------------------------------------------------------------


def compare(layers: list[str], requests: int, repeats: int) -> dict[tuple[str, int], float]:
    """Microseconds a request, by layer and events a reply."""
    found: dict[tuple[str, int], float] = {}
    for events in EVENTS:
        with serving(events) as url:
            for _ in range(repeats):
                for layer in layers:
                    command = [sys.executable, __file__, "--measure", layer, url, str(requests)]
                    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                    micros = 1e6 * float(said.split()[-1]) / requests
                    found[layer, events] = min(micros, found.get((layer, events), micros))
    return found


def table(found: dict[tuple[str, int], float], layers: list[str]) -> list[str]:
    heads = "".join(f" µs, {events} event{'s' * (events > 1)} | of aiohttp |" for events in EVENTS)
    lines = [f"| layer |{heads}", "|---|" + "---:|" * 2 * len(EVENTS)]
    for layer in layers:
        cells = [f"{found[layer, e]:.0f} | {found[layer, e] / found[layers[0], e]:.2f}" for e in EVENTS]
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--requests", type=int, default=4000)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--only", nargs="*", help="print these layers only, and write nothing", choices=LAYERS)
    arguments.add_argument("--measure", nargs=3)
    arguments.add_argument("--serve", nargs=2)
    asked = arguments.parse_args()
    if asked.serve:
        import uvloop

        uvloop.run(serve(int(asked.serve[0]), float(asked.serve[1])))
    elif asked.measure:
        print(measure(asked.measure[0], asked.measure[1], int(asked.measure[2])))
    else:
        layers = list(dict.fromkeys([next(iter(LAYERS)), *(asked.only or LAYERS)]))
        lines = table(compare(layers, asked.requests, asked.repeats), layers)
        print("\n".join(lines))
        if not asked.only:
            about = (
                f"Written by `python benchmarks/models/ladder.py` on 2 cores ({platform.machine()}, Python "
                f"{platform.python_version()}): CPU microseconds a request, by the events in its reply."
            )
            Path(__file__).with_suffix(".md").write_text("\n".join(["# The ladder", "", about, "", *lines, ""]))


if __name__ == "__main__":
    main()
