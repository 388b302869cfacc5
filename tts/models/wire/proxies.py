"""The proxy through which an endpoint is reached, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from tts.errors import InvalidParameter
from tts.models.wire.address import shown, user_of

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. `name` is its URL without credentials, `user` is `name:password`."""

    name: str
    user: str | None = field(default=None, repr=False)


def proxy_for(endpoint: str) -> Proxy | None:
    """The proxy for this endpoint, looked up once; never one for this machine.

    Raises: InvalidParameter for a proxy that is not an HTTP proxy.
    """
    parts = urlsplit(endpoint)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if host == "localhost" or host.endswith(".localhost") or _is_loopback(host):
        return None
    found = getproxies_environment()
    if any(_spares(rule, host, port) for rule in found.get("no", "").replace(",", " ").split()):
        return None
    if not found:  # the system's setting, if there is one
        found = {} if proxy_bypass(host) else getproxies()
    kind = parts.scheme if found.get(parts.scheme) else "all"
    given = found.get(kind, "").strip().strip("\"'")
    return _read(given, f"{kind.upper()}_PROXY", host) if given else None


def _read(given: str, variable: str, host: str) -> Proxy:
    url = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(url)
        fine = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise InvalidParameter(
            f"{variable} names {shown(given)!r}, and a proxy must look like http://host:3128 (SOCKS is not supported); "
            f"NO_PROXY={host} asks the server without it",
            name=variable,
        )
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return Proxy(name, user_of(parts))


def _spares(rule: str, host: str, port: int) -> bool:
    """Whether a rule of NO_PROXY holds for a host: `*`, a name with everything below it (with or without a leading dot
    or star), an address, a network as 10.0.0.0/8; each but the last may have a port."""
    if rule == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except (ValueError, TypeError):
        pass  # the host or the rule is a name, or the rule has a port, or their IP versions differ
    name, only = _without_port(rule)
    if only is not None and only != port:
        return False
    name = name.removeprefix("*").lstrip(".").rstrip(".").lower()
    host = host.rstrip(".").lower()
    return bool(name) and (host == name or (host.endswith(f".{name}") and not _is_address(host)))


def _without_port(rule: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{rule}")
        return (parts.hostname or "", parts.port) if rule.count(":") == 1 or "]" in rule else (rule, None)
    except ValueError:
        return rule, None


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
