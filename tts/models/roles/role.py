"""A role: one model of a run, its servers with their keys, and what holds for its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tts.models.prices import Price
from tts.models.wire.address import shown
from tts.types import Sampling, Value

JUDGE = "judge"  # the role that verifiers ask


class Server(Value, frozen=True):
    """An OpenAI-compatible API, the key that is sent to it (None: `OPENAI_API_KEY`, where that is set), and further
    headers."""

    url: str
    key: str | None = None
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:  # without secrets
        return f"Server({shown(self.url)!r})"


class ModelRole(Value, frozen=True):
    """A role of a run with all that its user and the environment say.

    Args:
        model: its name at its servers; `embedded:NAME`, or the path of a `.gguf` file, is in process; a function is of
            the program. None: the servers' only one.
        servers: none where the model is in process or a function.
        spares: servers that are used only while none of the others works.
        api: the protocol of its requests.
        sampling: fields of `tts.types.Sampling` for where neither the strategy nor the run says anything.
        context_tokens: of its context; None: as its servers report.
        price: None: as the price table says of its model.
        model_config: the model's config.json, to count its FLOPs.
    """

    model: Any = None
    servers: tuple[Server, ...] = ()
    spares: tuple[Server, ...] = ()
    api: Literal["chat", "completions"] = "chat"
    sampling: Mapping[str, Any] = {}
    context_tokens: int | None = None
    price: Price | None = None
    model_config: str | None = None


class ServedModel(Value, frozen=True):
    """A role's model as it is served.

    Args:
        name: of the model at its servers.
        context_tokens: the smallest context in which it is served; None if no server reports one.
        has_own_context: whether that is what the role says, and not its servers.
        sampling: as in `ModelRole`.
        embedded: whether the model is in process.
        measures: whether it may give numbers (`Run.measure`); False where it is known to generate text alone.
    """

    name: str
    context_tokens: int | None = None
    sampling: Mapping[str, Any] = {}
    embedded: bool = False
    has_own_context: bool = False
    measures: bool | None = None

    def applied(self, sampling: Sampling) -> Sampling:
        """The run's sampling with the role's fields where the run's is the default."""
        unsaid = {name: value for name, value in self.sampling.items() if getattr(sampling, name) == _UNSAID[name]}
        return msgspec.structs.replace(sampling, **unsaid) if unsaid else sampling


_UNSAID: dict[str, Any] = msgspec.structs.asdict(Sampling())
