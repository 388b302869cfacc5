"""The texts of one request: what a model was shown, and what it said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tts.core.actions import Call, Generate, Returned, Scored, StepSession, Verify, Work
from tts.messages import Message
from tts.view.schema import Text
from tts.view.trials.details import Seen, turn_of


def text_of(seen: Seen, id: str) -> Text | None:
    """The texts of an action, or of a candidate that was put together, with this id; None if there is none."""
    found = next((c for c in seen.told.result.candidates if c.id == id), None) if seen.told else None
    action = seen.records.actions.get(id)
    if action is None:
        return _recorded(seen, id) if found is None else Text(found.text)
    work = seen.told.asked.get(id) if seen.told else None
    request = getattr(work, "request", None)
    known = request is not None and seen.told is not None and id not in seen.told.unlike
    prompt = [turn_of(message) for message in request.messages] if known and request is not None else None
    if prompt is not None and request is not None and request.continue_from:
        prompt.append({"role": "assistant", "content": request.continue_from})
    completion = action.completion
    reply = completion.text if completion else _said(action.end)
    return Text(
        text=found.text if found else reply if completion or action.end is not None else None,
        reasoning=(completion.reasoning or None) if completion else None,
        prompt=prompt,
        tool_calls=[turn_of(call) for call in completion.tool_calls] or None if completion else None,
        transcript=_transcript(work, prompt, reply),
        note=_note(work, action.end) if known or request is None else "the prompt is not known: it was another",
    )


def _recorded(seen: Seen, id: str) -> Text | None:
    """The text of a recorded candidate that judges were asked about."""
    if seen.told is None or seen.told.recorded is None:
        return None
    shown = {seen.told.shown_id(seen.records.id, found.id): found for found in seen.told.recorded.candidates}
    return None if id not in shown else Text(shown[id].text)


def _said(end: Any) -> str:
    if isinstance(end, Scored):
        return end.score.text
    return msgspec.json.format(msgspec.json.encode(end.value), indent=1).decode() if isinstance(end, Returned) else ""


def _transcript(work: Work | None, prompt: Sequence[dict[str, Any]] | None, reply: str) -> list[dict[str, Any]] | None:
    """Question and reply of a judgement, of a program, or of a step; None for a sample."""
    if isinstance(work, Call | StepSession):
        given = work.args if isinstance(work, Call) else work.action
        shown = msgspec.json.format(msgspec.json.encode(given, enc_hook=str), indent=1).decode()
        return [turn_of(Message("user", shown)), turn_of(Message("tool", reply))]
    if prompt is None or not (isinstance(work, Verify) or (isinstance(work, Generate) and work.helps)):
        return None
    return [*prompt, *([{"role": "assistant", "content": reply}] if reply else [])]


def _note(work: Work | None, end: Any) -> str:
    if isinstance(work, Verify) and isinstance(end, Scored) and work.request is not None and not end.score.text:
        return "of a judge's reply the journal keeps the score alone"
    return ""
