"""Steps of texts: which texts vote, and how prefixes grow."""

from tts import Candidate, Completion, Problem, Run, Score
from tts.errors import ServerFailed
from tts.testing import Sample, ScriptedCluster
from tts.toolkit.steps import grow, vote_of_leaves


def candidate(number: int, answer: str, **ended: str) -> Candidate:
    return Candidate(f"p/{number}", f"Answer: {answer}", answer, Completion("", **ended))


def test_only_leaves_vote_where_there_is_one() -> None:
    step, leaf = candidate(1, "3", stopped_by="\n"), candidate(2, "4")
    scores = {c.id: (Score(0.9 if c is step else 0.1, "v"),) for c in (step, leaf)}
    assert vote_of_leaves([step, leaf], scores) is leaf
    assert vote_of_leaves([step], scores) is step
    assert vote_of_leaves([], scores) is None


def test_the_next_steps_of_prefixes_come_in_order_without_those_that_failed() -> None:
    async def grows(problem: Problem, run: Run) -> Candidate:
        first, second = await grow(run, [(None, 2)], max_tokens=8)
        steps = await grow(run, [(second, 1), (first, 0), (first, 2)])
        assert [step.parent for step in steps] == [second.id, first.id]
        return steps[-1]

    script = [Sample(text="a"), Sample(text="b"), Sample(text="c", seconds=3.0), ServerFailed("boom"), Sample(text="d")]
    outcome = ScriptedCluster(script).run(grows)
    assert outcome.result.selected is not None and outcome.result.selected.text == "ad"
    assert {action.request.sampling.stop for action in outcome.generated} == {("\n",)}
