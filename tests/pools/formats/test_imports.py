"""Other programs' files as pools: inspect's logs and lm-eval's samples in the layout that these programs write."""

import asyncio
import json
import math
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from tts.errors import BadPool, CallFailed, CallTimedOut, MissingExtra
from tts.pools.formats.imports import equated_pool, import_pool
from tts.pools.pool import Pool, Sample
from tts.toolkit.votes import AN_ANSWER_S, LEAST_S
from tts.workers import killable_processes as workers

# --- inspect 0.3.285

USAGE = {"input_tokens": 10, "output_tokens": 21, "total_tokens": 31, "reasoning_tokens": 5}


def turn(role: str, content: Any, source: str | None = None) -> dict[str, Any]:
    return {"id": "x", "content": content, "role": role} | ({"source": source} if source else {})


def entry(id: int | str = "a", epoch: int = 1, *, text: str = "ANSWER: 4", **more: Any) -> dict[str, Any]:
    """`samples/ID_epoch_EPOCH.json`."""
    reply = turn("assistant", text, "generate")
    return {
        "id": id,
        "epoch": epoch,
        "input": "What is 2+2?",
        "target": "4",
        "messages": [turn("user", "What is 2+2?", "input"), reply],
        "output": {
            "model": "mockllm/model",
            "choices": [{"message": reply, "stop_reason": "stop"}],
            "completion": text,
            "usage": USAGE,
            "time": 1.5,
        },
        "scores": {"answer": {"value": "C", "answer": "4", "explanation": text, "history": []}},
        "metadata": {},
        "store": {},
        "events": [],
        "model_usage": {"mockllm/model": USAGE},
        "total_time": 9.0,
        "working_time": 8.0,
        "uuid": "u",
        "error_retries": [],
        "attachments": {},
        "turn_count": 1,
    } | more


def header(*scorers: str, ids: tuple[int | str, ...] = ()) -> dict[str, Any]:
    about = {
        "task": "tiny",
        "model": "mockllm/model",
        "dataset": {"samples": len(ids), "sample_ids": list(ids)},
        "scorers": [{"name": name, "options": {}} for name in scorers],
    }
    return {"version": 2, "status": "success", "eval": about}


def zipped(path: Path, files: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as log:
        for name, value in files.items():
            log.writestr(name, json.dumps(value, indent=2))
    return path


def logged(path: Path, *entries: dict[str, Any], head: dict[str, Any] | None = None, **how: Any) -> Path:
    files: dict[str, Any] = {f"samples/{e['id']}_epoch_{e['epoch']}.json": e for e in entries}
    files = {"_journal/start.json": {"version": 2, "eval": {}}, **files, "summaries.json": [], "reductions.json": []}
    return zipped(path, files | {"header.json": head or header("answer")}, **how)


def in_zstd(path: Path, files: dict[str, Any]) -> Path:
    """A zip of zstd entries, which Python 3.11's `zipfile` neither writes nor reads. Each has two frames, as inspect
    writes what is large."""
    pyarrow = pytest.importorskip("pyarrow", reason="zstd takes the extra `pool`")
    body, directory = b"", b""
    for name, value in files.items():
        plain = json.dumps(value).encode()
        halves = plain[: len(plain) // 2], plain[len(plain) // 2 :]
        packed = b"".join(pyarrow.Codec("zstd").compress(half, asbytes=True) for half in halves)
        common = struct.pack(
            "<HHHHHIIIHH", 45, 0, 93, 0, 0x21, zlib.crc32(plain), len(packed), len(plain), len(name), 8
        )
        extra = struct.pack("<HHI", 0xCAFE, 4, 0)  # a field of the local header that has to be stepped over
        directory += b"PK\1\2" + struct.pack("<H", 45) + common[:-2] + struct.pack("<HHHHII", 0, 0, 0, 0, 0, len(body))
        directory += name.encode()
        body += b"PK\3\4" + common + name.encode() + extra + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)
    return path


def only(pool: Pool) -> Sample:
    assert len(pool) == 1
    return pool.row(0)


def rows(pool: Pool) -> list[Sample]:
    return [pool.row(i) for i in range(len(pool))]


def text_of(pool: Pool) -> str | None:
    return pool.texts(pool.groups()[0])[0]


def test_a_sample_of_inspect_comes_with_all_that_it_says(tmp_path: Path) -> None:
    pool = import_pool([logged(tmp_path / "x.eval", entry())])
    assert only(pool) == Sample(
        benchmark="tiny",
        model="mockllm/model",
        problem_id="a",
        sample_id=0,
        answer="4",
        correct=True,
        prompt_tokens=10,
        completion_tokens=21,
        reasoning_tokens=5,
        seconds=1.5,
        finish_reason="stop",
        prompt="What is 2+2?",
        reference="4",
    )
    assert text_of(pool) == "ANSWER: 4"


def test_todays_logs_are_compressed_with_zstd_and_read_all_the_same(tmp_path: Path) -> None:
    entries = [entry(id, epoch) for id in ("a", 2) for epoch in (1, 2)]
    files = {f"samples/{e['id']}_epoch_{e['epoch']}.json": e for e in entries}
    path = in_zstd(tmp_path / "x.eval", {**files, "header.json": header("answer", ids=("a", 2))})
    with zipfile.ZipFile(path) as log:
        assert log.namelist() == [*files, "header.json"]
        assert {info.compress_type for info in log.infolist()} == {93}
    assert rows(import_pool([path])) == rows(import_pool([logged(tmp_path / "y.eval", *entries)]))


def test_a_damaged_log_is_named_and_one_that_cannot_be_read_says_how_to_convert_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_zstd(tmp_path / "x.eval", {"header.json": header("answer"), "samples/a_epoch_1.json": entry()})
    whole = path.read_bytes()
    flipped = whole.index(b"\x28\xb5\x2f\xfd") + 60
    path.write_bytes(whole[:flipped] + bytes([whole[flipped] ^ 0xFF]) + whole[flipped + 1 :])
    with pytest.raises(BadPool, match=r"x\.eval"):
        import_pool([path])
    checksum = zlib.crc32(json.dumps(entry()).encode())
    path.write_bytes(whole.replace(struct.pack("<I", checksum), struct.pack("<I", checksum ^ 1)))
    with pytest.raises(BadPool, match=r"samples/a_epoch_1\.json is damaged"):
        import_pool([path])
    path.write_bytes(whole.replace(struct.pack("<HHH", 45, 0, 93), struct.pack("<HHH", 45, 0, 98)))
    with pytest.raises(BadPool, match=r"compressed with method 98.*inspect log convert .*x\.eval --to json"):
        import_pool([path])
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"zstd.*\[pool\].*inspect log convert .*x\.eval --to json"):
        import_pool([path])


