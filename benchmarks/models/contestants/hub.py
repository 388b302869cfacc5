"""its_hub's self-consistency. `python hub.py URL PROBLEMS N AT_ONCE SelfConsistency|BetaSelfConsistency`"""

import asyncio
import json
import sys
from pathlib import Path

import its_hub
from its_hub.core.algorithms.self_consistency import create_regex_projection_function


async def main(url: str, problems: list[dict[str, str]], n: int, at_once: int, algorithm: str) -> None:
    model = its_hub.OpenAICompatibleLanguageModel(url, "key", "fake", max_completion_tokens=1000, temperature=0.7)
    vote = getattr(its_hub, algorithm)(
        consistency_space_projection_func=create_regex_projection_function([r"\\boxed\{(\d+)\}"]),
        orchestrator=its_hub.LMOrchestrator(max_concurrency=at_once),
    )

    async def right(problem: dict[str, str]) -> bool:
        found = await vote.ainfer(model, problem["question"], n, return_response_only=False)
        return f"\\boxed{{{problem['answer']}}}" in found.the_one["content"]

    verdicts = await asyncio.gather(*map(right, problems))
    await model.close()
    print(json.dumps({"right": sum(verdicts) / len(verdicts)}))


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_text().splitlines()
    asyncio.run(main(sys.argv[1], [*map(json.loads, lines)], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
