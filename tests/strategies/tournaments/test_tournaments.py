"""Tournaments: their contracts, and one rule for ties, missing verdicts and budgets that end."""

import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from trees import Brief

from tts.clusters.virtual.simulated import SimulatedCluster
from tts.core.actions import Request
from tts.core.budget import Limits
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.plugins.names import strategy
from tts.plugins.verifiers import made, verifier
from tts.testing import Sample, ScriptedCluster
from tts.testing.cluster import Outcome
from tts.testing.worlds import answer_or_verdict
from tts.toolkit.rankings.trust import LEAST
from tts.types import Candidate, Completion, Problem, StrategySpec, Usage

JUDGE = "pairwise"
ALL = ("knockout", "swiss", "pivot", "bradley_terry")


class Meeting(Brief):
    params: ClassVar[Mapping[str, Any]] = {"trust": "blind"}

    def text(self, request: Request, draw: random.Random) -> str:
        """Verdicts depend on the two solutions alone: a request's seed is of its place among all requests, which the
        number of samples asked for moves."""
        prompt = request.messages[-1].content
        if "[[C]] for a tie" not in prompt:
            return answer_or_verdict(request, draw)
        return random.Random(prompt).choice(("Both are fine. [[C]]", "[[A]]", "The second. [[B]]", "I cannot tell."))


class TestKnockout(Meeting):
    strategy = "knockout:n=4"


class TestKnockoutOfOpenN(Meeting):
    strategy = "knockout:n=none"
    budget = Limits(samples=14)


class TestKnockoutThatEarnsTrust(Meeting):
    strategy = "knockout:n=4"
    params: ClassVar[Mapping[str, Any]] = {}


class TestSwiss(Meeting):
    strategy = "swiss:n=4,rounds=2"


class TestPivot(Meeting):
    strategy = "pivot:n=4"


class TestBradleyTerry(Meeting):
    strategy = "bradley_terry:n=4,games=2"


def prefers_the_greater(problem: Problem, candidate: Candidate) -> float | None:
    """A judge whose verdict is the number that is answered; of words it knows nothing."""
    return float(candidate.answer) if candidate.answer and candidate.answer.isdecimal() else None


def says_nothing(problem: Problem, candidate: Candidate) -> None:
    return None


def ran(
    spec: str, answers: list[str | None] | list[Sample], judge: Any = prefers_the_greater, **params: Any
) -> Outcome:
    budget = params.pop("budget", Limits())
    samples = [a if isinstance(a, Sample) else Sample(a) for a in answers]
    cluster = ScriptedCluster(samples, verifiers={"it": made(judge, "it")}, budget=budget)
    return cluster.run(spec, verifier="it", **params)


@pytest.mark.parametrize("name", ALL)
def test_the_best_answer_wins_whatever_the_vote_where_all_answers_play(name: str) -> None:
    outcome = ran(name, ["3", "3", "3", "9", "2", "5", "2", "7"], trust="blind")
    assert outcome.result.answer == "9"


@pytest.mark.parametrize("name", ALL)
def test_by_default_a_judge_of_which_nothing_is_known_breaks_ties_and_no_more(name: str) -> None:
    assert ran(name, ["3", "3", "9", "9", "7"], n=5).result.answer == "9"
    lead = ran(name, ["3", "3", "9", "7", "8"], n=5)
    assert lead.result.answer == "3" and not lead.verified
    clear = ran(name, ["3", "3", "3", "9"], n=4)
    assert clear.result.answer == "3" and len(clear.verified) == 2  # one meeting, to learn of the judge


@pytest.mark.parametrize("name", ALL)
def test_where_a_judge_says_nothing_the_plain_vote_is_left(name: str) -> None:
    outcome = ran(name, ["1", "2", "2", "3", None, "1", "2", "3"], says_nothing, trust="blind")
    assert outcome.result.answer == "2"
    assert ran(name, ["5", "1", "1", "5"], says_nothing, n=4, trust="blind").result.answer == "5"  # seen first


@pytest.mark.parametrize("name", ALL)
def test_one_answer_or_one_candidate_needs_no_meeting(name: str) -> None:
    for answers in (["4"], ["4", "4", "4"], ["4", None, "4"]):
        outcome = ran(name, answers, n=len(answers), trust="blind")
        assert outcome.result.answer == "4" and not outcome.verified


@pytest.mark.parametrize("name", ALL)
def test_a_candidate_without_an_answer_beats_none_that_has_one_and_plays_where_nobody_has(name: str) -> None:
    def longer(problem: Problem, candidate: Candidate) -> float:
        return float(len(candidate.text))

    answered = [Sample(text="a long story without an end"), Sample("1")]
    assert ran(name, answered, longer, n=2, trust="blind").result.answer == "1"
    poems = [Sample(text=f"a {'very ' * i}short poem") for i in (0, 3, 1)]
    chosen = ran(name, poems, longer, n=3, trust="blind").result.selected
    assert chosen is not None and chosen.text == poems[1].text


@pytest.mark.parametrize("name", ALL)
def test_equal_answers_do_not_meet(name: str) -> None:
    met: list[set[str | None]] = []

    async def watching(problem, candidates, run):
        met.append({c.answer for c in candidates})
        return [float(c.answer) for c in candidates]

    outcome = ran(name, ["1", "2", "1", "2", "3", "3"], watching, n=6, trust="blind")
    assert outcome.result.answer == "3"
    assert all(len(answers) == 2 for answers in met)


