"""A folder that somebody sent is data: what its journal names is neither imported nor run."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tts
from tts.api.report import report
from tts.core.journal.history import History
from tts.core.journal.records import ChecksumChain, Decided, Header
from tts.core.result import Bill
from tts.errors import JournalCorrupt, RunError
from tts.pools.from_run import build_pool
from tts.runs.config import RunConfig
from tts.runs.folder import JOURNAL, read_records
from tts.runs.foreign_runs import cells_asked_for, cells_of_journal, verifiers_named
from tts.runs.plan import cells_of
from tts.testing.engine import FakeEngine
from tts.types import Cost, StrategySpec

MINE = """
from tts.types import Score

async def mine(problem, run, *, n: int = 1, rate: float = 0.5, shout: bool = False, verifier: str = "constraint"):
    candidates = await run.generate(n=n)
    await run.verify(candidates, verifier)
    return candidates[0]

class Even:
    kind, candidate_logprobs, in_worker = "scale", 0, False
    def request(self, problem, candidate): return None
    def read(self, completion): ...
    def score(self, problem, candidate): return Score(2.0, "even")
"""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a run whose plugin would leave a mark if it were imported again, and what the run found."""
    folder = tmp_path_factory.mktemp("sent")
    plugin, here = folder / "it's mine.py", Path.cwd()
    plugin.write_text(MINE)
    os.chdir(folder)
    try:
        with FakeEngine() as engine:
            specs = [f"{plugin.name}:mine:n=1,2,rate=1,0.25,shout=1,verifier={plugin.name}:Even", "majority_vote:n=2"]
            result = tts.sweep(
                "arithmetic?size=3",
                specs,
                budgets=["tokens=1k", "tokens=2000,samples=9"],
                seeds=[3, 5],
                base_url=engine.base_url,
                out="run",
                report=False,
            )
    finally:
        os.chdir(here)
    for name in (plugin.name, "run/helper.py"):
        (folder / name).write_text(f"open({str(folder / 'RAN')!r}, 'w')\nasync def mine(problem, run): ...\n")
    return folder, result


def rewritten(folder: Path, target: Path, **config: Any) -> Path:
    """The run with another configuration, sealed anew, as somebody who means harm would."""
    target.mkdir()
    for path in (folder / "run").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    first, *rest = read_records(folder / "run" / JOURNAL)
    assert isinstance(first, Header)
    chain = ChecksumChain()
    records = [msgspec.structs.replace(first, config={**first.config, **config}), *rest]
    (target / JOURNAL).write_bytes(b"".join(chain.written(record) for record in records))
    return target


def test_a_report_is_that_of_the_run_and_imports_nothing(sent: tuple[Path, Any]) -> None:
    folder, result = sent
    again = report(folder / "run")
    assert [o for o in again.outcomes if not o.error] == result.outcomes
    assert again.rows == result.rows and again.complete
    assert not (folder / "RAN").exists()


def test_a_pool_is_built_without_what_the_folder_names_unless_the_caller_trusts_it(sent: tuple[Path, Any]) -> None:
    folder, _ = sent
    told: list[str] = []
    pool = asyncio.run(build_pool(folder / "run", on_foreign=told.append))
    assert told == ["it's mine.py:Even"]
    assert len(pool.correct) == 3 * 2 * 2
    assert not (folder / "RAN").exists()


