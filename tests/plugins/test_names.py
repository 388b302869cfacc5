"""Names, files and installed plugins -> strategies, verifiers and allocators."""

import asyncio
import os
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

from tts.clusters.local import LocalCluster
from tts.core.addresses import address_of
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import InvalidParameter, UnknownName
from tts.models.cost_model import CostModel
from tts.plugins.dependencies import plugin_digests, verifiers_of
from tts.plugins.loading import by_address
from tts.plugins.names import allocator, allocator_of, built_in, names, strategy
from tts.plugins.signatures import Parameter, describe, parameters
from tts.plugins.spec import check_spec, parse_allocators, parse_specs
from tts.plugins.verifiers import verifier
from tts.testing import ScriptedCluster
from tts.types import Candidate, Completion, Problem, StrategySpec, Usage

# --- ours


def test_every_strategy_of_the_library_describes_itself():
    for name in built_in("strategies"):
        info = describe(name)
        assert info.summary.endswith(".")
        assert info.name == name == strategy(name).__name__
    assert describe("best_of_n").paper.startswith("arXiv:")
    assert describe("single").paper == ""
    assert names("strategies")[: len(built_in("strategies"))] == list(built_in("strategies"))


@pytest.mark.parametrize("group", ["strategies", "verifiers", "allocators"])
def test_every_file_of_a_family_holds_one_method_by_its_own_name(group):
    folder = Path(import_module(f"tts.{group}").__file__).parent
    assert sorted(built_in(group)) == sorted(path.stem for path in folder.rglob("*.py") if path.stem != "__init__")
    find = {"strategies": strategy, "allocators": allocator, "verifiers": lambda name: type(verifier(name))}[group]
    for name, module in built_in(group).items():
        found = find(name)
        spelled = name if group != "verifiers" else name.replace("_", "")
        assert (found.__module__, found.__name__.lower()) == (module, spelled)


def test_the_methods_of_no_family_come_first_and_those_of_a_family_stand_together():
    families = [module.split(".")[2:-1] for module in built_in("strategies").values()]
    assert families[0] == []
    assert families == sorted(families)


def test_a_parameter_is_shown_with_its_type_its_default_and_what_the_docstring_says_of_it():
    found = {p.name: p for p in parameters(strategy("majority_vote"))}
    assert found["n"] == Parameter(
        "n", "int | None", 8, "number of samples at most; None spends the rest of the budget."
    )
    assert found["stop_at"].type == "float | None"


def test_the_verifiers_that_specs_name_are_made_once_defaults_included():
    specs = parse_specs("best_of_n:n=1,2") + parse_specs("genrm:verifier=judge") + parse_specs("sequential_revision")
    found = verifiers_of(specs, "judge-7b")
    assert list(found) == ["self_certainty", "judge"]
    assert found["judge"].model == "judge-7b"
    with pytest.raises(UnknownName, match="Did you mean 'judge'"):
        verifiers_of(parse_specs("best_of_n:verifier=jude"))
    assert all(verifier(name).name == name for name in built_in("verifiers"))


# --- files

PLUGIN = '''
    """Take one of n, anyhow."""
    from __future__ import annotations

    from typing import TYPE_CHECKING, Literal

    if TYPE_CHECKING:
        from tts.core.trials.context import Run
        from tts.types import Candidate, Problem

    async def mine(problem: Problem, run: Run, *, n: int = 2, greedy: bool = False, scale: int | float = 1,
                   mode: Literal["first", "last"] = "first", plain=3, label=None) -> Candidate:
        """Keep the first of `n`.

        After arXiv:2001.00001 and arXiv:2001.00002.

        Args:
            n: how many
                there are.
            mode: which one.
        """
        found = await run.generate(n=n, temperature=0.0 if greedy else 1.0)
        return found[0 if mode == "first" else -1]

    async def _hidden(problem, run): ...
    async def other(problem, run): ...
    def not_async(problem, run): ...
'''


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "my_ideas.py"
    path.write_text(textwrap.dedent(PLUGIN))
    return f"{path}:mine"


def test_a_strategy_in_a_file_is_named_by_the_file(plugin):
    outcome = ScriptedCluster(["7", "8", "9"]).run(f"{plugin}:n=3,mode=last,greedy=true")
    assert outcome.result.answer == "9"
    assert outcome.result.strategy == StrategySpec(plugin, {"n": 3, "mode": "last", "greedy": True})
    assert outcome.generated[0].request.sampling.temperature == 0.0
    assert strategy(plugin) is strategy(plugin)  # imported once


