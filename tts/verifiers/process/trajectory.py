"""A judge of what an agent did: whether it reached its goal, with which side effects, how well, and in loops or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from tts.answers.extract import without_thinking
from tts.checks import require
from tts.core.trials.context import Run
from tts.toolkit.judging.fitting import fitted
from tts.toolkit.judging.notes import TOO_LONG, note
from tts.toolkit.judging.pointwise import each
from tts.toolkit.judging.replies import Read, replies, temperature_of
from tts.types import Candidate, Completion, Problem, Score, ScoreKind

PROMPT = """The goal of an agent:
{goal}

What it did and said, in order:
{trajectory}

Judge it by what is shown alone: what it claims to have done is no evidence that it did so. Give your reasons, then \
end with these four lines:
<success>Yes or No: was the goal reached?</success>
<side>Yes or No: did it do something that nobody asked for, with an effect?</side>
<optimal>1 to 4: 1 for far too many steps, 4 for no step too many</optimal>
<loop>Yes or No: did it repeat itself without getting on?</loop>"""
REPAIR = "That cannot be read. Reply with the four lines in their tags alone, each with one word or number."
TAGS: Mapping[str, Sequence[str]] = {
    "success": ("yes", "no"),
    "side": ("yes", "no"),
    "optimal": ("1", "2", "3", "4"),
    "loop": ("yes", "no"),
}


class Trajectory:
    """Ask whether an agent reached its goal, with side effects, optimality and loops beside; the score is of the goal.

    Lù et al. (2025), AgentRewardBench, arXiv:2504.08942: four tags; what counts of a judge that selects is its
    precision. Hence `strict`: a goal is reached only if each of `k` verdicts says so. A trajectory without a readable
    verdict is an abstention, and by `strict` so is one of which some cannot be read and none says no.
    Differences from the paper: the trajectory is the candidate's text, without pictures; several verdicts.

    Args:
        k: number of verdicts; above 1, at a temperature of 0.7.
        strict: whether all verdicts must say so; else the score is the part of them that do.
        max_tokens: of a verdict and its reasons.
        model: name of the judging model in the cluster; None is the generating one.
    """

    name = "trajectory"
    kind: ScoreKind = "probability"

    def __init__(self, *, k: int = 1, strict: bool = True, max_tokens: int = 512, model: str | None = None) -> None:
        require(k >= 1, "k", "at least 1", k)
        require(max_tokens >= 1, "max_tokens", "at least 1", max_tokens)
        self.k = k
        self.strict = strict
        self.max_tokens = max_tokens
        self.model = model

    async def judge(self, problem: Problem, candidates: Sequence[Candidate], run: Run) -> list[Score]:
        """The scores of candidates, one by one."""
        return await each(run, candidates, partial(self._score, problem, run), self.name, self.kind)

    async def _score(self, problem: Problem, run: Run, text: str) -> Score:
        def prompt(parts: Sequence[str]) -> str:
            return PROMPT.format(goal=problem.prompt, trajectory=parts[0])

        found = await fitted(run, prompt, [text], self.max_tokens)
        if found is None:
            return Score(None, self.name, self.kind, text=TOO_LONG)
        came: list[Read[Mapping[str, str]]] = await replies(
            run,
            found.prompt,
            tags_of,
            repair=REPAIR,
            n=self.k,
            temperature=temperature_of(self.k),
            max_tokens=self.max_tokens,
        )
        read = [one.value for one in came if one.value is not None]
        unread = len(came) - len(read)
        return Score(
            self._value([tags["success"] == "yes" for tags in read], unread),
            self.name,
            self.kind,
            text=note("; ".join(map(_shown, read)) or "no verdict", unread, len(came), found.left_out),
            verdicts=len(came),
            unread=unread,
        )

    def _value(self, reached: Sequence[bool], unread: int) -> float | None:
        if not reached or (self.strict and unread and all(reached)):
            return None
        return float(all(reached)) if self.strict else sum(reached) / len(reached)


def tags_of(reply: Completion) -> Mapping[str, str] | None:
    """The four tags of a reply, in lower case; None where one is missing, comes twice or says something else."""
    text = without_thinking(reply.text) or ""
    found = {tag: re.findall(rf"<{tag}>\s{{0,9}}(\w{{1,9}})\s{{0,9}}</{tag}>", text) for tag in TAGS}
    said = {tag: words[0].lower() for tag, words in found.items() if len(words) == 1}
    return said if all(said.get(tag) in allowed for tag, allowed in TAGS.items()) else None


def _shown(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{tag} {tags[tag]}" for tag in TAGS)
