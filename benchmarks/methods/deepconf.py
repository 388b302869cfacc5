"""DeepConf on recorded generations: what its offline filter and its online stop save, and what they cost in accuracy.

    python benchmarks/methods/deepconf.py POOLS [KEPT]      prints the tables and writes benchmarks/methods/deepconf.md

POOLS is a folder of the pools' JSON Lines files, KEPT a .parquet file that keeps the samples of the small model. The
pools hold the confidence of whole samples, so that the offline filter can be replayed. Stopping half-way needs the
confidences of groups of tokens: the small model in process is sampled for these first.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tts
from tts import Candidate, Problem, Run
from tts.api.replays import replay
from tts.clusters.virtual.fleet import Fleet
from tts.intervals import Interval, paired_difference, unbounded_mean
from tts.pools.parquet import read_pool, write_pool
from tts.pools.pool import Pool, Sample
from tts.runs.outcomes import Outcome
from tts.tasks.sources import load
from tts.types import LogprobSummary

KEEP = (0.9, 0.5, 0.1)
BAR = 0.5  # points of accuracy that may be lost
SOURCE, PROBLEMS, SAMPLES, WARMUP, GROUP, SEEDS = "chain?size={}&levels=3,4&seed=3", 20, 16, 4, 8, 10
SHOWN: Mapping[str, Any] = {"top_logprobs": 20, "group": GROUP}


# --- what was recorded


def rows(pools: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(pools / f"{name}.jsonl.gz") as lines:
        return [json.loads(line) for line in lines]


def brumo(pools: Path, budget: int, *, online: bool) -> Pool:
    """A pool whose confidences are those of the answer's tokens. Tokens were not recorded: each trace counts as one.

    Args:
        online: only the traces that DeepConf let end when the pool was recorded have their answers.
    """

    def sample(row: Mapping[str, Any]) -> Sample:
        mean, lowest = row["meta"]["conf_mean"] or 0.0, row["meta"]["conf_min"] or 0.0  # 0 without an answer
        known = LogprobSummary(0.0, 0.0, None, (), mean, lowest)  # the first two are not read
        ended = row["meta"]["stopped"] == "completed"
        answer = row["answer"] if ended or not online else None
        return Sample(
            "BRUMO 2025",
            "R1-0528-Qwen3-8B",
            row["problem_id"],
            row["sample_id"],
            answer=answer,
            correct=row["correct"],
            completion_tokens=1,
            logprobs=known,
            sampling=SHOWN,
        )

    return Pool.of(f"deepconf_brumo25, budget {budget}", map(sample, recorded_at(pools, budget)))


def recorded_at(pools: Path, budget: int) -> list[dict[str, Any]]:
    return [row for row in rows(pools, "deepconf_brumo25_r1q8b") if row["model"].endswith(f"budget{budget}")]


def aime(pools: Path, *, agree: bool) -> Pool:
    """A pool whose confidences are the geometric means of its tokens' probabilities. Which wrong answers are equal was
    not recorded: all are, the worst case for a vote, or none, the best."""

    def sample(row: Mapping[str, Any]) -> Sample:
        wrong = "wrong" if agree else f"wrong {row['sample_id']}"
        likely = math.exp(row["meta"]["mean_token_logprob"])
        return Sample(
            "AIME 1983-2024",
            "R1-Distill-Qwen-1.5B",
            row["problem_id"],
            row["sample_id"],
            answer="right" if row["correct"] else wrong,
            correct=row["correct"],
            completion_tokens=row["completion_tokens"],
            logprobs=LogprobSummary(math.log(likely), 0.0, None, (), likely, likely),
            sampling=SHOWN,
        )

    name = "wrong answers all equal" if agree else "wrong answers all different"
    return Pool.of(f"aime_r1distill1p5b, {name}", map(sample, rows(pools, "aime_r1distill1p5b_logprob8")))


def sampled() -> Pool:
    """Samples of the small model in process, with the confidences of their groups of tokens."""
    source = SOURCE.format(PROBLEMS)
    references = {example.problem.id: example.reference for example in load(source).examples}
    found: dict[str, Sample] = {}  # by id: a rehearsal comes before the run

    async def recorded(problem: Problem, run: Run) -> Candidate:
        groups: dict[str, list[float]] = {}
        async with run.streaming(n=SAMPLES, every=GROUP, group=GROUP, top_logprobs=20) as stream:
            async for update in stream:
                own = groups.setdefault(update.id, [])
                if update.candidate is None:
                    if update.tokens % GROUP == 0 and update.confidence is not None:
                        own.append(update.confidence)
                    continue
                last, done = update.candidate, update.candidate.completion
                found[last.id] = Sample(
                    source,
                    "tts-tiny",
                    problem.id,
                    last.id,
                    answer=last.answer,
                    correct=last.answer == references[problem.id],
                    prompt_tokens=done.usage.prompt_tokens,
                    completion_tokens=done.usage.completion_tokens,
                    finish_reason=done.finish_reason,
                    logprobs=done.logprobs,
                    confidences=own[: done.usage.completion_tokens // GROUP],
                    sampling=SHOWN,
                )
        return last

    tts.sweep(source, [recorded], model="embedded:tts-tiny")
    assert len(found) == PROBLEMS * SAMPLES
    return Pool.of(source, found.values())


def kept(path: Path) -> Pool:
    """The samples in a file, which are drawn first if it is not there."""
    return read_pool(path) if path.exists() else read_pool(write_pool(sampled(), path))


# --- replays


def replayed(pool: Pool, spec: str, seeds: int) -> list[Outcome]:
    return list(replay(pool, spec, seeds=seeds, fleet=Fleet(tokens_per_s=50.0)).outcomes)  # so that stops have a time


def right(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.problem_id, []).append(float(bool(outcome.correct)))
    return found


def tokens(outcomes: Sequence[Outcome]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.problem_id, []).append(float(outcome.tokens))
    return found


def table(pool: Pool, specs: Sequence[str], seeds: int, unit: str) -> Iterator[str]:
    """Each strategy against a vote over all."""
    base = f"majority_vote:n={fewest(pool)}"
    vote = replayed(pool, base, seeds)
    yield f"### {pool.name}\n"
    yield f"{len(right(vote))} problems, {seeds} shuffle{'s' * (seeds > 1)}.\n"
    yield f"| strategy | accuracy, % | less the vote, points | {unit} a problem | saved, % | within {BAR} points |"
    yield "|---|---:|---|---:|---|---|"
    spent = float(np.mean([o.tokens for o in vote]))
    yield f"| `{base}` | {100 * np.mean([bool(o.correct) for o in vote]):.1f} | | {spent:,.0f} | | |"
    for spec in specs:
        own = replayed(pool, spec, seeds)
        gap, of_all = paired_difference(right(own), right(vote)), tokens(vote)
        more = unbounded_mean({p: [float(np.mean(of_all[p]) - np.mean(t))] for p, t in tokens(own).items()})
        assert gap is not None and more is not None
        word = "yes" if 100 * gap.mean >= -BAR else "no"
        sure = ", for sure" if 100 * (gap.low if gap.low is not None else -1.0) >= -BAR else ""
        yield (
            f"| `{spec}` | {100 * np.mean([bool(o.correct) for o in own]):.1f} | {shown(gap, 100)} | "
            f"{np.mean([o.tokens for o in own]):,.0f} | {shown(more, 100 / spent)} | {word}{sure} |"
        )


def fewest(pool: Pool) -> int:
    """Samples that every problem has."""
    return min(len(group) for group in pool.groups())


def ended_alone(pools: Path, whole: Pool, n: int) -> str:
    """The vote of the traces that were not stopped when the pool was recorded, in words."""
    vote = f"majority_vote:n={n}"
    own, over_all = (right(replayed(pool, vote, 1)) for pool in (brumo(pools, n, online=True), whole))
    gap = paired_difference(own, over_all)
    assert gap is not None
    ends = [row["meta"]["stopped"] for row in recorded_at(pools, n)]
    return (
        f"The recorder's online DeepConf let {100 * ends.count('completed') / len(ends):.0f} % of these traces end: "
        f"their vote alone is {shown(gap, 100)} points from that over all."
    )


def shown(found: Interval, scale: float) -> str:
    low, high = (math.nan if end is None else scale * end for end in (found.low, found.high))
    return f"{scale * found.mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    pools, parts = Path(sys.argv[1]), list[str]()

    def offline(n: int) -> list[str]:
        return [f"deepconf:n={n},warmup=none,keep={keep},window={GROUP}" for keep in KEEP]

    def online(n: int, consensus: float) -> list[str]:
        rest = f"warmup={WARMUP},window={GROUP},consensus={consensus}"
        return [f"deepconf:n={n},keep={keep},{rest}" for keep in KEEP]

    lab = kept(Path(sys.argv[2])) if len(sys.argv) == 3 else sampled()
    early = f"majority_vote:n={SAMPLES},stop_at=0.95"
    parts += table(lab, [early, *offline(SAMPLES), *online(SAMPLES, 0.95), *online(SAMPLES, 0.75)], SEEDS, "tokens")
    for n in (64, 128):
        whole = brumo(pools, n, online=False)
        parts += ["", *table(whole, offline(n), 1, "traces"), "", ended_alone(pools, whole, n)]
    for agree in (True, False):
        whole = aime(pools, agree=agree)
        parts += ["", *table(whole, offline(fewest(whole)), 1, "tokens")]
    text = "\n".join([INTRODUCTION, *parts, ""])
    print(text)
    Path(__file__).with_suffix(".md").write_text(text)


INTRODUCTION = f"""# DeepConf on recorded generations

