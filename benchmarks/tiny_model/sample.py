"""The model's own attempts at fresh problems: what verification and revision are learned from."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from random import Random

from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from benchmarks.tiny_model.chat import END, END_OF_TEXT, written
from benchmarks.tiny_model.decoder import Decoder
from benchmarks.tiny_model.lessons.lesson import Turn, asked
from benchmarks.tiny_model.lessons.own import Own, graded
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.lessons.solving import thinking
from benchmarks.tiny_model.train import DEVICE, LENGTH

TEMPERATURE = 0.8
WORKERS = len(os.sched_getaffinity(0))  # that grade: programs are executed
# Batches by turns, alike in what they hold, so that few wait for one; and the most tokens of a reply. Whatever the time
# leaves out, it is one more of what is there already.
TURNS = (
    ("chain", "direct", 250),
    ("code", "direct", 150),
    ("countdown", "direct", 80),
    ("sudoku", "direct", 45),
    ("chain", "think", 450),
    ("chain", "direct", 250),
    ("countdown", "think", 320),
    ("sudoku", "think", 190),
    ("chain", "direct", 250),
)


def replies(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    asks: Sequence[Sequence[Turn]],
    most: int,
    each: int = 1,
    temperature: float = 0.0,
) -> list[str]:
    """`each` replies to each, decoded together; of at most `most` tokens."""
    ids = [encoded.ids for encoded in tokenizer.encode_batch([written(turns) for turns in asks])]
    decoder = Decoder(model, tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT))
    most = min(most, LENGTH - max(map(len, ids)))
    return tokenizer.decode_batch(decoder.replies(ids, each, most, temperature), skip_special_tokens=True)


def attempts(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    school: School,
    seed: str,
    wanted: int,
    limit_s: float,
    said: Callable[[str], None],
    each: int = 8,
    batch: int = 8192,
) -> Iterator[Own]:
    """`each` attempts at each of many problems, until there are `wanted` or the time is up.

    Args: batch: attempts made at once.
    """
    model.to(DEVICE).eval()
    random = Random(seed)
    began, made = time.monotonic(), 0
    with get_context("fork").Pool(WORKERS) as graders:
        for kind, mode, most in cycle(TURNS):
            if made >= wanted or time.monotonic() - began > limit_s:
                return
            names = [f"{seed}/{made}/{i}" for i in range(batch // each)]
            items = [school.item(kind, name) for name in names]
            asks = [thinking(random, item) if mode == "think" else asked(item.prompt) for item in items]
            texts = replies(model, tokenizer, asks, most, each, TEMPERATURE)
            seeds = [name for name in names for _ in range(each)]
            asked_for = [(school.kinds[kind], name, text) for name, text in zip(seeds, texts, strict=True)]
            rights = graders.starmap(graded, asked_for, chunksize=128)
            for name, text, right in zip(seeds, texts, rights, strict=True):
                yield Own(kind, name, mode, text, right)
            made += len(texts)
            took = time.monotonic() - began
            said(f"{kind}, {mode}: {sum(rights)} of {len(rights)} right; {made} attempts in {took:.0f} s")


def write(path: Path, own: Iterable[Own]) -> None:
    with gzip.open(path, "wt", compresslevel=4) as file:
        file.writelines(json.dumps(attempt) + "\n" for attempt in own)


def read(path: Path) -> list[Own]:
    with gzip.open(path, "rt") as file:
        return [Own(*json.loads(line)) for line in file]
