"""Batches of tokens: lessons packed into rows by processes that never end, with the replies marked as what to learn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks.tiny_model.chat import END, END_OF_TEXT, written
from benchmarks.tiny_model.lessons.school import School

IGNORED = -100  # a label that counts for nothing
_CHUNK = 512  # lessons encoded at once
_MOST = 32  # lessons of a row, on the average of a batch
_OPEN = 16  # rows that are being filled; a lesson goes into the first with room


class Batch(NamedTuple):
    """Rows of lessons.

    Args:
        inputs, labels: `(rows, length)` of int64.
        starts: of the lessons, as `attention.within_lessons` takes them; always as many.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    starts: torch.Tensor


class Rows(IterableDataset[Batch]):
    """Batches of lessons. A lesson that is longer than a row is left out.

    Every worker draws lessons of its own: the same seed and number of workers give the same batches.
    """

    def __init__(
        self,
        school: School,
        tokenizer: Path,
        seed: str,
        rows: int,
        length: int,
    ) -> None:
        self._school, self._tokenizer = school, tokenizer
        self._seed, self._rows, self._length = seed, rows, length

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        random = Random(f"{self._seed}/{worker.id if worker else 0}")
        rows = self._filled(random)
        while True:
            drawn = [next(rows) for _ in range(self._rows)]
            inputs, labels = (torch.from_numpy(np.array([row[i] for row in drawn])) for i in range(2))
            yield Batch(inputs, labels, self._starts([row.lengths for row in drawn]))

    def _starts(self, lengths: Sequence[Sequence[int]]) -> torch.Tensor:
        starts = np.full(_MOST * self._rows, self._rows * self._length, np.int32)
        ends = [np.cumsum([0, *row]) + i * self._length for i, row in enumerate(lengths)]
        found = np.concatenate(ends)
        starts[: len(found)] = found  # filling at a row's end is a sequence, too
        return torch.from_numpy(starts)

    def _filled(self, random: Random) -> Iterator[_Row]:
        tokenizer = Tokenizer.from_file(str(self._tokenizer))
        pad = tokenizer.token_to_id(END_OF_TEXT)
        opened = [_Row([], [], []) for _ in range(_OPEN)]
        while True:
            lessons = [self._school.lesson(random) for _ in range(_CHUNK)]
            asks = tokenizer.encode_batch([written(lesson.turns) for lesson in lessons])
            replies = tokenizer.encode_batch([f"{lesson.reply}{END}" for lesson in lessons])
            for ask, reply in zip(asks, replies, strict=True):
                # What is predicted from a token is the next one: labels are shifted here, once.
                tokens = ask.ids + reply.ids
                labels = [IGNORED] * (len(ask.ids) - 1) + reply.ids + [IGNORED]
                if len(tokens) > self._length:
                    continue
                place = next((i for i in range(_OPEN) if opened[i].used + len(tokens) <= self._length), None)
                if place is None:
                    place = max(range(_OPEN), key=lambda i: opened[i].used)
                    yield opened[place].filled(pad, self._length)
                    opened[place] = _Row([], [], [])
                opened[place].add(tokens, labels)


class _Row(NamedTuple):
    """Lessons of one row, end to end."""

    inputs: list[int]
    labels: list[int]
    lengths: list[int]

    @property
    def used(self) -> int:
        return len(self.inputs)

    def add(self, tokens: list[int], labels: list[int]) -> None:
        self.inputs.extend(tokens)
        self.labels.extend(labels)
        self.lengths.append(len(tokens))

    def filled(self, pad: int, length: int) -> _Row:
        rest = length - self.used
        return _Row(self.inputs + [pad] * rest, self.labels + [IGNORED] * rest, self.lengths)


def loader(rows: Rows, workers: int) -> DataLoader[Batch]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism
    return DataLoader(
        rows, batch_size=None, num_workers=workers, prefetch_factor=8, pin_memory=torch.cuda.is_available()
    )
