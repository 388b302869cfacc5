"""Batches of tokens: lessons packed into rows by processes that never end, with the replies marked as what to learn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks.tiny_model.chat import END, END_OF_TEXT, written
from benchmarks.tiny_model.lessons.school import School

IGNORED = -100  # a label that counts for nothing
_CHUNK = 512  # lessons encoded at once
_OPEN = 8  # rows that are being filled; a lesson goes into the first with room


class Rows(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches of inputs and labels, each `(rows, length)` of int64. A lesson that is longer than a row is left out.

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

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = get_worker_info()
        random = Random(f"{self._seed}/{worker.id if worker else 0}")
        rows = self._filled(random)
        while True:
            pairs = [next(rows) for _ in range(self._rows)]
            inputs, labels = (torch.from_numpy(np.array(part)) for part in zip(*pairs, strict=True))
            yield inputs, labels

    def _filled(self, random: Random) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        tokenizer = Tokenizer.from_file(str(self._tokenizer))
        pad = tokenizer.token_to_id(END_OF_TEXT)
        opened: list[tuple[list[int], list[int]]] = [([], []) for _ in range(_OPEN)]
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
                place = next((i for i in range(_OPEN) if len(opened[i][0]) + len(tokens) <= self._length), None)
                if place is None:
                    place = max(range(_OPEN), key=lambda i: len(opened[i][0]))
                    inputs, targets = opened[place]
                    rest = self._length - len(inputs)
                    yield np.array(inputs + [pad] * rest), np.array(targets + [IGNORED] * rest)
                    opened[place] = ([], [])
                opened[place][0].extend(tokens)
                opened[place][1].extend(labels)


def loader(rows: Rows, workers: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism
    return DataLoader(
        rows, batch_size=None, num_workers=workers, prefetch_factor=8, pin_memory=torch.cuda.is_available()
    )
