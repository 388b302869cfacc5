"""`tts doctor`."""

from __future__ import annotations

import typer

from tts.cli.options import Address, ApiKey, BaseUrl, ClusterName, Json, Model
from tts.cli.output import print_json


def doctor(
    base_url: BaseUrl = None,
    model: Model = None,
    api_key: ApiKey = None,
    cluster: ClusterName = "local",
    address: Address = None,
    json: Json = False,
) -> None:
    """Check this machine, a cluster, and what an endpoint can do, by trying it."""
    from tts.cli.examination import examine
    from tts.models.target import urls_of
    from tts.process.console import console, say

    findings = examine(urls_of({"base_url": base_url, "model": model}), model, api_key, cluster, address)
    if json:
        print_json(findings)
    else:
        out = console()
        for finding in findings:
            mark = {True: "ok  ", False: "no  ", None: "?   "}[finding.ok]
            say(out, f"{mark}{finding.what}: {finding.detail}", 4)
    if any(finding.ok is False and finding.needed for finding in findings):
        raise typer.Exit(3)
