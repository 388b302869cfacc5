"""How an actor and its driver hear of each other: seldom while there is nothing to tell, at once when there is. On a
stand-in for Ray's handle of an actor."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.ray.driver import is_seen, this_process
from tts.clusters.ray.environment import prepare
from tts.clusters.ray.stream import MOST_BYTES, BoundsNoted, Inbox, Outbox, Withdrawn, batches
from tts.core.actions import Call, Cancelled, Finished, Generate, Request, Returned
from tts.errors import ActorDied
from tts.models.openai.completion_builder import CompletionBuilder
from tts.types import Message, Sampling

prepare("a stand-in")
from tts.clusters.executor import Executor  # noqa: E402
from tts.clusters.ray import actor_handle as module  # noqa: E402  # which imports ray
from tts.clusters.ray.actor_handle import DRAIN_WAIT_S, IDLE_WAIT_S, ActorHandle  # noqa: E402
from tts.clusters.ray.actors import (  # noqa: E402
    LINGER_S,
    LINGER_SHARE,
    LONG_WAIT_S,
    LONGEST_LINGER_S,
    RECENT,
    ActorInit,
    Drained,
    GeneratorActor,
    VerifierActor,
    linger_s,
)

CALL = Call("cell/p/1", "m:f", (), 1.0)


class Remote:
    """Ray's handle of an actor that answers when a test says so."""

    def __init__(self) -> None:
        self.drains: list[tuple[float, asyncio.Future[bytes]]] = []
        self.batches: list[int] = []
        self.withdrawn: list[int] = []
        self.submit = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._submit))
        self.cancel = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: None))
        self.withdraw = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.withdrawn.append))
        self.drain = SimpleNamespace(remote=self._drain)

    def _submit(self, number: int, batch: bytes) -> None:
        self.batches.append(number)

    def _drain(self, place: int, most_bytes: int, wait_s: float) -> asyncio.Future[bytes]:
        self.drains.append((wait_s, asyncio.get_running_loop().create_future()))
        return self.drains[-1][1]

    def answer(self, place: int = 0, data: bytes = b"", taken: int = 0) -> None:
        self.drains[-1][1].set_result(msgspec.msgpack.encode(Drained(1, place, data, taken)))


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    found = Remote()
    options = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda init: found))
    monkeypatch.setattr(module, "ray", SimpleNamespace(remote=lambda actor: options))
    return found


class Listened:
    """A handle that is listened to, and what has been heard."""

    def __init__(self, heartbeat_s: float) -> None:
        self.idle = True
        self.heard: list[Any] = []
        self.handle = ActorHandle("verifier", "run", ActorInit("a", 1, {}), VerifierActor, {}, heartbeat_s)
        self.task = asyncio.ensure_future(self.handle.listen(self._hear, lambda: self.idle))

    def _hear(self, handle: ActorHandle, events: list[Any]) -> None:
        self.heard += events
        if self.idle and handle.retired.is_set():
            raise ActorDied("retired")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_actor_with_nothing_in_hand_is_asked_seldom_and_one_with_something_often(remote: Remote) -> None:
    async def act() -> None:
        listened = Listened(heartbeat_s=60)
        await settle()
        assert [wait_s for wait_s, _ in remote.drains] == [IDLE_WAIT_S]
        listened.idle = False
        listened.handle.submit([CALL])
        remote.answer(taken=1)
        await settle()
        outbox = Outbox()
        outbox.put(Returned(CALL.id, 0.0, 5))
        listened.idle = True
        remote.answer(0, outbox.after(0), taken=1)
        await settle()
        assert [event.value for event in listened.heard] == [5]
        assert [wait_s for wait_s, _ in remote.drains] == [IDLE_WAIT_S, DRAIN_WAIT_S, IDLE_WAIT_S]
        listened.task.cancel()

    asyncio.run(act())


def test_an_idle_actor_that_is_given_something_and_stays_silent_is_dead_as_soon_as_a_busy_one(remote: Remote) -> None:
    async def act() -> None:
        listened = Listened(heartbeat_s=-DRAIN_WAIT_S + 0.02)
        await asyncio.sleep(0.1)
        assert not listened.task.done(), "it has nothing to tell"
        listened.handle.submit([CALL])
        with pytest.raises(ActorDied, match="silent"):
            await listened.task

    asyncio.run(act())


