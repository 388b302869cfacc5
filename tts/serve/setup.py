"""What a server is made of, read from its options and checked: the same for one process and for each of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tts.api.arguments import as_limits, as_sampling, as_spec
from tts.api.client import Client
from tts.api.serving.allocation import as_allocation
from tts.errors import InvalidParameter
from tts.runs.plan import check_open
from tts.runs.served import FOLDER_HOURS, FOLDER_MB
from tts.serve.accounts import Bookkeeping, check_bounded
from tts.serve.app import Patience, Service
from tts.serve.catalogue import Catalogue, read_aliases
from tts.serve.keys import ANYBODY, Key, read_keys
from tts.serve.origins import Origins
from tts.serve.protocol.fields import Wanted
from tts.serve.waiting import MOST_WAITING
from tts.types import Sampling, Value


class Settings(Value, frozen=True):
    """The server's own options, as `tts serve --help` describes them."""

    host: str = "127.0.0.1"
    port: int = 8000
    strategy: str = "majority_vote:n=8"
    budget: str = ""
    run_budget: str = ""
    deadline_s: float | None = None
    allocator: str | None = None
    allocator_pool: Path | None = None
    aliases: Path | None = None
    keys: Path | None = None
    state: Path | None = None
    journal: Path | None = None
    journal_mb: float = FOLDER_MB
    journal_hours: float = FOLDER_HOURS
    max_queued: int = MOST_WAITING
    log_prompts: bool = False
    forward_unknown: bool = False
    body_mb: float = 8.0
    client_timeout_s: float = 60.0
    drain_s: float = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_origin: Sequence[str] = ()


class Setup(Value, frozen=True):
    """A server's parts that need no connection.

    Args:
        options: of the models, as `tts.Client` takes them, with `sampling`.
    """

    settings: Settings
    options: Mapping[str, Any]
    keys: list[Key]
    aliases: Mapping[str, Wanted]
    sampling: Sampling
    origins: Origins

    @classmethod
    def read(cls, settings: Settings, options: Mapping[str, Any]) -> Setup:
        """Read the files that the settings name, and check what they say. Raises: UsageError."""
        keys, aliases = read_keys(settings.keys), read_aliases(settings.aliases)
        if settings.deadline_s is not None and not settings.deadline_s > 0:
            raise InvalidParameter(
                f"deadline_s must be above 0 seconds, but got {settings.deadline_s}", name="deadline_s"
            )
        if settings.max_queued < 1:
            raise InvalidParameter(f"max_queued must be at least 1, but got {settings.max_queued}", name="max_queued")
        if not 0 <= settings.drain_s < math.inf:
            raise InvalidParameter(f"drain_s must be at least 0 seconds, but got {settings.drain_s}", name="drain_s")
        for name in ("body_mb", "client_timeout_s"):
            value = getattr(settings, name)
            if not 0 < value < math.inf:
                raise InvalidParameter(f"{name} must be a number above 0, but got {value}", name=name)
        spec, resolve = as_spec(settings.strategy, None)
        if as_allocation(settings.allocator) is not None:
            check_open(spec, resolve)
        check_bounded(keys, as_limits(settings.budget))
        sampling = as_sampling(options.get("sampling"), {})
        origins = Origins(settings.allow_origin, refuses_others=keys == [ANYBODY])
        return cls(settings, {**options, "sampling": sampling}, keys, aliases, sampling, origins)

    def client(self, replica: str = "") -> Client:
        """The client, to be entered; of several replicas, each has a folder of its own in the journal.

        Raises: UsageError.
        """
        settings = self.settings
        kept: dict[str, Any] = {
            "journal": settings.journal and settings.journal / replica,
            "journal_mb": settings.journal_mb,
            "journal_hours": settings.journal_hours,
            "allocator": settings.allocator,
            "allocator_pool": settings.allocator_pool,
        }
        return Client(run_budget=settings.run_budget, **kept, **self.options)

    def service(self, client: Client, accounts: Bookkeeping) -> Service:
        """The routes over an open client."""
        settings = self.settings
        default = Wanted(settings.strategy, settings.budget, settings.deadline_s)
        patience = Patience(round(settings.body_mb * 2**20), settings.client_timeout_s)
        catalogue = Catalogue(client.model, default, self.aliases)
        return Service(
            client,
            catalogue,
            self.keys,
            accounts,
            self.sampling,
            settings.forward_unknown,
            settings.max_queued,
            patience,
            settings.log_prompts,
            self.origins,
        )
