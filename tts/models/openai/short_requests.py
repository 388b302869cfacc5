"""Requests to an endpoint besides samples: its list of models, its pages, and answers that are not streamed."""

from __future__ import annotations

import re

from tts.errors import BadResponse, EndpointError, RequestRejected
from tts.models.openai.attempt import is_elsewhere
from tts.models.openai.endpoint_errors import EndpointErrors
from tts.models.openai.httpx_client import HttpxConnections, quoted
from tts.models.openai.model_list import Model, models_in
from tts.models.openai.reading import Silence, Silences
from tts.models.openai.transport import Headers, Reply, TransportError, is_page
from tts.models.wire.address import Place
from tts.models.wire.failures import say_more

_SHORT_S = 10.0  # for requests that decode nothing
_MOST_BYTES = 1 << 24


class ShortRequests:
    """Requests to one endpoint whose answers come in one piece.

    Args:
        errors: of the endpoint.
        silences: the client's.
        place: the API's possible URLs.
        query: of every request: "", or `?` and the rest.
        headers: of every request.
        first_byte_s: the longest that one with a body may take.
    """

    def __init__(
        self,
        connections: HttpxConnections,
        errors: EndpointErrors,
        silences: Silences,
        place: Place,
        query: str,
        headers: Headers,
        first_byte_s: float,
    ) -> None:
        self._connections = connections
        self._errors = errors
        self._silences = silences
        self._place = place
        self._query = query
        self._to_get = headers
        self._to_post = [*headers, ("Content-Type", "application/json")]
        self._first_byte_s = first_byte_s

    async def beside(self, path: str, content: bytes | None = None, model: str = "") -> bytes:
        """The body of a page beside the API, by its path from the root. Raises EndpointError."""
        return await self._ask(re.sub(r"/v\d+\w*$", "", self._place.bases[0]), path, content, model)

    async def of_api(self, path: str, content: bytes, model: str) -> bytes:
        """The API's answer to a request. Raises EndpointError."""
        return await self._ask(self._place.bases[0], path, content, model)

    async def list_models(self, model: str) -> list[Model]:
        """The models that the endpoint lists, at any of the API's URLs. Raises EndpointError."""
        bases = self._place.bases
        for base in bases:
            try:
                body = await self._ask(base, "/models", None, model)
                break
            except EndpointError as error:
                if is_elsewhere(error) and base != bases[-1]:
                    continue
                if isinstance(error, RequestRejected):
                    say_more(error, "A server without a list of models needs the name of one (--model).")
                raise
        listed = models_in(body)
        if listed is None:
            raise self._errors.no_list(body)
        self._place.lists_models(base)
        return listed

    async def _ask(self, base: str, path: str, content: bytes | None, model: str) -> bytes:
        """The answer to one request: a POST if it has content, else a GET. Raises EndpointError.

        Args:
            model: for the error of an endpoint that does not serve it.
        """
        response: Reply | None = None
        method, headers = ("GET", self._to_get) if content is None else ("POST", self._to_post)
        url, limit_s = quoted(base + path + self._query), self._first_byte_s if content else _SHORT_S
        try:
            with Silence(self._silences, self._errors.endpoint, None, limit_s, limit_s):
                response = await self._connections.send(method, url, headers, content)
                return await self._body(response, path, model)
        except TransportError as error:
            failure = self._errors.no_answer(error) if response is None else self._errors.broken_answer(path, error)
        except EndpointError as error:
            failure = error
        finally:
            if response is not None:
                await response.aclose()
        raise self._errors.clean(failure) from None

    async def _body(self, response: Reply, path: str, model: str) -> bytes:
        """The whole of a short response. Raises EndpointError, TransportError."""
        if response.status != 200:
            raise await self._errors.refusal(response, model)
        if is_page(response):
            raise self._errors.page()
        body = bytearray()
        while data := await response.read():
            body += data
            if len(body) > _MOST_BYTES:
                text = f"{self._errors.name} answered {path} with more than {_MOST_BYTES >> 20} MiB."
                raise BadResponse(text, endpoint=self._errors.endpoint, final=True)
        return bytes(body)
