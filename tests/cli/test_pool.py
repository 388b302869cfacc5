"""`tts pool` and `tts replay` as their user meets them."""

import json
import subprocess
import sys

import pytest

from tts.cli import main as cli
from tts.pools.pool import Pool, Sample

pytest.importorskip("pyarrow", reason="the extra `pool` is not installed")
from tts.pools.parquet import write_pool

ROW = {"benchmark": "sums", "model": "m", "answer": "4", "correct": True, "completion_tokens": 10}


@pytest.fixture
def tts(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {**ROW, "problem_id": f"p{p}", "sample_id": i, "score": i / 8, "completion_tokens": 10 + i + p}
        | ({"answer": "5", "correct": False} if (i + p) % 3 == 0 else {})
        for p in range(4)
        for i in range(8)
    ]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call


def test_import_info_and_replay_follow_one_another(tts, tmp_path):
    code, out, _ = tts("pool", "import", "some.jsonl", "--out", "some.parquet", "--name", "some sums")
    assert code == 0
    assert "32 samples in 4 groups: some.parquet" in out
    code, out, _ = tts("pool", "info", "some.parquet")
    assert code == 0
    assert "some sums" in out
    assert "can: pass@k for k up to 8" in out
    assert "cannot: revisions" in out
    code, out, _ = tts(
        "replay", "some.parquet", "--strategies", "majority_vote:n=1,4", "--strategies", "best_of_n:n=4,verifier=score",
        "--seeds", "3", "--slots", "2", "--out", "run",
    )  # fmt: skip
    assert code == 0
    for word in ("majority_vote:n=4", "best_of_n:n=4", "makespan", "replayed, not paid"):
        assert word in out
    assert (tmp_path / "run" / "outcomes.jsonl").is_file()
    assert (tmp_path / "run" / "report.csv").read_text().count("\n") == 4


def test_without_a_report_a_replay_writes_its_outcomes_alone(tts, tmp_path):
    code, out, _ = tts("replay", "some.jsonl", "-s", "single", "--no-report", "--out", "run")
    assert code == 0
    assert "single" in out and "report" not in out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"outcomes.jsonl"}


def test_json_is_for_programs(tts):
    code, out, _ = tts("pool", "info", "some.jsonl", "--json")
    assert code == 0
    assert json.loads(out)["parts"][0]["samples"] == [8, 8]
    code, out, _ = tts("replay", "some.jsonl", "-s", "single", "--json", "--price-out", "2", "--price-in", "0")
    assert code == 0
    (row,) = json.loads(out)["rows"]
    assert row["usd"] == pytest.approx(2e-6 * row["tokens"])
    assert row["makespan_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pool", "info", "nothing.parquet"], "BadPool: there is no pool at nothing.parquet"),
        (["pool", "import", "some.jsonl", "--out", "x.csv"], "BadPool: a pool is written as NAME.parquet"),
        (["pool", "import", "some.jsonl", "--out", "x.parquet", "--format", "xml"], "unknown format 'xml'"),
        (["pool", "build", "."], "BadPool: . is not the folder of a sweep"),
        (["replay", "some.jsonl", "-s", "majority_vot"], "Did you mean 'majority_vote'?"),
        (["replay", "some.jsonl", "-s", "majority_vote:n=9"], "PoolLacks: .*would be sample 9 of p0"),
        (["replay", "some.jsonl", "-s", "sequential_revision"], "PoolLacks: .*asks something else than the problem"),
        (["replay", "some.jsonl", "-s", "best_of_n"], "Known: score"),
        (["replay", "some.jsonl", "-s", "single", "--verifier-tokens", "score"], "takes NAME=TOKENS"),
        (["replay", "some.jsonl", "-s", "single", "--slots", "0"], "slots must be above 0"),
        (["replay", "some.jsonl", "-s", "majority_vote:n=none", "-b", "tokens=5"], "BudgetTooSmall"),
    ],
)
def test_bad_input_gets_one_clear_line_and_exit_code_2(tts, arguments, message):
    import re

    code, _, err = tts(*arguments)
    assert code == 2
    assert re.search(message, err), err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_the_tokens_of_a_verification_are_given_by_any_text_of_its_verifier(tts):
    rows = [
        Sample("b", "m", "p", n, answer="4", correct=True, completion_tokens=5, scores={"judge(max_tokens=3)": 0.5})
        for n in range(2)
    ]
    write_pool(Pool.of("few", rows), "few.parquet")
    for text in ("judge(max_tokens=3)", "judge( max_tokens=03 )"):
        asked = ["-s", f"best_of_n:n=2,verifier={text}", "--verifier-tokens", f"{text}=50", "--no-report", "--json"]
        code, out, _ = tts("replay", "few.parquet", *asked)
        assert (code, [row["verifier_tokens"] for row in json.loads(out)["rows"]]) == (0, [100.0])
    code, _, err = tts("replay", "few.parquet", "-s", "single", "--verifier-tokens", "judge(max_tokens=4)=50")
    assert code == 2 and "unknown score 'judge(max_tokens=4)'" in err and "judge(max_tokens=3)" in err


def test_the_shipped_example_can_be_asked_by_name(tts):
    code, out, _ = tts("pool", "info", "example")
    assert code == 0
    assert "smollm2-135m" in out
    code, out, _ = tts("replay", "example", "-s", "majority_vote:n=1,8", "--seeds", "3", "--json")
    assert code == 0
    one, eight = json.loads(out)["rows"]
    assert eight["accuracy"]["mean"] > one["accuracy"]["mean"] + 0.1  # voting pays on these sums


def test_help_does_not_load_what_it_does_not_need():
    code = (
        "import sys\n"
        "try:\n"
        "    from tts.cli.main import main; main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numpy', 'pyarrow', 'scipy', 'vl_convert'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "replay" in done.stdout
