"""Ray Data: rows through an actor that asks over HTTP, and a vote.

python ray_data.py URL PROBLEMS N AT_ONCE ADDRESS_OF_RAY
"""

import asyncio
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ray

BOXED = re.compile(r"\\boxed\{(\d+)\}")
ROWS = 64  # of a batch


class Ask:
    def __init__(self, url: str) -> None:
        self.url = url
        self.session: Any = None

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        import aiohttp

        if self.session is None:
            connector, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
            self.session = aiohttp.ClientSession(connector=connector, timeout=patient)

        async def sample(question: str, seed: int) -> str:
            turns = [{"role": "user", "content": str(question)}]
            body = {"model": "fake", "messages": turns, "max_tokens": 128, "temperature": 0.7, "seed": int(seed)}
            async with self.session.post(f"{self.url}/chat/completions", json=body) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        texts = await asyncio.gather(*map(sample, batch["question"], batch["seed"]))
        yield {"answer": batch["answer"], "question": batch["question"], "text": texts}


def main(url: str, path: str, n: int, at_once: int, address: str) -> None:
    ray.init(address, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    problems = [json.loads(line) for line in Path(path).read_text().splitlines()]
    rows = ray.data.from_items([{**problem, "seed": seed} for problem in problems for seed in range(n)])
    found = rows.map_batches(
        Ask,
        fn_constructor_args=(url,),
        batch_size=ROWS,
        concurrency=1,
        max_concurrency=max(1, at_once // ROWS),
        num_cpus=1,
    )
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    answers = {problem["question"]: problem["answer"] for problem in problems}
    for row in found.take_all():
        if match := BOXED.search(row["text"]):
            votes[row["question"]][match[1]] += 1
    right = sum(votes[question].most_common(1)[0][0] == answer for question, answer in answers.items())
    print(json.dumps({"right": right / len(problems)}))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
