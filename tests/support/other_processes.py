"""Strategies in another process, all together: a process takes longer to start than a strategy to try."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from tts.testing import StrategyContract
from tts.testing.contract import journals_of
from tts.testing.elsewhere import elsewhere


def differing(specs: Sequence[str]) -> list[str]:
    """The strategies whose journals are others in a process in which strings hash otherwise."""
    tried = [type("Contract", (StrategyContract,), {"strategy": spec, "worlds": range(3)})() for spec in specs]
    ours = [[one._journal(key) for key in one.worlds] for one in tried]
    portable = [one._portable() for one in tried]
    sources = {name: file for _, files in portable for name, file in files.items()}
    given = pickle.dumps([values for values, _ in portable])
    found = elsewhere(f"{__file__}:journals", given, sources, ("1", "2"))
    return [spec for theirs in found for spec, a, b in zip(specs, ours, theirs, strict=True) if a != b]


def journals(portable: bytes) -> list[list[list[bytes]]]:
    """The journals of several contracts."""
    return [journals_of(given) for given in pickle.loads(portable)]