def test_a_log_converted_to_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**header("answer"), "samples": [entry(), entry(epoch=2)]}, indent=2))
    assert rows(import_pool([path])) == rows(import_pool([logged(tmp_path / "x.eval", entry(), entry(epoch=2))]))


def test_samples_that_inspect_keeps_in_chunks_are_read_from_their_shells(tmp_path: Path) -> None:
    shell = entry("q/1 a")
    del shell["messages"], shell["events"], shell["attachments"]
    files = {
        "header.json": header("answer"),
        "samples/q/1 a_epoch_1/sample.json": shell,
        "samples/q/1 a_epoch_1/messages/0.json": [turn("user", "?")],
        "samples/q/1 a_epoch_1/events/stats.json": {},
    }
    row = only(import_pool([zipped(tmp_path / "x.eval", files)]))
    assert (row.problem_id, row.answer, row.completion_tokens) == ("q/1 a", "4", 21)


def test_problems_keep_the_order_of_the_dataset_and_epochs_theirs(tmp_path: Path) -> None:
    ids = ("b", 10, 9, "a")
    entries = [entry(id, epoch, text=f"{id} {epoch}") for epoch in (11, 2, 1) for id in (9, "a", "b", 10)]
    pool = import_pool([logged(tmp_path / "x.eval", *entries, head=header("answer", ids=ids))])
    assert [group.problem_id for group in pool.groups()] == ["b", "10", "9", "a"]
    assert pool.texts(pool.groups()[1]) == ["10 1", "10 2", "10 11"]


def test_a_sample_that_was_written_anew_counts_once_as_it_was_written_last(tmp_path: Path) -> None:
    path = logged(tmp_path / "x.eval", entry(scores={}, error={"message": "on fire"}))
    with zipfile.ZipFile(path, "a") as log, pytest.warns(UserWarning, match="Duplicate name"):
        log.writestr("samples/a_epoch_1.json", json.dumps(entry()))
    assert only(import_pool([path])).error is None


