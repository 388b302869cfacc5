"""Where an API is found, what goes with each request, and what is never shown."""

import asyncio
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawserver import DONE, RawServer, as_json, completing, http, refusal, serving

import tts
from tts import errors
from tts.cli.examination import examine
from tts.core.actions import Request
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.target import resolved
from tts.models.wire.address import HIDDEN, Address, hide, normalise_base_url, shown
from tts.models.wire.failures import error_of
from tts.types import Completion, Message, Sampling

ASK = Request((Message("user", "What is 40 + 2?"),), Sampling(max_tokens=16), seed=1)
NOT_FOUND = refusal("Not Found", "404 Not Found")


def complete(url: str, key: str = "k-1234", model: str | None = "m") -> Completion:
    async def main() -> Completion:
        async with OpenAIClient(url, model=model, api_key=key, max_retries=0) as client:
            return await client.complete(ASK, CompletionBuilder())

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("given_path", "place"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/chat/completions"),
        ("/team/llm", "/team/llm/v1/chat/completions"),
        ("/team/llm/", "/team/llm/chat/completions"),
        ("/api/chat/completions", "/api/chat/completions"),
        ("/api/chat/completions", "/api/v1/chat/completions"),
        ("/V2/", "/V2/chat/completions"),
        ("/v1beta/openai", "/v1beta/openai/chat/completions"),
        ("/gate?tenant=blue", "/gate/chat/completions?tenant=blue"),
        (
            "/openai/deployments/d/chat/completions?api-version=2025-01-01",
            "/openai/deployments/d/chat/completions?api-version=2025-01-01",
        ),
    ],
)
def test_an_api_is_found_where_it_is_with_and_without_a_version_and_only_looked_for_once(
    given_path: str, place: str
) -> None:
    with serving(lambda asked: DONE if asked.target == place else NOT_FOUND) as server:
        assert complete(server.url + given_path).text == "Answer: 42"
        first = len(server.seen)
        assert first <= 2
        assert complete(server.url + given_path).text == "Answer: 42"
        assert len(server.seen) == first + 1


def test_where_there_is_no_api_at_all_each_place_is_asked_once_and_named() -> None:
    with serving(lambda _: NOT_FOUND) as server, pytest.raises(errors.RequestRejected) as caught:
        complete(server.url + "/x")
    assert len(server.seen) == 2
    assert f"{server.url}/x/v1, {server.url}/x." in str(caught.value)


def test_a_list_of_models_beside_the_api_does_not_hide_where_the_api_is() -> None:
    with serving(lambda asked: DONE if asked.target == "/v1/chat/completions" else NOT_FOUND) as server:
        listing = completing(server._handler)
        server._handler = lambda asked: NOT_FOUND if asked.target == "/v1/models" else listing(asked)
        assert complete(server.url, model=None).text == "Answer: 42"


@pytest.mark.parametrize(
    "url",
    [
        "h:8000", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://[::1", "http://a..b", "http://a b",
        "http://a\\b", "http+unix://%2Frun", "http://\u2603.example", "http://\udcff", "http://h/\udcff", "http://h/\n/v1",
        "http://name:1/2@h", "http://name:1#2@h", "http://h/" + "a" * 70_000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_one_sentence_before_anything_is_sent(url: str) -> None:
    with pytest.raises(errors.InvalidParameter, match="base URL"):
        OpenAIClient(url, api_key="k")


@pytest.mark.parametrize(
    "listing", [refusal("no scope", "403 x"), refusal("not here", "501 x"), as_json({"models": []}), as_json(None)]
)
def test_a_server_without_a_list_of_models_is_asked_for_the_one_that_was_named(listing: bytes) -> None:
    with serving(lambda asked: DONE if asked.body else listing) as server:
        assert tts.solve("q?", "single", base_url=server.url, model="m").text == "Answer: 42"
        found = examine([server.url], "m", None)
        assert [finding.ok for finding in found if finding.what == f"endpoint {server.url}/v1"] == [True]
        with pytest.raises(errors.EndpointError):
            tts.solve("q?", "single", base_url=server.url)


# -- keys and credentials -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("sk-abcdef\n", "a line break"),
        ("sk-abc def", "a blank"),
        ("\u201csk-abcdef\u201d", "U\\+201C"),
        ("sk-\u0430bcdef", "U\\+0430"),
        ("sk-abc\x7fdef", "U\\+007F"),
        ("Bearer sk-abcdef", "the word Bearer"),
    ],
)
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(
    key: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.InvalidParameter, match=says) as caught:
        resolved({"base_url": "http://h", "api_key": key})
    assert "bc" not in str(caught.value) and "bc" not in json.dumps(caught.value.facts)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(errors.InvalidParameter, match="OPENAI_API_KEY holds"):
        OpenAIClient("http://h")


