"""The contract of verifiers, as tests that a plugin's author inherits. They need pytest, and no plugin of it.

from tts.testing import VerifierContract
from my_package import MyVerifier

class TestMyVerifier(VerifierContract):
    verifier = MyVerifier
"""

from __future__ import annotations

import ast
import copy
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from inspect import getattr_static
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from tts.core.actions import Request
from tts.core.addresses import KNOW_REFERENCES, call_of, called
from tts.core.protocols import (
    Verifier,
    checked,
    computed_by,
    is_in_worker,
    kind_of,
    logprobs_for,
    question_of,
    read_by,
)
from tts.core.trials.context import Run
from tts.errors import TTSError
from tts.plugins.names import verifier_named
from tts.plugins.verifier_texts import normal_text, text_of
from tts.plugins.verifiers import parameters_of, verifier
from tts.testing.cluster import Sample, ScriptedCluster
from tts.testing.driver import fail
from tts.testing.elsewhere import elsewhere
from tts.types import SCORE_KINDS, Candidate, Completion, LogprobSummary, Problem, Score, TokenLogprob

_SURE = LogprobSummary(-0.1, -0.1, None, (TokenLogprob("Yes", -0.1, (("Yes", -0.1), ("No", -2.4))),))
_SHARES = ("probability", "pass_rate")  # kinds of scores from 0 to 1
_REFERENCES = ("answer", "answerKey", "label", "reference", "solution")  # what a task calls the right answer
_UNREPEATABLE = "Decide from the problem, the candidate and the parameters alone."


