"""Any strategy inside any other, with limits: nothing crashes, no limit is broken, what was paid for is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts import Candidate, Limits, Problem, Run
from tts.plugins.dependencies import verifiers_of
from tts.plugins.names import built_in
from tts.plugins.spec import parse_specs
from tts.testing import NoisyWorld, StrategyContract

SMALL = {
    "sequential_revision": "sequential_revision:chains=2,rounds=2,verifier=judge",
    "compute_optimal": "compute_optimal:policy=sequential_revision/2x2,pilot=2,verifier=judge",
    "genrm": "genrm:n=2",
    "best_of_n": "best_of_n:n=3,verifier=judge",
    "first_finish": "first_finish:n=3,k=2",
    "majority_vote": "majority_vote:n=5,stop_at=0.9",
    "esc": "esc:n=4,window=2",
    "single": "single",
    "budget_forcing": "budget_forcing:think=40,answer=16",
    "no_thinking": "no_thinking:n=3",
    "length_rejection": "length_rejection:n=3,most=30",
    "dynasor": "dynasor:every=8,agree=2,probe=6,think=40,answer=16",
    "es_cot": "es_cot:jump=1,every=8,probe=6,think=40,answer=16",
    "trimr": "trimr:every=8,think=40,answer=16",
    "deepconf": "deepconf:n=5,warmup=2,window=8",
    "confident_vote": "confident_vote:n=3",
    "ab_mcts": "ab_mcts:n=4,workers=2",
    "mcts": "mcts:n=2,m=2,depth=3",
    "particle_filter": "particle_filter:n=4,size=2,depth=3",
    "beam_search": "beam_search:n=4,m=2,depth=3",
    "dvts": "dvts:n=4,m=2,depth=3,verifier=judge",
    "rebase": "rebase:n=3,depth=3",
    "best_first": "best_first:n=5,m=2,depth=3",
    "speculative_rejection": "speculative_rejection:n=4,checkpoint=16,verifier=judge",
    "best_of_majority": "best_of_majority:n=3,verifier=judge",
    "pessimistic": "pessimistic:n=3,verifier=judge",
    "pandora": "pandora:n=5,verifier=judge",
    "weaver": "weaver:n=3",
    "cascade": "cascade:n=4,trust=blind",
    "trust_or_escalate": "trust_or_escalate:n=3,verdicts=2",
    "sample_scrutinize_scale": "sample_scrutinize_scale:n=3,verifications=1,trust=blind",
    "usc": "usc:n=3",
    "knockout": "knockout:n=4",
    "swiss": "swiss:n=4,rounds=2,trust=blind",
    "pivot": "pivot:n=3,trust=blind",
    "bradley_terry": "bradley_terry:n=3,trust=blind",
    "genselect": "genselect:n=4,window=2",
}
OTHER = Problem("other", "What is 3 + 3?")
VERIFIERS = verifiers_of([spec for text in SMALL.values() for spec in parse_specs(text)])
Strategy = Callable[[Problem, Run], Awaitable[Candidate]]


def test_every_strategy_of_the_library_takes_part() -> None:
    assert SMALL.keys() == built_in("strategies").keys()


class Part:
    """One part of a composed strategy: a strategy of the library, or what is composed of parts itself."""

    def __init__(self, strategy: str | Strategy, limits: str, elsewhere: bool, shown: str) -> None:
        self.strategy = strategy
        self.limits = limits
        self.problem = OTHER if elsewhere else None
        self.shown = f"{shown}{f' within {limits}' if limits else ''}{' of another problem' if elsewhere else ''}"

    async def solved(self, run: Run) -> Candidate:
        return await run.solve(self.strategy, self.problem, limits=self.limits)

    def __repr__(self) -> str:
        return self.shown


def composed(how: str, parts: list[Part]) -> Strategy:
    """A strategy whose parts run one after the other, side by side, or in a race of which the first one counts."""

    async def compose(problem: Problem, run: Run) -> Candidate:
        found: list[Candidate] = []
        if how == "gather":
            found = await run.gather(*(part.solved(run) for part in parts))
        elif how == "race":
            async with run.race(*(part.solved(run) for part in parts)) as done:
                found.append(await anext(done))
        else:
            found = [await part.solved(run) for part in parts]
        own = await run.generate()  # the parts may all have been of another problem
        return run.pick(own + [candidate for candidate in found if candidate.id in run.scores])

    return compose


@st.composite
def composition(draw: st.DrawFn, depth: int = 2) -> Part:
    limits = draw(st.sampled_from(["", "samples=1", "samples=3", "tokens=100", "tokens=300,samples=4", "seconds=3"]))
    elsewhere = draw(st.booleans())
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(SMALL.values())))
        return Part(name, limits, elsewhere, name)
    how = draw(st.sampled_from(["then", "gather", "race"]))
    parts = draw(st.lists(composition(depth=depth - 1), min_size=2, max_size=3))
    return Part(composed(how, parts), limits, elsewhere, f"({f' {how} '.join(map(repr, parts))})")


def tried(part: Part, limits: Limits, failures: float, key: int) -> None:
    async def whole(problem: Problem, run: Run) -> Candidate:
        return await part.solved(run) if part.problem is None else await composed("then", [part])(problem, run)

    members: dict[str, Any] = {"strategy": staticmethod(whole), "verifiers": VERIFIERS}
    contract = type("Contract", (StrategyContract,), members)()
    driven = contract._drive(NoisyWorld(key, failures=failures), limits)  # looks at every ledger after every step
    result = driven.trial.result
    contract._check_sound(result, f"{part!r} under {limits}", driven.trial.failed_at)
    contract._check_bill(result, limits)
    paid = [candidate for candidate in result.candidates if driven.trial.candidate(candidate.id) is not None]
    assert result.selected is not None or not paid
    assert driven.trial.leaked == []


BUDGETS = st.builds(Limits, samples=st.none() | st.integers(1, 12)) | st.builds(Limits, tokens=st.integers(1, 1500))
EXAMPLES = {
    "part": composition(),
    "limits": BUDGETS,
    "failures": st.sampled_from([0.0, 0.3, 1.0]),
    "key": st.integers(0, 9),
}


@given(**EXAMPLES)
@settings(max_examples=60)
def test_strategies_inside_strategies_keep_every_limit_and_answer(**example: Any) -> None:
    tried(**example)


@pytest.mark.system
@given(**EXAMPLES)
@settings(max_examples=600)
def test_many_strategies_inside_strategies_keep_every_limit_and_answer(**example: Any) -> None:
    tried(**example)
