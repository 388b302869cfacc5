"""Does searching over steps pay with the package's small model? Against weighted best-of-N, at equal generated tokens.

    python -m benchmarks.methods.small_model_search [--problems 100] [--base-url URL ...]
        prints the table and writes benchmarks/methods/small_model_search.md; in process it takes hours, with servers of
        `benchmarks.tiny_model.serve` on one GPU minutes

Chains of arithmetic of levels 4 and 5, which the model solves and whose steps it judges (verifier `prm`, one token a
judgement). Tokens are all that were generated, verification included. A search is compared with the smallest weighted
best-of-N that had at least as many tokens, paired over problems: the comparison is on the side of best-of-N.

The second table is the account: how well the judge orders what a search has to choose from. A judge may know most
prefixes right from wrong, and still not the next steps of one prefix.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple

from benchmarks.tiny_model.runs import Asked, Cells, add_servers, points, right, swept, tokens
from benchmarks.tiny_model.teachers.agreement import right_steps
from tts.core.actions import Request
from tts.intervals import Interval, mean_interval, paired_difference
from tts.models.embedded import EmbeddedServer
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.runs.outcomes import Outcome
from tts.tasks.chains import LEVELS, Chain, chain
from tts.toolkit.prompts.steps import SAMPLING, last_step, probability_of_right
from tts.types import Completion, Message, Sampling

SEED = 1905
SIZES = "4,8,12,16,24,32"
BEST = "best_of_n:verifier=prm,selector=weighted_majority,n="
PRODUCT = "best_of_n:verifier=prm(aggregate=prod),selector=weighted_majority,n="
SEARCHES = (
    "beam_search:n=8,m=4",
    "beam_search:n=16,m=4",
    "beam_search:n=16,m=2",
    "beam_search:n=16,m=4,verifier=prm(aggregate=prod)",
    "dvts:n=16,m=4",
    "dvts:n=16,m=2",
    "dvts:n=16,m=4,verifier=prm(aggregate=prod)",
    "rebase:n=16",
    "rebase:n=16,verifier=prm(aggregate=prod)",
    "particle_filter:n=16,size=16",
    "speculative_rejection:n=32",
    "best_first",
)
EACH = 16  # solutions of a chain whose steps are judged, for the account
AT_ONCE = 200
FILE = Path(__file__).with_suffix(".md")


class Siblings(NamedTuple):
    """The different next steps that were sampled after one right prefix: P(+) of the right ones, of the wrong ones."""

    right: list[float]
    wrong: list[float]


def compared(search: Sequence[Outcome], weighted: Sequence[Sequence[Outcome]]) -> tuple[str, Interval | None]:
    """The best-of-N that a search is compared with, and by how much the search is better."""
    enough = [one for one in weighted if tokens(one) >= tokens(search)]
    if not enough:
        return "none has as many tokens", None
    other = min(enough, key=tokens)
    return f"{tokens(other):.0f} tokens", paired_difference(right(search), right(other))


def rows(cells: Cells) -> list[str]:
    """The lines of the first table."""
    weighted = [outcomes for name, outcomes in cells.items() if name.startswith(BEST.partition("verifier")[0])]
    last = [outcomes for outcomes in weighted if "aggregate" not in outcomes[0].params]
    lines = []
    for name, outcomes in sorted(cells.items(), key=lambda cell: (cell[0].partition(":")[0], tokens(cell[1]))):
        other, by = ("", None) if outcomes in weighted or name.startswith("majority") else compared(outcomes, last)
        verifier = sum(o.verifier_tokens for o in outcomes) / len(outcomes)
        accuracy = points(mean_interval(right(outcomes)))
        lines.append(
            f"| `{name}` | {tokens(outcomes):.0f} | {verifier:.0f} | {accuracy} | {other} | {points(by, '+')} |"
        )
    return lines


async def judged(base_url: str, level: int, count: int) -> tuple[float, list[Siblings]]:
    """The share of right solutions, and the judge's view of the next steps after every right prefix of them."""
    gate, random = asyncio.Semaphore(AT_ONCE), Random(f"{SEED}/{level}")
    async with OpenAIClient(base_url, model="tts-tiny") as client:

        async def ask(prompt: str, seed: int, sampling: Sampling) -> Completion:
            async with gate:
                request = Request((Message("user", prompt),), sampling, seed=seed)
                return await client.complete(request, CompletionBuilder())

        async def of_one(made: Chain, number: int) -> tuple[float, list[Siblings]]:
            solving = Sampling(temperature=0.8, max_tokens=300)
            said = await asyncio.gather(*(ask(made.text, number * EACH + i, solving) for i in range(EACH)))
            steps = next_steps(made, [completion.text for completion in said])
            texts = [(prefix, step) for prefix, found in steps.items() for step in found]
            prompts = [last_step(made.text, "\n".join([*prefix, step])) for prefix, step in texts]
            replies = await asyncio.gather(*(ask(prompt, 0, Sampling(**SAMPLING)) for prompt in prompts))
            views = dict(zip(texts, map(probability_of_right, replies), strict=True))
            share = fmean(right_steps(made, completion.text)[-1] for completion in said)
            return share, [_siblings(prefix, found, views) for prefix, found in steps.items()]

        found = await asyncio.gather(*(of_one(chain(random, LEVELS[level - 1]), i) for i in range(count)))
    return fmean(share for share, _ in found), [siblings for _, many in found for siblings in many]


