"""What a journal is made of, and what a resumed run makes of it."""

from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import (
    Call,
    Cancelled,
    Finished,
    Generate,
    Progressed,
    Refused,
    Request,
    Scored,
    Sleep,
    Verify,
    problem_of,
)
from tts.core.journal.history import History
from tts.core.journal.records import (
    VERSION,
    Decided,
    Granted,
    Header,
    Lost,
    Opened,
    Record,
    Shared,
    decode,
    digest,
    encode,
)
from tts.core.result import Bill, Ends
from tts.core.trials.seeds import share_base
from tts.errors import JournalCorrupt, RunMismatch
from tts.types import Candidate, Completion, Cost, ErrorInfo, Message, Problem, Sampling, Score, StrategySpec, Usage

SPEC = StrategySpec("majority_vote", {"n": 2})
HELD = Cost(1, 64)


def finished(id: str, at_s: float = 1.0, tokens: int = 10) -> Finished:
    return Finished(id, at_s, Completion("Answer: 4", usage=Usage(3, tokens)))


def decided(trial: str, paid: Cost = Cost(2, 20), at_s: float = 5.0) -> Decided:
    problem = trial.partition("/")[2]
    return Decided(trial, at_s, problem, SPEC, f"{trial}/1", "4", Bill(answers=Cost(2, 20)), paid, samples=2)


def cell(name: str, share: str | None = "k") -> list[Record]:
    """A trial of problem p with two samples, to its end."""
    keys = (None, None) if share is None else (f"{share}/0", f"{share}/1")
    return [
        Opened(f"{name}/p", 0.0),
        Granted(f"{name}/p/1", "d1", HELD, keys[0]),
        Granted(f"{name}/p/2", "d2", HELD, keys[1]),
        finished(f"{name}/p/2", 3.0),
        finished(f"{name}/p/1", 4.0),
        decided(f"{name}/p"),
    ]


# --- lines


def test_a_record_is_one_line_of_json_that_names_its_kind() -> None:
    line = encode(Finished("c/p/1", 1.5, Completion('two\nlines, a "quote" and é')))
    assert line.count(b"\n") == 1
    plain = msgspec.json.decode(line)
    assert plain["type"] == "finished" and plain["completion"]["text"] == 'two\nlines, a "quote" and é'
    assert decode(line, 1) == Finished("c/p/1", 1.5, Completion('two\nlines, a "quote" and é'))


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b'{"type": "finished", "id": "c/p/1"}\n',
        b'{"type": "invented", "id": "c/p/1"}\n',
        b'{"id": "c/p/1"}\n',
        b'{"type": "opened", "search": "c/p", "at_s": "late"}\n',
        b"\n",
        b'{"type": "opened", "search": "\xff", "at_s": 0}\n',
    ],
)
def test_a_line_that_cannot_be_read_is_refused_with_its_number(line: bytes) -> None:
    with pytest.raises(JournalCorrupt, match="journal line 17 cannot be read: ") as caught:
        decode(line, 17)
    assert caught.value.facts == {"line": 17}


def test_a_field_of_a_newer_minor_version_is_passed_over() -> None:
    assert decode(b'{"type": "opened", "search": "c/p", "at_s": 1.0, "shard": 3}\n', 2) == Opened("c/p", 1.0)


def test_a_digest_is_of_everything_an_action_asks_for() -> None:
    problem = Problem("p", "?")
    request = Request((Message("user", "?"),), Sampling(), seed=1)
    candidate = Candidate("c/p/1", "Answer: 4", "4", Completion("Answer: 4"))
    actions = [
        Generate("c/p/1", request),
        Generate("c/p/2", request),
        Generate("c/p/1", request, "key"),
        Generate("c/p/1", msgspec.structs.replace(request, seed=2)),
        Generate("c/p/1", msgspec.structs.replace(request, sampling=Sampling(max_tokens=9))),
        Generate("c/p/1", msgspec.structs.replace(request, continue_from="Answer:")),
        Verify("c/p/1", "judge", problem, candidate, request),
        Verify("c/p/1", "other", problem, candidate, request),
        Call("c/p/1", "m:f", (1,), 1.0),
        Sleep("c/p/1", 1.0),
    ]
    assert len({digest(action) for action in actions}) == len(actions)
    again = decode_action(actions[0])
    assert again is not actions[0] and digest(again) == digest(actions[0])