@pytest.mark.parametrize("signature", ["problem, run, n", "problem", "*, n=1"])
def test_a_strategy_that_cannot_be_called_with_a_problem_and_a_run_is_refused_by_its_name(signature, tmp_path):
    (tmp_path / "odd.py").write_text(f"async def odd({signature}): ...")
    with pytest.raises(InvalidParameter, match=r"odd.py:odd must take a problem, a run, .* but takes \("):
        check_spec(StrategySpec(f"{tmp_path}/odd.py:odd"))


def test_a_plugin_s_parameters_are_read_from_whatever_its_author_wrote(plugin):
    found = {p.name: (p.type, p.default) for p in parameters(strategy(plugin))}
    assert found == {
        "n": ("int", 2),
        "greedy": ("bool", False),
        "scale": ("int | float", 1),
        "mode": ("str", "first"),
        "plain": ("int", 3),
        "label": ("str", None),
    }
    assert [spec.params for spec in parse_specs(f"{plugin}:plain=4,scale=0.5,2,greedy=false")] == [
        {"plain": 4, "scale": 0.5, "greedy": False},
        {"plain": 4, "scale": 2, "greedy": False},
    ]
    with pytest.raises(InvalidParameter, match="greedy must be bool, but got 'maybe'"):
        parse_specs(f"{plugin}:greedy=maybe")


def test_a_plugin_describes_itself_from_its_docstrings(plugin):
    info = describe(plugin)
    assert info.summary == "Take one of n, anyhow."
    assert info.paper == "arXiv:2001.00001, arXiv:2001.00002"
    assert [p.help for p in info.parameters[:4]] == ["how many there are.", "", "", "which one."]


@pytest.mark.parametrize(
    ("function", "message"),
    [("nine", "it has: mine, other"), ("not_async", "has no `async def not_async`"), ("", "has no `async def `")],
)
def test_a_function_that_the_file_does_not_have_is_refused_with_those_it_has(plugin, function, message):
    with pytest.raises((UnknownName, InvalidParameter)) as caught:
        strategy(plugin.rpartition(":")[0] + ":" + function)
    assert message in caught.value.message


def test_a_file_alone_is_refused_with_what_may_be_named_in_it(plugin):
    file = plugin.rpartition(":")[0]
    for find, there in ((strategy, "mine, other"), (allocator, "not_async"), (verifier, "mine, other, not_async")):
        with pytest.raises(UnknownName, match=rf"my_ideas.py:NAME to name the \w+ in it; it has: {there}$"):
            find(file)


def test_a_strategy_and_an_allocator_are_named_by_their_module_too(tmp_path, monkeypatch):
    module = tmp_path / "their_module.py"
    module.write_text(textwrap.dedent(PLUGIN))
    with monkeypatch.context() as patched:
        patched.chdir(tmp_path)
        with pytest.raises(InvalidParameter, match=r"No module named 'their_module': name the file their_module\.py"):
            strategy("their_module:mine")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert ScriptedCluster(["7", "8", "9"]).run("their_module:mine:n=3,mode=last").result.answer == "9"
        first = plugin_digests(parse_specs("their_module:mine"))
        assert [*first] == ["their_module:mine"]
        for find, name in ((strategy, "nine"), (strategy, "not_async"), (allocator, "mine")):
            with pytest.raises(UnknownName, match=f"their_module has no `(async )?def {name}`; it has: "):
                find(f"their_module:{name}")
        assert allocator("their_module:not_async").__name__ == "not_async"
    finally:
        sys.modules.pop("their_module", None)


def test_a_value_without_a_parameter_is_not_taken_for_a_module():
    for text in ("single:fast", "best_of_n:n"):
        with pytest.raises(InvalidParameter, match=f"'{text}': expected PARAM=VALUE, but got"):
            parse_specs(text)


def test_an_allocator_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "al.py").write_text("def raises(*, x: int = 1):\n    raise ValueError('boom')\n\nthing = 5\n")
    with pytest.raises(InvalidParameter, match=r"the allocator .*al.py:raises:x=2 cannot be made: ValueError: boom"):
        allocator_of(StrategySpec(f"{tmp_path}/al.py:raises", {"x": 2}))
    with pytest.raises(UnknownName, match="has no `def thing`; it has: raises"):
        parse_allocators(f"{tmp_path}/al.py:thing")
    with pytest.raises(UnknownName, match=r"Known: .*, equal, "):
        parse_allocators("equals")


