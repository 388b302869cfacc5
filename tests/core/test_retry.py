"""When a failed request is tried again, and after how long a wait."""

from random import Random

from tts import errors
from tts.core.retry import Backoff, retryable


def test_waits_double_with_jitter_up_to_eight_seconds_and_then_there_are_no_more() -> None:
    backoff, error = Backoff(7, Random(1)), errors.ServerFailed("x")
    waits = [backoff.delay_s(error) for _ in range(8)]
    assert waits[-1] is None
    for wait, longest in zip(waits, (0.5, 1, 2, 4, 8, 8, 8), strict=False):
        assert wait is not None and 0.75 * longest <= wait <= longest


def test_the_server_decides_how_long_to_wait_but_not_for_ever() -> None:
    assert Backoff(1, Random(1)).delay_s(errors.Overloaded("x", retry_after_s=30.0)) == 30.0
    assert Backoff(1, Random(1)).delay_s(errors.Overloaded("x", retry_after_s=1000.0)) is None


def test_nothing_is_tried_again_once_tokens_have_come_nor_after_silence() -> None:
    assert retryable(errors.StreamBroken("x", tokens=0))
    assert not retryable(errors.StreamBroken("x", tokens=1))
    assert not retryable(errors.TimedOut("x"))
    assert not retryable(errors.RequestRejected("x"))
    assert retryable(errors.RequestRejected("x", should_retry=True))
    assert not retryable(errors.ServerFailed("x", should_retry=False))
