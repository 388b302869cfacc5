"""Thoughts that a strategy begins, closes and has answered: for strategies, as `toolkit/votes.py` is.

A thought is the text of a `<think>` block, with which the assistant's turn begins. The strategy writes the block's
marks itself, so that a model thinks whatever its chat template says of thinking, and no longer than the strategy wants.
A model that has no such block takes the end of its turn for the end of the thought.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tts.answers.rules import read_answer
from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted, CapabilityMissing, InvalidParameter
from tts.types import Candidate, Value

BEGUN, ENDED = "<think>\n", "</think>"
CUE = "Final Answer:"  # after a thought that the model did not end itself, so that it answers at once
ANSWER_SHARE = 8  # one in so many of a run's `max_tokens` is for the answer


class Probed(Value, frozen=True):
    """A thought so far with the answer that the model would give now: the whole text, the model's words in it, and the
    answer read from it; None where there is none."""

    text: str
    said: str = ""
    answer: str | None = None


Places = Callable[[str], Sequence[str]]
Enough = Callable[[Sequence[Probed]], bool]


def token_shares(run: Run, think: int | None, answer: int | None) -> tuple[int, int]:
    """The most tokens of the thought and of the answer after it. What is None is shared out of the run's `max_tokens`:
    an eighth for the answer, and what is left for the thought. Raises: InvalidParameter for less than one token."""
    whole = run.sampling.token_limit
    answer = max(1, whole // ANSWER_SHARE) if answer is None else answer
    think = max(1, whole - answer) if think is None else think
    at_least("think", think, 1)
    at_least("answer", answer, 1)
    return think, answer


def at_least(name: str, value: int, least: int) -> None:
    """Raises: InvalidParameter for a value below the least."""
    if value < least:
        raise InvalidParameter(f"{name} must be at least {least}, but got {value}", name=name, value=value)


def has_spare(run: Run, tokens: int, answer: int) -> bool:
    """Whether the budget holds a question of so many tokens now, and the answer after it: what only helps to decide
    must neither take the answer's room nor wait for that of the thought."""
    left = run.remaining
    return (left.samples is None or left.samples >= 2) and (left.tokens is None or left.tokens >= tokens + answer)


def closed(thought: str, cue: str = "") -> str:
    """The text of a thought, closed, and the beginning of the answer after it."""
    return f"{thought.partition(ENDED)[0].rstrip()}\n{ENDED}\n{cue}"


def text_of(thought: Candidate) -> str:
    """The text of a thought, to be gone on with. Raises: CapabilityMissing where the server has sent it apart."""
    if thought.completion.reasoning and not thought.completion.text:
        raise CapabilityMissing(
            "this strategy goes on with the model's thoughts, and the server has sent them apart from the text, where "
            "nothing can be put between them: start it without its reasoning parser",
            capability="thoughts in the text",
        )
    return thought.text


async def answer_after(run: Run, thought: Candidate, *, max_tokens: int, text: str | None = None) -> Candidate:
    """The answer after a thought, at temperature 0: in the model's own words, or after `CUE` where the thought was cut.

    Args:
        text: of the thought, where it is not to be the candidate's.
    Raises: BudgetExhausted, AllFailed, CapabilityMissing.
    """
    cue = "" if thought.completion.finish_reason == "stop" else CUE
    text = closed(text_of(thought) if text is None else text, cue)
    return (await run.generate(continue_from=text, parent=thought, temperature=0.0, max_tokens=max_tokens))[0]


async def probe(run: Run, thought: str, *, max_tokens: int, answer: int) -> Probed:
    """Ask for the answer that the model would give after this much of a thought, at temperature 0.

    A probe helps to decide: it is billed as verification, and is no candidate. One that the budget does not hold beside
    an `answer` of so many tokens, or that fails, has no answer.
    """
    text = closed(thought, CUE)
    if not has_spare(run, max_tokens, answer):
        return Probed(text)
    try:
        (reply,) = await run.ask(run.problem.messages, continue_from=text, temperature=0.0, max_tokens=max_tokens)
    except (BudgetExhausted, AllFailed):
        return Probed(text)
    text += reply.text
    return Probed(text, reply.text, read_answer(text, run.problem, complete=reply.finish_reason == "stop"))


async def think_and_probe(
    run: Run, places: Places, enough: Enough, *, every: int, think: int, probe_tokens: int, answer: int
) -> Candidate:
    """Let the model think, probe its answer meanwhile, and end the thought once the probes are enough.

    Args:
        places: the beginnings of a thought's text at which it is to be probed; those that have been are passed over.
        enough: whether the thought may end, by all probes so far.
        every: tokens between two looks at the thought.
        think, probe_tokens, answer: the most tokens of the thought, of a probe and of the answer.

    Returns: the answer of the last probe where that ended the thought; else the answer after the thought, which may
        have come to its end meanwhile, and the latest of a probe where no other comes.
    Raises: BudgetExhausted or AllFailed without a thought or without any answer; CapabilityMissing.
    """
    probes: list[Probed] = []
    thought, reached, settled = None, len(BEGUN), False
    async with run.streaming(continue_from=BEGUN, stop=ENDED, max_tokens=think, every=every, asks=True) as stream:
        async for update in stream:
            thought = update.candidate
            for place in places(update.text) if thought is None else ():
                if len(place) > reached and not settled:
                    reached = len(place)
                    probes.append(await probe(run, place, max_tokens=probe_tokens, answer=answer))
                    settled = enough(probes)
            if settled:
                stream.stop(update.id)
    assert thought is not None  # the last update of a stream has the candidate
    latest = next((probed for probed in reversed(probes) if probed.answer is not None), None)
    if latest is not None:
        found = run.propose(latest.text, parents=[thought])
        if settled and thought.completion.finish_reason != "stop":
            return found
    return await answer_after(run, thought, max_tokens=answer)
