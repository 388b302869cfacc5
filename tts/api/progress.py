"""Progress of a sweep, for a person: a live table on a terminal, one plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from tts.core.actions import Cancelled, Event, Failed, Finished, Scored
from tts.models.wire.endings import UNSAID
from tts.process.console import say
from tts.runs.outcomes import Outcome
from tts.types import Completion

if TYPE_CHECKING:
    from tts.clusters.base import Backend, Cluster
    from tts.core.scheduling.scheduler import Scheduler

PLAIN_EVERY_S = 5.0
RATE_WINDOW_S = 10.0
MOST_ACTORS = 16  # lines on a terminal


class Watcher(Protocol):
    """Observer of a run while it goes on (`Display` shows it)."""

    def started(self, cluster: Cluster, scheduler: Scheduler, planned: int, resumed: str, backend: Backend) -> None: ...
    def on_events(self, events: Sequence[Event]) -> None: ...
    def decided(self, outcome: Outcome) -> None: ...
    def ended(self) -> None: ...


class Display:
    """Watches a run, shows it, and turns Ctrl-C into draining, a second one into aborting.

    Args:
        console: the output; anything but a terminal gets plain lines.
        quiet: whether to show no progress, but still handle Ctrl-C.
        interrupts: whether to handle Ctrl-C; a program of one's own decides that by itself.
    """

    def __init__(self, console: Console, *, quiet: bool = False, interrupts: bool = True) -> None:
        self.interrupted = False
        self._interrupts = interrupts
        self._console = console
        self._quiet = quiet
        self._cluster: Cluster | None = None
        self._scheduler: Scheduler | None = None
        self._right: dict[str, list[float]] = {}
        self._tokens = 0
        self._cancelled = 0
        self._failed = 0
        self._refused: set[tuple[str, str]] = set()
        self._recent: list[tuple[float, int]] = []
        self._done = self._planned = 0
        self._last_line = 0.0
        self._restore: Callable[[], None] = lambda: None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._live: Live | None = None

    # --- events of a run

    def started(self, cluster: Cluster, scheduler: Scheduler, planned: int, resumed: str, backend: Backend) -> None:
        self._cluster, self._scheduler, self._planned = cluster, scheduler, planned
        self._bar = self._progress.add_task("trials", total=planned)
        if self._interrupts:
            self._catch_interrupts()
        for error in backend.unreachable:
            self._console.print(f"endpoint left out: {error.message}", markup=False, soft_wrap=True)
        if resumed and not self._quiet:
            self._console.print(resumed, markup=False, soft_wrap=True)
        if self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._picture, console=self._console, refresh_per_second=4)
            self._live.start()

    def on_events(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            if isinstance(event, Finished | Scored | Cancelled | Failed):
                tokens = event.usage.completion_tokens
                self._tokens += tokens
                self._recent.append((now, tokens))
                self._cancelled += tokens if isinstance(event, Cancelled) else 0
                self._failed += isinstance(event, Failed)
            if isinstance(event, Finished):
                self._tell_of_refusals(event.completion)
        while self._recent and self._recent[0][0] < now - RATE_WINDOW_S:
            self._recent.pop(0)
        if self._live is None and not self._quiet and now - self._last_line >= PLAIN_EVERY_S:
            self._last_line = now
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _tell_of_refusals(self, completion: Completion) -> None:
        """Report once for each endpoint the parameters that the samples go without, and what it does not say of their
        ends."""
        for name in completion.downgrades:
            if (completion.endpoint, name) not in self._refused:
                self._refused.add((completion.endpoint, name))
                what = UNSAID.get(name, f"refuses {name}: samples go without it, and are marked")
                say(self._console, f"note: {completion.endpoint} {what}", 2)

    def decided(self, outcome: Outcome) -> None:
        self._done += 1
        self._progress.update(self._bar, completed=self._done)
        if outcome.correct is not None:
            self._right.setdefault(outcome.cell, []).append(float(outcome.correct))

    def ended(self) -> None:
        self._restore()
        if self._live is not None:
            self._live.stop()
            self._live = None

    # --- the display

    def _line(self) -> str:
        in_flight = self._scheduler.in_flight if self._scheduler else 0
        parts = [f"{self._done}/{self._planned} trials", f"{self._tokens:,} tokens", f"{self._rate():,.0f} tokens/s"]
        parts.append(f"{in_flight} in flight")
        if self._cancelled:
            parts.append(f"{self._cancelled:,} tokens cancelled")
        lost = self._scheduler.lost.tokens if self._scheduler else 0
        if lost:
            parts.append(f"{lost:,} tokens lost")
        if self._failed:
            parts.append(f"{self._failed} requests failed")
        if self.interrupted:
            parts.append("draining")
        return ", ".join(parts)

    def _rate(self) -> float:
        if not self._recent:
            return 0.0
        return sum(tokens for _, tokens in self._recent) / max(1.0, time.monotonic() - self._recent[0][0])

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("strategy")
        table.add_column("done", justify="right")
        table.add_column("right so far", justify="right")
        for cell, right in self._right.items():
            table.add_row(cell, str(len(right)), f"{100 * sum(right) / len(right):.0f} %")
        actors = self._cluster.status() if self._cluster else []
        return Group(self._progress, self._line(), *actors[:MOST_ACTORS], *([table] if self._right else []))

    # --- Ctrl-C

    def _catch_interrupts(self) -> None:
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # a batch scheduler's SIGTERM is handled like Ctrl-C
                loop.add_signal_handler(number, self._interrupt)
        except (ValueError, RuntimeError):
            return  # not the main thread, whose owner handles the signals

        def restore() -> None:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

        self._restore = restore

    def _interrupt(self) -> None:
        assert self._cluster is not None
        if self.interrupted:
            self._cluster.abort()
            return
        self.interrupted = True
        self._cluster.drain()
        if not self._quiet:
            say(self._console, self._what_is_waited_for(), 2)

    def _what_is_waited_for(self) -> str:
        """Describe the wait: a silent server may be decoding, so the cost of a second Ctrl-C is known, but not the
        duration of the first."""
        waiting = self._scheduler.in_flight if self._scheduler else 0
        if not waiting or self._scheduler is None:
            return "stopping"
        requests = f"{waiting} request{'s' if waiting > 1 else ''} in flight"
        most = self._scheduler.ledger.reserved.tokens
        ends = f"Ctrl-C again ends {'them' if waiting > 1 else 'it'}"
        return (
            f"stopping: waiting for {requests}; {ends}, and books what may have been decoded, at most {most:,} tokens"
        )


class Counted:
    """Calls a function with the number of decided trials and of all trials (`api.Watcher`)."""

    def __init__(self, tell: Callable[[int, int], object]) -> None:
        self._tell = tell
        self._done = self._planned = 0

    def started(self, cluster: Cluster, scheduler: Scheduler, planned: int, resumed: str, backend: Backend) -> None:
        self._planned = planned
        self._tell(self._done, planned)

    def on_events(self, events: Sequence[Event]) -> None:
        pass

    def decided(self, outcome: Outcome) -> None:
        self._done += 1
        self._tell(self._done, self._planned)

    def ended(self) -> None:
        pass
