"""A recorded trial told its past again, which gives what a journal does not hold: the prompts, the tree of candidates,
their answers, and who was judged by whom.

No name of the folder is imported: a trial of a strategy, a verifier or a rule for answers that is not of this library
is shown by its journal alone, and so is one that would ask for other things today.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tts.answers.rules import REGEX
from tts.api.judging.session import JudgingSession
from tts.core.actions import SOLVER, Action, Cancel, Work, cell_of
from tts.core.addresses import call_of
from tts.core.allocation.shared_budget import stop_error
from tts.core.journal.records import Stopped, digest
from tts.core.protocols import Strategy, Verifier
from tts.core.result import Result
from tts.core.trials.trial import Trial
from tts.errors import TTSError, UnknownName
from tts.models.cost_model import CostModel, ModelCost
from tts.plugins.names import allocator_of, built_in, strategy
from tts.plugins.spec import parse_specs, split_spec
from tts.plugins.verifiers import verifier
from tts.pools.recorded import RecordedGroup
from tts.runs.config import RunConfig
from tts.runs.foreign_runs import cell_recorded
from tts.runs.plan import own_limits
from tts.types import Problem, StrategySpec
from tts.view.trials.records import TrialRecords

_CODE = re.compile(r":\s*[A-Za-z_]\w*(?!\s*=|\w)|\bfile\s*=")  # FILE.py:NAME, MODULE:NAME; majority_vote:n=3 is none


def names_code(values: Iterable[object]) -> bool:
    """Whether one of these values of a folder names a file or a module, which would be imported or read."""
    return any(_CODE.search(value) for value in values if isinstance(value, str))


@dataclass(frozen=True)
class Retold:
    """What telling a trial its past has given.

    Attributes:
        asked: by id, all actions that the strategy asked for.
        result: of the trial, with its candidates, their parents, and scores.
        unlike: ids of actions that were others in the run, by their digests, so that their prompts are not known.
        recorded: of a run of judges, the candidates that they were asked about.
    """

    asked: Mapping[str, Work]
    result: Result
    unlike: frozenset[str]
    recorded: RecordedGroup | None = None

    def shown_id(self, trial: str, id: str) -> str:
        """The id by which a candidate is shown: a recorded one has its number in the pool."""
        at = int(id) if self.recorded is not None and id.isdecimal() else -1
        return id if self.recorded is None or at < 0 else f"{trial}/sample {self.recorded.samples[at]}"


def retold(
    records: TrialRecords,
    spec: StrategySpec | None,
    problem: Problem,
    config: RunConfig,
    recorded: RecordedGroup | None = None,
) -> Retold | str:
    """Tell a trial its past again; a sentence where that cannot be done. `spec`: the strategy, if it is known;
    `recorded`: the candidates of a trial of judges."""
    if spec is None or records.opened is None:
        return "nothing says yet which strategy this trial is of: prompts and parents are not shown"
    if problem.answer_rule is not None and not problem.answer_rule.startswith(REGEX):
        return "answers are found by a function of the user's own, which is not imported: prompts are not shown"
    known = recorded is not None or spec.name in built_in("strategies")
    if not known or names_code(spec.params.values()):
        return f"{spec.name} is not of this library alone, and nothing is imported: prompts and parents are not shown"
    try:
        named = _named(spec.name) if recorded is None else JudgingSession([recorded]).strategy
        return replace(_told(_trial(records, named, spec, problem, config), records), recorded=recorded)
    except _Differs as error:
        return str(error)
    except (TTSError, ValueError, TypeError, KeyError) as error:
        return f"the trial cannot be told its past again ({error}): prompts and parents are not shown"


class _Differs(Exception):
    """The trial asks for other actions than the journal has."""


def _trial(records: TrialRecords, named: Strategy, spec: StrategySpec, problem: Problem, config: RunConfig) -> Trial:
    cell = cell_recorded(cell_of(records.id), spec)
    count = max(1, len(config.each_digest))
    shared = None if cell.allocator is None else allocator_of(cell.allocator)
    roles = {SOLVER: config.sampled(), **{name: config.sampling_of(name) for name in config.models}}
    if config.verifier_model is not None:
        roles.setdefault(config.verifier_model, config.sampled())
    known = {name: ModelCost(context_tokens=tokens) for name, tokens in config.contexts.items()}
    return Trial(
        records.id,
        problem,
        named,
        spec,
        costs=CostModel(known, SOLVER),
        share=cell.share if shared is None else own_limits(cell.share.times(count), count),
        verifiers=_BuiltIn(config.asked_by_verifiers),
        sampling=config.sampled(),
        models={name: sampling for name, sampling in roles.items() if sampling is not None},
        seed=cell.seed,
        seeded=f"{cell.id}/{problem.id}",
        max_in_flight=None if shared is None else shared.max_in_flight,
        resolve=_named,
        unsafe_execute=True,  # nothing is executed: programs are only asked for
    )


def _told(trial: Trial, records: TrialRecords) -> Retold:
    asked: dict[str, Work] = {}

    def note(actions: Iterable[Action]) -> None:
        asked.update((action.id, action) for action in actions if not isinstance(action, Cancel))

    assert records.opened is not None
    note(trial.start(records.opened.at_s))
    for event in records.events:
        if isinstance(event, Stopped):
            note(trial.stop_sampling(stop_error(event.trial, event.reason, event.samples)))
            continue
        if event.id not in asked:
            raise _Differs(
                f"the strategy asks for other things today than the journal has ({event.id}): prompts and parents are "
                f"not shown"
            )
        note(trial.tell(event))
    grants = ((id, action.granted) for id, action in records.actions.items())
    unlike = frozenset(id for id, grant in grants if grant and id in asked and digest(asked[id]) != grant.digest)
    return Retold(asked, trial.result, unlike)


def _named(text: str) -> Strategy:
    """The strategy of this library that a text names, with its parameters. Raises: UnknownName."""
    name, values = split_spec(text, "strategy")
    if name not in built_in("strategies") or names_code([text]):
        raise UnknownName(f"{name} is not of this library, and is not imported", name=name)
    if not values:
        return strategy(name)
    (spec,) = parse_specs(text)
    return partial(strategy(name), **spec.params)


class _BuiltIn(dict[str, Verifier]):
    """This library's verifiers, by the texts that name them."""

    def __init__(self, model: str | None) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, name: str) -> Verifier:
        named: Any = call_of(name)[0]
        if named not in built_in("verifiers") or names_code([name]):
            raise UnknownName(f"the verifier {name} is not of this library, and is not imported", name=name)
        found = self[name] = verifier(name, self._model)
        return found
