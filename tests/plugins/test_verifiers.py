"""Verifiers by name: their two shapes, plain functions, and parameters in every spec."""

import string
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.executor import score_in_worker
from tts.core.addresses import beside, call_of, called, canonical
from tts.core.protocols import checked, question_of
from tts.errors import CallFailed, InvalidParameter, UnknownName
from tts.plugins.dependencies import plugin_digests, verifier_names, verifiers_of
from tts.plugins.spec import check_spec, parse_specs
from tts.plugins.verifiers import verifier, verifier_address
from tts.testing import Sample, ScriptedCluster
from tts.types import Candidate, Completion, Problem, Score, StrategySpec

PROBLEM = Problem("p", "What is 2 + 2?")
CANDIDATE = Candidate("p/1", "four", "4", Completion("four"))

FILE = """
    from tts.core.actions import Request
    from tts.types import Message, Sampling

    def short(problem, candidate, *, limit: int = 3, scale: float = 1.0):
        return scale * (len(candidate.text) <= limit) if candidate.answer else None

    async def awaited(problem, candidate): ...

    def required(problem, candidate, *, limit: int): ...

    class Required:
        def __init__(self, *, n: int): ...

    def apart(problem, candidate, *, limit: int = 3):
        return len(candidate.text) <= limit

    apart.in_worker = True

    class Asks:
        def __init__(self, *, words: int = 1, model=None): self.words, self.model = words, model
        def request(self, problem, candidate):
            return Request((Message("user", f"{self.words} words: {candidate.text}"),), Sampling(max_tokens=50))
        def read(self, completion): return float("good" in completion.text)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(textwrap.dedent(FILE))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("tts_plugin_mine")]:
        del sys.modules[name]


words = st.text(string.ascii_lowercase + "_", min_size=1, max_size=6)
values = st.text(string.ascii_letters + string.digits + "._-/:", min_size=1, max_size=8)


@given(words, st.dictionaries(words, values | st.builds(lambda name, value: f"{name}(x={value})", words, values)))
def test_a_name_with_parameters_is_read_from_what_is_written_of_it(name, params):
    text = called(name, params)
    assert call_of(text) == (name, params)
    assert canonical(text) == text == called(name, dict(reversed(params.items())))


@given(words, st.dictionaries(words, values, max_size=3), st.integers(1, 99))
def test_a_spec_holds_a_verifier_with_parameters_beside_its_own(name, params, n):
    written = called(name, params)
    (spec,) = parse_specs(f"best_of_n:verifier={written},n={n}")
    assert spec == StrategySpec("best_of_n", {"verifier": written, "n": n})
    assert parse_specs(str(spec)) == [spec]
    assert check_spec(spec) is spec


def test_every_way_of_writing_one_setting_is_one_spec():
    (one,) = parse_specs("best_of_n:n=2,verifier=genrm( max_tokens = 64 )")
    assert str(one) == "best_of_n:n=2,verifier=genrm(max_tokens=64)"
    assert check_spec(StrategySpec("best_of_n", {"n": 2, "verifier": "genrm(max_tokens=64,)"})) == one
    assert canonical("mine.py:short(scale=2,limit=1)") == "mine.py:short(limit=1,scale=2)"
    assert canonical("genrm()") == "genrm"


def test_two_settings_are_two_specs_with_a_verifier_each():
    specs = parse_specs("genrm:n=1,verifier=genrm(max_tokens=64),judge,genrm(max_tokens=128)")
    names = ["genrm(max_tokens=64)", "judge", "genrm(max_tokens=128)"]
    assert [spec.params["verifier"] for spec in specs] == names
    assert [getattr(made, "max_tokens", None) for made in verifiers_of(specs).values()] == [64, 4, 128]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("genrm(max_token=64)", UnknownName, "unknown parameter of genrm 'max_token'. Did you mean 'max_tokens'?"),
        ("genrm(max_tokens=many)", InvalidParameter, "genrm: max_tokens must be int, but got 'many'"),
        ("genrm(max_tokens=0)", InvalidParameter, "max_tokens must be at least 1, but got 0"),
        ("genrm(64)", InvalidParameter, "expected NAME(PARAM=VALUE,...), but got '64'"),
        ("genrm(max_tokens=1,max_tokens=2)", InvalidParameter, "but got a second max_tokens"),
        ("genrm(max_tokens=64", InvalidParameter, "its brackets do not match"),
        ("genrm(model=big)", InvalidParameter, "verifier_model names what verifies for the whole run"),
        ("mine.py:required", InvalidParameter, "parameter limit of the verifier mine.py:required must have a default"),
        ("mine.py:Required(n=1)", InvalidParameter, "parameter n of the verifier mine.py:Required must have a default"),
        ("constraint(limit=3)", UnknownName, "unknown parameter of constraint 'limit'"),
        ("mine.py:short(limits=3)", UnknownName, "Did you mean 'limit'?"),
        ("mine.py:awaited", InvalidParameter, "a function `(problem, candidate, *, limit=10)` that needs no await"),
    ],
)
def test_a_verifier_that_cannot_be_meant_is_refused_in_one_sentence(text, error, message):
    with pytest.raises(error) as caught:
        verifier(text)
    assert message in caught.value.message


def test_a_plain_function_is_a_verifier_and_its_parameters_are_in_the_text():
    assert verifier("mine.py:short").score(PROBLEM, CANDIDATE) == 0.0
    assert verifier("mine.py:short(limit=4,scale=0.5)").score(PROBLEM, CANDIDATE) == 0.5
    assert question_of(verifier("mine.py:short"), PROBLEM, CANDIDATE) is None


@pytest.mark.parametrize(("text", "value"), [("mine.py:apart", 0.0), ("mine.py:apart(limit=4)", 1.0)])
def test_a_worker_process_makes_the_same_verifier_from_its_text(text, value):
    made = verifier(text)
    arguments = {"id": "p", "prompt": "q"}, {"id": "p/1", "text": "four", "answer": "4", "completion": {"text": "four"}}
    score = score_in_worker(verifier_address(made), text, *arguments)
    assert made.in_worker and (score["value"], score["verifier"]) == (value, text)


@pytest.mark.parametrize("name", ["mine.py:short(limit=9)", "mine.py:Asks(words=2)"])
def test_both_shapes_score_under_the_name_that_the_spec_gives(name):
    def world(request, number):
        if number < 2:
            return Sample(text=["Answer: 4", "Answer: 50"][number])
        return Sample(text="good" if request.messages[0].content == "2 words: Answer: 4" else "bad")

    (spec,) = parse_specs(f"best_of_n:n=2,verifier={name}")
    result = ScriptedCluster(world, verifiers=verifiers_of([spec])).run("best_of_n", **spec.params).result
    found = [score for each in result.scores.values() for score in each]
    assert [score.value for score in found] == [1.0, 0.0]
    assert {(score.verifier, score.kind) for score in found} == {(name, "scale")}
    assert result.answer == "4"


def test_a_number_or_none_is_a_score_and_text_is_not():
    assert checked(1, "v") == Score(1.0, "v", "scale") and checked(None, "v", "rank") == Score(None, "v", "rank")
    assert checked(Score(0.5, "theirs", "logit"), "v") == Score(0.5, "v", "logit")
    with pytest.raises(CallFailed, match=r"must return a tts\.types\.Score, a number, or None"):
        checked("0.5", "v")


def test_parameters_do_not_hide_the_file_of_a_verifier(folder):
    (spec,) = parse_specs("best_of_n:verifier=mine.py:short(limit=9)")
    assert [*plugin_digests([spec])] == ["mine.py"]
    assert beside("a/b.py", ":Mine(limit=c:d)") == "a/b.py:Mine(limit=c:d)"
    (folder / "ideas.py").write_text("async def mine(problem, run, *, verifier: str = ':short( limit = 2 )'): ...\n")
    assert [*verifier_names([StrategySpec("ideas.py:mine")])] == ["ideas.py:short(limit=2)"]


@pytest.mark.parametrize("text", ["Solve it (carefully).", "1) think", "Note: compute f(x), then (y", "a:b(c=)d"])
def test_a_parameter_whose_text_has_brackets_is_no_verifier(folder, text):
    (folder / "plug.py").write_text(f"async def plug(problem, run, *, prompt: str = {text!r}): ...\n")
    assert list(verifier_names([StrategySpec("plug.py:plug"), StrategySpec("plug.py:plug", {"prompt": text})])) == []
    assert check_spec(StrategySpec("plug.py:plug", {"prompt": text})).params == {"prompt": text}


def test_a_default_may_name_a_function_of_the_strategys_own_file(folder):
    code = """
        def short(problem, candidate, *, limit: int = 3): return len(candidate.text) <= limit
        async def plug(problem, run, *, judge: str = ":short"): ...
    """
    (folder / "plug.py").write_text(textwrap.dedent(code))
    specs = [StrategySpec("plug.py:plug"), StrategySpec("plug.py:plug", {"judge": ":short(limit=9)"})]
    assert list(verifier_names(specs)) == ["plug.py:short", "plug.py:short(limit=9)"]
    assert verifiers_of(specs)["plug.py:short(limit=9)"].score(PROBLEM, CANDIDATE) is True


def test_the_name_of_a_recorded_score_may_have_brackets():
    spec = StrategySpec("best_of_n", {"n": 2, "verifier": "reward (v2)"})
    assert list(verifier_names([spec])) == ["reward (v2)"]


def test_a_class_whose_signature_nobody_can_read_is_refused_in_one_sentence():
    with pytest.raises(InvalidParameter, match="verifier builtins:dict"):
        verifier("builtins:dict")
