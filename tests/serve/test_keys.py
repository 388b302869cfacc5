"""Keys and their accounts: a budget that holds whatever runs side by side, and is found again after a kill."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Model, served

import tts
from tts.core.budget import Limits
from tts.errors import InvalidParameter, JournalLocked, RunError, UnknownCost
from tts.serve.accounts import Accounts, Hold, check_bounded
from tts.serve.keys import Key, key_of, read_keys
from tts.serve.protocol.refusals import Refusal
from tts.types import Cost


def key(name: str, limits: str = "", concurrency: int | None = None) -> Key:
    """A key whose secret is its name."""
    return Key(name, hashlib.sha256(name.encode()).digest(), Limits.parse(limits), concurrency)


def test_only_a_known_key_may_ask_and_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def within() -> None:
        async with served(keys=[key("alice"), key("bob")]) as server:
            assert (await server.ask(key="alice")).status_code == 200
            for reply in (await server.ask(), await server.ask(key="eve"), await server.http.get("/v1/models")):
                assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
            assert (await server.http.get("/health")).status_code == 200

    with caplog.at_level("INFO", logger="tts.serve"):
        asyncio.run(within())
    assert '"key":"alice"' in caplog.text
    assert key_of("Basic alice", [key("alice")]) is None
    assert key_of("bearer alice", [key("bob"), key("alice")]) == key("alice")


def test_the_log_has_a_line_of_json_a_request_and_prompts_only_where_they_are_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def within(log_prompts: bool) -> None:
        async with served(log_prompts=log_prompts) as server:
            await server.ask()
            await server.ask(n=0)

    for log_prompts in (False, True):
        caplog.clear()
        with caplog.at_level("INFO", logger="tts.serve"):
            asyncio.run(within(log_prompts))
        answered, refused = (json.loads(record.getMessage()) for record in caplog.records if record.name == "tts.serve")
        assert (answered["status"], answered["samples"], answered["tokens"]) == (200, 3, 12)
        assert (refused["status"], refused["refused"]) == (400, "400")
        assert "Answer" not in caplog.text and ("3 + 4" in caplog.text) == log_prompts


def test_a_keys_budget_of_dollars_holds_and_is_what_the_prices_say() -> None:
    async def within() -> None:
        prices = {"price_in": 10.0, "price_out": 1000.0}  # a call: 3 x (5 x 10 + 4 x 1000) millionths
        keys = [key("alice", "usd=0.05")]
        async with served(keys=keys, budget="usd=0.2", **prices) as server:
            assert (await server.ask(key="alice")).json()["error"]["code"] == "budget_beyond_key"
            one = {"budget": "usd=0.045", "strategy": "single"}
            for n in (1, 2):
                reply = await server.ask(key="alice", tts=one)
                if n == 1:
                    assert reply.status_code == 200 and reply.json()["usage"]["tts"]["cost"] == pytest.approx(0.00405)
            while (last := await server.ask(key="alice", tts=one)).status_code == 200:
                assert (server.accounts.spent("alice").usd or 0) <= 0.05
            assert last.json()["error"]["code"] == "insufficient_quota"

    asyncio.run(within())


def test_requests_beyond_a_keys_concurrency_are_told_when_to_come_again() -> None:
    class Waiting(Model):
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def __call__(self, request: tts.Request) -> tts.Completion:
            self.begun.set()
            await self.go_on.wait()
            return await super().__call__(request)

    async def within() -> None:
        model = Waiting()
        async with served(model, keys=[key("alice", concurrency=1), key("bob")], strategy="single") as server:
            first = asyncio.create_task(server.ask(key="alice"))
            await model.begun.wait()
            refused = await server.ask(key="alice")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            others = asyncio.create_task(server.ask(key="bob"))
            model.go_on.set()
            assert [(await first).status_code, (await others).status_code] == [200, 200]
            assert (await server.ask(key="alice")).status_code == 200

    asyncio.run(within())


def test_a_keys_budget_holds_to_the_token_over_requests_side_by_side() -> None:
    async def within() -> None:
        keys = [key("alice", "tokens=200"), key("bob", "tokens=50")]
        async with served(keys=keys, budget="tokens=60") as server:
            replies = await asyncio.gather(*(server.ask(key="alice") for _ in range(8)))
            codes = [reply.status_code for reply in replies]
            assert codes.count(200) == 3 and codes.count(429) == 5  # of 60 tokens held each
            assert {r.json()["error"]["code"] for r in replies if r.status_code == 429} == {"budget_held"}
            while (last := await server.ask(key="alice")).status_code == 200:
                assert server.accounts.spent("alice").tokens <= 200
            assert last.json()["error"]["code"] == "insufficient_quota"
            assert (last.status_code, last.headers["x-should-retry"]) == (429, "false")
            assert 140 < server.accounts.spent("alice").tokens <= 200
            refused = (await server.ask(key="bob")).json()["error"]
            assert (
                refused["code"] == "budget_beyond_key"
                and "the budget of the key bob is tokens=50" in refused["message"]
            )
            assert (await server.ask(key="bob", tts={"budget": "tokens=45"})).status_code == 200

    asyncio.run(within())


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 80)), max_size=30))
def test_spent_and_held_never_exceed_a_keys_limit_whatever_ends_when(steps: list[tuple[int, int]]) -> None:
    async def within() -> None:
        alice = key("alice", "tokens=100")
        accounts = Accounts([alice])
        held: list[Hold] = []
        for i, (most, cost) in enumerate(steps):
            try:
                held.append(await accounts.begin(alice, Limits(tokens=most), str(i)))
            except Refusal as refusal:
                assert refusal.status == 429
            assert accounts.spent("alice").tokens + sum(hold.most.tokens for hold in held) <= 100
            if held and cost % 2:
                hold = held.pop(cost % len(held))
                hold.settle(Cost(tokens=min(cost, hold.most.tokens)))
                hold.settle(Cost(tokens=1000))  # a second time: not charged
            assert accounts.running("alice") == len(held)

    asyncio.run(within())


def test_a_server_that_was_killed_finds_what_was_spent_and_what_was_under_way_at_its_most(tmp_path: Path) -> None:
    alice = key("alice", "tokens=1000")
    first = Accounts([alice], tmp_path)
    asyncio.run(first.begin(alice, Limits(tokens=100), "ended")).settle(Cost(2, 30))
    asyncio.run(first.begin(alice, Limits(tokens=200), "under way"))
    with pytest.raises(JournalLocked, match="in use by another server"):
        Accounts([alice], tmp_path)
    first.close()  # as a kill does: nothing is settled
    for _ in range(2):
        again = Accounts([alice], tmp_path)
        assert again.spent("alice").tokens == 230
        again.close()


def test_a_request_that_is_refused_cancelled_or_failed_costs_its_key_what_it_cost(tmp_path: Path) -> None:
    async def within() -> None:
        model = Model()
        async with served(model, keys=[key("alice", "tokens=400")], budget="tokens=200", state=tmp_path) as server:
            assert (await server.ask(key="alice", tts={"strategy": "majority_vote:n=0"})).status_code == 400
            assert server.accounts.spent("alice") == Cost()
            model.fails = ValueError("broken")
            assert (await server.ask(key="alice")).status_code == 500
            assert server.accounts.spent("alice").tokens == server.client.spent.tokens
            assert server.accounts.running("alice") == 0

    asyncio.run(within())


@pytest.mark.parametrize("budget", ["tokens=30e", "usd=30000000"])
def test_a_budget_beyond_what_the_state_can_count_is_held_all_the_same_and_comes_back(
    budget: str, tmp_path: Path
) -> None:
    """SQLite's integers have 64 bits."""
    alice, most = key("alice"), Limits.parse(budget)
    for _ in range(3):  # each ends the one before it, at its most
        accounts = Accounts([alice], tmp_path)
        asyncio.run(accounts.begin(alice, most, "under way"))
        accounts.close()
    again = Accounts([alice], tmp_path)
    spent = again.spent("alice")
    assert type(spent.tokens) is int and type(spent.picodollars) is int
    assert max(spent.tokens, spent.picodollars or 0) > 10**18
    again.close()


