"""What a signature allows of a parameter's value, and how values of programs are written down."""

import enum
import functools
from typing import Annotated, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tts
from tts.errors import InvalidParameter, UnknownName
from tts.plugins.given import Given
from tts.plugins.names import names, strategy
from tts.plugins.signatures import describe, parameters
from tts.plugins.spec import check_spec, parse_specs
from tts.plugins.values import convert, is_plain
from tts.plugins.verifiers import verifier
from tts.testing import ScriptedCluster
from tts.types import StrategySpec

Mode = Literal["vote", "best"]
Count = NewType("Count", int)


class Kind(enum.Enum):
    A = "a"


async def annotated(
    problem,
    run,
    *,
    mode: Mode = "vote",
    window: Literal["auto"] | int | None = "auto",
    parts: Literal[1, 2, "1"] = 1,
    word: Literal["a"] | str = "a",
    n: Annotated[int, "how many"] = 2,
    count: Count = Count(3),
    kind: Kind = Kind.A,
    each: tuple[int, ...] = (1,),
): ...


ALL = {p.name: p for p in parameters(annotated)}


def test_an_annotation_is_read_for_the_types_and_values_that_it_allows():
    assert {name: p.allowed for name, p in ALL.items()} == {
        "mode": "vote | best",
        "window": "auto | int | None",
        "parts": "1 | 2 | 1",
        "word": "str",
        "n": "int",
        "count": "int",
        "kind": "Kind",
        "each": "tuple[int, ...]",
    }
    assert [name for name, p in ALL.items() if not is_plain(p)] == ["kind", "each"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("mode", "best", "best"), ("window", "auto", "auto"), ("window", "5", 5), ("window", "none", None),
     ("parts", "2", 2), ("word", "b", "b"), ("n", "4", 4), ("count", "4", 4)],
)  # fmt: skip
def test_a_text_is_converted_to_what_the_annotation_allows(name, text, value):
    found = convert("s", ALL[name], text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mode", "votes", "s: mode must be vote | best, but got 'votes'"),
        ("window", "autos", r"s: window must be auto \| int \| None, but got 'autos'"),
        ("parts", "3", "s: parts must be 1 | 2 | 1, but got '3'"),
        ("n", "4:k=2", "s: n must be int, but got '4:k=2': a comma ends a value, as in n=4,k=2"),
        ("kind", "a", "kind is Kind, which no text is converted to, but got 'a': annotate it with int, float"),
        ("each", "1", "each is tuple"),
    ],
)
def test_a_text_that_the_annotation_does_not_allow_is_refused_with_what_it_allows(name, text, message):
    with pytest.raises(InvalidParameter) as caught:
        convert("s", ALL[name], text)
    assert message.replace("\\", "") in caught.value.message


CHOSEN = [(name, p) for name in names("strategies") for p in parameters(strategy(name)) if p.choices]


def test_the_strategies_of_the_library_have_parameters_of_a_few_values_which_are_listed():
    assert "equivalence" in {p.name for _, p in CHOSEN}
    assert next(p for p in describe("majority_vote").parameters if p.name == "equivalence").allowed == "exact | math"


@pytest.mark.parametrize(("name", "parameter"), CHOSEN)
def test_a_value_that_is_none_of_a_few_is_refused_in_a_text_and_from_a_program(name, parameter):
    for choice in parameter.choices:
        (spec,) = parse_specs(f"{name}:{parameter.name}={choice}")
        assert check_spec(spec).params == {parameter.name: choice}
    with pytest.raises(InvalidParameter, match=f"{parameter.name} must be {parameter.choices[0]}"):
        parse_specs(f"{name}:{parameter.name}=maths")
    with pytest.raises(InvalidParameter, match=f"{parameter.name} must be {parameter.choices[0]}"):
        tts.solve("1+1", name, params={parameter.name: "maths"})
    with pytest.raises(InvalidParameter, match=f"{parameter.name} must be {parameter.choices[0]}"):
        tts.solve("1+1", strategy(name), params={parameter.name: "maths"})


def test_a_strategy_that_is_called_with_another_equivalence_than_there_is_fails_with_those_there_are():
    result = ScriptedCluster(["1", "2"]).run(strategy("majority_vote"), n=2, equivalence="maths").result
    assert "equivalence must be 'exact' or 'math', but got 'maths'" in result.error.message


def test_a_parameter_that_stands_before_the_star_is_refused_with_how_to_write_it(tmp_path):
    file = tmp_path / "npos.py"
    file.write_text("async def s(problem, run, n: int = 2): ...\ndef v(problem, candidate, most=10): ...\n")
    with pytest.raises(UnknownName, match=r"n cannot be set.* write `\(problem, run, \*, n=2\)`"):
        parse_specs(f"{file}:s:n=3")
    with pytest.raises(UnknownName, match=r"n cannot be set.* write `\(problem, run, \*, n=2\)`"):
        check_spec(StrategySpec(f"{file}:s", {"n": 3}))
    with pytest.raises(UnknownName, match=r"most cannot be set.* write `\(problem, candidate, \*, most=10\)`"):
        verifier(f"{file}:v(most=3)")
    with pytest.raises(UnknownName, match=r"unknown parameter of .*npos.py:s 'm': there are none"):
        parse_specs(f"{file}:s:m=3")


# --- values of programs, as text


async def wide(problem, run, *, prefix: str = "", n: int = 1, rate: float = 1, parts: list[int] = [], bare=None): ...  # noqa: B006


@given(
    st.text("v(x=,)1 n:;[]", max_size=12) | st.sampled_from(["none", "f(a,b)", "a,n=2"]),
    st.integers(-9, 9),
)
def test_a_partial_is_written_as_a_text_that_is_read_back_as_the_same_values_or_is_refused(prefix, n):
    try:
        with Given(functools.partial(wide, prefix=prefix, n=n, rate=n)) as (text,):
            (spec,) = parse_specs(text)
    except InvalidParameter as error:
        assert "prefix cannot be" in error.message
    else:
        assert spec.params == {"prefix": prefix, "n": n, "rate": n}


@pytest.mark.parametrize("params", [{"parts": [1, 2]}, {"parts": [3]}, {"bare": 4}, {"prefix": "a,n=2"}], ids=str)
def test_a_value_that_the_record_of_a_run_would_not_give_back_is_refused(params):
    (name,) = params
    with pytest.raises(InvalidParameter, match=f"wide: {name} cannot be .* the record of a run holds"):
        Given(functools.partial(wide, **params))
