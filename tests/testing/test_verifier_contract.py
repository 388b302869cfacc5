"""The contract that authors of verifiers inherit: what passes, and which test catches what."""

import itertools
import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest

from tts.core.actions import Request
from tts.testing import VerifierContract
from tts.types import Message, Problem, Sampling, Score

ASKED = Request((Message("user", "Is that right?"),), Sampling(max_tokens=4))
COUNT = itertools.count()


def short(problem, candidate, *, most: int = 10):
    return None if candidate.answer is None else float(len(candidate.answer) <= most)


class Asks:
    kind = "probability"

    def __init__(self, *, words: int = 1, model=None):
        self.words, self.model = words, model

    def request(self, problem, candidate):
        return ASKED

    def read(self, completion):
        return {"Yes": 1.0, "No": 0.0}.get(completion.text)


class TestFunction(VerifierContract):
    verifier = partial(short, most=3)


class TestAsks(VerifierContract):
    verifier = Asks(words=2)


def unbounded(problem, candidate):
    return Score(1.5, "unbounded", "pass_rate")


def infinite(problem, candidate):
    return float("inf")


def fragile(problem, candidate):
    return float(len(candidate.answer))


def wordy(problem, candidate):
    return "good"


def counts(problem, candidate):
    return float(next(COUNT))


def hashes(problem, candidate):
    return float(hash(candidate.text) % 1000)


def notes(problem, candidate):
    problem.facts["seen"] = True
    return 1.0


def listed(problem, candidate, *, words: list = []):  # noqa: B006 - what is caught
    return 1.0


def required(problem, candidate, *, most: int):
    return 1.0


class Remembers:
    def __init__(self):
        self.seen = set()

    def score(self, problem, candidate):
        self.seen.add(candidate.id)
        return float(len(self.seen))


class Kinds:
    kind = "stars"

    def score(self, problem, candidate):
        return 1.0


class Mute:
    def request(self, problem, candidate):
        return ASKED

    def read(self, completion):
        return 1.0

    def __getattribute__(self, name):
        if name == "score" or (name == "read" and sys._getframe(1).f_code.co_name != "has_shape"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)


class Words(Asks):
    def request(self, problem, candidate):
        return "Is that right?"


SCORES = "test_its_scores_are_in_the_range_of_their_kind_or_abstentions"


@pytest.mark.parametrize(
    ("verifier", "test", "advice"),
    [
        (unbounded, SCORES, "a pass_rate of 1.5, which must be from 0 to 1"),
        (infinite, SCORES, "it raised InvalidParameter"),
        (fragile, SCORES, "it raised TypeError.*Return None to abstain"),
        (wordy, SCORES, r"must return a tts\.types\.Score, a number, or None"),
        (counts, "test_the_same_candidate_gets_the_same_score", "when it was asked again"),
        (Remembers, "test_the_same_candidate_gets_the_same_score", "when it was asked again"),
        (hashes, "test_another_process_gives_the_same_scores", "in another process"),
        (notes, "test_it_changes_neither_the_problem_nor_a_candidate", "work on a copy"),
        (listed, "test_its_text_makes_it_again", "words: list has the default .* cannot be read back"),
        (required, "test_its_text_makes_it_again", "parameter most of the verifier .*required must have a default"),
        (lambda problem, candidate: 1.0, "test_its_text_makes_it_again", "at the top level of a file"),
        (Kinds, "test_it_asks_a_model_or_computes", "kind is 'stars'"),
        (Mute, "test_it_asks_a_model_or_computes", "it has no `read`"),
        (Words, "test_it_asks_a_model_or_computes", r"returned 'Is that right\?', not a tts\.core\.actions\.Request"),
        (None, "test_its_text_makes_it_again", "set `verifier` to a class, a function"),
        ("judge(max_token=3)", "test_its_text_makes_it_again", "Did you mean 'max_tokens'"),
    ],
)
def test_the_contract_catches_a_verifier_that(verifier, test, advice):
    given = verifier if isinstance(verifier, type | str | None) else staticmethod(verifier)
    contract = type("Contract", (VerifierContract,), {"verifier": given})()
    with pytest.raises(AssertionError, match=f"(?s){advice}"):
        getattr(contract, test)()


def test_a_verifier_whose_file_imports_what_knows_the_references_is_caught(tmp_path: Path):
    code = "def mine(problem, candidate):\n    from tts.tasks.graders import Verdict\n    return 1.0\n"
    (tmp_path / "cheats.py").write_text(code)
    contract = type("Contract", (VerifierContract,), {"verifier": f"{tmp_path}/cheats.py:mine"})()
    with pytest.raises(AssertionError, match=r"its file imports tts\.tasks\.graders\.Verdict"):
        contract.test_it_knows_no_reference_answer()


def test_a_problem_that_states_its_answer_is_no_problem_of_a_run():
    problem = Problem("p", "?", facts={"answer": "4"})
    contract = type("Contract", (VerifierContract,), {"verifier": "constraint", "problem": problem})()
    with pytest.raises(AssertionError, match="the problem states its answer"):
        contract.test_it_knows_no_reference_answer()


PLUGIN = """
    from tts.types import Candidate, Problem

    class {name}:
        def __init__(self, *, most: int = 10) -> None:
            self.most = most
        def score(self, problem: Problem, candidate: Candidate) -> float:
            return {score}
"""


def test_a_plugin_author_runs_the_contract_with_bare_pytest(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(PLUGIN).format(name="Good", score="len(candidate.text) / self.most")
        + textwrap.dedent(PLUGIN).format(name="Bad", score="1 / len(candidate.text)")
    )
    (tmp_path / "test_plugin.py").write_text(
        textwrap.dedent(f"""
            from mine import Bad
            from tts.testing import VerifierContract

            class TestFile(VerifierContract):
                verifier = "{tmp_path}/mine.py:Good(most=3)"

            class TestBad(VerifierContract):
                verifier = Bad(most=3)
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=."]
    done = subprocess.run(
        [*command, "test_plugin.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed and all("TestBad" in line for line in failed), done.stdout + done.stderr
    assert "it raised ZeroDivisionError: division by zero. Return None to abstain" in done.stdout
    assert f"{len(failed)} failed, {14 - len(failed)} passed" in done.stdout
