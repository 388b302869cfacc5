"""The errors of one endpoint in words for a person: with its address and proxy, and without secrets."""

from __future__ import annotations

import contextlib
import re

from tts.errors import BadResponse, ContextTooLong, EndpointError, StreamBroken, Unreachable
from tts.models.openai.transport import NoConnection, NotHTTP, Reply, TransportError
from tts.models.wire.address import hide, host_of
from tts.models.wire.failures import error_of
from tts.models.wire.proxies import Proxy

MOST_SAID = 300  # characters of a refusal that are kept
_MOST_ERROR_BYTES = 1 << 16


class EndpointErrors:
    """Makes the errors of one endpoint.

    Args:
        proxy: through which it is asked.
        secrets: pattern of the texts that must not be shown.

    Attributes:
        name: the endpoint, and its proxy if it has one.
    """

    def __init__(self, endpoint: str, proxy: Proxy | None, secrets: re.Pattern[str] | None) -> None:
        self.endpoint = endpoint
        self.name = endpoint + (f" (through the proxy {proxy.name})" if proxy else "")
        self._proxy = proxy
        self._secrets = secrets

    def clean(self, error: EndpointError) -> EndpointError:
        """Strip an error of secrets, and of facts that only the client reads."""
        hide(error, self._secrets)
        if "said" in error.facts:
            error.facts["said"] = error.facts["said"][:MOST_SAID]
        return error

    def no_answer(self, error: TransportError) -> EndpointError:
        """The error of a request without a response."""
        if isinstance(error, NoConnection):
            return self._unreachable(str(error))
        if isinstance(error, NotHTTP):
            advice = "" if str(error).endswith(".") else ". Is the base URL right?"
            text = f"{self.name} gave no answer that can be read: {error}{advice}"
            return BadResponse(text, endpoint=self.endpoint)
        return self._no_whole_answer(f"gave no answer: {error}")

    def broken_answer(self, path: str, error: TransportError) -> StreamBroken:
        """The error of a short response that has broken off."""
        return self._no_whole_answer(f"broke its answer to {path} off: {error}")

    def _no_whole_answer(self, why: str) -> StreamBroken:
        return StreamBroken(f"{self.name} {why}. Look at the server's log.", endpoint=self.endpoint, tokens=0)

    def _unreachable(self, why: str) -> Unreachable:
        if self._proxy is None:
            advice = "Is the server running, and the base URL right?"
        else:
            advice = f"The environment names the proxy; NO_PROXY={host_of(self.endpoint)} asks the server without it."
        why = why if why.endswith((".", "?")) else f"{why}. {advice}"  # else it has an advice of its own
        return Unreachable(f"cannot connect to {self.name}: {why}", endpoint=self.endpoint)

    async def refusal(self, response: Reply, model: str) -> EndpointError:
        """The error in a response with another status than 200, read as far as it came."""
        said = b""
        with contextlib.suppress(TransportError):  # what came of it may say enough
            while (data := await response.read()) and len(said) <= _MOST_ERROR_BYTES:
                said += data
        return error_of(response.status, response.headers, said, self.endpoint, model, self.name)

    def page(self) -> BadResponse:
        """The error of an HTML page in place of data."""
        return BadResponse(
            f"{self.name} answered with an HTML page. Is the base URL right? It usually ends in /v1.",
            endpoint=self.endpoint,
            page=True,
            final=True,
        )

    def no_list(self, body: bytes) -> EndpointError:
        """The error of a response that is no list of models."""
        said = body[:MOST_SAID].decode("utf-8", "replace")
        text = f"{self.name} does not list models at /models, but says {said!r}. Is the base URL right?"
        return self.clean(BadResponse(text, endpoint=self.endpoint, final=True, listed=False))

    def no_room(self, max_tokens: int) -> ContextTooLong:
        """The error of a prompt that is too long for LMDeploy, which ends the completion at once in place of a
        refusal."""
        return ContextTooLong(
            f"{self.endpoint} generated nothing, because of the length: prompt and max_tokens "
            f"({max_tokens}) do not fit its context. Shorten the prompt or lower max_tokens.",
            endpoint=self.endpoint,
        )
