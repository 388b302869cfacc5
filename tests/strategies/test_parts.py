"""Strategies as parts of another: whose problem they solve, whose candidates come of it, and what their chains draw."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts import Candidate, Problem, Run
from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.budget import Limits
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import InvalidParameter
from tts.models.cost_model import CostModel
from tts.plugins.names import built_in, strategy
from tts.testing import Sample, ScriptedCluster
from tts.testing.worlds import NoisyWorld
from tts.types import LogprobSummary, Message, StrategySpec

WHOLE = Problem("whole", "How many?", system="Count.")
PART = Problem("part", "Which letter?", system="Choose.", answer_format="letter")
LINES = "The answer is 7\nB"  # "7" to one who looks for any answer, "B" to one who looks for a letter


def part_of(name: str, part: Problem, **params):
    """A strategy that solves the whole itself, and a part by the strategy with that name."""

    async def outer(problem: Problem, run: Run) -> Candidate:
        (own,) = await run.generate()
        await strategy(name)(part, run, **params)
        return own

    return outer


SMALL = {
    "sequential_revision": {"chains": 2, "rounds": 2, "verifier": "judge"},
    "compute_optimal": {"policy": "sequential_revision/2x2", "pilot": 2, "verifier": "judge"},
    "genrm": {"n": 2},
    "best_of_n": {"n": 2, "verifier": "judge"},
    "first_finish": {"n": 2},
    "majority_vote": {"n": 2, "stop_at": 0.99},
    "esc": {"n": 2, "window": 2},
    "single": {},
    "confident_vote": {"n": 2},
    "length_rejection": {"n": 2},
    "no_thinking": {"n": 2, "verifier": "judge"},
    "budget_forcing": {},
    "dynasor": {},
    "es_cot": {},
    "trimr": {},
    "deepconf": {"n": 2, "warmup": 2},
    "beam_search": {"n": 2, "m": 2, "verifier": "judge"},
    "dvts": {"n": 2, "m": 2, "verifier": "judge"},
    "rebase": {"n": 2, "verifier": "judge"},
    "best_first": {"n": 2, "verifier": "judge"},
    "speculative_rejection": {"n": 2, "verifier": "judge"},
    "mcts": {"n": 2, "verifier": "judge"},
    "ab_mcts": {"n": 2, "verifier": "judge"},
    "particle_filter": {"n": 2, "verifier": "judge"},
    "best_of_majority": {"n": 2, "verifier": "judge"},
    "pessimistic": {"n": 2, "verifier": "judge"},
    "pandora": {"n": 2, "verifier": "judge"},
    "weaver": {"n": 2, "verifiers": "judge+genrm"},
    "cascade": {"n": 2, "verifiers": "judge+genrm"},
    "trust_or_escalate": {"n": 2, "verifier": "judge", "strong_verifier": "genrm"},
    "sample_scrutinize_scale": {"n": 2, "verifier": "judge", "tie_verifier": "genrm"},
    "usc": {"n": 2},
    "genselect": {"n": 2},
    **{name: {"n": 2, "verifier": "judge"} for name in ("knockout", "swiss", "pivot", "bradley_terry")},
}


@pytest.mark.parametrize("name", built_in("strategies"))
def test_a_strategy_that_is_called_on_another_problem_samples_verifies_and_reads_that_one(name):
    said = Sample(text=LINES, logprobs=LogprobSummary(-0.1, -0.2, 0.5, confidence=9.0, lowest_group=9.0))
    cluster = ScriptedCluster(lambda request, number: said, verification_tokens=4)

    async def outer(problem: Problem, run: Run, *, one: str = "judge", other: str = "genrm") -> Candidate:
        return await part_of(name, PART, **SMALL[name])(problem, run)  # the scripted cluster has what parameters name

    outcome = cluster.run(outer, WHOLE)
    assert outcome.result.error is None
    own, *parts = outcome.generated
    assert own.request.messages == WHOLE.messages
    assert parts
    for asked in parts:
        system, user = asked.request.messages
        assert system == Message("system", "Choose.") and "Which letter?" in user.content
        assert "How many?" not in user.content
    assert all(action.problem == PART for action in outcome.verified)
    first, *others = outcome.result.candidates
    assert first.answer == "7" and {candidate.answer for candidate in others} - {None} == {"B"}  # a thought has none


@given(st.text(min_size=1), st.none() | st.text(min_size=1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_sample_of_a_part_is_one_of_the_whole(prompt, system, same_id):
    part = Problem("whole" if same_id else "part", prompt, system)
    outcome = ScriptedCluster(lambda request, number: str(number)).run(part_of("majority_vote", part, n=3), WHOLE)
    assert [action.request.messages for action in outcome.generated] == [WHOLE.messages] + [part.messages] * 3
    assert len({action.share for action in outcome.generated}) == 4
    assert len({action.request.seed for action in outcome.generated}) == 4


def test_a_candidate_that_is_judged_for_two_problems_is_judged_twice():
    async def both(problem: Problem, run: Run, *, verifier: str = "judge") -> Candidate:
        found = await run.generate()
        await run.verify(found, verifier)
        await run.on(PART).verify(found, verifier)
        return found[0]

    asked = ScriptedCluster(["7"], verification_tokens=4).run(both, WHOLE).verified
    assert [action.problem for action in asked] == [WHOLE, PART]
    assert asked[0].share != asked[1].share


def test_what_a_run_falls_back_on_is_never_an_answer_to_one_of_its_parts():
    async def ends_early(problem: Problem, run: Run) -> Candidate:
        await strategy("majority_vote")(PART, run, n=2)
        assert [c.answer for c in run.on(PART).candidates] == ["B", "B"] and run.candidates == []
        own = await run.generate()
        assert run.candidates == own
        await strategy("majority_vote")(Problem("whole", "How many, in other words?"), run, n=1)
        assert len(run.candidates) == 2  # another wording is the same problem
        return (await run.generate(n=9))[0]

    for samples, answer in ((2, None), (3, "7"), (4, "7")):
        outcome = ScriptedCluster(lambda request, number: LINES, budget=Limits(samples=samples)).run(ends_early, WHOLE)
        assert (outcome.result.exhausted, outcome.result.answer) == (True, answer)


def test_a_part_s_selector_does_not_replace_that_of_the_whole():
    def last(candidates, scores):
        return candidates[-1] if candidates else None

    async def outer(problem: Problem, run: Run) -> Candidate:
        run.fallback = last
        await strategy("majority_vote")(PART, run, n=1)
        assert run.fallback is last and run.on(PART).on(problem).fallback is last
        await run.generate(n=3)
        return (await run.generate(n=2))[0]

    outcome = ScriptedCluster(["x", "1", "1", "2"], budget=Limits(samples=4)).run(outer, WHOLE)
    assert outcome.result.answer == "2"


def test_a_prompt_of_text_carries_a_system_turn_only_if_it_is_given_one():
    async def judge(problem: Problem, run: Run) -> Candidate:
        await run.generate("Is 4 right?")
        await run.generate("Is 4 right?", system="Be brief.")
        async with run.finishing("Is 4 right?", system=run.problem.system) as finished:
            await anext(finished)
        return (await run.generate())[0]

    asked = [a.request.messages for a in ScriptedCluster(["a", "b", "c", "d"]).run(judge, WHOLE).generated]
    question = Message("user", "Is 4 right?")
    assert asked == [
        (question,),
        (Message("system", "Be brief."), question),
        (Message("system", "Count."), question),
        WHOLE.messages,
    ]


@pytest.mark.parametrize("prompt", [None, (Message("user", "Is 4 right?"),)])
def test_a_system_turn_beside_messages_is_refused(prompt):
    async def doubled(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(prompt, system="Be brief."))[0]

    error = ScriptedCluster([]).run(doubled, WHOLE).result.error
    assert error.type == InvalidParameter.__name__ and "system is for a prompt that is text" in error.message


# --- chance


def drawn(seed: int, pace: int, draw: str) -> list:
    """What three chains with three chains of their own draw, one after the other, and what is drawn after them."""
    found = []

    async def chains(problem: Problem, run: Run) -> Candidate:
        kept = run.random  # one object, whoever uses it

        async def inner():
            await run.generate()
            return getattr(kept, draw)(0.0, 1.0)

        async def one():
            await run.generate()
            first = getattr(run.random, draw)(0.0, 1.0)
            inside = await run.gather(inner(), inner())
            return [first, *inside, kept.randrange(10**6), kept.sample(range(100), 3)]

        found.extend(await run.gather(one(), one(), one()))
        found.append(kept.random())
        return run.candidates[0]

    plan = [Planned("c", WHOLE, StrategySpec("chains"), seed=seed)]
    SimulatedCluster(NoisyWorld(0, pace)).run(Scheduler(plan, lambda _: chains, costs=CostModel()))
    return found


@pytest.mark.parametrize("draw", ["uniform", "gauss", "normalvariate"])
def test_what_a_chain_draws_does_not_depend_on_which_chain_was_faster(draw):
    first = drawn(0, 0, draw)
    assert all(drawn(0, pace, draw) == first for pace in range(1, 8))
    assert len({str(chain) for chain in first}) == 4
    assert drawn(1, 0, draw) != first