@pytest.mark.parametrize(
    ("value", "verdict", "number"),
    [
        ("C", True, 1.0),
        ("I", False, 0.0),
        ("N", False, 0.0),
        ("P", None, 0.5),
        (1, True, 1.0),
        (0.0, False, 0.0),
        (True, True, 1.0),
        (0.25, None, 0.25),
        (7, None, 7.0),
        ("no", False, 0.0),
        ("0.5", None, 0.5),
        ("fine", None, None),
        (math.nan, None, None),  # what inspect calls unscored; Python writes it into JSON as it is
        ({"a": 1.0, "b": "P"}, None, None),
        ([1.0, "I"], None, None),
    ],
)
def test_only_full_marks_and_none_are_verdicts(tmp_path: Path, value: Any, verdict: Any, number: Any) -> None:
    scores = {"mine": {"value": value, "answer": "4"}, "other": {"value": "C", "answer": "5"}}
    head = header("package/mine", "other")
    path = logged(tmp_path / "x.eval", entry(scores=scores), head=head)
    row = only(import_pool([path], scores=["other"]))
    assert (row.correct, row.answer, row.scores) == (verdict, "4", {"other": 1.0})
    if number is not None:
        assert only(import_pool([path], scores=["mine"])).scores == {"mine": number}


def test_a_score_of_several_numbers_is_several_scores(tmp_path: Path) -> None:
    scores = {"parts": {"value": {"a": 1.0, "b": "P"}}, "list": {"value": [1.0, "I", math.nan]}}
    path = logged(tmp_path / "x.eval", entry(scores=scores), head=header("parts", "list"))
    row = only(import_pool([path], scores=["parts", "list"]))
    assert row.scores == {"parts.a": 1.0, "parts.b": 0.5, "list": (1.0, 0.0, None)}


def test_the_verdict_is_the_first_scorers_also_where_it_gave_none(tmp_path: Path) -> None:
    scores = {"second": {"value": "C", "answer": "5"}}
    row = only(import_pool([logged(tmp_path / "x.eval", entry(scores=scores), head=header("first", "second"))]))
    assert (row.correct, row.answer) == (None, "4")


def test_a_score_that_no_sample_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPool, match=r"no sample of x\.eval has a number as its score 'machted'"):
        import_pool([logged(tmp_path / "x.eval", entry())], scores=["machted"])


@pytest.mark.parametrize("answer", ["Let me think.\nANSWER: 04", "let me think.\nanswer: 04", None, ""])
def test_a_scorer_that_calls_the_whole_text_the_answer_gave_none(tmp_path: Path, answer: str | None) -> None:
    """inspect's `match` and `includes` do."""
    scores = {"match": {"value": "C"} | ({} if answer is None else {"answer": answer})}
    sample = entry(text="Let me think.\nANSWER: 04", scores=scores)
    assert only(import_pool([logged(tmp_path / "x.eval", sample, head=header("match"))])).answer == "4"


WORDS = {
    "Maybe": "Maybe",
    " no.\n": "no",
    "**Lima**": "Lima",
    "C": "C",
    "Rio de Janeiro": "Rio de Janeiro",
    "None": "None",
    "7": "7",
    "I would need to see the whole table": None,  # prose that gives no answer
    "Maybe\nor not": None,
    "Maybe</think>": None,
}


@pytest.mark.parametrize(("text", "answer"), WORDS.items())
def test_a_text_of_a_few_words_is_its_own_answer(tmp_path: Path, text: str, answer: str | None) -> None:
    """Both programs then call the whole text the answer."""
    sample = entry(text=text, scores={"match": {"value": "I", "answer": text}})
    assert only(import_pool([logged(tmp_path / "x.eval", sample, head=header("match"))])).answer == answer
    row = line(0, text, picked=[text], target="Quito", exact_match=0.0)
    assert only(import_pool([listed(tmp_path, row)])).answer == answer


def test_a_few_words_are_no_answer_where_a_filter_found_none_or_the_text_was_cut(tmp_path: Path) -> None:
    assert only(import_pool([listed(tmp_path, line(0, "No clue", picked=["[invalid]"]))])).answer is None
    cut = entry(text="Rio de", scores={})
    cut["output"]["choices"][0]["stop_reason"] = "max_tokens"
    assert only(import_pool([logged(tmp_path / "x.eval", cut)])).answer is None


@pytest.mark.parametrize(
    ("target", "first", "verdicts"),
    [
        ("Lima", 1.0, [True, False, True]),
        (["Lima", "lima city"], 1.0, [True, False, True]),
        ("Quito", 0.0, [False, True, False]),
        ("LIMA", 0.0, [None, None, None]),  # a metric that minds capitals: our comparison is not its own
    ],
)
def test_repeats_of_a_word_are_graded_by_their_own_words(
    tmp_path: Path, target: Any, first: float, verdicts: list[bool | None]
) -> None:
    row = line(0, "Lima", "Quito", "lima", picked=["Lima"], target=target, exact_match=first)
    assert [r.correct for r in rows(import_pool([listed(tmp_path, row)]))] == verdicts


