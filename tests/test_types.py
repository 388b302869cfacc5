"""Values and errors cross processes and journals unchanged."""

import importlib
import math
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from tts import errors
from tts.core.budget import Limits
from tts.core.journal.records import Record, decode, encode
from tts.core.scheduling.steps import Planned
from tts.errors import InvalidParameter, TTSError, unknown_name
from tts.runs.plan import Cell
from tts.serve.origins import Origins
from tts.toolkit.difficulty import Policy
from tts.types import (
    Candidate,
    Completion,
    Cost,
    ErrorInfo,
    Message,
    Problem,
    Sampling,
    Score,
    StrategySpec,
    Tool,
    ToolCall,
    Usage,
    Value,
    as_prompt,
)

ROOT = Path(errors.__file__).resolve().parent.parent
PACKAGES = {"tts": "tts", "strategies": "tts.strategies", "clusters": "tts.clusters"}
JSON_VALUES = ("tts.types", "tts.messages", "tts.core.")  # the modules whose values are written as JSON


def subclasses(base: type) -> Iterator[type]:
    for child in base.__subclasses__():
        yield child
        yield from subclasses(child)


def ours(base: type) -> list[type]:
    """Every subclass that the project's own files define."""
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if parts[-1] not in ("__init__", "__main__"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # Ray Serve's use of pydantic
                    importlib.import_module(".".join([package, *parts]))
    return [cls for cls in subclasses(base) if cls.__module__.startswith("tts.")]


VALUES = ours(Value)
ERRORS = [TTSError, *ours(TTSError)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)
FACTS = st.dictionaries(st.sampled_from(["asked", "left", "endpoint", "known"]), JSON, max_size=3)
COUNTS = st.none() | st.integers(1, 10**25)
AMOUNTS = st.none() | st.floats(1e-9, 1e9)
RULED: dict[type, st.SearchStrategy[Any]] = {  # those that check what they are given
    Sampling: st.builds(
        Sampling,
        temperature=st.floats(0, 2),
        top_p=st.floats(0.01, 1),
        top_k=st.integers(0, 99),
        min_p=st.floats(0, 0.99),
        max_tokens=st.integers(1, 99999),
        stop=st.lists(st.text(min_size=1, max_size=3), max_size=4).map(tuple),
        top_logprobs=st.integers(0, 20),
    ),
    Policy: st.sampled_from(
        [Policy((), ("majority_vote/4",)), Policy((0.4, 0.8), ("majority_vote/4", "best_of_n/8", "majority_vote/16"))]
    ),
    Tool: st.builds(
        Tool,
        name=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
        description=st.text(max_size=6),
        parameters=st.dictionaries(st.text(max_size=5), JSON, max_size=2),
        strict=st.none() | st.booleans(),
    ),
    Message: st.builds(Message, role=st.just("user"), content=st.text(max_size=6))
    | st.builds(
        Message,
        role=st.just("assistant"),
        content=st.text(max_size=6),
        tool_calls=st.lists(st.builds(ToolCall, *[st.text(max_size=6)] * 3), max_size=2).map(tuple),
    )
    | st.builds(
        Message, role=st.just("tool"), content=st.text(max_size=6), tool_call_id=st.none() | st.text(max_size=6)
    ),
    Origins: st.builds(
        Origins,
        allowed=st.lists(st.sampled_from(["*", "https://chat.example.org"]), max_size=2),
        refuses_others=st.booleans(),
    ),
    Limits: st.builds(Limits, samples=COUNTS, tokens=COUNTS, usd=AMOUNTS, flops=COUNTS, seconds=AMOUNTS),
}


def values_of(cls: type) -> st.SearchStrategy[Any]:
    """Instances with every field set, from the types of the fields."""
    if cls in RULED:
        return RULED[cls]
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    fields = {field.name: of_type(field.type) for field in info.fields}
    if cls is Problem:
        fields["tools"] = st.lists(values_of(Tool), max_size=2, unique_by=lambda tool: tool.name).map(tuple)
    return st.builds(cls, **fields)


def of_type(kind: inspect.Type) -> st.SearchStrategy[Any]:
    return MADE[type(kind)](kind)


MADE: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    inspect.AnyType: lambda kind: JSON,
    inspect.NoneType: lambda kind: st.none(),
    inspect.BoolType: lambda kind: st.booleans(),
    inspect.IntType: lambda kind: st.integers(0, 2**70),
    inspect.FloatType: lambda kind: st.floats(-1e300, 1e300),
    inspect.StrType: lambda kind: st.text(max_size=6),
    inspect.BytesType: lambda kind: st.binary(max_size=6),
    inspect.LiteralType: lambda kind: st.sampled_from(kind.values),
    inspect.EnumType: lambda kind: st.sampled_from(kind.cls),
    inspect.VarTupleType: lambda kind: st.lists(of_type(kind.item_type), max_size=2).map(tuple),
    inspect.ListType: lambda kind: st.lists(of_type(kind.item_type), max_size=2),
    inspect.TupleType: lambda kind: st.tuples(*map(of_type, kind.item_types)),
    inspect.DictType: lambda kind: st.dictionaries(of_type(kind.key_type), of_type(kind.value_type), max_size=2),
    inspect.UnionType: lambda kind: st.one_of(*map(of_type, kind.types)),
    inspect.StructType: lambda kind: values_of(kind.cls),
    inspect.CustomType: lambda kind: st.just(Path("/runs/1")),  # the one type of the results that is not JSON
}


