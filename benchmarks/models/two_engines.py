"""llama.cpp (in process) and vLLM in one run, as two roles: which server each role's requests reach, what ended a step,
which part of a continued prompt was cached, and whether tools pass through.

    vllm serve tts-tiny-hf --served-model-name tts-tiny --dtype float32 --port 8000 \\
        --enable-prefix-caching --block-size 32 --enable-prompt-tokens-details
    python benchmarks/models/two_engines.py --vllm http://127.0.0.1:8000/v1      prints the table, writes two_engines.md

Without a GPU: as `benchmarks/tiny_model/engines.py` says. The baseline of each figure is the other engine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec

import tts
from tts import Candidate, Problem, Run
from tts.runs.folder import JOURNAL

PROMPT = (
    "Ada has 17 points in a game. She wins 48 points. A penalty costs her 40 points. A lucky card multiplies her "
    'points by 9. How many points does she have? End with "Answer: N".'
)
ROLES = (None, "other")


async def steps(problem: Problem, run: Run, *, n: int = 4, depth: int = 8) -> Candidate:
    """Steps that end at a line's end, continued, by each role; the same number of whole answers."""
    for model in ROLES:
        beams = await run.generate(n=n, model=model, stop="\n", max_tokens=60)
        for _ in range(depth):
            open_ = [beam for beam in beams if beam.completion.stopped_by is not None]
            if not open_:
                break
            grown = await run.gather(
                *(run.generate(continue_from=beam, model=model, stop="\n", max_tokens=60) for beam in open_)
            )
            beams = [beam for (beam,) in grown]
    return run.pick()


async def measured(vllm: str) -> list[list[Any]]:
    """One row an engine: requests, ends, cached tokens."""
    with tempfile.TemporaryDirectory() as folder:
        solved = await tts.asolve(
            PROMPT, steps, models={"other": {"base_url": vllm, "model": "tts-tiny"}}, out=folder, budget="tokens=20k"
        )
        lines = (Path(folder) / JOURNAL).read_text().splitlines()
    ended = [msgspec.json.decode(line) for line in lines if '"finished"' in line]
    completions = {event["id"]: event["completion"] for event in ended if event.get("type") == "finished"}
    endpoints = sorted({completion.get("endpoint", "") for completion in completions.values()})
    rows = []
    for endpoint in endpoints:
        own = [c for c in completions.values() if c.get("endpoint", "") == endpoint]
        continued = [c for c in own if c.get("usage", {}).get("cached_tokens")]
        prompt = sum(c["usage"]["prompt_tokens"] for c in own)
        cached = sum(c["usage"].get("cached_tokens", 0) for c in own)
        rows.append(
            [
                "vLLM" if endpoint.rstrip("/") in vllm else "llama.cpp",
                len(own),
                sum(c.get("stopped_by") == "\n" for c in own),
                sum(c.get("stopped_by") is None and c.get("finish_reason", "stop") == "stop" for c in own),
                sum(c.get("finish_reason") == "length" for c in own),
                f"{cached} of {prompt} ({cached / prompt:.0%}), in {len(continued)} requests",
            ]
        )
    assert solved.result.error is None, solved.result.error
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--vllm", required=True, help="base URL of a vLLM server of tts-tiny")
    given = arguments.parse_args()
    head = ["engine", "requests", "ended by the stop string", "ended by themselves", "cut", "prompt tokens from cache"]
    rows = [head, ["---"] * len(head), *asyncio.run(measured(given.vllm))]
    table = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
    print(table)
    command = "Command: `python benchmarks/models/two_engines.py --vllm URL`"
    text = f"llama.cpp and vLLM in one run, as two roles\n\n{command}\n\n"
    Path(__file__).with_suffix(".md").write_text(f"{text}{table}\n")


if __name__ == "__main__":
    main()
