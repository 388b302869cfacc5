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
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import aiohttp
import numpy as np

from benchmarks.tiny_model import card, prompts
from benchmarks.tiny_model.lessons import THINK, School, revision, visible
from benchmarks.tiny_model.problems import Item
from tts.answers.equivalence import extract
from tts.core.actions import Request
from tts.models.embedded import EmbeddedServer
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.weights import pull
from tts.tasks.chains import LEVELS, chain
from tts.types import Candidate, Completion, Problem, Score
from tts.verifiers.generative.genrm import GenRM

SEED = "evaluation"
SLOTS = 32
TEMPERATURE = 0.8


class Said(NamedTuple):
    """A reply, its generated tokens, and whether its answer is right."""

    text: str
    tokens: int
    right: bool


class Engine:
    """The embedded engine, asked without streaming where nothing but the text is wanted."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession, client: OpenAIClient) -> None:
        self._url, self._session, self._client = f"{base_url}/chat/completions", session, client
        self._gate = asyncio.Semaphore(SLOTS + 8)
        self._seeds = iter(range(10**9))

    async def say(self, user: str, system: str | None = None, most: int = 450) -> tuple[str, int]:
        turns = [{"role": "system", "content": system}] if system else []
        body = {
            "messages": [*turns, {"role": "user", "content": user}],
            "temperature": TEMPERATURE,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "max_tokens": most,
            "seed": next(self._seeds),
        }
        async with self._gate, self._session.post(self._url, json=body) as reply:
            reply.raise_for_status()
            found = await reply.json()
        message = found["choices"][0]["message"]
        thought = message.get("reasoning_content")
        text = message.get("content") or ""
        return (f"<think>{thought}</think>{text}" if thought else text), found["usage"]["completion_tokens"]

    async def score(self, verifier: GenRM, prompt: str, text: str) -> Score:
        request = verifier.request(Problem("p", prompt), Candidate("c", text, None, Completion(text)))
        request = Request(request.messages, request.sampling, seed=next(self._seeds))
        async with self._gate:
            return verifier.read(await self._client.complete(request, CompletionBuilder()))


class Exam:
    """The measurements, over one engine."""

    def __init__(self, engine: Engine, school: School, problems: int) -> None:
        self.engine, self.school, self.problems = engine, school, problems
        self.lines: list[str] = []

    async def sit(self, kind: str, items: Sequence[Item], n: int, system: str | None = None) -> list[list[Said]]:
        """`n` replies to each."""
        teacher = self.school.teachers[kind]
        asked = [self.engine.say(item.prompt, system) for item in items for _ in range(n)]
        replies = await asyncio.gather(*asked)
        said = [Said(text, tokens, teacher.right(items[i // n], text)) for i, (text, tokens) in enumerate(replies)]
        return [said[i : i + n] for i in range(0, len(said), n)]

    def row(self, name: str, bar: str, measured: str, met: bool) -> None:
        self.lines.append(f"| {name} | {bar} | {measured} | {'met' if met else '**missed**'} |")
        print(self.lines[-1], flush=True)

    async def chains(self) -> None:
        random = Random(f"{SEED}/chain")
        groups, items, levels = [], [], []
        for level, how in enumerate(LEVELS, 1):
            made = [chain(random, how) for _ in range(self.problems)]
            new = [Item(one.text, one) for one in made]
            items += new
            levels += [level] * len(new)
            groups += await self.sit("chain", new, 16)
        levels = np.array(levels)
        single = np.array([np.mean([s.right for s in group]) for group in groups])
        vote = np.array([_vote(group, item, [1.0] * 16) for group, item in zip(groups, items, strict=True)])
        by_level = [float(single[levels == k].mean()) for k in range(1, 6)]
        shown = ", ".join(f"{value:.2f}" for value in by_level)
        self.row(
            "pass@1 of chains, levels 1 to 5",
            "at least from 0.90 to 0.10; 0.3 to 0.65 together",
            f"{shown}; together {single.mean():.2f}",
            by_level[0] >= 0.9 and by_level[-1] <= 0.1 and 0.3 <= single.mean() <= 0.65,
        )
        gains = [float((vote - single)[levels == k].mean()) for k in (3, 4, 5)]
        hard = levels >= 3
        self.row(
            "majority@16 - pass@1, levels 3 to 5",
            ">= +10 points",
            f"{_interval((vote - single)[hard], 100)}; by level {', '.join(f'{100 * g:+.0f}' for g in gains)}",
            (vote - single)[hard].mean() >= 0.1,
        )
        await self.verification(items, groups, vote, levels)
        await self.revisions(items, groups)
        thoughts = await self.sit("chain", items, 8, THINK[0])
        self.shortest("chains", thoughts)

    async def verification(
        self, items: Sequence[Item], groups: list[list[Said]], vote: np.ndarray, levels: np.ndarray
    ) -> None:
        verifier = GenRM()
        pairs = [(i, said) for i, group in enumerate(groups) for said in group]
        scores = await asyncio.gather(*(self.engine.score(verifier, items[i].prompt, said.text) for i, said in pairs))
        values = np.array([np.nan if score.value is None else score.value for score in scores])
        right = np.array([said.right for _, said in pairs])
        read = ~np.isnan(values)
        told = (values > 0.5) == right
        pooled = [told[read & (right == truth)].mean() for truth in (True, False)]
        of = np.repeat(levels, len(groups[0]))
        by_level = [
            np.mean([told[read & (of == level) & (right == truth)].mean() for truth in (True, False)])
            for level in range(1, 6)
        ]
        self.row(
            "verification of own solutions, right and wrong ones weighing the same",
            "0.70 to 0.92",
            f"{np.mean(pooled):.3f} ({pooled[0]:.3f} of the right, {pooled[1]:.3f} of the wrong; balanced within each "
            f"level: {', '.join(f'{value:.2f}' for value in by_level)}, their mean {np.mean(by_level):.3f}; "
            f"{(~read).sum()} of {len(read)} not read)",
            0.70 <= np.mean(pooled) <= 0.92,
        )
        weights = values.reshape(len(groups), -1)
        weighted = np.array([_vote(g, item, list(w)) for g, item, w in zip(groups, items, weights, strict=True)])
        self.row(
            "weighted majority@16 (P(Yes), one verification each) - majority@16",
            ">= 0",
            _interval(weighted - vote, 100)
            + f"; {100 * vote.mean():.1f} to {100 * weighted.mean():.1f}; by level "
            + ", ".join(f"{100 * (weighted - vote)[levels == level].mean():+.1f}" for level in range(1, 6)),
            weighted.mean() >= vote.mean(),
        )
        for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.01)):
            inside = read & (values >= low) & (values < high)
            if inside.any():
                self.lines.append(
                    f"| &nbsp; P(Yes) from {low} to {min(high, 1.0)}: how many are right | | "
                    f"{right[inside].mean():.2f} of {inside.sum()} (mean P(Yes) {values[inside].mean():.2f}) | |"
                )

    async def revisions(self, items: Sequence[Item], groups: list[list[Said]]) -> None:
        teacher = self.school.teachers["chain"]
        chosen = [(item, said) for item, group in zip(items, groups, strict=True) for said in group[:2]]
        replies = await asyncio.gather(*(self.engine.say(revision(i, [visible(s.text)])) for i, s in chosen))
        after = [teacher.right(item, text) for (item, _), (text, _) in zip(chosen, replies, strict=True)]
        fixed = [now for (_, said), now in zip(chosen, after, strict=True) if not said.right]
        broken = [not now for (_, said), now in zip(chosen, after, strict=True) if said.right]
        self.row(
            "one revision of a wrong answer fixes, of a right one breaks",
            ">= 20 %, <= 20 %",
            f"{100 * np.mean(fixed):.0f} % of {len(fixed)}, {100 * np.mean(broken):.0f} % of {len(broken)}",
            np.mean(fixed) >= 0.2 and np.mean(broken) <= 0.2,
        )

    def shortest(self, name: str, groups: list[list[Said]]) -> None:
        wins = [
            (a.tokens < b.tokens) + 0.5 * (a.tokens == b.tokens)
            for group in groups
            for a in group
            for b in group
            if a.right and not b.right
        ]
        self.row(
            f"shortest wins: P(the right one of two thoughts is the shorter), {name}",
            "> 0.55",
            f"{np.mean(wins):.2f} of {len(wins)} pairs" if wins else "no pairs",
            bool(wins) and np.mean(wins) > 0.55,
        )

    async def trials(self) -> None:
        for kind in ("countdown", "sudoku"):
            random = Random(f"{SEED}/{kind}")
            items = [self.school.teachers[kind].make(random) for _ in range(self.problems)]
            direct = await self.sit(kind, items, 64 if kind == "countdown" else 16)
            thought = await self.sit(kind, items, 8, THINK[0])
            if kind == "countdown":
                first = np.array([np.mean([s.right for s in group]) for group in direct])
                covered = np.array([any(s.right for s in group) for group in direct])
                by_count: dict[int, list[bool]] = defaultdict(list)
                for item, hit in zip(items, covered, strict=True):
                    by_count[len(item.data.numbers)].append(bool(hit))
                shown = ", ".join(f"{np.mean(hits):.2f} with {count}" for count, hits in sorted(by_count.items()))
                self.row(
                    "CountDown with 3 to 5 numbers: coverage@1, coverage@64",
                    "<= 0.5, >= 0.9",
                    f"{first.mean():.2f}, {covered.mean():.2f} ({shown})",
                    first.mean() <= 0.5 and covered.mean() >= 0.9,
                )
                self.shortest("CountDown", thought)
            self.equal_tokens(kind, direct, thought)

    def equal_tokens(self, kind: str, direct: list[list[Said]], thought: list[list[Said]]) -> None:
        """One thought against as many direct samples as its tokens buy, the best of which an exact checker finds."""
        cost = np.mean([s.tokens for group in thought for s in group])
        k = cost / np.mean([s.tokens for group in direct for s in group])
        low = int(k)
        parallel = np.array([_covered(g, low) * (1 - (k - low)) + _covered(g, low + 1) * (k - low) for g in direct])
        sequential = np.array([np.mean([s.right for s in group]) for group in thought])
        expected = "parallel" if kind == "countdown" else "sequential"
        lead = float(parallel.mean() - sequential.mean())
        ahead = "parallel" if lead > 0 else "sequential" if lead < 0 else "neither"
        self.row(
            f"{kind}, at {cost:.0f} tokens: one thought against {k:.1f} direct samples",
            f"{expected} ahead",
            f"{sequential.mean():.3f} against {parallel.mean():.3f}",
            ahead == expected,
        )


def _vote(group: Sequence[Said], item: Item, weights: Sequence[float]) -> float:
    """Whether the vote is right; ties are shared, and a weight of NaN abstains, as in `tts.selectors`."""
    votes: Counter[str] = Counter()
    for said, weight in zip(group, weights, strict=True):
        answer = extract(said.text)
        if answer is not None and not np.isnan(weight):
            votes[answer] += weight
    if not votes:
        return 0.0
    best = [answer for answer, count in votes.items() if count >= max(votes.values()) - 1e-12]
    return (str(item.data.answer) in best) / len(best)


def _covered(group: Sequence[Said], k: int) -> float:
    """Coverage at k, unbiased (Chen et al. 2021, arXiv:2107.03374)."""
    n, right = len(group), sum(said.right for said in group)
    if n - right < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(n - right + 1, n + 1)))


def _interval(values: np.ndarray, scale: float) -> str:
    spread = 1.96 * scale * values.std(ddof=1) / np.sqrt(len(values))
    return f"{scale * values.mean():+.1f} ± {spread:.1f} points"


async def examine(file: Path, problems: int) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        prompts.write(Path(folder) / "prompts.json")
        school = School(json.loads((Path(folder) / "prompts.json").read_text()))
    began = time.perf_counter()
    with EmbeddedServer(str(file), slots=SLOTS, context_tokens=1024) as server:
        loaded = time.perf_counter() - began
        async with aiohttp.ClientSession() as session, OpenAIClient(server.base_url) as client:
            exam = Exam(Engine(server.base_url, session, client), school, problems)
            item = chain(Random(SEED), LEVELS[2]).text
            await asyncio.gather(*(exam.engine.say(item) for _ in range(SLOTS)))
            began = time.perf_counter()
            replies = await asyncio.gather(*(exam.engine.say(item) for _ in range(8 * SLOTS)))
            rate = sum(tokens for _, tokens in replies) / (time.perf_counter() - began)
            exam.row(
                "throughput, 32 slots; loading", ">= 2,000 tokens/s; < 1 s", f"{rate:,.0f} tokens/s; {loaded:.2f} s",
                rate >= 2000 and loaded < 1,
            )  # fmt: skip
            await exam.trials()
            await exam.chains()
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