def test_a_file_that_is_missing_or_broken_says_so(tmp_path):
    with pytest.raises(InvalidParameter, match="is not a file"):
        strategy(f"{tmp_path}/none.py:mine")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(InvalidParameter, match="failed on import: ModuleNotFoundError"):
            strategy(f"{tmp_path}/broken.py:mine")
    (tmp_path / "torn.py").write_text("async def mine(")
    with pytest.raises(InvalidParameter, match="failed on import: SyntaxError"):
        strategy(f"{tmp_path}/torn.py:mine")


def test_a_parameter_without_a_default_is_refused(tmp_path):
    (tmp_path / "bare.py").write_text("async def mine(problem, run, *, n: int): ...\ndef share(*, n: int): ...\n")
    with pytest.raises(InvalidParameter, match="parameter n of strategy mine must have a default"):
        parse_specs(f"{tmp_path}/bare.py:mine:n=3")
    with pytest.raises(InvalidParameter, match="parameter n of allocator share must have a default"):
        parse_allocators(f"{tmp_path}/bare.py:share:n=3")


# --- installed plugins


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with five entry points, as pip leaves it behind."""
    (tmp_path / "their_plugin.py").write_text(textwrap.dedent(PLUGIN))
    info = tmp_path / "their_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugin\nVersion: 1.0\n")
    (info / "RECORD").write_text("their_plugin.py,,\n")
    (info / "entry_points.txt").write_text(
        "[tts.strategies]\n"
        "theirs = their_plugin:mine\n"
        "single = their_plugin:other\n"
        "broken = their_plugin:nothing\n"
        "absent = no_such_module:mine\n"
        "plain = their_plugin:not_async\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("their_plugin", None)


def test_an_installed_plugin_is_found_by_its_entry_point(installed):
    assert "theirs" in names("strategies")
    outcome = ScriptedCluster(["7", "8", "9"]).run("theirs:n=3,mode=last")
    assert outcome.result.answer == "9"
    assert describe("theirs").summary == "Take one of n, anyhow."
    with pytest.raises(UnknownName, match="Did you mean 'theirs'"):
        strategy("their")


def test_a_plugin_cannot_take_the_name_of_one_of_ours(installed):
    assert strategy("single").__module__ == "tts.strategies.single"
    assert names("strategies").count("single") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "cannot be loaded: AttributeError"),
        ("absent", "cannot be loaded: ModuleNotFoundError"),
        ("plain", "must be an `async def`, not a function"),
    ],
)
def test_a_plugin_that_cannot_be_used_says_which_and_why(installed, name, message):
    with pytest.raises(InvalidParameter) as caught:
        strategy(name)
    assert message in caught.value.message
    assert f"the strategy plugin {name} (" in caught.value.message


# --- verifiers of one's own

VERIFIER = """
    import os

    from tts.types import Score

    class Mine:
        name = "mine"
        kind = "scale"
        candidate_logprobs = 0
        in_worker = True

        def request(self, problem, candidate): return None
        def read(self, completion): raise NotImplementedError
        def score(self, problem, candidate):
            return Score(float(os.getpid()), self.name, "scale", text=f"{problem.prompt} {candidate.text}")

    class Here(Mine):
        in_worker = False

    class Asks(Mine):
        def __init__(self, model=None): self.model = model

    class Outer:
        class Mine(Mine): ...

    class Deadly(Mine):
        def score(self, problem, candidate): os._exit(3)

    class Scoreless:
        def request(self, problem, candidate): return None

    class Unmakable(Mine):
        def __init__(self): raise OSError("no licence")

    a_function = len
"""


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of verifiers, which is also a module, and the current folder's."""
    path = tmp_path / "my_checks.py"
    path.write_text(textwrap.dedent(VERIFIER))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield str(path)
    sys.modules.pop("my_checks", None)


def test_a_verifier_is_named_by_its_file_or_by_its_module(checks):
    for name in (f"{checks}:Mine", "my_checks.py:Mine", "my_checks:Mine", "my_checks:Outer.Mine"):
        found = verifier(name)
        assert found.name == "mine"
        assert found.score(Problem("p", "q"), Candidate("c", "x", None, Completion("x"))).value == os.getpid()
        assert verifier(name) is not found and type(verifier(name)) is type(found)  # imported once, made anew
    assert verifier(f"{checks}:Asks", "judge-7b").model == "judge-7b"
    assert verifier("my_checks:Asks").model is None


