"""`tts doctor`."""

from __future__ import annotations

from typing import Any

import typer

from tts.cli.options import Json, with_options
from tts.cli.output import print_json
from tts.cli.values import headers_of


@with_options("base_url", "model", "api_key", "headers", "models", "model_for", "cluster", "address")
def doctor(json: Json = False, **options: Any) -> None:
    """Check this machine, a cluster, and the capabilities of each role's endpoints, by trying them."""
    from tts.cli.examination import examine
    from tts.process.console import console, say

    options["headers"] = headers_of(options["headers"])
    findings = examine(options.pop("base_url") or (), **options)
    if json:
        print_json(findings)
    else:
        out = console()
        for finding in findings:
            mark = {True: "ok  ", False: "no  ", None: "?   "}[finding.ok]
            say(out, f"{mark}{finding.what}: {finding.detail}", 4)
    if any(finding.ok is False and finding.needed for finding in findings):
        raise typer.Exit(3)
