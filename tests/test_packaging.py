"""The wheel holds one top-level name, and imports in an environment that has never seen the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent


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


def test_the_wheel_has_one_top_level_name_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"tts"}
    for expected in (
        "tts/py.typed",
        "tts/data/prices.json",
        "tts/data/tts-tiny.gguf",
        "tts/data/tts-tiny.md",
        "tts/strategies/single.py",
        "tts/clusters/local.py",
    ):
        assert expected in names
    assert not [n for n in names if n.endswith(".pyi")]
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_the_wheel_works_where_the_user_has_a_strategies_folder_of_their_own(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "clean", with_pip=False)
    python = tmp_path / "clean" / "bin" / "python"
    libraries = (
        tmp_path / "clean" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(libraries)
    (tmp_path / "work" / "strategies").mkdir(parents=True)
    (tmp_path / "work" / "strategies" / "__init__.py").write_text("")
    program = (
        "import tts, tts.strategies.single, tts.clusters.local, tts.registry, tts.cli, strategies\n"
        "assert 'site-packages' in tts.strategies.single.__file__, tts.strategies.single.__file__\n"
        "assert 'work' in strategies.__file__\n"
        "print(len(tts.registry.strategy_names()))\n"
    )
    # The dependencies are this environment's; its .pth files, and with them the editable checkout, are not read.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(
        [str(python), "-c", program],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 6


def test_a_plain_import_of_strategies_says_which_name_to_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import strategies"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "import tts.strategies, not strategies" in done.stderr
