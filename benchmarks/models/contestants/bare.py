"""What one would write by hand: an aiohttp loop and a vote. `python bare.py URL PROBLEMS N AT_ONCE`"""

import asyncio
import json
import re
import sys
from collections import Counter
from pathlib import Path

import aiohttp

BOXED = re.compile(r"\\boxed\{(\d+)\}")


async def main(url: str, problems: list[dict[str, str]], n: int, at_once: int) -> None:
    slots = asyncio.Semaphore(at_once)
    connector, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=patient) as session:

        async def sample(question: str, seed: int) -> str:
            turns = [{"role": "user", "content": question}]
            body = {"model": "fake", "messages": turns, "max_tokens": 128, "temperature": 0.7, "seed": seed}
            async with slots, session.post(f"{url}/chat/completions", json=body) as response:
                return (await response.json())["choices"][0]["message"]["content"]

        async def vote(problem: dict[str, str]) -> bool:
            texts = await asyncio.gather(*(sample(problem["question"], seed) for seed in range(n)))
            votes = Counter(found[1] for text in texts if (found := BOXED.search(text)))
            return votes.most_common(1)[0][0] == problem["answer"]

        right = await asyncio.gather(*map(vote, problems))
    print(json.dumps({"right": sum(right) / len(right)}))


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_text().splitlines()
    asyncio.run(main(sys.argv[1], [*map(json.loads, lines)], int(sys.argv[3]), int(sys.argv[4])))
