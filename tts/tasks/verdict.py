"""The verdict on an answer."""

from __future__ import annotations

from tts.types import Usage, Value


class Verdict(Value, frozen=True):
    """The result of a grading. `correct` None: the problem has no reference, the grader cannot tell, or `error` has the
    reason why there is no verdict. `usages`: of the requests to a model that it took."""

    correct: bool | None = None
    error: str | None = None
    usages: tuple[Usage, ...] = ()
