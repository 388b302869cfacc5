"""Chats: what a request may say, what runs for it, what it is told. An error names the field and the remedy."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from serving import ASK, CHAT, Model, Served, served

import tts
from tts.errors import ContextTooLong, Overloaded, ServerFailed, TimedOut
from tts.serve.calls import unless_gone
from tts.serve.protocol.fields import Wanted
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply


def asked(use: Callable[[Served], Awaitable[None]], **options: Any) -> None:
    async def within() -> None:
        async with served(**options) as server:
            await use(server)

    asyncio.run(within())


def error_of(reply: httpx2.Response) -> dict[str, Any]:
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_the_answer_is_in_the_shape_of_openai_and_its_usage_is_the_sum_of_all_samples() -> None:
    async def use(server: Served) -> None:
        reply = (await server.ask()).json()
        (choice,) = reply["choices"]
        assert choice["message"] == {"role": "assistant", "content": "So it is.\nAnswer: 7", "refusal": None}
        assert (reply["object"], choice["finish_reason"], reply["model"]) == ("chat.completion", "stop", "Model")
        usage = reply["usage"]
        assert usage["tts"].pop("seed") >= 0
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (15, 12, 27)
        assert usage["tts"] == {
            "samples": 3, "verifier_tokens": 0, "cancelled_tokens": 0, "selected": 0, "cost": None, "answer": "7",
            "exhausted": False,
        }  # fmt: skip
        assert server.client.spent.tokens == 12

    asked(use)


def test_what_the_body_says_comes_before_headers_before_the_models_name_before_the_default() -> None:
    async def use(server: Served) -> None:
        async def samples(**given: Any) -> int:
            return int((await server.ask(**given)).json()["usage"]["tts"]["samples"])

        header = {"x-tts-strategy": "majority_vote:n=5"}
        body = {"strategy": "majority_vote:n=6"}
        assert await samples() == 3
        assert await samples(model="Model") == 3
        assert await samples(model="quick") == 2
        assert await samples(model="majority_vote:n=4@Model") == 4
        assert await samples(model="quick", headers=header) == 5
        assert await samples(model="quick", headers=header, tts=body) == 6
        assert await samples(headers={"x-tts-budget": "samples=1"}) == 1
        assert await samples(headers={"x-tts-budget": "samples=1"}, tts={"budget": {"samples": 2}}) == 2
        assert await samples(model="bounded") == 1

    aliases = {"quick": Wanted("majority_vote:n=2"), "bounded": Wanted(budget="samples=1")}
    asked(use, aliases=aliases)


def test_turns_system_and_sampling_reach_the_model_as_they_were_given() -> None:
    async def use(server: Served) -> None:
        turns = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "What is 3 + 4?"},
            {"role": "assistant", "content": "7"},
            {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "5 more?"}]},
        ]
        form = {"type": "json_object"}
        given = {"temperature": 0.25, "top_p": 0.5, "max_completion_tokens": 9, "stop": "END", "response_format": form}
        first, again, other = [
            await server.ask(messages=turns, seed=seed, **given, tts={"strategy": "single"}) for seed in (5, 5, 6)
        ]
        assert first.status_code == again.status_code == other.status_code == 200
        request = model.requests[0]
        assert [(turn.role, turn.content) for turn in request.messages] == [
            ("system", "Be brief."), ("user", "What is 3 + 4?"), ("assistant", "7"), ("user", "And 5 more?"),
        ]  # fmt: skip
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.stop) == (0.25, 0.5, 9, ("END",))
        assert sampling.extra_body == {"response_format": form}
        seeds = [request.seed for request in model.requests]
        assert seeds[0] == seeds[1] != seeds[2]

    model = Model()
    asked(use, model=model)


class Silent(Model):
    """Never answers.

    Attributes:
        asked: set once it has been.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def __call__(self, request: tts.Request) -> tts.Completion:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    "roles", [("system", "user", "assistant", "system", "user"), ("user", "system"), ("system", "system", "user")]
)
def test_turns_of_the_system_go_to_the_model_wherever_they_stand(roles: tuple[str, ...]) -> None:
    turns = [{"role": role, "content": f"{role} {i}"} for i, role in enumerate(roles)]

    async def use(server: Served) -> None:
        assert (await server.ask(messages=turns, tts={"strategy": "majority_vote:n=2"})).status_code == 200
        for request in model.requests:
            said = "\n\n".join(f"{turn.role}: {turn.content}" for turn in request.messages)
            assert [said.find(turn["content"]) for turn in turns] == sorted(
                said.index(turn["content"]) for turn in turns
            )

    model = Model()
    asked(use, model=model)


