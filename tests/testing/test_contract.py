"""The contract that plugin authors inherit must fail strategies that break it; the scripted cluster must do as told."""

import asyncio
import contextlib
import linecache
import random
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from tts.core.actions import Call, Cancelled, Failed, Finished
from tts.core.budget import Ledger, Limits
from tts.core.trials.books import Books
from tts.core.trials.context import Run
from tts.errors import BudgetExhausted, InvalidParameter, ServerFailed, UnknownName
from tts.testing import NoisyWorld, Sample, ScriptedCluster, StrategyContract
from tts.types import Candidate, Problem, Sampling

CALLS: list[str] = []
SEEN: dict[str, int] = {}


async def by_global_random(problem: Problem, run: Run) -> Candidate:
    return random.choice(await run.generate(n=8))


async def by_the_clock(problem: Problem, run: Run) -> Candidate:
    return random.Random(time.perf_counter_ns()).choice(await run.generate(n=8))


async def by_what_it_did_before(problem: Problem, run: Run) -> Candidate:
    CALLS.append(problem.id)
    return (await run.generate(n=1 + len(CALLS) % 3))[0]


async def by_the_order_of_a_set(problem: Problem, run: Run) -> Candidate:
    candidates = {c.id: c for c in await run.generate(n=8)}
    return candidates[next(iter(set(candidates)))]


async def takes_a_step_for_a_solution(problem: Problem, run: Run) -> Candidate:
    return min(await run.generate(n=8, stop="\n"), key=lambda candidate: candidate.complete)


async def asks_for_ever(problem: Problem, run: Run) -> Candidate:
    found: list[Candidate] = []
    while len(found) < 4:
        try:
            found += await run.generate()
        except BudgetExhausted:
            continue
    return found[0]


async def forgets_that_nothing_may_have_come(problem: Problem, run: Run) -> Candidate:
    found: list[Candidate] = []
    with contextlib.suppress(BudgetExhausted):
        found += await run.generate(n=4)
    return found[0]


async def gives_up_at_the_limit(problem: Problem, run: Run) -> Candidate:
    try:
        return (await run.generate(n=4))[0]
    except BudgetExhausted as error:
        raise InvalidParameter("I wanted four samples") from error


async def leaves_a_race_without_cancelling(problem: Problem, run: Run) -> Candidate:
    race = run.finishing(n=4)
    await race.__aenter__()
    return await anext(race)


async def sleeps(problem: Problem, run: Run) -> Candidate:
    await asyncio.sleep(0.01)
    return (await run.generate())[0]


async def yields_to_a_loop(problem: Problem, run: Run) -> Candidate:
    await asyncio.sleep(0)
    return (await run.generate())[0]


async def returns_text(problem: Problem, run: Run) -> str:
    return (await run.generate())[0].text


async def makes_its_answer_up(problem: Problem, run: Run) -> Candidate:
    (candidate,) = await run.generate()
    return msgspec.structs.replace(candidate, answer="42")


async def expects_all_of_them(problem: Problem, run: Run) -> Candidate:
    first, _second = await run.generate(n=2)
    return first


async def fails_in_a_chain(problem: Problem, run: Run) -> Candidate:
    async def chain() -> None:
        (_only,) = await run.ask("Why?", n=2)

    found = await run.generate(n=2)
    await run.gather(chain(), chain())
    return found[0]


async def takes_what_others_added_for_whole(problem: Problem, run: Run) -> Candidate:
    tries, wins = await run.recall("tries"), await run.recall("wins")
    arm = max(tries, key=lambda arm: wins[arm], default="0.7")
    found = await run.generate(temperature=float(arm))
    await run.add("tries", {arm: 1.0})
    await run.add("wins", {arm: 1.0})
    return found[0]


async def misspells_a_key(problem: Problem, run: Run) -> Candidate:
    found = await run.generate(n=1 + int((await run.recall("tries")).get("all", 0.0) > 8))
    await run.add("trys", {"all": 1.0})
    return found[0]


async def remembers_beside_the_memory(problem: Problem, run: Run) -> Candidate:
    SEEN[problem.id] = SEEN.get(problem.id, 0) + int((await run.recall("trials")).get("all", 0.0))
    await run.add("trials", {"all": 1.0})
    return (await run.generate(n=2))[SEEN[problem.id] % 2]


async def takes_the_first_to_arrive(problem: Problem, run: Run) -> Candidate:
    async with run.finishing(n=6) as race:
        return await anext(race)


async def behaves(problem: Problem, run: Run, *, n: int = 3) -> Candidate:
    return run.random.choice(await run.generate(n=n))


SAME, ELSEWHERE, REPLAY, BUDGET, ENDS, ORDER, FAILURES, TWICE, GIVEN, KILLED, SHARED = (
    "test_the_same_seed_and_world_give_the_same_journal",
    "test_another_process_gives_the_same_journal",
    "test_replaying_the_events_gives_the_same_actions",
    "test_it_never_goes_over_its_budget",
    "test_every_action_ends_exactly_once",
    "test_arrivals_in_any_order_are_lived_with",
    "test_failed_samples_end_in_an_answer_or_a_typed_error",
    "test_events_told_twice_change_nothing",
    "test_it_awaits_its_run_alone_and_returns_a_candidate_it_was_given",
    "test_a_killed_run_resumes_to_the_same_result",
    "test_trials_that_share_a_memory_decide_by_what_they_have_read",
)


def contract(strategy, **settings) -> StrategyContract:
    return type("Contract", (StrategyContract,), {"strategy": strategy, **settings})()


@pytest.mark.parametrize(
    ("strategy", "test", "advice"),
    [
        (by_global_random, SAME, "run.random instead of random"),
        (by_global_random, REPLAY, "run.random instead of random"),
        (by_the_clock, SAME, "run.now_s instead of time"),
        (by_what_it_did_before, SAME, "no variable that outlives a call"),
        (by_what_it_did_before, REPLAY, "no variable that outlives a call"),
        (by_what_it_did_before, KILLED, "no variable that outlives a call"),
        (by_global_random, TWICE, "run.random"),
        (by_global_random, KILLED, "instead of"),
        (by_the_order_of_a_set, ELSEWHERE, "nothing taken from the order of a set"),
        (asks_for_ever, BUDGET, "must stop at BudgetExhausted"),
        (forgets_that_nothing_may_have_come, BUDGET, "IndexError"),
        (gives_up_at_the_limit, BUDGET, "I wanted four samples"),
        (leaves_a_race_without_cancelling, ENDS, "in `async with`"),
        (sleeps, GIVEN, "ForeignAwait"),
        (yields_to_a_loop, GIVEN, "may await only what its Run offers"),
        (returns_text, GIVEN, "must return a Candidate"),
        (makes_its_answer_up, GIVEN, "of its own making"),
        (takes_a_step_for_a_solution, GIVEN, "Leave partial candidates out"),
        (expects_all_of_them, FAILURES, "ValueError"),
        (takes_what_others_added_for_whole, SHARED, "that had added {'0.7': 1.0} to 'tries'"),
        (takes_what_others_added_for_whole, SHARED, "another trial may be between any two of its additions"),
        (remembers_beside_the_memory, SHARED, "it decided otherwise on replay"),
        (misspells_a_key, SHARED, "it reads 'tries' of the run's memory, to which it has never added"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_the_contract_catches_a_strategy_that(strategy, test, advice):
    with pytest.raises(AssertionError) as caught:
        getattr(contract(strategy), test)()
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "test", "line"),
    [
        (by_what_it_did_before, REPLAY, "return (await run.generate(n=1 + len(CALLS) % 3))[0]"),
        (by_what_it_did_before, SAME, "return (await run.generate(n=1 + len(CALLS) % 3))[0]"),
        (forgets_that_nothing_may_have_come, BUDGET, "return found[0]"),
        (leaves_a_race_without_cancelling, ENDS, "await race.__aenter__()"),
        (sleeps, GIVEN, "await asyncio.sleep(0.01)"),
        (yields_to_a_loop, GIVEN, "await asyncio.sleep(0)"),
        (expects_all_of_them, FAILURES, "first, _second = await run.generate(n=2)"),
        (fails_in_a_chain, FAILURES, '(_only,) = await run.ask("Why?", n=2)'),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_an_error_of_the_contract_names_the_line_of_the_plugin(strategy, test, line):
    with pytest.raises(AssertionError) as caught:
        getattr(contract(strategy), test)()
    named = re.findall(rf"{re.escape(__file__)}:(\d+)", str(caught.value))
    assert {linecache.getline(__file__, int(number)).strip() for number in named} == {line}


def test_the_contract_holds_parts_to_their_limits(monkeypatch):
    async def solves(problem: Problem, run: Run) -> Candidate:
        return await run.solve("majority_vote:n=4", limits="samples=2")

    getattr(contract(solves), GIVEN)()
    monkeypatch.setattr(Ledger, "fits", lambda self, cost: True)  # a core that forgets
    with pytest.raises(AssertionError, match=r"4 samples are .* under a budget of samples=2; the last: .*:\d+"):
        getattr(contract(solves), GIVEN)()


def test_the_contract_holds_what_helps_to_decide_to_be_no_candidate(monkeypatch):
    keep, add = Books.keep, Books.add_candidate

    def forgets(books, scope, action, completion):
        candidate = add(books, scope, action, completion)
        keep(books, scope, candidate)
        return candidate

    monkeypatch.setattr(Books, "add_candidate", forgets)
    with pytest.raises(AssertionError, match=r"asked for at .*:\d+\) helps to decide, but became a candidate"):
        getattr(contract(asks_for_an_opinion), GIVEN)()


async def needs_its_judge(problem: Problem, run: Run) -> Candidate:
    said: list[str] = []

    async def opinions() -> None:
        said.extend(reply.text for reply in await run.ask("Which?", n=40, model="judge"))

    await run.gather(run.generate(n=2), opinions())
    return run.pick() if said[0] else run.candidates[-1]


def test_the_contract_tries_a_strategy_without_each_of_its_models():
    with pytest.raises(AssertionError, match=r"without the model judge it ended with StrategyCrashed: .* IndexError"):
        getattr(contract(needs_its_judge), FAILURES)()


async def asks_for_an_opinion(problem: Problem, run: Run) -> Candidate:
    (said,) = await run.ask("Which letter?", model="judge")
    assert said.text in ("A", "B"), said.text
    return (await run.generate())[0]


def rehearse(request, draw):
    return draw.choice("AB") if request.model == "judge" else None


class TestRehearsed(StrategyContract):
    """What a plugin's own function says that a model replies is what the contract tries it on."""

    strategy = asks_for_an_opinion


def test_the_contract_holds_a_strategy_to_being_order_free_only_if_it_says_so():
    getattr(contract(takes_the_first_to_arrive), ORDER)()
    with pytest.raises(AssertionError, match="declared order_free"):
        getattr(contract(takes_the_first_to_arrive, order_free=True), ORDER)()


def test_a_strategy_inside_a_function_cannot_be_resumed_elsewhere_and_is_told_so():
    async def inner(problem: Problem, run: Run) -> Candidate:
        return (await run.generate())[0]

    with pytest.raises(AssertionError, match="at the top level of a module"):
        getattr(contract(inner), ELSEWHERE)()


def test_a_contract_without_a_strategy_says_what_to_set():
    with pytest.raises(AssertionError, match="set `strategy`"):
        getattr(StrategyContract(), SAME)()
    with pytest.raises(AssertionError, match="stands for 2 strategies"):
        getattr(contract("best_of_n:n=1,2"), SAME)()


class TestWellBehaved(StrategyContract):
    """The contract passes what is right: with parameters, and given as a function that is no method of this class."""

    strategy = behaves
    params = {"n": 4}  # noqa: RUF012 - as a plugin's author would write it
    order_free = True


class TestFirstToArrive(StrategyContract):
    strategy = takes_the_first_to_arrive


async def keeps_a_program_that_passes(problem: Problem, run: Run, *, n: int = 4) -> Candidate:
    """All programs are tried side by side, and the first sample whose program passes is taken."""
    found = await run.generate(n=n)
    tried = await run.gather(*(run.execute(one.text, tests=["assert 1", "assert 2"]) for one in found))
    return next((one for one, end in zip(found, tried, strict=True) if end.ok), found[0])


async def takes_the_program_that_ends_first(problem: Problem, run: Run, *, n: int = 4) -> Candidate:
    async def tried() -> Candidate:
        (candidate,) = await run.generate()
        await run.execute(candidate.text)
        return candidate

    async with run.race(*(tried() for _ in range(n))) as ended:
        return await anext(ended)


async def trusts_that_programs_fail_by_errors_alone(problem: Problem, run: Run) -> Candidate:
    (one,) = await run.generate()
    end = await run.execute(one.text, tests=["assert 1"])
    assert end.exit_status in (0, 1)
    return one


class TestPrograms(StrategyContract):
    strategy = keeps_a_program_that_passes
    unsafe_execute = True
    order_free = True


class TestProgramsRaced(StrategyContract):
    strategy = takes_the_program_that_ends_first
    unsafe_execute = True
    test_another_process_gives_the_same_journal = None  # as for the strategy before


def test_the_contract_runs_no_program_and_holds_strategies_to_all_ends_of_one(monkeypatch):
    monkeypatch.setattr("tts.workers.programs.executed", None)
    monkeypatch.setattr("tts.testing.contract._workers", None)
    raced = contract_of(takes_the_program_that_ends_first, unsafe_execute=True, order_free=True)
    with pytest.raises(AssertionError, match="the same samples in another order gave the answers"):
        raced.test_arrivals_in_any_order_are_lived_with()
    careless = contract_of(trusts_that_programs_fail_by_errors_alone, unsafe_execute=True, worlds=range(30))
    with pytest.raises(AssertionError, match=r"AssertionError.*test_contract\.py:\d+"):
        careless.test_it_awaits_its_run_alone_and_returns_a_candidate_it_was_given()


def contract_of(strategy, **members) -> StrategyContract:
    return type("Tried", (StrategyContract,), {"strategy": strategy, **members})()


class TestOtherWords(StrategyContract):
    """A plugin may read more than an answer: then its author says what the model says."""

    strategy = behaves

    def text(self, request, draw):
        return f"Answer: {draw.randint(0, 9)} because of {len(request.messages)} turns"


PLUGIN = """
    from tts.core.trials.context import Run
    from tts.types import Candidate, Problem

    async def {name}(problem: Problem, run: Run, *, n: int = 2) -> Candidate:
        '''Keep the first of `n`.'''
        {body}
"""


def test_a_plugin_author_runs_the_contract_with_bare_pytest(tmp_path: Path):
    (tmp_path / "good.py").write_text(
        textwrap.dedent(PLUGIN).format(name="good", body="return (await run.generate(n=n))[0]")
    )
    (tmp_path / "bad.py").write_text(
        textwrap.dedent(PLUGIN).format(name="bad", body="return (await run.generate(n=n))[0].text")
    )
    (tmp_path / "test_plugin.py").write_text(
        textwrap.dedent(f"""
            from good import good
            from tts.testing import StrategyContract

            class TestFunction(StrategyContract):
                strategy = good

            class TestFile(StrategyContract):
                strategy = "{tmp_path}/good.py:good:n=3"

            class TestBad(StrategyContract):
                strategy = "{tmp_path}/bad.py:bad"
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=."]
    done = subprocess.run(
        [*command, "test_plugin.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed and all("TestBad" in line for line in failed), done.stdout + done.stderr
    assert any(GIVEN in line for line in failed)
    assert "must return a Candidate, but returned str" in done.stdout
    assert f"{len(failed)} failed, {36 - len(failed)} passed" in done.stdout


def test_importing_the_testing_package_is_cheap_and_needs_no_pytest():
    program = (
        "import sys, tts.testing\n"
        "assert 'tts.testing.engine' not in sys.modules and 'tts.core.trials.trial' not in sys.modules\n"
        "from tts.testing import StrategyContract, ScriptedCluster, FakeEngine, Reply, NoisyWorld, Sample\n"
        "heavy = {'pytest', 'hypothesis', 'numpy', 'httpx2', 'aiohttp', 'pydantic', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(tts.testing.__all__) <= set(dir(tts.testing))\n"
        "assert all(getattr(tts.testing, name) for name in tts.testing.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_name_that_the_testing_package_does_not_have_is_an_attribute_error():
    import tts.testing

    with pytest.raises(AttributeError, match="Nonsense"):
        tts.testing.Nonsense  # noqa: B018


# --- the scripted cluster


def test_the_script_is_given_out_in_the_order_of_asking():
    outcome = ScriptedCluster(["1", "2", "3"]).run("best_of_n:n=3,selector=majority")
    assert [c.answer for c in outcome.result.candidates] == ["1", "2", "3"]
    assert [action.id for action in outcome.generated] == ["scripted/p/1", "scripted/p/2", "scripted/p/3"]
    assert outcome.seconds == 1.0
    assert outcome.result.bill.total.tokens == 30


def test_a_sample_is_cut_at_max_tokens_in_text_tokens_and_time():
    long = Sample("1", tokens=100, seconds=10.0, text="x" * 50)
    outcome = ScriptedCluster([long], sampling=Sampling(max_tokens=20)).run("single")
    (candidate,) = outcome.result.candidates
    assert (candidate.tokens, len(candidate.text), outcome.seconds) == (20, 10, 2.0)
    assert not candidate.complete


def test_an_error_in_the_script_is_a_failed_sample_and_none_is_a_completion_without_an_answer():
    outcome = ScriptedCluster([ServerFailed("boom"), Sample(), "5"]).run("majority_vote:n=3")
    assert [type(event) for event in outcome.events] == [Failed, Finished, Finished]
    assert outcome.result.failures[0].message == "boom"
    assert [c.answer for c in outcome.result.candidates] == [None, "5"]


def test_a_script_that_is_too_short_says_so():
    with pytest.raises(InvalidParameter, match="asked for sample 3, but the script holds 2"):
        ScriptedCluster(["1", "2"]).run("majority_vote:n=3")


def test_a_function_sees_the_request_and_its_number():
    outcome = ScriptedCluster(lambda request, number: str(number * 10)).run("majority_vote:n=2", "How many?")
    assert [c.answer for c in outcome.result.candidates] == ["0", "10"]
    assert outcome.prompts == ["How many?"] * 2


def test_scripted_scores_are_charged_only_if_they_cost_something():
    script = [Sample("1", scores={"judge": 0.2}), Sample("2", scores={"judge": 0.9})]
    free = ScriptedCluster(script).run("best_of_n:n=2,verifier=judge")
    paid = ScriptedCluster(script, verification_tokens=7).run("best_of_n:n=2,verifier=judge")
    assert free.result.answer == paid.result.answer == "2"
    assert (free.result.bill.verifier.tokens, paid.result.bill.verifier.tokens) == (0, 14)
    assert len(free.verified) == len(paid.verified) == 2


def test_the_scripted_run_keeps_its_budget_and_sees_what_was_cancelled():
    outcome = ScriptedCluster(["1", "2"], budget=Limits(samples=2)).run("majority_vote:n=5")
    assert outcome.result.exhausted and outcome.result.answer == "1"
    race = ScriptedCluster([Sample("1", seconds=9.0), Sample("2", seconds=1.0)]).run("first_finish:n=2")
    assert race.cancelled == ["scripted/p/1"]
    assert [type(event) for event in race.events] == [Finished, Cancelled]


def test_the_scripted_cluster_takes_functions_and_checks_what_the_text_says():
    assert len(ScriptedCluster(["1"] * 5).run(behaves, n=5).generated) == 5
    with pytest.raises(UnknownName, match="Did you mean 'first_finish'"):
        ScriptedCluster([]).run("first_finnish")
    with pytest.raises(InvalidParameter, match="one value"):
        ScriptedCluster([]).run("best_of_n:n=1,2")


def test_the_ends_of_programs_are_all_that_there_are_and_repeat_themselves():
    programs = [Call(str(i), "execute", ("p", str(i), ["a", "b"][: i % 3], 2.0), 2.0) for i in range(300)]
    ends = [NoisyWorld().execute(programs[i]) for i in range(300)]
    assert ends == [NoisyWorld().execute(programs[i]) for i in range(300)]
    slower = [NoisyWorld(0, "slow").execute(programs[i]) for i in range(300)]
    assert [end for _, end in slower] == [end for _, end in ends] and slower != ends
    assert {(end.exit_status, end.ended_by) for _, end in ends} == {
        (0, ""), (1, ""), (None, "CPU time"), (None, "wall-clock time"),
    }  # fmt: skip
    for i, (seconds, end) in enumerate(ends):
        assert 0 < seconds <= 2.0 and len(end.passed) == i % 3
        assert end.ok == (end.exit_status == 0) and (end.ok or all(end.passed) == (not end.passed))


def test_the_noisy_world_repeats_itself_and_its_pace_changes_nothing_but_the_time():
    outcome = ScriptedCluster(lambda request, number: "1").run("single")
    (request,) = [action.request for action in outcome.generated]
    assert NoisyWorld(1, 2).complete(request) == NoisyWorld(1, 2).complete(request)
    (first_s, first), (second_s, second) = NoisyWorld(1, 2).complete(request), NoisyWorld(1, 3).complete(request)
    assert first_s != second_s
    assert (first.text, first.usage, first.logprobs) == (second.text, second.usage, second.logprobs)
    assert isinstance(NoisyWorld(failures=1.0).complete(request)[1], ServerFailed)
