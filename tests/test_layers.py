"""Who may import whom (ARCHITECTURE.md), read from the syntax trees."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [p for folder in ("tts", "strategies", "clusters") for p in sorted((ROOT / folder).rglob("*.py"))]
PURE = [
    ROOT / "tts" / f"{name}.py"
    for name in (
        "types", "errors", "actions", "answers", "blocks", "cues", "extract", "letters", "normalise", "typography",
        "budget", "kernel", "outcome", "protocols", "search", "run", "journal",
        "conductor", "selectors", "votes", "sweeps", "sse", "lenient", "wire", "partial", "bins", "revisions",
        "foreign", "endings", "lengths", "solveverify", "address", "refusals", "attempt",
        "latency", "chooser", "allocation", "intervals", "frontier", "sampling", "prefill", "outages", "replicas",
        "randomness", "naming", "vegalite",
    )
]  # fmt: skip
PURE += sorted((ROOT / "tts" / "allocators").glob("*.py"))
PURE += [ROOT / "clusters" / f"{name}.py" for name in ("outbox", "placement", "hedges", "fleet", "suspects", "bounds")]
IO = {
    "asyncio", "socket", "subprocess", "threading", "multiprocessing", "concurrent", "time", "os", "io", "pathlib",
    "shutil", "signal", "select", "ray", "httpx2", "httpx", "aiohttp", "uuid", "requests",
}  # fmt: skip
BANNED_CALLS = {"time.time", "random.random", "random.choice", "random.randint", "random.shuffle", "uuid.uuid4", "open"}
# Law 5: what knows the reference answer.
LABELS = {"tts.graders", "tts.tasks", "tts.examples", "tts.problemrows", "tts.problemfiles", "tts.api", "tts.outcomes"}


def imports(path: Path) -> set[str]:
    """Every module a file names in an import, also inside functions; not those for type checkers only."""
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
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "tts"}
    return found


def top(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize("path", PURE, ids=lambda p: p.name)
def test_the_pure_files_import_nothing_that_does_input_or_output(path: Path) -> None:
    assert not top(imports(path)) & IO


@pytest.mark.parametrize("path", sorted((ROOT / "strategies").glob("*.py")), ids=lambda p: p.name)
def test_strategies_import_the_core_only(path: Path) -> None:
    ours = {m for m in imports(path) if m.startswith("tts")}
    allowed = {"tts.run", "tts.votes", "tts.types", "tts.selectors", "tts.errors", "tts.answers", "tts.bins", "tts"}
    allowed |= {"tts.revisions", "tts.sampling"}
    assert ours <= allowed
    assert not top(imports(path)) & IO


@pytest.mark.parametrize("path", [*PURE, *sorted((ROOT / "strategies").glob("*.py"))], ids=lambda p: p.name)
def test_the_core_and_the_strategies_read_no_clock_and_no_global_random(path: Path) -> None:
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
    assert not calls & BANNED_CALLS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_clusters_import_ray_only_the_client_http_and_nothing_the_command_line(path: Path) -> None:
    modules = imports(path)
    where = str(path.relative_to(ROOT))
    if not where.startswith("clusters/"):
        assert "ray" not in top(modules)
    if where not in ("tts/openai.py", "tts/httpxclient.py", "tts/transport.py"):
        assert not top(modules) & {"httpx2", "httpx", "aiohttp", "requests"}
    if where != "tts/__main__.py":
        assert "tts.cli" not in modules


def test_what_draws_is_imported_where_something_is_drawn_only() -> None:
    """Most runs write no report, and need not have the extra `report`."""
    libraries = {f"tts.{p.stem}" for p in FILES if top(imports(p)) & {"vl_convert", "altair"}}
    assert libraries == {"tts.charts", "tts.livecharts"}
    drawing = libraries | {"tts.allocationchart", "tts.poolcharts"}  # they import tts.charts
    for path in FILES:
        if f"tts.{path.stem}" in drawing:
            continue
        at_once = {name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)
                   for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))}  # fmt: skip
        assert not at_once & drawing, path


def test_nothing_that_scores_or_searches_can_reach_a_reference_answer() -> None:
    """Law 5, over everything that a strategy, selector or verifier imports, however indirectly."""
    by_module = {f"tts.{p.relative_to(ROOT / 'tts').with_suffix('')}".replace("/", "."): p for p in FILES
                 if p.is_relative_to(ROOT / "tts")}  # fmt: skip
    seen: set[str] = set()
    todo = [*sorted((ROOT / "strategies").glob("*.py")), *sorted((ROOT / "tts" / "verifiers").glob("*.py"))]
    todo += [ROOT / "tts" / "selectors.py", ROOT / "tts" / "conductor.py"]
    while todo:
        for module in imports(todo.pop()):
            if module in by_module and module not in seen:
                seen.add(module)
                todo.append(by_module[module])
    assert "tts.search" in seen
    assert not seen & LABELS
