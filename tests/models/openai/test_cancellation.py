"""What `cancellation="probe"` finds out about closed streams: only an engine that was seen to stop is trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from virtual_time import run

import tts
from tts.cli import main as cli
from tts.errors import InvalidParameter
from tts.models.openai.probe import PROBE_TOKENS, try_abort
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply, Script
from tts.types import Completion, Usage

MOST = 200


def racing() -> Script:
    """The first sample of a race is done at once; the others, and the probe, have far to go."""
    begun: set[int] = set()

    def script(request: dict[str, Any]) -> Reply:
        fast = "2 + 2" in request["messages"][-1]["content"] and not begun
        if fast:
            begun.add(request["seed"])
        return Reply((" so",) * (12 if fast else 1000) + (" Answer:", " 4"), per_token_s=0.01)

    return script


def raced(engine: FakeEngine, **target: Any) -> tts.Solved:
    solved = tts.solve(
        "What is 2 + 2?", "first_finish:n=8", sampling={"max_tokens": MOST}, base_url=engine.base_url, **target
    )
    assert engine.wait_idle()
    return solved


def test_an_engine_that_is_seen_to_stop_is_charged_with_what_it_decoded_and_the_probe_is_named() -> None:
    with FakeEngine(racing(), flavour="llamacpp") as engine:
        solved = raced(engine, cancellation="probe")
        decoded = engine.stats().tokens
    losers = solved.bill.cancelled
    assert solved.probed.tokens == PROBE_TOKENS
    assert losers.tokens < losers.samples * MOST / 2
    assert decoded <= solved.cost.tokens


@pytest.mark.parametrize("behaviour", [{"abort_on_disconnect": False}, {"abort_delay_s": 1.0}], ids=["deaf", "late"])
def test_an_engine_that_is_seen_to_decode_on_is_charged_in_full_whatever_its_name_is(behaviour: Any) -> None:
    with FakeEngine(racing(), **behaviour) as engine:
        solved = raced(engine, cancellation="probe")
        decoded = engine.stats().tokens
    losers = solved.bill.cancelled
    assert losers.tokens == losers.samples * MOST
    assert decoded <= solved.cost.tokens


def test_an_engine_that_shows_nothing_is_asked_for_nothing_and_charged_in_full() -> None:
    with FakeEngine(racing(), flavour="openai") as engine:
        solved = raced(engine, cancellation="probe")
        assert not any("1000" in str(request["messages"]) for request in engine.requests)
    assert not solved.probed.samples
    losers = solved.bill.cancelled
    assert losers.tokens == losers.samples * MOST


def test_where_the_budget_cannot_hold_the_probe_none_is_made_and_nobody_is_trusted() -> None:
    with FakeEngine(racing()) as engine:
        result = tts.sweep(
            "arithmetic?size=1&seed=1", "first_finish:n=2", run_budget="tokens=90", sampling={"max_tokens": 40},
            base_url=engine.base_url, cancellation="probe",
        )  # fmt: skip
        assert engine.stats().requests == 2
    assert not result.probed.samples
    assert result.spent.tokens <= 90


def test_the_probe_comes_before_what_the_trials_reserve_and_not_where_all_is_decided(tmp_path: Path) -> None:
    def swept(engine: FakeEngine) -> tts.SweepResult:
        return tts.sweep(
            "arithmetic?size=4&seed=1", "majority_vote:n=4", run_budget="tokens=700", sampling={"max_tokens": 40},
            base_url=engine.base_url, cancellation="probe", out=tmp_path, report=False,
        )  # fmt: skip

    with FakeEngine(racing()) as engine:
        first = swept(engine)
        asked = engine.stats().requests
        assert first.probed.tokens == PROBE_TOKENS
        assert first.spent.tokens <= 700
        assert swept(engine).probed == first.probed and engine.stats().requests == asked


def test_a_client_probes_once_and_within_the_budget_of_its_calls() -> None:
    async def service(url: str) -> None:
        async with tts.Client(
            base_url=url, run_budget="tokens=20k", cancellation="probe", sampling={"max_tokens": MOST}
        ) as client:
            solved = await asyncio.gather(*(client.solve("What is 2 + 2?", "first_finish:n=8") for _ in range(2)))
            assert client.spent.tokens == PROBE_TOKENS + sum(s.cost.tokens for s in solved)

    with FakeEngine(racing()) as engine:
        asyncio.run(service(engine.base_url))
        assert engine.wait_idle()
        assert engine.stats().requests == 17


def test_a_run_that_is_told_to_stop_does_not_wait_for_its_probe() -> None:
    async def main(url: str) -> None:
        async with tts.Client(base_url=url, cancellation="probe") as client:
            call = asyncio.ensure_future(client.solve("What is 2 + 2?"))
            while not engine.stats().open_streams:  # noqa: ASYNC110  # the engine lives in another thread
                await asyncio.sleep(0.01)
        with pytest.raises(tts.errors.Interrupted):
            await call

    with FakeEngine(lambda _: Reply(("1",) * 300, per_token_s=3600.0)) as engine:
        asyncio.run(main(engine.base_url))
        assert engine.wait_idle()


# --- what one look after the other shows, in virtual time


class Looked:
    """A client whose server answers each look at it with the next of these numbers of requests; the last for ever."""

    cancellation = "auto"

    def __init__(self, *running: int) -> None:
        self._running = list(running)

    async def get(self, path: str) -> bytes:
        await asyncio.sleep(0.001)
        count = self._running.pop(0) if len(self._running) > 1 else self._running[0]
        return b"[%s]" % b",".join([b'{"is_processing": true}'] * count)

    async def complete(self, request: Any, builder: Any, heard: Callable[..., None]) -> Completion:
        builder.max_tokens = request.sampling.token_limit
        try:
            while True:
                await asyncio.sleep(0.01)
                builder.tokens += 1
                heard("x", 1, None)
        finally:
            builder.usage = lambda: Usage(0, builder.tokens + 2)


@pytest.mark.parametrize(
    ("looks", "stops"),
    [
        ((0, 1, 0), True),
        ((0, 1, 1, 1, 0), True),  # within the two tokens that it is charged with
        ((0, *[1] * 40, 0), False),  # it stopped, long after
        ((0, 1), False),
        ((1, 2, 1), None),  # somebody else's requests are counted
        ((0, 2, 1), None),
        ((0, 2, 0), None),
        ((0, 0), None),  # another engine is looked at than the one that decodes
        ((0, 1, 0, 1, 0), None),  # a balancer shows one engine and then another
        ((0, 1, 0, 0, 0, 0, 1), None),
    ],
)
def test_only_a_server_that_is_idle_at_once_and_stays_so_has_stopped(
    looks: tuple[int, ...], stops: bool | None
) -> None:
    client: Any = Looked(*looks)
    assert run(try_abort(client, 256))[0] is stops
    assert client.cancellation == "auto"


# --- how it is said


def test_another_word_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidParameter, match="cancellation must be 'auto' or 'close'"):
        tts.solve("What is 2 + 2?", base_url="http://127.0.0.1:9", cancellation="closed")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["solve", "x", "--base-url", "http://127.0.0.1:9", "--cancellation", "closed"])
    assert exit_.value.code == 2
    assert "Did you mean 'close'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["first_byte_s", "idle_s", "total_s"])
@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_limit_of_no_time_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} must be more than 0 seconds"):
        tts.solve("What is 2 + 2?", base_url="http://127.0.0.1:9", **{name: seconds})


def test_a_request_that_lasts_longer_than_it_may_ends_whatever_is_heard_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with FakeEngine(lambda _: Reply(("x",) * 10_000, per_token_s=0.01)) as engine:
        with pytest.raises(SystemExit):
            cli.main(["solve", "x", "-s", "single", "--total-timeout", "0.3", "--patience", "0",
                      "--base-url", engine.base_url])  # fmt: skip
        assert "0.3 s" in capsys.readouterr().err
