"""The fake engine, seen over plain sockets and the standard library's HTTP client: nothing of ours in between."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from tts.errors import InvalidParameter
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, arithmetic, tokenize

WORDS = Reply(("one", " two", " three"))


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": "What is 2 + 3?"}], **fields}


def post(
    engine: FakeEngine, body: dict[str, Any], path: str = "/v1/chat/completions", key: str = "k"
) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=100)
    link.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {key}"})
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    return answer.status, text


def get(engine: FakeEngine, path: str) -> Any:
    link = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=100)
    link.request("GET", path)
    text = link.getresponse().read().decode()
    link.close()
    return json.loads(text) if text.startswith(("{", "[")) else text


def events(text: str) -> list[Any]:
    found = re.findall(r"^data: (.*)$", text, re.M)
    return [json.loads(event) for event in found if event != "[DONE]"]


def text_of(text: str) -> str:
    return "".join(c["delta"].get("content") or "" for e in events(text) for c in e["choices"])


def open_stream(engine: FakeEngine, **fields: Any) -> socket.socket:
    body = json.dumps(ask(stream=True, **fields)).encode()
    link = socket.create_connection(("127.0.0.1", engine.port), timeout=100)
    link.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return link


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_text() -> None:
    with FakeEngine(arithmetic(error_rate=0.5)) as engine:
        first, again = (post(engine, ask(stream=True, seed=1)) for _ in range(2))
        assert first == again
        assert len({post(engine, ask(stream=True, seed=seed))[1] for seed in range(8)}) > 1


def test_streamed_and_whole_answers_have_the_same_text_usage_and_finish_reason() -> None:
    with FakeEngine(lambda _: WORDS) as engine:
        whole = json.loads(post(engine, ask())[1])
        _, text = post(engine, ask(stream=True, stream_options={"include_usage": True}))
    assert text_of(text) == whole["choices"][0]["message"]["content"] == "one two three"
    assert events(text)[-1]["choices"] == []
    assert events(text)[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 3
    assert events(text)[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "stop"
    assert text.endswith("data: [DONE]\n\n")


def test_max_tokens_and_stop_strings_cut_the_answer() -> None:
    with FakeEngine(lambda _: WORDS) as engine:
        cut = events(post(engine, ask(stream=True, max_tokens=2))[1])
        assert cut[-1]["choices"][0]["finish_reason"] == "length"
        assert text_of(post(engine, ask(stream=True, max_tokens=2))[1]) == "one two"
        assert text_of(post(engine, ask(stream=True, stop=[" th"]))[1]) == "one two"
        assert text_of(post(engine, ask(stream=True, stop=["hr"]))[1]) == "one two t"


def test_n_choices_have_the_seeds_that_follow() -> None:
    with FakeEngine(lambda request: Reply((f"seed {request['seed']}",))) as engine:
        body = json.loads(post(engine, ask(n=3, seed=5))[1])
        streamed = events(post(engine, ask(n=3, seed=5, stream=True))[1])
    assert [c["message"]["content"] for c in body["choices"]] == ["seed 5", "seed 6", "seed 7"]
    assert {c["index"] for e in streamed for c in e["choices"]} == {0, 1, 2}
    assert body["usage"]["completion_tokens"] == 3


def test_logprobs_come_in_the_shape_of_each_api() -> None:
    reply = Reply(("Yes",), logprobs=((("Yes", -0.1), ("No", -2.4)),))
    with FakeEngine(lambda _: reply) as engine:
        chat = events(post(engine, ask(stream=True, logprobs=True, top_logprobs=2))[1])
        body = {"model": "fake", "prompt": "2 + 3", "logprobs": 2}
        text = json.loads(post(engine, body, "/v1/completions")[1])
    row = next(c["logprobs"] for e in chat for c in e["choices"] if c.get("logprobs"))["content"][0]
    assert (row["token"], row["logprob"]) == ("Yes", -0.1)
    assert [t["token"] for t in row["top_logprobs"]] == ["Yes", "No"]
    assert text["choices"][0]["logprobs"]["top_logprobs"] == [{"Yes": -0.1, "No": -2.4}]


@pytest.mark.parametrize("flavour", ["vllm", "llamacpp"])
def test_assistant_text_is_continued_in_the_way_of_the_engine(flavour: Any) -> None:
    def script(request: dict[str, Any]) -> Reply:
        assert request["messages"][-1]["role"] == "user"
        return Reply(("after ", request["prefill"]))

    turn = {"role": "assistant", "content": "one"}
    body = ask(stream=True)
    body["messages"].append(turn)
    if flavour == "vllm":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    with FakeEngine(script, flavour=flavour) as engine:
        assert text_of(post(engine, body)[1]) == "after one"


def test_vllm_refuses_to_continue_and_to_begin_a_turn_at_once() -> None:
    with FakeEngine() as engine:
        assert post(engine, ask(continue_final_message=True))[0] == 400


def test_a_client_that_leaves_stops_the_decoding_and_frees_the_slot() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 10_000, per_token_s=0.005), slots=1) as engine:
        first = open_stream(engine)
        first.recv(4096)
        second = open_stream(engine)
        assert engine.wait(lambda now: now.queued == 1)
        first.close()
        assert engine.wait(lambda now: now.left == 1 and now.open_streams == 1 and now.queued == 0)
        second.close()
        assert engine.wait_idle()
        stats = engine.stats()
        assert stats.tokens_after_leave == 0
        assert stats.tokens < 2000
        assert stats.max_open_streams == 1
        assert [served.outcome for served in engine.served] == ["left", "left"]


def test_tokens_may_come_several_in_a_chunk_or_one_letter_at_a_time_and_are_counted_as_tokens() -> None:
    words = Reply(("one", " two", " three", " four", " five"))
    cut: dict[Any, list[str]] = {
        "openai": ["one two", " three four", " five"],
        "vllm": ["one", " two three", " four five"],  # the first token as soon as there is one
    }
    for flavour, pieces in cut.items():
        with FakeEngine(lambda _: words, flavour=flavour, stream_interval=2) as engine:
            asked = ask(stream=True, logprobs=True, top_logprobs=1, stream_options={"include_usage": True})
            _, text = post(engine, asked)
        chunks = [choice for event in events(text) for choice in event["choices"] if choice["delta"].get("content")]
        assert [chunk["delta"]["content"] for chunk in chunks] == pieces
        assert [len(chunk["logprobs"]["content"]) for chunk in chunks] == [len(piece.split()) for piece in pieces]
        assert events(text)[-1]["usage"]["completion_tokens"] == 5
    letters = msgspec.structs.replace(words, misbehave=Misbehaviour.LETTERS)
    with FakeEngine(lambda _: letters, report=lambda usage: {**usage, "completion_tokens": -1}) as engine:
        _, text = post(engine, ask(stream=True, stream_options={"include_usage": True}))
        assert sum(bool(choice["delta"].get("content")) for event in events(text) for choice in event["choices"]) == 23
        assert text_of(text) == "one two three four five"
        assert events(text)[-1]["usage"]["completion_tokens"] == -1
        assert engine.stats().tokens == 5


def test_hidden_tokens_are_decoded_and_count_towards_max_tokens() -> None:
    with FakeEngine(lambda _: msgspec.structs.replace(WORDS, hidden=4)) as engine:
        _, text = post(engine, ask(max_tokens=5))
        assert json.loads(text)["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
        assert json.loads(text)["choices"][0]["message"]["content"] == "one"
        assert engine.stats().tokens == 5


def test_an_engine_may_decode_on_for_a_while_after_its_client_has_left() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 10_000, per_token_s=0.005), abort_delay_s=0.05) as engine:
        link = open_stream(engine)
        link.recv(4096)
        link.close()
        assert engine.wait_idle()
        assert 0 < engine.stats().tokens_after_leave < 10_000


def test_an_engine_in_lockstep_decodes_and_sends_what_it_is_allowed_and_no_more() -> None:
    with FakeEngine(lambda _: WORDS, lockstep=True) as engine, open_stream(engine) as link:
        engine.allow(2)
        assert engine.wait(lambda now: now.tokens == 2)
        heard = b""
        while b" two" not in heard:
            heard += link.recv(4096)
        assert b" three" not in heard and engine.stats().tokens == 2
        engine.allow(len(WORDS.tokens) - 2)
        assert engine.wait_idle()
        assert engine.stats().tokens == len(WORDS.tokens)


def test_a_client_that_leaves_the_queue_never_gets_a_slot() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 1000, per_token_s=0.005), slots=1) as engine:
        first = open_stream(engine)
        first.recv(4096)
        open_stream(engine).close()
        assert engine.wait(lambda now: now.left == 1 and now.queued == 0)
        assert engine.stats().open_streams == 1
        first.close()
        assert engine.wait_idle()


def test_an_engine_that_ignores_disconnects_decodes_on_and_counts_it() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 50, per_token_s=0.002), abort_on_disconnect=False) as engine:
        link = open_stream(engine)
        link.recv(4096)
        link.close()
        assert engine.wait(lambda now: now.tokens == 50)
        assert engine.stats().tokens_after_leave > 0


def test_a_full_queue_is_a_503() -> None:
    slow = Reply(("x",) * 1000, per_token_s=0.01)
    with FakeEngine(lambda _: slow, slots=1, max_queue=0) as engine, open_stream(engine) as link:
        link.recv(4096)
        assert post(engine, ask())[0] == 503


def test_requests_are_counted_by_key_and_seed() -> None:
    with FakeEngine(lambda _: WORDS, api_keys=["a", "b"]) as engine:
        for key, seed in (("a", 1), ("a", 2), ("b", 2), ("c", 3)):
            post(engine, ask(seed=seed), key=key)
        stats = engine.stats()
        assert stats.requests_by_key == {"a": 2, "b": 1, "c": 1}
        assert stats.seeds == {"1": 1, "2": 2, "3": 1}
        assert (stats.requests, stats.tokens) == (4, 9)
        assert engine.requests[0]["seed"] == 1


def test_a_prompt_is_computed_once_and_then_cached() -> None:
    with FakeEngine(lambda _: WORDS) as engine:
        usages = [json.loads(post(engine, ask(seed=seed))[1])["usage"] for seed in range(3)]
        assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 7, 7]
        assert engine.stats().cold_prefills == 1


def test_the_other_pages_are_there() -> None:
    with FakeEngine(models=("a", "b")) as engine:
        assert [m["id"] for m in get(engine, "/v1/models")["data"]] == ["a", "b"]
        assert get(engine, "/health") == {"status": "ok"}
        assert get(engine, "/stats")["connections"] == 1
        assert get(engine, "/metrics").startswith("vllm:num_requests_running")
        assert "error" in get(engine, "/nowhere")


BAD = {
    Misbehaviour.UNAUTHORIZED: 401,
    Misbehaviour.FORBIDDEN: 403,
    Misbehaviour.MODEL_NOT_FOUND: 404,
    Misbehaviour.RATE_LIMITED: 429,
    Misbehaviour.NO_CREDIT: 429,
    Misbehaviour.UNAVAILABLE: 503,
    Misbehaviour.INTERNAL: 500,
    Misbehaviour.CONTEXT_TOO_LONG: 400,
}


@pytest.mark.parametrize("bad", BAD)
def test_a_scripted_http_error_has_its_status(bad: Misbehaviour) -> None:
    with FakeEngine(lambda _: Reply(("x",), misbehave=bad, retry_after="3")) as engine:
        status, text = post(engine, ask(stream=True))
    assert status == BAD[bad]
    assert "message" in json.loads(text)["error"]


def test_what_a_model_context_or_parameter_does_not_allow_is_refused_by_name() -> None:
    with FakeEngine(context_tokens=10, rejects=("min_p",)) as engine:
        assert "`other`" in post(engine, ask(model="other"))[1]
        assert "maximum context length is 10" in post(engine, ask(max_tokens=5))[1]
        assert json.loads(post(engine, ask(min_p=0.1))[1])["error"]["param"] == "min_p"
    with FakeEngine(flavour="openai") as engine:
        assert json.loads(post(engine, ask(top_k=1))[1])["error"]["param"] == "top_k"


MID_STREAM = {
    Misbehaviour.ERROR_IN_STREAM: "the engine died",
    Misbehaviour.HALF_JSON: '"del\n\n',
    Misbehaviour.TORN: '" two"',
    Misbehaviour.COMMENTS: ": keep-alive\n\ndata: ",
    Misbehaviour.MULTILINE_DATA: 'data: {\r\ndata:  "id"',
    Misbehaviour.BLANK_FINISH: '"finish_reason":""',
    Misbehaviour.HTML: "<!doctype html>",
    Misbehaviour.JSON_BODY: '"chat.completion"',
    Misbehaviour.NAN_LOGPROBS: '"logprob":NaN',
    Misbehaviour.EMPTY: '"delta":{}',
    Misbehaviour.MISSING_DONE: '"stop"',
}


@pytest.mark.parametrize("bad", MID_STREAM)
def test_a_scripted_misbehaviour_is_on_the_wire(bad: Misbehaviour) -> None:
    with FakeEngine(lambda _: Reply(("one", " two", " three"), misbehave=bad, after=2)) as engine:
        status, text = post(engine, ask(stream=True, logprobs=True, top_logprobs=1))
    assert status == 200
    assert MID_STREAM[bad] in text
    assert ("[DONE]" in text) == (
        bad not in (Misbehaviour.TORN, Misbehaviour.HTML, Misbehaviour.JSON_BODY, Misbehaviour.MISSING_DONE)
    )


def test_a_reset_connection_is_an_error_for_the_client_in_mid_stream() -> None:
    reply = Reply(("x",) * 5, misbehave=Misbehaviour.RESET, after=2, per_token_s=0.01)
    with FakeEngine(lambda _: reply) as engine, open_stream(engine) as link, pytest.raises(ConnectionResetError):
        while link.recv(4096):
            pass


@pytest.mark.parametrize("bad", [Misbehaviour.SILENCE, Misbehaviour.SILENCE_MIDWAY, Misbehaviour.HANGING_END])
def test_a_silent_engine_holds_the_connection_until_the_client_leaves(bad: Misbehaviour) -> None:
    with FakeEngine(lambda _: Reply(("x", "y"), misbehave=bad)) as engine:
        link = open_stream(engine)
        assert engine.wait(lambda now: now.open_streams == 1)
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while link.recv(4096):
                pass
        link.close()
        assert engine.wait_idle()


def test_an_engine_that_ignores_max_tokens_sends_more() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 9, misbehave=Misbehaviour.IGNORES_MAX_TOKENS)) as engine:
        assert text_of(post(engine, ask(stream=True, max_tokens=2))[1]) == "x" * 9


def test_pacing_is_real_time() -> None:
    with FakeEngine(lambda _: Reply(("x",) * 5, first_byte_s=0.05, per_token_s=0.02)) as engine:
        began = time.monotonic()
        post(engine, ask(stream=True))
        assert time.monotonic() - began >= 0.05 + 4 * 0.02 - 0.005


def test_the_arithmetic_script_is_wrong_about_as_often_as_asked() -> None:
    script = arithmetic(error_rate=0.3)
    answers = ["".join(script(ask(seed=seed)).tokens) for seed in range(400)]
    right = sum(answer.endswith("Answer: 5") for answer in answers)
    assert 240 <= right <= 320
    assert len(set(answers)) > 5


def test_the_arithmetic_script_continues_a_prefix_and_judges_an_answer() -> None:
    script = arithmetic(error_rate=0.0)
    whole = "".join(script(ask(seed=1)).tokens)
    assert whole == whole[:9] + "".join(script(ask(seed=1, prefill=whole[:9])).tokens)
    for claim, verdict in ((5, "Yes"), (6, "No")):
        question = f"What is 2 + 3?\nAnswer: {claim}\nIs the answer correct (Yes/No)?"
        assert script({"messages": [{"role": "user", "content": question}]}).tokens == (verdict,)


def test_sums_with_products_and_signs_are_evaluated() -> None:
    script = arithmetic(error_rate=0.0)
    for question, value in (("4 + 3 * 2", "10"), ("10 - 4 - 3", "3"), ("2 * 3 * 4", "24"), ("-5 + 2", "-3")):
        reply = script({"messages": [{"role": "user", "content": f"Compute {question}."}]})
        assert reply.tokens[-1].strip() == value


def test_tokens_are_words_that_add_up_to_the_text() -> None:
    assert "".join(tokenize("a  b\nc")) == "a  b\nc"


def test_zero_slots_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="slots"):
        FakeEngine(slots=0)


def test_it_can_be_started_from_the_command_line() -> None:
    command = [sys.executable, "-m", "tts.testing.engine", "--per-token-s", "0", "--first-byte-s", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        link = http.client.HTTPConnection(url.split("/")[2], timeout=100)
        link.request("POST", "/v1/chat/completions", json.dumps(ask()))
        assert "Answer:" in link.getresponse().read().decode()
        link.close()
        process.terminate()
