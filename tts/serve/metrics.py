"""Metrics in Prometheus' text format, in base units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tts.types import Cost


class Ended:
    """Counts of the chats that have ended, refused ones left out, by status; and their seconds."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._seconds = 0.0

    def add(self, status: int, seconds: float) -> None:
        self._counts[status] += 1
        self._seconds += seconds

    def lines(self) -> Iterator[str]:
        yield from _head("tts_serve_requests_total", "counter", "Chats that have ended, by status.")
        for status, count in sorted(self._counts.items()):
            yield f'tts_serve_requests_total{{status="{status}"}} {count}'
        yield from _head("tts_serve_request_seconds", "summary", "Duration of a chat.")
        yield f"tts_serve_request_seconds_sum {self._seconds:.6f}"
        yield f"tts_serve_request_seconds_count {self._counts.total()}"


def key_lines(standings: Mapping[str, tuple[int, Cost]]) -> Iterator[str]:
    """What each key has under way and has spent, over restarts where the state is kept."""
    yield from _head("tts_serve_running", "gauge", "Chats under way.")
    for name, (running, _) in standings.items():
        yield f"tts_serve_running{_label(name)} {running}"
    yield from _head("tts_serve_samples_total", "counter", "Requests to models that were paid for.")
    for name, (_, cost) in standings.items():
        yield f"tts_serve_samples_total{_label(name)} {cost.samples}"
    yield from _head("tts_serve_tokens_total", "counter", "Generated tokens that were paid for.")
    for name, (_, cost) in standings.items():
        yield f"tts_serve_tokens_total{_label(name)} {cost.tokens}"


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _label(key: str) -> str:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{key="{escaped}"}}'
