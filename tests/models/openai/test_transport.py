"""Connections that fail, answers that are no HTTP, proxies: what reaches a person is a sentence of ours."""

import asyncio
import datetime
import gc
import gzip
import ipaddress
import json
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawserver import DONE, MODELS, as_json, completing, http, serving

from tts import errors
from tts.core.actions import Request
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.openai.transport import AiohttpReply, BrokenOff, Connections
from tts.models.wire.proxies import proxy_for
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Message, Sampling

Ask = Callable[[str], object]
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def models(url: str) -> tuple[str, ...]:
    async def main() -> tuple[str, ...]:
        async with OpenAIClient(url, api_key="k-1234", connect_s=5.0) as client:
            return await client.models()

    return asyncio.run(main())


def completion(url: str) -> str:
    async def main() -> str:
        async with OpenAIClient(url, model="m", api_key="k-1234", max_retries=0) as client:
            request = Request((Message("user", "half a pair: \ud83d"),), Sampling(max_tokens=9), seed=1)
            return (await client.complete(request, CompletionBuilder())).text

    return asyncio.run(main())


def failure(url: str, ask: Ask = models) -> errors.EndpointError:
    with pytest.raises(errors.EndpointError) as caught:
        ask(url)
    return caught.value


def failures(url: str) -> list[errors.EndpointError]:
    """Of what is no sample, and of a sample, which goes another way."""
    return [failure(url, models), failure(url, completion)]


def compressed(body: bytes, coding: str) -> bytes:
    return http(body, more=f"Content-Encoding: {coding}\r\n")