def test_every_value_and_every_error_is_found() -> None:
    assert {Problem, Completion, Candidate, Score, Limits} <= set(VALUES)
    assert {f"{cls.__module__}.{cls.__name__}" for cls in VALUES} >= {
        "tts.core.journal.records.Decided",
        "tts.models.prices.Price",
    }
    assert len(ERRORS) > 30


@pytest.mark.parametrize("cls", VALUES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_value_is_frozen_slotted_and_survives_pickle(cls: type) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values_of(cls))
    def survives(value: Any) -> None:
        assert pickle.loads(pickle.dumps(value)) == value
        assert type(pickle.loads(pickle.dumps(value))) is cls
        assert not hasattr(value, "__dict__") or cls is Cell  # which keeps texts that are made once
        for name in value.__struct_fields__:
            with pytest.raises(AttributeError):
                setattr(value, name, None)

    survives()


WRITTEN = [cls for cls in VALUES if cls.__module__.startswith(JSON_VALUES) and cls is not Planned]  # it has objects


@pytest.mark.parametrize("cls", WRITTEN, ids=lambda c: c.__name__)
def test_every_value_of_the_core_survives_json(cls: type) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values_of(cls))
    def survives(value: Any) -> None:
        assert msgspec.json.decode(msgspec.json.encode(value), type=cls) == value

    survives()


@pytest.mark.parametrize("cls", get_args(Record), ids=lambda cls: cls.__name__)
def test_every_record_survives_the_journal_as_one_line(cls: type) -> None:
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values_of(cls))
    def survives(record: Any) -> None:
        line = encode(record)
        assert line.endswith(b"\n") and line.count(b"\n") == 1
        back = decode(line, 1)
        assert back == record and type(back) is cls

    survives()


CHILD = """
import pickle, sys
import msgspec
from tts.runs.plan import Cell
from tts.types import ErrorInfo
values, errors = pickle.load(sys.stdin.buffer)
caught = []
for error in errors:
    try:
        raise error
    except type(error) as same:
        caught.append(same)
infos = [msgspec.json.encode(ErrorInfo.of(error)) for error in errors]
pickle.dump((values, caught, infos), sys.stdout.buffer)
"""


def some(strategy: st.SearchStrategy[Any]) -> list[Any]:
    """A few of its values. One draw of all classes together would be too large for hypothesis, which then tries for
    minutes."""
    found: list[Any] = []

    @settings(max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def test_all_values_and_errors_cross_a_real_process() -> None:
    values = [value for cls in VALUES for value in some(values_of(cls))]
    facts = some(FACTS)
    raised = [cls("what, why, what to do", **given) for given in facts for cls in ERRORS]
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=pickle.dumps((values, raised)),
        capture_output=True,
        timeout=500,
        check=False,
    )
    assert child.returncode == 0, child.stderr.decode()
    back, caught, infos = pickle.loads(child.stdout)
    assert back == values
    assert caught == raised
    assert [type(error) for error in caught] == ERRORS * len(facts)
    assert [msgspec.json.decode(info, type=ErrorInfo).rebuild() for info in infos] == raised