def test_credentials_in_the_address_are_basic_authentication_and_nowhere_else() -> None:
    with serving(completing(lambda _: DONE)) as server:
        url = server.url.replace("//", "//me:s%2Fcret%C3%BC@")
        done = complete(url)
        client = OpenAIClient(url)
        assert server.seen[-1].headers["authorization"] == "Basic bWU6cy9jcmV0w7w="
    assert done.endpoint == client.endpoint == f"{server.url}/v1"
    assert "cret" not in repr(client) + repr(Address.of(url))


def test_azure_gets_its_own_header_and_its_version_with_every_request() -> None:
    with serving(lambda asked: DONE if asked.body else NOT_FOUND) as server:
        complete(f"{server.url}/openai/deployments/d?api-version=2025-01-01", key="azure-key")

        async def models() -> None:
            async with OpenAIClient(f"{server.url}/openai/deployments/d?api-version=2025-01-01") as client:
                await client.models()

        with pytest.raises(errors.RequestRejected, match="--model"):
            asyncio.run(models())
    assert all(asked.target.endswith("?api-version=2025-01-01") for asked in server.seen)
    assert server.posts[0].headers["api-key"] == "azure-key"
    assert "authorization" not in server.posts[0].headers


secrets = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=4, max_size=40)


@settings(max_examples=25)
@given(password=secrets, key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=40))
def test_whatever_a_server_repeats_no_secret_is_in_the_error(password: str, key: str) -> None:
    address = Address.of(f"https://me:{quote(password, safe='')}@h/v1?code={quote(password * 2, safe='')}")
    sent = address.headers(key)["Authorization"]
    told = {"error": {"message": f"<{password}> <{key}> <{sent}> <{password * 2}>", "param": key}}
    error = error_of(400, {}, json.dumps(told).encode(), address.name, "m")
    hide(error, address.secrets(key))
    assert error.facts["said"] == f"<{HIDDEN}> <{HIDDEN}> <Basic {HIDDEN}> <{HIDDEN}>"
    assert error.facts["param"] == HIDDEN
    assert f"<{password}>" not in str(error) and f"<{key}>" not in str(error)


@given(st.text(st.characters(exclude_characters="@?#")), secrets, st.sampled_from(["http://", "//", "", "socks5://"]))
def test_what_is_shown_of_a_url_holds_nothing_in_front_of_its_last_at(host: str, password: str, scheme: str) -> None:
    assert password not in shown(f"{scheme}me:{password}@{host}").removeprefix(scheme).replace(host, "")


@pytest.mark.parametrize("status", ["400 x", "401 x", "404 x", "429 x", "500 x", "301 x", "a stream"])
def test_a_servers_echo_of_the_key_is_hidden_in_the_error_and_in_all_that_hangs_on_it(status: str) -> None:
    def echo(server: RawServer) -> bytes:
        asked = server.seen[-1]
        said = f"you sent {asked.headers['authorization']}, {asked.target}"
        if status == "a stream":
            return http(f"data: {said}\n\n".encode(), kind="text/event-stream")
        return refusal(said, status)

    with serving(lambda _: echo(server)) as server, pytest.raises(errors.EndpointError) as caught:
        complete(f"{server.url}/v1?code=abcdefgh12", key="sk-echoed-key-77")
    chain: list[BaseException] = [caught.value]
    while (further := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(further)
    everything = "".join(f"{error!r} {error} {vars(error)}" for error in chain)
    assert HIDDEN in everything
    assert "sk-echoed-key-77" not in everything and "abcdefgh12" not in everything


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://g.com/v1beta/openai", "https://g.com/v1beta/openai"),
        ("https://proxy/llm", "https://proxy/llm/v1"),
    ],
)
def test_a_base_url_is_taken_with_or_without_its_version(given: str, meant: str) -> None:
    assert normalise_base_url(given) == meant


@pytest.mark.parametrize("url", ["host:8000", "localhost", "", "ftp://h/v1"])
def test_a_base_url_without_a_scheme_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(errors.InvalidParameter, match="http://host:8000/v1"):
        normalise_base_url(url)
