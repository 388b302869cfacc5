"""Who may import whom (ARCHITECTURE.md): levels and circles by import-linter (pyproject.toml), the rest from the syntax
trees and from addresses that are strings."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import tts
from tts.core.addresses import KNOW_REFERENCES
from tts.plugins.loading import by_address

ROOT = Path(__file__).resolve().parent.parent
FILES = [p for folder in ("tts", "strategies", "clusters") for p in sorted((ROOT / folder).rglob("*.py"))]
PURE_FOLDERS = (
    "tts/core",
    "tts/answers",
    "tts/toolkit",
    "tts/allocators",
    "tts/analysis",
    "tts/estimators",
    "tts/models/wire",
    "strategies",
)
PURE_FILES = {
    "tts/types.py", "tts/messages.py", "tts/values.py", "tts/checks.py", "tts/errors.py", "tts/selectors.py",
    "tts/intervals.py", "tts/runs/plan.py",
    "tts/pools/grid.py", "tts/models/flops.py", "tts/models/cost_model.py", "tts/models/endpoint.py",
    "tts/models/replicas.py", "tts/models/prefill.py",
    "tts/models/openai/completion_builder.py", "tts/models/openai/token_count.py", "tts/models/openai/chunking.py",
    "tts/models/openai/logprob_meter.py", "tts/models/openai/model_list.py",
    "tts/models/openai/attempt.py", "tts/planning/rules.py", "tts/planning/solve_verify.py",
    "tts/reports/charts/vegalite.py", "clusters/bounds.py", "clusters/suspects.py", "clusters/virtual/clock.py",
    "clusters/virtual/fleet.py", "clusters/ray/action_routing.py", "clusters/ray/hedges.py", "clusters/ray/stream.py",
}  # fmt: skip
IMPURE = {"tts/answers/symbolic.py", "tts/models/wire/keys.py"}  # for worker processes; reads the environment
IO = {
    "asyncio", "socket", "subprocess", "threading", "multiprocessing", "concurrent", "time", "os", "io", "pathlib",
    "shutil", "signal", "select", "ray", "httpx2", "httpx", "aiohttp", "uuid", "requests",
}  # fmt: skip
BANNED_CALLS = {"time.time", "random.random", "random.choice", "random.randint", "random.shuffle", "uuid.uuid4", "open"}
HTTP = {"tts/models/openai/client.py", "tts/models/openai/httpx_client.py", "tts/models/openai/transport.py"}
FOR_STRATEGIES = (
    "tts.core.trials.context", "tts.core.trials.blocks", "tts.types", "tts.selectors", "tts.errors", "tts.checks",
    "tts.answers", "tts.toolkit",
)  # fmt: skip
ADDRESS = re.compile(r"tts(\.\w+)+:\w+(\.\w+)*")
MOST_FILES, MOST_LINES, MOST_STATEMENT_LINES = 16, 500, 60  # an __init__.py included
TESTS = ROOT / "tests"
NOT_OF_ONE_FOLDER = {"support", "system", "data"}  # what tests share, those of whole processes, and what they read
SUPPORT = "support"  # what tests share, in folders, too
PLUGINS = "methods"  # published methods as plugins, in folders of their own


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PURE = [
    p for p in FILES if name_of(p) not in IMPURE and (name_of(p).startswith(PURE_FOLDERS) or name_of(p) in PURE_FILES)
]


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, also inside functions; not those for type checkers only."""
    found: set[str] = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= set(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if (node.module or "").startswith("tts")}
    return found


def top(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def test_levels_are_kept_and_no_folders_import_each_other_in_a_circle(tmp_path: Path) -> None:
    layout = tmp_path / "tts"  # of the wheel
    layout.mkdir()
    for path in [*(ROOT / "tts").iterdir(), ROOT / "strategies", ROOT / "clusters"]:
        (layout / path.name).symlink_to(path)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_what_strategies_cannot_import_they_cannot_call_in_a_worker_either() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (law,) = [contract for contract in linter["contracts"] if contract["type"] == "forbidden"]
    assert {*law["forbidden_modules"]} == {*KNOW_REFERENCES}


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_the_pure_files_import_nothing_that_does_input_or_output_and_read_no_clock_and_no_global_random(
    path: Path,
) -> None:
    assert not top(imports(path)) & IO
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
    assert not calls & BANNED_CALLS


def test_the_pure_files_are_there() -> None:
    assert {name_of(path) for path in FILES} >= PURE_FILES | IMPURE


@pytest.mark.parametrize("path", sorted((ROOT / "strategies").rglob("*.py")), ids=name_of)
def test_strategies_import_only_what_is_meant_for_them(path: Path) -> None:
    modules = {module for module in imports(path) if module.startswith("tts.")}
    assert [module for module in modules if not module.startswith(FOR_STRATEGIES)] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_clusters_and_the_deployment_of_replicas_import_ray_only_the_client_http_and_nothing_the_command_line(
    path: Path,
) -> None:
    modules, where = imports(path), name_of(path)
    assert where.startswith("clusters/") or where == "tts/serve/replicas/deployment.py" or "ray" not in top(modules)
    assert where in HTTP or not top(modules) & {"httpx2", "httpx", "aiohttp", "requests"}
    assert where.startswith(("tts/cli/", "tts/__main__.py")) or not [m for m in modules if m.startswith("tts.cli")]


def test_what_draws_is_imported_where_something_is_drawn_only() -> None:
    """Most runs write no report, and need not have the extra `report`."""
    charts = ROOT / "tts" / "reports" / "charts"
    assert {name_of(p) for p in FILES if top(imports(p)) & {"vl_convert", "altair"}} == {
        "tts/reports/charts/live.py",
        "tts/reports/charts/sweep.py",
    }
    for path in FILES:
        if not path.is_relative_to(charts):
            at_once = {
                node.module or "" for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)
            }
            assert not [module for module in at_once if module.startswith(("tts.reports.charts", "jinja2"))], path


