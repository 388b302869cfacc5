"""The accounts that replicas share: the law of one server's accounts, whatever is lost, repeated or killed between."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.budget import Limits
from tts.serve.keys import Key
from tts.serve.protocol.refusals import Refusal
from tts.serve.replicas import remote
from tts.serve.replicas.remote import RemoteAccounts
from tts.serve.replicas.shared import SILENT_S, SharedAccounts
from tts.serve.replicas.summing import summed, without_gauges
from tts.types import Cost

ALICE = Key("alice", hashlib.sha256(b"alice").digest(), Limits(tokens=1000))
HUNDRED = Limits(tokens=100)


class Kept(SharedAccounts):
    """Shared accounts, with a clock that is set."""

    def __init__(self, folder: Path | None = None) -> None:
        self.at_s = 0.0
        super().__init__([ALICE], folder, lambda: self.at_s)

    def standing(self) -> tuple[int, int]:
        """Requests under way, and tokens spent."""
        return self._accounts.running("alice"), self._accounts.spent("alice").tokens


def begun(kept: SharedAccounts, id: str, replica: str = "one") -> Any:
    return asyncio.run(kept.begin(replica, "alice", HUNDRED, id))


def report(kept: SharedAccounts, under_way: Sequence[str] = (), replica: str = "one", **more: Any) -> None:
    asyncio.run(kept.report(replica, under_way, more.pop("ended", ()), more.pop("metrics", ()), **more))


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "again", "die", "leave"]), st.integers(0, 9)), max_size=40))
def test_spent_and_held_stay_within_the_limit_over_all_replicas(steps: list[tuple[str, int]]) -> None:
    kept, under_way = Kept(), dict[str, str]()
    for i, (what, number) in enumerate(steps):
        replica = f"r{number % 3}"
        if what == "begin" and begun(kept, f"q{i}", replica) is None:
            under_way[f"q{i}"] = replica
        elif what == "again" and under_way:  # a call whose reply was lost
            id = [*under_way][number % len(under_way)]
            assert begun(kept, id, under_way[id]) is None
        elif what == "end" and under_way:
            id = [*under_way][number % len(under_way)]
            for _ in range(2):
                report(kept, [], under_way[id], ended=[(id, Cost(1, 10 * number))])
            del under_way[id]
        elif what == "leave":
            report(kept, [], replica, leaves=True)
            under_way = {id: of for id, of in under_way.items() if of != replica}
        elif what == "die":
            under_way = {id: of for id, of in under_way.items() if of != replica}
        for _ in range(3 if what == "die" else 1):
            kept.at_s += SILENT_S / 2
            for of in {*under_way.values(), "another"}:
                report(kept, [id for id in under_way if under_way[id] == of], of)
        running, spent = kept.standing()
        assert running == len(under_way)
        assert spent + 100 * running <= 1000


def test_a_process_that_keeps_the_accounts_anew_goes_on_with_what_replicas_have_under_way(tmp_path: Path) -> None:
    first = Kept(tmp_path)
    for id in ("ends", "goes on", "is lost"):
        assert begun(first, id) is None
    first.close()  # as a kill does
    again = Kept(tmp_path)
    assert again.standing() == (3, 0)
    report(again, ["goes on"], ended=[("ends", Cost(1, 30))])
    assert again.standing() == (2, 30)
    again.at_s = SILENT_S + 1
    report(again, ["goes on"])
    assert again.standing() == (1, 130)  # what nobody has reported is charged at its most
    again.close()


def test_a_request_that_was_given_up_before_it_began_holds_nothing() -> None:
    kept = Kept()
    report(kept, ended=[("early", Cost())])
    assert begun(kept, "early")["status"] == 503
    assert kept.standing() == (0, 0)


class Line:
    """A way to the accounts that can break, before a call or after it."""

    def __init__(self, kept: SharedAccounts) -> None:
        self.kept: SharedAccounts | None = kept
        self.loses_replies = 0

    async def begin(self, *args: Any) -> Any:
        return await self._called("begin", *args)

    async def report(self, *args: Any, **options: Any) -> Any:
        return await self._called("report", *args, **options)

    async def metrics(self) -> Any:
        return await self._called("metrics")

    async def _called(self, name: str, *args: Any, **options: Any) -> Any:
        if self.kept is None:
            raise ConnectionError("nobody is there")
        reply = await getattr(self.kept, name)(*args, **options)
        await asyncio.sleep(0.01)
        if self.loses_replies:
            self.loses_replies -= 1
            raise ConnectionError("the reply is lost")
        return reply


def test_a_replica_asks_again_until_it_knows_and_reports_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "AGAIN_AFTER_S", 0.01)
    kept = Kept()

    async def within() -> None:
        line = Line(kept)
        accounts = RemoteAccounts("one", line)
        line.loses_replies = 3
        hold = await accounts.begin(ALICE, HUNDRED, "a")
        with pytest.raises(Refusal, match="the budget of the key alice is tokens=1k") as refused:
            await accounts.begin(ALICE, Limits(tokens=2000), "b")
        assert (refused.value.status, refused.value.code) == (400, "budget_beyond_key")
        line.kept = None
        hold.settle(Cost(1, 30))
        late = asyncio.create_task(accounts.begin(ALICE, HUNDRED, "c"))
        await asyncio.sleep(0.05)
        line.kept = kept
        await late
        assert 'tts_serve_tokens_total{key="alice"} 30' in await accounts.metrics([])
        given_up = asyncio.create_task(accounts.begin(ALICE, HUNDRED, "d"))
        await asyncio.sleep(0.005)  # it is held, and the reply is on its way
        given_up.cancel()
        await asyncio.wait({given_up})
        await accounts.metrics([])
        assert kept.standing() == (1, 30)
        await accounts.aclose()
        assert kept.standing() == (0, 130)

    asyncio.run(within())


def test_what_a_replica_has_given_back_is_there_for_its_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LINGER_S", 3600.0)

    async def within() -> None:
        accounts = RemoteAccounts("one", Line(Kept()))
        holds = [await accounts.begin(ALICE, HUNDRED, str(i)) for i in range(10)]
        with pytest.raises(Refusal, match="0 tokens are left while others are under way"):
            await accounts.begin(ALICE, HUNDRED, "one too many")
        holds[0].settle(Cost())
        await accounts.begin(ALICE, HUNDRED, "in its place")
        await accounts.aclose()

    asyncio.run(within())


def test_accounts_that_stay_away_refuse_with_what_clients_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.05)
    monkeypatch.setattr(remote, "LAST_WORDS_S", 0.05)

    async def within() -> None:
        line = Line(Kept())
        line.kept = None
        accounts = RemoteAccounts("one", line)
        with pytest.raises(Refusal) as refused:
            await accounts.begin(ALICE, HUNDRED, "a")
        assert (refused.value.status, refused.value.code) == (503, "accounts_unreachable")
        assert refused.value.headers["retry-after"]
        await accounts.aclose()

    asyncio.run(within())


def test_metrics_of_replicas_are_added_up_and_a_count_never_falls_when_one_ends() -> None:
    def lines(done: int, open_: int) -> list[str]:
        return ["# HELP x_total Ended.", "# TYPE x_total counter", f'x_total{{status="200"}} {done}',
                "# HELP y Open.", "# TYPE y gauge", f"y {open_}"]  # fmt: skip

    assert summed([lines(2, 1), lines(3, 4)]) == lines(5, 5)
    assert without_gauges(lines(2, 1)) == lines(2, 1)[:3]
    kept = Kept()
    report(kept, replica="one", metrics=lines(2, 1))
    report(kept, replica="two", metrics=lines(3, 4))
    report(kept, replica="one", metrics=lines(4, 1), leaves=True)
    found = asyncio.run(kept.metrics())
    assert {'x_total{status="200"} 7', "y 4", 'tts_serve_running{key="alice"} 0'} <= {*found}
