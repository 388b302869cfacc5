"""What tests share: one thread for linear algebra, pictures that are not drawn, a process that makes reasoning-gym's
problems, a Ray cluster, a browser."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from hypothesis import settings

from tts.models.wire.address import place_of
from tts.models.wire.refused_parameters import refusals_of
from tts.reports.charts import live as livecharts
from tts.workers.killable_processes import Workers

# Small matrices are slower on two threads than on one, and two processes run tests side by side. Read on its import.
assert "numpy" not in sys.modules
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("any machine", deadline=None)  # a busy one fails no example
settings.load_profile("any machine")

# The files that take longest go first, or one of them would run alone at the end, beside processes that are done.
LONGEST = ["cli/test_main", "planning/test_plan", "api/test_sweep", "planning/test_advice", "tasks/test_graders",
           "core/scheduling/test_scheduler", "reports/test_pool", "clusters/test_clusters",
           "workers/test_killable_processes", "answers/test_extraction", "test_types", "pools/test_from_run",
           "core/trials/test_sessions", "methods/test_methods", "strategies/voting/test_majority_vote",
           "strategies/tournaments/test_tournaments", "core/allocation/test_shared_budget", "test_layers",
           "models/openai/test_transport", "models/openai/test_client", "models/test_weights", "api/test_replays",
           "strategies/selection/test_best_of_n", "strategies/selection/test_selection", "core/trials/test_trial",
           "models/test_endpoint_pool", "workers/test_step_limits", "strategies/test_published",
           "tasks/test_sources"]  # fmt: skip

# The files that use the Ray cluster below: one process runs them all, because two clusters would share two cores.
# `make test-system` begins with them, and in its other process with those that take longest.
OF_THE_RAY_CLUSTER = ["clusters/ray/test_cluster", "clusters/ray/test_hedges", "clusters/ray/test_serving",
                      "clusters/ray/test_what_strategies_say", "clusters/test_clusters",
                      "clusters/virtual/test_replay_processes", "serve/replicas/test_deployment",
                      "system/test_chaos"]  # fmt: skip
LONGEST_OF_SYSTEM = ["clusters/ray/test_own_ray", "clusters/ray/test_job", "system/test_docs", "system/test_resume",
                     "system/test_kills", "clusters/ray/test_metrics", "system/test_packaging",
                     "models/test_budget_law", "workers/test_killable_processes", "cli/test_main",
                     "view/test_page", "workers/test_step_limits", "strategies/test_compositions", "reports/test_pool",
                     "reports/test_sweep", "plugins/test_given"]  # fmt: skip


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of three nodes on this machine, started when first asked for, of the processes that
    actors need; this process is connected to it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        taken = tmp_path_factory.getbasetemp().parent / "ray_cluster"  # in the folder of all processes of the run
        assert not taken.exists(), "two processes start the Ray cluster: OF_THE_RAY_CLUSTER, with --dist loadscope"
        taken.touch()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from tts.clusters.ray.environment import prepare

    prepare("the cluster below")
    import ray
    from ray.cluster_utils import Cluster

    from tts.clusters.ray.own import few_processes

    with few_processes():  # the nodes that tests add, too; `test_job.py` has all of Ray's processes
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
        for _ in range(2):
            cluster.add_node(num_cpus=4)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of Chromium or Chrome. Without one its tests fail: a skipped law is an unchecked one."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.fail("the tests of pages need Chromium or Chrome: install one, or run `make test`, which does without")
    return found


@pytest.fixture(scope="session", autouse=True)
def drawing() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Inside `with drawing():` reports have real pictures. Elsewhere these are empty: drawing takes seconds a report,
    and few tests look."""
    try:
        import vl_convert
    except ImportError:  # without the extra `report` nothing is drawn anyway
        yield nullcontext
        return
    empty: dict[str, Callable[..., object]] = {
        "vegalite_to_svg": lambda spec, **_: "<svg></svg>",
        "svg_to_png": lambda svg, **_: b"\x89PNG",
        "embed_script": lambda version: "",
    }
    homes = {name: livecharts if name == "embed_script" else vl_convert for name in empty}
    real = {name: getattr(home, name) for name, home in homes.items()}

    def use(functions: dict[str, Callable[..., object]]) -> None:
        for name, function in functions.items():
            setattr(homes[name], name, function)

    @contextmanager
    def drawn() -> Iterator[None]:
        use(real)
        try:
            yield
        finally:
            use(empty)

    use(empty)
    yield drawn
    use(real)


@pytest.fixture(scope="module")
def reasoning_gym() -> Iterator[Workers]:
    """The process in which `tasks.load` makes reasoning-gym's problems, one for all tests of a file: importing that
    package takes 1.4 s of CPU time."""
    pytest.importorskip("reasoning_gym", reason="the extra `tasks` is not installed")
    with Workers(1, private=True) as workers, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tts.tasks.sources.Workers", lambda *args, **more: nullcontext(workers))
        yield workers


def name_of(nodeid: str) -> str:
    """The test's file, from this folder, without the suffix."""
    return nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        first = [*OF_THE_RAY_CLUSTER, *LONGEST_OF_SYSTEM] if item.get_closest_marker("system") else LONGEST
        return [*first, name_of(item.nodeid)].index(name_of(item.nodeid))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` a class, or a file's functions, stay in one process; so do all files of the Ray cluster.
    Not `--dist loadgroup`, whose groups pytest-xdist 3.8 passes over without a word where pytest is 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if name_of(nodeid) in OF_THE_RAY_CLUSTER else str(super()._split_scope(nodeid))

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(autouse=True)
def nothing_is_known_of_any_endpoint() -> None:
    """What the process has found out about servers: a port may be another server's in the next test."""
    refusals_of.cache_clear()
    place_of.cache_clear()
