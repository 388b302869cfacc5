"""The command line as its user meets it: what it prints, what it returns, and what bad input gets."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main

from tts.cli import main as cli
from tts.runs.folder import JOURNAL
from tts.runs.problem_files import OUTCOMES, PROBLEMS, REFERENCES
from tts.selectors import SELECTORS
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply, arithmetic, tokenize


class Ran:
    """One call of the command line."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


class Tts:
    """Calls the command line in this process, against one engine."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self._capsys = capsys
        self.url = url

    def __call__(self, *arguments: str, url: bool = True) -> Ran:
        target = ["--base-url", self.url] if url else []
        with pytest.raises(SystemExit) as exit_:
            cli.main([*arguments, *target])
        out, err = self._capsys.readouterr()
        code = exit_.value.code
        return Ran(code if isinstance(code, int) else 1, out, err)


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


@pytest.fixture
def tts(capsys: pytest.CaptureFixture[str], engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tts:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return Tts(capsys, engine.base_url)


SUMS = "arithmetic?size=6&seed=7"


# --- what good input gets


def test_solve_prints_the_text_and_says_on_stderr_what_it_cost(tts: Tts) -> None:
    ran = tts("solve", "What is 19 + 23?", "--strategy", "majority_vote:n=9")
    assert ran.code == 0
    assert "Answer: 42" in ran.out
    assert "answer: 42" in ran.err
    assert "9 requests" in ran.err


def test_solve_as_json_holds_every_candidate(tts: Tts) -> None:
    ran = tts("solve", "What is 19 + 23?", "--strategy", "majority_vote:n=9", "--json")
    found = json.loads(ran.out)
    assert found["answer"] == "42"
    assert len(found["result"]["candidates"]) == 9


def test_a_sweep_prints_a_row_a_cell_and_writes_its_report(tts: Tts, tmp_path: Path) -> None:
    ran = tts("sweep", SUMS, "-s", "single", "-s", "majority_vote:n=2,4", "--out", "run")
    assert ran.code == 0, ran.err
    assert "majority_vote:n=4" in ran.out
    for name in ("report.html", "accuracy.png", "accuracy.svg", "report.csv", "report.json", JOURNAL):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_without_a_report_a_sweep_prints_its_table_alone_and_the_report_can_be_made_later(
    tts: Tts, tmp_path: Path
) -> None:
    ran = tts("sweep", SUMS, "-s", "majority_vote:n=2,4", "--no-report", "--out", "run")
    assert ran.code == 0, ran.err
    assert "majority_vote:n=4" in ran.out and "report" not in ran.out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {JOURNAL, OUTCOMES, PROBLEMS, REFERENCES}
    ranked = tts("report", "run", "--leaderboard", "--json", url=False)
    assert ranked.code == 0 and {"rows", "leaderboard"} <= json.loads(ranked.out).keys()  # one document
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "run" / "accuracy.png").is_file()


def test_a_sweep_done_again_in_the_same_folder_pays_nothing(tts: Tts, engine: FakeEngine) -> None:
    first = tts("sweep", SUMS, "-s", "majority_vote:n=2,4", "--out", "run", "--json")
    before = engine.stats().requests
    again = tts("sweep", SUMS, "-s", "majority_vote:n=2,4", "--out", "run", "--json")
    assert engine.stats().requests == before
    assert json.loads(first.out)["rows"] == json.loads(again.out)["rows"]


def test_a_report_is_made_anew_from_the_folder_alone(tts: Tts) -> None:
    swept = tts("sweep", SUMS, "-s", "majority_vote:n=2,4", "--out", "run", "--json")
    reported = tts("report", "run", "--json", url=False)
    assert json.loads(reported.out)["rows"] == json.loads(swept.out)["rows"]


def test_budgets_are_an_axis_and_cells_stay_within_them(tts: Tts) -> None:
    ran = tts("sweep", SUMS, "-s", "majority_vote:n=none", "-b", "tokens=60,120,240", "--max-tokens", "40", "--json",
              "--out", "run")  # fmt: skip
    rows = json.loads(ran.out)["rows"]
    limits = [60, 120, 240]
    assert [row["budget"] for row in rows] == [f"tokens={limit}" for limit in limits]
    assert all(limit - 40 < row["tokens"] <= limit for row, limit in zip(rows, limits, strict=True))


def test_one_strategy_is_listed_with_its_differences_from_the_paper_and_all_are_without(tts: Tts) -> None:
    assert "Differences from the paper" in tts("strategies", "rebase", url=False).out
    assert "Differences from the paper" not in tts("strategies", url=False).out


def test_the_list_of_strategies_is_by_family_and_names_every_one(tts: Tts) -> None:
    listed = tts("strategies", url=False).out
    places = [
        listed.index(text) for text in ("\n\nRaces\n  first_finish  ", "\n\nTree search\n  ab_mcts  ", "\n  rebase  ")
    ]
    assert places == sorted(places)
    for name in json.loads(tts("strategies", "--json", url=False).out):
        assert f"  {name['name']}  " in listed


def test_strategies_are_listed_with_their_parameters_and_papers(tts: Tts) -> None:
    listed = {s["name"]: s for s in json.loads(tts("strategies", "--json", url=False).out)}
    assert {"single", "best_of_n", "majority_vote", "first_finish", "genrm", "sequential_revision"} <= listed.keys()
    assert "2505.18149" in listed["first_finish"]["paper"]
    assert {"n", "k", "equivalence"} == {p["name"] for p in listed["first_finish"]["parameters"]}


def test_verifiers_are_listed_with_their_parameters_and_defaults(tts: Tts, tmp_path: Path) -> None:
    listed = {v["name"]: v for v in json.loads(tts("verifiers", "--json", url=False).out)}
    assert {"judge", "genrm", "self_certainty", "constraint"} <= listed.keys()
    (parameter,) = listed["genrm"]["parameters"]
    assert (parameter["name"], parameter["type"], parameter["default"]) == ("max_tokens", "int", 512)
    assert "arXiv:2502.18581" in listed["self_certainty"]["paper"]
    (tmp_path / "mine.py").write_text("NUMBER = 1\ndef brief(problem, candidate, *, most=10): ...\n")
    assert "    most: int = 10\n" in tts("verifiers", f"{tmp_path}/mine.py:brief", url=False).out
    refused = tts("verifiers", f"{tmp_path}/mine.py:NUMBER", url=False)
    assert refused.code == 2 and "must be a class, or a function" in refused.err


def test_selectors_are_listed_with_a_summary_each(tts: Tts) -> None:
    listed = {s["name"]: s["summary"] for s in json.loads(tts("selectors", "--json", url=False).out)}
    assert listed.keys() == SELECTORS.keys() and all(listed.values())


def test_doctor_tries_the_endpoint_and_reports_what_it_saw(tts: Tts) -> None:
    seen = {f["what"].strip(): f["ok"] for f in json.loads(tts("doctor", "--json").out)}
    assert seen["seed"] is True
    assert seen["logprobs"] is True


@pytest.mark.system
def test_a_first_interrupt_finishes_what_is_in_flight_and_the_command_resumes(tmp_path: Path) -> None:
    sums, interrupted = arithmetic(), False

    def script(request: dict[str, Any]) -> Reply:
        """So slow that the sweep cannot be over before it is interrupted, on however busy a machine."""
        return msgspec.structs.replace(sums(request), per_token_s=0.0 if interrupted else 0.3)

    with FakeEngine(script) as slow:
        command = [sys.executable, "-m", "tts", "sweep", "arithmetic?size=30&seed=7", "-s", "majority_vote:n=4",
                   "--base-url", slow.base_url, "-c", "8", "--no-report", "--out", str(tmp_path / "run")]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert slow.wait(lambda s: s.requests > 20, 100)
        process.send_signal(2)
        _, err = process.communicate(timeout=100)
        assert process.returncode == 130, err
        assert "in flight" in err and "repeat the command" in err
        assert slow.stats().left == 0
        interrupted = True
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    assert "lost" not in done.stdout


def test_a_second_interrupt_aborts_and_books_what_was_lost(tmp_path: Path) -> None:
    with FakeEngine(arithmetic(per_token_s=0.5)) as slow:
        command = [sys.executable, "-m", "tts", "sweep", "arithmetic?size=30&seed=7", "-s", "majority_vote:n=4",
                   "--base-url", slow.base_url, "-c", "8", "--no-report", "--out", str(tmp_path / "run")]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert slow.wait(lambda s: s.open_streams >= 8 and s.tokens >= 8, 100)
        process.send_signal(2)
        assert process.stderr is not None
        while "in flight; Ctrl-C again ends them, and books" not in process.stderr.readline():
            pass
        process.send_signal(2)
        out, err = process.communicate(timeout=100)
        assert slow.wait(lambda s: s.open_streams == 0, 100)
    assert process.returncode == 130, err
    assert "lost in a crash or an abort: 8 requests" in out


@pytest.mark.system
def test_an_interrupt_of_solve_says_what_was_paid_and_how_to_go_on(tmp_path: Path) -> None:
    with FakeEngine(arithmetic(per_token_s=0.3)) as slow:
        command = [sys.executable, "-m", "tts", "solve", "What is 19 + 23?", "-s", "majority_vote:n=40",
                   "--base-url", slow.base_url, "-c", "4", "--out", str(tmp_path / "run")]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert slow.wait(lambda s: s.requests > 6, 100)
        process.send_signal(15)  # a scheduler's SIGTERM is minded like Ctrl-C
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "paid so far" in err and str(tmp_path / "run") in err


def test_a_run_budget_that_ran_out_is_noted_under_the_table(tts: Tts) -> None:
    ran = tts("sweep", "arithmetic?size=9&seed=7", "-s", "majority_vote:n=8", "--max-tokens", "40", "--run-budget",
              "tokens=200")  # fmt: skip
    assert "out of budget" in ran.out
    assert "trials ended because a budget ran out" in ran.out


def test_the_version_is_the_installed_one(tts: Tts) -> None:
    assert tts("--version", url=False).out.startswith("tts 0.")


CHAIN = 'Start with 21. Multiply by 3. Then add 40. What number do you get? End with "Answer: N".'


def test_a_model_in_process_is_asked_for_by_name_whatever_the_environment_says(
    tts: Tts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed", exc_type=ImportError)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    ran = tts("solve", CHAIN, "-s", "majority_vote:n=4", "--model", "embedded:tts-tiny", "--json", url=False)
    assert json.loads(ran.out)["answer"] == "103"
    assert tts("doctor", "--model", "embedded:tts-tiny", url=False).code == 0


def test_a_model_in_process_and_a_server_are_not_asked_together(tts: Tts) -> None:
    refused(tts("solve", CHAIN, "--model", "embedded:tts-tiny"), "runs in process", "leave out http://", code=2)
    refused(tts("solve", CHAIN, "--model", "embedded:gpt-5", url=False), "gpt-5", "tts-tiny", code=2)
    assert "gpt-5" in tts("doctor", "--model", "embedded:gpt-5", url=False).out
    assert tts("doctor", "--model", "embedded:gpt-5", url=False).code == 3


@pytest.mark.parametrize("judge", ["embedded:smollm2-135m", "smollm2-135m"])
def test_no_other_model_in_process_verifies(tts: Tts, judge: str) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed", exc_type=ImportError)
    ran = tts("solve", CHAIN, "-s", "genrm:n=1", "--verifier-model", judge, url=False)
    refused(ran, f"--verifier-model {judge}", "--verifier-base-url", code=2)


def test_the_models_in_process_are_listed_with_where_they_are(tts: Tts) -> None:
    listed = {m["name"]: m for m in json.loads(tts("model", "list", "--json", url=False).out)}
    assert listed.keys() == {"tts-tiny", "smollm2-135m"}
    assert Path(listed["tts-tiny"]["path"]).is_file()
    assert tts("model", "pull", "tts-tiny", url=False).out.strip() == listed["tts-tiny"]["path"]
    assert "tts-tiny  6.1 M parameters, 16 MB, Apache-2.0" in tts("model", "list", url=False).out


def test_a_model_in_process_says_what_it_can_be_asked(tts: Tts) -> None:
    said = tts("model", "info", url=False).out
    assert "tts-tiny  " in said and "Apache-2.0" in said and "chain?levels=" in said and "verifier genrm" in said
    found = json.loads(tts("model", "info", "tts-tiny", "--json", url=False).out)
    assert Path(found["model"]["path"]).is_file()
    assert {"name": "direct", "does": "solve in short steps"}.items() <= found["skills"]["modes"][0].items()
    assert "a general chat model" in tts("model", "info", "smollm2-135m", url=False).out
    assert "a general chat model" in tts("model", "info", "embedded:smollm2-135m", url=False).out
    refused(tts("model", "info", "gpt-5", url=False), "gpt-5", "tts-tiny", code=2)


def test_doctor_looks_at_the_server_of_the_environment(tts: Tts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert tts("doctor", url=False).code == 3


def test_help_is_there_for_every_command_without_importing_the_heavy_half() -> None:
    program = (
        "import sys\nfrom tts.cli import main as cli\n"
        "try:\n    cli.main(['sweep', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'ray', 'numpy', 'httpx2', 'aiohttp', 'vl_convert', 'xllamacpp'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--run-budget" in done.stdout


def test_the_help_lists_every_command_once_and_first_those_that_run_something() -> None:
    group = typer.main.get_group(cli.app)
    shown = group.list_commands(typer.Context(group))
    assert sorted(shown) == sorted(group.commands)
    assert shown[:5] == ["solve", "sweep", "plan", "replay", "report"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_process_ends_does_not_change_its_exit_status(number: int) -> None:
    program = (
        "import atexit, os, sys\nfrom tts.__main__ import main\n"
        f"atexit.register(os.kill, os.getpid(), {int(number)})\nsys.argv = ['tts', '--version']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tts 0.")


def test_no_colour_and_no_terminal_give_plain_lines(engine: FakeEngine, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tts", "sweep", SUMS, "-s", "single", "--no-report", "--base-url", engine.base_url]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr


# --- what bad input gets: a sentence that names the thing, and an exit code


def refused(ran: Ran, *words: str, code: int = 2) -> None:
    assert ran.code == code, (ran.code, ran.out, ran.err)
    assert ran.err.startswith("tts: ") or "\ntts: " in ran.err
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err, ran.err


def test_no_name_of_an_option_and_no_summary_is_cut_on_a_narrow_terminal(
    tts: Tts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("solve", "sweep", "plan", "replay"):
        shown = tts(command, "--help", url=False).out
        for option in typer.main.get_group(cli.app).commands[command].params:
            if option.param_type_name == "option" and not option.hidden:
                assert f"{max(option.opts, key=len)} " in shown, option.name
    assert not [line for line in tts("--help", url=False).out.splitlines()[1:] if line.endswith("...")]


@pytest.mark.parametrize(
    ("arguments", "resumes"),
    [(["sweep", "x"], True), (["plan"], True), (["solve", "?"], False), (["solve", "?", "-o", "run"], True),
     (["solve", "?", "--out=run"], True), (["replay", "x", "--out", "run"], False), ([], False)],
)  # fmt: skip
def test_an_interrupt_says_how_to_go_on_only_where_a_repeated_command_does(arguments: list[str], resumes: bool) -> None:
    assert bool(cli._how_to_go_on(arguments)) == resumes


def test_a_solve_that_is_repeated_in_its_folder_says_that_it_was_paid_for_earlier(tts: Tts) -> None:
    first, again = (tts("solve", "What is 19 + 23?", "-s", "single", "-o", "one") for _ in range(2))
    assert "cost:   1 request, " in first.err and "earlier" not in first.err
    assert "paid by an earlier call" in again.err


def test_verifications_without_a_score_are_noted(tts: Tts) -> None:
    ran = tts("solve", "What is 19 + 23?", "-s", "best_of_n:n=2,verifier=constraint")
    assert "note:   none of 2 verifications gave a score" in ran.err


def test_samples_that_were_recorded_as_cut_are_not_to_be_lengthened(tts: Tts) -> None:
    ran = tts("replay", "example", "-s", "single", url=False)
    assert "were cut at 16 tokens: longer ones have to be drawn from the model" in ran.out


def test_an_error_of_solve_begins_with_what_happened_and_with_no_id(tts: Tts) -> None:
    ran = tts("solve", "What is 19 + 23?", "--max-tokens", "8", "--budget", "seconds=0.000001")
    assert ran.err.startswith("tts: BudgetExhausted: the budget of")


def test_an_unknown_strategy_gets_the_nearest_name(tts: Tts) -> None:
    refused(tts("sweep", SUMS, "-s", "majorty_vote"), "majorty_vote", "Did you mean 'majority_vote'")


def test_an_unknown_parameter_gets_the_nearest_name(tts: Tts) -> None:
    refused(tts("sweep", SUMS, "-s", "genrm:verification=2"), "Did you mean 'verifications'")


def test_an_unknown_verifier_gets_the_list(tts: Tts) -> None:
    refused(tts("sweep", SUMS, "-s", "best_of_n:verifier=oracle"), "oracle", "self_certainty")


def test_an_unknown_budget_limit_gets_the_list(tts: Tts) -> None:
    refused(tts("sweep", SUMS, "-s", "single", "-b", "token=5"), "Did you mean 'tokens'")


def test_no_samples_at_all_are_refused_before_anything_is_sent(tts: Tts, engine: FakeEngine) -> None:
    before = engine.stats().requests
    refused(tts("sweep", SUMS, "-s", "majority_vote:n=0"), "n must be at least 1, but got 0")
    assert engine.stats().requests == before


def test_a_budget_that_cannot_hold_one_sample_is_refused_with_the_numbers(tts: Tts) -> None:
    ran = tts("sweep", SUMS, "-s", "single", "-b", "tokens=100", "--max-tokens", "512")
    refused(ran, "cannot hold one sample", "512", "100", "max_tokens")


def test_a_limit_on_dollars_without_a_price_is_refused_not_ignored(tts: Tts) -> None:
    refused(tts("sweep", SUMS, "-s", "single", "-b", "usd=1"), "usd", "--price-in")


def test_a_limit_on_dollars_with_a_price_is_kept(tts: Tts) -> None:
    ran = tts("sweep", SUMS, "-s", "majority_vote:n=none", "-b", "usd=0.001", "--price-in", "0", "--price-out", "5",
              "--max-tokens", "40", "--json")  # fmt: skip
    (row,) = json.loads(ran.out)["rows"]
    assert 0.0005 < row["usd"] <= 0.001


def test_an_open_count_without_a_budget_is_refused(tts: Tts) -> None:
    refused(tts("sweep", SUMS, "-s", "majority_vote:n=none"), "n=None", "--budget")


def test_a_malformed_line_is_named_by_its_number(tts: Tts, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n{"question": \n')
    refused(tts("sweep", "bad.jsonl", "-s", "single"), "line 2")


def test_no_problems_are_refused(tts: Tts, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    refused(tts("sweep", "none.jsonl", "-s", "single"), "no problems")


def test_duplicate_ids_are_named(tts: Tts, tmp_path: Path) -> None:
    (tmp_path / "twice.jsonl").write_text('{"id": "a", "question": "1+1?"}\n{"id": "a", "question": "1+2?"}\n')
    refused(tts("sweep", "twice.jsonl", "-s", "single"), "'a'", "line")


def test_a_reference_that_does_not_parse_is_named_up_front(tts: Tts, tmp_path: Path, engine: FakeEngine) -> None:
    before = engine.stats().requests
    (tmp_path / "gold.jsonl").write_text('{"id": "q7", "question": "1+1?", "answer": "\\\\frac{1}{"}\n')
    refused(tts("sweep", "gold.jsonl", "-s", "single"), "q7")
    assert engine.stats().requests == before


def test_a_missing_problem_file_is_named(tts: Tts) -> None:
    refused(tts("sweep", "nowhere.jsonl", "-s", "single"), "nowhere.jsonl")


def test_a_folder_with_another_run_is_left_alone(tts: Tts, tmp_path: Path) -> None:
    assert tts("sweep", SUMS, "-s", "single", "--out", "run").code == 0
    before = (tmp_path / "run" / JOURNAL).read_bytes()
    ran = tts("sweep", SUMS, "-s", "single", "--out", "run", "--temperature", "0.2")
    refused(ran, "another configuration", "temperature", "0.2", code=4)
    assert (tmp_path / "run" / JOURNAL).read_bytes() == before


def test_an_unreachable_endpoint_is_named(tts: Tts) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        refused(tts("solve", "1+1?", "--base-url", url, url=False), url, code=3)


def test_an_unknown_model_gets_the_list_of_those_served(tts: Tts) -> None:
    refused(tts("solve", "1+1?", "--model", "gpt-9", "--patience", "0"), "gpt-9", "fake", code=3)


@pytest.mark.parametrize("command", [["solve", "1+1?"], ["sweep", SUMS, "-s", "single"]])
def test_a_wrong_key_is_named_as_one(command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with FakeEngine(api_keys=["right"]) as locked:
        ran = Tts(capsys, locked.base_url)(
            *command, "--api-key", "wrong", *(["--out", str(tmp_path)] * (len(command) > 2))
        )
    refused(ran, "key", code=3)
    assert "wrong" not in ran.err.replace("wrong key", "")


@pytest.mark.parametrize(
    ("misbehaviour", "word"),
    [
        (Misbehaviour.HTML, "HTML"),
        (Misbehaviour.HALF_JSON, "Unterminated string"),
        (Misbehaviour.EMPTY, "empty"),
        (Misbehaviour.TORN, "ended"),
        (Misbehaviour.ERROR_IN_STREAM, ""),
    ],
)
def test_an_endpoint_that_answers_nonsense_is_an_error_and_not_a_wrong_answer(
    misbehaviour: Misbehaviour, word: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with FakeEngine(lambda request: Reply(tokenize("Answer: 2"), misbehave=misbehaviour)) as broken:
        ran = Tts(capsys, broken.base_url)(
            "sweep", "arithmetic?size=2&seed=7", "-s", "single", "--out", str(tmp_path), "--patience", "0"
        )
    refused(ran, word, "the same command goes on", code=3)
    assert not (tmp_path / "outcomes.jsonl").exists()


def test_solve_says_what_the_endpoint_did_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeEngine(lambda request: Reply(tokenize("Answer: 2"), misbehave=Misbehaviour.HTML)) as broken:
        refused(Tts(capsys, broken.base_url)("solve", "1+1?", "-s", "single", "--patience", "0"), "HTML", code=3)


def test_a_strategy_file_that_awaits_something_else_is_refused_before_anything_is_sent(
    tts: Tts, tmp_path: Path, engine: FakeEngine
) -> None:
    before = engine.stats().requests
    (tmp_path / "mine.py").write_text("import asyncio\nasync def mine(problem, run):\n    await asyncio.sleep(1)\n")
    refused(tts("sweep", SUMS, "-s", "mine.py:mine"), "mine", "may await only", "mine.py:3", code=1)
    assert engine.stats().requests == before


def test_a_full_disk_is_named_and_what_was_written_stays_readable(engine: FakeEngine, tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from tts.cli.main import main\nmain(sys.argv[1:])\n"
    )
    command = ["sweep", "arithmetic?size=40", "-s", "majority_vote:n=8", "--base-url", engine.base_url]
    command += ["--no-report", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert JOURNAL in done.stderr
    resumed = subprocess.run(
        [sys.executable, "-m", "tts", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stderr


@pytest.mark.parametrize("option", ["--total-timeout", "--patience", "--top-p", "--max-tokens", "--concurrency"])
def test_an_error_about_an_option_names_it_as_the_command_line_does(tts: Tts, option: str) -> None:
    ran = tts("solve", "1+1?", option, "-1")
    assert ran.code == 2
    assert f"{option} must be" in ran.err


@pytest.mark.parametrize("option", ["--concurrency", "--slots", "--prefill-tokens-per-s"])
def test_an_error_about_an_option_of_a_replay_names_it_as_the_command_line_does(tts: Tts, option: str) -> None:
    ran = tts("replay", "example", "-s", "single", option, "0", url=False)
    assert ran.code == 2
    assert f"{option} must be" in ran.err
