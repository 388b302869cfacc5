"""The language of specs: text -> a name with values for its parameters."""

import pytest

from tts.errors import InvalidParameter, UnknownName
from tts.plugins.spec import check_spec, parse_specs, split_spec
from tts.testing import ScriptedCluster
from tts.types import StrategySpec


def params(text: str) -> list[dict]:
    return [dict(spec.params) for spec in parse_specs(text)]


def test_a_name_alone_is_one_spec_without_parameters():
    assert parse_specs("single") == [StrategySpec("single")]
    assert parse_specs("  single:  ") == [StrategySpec("single")]


def test_several_values_are_one_spec_each():
    assert params("majority_vote:n=1,2,4") == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert params("majority_vote:n = 1 , 2") == [{"n": 1}, {"n": 2}]


def test_several_parameters_with_several_values_are_every_combination_the_last_fastest():
    assert params("best_of_n:n=1,2,verifier=judge,genrm") == [
        {"n": 1, "verifier": "judge"},
        {"n": 1, "verifier": "genrm"},
        {"n": 2, "verifier": "judge"},
        {"n": 2, "verifier": "genrm"},
    ]
    assert len(params("sequential_revision:chains=1,2,rounds=1,2,3,selector=majority,best_score,verifier=judge")) == 12


def test_what_a_spec_says_of_itself_is_what_it_was_parsed_from():
    for text in ("single", "best_of_n:n=4,verifier=judge", "majority_vote:n=8,stop_at=0.95"):
        (spec,) = parse_specs(text)
        assert str(spec) == text
        assert check_spec(spec) is spec


def test_an_open_count_is_written_none():
    assert params("best_of_n:n=none,4") == [{"n": None}, {"n": 4}]
    assert params("majority_vote:stop_at=None") == [{"stop_at": None}]


def test_a_whole_number_will_do_where_a_float_is_asked_for():
    (found,) = params("majority_vote:stop_at=1")
    assert found == {"stop_at": 1.0} and type(found["stop_at"]) is float


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("f(a,b)", ["f(a", "b)"]),
        ("(,[", ["(", "["]),
        (":(,:)", [":(", ":)"]),
        ("1) think,2) act", ["1) think", "2) act"]),
        ("v(x=1,y=2),w", ["v(x=1,y=2)", "w"]),
        ("v( x = w(y=1,z=2), k=(a,b) ),w", ["v( x = w(y=1,z=2), k=(a,b) )", "w"]),
        ("f(a,v(x=1,y=2)", ["f(a", "v(x=1,y=2)"]),
    ],
)
def test_a_comma_ends_a_value_but_in_the_brackets_of_parameters(written, values):
    assert split_spec(f"s:prompt={written},n=4", "strategy") == ("s", {"prompt": values, "n": ["4"]})


def test_a_bracket_that_is_never_closed_takes_no_other_parameter_in():
    assert split_spec("s:verifier=v(x=1,n=4", "strategy")[1] == {"verifier": ["v(x=1"], "n": ["4"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best_of_n:n=four", "n must be int | None, but got 'four'"),
        ("best_of_n:n=4.5", "n must be int | None, but got '4.5'"),
        ("best_of_n:n=", "n must be int | None, but got ''"),
        ("first_finish:n=none", "n must be int, but got 'none'"),
        ("majority_vote:stop_at=high", "stop_at must be float | None, but got 'high'"),
        ("majority_vote:stop_at=nan", "but got 'nan'"),
        ("majority_vote:stop_at=inf", "but got 'inf'"),
        ("best_of_n:8", "expected PARAM=VALUE, but got '8'"),
        ("best_of_n:=8", "expected PARAM=VALUE, but got '=8'"),
        ("", "NAME or NAME:PARAM=VALUE"),
        (":n=4", "NAME or NAME:PARAM=VALUE"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_it_must_be(text, message):
    with pytest.raises(InvalidParameter) as caught:
        parse_specs(text)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best_of_m", "unknown strategy 'best_of_m'. Did you mean 'best_of_n'?"),
        ("majority:n=3", "Did you mean 'majority_vote'?"),
        ("zzz", "unknown strategy 'zzz'. Known: ab_mcts, "),
        ("best_of_n:verifer=judge", "unknown parameter of best_of_n 'verifer'. Did you mean 'verifier'?"),
        ("single:n=3", "unknown parameter of single 'n'."),
    ],
)
def test_an_unknown_name_offers_the_nearest(text, message):
    with pytest.raises(UnknownName) as caught:
        parse_specs(text)
    assert message in caught.value.message


def test_a_spec_made_by_a_program_is_held_to_the_same_types():
    check_spec(StrategySpec("best_of_n", {"n": None, "verifier": "judge"}))
    check_spec(StrategySpec("majority_vote", {"stop_at": 1}))
    for bad in ({"n": "4"}, {"n": 4.0}, {"n": True}, {"verifier": None}):
        with pytest.raises(InvalidParameter, match="must be"):
            check_spec(StrategySpec("best_of_n", bad))
    with pytest.raises(UnknownName, match="Did you mean 'n'"):
        check_spec(StrategySpec("best_of_n", {"nn": 4}))
    with pytest.raises(UnknownName, match="unknown strategy"):
        check_spec(StrategySpec("worst_of_n"))


@pytest.mark.parametrize("text", ["best_of_n:n=0", "majority_vote:n=0,-3", "first_finish:n=0", "genrm:n=0"])
def test_a_count_of_nothing_parses_and_is_refused_by_the_strategy_before_it_asks_for_anything(text):
    for spec in parse_specs(text):
        outcome = ScriptedCluster([]).run(spec.name, **spec.params)
        assert outcome.result.error.type == "InvalidParameter"
        assert "n must be at least 1, but got" in outcome.result.error.message
        assert not outcome.actions
