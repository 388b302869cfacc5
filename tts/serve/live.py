"""`single` for a server: as many samples as there are choices, whose tokens are those of the choices and so can be sent
as they come; and such a text."""

from __future__ import annotations

from tts.core.trials.context import Run
from tts.types import Candidate, Problem


class LiveText:
    """The text of a choice, as it comes.

    Attributes:
        broken: whether what came is no longer the text of the choice, because a server failed half-way.
    """

    def __init__(self) -> None:
        self.broken = False
        self._pieces: list[str] = []
        self._length = 0
        self._taken = 0

    @property
    def text(self) -> str:
        """All that has come."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return "".join(self._pieces)

    def add(self, piece: str, offset: int) -> None:
        """Add a piece that begins at this character. A try that is repeated begins anew: as long as it says the same,
        nothing is lost."""
        if offset == self._length:
            self._pieces.append(piece)
        else:
            text = self.text
            before = text[offset : offset + len(piece)]
            self.broken = self.broken or offset > len(text) or not piece.startswith(before)
            if offset + len(piece) > len(text):
                self._pieces = [text[:offset] + piece]
        self._length = max(self._length, offset + len(piece))

    def take(self) -> str:
        """What has come since the last time; nothing of a text that is broken."""
        if self.broken or self._taken == self._length:
            return ""
        news = self._news()
        self._taken = self._length
        return news

    def _news(self) -> str:
        found, missing = list[str](), self._length - self._taken
        for piece in reversed(self._pieces):
            if missing <= 0:
                break
            found.append(piece[-missing:])
            missing -= len(piece)
        return "".join(reversed(found))

    @property
    def sent(self) -> str:
        """What has been taken."""
        return self.text[: self._taken]


async def single(problem: Problem, run: Run, *, temperature: float | None = None, choices: int = 1) -> Candidate:
    """Sample once for each choice and return the first, as `single` does.

    Args:
        temperature: None is the run's.
    Raises: AllFailed, BudgetExhausted.
    """
    run = run.on(problem)
    temperature = run.sampling.temperature if temperature is None else temperature
    found: list[Candidate] = []
    async with run.streaming(n=choices, every=1, temperature=temperature) as updates:
        found += [update.candidate async for update in updates if update.candidate is not None]
    return min(found, key=lambda candidate: candidate.order) if found else run.pick()