def test_how_a_sample_was_drawn_is_known_as_far_as_a_log_says_it(tmp_path: Path) -> None:
    head = header("answer")
    head["eval"]["model_generate_config"] = {"temperature": 0.5, "top_p": 0.9, "seed": 3}
    head["plan"] = {"config": {"temperature": 0.6, "stop_seqs": ["###"], "top_k": None}}
    path = logged(tmp_path / "x.eval", entry(), head=head)
    assert only(import_pool([path])).sampling == {"temperature": 0.6, "top_p": 0.9, "stop": ("###",)}
    own = entry(events=[{"event": "model", "config": {"temperature": 1.0}}])  # a solver's own settings
    assert only(import_pool([logged(tmp_path / "y.eval", own, head=head)])).sampling == {"temperature": 1.0}
    settings = {"until": list("abcde"), "do_sample": False, "temperature": 0.3}
    row = line(arguments={"gen_args_0": {"arg_0": "How many?", "arg_1": settings}})
    assert only(import_pool([listed(tmp_path, row)])).sampling == {"temperature": 0.0}  # five stops nobody can ask for


def test_log_probabilities_of_a_log_become_the_summary_that_a_run_keeps(tmp_path: Path) -> None:
    alike = [{"token": t, "logprob": math.log(0.5)} for t in ("4", "5")]
    tokens = [{"token": "4", "logprob": -1.0, "top_logprobs": alike}, {"token": ".", "logprob": -3.0}]
    sample = entry()
    sample["output"]["choices"][0]["logprobs"] = {"content": tokens}
    pool = import_pool([logged(tmp_path / "x.eval", sample, entry(epoch=2))])
    summary, none = (row.logprobs for row in rows(pool))
    assert none is None
    assert (summary.mean, summary.minimum) == (-2.0, -3.0)
    assert summary.self_certainty == pytest.approx(0.0)  # two alternatives that are equally likely


def test_answers_are_spelt_as_votes_compare_them(tmp_path: Path) -> None:
    sample = entry(scores={"answer": {"value": "C", "answer": "$\\frac{1}{2}$"}})
    assert only(import_pool([logged(tmp_path / "x.eval", sample)])).answer == "0.5"


def test_a_sample_that_failed_is_a_failure_without_verdict(tmp_path: Path) -> None:
    failed = entry(error={"message": "RuntimeError('the sandbox fell over')", "traceback": "..."})
    failed["output"] = {"model": "mockllm/model", "choices": [], "completion": ""}
    failed |= {"model_usage": {}, "turn_count": 0}
    declared = entry(epoch=2, invalidation={"timestamp": "t", "author": "me", "reason": "wrong key"})
    first, second = rows(import_pool([logged(tmp_path / "x.eval", failed, declared)]))
    assert first.error == "RuntimeError('the sandbox fell over')"
    assert second.error == "invalidated: wrong key"
    assert (first.correct, first.answer, first.completion_tokens, first.seconds) == (None, None, None, None)
    assert (second.correct, second.answer) == (None, None)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_tokens", "length"), ("model_length", "length"), ("content_filter", "content_filter"), ("unknown", "other")],
)
def test_reasons_to_stop_are_told_in_our_words(tmp_path: Path, reason: str, expected: str) -> None:
    sample = entry()
    sample["output"]["choices"][0]["stop_reason"] = reason
    assert only(import_pool([logged(tmp_path / "x.eval", sample)])).finish_reason == expected


def test_a_chats_problem_is_its_last_user_turn_and_of_several_targets_the_first_is_the_reference(
    tmp_path: Path,
) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "image", "image": "..."}, {"type": "text", "text": "1+3?"}]
    given = [turn("system", "Be brief."), turn("user", "few"), turn("assistant", "shot"), turn("user", parts)]
    thought = [{"type": "reasoning", "reasoning": "hmm"}, {"type": "text", "text": "ANSWER: 4"}]
    sample = entry(input=given, target=["4", "four"])
    sample["messages"] = [*(turn_ | {"source": "input"} for turn_ in given), turn("assistant", thought, "generate")]
    sample["output"]["choices"][0]["message"] = turn("assistant", thought, "generate")
    del sample["output"]["completion"], sample["turn_count"]  # as older versions have it
    pool = import_pool([logged(tmp_path / "x.eval", sample)])
    row = only(pool)
    assert (row.prompt, row.reference, text_of(pool)) == ("What is 1+3?", "4", "ANSWER: 4")
    assert (row.completion_tokens, row.seconds) == (21, 1.5)  # the shot was no generation


