"""Pages of browsers: those of this machine may ask, those that are named, and no others."""

import asyncio

import pytest
from serving import ASK, CHAT, served

from tts.errors import InvalidParameter
from tts.serve.keys import Key
from tts.serve.origins import Origins

MINE, OTHERS = "https://chat.example.org", "https://evil.example"
LOCAL = "http://localhost:3000"
INQUIRY = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.mark.parametrize("origin", [LOCAL, "http://127.0.0.1", "http://[::1]:3000", MINE])
def test_a_page_that_may_ask_is_told_so_and_may_read_the_reply(origin: str) -> None:
    async def use() -> None:
        async with served(origins=[MINE]) as server:
            told = await server.http.options(CHAT, headers={"origin": origin, **INQUIRY})
            assert (told.status_code, told.headers["access-control-allow-origin"]) == (204, origin)
            assert told.headers["access-control-allow-headers"] == INQUIRY["access-control-request-headers"]
            for reply in (
                await server.ask(headers={"origin": origin}),
                await server.ask(n=0, headers={"origin": origin}),
            ):
                assert reply.headers["access-control-allow-origin"] == origin
                assert (reply.headers["vary"], reply.status_code) == ("Origin", 400 if "error" in reply.json() else 200)

    asyncio.run(use())


@pytest.mark.parametrize(
    "origin", [OTHERS, "null", "http://localhost.evil.example", "http://[", MINE + ".evil.example"]
)
def test_another_page_spends_nothing_of_a_server_without_keys(origin: str) -> None:
    async def use() -> None:
        async with served(origins=[MINE]) as server:
            plain = {"origin": origin, "content-type": "text/plain"}  # of which a browser does not inquire
            for reply in (
                await server.http.options(CHAT, headers={"origin": origin, **INQUIRY}),
                await server.http.post(CHAT, json={"messages": ASK}, headers=plain),
            ):
                assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")
                assert "access-control-allow-origin" not in reply.headers and "--allow-origin" in reply.text
            assert server.client.spent.tokens == 0

    asyncio.run(use())


def test_with_keys_another_page_is_not_let_in_by_the_browser_and_a_proxy_that_passes_its_name_on_is() -> None:
    async def use() -> None:
        async with served(keys=[Key("alice", b"no key hashes to this")]) as server:
            told = await server.http.options(CHAT, headers={"origin": OTHERS, **INQUIRY})
            reply = await server.ask(headers={"origin": OTHERS})
            assert (told.status_code, reply.status_code) == (403, 401)
            assert "access-control-allow-origin" not in reply.headers

    asyncio.run(use())


@pytest.mark.parametrize("origin", ["chat.example.org", "https://chat.example.org/", "https://", "https://a/b"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidParameter, match="allow_origin must be an origin such as"):
        Origins([origin])


def test_a_star_stands_for_every_page() -> None:
    assert Origins(["*"]).allows(OTHERS) and Origins(["*"]).allows("null")
