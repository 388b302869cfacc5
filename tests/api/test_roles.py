"""Runs with several models: each request reaches its role's server with its key, and one budget holds for all."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tts
from tts import Candidate, Problem, Run
from tts.errors import RunMismatch, UnknownCost, UnknownName
from tts.models.openai.probe import PROBE_TOKENS
from tts.runs.folder import JOURNAL
from tts.testing import FakeEngine
from tts.testing.replies import arithmetic
from tts.types import Usage

SUM = "What is 19 + 23?"
PRICES = {"solver": (1.0, 2.0), "small": (0.1, 0.3), "judge": (5.0, 7.0)}


async def three_models(problem: Problem, run: Run, *, n: int = 3, small_model: str = "small") -> Candidate:
    """Ask the small model, let the judge say something, and ask the solver."""
    found = await run.generate(n=n, model=small_model)
    await run.ask("Which of these is right?", model="judge")
    return (await run.generate())[0] or found[0]


class Servers:
    """Three engines, each with a key of its own."""

    def __init__(self, solver: FakeEngine, small: FakeEngine, judge: FakeEngine) -> None:
        self.engines = {"solver": solver, "small": small, "judge": judge}

    def described(self, role: str) -> dict[str, Any]:
        price_in, price_out = PRICES[role]
        url = self.engines[role].base_url
        return {"base_url": url, "api_key": f"key-{role}", "price_in": price_in, "price_out": price_out}

    def target(self, *roles: str) -> dict[str, Any]:
        return {**self.described("solver"), "models": {role: self.described(role) for role in roles}}

    def asked(self) -> dict[str, dict[str, int]]:
        """Requests by key, of each role's engine."""
        return {role: dict(engine.stats().requests_by_key) for role, engine in self.engines.items()}


@pytest.fixture
def servers() -> Iterator[Servers]:
    def engine(role: str) -> FakeEngine:
        return FakeEngine(models=(f"model-{role}",), api_keys=[f"key-{role}"])

    with engine("solver") as solver, engine("small") as small, engine("judge") as judge:
        yield Servers(solver, small, judge)


def charged(usage: Usage, role: str) -> int:
    """Picodollars, by this file's own arithmetic."""
    price_in, price_out = PRICES[role]
    return round(price_in * 10**6) * usage.prompt_tokens + round(price_out * 10**6) * usage.completion_tokens


def test_each_request_reaches_its_role_with_its_key_and_is_charged_its_price(servers: Servers, tmp_path: Path) -> None:
    solved = tts.solve(SUM, three_models, out=tmp_path, budget="usd=1", **servers.target("small", "judge"))
    assert solved.error is None
    assert servers.asked() == {"solver": {"key-solver": 1}, "small": {"key-small": 3}, "judge": {"key-judge": 1}}
    records = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    ends = [record["completion"] for record in records if record["type"] == "finished"]
    roles = [end["model"].removeprefix("model-") for end in ends]
    assert sorted(roles) == ["judge", "small", "small", "small", "solver"]
    usages = [Usage(**{k: v for k, v in end["usage"].items() if k != "cached_tokens"}) for end in ends]
    assert solved.cost.picodollars == sum(map(charged, usages, roles))
    assert "key-" not in (tmp_path / JOURNAL).read_text()
    assert not [engine for engine in servers.engines.values() if engine.base_url in (tmp_path / JOURNAL).read_text()
                and engine.base_url not in json.dumps(ends)]  # fmt: skip


def test_a_client_and_a_sweep_have_roles_too(servers: Servers) -> None:
    target = servers.target("small", "judge")
    with tts.Client(run_budget="usd=1", **target) as client:
        assert client.solve_sync(SUM, three_models).error is None
    swept = tts.sweep("arithmetic?size=1", three_models, run_budget="usd=1", report=False, **target)
    assert swept.complete
    assert servers.asked() == {"solver": {"key-solver": 2}, "small": {"key-small": 6}, "judge": {"key-judge": 2}}