@pytest.mark.parametrize("counted", [True, False])
def test_of_several_generations_tokens_and_time_are_of_all_together(tmp_path: Path, counted: bool) -> None:
    whole = {"input_tokens": 6, "input_tokens_cache_read": 30, "input_tokens_cache_write": 4, "output_tokens": 50}
    sample = entry(model_usage={"mockllm/model": whole, "openai/judge": USAGE}, turn_count=2)
    sample["messages"] += [turn("user", "Sure?"), turn("assistant", "ANSWER: 4", "generate")]
    if not counted:
        del sample["turn_count"]
    row = only(import_pool([logged(tmp_path / "x.eval", sample)]))
    assert (row.prompt_tokens, row.completion_tokens, row.reasoning_tokens, row.seconds) == (40, 50, None, 8.0)


def test_long_texts_that_were_put_aside_are_found(tmp_path: Path) -> None:
    sample = entry(text="attachment://f00", input="attachment://ba5")
    sample["attachments"] = {"f00": "long, ANSWER: 5", "ba5": "What?"}
    sample["scores"] = {}
    pool = import_pool([logged(tmp_path / "x.eval", sample)])
    assert (text_of(pool), only(pool).prompt, only(pool).answer) == ("long, ANSWER: 5", "What?", "5")


def test_a_log_that_never_ended_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    files = {"_journal/start.json": header("answer"), "samples/a_epoch_1.json": entry()}
    assert only(import_pool([zipped(tmp_path / "x.eval", files)])).correct is True


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other.txt": 1}, r"x\.eval is no log of inspect: .*header|x\.eval is no log of inspect: .*start\.json"),
        ({"header.json": header(), "samples/a_epoch_1.json": {"id": "a"}}, r"samples/a_epoch_1\.json: KeyError"),
        ({"header.json": header(), "samples/a_epoch_1.json": [1]}, r"samples/a_epoch_1\.json: AttributeError"),
        ({"header.json": header()}, "x.eval holds no samples"),
    ],
)
def test_a_zip_that_is_no_log_is_named_with_the_entry(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPool, match=message):
        import_pool([zipped(tmp_path / "x.eval", files)])


@pytest.mark.parametrize("content", [b"", b"{}\n", b"PK\3\4 and then nothing"])
def test_a_file_called_eval_that_is_no_zip_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.eval"
    path.write_bytes(content)
    with pytest.raises(BadPool, match=r"x\.eval cannot be read as a log of inspect"):
        import_pool([path])
    with pytest.raises(BadPool, match=r"y\.eval cannot be read as a log of inspect: .*No such file"):
        import_pool([tmp_path / "y.eval"])


# --- lm-eval 0.4.13


def line(id: int = 0, *texts: str, picked: Any = None, filter: str = "strict-match", **more: Any) -> dict[str, Any]:
    """One of `samples_TASK_TIME.jsonl`."""
    texts = texts or ("6 + 12 = 18\n#### 18",)
    return {
        "doc_id": id,
        "doc": {"question": "How many?", "answer": "6 + 12 = <<6+12=18>>18\n#### 18"},
        "target": "6 + 12 = <<6+12=18>>18\n#### 18",
        "arguments": {"gen_args_0": {"arg_0": "Question: How many?\nAnswer:", "arg_1": {"until": ["\n\n"]}}},
        "resps": [list(texts)],
        "filtered_resps": ["18"] if picked is None else picked,
        "filter": filter,
        "metrics": ["exact_match"],
        "doc_hash": "d",
        "prompt_hash": "p",
        "target_hash": "t",
        "exact_match": 1.0,
    } | more


def listed(
    folder: Path, *lines: dict[str, Any], name: str = "samples_gsm8k_cot_2026-11-25T01-56-35.123456.jsonl"
) -> Path:
    folder = folder / "meta-llama__Llama-3.1-8B"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines))
    return path


