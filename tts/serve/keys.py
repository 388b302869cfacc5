"""The keys of those who may ask: their names, budgets and numbers of requests at once, from a YAML file.

alice: {key: "sha256:9f86d081884c7d659a2f...", budget: "tokens=1m,usd=5", concurrency: 4}
bob: {key: $BOB_KEY, budget: tokens=200k}
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tts.api.arguments import as_limits
from tts.core.budget import Limits
from tts.errors import InvalidParameter, TTSError
from tts.serve.catalogue import read_yaml
from tts.types import Value

_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_FIELDS = ("key", "budget", "concurrency")


class Key(Value, frozen=True):
    """One who may ask.

    Args:
        name: for logs and messages. digest: SHA-256 of the key; empty for anybody.
        limits: of all its requests together. concurrency: most requests at once; None for no limit.
    """

    name: str
    digest: bytes = b""
    limits: Limits = Limits()
    concurrency: int | None = None


ANYBODY = Key("-")  # where there are no keys


def key_of(header: str | None, keys: Sequence[Key]) -> Key | None:
    """The key that an `Authorization` header holds, in a time that does not depend on which; None: none of these."""
    if keys == [ANYBODY]:
        return ANYBODY
    kind, _, token = (header or "").partition(" ")
    digest = hashlib.sha256(token.strip().encode()).digest()
    found = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    return found[0] if found and kind.lower() == "bearer" else None


def read_keys(path: Path | None) -> list[Key]:
    """Read a file of keys; without one, anybody may ask. Raises: InvalidParameter, which shows no key."""
    if path is None:
        return [ANYBODY]
    keys = [_key(str(name), given, path) for name, given in read_yaml(path, "keys").items()]
    if not keys:
        raise InvalidParameter(f"keys {path} holds no key", name="keys")
    for i, key in enumerate(keys):
        if (same := next((other for other in keys[:i] if other.digest == key.digest), None)) is not None:
            raise InvalidParameter(f"{path}: {same.name} and {key.name} have the same key", name="keys")
    return keys


def _key(name: str, given: object, path: Path) -> Key:
    where = f"{path}: {name}"
    if not isinstance(given, Mapping):
        raise InvalidParameter(f"{where} must be a mapping with {', '.join(_FIELDS)}", name="keys")
    for field in given:
        if field not in _FIELDS:
            raise InvalidParameter(
                f"{where} has an unknown field {field!r}: known are {', '.join(_FIELDS)}", name="keys"
            )
    count = given.get("concurrency")
    if count is not None and (type(count) is not int or count < 1):
        raise InvalidParameter(f"{where}: concurrency must be a whole number from 1 on, but got {count!r}", name="keys")
    try:
        limits = as_limits(given.get("budget") or "")
    except TTSError as error:
        raise InvalidParameter(f"{where}: {error.message}", name="keys") from None
    if any(getattr(limits, other) is not None for other in ("seconds", "flops", "steps")):
        raise InvalidParameter(f"{where}: a key's budget limits samples, tokens and usd, but is {limits}", name="keys")
    return Key(name, _digest(given.get("key"), where), limits, count)


def _digest(given: object, where: str) -> bytes:
    """The hash of a key, which is given itself or as the name of a variable; never shown."""
    text = given if isinstance(given, str) else ""
    if (match := _HASH.fullmatch(text)) is not None:
        return bytes.fromhex(match[1])
    if not text.startswith("$"):
        raise InvalidParameter(
            f"{where}: key must be sha256:HEX (printf %s KEY | sha256sum), or $NAME of a variable that holds the key",
            name="keys",
        )
    if not (value := os.environ.get(text[1:], "")):
        raise InvalidParameter(f"{where}: the variable {text} is not set", name="keys")
    return hashlib.sha256(value.encode()).digest()
