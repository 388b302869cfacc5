"""Verdicts in double brackets, such as [[A]] or [[3]]: what judges of pairs and lists end with."""

from __future__ import annotations

import re

from tts.answers.extract import without_thinking

_VERDICT = re.compile(r"\[\[ ?(\w{1,9}) ?\]\]")
_AFTERWARDS = " \t\r\n.*_`\"')"  # what may follow the verdict that ends a reply
_BOTH = re.compile(r"[\s,/&*]*(?:and|or)?[\s,/&*]*")  # between two verdicts that are given together


def verdict(reply: str) -> str | None:
    """What stands in the double brackets that end a reply; else in all that it has, if that is the same everywhere.

    None where there are none, where several differ and none of them ends the reply, where two that differ end it
    together ("[[A]] and [[B]]"), or where its thoughts never ended.
    """
    text = without_thinking(reply)
    found = list(_VERDICT.finditer(text or ""))
    if text is None or not found:
        return None
    ends = not text[found[-1].end() :].strip(_AFTERWARDS)
    if ends:
        together = len(found) > 1 and _BOTH.fullmatch(text, found[-2].end(), found[-1].start())
        found = found[-2:] if together else found[-1:]
    named = {match[1] for match in found}
    return found[-1][1] if len(named) == 1 else None
