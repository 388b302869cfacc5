"""Runs that were never made, as `tts view` tells the page of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tts.view.export import address

Data = dict[str, Any]  # of an `address`: the value that it answers with


class Made:
    """A run of `problems` problems and `cells` cells, with `candidates` in each trial that is looked at."""

    def __init__(self, problems: int = 30, cells: int = 6, candidates: int = 12) -> None:
        self.random = random.Random(7)
        self.problems = [f"p{at}" for at in range(problems)]
        names = ["majority_vote", "best_of_n", "beam_search", "first_finish", "genrm"]
        self.cells = [f"{names[at % 5]}:n={2 ** (1 + at // 5 % 6)}#{at}" for at in range(cells)]
        self.scores = [[self.random.choice([0, 0.5, 1, 1, None]) for _ in self.cells] for _ in self.problems]
        self.candidates = candidates

    def data(self, problem: int = 0) -> Data:
        """All that the pages of one problem and of one trial ask for."""
        id, cell = self.problems[problem], self.cells[2 % len(self.cells)]
        trials = [[self.trial_row(problem, at, seed) for seed in (0, 1)] for at in range(len(self.cells))]
        made = {
            "/api/overview": self.overview(),
            "/api/grid": self.grid(),
            address("problem", id=id): {
                "problem": {**self.problem(problem), "prompt": self.turns(problem)},
                "cells": [{"cell": cell, "trials": each} for cell, each in zip(self.cells, trials, strict=True)],
            },
            address("trial", id=f"{cell}/{id}/0"): self.trial(problem, cell),
            address("compare", a=self.cells[0], b=self.cells[1]): self.comparison(),
        }
        trial = made[address("trial", id=f"{cell}/{id}/0")]
        for each in trial["candidates"]:
            made[address("text", id=each["id"])] = {
                "text": f"{each['text_preview']}\n\nThe whole text.\nThe answer is {each['answer']}.",
                "reasoning": "First the boxes that arrive.",
                "prompt": self.turns(problem),
                "tool_calls": [{"name": "lookup", "arguments": {"key": "boxes"}}],
                "transcript": None,
            }
        for each in trial["verifications"]:
            turns = [*self.turns(problem), {"role": "assistant", "content": "Step 2 is right.\nScore: 0.8"}]
            made[address("text", id=each["id"])] = {
                "text": None, "reasoning": None, "prompt": None, "tool_calls": None, "transcript": turns,
            }  # fmt: skip
        return made

    def turns(self, at: int) -> list[dict[str, str]]:
        return [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": self.prompt(at)}]

    def prompt(self, at: int) -> str:
        return (
            f"A warehouse holds {at + 3} boxes. Then 40 boxes arrive. Then 16 are sold. How many are there in the end?"
        )

    def problem(self, at: int) -> dict[str, Any]:
        return {"id": self.problems[at], "prompt": self.prompt(at), "reference": str(at + 27)}

    def overview(self) -> dict[str, Any]:
        return {
            "title": "warehouses", "kind": "run", "path": "/runs/warehouses", "live": False, "version": 1,
            "problems": len(self.problems), "samples": 1234, "trials": 300, "planned": 360,
            "spent": {"samples": 1234, "tokens": 56789, "usd": 0.0421, "flops": 1.54e12},
            "cells": [self.cell(at) for at in range(len(self.cells))],
            "notes": ["3 of 1,234 samples were cut at max_tokens: their answers are unknown."],
        }  # fmt: skip

    def cell(self, at: int) -> dict[str, Any]:
        strategy, _, params = self.cells[at].partition("#")[0].partition(":")
        known = [row[at] for row in self.scores if row[at] is not None]
        mean = sum(known) / len(known)
        tokens = 60.0 * 2 ** (at // 2) + 13 * at
        return {
            "id": self.cells[at], "strategy": strategy, "params": params, "budget": "tokens=2k" if at % 2 else None,
            "allocator": None, "seeds": 2, "problems": len(known),
            "accuracy": {"mean": mean, "low": max(0, mean - 0.11), "high": min(1, mean + 0.09)},
            "samples": 2.0 ** (1 + at // 5), "tokens": tokens, "prompt_tokens": 90.0,
            "verifier_tokens": 12.5 * (at % 3),
            "cancelled_tokens": 7.0 if at == 3 else 0.0, "sequential_tokens": tokens / 2, "usd": tokens * 1e-6,
            "latency_s": 0.4 + at, "errors": int(at == 1), "exhausted": at % 2, "on_frontier": at in (0, 2, 5),
            "ties": [self.cells[1]] if at == 2 else [],
        }  # fmt: skip

    def grid(self) -> dict[str, Any]:
        def table(of: Callable[[Any], Any]) -> list[list[Any]]:
            return [[of(score) for score in row] for row in self.scores]

        others = ["open", "error", "ungraded"]
        return {
            "problems": [self.problem(at) for at in range(len(self.problems))], "cells": self.cells,
            "score": self.scores,
            "tokens": table(lambda score: self.random.randrange(40, 4000)), "samples": table(lambda score: 4),
            "state": table(lambda score: "decided" if score is not None else self.random.choice(others)),
        }  # fmt: skip

    def trial_row(self, problem: int, cell: int, seed: int) -> dict[str, Any]:
        score = self.scores[problem][cell]
        correct = None if score is None else self.random.random() < score
        return {
            "id": f"{self.cells[cell]}/{self.problems[problem]}/{seed}", "seed": seed, "state": "decided",
            "answer": str(problem + 27) if correct else None if score is None else "24", "correct": correct,
            "tokens": 211, "samples": 4, "latency_s": 1.25,
            "error": "AllFailed: no sample came" if score is None else None,
            "exhausted": cell % 2 == 1,
        }  # fmt: skip

    def trial(self, problem: int, cell: str) -> dict[str, Any]:
        id = f"{cell}/{self.problems[problem]}/0"
        right = str(problem + 27)
        candidates = [self.candidate(id, at, right) for at in range(self.candidates)]
        votes: dict[str | None, int] = {}
        for each in candidates:
            votes[each["answer"]] = votes.get(each["answer"], 0) + 1
        return {
            "id": id, "problem": {**self.problem(problem), "prompt": self.turns(problem)}, "cell": cell, "seed": 0,
            "strategy": cell.partition("#")[0], "answer": right, "correct": True, "error": None, "exhausted": True,
            "opened_s": 10.0, "decided_s": 18.5,
            "why": [f"{right} has {votes.get(right)} votes of {len(candidates)}.",
                    "Its candidates have the best score, 0.91."],
            "votes": [{"answer": answer, "count": count, "weight": 0.5 * count,
                       "correct": answer == right if answer else None}
                      for answer, count in sorted(votes.items(), key=lambda each: -each[1])],
            "candidates": candidates,
            "verifications": [self.verification(id, each, at) for at, each in enumerate(candidates) if at % 2 == 0],
            "bill": [{"what": "samples", "samples": 12, "tokens": 800, "prompt_tokens": 90, "usd": None},
                     {"what": "verification", "samples": 6, "tokens": 120, "prompt_tokens": 600, "usd": None},
                     {"what": "cancelled", "samples": 2, "tokens": 31, "prompt_tokens": 0, "usd": None}],
            "total": {"samples": 18, "tokens": 951, "prompt_tokens": 690, "usd": None},
        }  # fmt: skip

    def candidate(self, trial: str, at: int, right: str) -> dict[str, Any]:
        state = {4: "cancelled", 6: "failed", 9: "in flight", 10: "lost"}.get(at % 12, "finished")
        answer = self.random.choice([right, right, right, "24", None]) if state == "finished" else None
        start = 10 + 0.11 * at + 0.9 * (at // 8)
        ended = None if state == "in flight" else start + self.random.uniform(0.5, 3)
        parent = None if at < 3 else f"{trial}/{self.random.randrange(max(0, at // 3 - 1), max(1, at // 2))}"
        return {
            "id": f"{trial}/{at}", "kind": "generate", "parent": parent, "depth": 0 if parent is None else 1,
            "text_preview": "21 + 40 = 61. 61 - 16 = 45.", "chars": 420, "answer": answer,
            "correct": None if answer is None else answer == right,
            "score": self.random.random() if at % 2 == 0 else None,
            "scores": {"prm": 0.71, "self_certainty": 12.5} if at % 2 == 0 else {},
            "tokens": 40 + 7 * at, "prompt_tokens": 90,
            "seed": 1000 + at, "temperature": 0.8, "endpoint": f"http://gpu-{at % 3}:8000/v1", "model": "tts-tiny",
            "granted_s": start, "first_token_s": start + 0.2, "ended_s": ended, "state": state, "hedged": at % 5 == 2,
            "error": "ServerError: 503" if state == "failed" else None,
            "finish_reason": "stop" if state == "finished" else None,
            "selected": at == 0, "because": "its answer has most votes" if at == 0 else "another answer has more votes",
            "partial": state != "finished", "steps": 3,
        }  # fmt: skip

    def verification(self, trial: str, candidate: dict[str, Any], at: int) -> dict[str, Any]:
        start = (candidate["ended_s"] or 15) + 0.1
        return {
            "id": f"{trial}/v{at}", "of": [candidate["id"]], "judge": "genrm(max_tokens=64)",
            "score": candidate["score"],
            "verdict": "correct", "tokens": 20, "started_s": start, "ended_s": start + 0.6, "has_transcript": True,
        }  # fmt: skip

    def comparison(self) -> dict[str, Any]:
        flips = [
            {
                "problem": id,
                "a": at % 2 == 0,
                "b": at % 2 == 1,
                "prompt": self.prompt(at),
                "answer_a": "27",
                "answer_b": "24",
            }
            for at, id in enumerate(self.problems[:9])
        ]
        return {
            "both": 14, "only_a": 6, "only_b": 3, "neither": 7,
            "mcnemar": {"statistic": None, "p": 0.508, "exact": True},
            "difference": {"mean": 0.1, "low": -0.08, "high": 0.28}, "flips": flips,
        }  # fmt: skip
