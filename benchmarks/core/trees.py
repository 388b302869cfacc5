"""CPU of a tree search per node: `ab_mcts` with a generator that answers at once, beside plain sampling and treequest.

    python benchmarks/core/trees.py            prints the table and writes benchmarks/core/trees.md

All of this library's rows run in virtual time through the scheduler. Scores are uniform, which makes trees wide; but in
the row of narrow trees the fourth revision of an answer scores best. treequest (`pip install treequest`) is left out
where it is not installed, and not asked for as many nodes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.budget import Limits
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.plugins.parts import part
from tts.plugins.spec import parse_specs
from tts.types import Candidate, Completion, Problem, Score, Usage

NODES = (250, 500, 1000, 2000)
MOST_TOLD, MOST_COPIED = 1000, 250  # nodes of treequest: `step` copies its tree for each


def uniform(text: str) -> float:
    """A number from 0 to 1 that the text decides."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32


class World:
    """Answers every request at once."""

    def complete(self, request: Any) -> tuple[float, Completion]:
        revised = request.messages[-1].content.count("Attempt ")
        text = f"{revised}\nAnswer: {request.seed}"
        return 0.001, Completion(text, usage=Usage(10, 20), answer=str(request.seed))


class Judge:
    """Scores at once: by chance, or also by how often an answer was revised."""

    name, kind = "judge", "probability"

    def __init__(self, narrow: bool) -> None:
        self._narrow = narrow

    def request(self, problem: Problem, candidate: Candidate) -> None:
        return None

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        chance = uniform(candidate.text)
        return Score((int(candidate.text[0]) + chance) / 5 if self._narrow else chance, self.name)


def ours(text: str, *, narrow: bool = False) -> Callable[[int], float]:
    def cpu_s(nodes: int) -> float:
        (spec,) = parse_specs(f"{text},n={nodes}")
        judges, results = {"judge": Judge(narrow)}, list[Result]()
        planned = [Planned("c", Problem("p", "What is 6 * 7?"), spec)]
        scheduler = Scheduler(planned, part, costs=CostModel(), limits=Limits(tokens=10**12), verifiers=judges)
        began = time.process_time()
        SimulatedCluster(World(), judges).run(scheduler, on_result=lambda result, _: results.append(result))
        took = time.process_time() - began
        assert len(results[0].candidates) == nodes and results[0].error is None
        return took

    return cpu_s


def treequest_s(copies: bool) -> Callable[[int], float]:
    import treequest

    def generate(parent: str | None) -> tuple[str, float]:
        text = f"{parent or ''}."
        return text, uniform(f"{text}{time.perf_counter_ns()}")

    def cpu_s(nodes: int) -> float:
        search = treequest.ABMCTSA()
        tree = search.init_tree()
        began = time.process_time()
        for _ in range(nodes):
            if copies:
                tree = search.step(tree, {"model": generate})
            else:
                tree, (trial,) = search.ask_batch(tree, 1, ["model"])
                tree = search.tell(tree, trial.trial_id, generate(trial.parent_state))
        return time.process_time() - began

    return cpu_s


def rows() -> dict[str, tuple[Callable[[int], float], int]]:
    """Name -> what takes so many CPU seconds for a number of nodes, and the most nodes that it is asked for."""
    found = {
        "`best_of_n`: a sample and its score": (ours("best_of_n:verifier=judge"), NODES[-1]),
        "`ab_mcts`": (ours("ab_mcts:posterior=gaussian"), NODES[-1]),
        "`ab_mcts`, narrow trees": (ours("ab_mcts:posterior=gaussian", narrow=True), NODES[-1]),
        "`ab_mcts:posterior=beta`": (ours("ab_mcts:posterior=beta"), NODES[-1]),
        "`ab_mcts:posterior=mixed`": (ours("ab_mcts:posterior=mixed"), NODES[-1]),
    }
    try:
        found["treequest's `ABMCTSA`, `ask_batch` and `tell`"] = treequest_s(copies=False), MOST_TOLD
        found["treequest's `ABMCTSA`, `step`"] = treequest_s(copies=True), MOST_COPIED
    except ImportError:
        print("treequest is not installed: its rows are left out")
    return found


def main() -> None:
    asked = rows()
    taken: dict[tuple[str, int], float] = {}
    for name, (cpu_s, most) in asked.items():
        for nodes in (nodes for nodes in NODES if nodes <= most):
            taken[name, nodes] = cpu_s(nodes)
    columns = [f"{nodes:,} nodes, s" for nodes in NODES]
    lines = [f"| | {' | '.join(columns)} | a node, of the most against 250 |", "|---|" + "---|" * (len(columns) + 1)]
    for name, (_, most) in asked.items():
        seconds = [f"{taken[name, nodes]:.2f}" if nodes <= most else "" for nodes in NODES]
        growth = taken[name, most] / most / (taken[name, NODES[0]] / NODES[0])
        lines.append(f"| {name} | {' | '.join(seconds)} | {growth:.2f} |")
    table = "\n".join(lines)
    print(table)
    text = (
        f"{(__doc__ or '').splitlines()[0]}\n\nCommand: `python benchmarks/core/trees.py`, with treequest 0.3.3; CPU "
        f"seconds of one run. Thompson sampling draws once for each child of a node that it goes through, so that a "
        f"node of a wide tree costs more than one of a narrow tree.\n\n{table}\n"
    )
    Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
