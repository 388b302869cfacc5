"""Files of other people: what lies beside them, what they name, and what a worker process can find of them."""

import asyncio
import functools
import itertools
import os
import sys
import textwrap
from pathlib import Path

import pytest

from tts.clusters.local import LocalCluster
from tts.core.addresses import check_address
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import InvalidParameter, UnknownName
from tts.models.cost_model import CostModel
from tts.plugins.dependencies import plugin_digests, verifiers_of
from tts.plugins.given import Given
from tts.plugins.loading import import_file
from tts.plugins.names import strategy
from tts.plugins.sources import digests, helpers
from tts.plugins.spec import check_spec, parse_specs
from tts.testing import ScriptedCluster, StrategyContract
from tts.types import Completion, Problem, Score, StrategySpec, Usage
from tts.workers.killable_processes import Workers

numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plugin `plans/mine.py`, in which files have names that no other test has used."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "plans").mkdir()
    return tmp_path


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


# --- files beside a plugin


def test_a_plugin_imports_the_files_beside_it_now_and_later_wherever_it_is_named_from(folder):
    one, two = (f"beside_{next(numbers)}" for _ in range(2))
    written(folder / "plans" / f"{one}.py", "N = 3")
    written(folder / "plans" / f"{two}.py", f"import {one}\ndef more(): return {one}.N + 1")
    written(
        folder / "plans" / "mine.py",
        f"""
        from {one} import N
        async def mine(problem, run, *, n: int = N):
            from {two} import more
            return (await run.generate(n=more()))[0]
        """,
    )
    outcome = ScriptedCluster(["1"] * 4).run(f"{folder}/plans/mine.py:mine")
    assert len(outcome.generated) == 4
    assert [p.name for p in helpers(folder / "plans" / "mine.py")] == [f"{one}.py", f"{two}.py"]


def test_two_plugins_with_helpers_of_one_name_are_refused_and_told_which(folder):
    name = f"prompts_{next(numbers)}"
    for place in ("here", "there"):
        written(folder / place / f"{name}.py", f"WHERE = {place!r}")
        written(folder / place / "mine.py", f"from {name} import WHERE\nasync def mine(problem, run): ...")
    assert import_file(folder / "here" / "mine.py").WHERE == "here"
    for _ in range(2):
        with pytest.raises(InvalidParameter, match="rename one of them") as caught:
            strategy(f"{folder}/there/mine.py:mine")
        assert f"{folder}/there/{name}.py beside it" in caught.value.message
        assert f"Python finds {folder}/here/{name}.py" in caught.value.message


def test_what_is_installed_is_never_replaced_by_a_file_beside_a_plugin(folder):
    written(folder / "plans" / "hypothesis.py", "")
    written(folder / "plans" / "math.py", "pi = 3")  # the standard library's comes first, as for Python itself
    file = written(folder / "plans" / "mine.py", "import math\nasync def mine(problem, run): ...")
    assert import_file(file).math.pi > 3 and helpers(file) == []
    other = written(folder / "plans" / "other.py", "import hypothesis\nasync def mine(problem, run): ...")
    with pytest.raises(InvalidParameter, match="site-packages/hypothesis"):
        import_file(other)


def test_every_file_that_a_plugin_imports_from_its_folder_is_in_its_digest(folder, monkeypatch):
    plans = folder / "plans"
    names = {
        "a.py": "import b\nfrom pack import c",
        "b.py": "def later():\n    import d.e",
        "d/e.py": "",
        "pack/__init__.py": "from .c import X",
        "pack/c.py": "from . import f\nX = 1",
        "pack/f.py": "from .. import nothing\nimport json",
        "json.py": "",
        "unused.py": "",
    }
    for name, text in names.items():
        written(plans / name, text)
    monkeypatch.chdir(folder)
    before = digests("plans/a.py")
    assert sorted(before) == [f"plans/{name}" for name in sorted(names) if name not in ("json.py", "unused.py")]
    for name, text in names.items():
        written(plans / name, f"{text}\n# changed")
        now = digests("plans/a.py")
        assert {changed for changed in before if now[changed] != before[changed]} == {f"plans/{name}"} & before.keys()
        before = now


