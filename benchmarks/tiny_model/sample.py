"""The model's own attempts at fresh problems: what verification and revision are learned from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random

from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from benchmarks.tiny_model.chat import END, END_OF_TEXT, written
from benchmarks.tiny_model.decoder import Decoder
from benchmarks.tiny_model.lessons.lesson import Turn, asked
from benchmarks.tiny_model.lessons.own import Own
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.lessons.solving import thinking
from benchmarks.tiny_model.train import DEVICE, LENGTH

TEMPERATURE = 0.8
# Batches by turns, alike in what they hold, so that few wait for one; and the most tokens of a reply.
TURNS = (
    *[("chain", "direct", 250)] * 3,
    ("countdown", "direct", 80),
    ("sudoku", "direct", 45),
    ("code", "direct", 150),
    ("sudoku", "think", 190),
    ("countdown", "think", 320),
    ("chain", "think", 450),
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
    batch: int = 4096,
) -> Iterator[Own]:
    """`each` attempts at each of many problems, until there are `wanted` or the time is up."""
    model.to(DEVICE).eval()
    random = Random(seed)
    began, made = time.monotonic(), 0
    for kind, mode, most in cycle(TURNS):
        if made >= wanted or time.monotonic() - began > limit_s:
            return
        names = [f"{seed}/{made}/{i}" for i in range(batch // each)]
        items = [school.item(kind, name) for name in names]
        asks = [thinking(random, item) if mode == "think" else asked(item.prompt) for item in items]
        texts = replies(model, tokenizer, asks, most, each, TEMPERATURE)
        for j, text in enumerate(texts):
            item = items[j // each]
            yield Own(kind, names[j // each], mode, text, school.kinds[kind].right(item, text))
        made += len(texts)
        said(f"{kind}, {mode}: {made} attempts in {time.monotonic() - began:.0f} s")


def write(path: Path, own: Sequence[Own]) -> None:
    path.write_text("".join(json.dumps(attempt) + "\n" for attempt in own))


def read(path: Path) -> list[Own]:
    return [Own(*json.loads(line)) for line in path.read_text().splitlines()]
