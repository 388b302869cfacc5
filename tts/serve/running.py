"""The server's process: its files, its socket, its certificates, its signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import signal
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from tts.errors import InvalidParameter
from tts.process import sockets
from tts.process.streams import echo
from tts.serve.accounts import Accounts
from tts.serve.app import Service
from tts.serve.keys import ANYBODY
from tts.serve.logs import LOG
from tts.serve.setup import Settings, Setup


class Lines(logging.Formatter):
    """An object of JSON a line: a request, or, in words, what happened to the server."""

    def format(self, record: logging.LogRecord) -> str:
        at, said = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"), record.getMessage()
        event = msgspec.Raw(said.encode()) if said.startswith("{") else said
        line: dict[str, Any] = {"at": at.replace("+00:00", "Z"), "level": record.levelname, "event": event}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def log_to_standard_error() -> None:
    """Write the log, a line of JSON a request, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    for logger in (logging.getLogger("tts"), logging.getLogger("uvicorn.error")):
        logger.addHandler(handler)
        logger.propagate = False
    LOG.setLevel(logging.INFO)


async def live(settings: Settings, options: Mapping[str, Any]) -> None:
    """Serve until the process is told to stop.

    Args:
        options: of the models, as `tts.Client` takes them, with `sampling`.
    Raises: UsageError, RunError, and the errors of opening a client, before anything is served.
    """
    setup = Setup.read(settings, options)
    tls = certificates(settings.tls_cert, settings.tls_key)
    accounts = Accounts(setup.keys, settings.state)
    with (
        contextlib.closing(accounts),
        contextlib.closing(listening(settings.host, settings.port, has_keys=setup.keys != [ANYBODY])) as opened,
    ):
        async with setup.client() as client:
            host, port = opened.getsockname()[:2]
            at = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}/v1"
            echo(f"serving {client.model} at {at}, by default with {settings.strategy}", err=True)
            await serve(setup.service(client, accounts), opened, settings.drain_s, tls)


def listening(host: str, port: int, *, has_keys: bool) -> socket.socket:
    """A socket that listens. Raises: InvalidParameter where it cannot, or where anybody could ask without a key."""
    if not has_keys and not sockets.is_loopback(host):
        raise InvalidParameter(
            f"host {host} can be reached from other machines, and there are no keys: add --keys FILE, or leave "
            f"the host out, which is 127.0.0.1",
            name="host",
        )
    return sockets.listening(host, port)


def certificates(cert: Path | None, key: Path | None) -> dict[str, str]:
    """uvicorn's options for HTTPS, the files tried. Raises: InvalidParameter."""
    if cert is None and key is None:
        return {}
    if cert is None:
        raise InvalidParameter("tls_cert is missing: --tls-key is the key of a certificate", name="tls_cert")
    for path in (cert, *([key] if key else [])):
        try:
            path.open("rb").close()
        except OSError as error:
            raise InvalidParameter(f"the TLS file {path} cannot be read: {error.strerror}", path=str(path)) from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise InvalidParameter(
            f"the TLS file {cert} holds no certificate with its key: {why}", name="tls_cert"
        ) from None
    return {"ssl_certfile": str(cert), **({"ssl_keyfile": str(key)} if key else {})}


TELLING_S = 5  # for requests that have not finished in time to hear so


async def serve(service: Service, opened: socket.socket, drain_s: float, tls: dict[str, str]) -> None:
    """Serve until SIGTERM or Ctrl-C, and then finish the requests under way, for `drain_s` at the most.

    Raises: the error of a client that can answer nothing any more, such as that of a Ray cluster that was lost: whoever
        watches the process starts it again.
    """
    config = uvicorn.Config(
        service.app(),
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody here asks who a proxy says that the client is
        http=Connection,
        timeout_graceful_shutdown=math.ceil(drain_s) + TELLING_S,
        **tls,  # type: ignore[arg-type]  # texts
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    gc.freeze()  # what was imported and opened stays: collections pass it over, 30 ms less for each of the whole
    server = _Server(config, service, drain_s)
    ending = asyncio.ensure_future(service.client.ended())
    ending.add_done_callback(lambda _: server.stop())
    try:
        await server.serve([opened])
    finally:
        ended = ending.done()
        ending.cancel()
    if ended:
        ending.result()


class Connection(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # one of two classes, by what is installed
    """uvicorn's connection, which the application may cut (`tts.serve.streaming`): closing it would wait until its
    client has read what was sent."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}  # type: ignore[has-type]


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the service that it drains, and does not end the process by its signal."""

    def __init__(self, config: uvicorn.Config, service: Service, drain_s: float) -> None:
        super().__init__(config)
        self._service = service
        self._drain_s = drain_s
        self._signals = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Drain; a second signal cancels what is under way, a third one ends the process without a word to it."""
        loop, self._signals = asyncio.get_running_loop(), self._signals + 1
        self.force_exit = self._signals > 2
        if self._signals == 1:
            loop.call_later(self._drain_s, self._service.stop)
        elif self._signals == 2:
            self._service.stop()
            loop.call_later(TELLING_S, self.stop)
        self.should_exit = self._service.draining = True