def next_steps(made: Chain, texts: Sequence[str]) -> Mapping[tuple[str, ...], dict[str, bool]]:
    """By right prefix: the different lines that followed it, and whether each is right."""
    steps: dict[tuple[str, ...], dict[str, bool]] = defaultdict(dict)
    for text in texts:
        lines = text.split("\n")
        for place, good in enumerate(right_steps(made, text)):
            steps[tuple(lines[:place])][lines[place]] = good
            if not good:
                break
    return steps


def _siblings(
    prefix: tuple[str, ...], found: Mapping[str, bool], views: Mapping[tuple[tuple[str, ...], str], float | None]
) -> Siblings:
    known = [(good, view) for step, good in found.items() if (view := views[prefix, step]) is not None]
    return Siblings([view for good, view in known if good], [view for good, view in known if not good])


def account(base_url: str, count: int) -> list[str]:
    """The lines of the second table."""
    lines = []
    for level in (3, 4, 5):
        share, groups = asyncio.run(judged(base_url, level, count))
        everywhere = _above([v for g in groups for v in g.right], [v for g in groups for v in g.wrong])
        contested = [g for g in groups if g.right and g.wrong]
        within = fmean(_above(g.right, g.wrong) for g in contested)
        believed = fmean(v > 0.5 for g in groups for v in g.wrong)
        shown = (
            f"{100 * share:.0f} %",
            f"{everywhere:.3f}",
            f"{within:.3f} of {len(contested)}",
            f"{100 * believed:.0f} %",
        )
        lines.append(f"| {level} | {' | '.join(shown)} |")
    return lines


def _above(high: Sequence[float], low: Sequence[float]) -> float:
    """The area under the curve: how often one of `high` is above one of `low`, ties by halves."""
    return fmean((a > b) + 0.5 * (a == b) for a in high for b in low)


def report(cells: Cells, signal: Sequence[str], count: int) -> str:
    return f"""# Does searching over steps pay with the small model?

Written by `python -m benchmarks.methods.small_model_search --problems {count}`: {count} chains of level 4 and {count}
of level 5, by the package's model, whose verifier `prm` judges steps. Tokens are generated ones a problem,
verification (also by itself) included; a judgement is one token, and reads a prompt that is not in these figures.
Accuracy in points, with 95 % intervals over problems. A search is compared with the smallest weighted best-of-N of the
last step's reward that had at least as many tokens, paired over problems.

| strategy | tokens | of verification | accuracy | compared with | by points |
|---|---:|---:|---:|---|---:|
{chr(10).join(rows(cells))}

The judge's view of what a search chooses from: of {EACH} solutions of {count} fresh chains a level, the different next
steps of every right prefix. The AUC of P(+) over all of them, and among the next steps of one prefix, where some are
right and some wrong (mean over such prefixes); and the share of wrong ones that the judge believes.

| level | pass@1 | AUC over all | AUC among next steps of one prefix | wrong ones believed |
|---:|---:|---:|---:|---:|
{chr(10).join(signal)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100, help="number of problems of each level")
    add_servers(parser)
    given = parser.parse_args()
    source = f"chain?size={2 * given.problems}&seed={SEED}&levels=4,5"
    asked = [(f"{BEST}{SIZES}", f"majority_vote:n={SIZES}"), (f"{PRODUCT}{SIZES}",), *((one,) for one in SEARCHES)]
    sweeps = [Asked(source, strategies, {"sampling": {"max_tokens": 300}}) for strategies in asked]
    cells = {name: outcomes for found in swept(sweeps, given.base_url) for name, outcomes in found.items()}
    if given.base_url:
        signal = account(given.base_url[0], given.problems)
    else:
        with EmbeddedServer() as server:
            signal = account(server.base_url, given.problems)
    text = report(cells, signal, given.problems)
    print(text)
    FILE.write_text(text)


if __name__ == "__main__":
    main()
