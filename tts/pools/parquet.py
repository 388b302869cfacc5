"""Pools on disk: one Parquet file (extra `pool`), or the common JSON Lines form, gzipped or not.

Parquet keeps columns apart, so texts stay on the disk until they are read. Prompts and references, of which there is
one for each problem, are in the file's metadata.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tts.errors import BadPool, MissingExtra, StorageFull
from tts.pools.pool import LOGPROBS, UNKNOWN, DictionaryColumn, Pool, VerificationCost
from tts.tasks.file_limits import TooLarge, check_ratio
from tts.types import Value

VERSION = 1
EXAMPLE = Path(__file__).parents[1] / "data" / "example.parquet"
ROWS_IN_A_GROUP = 65_536  # the least of a column that is read at a time: texts are read by the group
_FEW_ROWS, _ROWS_AT_A_TIME = 1024, 4096  # of texts, whose group is then not decoded beyond the last of them
_KEY = b"tts.pool"
_SCORE, _ASKED, _LOGPROB = "score.", "asked.", "logprob."  # beginnings of columns' names
_CONFIDENCES = "confidences"
_WORDS = {"benchmark": "benchmark", "model": "model", "problem_id": "problem", "answer": "answer"}
_WORDS |= {"finish_reason": "finish", "error": "error"}
_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
_LEAST_WIDTH = 4  # bytes of a row in memory, in one column
_COLUMNS = frozenset({*_WORDS, *_COUNTS, "sample", "correct", "seconds"})


class _About(Value, frozen=True):
    version: int
    name: str
    problems: tuple[tuple[str, str, str | None, str | None], ...] = ()  # benchmark, id, prompt, reference
    sampling: tuple[tuple[str, str, dict[str, Any]], ...] = ()  # benchmark, model, fields of `Sampling`
    verification_costs: Mapping[str, VerificationCost] = {}


def read_pool(path: str | Path) -> Pool:
    """Read the pool in a `.parquet` file, or in a file that `tts.pools.formats.imports` reads; `example` is shipped.

    Raises: BadPool for a file that is not there or is no pool; MissingExtra.
    """
    if not isinstance(path, str | PathLike):
        raise BadPool(f"a pool is read from the path of a file, but got {path!r}")
    path = EXAMPLE if str(path) == "example" else Path(path)
    if path.is_dir():
        raise BadPool(f"{path} is a folder, not a pool: `tts pool build {path}` makes one of a run", path=str(path))
    if not path.is_file():
        raise BadPool(f"there is no pool at {path}", path=str(path))
    if path.suffix == ".parquet":
        return _read_parquet(path)
    from tts.pools.formats.imports import import_pool

    return import_pool([path])


def write_pool(pool: Pool, path: str | Path) -> Path:
    """Write a `.parquet` file; a reader sees the old one or the whole new one. Raises: MissingExtra, StorageFull."""
    arrow, parquet = _arrow()
    path = Path(path)
    if path.suffix != ".parquet":
        raise BadPool(f"a pool is written as NAME.parquet, but got {path}", path=str(path))
    present = {(group.benchmark, group.problem_id) for group in pool.groups()}
    keys = sorted((pool.prompts.keys() | pool.references.keys()) & present)  # of the samples that are left
    models = {(group.benchmark, group.model) for group in pool.groups()}
    about = _About(
        VERSION,
        pool.name,
        tuple((*key, pool.prompts.get(key), pool.references.get(key)) for key in keys),
        tuple((*key, dict(known)) for key, known in pool.sampling.items() if key in models),
        pool.verification_costs,
    )
    table = arrow.table(_columns(pool, arrow)).replace_schema_metadata({_KEY: msgspec.json.encode(about)})
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, beside, compression="zstd", use_dictionary=[*_WORDS], row_group_size=ROWS_IN_A_GROUP)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageFull(f"cannot write {path}: {error.strerror}", path=str(path)) from error
    return path


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(
            "pools as Parquet need the extra `pool`: pip install 'test-time-scaling[pool]'", extra="pool"
        ) from None
    return pyarrow, parquet


# --- writing


def _columns(pool: Pool, arrow: Any) -> dict[str, Any]:
    def counted(column: NDArray[Any]) -> Any:
        return arrow.array(column, mask=column == UNKNOWN)

    def measured(column: NDArray[Any]) -> Any:
        return arrow.array(column, mask=np.isnan(column))

    columns = {name: _as_dictionary(getattr(pool, attribute), arrow) for name, attribute in _WORDS.items()}
    columns["sample"] = arrow.array(pool.sample)
    columns["correct"] = arrow.array(pool.correct == 1, mask=pool.correct == UNKNOWN)
    columns |= {name: counted(getattr(pool, name)) for name in _COUNTS}
    columns["seconds"] = measured(pool.seconds)
    for name, scores in pool.scores.items():
        flat = measured(scores.reshape(-1))
        wide = scores.ndim == 2
        columns[_SCORE + name] = arrow.FixedSizeListArray.from_arrays(flat, scores.shape[1]) if wide else flat
    columns |= {_ASKED + name: arrow.array(pool.verifications(name)) for name in pool.scores}
    columns |= {_LOGPROB + name: measured(column) for name, column in pool.logprobs.items()}
    if pool.confidences is not None:
        flat, width = measured(pool.confidences.reshape(-1)), pool.confidences.shape[1]
        columns[_CONFIDENCES] = arrow.FixedSizeListArray.from_arrays(flat, width)
    if pool.read_text is not None:
        columns["text"] = arrow.array(pool.read_text(np.arange(len(pool))), arrow.string())
    return columns


def _as_dictionary(column: DictionaryColumn, arrow: Any) -> Any:
    present, places = np.unique(column.codes, return_inverse=True)  # words that no sample has are not written
    table = [column.table[code] for code in present if code != UNKNOWN]
    codes = places.reshape(-1) - int(UNKNOWN in present)
    return arrow.DictionaryArray.from_arrays(
        arrow.array(codes.astype(np.int32), mask=column.codes == UNKNOWN), arrow.array(table, arrow.string())
    )


# --- reading


def _read_parquet(path: Path) -> Pool:
    arrow, parquet = _arrow()
    try:
        schema = parquet.read_schema(path)
        about = msgspec.json.decode((schema.metadata or {})[_KEY], type=_About)
    except (arrow.ArrowInvalid, OSError) as error:
        raise BadPool(f"{path} cannot be read: {error}", path=str(path)) from None
    except (KeyError, msgspec.DecodeError):
        raise BadPool(f"{path} is a Parquet file, but no pool: see `tts pool build`", path=str(path)) from None
    if about.version != VERSION:
        raise BadPool(f"{path} is a pool of version {about.version}; this program reads {VERSION}", path=str(path))
    missing = _COLUMNS - set(schema.names)
    if missing:
        raise BadPool(f"{path} lacks the columns {', '.join(sorted(missing))}", path=str(path), missing=sorted(missing))
    try:
        check_ratio(_LEAST_WIDTH * parquet.read_metadata(path).num_rows, path.stat().st_size)
    except TooLarge as error:
        raise BadPool(f"{path} {error}", path=str(path)) from None
    if unfit := [field for field in schema if not _fits(field, arrow.types)]:
        listed = ", ".join(f"{field.name} of type {field.type}" for field in unfit)
        raise BadPool(f"{path} has columns of types that no pool has: {listed}", path=str(path))
    read = _Reader(parquet.ParquetFile(path, read_dictionary=[*_WORDS]))
    return Pool(
        name=about.name,
        **{attribute: read.column(name) for name, attribute in _WORDS.items()},
        sample=read.numbers("sample", np.int32, UNKNOWN),
        correct=read.numbers("correct", np.int8, UNKNOWN),
        prompt_tokens=read.numbers("prompt_tokens", np.int32, UNKNOWN),
        completion_tokens=read.numbers("completion_tokens", np.int32, UNKNOWN),
        reasoning_tokens=read.numbers("reasoning_tokens", np.int32, UNKNOWN),
        seconds=read.numbers("seconds", np.float32, np.nan),
        scores={name.removeprefix(_SCORE): read.scores(name) for name in schema.names if name.startswith(_SCORE)},
        asked={
            name.removeprefix(_ASKED): read.numbers(name, np.int32, 0)
            for name in schema.names
            if name.startswith(_ASKED)
        },
        logprobs={
            name: read.numbers(_LOGPROB + name, np.float64, np.nan)
            for name in LOGPROBS
            if _LOGPROB + name in schema.names
        },
        confidences=read.scores(_CONFIDENCES) if _CONFIDENCES in schema.names else None,
        sampling={(benchmark, model): _as_sampled(known) for benchmark, model, known in about.sampling},
        verification_costs=about.verification_costs,
        prompts=_known(about, 2),
        references=_known(about, 3),
        read_text=_text_reader(path, parquet) if "text" in schema.names else None,
    )


def _fits(field: Any, types: Any) -> bool:
    """Whether a column's type is one that its values can be read from; a column that is not read may have any."""
    kind = field.type
    if field.name in _WORDS or field.name == "text":
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))
    listed = field.name.startswith(_SCORE) or field.name == _CONFIDENCES
    if listed and types.is_fixed_size_list(kind):
        kind = kind.value_type
    elif field.name == _CONFIDENCES:
        return False
    if field.name == "correct":
        return bool(types.is_boolean(kind) or types.is_integer(kind))
    if field.name in ("sample", *_COUNTS) or field.name.startswith(_ASKED):
        return bool(types.is_integer(kind))
    if field.name in ("seconds", _CONFIDENCES) or field.name.startswith((_SCORE, _LOGPROB)):
        return bool(types.is_floating(kind) or types.is_integer(kind))
    return True