def test_a_document_of_lm_eval_comes_with_all_that_it_says(tmp_path: Path) -> None:
    pool = import_pool([listed(tmp_path, line())])
    assert only(pool) == Sample(
        benchmark="gsm8k_cot",
        model="meta-llama/Llama-3.1-8B",
        problem_id="0",
        sample_id=0,
        answer="18",
        correct=True,
        sampling={"stop": ("\n\n",)},
        prompt="Question: How many?\nAnswer:",
        reference="6 + 12 = <<6+12=18>>18\n#### 18",
    )
    assert text_of(pool) == "6 + 12 = 18\n#### 18"


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("samples_mmlu_pro.v2_2026-11-25T01-56-35.123456.jsonl", "mmlu_pro.v2"),
        ("samples_gsm8k_2026-11-25T01-56-35.jsonl", "gsm8k"),
        ("samples_my_task.jsonl", "my_task"),
        ("renamed.jsonl", "renamed"),
    ],
)
def test_the_task_is_in_the_name_of_the_file(tmp_path: Path, name: str, task: str) -> None:
    assert import_pool([listed(tmp_path, line(), name=name)]).one_benchmark() == task


def test_of_several_filters_the_first_counts(tmp_path: Path) -> None:
    lines = [line(i, filter="strict-match", picked=["[invalid]"], exact_match=0.0) for i in range(2)]
    lines += [line(i, filter="flexible-extract", picked=["18"]) for i in range(2)]
    assert [row.correct for row in rows(import_pool([listed(tmp_path, *lines)]))] == [False, False]


@pytest.mark.parametrize(
    ("picked", "answer"),
    [
        (["$018.0$"], "18"),
        (["[invalid]"], "18"),
        (["None"], "18"),
        (["6 + 12 = 18\n#### 18"], "18"),  # a task without filters: the text as it is
        ([["7"]], "7"),
    ],
)
def test_what_the_filter_took_is_normalised_and_the_text_is_read_where_it_took_nothing(
    tmp_path: Path, picked: Any, answer: str
) -> None:
    assert only(import_pool([listed(tmp_path, line(picked=picked))])).answer == answer


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [
        ({"exact_match": 1.0}, True),
        ({"exact_match": 0}, False),
        ({"exact_match": 0.5}, None),
        ({"exact_match": math.nan}, None),
        ({"bypass": 999}, None),
        ({"math_verify": 1, "exact_match": 0}, False),
        ({"pass@1": 1.0}, True),
        ({"prompt_level_strict_acc": True}, True),
        ({"bleu": 0.0, "rouge": 1.0}, None),
        ({"bleu": [["a"], ["b"]]}, None),
    ],
)
def test_a_metric_is_a_verdict_if_it_says_right_or_wrong(tmp_path: Path, metrics: dict[str, Any], verdict: Any) -> None:
    row = line(metrics=[*metrics])
    del row["exact_match"]
    pool = import_pool([listed(tmp_path, row | metrics)])
    assert only(pool).correct is verdict


def test_a_metric_can_be_a_score(tmp_path: Path) -> None:
    rows_ = line(0, rouge=0.25, metrics=["exact_match", "rouge"]), line(1, rouge=[1], metrics=["exact_match", "rouge"])
    pool = import_pool([listed(tmp_path, *rows_)], scores=["rouge"])
    assert [(row.correct, row.scores) for row in rows(pool)] == [(True, {"rouge": 0.25}), (True, {"rouge": None})]


@pytest.mark.parametrize("apart", [True, False])
def test_each_repeat_is_a_sample_graded_by_its_own_answer(tmp_path: Path, apart: bool) -> None:
    """The metric is of the filter's pick, be it one of the repeats, their majority, or all of them."""
    texts = "so #### 18", "so #### 17", "no idea", "so #### 18.0"
    picked = [["18", "17", "[invalid]", "18.0"]] if apart else ["17"]
    pool = import_pool([listed(tmp_path, line(0, *texts, picked=picked, exact_match=0.0), line(1))])
    first, second = (rows(pool)[group.rows] for group in pool.groups())
    assert [(row.sample_id, row.answer, row.correct) for row in first] == [
        (0, "18", True),
        (1, "17", False),
        (2, None, False),
        (3, "18", True),
    ]
    assert len(second) == 1
    assert pool.texts(pool.groups()[0]) == list(texts)


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("2\\sqrt{3}", None),  # the 3 in it is not the answer; whether 3 equals it, algebra would say
        ("We get \\boxed{3}.", True),
        ("4", False),
        ("Paris", False),
    ],
)
def test_repeats_are_not_graded_where_that_takes_algebra(tmp_path: Path, target: str, verdict: bool | None) -> None:
    row = line(0, "so #### 3", "so #### 3", picked=[["3", "3"]], target=target)
    assert [r.correct for r in rows(import_pool([listed(tmp_path, row)]))] == [verdict, verdict]