def test_the_digest_of_a_plugin_that_cannot_be_read_as_python_is_of_the_file_alone(folder):
    file = written(folder / "plans" / "mine.py", "async def mine(")
    assert [*digests(str(file))] == [str(file)]


def test_a_run_that_a_file_begins_when_it_is_imported_is_refused_with_what_to_do(folder):
    file = written(
        folder / "plans" / "mine.py",
        """
        import tts
        async def mine(problem, run): ...
        tts.solve("2 + 2?", mine, base_url="http://127.0.0.1:9/v1")
        """,
    )
    with pytest.raises(InvalidParameter, match="begins a run when it is imported") as caught:
        strategy(f"{file}:mine")
    assert '`if __name__ == "__main__":`' in caught.value.message


def test_a_file_that_ends_the_program_when_it_is_imported_is_refused(folder):
    file = written(folder / "plans" / "mine.py", "import sys\nasync def mine(problem, run): ...\nsys.exit(0)")
    for _ in range(2):
        with pytest.raises(InvalidParameter, match="failed on import: SystemExit: 0"):
            strategy(f"{file}:mine")


# --- functions of a plugin in a worker


def test_functions_of_the_plugin_s_own_folder_are_called_in_a_worker_however_they_are_given(folder, monkeypatch):
    helper = f"sums_{next(numbers)}"
    written(folder / "plans" / f"{helper}.py", "def double(x): return 2 * x")
    written(
        folder / "plans" / "mine.py",
        f"""
        import os
        import {helper}
        def triple(x): return [3 * x, os.getpid()]
        class Sums:
            @staticmethod
            def square(x): return x * x
            @classmethod
            def cube(cls, x): return x ** 3
        async def mine(problem, run):
            pid = os.getpid()
            for how in (triple, ":triple", "mine.py:triple", f"{{__file__}}:triple"):
                value, where = await run.call(how, 7)
                assert value == 21 and where != pid, how
            for how in (Sums.square, ":Sums.square"):
                assert await run.call(how, 7) == 49
            assert await run.call(Sums.cube, 2) == 8
            for how in ({helper}.double, "{helper}.py:double", "{helper}:double"):
                assert await run.call(how, 7) == 14
            assert await run.call("os:path.basename", "a/b") == "b"
            return (await run.generate())[0]
        """,
    )
    monkeypatch.chdir(folder)
    for named in ("plans/mine.py:mine", f"{folder}/plans/../plans/mine.py:mine"):
        assert live(StrategySpec(named)).error is None


class Five:
    """A model that always says the same."""

    async def complete(self, request, builder, on_progress=None, *, race=False):
        return Completion("It is five.", usage=Usage(7, 3))


def live(spec, resolve=strategy):
    """The spec's result on a local cluster, with one worker process."""
    results = []
    scheduler = Scheduler([Planned("c", Problem("p", "2 + 3?"), spec)], resolve, costs=CostModel())
    with Workers(1) as workers:
        cluster = LocalCluster({"m": Five()}, {}, workers)
        asyncio.run(cluster.run(scheduler, on_result=lambda result, _: results.append(result)))
    return results[0]


def here(x):
    return x + 1


async def calls_here(problem, run):
    assert await run.call(here, 1) == 2
    assert await run.call(":here", 1) == 2
    return (await run.generate())[0]


def test_functions_of_a_module_that_only_this_process_can_find_are_called_in_a_worker(monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).parent])
    assert live(StrategySpec("calls_here"), lambda _: calls_here).error is None


def test_a_call_has_the_same_address_wherever_the_plugin_s_folder_lies(folder, monkeypatch):
    said = set()
    for place in ("one", "two"):
        written(
            folder / place / "plans" / "mine.py",
            """
            def f(): return 1
            async def mine(problem, run):
                await run.call(f)
                return (await run.generate())[0]
            """,
        )
        monkeypatch.chdir(folder / place)
        outcome = ScriptedCluster(["1"]).run("plans/mine.py:mine")
        said.add(outcome.actions[0].function)
    assert said == {"plans/mine.py:f"}


class Counter:
    def add(self, x):
        return x


def replaced(x):
    return x