@given(st.lists(st.tuples(st.text(), st.integers(), st.booleans(), st.sampled_from([0.0, -0.0, 1.0])), max_size=6))
def test_a_digest_is_of_the_actions_repr_whatever_was_asked_before(asked: list[tuple[str, int, bool, float]]) -> None:
    siblings = [Request((Message("user", "?"),), Sampling(temperature=t), timeout_s=t or None) for _, _, _, t in asked]
    for request in siblings + siblings[::-1]:
        for text, seed, flag, _ in asked:
            own = msgspec.structs.replace(
                request, seed=seed, continue_from=text, model=text or None, progress=flag, every=seed % 3
            )
            action = Generate(text, own, text or None, not flag)
            shown = repr(action).encode("utf-8", "surrogatepass")
            assert digest(action) == blake2b(shown, digest_size=8).hexdigest()


def test_the_keys_and_digests_of_what_uses_no_newer_field_are_those_of_older_programs() -> None:
    """Pools replay and journals resume by them; the figures were printed by the program before those fields came."""
    messages = (Message("system", "Be brief."), Message("user", "What is 2 + 3?"))
    request = Request(messages, Sampling(0.3, 0.9, 5, 0.1, 64, ("END",), 2), seed=7)
    problem = Problem("p1", "?", "s", "letter", {"choices": {"A": "x"}})
    judged = Verify("c/p1/1", "judge", problem, Candidate("c/p1/0", "t", "5", Completion("t")), request)
    assert share_base(3, "p1", request) == "fcdd68400bcf8a286291"
    assert digest(Generate("c/p1/0", request, "k", True)) == "306a5454c0ccb141"
    assert digest(judged) == "e9f5169027386713"


@pytest.mark.parametrize(
    "newer", [{"reasoning_effort": "low"}, {"chat_template_kwargs": {"a": 1}}, {"extra_body": {"a": 1}}]
)
def test_a_newer_field_of_sampling_is_part_of_the_sample_s_key_in_whatever_order_its_names_were_given(
    newer: dict[str, Any],
) -> None:
    ask = (Message("user", "?"),)
    plain, other = Request(ask, Sampling()), Request(ask, Sampling(**newer))
    assert share_base(0, "p", plain) != share_base(0, "p", other)
    assert digest(Generate("c/p/0", plain)) != digest(Generate("c/p/0", other))
    one, two = (
        Sampling(extra_body={"a": {"x": 1, "y": 2}, "b": 2}),
        Sampling(extra_body={"b": 2, "a": {"y": 2, "x": 1}}),
    )
    assert share_base(0, "p", Request(ask, one)) == share_base(0, "p", Request(ask, two))


def decode_action(action: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(action), type=type(action))


@pytest.mark.parametrize(
    ("id", "problem"), [("c/p/1", "p"), ("c/p/5.0.2", "p"), ("c@x#0/maths/algebra/17/3", "maths/algebra/17")]
)
def test_the_problem_stands_between_the_cell_and_the_count(id: str, problem: str) -> None:
    assert problem_of(id) == problem


# --- history


def test_what_is_decided_is_kept_as_its_decision_alone() -> None:
    history = History([Header(VERSION, "tts", {"a": 1}), *cell("a")])
    assert history.config == {"a": 1}
    assert history.decided == {"a/p": decided("a/p")}
    assert history.paid == Cost(2, 20)
    assert history.wasted == Cost()
    assert history.at_s == 5.0
    assert (history.opened, history.events, history.granted, history.digests) == ({}, {}, {}, {})


def test_what_is_open_is_kept_to_be_fed_again() -> None:
    history = History(cell("a")[:4])
    assert history.opened == {"a/p": 0.0}
    assert history.events == {"a/p": [finished("a/p/2", 3.0)]}
    assert history.granted == {"a/p/1": Granted("a/p/1", "d1", HELD, "k/0")}
    assert history.digests == {"a/p/1": "d1", "a/p/2": "d2"}
    assert history.paid == Cost()
    assert history.at_s == 3.0


def test_a_shared_sample_is_fed_with_the_event_of_the_one_it_was_shared_with() -> None:
    records = [*cell("a")[:5], Opened("b/p", 1.0), Shared("b/p/1", 3.5, "a/p/2")]
    history = History(records)
    assert history.events["b/p"] == [finished("b/p/1", 3.5)]
    assert history.shared == {"b/p/1": "a/p/2"}


def test_samples_of_a_problem_stay_until_another_one_is_opened_and_none_of_its_trials_is_open() -> None:
    one = cell("a")
    assert History(one).samples == {"p": {"k/1": ("a/p/2", one[3]), "k/0": ("a/p/1", one[4])}}
    assert set(History([*one, Opened("b/p", 6.0), Opened("a/q", 6.0)]).samples) == {"p"}
    assert set(History([*one, Opened("b/p", 6.0), decided("b/p"), Opened("a/q", 6.0)]).samples) == set()
    assert History(cell("a", share=None)).samples == {}


