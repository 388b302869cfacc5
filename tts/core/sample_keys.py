"""The keys under which searches of one run share samples, and the seeds that belong to them."""

from __future__ import annotations

from hashlib import blake2b

from tts.core.actions import Request


def share_base(seed: int, problem_id: str, request: Request) -> str:
    """What the share keys of the samples of one request begin with, before their first slash."""
    # Of the repr: JSON leaves out a default only if it is the very object, so that equal requests could differ.
    base = repr((seed, problem_id, request)).encode("utf-8", "surrogatepass")
    return blake2b(base, digest_size=10).hexdigest()


def seed_of(key: str) -> int:
    """A 31-bit seed from a sample's key: the same in every process, distinct for distinct keys but for chance."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF
