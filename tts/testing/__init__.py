"""For authors of strategies, verifiers and clients: the contracts, a scripted world, and a scripted server.

    from tts.testing import ScriptedCluster, StrategyContract, VerifierContract

Names are imported when first used: `import tts.testing` costs nothing, and nothing here needs pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tts.testing.cluster import Outcome, Sample, ScriptedCluster
    from tts.testing.contract import StrategyContract
    from tts.testing.disorder import Disorder
    from tts.testing.engine import FakeEngine, Served, Stats
    from tts.testing.replies import Misbehaviour, Reply, arithmetic, tokenize
    from tts.testing.verifier_contract import VerifierContract
    from tts.testing.worlds import NoisyWorld

__all__ = [
    "Disorder",
    "FakeEngine",
    "Misbehaviour",
    "NoisyWorld",
    "Outcome",
    "Reply",
    "Sample",
    "ScriptedCluster",
    "Served",
    "Stats",
    "StrategyContract",
    "VerifierContract",
    "arithmetic",
    "tokenize",
]

_WHERE = {
    "cluster": ("Outcome", "Sample", "ScriptedCluster"),
    "contract": ("StrategyContract",),
    "disorder": ("Disorder",),
    "engine": ("FakeEngine", "Served", "Stats"),
    "replies": ("Misbehaviour", "Reply", "arithmetic", "tokenize"),
    "verifier_contract": ("VerifierContract",),
    "worlds": ("NoisyWorld",),
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
