"""Whatever a server, a plugin or a problem file says, the journal can be read again: any value, random damage."""

from __future__ import annotations

import enum
import io
import math
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.checks import plain
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.actions import Cancelled, End, Failed, Finished, Progressed, Returned, Scored
from tts.core.journal.records import (
    VERSION,
    ChecksumChain,
    Decided,
    Header,
    Record,
    as_recorded,
    check_recordable,
    decode,
    encode,
)
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.core.trials.trial import Trial
from tts.errors import InvalidParameter, JournalCorrupt
from tts.models.cost_model import CostModel
from tts.plugins.dependencies import verifiers_of
from tts.plugins.names import strategy
from tts.types import (
    Candidate,
    Completion,
    ErrorInfo,
    LogprobSummary,
    Problem,
    Score,
    StrategySpec,
    TokenLogprob,
    Usage,
)

HALF = "half \ud83d of a pair"
LIMIT = Usage(completion_tokens=64, approximate=True)
Colour = enum.Enum("Colour", {"RED": "red", "BLUE": 2})


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


ODDEST = [
    np.float32(0.5), np.float64("nan"), np.int64(3), np.str_("x"), np.bool_(True), np.array([1, 2]), Rude(), *Colour,
    object(), {1, 2}, {(1, 2): 3}, {"\ud83d": 1}, range(3), nested(70), 10**5000,
]  # fmt: skip
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**400, max_value=10**400 + 5),
    st.floats(),
    st.text(alphabet=st.characters(codec=None), max_size=8),
    st.binary(max_size=4),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
    st.integers(0, 15).map(lambda i: ODDEST[i]),  # not sampled_from, which shows them
)
values = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


def assert_can_be_read(record: Any) -> None:
    assert decode(encode(record), 1) == record


@given(odd, odd, odd, odd)
@settings(max_examples=150, deadline=None)
def test_a_score_of_any_value_can_be_recorded_or_is_refused_where_it_is_made(
    value: Any, mass: Any, text: Any, kind: Any
) -> None:
    try:
        score = Score(value, "v", "logit" if kind is None else kind, mass, text)
    except InvalidParameter as error:
        assert_can_be_read(Failed("c/p/1", 0.0, ErrorInfo.of(error)))
        return
    assert_can_be_read(Scored("c/p/1", 0.0, score))


@pytest.mark.parametrize("half", [0.5, np.float32(0.5), np.float64(0.5), Decimal("0.5"), Fraction(1, 2)])
def test_a_number_of_any_library_is_a_score(half: Any) -> None:
    assert Score(half, "v") == Score(0.5, "v") and type(Score(half, "v").value) is float
    assert Score(np.int64(1), "v") == Score(True, "v") == Score(1.0, "v")


@pytest.mark.parametrize("value", [math.nan, math.inf, Decimal("NaN"), 10**400, "0.5", b"1", [0.5], Rude()])
def test_what_is_no_finite_number_is_no_score(value: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"^score must be a finite number, or None to abstain, but got "):
        Score(value, "v")


@given(values)
@settings(max_examples=60, deadline=None)
def test_an_event_is_told_as_a_resumed_run_will_read_it(value: Any) -> None:
    usage = Usage(3, 5)
    for event in (
        Returned("c/p/1", 0.0, value),
        Finished("c/p/1", 0.0, Completion(value, usage=usage)),
        Finished("c/p/1", 0.0, Completion("Answer: 4", usage=usage, answer=value)),
        Finished("c/p/1", 0.0, Completion("Answer: 4", usage=usage, logprobs=value)),
        Finished("c/p/1", 0.0, Completion("Answer: 4", usage=Usage(3, value))),
        Cancelled("c/p/1", 0.0, Completion("", usage=usage, recorded_scores={"v": value})),
        Finished("c/p/1", 0.0, value),
        Failed("c/p/1", 0.0, ErrorInfo("X", "y", {"z": plain(value)}), usage),
    ):
        told = as_recorded(event, LIMIT)  # type: ignore[arg-type]
        assert_can_be_read(told)
        paid = told.usage.completion_tokens
        if isinstance(event, Finished | Cancelled) and isinstance(event.completion, Completion):
            said = event.completion.usage.completion_tokens
            said = said.value if isinstance(said, enum.Enum) else said  # JSON writes a member as its value
            assert paid == 64 or (isinstance(said, int | float) and paid == said), "what was paid stays paid"