def compared(verdict: Any) -> Any:
    """Samples 1 to 4; a judge of pairs replies by `verdict(a, b)`, the answers in the order of its prompt."""

    def reply(request: Request, number: int) -> Sample:
        prompt = request.messages[-1].content
        if "[[C]] for a tie" not in prompt:
            return Sample(str(number + 1))
        a, b = re.findall(r"Answer: (\d)", prompt)
        return Sample(text=f"[[{verdict(int(a), int(b))}]]")

    return reply


@pytest.mark.parametrize("name", ALL)
def test_verdicts_that_contradict_each_other_in_both_orders_are_a_tie(name: str) -> None:
    judges = {"it": verifier(JUDGE)}
    always_the_second = ScriptedCluster(compared(lambda a, b: "B"), verifiers=judges)
    outcome = always_the_second.run(name, n=4, trust="blind", verifier="it")
    assert outcome.result.answer == "1"  # all have one vote, and it was seen first
    fair = ScriptedCluster(compared(lambda a, b: "A" if a > b else "B"), verifiers=judges)
    outcome = fair.run(name, n=4, trust="blind", verifier="it")
    assert outcome.result.answer == "4"
    assert outcome.result.bill.verifier.samples == 2 * {"knockout": 3, "pivot": 5}.get(name, 6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("meetings", range(6))
def test_a_budget_that_ends_in_the_middle_leaves_the_winner_of_the_meetings_so_far(name: str, meetings: int) -> None:
    """Four samples and a few games: never an error, and never an answer that has lost and won nothing."""
    judges = {"it": verifier(JUDGE)}
    script = compared(lambda a, b: "A" if a > b else "B")
    cluster = ScriptedCluster(script, verifiers=judges, budget=Limits(samples=4 + 2 * meetings))
    result = cluster.run(name, n=4, trust="blind", verifier="it").result
    assert result.error is None and result.answer is not None
    assert result.answer == "1" if not meetings else result.answer != "1"


def test_a_knockout_of_open_n_goes_on_with_samples_and_meetings_in_turns() -> None:
    judges = {"it": verifier(JUDGE)}
    script = compared(lambda a, b: "A" if a > b else "B")
    outcome = ScriptedCluster(lambda r, i: script(r, i % 9), verifiers=judges, budget=Limits(samples=20)).run(
        "knockout", n=None, trust="blind", verifier="it"
    )
    assert len(outcome.result.candidates) == 8 and outcome.result.bill.total.samples == 20
    first = [action.helps for action in outcome.generated][:10]
    assert first == [False] * 4 + [True] * 6  # the next samples come after the three meetings of the first


def test_answers_of_equal_points_in_a_swiss_tournament_meet_nobody_twice() -> None:
    met: list[frozenset[str | None]] = []

    async def watching(problem, candidates, run):
        met.append(frozenset(c.answer for c in candidates))
        return [float(c.answer) for c in candidates]

    outcome = ran("swiss:rounds=9", ["1", "2", "3", "4", "5"], watching, n=5, trust="blind")
    assert outcome.result.answer == "5"
    assert len(met) == len({*met})


class Told:
    """A model whose answers to each problem are the problem's own text, letter by letter."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def complete(self, request: Request) -> tuple[float, Completion]:
        problem = request.messages[-1].content
        self._asked[problem] += 1
        return 1.0, Completion(f"Answer: {problem.split()[0][self._asked[problem] - 1]}", usage=Usage(5, 5))


def last_of(name: str, problems: list[str], judge: Any) -> str | None:
    """The last answer of a run that solves one problem after the other, in four samples each."""
    verifiers, found = {"it": made(judge, "it")}, list[str | None]()
    spec = StrategySpec(name, {"n": 4, "verifier": "it"})
    plan = [Planned("cell", Problem(f"p{i}", f"{text} {i}"), spec) for i, text in enumerate(problems)]
    scheduler = Scheduler(plan, strategy, costs=CostModel(), verifiers=verifiers, window=1)
    SimulatedCluster(Told(), verifiers).run(scheduler, on_result=lambda result, _: found.append(result.answer))
    return found[-1]


@pytest.mark.parametrize("name", ALL)
def test_a_judge_is_trusted_once_it_has_agreed_with_clear_votes_and_distrusted_where_it_has_not(name: str) -> None:
    """The judge prefers the greater number; it says nothing of words, which counts for nothing."""
    for before, last, answer in (
        (["3331"] * LEAST, "3339", "9"),
        (["3331"] * (LEAST - 1), "3339", "3"),
        (["3331"] * (LEAST - 1) + ["xxxy"] * LEAST, "3339", "3"),
        (["1113"] * LEAST, "1199", "1"),
        ([], "1199", "9"),
    ):
        assert last_of(name, [*before, last], prefers_the_greater) == answer


def test_in_a_knockout_an_answer_with_many_candidates_outlives_verdicts_against_some_of_them() -> None:
    def against_the_first(problem: Problem, candidate: Candidate) -> float:
        return 0.5 if candidate.answer == "7" else float(not candidate.text.startswith("first"))

    answers = [Sample(text="first\nAnswer: 4"), Sample("7"), Sample("4"), Sample("4")]
    assert ran("knockout", answers, against_the_first, n=4, trust="blind").result.answer == "4"
    assert ran("swiss", answers, against_the_first, n=4, trust="blind").result.answer == "7"  # one player an answer
