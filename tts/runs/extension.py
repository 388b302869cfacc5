"""Additions to the run of a folder: cells and problems, of which only the new ones are paid for.

A folder holds the union of all commands that were given for it. The settings on which a sample depends (model,
sampling, prompts, verifiers, plugins) are the same for all commands, and so are the budgets of existing trials:
repeating a decided trial today would end the same way. A command names all problems of the folder, and may leave out
decided cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

from tts.core.actions import cell_of
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.errors import RunMismatch
from tts.plugins.names import EQUAL
from tts.runs.config import RunConfig
from tts.runs.foreign_runs import cells_asked_for
from tts.runs.plan import cells_of

_MAY_GROW = frozenset({
    "strategies", "budgets", "allocators", "seeds", "run_budget", "plugins",
    "problems", "problems_digest", "problem_digests", "references_digest",
})  # fmt: skip


def together(configs: Sequence[Mapping[str, Any]]) -> RunConfig:
    """The latest configuration, with every strategy, budget, allocator, seed and plugin of all. It may have more cells
    than they have: `tts.runs.foreign_runs` has those that were asked for."""
    known = [RunConfig.read(config) for config in configs]
    lists = {
        name: tuple(dict.fromkeys(value for config in known for value in getattr(config, name)))
        for name in ("strategies", "budgets", "seeds")
    }
    allocators = tuple(dict.fromkeys(text for config in known for text in config.allocators or (EQUAL,)))
    plugins = {file: digest for config in known for file, digest in config.plugins.items()}
    more = {"allocators": None if allocators == (EQUAL,) else allocators, "plugins": plugins}
    return known[-1].model_copy(update={**lists, **more})


def extension(history: History, config: RunConfig) -> str:
    """Describe a command's additions to the run of a journal, in words; "" for none.

    Raises: RunMismatch, with the settings that differ and are no additions.
    """
    if history.config is None:
        return ""
    before = RunConfig.read(history.config)
    history.check(_without_more_logprobs(history, before, config).model_dump(mode="json"), free=_MAY_GROW)
    _check_plugins(history, config)
    problems, more = _problems_added(before, config, history.where)
    _check_run_budget(before, config, history)
    _check_shares(history, before, config, problems, problems + more)
    _check_under_way(history, {cell.id for cell in cells_of(config, problems + more)})
    old = {cell for known in history.configs for cell in cells_asked_for(RunConfig.read(known))}
    added = len(cells_asked_for(config) - old)
    parts = [_count(n, noun) for n, noun in ((added, "cell"), (more, "problem")) if n]
    run = f"a run of {_count(len(old), 'cell')} on {_count(problems, 'problem')}"
    return f"adds {' and '.join(parts)} to {run}" if parts else ""


def _without_more_logprobs(history: History, before: RunConfig, config: RunConfig) -> RunConfig:
    """The configuration with the log-probabilities that the folder's samples have: a further verifier may read more of
    its own samples, but none of a trial that is under way."""
    old, new = before.sampled().top_logprobs, config.sampled().top_logprobs
    if new <= old:
        return config
    if history.opened:
        waiting = ", ".join(dict.fromkeys(cell_of(trial).rpartition("#")[0] for trial in history.opened))
        raise RunMismatch(
            f"a verifier of this command reads {new} log-probabilities a token, and trials of {waiting} are under way "
            f"in {history.where} with {old}: repeat the command that began them to its end first, or choose another "
            f"--out",
            differing=["sampling.top_logprobs"],
        )

    def as_before(sampling: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in sampling.items() if name != "top_logprobs"}
        return rest | {name: value for name, value in earlier.items() if name == "top_logprobs"}

    models = {
        name: {**model, "sampling": as_before(model["sampling"], before.models.get(name, model)["sampling"])}
        for name, model in config.models.items()
    }
    return config.model_copy(update={"sampling": as_before(config.sampling, before.sampling), "models": models})


def _check_plugins(history: History, config: RunConfig) -> None:
    known = {file: digest for before in history.configs for file, digest in before.get("plugins", {}).items()}
    changed = [file for file, digest in config.plugins.items() if known.get(file, digest) != digest]
    if changed:
        raise RunMismatch(
            f"{history.where} holds a run with another configuration ({', '.join(changed)} changed since it began); "
            f"choose another --out, or take the change back",
            differing=[f"plugins.{file}" for file in changed],
        )


def _problems_added(before: RunConfig, config: RunConfig, where: str) -> tuple[int, int]:
    """The number of problems before, and of new ones."""
    old, new = before.each_digest, config.each_digest
    if before.problems_digest == config.problems_digest:
        return len(new), 0
    missing = (Counter(old) - Counter(new)).total()
    if missing or not old:
        known = f"{missing} of its {_count(len(old), 'problem')}" if old else "the problems of an older program's run"
        raise RunMismatch(
            f"{where} holds a run on other problems: {known} were changed or left out; give them as they were, with "
            f"others added, or choose another --out",
            differing=["problems"],
        )
    return len(old), len(new) - len(old)


def _check_shares(history: History, before: RunConfig, config: RunConfig, problems: int, in_all: int) -> None:
    """Refuse an addition that would change the budget of existing trials: equal parts of the run's budget, or a budget
    that an allocator divides. Other budgets are part of a cell's id, and cannot change."""
    parts = bool(before.run_budget) and not any(before.budgets)
    divided = len(cells_asked_for(before)) * problems != len(cells_asked_for(config)) * in_all
    if parts and divided and any("@" in cell or " by " in cell for cell in history.cells):
        raise RunMismatch(
            f"each trial of the folder has an equal part of the run's budget of {before.run_budget}, which would be "
            f"another with other cells or problems: give budgets for each problem, or choose another --out",
            differing=["run_budget"],
        )
    shared = [cell for cell in cells_of(config, in_all) if cell.allocator and cell.id in history.cells]
    if shared and in_all > problems:
        raise RunMismatch(
            f"the problems of {shared[0].label} share a budget, which would be {shared[0].shared} for {in_all} instead "
            f"of {problems} of them: no problem can be added where an allocator decides; choose another --out",
            differing=["problems"],
        )


def _check_under_way(history: History, cells: Container[str]) -> None:
    waiting = dict.fromkeys(cell_of(trial) for trial in history.opened)
    left_out = [cell.rpartition("#")[0] for cell in waiting if cell not in cells]
    if left_out:
        raise RunMismatch(
            f"this command leaves out {', '.join(left_out)}, of which trials are under way: name it too, or repeat "
            f"the command that began them first",
            differing=["strategies"],
        )


def _check_run_budget(before: RunConfig, config: RunConfig, history: History) -> None:
    old, new = before.run_limits(), config.run_limits()
    if old == new:
        return
    shown = f"the run's budget was {before.run_budget or 'none'}, and would be {config.run_budget or 'none'}"
    if old.seconds != new.seconds or any(_less(getattr(new, n), getattr(old, n)) for n in Limits.__struct_fields__):
        raise RunMismatch(
            f"{shown}: in one folder it can only grow, and its seconds not at all", differing=["run_budget"]
        )
    if history.cut:
        raise RunMismatch(
            f"{shown}: the smaller one has cut trials short that would now come out otherwise; choose another --out",
            differing=["run_budget"],
        )


def _less(limit: float | None, other: float | None) -> bool:
    """Whether a limit is less than another; None is no limit."""
    return limit is not None and (other is None or limit < other)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