original = replaced
replaced = functools.lru_cache(lambda x: x)


def inside():
    def function(x):
        return x

    return function


def in_a_notebook():
    cell = {"__name__": "__main__"}
    exec(compile("def cell(x): return x", "/tmp/ipykernel_1/2.py", "exec"), cell)
    return cell["cell"]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x, "<lambda> is one without a name"),
        (inside(), "inside.function is defined inside of another function"),
        (Counter().add, "Counter.add is a method of an object"),
        (original, f"replaced is not what {__name__}.replaced now is"),
        (functools.partial(here, 1), "is a partial"),
        (in_a_notebook(), "cell is defined in a notebook or an interactive session"),
        (7, "7 is a int"),
    ],
    ids=["lambda", "inside", "method", "replaced", "partial", "notebook", "number"],
)
def test_a_function_that_no_worker_could_find_is_refused_where_it_is_asked_for(function, why):
    with pytest.raises(InvalidParameter) as caught:
        check_address(function)
    assert why in caught.value.message and "define it at the top level of a file" in caught.value.message

    async def mine(problem, run):
        await run.call(function, 1)

    outcome = ScriptedCluster([]).run(mine)
    assert (outcome.result.error.type, outcome.actions) == ("InvalidParameter", ())


@pytest.mark.parametrize("function", [here, Counter, len, sorted, textwrap.dedent, ScriptedCluster.run])
def test_what_has_an_address_of_its_own_keeps_it(function):
    module, _, name = check_address(function).partition(":")
    assert (module, name) == (function.__module__, function.__qualname__)


# --- verifiers of a plugin


PANEL = """
    from tts.types import Score

    class Same:
        name, kind, candidate_logprobs, in_worker = "same", "scale", 0, False
        def request(self, problem, candidate): return None
        def read(self, completion): raise NotImplementedError
        def score(self, problem, candidate): return Score(float(candidate.answer), self.name, self.kind)

    class Opposite(Same):
        def score(self, problem, candidate): return Score(-float(candidate.answer), "anything", self.kind)

    async def panel(problem, run, *, n: int = 2, verifier: str = ":Same", length_verifier: str | None = None,
                    other: str = "panel.py:Opposite", orm: str = "judge", mode: str = "fast"):
        found = await run.generate(n=n)
        scores = await run.verify(found, verifier)
        other = await run.verify(found, other)
        assert [-score.value for score in other] == [score.value for score in scores] == [3.0, 4.0]
        return found[1]
"""


@pytest.fixture
def panel(folder) -> str:
    return str(written(folder / "plans" / "panel.py", PANEL))


def test_every_parameter_that_names_a_verifier_brings_it_into_the_run(panel):
    (spec,) = parse_specs(f"{panel}:panel")
    assert [*verifiers_of([spec])] == [f"{panel}:Same", f"{panel}:Opposite", "judge"]
    (spec,) = parse_specs(f"{panel}:panel:length_verifier=genrm,orm=self_certainty,mode=slow")
    assert [*verifiers_of([spec])] == [f"{panel}:Same", "genrm", f"{panel}:Opposite", "self_certainty"]


def test_a_plugin_s_own_verifiers_score_for_it_whatever_they_call_themselves(panel):
    (spec,) = parse_specs(f"{panel}:panel")
    outcome = ScriptedCluster(["3", "4"], verifiers=verifiers_of([spec])).run(f"{panel}:panel")
    assert outcome.result.error is None and outcome.result.answer == "4"


def test_a_plugin_s_paths_begin_in_its_folder_and_those_of_a_user_where_the_user_stands(panel, folder, monkeypatch):
    written(folder / "checks.py", PANEL)
    monkeypatch.chdir(folder)
    (spec,) = parse_specs("plans/panel.py:panel:orm=checks.py:Same,length_verifier=:Opposite")
    assert parse_specs(str(spec)) == [spec] == [check_spec(spec)]
    assert sorted(verifiers_of([spec])) == ["checks.py:Same", "plans/panel.py:Opposite", "plans/panel.py:Same"]
    assert sorted(plugin_digests([spec])) == ["checks.py", "plans/panel.py"]