def test_what_was_lost_is_paid_and_an_end_after_it_costs_nothing_more() -> None:
    opened: list[Record] = [Opened("a/p", 0.0), Granted("a/p/1", "d1", HELD)]
    history = History([*opened, Lost("a/p/1", HELD)])
    assert (history.paid, history.wasted) == (HELD, HELD)
    assert history.granted == {} and history.lost == {"a/p/1"}
    again = History([*opened, Lost("a/p/1", HELD), Granted("a/p/1", "d1", HELD), finished("a/p/1")])
    assert again.lost == set() and again.paid == HELD
    cancelled = History([*opened, Lost("a/p/1", HELD), Cancelled("a/p/1", 2.0)])
    assert cancelled.lost == {"a/p/1"}


def test_progress_does_not_end_an_action() -> None:
    history = History([Opened("a/p", 0.0), Granted("a/p/1", "d1", HELD), Progressed("a/p/1", 1.0, "An", 0, 1)])
    assert set(history.granted) == {"a/p/1"}
    assert [type(e) for e in history.events["a/p"]] == [Progressed]


def test_with_refeed_decided_trials_are_fed_again_in_full_and_not_paid_twice() -> None:
    history = History(cell("a"), refeed=True)
    assert history.decided == {} and history.paid == Cost()
    assert [e.id for e in history.events["a/p"]] == ["a/p/2", "a/p/1"]
    assert history.at_s == 5.0


def test_what_is_decided_or_told_twice_counts_once() -> None:
    history = History([*cell("a"), decided("a/p"), finished("a/p/1")])
    assert history.paid == Cost(2, 20)
    assert history.events == {}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (finished("z/p/1"), 2),
        (Scored("z/p/1", 1.0, Score(1.0, "judge")), 2),
        (Refused("z/p/1", 1.0, ErrorInfo("BudgetExhausted", "no")), 2),
        (Shared("a/p/9", 1.0, "z/p/1"), 2),
    ],
)
def test_an_event_of_a_trial_that_was_never_opened_is_corruption_with_its_line(record: Record, line: int) -> None:
    with pytest.raises(JournalCorrupt, match=f"journal line {line} refers to '.*', but no earlier line starts '.*'"):
        History([Header(VERSION, "tts", {}), record])


def test_a_newer_version_is_refused_with_the_program_that_can_read_it() -> None:
    said = rf"of version 99, which this program \(version {VERSION}\) .* resume it with tts 7"
    with pytest.raises(RunMismatch, match=said):
        History([Header(99, "tts 7.0.0", {})])


def test_a_journal_of_the_version_before_allocators_is_read_and_its_run_can_be_resumed() -> None:
    history = History([Header(2, "tts", {"model": "m"}), *cell("a")])
    assert history.decided == {"a/p": decided("a/p")}
    history.check({"model": "m", "allocators": None})
    with pytest.raises(RunMismatch, match="allocators: was None, now"):
        history.check({"model": "m", "allocators": ["marginal"]})


def test_another_configuration_is_refused_with_every_setting_that_differs() -> None:
    config = {"model": "m", "sampling": {"max_tokens": 64, "stop": []}, "seeds": [0, 1]}
    history = History([Header(VERSION, "tts", config)])
    history.check(config)
    history.check({**config, "seeds": (0, 1)})
    with pytest.raises(RunMismatch) as caught:
        history.check({"model": "m", "sampling": {"max_tokens": 65, "stop": []}, "seeds": [0], "out": "x"})
    assert caught.value.facts["differing"] == ["out", "sampling.max_tokens", "seeds"]
    assert "sampling.max_tokens: was 64, now 65" in caught.value.message
    assert "out: was None, now 'x'" in caught.value.message


def test_a_setting_that_an_older_run_did_not_know_and_that_is_not_set_is_no_difference() -> None:
    History([Header(VERSION, "tts", {"model": "m"})]).check({"model": "m", "shards": None, "extra": {}})


def test_a_run_without_a_journal_has_no_configuration_to_differ_from() -> None:
    History().check({"model": "m"})
    assert History().config is None


def test_a_journal_without_counts_of_how_samples_ended_can_be_read():
    with_counts = msgspec.structs.replace(decided("c/p1"), ends=Ends(samples=2, cut=1, cut_at=64))
    assert decode(encode(with_counts), 1) == with_counts
    old = msgspec.json.decode(encode(with_counts))
    del old["ends"]
    record = decode(msgspec.json.encode(old), 1)
    assert isinstance(record, Decided) and record.ends is None


def test_a_watched_sample_is_written_as_before_unless_it_says_how_often() -> None:
    request = Request((Message("user", "?"),), progress=True)
    assert repr(request).endswith("timeout_s=None, progress=True)")
    assert repr(msgspec.structs.replace(request, every=8)).endswith("progress=True, every=8)")