class _Reader:
    """Columns as arrays. Read by row group, so that a column is never in memory twice."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._rows = file.metadata.num_rows

    def column(self, name: str) -> DictionaryColumn:
        codes = np.empty(self._rows, np.int32)
        table: dict[str, int] = {}
        for at, piece in self._pieces(name):  # each has a dictionary of its own
            known = [table.setdefault(word, len(table)) for word in piece.dictionary.to_pylist()]
            own = piece.indices.fill_null(len(known)).to_numpy()
            codes[at : at + len(own)] = np.array([*known, UNKNOWN], np.int32)[own]
        return DictionaryColumn(codes, tuple(table))

    def numbers(self, name: str, dtype: type, missing: float) -> NDArray[Any]:
        found = np.empty(self._rows, dtype)
        for at, piece in self._pieces(name):
            found[at : at + len(piece)] = _filled(piece, dtype, missing)
        return found

    def scores(self, name: str) -> NDArray[np.float32]:
        size = getattr(self._file.schema_arrow.field(name).type, "list_size", None)
        if size is None:
            return self.numbers(name, np.float32, np.nan)
        found = np.empty((self._rows, size), np.float32)
        for at, piece in self._pieces(name):
            found[at : at + len(piece)] = _filled(piece.flatten(), np.float32, np.nan).reshape(-1, size)
        return found

    def _pieces(self, name: str) -> Iterator[tuple[int, Any]]:
        """Pieces of a column, by row group: the first row's number, and the values."""
        at = 0
        for group in range(self._file.num_row_groups):
            piece = self._file.read_row_group(group, columns=[name], use_threads=False)[name].combine_chunks()
            yield at, piece
            at += len(piece)


