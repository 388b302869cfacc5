"""The thresholds of Python's collector of cycles are the caller's again once a call of the API has ended."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from tts.api.sync import run_sync
from tts.process.garbage import YOUNG, collecting_less_often

OWN = (1_000, 7, 8)


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*OWN)
    yield
    gc.set_threshold(*before)


async def seen() -> tuple[int, int, int]:
    return gc.get_threshold()


def test_cycles_are_looked_for_less_often_while_a_call_lasts_and_as_before_afterwards() -> None:
    assert run_sync(seen()) == (YOUNG, 7, 8)
    assert gc.get_threshold() == OWN


def test_the_thresholds_are_put_back_after_a_call_that_fails() -> None:
    with pytest.raises(TimeoutError):
        run_sync(asyncio.wait_for(asyncio.sleep(9), 0))
    assert gc.get_threshold() == OWN


@pytest.mark.parametrize("own", [(0, 7, 8), (YOUNG + 1, 7, 8)])
def test_a_collector_that_is_off_or_rarer_still_stays_so(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    assert run_sync(seen()) == own == gc.get_threshold()


def test_the_last_of_several_calls_puts_the_thresholds_back_in_whatever_order_they_end() -> None:
    with collecting_less_often:
        collecting_less_often.__enter__()
    assert gc.get_threshold() == (YOUNG, 7, 8)
    other = threading.Thread(target=collecting_less_often.__exit__)
    other.start()
    other.join()
    assert gc.get_threshold() == OWN
