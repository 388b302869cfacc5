"""A model that errs, fails and dawdles, for tests: each outcome is a function of the request and the world alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection

from tts.clusters.virtual.simulated import STEP, drawn_stop
from tts.core.actions import Call, Request
from tts.errors import ServerFailed, TTSError
from tts.types import Completion, Executed, LogprobSummary, Timing, TokenLogprob, Usage

ANSWERS = ("1", "2", "3", "4", "5")


class NoisyWorld:
    """A world in which some completions have an answer, some do not, some are cut at `max_tokens`, some fail; of a
    request with stop strings, half of those that are not cut end at one.

    A request's completion depends on its seed, messages and model, and on `key`; its duration depends on `pace`, too.
    So two worlds that differ in `pace` give the same completions in another order of arrival.

    Args:
        key, pace: any text or number.
        failures: the chance that a request fails, 0 to 1.
        down: models, by their names in the run, whose every request fails; None is the run's first.
        text: the text of a completion, from its request and a random generator of its own; by default
            `Answer: K` with K from 1 to 5, nothing that parses in one case of eight, and `Yes` or `No`, or `+` or `-`,
            with log-probabilities to match, where the prompt asks "(Yes/No)", or for "+ or -".
    """

    def __init__(
        self,
        key: object = 0,
        pace: object = 0,
        *,
        failures: float = 0.0,
        down: Collection[str | None] = (),
        text: Callable[[Request, random.Random], str] | None = None,
    ) -> None:
        self._key = key
        self._pace = pace
        self._failures = failures
        self._down = down
        self._text = text or answer_or_verdict

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        """The seconds of a request, and its end."""
        model = [request.model] if request.model else []
        said = "\0".join([*(message.content for message in request.messages), request.continue_from, *model])
        draw = random.Random(f"{self._key}\0{request.seed}\0{said}")
        failed = draw.random() < self._failures or request.model in self._down
        text = self._text(request, draw)
        most = request.sampling.token_limit
        tokens = max(1, round(most * math.exp(draw.gauss(-1.0, 0.6))))
        cut = tokens > most
        tokens = min(tokens, most)
        mean, certainty = -draw.random(), draw.random()
        seconds = random.Random(f"{self._pace}\0{request.seed}\0{said}").uniform(0.1, 10.0)
        if failed:
            return seconds, ServerFailed("the world was told to fail here", endpoint="noisy", status=500)
        stopped_by = None if cut else drawn_stop(request)
        completion = Completion(
            text="I could not finish" if cut else STEP if stopped_by else text,
            finish_reason="length" if cut else "stop",
            usage=Usage(len(said) // 4 + 1, tokens),
            timing=Timing(seconds, seconds / tokens),
            logprobs=LogprobSummary(mean, 2 * mean, certainty, _tail(text, draw), 5 + 15 * draw.random()),
            seed=request.seed,
            model="noisy",
            stopped_by=stopped_by,
        )
        return seconds, completion

    def execute(self, call: Call) -> tuple[float, Executed]:
        """The seconds of a program (`Run.execute`), and an end made up for it: in order, with an error, or at a limit;
        of its tests, some pass, and of few nothing is known. The same program, input and tests end alike."""
        program, stdin, tests, timeout_s = call.args
        said = f"{program}\0{stdin}\0{tests}"
        draw = random.Random(f"{self._key}\0program\0{said}")
        ends = draw.choices((True, False, None), (0.6, 0.35, 0.05), k=max(1, len(tests)))
        shown = next((end for end in ends if end is not True), True)
        limit = "wall-clock time" if shown is None else "CPU time" if not shown and draw.random() < 0.2 else ""
        status = None if limit else 0 if shown else 1
        texts = (f"{draw.choice(ANSWERS)}\n", "") if shown else ("", "AssertionError\n")
        seconds = random.Random(f"{self._pace}\0program\0{said}").uniform(0.01, timeout_s)
        return seconds, Executed(status, *texts, tuple(ends) if tests else (), limit)


def answer_or_verdict(request: Request, draw: random.Random) -> str:
    """The default text of a `NoisyWorld`."""
    if "(Yes/No)" in request.messages[-1].content:
        return draw.choice(("Yes", "No", "I cannot tell"))
    if "Reply with + or -" in request.messages[-1].content:
        return draw.choice("+-")
    return "I do not know" if draw.random() < 1 / 8 else f"Answer: {draw.choice(ANSWERS)}"


def _tail(text: str, draw: random.Random) -> tuple[TokenLogprob, ...]:
    """The alternatives at the last word: for a verdict, both verdicts."""
    word = text.rsplit(maxsplit=1)[-1] if text.split() else ""
    sure = draw.uniform(0.5, 0.99)
    other = {"Yes": "No", "No": "Yes", "+": "-", "-": "+"}.get(word, "~")
    return (TokenLogprob(word, math.log(sure), ((word, math.log(sure)), (other, math.log(0.99 * (1 - sure))))),)
