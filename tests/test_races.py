"""A race is one: which of its samples wins depends on how long they are, and on nothing else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import tts
from tts.actions import Cancel, Generate, Request
from tts.clusters.cluster import races_shuffled
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply
from tts.types import Message

ASK = Request((Message("user", "2 + 2?"),))
RACES, N = 96, 4


def test_of_samples_that_are_equally_long_each_wins_as_often_as_any_other(tmp_path: Path) -> None:
    same = Reply(("Answer:", " 7"), first_byte_s=0.02)
    with FakeEngine(lambda _: same) as engine:
        tts.sweep(
            f"arithmetic?size={RACES}&seed=3",
            f"first_finish:n={N}",
            base_url=engine.base_url,
            concurrency=32,
            out=tmp_path / "run",
            report=False,
        )
    records = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    won = Counter(r["selected"].rpartition("/")[2] for r in records if r["type"] == "decided")
    expected = RACES / N
    # Chi-squared with 3 degrees of freedom: 1 in 100,000 fair races is as uneven as 25.9. A head start gives 288.
    assert sum((won[str(i)] - expected) ** 2 / expected for i in range(1, N + 1)) < 25.9


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30))
def test_no_sample_is_cancelled_before_it_has_left(problems: list[int]) -> None:
    actions: list[Generate | Cancel] = []
    for i, problem in enumerate(problems):
        actions += (
            [Generate(f"cell/p/{i}", ASK)] if problem % 3 else [Generate(f"cell/p/{i}", ASK), Cancel(f"cell/p/{i}")]
        )
    left = set()
    for action in races_shuffled(actions):
        if isinstance(action, Cancel):
            assert action.id in left
        left.add(action.id)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_only_the_samples_of_one_race_change_places_and_none_is_lost(asked: list[tuple[int, bool]]) -> None:
    actions = [
        Generate(f"cell/p{problem}/{i}", ASK, share=None if race else f"key{i}")
        for i, (problem, race) in enumerate(asked)
    ] + [Cancel("cell/p0/0")]
    shuffled = races_shuffled(actions)
    assert sorted(a.id for a in shuffled) == sorted(a.id for a in actions)
    for before, after in zip(actions, shuffled, strict=True):
        assert type(before) is type(after)
        if isinstance(before, Generate) and isinstance(after, Generate):
            assert (before.share is None) == (after.share is None)
            assert before.id.rpartition("/")[0] == after.id.rpartition("/")[0]
            assert before.share is None or before is after
    assert races_shuffled(actions) == shuffled