def test_a_journal_that_names_another_file_runs_it_in_no_command(sent: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = sent
    for i, names in enumerate((["run/helper.py:mine"], ["os:system:n=1"], ["antigravity"], ["single:x=y,z"])):
        theirs = rewritten(folder, tmp_path / str(i), strategies=names)
        assert report(theirs).rows
        asyncio.run(build_pool(theirs))
    assert not (folder / "RAN").exists()


def history_of(*cells: tuple[str, StrategySpec]) -> History:
    history = History()
    for id, spec in cells:
        history.cells[id] = None
        trial = f"{id}/p/1"
        history.decided[trial] = Decided(trial, 0.0, "p/1", spec, None, None, Bill(), Cost())
    return history


@pytest.mark.parametrize(
    "options",
    [
        {"strategies": ("majority_vote:n=1,2,4", "best_of_n:n=2,verifier=constraint"), "budgets": ("", "tokens=1k")},
        {"strategies": ("majority_vote:n=none", "single"), "run_budget": "tokens=9k"},
        {"strategies": ("majority_vote:n=none",), "allocators": ("equal", "marginal:floor=0.001,0.002"),
         "budgets": ("tokens=1k", "samples=4,usd=0.5")},
    ],
)  # fmt: skip
def test_cells_are_read_back_as_they_were_planned(options: dict[str, Any]) -> None:
    config = RunConfig.checked(problems="x", problems_digest="", seeds=(0, 7), **options)
    cells = cells_of(config, 3)
    back = cells_of_journal(history_of(*((cell.id, cell.spec) for cell in cells)))
    assert [cell.id for cell in back] == [cell.id for cell in cells]
    assert [(c.label, c.seed, c.share, c.spec) for c in back] == [(c.label, c.seed, c.share, c.spec) for c in cells]
    assert [str(c.allocator) for c in back] == [str(c.allocator) for c in cells]
    assert len(cells_asked_for(config)) == len(cells)


@pytest.mark.parametrize("id", ["single", "single#x", "other#1", "single@tokens=lots#1", "single by#1", "#"])
def test_a_cell_that_is_none_is_refused(id: str) -> None:
    with pytest.raises(JournalCorrupt, match="is no cell of a run"):
        cells_of_journal(history_of((id, StrategySpec("single"))))


def test_verifiers_are_named_by_texts_and_by_built_in_defaults() -> None:
    strategies = "best_of_n:n=2", "genrm", "x.py:f:a_verifier=x.py:V,judge,n=3", "majority_vote:n=2"
    config = RunConfig.read({"problems": "x", "problems_digest": "", "strategies": strategies})
    assert verifiers_named(config) == ["self_certainty", "genrm", "x.py:V", "judge"]


# --- links and devices in a folder that somebody sent


@pytest.fixture
def copied(sent: tuple[Path, Any], tmp_path: Path) -> Path:
    return rewritten(sent[0], tmp_path / "copied")


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as running:
        yield running


def commands(folder: Path, engine: FakeEngine) -> list[Callable[[], object]]:
    """All that reads or writes a run folder."""
    url = engine.base_url
    return [
        lambda: report(folder),
        lambda: asyncio.run(build_pool(folder)),
        lambda: tts.sweep("arithmetic?size=3", "single", base_url=url, out=folder),
        lambda: tts.solve("What?", "single", base_url=url, out=folder),
    ]


@pytest.mark.parametrize(
    "name", [JOURNAL, "problems.jsonl", "references.jsonl", "outcomes.jsonl", "report.html", "report.json", "x.svg"]
)
def test_a_link_in_a_run_folder_is_refused_by_its_name_and_followed_by_no_command(
    copied: Path, name: str, engine: FakeEngine
) -> None:
    elsewhere = copied.parent / "precious"
    elsewhere.write_text("a line that is not whole")
    (copied / name).unlink(missing_ok=True)
    (copied / name).symlink_to(elsewhere)
    for command in commands(copied, engine):
        with pytest.raises(RunError, match=f"{name}' is a link to .*precious"):
            command()
    assert elsewhere.read_text() == "a line that is not whole"
    assert (copied / name).is_symlink()


def test_a_pipe_in_a_run_folder_is_refused_and_waited_for_by_no_command(copied: Path, engine: FakeEngine) -> None:
    (copied / JOURNAL).unlink()
    os.mkfifo(copied / JOURNAL)
    for command in commands(copied, engine):
        with pytest.raises(RunError, match="neither a file nor a folder"):
            command()


def test_a_run_folder_may_itself_be_behind_a_link(copied: Path) -> None:
    (copied.parent / "latest").symlink_to(copied)
    assert report(copied.parent / "latest").rows