class Varied(Model):
    """Answers differently for each seed."""

    async def __call__(self, request: tts.Request) -> tts.Completion:
        found = await super().__call__(request)
        return tts.Completion(f"Answer: {request.seed}", usage=found.usage)


def test_a_request_without_a_seed_has_other_samples_each_time_and_says_the_seed_that_repeats_it() -> None:
    async def use(server: Served) -> None:
        first, second = [(await server.ask(tts={"strategy": "single"})).json() for _ in range(2)]
        assert first["choices"][0]["message"] != second["choices"][0]["message"]
        again = (await server.ask(tts={"strategy": "single"}, seed=first["usage"]["tts"]["seed"])).json()
        assert again["choices"][0]["message"] == first["choices"][0]["message"]

    asked(use, model=Varied())


def test_the_form_of_the_answer_is_not_asked_of_what_helps_to_decide() -> None:
    async def use(server: Served) -> None:
        strategy = {"strategy": "knockout:n=2,verifier=pairwise"}
        reply = await server.ask(response_format={"type": "json_object"}, tts=strategy, seed=1)
        assert reply.status_code == 200
        formed = {True: set[bool](), False: set[bool]()}
        for request in model.requests:
            formed[request.messages[-1].content == ASK[0]["content"]].add(
                "response_format" in request.sampling.extra_body
            )
        assert formed == {True: {True}, False: {False}}

    model = Varied()
    asked(use, model=model)


def test_unknown_fields_are_refused_by_name_or_forwarded() -> None:
    async def refusing(server: Served) -> None:
        error = error_of(await server.ask(mirostat=2))
        assert error["param"] == "mirostat" and "--forward-unknown" in error["message"]

    async def forwarding(server: Served) -> None:
        assert (await server.ask(mirostat=2)).status_code == 200
        assert model.requests[0].sampling.extra_body == {"mirostat": 2}
        assert (await server.ask(functions=[])).status_code == 400

    model = Model()
    asked(refusing)
    asked(forwarding, model=model, forward_unknown=True)


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]
WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "modl"}, 404, "unknown model 'modl'. Did you mean 'Model'?"),
    ({"model": "majorty_vote@Model"}, 404, "Did you mean 'majority_vote'?"),
    ({"tts": {"strategy": "singl"}}, 404, "Did you mean 'single'?"),
    ({"tts": {"strategy": "majority_vote:m=2"}}, 400, "unknown parameter of majority_vote 'm'"),
    ({"tts": {"strategy": "best_of_n:verifier=/etc/passwd.py:V"}}, 400, "only an alias of the server"),
    ({"tts": {"strategy": "os:system"}}, 404, "unknown strategy 'os'"),
    ({"tts": {"plan": 1}}, 400, "tts has an unknown field 'plan'"),
    ({"tts": {"budget": "tokns=1"}}, 400, "Did you mean 'tokens'?"),
    ({"tts": {"budget": "tokens=1"}}, 400, "cannot hold one sample"),
    ({"tts": {"budget": "tokens=40q"}}, 400, "must be a number such as"),
    ({"tts": {"strategy": "best_of_n:n=2,verifier=reward_model"}}, 400, "said where the server is started"),
    ({"tts": {"deadline_s": 0}}, 400, "tts.deadline_s must be a number of seconds above 0"),
    ({"n": 0}, 400, "n must be from 1 to 128, but got 0"),
    ({"messages": []}, 400, "messages must be a list"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, 400, "user turn"),
    ({"messages": IMAGE}, 400, "messages[0].content[0] must be text"),
    ({"functions": [{"name": "f"}]}, 400, "functions is not supported"),
    ({"temperature": "hot"}, 400, "temperature must be a number"),
    ({"max_tokens": 0}, 400, "max_tokens must be at least 1"),
    ({"temperature": 10**400}, 400, "temperature must be a number below 1e308"),
    ({"tts": {"deadline_s": 10**400}}, 400, "tts.deadline_s must be a number of seconds"),
    ({"model": "x" * 2000}, 400, "model may have 1,024 characters, but has 2,000"),
    ({"tts": {"strategy": "single:temperature=1" + "0" * 2000}}, 400, "tts.strategy may have 1,024 characters"),
    ({"tts": {"strategy": "majority_vote:n=1_000_000"}}, 400, "n of a request's strategy may be 10,000, but is 1,000"),
    ({"budget": 1_000_000}, 400, "n of a request's strategy may be 10,000, but is 1,000,000"),
    ({"model": "best_of_n:verifier=genrm,n=10001@Model"}, 400, "n of a request's strategy may be 10,000"),
    ({"tts": {"budget": "tokens=1" + " " * 2000 + "!"}}, 400, "tts.budget may have 1,024 characters"),
    ({"tts": {"budget": {"tokens": "9" * 2000}}}, 400, "tts.budget may have 1,024 characters"),
    ({"tts": {"allocator": "price:price=1" + "0" * 2000}}, 400, "tts.allocator may have 1,024 characters"),
    ({"seed": "a"}, 400, "seed must be a whole number"),
    ({"seed": 2**63}, 400, "seed must be a whole number of 64 bits"),
    ({"logprobs": True, "top_logprobs": 2}, 400, "logprobs must be false"),
    ({"top_logprobs": 2}, 400, "top_logprobs must be 0"),
    ({"service_tier": "flex"}, 400, "service_tier must be auto or default"),
    ({"messages": [*ASK, {"role": "tool", "tool_call_id": "c1", "content": "3"}]}, 400, "no turn of the assistant's"),
    ({"response_format": {"type": "json_schema"}}, 400, "response_format must be"),
    ({"stream": 1}, 400, "stream must be true or false"),
    ({"response_format": {"type": "xml"}}, 400, "response_format.type"),
]


