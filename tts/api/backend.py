"""The place where a run is carried out: this process, or the actors of a Ray cluster."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from tts.core.actions import SOLVER
from tts.errors import InvalidParameter
from tts.models.options import Target
from tts.models.target import roles_of
from tts.plugins.loading import check_not_importing

if TYPE_CHECKING:
    from tts.clusters.base import Backend
    from tts.clusters.spec import ClusterSpec


def open_backend(
    cluster: str | Path | ClusterSpec,
    address: str | None,
    target: Target,
) -> AbstractAsyncContextManager[Backend]:
    """Open the place where a run is carried out.

    Raises: as `tts.clusters.local.open_local` and `tts.clusters.ray.cluster.open_ray`; UsageError while a plugin is
    imported.
    """
    from tts.clusters.spec import ClusterSpec

    check_not_importing()
    spec = ClusterSpec.of(cluster, address=address)
    known = spec.resolved(target)
    if spec.cluster == "local":
        from tts.clusters.local import open_local

        if address is not None:
            raise InvalidParameter("an address is a Ray cluster's: add cluster='ray' (--cluster ray)", name="address")
        here: AbstractAsyncContextManager[Backend] = open_local(known)
        return here
    from tts.clusters.ray.environment import prepare

    for name, role in roles_of(known).items():
        if callable(role.model):
            model = "model" if name == SOLVER else f"the model of the role {name}"
            raise InvalidParameter(
                f"{model} is a function of this process, and actors are in others: leave out cluster, or name a server",
                name="model",
            )
    if target.get("http_client") is not None:
        raise InvalidParameter("http_client is of this process, and actors are in others", name="http_client")
    prepare(spec.address)
    from tts.clusters.ray.cluster import open_ray

    there: AbstractAsyncContextManager[Backend] = open_ray(spec, known)
    return there
