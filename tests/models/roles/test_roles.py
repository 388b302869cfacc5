"""Roles: how users write them, and which servers and keys they then have."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts import Candidate, Limits, Problem, Run, Sampling
from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld
from tts.core.actions import Request
from tts.core.journal.records import Record
from tts.core.result import Result
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.errors import InvalidParameter, TTSError, UnknownName
from tts.models.cost_model import CostModel, ModelCost
from tts.models.prices import Price
from tts.models.roles.described import described
from tts.models.roles.providers import PROVIDERS
from tts.models.roles.role import ModelRole, ServedModel, Server
from tts.models.target import Pricing, resolved, roles_of
from tts.models.weights import info
from tts.plugins.dependencies import check_models
from tts.plugins.spec import parse_specs
from tts.runs.folder import NoJournal
from tts.types import Completion, StrategySpec

URL, OTHER = "http://a:1/v1", "http://b:2/v1"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", *(p.key_variable for p in PROVIDERS.values())):
        monkeypatch.delenv(name, raising=False)


def roles(**target: Any) -> Mapping[str, ModelRole]:
    return roles_of(resolved(target))  # type: ignore[arg-type]


def judge(given: Any, **target: Any) -> ModelRole:
    return roles(**{"base_url": URL, "api_key": "own", "models": {"judge": given}, **target})["judge"]


# -- forms --------------------------------------------------------------------------------------------------------


def test_without_roles_there_is_the_solver_alone() -> None:
    assert roles(base_url=URL, model="m", api_key="k") == {"solver": ModelRole("m", (Server(URL, "k"),))}


def test_a_role_is_written_alike_in_python_in_a_file_and_in_texts(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(f"judge: {{model: m, base_url: {OTHER}}}\nsmall: n@{OTHER}\n")
    in_python = {"judge": {"model": "m", "base_url": OTHER}, "small": {"model": "n", "base_url": [OTHER]}}
    texts = [f"judge=m@{OTHER}", f"small=n@{OTHER}"]
    expected = roles(base_url=URL, models=in_python)
    assert expected == roles(base_url=URL, models=file) == roles(base_url=URL, model_for=texts)
    assert expected == roles(base_url=URL, models=str(file))
    assert list(expected) == ["solver", "judge", "small"]


def test_the_words_for_a_verifier_describe_the_role_judge() -> None:
    old = {"verifier_base_url": OTHER, "verifier_model": "m", "verifier_api_key": "k"}
    assert roles(base_url=URL, **old)["judge"] == judge({"model": "m", "base_url": OTHER, "api_key": "k"})


def test_a_text_goes_over_the_file() -> None:
    assert judge("n", model_for=[f"judge=m@{OTHER}"]) == judge(f"m@{OTHER}")


def test_a_role_named_twice_in_texts_has_two_endpoints() -> None:
    found = roles(base_url=URL, model_for=[f"small=m@{URL}", f"small=m@{OTHER}"])["small"]
    assert [server.url for server in found.servers] == [URL, OTHER]


def test_the_solver_may_be_a_role_of_the_file_too() -> None:
    found = roles(models={"judge": "j", "solver": {"model": "m", "base_url": [URL, OTHER], "api_key": ["k1", "k2"]}})
    assert list(found) == ["solver", "judge"]
    assert found["solver"].servers == (Server(URL, "k1"), Server(OTHER, "k2"))
    assert found["judge"].servers == found["solver"].servers


def test_what_holds_for_a_role_is_read_and_checked() -> None:
    found = judge({
        "model": "m", "context_tokens": 4096, "price_in": 0.5, "price_out": 2, "api": "completions",
        "sampling": {"temperature": 0, "stop": ["\n"]},
    })  # fmt: skip
    assert found.price == Price.per_million(input=0.5, output=2)
    assert (found.context_tokens, found.api) == (4096, "completions")
    assert found.sampling == {"temperature": 0.0, "stop": ("\n",)}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"models": {"judge": {"modle": "m"}}}, "unknown field of a role .models: the role judge. 'modle'.*'model'"),
        ({"models": {"judge": {"price_in": "dear"}}}, "the role judge.*price_in"),
        ({"models": {"judge": {"price_in": 1}}}, "the role judge.*--price-out is missing"),
        ({"models": {"judge": {"sampling": {"temprature": 1}}}}, "field of sampling 'temprature'"),
        ({"models": {"judge": {"sampling": {"top_p": 2}}}}, "the role judge: top_p must be in"),
        ({"models": {"judge": {"context_tokens": 0}}}, "context_tokens must be at least 1"),
        ({"models": {"judge": 3}}, "the role judge must be a text or names and values"),
        ({"models": {"a b": "m"}}, "a role's name must be letters"),
        ({"models": {"judge": {"api_key": ["a", "b"], "base_url": OTHER}}}, "2 keys for 1 endpoints"),
        ({"models": {"judge": {"api_key": "$NOT_SET", "base_url": OTHER}}}, "NOT_SET, which is not set"),
        ({"models": {"judge": {"api_key": "sk secret", "base_url": OTHER}}}, "a blank"),
        ({"models": "nowhere.yaml"}, "the file of models nowhere.yaml cannot be read"),
        ({"models": {"solver": f"m@{OTHER}"}}, "the solver is described twice, by base_url and by models"),
        ({"models": {"judge": "m"}, "verifier_model": "n"}, "the judge is described twice, by verifier_model"),
        ({"models": {"judge": "m@http://"}}, "base URL must look like"),
        ({"model_for": ["judge"]}, "must be ROLE=NAME@URL or ROLE=PROVIDER:NAME, but got 'judge'"),
        ({"model_for": [f"judge=m@{URL}", f"judge=n@{OTHER}"]}, "the role judge is given two models, m and n"),
        ({"models": {"judge": {"model": "embedded:tts-tiny", "base_url": OTHER}}}, "leave out http://b:2"),
        ({"base_url": None, "models": {"judge": "m"}}, "the role judge has no server for its model m"),
    ],
)
def test_a_role_that_cannot_work_is_refused_with_one_sentence(target: dict[str, Any], says: str) -> None:
    with pytest.raises((InvalidParameter, UnknownName), match=says) as caught:
        roles(**{"base_url": URL, **target})
    assert "secret" not in caught.value.message


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("- judge\n")
    with pytest.raises(InvalidParameter, match="must hold roles, such as `judge: openai:gpt-5-mini`, but holds list"):
        roles(models=tmp_path / "models.yaml")


# -- servers and keys ---------------------------------------------------------------------------------------------


def test_a_role_without_a_server_is_another_model_of_the_solvers() -> None:
    assert judge("m").servers == (Server(URL, "own"),)


def test_the_solvers_key_goes_to_its_own_hosts_only() -> None:
    assert judge(f"m@{OTHER}").servers == (Server(OTHER, "EMPTY"),)
    assert judge("m@http://a:1/another/v1").servers == (Server("http://a:1/another/v1", "own"),)


def test_the_key_of_the_environment_is_the_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "env")
    found = roles(base_url=URL, models={"judge": f"m@{OTHER}"})
    assert (found["solver"].servers[0].key, found["judge"].servers[0].key) == ("env", "EMPTY")


def test_each_endpoint_may_have_a_key_of_its_own_and_a_key_may_be_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINE", "from the environment".replace(" ", "-"))
    found = judge({"base_url": [URL, OTHER], "api_key": ["plain", "$MINE"]})
    assert found.servers == (Server(URL, "plain"), Server(OTHER, "from-the-environment"))
    solver = roles(base_url=[URL, OTHER], api_key=["k1", "k2"])["solver"]
    assert [server.key for server in solver.servers] == ["k1", "k2"]
    assert judge({"base_url": [URL, OTHER], "api_key": "one"}).servers == (Server(URL, "one"), Server(OTHER, "one"))


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_its_address_and_the_key_of_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = PROVIDERS[name]
    with pytest.raises(InvalidParameter, match=f"{provider.key_variable}, which is not set, for {name}:a/b:c"):
        judge(f"{name}:a/b:c")
    monkeypatch.setenv(provider.key_variable, "theirs")
    assert judge(f"{name}:a/b:c") == ModelRole("a/b:c", (Server(provider.base_url, "theirs"),))
    assert roles(model=f"{name}:m")["solver"] == ModelRole("m", (Server(provider.base_url, "theirs"),))


def test_openais_key_is_sent_to_no_other_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line cannot tell the variable from --api-key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with pytest.raises(InvalidParameter, match="GROQ_API_KEY"):
        roles(model="groq:m", api_key="sk-openai")
    assert roles(model="groq:m", api_key="gsk")["solver"].servers[0].key == "gsk"


def test_where_a_url_is_given_the_whole_is_the_models_name() -> None:
    assert judge({"model": "mistral:7b", "base_url": OTHER}).model == "mistral:7b"
    assert roles(base_url=URL, model="mistral:7b")["solver"] == ModelRole("mistral:7b", (Server(URL),))


def test_a_role_may_be_a_model_in_process_or_a_function() -> None:
    async def mine(request: object) -> str:
        return "42"

    assert judge("embedded:tts-tiny") == ModelRole("embedded:tts-tiny")
    assert judge(mine) == ModelRole(mine) == judge({"model": mine})
    with pytest.raises(InvalidParameter, match="must be a name, or a function such as `async def"):
        judge(lambda request: "42")


# -- what holds for requests --------------------------------------------------------------------------------------


def test_a_roles_sampling_holds_where_the_run_says_nothing() -> None:
    model = ServedModel("m", sampling={"temperature": 0.1, "max_tokens": 64, "stop": ("x",)})
    assert model.applied(Sampling()) == Sampling(temperature=0.1, max_tokens=64, stop="x")
    said = Sampling(temperature=0.3, max_tokens=32)
    assert model.applied(said) == Sampling(temperature=0.3, max_tokens=32, stop="x")


def test_each_role_has_its_price_and_the_table_knows_the_others() -> None:
    target = {"base_url": URL, "price_in": 1.0, "price_out": 2.0}
    target |= {"models": {"judge": {"price_in": 3, "price_out": 4}, "small": "gpt-5-nano", "other": "unheard-of"}}
    served = {"solver": ServedModel("a"), "judge": ServedModel("a"), "small": ServedModel("gpt-5-nano")}
    costs = Pricing(target).costs({**served, "other": ServedModel("unheard-of")}, "judge")  # type: ignore[arg-type]
    prices = {name: model.price for name, model in costs.models.items()}
    assert prices == {
        "solver": Price.per_million(input=1, output=2),
        "judge": Price.per_million(input=3, output=4),
        "small": Price.per_million(input=0.05, output=0.4, cached_input=0.005),
        "other": None,
    }


def test_the_flops_of_a_model_in_process_are_known_and_those_of_others_by_their_config(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(info("tts-tiny").config))  # type: ignore[union-attr]
    pricing = Pricing({"base_url": URL, "models": {"small": "embedded:tts-tiny", "judge": {"model_config": str(file)}}})
    served = {"solver": ServedModel("m"), "small": ServedModel("tts-tiny", embedded=True), "judge": ServedModel("j")}
    models = pricing.costs(served, "judge").models
    assert models["solver"].config is None and models["small"].config == models["judge"].config is not None


def test_a_plan_finds_the_solver_and_its_prices_among_the_roles() -> None:
    solver = described({"models": {"solver": {"model": "groq:m", "price_in": 1, "price_out": 2}}})["solver"]
    assert (solver.name, solver.price_in, solver.price_out) == ("m", 1.0, 2.0)
    assert described({"model": "mistral:7b", "base_url": URL})["solver"].name == "mistral:7b"


# -- one ledger over all ------------------------------------------------------------------------------------------

rates = st.integers(0, 10**7)
PLANS = st.lists(st.tuples(st.sampled_from(["solver", "small", "judge", None]), st.integers(1, 4)), max_size=6)


async def asking(problem: Problem, run: Run, *, asks: Any = ()) -> Candidate:
    chosen = None
    for model, n in asks:
        found = await run.generate(n=n, model=model)
        await run.ask("Which?", model="judge")
        chosen = chosen or found[0]
    return chosen or (await run.generate())[0]


class Counting(SyntheticWorld):
    """Models that add up what their texts cost."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        super().__init__(lambda prompt: 0.5, lambda prompt: "1", tokens=16)
        self.picodollars = 0
        self._prices = prices

    def complete(self, request: Request) -> tuple[float, Completion]:
        seconds, completion = super().complete(request)
        self.picodollars += self._prices[request.model or "solver"].charge(completion.usage)
        return seconds, completion


