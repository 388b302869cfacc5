"""The options of a target: the one definition of the API's keywords and of the command line's options.

Imports nothing but the standard library: the command line reads it to show its help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict, get_type_hints

if TYPE_CHECKING:
    from tts.models.function import ModelFunction
else:
    ModelFunction = Callable


class Option(NamedTuple):
    """One option of the command line.

    Args:
        help: one sentence, which starts with a noun.
        kind: type of its value on the command line.
        default: the value if neither a call nor a command gives one.
        flags: none is the key with dashes.
        envvar: the variable of the environment that stands in for it.
    """

    help: str
    kind: Any = str | None
    default: Any = None
    flags: tuple[str, ...] = ()
    envvar: str | None = None


_CANCELLATION = (
    "Treatment and charge of a cancelled stream: auto, close, abort, best_effort or probe. None: the cluster file's, "
    "or auto, which charges all that was reserved unless the engine is known to stop. probe finds out with one request "
    "per endpoint, charged to the run."
)
_PATIENCE = "Seconds that the run waits while no server answers, before it stops, resumable."


class Target(TypedDict, total=False):
    """The servers of a run, and their prices.

    Keys:
        base_url: one OpenAI-compatible server, or several; none is `OPENAI_BASE_URL`, or else a model in process.
            `user:password@` and a query go with every request, and are neither shown nor recorded.
        model: its name; may be left out if the servers have only one. `embedded:NAME` is one in process
            (`tts model list`), whatever the environment says; so is the path of a `.gguf` file. Or an async function of
            the program, which takes a `tts.Request` and returns text or a `tts.Completion`
            (`tts.models.function.FunctionModel` says what a call is charged with): it is called on the event loop of
            the run, not on Ray.
            `PROVIDER:NAME` is one of a provider whose API and key are known (`tts.models.roles.providers`), where no
            `base_url` is given.
        api_key: none is `OPENAI_API_KEY`; a list has one for each `base_url`.
        headers: further headers of every request to these servers (a gateway's key, a tenant), which replace those of
            the same names. As the key, they go to no other host, and are neither shown nor recorded.
        api: `chat`, or `completions` for base models.
        models: further models by role, which strategies name (`run.generate(model="small")`): a YAML file, or role ->
            `NAME@URL`, `PROVIDER:NAME`, a function, or a mapping of `tts.models.roles.described.Described`. `solver` is
            the model of requests that name none, in place of `model` and its like; `judge` that of the verifiers that
            ask a model. A role without a URL has the solver's. The key of a server is never sent to another host.
        model_for: the same as texts, `judge=NAME@URL`, in place of those of `models`.
        verifier_base_url, verifier_model, verifier_api_key: the role `judge`, as another server or model.
        prices: a price table; price_in, price_out: USD per million prompt and generated tokens of `model`;
            verifier_price_in, verifier_price_out: of the verifier.
        model_config: the model's config.json, to count its FLOPs.
        concurrency: the most requests in flight.
        first_byte_s, idle_s: the most silence before the first byte, and after it.
        total_s: the longest duration of one request, with or without silence; two hours are the default.
        patience_s: time that the run waits while no server answers, before it stops (300 s).
        unsafe_execute: whether programs that a model wrote may be executed without a sandbox, by strategies
            (`Run.execute`), and to grade what is beyond the part of Python that is safe (`mini_code`).
        threads: of the model in process.
        cancellation: the way of cancelling a stream, and the charge for it
            (`tts.models.wire.capabilities.Cancellation`). `auto`, the default: on engines that are not known to stop,
            the whole reservation is charged; `close` declares that they stop; `probe` finds out with one request per
            endpoint (`tts.models.openai.probe.try_abort`), which is charged to the run.
        http_client: an `httpx2.AsyncClient` of one's own, with its authentication, certificates or transport, for all
            requests: of the event loop that runs (`asolve`, `asweep`, `Client`), and not on Ray.
    """

    base_url: Annotated[
        str | Sequence[str] | None,
        Option("URL of an OpenAI-compatible server; none: a small model here. Repeatable.", list[str] | None),
    ]
    model: Annotated[
        str | Path | ModelFunction | None,
        Option("Name of the model to ask for; none: the server's first.", flags=("--model", "-m")),
    ]
    api_key: Annotated[str | Sequence[str] | None, Option("Key of the server (bearer).", envvar="OPENAI_API_KEY")]
    headers: Annotated[
        Mapping[str, str] | None,
        Option(
            "Header of every request, NAME=VALUE, which is not recorded. Repeatable.",
            list[str] | None,
            None,
            ("--header",),
        ),
    ]
    api: Annotated[
        Literal["chat", "completions"], Option("Protocol: chat, or completions for base models.", str, "chat")
    ]
    models: Annotated[
        str | Path | Mapping[str, object] | None,
        Option("File of models by role (YAML), such as `judge: {model: NAME, base_url: URL}`.", Path | None),
    ]
    model_for: Annotated[
        Sequence[str] | None,
        Option("Model of a role: ROLE=NAME@URL or ROLE=PROVIDER:NAME. Repeatable.", list[str] | None),
    ]
    verifier_base_url: Annotated[str | None, Option("URL of another server, for verifications.")]
    verifier_model: Annotated[str | None, Option("Name of another model, for verifications.")]
    verifier_api_key: Annotated[str | None, Option("Key of the verifier's server, which is not sent --api-key.")]
    prices: Annotated[str | Path | None, Option("Price table of your own (JSON).", Path | None)]
    price_in: Annotated[float | None, Option("Price: USD per million prompt tokens.", float | None)]
    price_out: Annotated[float | None, Option("Price: USD per million generated tokens.", float | None)]
    verifier_price_in: Annotated[
        float | None, Option("Price of verifications: USD per million prompt tokens.", float | None)
    ]
    verifier_price_out: Annotated[
        float | None, Option("Price of verifications: USD per million generated tokens.", float | None)
    ]
    model_config: Annotated[
        str | Path | None, Option("File config.json of the model, to count its FLOPs.", Path | None)
    ]
    concurrency: Annotated[int, Option("Number of requests in flight, at most.", int, 32, ("--concurrency", "-c"))]
    first_byte_s: Annotated[
        float, Option("Seconds of silence before the first byte.", float, 120.0, ("--first-byte-timeout",))
    ]
    idle_s: Annotated[float, Option("Seconds of silence after the first byte.", float, 60.0, ("--idle-timeout",))]
    total_s: Annotated[
        float,
        Option("Seconds that one request may take in all.", float, 7200.0, ("--total-timeout",)),
    ]
    patience_s: Annotated[
        float,
        Option(_PATIENCE, float, 300.0, ("--patience",)),
    ]
    unsafe_execute: Annotated[
        bool,
        Option(
            "Permission to execute programs that a model wrote, with no sandbox around them.",
            bool,
            False,
            ("--unsafe-execute",),
        ),
    ]
    threads: Annotated[int | None, Option("Threads of the model in process.", int | None)]
    cancellation: Annotated[Literal["auto", "close", "abort", "best_effort", "probe"] | None, Option(_CANCELLATION)]
    http_client: object


def target_options() -> dict[str, Option]:
    """Command-line options by key of `Target`: all but `http_client`, which is an object of a program."""
    hints = get_type_hints(Target, include_extras=True)
    return {key: hint.__metadata__[0] for key, hint in hints.items() if hasattr(hint, "__metadata__")}
