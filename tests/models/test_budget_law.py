"""The budget law, shown on some of the servers of `benchmarks/models/budget_law.py`; the table has all of them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("SGLang", "hosted, 40 tokens", "one letter", "reasoning beside", "hosted, decodes on", "ignores max_tokens")


@pytest.mark.system
def test_what_an_engine_decoded_was_booked_and_what_was_booked_was_allowed_or_is_an_overrun() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "models" / "budget_law.py"), *SERVERS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| yes") == 2 * len(SERVERS), done.stdout
