"""Every example in README.md runs as it stands, with the model in process, or a server where it names one; so
does every file of CONTRIBUTING.md."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tts.errors import BadPool
from tts.plugins.loading import import_file
from tts.testing.engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
README = BLOCK.findall((ROOT / "README.md").read_text())
CONTRIBUTING = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())


def write_files(blocks: list[tuple[str, str, str]], folder: Path) -> None:
    for _, name, text in blocks:
        if name:
            (folder / name).write_text(text)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the README writes, and a problem file as it describes one."""
    write_files(README, tmp_path)
    (tmp_path / "problems.jsonl").write_text('{"question": "What is 2 + 3?", "answer": "5"}\n' * 1)
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("OPENAI_BASE_URL", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.system
@pytest.mark.parametrize("text", [t for kind, name, t in README if kind == "python" and not name])
def test_every_python_example_of_the_readme_runs(text: str, workplace: Path) -> None:
    assert run([sys.executable, "-c", text], workplace).strip()


@pytest.mark.system
@pytest.mark.parametrize("text", [t for kind, _, t in README if kind == "sh" and "make " not in t])
def test_every_shell_example_of_the_readme_runs(text: str, workplace: Path) -> None:
    with FakeEngine() as engine:
        text = text.replace("http://host:8000/v1", engine.base_url).replace("--model NAME", "--model fake")
        assert run(["sh", "-ec", text], workplace).strip()


@pytest.mark.system
def test_the_contract_example_of_the_readme_passes(workplace: Path) -> None:
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_longest_vote.py"], workplace)


@pytest.mark.system
def test_the_strategy_and_the_verifier_of_the_contribution_guide_run(tmp_path: Path) -> None:
    write_files(CONTRIBUTING, tmp_path)
    strategies = [
        "--strategy",
        "shortest.py:shortest:n=2",
        "--strategy",
        "best_of_n:n=2,verifier=brief.py:brief(most=5)",
        "--strategy",
        "best_of_n:n=2,verifier=ranked.py:ranked",
    ]
    shown = run(["tts", "sweep", "chain?size=2&seed=7", *strategies, "--no-report", "--out", "runs/own"], tmp_path)
    assert "shortest" in shown and "brief.py:brief(most=5)" in shown
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_brief.py"], tmp_path)


@pytest.mark.system
def test_the_allocator_of_the_contribution_guide_runs(tmp_path: Path) -> None:
    write_files(CONTRIBUTING, tmp_path)
    budget = ["--budget", "samples=4", "--allocator", "doubtful.py:doubtful", "--seeds", "1", "--no-report"]
    replay = ["tts", "replay", "example", "--strategies", "majority_vote:n=none", *budget, "--out", "runs/shared"]
    assert "doubtful.py:doubtful" in run(replay, tmp_path)


def test_the_pool_format_of_the_contribution_guide_reads_samples_and_names_a_bad_line(tmp_path: Path) -> None:
    write_files(CONTRIBUTING, tmp_path)
    read = import_file(tmp_path / "pairs.py").pairs_samples
    (tmp_path / "good.tsv").write_text("p1\t4\t1\np1\t5\t0\n")
    assert [(s.answer, s.correct) for s in read(tmp_path / "good.tsv", ())] == [("4", True), ("5", False)]
    (tmp_path / "bad.tsv").write_text("p1\t4\t1\np1\t5\tyes\n")
    with pytest.raises(BadPool, match=r"bad\.tsv, line 2"):
        list(read(tmp_path / "bad.tsv", ()))


def test_the_smallest_plugin_stays_under_thirty_lines() -> None:
    (text,) = [t for _, name, t in README if name == "longest_vote.py"]
    assert len(text.splitlines()) < 30


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_file_named_in_the_architecture_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    names = set(re.findall(r"`([a-z_]+/(?:[\w/]*\.(?:py|md))?)`", text))
    assert len(names) > 50
    for name in names:
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "tts")), name


def test_every_public_module_and_function_says_what_it_is_for() -> None:
    for folder in ("tts", "strategies", "clusters"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            if path.name == "__init__.py" and folder != "tts":
                continue
            assert ast.get_docstring(tree), f"{path} has no docstring"