def test_a_request_that_is_wrong_is_told_what_is_wrong_and_costs_nothing() -> None:
    async def use(server: Served) -> None:
        for fields, status, words in WRONG:
            reply = await server.ask(**fields)
            assert reply.status_code == status, (fields, reply.text)
            assert words in error_of(reply)["message"], fields
        malformed = await server.http.post(CHAT, content=b'{"messages": [}')
        assert (malformed.status_code, error_of(malformed)["code"]) == (400, "invalid_json")
        large = await server.http.post(CHAT, content=b" " * (8 * 2**20 + 1))
        assert (large.status_code, error_of(large)["code"]) == (413, "body_too_large")
        packed = await server.http.post(CHAT, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
        assert (packed.status_code, error_of(packed)["code"]) == (415, "unsupported_encoding")
        assert "ends in /v1" in error_of(await server.http.post("/chat/completions", json={}))["message"]
        got = await server.http.get(CHAT)
        assert (got.status_code, got.headers["allow"]) == (405, "POST") and "for POST" in error_of(got)["message"]
        small = error_of(await server.ask(tts={"budget": "tokens=1"}))
        assert (small["code"], small["param"]) == ("budget_too_small", "tts.budget")
        assert model.requests == []

    model = Model()
    asked(use, model=model)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ServerFailed("it broke"), 502, "model_server_failed"),
        (TimedOut("silence", phase="idle"), 504, "model_server_timed_out"),
        (Overloaded("full", retry_after_s=7), 503, "overloaded"),
        (ContextTooLong("too long"), 400, "context_length_exceeded"),
        (ValueError("its own"), 500, "strategy_failed"),
    ],
)
def test_a_failure_of_the_models_server_has_a_status_of_its_own(error: Exception, status: int, code: str) -> None:
    async def use(server: Served) -> None:
        reply = await server.ask()
        assert (reply.status_code, error_of(reply)["code"]) == (status, code), reply.text
        assert "the run stops" not in reply.text  # as that of a command does; a server goes on

    model = Model()
    model.fails = error
    asked(use, model=model, patience_s=0.0)