# -- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", ["X: " + "x" * 100_000 + "\r\n", "X: x\r\n" * 500])
def test_long_headers_and_many_are_read(headers: str) -> None:
    body = DONE.partition(b"\r\n\r\n")[2]
    with serving(lambda _: http(body, kind="text/event-stream", more=headers)) as server:
        assert completion(server.url + "/v1") == "Answer: 42"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"NONSENSE\r\n\r\n", "not HTTP"),
        (b"<html>", "not HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "https://"),
        (b"", "closed"),
        (b"HTTP/1.1 20", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n", "a header of more than 256 KiB"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 2_000 + b"\r\n", "more than 1024 of them"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke its answer to /models off"),
        (http(b"", "302 Found", more="Location: https://me:pw@new.home/v1/models?t=1\r\n"), "to https://new.home/v1/models."),
        (http(b"", "308 x", more="Location: /there\r\n"), "/there"),
        (http(b"", "301 x", more="Location: http://[::1/\r\n"), "redirects"),
        (http(b"", "301 x", more="Location: /th\xffre\r\n"), "redirects"),
        (http(b"", "204 No Content"), "204"),
        (http(b"<p>", kind="text/html; charset=utf-8"), "HTML page"),
        (http(b"", "999 Odd"), "999"),
        (http(b"[" * 50_000, "400 x"), "400"),
        (http(b'{"error": "\xff"}', "400 x"), "400"),
        (as_json({"detail": [{"loc": 7, "msg": None}, 5]}, "422 x"), "422"),
        (http(b"", "500 x", more="Retry-After: nan\r\nretry-after-ms: inf\r\n"), "500"),
        (http(b"[" * 50_000), "does not list models"),
        (http(b'{"data": [{"id": "\xff"}]}'), "does not list models"),
        (as_json({"data": None}), "does not list models"),
        (as_json({"data": [{"id": 7}]}), "does not list models"),
        (compressed(b"no gzip", "gzip"), "compression"),
        (compressed(b"no brotli", "br"), "compress"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told_in_a_sentence_that_names_the_endpoint(answer: bytes, says: str) -> None:
    with serving(lambda _: answer) as server:
        listing, sample = failures(server.url + "/v1")
    assert says in listing.message and (says in sample.message or "list" in says or "/models" in says)
    for error in (listing, sample):
        assert error.facts["endpoint"] == f"{server.url}/v1"
        assert f"{server.url}/v1" in error.message
        assert "pw@" not in error.message and "t=1" not in error.message
        error.message.encode()


@pytest.mark.parametrize(
    ("body", "coding"),
    [(gzip.compress, "gzip"), (zlib.compress, "deflate"), (bytes, "identity")],
)
def test_an_answer_that_is_compressed_though_it_was_not_to_be_is_read(body, coding: str) -> None:  # type: ignore[no-untyped-def]
    listed, streamed = (whole.partition(b"\r\n\r\n")[2] for whole in (MODELS, DONE))
    stream = http(body(streamed), kind="text/event-stream", more=f"Content-Encoding: {coding}\r\n")
    with serving(lambda asked: stream if asked.body else compressed(body(listed), coding)) as server:
        assert models(server.url) == ("m",)
        assert completion(server.url) == "Answer: 42"
        assert server.posts[0].body["messages"][0]["content"] == "half a pair: \ufffd"


def test_lists_of_models_are_read_in_the_forms_that_servers_have() -> None:
    for page in ([{"id": "m"}], {"data": [{"id": "m", "owned_by": None}, {"id": 3}, "x"]}):
        with serving(lambda _, page=page: as_json(page)) as server:  # type: ignore[misc]
            assert models(server.url) == ("m",)


heads = st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 400 x\r\n", b"HTTP/1.1 503 x\r\nRetry-After: "])
kinds = st.sampled_from([b"", b"\r\n", b"Content-Encoding: gzip\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])


@settings(max_examples=60)
@given(head=heads, kind=kinds, rest=st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_but_an_error_of_ours(head: bytes, kind: bytes, rest: bytes) -> None:
    with serving(lambda _: head + kind + rest) as server:
        for ask in (models, completion):
            try:
                ask(server.url + "/v1")
            except errors.EndpointError as error:
                assert server.url in error.message


names = st.sampled_from(["error", "message", "detail", "loc", "param", "code", "metadata", "raw"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner)
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=60)
@given(plain, st.sampled_from(["400 x", "404 x", "422 x", "500 x"]))
def test_whatever_json_an_error_has_it_is_an_error_of_ours(told: object, status: str) -> None:
    with serving(lambda _: as_json(told, status)) as server:
        assert status[:3] in failure(server.url + "/v1").message


# -- connections --------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, days: int) -> Path:
    """A certificate with its key that signs itself, for an address or a host name."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    is_address = name[0].isdigit()
    alternative = x509.IPAddress(ipaddress.ip_address(name)) if is_address else x509.DNSName(name)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(9))
        .not_valid_after(now + datetime.timedelta(days))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(signed.public_bytes(pem) + private)
    return folder / "server.pem"


@pytest.mark.parametrize(
    ("name", "days", "trusted", "says"),
    [
        ("127.0.0.1", 5, True, ""),
        ("127.0.0.1", 5, False, "self-signed certificate. SSL_CERT_FILE"),
        ("127.0.0.1", -2, True, "expired. It has to be renewed"),
        ("other.example", 5, True, "not valid for '127.0.0.1'. The URL needs"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_named_with_what_to_do(
    name: str, days: int, trusted: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, name, days)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    if trusted:  # what SSL_CERT_FILE does for a process that starts
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=file))
    with serving(completing(lambda _: DONE), tls) as server:
        url = f"https://127.0.0.1:{server.port}/v1"
        if not says:
            assert models(url) == ("m",) and completion(url) == "Answer: 42"
            return
        listing, sample = failures(url)
    assert isinstance(sample, errors.Unreachable) and sample.message == listing.message
    assert url in sample.message and says in sample.message


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1/v1", "Connection refused. Is the server running"),
        ("http://[::1]:1/v1", ""),
        ("http://no-such-host.invalid/v1", "the host name no-such-host.invalid is not known"),
        ("http://127.1:1/v1", "one of IPv4 has four numbers"),
    ],
)
def test_a_server_that_is_not_there_is_unreachable(url: str, says: str) -> None:
    listing, sample = failures(url)
    assert isinstance(sample, errors.Unreachable) and sample.message == listing.message
    assert sample.message.startswith(f"cannot connect to {url}: ") and says in sample.message


# -- proxies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "endpoint", "spared"),
    [
        ("*", "http://h", True),
        ("h", "http://h:8000", True),
        ("x, h ,y", "http://h", True),
        ("h:8000", "http://h:8000", True),
        ("h:8000", "http://h:8001", False),
        ("h:443", "https://h", True),
        (".corp", "http://a.b.corp", True),
        ("*.corp", "http://a.corp", True),
        ("corp", "http://a.corp", True),
        ("corp", "http://acorp", False),
        ("CORP.", "http://a.corp.", True),
        ("10.0.0.0/8", "http://10.9.8.7:8000", True),
        ("10.0.0.0/8", "http://11.9.8.7", False),
        ("10.0.0.0/8", "http://h", False),
        ("10.1.2.3", "http://10.1.2.3", True),
        ("2.3", "http://10.1.2.3", False),
        ("fd00::/8", "http://[fd12::1]:8000", True),
        ("fd12::1", "http://[fd12::1]", True),
        ("[fd12::1]:8000", "http://[fd12::1]:8000", True),
        ("[fd12::1]:8000", "http://[fd12::1]:8001", False),
        (":8000, ,//,h:x", "http://g:8000", False),
        ("", "http://localhost:8000", True),
        ("", "http://127.8.9.1", True),
        ("", "http://[::1]", True),
    ],
)
def test_no_proxy_spares_names_what_is_below_them_addresses_and_networks(
    rule: str, endpoint: str, spared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", rule)
    assert (proxy_for(endpoint) is None) is spared


@pytest.mark.parametrize(
    "given", ["http://p:3128", "p:3128", "http://p:3128/", "'http://p:3128'", "http://me:a%40b@p:3128"]
)
def test_a_proxy_is_read_as_people_write_it(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", given)
    assert proxy_for("http://h") is None
    found = proxy_for("https://h")
    assert found is not None and found.name == "http://p:3128"
    assert "a@b" not in repr(found) and found.user == ("me:a@b" if "@" in given else None)


@pytest.mark.parametrize(
    "given", ["socks5://me:secret@p:1080", "socks5h://p", "http://", "http://p:x", "http://me:secret/x@p"]
)
def test_a_proxy_that_is_no_http_proxy_is_refused_before_anything_is_sent(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", given)
    with pytest.raises(errors.InvalidParameter, match=r"HTTP_PROXY names .* NO_PROXY=h asks") as caught:
        OpenAIClient("http://h")
    assert "secret" not in str(caught.value) + json.dumps(caught.value.facts)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "answer", [http(b"", "407 x"), http(b"<p>squid", "502 x", "text/html"), b"", b"nonsense\r\n\r\n"]
)
def test_a_proxy_that_is_the_cause_is_named_without_its_credentials(
    scheme: str, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda _: answer) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("//", "//me:secret@"))
        found = failures(f"{scheme}://10.1.2.3/v1")
    for error in found:
        assert f"(through the proxy {proxy.url})" in error.message
        assert "secret" not in str(error) + json.dumps(error.facts)
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_a_proxy_that_is_not_there_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:1")
    assert failure("http://10.1.2.3:8000").message == (
        "cannot connect to http://10.1.2.3:8000/v1 (through the proxy http://127.0.0.1:1): Connection refused. The "
        "environment names the proxy; NO_PROXY=10.1.2.3:8000 asks the server without it."
    )


CUT = b'{"choices":[{"index":0,"message":{"content":"a long answer that goes on and'


@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        (http(CUT), 9),
        (http(b"data: no gzip", more="Content-Encoding: gzip\r\n"), 9),
        (http(b'{"choices":[{"delta":{"content":"a"}}]}\n{"choices":[{"delta":{"content":"b"}}]}\n'), 9),
        (http(b'{"success":false,"errors":[{"message":"no route"}]}'), 0),
        (http(b'{"error":{"message":"internal","code":500}}'), 0),
        (http(b"OK", kind="text/plain"), 0),
    ],
)
def test_a_completion_that_cannot_be_read_costs_what_the_request_was_allowed(reply: bytes, tokens: int) -> None:
    builder = CompletionBuilder()

    async def main(url: str) -> None:
        async with OpenAIClient(url, model="m", api_key="k-1234", max_retries=0) as client:
            await client.complete(Request((Message("user", "1 + 1?"),), Sampling(max_tokens=9), seed=1), builder)

    with serving(lambda _: reply) as server, pytest.raises(errors.EndpointError):
        asyncio.run(main(server.url))
    assert builder.usage().completion_tokens == tokens


@pytest.mark.parametrize("coding", ["gzip, br", "x-of-its-own"])
def test_a_stream_in_a_coding_that_nobody_can_undo_costs_what_the_request_was_allowed(coding: str) -> None:
    body = gzip.compress(DONE.partition(b"\r\n\r\n")[2])
    coded = http(body, kind="text/event-stream", more=f"Content-Encoding: {coding}\r\n")
    with serving(completing(lambda _: coded)) as server:
        assert failure(server.url, completion).facts["usage"]["completion_tokens"] == 9


def test_one_json_body_may_begin_with_a_byte_order_mark() -> None:
    body = b'{"choices":[{"message":{"content":"Answer: 42"},"finish_reason":"stop"}]}'
    with serving(lambda _: http(b"\xef\xbb\xbf" + body)) as server:
        assert completion(server.url) == "Answer: 42"


@pytest.mark.parametrize("status", ["201 Created", "203 Non-Authoritative Information", "206 Partial Content"])
def test_a_completion_is_one_whatever_kind_of_success_its_gateway_calls_it(status: str) -> None:
    body = b'{"choices":[{"message":{"content":"Answer: 42"},"finish_reason":"stop"}]}'
    with serving(lambda _: http(body, status)) as server:
        assert completion(server.url) == "Answer: 42"


@pytest.mark.parametrize(
    ("answers", "dead_s", "sent"),
    [([b""], 60.0, 1), ([DONE, b""], 60.0, 3), ([DONE, b""], -1.0, 2)],
    ids=["on a new connection", "at once, on one that was kept", "later, on one that was kept"],
)
def test_a_request_that_a_server_has_dropped_is_sent_again_unbooked_only_if_its_connection_was_dead(
    answers: list[bytes], dead_s: float, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tts.models.openai.transport._DEAD_S", dead_s)

    async def main(url: str) -> None:
        async with OpenAIClient(url, model="m", max_retries=0) as client:
            for answer in answers:
                ask = client.complete(Request((Message("user", "1"),), Sampling(max_tokens=9)), CompletionBuilder())
                if answer is DONE:
                    await ask
                else:
                    with pytest.raises(errors.StreamBroken):
                        await ask

    with serving(completing(lambda _: answers[min(len(server.posts), len(answers)) - 1])) as server:
        asyncio.run(main(server.url))
    assert len(server.posts) == sent


def test_a_client_that_is_closed_sends_nothing_again_that_was_under_way() -> None:
    async def main(url: str) -> OpenAIClient:
        async with OpenAIClient(url, model="m", max_retries=0) as client:
            await client.complete(request, CompletionBuilder())
            asked = asyncio.ensure_future(client.complete(request, CompletionBuilder()))
            await asyncio.to_thread(arrived.wait)
        with pytest.raises(errors.EndpointError, match="closed"):
            await asked
        return client

    def answer(_: object) -> bytes:
        if len(server.posts) == 2:
            arrived.set()
            ended.wait()
        return DONE

    arrived, ended, request = (
        threading.Event(),
        threading.Event(),
        Request((Message("user", "1"),), Sampling(max_tokens=9)),
    )
    with serving(completing(answer)) as server:
        asyncio.run(main(server.url))
        ended.set()
    assert len(server.posts) == 2


def test_what_came_before_a_connection_broke_is_read_before_the_error() -> None:
    async def main(url: str) -> None:
        connections = Connections(5.0, None)
        reply = await connections.send("GET", f"{url}/models", [], None)
        assert isinstance(reply, AiohttpReply)
        while reply._response.content.exception() is None:  # noqa: ASYNC110  # aiohttp has no event for it
            await asyncio.sleep(0)
        assert await reply.read() == b"abcde"
        for _ in range(2):
            with pytest.raises(BrokenOff, match="closed"):
                await reply.read()
        await reply.aclose()
        await connections.aclose()

    with serving(lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n") as server:
        asyncio.run(main(server.url))


def test_a_stream_ends_with_an_error_when_its_client_is_closed() -> None:
    async def main(url: str) -> None:
        begun = asyncio.Event()
        async with OpenAIClient(url, model="fake", max_retries=0) as client:
            ask = client.complete(
                Request((Message("user", "1"),), Sampling(max_tokens=99)), CompletionBuilder(), lambda *_: begun.set()
            )
            asked = asyncio.ensure_future(ask)
            await begun.wait()
        with pytest.raises(errors.StreamBroken, match="the connection was closed"):
            await asyncio.wait_for(asked, 20.0)

    with FakeEngine(lambda _: Reply((" w",) * 90, per_token_s=0.05)) as engine:
        asyncio.run(main(engine.base_url))
        assert engine.wait_idle()


def test_a_client_that_was_closed_says_so_for_samples_and_for_all_else() -> None:
    async def main(url: str) -> None:
        async with OpenAIClient(url, model="m", max_retries=0) as client:
            pass
        request = Request((Message("user", "1 + 1?"),), Sampling(max_tokens=9), seed=1)
        with pytest.raises(errors.Unreachable, match="closed"):
            await client.complete(request, CompletionBuilder())
        with pytest.raises(errors.Unreachable, match="closed"):
            await client.models()

    with serving(completing(lambda _: DONE)) as server:
        asyncio.run(main(server.url))


def asking(seed: int, max_tokens: int) -> Request:
    return Request((Message("user", "1 + 1"),), Sampling(max_tokens=max_tokens), seed=seed)


def test_what_was_decoded_of_streams_that_are_cancelled_over_tls_is_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS cannot be closed in halves, so that the server's last words are not heard: it decodes as many tokens more as
    are booked for those on their way."""
    file = certificate(tmp_path, "127.0.0.1", 5)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=file))
    seen = [1, 3, 5, 7, 9, 11]  # tokens of each stream until it is cancelled

    async def main(engine: FakeEngine) -> list[int]:
        """What was booked for streams that were cancelled at different moments."""
        booked = []
        async with OpenAIClient(engine.base_url, model="fake") as client:
            engine.allow(60)
            await client.complete(asking(len(seen), 100), CompletionBuilder())
            for seed, tokens in enumerate(seen):
                builder, far = CompletionBuilder(), asyncio.Event()

                def heard(
                    *_: object, builder: CompletionBuilder = builder, tokens: int = tokens, far: Any = far
                ) -> None:
                    if builder.tokens == tokens:
                        far.set()

                engine.allow(tokens)
                asked = asyncio.ensure_future(client.complete(asking(seed, 100), builder, heard))
                await far.wait()
                asked.cancel()
                await asyncio.wait([asked])
                assert await asyncio.to_thread(engine.wait, lambda now: now.connections == 0)
                engine.allow(8)
                assert await asyncio.to_thread(engine.wait_idle)
                booked.append(builder.completion("cancelled").usage.completion_tokens)
        return booked

    def script(body: dict[str, Any]) -> Reply:
        return Reply(("a ",) * ([tokens + 8 for tokens in seen] + [60])[body["seed"]])

    with FakeEngine(script, tls=tls, lockstep=True, abort_on_disconnect=False) as engine:
        booked = asyncio.run(main(engine))
        decoded = [served.tokens for served in engine.served][1:]
    assert booked == decoded == [tokens + 8 for tokens in seen], "and not the whole reservation of each"


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": pytest.importorskip("uvloop").new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("secure", "unheard"), [(True, 8), (False, 2)])
def test_a_client_of_ones_own_is_heard_until_the_engine_has_stopped_and_no_connection_stays(
    tmp_path: Path, loop: str, secure: bool, unheard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine sends while nothing is read here is booked as seen; beyond that it decodes as many tokens more
    as are booked for those that nobody hears of."""
    monkeypatch.setattr("tts.models.openai.closing._LAST_WORDS_S", 600.0)  # on a busy machine, too
    monkeypatch.setattr("tts.models.openai.completion_builder._LEAST_S", 600.0)
    file = certificate(tmp_path, "127.0.0.1", 5)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    first, unread = [1, 3, 8], 30  # tokens that are read of each stream, and sent then while nothing is read here

    async def main(engine: FakeEngine) -> list[tuple[int, int]]:
        """What was booked of each stream, and what was seen of it."""
        own = httpx2.AsyncClient(verify=ssl.create_default_context(cafile=file))
        builders = []
        async with own, OpenAIClient(engine.base_url, model="fake", http_client=own) as client:
            await client.models()  # which is asked otherwise, on a connection that is kept, when a stream is cancelled
            for seed, tokens in enumerate(first):
                builder, far, before = CompletionBuilder(), asyncio.Event(), engine.stats().tokens

                def heard(
                    *_: object,
                    builder: CompletionBuilder = builder,
                    tokens: int = tokens,
                    far: Any = far,
                    all_sent: int = before + tokens + unread,
                ) -> None:
                    if builder.tokens == tokens and not far.is_set():
                        engine.allow(unread)
                        assert engine.wait(lambda now: now.tokens == all_sent)
                        far.set()

                engine.allow(tokens)
                asked = asyncio.ensure_future(client.complete(asking(seed, 5000), builder, heard))
                await far.wait()
                asked.cancel()
                await asyncio.wait([asked])
                builders.append(builder)
                assert await asyncio.to_thread(engine.wait, lambda now: now.connections == 0)
                engine.allow(unheard)
                assert await asyncio.to_thread(engine.wait_idle)
        return [(builder.completion("cancelled").usage.completion_tokens, builder.tokens) for builder in builders]

    def script(body: dict[str, Any]) -> Reply:
        return Reply(("a ",) * (first[body["seed"]] + unread + unheard))

    with FakeEngine(script, tls=tls if secure else None, lockstep=True, abort_on_disconnect=False) as engine:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            streams = runner.run(main(engine))
        decoded = [served.tokens for served in engine.served]
    assert streams == [(tokens + unread + unheard, tokens + unread) for tokens in first]
    assert decoded == [booked for booked, _ in streams]


def test_a_connection_whose_tls_handshake_is_cancelled_is_closed() -> None:
    """httpcore left it to the garbage collector, and uvloop kept it."""

    async def main() -> None:
        met: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        server = await asyncio.start_server(lambda *streams: met.put_nowait(streams), "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        request = Request((Message("user", "1 + 1"),), Sampling(max_tokens=9), seed=1)
        own = httpx2.AsyncClient()
        async with server, own, OpenAIClient(url, model="m", cancellation="close", http_client=own) as client:
            asked = asyncio.ensure_future(client.complete(request, CompletionBuilder()))
            reader, writer = await met.get()
            await reader.read(1)  # of the handshake
            asked.cancel()
            await asyncio.wait([asked])
            await asyncio.wait_for(reader.read(), 30)
            writer.close()
            await writer.wait_closed()

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=LOOPS["uvloop"]) as runner:
            runner.run(main())
    finally:
        gc.enable()


@pytest.mark.parametrize("answer", [DONE, b"", b"nonsense\r\n\r\n", http(b"[", "500 x")])
def test_a_client_of_ones_own_carries_everything_and_its_errors_are_ours(answer: bytes) -> None:
    class Token(httpx2.Auth):
        def auth_flow(self, request: httpx2.Request) -> Iterator[httpx2.Request]:  # type: ignore[override]
            request.headers["Authorization"] = "Bearer of-its-own"
            yield request

    async def main(url: str) -> str:
        own = httpx2.AsyncClient(auth=Token())
        async with own, OpenAIClient(url, max_retries=0, http_client=own) as client:
            request = Request((Message("user", "1 + 1?"),), Sampling(max_tokens=9), seed=1)
            return (await client.complete(request, CompletionBuilder())).text

    with serving(completing(lambda _: answer)) as server:
        if answer is DONE:
            assert asyncio.run(main(server.url)) == "Answer: 42"
            assert {asked.headers["authorization"] for asked in server.seen} == {"Bearer of-its-own"}
        else:
            with pytest.raises(errors.EndpointError, match=server.url):
                asyncio.run(main(server.url))
    with pytest.raises(errors.Unreachable, match="cannot connect to http://127"):
        asyncio.run(main("http://127.0.0.1:1"))


@pytest.mark.parametrize("where", ["before", "between", "at the end"])
def test_whatever_a_client_of_ones_own_raises_is_told_as_an_error_of_ours(where: str) -> None:
    class Odd(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield DONE.partition(b"\r\n\r\n")[2] if where == "at the end" else b"data: "
            if where == "between":
                raise KeyError("token")

        async def aclose(self) -> None:
            if where == "at the end":
                raise LookupError("closed twice")

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if where == "before":
                raise KeyError("token")
            return httpx2.Response(200, stream=Odd())

    async def main() -> str:
        own = httpx2.AsyncClient(transport=Transport())
        async with OpenAIClient("http://here", model="m", max_retries=0, http_client=own) as client:
            request = Request((Message("user", "1 + 1?"),), Sampling(max_tokens=9))
            return (await client.complete(request, CompletionBuilder())).text

    if where == "at the end":
        assert asyncio.run(main()) == "Answer: 42"
    else:
        with pytest.raises(errors.EndpointError, match="the http_client raised KeyError: 'token'"):
            asyncio.run(main())
