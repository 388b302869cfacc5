"""The tokenizer: byte-level BPE of 768 tokens, one token a digit.

Split as SmolLM's is (digits apart, then GPT-2's pattern), which llama.cpp and `transformers` both know by that name.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.tiny_model.chat import SPECIAL
from benchmarks.tiny_model.lessons.school import School

SIZE = 768


def learn(school: School, seed: int, path: Path, lessons: int = 20_000) -> Tokenizer:
    """Learn the merges from lessons, and write `tokenizer.json`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    random = Random(f"{seed}/vocabulary")
    drawn = (school.lesson(random) for _ in range(lessons))
    texts = (text for lesson in drawn for text in (*(turn.content for turn in lesson.turns), lesson.reply))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path))
    return tokenizer


def split() -> pre_tokenizers.PreTokenizer:
    """What is never merged: each digit, then GPT-2's words."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
