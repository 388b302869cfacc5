"""The logs of inspect_ai as samples of a pool: `.eval` archives, and JSON."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tts.errors import BadPool, MissingExtra
from tts.models.openai.logprob_meter import LogprobMeter
from tts.pools.formats.rows import VERDICT, answer_of, count_of, finish_of, flat, prompt_of, sampling_of, text_of
from tts.pools.pool import Sample
from tts.tasks.file_limits import TooLarge, check_entry, check_ratio, read_whole
from tts.types import LogprobSummary


def inspect_samples(path: Path, scores: Sequence[str]) -> Iterator[Sample]:
    """A log of inspect_ai: a zip (`.eval`) of `header.json` and a file for each sample and epoch, or one JSON object.

    The verdict and the answer are the first scorer's. Of a sample with several generations tokens and time are of all
    of them together.
    """
    place = str(path)
    try:
        about, samples = _opened_log(path)
        for place, sample in samples:  # noqa: B007 - for the message below
            yield _inspect_sample(sample, about, scores)
    except TooLarge as error:
        raise BadPool(f"{path} {error}", path=str(path)) from None
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BadPool(f"{path} cannot be read as a log of inspect: {error}", path=str(path)) from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadPool(f"{path} is no log of inspect: {place}: {error!r}", path=str(path), place=place) from None


def _opened_log(path: Path) -> tuple[Mapping[str, Any], Iterator[tuple[str, Mapping[str, Any]]]]:
    """The header's fields of the evaluation, and its samples, each with its place in the file: problems in the order of
    the dataset, as far as the header has it."""
    if not zipfile.is_zipfile(path) and path.suffix != ".eval":
        log = json.loads(read_whole(path))
        return _about(log), ((f"sample {i}", sample) for i, sample in enumerate(log.get("samples") or []))
    with zipfile.ZipFile(path) as packed:
        names = packed.namelist()
        check_ratio(sum(info.file_size for info in packed.infolist()), path.stat().st_size)
        header = "header.json" if "header.json" in names else "_journal/start.json"  # the latter: not ended
        about = _about(json.loads(_entry(packed, path, header)))
    # An entry that comes twice was written anew: its name means the last one.
    found = {match[1]: name for name in names if (match := _INSPECT_SAMPLE.fullmatch(name))}
    ids = (about.get("dataset") or {}).get("sample_ids") or ()
    order = {str(id): place for place, id in enumerate(ids)}
    ordered = sorted(found.items(), key=lambda item: order.get(item[0].rpartition("_epoch_")[0], len(order)))
    return about, _entries(path, [name for _, name in ordered])


def _about(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The evaluation, with how it sampled: the plan's settings come before the model's."""
    about: Mapping[str, Any] = header["eval"]
    plan = (header.get("plan") or {}).get("config") or {}
    settings = {**(about.get("model_generate_config") or {}), **{k: v for k, v in plan.items() if v is not None}}
    return {**about, _SETTINGS: settings}


_SETTINGS = "tts: settings of generation"
_SAMPLING = {name: name for name in ("temperature", "top_p", "top_k", "top_logprobs")} | {"stop": "stop_seqs"}
_INSPECT_SAMPLE = re.compile(r"samples/(.+_epoch_\d+)(?:\.json|/sample\.json)")  # the latter: of one kept in chunks
_ZSTD = 93
_LOCAL_HEADER = 30  # bytes; its last two fields are the lengths of the name and of the extra field that follow it


