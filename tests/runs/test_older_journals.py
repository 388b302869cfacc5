"""Runs that older programs left in the middle are read and taken up.

tests/data/journals has one of each version since 3: `swept` below, cut inside a line, by the programs of commits
bd53c1b (version 3), b1d2925 (version 4, before the move into folders) and 8702c64 and what followed it (version 5).
"""

import json
import shutil
from pathlib import Path

import pytest

import tts
from tts.core.journal.records import VERSION
from tts.runs.folder import JOURNAL
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

JOURNALS = Path(__file__).parents[1] / "data" / "journals"
PROBLEMS = "arithmetic?size=2"
STRATEGIES = [
    "majority_vote:n=3",
    "best_of_n:n=3,verifier=judge",
    "genrm:n=2,verifications=1",
    "sequential_revision:chains=1,rounds=2",
    "esc:n=4,window=2",
]


def swept(out: Path) -> tuple[tts.SweepResult, int]:
    """The result, and how many requests it took."""
    with FakeEngine(arithmetic(words=2)) as engine:
        url = engine.base_url
        result = tts.sweep(PROBLEMS, STRATEGIES, out=out, model="fake", base_url=url, concurrency=4, report=False)
        return result, len(engine.requests)


def answers(result: tts.SweepResult) -> dict[tuple[str, str], tuple[str | None, bool | None]]:
    return {(outcome.problem_id, outcome.strategy): (outcome.answer, outcome.correct) for outcome in result.outcomes}


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_run_of_an_older_program_is_taken_up_and_only_what_is_missing_is_asked_for(
    version: int, tmp_path: Path
) -> None:
    shutil.copytree(JOURNALS / f"version-{version}", tmp_path / "old")
    kinds = [json.loads(line)["type"] for line in (tmp_path / "old" / JOURNAL).read_text().splitlines()[:-1]]
    before = tts.load(tmp_path / "old")
    assert not before.complete and len(before.outcomes) == kinds.count("decided")
    undisturbed, all_requests = swept(tmp_path / "new")
    taken_up, requests = swept(tmp_path / "old")
    assert requests == all_requests - kinds.count("finished") - kinds.count("scored")
    assert answers(taken_up) == answers(undisturbed)


def test_there_is_a_journal_of_the_version_that_is_written_now() -> None:
    assert (JOURNALS / f"version-{VERSION}" / JOURNAL).exists()
