"""The recipe: `python -m benchmarks.tiny_model`, on one GPU. Each step leaves files in the work folder, and training
is passed over where they are, so that a recipe that was cut goes on where it stopped. Needs the extras train, tasks and
local.

prompts     the wording of reasoning-gym's problems
vocabulary  a tokenizer
basics      a first model, which learns all modes from made-up solutions
attempts    the first model's own attempts at fresh problems, labelled by the exact checkers
mastery     training goes on, and what judges, merges and mends has the model's own attempts before it
polish      once more, for minutes, and mostly with long chains: new attempts, and checks of them
export      a Hugging Face folder and the GGUF file that `tts` ships (benchmarks/tiny_model/export.py)
card        what it can do, measured through the embedded engine (benchmarks/tiny_model/evaluate.py)

Only basics, attempts, mastery and polish want a GPU: less than ten minutes each, and 25 together.

`--toy` runs all of it on a CPU in minutes, to find its mistakes where they are cheap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from benchmarks.tiny_model import sample, train, vocabulary
from benchmarks.tiny_model.batches import Rows
from benchmarks.tiny_model.lessons.own import Own
from benchmarks.tiny_model.lessons.school import BASICS, MASTERY, POLISH, School, Stage
from benchmarks.tiny_model.teachers import prompts
from benchmarks.tiny_model.train import Plan

SEED = 6
FULL = {
    "basics": Plan(tokens=1600e6, limit_s=400),
    "mastery": Plan(tokens=2000e6, limit_s=560, rate=1.5e-3),
    "polish": Plan(tokens=8e6, limit_s=120, rows=4, rate=5e-4, workers=1),
    "attempts": (200_000, 75.0),
    "new attempts": (24_000, 45.0),
    "shape": (256, 8),
    "card": 40,
}
TOY = {
    "basics": Plan(tokens=0.5e6, limit_s=60, rows=2, workers=1),
    "mastery": Plan(tokens=0.2e6, limit_s=40, rows=2, rate=1e-3, workers=1),
    "polish": Plan(tokens=0.1e6, limit_s=20, rows=2, rate=3e-4, workers=1),
    "attempts": (512, 40.0),
    "new attempts": (256, 20.0),
    "shape": (128, 2),
    "card": 2,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("tiny-model"), help="the work folder")
    parser.add_argument("--steps", default="prompts,vocabulary,basics,attempts,mastery,polish,export,card")
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(given.work, TOY if given.toy else FULL)
    for step in given.steps.split(","):
        began = time.monotonic()
        getattr(recipe, step)()
        said(f"{step}: {time.monotonic() - began:.0f} s")


class Recipe:
    """The steps, over one work folder."""

    def __init__(self, work: Path, sizes: dict) -> None:
        self.work, self.sizes = work, sizes
        torch.manual_seed(SEED)
        torch.set_float32_matmul_precision("high")

    def prompts(self) -> None:
        _once(self.work / "prompts.json", prompts.write)

    def vocabulary(self) -> None:
        _once(self.work / "tokenizer.json", lambda path: vocabulary.learn(self._school(), SEED, path))

    def basics(self) -> None:
        _once(self.work / "basics", self._basics)

    def attempts(self) -> None:
        _once(self.work / "attempts.jsonl.gz", lambda path: self._attempts("basics", "attempts", BASICS, path))

    def mastery(self) -> None:
        own = self.work / "attempts.jsonl.gz"
        _once(self.work / "mastery", lambda path: self._more("basics", "mastery", MASTERY, own, path))

    def polish(self) -> None:
        own = self.work / "new-attempts.jsonl.gz"
        _once(own, lambda path: self._attempts("mastery", "new attempts", POLISH, path))
        _once(self.work / "polished", lambda path: self._more("mastery", "polish", POLISH, own, path))
        _once(self.work / "polish", self._mean)

    def export(self) -> None:
        from benchmarks.tiny_model import export  # the one step that needs gguf

        model = train.restore(self.work / "polish")
        export.write_file(model, self._tokenizer(), self.work / "tts-tiny.gguf")
        export.write_folder(self.work / "tts-tiny.gguf", self.work / "hf")

    def card(self) -> None:
        from benchmarks.tiny_model import card, evaluate  # the one step that needs an engine

        weights, problems = self.work / "tts-tiny.gguf", self.sizes["card"]
        card.write(weights, problems, asyncio.run(evaluate.examine(weights, problems)))

    def _basics(self, path: Path) -> None:
        model = LlamaForCausalLM(train.config(self._tokenizer(), *self.sizes["shape"]))
        said(f"{model.num_parameters() / 1e6:.2f} M parameters on {train.DEVICE}")
        self._trained(model, "basics", self._school(), path)

    def _attempts(self, before: str, step: str, stage: Stage, path: Path) -> None:
        wanted, limit_s = self.sizes[step]
        batch = min(max(8, wanted // len(sample.TURNS)), 8192 if train.DEVICE == "cuda" else 256)
        model, school = train.restore(self.work / before), self._school(stage)
        made = sample.attempts(model, self._tokenizer(), school, f"{SEED}/{step}", wanted, limit_s, said, batch=batch)
        sample.write(path, made)

    def _more(self, before: str, step: str, stage: Stage, own: Path, path: Path) -> None:
        self._trained(train.restore(self.work / before), step, self._school(stage, sample.read(own)), path)

    def _mean(self, path: Path) -> None:
        """The mean of the weights before and after the last stage keeps what that stage was not about (Wortsman et al.
        2022, arXiv:2109.01903)."""
        model = train.restore(self.work / "mastery")
        after = train.restore(self.work / "polished").state_dict()
        model.load_state_dict({name: (old + after[name]) / 2 for name, old in model.state_dict().items()})
        train.save(model, path)

    def _trained(self, model: LlamaForCausalLM, step: str, school: School, path: Path) -> None:
        plan = self.sizes[step]
        rows = Rows(school, self.work / "tokenizer.json", f"{SEED}/{step}", plan.rows, train.LENGTH)
        said(f"{step}: loss {train.train(model, rows, plan, said):.4f}")
        train.save(model, path)

    def _school(self, stage: Stage = BASICS, own: Sequence[Own] = ()) -> School:
        return School(json.loads((self.work / "prompts.json").read_text()), stage, own)

    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.work / "tokenizer.json"))


def _once(path: Path, make: Callable[[Path], object]) -> None:
    """Make a file or folder unless it is there; under another name until it is whole."""
    if path.exists():
        said(f"{path} is there")
        return
    begun = path.with_name(f"{path.stem}.begun{path.suffix}")
    make(begun)
    begun.rename(path)


def said(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
