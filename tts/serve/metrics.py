"""Metrics in Prometheus' text format, in base units."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from tts.types import Cost

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
USES = ("prompt", "answers", "verification", "unused")


class Histogram:
    """Seconds, in buckets.

    Args:
        name, help: of the metric.
    """

    def __init__(self, name: str, help: str) -> None:
        self._name = name
        self._help = help
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, "histogram", self._help)
        total = 0
        for most, count in zip((*SECONDS, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{self._name}_bucket{{le="{most}"}} {total}'
        yield f"{self._name}_sum {self._sum:.6f}"
        yield f"{self._name}_count {total}"


class Counts:
    """What has happened in this process."""

    def __init__(self) -> None:
        self._ended: Counter[int] = Counter()
        self._refused: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter(dict.fromkeys(USES, 0))
        self._seconds = Histogram("tts_serve_request_seconds", "Duration of a chat.")
        self._waited = Histogram("tts_serve_wait_seconds", "Time until the first request of a chat left.")

    def ended(self, status: int, seconds: float) -> None:
        """Count a chat that has ended."""
        self._ended[status] += 1
        self._seconds.add(seconds)

    def refused(self, code: str) -> None:
        """Count a request that was not answered."""
        self._refused[code] += 1

    def waited(self, seconds: float) -> None:
        """Count a chat that has begun."""
        self._waited.add(seconds)

    def used(self, tokens: Mapping[str, int]) -> None:
        """Add tokens, by use: `USES`."""
        self._tokens.update(tokens)

    def lines(self) -> Iterator[str]:
        yield from _head("tts_serve_requests_total", "counter", "Chats that have ended, by status.")
        for status, count in sorted(self._ended.items()):
            yield f'tts_serve_requests_total{{status="{status}"}} {count}'
        yield from _head("tts_serve_refusals_total", "counter", "Requests that were not answered, by reason.")
        for code, count in sorted(self._refused.items()):
            yield f"tts_serve_refusals_total{_label('code', code)} {count}"
        yield from _head("tts_serve_used_tokens_total", "counter", "Tokens of prompts, and those generated, by use.")
        for use, count in self._tokens.items():
            yield f'tts_serve_used_tokens_total{{use="{use}"}} {count}'
        yield from self._seconds.lines()
        yield from self._waited.lines()


def load_lines(chats: int, samples: int, in_flight: int) -> Iterator[str]:
    """What waits and what is under way now: chats and requests to models that wait, requests in flight."""
    yield from _head("tts_serve_waiting", "gauge", "Chats that wait for their first request to leave.")
    yield f"tts_serve_waiting {chats}"
    yield from _head("tts_serve_samples_waiting", "gauge", "Requests to models that wait for their turn.")
    yield f"tts_serve_samples_waiting {samples}"
    yield from _head("tts_serve_samples_in_flight", "gauge", "Requests to models that are under way.")
    yield f"tts_serve_samples_in_flight {in_flight}"


def key_lines(standings: Mapping[str, tuple[int, Cost]]) -> Iterator[str]:
    """What each key has under way and has spent, over restarts where the state is kept."""
    yield from _head("tts_serve_running", "gauge", "Chats under way.")
    for name, (running, _) in standings.items():
        yield f"tts_serve_running{_label('key', name)} {running}"
    yield from _head("tts_serve_samples_total", "counter", "Requests to models that were paid for.")
    for name, (_, cost) in standings.items():
        yield f"tts_serve_samples_total{_label('key', name)} {cost.samples}"
    yield from _head("tts_serve_tokens_total", "counter", "Generated tokens that were paid for.")
    for name, (_, cost) in standings.items():
        yield f"tts_serve_tokens_total{_label('key', name)} {cost.tokens}"


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{name}="{escaped}"}}'
