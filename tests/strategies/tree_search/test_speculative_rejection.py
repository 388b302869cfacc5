"""Speculative rejection."""

from collections.abc import Mapping
from typing import Any

import pytest
from trees import Brief, Thorough, prefixes, tree

from tts.core.actions import Request
from tts.testing import Outcome, Sample, ScriptedCluster
from tts.types import Sampling


class TestSpeculativeRejection(Brief):
    strategy = "speculative_rejection:n=4,checkpoint=16"


class TestSpeculativeRejectionAtTheEndsOfSteps(Brief):
    strategy = r"speculative_rejection:n=4,stop=\n,verifier=judge"


@pytest.mark.system
class TestSpeculativeRejectionThoroughly(Thorough):
    strategy = "speculative_rejection:n=4,checkpoint=16"


def growing(texts: Mapping[str, float | None]) -> Any:
    """Texts of one token a letter, which begin differently, and the score of each, unfinished or not."""
    names = [*texts]

    def script(request: Request, number: int) -> Sample:
        prefix = request.continue_from
        name = next(name for name in names if name.startswith(prefix)) if prefix else names[number]
        rest = name[len(prefix) :]
        return Sample(text=rest, tokens=len(rest), scores={"judge": texts[name]})

    return script


def ran(texts: Mapping[str, float | None], **params: Any) -> Outcome:
    cluster = ScriptedCluster(growing(texts), sampling=Sampling(max_tokens=100))
    return cluster.run("speculative_rejection", n=len(texts), verifier="judge", **params)


def parts(outcome: Outcome) -> list[tuple[str, int | None]]:
    return [(a.request.continue_from, a.request.sampling.max_tokens) for a in outcome.generated]


ANSWER = "so the Answer: "


def test_the_worst_half_is_stopped_at_each_checkpoint_and_the_others_grow_twice_as_long() -> None:
    texts = {f"{name}{'.' * 30}{ANSWER}{name}": score / 10 for name, score in zip("12345678", range(8), strict=True)}
    outcome = ran(texts, checkpoint=4)
    assert parts(outcome) == (
        [("", 4)] * 8 + [(f"{name}...", 4) for name in "8765"] + [(f"{name}.......", 8) for name in "87"]
        + [("8...............", 84)]
    )  # fmt: skip
    assert outcome.result.answer == "8"
    assert outcome.result.bill.answers.tokens == 8 * 4 + 4 * 4 + 2 * 8 + (len(ANSWER) + 16)
    assert len(outcome.verified) == len(outcome.generated)


@pytest.mark.parametrize(
    ("finished", "answer", "grown"),
    [
        (0.5, "3", [*"34", "3"]),  # of the four, 3 and 4 are the best half
        (0.7, "3", [*"3", "3"]),  # of the two that are left, 3
        (0.95, "1", [*"3"]),
    ],
)
def test_finished_texts_are_ranked_with_the_others(finished: float, answer: str, grown: list[str]) -> None:
    longer = {f"{name}{'.' * 60}{ANSWER}{name}": score for name, score in zip("234", (0.4, 0.9, 0.6), strict=True)}
    outcome = ran({f"1{ANSWER}1": finished, **longer}, checkpoint=20)
    assert [prefix[0] for prefix, _ in parts(outcome)[4:]] == grown
    assert outcome.result.answer == answer
    assert len(outcome.verified) == len(outcome.generated)  # nothing is verified twice


def test_a_text_that_was_stopped_has_no_answer() -> None:
    outcome = ran({f"1{ANSWER}1 or 2": 0.1, f"2{ANSWER}2": 0.9}, checkpoint=18, reject=0.5)
    assert [(candidate.partial, candidate.answer) for candidate in outcome.result.candidates] == [
        (True, None),
        (False, "2"),
    ]


def test_a_text_that_reaches_the_limit_of_the_run_is_cut_and_loses_to_a_finished_one() -> None:
    outcome = ran({f"1{ANSWER}1": 0.1, f"2{'.' * 200}": 0.9}, checkpoint=60, reject=0.1)
    assert parts(outcome) == [("", 60)] * 2 + [(f"2{'.' * 59}", 40)]
    assert outcome.result.answer == "1"


def test_the_share_that_is_rejected_is_a_parameter_and_at_least_one_goes() -> None:
    texts = {f"{name}{'.' * 90}": score / 10 for name, score in zip("123456", range(6), strict=True)}
    for reject, counts in ((0.5, [6, 3, 2, 1]), (0.8, [6, 1]), (0.01, [6, 5, 4, 3, 2, 1])):
        outcome = ran(texts, checkpoint=10, reject=reject)
        lengths = [len(prefix) for prefix, _ in parts(outcome)]
        assert [lengths.count(length) for length in sorted({*lengths})] == counts


def test_checkpoints_may_be_the_ends_of_stages() -> None:
    levels = {
        "": [("a", 0.1), ("b", 0.9), ("c", 0.5), ("d", 0.7)],
        "b##": [("e", 0.2)],
        "d##": [("f", 0.3)],
        "d##f##": [("=4", 0.3)],
    }
    cluster = ScriptedCluster(tree(levels, "##"))
    outcome = cluster.run("speculative_rejection:n=4,stop=##,verifier=judge")
    assert prefixes(outcome) == {"": 4, "b##": 1, "d##": 1, "d##f##": 1}
    assert [action.request.sampling.stop for action in outcome.generated] == [("##",)] * 6 + [()]
    assert outcome.result.answer == "4"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 0}, "n must be at least 1, but got 0"),
        ({"reject": 0.0}, "reject must be above 0 and below 1, but got 0.0"),
        ({"reject": 1.0}, "reject must be above 0 and below 1, but got 1.0"),
        ({"checkpoint": 0}, "checkpoint must be at least 1, but got 0"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_sampled(params: dict[str, Any], message: str) -> None:
    outcome = ScriptedCluster(tree({})).run("speculative_rejection:verifier=judge", **params)
    error = outcome.result.error
    assert error is not None and error.message.startswith(message)
    assert not outcome.generated
