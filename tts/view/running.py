"""The viewer's process: its socket, its browser, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import webbrowser
from pathlib import Path

import uvicorn

from tts.process.sockets import is_loopback, listening
from tts.process.streams import echo
from tts.view.app import Viewer


async def live(path: Path, host: str, port: int, *, browser: bool) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Raises: InvalidParameter, and as `opened`."""
    viewer = Viewer(path, host)
    with contextlib.closing(listening(host, port)) as opened:
        at, number = opened.getsockname()[:2]
        url = f"http://{f'[{at}]' if ':' in at else at}:{number}/"
        if viewer.view is None:
            echo(f"there is no run at {path} yet: the page fills as soon as one begins", err=True)
        if not is_loopback(host):
            echo(f"anybody who can reach {host} can read this run: the page has no password", err=True)
        echo(f"{path} is shown at {url} (Ctrl-C ends it)", err=True)
        config = uvicorn.Config(
            viewer.app(), lifespan="off", access_log=False, log_config=None, server_header=False,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        following = asyncio.ensure_future(viewer.follow())
        if browser:
            asyncio.get_running_loop().call_later(0.2, webbrowser.open, url)
        try:
            await uvicorn.Server(config).serve([opened])
        finally:
            following.cancel()
            await asyncio.wait({following})
            await viewer.close()
