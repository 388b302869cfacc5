"""A panel: liars, lazy and broken members, the quorum, reserves, the first answer's vote, and a limit on changes."""

import pytest
from judged_pool import Model, pool

import tts
from tts.core.addresses import canonical
from tts.errors import InvalidParameter, UnknownName
from tts.plugins.verifiers import verifier
from tts.testing import Sample, ScriptedCluster, VerifierContract
from tts.types import Completion
from tts.verifiers.panels.panel import Panel

FAULTY = "tts.testing.judges.faulty"


class TestPanel(VerifierContract):
    verifier = (
        f"panel(verifiers=judge+genrm+{FAULTY}:Lazy,reserve_verifiers={FAULTY}:Flaky(fails=false,share=0.3),flips=2)"
    )
    replies = (Completion("Yes"), Completion("No"), Completion("It depends."))


def honest(seed: int) -> str:
    return f"{FAULTY}:Deceptive(intent=constructive,right=4,seed={seed})"


def judged(text: str, answers: str = "4998") -> tuple[list, object]:
    """The scores of candidates with these answers, and the outcome."""
    found = []

    async def strategy(problem, run):
        candidates = await run.generate(n=len(answers))
        found.extend(await run.verify(candidates, text))
        return candidates[0]

    cluster = ScriptedCluster([Sample(answer) for answer in answers], verifiers={canonical(text): verifier(text)})
    outcome = cluster.run(strategy, "2 + 2?")
    return found, outcome


def test_two_of_nine_in_league_and_a_lazy_one_do_not_decide() -> None:
    members = [honest(seed) for seed in range(6)]
    members += [f"{FAULTY}:Colluding(target=9,member={i})" for i in (1, 2)]
    for rule in ("trimmed", "median"):
        scores, _ = judged(f"panel(verifiers={'+'.join([*members, f'{FAULTY}:Lazy'])},rule={rule})")
        values = [score.value for score in scores]
        assert max(values) == values[0] > values[1] and scores[0].text.startswith(f"{rule} of 8")


def test_a_member_that_fails_is_replaced_by_a_reserve_or_left_out_and_below_the_quorum_all_abstain() -> None:
    broken = f"{FAULTY}:Flaky"
    scores, _ = judged(f"panel(verifiers={honest(1)}+{broken},quorum=2,reserve_verifiers={honest(2)})")
    assert scores[0].value > scores[1].value and broken in scores[0].text
    scores, _ = judged(f"panel(verifiers={honest(1)}+{broken},quorum=1)")
    assert scores[0].value > scores[1].value
    scores, _ = judged(f"panel(verifiers={honest(1)}+{broken})")
    assert {score.value for score in scores} == {None} and "2 are needed" in scores[0].text


def test_where_nobody_tells_candidates_apart_or_one_is_alone_the_panel_abstains() -> None:
    for text, answers in ((f"{FAULTY}:Lazy+{FAULTY}:Lazy(value=0.2)", "49"), (honest(1), "4")):
        scores, _ = judged(f"panel(verifiers={text})", answers)
        assert {score.value for score in scores} == {None}


def test_the_first_answer_has_a_vote_only_if_it_is_asked_for() -> None:
    liar = f"{FAULTY}:Deceptive(right=4)"
    for asked, wins in (("false", False), ("true", True)):
        scores, _ = judged(f"panel(verifiers={liar}+{honest(1)},rule=mean,first_vote={asked})", "49")
        assert (scores[0].value > scores[1].value) is wins


async def turncoat(problem, candidates, run):
    """Prefers the last candidate of the list that it is shown."""
    return [float(place) for place in range(len(candidates))]


def test_the_leading_answer_changes_no_more_often_than_allowed_and_a_trial_begins_anew() -> None:
    leaders = []

    text = f"panel(flips=1,verifiers={__name__}:turncoat)"

    async def strategy(problem, run):
        candidates = await run.generate(n=3)
        for shown in (candidates, candidates[::-1], candidates, candidates):
            scores = await run.verify(shown, text)
            leaders.append(max(zip(scores, shown, strict=True), key=lambda pair: pair[0].value)[1].answer)
        return candidates[0]

    for _ in range(2):
        made = {text: verifier(text)}
        ScriptedCluster([Sample("1"), Sample("2"), Sample("3")], verifiers=made).run(strategy, "?")
    assert leaders == ["3", "1", "1", "1"] * 2


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"rule": "trimed"}, UnknownName, "Did you mean 'trimmed'"),
        ({"verifiers": ""}, InvalidParameter, "verifiers must be at least 1 name"),
        ({"rule": "krum", "faulty": 2}, InvalidParameter, "at most 0 for krum of 3"),
        ({"verifiers": "judge+judge"}, InvalidParameter, "names that differ"),
        ({"quorum": 4}, InvalidParameter, "from 1 to 3"),
        ({"flips": -1}, InvalidParameter, "at least 0"),
    ],
)
def test_a_panel_that_cannot_be_is_refused(params, error, said) -> None:
    with pytest.raises(error, match=said):
        Panel(**params)


def test_a_panel_judges_a_pool_and_its_members_are_on_the_bill() -> None:
    judged = tts.judge(pool(), "panel(verifiers=judge+genrm,quorum=1)", model=Model())
    (row,) = judged.rows
    assert row.cost.samples == 12 and row.scored == 6
    assert [one.sample_id for one in judged.judgements if one.value > 0] == [0, 0]
    with pytest.raises(UnknownName, match="Did you mean 'judge'"):
        tts.judge(pool(), "panel(verifiers=judgee)", model=Model())
