"""The budget law on many kinds of server: the limit, what was booked, and what the engine decoded by its own count.

    python benchmarks/models/budget_law.py [WORD ...]    prints the table, and writes benchmarks/models/budget_law.md;
                                                  exits with 1 where a row that should hold does not. With words: of
                                                  those servers only that have one of them in their names, and writes
                                                  nothing

Each server is one `FakeEngine` on loopback. `majority_vote:n=none` buys samples until the budget is spent, and cancels
none; `first_finish:n=4` cancels three of four.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

import tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import Misbehaviour, Reply

LIMIT, MAX_TOKENS = 2000, 100
STRATEGIES = {"majority_vote:n=none": 4, "first_finish:n=4": 40}  # and on how many problems
FILE = Path(__file__).with_suffix(".md")

Usage = dict[str, Any]


@dataclass
class Server:
    """One kind of server.

    Args:
        engine: how its `FakeEngine` is made.
        reply: changes of a reply, given a random source.
        target: what the user says of it (fields of `tts.models.options.Target`).
        breaks: why the law does not hold there; empty where it does.
    """

    name: str
    engine: Mapping[str, Any] = field(default_factory=dict)
    reply: Callable[[Random], Mapping[str, Any]] = lambda _: {}
    target: Mapping[str, Any] = field(default_factory=dict)
    breaks: str = ""


def counted(completion_tokens: Any) -> Callable[[Usage], Usage]:
    return lambda usage: {**usage, "completion_tokens": completion_tokens(usage["completion_tokens"])}


def beside(usage: Usage) -> Usage:
    """xAI's way: `completion_tokens` leaves out the reasoning."""
    reasoning = usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0)
    return {**usage, "completion_tokens": usage["completion_tokens"] - reasoning}


def now_and_then(share: float, **changes: Any) -> Callable[[Random], Mapping[str, Any]]:
    return lambda rng: changes if rng.random() < share else {}


HOSTED = {"flavour": "openai"}  # counts at the end only, and nobody knows what it does when a stream is closed
STOPS = {"cancellation": "close"}  # the user does
PROBED = {"cancellation": "probe"}  # one request finds out, and is booked
SERVERS = [
    Server("vLLM: one token a chunk, counts with each"),
    Server("llama.cpp", {"flavour": "llamacpp"}),
    Server("SGLang: told to abort", {"flavour": "sglang", "abort_on_disconnect": False}),
    Server("vLLM, 16 tokens a chunk", {"stream_interval": 16}),
    Server("hosted, 40 tokens a chunk", {**HOSTED, "stream_interval": 40}),
    Server("the same, said to stop", {**HOSTED, "stream_interval": 40}, target=STOPS),
    Server("hosted, one letter a chunk", HOSTED, lambda _: {"misbehave": Misbehaviour.LETTERS}),
    Server("hosted, no usage", {**HOSTED, "report": lambda _: None}),
    Server(
        "hosted, no usage, 40 tokens a chunk",
        {**HOSTED, "stream_interval": 40, "report": lambda _: None},
    ),
    Server("usage 0", {"report": counted(lambda _: 0)}),
    Server("usage of 1 token", {"report": counted(lambda _: 1)}),
    Server("usage negative", {"report": counted(lambda n: -n)}),
    Server("usage 10^30", {"report": counted(lambda _: 10**30)}),
    Server("usage as a string", {"report": counted(str)}),
    Server("usage as a float", {"report": counted(float)}),
    Server("reasoning beside the completion", {**HOSTED, "report": beside}, lambda rng: {"hidden": rng.randrange(30)}),
    Server("hidden reasoning, counted", HOSTED, lambda rng: {"hidden": rng.randrange(30)}),
    Server("finish reason with every chunk", {}, lambda _: {"misbehave": Misbehaviour.FINISH_EVERYWHERE}),
    Server("one JSON body", HOSTED, lambda _: {"misbehave": Misbehaviour.JSON_BODY}),
    Server("hosted, decodes on when a stream is closed", {**HOSTED, "abort_on_disconnect": False}),
    Server("breaks one stream in thirty", {}, now_and_then(0.03, misbehave=Misbehaviour.TORN, after=9)),
    Server("resets one stream in thirty", {}, now_and_then(0.03, misbehave=Misbehaviour.RESET, after=9)),
    Server("429 to one request in ten", {}, now_and_then(0.1, misbehave=Misbehaviour.RATE_LIMITED, retry_after="0.01")),
    Server("500 to one request in twenty", {}, now_and_then(0.05, misbehave=Misbehaviour.INTERNAL)),
    Server("holds the connection after the end", {}, now_and_then(0.03, misbehave=Misbehaviour.HANGING_END)),
    Server(
        "vLLM's name, decodes on when a stream is closed",
        {"abort_on_disconnect": False},
        breaks="its name says that it stops; `tts doctor` and `cancellation: probe` find out",
    ),
    Server(
        "vLLM's name, stops 50 ms after a stream was closed",
        {"abort_delay_s": 0.05},
        breaks="it closes its side first: `cancellation: probe` or `best_effort`",
    ),
    Server(
        "decodes on, with `cancellation: best_effort`",
        {"abort_on_disconnect": False},
        target={"cancellation": "best_effort"},
    ),
    Server("vLLM, probed", target=PROBED),
    Server("vLLM's name, decodes on, probed", {"abort_on_disconnect": False}, target=PROBED),
    Server("vLLM's name, stops 50 ms late, probed", {"abort_delay_s": 0.05}, target=PROBED),
    Server("hosted, probed: shows nothing, so is not trusted", HOSTED, target=PROBED),
    Server(
        "ignores max_tokens",
        {},
        now_and_then(0.2, tokens=(" word",) * 300, misbehave=Misbehaviour.IGNORES_MAX_TOKENS),
    ),
]


