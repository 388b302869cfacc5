"""`tts judge` and `tts judge report` as their user meets them, on a verifier that asks no model."""

import json

import pytest
from judged_pool import pool

from tts.cli import main as cli
from tts.pools.parquet import write_pool

HONEST = "tts.testing.judges.faulty:Deceptive"


@pytest.fixture
def tts(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pool(pool(), tmp_path / "sums.parquet")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def test_a_pool_is_judged_without_naming_a_command_and_reported(tts) -> None:
    judge = f"{HONEST}(intent=constructive,right=4)"
    code, out, _ = tts("judge", "sums.parquet", "--judge", judge, "--out", "run")
    assert code == 0 and "scores: run/pool.parquet" in out
    code, out, _ = tts("judge", "report", "run", "--threshold", f"{judge}=0.5", "--json")
    (found,) = json.loads(out)["study"]["judges"]
    assert code == 0 and (found["scored"], found["precision"]["mean"]) == (6, 1.0)


def test_what_cannot_work_is_one_sentence_and_exit_code_2(tts) -> None:
    for arguments, said in (
        (("judge", "sums.parquet", "--judge", "judgg", "--out", "run"), "Did you mean 'judge'"),
        (("judge", "report", "sums.parquet"), "has no scores"),
        (("judge", "report", "example", "--threshold", "judge:high"), "--threshold takes NAME=NUMBER"),
    ):
        code, _, err = tts(*arguments)
        assert code == 2 and said in " ".join(err.split()), err
