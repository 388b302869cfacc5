"""The needs of a run beyond text: whose replies must come with log-probabilities, and who must give numbers.

What a model is known not to give is refused before the run; the rest is found out, as far as that costs nothing or the
budget holds it, before the first sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tts.core.actions import SOLVER, Request
from tts.core.protocols import needs_logprobs
from tts.errors import CapabilityMissing
from tts.models.roles.role import JUDGE, ServedModel
from tts.types import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tts.models.openai.client import OpenAIClient

MaySpend = Callable[[str, Request], bool]


class Needs(Value, frozen=True):
    """What a run needs of its models.

    Args:
        logprobs: role -> a verifier that reads the log-probabilities of its replies, and has no score without.
        pages: role -> the pages by which texts are measured (`Run.measure`).
    """

    logprobs: Mapping[str, str] = {}
    pages: Mapping[str, tuple[str, ...]] = {}


NO_NEEDS = Needs()


def needs_of(verifiers: Mapping[str, Any], measured: Iterable[Request], judge: str | None) -> Needs:
    """The needs of these verifiers, and of requests that measure as a rehearsal has shown them.

    Args:
        judge: the name that verifiers ask for; None if it is the solver.
    """

    def role(model: str | None) -> str:
        return SOLVER if model is None else JUDGE if model == judge else model

    pages: dict[str, dict[str, None]] = {}
    for request in measured:
        pages.setdefault(role(request.model), {})[request.measure] = None
    readers = {name: verifier for name, verifier in verifiers.items() if needs_logprobs(verifier)}
    return Needs(
        {role(getattr(verifier, "model", None)): name for name, verifier in readers.items()},
        {name: (*found,) for name, found in pages.items()},
    )


def check_served(needs: Needs, served: Mapping[str, ServedModel]) -> None:
    """Check what is known of the models without asking them. Raises: CapabilityMissing."""
    for role in needs.pages:
        if role in served and served[role].measures is False:
            raise CapabilityMissing(
                f"this run has texts measured (run.measure, as the verifier reward_model does) by the model of the "
                f"role {role}, {served[role].name}, which gives text and no numbers: name the server of a reward model "
                f"(--model-for {role}=NAME@URL; `vllm serve MODEL --runner pooling` serves one)",
                capability="measure",
                model=role,
            )


async def find_out(needs: Needs, clients_of: Mapping[str, Sequence[OpenAIClient]], may_spend: MaySpend) -> None:
    """Find out what endpoints give, before the first sample: pages at no cost; log-probabilities, of engines that are
    not known to give them, with one request of one token for each endpoint.

    Args:
        may_spend: called before a request leaves, to charge it; False forbids it, and the run itself will find out.

    Raises: CapabilityMissing.
    """
    from tts.models.openai.probe import gives_logprobs, has_page

    for role, pages in needs.pages.items():
        for client, page in ((client, page) for client in clients_of.get(role, ()) for page in pages):
            if await has_page(client, page) is False:
                raise CapabilityMissing(
                    f"{_whose(role, client)} has no /{page}, by which this run has texts measured: a reward model is "
                    f"served by `vllm serve MODEL --runner pooling`, and `tts doctor` shows what an endpoint can do",
                    capability=page,
                )
    for role, verifier in needs.logprobs.items():
        for client in clients_of.get(role, ()):
            if await gives_logprobs(client, partial(may_spend, role)) is False:
                raise CapabilityMissing(
                    f"{_whose(role, client)} gives no log-probabilities, which the verifier {verifier} reads: vLLM, "
                    f"SGLang and llama.cpp give them, `tts doctor` shows what an endpoint can do, and the verifier "
                    f"genrm does without",
                    capability="logprobs",
                    engine=client.capabilities.engine,
                )


def _whose(role: str, client: OpenAIClient) -> str:
    return client.endpoint if role == SOLVER else f"the role {role}: {client.endpoint}"
