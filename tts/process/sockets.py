"""Sockets that listen."""

from __future__ import annotations

import ipaddress
import socket

from tts.errors import InvalidParameter

_BACKLOG = 2048  # connections that may wait to be accepted


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises: InvalidParameter where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        opened.close()
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidParameter(f"port {port} of {host} cannot be listened on: {why}", name="port") from None
    opened.setblocking(False)
    return opened


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
