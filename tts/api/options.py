"""The keywords that all calls have: of the servers, and of the prompts."""

from __future__ import annotations

from typing import Any, cast

from tts.core.outages import PATIENCE_S
from tts.models.options import Target
from tts.tasks.options import Prompting


class Options(Target, Prompting, total=False):
    """See `tts.models.options.Target` and `tts.tasks.options.Prompting`."""


def divided(options: Options) -> tuple[Target, Prompting]:
    """The keywords of the servers, and those of the prompts that are given."""
    plain: dict[str, Any] = {**options}
    prompting = {key: plain.pop(key) for key in Prompting.__annotations__ if key in plain}
    given = {key: value for key, value in prompting.items() if value is not None}
    return cast(Target, plain), cast(Prompting, given)


def run_options(target: Target) -> dict[str, Any]:
    """Those of the servers' keywords that the scheduler of a run takes."""
    patience_s, unsafe = target.get("patience_s", PATIENCE_S), target.get("unsafe_execute", False)
    return {"patience_s": patience_s, "unsafe_execute": unsafe}