def _entries(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with zipfile.ZipFile(path) as log:
        for name in names:
            yield name, json.loads(_entry(log, path, name))


def _entry(log: zipfile.ZipFile, path: Path, name: str) -> bytes:
    """Read one entry, of the size that the archive states. Today's inspect compresses with zstd, which `zipfile`
    cannot read before Python 3.14. Raises: TooLarge."""
    info = log.getinfo(name)
    check_entry(name, info.file_size)
    try:
        return log.read(name)
    except NotImplementedError:
        pass
    convert = f"convert it with `inspect log convert {path} --to json --output-dir DIR`, and import what is in DIR"
    if info.compress_type != _ZSTD:
        raise BadPool(
            f"{path}: {name} is compressed with method {info.compress_type}, which cannot be read: {convert}",
            path=str(path),
        )
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(
            f"{path} is compressed with zstd, which takes the extra `pool`: "
            f"pip install 'test-time-scaling[pool]'; or {convert}",
            extra="pool",
        ) from None
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        raw.seek(sum(struct.unpack("<26xHH", raw.read(_LOCAL_HEADER))), os.SEEK_CUR)
        packed = pyarrow.py_buffer(raw.read(info.compress_size))
    plain: bytes = pyarrow.CompressedInputStream(packed, "zstd").read(info.file_size)
    if zlib.crc32(plain) != info.CRC:
        raise BadPool(f"{path}: {name} is damaged: its checksum does not match", path=str(path))
    return plain


def _inspect_sample(sample: Mapping[str, Any], about: Mapping[str, Any], names: Sequence[str]) -> Sample:
    output = sample.get("output") or {}
    choice = (output.get("choices") or [{}])[0]
    text = _whole(sample, output.get("completion") or text_of(choice.get("message") or {}))
    stop = choice.get("stop_reason")
    usage, seconds = _inspect_usage(sample, about["model"])
    target = sample.get("target")
    error = _inspect_error(sample)
    given: Mapping[str, Any] = (sample.get("scores") or {}) if error is None else {}
    # `package/scorer` in the header is `scorer` in the samples.
    scorers = [str(scorer["name"]).rpartition("/")[2] for scorer in about.get("scorers") or [] if "name" in scorer]
    first = given.get(scorers[0] if scorers else next(iter(given), "")) or {}
    value = first.get("value")
    return Sample(
        benchmark=about["task"],
        model=about["model"],
        problem_id=str(sample["id"]),
        sample_id=int(sample["epoch"]) - 1,
        answer=None if error else answer_of(first.get("answer"), text, complete=stop in ("stop", None)),
        correct=None if isinstance(value, list | dict) else VERDICT.get(_inspect_number(value)),
        prompt_tokens=_inspect_prompt_tokens(usage),
        completion_tokens=count_of(usage.get("output_tokens")),
        reasoning_tokens=count_of(usage.get("reasoning_tokens")),
        seconds=seconds,
        finish_reason=finish_of(stop),
        error=error,
        scores=_inspect_scores({name: given[name].get("value") for name in names if name in given}),
        logprobs=_logprobs(choice.get("logprobs")),
        sampling=sampling_of(_settings(sample, about), _SAMPLING),
        text=text,
        prompt=_whole(sample, prompt_of(sample.get("input"))),
        reference=str(target[0]) if isinstance(target, list) and target else target or None,
    )


def _settings(sample: Mapping[str, Any], about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the sample's one generation: a solver may have its own."""
    asked = [e.get("config") for e in sample.get("events") or [] if e.get("event") == "model"]
    settings: Mapping[str, Any] = asked[0] if len(asked) == 1 and asked[0] else about[_SETTINGS]
    return settings


def _logprobs(shown: Mapping[str, Any] | None) -> LogprobSummary | None:
    meter = LogprobMeter()
    for token in (shown or {}).get("content") or ():
        others = [(other["token"], other["logprob"]) for other in token.get("top_logprobs") or ()]
        meter.add(token["token"], token["logprob"], others)
    return meter.summary()


def _inspect_usage(sample: Mapping[str, Any], model: str) -> tuple[Mapping[str, Any], float | None]:
    output, whole = sample.get("output") or {}, (sample.get("model_usage") or {}).get(model) or {}
    turns = sample.get("turn_count")
    if turns is None:
        said = [m for m in sample.get("messages") or [] if m.get("role") == "assistant"]
        turns = sum(m.get("source") == "generate" for m in said)
    if turns > 1:
        return whole, sample.get("working_time")
    return output.get("usage") or whole, output.get("time")


def _inspect_prompt_tokens(usage: Mapping[str, Any]) -> int | None:
    """Prompt tokens, with those in the provider's cache, which inspect counts apart."""
    if usage.get("input_tokens") is None:
        return None
    return sum(usage.get(f"input_tokens{kind}") or 0 for kind in ("", "_cache_read", "_cache_write"))


def _inspect_error(sample: Mapping[str, Any]) -> str | None:
    error, invalid = sample.get("error"), sample.get("invalidation")
    if error is not None:
        return str(error["message"] if isinstance(error, Mapping) else error)
    return None if invalid is None else f"invalidated: {invalid.get('reason') or 'no reason given'}"


def _inspect_scores(given: Mapping[str, Any]) -> dict[str, float | tuple[float | None, ...] | None]:
    return {
        name: tuple(map(_inspect_number, value)) if isinstance(value, list) else _inspect_number(value)
        for name, value in flat(given).items()
    }


def _inspect_number(value: Any) -> float | None:
    """A scorer's value as a number, as inspect's `value_to_float` has it; None where it is none."""
    if isinstance(value, str):
        if value in _INSPECT_GRADES:
            return _INSPECT_GRADES[value]
        try:
            value = float(value)
        except ValueError:
            return {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}.get(value.lower())
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


_INSPECT_GRADES: Mapping[str, float] = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


def _whole(sample: Mapping[str, Any], text: str | None) -> str | None:
    """A text that inspect keeps among the sample's attachments."""
    if text is None or not text.startswith(_ATTACHMENT):
        return text
    kept: str = sample["attachments"][text.removeprefix(_ATTACHMENT)]
    return kept


_ATTACHMENT = "attachment://"
