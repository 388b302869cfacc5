"""The same once more in other processes, where strings hash otherwise: for contracts.

A process with one hash seed forks for each call, so that each is in a fresh process and the imports of `tts`, which
cost more than most calls, are paid once.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import IO, Any, NamedTuple

from tts.plugins.loading import by_address
from tts.testing.driver import fail

_SERVE = "from tts.testing.elsewhere import _serve; _serve()"


def elsewhere(function: str, given: bytes, sources: Mapping[str, str | None], hash_seeds: Sequence[str]) -> list[Any]:
    """The results of a function in other processes, one for each hash seed. Fails the test if one cannot be run.

    Args:
        function: its address, `module:name`; it takes `given`, and returns what can be pickled.
        sources: module -> file, of the modules that it needs.
    """
    servers = [_server(hash_seed, os.getpid()) for hash_seed in hash_seeds]
    for server in servers:
        _write(server.calls, pickle.dumps((sys.path, sources, function, given)))
    results = []
    for said in [_read(server.results) for server in servers]:
        error, result = pickle.loads(said) if said else ("the process ended without a word", None)
        if error is not None:
            fail(f"it could not be run in another process:\n{error}")
        results.append(result)
    return results


class _Server(NamedTuple):
    """A process that forks for calls, until its pipe ends with the process that has started it."""

    process: subprocess.Popen[bytes]
    calls: IO[bytes]
    results: IO[bytes]


@cache
def _server(hash_seed: str, pid: int) -> _Server:
    """The server with this hash seed, of the process with this id."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None and process.stdout is not None
    return _Server(process, process.stdin, process.stdout)


def _serve() -> None:
    """The other process's side: fork for each call that comes on standard input, and pass its result on."""
    for module in ("tts.testing.contract", "tts.testing.verifier_contract"):
        import_module(module)
    while call := _read(sys.stdin.buffer):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reader)
            with open(writer, "wb") as out:
                out.write(_result(call))
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as said:
            result = said.read()
        _, status = os.waitpid(child, 0)
        _write(sys.stdout.buffer, result or pickle.dumps((f"its process ended with status {status}", None)))


def _result(call: bytes) -> bytes:
    """Either the error, as text, or the result of the function; pickled."""
    try:
        sys.path[:], sources, function, given = pickle.loads(call)
        for name, file in sources.items():
            _import(name, file)
        return pickle.dumps((None, by_address(function)(given)))
    except Exception:
        return pickle.dumps((traceback.format_exc(), None))


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    """A message; empty at the end of the stream."""
    data: bytes = stream.read(int.from_bytes(stream.read(8), "big"))
    return data


def _import(name: str, file: str | None) -> None:
    """Import a module by name, or from its file where only pytest could find it."""
    try:
        import_module(name)
    except ImportError:
        spec = spec_from_file_location(name, Path(file)) if file else None
        if spec is None or spec.loader is None:
            raise
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