def test_a_spec_may_name_a_verifier_of_ones_own(checks):
    for name in ("my_checks.py:Mine", "my_checks:Mine", f"{checks}:Outer.Mine"):
        text = f"best_of_n:n=2,verifier={name}"
        (spec,) = parse_specs(text)
        assert spec == StrategySpec("best_of_n", {"n": 2, "verifier": name})
        assert str(spec) == text and check_spec(spec) is spec
        assert [*verifiers_of([spec])] == [name]
    specs = parse_specs("best_of_n:verifier=my_checks.py:Mine,judge,my_checks:Here,n=1,2")
    assert [spec.params for spec in specs] == [
        {"verifier": name, "n": n} for name in ("my_checks.py:Mine", "judge", "my_checks:Here") for n in (1, 2)
    ]


def test_a_strategy_and_its_verifier_may_both_be_in_files(checks, plugin):
    Path(plugin.rpartition(":")[0]).write_text(
        "async def mine(problem, run, *, n: int = 1, verifier: str = 'my_checks.py:Mine'): ...\n"
    )
    (spec,) = parse_specs(f"{plugin}:verifier=my_checks.py:Here,n=3")
    assert spec == StrategySpec(plugin, {"verifier": "my_checks.py:Here", "n": 3})
    default = f"{Path(plugin).parent}/my_checks.py:Mine"  # beside the plugin, wherever the user stands
    assert [*verifiers_of([spec, StrategySpec(plugin)])] == ["my_checks.py:Here", default]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("my_checks.py:Scoreless", InvalidParameter, "the verifier my_checks.py:Scoreless has no score"),
        ("my_checks:Scoreless", InvalidParameter, "the verifier my_checks:Scoreless has no score"),
        ("my_checks.py:Unmakable", InvalidParameter, "my_checks.py:Unmakable cannot be made: OSError: no licence"),
        (
            "my_checks.py:a_function",
            InvalidParameter,
            "the verifier my_checks.py:a_function must be a class, or a",
        ),
        ("my_checks.py:Yours", UnknownName, "my_checks.py has no Yours"),
        ("my_checks.py:Outer.Yours", UnknownName, "my_checks.py has no Outer.Yours"),
        ("my_checks.py:", UnknownName, "my_checks.py has no"),
        ("my_cheques.py:Mine", InvalidParameter, "my_cheques.py is not a file here"),
        ("my_cheques:Mine", InvalidParameter, "my_cheques cannot be imported: ModuleNotFoundError"),
        ("my_checks", UnknownName, "unknown verifier 'my_checks'"),
        ("judg", UnknownName, "Did you mean 'judge'?"),
    ],
)
def test_a_verifier_that_cannot_be_used_says_which_and_why(checks, name, error, message):
    for _ in range(2):
        with pytest.raises(error) as caught:
            verifier(name)
        assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "why"), [("import nothing_of_this_name\n", "ModuleNotFoundError"), ("class Mine(", "SyntaxError")]
)
def test_a_verifiers_file_that_fails_on_import_is_named_every_time(checks, text, why):
    Path("broken_checks.py").write_text(text)
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(InvalidParameter) as caught:
            verifier("broken_checks.py:Mine")
        assert f"broken_checks.py failed on import: {why}" in caught.value.message
    with pytest.raises(InvalidParameter, match=f"broken_checks cannot be imported: {why}"):
        verifier("broken_checks:Mine")
    Path("broken_checks.py").write_text(textwrap.dedent(VERIFIER))
    assert verifier("broken_checks.py:Mine").name == "mine"


def test_an_installed_verifier_is_found_by_its_entry_point_and_cannot_take_the_name_of_one_of_ours(checks, tmp_path):
    info = tmp_path / "their_checks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-checks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tts.verifiers]\n"
        "theirs = my_checks:Asks\n"
        "spaced = my_checks : Asks [math]\n"
        "judge = my_checks:Mine\n"
        "gone = my_checks:Gone\n"
    )
    assert verifier("theirs", "judge-7b").model == "judge-7b"
    assert verifier("spaced", "judge-7b").model == "judge-7b"
    assert verifier("judge").name == "judge"
    assert type(verifier("judge")).__module__ == "tts.verifiers.generative.judge"
    with pytest.raises(UnknownName, match="my_checks has no Gone"):
        verifier("gone")
    with pytest.raises(UnknownName, match="Did you mean 'theirs'"):
        verifier("their")