def script(server: Server) -> Callable[[dict[str, Any]], Reply]:
    requests = itertools.count()  # so that a request that is sent again need not fail again

    def reply(request: dict[str, Any]) -> Reply:
        rng = Random(f"{request.get('seed')}{request['messages'][-1]['content']}")
        if "Question" not in request["messages"][-1]["content"]:
            return Reply((" one",) * 1000, per_token_s=0.005)  # the probe counts to 1000
        words = tuple(f" word{i}" for i in range(rng.randrange(20, 60)))
        plain = Reply((*words, " Answer:", f" {rng.randrange(3)}"), per_token_s=0.001)
        return msgspec.structs.replace(plain, **server.reply(Random(next(requests))))

    return reply


def row(server: Server, strategy: str) -> tuple[str, bool]:
    """A line of the table, and whether it is as it should be."""
    examples = [tts.Example(tts.Problem(f"p{i}", f"Question {i}?"), "1") for i in range(STRATEGIES[strategy])]
    with FakeEngine(script(server), **server.engine) as engine:
        result = tts.sweep(
            examples,
            strategy,
            run_budget=f"tokens={LIMIT}",
            sampling=tts.Sampling(max_tokens=MAX_TOKENS),
            base_url=engine.base_url,
            report=False,
            **server.target,
        )
        engine.wait_idle()
        decoded, requests = engine.stats().tokens, engine.stats().requests
    booked, overrun = result.spent.tokens, result.overrun.tokens
    holds = decoded <= booked <= LIMIT + overrun
    said = "yes" if holds else f"no: {server.breaks}" if server.breaks else "**NO**"
    if holds and overrun:
        said += ": cut off at its limit, and what was beyond it is booked as an overrun"
    line = f"| {server.name} | {strategy} | {requests} | {booked} | {decoded} | {overrun} | {said} |"
    return line, holds or bool(server.breaks)


def main(words: list[str]) -> int:
    lines = [
        "# The budget law",
        "",
        f"Written by `python benchmarks/models/budget_law.py`. The limit is {LIMIT} generated tokens for a run, a "
        f"sample may "
        f"have {MAX_TOKENS}. The law holds where `decoded <= booked <= limit + overrun`; `decoded` is the engine's own "
        "count, tokens included that it decoded after a stream was closed.",
        "",
        "| server | strategy | requests | booked | decoded | overrun | holds |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    print(*lines[-2:], sep="\n")
    fine = True
    for server in [one for one in SERVERS if not words or any(word in one.name for word in words)]:
        for strategy in STRATEGIES:
            line, as_it_should = row(server, strategy)
            print(line, flush=True)
            lines.append(line)
            fine = fine and as_it_should
    if not words:
        FILE.write_text("\n".join(lines) + "\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