def test_what_an_idle_actor_did_not_get_is_sent_again(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESEND_S", 0.01)

    async def act() -> None:
        listened = Listened(heartbeat_s=60)
        await settle()
        listened.handle.submit([CALL])
        while remote.batches != [1, 1]:  # noqa: ASYNC110  # there is nothing to wait on
            await asyncio.sleep(0.005)
        listened.task.cancel()

    asyncio.run(asyncio.wait_for(act(), 60))


def test_an_idle_actor_that_is_to_go_goes_at_once(remote: Remote) -> None:
    async def act() -> None:
        listened = Listened(heartbeat_s=60)
        await settle()
        listened.handle.retire()
        with pytest.raises(ActorDied, match="retired"):
            await listened.task

    asyncio.run(act())


def test_an_actor_that_waits_long_says_at_once_that_it_was_given_something() -> None:
    async def act() -> None:
        actor = VerifierActor(msgspec.msgpack.encode(ActorInit("a", 1, {})))
        actor._executor = Executor({}, {}, None, actor._tell, lambda: 0.0)
        waiting = asyncio.ensure_future(actor.drain(0, 1000, LONG_WAIT_S + 60))
        await settle()
        (batch,), _ = batches([CALL])
        await actor.submit(1, batch)
        drained = msgspec.msgpack.decode(await waiting, type=Drained)
        assert drained.taken == 1
        await actor._executor.aclose()

    asyncio.run(act())


def test_a_reply_holds_a_part_of_what_is_in_hand_so_that_the_rest_does_not_wait_for_the_driver() -> None:
    async def act() -> list[int]:
        actor = GeneratorActor(msgspec.msgpack.encode(ActorInit("a", 1, {})))
        actor._executor = Executor({"m": Queue()}, {}, None, actor._tell, lambda: 0.0)
        actions = [generate(f"c/p{i}/1", "work" if i < 150 else "wait") for i in range(200)]
        for number, batch in enumerate(batches(actions)[0], 1):
            await actor.submit(number, batch)
        while len(actor._executor) > 50:  # noqa: ASYNC110  # there is no other sign
            await asyncio.sleep(0)
        inbox, heard = Inbox(), []
        while sum(heard) < 150:
            drained = msgspec.msgpack.decode(await actor.drain(inbox.place, MOST_BYTES, 1.0), type=Drained)
            heard.append(len(inbox.take(drained.place, drained.data)))
        await actor._executor.aclose()
        return heard

    assert asyncio.run(act()) == [50, 38, 28, 21, 13]


class Queue:
    """A model that works for a request when its prompt says so, and else has it wait for ever."""

    async def complete(
        self, request: Request, builder: CompletionBuilder, on_progress: Any = None, *, race: bool = False
    ) -> Any:
        if request.messages[0].content == "work":
            builder.begin(0.0)
            builder.most_prompt = 1
            await asyncio.sleep(0)
            return builder.completion("stop")
        await asyncio.Event().wait()


def generate(id: str, prompt: str) -> Generate:
    return Generate(id, Request((Message("user", prompt),), Sampling(max_tokens=10), 1))


def test_a_run_that_stops_takes_back_what_no_server_works_for_and_what_is_still_on_its_way(remote: Remote) -> None:
    async def act() -> None:
        actor = GeneratorActor(msgspec.msgpack.encode(ActorInit("a", 1, {})))
        actor._executor = Executor({"m": Queue()}, {}, None, actor._tell, lambda: 0.0)
        first = [generate("c/p/1", "wait"), generate("c/p/2", "work")]
        late = [generate("c/p/3", "work"), CALL]
        (one,), _ = batches(first)
        (two,), _ = batches(late)
        (three,), _ = batches([generate("c/q/1", "work")])
        await actor.submit(1, one)
        await asyncio.sleep(0)
        await actor.withdraw(2)
        await actor.submit(2, two)
        await actor.submit(3, three)
        await settle()
        told = Inbox().take(0, actor._outbox.after(0))
        assert [(type(event), event.id) for event in told if event.id != CALL.id] == [
            (Withdrawn, "c/p/1"), (Withdrawn, "c/p/3"), (Cancelled, "c/p/3"), (Finished, "c/p/2"),
            (Cancelled, "c/p/1"), (Finished, "c/q/1"),
        ]  # fmt: skip
        assert CALL.id in actor._executor or CALL.id in [event.id for event in told], "what computes ends by itself"
        await actor._executor.aclose()

    asyncio.run(act())


def test_an_actor_notes_what_its_streams_may_have_cost_while_it_has_any_and_only_if_asked(remote: Remote) -> None:
    class Slow:
        async def complete(self, request: Request, builder: CompletionBuilder, *_: Any, **__: Any) -> Any:
            builder.chunking.learn(9, 9)
            builder.begin(0.0)
            await asyncio.sleep(0.05)
            return builder.completion("stop")

    async def act(rate: float | None) -> list[Any]:
        actor = GeneratorActor(msgspec.msgpack.encode(ActorInit("a", 1, {})))
        actor._executor = Executor({"m": Slow()}, {}, None, actor._tell, lambda: 0.0)
        await actor.note(rate, 1)
        (batch,), _ = batches([generate("c/p/1", "?")])
        await actor.submit(1, batch)
        while len(actor._executor) or (actor._noting and not actor._noting.done()):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.005)
        return Inbox().take(0, actor._outbox.after(0))

    (noted, finished) = asyncio.run(act(100.0))
    assert isinstance(noted, BoundsNoted) and noted.rate == 100.0 and {*noted.most} == {"c/p/1"}
    assert isinstance(finished, Finished)
    assert [type(event) for event in asyncio.run(act(None))] == [Finished]


