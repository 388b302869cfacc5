"""A real sweep process, killed with SIGKILL at random points and resumed, loses nothing it paid for."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tts.core.actions import Cancelled, Failed, Finished, Progressed, Refused, Returned, Scored, Woke
from tts.core.journal.records import Allotted, Decided, Granted, Lost, Record, Shared, Stopped
from tts.runs.folder import JOURNAL, read_records
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic
from tts.types import Cost

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("TTS_KILLS", "10"))
ENDS = (Finished, Scored, Returned, Woke, Failed, Cancelled, Refused)
REPEATABLE = ("single", "majority_vote:n=2,4", "best_of_n:n=4", "genrm:n=2", "sequential_revision:chains=2,rounds=3")

# A thread of the process kills it, for a machine that gives the process no time gives its killer none.
SWEEP = """
import os, signal, sys, threading, time
from pathlib import Path
import msgspec
import tts
from tts.types import Sampling

url, out, size, *given = sys.argv[1:]
journal = Path(out, "journal.jsonl")

def kill():
    while not journal.exists() or journal.stat().st_size <= int(size):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

if size:
    threading.Thread(target=kill, daemon=True).start()
allocators = [text.removeprefix("by ") for text in given if text.startswith("by ")]
strategies = [text for text in given if not text.startswith("by ")]
result = tts.sweep(
    "arithmetic?size=40&seed=7", strategies, out=out, base_url=url, concurrency=16, report=False,
    sampling=Sampling(max_tokens=40), allocators=allocators, budgets="tokens=100" if allocators else "",
)
sys.stdout.buffer.write(msgspec.json.encode((result.spent, result.lost, len(result.outcomes), result.planned)))
"""


def command(url: str, folder: Path, strategies: tuple[str, ...], size: int | None = None) -> list[str]:
    return [sys.executable, "-c", SWEEP, url, str(folder), "" if size is None else str(size), *strategies]


def finish(url: str, folder: Path, strategies: tuple[str, ...]) -> tuple[Cost, Cost, int, int]:
    done = subprocess.run(command(url, folder, strategies), capture_output=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=tuple[Cost, Cost, int, int])


def killed_once_past(size: int, url: str, folder: Path, strategies: tuple[str, ...]) -> bool:
    """Run the sweep, which is killed once its journal is longer than `size`; False if it got to its end first."""
    sweep = command(url, folder, strategies, size)
    done = subprocess.run(sweep, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=500, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def samples(records: list[Record]) -> dict[str, str]:
    """Action id -> the text or score it ended with, whoever had paid for it."""
    found: dict[str, str] = {}
    for record in records:
        if isinstance(record, Finished):
            found[record.id] = record.completion.text
        elif isinstance(record, Scored):
            found[record.id] = str(record.score)
        elif isinstance(record, Shared):
            found[record.id] = found[record.of]
    return found


@pytest.mark.timeout(1800)  # so many starts of a process take minutes on a busy machine
def test_a_sweep_killed_at_random_points_ends_with_the_same_samples_each_exactly_once(tmp_path: Path) -> None:
    with FakeEngine(arithmetic(per_token_s=0.002)) as engine:
        whole = finish(engine.base_url, tmp_path / "whole", REPEATABLE)
        expected = samples(list(read_records(tmp_path / "whole" / JOURNAL)))
        size = (tmp_path / "whole" / JOURNAL).stat().st_size
        before = engine.stats().tokens

        draw = random.Random(11)
        points = sorted(draw.randrange(200, size) for _ in range(KILLS))
        folder = tmp_path / "killed"
        kills = sum(killed_once_past(point, engine.base_url, folder, REPEATABLE) for point in points)
        spent, lost, decided, planned = finish(engine.base_url, folder, REPEATABLE)
        engine.wait_idle()
        decoded = engine.stats().tokens - before

    records = list(read_records(folder / JOURNAL))
    assert kills >= 0.9 * KILLS
    assert decided == planned == whole[3]
    assert samples(records) == expected

    ended = [r.id for r in records if isinstance(r, ENDS)] + [r.id for r in records if isinstance(r, Shared)]
    assert len(ended) == len(set(ended))

    assert_the_ledger_adds_up(records, spent, lost)
    assert lost.tokens > 0
    assert decoded <= spent.tokens
    assert spent.tokens - lost.tokens == whole[0].tokens


def test_a_race_killed_and_resumed_adds_up_though_its_samples_may_differ(tmp_path: Path) -> None:
    strategies = ("first_finish:n=4", "majority_vote:n=4,stop_at=0.95")
    with FakeEngine(arithmetic(per_token_s=0.002)) as engine:
        draw = random.Random(5)
        for point in sorted(draw.randrange(200, 60_000) for _ in range(8)):
            killed_once_past(point, engine.base_url, tmp_path, strategies)
        spent, lost, decided, planned = finish(engine.base_url, tmp_path, strategies)
        engine.wait_idle()
        decoded = engine.stats().tokens
    records = list(read_records(tmp_path / JOURNAL))
    ended = [r.id for r in records if isinstance(r, ENDS)] + [r.id for r in records if isinstance(r, Shared)]
    assert decided == planned
    assert len(ended) == len(set(ended))
    assert_the_ledger_adds_up(records, spent, lost)
    assert decoded <= spent.tokens


def test_shared_budgets_hold_through_kills_and_no_ask_is_allotted_twice(tmp_path: Path) -> None:
    given = ("majority_vote:n=none", "best_of_n:n=none,verifier=judge", "by marginal", "by success")
    with FakeEngine(arithmetic(per_token_s=0.002)) as engine:
        draw = random.Random(3)
        points = sorted(draw.randrange(5_000, 250_000) for _ in range(8))
        kills = sum(killed_once_past(point, engine.base_url, tmp_path, given) for point in points)
        spent, lost, decided, planned = finish(engine.base_url, tmp_path, given)
        engine.wait_idle()
        decoded = engine.stats().tokens
    assert kills >= 4 and decided == planned == 4 * 40
    assert decoded <= spent.tokens

    records = list(read_records(tmp_path / JOURNAL))
    assert_the_ledger_adds_up(records, spent, lost)
    allotted = [r.id for r in records if isinstance(r, Allotted)]
    assert len(allotted) == len(set(allotted)), "what was granted before a crash is not decided again"
    assert {r.id for r in records if isinstance(r, Granted)} <= set(allotted)
    bills: dict[str, list[int]] = {}
    for record in records:
        if isinstance(record, Decided):
            bills.setdefault(record.trial.partition("/")[0], []).append(record.bill.total.tokens)
    assert len(bills) == 4 and all(len(tokens) == 40 for tokens in bills.values())
    for cell, tokens in bills.items():
        assert sum(tokens) <= 40 * 100, cell
        stopped = sum(isinstance(r, Stopped) and r.trial.startswith(cell) for r in records)
        assert stopped == 40 or sum(tokens) > 40 * 100 - 80, f"{cell} left what somebody wanted"
        if "by marginal" in cell:  # `success` has nothing to go by where nothing is verified
            assert max(tokens) > 2 * min(tokens), f"{cell} gave everybody the same"


def assert_the_ledger_adds_up(records: list[Record], spent: Cost, lost: Cost) -> None:
    """Spent is what ended plus what was lost; every grant is one or the other; no cost is counted twice."""
    booked_lost = Cost()
    settled = Cost()
    open_grants: dict[str, Cost] = {}
    for record in records:
        if isinstance(record, Granted):
            assert record.id not in open_grants
            open_grants[record.id] = record.cost
        elif isinstance(record, Lost):
            assert record.cost.tokens <= open_grants.pop(record.id).tokens
            booked_lost += record.cost
        elif isinstance(record, ENDS) and not isinstance(record, Progressed) and record.id in open_grants:
            reserved = open_grants.pop(record.id)
            tokens = record.usage.completion_tokens
            assert tokens <= reserved.tokens
            settled += Cost(1, tokens)
    paid = sum((r.paid.tokens for r in records if isinstance(r, Decided)), 0)
    assert not open_grants
    assert booked_lost.tokens == lost.tokens
    assert settled.tokens + booked_lost.tokens == spent.tokens
    assert settled.samples + booked_lost.samples == spent.samples
    assert paid == settled.tokens
