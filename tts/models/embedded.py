"""A small language model for people with no server: llama.cpp in a child process, on loopback (extra `local`).

The engine is `xllamacpp`: prebuilt wheels of llama.cpp with its OpenAI-compatible server and continuous batching. It
runs in a process of its own: a crash in C would take the run along, its threads are tuned by the environment they start
in, and a terminal's Ctrl-C must drain the run rather than kill the engine. The child ends with its parent, whatever
ends that.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tts.errors import InvalidParameter, MissingExtra, RunError, Unreachable
from tts.models.weights import DEFAULT, PREFIX, find, info

START_LIMIT_S = 120.0
STOP_LIMIT_S = 5.0
MOST_THREADS = 8  # not measured beyond two cores; a model this small has little to split
_WATCH_S = 1.0
_MAIN = "from tts.models.embedded import serve; serve()"
# Spins of a waiting thread before it sleeps. On a busy machine with two cores, libgomp's own
# 300000 leaves two threads a tenth of one thread's speed; this leaves them more than half of it, and costs nothing on
# a quiet machine, where two threads are almost twice as fast as one (benchmarks/models/embedded_threads.md).
_SPIN = {"GOMP_SPINCOUNT": "1000"}


class EmbeddedServer:
    """A llama.cpp server in a child process. A context manager, or `start()` and `stop()`.

    Args:
        model: a name, a path, or None for the default.
        slots: requests decoded together; the rest queue. Memory is reserved for all of them. None: as suits the model.
        threads: None is one for each core this process may use, up to 8 (benchmarks/models/embedded_threads.md).
        context_tokens: per slot, for prompt and completion; None: as suits the model.

    Attributes:
        base_url, model: for a client, once started. context_tokens: of each slot.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        slots: int | None = None,
        threads: int | None = None,
        context_tokens: int | None = None,
    ) -> None:
        for label, value in (("slots", slots), ("threads", threads), ("context_tokens", context_tokens)):
            if value is not None and value < 1:
                raise InvalidParameter(f"{label} must be at least 1, but got {value}", name=label, value=value)
        suited_slots, suited_tokens = suited(model)
        self.model = model or DEFAULT
        self.base_url = ""
        self._wanted = model
        self._slots = slots or suited_slots
        self._threads = threads or default_threads()
        self.context_tokens = context_tokens or suited_tokens
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> Self:
        """Start the engine. Raises: MissingExtra without xllamacpp; RunError with the engine's last output if it
        fails."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise MissingExtra(
                "running a model in process needs the extra `local`: pip install 'test-time-scaling[local]'; or name a "
                "server with --base-url",
                extra="local",
            )
        self.model, path = find(self._wanted)
        settings = {
            "path": str(path),
            "alias": self.model,
            "slots": self._slots,
            "threads": self._threads,
            "context_tokens": self.context_tokens,
        }
        self._log = tempfile.TemporaryFile(prefix="tts-engine-")  # noqa: SIM115  # closed by `stop`
        self._process = subprocess.Popen(
            # -P: the working directory must not shadow modules here that it does not shadow in the parent.
            [sys.executable, "-P", "-c", _MAIN, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(),
            start_new_session=True,  # so that a terminal's Ctrl-C does not reach the engine
        )
        try:
            self.base_url = self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the engine; at once if it does not end by itself."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def is_dead(self) -> bool:
        """Whether the engine was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the base URL, which the child prints when the weights are loaded."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
        address = process.stdout.readline().decode().strip() if ready else ""
        if not address:
            ended = f"ended with status {process.wait(STOP_LIMIT_S)}" if ready else f"is silent after {START_LIMIT_S} s"
            raise RunError(
                f"the engine for {self.model} did not start: it {ended}. Its last words: {self._last_words()}",
                model=self.model,
            )
        try:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"{address}/health", timeout=START_LIMIT_S):
                return f"{address}/v1"
        except OSError as error:
            raise Unreachable(
                f"the engine for {self.model} at {address} does not answer ({error}). "
                f"Its last words: {self._last_words()}",
                endpoint=address,
            ) from error

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 1000))
        return self._log.read().decode(errors="replace").strip() or "none"


def suited(model: str | None) -> tuple[int, int]:
    """The slots, and the tokens of each one's context, that suit a model; a guess for a file of the user's own."""
    known = info((model or DEFAULT).removeprefix(PREFIX))
    return (known.slots, known.context_tokens) if known else (16, 2048)


def default_threads() -> int:
    """The cores this process may use, by its affinity and its container's quota, up to `MOST_THREADS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file, or no quota: "max 100000"
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return min(cores, MOST_THREADS)


def _environment() -> dict[str, str]:
    tuned = {} if "OMP_WAIT_POLICY" in os.environ else _SPIN
    return {**tuned, **os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


# --- the child process


def serve() -> None:
    """Serve as the first argument says (JSON), until standard input ends or the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    settings = json.loads(sys.argv[1])
    try:
        import xllamacpp
    except ImportError as error:
        hint = " (on Debian and Ubuntu: apt-get install libgomp1)" if "libgomp" in str(error) else ""
        sys.exit(f"cannot load xllamacpp: {error}{hint}")
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["alias"]}
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    # On a CPU, flash attention sums in half precision: log-probabilities are off by 0.001, and greedy texts differ.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.n_threads_http = 4 * settings["slots"] + 8  # a request that queues for a slot holds one
    params.port = 0
    params.cors_origins = "http://127.0.0.1"  # no web page may call this server
    params.endpoint_slots = params.endpoint_metrics = True
    params.ui = False
    params.fit_params = False
    params.cache_ram_mib = 0
    params.verbosity = 1  # errors
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        sys.exit(str(error))
    print(server.listening_address, flush=True)
    # A process that the parent forked may hold the pipe open after the parent's end: hence the second condition.
    while not select.select([sys.stdin], [], [], _WATCH_S)[0] and os.getppid() == parent:
        pass
    os._exit(0)  # without waiting for requests that it decodes
