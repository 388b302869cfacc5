"""What actors with nothing in hand cost the driver: its CPU over a while, by the number of actors.

    python benchmarks/clusters/idle_actors.py [--counts 10 50 100]     prints the table and writes
    benchmarks/clusters/idle_actors.md

All actors ask for no CPU, so that as many fit as there is memory for (50 MB each). Each count is a Ray cluster of its
own with that many generators and no run: the driver hears of its actors and looks at its nodes, and nothing else. Its
CPU is counted from when all actors are there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"

from tts.clusters.ray.environment import prepare

prepare("the actors below")

from tts.clusters.ray.cluster import open_ray  # noqa: E402  # which imports ray
from tts.clusters.spec import ClusterSpec  # noqa: E402
from tts.models.target import resolved  # noqa: E402
from tts.testing.engine import FakeEngine  # noqa: E402

SECONDS = 120.0  # in which every actor is asked once


async def idle_cpu_s(count: int, url: str) -> float:
    """CPU seconds of this process in `SECONDS` with so many idle actors."""
    spec = ClusterSpec.of("ray", generators={"count": count, "cpus": 0}, start_timeout_s=600)
    async with open_ray(spec, resolved({"base_url": url, "concurrency": 64})) as backend:
        while any(": starting" in line for line in backend.status()):  # noqa: ASYNC110  # there is nothing to wait on
            await asyncio.sleep(0.5)
        await asyncio.sleep(5.0)
        began_s = time.process_time()
        await asyncio.sleep(SECONDS)
        return time.process_time() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 50, 100])
    counts = parser.parse_args().counts
    with FakeEngine() as engine:
        used = {count: asyncio.run(idle_cpu_s(count, engine.base_url)) for count in counts}
    least, most = min(used), max(used)
    each_s = (used[most] - used[least]) / (most - least) / SECONDS
    thousand = 100 * (used[least] / SECONDS + 1000 * each_s)
    rows = [f"| {count} | {1000 * cpu_s / SECONDS:.2f} |" for count, cpu_s in used.items()]
    lines = [
        "# What idle actors cost the driver",
        "",
        f"`python benchmarks/clusters/idle_actors.py --counts {' '.join(map(str, counts))}`; {SECONDS:.0f} s each.",
        "",
        "| actors | driver's CPU, ms a second |",
        "|---|---|",
        *rows,
        "",
        f"Each more costs {1e6 * each_s:.0f} us a second. 1,000 would take {thousand:.1f} % of a core if the cost",
        "goes on growing in proportion, which was not measured.",
        "",
    ]
    text = "\n".join(lines)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
