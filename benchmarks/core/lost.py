"""What a crash books as lost, against what was lost: a sweep, killed again and again.

    python benchmarks/core/lost.py                        prints the table and writes benchmarks/core/lost.md
    python benchmarks/core/lost.py --cluster ray          the same on two Ray actors: benchmarks/core/lost_ray.md

Each sweep is a process against FakeEngine (in this process), which counts every token that it decodes; replies have
100 to 700 tokens, 100 a second, and `max_tokens` is 2,048. The sweep is killed after a random time, forty times over.
Wasted is what the engine decoded and no trial was given. A crash must book at least that
(the budget's law), and never more than was reserved.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

from tts.core.journal.records import Bounded, Granted, Lost
from tts.runs.folder import JOURNAL, read_history, read_records
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

IN_FLIGHT = 8
PER_TOKEN_S = 0.01
MAX_TOKENS = 2048
ENGINES = {
    "a chunk a token": 0.0,
    "a second of silence first": 1.0,
}
SWEEP = """
import sys
import tts
from tts.types import Sampling
url, out, cluster = sys.argv[1:]
result = tts.sweep(
    "arithmetic?size=200&seed=7", "majority_vote:n=2", out=out, base_url=url, concurrency=8, report=False,
    cluster=cluster,
    sampling=Sampling(max_tokens=2048),
)
if not result.complete:
    raise SystemExit("the sweep is not complete")
"""


def replies(first_byte_s: float) -> Any:
    def reply(body: dict[str, Any]) -> Reply:
        digest = hashlib.blake2b(repr((body["messages"], body["seed"])).encode(), digest_size=4).digest()
        words = 100 + int.from_bytes(digest, "big") % 600
        return Reply((" so",) * words + (" Answer: 4",), first_byte_s=first_byte_s, per_token_s=PER_TOKEN_S)

    return reply


def killed_after(seconds: float, command: list[str], folder: Path) -> None:
    """Start the sweep, and kill it so long after its first new grant."""
    path = folder / JOURNAL
    before = path.stat().st_size if path.exists() else 0
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and (not path.exists() or path.stat().st_size <= before):
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.wait()


def row(name: str, first_byte_s: float, kills: int, cluster: str) -> str:
    draw = random.Random(40)
    with tempfile.TemporaryDirectory() as temporary, FakeEngine(replies(first_byte_s)) as engine:
        folder = Path(temporary)
        command = [sys.executable, "-c", SWEEP, engine.base_url, str(folder), cluster]
        for _ in range(kills):
            killed_after(draw.uniform(0.0, 6.0), command, folder)
            engine.wait_idle()
        return line(name, engine.stats().tokens, folder / JOURNAL)


def line(name: str, decoded: int, journal: Path) -> str:
    granted: dict[str, int] = {}
    ended = lost = reserved = losses = notes = 0
    for record in read_records(journal):
        notes += isinstance(record, Bounded)
        if isinstance(record, Granted):
            granted[record.id] = record.cost.tokens
        elif isinstance(record, Lost):
            lost, losses, reserved = lost + record.cost.tokens, losses + 1, reserved + granted[record.id]
        elif hasattr(record, "usage"):
            ended += record.usage.completion_tokens
    last = read_history(journal)  # of the last kill: what a resumed run would book
    for id, grant in last.granted.items():
        most = min(grant.cost.tokens, last.bounded.get(id, grant.cost.tokens))
        lost, losses, reserved = lost + most, losses + 1, reserved + grant.cost.tokens
    wasted = decoded - ended
    if not wasted <= lost <= reserved:
        raise SystemExit(f"{name}: wasted {wasted}, booked {lost}, reserved {reserved}")
    return f"| {name} | {losses} | {wasted:,} | {lost:,} | {lost / wasted:.2f} | {reserved:,} | {notes:,} |"


@contextmanager
def described(cluster: str) -> Iterator[str]:
    """The cluster as a sweep is told of it; for `ray`, a Ray on this machine that outlives the sweeps."""
    if cluster == "local":
        yield cluster
        return
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from tts.clusters.ray.environment import prepare

    prepare("the cluster below")
    from ray.cluster_utils import Cluster

    ray = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(f"cluster: ray\naddress: {ray.address}\ngenerators: {{count: 2}}\n")
        yield str(spec)
    ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=40)
    given = parser.parse_args()
    with described(given.cluster) as cluster, ThreadPoolExecutor() as side_by_side:
        rows = [*side_by_side.map(row, ENGINES, ENGINES.values(), repeat(given.kills), repeat(cluster))]
    option = "" if given.cluster == "local" else f" --cluster {given.cluster} --kills {given.kills}"
    lines = [
        "# What a crash books as lost" + (" on Ray" if option else ""),
        "",
        f"`python benchmarks/core/lost.py{option}`; {given.kills} kills of a sweep with {IN_FLIGHT} requests in "
        f"flight, and",
        f"replies of 100 to 700 tokens at {1 / PER_TOKEN_S:.0f} a second, max_tokens {MAX_TOKENS:,}.",
        "Wasted and booked are tokens; wasted is by the engine's count.",
        "",
        "| engine | requests lost | wasted | booked | ratio | reserved for them | notes in the journal |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "A silence counts as tokens that may have been generated unseen, until a stream shows that none are.",
        "Kills before any rate is known book whole reservations, as all kills did before there were notes.",
        "",
    ]
    text = "\n".join(lines)
    Path(__file__).with_name("lost_ray.md" if option else "lost.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