@pytest.mark.parametrize("cls", ERRORS, ids=lambda cls: cls.__name__)
def test_every_error_keeps_its_message_and_facts(cls: type[TTSError]) -> None:
    error = cls("p1: no room", asked=512, left=0.5, known=["a"], status=None)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == "p1: no room"
    assert again.facts == {"asked": 512, "left": 0.5, "known": ["a"], "status": None}
    assert again == error and hash(again) == hash(error)
    assert again != cls("p1: no room", asked=511)
    info = msgspec.json.decode(msgspec.json.encode(ErrorInfo.of(error)), type=ErrorInfo)
    assert info.rebuild() == error


def test_an_error_of_a_plugin_that_is_not_imported_here_keeps_its_name() -> None:
    rebuilt = ErrorInfo("PluginFailed", "it broke", {"code": 3}).rebuild()
    assert type(rebuilt) is TTSError
    assert rebuilt.message == "PluginFailed: it broke"
    assert rebuilt.facts == {"code": 3}


def test_an_exception_of_somebody_else_becomes_data_by_its_name_and_text() -> None:
    assert ErrorInfo.of(ZeroDivisionError("division by zero")) == ErrorInfo("ZeroDivisionError", "division by zero")
    assert ErrorInfo.of(KeyError()) == ErrorInfo("KeyError", "KeyError")


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert errors.__doc__ is not None
    drawn: list[tuple[str, str]] = []
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"^((?:│   |    )*)(?:├── |└── )?([A-Z]\w+)(?:\s|$)", line)
        if not found or found[2] not in {cls.__name__ for cls in ERRORS}:
            continue
        depth = 0 if found[2] == "TTSError" else len(found[1]) // 4 + 1
        path = [*path[:depth], found[2]]
        drawn.append((path[-2] if depth else "Exception", found[2]))
    assert sorted(drawn) == sorted((cls.__bases__[0].__name__, cls.__name__) for cls in ERRORS)


def test_an_unknown_name_comes_with_the_nearest_one_and_all_known() -> None:
    error = unknown_name("strategy", "best_of_m", ["single", "best_of_n"])
    assert error.message == "unknown strategy 'best_of_m'. Did you mean 'best_of_n'? Known: best_of_n, single."
    assert error.facts == {"kind": "strategy", "name": "best_of_m", "known": ["best_of_n", "single"]}
    assert "Did you mean" not in unknown_name("strategy", "zzz", ["single"]).message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 1.0),
        ("max_tokens", 0),
        ("stop", ("a", "b", "c", "d", "e")),
        ("top_logprobs", 21),
        ("temperature", math.inf),
        ("temperature", "0.7"),
        ("top_p", None),
        ("top_k", 0.5),
        ("max_tokens", 12.5),
        ("max_tokens", math.nan),
        ("max_tokens", "64"),
        ("max_tokens", True),
        ("top_logprobs", None),
        ("stop", ("",)),
        ("stop", 7),
        ("stop", ("a", 7)),
        ("stop", b"END"),
    ],
)
def test_sampling_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=f"^{name} must be .*but got {re.escape(repr(value))}$"):
        Sampling(**{name: value})  # type: ignore[arg-type]  # each of these is wrong


@given(st.text(min_size=1))
def test_one_stop_string_is_one_however_it_is_given(text: str) -> None:
    assert Sampling(stop=text) == Sampling(stop=[text]) == Sampling(stop=(text,))  # type: ignore[arg-type]  # a list
    assert Sampling(stop=text).stop == (text,)
    assert msgspec.convert({"stop": text}, Sampling) == Sampling(stop=text)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"^stop must be a string that is not empty"):
        Sampling(stop="")


