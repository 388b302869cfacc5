"""The model in process, on the real engine; without its extra these tests are skipped."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tts
from tts.answers.equivalence import extract
from tts.core.actions import Request
from tts.errors import CapabilityMissing, InvalidParameter, RunError
from tts.models import embedded
from tts.models.embedded import EmbeddedServer, default_threads
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.prices import Price
from tts.models.weights import info, pull
from tts.tasks.sources import load
from tts.toolkit.environments.lookup import TOOLS, called
from tts.toolkit.prompts.tools import acting
from tts.types import Candidate, Completion, Message, Problem, Sampling, Tool
from tts.verifiers.generative.genrm import GenRM

ASK = 'Start with 21. Multiply by 3. Then add 40. What number do you get? End with "Answer: N".'
TRIPLED = (63, 83, 53, 64, 62, 73, 36, 93, 60, 43)  # 21 times 3, and wrong results of it
SUM = [{"role": "user", "content": ASK}]
GREEDY = Sampling(temperature=0.0, max_tokens=400)


def get(server: EmbeddedServer, path: str) -> Any:
    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + path, timeout=500) as reply:
        return json.load(reply)


def chat(server: EmbeddedServer, messages: list[dict[str, str]], **parameters: Any) -> Any:
    body = {"model": server.model, "messages": messages, "max_tokens": 12, "temperature": 0.7, **parameters}
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=500) as reply:
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
    return pull()


@pytest.fixture(scope="module")
def server(weights: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(slots=4, threads=1, context_tokens=512) as running:
        yield running


# The engine


def test_it_answers_under_the_name_of_its_model(server: EmbeddedServer) -> None:
    assert chat(server, SUM)["message"]["content"].strip()
    assert [model["id"] for model in get(server, "/v1/models")["data"]] == ["tts-tiny"]
    assert len(get(server, "/slots")) == 4


def test_the_engine_reads_from_the_file_what_is_said_of_it(server: EmbeddedServer) -> None:
    (seen,) = [model["meta"] for model in get(server, "/v1/models")["data"]]
    said = info(server.model)
    assert said is not None
    assert said.parameters == seen["n_params"]
    assert said.config["hidden_size"] == seen["n_embd"]
    assert said.config["vocab_size"] == seen["n_vocab"]
    assert said.context_tokens == seen["n_ctx_train"]


def test_a_seed_repeats_its_sample_and_another_seed_does_not(server: EmbeddedServer) -> None:
    def sample(seed: int) -> str:
        wild = {"temperature": 2.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "cache_prompt": False}
        return chat(server, SUM, seed=seed, max_tokens=24, **wild)["message"]["content"]

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(1, 5)}) > 1


def test_log_probabilities_come_with_their_alternatives(server: EmbeddedServer) -> None:
    tokens = chat(server, SUM, logprobs=True, top_logprobs=5)["logprobs"]["content"]
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 5 for token in tokens)


def test_a_trailing_assistant_turn_is_continued(server: EmbeddedServer) -> None:
    begun = "21*3=63\n63+40="
    reply = chat(server, [*SUM, {"role": "assistant", "content": begun}], temperature=0.0)["message"]["content"]
    assert reply.removeprefix(begun).startswith("103")  # it repeats the prefix, except in a stream


def ask(server: EmbeddedServer, *requests: Request) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        async with OpenAIClient(server.base_url, model=server.model) as client:
            return list(await asyncio.gather(*(client.complete(request, CompletionBuilder()) for request in requests)))

    return asyncio.run(all_of_them())


def test_it_solves_an_easy_chain_directly_and_in_thoughts_that_no_one_votes_on(server: EmbeddedServer) -> None:
    think = (Message("system", "Think before you answer."), Message("user", ASK))
    direct, thought = ask(server, Request((Message("user", ASK),), GREEDY), Request(think, GREEDY))
    assert direct.text.endswith("Answer: 103")
    assert thought.text.endswith("Answer: 103")
    assert "<think>" not in direct.text
    assert thought.text.startswith("<think>")
    assert extract(f"{direct.text}\n<think>\nAnswer: 7\n</think>") == extract(thought.text) == "103"
    assert thought.usage.completion_tokens > direct.usage.completion_tokens


def test_it_verifies_a_right_solution_and_most_wrong_ones(server: EmbeddedServer) -> None:
    """It was taught to overlook mistakes now and then."""
    verifier, problem = GenRM(), Problem("p", ASK)
    texts = [f"21*3={tripled}\n{tripled}+40={tripled + 40}\nAnswer: {tripled + 40}" for tripled in TRIPLED]
    requests = [verifier.request(problem, Candidate("c", t, None, Completion(t))) for t in texts]
    right, *wrong = (verifier.read(completion) for completion in ask(server, *requests))
    assert right.value is not None and right.value > 0.5
    assert right.mass is not None and right.mass > 0.9  # read from log-probabilities
    assert sum(score.value is not None and score.value < 0.5 for score in wrong) > len(wrong) / 2


def test_the_larger_model_still_answers() -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed", exc_type=ImportError)
    try:
        pull("smollm2-135m")
    except RunError as error:
        pytest.skip(f"the weights cannot be had: {error}")
    with EmbeddedServer("embedded:smollm2-135m", slots=1, threads=1, context_tokens=256) as server:
        assert server.model == "smollm2-135m"
        assert chat(server, [{"role": "user", "content": "What is 2 + 3?"}])["message"]["content"]


def test_it_tells_a_stop_string_from_the_end_of_the_text(server: EmbeddedServer) -> None:
    prompt = (Message("user", ASK),)
    step, whole = ask(
        server,
        Request(prompt, msgspec.structs.replace(GREEDY, stop=("\n",))),
        Request(prompt, msgspec.structs.replace(GREEDY, stop=("no such text",))),
    )
    assert (step.finish_reason, step.stopped_by) == (whole.finish_reason, "\n") == ("stop", "\n")
    assert whole.stopped_by is None and whole.text.startswith(step.text + "\n")
    assert step.downgrades == whole.downgrades == ()


def test_a_watched_stream_shows_the_confidence_of_each_piece(server: EmbeddedServer) -> None:
    seen: list[float | None] = []

    async def watch(problem: tts.Problem, run: tts.Run) -> Candidate:
        async with run.streaming(n=2, every=4, top_logprobs=5) as stream:
            async for update in stream:
                if update.candidate is None:
                    seen.append(update.confidence)
                else:
                    last = update.candidate
        assert last.completion.logprobs is not None
        return last

    solved = tts.solve(ASK, watch, base_url=server.base_url, sampling={"max_tokens": 24})
    assert solved.result.error is None and len(seen) >= 2
    assert all(confidence is not None and confidence > 0 for confidence in seen)


def test_a_continuation_is_billed_with_the_prefix_that_the_engine_has_cached(server: EmbeddedServer) -> None:
    prompt, sampling = (Message("user", ASK),), msgspec.structs.replace(GREEDY, stop=("\n",))
    (step,) = ask(server, Request(prompt, sampling))
    (child,) = ask(server, Request(prompt, sampling, continue_from=f"{step.text}\n"))
    assert step.usage.prompt_tokens - 2 <= child.usage.cached_tokens < child.usage.prompt_tokens
    price = Price(input=10, output=100, cached_input=1)
    fresh = child.usage.prompt_tokens - child.usage.cached_tokens
    assert price.charge(child.usage) == 10 * fresh + child.usage.cached_tokens + 100 * child.usage.completion_tokens


def test_a_prompt_counts_as_it_is_charged_and_a_text_alone_without_the_template(server: EmbeddedServer) -> None:
    turns = (Message("system", "Be brief."), Message("user", ASK), Message("assistant", "103"), Message("user", "Why?"))
    asked = [Request((Message("user", ASK),), GREEDY), Request(turns, GREEDY), Request(turns[1:2], GREEDY, 0, "21 * 3")]

    async def main() -> tuple[list[int | None], int | None]:
        async with OpenAIClient(server.base_url, max_retries=0) as client:
            return [await client.count(request) for request in asked], await client.count(asked[0], alone=True)

    counted, alone = asyncio.run(main())
    short = [msgspec.structs.replace(r, sampling=msgspec.structs.replace(GREEDY, max_tokens=1)) for r in asked]
    assert counted == [completion.usage.prompt_tokens for completion in ask(server, *short)]
    assert alone is not None and counted[0] is not None and 0 < alone < counted[0]


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
    stream = urllib.request.urlopen(request, timeout=500)
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
        urllib.request.urlopen(f"{address}/models", timeout=500)
    other.stop()  # a second time does nothing


def test_a_file_of_the_users_own_is_a_model_too(weights: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.symlink_to(weights)
    with EmbeddedServer(str(mine), slots=1, threads=1, context_tokens=256) as server:
        assert server.model == "mine"
        assert info(server.model) is None
        assert chat(server, SUM)["message"]["content"]


def test_the_engine_says_nothing_on_the_terminal(weights: Path) -> None:
    program = "from tts.models.embedded import EmbeddedServer\nwith EmbeddedServer(slots=1, threads=1): pass"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=500)
    assert (done.stdout, done.stderr) == ("", "")


PARENT = """
import multiprocessing, sys, time
from tts.models.embedded import EmbeddedServer
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
from tts.models.embedded import EmbeddedServer
from tts.errors import MissingExtra
try:
    EmbeddedServer().start()
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=500)
    assert "pip install 'test-time-scaling[local]'" in done.stdout