def test_what_cannot_be_written_is_not_held_and_what_was_held_is_given_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alice = key("alice", "tokens=1000")
    accounts = Accounts([alice], tmp_path)
    hold = asyncio.run(accounts.begin(alice, Limits(tokens=600), "first"))
    accounts.close()  # as a full disk: nothing can be written any more
    with pytest.raises(RunError, match="cannot be written"):
        asyncio.run(accounts.begin(alice, Limits(tokens=300), "second"))
    hold.settle(Cost(tokens=100))  # whose request is answered, and others settled after it
    assert "unsettled" in caplog.text and accounts.running("alice") == 0
    assert accounts.spent("alice").tokens == 100
    with pytest.raises(RunError):  # and not a refusal: nothing is held for the second
        asyncio.run(accounts.begin(alice, Limits(tokens=900), "third"))
    again = Accounts([alice], tmp_path)
    assert again.spent("alice").tokens == 600, "what nobody could write is charged at its most"
    again.close()


KEYS: list[tuple[str, str]] = [
    ("[]", "must hold a mapping"),
    ("{}", "holds no key"),
    ("a: 1", "a must be a mapping"),
    ("a: {key: secret}", "key must be sha256:HEX"),
    ("a: {key: $TTS_NO_SUCH_KEY}", "the variable $TTS_NO_SUCH_KEY is not set"),
    ("a: {key: $HOME, tokens: 5}", "unknown field 'tokens'"),
    ("a: {key: $HOME, budget: seconds=5}", "limits samples, tokens and usd"),
    ("a: {key: $HOME, concurrency: 0}", "concurrency must be a whole number from 1 on"),
    ("a: {key: $HOME}\nb: {key: $HOME}", "a and b have the same key"),
    ("a: {", "is no YAML"),
]


@pytest.mark.parametrize(("text", "words"), KEYS)
def test_a_file_of_keys_that_cannot_be_used_says_why_and_shows_no_key(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(InvalidParameter) as refused:
        read_keys(file)
    assert words in refused.value.message and "secret" not in refused.value.message.replace(words, "")


def test_keys_are_read_as_hashes_or_from_the_environment(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BOB_KEY", "bob")
    file = tmp_path / "keys.yaml"
    file.write_text(f"alice: {{key: 'sha256:{key('alice').digest.hex()}', budget: 'tokens=1k', concurrency: 2}}\n"
                    f"bob: {{key: $BOB_KEY}}\n")  # fmt: skip
    assert read_keys(file) == [key("alice", "tokens=1k", 2), key("bob")]
    with pytest.raises(InvalidParameter, match="cannot be read: No such file"):
        read_keys(tmp_path / "none.yaml")


def test_a_key_with_a_budget_needs_requests_with_one() -> None:
    check_bounded([key("alice", "tokens=1k")], Limits(tokens=100))
    with pytest.raises(UnknownCost, match="--budget usd="):
        check_bounded([key("alice", "tokens=1k,usd=1")], Limits(tokens=100))
