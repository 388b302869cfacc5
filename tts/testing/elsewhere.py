"""The same once more in other processes, where strings hash otherwise: for contracts."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tts.plugins.loading import by_address
from tts.testing.driver import fail


def elsewhere(function: str, given: bytes, sources: Mapping[str, str | None], hash_seeds: Sequence[str]) -> list[Any]:
    """The results of a function in other processes, one for each hash seed. Fails the test if one cannot be run.

    Args:
        function: its address, `module:name`; it takes `given`, and returns what can be pickled.
        sources: module -> file, of the modules that it needs.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "from tts.testing.elsewhere import _child; _child()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for hash_seed in hash_seeds
    ]
    said = [process.communicate(pickle.dumps((sys.path, sources, function, given))) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        if process.returncode != 0:
            fail(f"it could not be run in another process:\n{errors.decode(errors='replace')}")
    return [pickle.loads(out) for out, _ in said]


def _child() -> None:
    """The other process's side: read the function from standard input, write its result to standard output."""
    path, sources, function, given = pickle.load(sys.stdin.buffer)
    sys.path[:] = path
    for name, file in sources.items():
        _import(name, file)
    sys.stdout.buffer.write(pickle.dumps(by_address(function)(given)))


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