def test_an_address_leads_back_to_what_it_is_of_also_from_another_process(checks, tmp_path):
    things = [type(verifier(name)) for name in (f"{checks}:Mine", "my_checks:Outer.Mine", "my_checks.py:Outer.Mine")]
    things += [type(verifier(name)) for name in built_in("verifiers")]
    for thing in things:
        assert by_address(address_of(thing)) is thing
    there = (
        "import sys; from tts.plugins.loading import by_address as f; [print(f(a).__qualname__) for a in sys.argv[1:]]"
    )
    done = subprocess.run(
        [sys.executable, "-c", there, *map(address_of, things)],
        cwd="/",  # a file's address does not depend on the folder that it was named in
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd(), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [thing.__qualname__ for thing in things]


class Five:
    """A model that always says the same."""

    async def complete(self, request, builder, on_progress=None, *, race=False):
        return Completion("It is five.", usage=Usage(7, 3))


def decided(spec):
    """The spec's result on a local cluster, and the scores of its candidates."""
    results = []
    verifiers = verifiers_of([spec])
    plan = [Planned("c0", Problem("p0", "2 + 3?"), spec)]
    scheduler = Scheduler(plan, strategy, costs=CostModel(), verifiers=verifiers)
    cluster = LocalCluster({"m": Five()}, verifiers)
    asyncio.run(cluster.run(scheduler, on_result=lambda result, _: results.append(result)))
    (result,) = results
    return result, [score for scores in result.scores.values() for score in scores]


@pytest.mark.parametrize("name", ["my_checks.py:Mine", "my_checks:Mine", "my_checks.py:Outer.Mine"])
def test_a_verifier_of_ones_own_that_may_hang_scores_in_a_worker_process(checks, name):
    result, scores = decided(StrategySpec("best_of_n", {"n": 2, "verifier": name}))
    assert result.error is None and result.selected.text == "It is five."
    assert len(scores) == 2
    assert os.getpid() not in {score.value for score in scores}
    assert {score.text for score in scores} == {"2 + 3? It is five."}  # both values have arrived whole
    assert {score.verifier for score in scores} == {name}  # by which a strategy asks for them, whatever it calls itself
    # And one that says it needs none scores here.
    _, here = decided(StrategySpec("best_of_n", {"n": 2, "verifier": "my_checks.py:Here"}))
    assert [score.value for score in here] == [os.getpid()] * 2


def test_a_verifier_that_takes_its_process_down_fails_and_the_run_goes_on(checks):
    result, scores = decided(StrategySpec("best_of_n", {"n": 2, "verifier": "my_checks.py:Deadly"}))
    assert scores == []
    assert [failure.type for failure in result.failures] == ["CallCrashed"] * 2
    assert len(result.candidates) == 2


# --- what a run depends on beside us


def test_the_digests_of_a_run_cover_the_files_of_its_strategies_and_verifiers(checks, plugin):
    file = plugin.rpartition(":")[0]
    by_file = StrategySpec("best_of_n", {"verifier": "my_checks.py:Mine"})
    first = plugin_digests([StrategySpec(plugin), by_file, by_file])
    assert [*first] == sorted([file, "my_checks.py"])
    assert first == plugin_digests(iter([by_file, StrategySpec(plugin)]))
    Path(checks).write_text(textwrap.dedent(VERIFIER) + "# changed\n")
    second = plugin_digests([StrategySpec(plugin), by_file])
    assert second[file] == first[file]
    assert second["my_checks.py"] != first["my_checks.py"]
    assert plugin_digests([StrategySpec("single"), StrategySpec("best_of_n", {"verifier": "my_checks:Mine"})]) == {}


def test_a_verifier_that_is_a_plugins_default_is_covered_too(checks, tmp_path):
    (tmp_path / "ideas.py").write_text(
        "async def mine(problem, run, *, verifier: str = 'my_checks.py:Mine', n: int = 2): ...\n"
        "async def none(problem, run, *, verifier: str | None = None): ...\n"
    )
    assert [*plugin_digests([StrategySpec("ideas.py:mine", {"n": 3})])] == ["ideas.py", "my_checks.py"]
    assert [*plugin_digests([StrategySpec("ideas.py:mine", {"verifier": "judge"})])] == ["ideas.py"]
    assert [*plugin_digests([StrategySpec("ideas.py:none")])] == ["ideas.py"]


def test_a_digest_of_a_file_that_is_not_there_is_a_mistake_of_the_users(checks):
    with pytest.raises(InvalidParameter, match=r"none\.py is not a file here"):
        plugin_digests([StrategySpec("best_of_n", {"verifier": "none.py:Mine"})])


def test_listing_the_names_imports_no_strategy_no_verifier_and_no_allocator():
    program = (
        "import sys, tts.plugins.names as n\n"
        "assert all([n.names(group) for group in ('strategies', 'verifiers', 'allocators')])\n"
        "found = [m for m in sys.modules if m.startswith(('tts.strategies', 'tts.verifiers', 'tts.allocators'))]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
