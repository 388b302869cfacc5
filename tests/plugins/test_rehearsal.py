"""What a plugin says that a model replies to its prompts: found beside strategies, parts and judges, and used before a
run."""

import itertools
import random
from pathlib import Path

import pytest

import tts
from tts.core.actions import Request
from tts.errors import InvalidParameter, StrategyCrashed
from tts.plugins.names import strategy
from tts.plugins.rehearsal import rehearsal
from tts.plugins.spec import parse_specs
from tts.testing import FakeEngine, arithmetic
from tts.types import Message, Sampling

numbers = itertools.count()
STRATEGY = """
async def mine(problem, run, *, verifier: str = "JUDGE.py:judge", strategy: str = "single"):
    (letter,) = await run.ask("Which letter?")
    return {"A": (await run.generate())[0]}[letter.text]

def rehearse(request, random):
    return REPLY if "letter" in request.messages[-1].content else None
"""
JUDGE = """
async def judge(problem, candidates, run):
    return [0.0 for _ in candidates]

def rehearse(request, random):
    return "from the judge" if "judge" in request.messages[-1].content else None
"""


def plugin(folder: Path, reply: str) -> str:
    number = next(numbers)
    (folder / f"judge{number}.py").write_text(JUDGE)
    file = folder / f"mine{number}.py"
    file.write_text(STRATEGY.replace("REPLY", reply).replace("JUDGE", f"judge{number}"))
    return f"{file}:mine"


def said(name: str, prompt: str) -> str | None:
    rehearse = rehearsal(parse_specs(name), strategy)
    assert rehearse is not None
    return rehearse(Request((Message("user", prompt),), Sampling()), random.Random(0))


def test_replies_come_from_the_files_of_the_strategy_its_parts_and_its_judges(tmp_path: Path) -> None:
    name, inner = plugin(tmp_path, "'A'"), plugin(tmp_path, "'B'")
    assert said(name, "Which letter?") == "A"
    assert said(name, "a judge") == "from the judge"
    assert said(f"{name}:strategy={inner}", "Which letter?") == "A"  # the outer one's
    assert said(name, "What is 2 + 2?") is None
    assert rehearsal(parse_specs("best_of_n:n=2"), strategy) is None


@pytest.mark.parametrize(
    ("reply", "why"),
    [("7", r"rehearse must return the text of a reply, or None .*, but returned 7"),
     ("{}['A']", r"rehearse raised KeyError: 'A' at .*mine\d+\.py:7")],
)  # fmt: skip
def test_a_rehearsal_that_fails_or_is_no_text_is_refused(tmp_path: Path, reply: str, why: str) -> None:
    with pytest.raises(InvalidParameter, match=why):
        said(plugin(tmp_path, reply), "Which letter?")


def test_a_plugin_that_cannot_read_what_it_says_itself_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with FakeEngine(arithmetic()) as engine:
        tts.solve("What is 19 + 23?", "single", base_url=engine.base_url)
        asked = engine.stats().requests
        for call in (tts.solve, tts.sweep):
            subject = "What is 19 + 23?" if call is tts.solve else "arithmetic?size=1"
            with pytest.raises(StrategyCrashed, match="KeyError: 'B'"):
                call(subject, plugin(tmp_path, "'B'"), base_url=engine.base_url)
        assert engine.stats().requests == asked
