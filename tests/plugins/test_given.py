"""Strategies that a program gives as objects: how they are named, when they count as changed, and their sweeps."""

import asyncio
import dataclasses
import functools
import linecache
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tts
from tts.errors import BadProblem, InvalidParameter, RunMismatch, UnknownName, UsageError
from tts.plugins.dependencies import plugin_digests
from tts.plugins.given import Given
from tts.plugins.names import strategy
from tts.plugins.sources import digest_of
from tts.plugins.spec import parse_specs
from tts.pools.pool import Pool, Sample
from tts.strategies.voting.majority_vote import majority_vote
from tts.testing import FakeEngine, arithmetic
from tts.types import StrategySpec

LONG = 3


def longer(n: int) -> int:
    return n + LONG


async def mine(problem, run, *, n: int = 2):
    return (await run.generate(n=longer(n)))[0]


async def yours(problem, run):
    return (await run.generate())[0]


# --- names


def test_what_is_given_is_named_as_on_the_command_line_and_found_inside_the_block_alone():
    given = [mine, functools.partial(mine, n=4), "single", StrategySpec("esc", {"n": 4, "window": 2}), majority_vote]
    with Given(given) as texts:
        assert texts == ("mine", "mine:n=4", "single", "esc:n=4,window=2", "majority_vote")
        specs = [spec for text in texts for spec in parse_specs(text)]
        assert strategy("mine") is mine and specs[1] == StrategySpec("mine", {"n": 4})
        assert plugin_digests(specs) == {"mine": digest_of(mine)}
    with pytest.raises(UnknownName):
        strategy("mine")
    for one in (mine, "mine", StrategySpec("mine")):
        with Given(one) as texts:
            assert texts == ("mine",)


def test_two_calls_at_a_time_have_each_a_function_of_the_same_name():
    def made(value):
        async def mine(problem, run): ...

        mine.value = value
        return mine

    async def call(value):
        async with Given(made(value)):
            await asyncio.sleep(0)
            return strategy("mine").value

    async def both():
        return await asyncio.gather(call(1), call(2))

    assert asyncio.run(both()) == [1, 2]


async def single(problem, run): ...


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (lambda problem, run: None, "a strategy must be"),
        (longer, "a strategy must be"),
        (7, "but got 7"),
        ([], "at least 1 strategy"),
        (functools.partial(mine, None), "a strategy must be"),
        ([mine, functools.wraps(mine)(yours)], "another strategy is named mine, too: rename"),
        (single, "a strategy of this library is named single, too: rename"),
        (StrategySpec("compute_optimal", {"policy": "a,b"}), "policy cannot be 'a,b'"),
    ],
    ids=["lambda", "function", "number", "none", "positional", "twice", "ours", "comma"],
)
def test_what_is_no_strategy_or_has_no_name_of_its_own_is_refused(given, why):
    with pytest.raises(InvalidParameter, match=why):
        Given(given)


# --- digests

CELL = """
FIRST = 1
TABLE = {{"b": 2, "a": 1}}
def used(x): return x + FIRST
def unused(x): return x
class Held:
    def by_class(self): return {by_class}
def make():
    captured = {captured}
    async def mine(problem, run, *, n: int = {default}):
        {comment}
        Held(), TABLE["a"]
        return used(captured)
    return mine
mine = make()
"""
PLAIN = {"by_class": "1", "captured": "1", "default": "1", "comment": "pass"}