def _filled(piece: Any, dtype: type, missing: float) -> NDArray[Any]:
    nothing = piece.type.to_pandas_dtype()().item()  # 0, 0.0 or False
    values: NDArray[Any] = piece.fill_null(nothing).to_numpy(zero_copy_only=False).astype(dtype)
    if piece.null_count:
        values[piece.is_null().to_numpy(zero_copy_only=False)] = missing
    return values


def _known(about: _About, place: int) -> Mapping[tuple[str, str], str]:
    return {(row[0], row[1]): row[place] for row in about.problems if row[place] is not None}  # type: ignore[misc]


def _as_sampled(known: dict[str, Any]) -> dict[str, Any]:
    """Turn lists into tuples again, which JSON lacks."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}


def _text_reader(path: Path, parquet: Any) -> Any:
    def read(rows: NDArray[np.int64]) -> list[str | None]:
        groups, places = np.unique(rows // ROWS_IN_A_GROUP, return_inverse=True)
        if len(groups) == 1 and len(rows) <= _FEW_ROWS:
            return _few_texts(parquet.ParquetFile(path), int(groups[0]), (rows % ROWS_IN_A_GROUP).tolist())
        column = parquet.ParquetFile(path).read_row_groups(groups.tolist(), columns=["text"])["text"]
        texts: list[str | None] = column.take(places * ROWS_IN_A_GROUP + rows % ROWS_IN_A_GROUP).to_pylist()
        return texts

    return read


def _few_texts(file: Any, group: int, places: list[int]) -> list[str | None]:
    """The texts at these places of one row group."""
    found: dict[int, str | None] = {}
    at, wanted = 0, {*places}
    for batch in file.iter_batches(_ROWS_AT_A_TIME, row_groups=[group], columns=["text"]):
        column, end = batch.column(0), at + len(batch)
        found |= {place: column[place - at].as_py() for place in wanted if at <= place < end}
        if len(found) == len(wanted):
            break
        at = end
    return [found[place] for place in places]
