"""The arguments of replicas: what is wrong in them is one sentence, before anything is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tts.errors import TTSError
from tts.serve.replicas.arguments import setup_of

KEYS = "bob: {key: 'sha256:" + "ab" * 32 + "'%s}"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "keys are missing: whoever reaches Ray Serve's port could ask"),
    ({"keys": "bounded.yaml"}, "--budget tokens="),
    ({"keys": "bounded.yaml", "budget": "tokens=1k"}, "state is missing: the keys have budgets"),
    ({"anybody": True, "port": 9000}, "port is of one server: Ray Serve has its own"),
    ({"anybody": True, "run_budget": "usd=5"}, "run_budget is of one server: give each key its budget"),
    ({"anybody": True, "strategy": "singl"}, "Did you mean 'single'?"),
    ({"anybody": True, "concurency": 8}, "concurency"),
    ({"anybody": True, "base_url": ["host:8000"]}, "host:8000"),
    ({"anybody": True, "deadline_s": "soon"}, "deadline_s"),
    ({"anybody": True, "concurrency": "8"}, "concurrency must be a whole number, but got a str"),
    ({"anybody": True, "aliases": "none.yaml"}, "aliases none.yaml cannot be read"),
    ({"anybody": True, "cluster": "rya"}, "unknown cluster 'rya'"),
]


@pytest.mark.parametrize(("args", "words"), WRONG)
def test_what_is_wrong_is_said_in_a_sentence(
    args: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bounded.yaml").write_text(KEYS % ", budget: tokens=5k")
    with pytest.raises(TTSError) as refused:
        setup_of({"base_url": ["http://host:8000/v1"], **args})
    assert words in refused.value.message


def test_each_replica_writes_a_journal_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(KEYS % "")
    setup = setup_of({"keys": f"{tmp_path}/keys.yaml", "journal": f"{tmp_path}/journal", "sampling": {"max_tokens": 9}})
    assert [key.name for key in setup.keys] == ["bob"]
    assert setup.sampling.max_tokens == 9
    assert setup.client("one") is not setup.client("two")
