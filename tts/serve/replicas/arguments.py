"""The arguments of the application of replicas, as `clusters/launch/serve.yaml` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tts.core.budget import Limits
from tts.errors import InvalidParameter
from tts.serve.keys import ANYBODY
from tts.serve.setup import Settings, Setup

OF_ONE_PROCESS = ("host", "port", "drain_s", "tls_cert", "tls_key")
OF_THE_APPLICATION = ("anybody", "deployment", "revision")


def setup_of(args: Mapping[str, Any]) -> Setup:
    """The arguments of an application, read and checked. Raises: UsageError."""
    for name in args.keys() & {*OF_ONE_PROCESS}:
        raise InvalidParameter(f"{name} is of one server: Ray Serve has its own (http_options, deployments)", name=name)
    if args.get("run_budget"):
        raise InvalidParameter("run_budget is of one server: give each key its budget instead", name="run_budget")
    own = {*Settings.__struct_fields__, *OF_THE_APPLICATION}
    settings = _settings({name: args[name] for name in Settings.__struct_fields__ if name in args})
    setup = Setup.read(settings, {name: value for name, value in args.items() if name not in own})
    if setup.keys == [ANYBODY] and not args.get("anybody"):
        raise InvalidParameter(
            "keys are missing: whoever reaches Ray Serve's port could ask. Add keys: FILE, or anybody: true",
            name="keys",
        )
    if settings.state is None and any(key.limits != Limits() for key in setup.keys):
        raise InvalidParameter(
            "state is missing: the keys have budgets, and Ray may start the process that keeps them anew. Add state: "
            "a folder that every node reaches",
            name="state",
        )
    setup.client()  # raises what is wrong with its options
    return setup


def _settings(fields: Mapping[str, Any]) -> Settings:
    try:
        return msgspec.convert(fields, Settings, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"an argument is of a wrong type: {error}") from None
