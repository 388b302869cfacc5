"""Judges with known faults, for tests of what relies on judges: `verifier="tts.testing.judges.faulty:Lazy"`."""

from __future__ import annotations

from tts.testing.judges.faulty import Colluding, Deceptive, Flaky, Lazy

__all__ = ["Colluding", "Deceptive", "Flaky", "Lazy"]
