"""The one text of each setting of a verifier: however it is written, and whatever a program gives."""

import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.api.arguments import as_spec
from tts.core.addresses import called
from tts.errors import InvalidParameter, UnknownName
from tts.plugins.dependencies import verifier_names
from tts.plugins.given import Given
from tts.plugins.spec import check_spec, normal_specs, parse_specs
from tts.plugins.verifier_texts import normal_text, text_of
from tts.plugins.verifiers import verifier
from tts.types import Candidate, Completion, Problem, StrategySpec
from tts.verifiers.confidence.self_certainty import SelfCertainty
from tts.verifiers.generative.genrm import GenRM
from tts.verifiers.generative.judge import Judge

PROBLEM = Problem("p", "What is 2 + 2?")
CANDIDATE = Candidate("p/1", "four", "4", Completion("four"))

FILE = """
    import dataclasses

    def short(problem, candidate, *, limit: int = 3, scale: float = 1.0, strict: bool = False, word: str = ""):
        return scale * (len(candidate.text) <= limit)

    class Plain:
        def __init__(self, *, limit: int = 3, model=None):
            self.limit, self.model = limit, model
        def score(self, problem, candidate): return len(candidate.text) <= self.limit

    @dataclasses.dataclass
    class Fields:
        limit: int = 3
        word: str | None = None
        def score(self, problem, candidate): return len(candidate.text) <= self.limit

    class Hides:
        def __init__(self, *, limit: int = 3): self._limit = limit
        def score(self, problem, candidate): return len(candidate.text) <= self._limit

    async def mine(problem, run, *, judge: str = ":short", prompt: str = "f(a=1,b=2)", verifier: str = "judge"): ...
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(textwrap.dedent(FILE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import mine

    yield mine
    for name in [name for name in sys.modules if name == "mine" or name.startswith("tts_plugin_mine")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("written", "one"),
    [
        ("genrm( max_tokens=064 )", "genrm(max_tokens=64)"),
        ("genrm(max_tokens=1_024)", "genrm(max_tokens=1024)"),
        ("genrm(max_tokens=512)", "genrm"),
        ("judge(max_tokens=4,)", "judge"),
        ("genrm()", "genrm"),
        ("tts.verifiers.generative.genrm:GenRM(max_tokens=064)", "genrm(max_tokens=64)"),
        ("tts.verifiers.confidence.self_certainty:SelfCertainty", "self_certainty"),
        ("mine.py:short(strict=1,scale=2,limit=3)", "mine.py:short(scale=2.0,strict=True)"),
        ("mine.py:short(scale=1,strict=FALSE,word=)", "mine.py:short"),
        ("mine:Fields(word=none,limit=03)", "mine:Fields"),
        ("mine:Plain(limit=05)", "mine:Plain(limit=5)"),
        # Nobody knows these parameters: they stay as they are written.
        ("nowhere.py:f(b=01,a=2)", "nowhere.py:f(a=2,b=01)"),
        ("genrm(max_token=064)", "genrm(max_token=064)"),
        ("genrm(max_tokens=many)", "genrm(max_tokens=many)"),
        ("reward (v2)", "reward (v2)"),
        ("column", "column"),
    ],
)
def test_every_way_of_writing_a_setting_has_one_text(written, one):
    assert normal_text(written) == normal_text(one) == one
    assert parse_specs(f"best_of_n:verifier={written}")[0].params["verifier"] == one


@given(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.from_regex(r"[a-z.:/-]*", fullmatch=True),
)
def test_the_one_text_makes_a_verifier_with_the_values_that_were_given(limit, scale, strict, word):
    values = {"limit": limit, "scale": scale, "strict": strict, "word": word}
    text = text_of(partial(sys.modules["mine"].short, **values))
    assert normal_text(called("mine:short", values)) == normal_text(text) == text
    defaults = {"limit": 3, "scale": 1.0, "strict": False, "word": ""}
    assert {**defaults, **verifier(text).params} == values


def test_a_parameter_that_only_its_default_shows_to_be_a_verifiers_has_the_one_text_too():
    text = "mine.py:mine:judge=genrm(max_tokens=064),:short(limit=03),prompt=f(b=02,a=1)"
    one, two = parse_specs(text)
    assert [one.params, two.params] == [
        {"judge": "genrm(max_tokens=64)", "prompt": "f(b=02,a=1)"},
        {"judge": ":short", "prompt": "f(b=02,a=1)"},
    ]
    assert [*verifier_names([one, two])] == ["genrm(max_tokens=64)", "judge", "mine.py:short", "judge"]
    assert check_spec(StrategySpec("mine.py:mine", {"judge": "genrm(max_tokens=064)"})) == StrategySpec(
        "mine.py:mine", {"judge": "genrm(max_tokens=64)"}
    )


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (
            "best_of_n:n=04,2,verifier=judge( max_tokens=08 ),genrm",
            "best_of_n:n=04,2,verifier=judge(max_tokens=8),genrm",
        ),
        ("best_of_n: n = 2 , 4", "best_of_n: n = 2 , 4"),
        ("single", "single"),
    ],
)
def test_a_run_writes_down_the_one_text_of_its_verifiers_and_leaves_the_rest_alone(written, kept):
    assert normal_specs(written) == normal_specs(kept) == kept
    assert parse_specs(written) == parse_specs(kept)


# --- what a program gives


async def own(problem, run, *, verifier: str = "judge", judge: str = "judge", tool: object = None):
    return (await run.generate())[0]


def test_a_program_gives_a_verifier_as_a_class_a_function_an_object_or_a_partial(mine):
    for thing, text in [
        (GenRM, "genrm"),
        (GenRM(max_tokens=64), "genrm(max_tokens=64)"),
        (Judge(max_tokens=4), "judge"),
        (SelfCertainty(), "self_certainty"),
        (partial(GenRM, max_tokens=64), "genrm(max_tokens=64)"),
        (mine.short, "mine:short"),
        (partial(mine.short, limit=9), "mine:short(limit=9)"),
        (mine.Plain(limit=9), "mine:Plain(limit=9)"),
        (mine.Fields(9, word="a"), "mine:Fields(limit=9,word=a)"),
        (verifier("mine:short(limit=9)"), "mine:short(limit=9)"),
    ]:
        assert text_of(thing) == text
        expected = StrategySpec("best_of_n", {"n": 2, "verifier": text})
        given = StrategySpec("best_of_n", {"n": 2, "verifier": thing})
        assert as_spec("best_of_n:n=2", {"verifier": thing})[0] == as_spec(given, None)[0] == expected
        for name in ("verifier", "judge"):
            asked = partial(own, **{name: thing})
            assert as_spec(asked, None)[0].params == {name: text}
            with Given([given, asked]) as texts:
                assert texts == (str(expected), f"own:{name}={text}")
    assert as_spec(partial(own, tool=mine.Plain()), None)[0].params["tool"].limit == 3  # no verifier is asked for


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda mine: lambda problem, candidate: 1.0, "a verifier must be a class or function at the top level"),
        (
            lambda mine: mine.Hides(limit=4),
            r"give its text, 'mine:Hides\(limit=\.\.\.\)', or functools\.partial\(Hides",
        ),
        (lambda mine: mine.Fields(word="none"), r"cannot be read from its attributes"),
        (lambda mine: mine.Fields(word="a,limit=4"), r"cannot be read from its attributes"),
        (lambda mine: vars(changed := mine.Plain()).update(seen=1) or changed, "cannot be read from its attributes"),
        (lambda mine: GenRM(model="big"), "verifier_model names what verifies for the whole run"),
        (
            lambda mine: partial(mine.short, word="a,limit=4"),
            r"{'word': 'a,limit=4'}, which no text can hold",
        ),
        (lambda mine: partial(mine.short, word=" a"), "which no text can hold"),
        (lambda mine: partial(mine.short, limit=True), "limit must be int, but got 'True'"),
    ],
)
def test_a_verifier_of_a_program_that_no_text_tells_is_refused_in_one_sentence(mine, make, message):
    with pytest.raises(InvalidParameter, match=message):
        as_spec("best_of_n", {"verifier": make(mine)})


def test_an_unknown_parameter_in_a_partial_gets_the_nearest_name(mine):
    with pytest.raises(UnknownName, match="Did you mean 'limit'"):
        as_spec("best_of_n", {"verifier": partial(mine.short, limits=9)})
