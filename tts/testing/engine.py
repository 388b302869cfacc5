"""A real HTTP server that speaks the OpenAI protocol, gives scripted replies, and counts the tokens that it decodes.

It runs in a thread of its own, so that synchronous tests, asyncio tests and child processes can all talk to it:

    with FakeEngine(arithmetic(per_token_s=0.01), slots=8) as engine:
        ...  engine.base_url ...
        assert engine.stats().tokens_after_leave == 0

`python -m tts.testing.engine --port 8000` starts it by hand; `GET /stats` and `GET /served` show its counters.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, get_args

import msgspec

from tts.errors import InvalidParameter
from tts.testing.chunks import error
from tts.testing.connection import Connection
from tts.testing.decoding import Generation, prompt_tokens, too_long
from tts.testing.pages import Measures, answer_of, is_measuring, measured
from tts.testing.replies import Script, arithmetic
from tts.types import Value

Flavour = Literal["vllm", "sglang", "llamacpp", "openai"]

_OPENAI_KNOWS = {
    "model", "messages", "prompt", "n", "seed", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "stop", "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "user",
    "tools", "tool_choice",
}  # fmt: skip
_RUNNING = {"vllm": "vllm:num_requests_running", "sglang": "sglang:num_running_reqs"}
_COMPLETIONS = ("/v1/chat/completions", "/v1/completions")
_BACKLOG = 4096  # connections that may wait to be accepted: hundreds come at once


class Served(Value, frozen=True):
    """A request that ended. Times are on the machine's monotonic clock (comparable between its processes).

    Args:
        tokens: decoded for it, over all its choices.
        outcome: `done`; `left` if the client went first; `failed` if the engine misbehaved.
    """

    seed: int | None
    key: str
    tokens: int
    started_s: float
    ended_s: float
    outcome: Literal["done", "left", "failed"]


class Stats(Value, frozen=True):
    """Counters since the start, and gauges as of now."""

    requests: int = 0
    open_streams: int = 0
    queued: int = 0
    connections: int = 0
    max_open_streams: int = 0
    tokens: int = 0
    tokens_after_leave: int = 0
    cold_prefills: int = 0
    left: int = 0
    counted: int = 0
    requests_by_key: Mapping[str, int] = {}
    seeds: Mapping[str, int] = {}


class FakeEngine:
    """A scripted OpenAI-compatible server on 127.0.0.1.

    Args:
        script: the reply to a request, given as its decoded JSON body with `prefill` added (the assistant text to be
            continued, or ""). For `n` > 1 it is called once per choice, with `seed + i`, as vLLM does.
        models: the ids it serves; any other is a 404.
        flavour: the server that it imitates. `vllm`: `continue_final_message`, continuous usage, `/metrics`.
            `llamacpp`: a trailing assistant turn is continued, `timings_per_token`, `/slots`, `/props`, and a
            connection is good for one stream only, though kept open. `sglang`: as `vllm`, but `/abort_request` stops
            the request with that `rid`. `openai`: none of these, and an unknown parameter is a 400.
        slots: requests decoded at once; the rest queue in order. None: no limit.
        max_queue: beyond so many waiting requests the answer is 503.
        api_keys: if given, any other key is a 401.
        rejects: parameters refused with a 400 that names them, besides those of the flavour.
        context_tokens: prompt plus `max_tokens` may not exceed it (a token is a word).
        abort_on_disconnect: whether a client that leaves frees its slot; if not, the engine decodes on, and counts.
        abort_delay_s: time that it decodes on before that (SGLang looks every few seconds).
        lockstep: whether it decodes only as many tokens as `allow` has let it, so that no clock decides how far it is.
        stream_interval: tokens sent in one chunk; `vllm` and `sglang` send the first one alone.
        tokenizes: whether its tokenizer counts prompts for whoever asks, in the flavour's words; `openai` has none.
        shows_tools: of `llamacpp`, whether its chat template shows the model the tools of a request, as `/props` say.
        measures: the numbers that `/pooling`, `/classify` and `/score` give: a function of the page's name and the
            request; its answers may be any JSON. Then it generates nothing. None: it has no such pages.
        report: makes the reported usage from the true one (OpenAI's object); None leaves it out.
        tls: a context with a certificate for 127.0.0.1, for HTTPS.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        models: tuple[str, ...] = ("fake",),
        flavour: Flavour = "vllm",
        slots: int | None = None,
        max_queue: int | None = None,
        api_keys: Iterable[str] | None = None,
        rejects: tuple[str, ...] = (),
        context_tokens: int | None = None,
        abort_on_disconnect: bool = True,
        abort_delay_s: float = 0.0,
        lockstep: bool = False,
        stream_interval: int = 1,
        tokenizes: bool = True,
        shows_tools: bool = True,
        measures: Measures | None = None,
        report: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda usage: usage,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if slots is not None and slots < 1:
            raise InvalidParameter(f"slots must be at least 1, but got {slots}", name="slots", value=slots)
        self.script = script or arithmetic()
        self.models = models
        self.flavour = flavour
        self.slots = slots
        self.max_queue = max_queue
        self.api_keys = None if api_keys is None else frozenset(api_keys)
        self.rejects = rejects
        self.context_tokens = context_tokens
        self.abort_on_disconnect = abort_on_disconnect
        self.abort_delay_s = abort_delay_s
        self.lockstep = lockstep
        self.stream_interval = stream_interval
        self.tokenizes = tokenizes
        self.shows_tools = shows_tools
        self.measures = measures
        self.sends_first_alone = flavour in ("vllm", "sglang")
        self.report = report
        self.port = port
        self._tls = tls
        self.requests: deque[dict[str, Any]] = deque(maxlen=4096)  # the last request bodies, as they came
        self.headers: deque[dict[str, str]] = deque(maxlen=4096)  # of these requests, names in lower case
        self.served: deque[Served] = deque(maxlen=65536)
        self._by_key: Counter[str] = Counter()
        self._seeds: Counter[str] = Counter()
        self._count: Counter[str] = Counter()
        self._max_open = 0
        self._warm: set[str] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._allowed = asyncio.Semaphore(0)
        self._rids: dict[str, asyncio.Task[Any]] = {}
        self._connections: set[Connection] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; return once connections are accepted. Raises OSError if the port is taken."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener, ready), name="FakeEngine", daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = self._loop = self._stop = None

    @property
    def root_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def stats(self) -> Stats:
        count = self._count
        return Stats(
            requests=count["requests"],
            open_streams=count["open"],
            queued=sum(not turn.done() for turn in tuple(self._waiting)),
            connections=len(self._connections),
            max_open_streams=self._max_open,
            tokens=count["tokens"],
            tokens_after_leave=count["after_leave"],
            cold_prefills=count["cold"],
            left=count["left"],
            counted=count["counted"],
            requests_by_key=dict(self._by_key),
            seeds=dict(self._seeds),
        )

    def wait(self, condition: Callable[[Stats], bool], timeout_s: float = 60.0) -> bool:
        """Block until `condition(stats())` holds; False if it did not within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.stats()), timeout_s)

    def wait_idle(self, timeout_s: float = 60.0) -> bool:
        """Block until no request is decoded or queued; False if that did not come within `timeout_s`."""
        return self.wait(lambda now: now.open_streams == now.queued == 0, timeout_s)

    def allow(self, tokens: int) -> None:
        """Let an engine in lockstep decode so many more tokens, of whichever requests come to it first; those of one
        have been sent when `wait` finds them in `Stats.tokens`."""
        assert self._loop is not None, "the engine runs"
        for _ in range(tokens):
            self._loop.call_soon_threadsafe(self._allowed.release)

    async def allowed(self) -> None:
        """Wait until an engine in lockstep may decode another token."""
        if self._allowed.locked():
            await asyncio.sleep(0)  # a transport may send what it was given once the loop has gone round
            self._notify()
        await self._allowed.acquire()

    def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._main(listener, ready))

    async def _main(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()

        def connect() -> Connection:
            keep = self.flavour != "llamacpp"
            abort, delay_s = self.abort_on_disconnect, self.abort_delay_s
            return Connection(self._handle, self._connections, self._notify, abort, keep, delay_s)

        server = await self._loop.create_server(connect, sock=listener, backlog=_BACKLOG, ssl=self._tls)
        ready.set()
        await self._stop.wait()
        server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -- requests -----------------------------------------------------------------------------------------------

    async def _handle(self, connection: Connection, line: str, headers: dict[str, str], raw: bytes) -> None:
        method, path, _ = line.split(" ", 2)
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if method == "GET":
            self._get(connection, path, key)
            return
        if path == "/abort_request" and self.flavour == "sglang":
            task = self._rids.get(msgspec.json.decode(raw)["rid"])
            if task is not None:
                task.cancel()
            connection.json(200, {})
            return
        if self.tokenizes and (counted := answer_of(self.flavour, path, raw)) is not None:
            self._count["counted"] += 1
            connection.json(*counted)
            return
        if not self._takes(path):
            connection.json(404, error(f"no route {path}", "NotFoundError", 404))
            return
        body = msgspec.json.decode(raw, type=dict[str, Any])
        seed = body.get("seed")
        self._count["requests"] += 1
        self._by_key[key] += 1
        self._seeds[str(seed)] += 1
        self.requests.append(body)
        self.headers.append(headers)
        if refusal := self._refusal(body, key):
            connection.json(*refusal)
            return
        if self.measures is not None:
            connection.json(*measured(self.measures, path, body))
            return
        started_s = time.monotonic()
        generation = Generation(self, connection, body, chat=path.endswith("chat/completions"))
        rid = str(body.get("rid", ""))
        if rid and (task := asyncio.current_task()) is not None:
            self._rids[rid] = task
        try:
            await self._acquire()
            try:
                await generation.run()
            finally:
                self._release()
        finally:
            self._rids.pop(rid, None)
            left = connection.gone and not generation.failed
            self._count["left"] += left
            outcome: Literal["done", "left", "failed"] = "failed" if generation.failed else "left" if left else "done"
            self.served.append(Served(seed, key, generation.decoded, started_s, time.monotonic(), outcome))
            self._notify()

    def _get(self, connection: Connection, path: str, key: str) -> None:
        if self.api_keys is not None and key not in self.api_keys and path.startswith("/v1"):
            connection.json(401, error("invalid API key", "AuthenticationError", 401))
        elif path == "/v1/models":
            context = {} if self.context_tokens is None else {"max_model_len": self.context_tokens}
            models = [{"id": m, "object": "model", "owned_by": self.flavour, **context} for m in self.models]
            connection.json(200, {"object": "list", "data": models})
        elif path == "/health":
            connection.json(200, {"status": "ok"})
        elif path == "/stats":
            connection.json(200, self.stats())
        elif path == "/served":
            connection.json(200, list(self.served))
        elif path == "/metrics" and self.flavour in _RUNNING:
            text = f'{_RUNNING[self.flavour]}{{engine="0"}} {float(self._count["open"])}\n'
            connection.reply(200, text.encode(), "text/plain")
        elif path == "/slots" and self.flavour == "llamacpp":
            busy = self._count["open"]
            connection.json(200, [{"id": i, "is_processing": i < busy} for i in range(self.slots or busy + 1)])
        elif path == "/props" and self.flavour == "llamacpp":
            caps = {"supports_tools": self.shows_tools}
            connection.json(200, {"total_slots": self.slots or 1, "chat_template_caps": caps})
        elif self._takes(path):
            connection.json(405, {"detail": "Method Not Allowed"})
        else:
            connection.json(404, error(f"no route {path}", "NotFoundError", 404))

    def _takes(self, path: str) -> bool:
        """Whether requests for samples, or for numbers, go to this page."""
        return path in _COMPLETIONS if self.measures is None else is_measuring(path)

    def _refusal(self, body: dict[str, Any], key: str) -> tuple[int, Any] | None:
        """The status and error of a request that is not decoded."""
        if self.api_keys is not None and key not in self.api_keys:
            return 401, error("invalid API key", "AuthenticationError", 401)
        if self.max_queue is not None and not self._has_room() and self.stats().queued >= self.max_queue:
            return 503, error("the queue is full", "ServiceUnavailableError", 503)
        return self._bad_request(body)

    def _bad_request(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        if body.get("model") not in self.models:
            text = f"The model `{body.get('model')}` does not exist."
            return 404, error(text, "NotFoundError", 404, param="model")
        if name := self._refused(body):
            return 400, error(f"Unsupported parameter: '{name}'", "invalid_request_error", 400, param=name)
        if body.get("continue_final_message") and body.get("add_generation_prompt", True):
            text = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            return 400, error(text, "BadRequestError", 400)
        asked = prompt_tokens(body) + (body.get("max_tokens") or 0)
        if self.context_tokens is not None and asked > self.context_tokens:
            return 400, too_long(self.context_tokens, asked)
        return None

    def _refused(self, body: dict[str, Any]) -> str | None:
        options = {f"stream_options.{name}" for name in body.get("stream_options", {})}
        names = set(body) | options
        if self.flavour == "openai":
            unknown = (set(body) - _OPENAI_KNOWS) | (options - {"stream_options.include_usage"})
            return min(unknown | (names & set(self.rejects)), default=None)
        return min(names & set(self.rejects), default=None)

    def _has_room(self) -> bool:
        return self.slots is None or self._count["open"] < self.slots

    async def _acquire(self) -> None:
        """Take a slot, in order of arrival."""
        if self._has_room():  # then none waits, because a freed slot goes to the first in the queue
            self._count["open"] += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._notify()
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it was given the slot in the same moment
                    self._release()
                raise
        self._max_open = max(self._max_open, self._count["open"])
        self._notify()

    def _release(self) -> None:
        """Hand the slot to the first in the queue, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._count["open"] -= 1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    """Serve sums until interrupted: `python -m tts.testing.engine`."""
    parser = argparse.ArgumentParser(prog="python -m tts.testing.engine", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--slots", type=int, default=None, help="requests decoded at once (default: no limit)")
    parser.add_argument("--flavour", choices=get_args(Flavour), default="vllm")
    parser.add_argument("--error-rate", type=float, default=0.3, help="share of wrong answers")
    parser.add_argument("--words", type=int, default=12, help="about how long the answers are")
    parser.add_argument("--first-byte-s", type=float, default=0.05)
    parser.add_argument("--per-token-s", type=float, default=0.01)
    flags = parser.parse_args()
    script = arithmetic(
        error_rate=flags.error_rate,
        words=flags.words,
        first_byte_s=flags.first_byte_s,
        per_token_s=flags.per_token_s,
    )
    with FakeEngine(script, port=flags.port, slots=flags.slots, flavour=flags.flavour) as engine:
        print(engine.base_url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
