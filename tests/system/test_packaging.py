"""The wheel holds one top-level name, and imports in an environment that has never seen the checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

from tts.plugins.names import built_in

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("strategies", "verifiers", "allocators")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = ["pyproject.toml", "README.md", "LICENSE", "tts", "strategies", "clusters"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / n) for n in names), str(source)], check=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and nothing else."""
    clean = tmp_path_factory.mktemp("clean")
    venv.create(clean, with_pip=False)
    libraries = clean / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(libraries)
    return clean / "bin" / "python"


def test_the_wheel_has_one_top_level_name_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"tts"}
    for expected in (
        "tts/py.typed",
        "tts/data/prices.json",
        "tts/data/tts-tiny.gguf",
        "tts/data/tts-tiny.md",
        *(f"tts/reports/templates/{path.name}" for path in (ROOT / "tts/reports/templates").iterdir()),
        *(f"tts/view/page/{path.name}" for path in (ROOT / "tts/view/page").iterdir()),
        "tts/strategies/single.py",
        "tts/clusters/local.py",
    ):
        assert expected in names
    assert not [n for n in names if n.endswith(".pyi")]
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_every_module_of_the_checkout_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    inside = {"tts": "tts", "strategies": "tts/strategies", "clusters": "tts/clusters"}
    modules = {f"{inside[folder]}/{path.relative_to(ROOT / folder)}"
               for folder in inside for path in (ROOT / folder).rglob("*.py")}  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.endswith((".py", ".pyc"))} == modules


def test_the_wheel_works_where_the_user_has_a_strategies_folder_of_their_own(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "strategies").mkdir(parents=True)
    (tmp_path / "work" / "strategies" / "__init__.py").write_text("")
    program = (
        "import tts, tts.strategies.single, tts.clusters.local, tts.plugins.names, tts.cli.main, strategies\n"
        "assert 'site-packages' in tts.strategies.single.__file__, tts.strategies.single.__file__\n"
        "assert 'work' in strategies.__file__\n"
        f"print(*(name for group in {GROUPS} for name in tts.plugins.names.built_in(group)))\n"
    )
    # The dependencies are this environment's; its .pth files, and with them the editable checkout, are not read.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(
        [str(installed), "-c", program],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name for group in GROUPS for name in built_in(group)]


OWN = """
    import tts
    from tts import Candidate, Problem, Run
    from tts.core.protocols import Strategy
    from tts.selectors import majority
    from tts.strategies.voting.majority_vote import majority_vote
    from tts.testing import ScriptedCluster, StrategyContract


    async def longest_vote(problem: Problem, run: Run, *, n: int = 8, k: int = 3) -> Candidate:
        candidates = await run.generate(n=n, stop="\\n\\n")
        longest = sorted(candidates, key=lambda c: c.tokens)[-k:]
        return majority(longest, run.scores) or longest[0]


    async def plain(problem: Problem, run: Run) -> Candidate:
        part = Problem("part", "1 + 1?")
        await run.call(sorted, [run.random.random()])
        return await majority_vote(part, run.on(part), n=2)


    class TestLongestVote(StrategyContract):
        strategy = longest_vote
        params = {"n": 4}


    kept: list[Strategy] = [longest_vote, plain, majority_vote]
    solved = tts.solve("2 + 2?", longest_vote, params={"n": 2}, sampling=tts.Sampling(stop="END"))
    swept = tts.sweep("chain?size=2", ["single", "longest_vote.py:longest_vote:n=4,8"])
    ScriptedCluster(["4"]).run(plain)
"""
WRONG = """

    async def no_candidate(problem: Problem, run: Run) -> str:
        return (await run.generate())[0].text


    def not_async(problem: Problem, run: Run) -> str:
        return problem.prompt


    tts.solve("2 + 2?", no_candidate)
    tts.solve("2 + 2?", not_async)
"""


def write_examples(folder: Path) -> list[str]:
    """The Python examples of README and CONTRIBUTING as files."""
    found = re.findall(
        r"^```python(?: file=(\S+))?\n(.*?)^```$",
        "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")),
        re.MULTILINE | re.DOTALL,
    )
    files = [name or f"example{number}.py" for number, (name, _) in enumerate(found)]
    for file, (_, text) in zip(files, found, strict=True):
        (folder / file).write_text(text)
    assert len(files) > 8
    return files


def test_a_type_checker_takes_the_examples_and_a_strategy_of_ones_own_and_finds_what_is_none(
    installed: Path, tmp_path: Path
) -> None:
    examples = write_examples(tmp_path)
    (tmp_path / "own.py").write_text(textwrap.dedent(OWN + WRONG))
    right = len(OWN.splitlines())
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed), "own.py", *examples],
        cwd=tmp_path,  # without the dependencies, whose types would take a minute to read
        capture_output=True,
        text=True,
        check=False,
    )
    elsewhere = re.findall(r"^(?!own\.py)\S+: error: .*", done.stdout, re.MULTILINE)
    assert elsewhere == [], done.stdout
    found = re.findall(r"own.py:(\d+): error: (.*)", done.stdout)
    assert [text for line, text in found if int(line) <= right] == [], done.stdout
    assert len(found) == 2 and all("has incompatible type" in text for _, text in found), done.stdout


def test_a_plain_import_of_strategies_says_which_name_to_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import strategies"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "import tts.strategies, not strategies" in done.stderr