def cell(name: str = "/tmp/ipykernel_7/1.py", kept: bool = True, **changes: str):
    """A function as a notebook has it, whose source is kept where IPython keeps it."""
    text = CELL.format(**{**PLAIN, **changes})
    for old, new in ((k, v) for k, v in changes.items() if k not in PLAIN):
        assert old in text
        text = text.replace(old, new)
    if kept:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    else:
        linecache.cache.pop(name, None)
    namespace = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), namespace)
    return namespace["mine"]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    "change",
    [{"FIRST = 1": "FIRST = 2"}, {"x + FIRST": "x - FIRST"}, {'"a": 1': '"a": 3'}, {"captured": "2"}, {"default": "2"}],
    ids=lambda change: next(iter(change)),
)
def test_a_function_is_another_if_anything_that_it_uses_is(change, kept):
    before = digest_of(cell(kept=kept))
    assert digest_of(cell(kept=kept)) == before
    assert digest_of(cell(kept=kept, **change)) != before


def test_a_function_is_the_same_whatever_else_changes_in_its_file():
    before = digest_of(cell())
    assert digest_of(cell(**{"def unused(x): return x": "def unused(x): return 2 * x"})) == before
    assert digest_of(cell(by_class="2")) != before
    assert digest_of(cell(comment="0")) != before


FROM_TEXT = """
from tts.plugins.sources import digest_of
def made(sign):
    text = f"def used(x): return x {sign} 1\\nasync def mine(problem, run): return used(1)"
    exec(compile(text, "cell.py", "exec"), globals())
    return mine
assert digest_of(made("+")) == digest_of(made("+")) != digest_of(made("-"))
"""


def test_code_that_a_script_makes_from_text_has_not_the_source_of_the_script(tmp_path):
    (tmp_path / "script.py").write_text(FROM_TEXT)
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)


def test_a_digest_is_the_same_in_every_process():
    program = f"from {__name__} import mine; from tts.plugins.sources import digest_of; print(digest_of(mine))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "PYTHONHASHSEED": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest_of(mine)


# --- sweeps


def swept(out: Path, given, **settings):
    with FakeEngine(arithmetic()) as engine:
        return tts.sweep("arithmetic?size=2", given, base_url=engine.base_url, out=out, report=False, **settings)


def test_a_function_of_a_program_is_swept_and_its_run_goes_on_only_with_the_same_function(tmp_path, monkeypatch):
    given = [mine, functools.partial(mine, n=3), StrategySpec("single")]
    first = swept(tmp_path / "run", given)
    assert [row.strategy for row in first.rows] == ["mine", "mine", "single"]
    assert first.spent.samples == 2 * (3 + LONG)  # the cells share what they can
    again = swept(tmp_path / "run", given)
    assert (again.spent, again.outcomes) == (first.spent, first.outcomes)
    monkeypatch.setattr(sys.modules[__name__], "LONG", 4)
    with pytest.raises(RunMismatch, match="mine changed since it began"):
        swept(tmp_path / "run", given)


def test_a_function_is_replayed_over_recorded_samples(tmp_path):
    rows = [Sample("b", "m", "p", n, answer=str(n % 2), completion_tokens=5, correct=n % 2 == 0) for n in range(8)]
    done = tts.replay(Pool.of("few", rows), [mine, "single"], seeds=4)
    assert [(row.strategy, row.tokens) for row in done.rows] == [("mine", 5.0 * (2 + LONG)), ("single", 5.0)]


SCRIPT = """
    import sys
    import tts

    def double(x): return {factor} * x

    async def mine(problem, run, *, n: int = 2):
        found = await run.generate(n=n)
        assert await run.call(double, n) == {factor} * n
        return found[0]

    if __name__ == "__main__":
        swept = tts.sweep("arithmetic?size=2", mine, base_url=sys.argv[1], out="run", report=False)
        print(swept.spent.samples, len(swept.outcomes))
"""


@pytest.mark.system
def test_a_script_sweeps_its_own_function_whose_helpers_are_called_in_workers_and_goes_on_with_it(tmp_path):
    script = tmp_path / "script.py"

    def run(factor):
        script.write_text(textwrap.dedent(SCRIPT.format(factor=factor)))
        command = [sys.executable, "script.py", engine.base_url]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    with FakeEngine(arithmetic()) as engine:
        for _ in range(2):
            done = run(2)
            assert (done.returncode, done.stdout) == (0, "4 2\n"), done.stderr
        assert "RunMismatch" in run(3).stderr


