"""The keys under which trials of one run share samples, and the seeds that belong to them."""

from __future__ import annotations

from hashlib import blake2b

from tts.core.actions import Request


def share_base(seed: int, problem_id: str, request: Request) -> str:
    """The beginning of the share keys of one request's samples, before their first slash."""
    # It hashes the repr: JSON leaves out a default only if it is the very object, so that equal requests could differ.
    base = repr((seed, problem_id, request)).encode("utf-8", "surrogatepass")
    return blake2b(base, digest_size=10).hexdigest()


def seed_of(key: str) -> int:
    """A 31-bit seed from a sample's key: the same in every process, distinct for distinct keys but for chance."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") & 0x7FFFFFFF


class ShareKeys:
    """The keys of one trial's samples.

    Attributes:
        of: action id -> its key.
    """

    __slots__ = ("_counts", "of")

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def next(self, base: str, path: str) -> str:
        """The next key under `base`: the same in every trial that asks the same for the same problem. Counted per
        task (`path`), like ids, so that no sample depends on which of two chains was faster."""
        base = f"{base}/{path}"
        index = self._counts.get(base, 0)
        self._counts[base] = index + 1
        return f"{base}{index}"
