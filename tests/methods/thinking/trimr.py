"""TrimR: thinking is ended once consecutive thoughts give the same answer."""

import re

from tts import Candidate, Problem, Run
from tts.toolkit.labels import probability

THOUGHT = re.compile(r"\n(?=Wait|Alternatively|But|Check|Hmm|No)|\n")
SAME = "{problem}\n\nThought 1: {one}\n\nThought 2: {two}\n\nDo both give the same answer (Yes/No)?"


async def trimr(
    problem: Problem, run: Run, *, agree: int = 2, think: int = 200, answer: int = 48, model: str | None = None
) -> Candidate:
    """Watch a stream of thoughts, compare each with the one before, and have it answered after `agree` equal ones.

    Lin et al. (2025), arXiv:2505.17155. Differences from the paper: a thought that holds a number counts as one that
    holds an answer; underthinking and repetition are left to the limit of tokens.

    Args:
        model: which of the run's models compares thoughts; None is the first.
    """
    same, looked, last = 1, 2, None
    async with run.streaming(max_tokens=think) as stream:
        async for update in stream:
            last = update.candidate
            thoughts = [t for t in THOUGHT.split(update.text)[:-1] if re.search(r"\d", t)]  # the last is not yet whole
            if last is None and looked <= len(thoughts):
                prompt = SAME.format(problem=problem.prompt, one=thoughts[-2], two=thoughts[-1])
                (said,) = await run.ask(prompt, model=model, temperature=0.0, max_tokens=4, top_logprobs=10)
                looked, same = len(thoughts) + 1, same + 1 if (probability(said, "Yes", "No") or 0.0) > 0.5 else 1
                if same >= agree:
                    stream.stop(update.id)
    if last.complete:
        return last
    text = last.text.partition("</think>")[0].rstrip() + "\n</think>\nAnswer:"
    return (await run.generate(continue_from=text, parent=last, temperature=0.0, max_tokens=answer))[0]


def rehearse(request, random):
    return "2+2=4\nWait, 4\nCheck: 4\nNo, 5\nAnswer: 4" if request.progress else None