class VerifierContract:
    """The conformance tests of a verifier. Subclass it under a name that begins with `Test`.

    Attributes:
        verifier: the class, the function, an object, a partial of these, or how a spec says it (`"genrm"`,
            `"my_file.py:Mine(limit=3)"`).
        problem: what the candidates answer.
        candidates: what is scored: right, wrong, without an answer, empty.
        replies: what a model says to a verifier that asks one: each of them to each question.
    """

    verifier: ClassVar[Any]
    problem: ClassVar[Problem] = Problem("p", "What is 2 + 2?")
    candidates: ClassVar[Sequence[Candidate]] = (
        Candidate("p/1", "2 + 2 is 4. Answer: 4", "4", Completion("", logprobs=LogprobSummary(-0.2, -0.5, 1.5))),
        Candidate("p/2", "Answer: 5", "5", Completion("Answer: 5")),
        Candidate("p/3", "I do not know.", None, Completion("I do not know.")),
        Candidate("p/4", "", None, Completion("", "length")),
    )
    replies: ClassVar[Sequence[Completion]] = (
        Completion("Yes", logprobs=_SURE),
        *map(Completion, ("Yes", "No", "No, wait: yes.", "I cannot say.", "0.75", "")),
    )

    # --- the contract

    def test_it_asks_a_model_or_computes(self) -> None:
        """The verifier has `request` and `read`, or `score`, or `judge`, and attributes of the right kinds."""
        made = self._made()
        for name, value, fits in (
            ("kind", kind_of(made), kind_of(made) in SCORE_KINDS),
            ("candidate_logprobs", logprobs_for(made), logprobs_for(made) >= 0),
            ("in_worker", is_in_worker(made), True),
        ):
            if not fits:
                fail(f"its attribute {name} is {value!r}: see tts.core.protocols.Verifier")
        for candidate in self.candidates:
            request = question_of(made, self._problem(), candidate)
            if request is not None and not isinstance(request, Request):
                fail(f"its `request` returned {request!r}, not a tts.core.actions.Request, or None to compute")
            needed = "score" if request is None else "read"
            if not hasattr(made, "judge") and not hasattr(made, needed):
                fail(f"it has no `{needed}`: a verifier has `request` and `read` to ask a model, or `score` to compute")

    def test_its_scores_are_in_the_range_of_their_kind_or_abstentions(self) -> None:
        """Scores are in range for any candidate, and any reply of a model."""
        made = self._made()
        for candidate, score in [*self._scores(made), *self._scores_of_all(made)]:
            if score.value is not None and score.kind in _SHARES and not 0 <= score.value <= 1:
                fail(
                    f"it gave {candidate.text!r} a {score.kind} of {score.value:g}, which must be from 0 to 1: set "
                    f'`kind = "scale"` for other numbers, and return None to abstain'
                )

    def test_the_same_candidate_gets_the_same_score(self) -> None:
        """Twice from one object, in another order, and from a new object."""
        made = self._made()
        first = self._said(made)
        if self._said(made, backwards=True) != first or self._said(self._made()) != first:
            fail(f"it said something else of the same candidates when it was asked again. {_UNREPEATABLE}")

    def test_another_process_gives_the_same_scores(self) -> None:
        """Scores are the same where strings hash otherwise: a worker and a node make the verifier from its text."""
        text = self._text()
        module = self._thing().__module__
        given = pickle.dumps((text, self.problem, self.candidates, self.replies))
        sources = {module: getattr(sys.modules.get(module), "__file__", None)} if ".py:" not in text else {}
        # One other process is enough: the seed of this one was drawn at random.
        (theirs,) = elsewhere("tts.testing.verifier_contract:said_by", given, sources, ("1",))
        if theirs != self._said(self._made()):
            fail(f"it said something else of the same candidates in another process. {_UNREPEATABLE}")

    def test_it_changes_neither_the_problem_nor_a_candidate(self) -> None:
        """Others are given the same ones."""
        problem, candidates = self._problem(), copy.deepcopy(self.candidates)
        before = msgspec.json.encode((problem, candidates))
        for candidate in candidates:
            self._of_one(self._made(), problem, candidate)
        if msgspec.json.encode((problem, candidates)) != before:
            fail("it changed the problem or a candidate that it was given: work on a copy")

    def test_it_knows_no_reference_answer(self) -> None:
        """None is in the problem that it is given, and its file imports nothing that has them."""
        for key in _REFERENCES:
            if key in self.problem.facts:
                fail(f"the problem states its {key}, which no problem of a run does: leave it out of `facts`")
        for module in _imported(self._thing()):
            if any(module == known or module.startswith(f"{known}.") for known in KNOW_REFERENCES):
                fail(f"its file imports {module}, which knows the reference answers: only a grader may")

    def test_its_text_makes_it_again(self) -> None:
        """With parameters whose defaults can be written; written out, they are the same setting."""
        name, _ = call_of(self._text())
        for parameter in parameters_of(name, self._thing()).values():
            text = called(name, {parameter.name: parameter.default})
            if normal_text(text) != name:
                fail(
                    f"its parameter {parameter.name}: {parameter.type} has the default {parameter.default!r}, which "
                    f"cannot be read back from the text {text!r}: use int, float, bool, str or None, and say which"
                )

    # --- running it

    def _text(self) -> str:
        given = getattr_static(type(self), "verifier", None)
        given = given.__func__ if isinstance(given, staticmethod) else given
        if given is None:
            fail("set `verifier` to a class, a function, an object, or to how a spec says it")
        try:
            text = normal_text(given) if isinstance(given, str) else text_of(given)
            verifier(text)
        except TTSError as error:
            fail(error.message)
        return text

    def _made(self) -> Verifier:
        return verifier(self._text())

    def _thing(self) -> Any:
        return verifier_named(call_of(self._text())[0])

    def _problem(self) -> Problem:
        return copy.deepcopy(self.problem)

    def _said(self, made: Verifier, *, backwards: bool = False) -> list[bytes]:
        """The question about each candidate, and its scores."""
        order = range(len(self.candidates))
        found = {
            at: self._of_one(made, self._problem(), self.candidates[at])
            for at in (reversed(order) if backwards else order)
        }
        said = [*(found[at] for at in order), [*self._of_all(made, self._problem())]]
        return [msgspec.json.encode(each, order="deterministic") for each in said]

    def _scores(self, made: Verifier) -> Iterator[tuple[Candidate, Score]]:
        for candidate in self.candidates:
            yield from ((candidate, score) for score in self._of_one(made, self._problem(), candidate)[1])

    def _scores_of_all(self, made: Verifier) -> Iterator[tuple[Candidate, Score]]:
        for _, scores in self._of_all(made, self._problem()):
            yield from zip(self.candidates, scores, strict=True)

    def _of_all(self, made: Verifier, problem: Problem) -> Iterator[tuple[list[Request], list[Score]]]:
        """What a judge asks about all candidates together, and their scores, for each reply. Fails the test if it
        raises."""
        for reply in self.replies if hasattr(made, "judge") else ():
            try:
                yield _judged(made, problem, self.candidates, reply)
            except Exception as error:
                fail(
                    f"of all candidates together, where each reply was {reply.text!r}, it raised "
                    f"{type(error).__name__}: {error}. Return None to abstain from what cannot be judged"
                )

    def _of_one(self, made: Verifier, problem: Problem, candidate: Candidate) -> tuple[Any, list[Score]]:
        """The verifier's request for a candidate, and its scores, one for each reply. Fails the test if it raises."""
        try:
            if hasattr(made, "judge"):
                judged = [_judged(made, problem, [candidate], reply) for reply in self.replies]
                return [requests for requests, _ in judged], [score for _, (score,) in judged]
            request = question_of(made, problem, candidate)
            if request is None:
                said = [computed_by(made, problem, candidate)]
            else:
                said = [read_by(made, reply) for reply in self.replies]
            return request, [checked(score, "it", kind_of(made)) for score in said]
        except Exception as error:
            fail(
                f"of the candidate {candidate.text!r} it raised {type(error).__name__}: {error}. Return None to "
                f"abstain from what cannot be judged"
            )


def _judged(
    made: Verifier, problem: Problem, candidates: Sequence[Candidate], reply: Completion
) -> tuple[list[Request], list[Score]]:
    """What a judge asks about candidates, and their scores where each question gets this reply."""
    found: list[Score] = []

    async def judging(problem: Problem, run: Run) -> Candidate:
        found.extend(await run.verify(candidates, "it"))
        return candidates[0]

    sample = Sample(text=reply.text, tokens=1, logprobs=reply.logprobs)
    outcome = ScriptedCluster(lambda request, number: sample, verifiers={"it": made}).run(judging, problem)
    if outcome.result.error is not None:
        raise outcome.result.error.rebuild()
    return [action.request for action in outcome.generated], found


def said_by(given: bytes) -> list[bytes]:
    """The scores of a contract's verifier in another process."""
    text, problem, candidates, replies = pickle.loads(given)
    members: Mapping[str, Any] = {
        "verifier": text, "problem": problem, "candidates": candidates, "replies": replies
    }  # fmt: skip
    contract: VerifierContract = type("Contract", (VerifierContract,), dict(members))()
    return contract._said(contract._made())


def _imported(thing: Any) -> Iterator[str]:
    """The modules that the file of a class or function imports, also inside functions."""
    file = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
    tree = ast.parse(Path(file).read_bytes() if file.endswith(".py") else b"")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
