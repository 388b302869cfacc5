"""TrimR: a small model watches the thoughts of a large one, and has it conclude once they agree, wander or repeat."""

import re

from tts.core.trials.context import Run
from tts.errors import AllFailed, BudgetExhausted, InvalidParameter
from tts.toolkit.labels import probability
from tts.toolkit.thinking import BEGUN, ENDED, answer_after, at_least, has_spare, text_of, token_shares
from tts.types import Candidate, Problem

SECOND_LOOK = re.compile(r"\s(?=(?:Wait|Alternatively|But|Hmm|Check|Let me|Another)\b)")
SENTENCES = re.compile(r"(?<=[.!?])\s+|\n")
SHOWN = 50  # sentences of a thought, its last
VERDICT = 4  # tokens of one at most
COPIES, PIECES = 3, range(16, 401)  # of a text that repeats itself: how often, and characters of what is repeated
HAS_ANSWER = """{problem}

A part of somebody's thoughts about it:
{thought}

Does this part come to an answer to the problem? Reply with one word (Yes/No)."""
SAME_ANSWER = """{problem}

Two parts of somebody's thoughts about it.

The first:
{first}

The second:
{second}

Do both come to the same answer to the problem? Reply with one word (Yes/No)."""
GENTLY = "\nBoth ways lead to the same answer, so I can conclude.\n"
FIRMLY = "\nThere is no time for more. I have to decide.\n"


class _Watcher:
    """The verdicts on the thoughts so far."""

    def __init__(self, run: Run, small: str | None, agree: int, many: int, answer: int) -> None:
        self._run = run
        self._small = small
        self._agree = agree
        self._many = many
        self._answer = answer
        self._read = 0  # number of thoughts that have been judged
        self._latest = ""  # thought that came to an answer
        self._alike = 0  # number of the latest such thoughts whose answers are the same

    async def reason(self, text: str, late: bool) -> str:
        """The reason to end the thoughts now, once those are judged that have become whole; empty without one."""
        thoughts = [part.strip() for part in SECOND_LOOK.split(text.removeprefix(BEGUN)) if part.strip()][:-1]
        while self._read < len(thoughts) and self._alike < self._agree:
            thought = "\n".join(SENTENCES.split(thoughts[self._read])[-SHOWN:])
            self._read += 1
            if await self._says_yes(HAS_ANSWER, thought=thought):
                same = self._alike and await self._says_yes(SAME_ANSWER, first=self._latest, second=thought)
                self._latest, self._alike = thought, self._alike + 1 if same else 1
        if self._alike >= self._agree:
            return "agreed"
        return "loops" if piece(text) else "wanders" if late and len(thoughts) > self._many else ""

    async def _says_yes(self, question: str, **parts: str) -> bool:
        """The verdict of the small model; no, where it gives none, or the budget holds none beside the answer."""
        if not has_spare(self._run, VERDICT, self._answer):
            return False
        prompt = question.format(problem=self._run.problem.prompt, **parts)
        try:
            (reply,) = await self._run.ask(
                prompt, model=self._small, temperature=0.0, max_tokens=VERDICT, top_logprobs=10
            )
        except (BudgetExhausted, AllFailed):
            return False
        return (probability(reply, "Yes", "No") or 0.0) > 0.5


async def trimr(
    problem: Problem,
    run: Run,
    *,
    small: str | None = None,
    agree: int = 2,
    late: float = 0.5,
    many: int = 8,
    every: int = 32,
    think: int | None = None,
    answer: int | None = None,
) -> Candidate:
    """Watch the thoughts, which second looks ("Wait", "But") part, and end them for one of three reasons.

    Lin et al. (2025), arXiv:2505.17155. Overthinking: `agree` thoughts in a row come to the same answer, and the model
    is told to conclude. Underthinking: after a share `late` of the tokens there are more than `many` thoughts without
    such agreement, and it has to answer at once; so it has where the thought repeats itself, which is cut back to one
    of the copies. Differences from the paper: the prompts, `late` and `many` are our own; the thought is stopped before
    the words that end it are put in; a loop is the same 16 to 400 characters three times in a row. The small model's
    verdicts are billed as verification; one that does not come is a no.

    Args:
        small: name of the model that judges the thoughts; None is the one that thinks.
        agree: number of thoughts with the same answer that are enough.
        late: share of the thought's tokens before which a wandering thought goes on.
        many: number of thoughts that are not yet wandering.
        every: tokens between two looks.
        think: tokens of the thought at most; None is the run's `max_tokens` less those of the answer.
        answer: tokens of the answer, and of the end of a thought that is told to conclude; None is an eighth of
            `max_tokens`.
    Raises: AllFailed, UnknownName for a model that the run does not have, InvalidParameter, CapabilityMissing for a
        server that cannot continue text.
    """
    run = run.on(problem)
    for name, value, least in (("agree", agree, 2), ("many", many, 1), ("every", every, 1)):
        at_least(name, value, least)
    if not 0 < late <= 1:
        raise InvalidParameter(f"late must be a share above 0 and at most 1, but got {late}", name="late", value=late)
    think, answer = token_shares(run, think, answer)
    run.room(model=small)  # refuses a model that the run does not have, before anything is paid for
    watcher, reason, seen, thought = _Watcher(run, small, agree, many, answer), "", "", None
    async with run.streaming(continue_from=BEGUN, stop=ENDED, max_tokens=think, every=every, asks=True) as stream:
        async for update in stream:
            thought = update.candidate
            if thought is None and not reason:
                seen = update.text
                reason = await watcher.reason(seen, update.tokens > late * think)
            if reason:
                stream.stop(update.id)
    assert thought is not None  # the last update of a stream has the candidate
    if not reason or thought.completion.finish_reason == "stop":  # it has ended by itself, if only meanwhile
        return await answer_after(run, thought, max_tokens=answer)
    text, left = text_of(thought).rstrip(), min(answer, think - thought.tokens)
    if reason == "agreed" and left > 0:
        (thought,) = await run.generate(continue_from=text + GENTLY, parent=thought, stop=ENDED, max_tokens=left)
        return await answer_after(run, thought, max_tokens=answer)
    if reason == "loops":
        text = seen[: -(COPIES - 1) * piece(seen)].rstrip()
    return await answer_after(run, thought, max_tokens=answer, text=text + FIRMLY)


def piece(text: str) -> int:
    """The number of characters of the piece that ends a text `COPIES` times in a row; 0 where there is none."""
    return next((n for n in PIECES if text.endswith(COPIES * text[-n:]) and text[-n:].strip()), 0)
