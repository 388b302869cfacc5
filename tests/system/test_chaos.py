"""Actors die every second and a node half-way, and the result is that of an undisturbed run.

One round in `make test-system`; `make chaos` runs twenty, each with another seed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from live import Carrier

from tts.clusters.spec import ClusterSpec
from tts.core.actions import Failed, Finished, Scored
from tts.core.budget import Limits
from tts.core.journal.records import Granted, Lost
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic
from tts.types import Cost, Problem

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("TTS_CHAOS_ROUNDS", "1"))
PROBLEMS = [Problem(f"p{i}", f"What is {17 + i} + {25 * i}?") for i in range(200)]
TEXT = "best_of_n:n=16,verifier=judge"
SCRIPT = arithmetic(error_rate=0.4, per_token_s=0.02)
LIMITS = Limits(tokens=10_000_000)
CHAOS = Path(__file__).parents[1] / "support" / "chaos.py"


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str | None]:
    with Carrier("simulated", SCRIPT, "") as simulated:
        return {trial: result.answer for trial, result in simulated.run(TEXT, PROBLEMS)[1].items()}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_actors_die_every_second_and_a_node_half_way(
    seed: int, ray_cluster: Any, undisturbed: dict[str, str | None], capfd: pytest.CaptureFixture[str]
) -> None:
    doomed = ray_cluster.add_node(num_cpus=4)
    nodes = ray_cluster.list_all_nodes()
    raylets = [str(node.all_processes["raylet"][0].process.pid) for node in nodes]
    spec = ClusterSpec(
        address=ray_cluster.address, generators={"count": 4}, verifiers={"count": "per_node"}, most_failures=30
    )
    half = len(PROBLEMS) * 16
    seen = 0

    def count(events: Any) -> None:
        nonlocal seen
        before, seen = seen, seen + sum(isinstance(event, Finished | Scored) for event in events)
        if before < half <= seen:
            doomed.kill_raylet()

    with FakeEngine(SCRIPT) as engine, Carrier("ray", SCRIPT, engine.base_url, spec) as carrier:
        chaos = subprocess.Popen(
            [sys.executable, str(CHAOS), str(seed), *raylets], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            records, results, scheduler = carrier.run(TEXT, PROBLEMS, limits=LIMITS, on_events=count)
        finally:
            killed = chaos.communicate("")[0].split()
        assert engine.wait_idle()
        decoded = engine.stats().tokens
    ray_cluster.remove_node(doomed)

    assert len(killed) >= 5
    assert {trial: result.answer for trial, result in results.items()} == undisturbed
    ended = Counter(record.id for record in records if isinstance(record, Finished | Scored | Failed))
    assert len(ended) == 2 * 16 * len(PROBLEMS)
    assert set(ended.values()) == {1}
    granted = Counter(record.id for record in records if isinstance(record, Granted))
    lost = Counter(record.id for record in records if isinstance(record, Lost))
    assert granted == ended + lost
    assert lost
    wasted = sum((record.cost for record in records if isinstance(record, Lost)), Cost())
    settled = sum(record.usage.completion_tokens for record in records if isinstance(record, Finished | Scored))
    assert scheduler.ledger.spent.tokens == settled + wasted.tokens
    assert scheduler.lost == wasted
    assert not scheduler.ledger.reservations
    assert decoded <= scheduler.ledger.spent.tokens
