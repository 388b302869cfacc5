"""A request as it is sent to one server: the API's address, and the body without refused parameters. Pure."""

from __future__ import annotations

from typing import Any

from tts.core.actions import Request
from tts.errors import BadResponse, ContextTooLong, EndpointError, RequestRejected, ServerFailed, Unauthorized
from tts.models.wire.address import Place
from tts.models.wire.failures import is_nan_refusal, say_more
from tts.models.wire.refused_parameters import Refusals, losses, may_be_left_out, refused_parameter
from tts.models.wire.request import without

_REFUSES = (400, 403, 422)
_NOT_HERE = (404, 405)


class Attempt:
    """A request that is sent in other forms until the server takes it.

    Attributes:
        base: the URL to which it is sent now.
    """

    def __init__(self, request: Request, body: dict[str, Any], refusals: Refusals, place: Place) -> None:
        self._request = request
        self._body = body
        self._refusals = refusals
        self._place = place
        self._bases = list(place.bases)
        self._refused: frozenset[str] = frozenset()
        self._without: frozenset[str] = frozenset()
        self._nan: frozenset[str] = frozenset()
        self.base = self._bases.pop(0)

    def body(self) -> dict[str, Any]:
        """The body to send now, without parameters that the endpoint is known to refuse or has refused in this
        request."""
        self._without = self._refused | self._known()
        return self._sent()

    def losses(self) -> tuple[str, ...]:
        """Names of the parameters left out whose absence changes the request's meaning."""
        left_out = self._without | self._nan
        return losses(left_out, may_be_left_out(self._body)) if left_out else ()

    def answered(self) -> None:
        """Note that the server has taken the request in its current form."""
        self._place.answers(self.base)
        self._refusals.answered(self._request, self._body, self._without)

    def changes_after(self, error: EndpointError) -> bool:
        """Whether the request has another form to try after this error, which becomes the current one."""
        if isinstance(error, ServerFailed):
            if not is_nan_refusal(error) or error.facts.get("tokens") or "logprobs" not in self._sent():
                return False
            self._nan |= {"logprobs"}
            return True
        if is_elsewhere(error):
            return self._moves(error)
        if isinstance(error, ContextTooLong) or error.facts.get("status") not in _REFUSES:
            return False
        if not isinstance(error, RequestRejected | Unauthorized):
            return False
        name = refused_parameter(error.facts["said"], error.facts.get("param"), may_be_left_out(self._sent()))
        found = self._known() | ({name} if name else set())  # other requests may have found them while this one was out
        self._refused |= found
        return not found <= self._without

    def _known(self) -> frozenset[str]:
        return self._refusals.of(self._request, self._body)

    def _sent(self) -> dict[str, Any]:
        """The body as it was sent last."""
        left_out = self._without | self._nan
        return without(self._body, left_out) if left_out else dict(self._body)

    def _moves(self, error: EndpointError) -> bool:
        if self._bases:
            self.base = self._bases.pop(0)
            return True
        if len(self._place.bases) > 1:
            say_more(error, f"There is no API at any of {', '.join(self._place.bases)}.")
        return False


def is_elsewhere(error: EndpointError) -> bool:
    """Whether an error means that there is no API at the URL."""
    page = isinstance(error, BadResponse) and bool(error.facts.get("page"))
    return page or (isinstance(error, RequestRejected) and error.facts.get("status") in _NOT_HERE)
