"""The row on speed."""

from __future__ import annotations

import asyncio
import time
from random import Random

from benchmarks.tiny_model.examination.engine import SLOTS
from benchmarks.tiny_model.examination.exam import SEED, Exam
from benchmarks.tiny_model.lessons.lesson import asked
from tts.tasks.chains import LEVELS, chain


async def throughput(exam: Exam, loaded_s: float) -> None:
    """Args: loaded_s: seconds that the engine took to start."""
    turns = asked(chain(Random(SEED), LEVELS[2]).text)
    await asyncio.gather(*(exam.engine.say(turns) for _ in range(SLOTS)))
    began = time.perf_counter()
    replies = await asyncio.gather(*(exam.engine.say(turns) for _ in range(8 * SLOTS)))
    rate = sum(tokens for _, tokens in replies) / (time.perf_counter() - began)
    exam.row(
        f"throughput, {SLOTS} slots; loading",
        ">= 2,000 tokens/s; < 1 s",
        f"{rate:,.0f} tokens/s; {loaded_s:.2f} s",
        rate >= 2000 and loaded_s < 1,
    )