def test_every_address_that_is_a_string_leads_somewhere() -> None:
    found = {
        node.value
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ADDRESS.fullmatch(node.value)
    }
    assert "tts.answers.symbolic:classes" in found
    for address in found:
        assert by_address(address), address


def test_what_benchmarks_import_from_the_library_is_there() -> None:
    """Most of them run seldom: a name that has changed would be found in months."""
    named = [
        (path, node.module, alias.name)
        for path in (ROOT / "benchmarks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tts"
        for alias in node.names
    ]
    assert len(named) > 100
    assert [at for at in named if file_of(f"{at[1]}.{at[2]}") is None and at[2] not in names_in(at[1])] == []


def file_of(module: str) -> Path | None:
    """Where a module of the library is kept in a checkout, if there is one of that name."""
    place = re.sub(r"^tts/(strategies|clusters)\b", r"\1", module.replace(".", "/"))
    return next((p for p in (ROOT / f"{place}.py", ROOT / place / "__init__.py") if p.exists()), None)


@cache
def names_in(module: str) -> set[str]:
    """What a module defines or imports; none where there is no such module."""
    path = file_of(module)
    nodes = [] if path is None else [*ast.walk(ast.parse(path.read_text()))]
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    assigned = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return defined | assigned | {a.asname or a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}


def test_no_folder_has_more_files_than_a_reader_takes_in() -> None:
    folders = {path.parent for path in [*FILES, *TESTS.rglob("*.py")]}
    crowded = {name_of(folder): len([*folder.glob("*.py")]) for folder in folders}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}


def test_each_folder_of_tests_is_one_of_the_tree() -> None:
    of_the_tree = {name_of(path).removeprefix("tts/") for path in product_folders()}
    of_tests = {path.parent.relative_to(TESTS) for path in TESTS.rglob("*.py")} - {Path()}
    of_tests = {path for path in of_tests if path.parts[0] not in (PLUGINS, SUPPORT)}
    assert [path for path in of_tests if str(path) not in of_the_tree | NOT_OF_ONE_FOLDER] == []


def product_folders() -> list[Path]:
    roots = [ROOT / folder for folder in ("tts", "strategies", "clusters")]
    return [path for root in roots for path in (root, *root.rglob("*")) if path.is_dir()]


def test_the_test_files_that_are_named_in_conftest_are_there() -> None:
    """Their order and their groups are by name: a file that was moved would lose its place without a word."""
    named = set(re.findall(r'"((?:\w+/)+test_\w+)"', (TESTS / "conftest.py").read_text()))
    assert len(named) > 10
    assert [name for name in named if not (TESTS / f"{name}.py").exists()] == []


def test_no_file_is_longer_than_a_reader_takes_in_and_no_function_either() -> None:
    long = []
    for path in FILES:
        text = path.read_text()
        if text.count("\n") > MOST_LINES:
            long.append(name_of(path))
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and statement_lines(node) > MOST_STATEMENT_LINES
            ):
                long.append(f"{name_of(path)}: {node.name}")
    assert not long


def statement_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without the signature (whose length is the number of options) and without the docstring."""
    first = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.body[-1].end_lineno - first[0].lineno + 1 if first and function.body[-1].end_lineno else 0


def test_public_names_are_sorted_and_all_there() -> None:
    assert tts.__all__ == sorted(tts.__all__)
    for name in tts.__all__:
        assert hasattr(tts, name)  # a union, `Verifier`, has no name of its own


def test_no_module_or_folder_has_the_name_of_a_public_function_which_its_import_would_replace() -> None:
    for name in tts.__all__:
        assert not [*(ROOT / "tts").glob(f"{name}.py"), *(ROOT / "tts").glob(f"{name}/"), *ROOT.glob(f"{name}/*.py")]