def test_verifiers_that_ask_a_model_ask_the_judge(servers: Servers) -> None:
    solved = tts.solve(SUM, "best_of_n:n=2,verifier=judge", **servers.target("judge"))
    assert solved.error is None
    assert servers.asked() == {"solver": {"key-solver": 2}, "small": {}, "judge": {"key-judge": 2}}


def test_a_roles_sampling_holds_unless_the_run_or_the_strategy_says_otherwise(servers: Servers) -> None:
    async def asks(problem: Problem, run: Run) -> Candidate:
        await run.generate(model="small", top_p=0.7)
        return (await run.generate())[0]

    target = servers.target("small")
    target["models"]["small"]["sampling"] = {"temperature": 0.1, "top_p": 0.2, "max_tokens": 9, "min_p": 0.3}
    tts.solve(SUM, asks, sampling={"min_p": 0.4, "max_tokens": 50}, **target)
    (small,) = servers.engines["small"].requests
    assert [small[name] for name in ("temperature", "top_p", "min_p")] == [0.1, 0.7, 0.4]
    assert small.get("max_tokens", small.get("max_completion_tokens")) == 50
    (solver,) = servers.engines["solver"].requests
    assert [solver[name] for name in ("temperature", "top_p", "min_p")] == [0.7, 1.0, 0.4]


def test_a_roles_context_bounds_its_samples_alone(servers: Servers) -> None:
    target = servers.target("small", "judge")
    target["models"]["small"]["context_tokens"] = 2048
    tts.solve(SUM, three_models, **target)
    limits = [request.get("max_tokens") or request["max_completion_tokens"]
              for role in ("small", "solver") for request in [*servers.engines[role].requests][:1]]  # fmt: skip
    assert limits == [1024, 16384]


def test_a_role_that_nobody_defined_costs_nothing(servers: Servers) -> None:
    async def asks(problem: Problem, run: Run) -> Candidate:
        found = await run.generate()
        await run.ask("Which?", model="large")
        return found[0]

    async def late(problem: Problem, run: Run, *, large: str | None = None) -> Candidate:
        (found,) = await run.generate()
        return found if found.answer else (await run.generate(model=large))[0]  # which no rehearsal sees

    for call in (tts.solve, tts.sweep):
        subject = SUM if call is tts.solve else "arithmetic?size=1"
        with pytest.raises(UnknownName, match=r"asks: unknown model 'large'.*Known: judge, small, solver"):
            call(subject, asks, **servers.target("small", "judge"))
        with pytest.raises(UnknownName, match=r"late: large: unknown model 'biggest'"):
            call(subject, partial(late, large="biggest"), **servers.target("small", "judge"))
        with pytest.raises(UnknownName, match=r"three_models: small_model: unknown model 'smal'. Did you mean 'small'"):
            call(subject, partial(three_models, small_model="smal"), **servers.target("small"))
    assert servers.asked() == {"solver": {}, "small": {}, "judge": {}}


def test_a_role_without_a_price_is_refused_under_a_limit_in_dollars_before_anything_is_asked(servers: Servers) -> None:
    target = servers.target("small", "judge")
    del target["models"]["judge"]["price_in"], target["models"]["judge"]["price_out"]
    with pytest.raises(UnknownCost):
        tts.solve(SUM, three_models, budget="usd=1", **target)
    with pytest.raises(UnknownCost):
        tts.sweep("arithmetic?size=1", three_models, run_budget="usd=1", **target)
    assert servers.asked() == {"solver": {}, "small": {}, "judge": {}}


