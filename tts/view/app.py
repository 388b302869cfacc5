"""The application: the page's files, and its JSON. It answers this machine's own browsers, and opens no file that a
request names."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tts.errors import TTSError, UnknownName
from tts.view.grading import Grader, Pair
from tts.view.opening import View, opened
from tts.view.schema import Overview, Spent, TrialShown

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
EVERY_S = 0.5  # between two looks at a run that goes on
GRADING_S = 3.0  # for which a trial's page waits for verdicts


class Viewer:
    """The routes over one run or pool.

    Args:
        path: of it; where nothing is there yet, it is waited for.
        host: at which the server was told to listen, which requests may name.
    """

    def __init__(self, path: Path, host: str = "127.0.0.1") -> None:
        self.path = path
        self.view: View | None = opened(path)
        self._host = host
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._settled = False  # whether the run has ended, and all that there is to know of it is known
        self._grader = Grader(path)
        self._grading: set[asyncio.Future[None]] = set()

    def app(self) -> ASGIApp:
        """The application, for an ASGI server."""
        api: dict[str, Callable[[View, Any], Any]] = {
            "grid": lambda view, asked: view.grid(),
            "problem": lambda view, asked: view.problem(asked("id")),
            "trials": lambda view, asked: view.trials(asked("problem"), asked("cell")),
            "text": lambda view, asked: view.text(asked("id")),
            "compare": lambda view, asked: view.compare(asked("a"), asked("b")),
        }
        files = {path.name: path for path in PAGE.glob("*") if path.suffix in TYPES}
        routes = [
            Route("/api/overview", self.overview),
            Route("/api/events", self.events),
            Route("/api/trial", self.trial),
            *(Route(f"/api/{name}", self._answering(answer)) for name, answer in api.items()),
            *(Route(folder + name, _sending(path)) for name, path in files.items() for folder in ("/", "/page/")),
            Route("/", _sending(PAGE / "index.html")),
        ]
        handlers: dict[Any, Any] = {404: _no_page, 405: _no_page, TTSError: _refused}
        return _Guarded(Starlette(routes=routes, exception_handlers=handlers), self._host)

    async def overview(self, request: Request) -> Response:
        """The overview; of nothing yet, one that says so."""
        if self.view is None:
            note = f"there is no run at {self.path} yet: this page fills as soon as one begins"
            waiting = Overview(self.path.name, "waiting", str(self.path), True, 0, 0, 0, 0, None, Spent(), (), (note,))
            return _json(waiting)
        return _json(await self._read(lambda view: view.overview()))

    async def trial(self, request: Request) -> Response:
        """A trial, its candidates graded, unless that takes long: then those that are."""
        id = _asked(request, "id")
        shown: TrialShown = await self._read(lambda view: view.trial(id))
        if await self._grade(shown):
            shown = await self._read(lambda view: view.trial(id))
        return _json(shown)

    async def events(self, request: Request) -> Response:
        """The run's version, whenever it has grown."""
        return StreamingResponse(self.versions(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def follow(self) -> None:
        """Take in what a run writes, also where it is resumed after its end. Once it has ended, its answers are graded,
        and its journal is compared with its checksums."""
        took = 0.0
        while True:
            await asyncio.sleep(max(EVERY_S, 4 * took))  # those who ask wait for a look
            began = time.monotonic()
            with contextlib.suppress(TTSError):  # of a file that is being written; whoever asks for it is told
                await self._look()
                if self.view is not None and not self.view.live and not self._settled:
                    await self._grade(None)
                    await asyncio.to_thread(self.view.check)
                    self._settled = True
                    await self._tell()
            took = time.monotonic() - began

    async def close(self) -> None:
        """End the process that grades, if there is one."""
        for task in self._grading:
            task.cancel()
        await asyncio.gather(*self._grading, return_exceptions=True)
        await self._grader.__aexit__(None, None, None)

    async def _grade(self, trial: TrialShown | None) -> bool:
        """Have the answers of a trial, or all that were decided on, graded. Returns whether verdicts were learnt within
        `GRADING_S`; those that take longer are learnt when they come."""
        pairs = await self._read(lambda view: view.ungraded(trial))
        if not pairs:
            return False
        learning = asyncio.ensure_future(self._learn(pairs))
        self._grading.add(learning)
        learning.add_done_callback(self._grading.discard)
        ended, _ = await asyncio.wait({learning}, timeout=GRADING_S if trial else None)
        return bool(ended)

    async def _learn(self, pairs: Sequence[Pair]) -> None:
        found = await self._grader.verdicts(pairs)
        await self._read(lambda view: view.learn(found))
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _look(self) -> None:
        async with self._lock:
            if self.view is None:
                self.view = await asyncio.to_thread(opened, self.path)
                grown = self.view is not None
            else:
                grown = await asyncio.to_thread(self.view.refresh)
        if grown:
            self._settled = False
            await self._tell()

    async def versions(self) -> AsyncIterator[str]:
        sent = -1
        while True:
            settled, version = self._settled, self._version  # before sending, during which more may come
            if version != sent:
                sent = version
                yield f'data: {{"version": {version}}}\n\n'
            if settled:
                return
            async with self._changed:
                while not self._settled and self._version == sent:
                    await self._changed.wait()

    @property
    def _version(self) -> int:
        return 0 if self.view is None else self.view.version

    def _answering(self, answer: Callable[[View, Any], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            return _json(await self._read(lambda view: answer(view, partial(_asked, request))))

        return answered

    async def _read(self, what: Callable[[View], Any]) -> Any:
        if self.view is None:
            raise UnknownName(f"there is no run at {self.path} yet", name=str(self.path))
        async with self._lock:  # a view is not read while it takes in more
            return await asyncio.to_thread(what, self.view)


class _Guarded:
    """Answers requests that name this server by an address, or by its own name: a page elsewhere whose name leads here
    (DNS rebinding) is refused. Adds the headers that keep what is shown from being obeyed."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if not _is_own(host, self._host):
            refusal = _json(
                {"error": f"this server is not called {host[:100]!r}: open the address that it printed"}, 403
            )
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _asked(request: Request, name: str) -> str:
    if name not in request.query_params:
        raise UnknownName(f"{request.url.path} needs ?{name}=", name=name)
    return request.query_params[name]


def _is_own(header: str, host: str) -> bool:
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    name = name.strip("[]").lower()
    if name in ("localhost", host.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True  # an address is nobody else's name


def _sending(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError:
            return _json({"error": f"{path.name} is not installed"}, 404)
        return Response(content, media_type=TYPES[path.suffix])

    return send


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, TTSError)
    return _json({"error": error.message}, 404 if isinstance(error, UnknownName) else 422)


async def _no_page(request: Request, error: Exception) -> Response:
    return _json({"error": f"there is no {request.url.path}"}, 404)
