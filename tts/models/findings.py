"""Findings of a check of a machine or an endpoint."""

from __future__ import annotations

from tts.models.wire.capabilities import Capabilities
from tts.types import Value


class Finding(Value, frozen=True):
    """The result of one check. `ok` None: unknown. `needed`: without it nothing works."""

    what: str
    ok: bool | None
    detail: str
    needed: bool = False


def capabilities(name: str, seen: Capabilities) -> list[Finding]:
    """The capabilities of an endpoint as findings, one for each."""
    reachable = f"engine {seen.engine or 'unknown'}, models: {', '.join(seen.models[:10]) or 'not told'}"
    detail = seen.problem or reachable
    found = [Finding(f"endpoint {name}", seen.reachable and not seen.problem, detail, needed=True)]
    if seen.measures:
        pages = ", ".join(f"/{page}" for page in seen.measures)
        return [*found, Finding("  numbers", True, f"{pages}, as of a reward model: for the verifier reward_model")]
    for what, ok, meaning in (
        ("n", seen.n, "several choices from one request"),
        ("seed", seen.seed, "the same seed gives the same text"),
        ("logprobs", seen.logprobs, "needed by self_certainty and prm, and used by genrm and judge"),
        ("prefill", seen.prefill, "continuing a text, as searches over steps do"),
        ("stop reasons", seen.stop_reason, "the stop string that ended a text, or none: for searches over steps"),
        ("usage in stream", seen.usage_in_stream, "exact token counts"),
        ("continuous usage", seen.continuous_usage, "exact token counts of cancelled samples"),
        ("tokenizer", seen.tokenizer, "counts of a prompt's tokens (run.count_prompt)"),
        ("abort on close", seen.abort_on_close, "a cancelled sample stops decoding"),
    ):
        found.append(Finding(f"  {what}", ok, meaning))
    found.append(Finding("  cost of finding out", True, f"{seen.tokens_spent} generated tokens"))
    return found
