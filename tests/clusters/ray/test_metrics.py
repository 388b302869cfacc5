"""What Prometheus sees of a run on Ray: what an actor observes, and what the node's own exporter makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tts.clusters.ray.environment import prepare
from tts.core.actions import Cancelled, End, Failed, Finished, Scored
from tts.types import Completion, ErrorInfo, Score, Timing

RUN = """
import json, socket, time, urllib.request
from tts.clusters.ray.environment import prepare
prepare(None)
import ray, tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

port = free()
ray.init(
    address="local", num_cpus=4, include_dashboard=True, dashboard_port=free(), _metrics_export_port=port,
    log_to_driver=False, _system_config={"metrics_report_interval_ms": 1000},
)
with FakeEngine(arithmetic(per_token_s=0.02)) as engine:
    result = tts.sweep(
        "arithmetic?size=20&seed=3", ["majority_vote:n=4", "first_finish:n=4", "best_of_n:n=2,verifier=judge"],
        base_url=engine.base_url, cluster="ray",
    )
limit = time.monotonic() + 400
page = ""
while "ray_tts_request_seconds_count" not in page or "ray_tts_ledger_spent_tokens" not in page:
    if time.monotonic() > limit:
        raise SystemExit("nothing was exported: " + page[:2000])
    time.sleep(1)
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    except OSError:
        pass
print(json.dumps([result.spent.samples, result.spent.tokens, page]))
"""


def test_an_actor_observes_exactly_what_ended_with_a_result_and_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter may drop observations (below); the actor must not."""
    prepare("none is started")
    from tts.clusters.ray import metrics

    observed: dict[str, list[float]] = {}

    def histogram(name: str, description: str, tags: dict[str, str]) -> SimpleNamespace:
        assert tags == {"actor": "tts-generator-0"}
        return SimpleNamespace(observe=observed.setdefault(name, []).append)

    monkeypatch.setattr(metrics, "_histogram", histogram)
    actor = metrics.ActorMetrics("tts-generator-0")
    timing, broken = Timing(2.0, 0.5), ErrorInfo("ServerFailed", "it burns")
    ends: list[tuple[End, float]] = [
        (Finished("c/p/1", 9.0, Completion("4", timing=timing)), 3.0),
        (Scored("c/p/2", 9.0, Score(1.0, "judge"), timing=Timing(1.0)), 1.25),
        (Finished("c/p/3", 9.0, Completion("4", timing=Timing(4.0))), 0.0),  # nobody knew since when it was in hand
        (Scored("c/p/4", 9.0, Score(1.0, "count")), 3.0),  # without a request
        (Cancelled("c/p/5", 9.0, Completion("", "cancelled", timing=timing)), 3.0),
        (Failed("c/p/6", 9.0, broken, timing=timing), 3.0),
    ]
    for event, in_hand_s in ends:
        actor.ended(event, in_hand_s)
    assert observed == {
        "tts_request_seconds": [2.0, 1.0, 4.0],
        "tts_queue_seconds": [1.0, 0.25, 0.0],
        "tts_first_token_seconds": [0.5],
    }


@pytest.mark.system
def test_a_run_s_counters_gauges_and_histograms_are_exported_in_base_units() -> None:
    import json
    import re

    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    samples, tokens, page = json.loads(done.stdout.splitlines()[-1])

    def values(name: str) -> dict[str, float]:
        rows = re.findall(rf"^ray_{name}{{(.*?)}} ([\d.e+-]+)$", page, re.MULTILINE)
        labels = [re.search(r'(?:state|kind|actor)="([^"]*)"', text) for text, _ in rows]
        return {label[1] if label else "": float(value) for label, (_, value) in zip(labels, rows, strict=True)}

    ends = values("tts_candidates_total")
    assert ends["started"] == ends["finished"] + ends["cancelled"] == samples - 40  # 40 verifications
    assert sum(values("tts_tokens_total").values()) == tokens
    assert values("tts_tokens_total")["verifier"] > 0
    assert values("tts_ledger_spent_tokens") == {"": tokens}
    assert values("tts_ledger_reserved_tokens") == {"": 0}
    assert 0 < values("tts_wasted_ratio")[""] < 1
    for name in ("tts_request_seconds", "tts_first_token_seconds", "tts_queue_seconds"):
        counts = values(f"{name}_count")
        assert set(counts) == {"tts-generator-0", "tts-verifier-0"}
        # Ray's exporter now and then drops an observation or two that the actor has made.
        assert ends["finished"] - 4 <= counts["tts-generator-0"] <= ends["finished"]
        assert 36 <= counts["tts-verifier-0"] <= 40
    assert "tts_candidates" in page and "HELP ray_tts_candidates_total Generations by what became of them." in page
