"""The abilities of this machine and of an endpoint, found by trying."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tts.clusters.ray.environment import prepare
from tts.clusters.spec import ClusterSpec
from tts.core.actions import SOLVER
from tts.errors import TTSError
from tts.models.findings import Finding, capabilities
from tts.models.options import Target
from tts.models.roles.role import ModelRole, Server
from tts.models.target import roles_of

EXTRAS = {
    "local": ("xllamacpp", "a small model in process"),
    "math": ("math_verify", "equivalence of mathematical answers"),
    "report": ("vl_convert", "pictures in reports"),
    "tasks": ("reasoning_gym", "problems from reasoning-gym"),
}


def examine(
    base_urls: Sequence[str],
    model: str | None,
    api_key: str | None,
    cluster: str | Path = "local",
    address: str | None = None,
    **roles: Any,
) -> list[Finding]:
    """Look at the machine and at each role's endpoints: from here, or from the nodes of a Ray cluster. `roles`: keys of
    a target, `models` and `model_for`. Raises: InvalidParameter, UnknownName."""
    target: Target = {"base_url": base_urls, "model": model, "api_key": api_key, **roles}  # type: ignore[typeddict-item]
    findings = [*_machine(), *asyncio.run(_workers())]
    findings.append(Finding("sandbox", None, "none: a model's programs are executed only with --unsafe-execute"))
    spec = ClusterSpec.of(cluster, address=address)
    if spec.cluster == "ray":
        prepare(spec.address)
        from tts.clusters.ray.doctor import look

        return [*findings, *asyncio.run(look(spec, spec.resolved(target)))]
    for name, role in roles_of(spec.resolved(target)).items():
        findings += _role(name, role)
    return findings


def _role(name: str, role: ModelRole) -> list[Finding]:
    """The endpoints of a role, or its model in process."""
    found = [] if name == SOLVER else [Finding(f"role {name}", True, role.model or "the only model of its endpoint")]
    for server in role.servers:
        found += asyncio.run(_endpoint(server, role))
    return found if role.servers else [*found, *_embedded(role.model, listed=name == SOLVER)]


def _machine() -> list[Finding]:
    found = []
    for extra, (module, purpose) in EXTRAS.items():
        here = importlib.util.find_spec(module) is not None
        detail = purpose if here else f"{purpose}: pip install 'test-time-scaling[{extra}]'"
        found.append(Finding(f"extra {extra}", here, detail))
    return found


async def _workers() -> list[Finding]:
    """Verifiers and graders that may hang need processes that can be killed: start one and kill one."""
    from tts.workers.killable_processes import Workers

    async with Workers(1) as workers:
        try:
            fine = await workers.call("operator:add", (1, 1), timeout_s=30) == 2
            return [Finding("verifier workers", fine, "processes start, answer and can be killed", needed=True)]
        except TTSError as error:
            return [Finding("verifier workers", False, error.message, needed=True)]


async def _endpoint(server: Server, role: ModelRole) -> list[Finding]:
    from tts.models.openai.client import OpenAIClient

    client = OpenAIClient(server.url, model=role.model, api_key=server.key, headers=server.headers, api=role.api)
    try:
        seen = await client.probe()
    except TTSError as error:
        return [Finding(f"endpoint {client.endpoint}", False, error.message, needed=True)]
    finally:
        await client.aclose()
    return capabilities(client.endpoint, seen)


def _embedded(wanted: str | None, *, listed: bool) -> list[Finding]:
    from tts.models.weights import PREFIX, find, info, models

    findings = [
        Finding(
            f"model {m.name}", m.path is not None, str(m.path) if m.path else f"not pulled: tts model pull {m.name}"
        )
        for m in models()
        if listed or m.name == (wanted or "").removeprefix(PREFIX)
    ]
    if wanted is not None and info(wanted.removeprefix(PREFIX)) is None:
        try:
            findings.append(Finding(f"model {wanted}", True, str(find(wanted)[1])))
        except TTSError as error:
            findings.append(Finding(f"model {wanted}", False, error.message, needed=True))
    return findings