def test_an_actor_that_is_silent_for_a_while_is_late_before_it_is_dead(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_WAIT_S", 0.01)
    monkeypatch.setattr(module, "LATE_S", 0.01)

    async def act() -> None:
        handle = ActorHandle("verifier", "run", ActorInit("a", 1, {}), VerifierActor, {}, 0.05)
        late: list[ActorHandle] = []
        with pytest.raises(ActorDied, match="silent"):
            await handle.listen(lambda *_: None, lambda: False, late.append)
        assert len(late) > 2 and {*late} == {handle}, "at every look"

    asyncio.run(act())


def test_an_actor_is_told_up_to_which_batch_what_it_gets_is_taken_back(remote: Remote) -> None:
    async def act() -> None:
        listened = Listened(heartbeat_s=60)
        listened.handle.submit([CALL])
        listened.handle.submit([CALL])
        listened.handle.withdraw()
        listened.task.cancel()

    asyncio.run(act())
    assert remote.withdrawn == [2]


def test_an_actor_sees_its_driver_die_and_takes_no_other_process_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = this_process()
    assert here is not None and is_seen(here)
    driver = msgspec.structs.replace(here, pid=child.pid, began=Path(f"/proc/{child.pid}/stat").read_text().split()[21])
    assert is_seen(driver)
    assert not is_seen(msgspec.structs.replace(driver, began="1")), "a later process with its number"
    assert not is_seen(msgspec.structs.replace(driver, boot="another machine"))
    child.kill()
    while is_seen(driver):
        time.sleep(0.005)
    assert Path(f"/proc/{child.pid}").exists(), "nobody has waited for it yet"
    child.communicate()
    assert not is_seen(driver) and not is_seen(None)


@given(in_hand=st.integers(0, 10_000), usual_s=st.floats(0.0, 1e4))
def test_an_event_waits_for_others_only_for_a_small_share_of_what_an_action_takes(in_hand: int, usual_s: float) -> None:
    waits_s = linger_s(in_hand, usual_s)
    assert LINGER_S <= waits_s <= LONGEST_LINGER_S
    assert waits_s <= max(LINGER_S, LINGER_SHARE * usual_s)
    assert linger_s(in_hand + 1, usual_s) >= waits_s


def test_an_actor_learns_what_its_actions_take() -> None:
    async def main() -> float:
        actor = GeneratorActor(msgspec.msgpack.encode(ActorInit("g", 1, {})))
        actor._since["cell/p/1"] = time.monotonic() - 10.0
        actor._tell(Cancelled("cell/p/1", 0.0))
        return actor._usual_s

    assert asyncio.run(main()) >= 10.0 * RECENT


def test_a_cancellation_that_comes_together_with_an_actor_s_reply_is_not_forgotten() -> None:
    async def cancelled_with_the_reply() -> None:
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(module._within(5.0, reply))
        await asyncio.sleep(0)
        reply.set_result(b"")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled_with_the_reply())
