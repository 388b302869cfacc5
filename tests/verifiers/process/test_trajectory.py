"""What an agent did, in four tags, of which the goal decides."""

import pytest
from judged import judged

from tts.testing import VerifierContract
from tts.types import Completion
from tts.verifiers.process.trajectory import tags_of


def tagged(success: str, side: str = "no", optimal: str = "3", loop: str = "No") -> str:
    return (
        f"So.\n<success>{success}</success>\n<side>{side}</side>\n<optimal> {optimal} </optimal>\n<loop>{loop}</loop>"
    )


class TestTrajectory(VerifierContract):
    verifier = "trajectory"
    replies = (*map(Completion, (tagged("Yes"), tagged("no"), tagged("maybe"), "Yes", "<success>Yes</success>", "")),)


class TestSeveralVerdicts(TestTrajectory):
    verifier = "trajectory(k=3,strict=false)"


@pytest.mark.parametrize(
    "reply", [tagged("maybe"), tagged("yes", optimal="5"), f"{tagged('yes')}<success>no</success>", "<loop>no</loop>"]
)
def test_a_tag_that_is_missing_comes_twice_or_says_something_else_is_no_verdict(reply) -> None:
    assert tags_of(Completion(reply)) is None


@pytest.mark.parametrize(
    ("said", "strict", "share"),
    [
        (("yes", "yes", "yes"), 1.0, 1.0),
        (("yes", "no", "yes"), 0.0, 2 / 3),
        (("yes", "?", "yes"), None, 1.0),  # unread is no evidence for it
        (("no", "?", "yes"), 0.0, 0.5),
        (("?", "?", "?"), None, None),
    ],
)
def test_a_goal_is_reached_only_if_every_verdict_says_so(said, strict, share) -> None:
    for expected, parameter in ((strict, "true"), (share, "false")):
        replies = (tagged(word) for word in (*said, "?", "?", "?"))  # those that are asked for once more, too
        (score,), _ = judged(f"trajectory(k=3,strict={parameter})", ["walked"], lambda _, said=replies: next(said))
        assert score.value == (None if expected is None else pytest.approx(expected))
        assert (score.verdicts, score.unread) == (3, said.count("?"))


def test_its_text_has_the_tags() -> None:
    (score,), _ = judged("trajectory", ["walked"], lambda _: tagged("Yes", side="Yes", optimal="1", loop="yes"))
    assert score.text == "success yes, side yes, optimal 1, loop yes" and score.value == 1.0
