"""What tests of the Ray cluster share: one cluster of three nodes on this machine, started when first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of three nodes; this process is connected to it."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from tts.clusters.environment import prepare

    prepare("the cluster below")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=4)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
