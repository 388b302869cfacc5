"""Run folders as data: no name in the journal is imported, because the folder may come from another person.

So the cells of a run are read back from its decided trials, not from the parameters of its strategies, and of its
verifiers only the built-in ones are made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import product

from tts.core.actions import cell_of
from tts.core.addresses import call_of, canonical, split_joined
from tts.core.budget import Limits
from tts.core.journal.history import History
from tts.core.protocols import Verifier
from tts.errors import JournalCorrupt, UsageError
from tts.plugins.names import EQUAL, built_in, strategy
from tts.plugins.signatures import parameters, says_verifier, says_verifiers
from tts.plugins.spec import split_spec
from tts.plugins.verifier_texts import normal_text
from tts.plugins.verifiers import verifier
from tts.runs.config import RunConfig
from tts.runs.plan import Cell
from tts.types import StrategySpec


def cells_of_journal(history: History) -> list[Cell]:
    """The cells of which a trial was decided, in the order of the plan. Raises: JournalCorrupt."""
    specs = {cell_of(d.trial): d.strategy for d in history.decided.values()}
    return [cell_recorded(id, specs[id]) for id in history.cells if id in specs]


def seed_of(cell: str) -> int:
    """The seed in a cell's id. Raises: JournalCorrupt."""
    try:
        return int(cell.rpartition("#")[2])
    except ValueError:
        raise _odd(cell) from None


def cells_asked_for(config: RunConfig) -> set[tuple[str | int, ...]]:
    """The strategy, budget, allocator and seed of every cell of a configuration."""
    specs = {spec for text in config.strategies for spec in _written(text, "strategy")}
    allocators = {spec for text in config.allocators or (EQUAL,) for spec in _written(text, "allocator")}
    return {*product(specs, config.budgets, allocators, config.seeds)}


def searches_asked_for(configs: Iterable[RunConfig], problems: int) -> int:
    """The number of trials that the commands for a folder have asked for, later ones on no fewer problems than earlier
    ones. `problems`: their number now."""
    most: dict[tuple[str | int, ...], int] = {}
    for config in configs:
        most |= dict.fromkeys(cells_asked_for(config), len(config.each_digest) or problems)
    return sum(most.values())


def verifiers_named(config: RunConfig) -> list[str]:
    """Names of the verifiers of a run's strategies: in the configuration, and as defaults of the built-in ones."""
    found: dict[str, None] = {}
    for text in config.strategies:
        name, values = split_spec(text, "strategy")
        if name in built_in("strategies"):
            defaults = {p.name: [p.default] for p in parameters(strategy(name)) if _says(p.name)}
            values = {key: values.get(key, default) for key, default in defaults.items()}
        else:
            values = {key: options for key, options in values.items() if _says(key)}
        found |= dict.fromkeys(
            part
            for key, options in values.items()
            for option in options
            for part in (split_joined(option) if says_verifiers(key) and option else [option])
            if part
        )
    return [canonical(name) for name in found if str(name).lower() != "none"]


def verifiers_made(config: RunConfig, trusted: Collection[str] = ()) -> tuple[dict[str, Verifier], list[str]]:
    """The built-in verifiers of a run and those that the caller gave; and the names of the others."""
    named, trusted = verifiers_named(config), {*map(normal_text, trusted)}
    known = {
        name: verifier(name, config.asked_by_verifiers)
        for name in named
        if call_of(name)[0] in built_in("verifiers") or name in trusted
    }
    return known, [name for name in named if name not in known]


def cell_recorded(id: str, spec: StrategySpec) -> Cell:
    """The cell with that id: `STRATEGY@BUDGET by ALLOCATOR#SEED`, slashes written as bars. Raises: JournalCorrupt."""
    label, start = id.rpartition("#")[0], str(spec).replace("/", "|")
    share, by, allocator = label.removeprefix(start).partition(" by ")
    by_whom = StrategySpec(allocator.replace("|", "/")) if by else None
    try:
        cell = Cell(spec, Limits.parse(share.removeprefix("@").replace("|", "/")), seed_of(id), by_whom)
    except UsageError:
        raise _odd(id) from None
    if cell.id != id:
        raise _odd(id)
    return cell


def _written(text: str, kind: str) -> Iterator[str]:
    name, values = split_spec(text, kind)
    values = {key: [*map(canonical, options)] if _says(key) else options for key, options in values.items()}
    for options in product(*values.values()):
        yield str(StrategySpec(name, dict(zip(values, options, strict=True))))


def _says(parameter: str) -> bool:
    return says_verifier(parameter) or says_verifiers(parameter)


def _odd(cell: str) -> JournalCorrupt:
    return JournalCorrupt(f"the journal decides trials of {cell!r:.200}, which is no cell of a run", cell=cell)