def test_a_run_is_resumed_with_its_roles_alone(servers: Servers, tmp_path: Path) -> None:
    target = servers.target("small", "judge")
    for call, subject in ((tts.solve, SUM), (tts.sweep, "arithmetic?size=1")):
        folder = tmp_path / call.__name__
        more = {} if call is tts.solve else {"report": False}
        call(subject, three_models, out=folder, **more, **target)
        before = servers.asked()
        call(subject, three_models, out=folder, **more, **target)
        assert servers.asked() == before
        changed = {**target, "models": {**target["models"], "small": target["models"]["judge"]}}
        with pytest.raises(RunMismatch, match=r"models.small.model: was 'model-small', now 'model-judge'"):
            call(subject, three_models, out=folder, **more, **changed)
        warmer = {**target["models"]["small"], "sampling": {"temperature": 0.9}}
        with pytest.raises(RunMismatch, match=r"models.small.sampling.temperature: was 0.7, now 0.9"):
            call(
                subject, three_models, out=folder, **more, **{**target, "models": {**target["models"], "small": warmer}}
            )
        assert servers.asked() == before


def test_a_verifier_in_the_older_words_is_recorded_as_ever_and_is_the_role_judge(
    servers: Servers, tmp_path: Path
) -> None:
    """Its requests name it by its model, as in the journals of older programs, whose digests are of that name."""
    judge = servers.described("judge")
    target = {**servers.described("solver"), **{f"verifier_{name}": value for name, value in judge.items()}}

    async def asks(problem: Problem, run: Run) -> Candidate:
        (found,) = await run.generate()
        await run.ask("Is it right?", model="judge")
        await run.verify([found], "judge")
        return found

    assert tts.solve(SUM, asks, out=tmp_path, budget="usd=1", **target).error is None
    header, *_ = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    assert header["config"]["verifier_model"] == "model-judge" and header["config"]["models"] == {}
    assert servers.asked() == {"solver": {"key-solver": 1}, "small": {}, "judge": {"key-judge": 2}}
    assert tts.solve(SUM, asks, out=tmp_path, budget="usd=1", **target).error is None
    assert servers.asked()["judge"] == {"key-judge": 2}


def test_a_model_in_process_is_one_role_beside_a_server() -> None:
    pytest.importorskip("xllamacpp", reason="the extra `local` is not installed", exc_type=ImportError)

    async def both(problem: Problem, run: Run) -> Candidate:
        (small,) = await run.generate(model="small", max_tokens=8)
        (solver,) = await run.generate(max_tokens=8)
        return solver if small.completion.model == "tts-tiny" else small

    with FakeEngine() as engine:
        solved = tts.solve(SUM, both, base_url=engine.base_url, models={"small": "embedded:tts-tiny"})
        assert engine.stats().requests == 1
    assert solved.selected is not None and solved.selected.completion.model == "fake"


def test_a_function_is_one_role_beside_a_server(servers: Servers) -> None:
    async def mine(request: tts.Request) -> str:
        return "small"

    async def asks(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(model="small"))[0]

    solved = tts.solve(SUM, asks, models={"small": mine}, **servers.described("solver"))
    assert solved.text == "small" and servers.asked()["solver"] == {}
    with pytest.raises(tts.UsageError, match=r"the model of the role small is a function of this process"):
        tts.solve(SUM, asks, cluster="ray", models={"small": mine}, **servers.described("solver"))


def test_an_endpoints_error_names_its_role(servers: Servers) -> None:
    target = servers.target("small")
    target["models"]["small"]["api_key"] = "another"
    with pytest.raises(tts.TTSError, match=r"the role small: http.*401"):
        tts.solve(SUM, "single", **target)


def test_what_finding_out_about_a_roles_endpoint_costs_is_charged_at_its_price() -> None:
    slow = arithmetic(words=100, per_token_s=0.01)
    with FakeEngine(slow) as solver, FakeEngine(slow) as small:
        solved = tts.solve(SUM, "single", base_url=solver.base_url, price_in=0.0, price_out=1.0, cancellation="probe",
                           models={"small": {"base_url": small.base_url, "price_in": 0, "price_out": 3}})  # fmt: skip
    assert solved.probed.picodollars == PROBE_TOKENS * (1 + 3) * 10**6
