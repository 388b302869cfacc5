"""A server of the page that tells it whatever a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tts.view.app import PAGE, POLICY, TYPES
from tts.view.export import address
from viewed.invented import Data


class Server:
    """A server of the page and of made data, which can be changed while it is looked at. It notes what is asked for."""

    def __init__(self, data: Data) -> None:
        self.data, self.asked, self.changed = data, [], threading.Condition()
        self.ended = False
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"

    def change(self) -> None:
        """Tell the page that there is a new version of the data."""
        with self.changed:
            self.data["/api/overview"]["version"] += 1
            self.changed.notify_all()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                if self.path == "/api/events":
                    self.events()
                elif self.path.startswith("/api/"):
                    asked = urlsplit(self.path)
                    path = address(asked.path.removeprefix("/api/"), **dict(parse_qsl(asked.query)))
                    found = server.data.get(path, {"error": f"There is nothing at {path}."})
                    self.answer(200 if path in server.data else 404, "application/json", json.dumps(found).encode())
                else:
                    file = PAGE / (self.path.partition("?")[0].removeprefix("/") or "index.html")
                    if file.parent == PAGE and file.exists():
                        self.answer(200, TYPES[file.suffix], file.read_bytes())
                    else:
                        self.answer(404, "text/plain", b"")

            def answer(self, status: int, type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", type)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-security-policy", POLICY)
                self.end_headers()
                self.wfile.write(body)

            def events(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                while not server.ended:
                    with server.changed:
                        server.changed.wait(1)
                        version = server.data["/api/overview"]["version"]
                    self.wfile.write(f'data: {{"version": {version}}}\n\n'.encode())
                    self.wfile.flush()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def served(data: Data) -> Iterator[Server]:
    server = Server(data)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.ended = True
        with server.changed:
            server.changed.notify_all()
        server.http.shutdown()
        thread.join()
        server.http.server_close()
