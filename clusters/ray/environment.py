"""The environment that Ray reads: when it is imported, and when its own processes start. Imports no ray.

The latter only take hold in a Ray that is started here; `clusters/launch/` sets them where a cluster is started.
Whatever is set already is left as it is.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from collections.abc import Mapping

from tts.errors import MissingExtra

ENVIRONMENT: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or every worker would copy the folder and resolve its packages again
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's announced default
    "RAY_worker_niceness": "0",  # Ray's own 15 lets any busy process delay a cancellation by seconds
    "RAY_timeout_ms_task_wait_for_death_info": "100",  # a dead actor is noticed after 0.6 s instead of 1.6 s
    "RAY_health_check_period_ms": "1000",  # a dead node after about 5 s instead of 16 s
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "5",
}


def address_of_ray(address: str | None) -> str | None:
    """The address that was given, or RAY_ADDRESS; None: a Ray of our own on this machine."""
    found = address or os.environ.get("RAY_ADDRESS") or None
    return None if found == "local" else found


def prepare(address: str | None) -> None:
    """Set Ray's environment; call it before ray is imported. Raises: MissingExtra where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra(
            "a Ray cluster needs Ray, which is not installed here: pip install 'ray>=2.52', or leave out cluster",
            extra="ray",
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address_of_ray(address) is None:  # or Ray prints the last page of these dumps when it dies under its program
        os.environ.setdefault("RAY_debug_dump_period_milliseconds", "0")
    # A client that may connect to a Ray may run anything there: this one asks for a token that only its processes know.
    if address_of_ray(address) is None and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
