"""The prompts of `reasoning-gym`'s problems, as templates: the package's wording, read from what `tts` asks."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.tiny_model.teachers.teacher import REASONING_GYM
from tts.tasks.sources import load


def write(path: Path) -> None:
    """Read off 200 problems of each kind; equal templates fall together."""
    found: dict[str, set[str]] = {"countdown": set(), "sudoku": set()}
    for kind, source in REASONING_GYM.items():
        for example in load(f"{source}{'&' if '?' in source else '?'}size=200&seed=1").examples:
            prompt, facts = example.problem.prompt, example.problem.facts
            if kind == "countdown":
                prompt = prompt.replace(", ".join(map(str, facts["numbers"])), "{numbers}")
                prompt = prompt.replace(str(facts["target"]), "{target}")
            else:
                rows = [" ".join(str(n) if n else "_" for n in row) for row in facts["puzzle"]]
                prompt = prompt.replace("\n".join(rows), "{puzzle}")
            found[kind].add(prompt)
    path.write_text(json.dumps({kind: sorted(templates) for kind, templates in found.items()}, indent=1))
