"""The small inputs that `cases.py` runs name modules as they were called when they were written."""

import re

MOVED = {
    "tts.actions": "tts.core.actions",
    "tts.advice": "tts.planning.advice",
    "tts.allocation": "tts.core.allocation.allocator",
    "tts.allocationchart": "tts.report.charts.allocation",
    "tts.answers": "tts.answers.equivalence",
    "tts.budget": "tts.core.budget",
    "tts.cli": "tts.cli.main",
    "tts.clusters.cluster": "tts.clusters.base",
    "tts.clusters.connect": "tts.clusters.ray.connect",
    "tts.clusters.environment": "tts.clusters.ray.environment",
    "tts.clusters.placement": "tts.clusters.ray.placement",
    "tts.clusters.ray": "tts.clusters.ray.cluster",
    "tts.clusters.recorded": "tts.clusters.virtual.recorded",
    "tts.clusters.simulated": "tts.clusters.virtual.simulated",
    "tts.clusters.vllm": "tts.clusters.engines.vllm",
    "tts.conductor": "tts.core.scheduling.scheduler",
    "tts.costs": "tts.models.cost_model",
    "tts.embedded": "tts.models.embedded",
    "tts.endpoints": "tts.models.endpoint_pool",
    "tts.graders": "tts.tasks.graders",
    "tts.journal": "tts.core.journal.records",
    "tts.judging": "tts.toolkit.pairwise",
    "tts.kernel": "tts.core.coroutines",
    "tts.outcome": "tts.core.result",
    "tts.partial": "tts.models.openai.completion_builder",
    "tts.pool": "tts.pools.pool",
    "tts.poolimport": "tts.pools.formats.imports",
    "tts.registry": "tts.plugins.registry",
    "tts.report": "tts.report.sweep",
    "tts.revisions": "tts.toolkit.revisions",
    "tts.run": "tts.core.context",
    "tts.runfolder": "tts.runs.folder",
    "tts.search": "tts.core.trial",
    "tts.strategies.best_of_n": "tts.strategies.selection.best_of_n",
    "tts.strategies.genrm": "tts.strategies.selection.genrm",
    "tts.strategies.majority_vote": "tts.strategies.voting.majority_vote",
    "tts.strategies.sequential_revision": "tts.strategies.revision.sequential_revision",
    "tts.symbolic": "tts.answers.symbolic",
    "tts.tasks": "tts.tasks.sources",
    "tts.verifiers.constraint": "tts.verifiers.rules.constraint",
    "tts.verifiers.genrm": "tts.verifiers.generative.genrm",
    "tts.verifiers.self_certainty": "tts.verifiers.confidence.self_certainty",
    "tts.wire": "tts.models.wire.request",
    "tts.workers": "tts.workers.pool",
}
HOMES = {"tts.journal": {"History": "tts.core.journal.history"}}  # of names that have left the others of their module
_NAMES = re.compile(r"(?<![\w/.])(" + "|".join(sorted(map(re.escape, MOVED), key=len, reverse=True)) + r")\b(?!/)")
_MEMBERS = re.compile(r"^([ \t]*)from (tts(?:\.\w+)?) import (\w+)(?: as (\w+))?$", re.M)
_IMPORTS = re.compile(r"^([ \t]*)from (" + "|".join(map(re.escape, HOMES)) + r") import (\*|\w+(?:, \w+)*)", re.M)


def renamed(text: str) -> str:
    """The text with today's names."""
    return _NAMES.sub(lambda found: MOVED[found[1]], _MEMBERS.sub(_member, _IMPORTS.sub(_import, text)))


def _member(found: re.Match[str]) -> str:
    """`from tts import api` names a module as a member of its package."""
    indent, package, name, local = found.groups()
    moved = MOVED.get(f"{package}.{name}")
    return found[0] if moved is None else f"{indent}import {moved} as {local or name}"


def _import(found: re.Match[str]) -> str:
    """`from tts.journal import encode, History` takes its names from two modules."""
    indent, module, names = found.groups()
    homes = {name: HOMES[module].get(name, module) for name in names.split(", ")}
    modules = [module, *HOMES[module].values()] if names == "*" else [*dict.fromkeys(homes.values())]
    taken = {home: ", ".join(name for name in homes if names == "*" or homes[name] == home) for home in modules}
    return indent + "; ".join(f"from {home} import {taken[home]}" for home in modules)