`python benchmarks/methods/deepconf.py POOLS`: replays of the strategy itself. Differences have 95 % intervals over
problems. Saved: tokens less than the vote over all, those of stopped and cancelled traces paid; the offline filter
generates all, and saves none.

- **The small model** (`{SOURCE.format(PROBLEMS)}`, {SAMPLES} samples of each problem, groups of {GROUP} tokens): the
  only one here with the confidences of groups of tokens, so that traces can be stopped half-way. In a replay groups
  follow one another; live they overlap. A vote that stops early without looking at confidence stands beside it. With
  `consensus=0.95` only a warm-up that is of one mind ends the sampling: {SAMPLES} votes are too few for a later one.
- **BRUMO 2025** (R1-0528-Qwen3-8B): recorded under an online DeepConf of another author, which had stopped four of
  five traces; these have answers, too, and vote among all, so that the vote over all is no vote over whole traces, and
  differences from it flatter the filter. A confidence is that of the answer's tokens, the only one there is, and 0
  where no answer is. Tokens were not recorded: traces are counted, and what stopping saved is not known.
- **AIME 1983-2024** (R1-Distill-Qwen-1.5B): a confidence is the geometric mean of the tokens' probabilities.
  Which wrong answers are equal was not recorded: both ends of what a vote may be are shown.
"""


if __name__ == "__main__":
    main()