def test_a_file_where_the_user_stands_is_not_taken_for_one_beside_the_plugin(panel, folder, monkeypatch):
    written(folder / "panel.py", PANEL.replace("-float", "float"))
    monkeypatch.chdir(folder)
    specs = [*parse_specs("plans/panel.py:panel"), *parse_specs("best_of_n:verifier=panel.py:Opposite")]
    found = verifiers_of(specs)
    assert len({type(verifier) for verifier in found.values()}) == 4
    outcome = ScriptedCluster(["3", "4"], verifiers=found).run("plans/panel.py:panel")
    assert outcome.result.error is None, "the verifier of the other file has scored"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("verifier=jugde", "Did you mean 'judge'"),
        ("length_verifier=:Sane", "panel.py has no Sane"),
        ("verifier=nowhere.py:Same", "nowhere.py is not a file here"),
        ("length_verifier=math:sin", "must be a class, or a function"),
    ],
)
def test_a_verifier_that_there_is_none_of_is_refused_before_anything_is_asked(panel, settings, message):
    with pytest.raises((UnknownName, InvalidParameter), match=message):
        verifiers_of(parse_specs(f"{panel}:panel:{settings}"))


def test_a_plugin_that_another_calls_is_told_which_verifiers_the_run_has(panel, folder):
    written(
        folder / "plans" / "outer.py",
        """
        from panel import panel
        async def outer(problem, run, *, verifier: str = "panel.py:Same", other: str = "panel.py:Opposite"):
            return await panel(problem, run, verifier=verifier, other=other)
        """,
    )
    named = f"{folder}/plans/outer.py:outer"
    outcome = ScriptedCluster(["3", "4"], verifiers=verifiers_of(parse_specs(named))).run(named)
    assert outcome.result.error is None and outcome.result.answer == "4"


class Length:
    name, kind, candidate_logprobs, in_worker = "length", "scale", 0, False

    def request(self, problem, candidate):
        return None

    def read(self, completion):
        raise NotImplementedError

    def score(self, problem, candidate):
        return Score(float(len(candidate.text)), self.name, self.kind)


async def judged(problem, run, *, n: int = 2, verifier: str = ":Length"):
    found = await run.generate(n=n)
    scores = await run.verify(found, verifier)
    assert all(score.value == len(c.text) for c, score in zip(found, scores, strict=True) if score.value is not None)
    return found[0]


# --- programs that live longer than a version of a plugin


def test_a_plugin_that_was_changed_is_imported_anew_by_the_next_call_and_not_before(folder):
    helper = f"version_{next(numbers)}"
    beside = written(folder / "plans" / f"{helper}.py", "V = 1")
    file = written(
        folder / "plans" / "mine.py", f"from {helper} import V\nW = 1\nasync def mine(problem, run): return V, W"
    )

    def said() -> tuple[int, int]:
        with pytest.raises(StopIteration) as stopped:
            strategy(f"{file}:mine")(None, None).send(None)
        return stopped.value.value

    assert said() == (1, 1)
    written(file, file.read_text().replace("W = 1", "W = 2"))
    os.utime(file, ns=(0, 10**9))
    assert said() == (1, 1)  # also of a run that is going on
    with Given(f"{file}:mine"):
        assert said() == (1, 2)
    written(beside, "V = 10")
    with Given("single"):
        assert said() == (10, 2)


# --- the contract


def test_the_contract_finds_the_verifiers_of_a_function_s_own_file():
    contract = type("Contract", (StrategyContract,), {"strategy": judged})()
    contract.test_it_awaits_its_run_alone_and_returns_a_candidate_it_was_given()


def test_a_file_that_a_plugin_names_by_address_is_part_of_the_plugin(tmp_path: Path) -> None:
    plugin, world = tmp_path / "mine.py", tmp_path / "world.py"
    plugin.write_text('async def mine(problem, run):\n    return run.session("world.py:World")\n')
    before = digests(str(plugin))
    assert world not in map(Path, before), "a file that is not there changes nothing"
    world.write_text("class World: ...\n")
    first = digests(str(plugin))
    world.write_text("class World: pass\n")
    assert first.keys() == {str(plugin), str(world)} and first != digests(str(plugin))
