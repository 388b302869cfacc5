"""Engines and the driver are killed in the middle, and the run ends as the undisturbed one
(benchmarks/models/kills.py)."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "models" / "kills.py"


@pytest.fixture
def kills() -> Any:
    spec = importlib.util.spec_from_file_location("kills", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_whose_engines_and_driver_are_killed_ends_as_the_undisturbed_one(tmp_path: Path, kills: Any) -> None:
    engines = [kills.Engine() for _ in range(2)]
    try:
        whole, disturbed = kills.Run(tmp_path / "whole", 30), kills.Run(tmp_path / "disturbed", 30)
        whole.disturbed(engines, 0, random.Random(1))
        disturbed.disturbed(engines, 4, random.Random(3))
    finally:
        for engine in engines:
            engine.kill()
    assert whole.status == disturbed.status == 0
    assert disturbed.killed
    assert disturbed.answers() == whole.answers() and len(whole.answers()) == 30
    assert disturbed.tokens()[0] == whole.tokens()[0]
    assert disturbed.faults() == []
