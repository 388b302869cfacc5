"""The checks of `tts doctor --cluster ray`: nodes, actors, and each endpoint's capabilities as seen from each node."""

from __future__ import annotations

from tts.clusters.ray import connect
from tts.clusters.ray.cluster import open_ray
from tts.clusters.spec import ClusterSpec
from tts.core.actions import SOLVER
from tts.errors import TTSError
from tts.models.findings import Finding, capabilities
from tts.models.options import Target
from tts.models.wire.address import shown


async def look(spec: ClusterSpec, target: Target) -> list[Finding]:
    """Start the actors of a cluster for a resolved target, and let them try the endpoints out. Spends a few dozen
    tokens for each endpoint and node."""
    try:
        async with open_ray(spec, target) as backend:
            await backend.open_verifiers()
            nodes = connect.nodes()
            found = [Finding("cluster", True, f"{len(nodes)} nodes, {connect.resources()}", needed=True)]
            for node in nodes:
                state = "about to go" if node.draining else "up"
                having = ", ".join(f"{k} {v:g}" for k, v in sorted(node.resources.items()) if ":" not in k)
                found.append(Finding(f"  node {node.host} {node.id[:8]}", not node.draining, f"{state}: {having}"))
            found += [
                Finding(f"  actor {line.partition(':')[0]}", True, line.partition(": ")[2]) for line in backend.status()
            ]
            for actor, asked, seen in await backend.probe():
                role = "" if asked.role == SOLVER else f" of the role {asked.role}"
                found += capabilities(f"{shown(asked.server.url)}{role} from {actor}", seen)
            return found
    except TTSError as error:
        return [Finding("cluster", False, error.message, needed=True)]