# --- other forms of a function


def shouting(function):
    @functools.wraps(function)
    def called(*args, **params):
        return function(*args, **params)

    return called


@shouting
async def decorated(problem, run, *, n: int = 2):
    return (await run.generate(n=n))[0]


@dataclasses.dataclass
class Held:
    n: int = 2

    async def __call__(self, problem, run, *, more: int = 0):
        return (await run.generate(n=self.n + more))[0]

    async def method(self, problem, run, *, more: int = 0):
        return (await run.generate(n=self.n + more))[0]


def test_a_decorated_function_a_method_and_an_object_are_strategies_and_known_by_what_they_hold(tmp_path):
    found = swept(tmp_path / "run", [decorated, Held(3), Held(3).method])
    assert [row.strategy for row in found.rows] == ["decorated", "Held", "method"]
    for other in (Held(2), Held(2).method):
        with pytest.raises(RunMismatch, match="changed since it began"):
            swept(tmp_path / "run", [decorated, other])


def test_solve_goes_on_only_with_the_function_that_began(tmp_path):
    with FakeEngine(arithmetic()) as engine:

        def solved(strategy, name, **more):
            return tts.solve("What is 19 + 23?", strategy, base_url=engine.base_url, out=tmp_path / name, **more)

        for name, given in (("object", Held), ("partial", lambda n: functools.partial(Held(n), more=1))):
            first = solved(given(2), name)
            asked = engine.stats().requests
            assert solved(given(2), name).cost == first.cost and engine.stats().requests == asked
            with pytest.raises(RunMismatch, match=r"Held was changed|mine was changed"):
                solved(given(3), name)
        plugin = tmp_path / "mine.py"
        plugin.write_text("async def mine(problem, run):\n    return (await run.generate(n=1))[0]\n")
        solved(f"{plugin}:mine", "file")
        plugin.write_text(plugin.read_text().replace("n=1", "n=2"))
        with pytest.raises(RunMismatch, match=r"mine\.py"):
            solved(f"{plugin}:mine", "file")


def test_a_plan_takes_functions():
    async def mine(problem, run, *, n: int | None = None):
        return await majority_vote(problem, run, n=n)

    rows = [
        Sample("b", "m", p, n, answer=str(n % 3), completion_tokens=5, correct=n % 3 == 0)
        for p in "xy"
        for n in range(8)
    ]
    few = Pool.of("few", rows)
    planned = tts.plan(None, mine, history=few, run_budget="samples=8", draws=2, allocators=["uniform"])
    assert planned.recommended.strategy == "mine"


KEPT = []


async def keeps(problem, run):
    KEPT.append(run)
    return (await run.generate(n=1))[0]


async def uses(problem, run):
    return (await KEPT[-1].generate(n=1))[0]


async def alone(problem): ...


def test_what_a_function_cannot_do_is_said_before_anything_is_sent():
    with FakeEngine(arithmetic()) as engine:
        tts.solve("What is 19 + 23?", keeps, base_url=engine.base_url)
        asked = engine.stats().requests
        for given, params, why in [
            (uses, {}, "outside of its own strategy's call"),
            (mine, {"n": "x"}, "n must be int, but got 'x'"),
            (mine, {"n": 10**9}, "n must be at most 1,000,000"),
            (alone, {}, r"async def alone\(problem, run"),
        ]:
            for call in (tts.solve, tts.sweep):
                subject = "What is 19 + 23?" if call is tts.solve else "arithmetic?size=1"
                strategy = functools.partial(given, **params) if params else given
                with pytest.raises(UsageError, match=why):
                    call(subject, strategy, base_url=engine.base_url)
        with pytest.raises(BadProblem, match="but got a int"):
            tts.sweep(7, mine, base_url=engine.base_url)
        assert engine.stats().requests == asked
