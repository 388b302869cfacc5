"""`tts.export_pairs`: rationales of the judge `rubric` as pairs for preference training."""

import json
from pathlib import Path

import pytest
from judged_pool import pool

import tts
from tts.errors import InvalidParameter, PoolLacks
from tts.toolkit.prompts.scores import by_rubric


class Moody:
    """Gives each solution scores that fall with each question about it."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    async def __call__(self, request: tts.Request) -> tts.Completion:
        prompt = request.messages[-1].content
        time = self.asked[prompt] = self.asked.get(prompt, 0) + 1
        return tts.Completion(f"Mood {time}.\nScore: {9 - 3 * time}", usage=tts.Usage(1, 1))


def test_of_each_graded_candidate_the_rationale_that_fits_its_verdict_is_chosen(tmp_path: Path) -> None:
    judged = tts.judge(pool(), "rubric(temperature=0.7)", repeats=2, model=Moody(), out=tmp_path / "run")
    assert tts.export_pairs(tmp_path / "run", tmp_path / "pairs.jsonl") == len(judged.judgements) // 2 == 6
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [row["correct"] for row in rows] == [True, False, False] * 2
    for row in rows:
        assert (row["chosen_score"], row["rejected_score"]) == ((6, 3) if row["correct"] else (3, 6))
        mood = 1 if row["correct"] else 2
        assert row["chosen"] == [{"role": "assistant", "content": f"Mood {mood}.\nScore: {row['chosen_score']:g}"}]
        (turn,) = row["prompt"]
        assert turn["role"] == "user" and turn["content"].endswith(by_rubric("", "").rpartition("Rubric:")[2])
    assert tts.export_pairs(tmp_path / "run", tmp_path / "none.jsonl", margin=4) == 0


def test_what_has_no_rationales_is_refused_with_what_makes_some(tmp_path: Path) -> None:
    tts.judge(pool(), "judge", model=Moody(), out=tmp_path / "run")
    with pytest.raises(PoolLacks, match="--repeats 4"):
        tts.export_pairs(tmp_path / "run", tmp_path / "pairs.jsonl")
    with pytest.raises(InvalidParameter, match="margin must be more than 0"):
        tts.export_pairs(tmp_path / "run", tmp_path / "pairs.jsonl", margin=0)
    with pytest.raises(InvalidParameter, match="holds no result"):
        tts.export_pairs(tmp_path, tmp_path / "pairs.jsonl")
