"""The address of an OpenAI-compatible API, read from a given URL, and the part of it that may be shown. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

from tts.errors import InvalidParameter, TTSError
from tts.models.wire.foreign import of_address

LEAST_SECRET = 4  # characters: shorter ones are in every error message
LEAST_SECRET_IN_QUERY = 8
HIDDEN = "[hidden]"
_CALLS = ("/chat/completions", "/completions")
_VERSION = re.compile(r"v\d+\w*", re.I)
_NOT_IN_HOSTS = frozenset('\\^<>"`{}|')


@dataclass(frozen=True)
class Address:
    """One API server.

    Attributes:
        name: the URL in front of `/chat/completions` as far as it is shown and recorded: without credentials, and
            without the query, which may hold keys.
        bases: the API's possible URLs, the likeliest first: one without a version is meant with `/v1` or as it stands.
        query: of every request: "", or `?` and the rest.
        user: `name:password` for basic authentication.
    """

    name: str
    bases: tuple[str, ...]
    query: str = field(default="", repr=False)
    user: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a base URL, or the full address of a call. Raises: InvalidParameter, without the URL's credentials."""
        parts = _split(str(url).strip())
        host = parts.netloc.rpartition("@")[2]
        path = f"/{parts.path.strip('/')}".rstrip("/")
        if foreign := of_address(f"{parts.scheme}://{host}{path}"):
            raise InvalidParameter(f"base URL {shown(url)!r} is not one of OpenAI's API. {foreign}", name="base_url")
        call = next((call for call in _CALLS if path.endswith(call)), "")
        path = path.removesuffix(call or "/models")
        bare = f"{parts.scheme}://{host}{path}"
        if any(map(_VERSION.fullmatch, path.split("/"))) or "api-version" in parts.query:
            bases: tuple[str, ...] = (bare,)
        else:
            bases = (bare, f"{bare}/v1") if call else (f"{bare}/v1", bare)
        return cls(bases[0], bases, f"?{parts.query}" if parts.query else "", user_of(parts))

    def headers(self, key: str, given: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """The headers of authentication, and those that were given, which replace them. Azure has a header of its own
        for keys, and leaves the usual one to its tokens."""
        azure = "/openai/deployments/" in self.name and not key.startswith("eyJ")
        headers = {"api-key": key} if azure else {"Authorization": f"Bearer {key}"}
        if self.user is not None:
            headers["Authorization"] = basic(self.user)
        replaced = {name.lower() for name in given}
        return {**{name: value for name, value in headers.items() if name.lower() not in replaced}, **given}

    def secrets(
        self, key: str, *users: str | None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> re.Pattern[str] | None:
        """A pattern of the texts that must not be shown: the key, the credentials of the address and of these users,
        long values of the query, and those of headers, which may have a scheme (`Bearer`) before them."""
        found = ({key} - {"EMPTY"}) | {part for value in headers.values() for part in (value, value.rpartition(" ")[2])}
        for user in filter(None, (self.user, *users)):
            name, _, password = user.partition(":")
            found |= {user, password or name, basic(user).partition(" ")[2]}
        for pair in self.query.removeprefix("?").split("&"):
            name, _, value = pair.partition("=")
            if name != "api-version" and len(value) >= LEAST_SECRET_IN_QUERY:
                found |= {value, unquote_plus(value)}
        return _any_of(found)


def shown(url: str) -> str:
    """A URL, which need not be valid, without its possible secrets."""
    scheme, separator, rest = url.rpartition("://") if "://" in url else ("", "", url)
    return re.split("[?#]", f"{scheme.rpartition('@')[2]}{separator}{rest.rpartition('@')[2]}")[0]


def host_of(url: str) -> str:
    """Host and port of a URL. Raises: InvalidParameter."""
    return _split(url.strip()).netloc.rpartition("@")[2].lower()


def hide(error: TTSError, secrets: re.Pattern[str] | None) -> None:
    """Take secrets that a server has repeated out of an error; its cause, which may hold them, is cut off."""
    error.__cause__ = error.__context__ = None
    if secrets is None:
        return
    error.message = secrets.sub(HIDDEN, error.message)
    error.args = (error.message,)
    error.facts = _hidden(error.facts, secrets)


def _hidden(value: Any, secrets: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return secrets.sub(HIDDEN, value)
    if isinstance(value, Mapping):
        return {name: _hidden(each, secrets) for name, each in value.items()}
    return [_hidden(each, secrets) for each in value] if isinstance(value, list | tuple) else value


def _any_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of secrets, of which short ones match whole words only: `pass` is not hidden in `bypassed`."""
    long = sorted((secret for secret in secrets if len(secret) >= LEAST_SECRET), key=len, reverse=True)
    words = [re.escape(secret) if len(secret) >= 12 else rf"(?<!\w){re.escape(secret)}(?!\w)" for secret in long]
    return re.compile("|".join(words)) if words else None


def user_of(parts: SplitResult) -> str | None:
    """`name:password` of a URL."""
    if "@" not in parts.netloc:
        return None
    return f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"


def basic(user: str) -> str:
    """The header's value for `name:password`."""
    return f"Basic {base64.b64encode(user.encode('utf-8', 'replace')).decode()}"


def _split(url: str) -> SplitResult:
    """The parts of a URL with which a request can be made. Raises: InvalidParameter."""
    why = ""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a port out of range, half an IPv6 address, an empty label
        fine = False
    if fine and not _NOT_IN_HOSTS.isdisjoint(parts.netloc.rpartition("@")[2]):
        fine = False
    if fine and any(character < "!" for character in url):
        fine, why = False, ": it holds a blank or a control character"
    if fine and "@" in parts.path + parts.query + parts.fragment:
        fine, why = False, ": in a user or a password, / ? # @ are written %2F %3F %23 %40"
    if not fine:
        raise InvalidParameter(
            f"base URL must look like http://host:8000/v1, but got {shown(url)!r}{why}",
            name="base_url",
            value=shown(url),
        )
    return parts


class Place:
    """The API's place as far as it was found; `bases` are the URLs to try, the likeliest first."""

    def __init__(self, bases: tuple[str, ...]) -> None:
        self.bases = bases

    def lists_models(self, base: str) -> None:
        """Note that the list of models is at this URL, and so probably the rest."""
        self.bases = (base, *(other for other in self.bases if other != base))

    def answers(self, base: str) -> None:
        """Note that completions are at this URL."""
        self.bases = (base,)


@lru_cache(maxsize=1024)
def place_of(address: Address) -> Place:
    """The place of an address's API as found by this process, so that it is looked for once."""
    return Place(address.bases)


def normalise_base_url(url: str) -> str:
    """Add scheme and API version to a URL, remove a trailing slash and credentials: `http://host:8000` becomes
    `http://host:8000/v1`. Raises: InvalidParameter."""
    return Address.of(url).name
