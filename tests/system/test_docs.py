"""Every example in README.md runs as it stands: with the model in process, or a server where it names one."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tts
from tts.testing.engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
README = BLOCK.findall((ROOT / "README.md").read_text())


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the README writes, and a problem file as it describes one."""
    for _, name, text in README:
        if name:
            (tmp_path / name).write_text(text)
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


def test_the_smallest_plugin_stays_under_thirty_lines() -> None:
    (text,) = [t for _, name, t in README if name == "longest_vote.py"]
    assert len(text.splitlines()) < 30


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_public_names_are_sorted_and_all_there() -> None:
    assert tts.__all__ == sorted(tts.__all__)
    for name in tts.__all__:
        assert getattr(tts, name).__name__


def test_every_file_named_in_the_architecture_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for name in set(re.findall(r"`((?:tts|tests|strategies|clusters)/[\w/]+\.py)`", text)):
        assert (ROOT / name).is_file(), name


def test_every_public_module_and_function_says_what_it_is_for() -> None:
    for folder in ("tts", "strategies", "clusters"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            if path.name == "__init__.py" and folder != "tts":
                continue
            assert ast.get_docstring(tree), f"{path} has no docstring"
