"""Every file in clusters/launch/ is what the tool that reads it expects, and agrees with the others.

None of these tools is needed for that: Ray brings its schemas and its command line, and what it reads only with extras
is looked up in its source.
"""

import ast
import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from tts.cli.main import app
from tts.clusters.ray.environment import ENVIRONMENT
from tts.clusters.spec import ClusterSpec
from tts.plugins.spec import parse_specs
from tts.serve.replicas.arguments import setup_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray.autoscaler._private.util import prepare_config, validate_config
    from ray.scripts.scripts import cli as ray_cli
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

ROOT = Path(__file__).resolve().parents[3]
LAUNCH = ROOT / "clusters" / "launch"
README = (LAUNCH / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RAY = Path(str(importlib.util.find_spec("ray").submodule_search_locations[0]))  # type: ignore[union-attr, index]
TTS: Any = typer.main.get_command(app)
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
AUTH = {"RAY_AUTH_MODE": "token"}


def read(name: str) -> Any:
    return yaml.safe_load((LAUNCH / name).read_text())


def kubernetes() -> dict[str, Any]:
    """Kind -> the document of that kind in rayjob.yaml."""
    documents = list(yaml.safe_load_all((LAUNCH / "rayjob.yaml").read_text()))
    assert len({document["kind"] for document in documents}) == len(documents)
    return {document["kind"]: document for document in documents}


def commands(script: str) -> Iterator[list[str]]:
    """The words of each command of a shell script that has no more than commands, without where its output goes."""
    for line in script.replace("\\\n", " ").splitlines():
        words = list(itertools.takewhile(lambda word: word not in (">", "&"), shlex.split(line, comments=True)))
        if words:
            yield words


def settings(words: list[str]) -> dict[str, str]:
    """The NAME=VALUE words before a command, or of an `export`."""
    found: dict[str, str] = {}
    for word in words[words[0] == "export" :]:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            break
        found[name] = value
    return found


def without_settings(words: list[str]) -> list[str]:
    return words[len(settings(words)) :] if words[0] != "export" else []


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What slurm.sh hands to `srun` on four nodes: its words and its environment."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").write_text("")
    tools = folder / "tools"
    tools.mkdir()
    write = f"import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open({str(folder / 'said')!r}, 'w'))"
    for name, text in {
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
        "scontrol": '[ "$*" = "show hostnames n[1-4]" ] && printf "%s\\n" n1 n2 n3 n4',
        "srun": f'exec {shlex.quote(sys.executable)} -c {shlex.quote(write)} "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PATH": f"{tools}:{environment['PATH']}", "OPENAI_BASE_URL": "http://host:8000/v1"}
    environment |= {"SLURM_JOB_NODELIST": "n[1-4]", "SLURM_JOB_NUM_NODES": "4", "SLURM_CPUS_PER_TASK": "32"}
    done = subprocess.run(
        ["bash", LAUNCH / "slurm.sh"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    words, seen = json.loads((folder / "said").read_text())
    return {"words": words, "environment": seen}


def symmetric_run(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of `ray symmetric-run` itself, and of what it runs."""
    start = words.index("symmetric-run") + 1
    dashes = words.index("--", start)
    return words[start:dashes], words[dashes + 1 :]


# --- the commands


def check_tts(words: list[str]) -> Any:
    """The parameters of a `tts` command, as its command line reads them."""
    name, *arguments = words
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parameters = TTS.commands[name].make_context(name, list(arguments)).params
    for text in parameters["strategy"]:
        assert parse_specs(text)
    assert parameters["cluster"] != "local"
    return parameters


def check_ray(words: list[str]) -> list[str]:
    """Ray's command line reads it, too; what it would run is returned."""
    command: Any = ray_cli
    name = "ray"
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    context = command.make_context(name, list(words))
    return list(context.params.get("entrypoint") or ())


def without_python(words: list[str]) -> list[str] | None:
    """What follows `tts`, or `python -m tts`; None if it is something else."""
    if words[:1] == ["tts"]:
        return words[1:]
    return words[3:] if words[:3] == ["python", "-m", "tts"] else None


README_COMMANDS = [words for kind, text in BLOCKS if kind == "sh" for words in commands(text)]


@pytest.mark.parametrize("words", [w for w in map(without_settings, README_COMMANDS) if w[:1] == ["ray"]], ids=" ".join)
def test_every_ray_command_of_the_readme_is_one_that_ray_and_tts_understand(words: list[str]) -> None:
    inner = check_ray(words[1:])
    if words[1:3] == ["job", "submit"]:
        tts = without_python(inner)
        assert tts is not None
        parameters = check_tts(tts)
        assert parameters["out"].is_absolute(), "a relative folder would go with Ray's copy of the working directory"
        if str(parameters["cluster"]) != "ray":
            assert "--working-dir" in words
            assert (ROOT / parameters["cluster"]).is_file()


def test_the_readme_shows_a_job_from_a_checkout_and_two_from_a_wheel() -> None:
    jobs = [words for words in README_COMMANDS if words[:3] == ["ray", "job", "submit"]]
    assert any("--working-dir" in words for words in jobs)
    assert any("--runtime-env-json" in words for words in jobs)
    assert any(not {"--working-dir", "--runtime-env-json"} & set(words) for words in jobs)
    (environment,) = [w[w.index("--runtime-env-json") + 1] for w in jobs if "--runtime-env-json" in w]
    (target,) = [w[w.index("--target") + 1] for w in README_COMMANDS if "--target" in w]
    assert json.loads(environment) == {"env_vars": {"PYTHONPATH": target}}


def test_the_readme_uses_no_program_that_nothing_here_checks() -> None:
    known = {"ray", "python", "pip", "docker", "kubectl", "sbatch", "serve", "curl"}
    assert {words[0] for words in map(without_settings, README_COMMANDS) if words} <= known


def test_every_option_that_the_prose_names_exists() -> None:
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    for path in LAUNCH.iterdir():
        prose += "\n".join(re.findall(r"#(?!SBATCH).*", path.read_text()))
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", prose))
    assert {"--out", "--cluster", "--entrypoint-num-cpus"} <= named
    ours = {option for command in TTS.commands.values() for p in command.params for option in p.opts}
    rays = {option for p in ray_cli.commands["job"].commands["submit"].params for option in p.opts}
    assert named <= ours | rays


def test_the_readme_names_every_file_of_the_folder_and_no_other() -> None:
    names = {path.name for path in LAUNCH.iterdir()} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.\w+)\)", README)) == names
    for linked in re.findall(r"\]\((\.\./[^)]+)\)", README):
        assert (LAUNCH / linked).is_file(), linked
    for path in re.findall(r"clusters/launch/[\w-]+\.\w+", README):
        assert (ROOT / path).is_file(), path


def test_all_files_mean_the_same_versions() -> None:
    (dockerfile,) = [text for kind, text in BLOCKS if kind == "dockerfile"]
    (ray,) = set(re.findall(r"rayproject/ray:([\d.]+)-py311", dockerfile + (LAUNCH / "ray-up.yaml").read_text()))
    assert kubernetes()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"] == ray
    everything = "".join(path.read_text() for path in LAUNCH.iterdir())
    assert set(re.findall(r"\btts:([\d.]+\d)", everything)) == {VERSION}
    assert set(re.findall(r"test_time_scaling-([\d.]+)-py3", everything)) == {VERSION}


# --- the environment


def test_a_ray_started_by_hand_gets_the_environment() -> None:
    (started,) = [text for kind, text in BLOCKS if kind == "sh" and "ray start" in text]
    exported: dict[str, str] = {}
    for words in commands(started):
        if words[0] != "export":
            break
        exported |= settings(words)
    assert exported == {**ENVIRONMENT, **AUTH}


def test_both_kinds_of_machines_of_ray_up_get_the_environment() -> None:
    config = read("ray-up.yaml")
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [words for text in config[key] for words in commands(text) if "start" in words]
        assert settings(start) == {**ENVIRONMENT, **AUTH}, key
        check_ray(without_settings(start)[1:])


def test_every_container_of_ray_gets_the_environment() -> None:
    cluster = kubernetes()["RayJob"]["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {entry["name"]: entry["value"] for entry in container["env"]} == ENVIRONMENT
        assert len(container["env"]) == len(ENVIRONMENT)
    assert cluster["authOptions"] == {"mode": "token"}  # KubeRay sets RAY_AUTH_MODE and RAY_AUTH_TOKEN


def test_every_node_of_a_slurm_job_gets_the_environment(slurm: dict[str, Any]) -> None:
    seen = {name: value for name, value in slurm["environment"].items() if name.startswith("RAY_")}
    assert len(seen.pop("RAY_AUTH_TOKEN")) == 64
    waits = "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT"
    assert waits in (RAY / "scripts" / "symmetric_run.py").read_text()
    assert int(seen.pop(waits)) > 30
    assert seen == {**ENVIRONMENT, **AUTH}


def test_the_files_that_are_read_when_ray_already_runs_set_nothing_that_it_reads_at_its_start() -> None:
    for name in ("serve.yaml", "serve_llm.yaml", "cluster.yaml"):
        assert "RAY_" not in (LAUNCH / name).read_text()


# --- cluster.yaml


def test_the_cluster_file_is_a_cluster_also_with_its_endpoints() -> None:
    spec = ClusterSpec.of(LAUNCH / "cluster.yaml")
    assert (spec.cluster, spec.address, spec.endpoints) == ("ray", "auto", ())
    text = (LAUNCH / "cluster.yaml").read_text().replace("# endpoints:", "endpoints:")
    assert ClusterSpec.of(spec, **yaml.safe_load(text)).endpoints
    assert spec.start_timeout_s > ClusterSpec().start_timeout_s


# --- rayjob.yaml: the fields that KubeRay v1 knows, and of Kubernetes those that are used

FIELDS = {
    "RayJob": {"apiVersion", "kind", "metadata", "spec"},
    "RayJobSpec": {
        "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata",
        "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy", "entrypoint", "runtimeEnvYAML", "jobId",
        "submissionMode", "entrypointResources", "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
        "preRunningDeadlineSeconds", "shutdownAfterJobFinishes", "suspend",
    },
    "RayClusterSpec": {
        "upgradeStrategy", "authOptions", "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations",
        "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion", "workerGroupSpecs",
    },
    "HeadGroupSpec": {
        "template", "headService", "enableIngress", "resources", "labels", "rayStartParams", "serviceType",
    },
    "WorkerGroupSpec": {
        "suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "resources", "labels",
        "rayStartParams", "template", "scaleStrategy", "numOfHosts",
    },
    "PodSpec": {"securityContext", "initContainers", "containers", "volumes"},
    "Container": {
        "name", "image", "command", "args", "env", "ports", "resources", "volumeMounts", "readinessProbe",
    },
}  # fmt: skip


def check_pod(pod: dict[str, Any]) -> None:
    assert pod.keys() <= FIELDS["PodSpec"]
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    mounted: set[str] = set()
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        assert container.keys() <= FIELDS["Container"]
        assert {"name", "image"} <= container.keys()
        mounted |= {mount["name"] for mount in container.get("volumeMounts", ())}
        ports = {port["name"] for port in container.get("ports", ())}
        if "readinessProbe" in container:
            assert container["readinessProbe"]["httpGet"]["port"] in ports
    assert mounted == volumes


def test_the_rayjob_has_only_fields_that_kuberay_knows() -> None:
    job = kubernetes()["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    assert job.keys() <= FIELDS["RayJob"]
    spec = job["spec"]
    assert spec.keys() <= FIELDS["RayJobSpec"]
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    cluster = spec["rayClusterSpec"]
    assert cluster.keys() <= FIELDS["RayClusterSpec"]
    head = cluster["headGroupSpec"]
    assert head.keys() <= FIELDS["HeadGroupSpec"]
    check_pod(head["template"]["spec"])
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= FIELDS["WorkerGroupSpec"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        check_pod(group["template"]["spec"])
    for params in (head["rayStartParams"], *(group["rayStartParams"] for group in cluster["workerGroupSpecs"])):
        assert all(isinstance(value, str) for value in params.values())
        check_ray(["start", "--head", *(f"--{name}={value}" for name, value in params.items())])


def test_the_rayjob_is_repeated_cleaned_up_and_keeps_its_run_folder() -> None:
    documents = kubernetes()
    spec = documents["RayJob"]["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    tts = without_python(shlex.split(spec["entrypoint"]))
    assert tts is not None
    parameters = check_tts(tts)
    pod = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    paths = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
    claim = documents["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    mounted = paths[str(parameters["out"].parent)]
    assert mounted["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    folder, _, name = str(parameters["cluster"]).rpartition("/")
    config = documents["ConfigMap"]
    assert paths[folder]["configMap"] == {"name": config["metadata"]["name"]}
    assert yaml.safe_load(config["data"][name]) == read("cluster.yaml")


def test_the_rayjob_asks_the_engine_that_is_beside_it_and_waits_for_it() -> None:
    documents = kubernetes()
    deployment, service = documents["Deployment"]["spec"], documents["Service"]
    check_pod(deployment["template"]["spec"])
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    (port,) = service["spec"]["ports"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert port["targetPort"] in {entry["name"] for entry in container["ports"]}
    here = f"http://{service['metadata']['name']}:{port['port']}"
    spec = documents["RayJob"]["spec"]
    parameters = check_tts(shlex.split(spec["entrypoint"])[1:])
    assert parameters["base_url"] == [f"{here}/v1"]
    assert f"--served-model-name={parameters['model']}" in container["args"]
    assert service["metadata"]["name"] != "vllm"  # it would set VLLM_PORT
    (waits,) = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["initContainers"]
    assert f"{here}/health" in waits["command"][-1]
    subprocess.run([*waits["command"][:1], "-n", *waits["command"][1:]], check=True)


def test_the_actors_fit_on_the_workers_and_none_on_the_head() -> None:
    cluster = kubernetes()["RayJob"]["spec"]["rayClusterSpec"]
    spec = ClusterSpec.of(LAUNCH / "cluster.yaml")
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (workers,) = cluster["workerGroupSpecs"]
    cpus = float(workers["rayStartParams"]["num-cpus"])
    assert isinstance(spec.generators.count, int)
    assert spec.verifiers.count == "per_node"
    assert spec.verifiers.cpus <= cpus
    assert spec.generators.count * spec.generators.cpus <= workers["replicas"] * (cpus - spec.verifiers.cpus)
    types = read("ray-up.yaml")["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert spec.generators.cpus + spec.verifiers.cpus <= types["worker"]["resources"]["CPU"]


# --- ray-up.yaml


def test_ray_up_reads_its_file() -> None:
    config = read("ray-up.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["available_node_types"]["worker"]["min_workers"] > 0
    for text in [*config["initialization_commands"], *config["setup_commands"]]:
        subprocess.run(["bash", "-n", "-c", text], check=True)


def test_ray_up_brings_the_wheel_that_the_readme_builds_and_a_token() -> None:
    config = read("ray-up.yaml")
    mounts = {here: there for there, here in config["file_mounts"].items()}
    assert mounts["~/.ray/auth_token"].endswith("/.ray/auth_token")
    (install,) = config["setup_commands"]
    assert f"{mounts['dist']}/test_time_scaling-*.whl" in install
    section = README[README.index("## 3.") : README.index("## 4.")]
    assert "python -m build --wheel" in section
    assert "ray get-auth-token --generate" in section
    (volume,) = [option for option in config["docker"]["run_options"] if option.startswith("-v ")]
    host, inside = volume.removeprefix("-v ").split(":")
    assert host in config["initialization_commands"][-1]
    assert f"--out {inside}/" in section


# --- slurm.sh


def test_the_slurm_script_is_bash_and_its_directives_are_sbatchs() -> None:
    subprocess.run(["bash", "-n", LAUNCH / "slurm.sh"], check=True)
    lines = (LAUNCH / "slurm.sh").read_text().splitlines()
    assert lines[0].startswith("#!")
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert directives == [line.removeprefix("#SBATCH ") for line in lines[:first_command] if "#SBATCH" in line]
    with_value = {"--job-name", "--nodes", "--ntasks-per-node", "--cpus-per-task", "--time"}
    for directive in directives:
        name, equals, _ = directive.partition("=")
        assert name in (with_value if equals else {"--exclusive", "--requeue"})
    assert {"--ntasks-per-node=1", "--exclusive", "--requeue"} <= set(directives)


def test_the_slurm_script_says_what_it_misses(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_BASE_URL"}
    done = subprocess.run(
        ["bash", LAUNCH / "slurm.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "OPENAI_BASE_URL" in done.stderr


def test_srun_starts_one_symmetric_run_on_every_node(slurm: dict[str, Any]) -> None:
    words = slurm["words"]
    srun = words[: words.index("ray")]
    assert srun == ["--nodes=4", "--ntasks-per-node=1", "--cpus-per-task=32", "--kill-on-bad-exit=1"]
    own, inner = symmetric_run(words)
    context = ray_cli.commands["symmetric-run"].make_context("symmetric-run", [*own, "--", *inner])
    assert (context.params["address"], context.params["min_nodes"]) == ("n1:6379", 4)
    for_start = curate_and_validate_ray_start_args(own)  # refuses --head and the like
    assert for_start == ["--num-cpus=32"]
    check_ray(["start", "--head", *for_start])


def test_symmetric_run_runs_a_sweep_on_the_ray_that_it_has_started(slurm: dict[str, Any]) -> None:
    own, inner = symmetric_run(slurm["words"])
    tts = without_python(inner)
    assert tts is not None
    parameters = check_tts(tts)
    assert (ROOT / parameters["cluster"]).is_file()
    assert parameters["address"] == own[own.index("--address") + 1]
    spec = ClusterSpec.of(ROOT / parameters["cluster"], address=parameters["address"])
    assert spec.address == "n1:6379"


# --- serve.yaml and serve_llm.yaml, against Ray's source: to import it takes the extras `serve` and `llm`


def fields_of(path: str, name: str) -> set[str]:
    """The annotated names of a class in a file of Ray."""
    (found,) = [
        node
        for node in ast.walk(ast.parse((RAY / path).read_text()))
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return {ast.unparse(entry.target) for entry in found.body if isinstance(entry, ast.AnnAssign)}


@pytest.mark.parametrize("name", ["serve.yaml", "serve_llm.yaml"])
def test_ray_serve_knows_every_field_of_its_file(name: str) -> None:
    config = read(name)
    assert config.keys() <= fields_of("serve/schema.py", "ServeDeploySchema")
    assert config["proxy_location"] in ("EveryNode", "HeadOnly", "Disabled")
    assert config["http_options"].keys() <= fields_of("serve/schema.py", "HTTPOptionsSchema")
    (application,) = config["applications"]
    assert application.keys() <= fields_of("serve/schema.py", "ServeApplicationSchema")
    assert {"name", "import_path", "args"} <= application.keys()
    module, _, builder = application["import_path"].partition(":")
    found = importlib.util.find_spec(module)
    assert found is not None and found.origin is not None
    source = ast.parse(Path(found.origin).read_text())
    assert builder in {node.name for node in source.body if isinstance(node, ast.FunctionDef)}


def check_deployment(deployment: dict[str, Any]) -> None:
    """Ray Serve's options of one deployment."""
    assert deployment.keys() <= fields_of("serve/schema.py", "DeploymentSchema")
    scaling = deployment["autoscaling_config"]
    assert scaling.keys() <= fields_of("serve/config.py", "AutoscalingConfig")
    assert scaling["min_replicas"] <= scaling["max_replicas"]
    assert scaling["target_ongoing_requests"] <= deployment["max_ongoing_requests"]


def test_the_replicas_are_a_server_whose_own_file_can_be_read(tmp_path: Path) -> None:
    (application,) = read("serve.yaml")["applications"]
    (tmp_path / "keys.yaml").write_text("bob: {key: 'sha256:" + "ab" * 32 + "', budget: tokens=1m}")
    arguments = {**application["args"], "keys": f"{tmp_path}/keys.yaml", "state": f"{tmp_path}/state"}
    setup = setup_of(arguments)
    assert (setup.keys[0].name, setup.settings.strategy) == ("bob", application["args"]["strategy"])
    (deployment,) = application["deployments"]
    assert f"class {deployment['name']}:" in (ROOT / "tts/serve/replicas/deployment.py").read_text()
    check_deployment(deployment)
    text = (LAUNCH / "serve.yaml").read_text().replace("# cluster: ray", "cluster: ray")
    assert yaml.safe_load(text)["applications"][0]["args"]["cluster"] == "ray"


def test_ray_serve_llm_knows_every_field_of_the_engines() -> None:
    (application,) = read("serve_llm.yaml")["applications"]
    arguments = application["args"]
    assert arguments.keys() <= fields_of("llm/_internal/serve/core/ingress/builder.py", "LLMServingArgs")
    path = "llm/_internal/serve/core/configs/llm_config.py"
    (engine,) = arguments["llm_configs"]
    assert engine.keys() <= fields_of(path, "LLMConfig")
    assert engine["model_loading_config"].keys() <= fields_of(path, "ModelLoadingConfig")
    check_deployment(engine["deployment_config"])
    assert all(name in (RAY / path).read_text() for name in engine["experimental_configs"])
    accelerators = (RAY / "util" / "accelerators" / "accelerators.py").read_text()
    assert f'= "{engine["accelerator_type"]}"' in accelerators


def test_the_readme_asks_the_fleet_for_the_model_that_it_serves() -> None:
    (application,) = read("serve_llm.yaml")["applications"]
    section = README[README.index("## 5.") : README.index("## 6.")]
    model = application["args"]["llm_configs"][0]["model_loading_config"]["model_id"]
    assert f"--model {model} " in section
    assert f":{read('serve_llm.yaml')['http_options']['port']}/v1" in section
