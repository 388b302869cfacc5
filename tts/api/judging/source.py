"""The recorded candidates that a call names: a pool, its file, or the folder of a run."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tts.errors import InvalidParameter
from tts.pools.from_run import build_pool
from tts.pools.parquet import read_pool
from tts.pools.pool import Pool
from tts.pools.recorded import Problems, RecordedGroup, recorded_groups
from tts.runs.problem_files import read_examples
from tts.types import Problem


class Source:
    """See the module. It is read twice, for the candidates, and in the end for the pool that gets the scores: in
    between, no verdict and no reference of a file is in this process.

    Args:
        benchmark, model: whose candidates are judged; None: all.
    """

    def __init__(self, recorded: str | Path | Pool, benchmark: str | None = None, model: str | None = None) -> None:
        if not isinstance(recorded, str | PathLike | Pool):
            raise InvalidParameter(
                f"recorded must be a pool, its file, or the folder of a run, but got {recorded!r}", name="recorded"
            )
        self._recorded = recorded
        self._benchmark = benchmark
        self._model = model
        self._folder = None if isinstance(recorded, Pool) or not Path(recorded).is_dir() else Path(recorded)

    @property
    def name(self) -> str:
        """For people."""
        return self._recorded.name if isinstance(self._recorded, Pool) else str(self._recorded)

    async def pool(self) -> Pool:
        """The whole pool. Raises: BadPool, and as `build_pool`."""
        if isinstance(self._recorded, Pool):
            return self._recorded
        return read_pool(self._recorded) if self._folder is None else await build_pool(self._folder)

    async def groups(self, samples: int | None, limit: int | None) -> tuple[list[RecordedGroup], frozenset[str]]:
        """The candidates to be judged, and the names of the scores that they have already. Raises: as `pool`,
        `recorded_groups`; UnknownName."""
        pool = await self.pool()
        chosen = pool
        if self._benchmark is not None or self._model is not None:
            chosen = pool.select(benchmark=self._benchmark, model=self._model)
        return recorded_groups(chosen, self._problems(pool), samples=samples, limit=limit), frozenset(pool.scores)

    def _problems(self, pool: Pool) -> Problems | None:
        """The problems of a run's folder, with what a prompt alone does not say; None for a pool."""
        if self._folder is None:
            return None
        problems: list[Problem] = [example.problem for example in read_examples(self._folder).examples]
        (benchmark,) = pool.benchmark.present
        return {(benchmark, problem.id): problem for problem in problems}