@pytest.mark.parametrize("metric", ["pass@1", "rouge"])
def test_repeats_are_not_graded_by_a_comparison_that_the_metric_does_not_make(tmp_path: Path, metric: str) -> None:
    row = line(0, "so #### 18", "so #### 3", picked=[["18", "3"]], metrics=[metric]) | {metric: 0.5}
    assert [r.correct for r in rows(import_pool([listed(tmp_path, row)]))] == [None, None]


@pytest.mark.parametrize(
    ("argument", "prompt"),
    [
        ('[{"role": "system", "content": "s"}, {"role": "user", "content": "How many?"}]', "How many?"),
        (['[{"role": "user", "content": "How many?"}]'], "How many?"),  # a `JsonChatStr`, which is a tuple
        ("[{unfinished", "[{unfinished"),
    ],
)
def test_the_turns_of_a_chat_are_unpacked(tmp_path: Path, argument: Any, prompt: str) -> None:
    row = line(arguments={"gen_args_0": {"arg_0": argument, "arg_1": {}}})
    assert only(import_pool([listed(tmp_path, row)])).prompt == prompt


@pytest.mark.parametrize("resps", [[[["-3.2", "False"]], [["-1.0", "True"]]], [[["-3.2", "False"]]], [["a"], ["b"]]])
def test_a_task_of_loglikelihoods_is_refused_with_its_line(tmp_path: Path, resps: Any) -> None:
    path = listed(tmp_path, line(), line(1, resps=resps))
    with pytest.raises(BadPool, match=r"line 2: a pool takes the samples of tasks that generate text"):
        import_pool([path])


def test_a_line_that_lacks_something_is_named(tmp_path: Path) -> None:
    row = line(1)
    del row["filtered_resps"]
    with pytest.raises(BadPool, match=r"line 2: KeyError\('filtered_resps'\)"):
        import_pool([listed(tmp_path, line(), row)])


# --- the common form

ROW = {"benchmark": "b", "model": "m", "problem_id": "p", "sample_id": 0}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"completion_tokens": "many"}, "invalid literal"),
        ({"completion_tokens": math.nan}, "NaN"),
        ({"scores": {"prm": "high"}}, "got `str`"),
        ({"total_time": [1]}, "float"),
    ],
)
def test_what_meta_says_wrongly_is_named_with_its_line(tmp_path: Path, meta: Any, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | {'sample_id': 1, 'meta': meta})}\n")
    with pytest.raises(BadPool, match=f"line 2: .*{message}"):
        import_pool([path])


def test_a_line_that_is_not_json_is_named_and_reasons_to_stop_are_told_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    said = [None, "length", "max_tokens", "eos", "repetition"]
    lines = [json.dumps(ROW | {"sample_id": i, "meta": {"finish_reason": r}}) for i, r in enumerate(said)]
    path.write_text("\n".join(lines))
    found = [row.finish_reason for row in rows(import_pool([path]))]
    assert found == [None, "length", "length", "stop", "other"]
    path.write_text("\n".join([*lines, "{half"]))
    with pytest.raises(BadPool, match=r"x\.jsonl, line 6: it is not JSON"):
        import_pool([path])


# --- equal answers


def asked(*answers: tuple[str, str | None], model: str = "m") -> list[Sample]:
    return [Sample("b", model, problem, i, answer=answer) for i, (problem, answer) in enumerate(answers)]


def spelt(pool: Pool) -> list[tuple[str, str | None]]:
    return [(row.problem_id, row.answer) for row in rows(pool)]


ROOT, ROOT_TOO = "\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"


def test_equal_answers_to_one_problem_are_spelt_alike_and_those_to_others_are_left_alone() -> None:
    pytest.importorskip("math_verify", reason="the extra `math` is not installed")
    pool = Pool.of(
        "x",
        [
            *asked(("p", ROOT), ("p", ROOT_TOO), ("p", None), ("p", "\\sqrt{2}"), ("p", ROOT)),
            *asked(("q", ROOT_TOO), ("q", "\\sqrt{2}"), ("q", "3"), ("r", ROOT_TOO), ("r", None), ("s", None)),
            *asked(("p", "2^{-1/2}"), model="n"),
        ],
    )
    found = asyncio.run(equated_pool(pool, "math"))
    assert spelt(found) == [
        *(("p", a) for a in (ROOT, ROOT, None, "\\sqrt{2}", ROOT)),
        *(("q", a) for a in (ROOT_TOO, "\\sqrt{2}", "3")),
        *(("r", a) for a in (ROOT_TOO, None)),
        ("s", None),
        ("p", ROOT),  # the other model's are compared with them, too
    ]
    assert asyncio.run(equated_pool(pool, "exact")) is pool