class Checked(NoJournal):
    """A journal that looks at the ledger whenever something is written."""

    def __init__(self, limits: Limits) -> None:
        self.scheduler: Scheduler | None = None
        self._limits = limits

    def write(self, records: Iterable[Record]) -> None:
        assert self.scheduler is not None and self._limits.usd is not None
        held = self.scheduler.ledger.spent + self.scheduler.ledger.reserved
        assert held.picodollars is not None and held.picodollars <= round(self._limits.usd * 10**12)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["solver", "small", "judge"]), st.tuples(rates, rates), min_size=3), PLANS,
       st.integers(1, 4 * 10**9))  # fmt: skip
def test_a_limit_in_dollars_holds_to_the_picodollar_over_models_of_different_price(
    prices: dict[str, tuple[int, int]], asks: list[tuple[str | None, int]], picodollars: int
) -> None:
    costs = CostModel({name: ModelCost(Price(*each)) for name, each in prices.items()}, "solver")
    limits = Limits(usd=picodollars / 10**12)
    journal, world = Checked(limits), Counting({name: Price(*each) for name, each in prices.items()})
    scheduler = journal.scheduler = Scheduler(
        [Planned("cell", Problem(f"p{i}", f"{i} + 1?"), StrategySpec("asking", {"asks": asks})) for i in range(2)],
        lambda name: asking,
        costs=costs,
        limits=limits,
        models=dict.fromkeys(prices, Sampling(max_tokens=32)),
        sampling=Sampling(max_tokens=32),
    )
    results = list[Result]()
    SimulatedCluster(world).run(scheduler, journal, lambda result, _: results.append(result))  # type: ignore[arg-type]
    assert {result.error.type for result in results if result.error} <= {"BudgetExhausted"}
    assert scheduler.ledger.spent.picodollars == world.picodollars
    bills = [cost for result in results for cost in (result.bill.answers, result.bill.verifier)]
    assert sum(cost.picodollars or 0 for cost in bills) == world.picodollars
    assert not scheduler.ledger.reservations


