"""The small inputs that `cases.py` runs name modules as they were called when they were written."""

from __future__ import annotations

import re

# By its name then: a module's name now, and that of others for the names that went there.
MOVED: dict[str, tuple[str, dict[str, str]]] = {
    "tts.actions": ("tts.core.actions", {}),
    "tts.advice": ("tts.planning.advice", {}),
    "tts.allocation": ("tts.core.allocation", {"Bid": "tts.core.allocation.allocator"}),
    "tts.allocationchart": ("tts.reports.charts.allocation", {}),
    "tts.answers": (
        "tts.answers.equivalence",
        {"extract": "tts.answers.extract", "normalise": "tts.answers.normalise"},
    ),
    "tts.budget": ("tts.core.budget", {}),
    "tts.clusters.connect": ("tts.clusters.ray.connect", {}),
    "tts.clusters.environment": ("tts.clusters.ray.environment", {}),
    "tts.clusters.placement": ("tts.clusters.ray.action_routing", {}),
    "tts.clusters.simulated": ("tts.clusters.virtual.simulated", {}),
    "tts.conductor": ("tts.core.scheduling.scheduler", {"Planned": "tts.core.scheduling.steps"}),
    "tts.costs": ("tts.models.flops", {"CostModel": "tts.models.cost_model"}),
    "tts.embedded": ("tts.models.embedded", {}),
    "tts.endpoints": ("tts.models.endpoint_pool", {}),
    "tts.graders": ("tts.tasks.graders", {}),
    "tts.journal": (
        "tts.core.journal",
        {
            "Decided": "tts.core.journal.records",
            "Granted": "tts.core.journal.records",
            "History": "tts.core.journal.history",
            "Opened": "tts.core.journal.records",
            "encode": "tts.core.journal.records",
        },
    ),
    "tts.judging": ("tts.toolkit.pairwise", {}),
    "tts.kernel": ("tts.core.trials.coroutines", {}),
    "tts.outcome": ("tts.core.result", {}),
    "tts.partial": ("tts.models.openai.completion_builder", {}),
    "tts.pool": ("tts.pools.pool", {}),
    "tts.poolimport": ("tts.pools.formats.imports", {}),
    "tts.registry": (
        "tts.plugins.names",
        {"verifier": "tts.plugins.verifiers", "verifiers_of": "tts.plugins.dependencies"},
    ),
    "tts.reports": ("tts.reports.sweep", {"Outcome": "tts.runs.outcomes"}),
    "tts.revisions": ("tts.toolkit.revisions", {}),
    "tts.runfolder": ("tts.runs.folder", {}),
    "tts.search": ("tts.core.trials.trial", {}),
    "tts.strategies.best_of_n": ("tts.strategies.selection.best_of_n", {}),
    "tts.strategies.genrm": ("tts.strategies.selection.genrm", {}),
    "tts.strategies.majority_vote": ("tts.strategies.voting.majority_vote", {}),
    "tts.strategies.sequential_revision": ("tts.strategies.revision.sequential_revision", {}),
    "tts.symbolic": ("tts.answers.symbolic", {}),
    "tts.tasks": ("tts.tasks.sources", {"read_examples": "tts.runs.problem_files"}),
    "tts.verifiers.constraint": ("tts.verifiers.rules.constraint", {}),
    "tts.verifiers.genrm": ("tts.verifiers.generative.genrm", {"Judge": "tts.verifiers.generative.judge"}),
    "tts.verifiers.self_certainty": ("tts.verifiers.confidence.self_certainty", {}),
    "tts.wire": (
        "tts.models.wire.failures",
        {"Capabilities": "tts.models.wire.capabilities", "body_of": "tts.models.wire.request"},
    ),
    "tts.workers": ("tts.workers.killable_processes", {}),
}
RENAMED = {  # classes
    "Conductor": "Scheduler",
    "Partial": "CompletionBuilder",
    "Placement": "ActionRouting",
    "Search": "Trial",
}
_OLD = "|".join(sorted(map(re.escape, MOVED), key=len, reverse=True))
_FROM = re.compile(r"from (tts[\w.]*) import ([\w*, ]+)")
_NAME = re.compile(rf"(?<![\w/.])({_OLD})\b(?!/)(?:([.:])(\w+))?")


def renamed(text: str) -> str:
    """The text with today's names."""
    pieces, at = [], 0
    for found in _FROM.finditer(text):
        pieces += [_NAME.sub(_now, text[at : found.start()]), "; ".join(_imports(found[1], found[2]))]
        at = found.end()
    return "".join([*pieces, _NAME.sub(_now, text[at:])])


def _imports(module: str, names: str) -> list[str]:
    """The imports of one statement, a statement for each name that is elsewhere now."""
    found = []
    for name, _, local in (each.strip().partition(" as ") for each in names.split(",")):
        if f"{module}.{name}" in MOVED:  # a module, as a member of its package
            found.append(f"import {MOVED[f'{module}.{name}'][0]} as {local or name}")
        else:
            home, others = MOVED.get(module, (module, {}))
            if name == "*":
                return [f"from {each} import *" for each in sorted({home, *others.values()})]
            new = RENAMED.get(name, name)
            alias = f" as {local or name}" if (local or name) != new else ""
            found.append(f"from {others.get(name, home)} import {new}{alias}")
    return found


def _now(found: re.Match[str]) -> str:
    home, others = MOVED[found[1]]
    return others.get(found[3], home) + (found[2] or "") + (found[3] or "")
