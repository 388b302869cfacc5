"""What the small model can do, on fresh problems, through `tts`'s embedded engine; writes its card, beside the weights.

    python -m benchmarks.tiny_model.evaluate [FILE.gguf] [--problems 40]

Problems have a seed that training never used. Intervals are of 1.96 standard errors over problems.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from benchmarks.tiny_model import card
from benchmarks.tiny_model.examination import acting, checking, coding, debating, decomposing, hinting, solving
from benchmarks.tiny_model.examination.engine import SLOTS, Engine
from benchmarks.tiny_model.examination.exam import Exam
from benchmarks.tiny_model.examination.judging import choosing, comparing, merging, scoring, stepping
from benchmarks.tiny_model.examination.speed import throughput
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.teachers import prompts
from tts.models.embedded import EmbeddedServer
from tts.models.openai.client import OpenAIClient
from tts.models.weights import pull

CONTEXT = 2048
GROUPS: tuple[Callable[[Exam], Awaitable[None]], ...] = (  # of rows, in the order of the card
    solving.trials,
    solving.chains,
    checking.verification,
    checking.revisions,
    decomposing.parts,
    decomposing.plans,
    hinting.hints,
    debating.debates,
    coding.programs,
    comparing.comparisons,
    choosing.choices,
    scoring.scores,
    stepping.steps,
    merging.aggregates,
    acting.lookup,
    acting.calculator,
)


async def examine(file: Path, problems: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        prompts.write(Path(folder) / "prompts.json")
        school = School(json.loads((Path(folder) / "prompts.json").read_text()))
    began = time.perf_counter()
    with EmbeddedServer(str(file), slots=SLOTS, context_tokens=CONTEXT) as server:
        loaded_s = time.perf_counter() - began
        # The engine closes connections that were used often; a request on one that it is closing would be lost.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session, OpenAIClient(server.base_url) as client:
            exam = Exam(Engine(server.base_url, session, client), school, problems)
            await throughput(exam, loaded_s)
            for group in GROUPS:
                await group(exam)
    return exam.lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="none is what ships")
    parser.add_argument("--problems", type=int, default=40, help="of each level and kind")
    given = parser.parse_args()
    file = given.file or pull()
    card.write(file, given.problems, asyncio.run(examine(file, given.problems)))


if __name__ == "__main__":
    main()