def test_a_whole_number_is_an_int_whatever_arithmetic_it_comes_from() -> None:
    sampling = Sampling(max_tokens=100 / 2, top_k=np.int64(4), temperature=np.float32(0.5))  # type: ignore[arg-type]
    assert sampling == Sampling(max_tokens=50, top_k=4, temperature=0.5)
    assert [type(value) for value in (sampling.max_tokens, sampling.top_k, sampling.temperature)] == [int, int, float]


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        ("developer", "4", "the role of a message must be system, user, assistant or tool, but got 'developer'"),
        ("User", "4", "but got 'User'"),
        (None, "4", "but got None"),
        ("user", None, "the content of a message must be text, but got None"),
        ("user", [{"type": "text", "text": "4"}], "must be text, but got"),
    ],
)
def test_a_message_that_no_server_would_take_is_refused_where_it_is_made(role: Any, content: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Message(role, content)
    with pytest.raises(InvalidParameter, match=message):
        as_prompt([{"role": role, "content": content}])


def test_a_prompt_may_be_the_messages_of_openai_s_library() -> None:
    assert as_prompt([{"role": "user", "content": "hi"}, Message("assistant", "ho")]) == (
        Message("user", "hi"),
        Message("assistant", "ho"),
    )
    for odd in ({"role": "user"}, {"role": "user", "content": "hi", "name": "me"}, "hi", 7):
        with pytest.raises(InvalidParameter, match="a message must be a Message, or have role and content,"):
            as_prompt([odd])  # type: ignore[list-item]  # each of these is wrong


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused_rather_than_written_as_an_abstention(value: float) -> None:
    with pytest.raises(InvalidParameter, match="score must be a finite number, or None to abstain"):
        Score(value, "judge")


def test_costs_add_exactly_and_what_is_unknown_stays_unknown() -> None:
    known, unknown = Cost(1, 10, 10**30, 7), Cost(1, 5, None, 0)
    assert known + known == Cost(2, 20, 2 * 10**30, 14)
    assert known + unknown == Cost(2, 15, None, 7)
    assert known + unknown - unknown == Cost(1, 10, None, 7)
    assert (known + known) - known == known
    assert unknown.usd is None
    assert Cost(picodollars=1_500_000_000_000).usd == 1.5
    assert Cost(flops=None) != Cost(flops=0)


def test_usage_adds_field_by_field_and_one_approximation_makes_the_sum_one() -> None:
    total = Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40, approximate=True)
    assert total == Usage(11, 22, 33, 44, approximate=True)


def test_a_prompt_is_a_user_turn_after_the_system_turn() -> None:
    assert as_prompt("hi") == (Message("user", "hi"),)
    assert Problem("p", "hi", system="be brief").messages == (Message("system", "be brief"), Message("user", "hi"))
    assert as_prompt([Message("assistant", "x")], "not added") == (Message("assistant", "x"),)


def test_a_spec_reads_as_the_command_line_writes_it() -> None:
    assert str(StrategySpec("single")) == "single"
    assert str(StrategySpec("best_of_n", {"n": 4, "selector": "borda"})) == "best_of_n:n=4,selector=borda"


def test_candidates_sort_in_the_order_of_asking_whatever_chain_they_are_from() -> None:
    ids = ["c/p/10", "c/p/2", "c/p/3.1.2", "c/p/3.1.10", "c/p/3.0.11", "c/a/b/1"]
    made = sorted((Candidate(id, "", None, Completion("")) for id in ids), key=lambda c: c.order)
    assert [c.id for c in made] == ["c/a/b/1", "c/p/2", "c/p/3.0.11", "c/p/3.1.2", "c/p/3.1.10", "c/p/10"]


def test_a_candidate_is_complete_only_if_the_model_ended_by_itself() -> None:
    assert Candidate("c/p/1", "", None, Completion("", "stop", Usage(3, 4))).complete
    assert not Candidate("c/p/1", "", None, Completion("", "length")).complete
    assert Candidate("c/p/1", "", None, Completion("", "stop", Usage(3, 4))).tokens == 4


def test_the_representation_of_a_candidate_that_is_no_step_is_that_of_older_versions_whose_journals_have_its_digest():
    candidate = Candidate("p/1", "a", "4", Completion("a"))
    assert (
        repr(candidate) == f"Candidate(id='p/1', text='a', answer='4', completion={candidate.completion}, parent=None)"
    )