def test_problems_of_two_benchmarks_with_one_id_are_two() -> None:
    pytest.importorskip("math_verify", reason="the extra `math` is not installed")
    pool = Pool.of("x", [Sample("a", "m", "p", 0, answer=ROOT), Sample("b", "m", "p", 0, answer=ROOT_TOO)])
    assert spelt(asyncio.run(equated_pool(pool, "math"))) == [("p", ROOT), ("p", ROOT_TOO)]


def test_what_needs_no_algebra_needs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(self: Any, *args: Any, **more: Any) -> Any:
        raise AssertionError("a worker was asked")

    monkeypatch.setattr(workers.Workers, "call", call)
    pool = Pool.of("x", asked(("p", "Paris"), ("p", "paris"), ("p", "42"), ("q", None)))
    assert spelt(asyncio.run(equated_pool(pool, "math"))) == [("p", "Paris"), ("p", "Paris"), ("p", "42"), ("q", None)]


def hangs(answers: list[str]) -> list[int]:
    """In place of `tts.answers.symbolic.classes`, in a worker."""
    if any("hang" in answer for answer in answers):
        time.sleep(600)
    if any("fail" in answer for answer in answers):
        raise ValueError("no")
    return [0] * len(answers)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' function is the one above, with a limit of a second."""
    call = workers.Workers.call

    async def instead(self: Any, function: str, args: Any = (), *, timeout_s: float) -> Any:
        assert function == "tts.answers.symbolic:classes"
        assert timeout_s == LEAST_S + AN_ANSWER_S * len(args[0])
        return await call(self, f"{__file__}:hangs", args, timeout_s=60.0, wall_s=3.0)

    monkeypatch.setattr(workers.Workers, "call", instead)


def test_a_hanging_answer_is_killed_and_its_problem_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    fine = asked(("p", ROOT), ("p", ROOT_TOO))
    assert spelt(asyncio.run(equated_pool(Pool.of("x", fine), "math"))) == [("p", ROOT), ("p", ROOT)]
    with pytest.raises(CallTimedOut, match=r"the answers to problem q cannot be compared: .* was killed") as caught:
        asyncio.run(equated_pool(Pool.of("x", [*fine, *asked(("q", ROOT), ("q", "\\hang"))]), "math"))
    assert caught.value.facts["problem"] == "q"
    with pytest.raises(CallFailed, match="the answers to problem r cannot be compared"):
        asyncio.run(equated_pool(Pool.of("x", [*fine, *asked(("r", ROOT), ("r", "\\fail"))]), "math"))


def test_an_unknown_equivalence_is_refused() -> None:
    with pytest.raises(BadPool, match="unknown equivalence 'maths': it is exact or math"):
        asyncio.run(equated_pool(Pool.of("x", asked(("p", "1"))), "maths"))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"sample_id": 3.0, "problem_id": 7.0, "correct": 1.0, "completion_tokens": 12.0}, ("7", True, 12)),
        ({"correct": math.nan, "completion_tokens": math.nan, "answer": math.nan}, ("p", None, None)),
    ],
)
def test_rows_of_a_data_frame_mean_what_they_say(tmp_path: Path, row: dict[str, Any], expected: Any) -> None:
    base = {"benchmark": "b", "model": "m", "problem_id": "p", "sample_id": 0, "answer": "4"}
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(base | row).encode() + b"\r\n")
    found = only(import_pool([tmp_path / "x.jsonl"]))
    assert (found.problem_id, found.correct, found.completion_tokens) == expected


@pytest.mark.parametrize("tokens", [-1, 2**31, 2**64, "many"])
def test_a_number_of_tokens_that_cannot_be_is_named_with_its_line(tmp_path: Path, tokens: Any) -> None:
    base = {"benchmark": "b", "model": "m", "problem_id": "p", "sample_id": 0, "completion_tokens": tokens}
    (tmp_path / "x.jsonl").write_text(json.dumps(base))
    with pytest.raises(BadPool, match="line 1"):
        import_pool([tmp_path / "x.jsonl"])


def test_a_line_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"meta": ' + '{"a": ' * 5000 + "1" + "}" * 5001)
    with pytest.raises(BadPool, match="line 1: it is not JSON: it is nested too deeply"):
        import_pool([tmp_path / "x.jsonl"])