def test_a_slash_at_the_end_of_an_address_and_fields_that_say_nothing_are_passed_over() -> None:
    async def use(server: Served) -> None:
        nothing = {"logprobs": False, "top_logprobs": 0, "service_tier": "auto"}
        assert (await server.http.post(CHAT + "/", json={"messages": ASK, **nothing})).status_code == 200
        assert (await server.http.get("/v1/models/")).json()["object"] == "list"

    asked(use)


def test_models_are_listed_and_each_can_be_asked_for_by_its_name() -> None:
    async def use(server: Served) -> None:
        listed = [model["id"] for model in (await server.http.get("/v1/models")).json()["data"]]
        assert listed[:2] == ["Model", "quick"] and "best_of_n@Model" in listed
        assert (await server.http.get("/v1/models/majority_vote:n=4@Model")).status_code == 200
        assert (await server.http.get("/v1/models/nothing")).status_code == 404

    asked(use, aliases={"quick": Wanted("single")})


def test_a_server_that_drains_is_healthy_and_not_ready_and_takes_no_request() -> None:
    async def use(server: Served) -> None:
        assert [(await server.http.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
        server.service.draining = True
        assert [(await server.http.get(path)).status_code for path in ("/health", "/ready")] == [200, 503]
        reply = await server.ask()
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")

    asked(use)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_has_not_finished_when_a_server_stops_is_told_so(stream: bool) -> None:
    async def use(server: Served) -> None:
        asking = asyncio.ensure_future(server.ask(stream=stream))
        await model.asked.wait()
        server.service.stop()
        reply = await asking
        assert reply.status_code == (200 if stream else 503)
        assert '"code":"stopping"' in reply.text and reply.text.endswith("[DONE]\n\n") == stream

    model = Silent()
    asked(use, model=model)


def test_a_header_that_is_written_wrongly_is_not_passed_over() -> None:
    async def use(server: Served) -> None:
        reply = await server.ask(headers={"x-tts-stratgy": "single"})
        assert reply.status_code == 400 and "known are X-TTS-Strategy" in error_of(reply)["message"]

    asked(use)


def test_requests_have_ids_and_lines_of_the_log_which_hold_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    async def use(server: Served) -> None:
        assert (await server.ask(headers={"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
        assert len((await server.ask(headers={"x-request-id": "a b\n"})).headers["x-request-id"]) == 24
        assert (await server.ask(n=0)).headers["x-request-id"]

    with caplog.at_level("INFO", logger="tts.serve"):
        asked(use)
    lines = [record.getMessage() for record in caplog.records if record.name == "tts.serve"]
    assert len(lines) == 3 and '"request_id":"mine-1"' in lines[0] and '"tokens":12' in lines[0]
    assert not [line for line in lines if ASK[0]["content"] in line or "So it is" in line]


def test_a_client_that_goes_away_cancels_its_request_down_to_the_engine_and_no_other() -> None:
    def script(request: dict[str, Any]) -> Reply:
        return Reply(("Answer:", " 7"), per_token_s=3600.0 if "slow" in str(request["messages"]) else 0.0)

    async def within(engine: FakeEngine) -> None:
        async with served(base_url=engine.base_url) as server:
            for stream in (False, True):
                gone = asyncio.Event()
                slow = [{"role": "user", "content": "slow"}]
                leaving = asyncio.create_task(server.left(gone, messages=slow, stream=stream))
                assert await asyncio.to_thread(engine.wait, lambda stats: stats.open_streams == 3)
                assert (await server.ask()).json()["choices"][0]["message"]["content"] == "Answer: 7"
                gone.set()
                await leaving
                assert await asyncio.to_thread(engine.wait, lambda stats: stats.open_streams == 0)
            assert server.accounts.running("-") == 0

    with FakeEngine(script) as engine:
        asyncio.run(within(engine))
        assert engine.wait_idle()
        assert engine.stats().left == 6 and engine.stats().tokens_after_leave == 0


def test_no_search_is_begun_for_a_client_that_has_gone_before_its_request_was_read() -> None:
    async def use(server: Served) -> None:
        await server.ask()
        gone, begun = asyncio.Event(), server.client.spent
        gone.set()
        opened = server.client.solve
        server.client.solve = lambda *args, **more: searches.append(args) or opened(*args, **more)  # type: ignore
        for stream in (False, True):
            await server.left(gone, stream=stream)
        assert searches == [] and server.client.spent == begun and server.accounts.running("-") == 0

    searches: list[Any] = []
    asked(use)


def test_a_search_that_fails_after_its_client_has_gone_is_no_error_that_was_forgotten() -> None:
    forgotten: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("as it was cancelled")

    async def within() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: forgotten.append(context))
        assert await unless_gone(receive, work()) is None
        gc.collect()

    asyncio.run(within())
    assert forgotten == []


def test_a_stream_that_cannot_even_begin_gives_its_hold_back() -> None:
    async def use(server: Served) -> None:
        body = b'{"stream": true, "messages": [{"role": "user", "content": "?"}]}'
        parts = iter([{"type": "http.request", "body": body}])

        async def receive() -> Any:
            return next(parts, None) or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            raise OSError("the client has gone")

        scope = {
            "type": "http",
            "method": "POST",
            "path": CHAT,
            "headers": [],
            "query_string": b"",
            "http_version": "1.1",
        }
        with pytest.raises(BaseException):  # noqa: B017  # whatever the server's library makes of it
            await server.app(scope, receive, send)
        assert server.accounts.running("-") == 0

    asked(use)


def test_metrics_count_chats_and_what_was_paid_for_by_key() -> None:
    async def use(server: Served) -> None:
        await server.ask()
        await server.ask(n=0)
        lines = (await server.http.get("/metrics")).text.splitlines()
        for line in ('tts_serve_requests_total{status="200"} 1', "tts_serve_request_seconds_count 1",
                     'tts_serve_running{key="-"} 0', 'tts_serve_samples_total{key="-"} 3',
                     'tts_serve_tokens_total{key="-"} 12'):  # fmt: skip
            assert line in lines

    asked(use)


def test_the_words_of_optillm_and_its_hub_are_understood_where_they_have_one_meaning() -> None:
    async def use(server: Served) -> None:
        async def samples(**given: Any) -> int:
            return int((await server.ask(**given)).json()["usage"]["tts"]["samples"])

        assert await samples(budget=2) == 2
        assert await samples(budget=2, tts={"strategy": "majority_vote:n=4"}) == 4
        assert await samples(optillm_approach="none") == await samples(model="none-Model") == 1
        assert await samples(optillm_approach="self_consistency", budget=5) == 5
        assert error_of(await server.ask(optillm_approach="moa"))["param"] == "optillm_approach"
        assert error_of(await server.ask(budget=0))["param"] == "budget"

    asked(use)


def test_an_allocator_is_named_by_the_body_a_header_or_an_alias_and_never_by_a_file() -> None:
    async def use(server: Served) -> None:
        async def samples(**given: Any) -> int:
            return int((await server.ask(**given)).json()["usage"]["tts"]["samples"])

        few, more = "price:price=0.5,pilot=2", "price:price=0.5,pilot=4"
        assert await samples(tts={"allocator": few}) == 2
        assert await samples(headers={"x-tts-allocator": more}) == 4
        assert await samples(headers={"x-tts-allocator": more}, tts={"allocator": few}) == 2
        assert await samples(model="frugal") == 2
        assert await samples(model="frugal", tts={"allocator": "equal", "budget": "samples=5"}) == 5
        for name in ("mine.py:rule", "os:system", "nothing"):
            assert "unknown allocator" in error_of(await server.ask(tts={"allocator": name}))["message"]
        assert "closed set" in error_of(await server.ask(tts={"allocator": "uniform"}))["message"]
        fixed = await server.ask(tts={"allocator": few, "strategy": "majority_vote:n=2"})
        assert fixed.status_code == 400 and "fixed number" in error_of(fixed)["message"]

    asked(use, strategy="majority_vote:n=none", aliases={"frugal": Wanted(allocator="price:price=0.5,pilot=2")})
