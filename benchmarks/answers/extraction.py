"""How many answers are found, and is a wrong one ever counted right?

    python benchmarks/answers/extraction.py       prints the table and writes benchmarks/answers/extraction.md

The completions are those of the tests (`tests/data/extraction.jsonl`, `tests/data/unequal.jsonl`). The baseline is
math-verify's own extraction and comparison (`parse` with its defaults, then `verify`); it has no place for choices,
words, lines or abstentions, and is asked only where the format is `auto`, `number` or `boxed` and there is an answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from math_verify import parse, verify

from tts.answers.equivalence import extract, same
from tts.answers.symbolic import equal

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def graded(reference: str, answer: str | None) -> bool:
    if answer is None:
        return False
    certain = same(reference, answer)
    return equal(reference, answer) if certain is None else certain


def graded_by_math_verify(reference: str, text: str) -> bool:
    gold = parse(f"\\boxed{{{reference}}}", parsing_timeout=None)
    return bool(verify(gold, parse(text, parsing_timeout=None), timeout_seconds=None))


def found(row: Row) -> bool:
    answer, expected = extract(row["text"], row["format"]), row["expected"]
    return answer == expected or (None not in (answer, expected) and same(answer, expected) is True)


def counted_right(row: Row) -> bool:
    """An answer that is not the expected one, and is graded as if it were."""
    wrong = not found(row) and row["expected"] is not None
    return wrong and graded(row["expected"], extract(row["text"], row["format"]))


def comparable(row: Row) -> bool:
    return row["format"] in ("auto", "number", "boxed") and row["expected"] is not None


def count(test: Callable[[Row], bool], of: Iterable[Row]) -> int:
    return sum(map(test, of))


def table(kinds: list[tuple[str, list[Row]]]) -> list[str]:
    lines = []
    for kind, some in kinds:
        asked = [row for row in some if comparable(row)]
        baseline = count(lambda row: graded_by_math_verify(row["expected"], row["text"]), asked)
        shown = f"{baseline} of {len(asked)}" if asked else ""
        lines.append(f"| {kind} | {count(found, some)} of {len(some)} | {count(counted_right, some)} | {shown} |")
    return lines


def unequal_table(kinds: list[tuple[str, list[Row]]]) -> list[str]:
    lines = []
    for kind, some in kinds:
        ours = count(lambda row: graded(row["reference"], extract(row["text"])), some)
        theirs = count(lambda row: graded_by_math_verify(row["reference"], row["text"]), some)
        lines.append(f"| {kind} | {len(some)} | {ours} | {theirs} |")
    return lines


def by_kind(some: list[Row]) -> list[tuple[str, list[Row]]]:
    kinds = dict.fromkeys(row["kind"] for row in some)
    return [*((kind, [row for row in some if row["kind"] == kind]) for kind in kinds), ("**all**", some)]


def main() -> None:
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    text = f"""# Are answers found, and is a wrong one ever counted right?

Written by `python benchmarks/answers/extraction.py`. The bar: 98 % found, none of the others counted right.
The answers were written down before the reader saw the completions. It then found 388 of the first 403, and, mended,
97 of the second list of 107; what the table shows is after it was mended again.

| kind of completion | answer found | another counted right | math-verify alone |
|---|---:|---:|---:|
{chr(10).join(table(by_kind(rows("extraction.jsonl"))))}

Completions whose answer is not the reference:

| kind of pair | pairs | graded right | graded right by math-verify alone |
|---|---:|---:|---:|
{chr(10).join(unequal_table(by_kind(rows("unequal.jsonl"))))}
"""
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