def test_one_odd_part_of_a_reply_does_not_cost_the_sample() -> None:
    logprobs = LogprobSummary(-math.inf, -1e308, None, (TokenLogprob(HALF, -1.0),))
    told = as_recorded(Finished("c/p/1", 0.0, Completion(HALF, usage=Usage(3, 5), logprobs=logprobs)))
    assert isinstance(told, Finished)
    assert told.completion.text == "half \ufffd of a pair"
    assert told.completion.logprobs is None and told.completion.downgrades == ("logprobs",)
    assert told.completion.usage == Usage(3, 5)
    piece = as_recorded(Progressed("c/p/1", 0.0, HALF, 7, 3, math.nan))
    assert piece == Progressed("c/p/1", 0.0, "half \ufffd of a pair", 7, 3)


def test_what_a_function_returned_too_deep_or_of_no_kind_is_its_failure() -> None:
    for value, why in ((nested(70), "nested deeper than 64 levels"), (object(), "object is unsupported")):
        told = as_recorded(Returned("c/p/1", 0.0, value))
        assert isinstance(told, Failed) and why in told.error.message
    shallow: End = Returned("c/p/1", 0.0, [[1]] * 200)
    assert as_recorded(shallow) == shallow


@given(st.text(alphabet=st.characters(codec=None), max_size=20), values)
@settings(max_examples=60, deadline=None)
def test_an_error_of_any_content_can_be_recorded(message: str, fact: Any) -> None:
    for error in (ValueError(message), InvalidParameter(message, fact=fact)):
        assert_can_be_read(Failed("c/p/1", 0.0, ErrorInfo.of(error)))


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("raised", [ValueError(HALF), Unsayable(), KeyError(Rude)])
def test_what_a_strategy_raises_is_said_in_a_sentence_that_can_be_recorded(raised: Exception) -> None:
    async def rude(problem: Problem, run: Any) -> Candidate:
        raise raised

    trial = Trial("c/p", Problem("p", "?"), rude, StrategySpec("rude"), costs=CostModel())
    trial.start()
    assert trial.result.error is not None
    assert_can_be_read(Failed("c/p/1", 0.0, trial.result.error))


@pytest.mark.parametrize("answer", [42, 4.0, Decimal(4), b"4", ["4"], Colour.RED])
def test_an_answer_that_is_no_text_is_its_strategys_error(answer: Any) -> None:
    async def mine(problem: Problem, run: Any) -> Candidate:
        return Candidate("c/p/1", "text", answer, Completion("text"))

    trial = Trial("c/p", Problem("p", "?"), mine, StrategySpec("mine"), costs=CostModel())
    trial.start()
    error = trial.result.error
    assert error is not None and error.type == "InvalidParameter"
    assert "the answer of the candidate that strategy mine returned must be text, but got " in error.message


@pytest.mark.parametrize(("answer", "kept"), [(np.str_("4"), "4"), (HALF, "half \\ud83d of a pair")])
def test_an_answer_that_is_a_text_of_its_own_kind_is_kept_as_plain_text(answer: Any, kept: str) -> None:
    async def mine(problem: Problem, run: Any) -> Candidate:
        return Candidate("c/p/1", "text", answer, Completion("text"))

    trial = Trial("c/p", Problem("p", "?"), mine, StrategySpec("mine"), costs=CostModel())
    trial.start()
    assert trial.result.answer == kept and type(trial.result.answer) is str


def test_a_problem_is_text_that_can_be_recorded() -> None:
    assert Problem(HALF, "?") == Problem("half \\ud83d of a pair", "?")
    assert type(Problem("p", np.str_("?")).prompt) is str
    for wrong in (5, None, b"p"):
        with pytest.raises(InvalidParameter, match="the id of a problem must be text, but got"):
            Problem(wrong, "?")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [object(), math.nan, b"x", HALF, print, Decimal(1), np.int64(1)])
def test_a_parameter_that_a_folder_could_not_give_back_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="parameter x of mine cannot be kept in a run folder: "):
        check_recordable(StrategySpec("mine", {"n": 2, "x": value}))


def test_plain_parameters_can_be_kept() -> None:
    check_recordable(StrategySpec("mine", {"a": None, "b": True, "c": 1, "d": 0.5, "e": "x", "f": (1, {"y": []})}))