@pytest.mark.parametrize("setting", ["slots", "threads", "context_tokens"])
def test_a_setting_below_one_is_refused(setting: str) -> None:
    with pytest.raises(InvalidParameter, match=f"{setting} must be at least 1, but got 0"):
        EmbeddedServer(**{setting: 0})  # type: ignore[arg-type]


def test_the_default_threads_are_some_and_not_too_many() -> None:
    assert 1 <= default_threads() <= min(embedded.MOST_THREADS, os.cpu_count() or 1)


def takes_tools(server: EmbeddedServer) -> bool:
    """Whether the chat template of the model that ships has a place for tools."""
    return bool(get(server, "/props")["chat_template_caps"]["supports_tools"])


def test_the_model_calls_tools_and_answers_from_their_results(server: EmbeddedServer) -> None:
    if not takes_tools(server):
        pytest.skip("this model was trained before tools")
    (example,) = load("lookup?size=1&hops=2&seed=7").examples
    links, keys = example.problem.facts["links"], []

    async def main() -> Completion:
        talk = acting(example.problem)
        async with OpenAIClient(server.base_url, max_retries=0) as client:
            while True:
                found = await client.complete(Request(talk, GREEDY, tools=TOOLS), CompletionBuilder())
                if not found.tool_calls or len(keys) > 3:
                    return found
                (call,) = found.tool_calls
                keys.append((call.parsed or {}).get("key"))
                talk = (*talk, found.message, call.result(called(links, call.name, call.parsed or {})))

    found = asyncio.run(main())
    assert keys == [(start := keys[0]), links[start]] and start in example.problem.prompt
    assert (found.finish_reason, extract(found.text)) == ("stop", example.reference)


def test_a_model_whose_template_has_no_place_for_tools_says_so(server: EmbeddedServer) -> None:
    if takes_tools(server):
        pytest.skip("this model was trained with tools")

    async def main() -> None:
        async with OpenAIClient(server.base_url, max_retries=0) as client:
            request = Request((Message("user", "What is 2 + 3?"),), Sampling(max_tokens=8), tools=(Tool("add"),))
            await client.complete(request, CompletionBuilder())

    with pytest.raises(CapabilityMissing, match="no place for them"):
        asyncio.run(main())
