"""A cluster as its user writes it down."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tts.clusters.spec import STREAMS_PER_GENERATOR, Actors, ClusterSpec, Engine, PlacementGroup
from tts.errors import InvalidParameter, UnknownName
from tts.models.target import roles_of

YAML = """
cluster: ray
address: head:6379
endpoints: [http://vllm-0:8000/v1, http://vllm-1:8000/v1]
generators:
  count: 2
  gpus: 0.5
verifiers: {count: per_node, cpus: 4, memory_bytes: 8_000_000_000, workers: 3, resources: {sandbox: 1}}
heartbeat_s: 5
hedge_after_s: 2.5
"""
TOML = """
cluster = "ray"
address = "head:6379"
endpoints = ["http://vllm-0:8000/v1", "http://vllm-1:8000/v1"]
heartbeat_s = 5
hedge_after_s = 2.5
[generators]
count = 2
gpus = 0.5
[verifiers]
count = "per_node"
cpus = 4
memory_bytes = 8_000_000_000
workers = 3
resources = {sandbox = 1}
"""
WRITTEN = ClusterSpec(
    address="head:6379",
    endpoints=("http://vllm-0:8000/v1", "http://vllm-1:8000/v1"),
    generators=Actors(count=2, gpus=0.5),
    verifiers=Actors(count="per_node", cpus=4, memory_bytes=8_000_000_000, workers=3, resources={"sandbox": 1}),
    heartbeat_s=5.0,
    hedge_after_s=2.5,
)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str, name: str = "cluster.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def refused(given: Any = "ray", **fields: Any) -> InvalidParameter:
    with pytest.raises(InvalidParameter) as caught:
        ClusterSpec.of(given, **fields)
    return caught.value


# --- where it comes from


@pytest.mark.parametrize(("text", "name"), [(YAML, "c.yaml"), (YAML, "c.yml"), (TOML, "c.toml")])
def test_a_file_says_the_same_in_yaml_and_in_toml(written: Any, text: str, name: str) -> None:
    path = written(text, name)
    assert ClusterSpec.of(path) == ClusterSpec.of(str(path)) == WRITTEN


def test_a_name_alone_is_all_of_the_defaults() -> None:
    assert ClusterSpec.of("ray") == ClusterSpec() == ClusterSpec(cluster="ray")
    assert ClusterSpec.of("local") == ClusterSpec.of(None) == ClusterSpec(cluster="local")


def test_what_is_given_in_the_call_goes_over_the_file_and_none_is_not_given(written: Any) -> None:
    path = written(YAML)
    changed = ClusterSpec.of(path, address="other:6379", verifiers={"count": 1}, endpoints=None, heartbeat_s=None)
    assert changed.address == "other:6379"
    assert changed.verifiers == Actors(count=1)  # the whole of it, not one field
    assert (changed.endpoints, changed.generators, changed.heartbeat_s) == (WRITTEN.endpoints, WRITTEN.generators, 5.0)


def test_a_spec_is_taken_as_it_is_and_fields_go_over_it_too() -> None:
    assert ClusterSpec.of(WRITTEN) == WRITTEN
    assert ClusterSpec.of(WRITTEN, cancellation="probe").cancellation == "probe"
    assert ClusterSpec.of(WRITTEN, cancellation="probe").generators == WRITTEN.generators
    assert refused(WRITTEN, heartbeat_s=0).facts["name"] == "heartbeat_s"


def test_fields_may_be_dictionaries_or_values() -> None:
    plain = {"kind": "vllm", "model": "m", "options": {"tensor_parallel_size": 8}}
    group = {"bundles": [{"CPU": 1}, {"GPU": 8, "CPU": 2}], "strategy": "STRICT_PACK"}
    made = ClusterSpec.of("ray", engine=plain, generators={"count": 2, "placement_group": group})
    assert made.engine == Engine(kind="vllm", model="m", options={"tensor_parallel_size": 8})
    assert made.generators.placement_group == PlacementGroup(
        bundles=({"CPU": 1.0}, {"GPU": 8.0, "CPU": 2.0}), strategy="STRICT_PACK"
    )
    assert ClusterSpec.of("ray", engine=made.engine, generators=made.generators) == made


actors = st.builds(
    Actors,
    count=st.none() | st.integers(1, 99) | st.just("per_node"),
    cpus=st.floats(0, 64),
    gpus=st.sampled_from([0.0, 0.25, 1.0, 8.0]),
    memory_bytes=st.none() | st.integers(1, 2**40),
    resources=st.dictionaries(st.sampled_from(["sandbox", "node:a-1"]), st.floats(0, 4)),
    workers=st.none() | st.integers(1, 64),
)


@given(actors, actors, st.sampled_from([".yaml", ".toml"]), st.lists(st.just("http://e/v1"), max_size=2))
def test_what_a_spec_holds_can_be_written_down_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, one: Actors, other: Actors, kind: str, endpoints: list[str]
) -> None:
    spec = ClusterSpec(generators=one, verifiers=other, endpoints=tuple(endpoints))
    if kind == ".toml":  # of which JSON's values, with names and without null, are nearly all
        plain = spec.model_dump(mode="json", exclude_none=True)
        text = "\n".join(f"{key} = {as_toml(value)}" for key, value in plain.items())
    else:
        text = yaml.safe_dump(spec.model_dump(mode="json"))
    path = tmp_path_factory.getbasetemp() / f"spec{kind}"
    path.write_text(text)
    assert ClusterSpec.of(path) == spec


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {as_toml(inner)}' for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


# --- what is wrong with it


@pytest.mark.parametrize(
    ("fields", "name", "rule"),
    [
        ({"adress": "auto"}, "adress", "not permitted"),
        ({"generators": {"counts": 2}}, "generators.counts", "not permitted"),
        ({"generators": {"count": 0}}, "generators.count", "at least 1, or per_node, but got 0"),
        ({"verifiers": {"count": "many"}}, "verifiers.count", "at least 1, or per_node, but got 'many'"),
        ({"verifiers": {"count": 1.5}}, "verifiers.count", "a whole number of at least 1, or per_node, but got 1.5"),
        ({"verifiers": {"count": True}}, "verifiers.count", "but got True"),
        ({"verifiers": {"cpus": -1}}, "verifiers.cpus", "greater than or equal to 0"),
        ({"generators": {"gpus": 1.5}}, "generators.gpus", "must be a whole number, or a part of one GPU, but got 1.5"),
        ({"generators": {"resources": {"CPU": 2}}}, "generators.resources", "CPU is given as cpus"),
        ({"generators": {"resources": {"GPU": 2}}}, "generators.resources", "GPU is given as gpus"),
        ({"generators": {"resources": {"tpu": -1}}}, "generators.resources.tpu", "greater than or equal to 0"),
        ({"generators": {"memory_bytes": 0}}, "generators.memory_bytes", "greater than or equal to 1"),
        ({"verifiers": {"workers": 0}}, "verifiers.workers", "greater than or equal to 1"),
        ({"generators": {"placement_group": {"bundles": []}}}, "generators.placement_group.bundles", "at least 1"),
        (
            {"generators": {"placement_group": {"bundles": [{"CPU": 1}], "strategy": "pack"}}},
            "generators.placement_group.strategy",
            "PACK",
        ),
        ({"engine": {"kind": "vlm"}}, "engine.kind", "'embedded' or 'vllm'"),
        ({"engine": "vllm"}, "engine", "dictionary or instance"),
        ({"endpoints": "http://one/v1"}, "endpoints", "tuple"),
        ({"heartbeat_s": 0}, "heartbeat_s", "greater than 0"),
        ({"heartbeat_s": float("nan")}, "heartbeat_s", "greater than 0"),
        ({"start_timeout_s": -1}, "start_timeout_s", "greater than 0"),
        ({"hedge_after_s": 0}, "hedge_after_s", "greater than 0"),
        ({"most_failures": 0}, "most_failures", "greater than or equal to 1"),
        ({"cancellation": "never"}, "cancellation", "'close', 'abort'"),
        ({"cluster": "slurm"}, "cluster", "'local' or 'ray'"),
        ({"address": 6379}, "address", "valid string"),
    ],
    ids=str,
)
def test_a_field_that_does_not_fit_is_refused_by_its_name_with_what_it_must_be(
    written: Any, fields: dict[str, Any], name: str, rule: str
) -> None:
    for error in (refused("ray", **fields), refused(written(yaml.safe_dump({"cluster": "ray"} | fields)))):
        assert error.facts["name"] == name
        assert error.message.startswith(f"cluster: {name}: ")
        assert rule in error.message


def test_ray_client_is_refused_with_what_to_give_instead(written: Any) -> None:
    for error in (refused(address="ray://head:10001"), refused(written("address: ray://head:10001\n"))):
        assert error.facts["name"] == "address"
        assert "ray://head:10001 is Ray Client" in error.message
        assert "HOST:6379" in error.message and "`ray job submit`" in error.message
    assert ClusterSpec.of("ray", address="auto").address == "auto"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rai", "Did you mean 'ray'?"),
        ("locla", "Did you mean 'local'?"),
        ("kubernetes", ""),
        ("ray.json", ""),
        ("", ""),
    ],
)
def test_an_unknown_cluster_is_refused_with_the_nearest_name_and_all_there_are(name: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        ClusterSpec.of(name)
    assert caught.value.message.startswith(f"unknown cluster {name!r}.")
    assert hint in caught.value.message
    assert all(known in caught.value.message for known in ("local", "ray", "FILE.yaml", "FILE.toml"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "cluster: [ray", "cannot be read"),
        ("c.toml", "cluster = ", "cannot be read"),
        ("c.toml", "cluster: ray", "cannot be read"),
        ("c.yaml", "", "must hold names and values"),
        ("c.yaml", "ray", "must hold names and values"),
        ("c.yml", "- ray", "must hold names and values"),
        ("c.yaml", "1: 2", "cluster: 1: "),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(written: Any, name: str, text: str, message: str) -> None:
    path = written(text, name)
    error = refused(path)
    assert message in error.message
    assert str(path) in error.message or message.startswith("cluster: ")


def test_a_file_that_is_missing_or_not_text_says_so(tmp_path: Path) -> None:
    assert f"{tmp_path}/none.yaml cannot be read" in refused(tmp_path / "none.yaml").message
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refused(tmp_path / "binary.toml").message
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in refused(tmp_path / "folder.yaml").message


# --- how many


@given(st.integers(1, 10**6))
def test_there_are_generators_enough_for_the_requests_in_flight_and_no_more(concurrency: int) -> None:
    count = ClusterSpec().generator_count(concurrency, hosts=False)
    assert isinstance(count, int) and count >= 1
    assert (count - 1) * STREAMS_PER_GENERATOR < concurrency <= count * STREAMS_PER_GENERATOR


def test_who_hosts_an_engine_is_there_once_per_node_and_a_count_that_is_given_holds() -> None:
    assert ClusterSpec().generator_count(5000, hosts=True) == "per_node"
    for hosts in (False, True):
        assert ClusterSpec(generators=Actors(count=3)).generator_count(5000, hosts=hosts) == 3
        assert ClusterSpec(generators=Actors(count="per_node")).generator_count(5000, hosts=hosts) == "per_node"
    assert ClusterSpec().verifier_count() == "per_node"
    assert ClusterSpec(verifiers=Actors(count=2)).verifier_count() == 2


def test_what_is_asked_of_ray_for_one_actor_has_rays_names_and_leaves_out_nothing_but_zeros() -> None:
    assert Actors().asked() == {"CPU": 1.0}
    assert Actors(cpus=0).asked() == {}
    full = Actors(cpus=2, gpus=1, memory_bytes=10**9, resources={"sandbox": 0.5, "none": 0})
    assert full.asked() == {"CPU": 2.0, "GPU": 1.0, "memory": 1e9, "sandbox": 0.5}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"generators": {"count": "per_node", "placement_group": {"bundles": [{"CPU": 1}]}}}, "give a count"),
        ({"generators": {"placement_group": {"bundles": [{"CPU": 1}]}}}, "need a count"),
        ({"generators": {"count": 1, "placement_group": {"bundles": [{"GPU": 1}]}}}, "first bundle must hold"),
        ({"cluster": "local", "engine": {"kind": "vllm", "model": "m"}}, "needs cluster: ray"),
        ({"cluster": "local", "actors_for": {"small": {}}}, "actors_for needs cluster: ray"),
        ({"actors_for": {"solver": {}}}, "the solver's actors are the generators"),
    ],
)
def test_what_cannot_work_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        ClusterSpec.of("ray", **fields)


def test_what_the_call_says_of_endpoints_goes_over_the_file_and_that_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env/v1")
    spec = ClusterSpec(endpoints=("http://file/v1",))
    assert spec.resolved({"base_url": "http://call/v1"})["base_url"] == ["http://call/v1"]
    assert spec.resolved({})["base_url"] == ["http://file/v1"]
    assert ClusterSpec().resolved({})["base_url"] == ["http://env/v1"]
    assert ClusterSpec(engine=Engine(kind="embedded", model="x.gguf")).resolved({})["base_url"] == []


def test_what_the_call_says_of_cancellation_goes_over_the_file() -> None:
    spec = ClusterSpec(cancellation="probe")
    assert spec.resolved({"base_url": "http://call/v1"})["cancellation"] == "probe"
    assert spec.resolved({"base_url": "http://call/v1", "cancellation": "close"})["cancellation"] == "close"
    assert spec.resolved({"base_url": "http://call/v1", "cancellation": None})["cancellation"] == "probe"


def test_a_file_may_have_endpoints_of_each_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env/v1")

    def urls(target: Any, **fields: Any) -> dict[str, list[str]]:
        found = roles_of(ClusterSpec.of("ray", **fields).resolved(target))
        return {name: [server.url for server in role.servers] for name, role in found.items()}

    many = {"endpoints": ["http://a/v1", "http://b/v1"], "endpoints_for": {"small": ["http://c/v1"]}}
    assert urls({"models": {"small": "m"}}, **many) == {"solver": many["endpoints"], "small": ["http://c/v1"]}
    own = {"small": {"model": "m", "base_url": "http://own/v1"}}
    assert urls({"models": own}, **many)["small"] == ["http://own/v1"]
    assert urls({}, endpoints_for={"judge": ["http://c/v1"]}) == {"solver": ["http://env/v1"], "judge": ["http://c/v1"]}


def test_an_engine_of_the_cluster_is_the_solver_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env/v1")
    engine = {"kind": "embedded", "model": "x.gguf"}
    roles = roles_of(ClusterSpec.of("ray", engine=engine, endpoints_for={"judge": ["http://c/v1"]}).resolved({}))
    assert (roles["solver"].model, roles["solver"].servers) == ("x.gguf", ())
    assert [server.url for server in roles["judge"].servers] == ["http://c/v1"]


def test_a_role_may_have_actors_of_its_own_that_host_its_engine() -> None:
    own = {"small": {"count": 2, "gpus": 1, "engine": {"kind": "vllm", "model": "tiny"}}}
    spec = ClusterSpec.of("ray", endpoints=["http://a/v1"], actors_for=own)
    found = roles_of(spec.resolved({"models": {"judge": "m"}}))
    assert (found["small"].model, found["small"].servers) == ("tiny", ())
    assert [server.url for server in found["judge"].servers] == ["http://a/v1"]
    assert spec.generator_count(2048, hosts=True, role="small") == 2 and spec.generator_count(2048, hosts=False) == 4
    assert ClusterSpec.of("ray", actors_for={"small": {}}).generator_count(1024, hosts=False, role="small") == 2
    with pytest.raises(InvalidParameter, match="the role small has endpoints, and the cluster hosts an engine"):
        spec.resolved({"models": {"small": "m@http://b/v1"}})