# --- damage


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = [Header(VERSION, "tts", {"model": "m"})]

    def write(self, records: Any) -> None:
        self.records += records


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Of a real run: candidates, scores, shared samples."""
    plan = [
        Planned(cell, Problem(f"p{i}", f"What is {i} + 1?"), StrategySpec("best_of_n", {"n": n}))
        for i in range(3)
        for cell, n in (("a", 2), ("b", 3))
    ]
    journal = Kept()
    verifiers = verifiers_of([planned.spec for planned in plan])
    scheduler = Scheduler(iter(plan), strategy, costs=CostModel(), verifiers=verifiers)
    SimulatedCluster(SyntheticWorld(lambda _: 0.5, lambda _: "4"), verifiers).run(scheduler, journal)  # type: ignore[arg-type]
    chain = ChecksumChain()
    written = [chain.written(record) for record in journal.records]
    assert sum(isinstance(record, Decided) for record in journal.records) == 6 and len(written) > 40
    return written


def damaged(lines: list[bytes], draw: random.Random) -> bytes:
    """The journal with one fault."""
    changed = list(lines)
    at, other = draw.sample(range(len(lines)), 2)
    match draw.randrange(7):
        case 0:  # a byte is another
            place = draw.randrange(len(b"".join(lines)))
            data = bytearray(b"".join(lines))
            data[place] = draw.choice([b for b in range(256) if b != data[place]])
            return bytes(data)
        case 1:
            changed.insert(at, lines[other])
        case 2:
            changed[at], changed[other] = changed[other], changed[at]
        case 3:
            del changed[at]
        case 4:
            changed.insert(other, changed.pop(at))
        case 5:  # a part of a line is gone
            cut = draw.randrange(len(lines[at]))
            changed[at] = lines[at][:cut] + lines[at][draw.randrange(cut, len(lines[at])) :]
        case 6:
            return b"".join(lines)[: draw.randrange(len(b"".join(lines)))]
    return b"".join(changed)


def read(data: bytes) -> Iterator[Record]:
    chain = ChecksumChain()
    for line in io.BytesIO(data):
        if not line.endswith(b"\n"):
            return  # a torn last line
        yield chain.read(line)


def test_damage_anywhere_in_a_journal_is_found_or_cuts_its_end_off(lines: list[bytes]) -> None:
    whole = list(read(b"".join(lines)))
    draw, found = random.Random(20), 0
    for _ in range(3000):
        data = damaged(lines, draw)
        got: list[Record] = []
        try:
            for record in read(data):
                got.append(record)
        except JournalCorrupt as error:
            found += 1
            assert error.facts["line"] == len(got) + 1 and f"line {len(got) + 1} " in error.message
        assert got == whole[: len(got)], "no other books"
    assert found > 2000


def test_a_line_that_is_missing_or_moved_is_named_by_the_number_that_it_had(lines: list[bytes]) -> None:
    chain = ChecksumChain()
    for line in lines[:9]:
        chain.read(line)
    with pytest.raises(JournalCorrupt, match=r"journal line 10 is not as it was written \(it was line 12: .*head -n 9"):
        chain.read(lines[11])
    with pytest.raises(JournalCorrupt, match=r"journal line 1 is not as it was written .* no line of this file"):
        ChecksumChain().read(lines[0].replace(b'"tts"', b'"tss"'))


def test_lines_of_another_run_with_the_same_numbers_are_found(lines: list[bytes]) -> None:
    other, mine = ChecksumChain(), ChecksumChain()
    other.written(Header(VERSION, "tts", {"model": "another"}))
    mine.read(lines[0])
    with pytest.raises(JournalCorrupt, match="journal line 2 is not as it was written"):
        mine.read(other.written(decode(lines[1], 2)))


def test_a_journal_that_has_lost_its_checksums_is_not_taken_for_an_older_one(lines: list[bytes]) -> None:
    with pytest.raises(JournalCorrupt, match="journal line 1 is not as it was written"):
        ChecksumChain().read(encode(decode(lines[0], 1)))
    chain = ChecksumChain()
    chain.read(lines[0])
    with pytest.raises(JournalCorrupt, match="journal line 2 is not as it was written"):
        chain.read(encode(decode(lines[1], 2)))