def test_a_model_that_the_run_does_not_have_is_refused_when_it_is_asked() -> None:
    def error_of(strategy: Any, models: Mapping[str, Sampling] | None) -> Any:
        results = list[Result]()
        world = SyntheticWorld(lambda prompt: 0.5, lambda prompt: "1", tokens=16)
        planned = Planned("cell", Problem("p", "?"), StrategySpec("mine"))
        scheduler = Scheduler([planned], lambda name: strategy, costs=CostModel(), models=models)
        SimulatedCluster(world).run(scheduler, on_result=lambda result, _: results.append(result))
        assert scheduler.ledger.spent.samples == (0 if results[0].error else 1)
        return results[0].error

    async def generates(problem: Problem, run: Run) -> Candidate:
        return (await run.generate(model="large"))[0]

    async def solves(problem: Problem, run: Run) -> Candidate:
        return await run.solve(generates, model="large")

    async def asks_only(problem: Problem, run: Run) -> Candidate:
        await run.ask("?", model="large")
        raise AssertionError("unreachable")

    known = dict.fromkeys(("solver", "judge"), Sampling())
    for strategy in (generates, solves, asks_only):
        error = error_of(strategy, known)
        assert error.type == "UnknownName" and "mine: unknown model 'large'" in error.message
        assert "Known: judge, solver" in error.message and "--model-for large=NAME@URL" in error.message
    assert error_of(generates, None) is None  # a simulation or a replay does not know the run's models
    assert isinstance(error.rebuild(), TTSError)


def test_each_of_several_models_that_a_strategy_is_to_ask_is_looked_up_before_anything_is_sent() -> None:
    (spec,) = parse_specs("ab_mcts:models=solver+larg")
    with pytest.raises(UnknownName, match=r"ab_mcts: models: unknown model 'larg'.*Did you mean 'large'"):
        check_models([spec], ["large", "solver"])
    check_models([spec], ["larg", "solver"])
