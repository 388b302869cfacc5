"""Allocators that a program gives as functions: how they are named, and the runs that they divide."""

import functools
from pathlib import Path

import pytest

import tts
from tts.allocators.marginal import marginal
from tts.allocators.uniform import uniform
from tts.core.allocation.allocator import Allocator, Bid, Outlook, Standing
from tts.errors import InvalidParameter, RunMismatch, UnknownName
from tts.plugins.dependencies import plugin_digests
from tts.plugins.given import Given
from tts.plugins.names import allocator
from tts.plugins.sources import digest_of
from tts.plugins.spec import parse_allocators
from tts.testing.engine import FakeEngine
from tts.types import StrategySpec

VOTE = "majority_vote:n=none"


def fewest(*, most: int = 64) -> Allocator:
    """The next sample goes to the problem that has the fewest."""

    def bid(standing: Standing, outlook: Outlook) -> Bid:
        return Bid(1 / (1 + standing.samples))

    return Allocator(bid, 1, most, 1)


def test_allocators_are_named_as_on_the_command_line_and_found_inside_the_block_alone() -> None:
    given = Given("single", [fewest, functools.partial(fewest, most=3), marginal, "uniform", StrategySpec("equal")])
    with given:
        assert given.allocators == ("fewest", "fewest:most=3", "marginal", "uniform", "equal")
        specs = [spec for text in given.allocators[:3] for spec in parse_allocators(text)]
        assert allocator("fewest") is fewest
        assert plugin_digests([], specs) == {"allocator fewest": digest_of(fewest)}
    with pytest.raises(UnknownName):
        allocator("fewest")
    assert Given("single", fewest).allocators == ("fewest",)


async def asked(problem: tts.Problem, run: tts.Run) -> None: ...


def named(name: str) -> object:
    def other() -> Allocator:
        return fewest()

    other.__name__ = name
    return other


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (asked, "an allocator must be its name"),
        (fewest(), "an allocator must be its name"),
        (lambda: Allocator(len, 1, 1, 1), "an allocator must be its name"),
        (7, "but got 7"),
        ([fewest, named("fewest")], "two allocators are named fewest"),
        (named("uniform"), "two allocators are named uniform"),
        (named("equal"), "two allocators are named equal"),
    ],
)
def test_what_is_no_allocator_or_has_no_name_of_its_own_is_refused(given: object, why: str) -> None:
    with pytest.raises(InvalidParameter, match=why):
        Given("single", given)  # type: ignore[arg-type]


def nothing() -> None: ...


def test_a_function_that_makes_no_allocator_is_refused_before_anything_is_replayed() -> None:
    with pytest.raises(InvalidParameter, match="the function nothing must return an Allocator, but returned None"):
        tts.replay("example", VOTE, budgets="samples=4", allocators=nothing)  # type: ignore[arg-type]


def test_a_run_is_divided_by_a_function_and_goes_on_only_with_the_same_function(tmp_path: Path) -> None:
    def other(*, most: int = 64) -> Allocator:
        return uniform()

    other.__name__ = "fewest"
    with FakeEngine() as engine:
        run = functools.partial(
            tts.sweep, "arithmetic?size=3", VOTE, budgets="samples=2", out=tmp_path, report=False,
            base_url=engine.base_url,
        )  # fmt: skip
        found = run(allocators=fewest)
        assert [(row.allocator, row.samples) for row in found.rows] == [("fewest", 2.0)]
        assert run(allocators=[fewest]).rows == found.rows == tts.load(tmp_path).rows
        with pytest.raises(RunMismatch, match="allocator fewest changed since it began"):
            run(allocators=other)


def test_recorded_samples_are_divided_by_a_function_in_this_process_alone() -> None:
    found = tts.replay("example", VOTE, budgets="samples=4", allocators=[uniform, fewest])
    assert [row.allocator for row in found.rows] == ["uniform", "fewest"]
    with pytest.raises(InvalidParameter, match="fewest is a function of this program"):
        tts.replay("example", VOTE, budgets="samples=4", allocators=[uniform, fewest], processes=2)
