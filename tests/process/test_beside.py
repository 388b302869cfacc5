"""What is entered and left beside its user."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tts.process.beside import Beside


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test as pytest runs it."""

    @functools.wraps(test)
    def run(*args: Any, **more: Any) -> None:
        asyncio.run(test(*args, **more))

    return run


class Place:
    """A context manager that says what happens to it, and waits where it is told to."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.may_enter, self.may_leave = asyncio.Event(), asyncio.Event()
        self.entering, self.leaving = asyncio.Event(), asyncio.Event()
        self.fails_at = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        try:
            self.said.append("entering")
            self.entering.set()
            await self.may_enter.wait()
            self._fail("entering")
            yield "here"
            self.leaving.set()
            await self.may_leave.wait()
            self._fail("leaving")
        finally:
            self.said.append("left")

    def _fail(self, at: str) -> None:
        if self.fails_at == at:
            raise OSError(at)


def opened(place: Place) -> None:
    place.may_enter.set()
    place.may_leave.set()


@on_a_loop
async def test_the_block_goes_on_while_it_is_entered_and_while_it_is_left() -> None:
    place = Place()
    async with Beside(place.open) as beside:
        await asyncio.sleep(0)
        assert place.said == ["entering"]
        place.may_enter.set()
        assert await beside.entered() == await beside.entered() == "here"
        beside.leave()
        await place.leaving.wait()
        assert place.said == ["entering"]
        place.may_leave.set()
    assert place.said == ["entering", "left"]


@on_a_loop
async def test_what_making_it_raises_comes_from_entered() -> None:
    def make() -> AbstractAsyncContextManager[str]:
        raise OSError("making")

    async with Beside(make) as beside:
        with pytest.raises(OSError, match="making"):
            await beside.entered()


@pytest.mark.parametrize("at", ["entering", "leaving"])
@on_a_loop
async def test_what_entering_or_leaving_it_raises_is_raised(at: str) -> None:
    place = Place()
    place.fails_at = at
    opened(place)
    with pytest.raises(OSError, match=at):
        async with Beside(place.open) as beside:
            await beside.entered()
    assert place.said == ["entering", "left"]


@pytest.mark.parametrize("prepare", [opened, lambda place: None], ids=["entered", "still entering"])
@on_a_loop
async def test_an_error_of_the_block_is_the_one_that_is_raised(prepare: Callable[[Place], None]) -> None:
    place = Place()
    place.fails_at = "leaving"
    prepare(place)
    with pytest.raises(ValueError, match="of the block"):
        async with Beside(place.open):
            await asyncio.sleep(0)
            raise ValueError("of the block")
    assert place.said == ["entering", "left"]


@on_a_loop
async def test_a_block_that_is_cancelled_while_it_waits_breaks_the_entering_off() -> None:
    place = Place()

    async def block() -> None:
        async with Beside(place.open) as beside:
            await beside.entered()

    task = asyncio.create_task(block())
    await place.entering.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert place.said == ["entering", "left"]


@on_a_loop
async def test_a_second_cancellation_breaks_the_leaving_off() -> None:
    place = Place()
    place.may_enter.set()

    async def block() -> None:
        async with Beside(place.open) as beside:
            await beside.entered()

    task = asyncio.create_task(block())
    await place.leaving.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert place.said == ["entering", "left"]
