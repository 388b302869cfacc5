"""Problems that are generated: sums, chains of arithmetic in words, questions about a lookup world, and small
programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from tts.errors import InvalidParameter, unknown_name
from tts.tasks.chains import LEVELS, chain
from tts.tasks.example import Example
from tts.tasks.lookup import MOST_HOPS, question
from tts.tasks.mini_code import problems as mini_code
from tts.tasks.mini_code.grader import MINI_CODE, reference_text
from tts.toolkit.prompts.code import PROGRAM
from tts.types import Problem

_ARITHMETIC_DEFAULTS = {"size": 50, "seed": 0, "terms": 3, "digits": 2, "operations": "plus,minus", "steps": True}
_CHAIN_DEFAULTS = {"size": 50, "seed": 0, "levels": "1,2,3,4,5"}
_LOOKUP_DEFAULTS = {"size": 50, "seed": 0, "hops": f"1..{MOST_HOPS}"}
_CODE_DEFAULTS = {"size": 50, "seed": 0, "levels": "1,2,3"}
_OPERATIONS = {"plus": "+", "minus": "-", "times": "*"}
_SERIES = {"size": (1, 10**6), "seed": (0, 2**63)}


def arithmetic(params: Mapping[str, Any]) -> Iterator[Example]:
    chosen = _chosen("arithmetic", params, _ARITHMETIC_DEFAULTS)
    operations = str(chosen.pop("operations")).split(",")
    for operation in operations:
        if operation not in _OPERATIONS:
            raise unknown_name("operation of arithmetic", operation, _OPERATIONS)
    _check_whole(chosen, {**_SERIES, "terms": (2, 50), "digits": (1, 50)})
    if type(chosen["steps"]) is not bool:
        message = f"steps must be true or false, but got {chosen['steps']!r}"
        raise InvalidParameter(message, name="steps", value=repr(chosen["steps"]))
    ask = ' Work it out step by step, then end with "Answer: N", where N is the number.' if chosen["steps"] else ""
    for i in range(chosen["size"]):
        yield _sum(i, Random(f"{chosen['seed']}/{i}"), chosen["terms"], chosen["digits"], operations, ask)


def _sum(index: int, random: Random, terms: int, digits: int, operations: list[str], ask: str) -> Example:
    low, high = (10 ** (digits - 1) if digits > 1 else 1), 10**digits - 1
    value = random.randint(low, high)
    text = str(value)
    for _ in range(terms - 1):
        operation, number = random.choice(operations), random.randint(low, high)
        value = {"plus": value + number, "minus": value - number, "times": value * number}[operation]
        # From left to right, as in the words: a product takes in all that stands before it.
        text = f"({text})" if operation == "times" and " " in text else text
        text = f"{text} {_OPERATIONS[operation]} {number}"
    return Example(Problem(f"sum-{index}", f"What is {text}?{ask}"), str(value))


def chain_problems(params: Mapping[str, Any]) -> Iterator[Example]:
    chosen = _chosen("chain", params, _CHAIN_DEFAULTS)
    _check_whole(chosen, _SERIES)
    levels = _levels("chain", chosen["levels"], len(LEVELS))
    for i in range(chosen["size"]):
        level = levels[i % len(levels)]
        made = chain(Random(f"{chosen['seed']}/{i}"), LEVELS[level - 1])
        yield Example(Problem(f"chain-{i}", made.text, facts={"level": level}), str(made.answer))


def lookup_problems(params: Mapping[str, Any]) -> Iterator[Example]:
    chosen = _chosen("lookup", params, _LOOKUP_DEFAULTS)
    _check_whole(chosen, _SERIES)
    least, dots, most = str(chosen["hops"]).partition("..")
    known = [str(hops) for hops in range(1, MOST_HOPS + 1)]
    for name in (least, most) if dots else (least,):
        if name not in known:
            raise unknown_name("number of hops of lookup", name, known)
    counts = range(int(least), int(most if dots else least) + 1)
    if not counts:
        message = f"hops must be a number or a range such as 1..{MOST_HOPS}, but got {chosen['hops']}"
        raise InvalidParameter(message, name="hops", value=repr(chosen["hops"]))
    for i in range(chosen["size"]):
        hops = counts[i % len(counts)]
        made = question(Random(f"{chosen['seed']}/{i}"), hops)
        yield Example(Problem(f"lookup-{i}", made.text, facts={"hops": hops, "links": made.links}), made.answer)


def code_problems(params: Mapping[str, Any]) -> Iterator[Example]:
    chosen = _chosen("mini_code", params, _CODE_DEFAULTS)
    _check_whole(chosen, _SERIES)
    levels = _levels("mini_code", chosen["levels"], mini_code.LEVELS)
    for i in range(chosen["size"]):
        random, level = Random(f"{chosen['seed']}/{i}"), levels[i % len(levels)]
        made = mini_code.problem(random, level)
        examples = [f"assert {mini_code.called(*example)}" for example in made.examples]
        facts = {"level": level, "signature": made.spec.signature, "examples": examples}
        prompt = PROGRAM.format(description=made.text)
        reference = reference_text(made.spec.program(made.spec.codes), mini_code.drawn_tests(random, made))
        yield Example(Problem(f"code-{i}", prompt, None, "code", facts), reference)


def _levels(source: str, given: Any, most: int) -> list[int]:
    known = [str(level) for level in range(1, most + 1)]
    for name in (names := str(given).split(",")):
        if name not in known:
            raise unknown_name(f"level of {source}", name, known)
    return [int(name) for name in names]


def _chosen(source: str, params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    for key in params:
        if key not in defaults:
            raise unknown_name(f"parameter of {source}", key, defaults)
    return {**defaults, **params}


def _check_whole(chosen: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]]) -> None:
    for key, (least, most) in ranges.items():
        value = chosen[key]
        if type(value) is not int or not least <= value <= most:
            message = f"{key} must be a whole number from {least} to {most}, but got {value!r}"
            raise InvalidParameter(message, name=key, value=repr(value))


GENERATED: Mapping[str, tuple[Callable[[Mapping[str, Any]], Iterator[Example]], str]] = {  # with their graders
    "arithmetic": (arithmetic, "exact"),
    "chain": (chain_problems, "exact"),
    "lookup": (lookup_problems, "exact"),
    "mini_code": (code_problems, MINI_CODE),
}
