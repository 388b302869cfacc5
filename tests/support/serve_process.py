"""`tts serve` as a process, for tests that need a real one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STARTING_S = 60.0


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
