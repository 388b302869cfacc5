"""Roles on the command line: a file, flags, and the doctor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tts.cli import main as cli
from tts.testing import FakeEngine

CASCADE = """
async def cascade(problem, run, *, model="small"):
    await run.generate(n=2, model=model)
    return (await run.generate())[0]
"""


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeEngine, FakeEngine]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "key-solver")
    monkeypatch.setenv("SMALL_KEY", "key-small")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    Path("cascade.py").write_text(CASCADE)
    with FakeEngine(models=("big",), api_keys=["key-solver"]) as solver, FakeEngine(models=("small",)) as small:
        Path("models.yaml").write_text(
            f"small:\n  base_url: {small.base_url}\n  api_key: $SMALL_KEY\n  sampling: {{temperature: 0.1}}\n"
        )
        yield solver, small


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_a_file_and_a_flag_give_a_role_its_model(
    engines: tuple[FakeEngine, FakeEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    solver, small = engines
    solve = ("solve", "What is 19 + 23?", "-s", "cascade.py:cascade", "--base-url", solver.base_url)
    assert ran(capsys, *solve, "--models", "models.yaml")[0] == 0
    assert dict(small.stats().requests_by_key) == {"key-small": 2}
    assert small.requests[-1]["temperature"] == 0.1
    assert ran(capsys, *solve, "--model-for", f"small=small@{small.base_url}")[0] == 0
    assert dict(small.stats().requests_by_key) == {"key-small": 2, "EMPTY": 2}
    assert dict(solver.stats().requests_by_key) == {"key-solver": 2}


def test_a_role_that_nobody_defined_is_one_sentence_and_costs_nothing(
    engines: tuple[FakeEngine, FakeEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    solver, small = engines
    code, _, err = ran(capsys, "solve", "?", "-s", "cascade.py:cascade", "--base-url", solver.base_url)
    assert code == 2 and "unknown model 'small'. Known: solver." in " ".join(err.split())
    assert solver.stats().requests == small.stats().requests == 0


def test_the_doctor_tries_each_role(engines: tuple[FakeEngine, FakeEngine], capsys: pytest.CaptureFixture[str]) -> None:
    solver, small = engines
    doctor = ("doctor", "--json", "--base-url", solver.base_url, "--models", "models.yaml")
    code, out, _ = ran(capsys, *doctor)
    found = [finding["what"] for finding in json.loads(out)]
    assert code == 0
    assert found.index(f"endpoint {solver.base_url}") < found.index("role small")
    assert found[found.index("role small") + 1] == f"endpoint {small.base_url}"
    assert small.stats().requests_by_key.keys() == {"key-small"}
    code, out, _ = ran(capsys, *doctor, "--model-for", "judge=m@http://127.0.0.1:9/v1")
    assert code == 3 and "role judge" in out
