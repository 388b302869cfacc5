"""Steps of texts: how prefixes grow, and which texts vote."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tts
from tts import Candidate, Completion, Problem, Run, Sampling, Score
from tts.core.actions import Request
from tts.core.budget import Limits
from tts.errors import ServerFailed
from tts.selectors import SELECTORS, Selector
from tts.testing import Outcome, Sample, ScriptedCluster
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.toolkit.steps import MOST_REPEATS, grow, step_scores
from tts.types import Ending


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


async def one_step(problem: Problem, run: Run) -> Candidate:
    return (await grow(run, [(None, 1)]))[0]


def ended(sample: Sample, **sampling: str) -> Candidate:
    outcome: Outcome = ScriptedCluster([sample], sampling=Sampling(**sampling)).run(one_step)
    assert outcome.result.selected is not None
    return outcome.result.selected


def test_a_text_at_its_end_has_an_answer_and_a_step_has_none_but_at_a_stop_string_of_the_run_s_own() -> None:
    assert ended(Sample(text="Answer: 4")).answer == "4"
    assert ended(Sample(text="Answer: 4", stopped_by="\n")).answer is None
    assert ended(Sample(text="Answer: 4", finish_reason="length")).answer is None
    assert ended(Sample(text="Answer: 4", stopped_by="Q:"), stop="Q:").answer == "4"
    assert ended(Sample(text="Answer: 4", stopped_by="\n"), stop="Q:").partial


def test_a_piece_of_so_many_tokens_is_partial_without_any_stop_string() -> None:
    async def piece(problem: Problem, run: Run) -> Candidate:
        return (await grow(run, [(None, 1)], stop=None, max_tokens=16))[0]

    cut, whole = (Sample(text="Answer: 4", finish_reason=reason) for reason in ("length", "stop"))
    assert ScriptedCluster([cut]).run(piece).result.answer is None
    assert ScriptedCluster([whole]).run(piece).result.answer == "4"


@pytest.mark.parametrize(
    ("completion", "ending"),
    [
        (Completion("a"), "text"),
        (Completion("a", stopped_by="\n"), "stop"),
        (Completion("a", "length"), "length"),
        (Completion("a", "cancelled"), "cut"),
        (Completion("a", downgrades=("stop_reason",)), "unknown"),
    ],
)
def test_the_end_of_a_text_that_is_not_known_stays_unknown(completion: Completion, ending: Ending) -> None:
    assert completion.ending == ending


def test_a_prefix_knows_its_depth_and_the_scores_of_its_steps() -> None:
    async def grows(problem: Problem, run: Run) -> Candidate:
        prefix = (await grow(run, [(None, 1)]))[0]
        for _ in range(2):
            await run.verify([prefix], "judge")
            (prefix,) = await grow(run, [(prefix, 1)])
        assert step_scores(run, prefix, "judge") == (0.5, 0.25, None)
        assert [up.text for up in run.ancestry(prefix)] == ["a", "a\nb", "a\nb\nc"]
        (revised,) = await run.generate("again", parent=prefix)
        assert (prefix.depth, revised.depth, revised.parent) == (2, 0, prefix.id)
        return prefix

    script = [
        Sample(text="a", stopped_by="\n", scores={"judge": 0.5}),
        Sample(text="b", stopped_by="\n", scores={"judge": 0.25}),
        Sample(text="c"),
        Sample(text="d"),
    ]
    result = ScriptedCluster(script).run(grows).result
    assert result.error is None and result.selected is not None and result.selected.complete


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Candidate], dict[str, list[Score]]]:
    """Candidates as a trial has them, partial ones among them, and a score of some."""
    made, scores = [], {}
    for number in range(draw(st.integers(1, 8))):
        partial = draw(st.booleans())
        answer = None if partial else draw(st.sampled_from(["1", "2", None]))
        made.append(Candidate(f"p/{number}", "text", answer, Completion("text"), partial=partial))
        if (value := draw(st.none() | st.floats(0, 1))) is not None:
            scores[f"p/{number}"] = [Score(value, "judge")]
    return made, scores


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
@given(tree=trees())
def test_no_selector_chooses_or_counts_a_partial_candidate_while_a_whole_one_is_there(
    select: Selector, tree: tuple[list[Candidate], dict[str, list[Score]]]
) -> None:
    candidates, scores = tree
    whole = [candidate for candidate in candidates if not candidate.partial]
    assert select(candidates, scores) == select(whole or candidates, scores)


def steps_of(script: Any, children: Sequence[int], **options: Any) -> tuple[list[Candidate], Outcome]:
    """The second steps of one first step, so many in each call of `grow`; and the trial's outcome."""
    found: list[Candidate] = []

    async def grows(problem: Problem, run: Run) -> Candidate:
        (first,) = await grow(run, [(None, 1)])
        found.extend(await grow(run, [(first, n) for n in children]))
        return first

    return found, ScriptedCluster(script, **options).run(grows)


def test_a_tree_that_is_wider_than_the_budget_has_the_nodes_of_one_that_fits() -> None:
    def script(request: Request, number: int) -> Sample:
        return Sample(text=f"step {number}", stopped_by="\n")

    wide, outcome = steps_of(script, [40], budget=Limits(samples=6))
    assert wide == steps_of(script, [5])[0]
    assert outcome.result.exhausted and len(wide) == 5


def test_a_step_that_its_tokens_end_goes_on_where_it_was_and_one_at_a_stop_string_behind_that() -> None:
    for first, prefix in (
        (Sample(text="2 +", finish_reason="length"), "2 +"),
        (Sample(text="2", stopped_by="\n"), "2\n"),
    ):
        (second,), outcome = steps_of([first, Sample(text=" 2")], [1])
        assert outcome.generated[1].request.continue_from == prefix and second.text == f"{prefix} 2"


def test_no_children_are_no_requests_and_a_text_at_its_end_has_none() -> None:
    found, outcome = steps_of([Sample(text="a", stopped_by="\n")], [0, -1])
    assert found == [] and len(outcome.generated) == 1
    found, outcome = steps_of([Sample(text="a")], [3])
    assert found == [] and len(outcome.generated) == 1


def test_texts_that_say_the_same_again_and_again_are_left_out_and_the_trial_is_not_lost() -> None:
    async def grows(problem: Problem, run: Run) -> Candidate:
        steps = await grow(run, [(None, 2)])
        while True:
            steps = await grow(run, [(step, 1) for step in steps])

    def script(request: Request, number: int) -> Sample:
        return Sample(text="Answer: 4") if number == 1 else Sample(text="", stopped_by="\n")

    outcome = ScriptedCluster(script).run(grows)
    assert outcome.result.answer == "4" and len(outcome.generated) == 2 + MOST_REPEATS - 1


def test_a_stop_string_in_the_prompt_or_the_prefix_ends_nothing() -> None:
    def script(request: dict[str, Any]) -> Reply:
        return Reply(("b", " c", "\n")) if request["prefill"] else Reply(("a\n",))

    with FakeEngine(script) as engine:
        result = tts.solve("one\ntwo\nthree", two_steps, base_url=engine.base_url, model="fake")
    assert result.text == "a\nb c"


async def two_steps(problem: Problem, run: Run) -> Candidate:
    steps = await grow(run, [(None, 1)], max_tokens=16)
    return (await grow(run, [(step, 1) for step in steps], max_tokens=16))[0]
