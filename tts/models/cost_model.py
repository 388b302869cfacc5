"""Costs of actions, in tokens, dollars and FLOPs: the upper bound before they leave, the actual cost once they have
ended. An unknown cost is None, never 0. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tts.core.actions import Action, Generate, Request, StepSession, Verify, prompt_bound
from tts.models.flops import ModelConfig, flops
from tts.models.prices import Price
from tts.types import Cost, Usage, Value


class ModelCost(Value, frozen=True):
    """Facts about one model; None is unknown."""

    price: Price | None = None
    config: ModelConfig | None = None
    context_tokens: int | None = None


_NOTHING_KNOWN = ModelCost()
_FREE, _STEP = Cost(), Cost(steps=1)


class CostModel(Value, frozen=True):
    """Costs of actions: before they leave (`upper_bound`), and once they have ended (`actual`).

    `actual(action, usage) <= upper_bound(action)` in every field that both know, if the server generated no more than
    `max_tokens` and counted no more prompt tokens than `prompt_bound`.

    Args:
        models: by name; a model that is not in it has neither price nor FLOPs.
        first: the model of requests that name none.
    """

    models: Mapping[str, ModelCost] = {}
    first: str = ""

    def upper_bound(self, action: Action) -> Cost:
        """The most that this action can cost. Actions that ask no model (`Call`, `Sleep`, most verifiers) cost
        nothing but, of a session, a step."""
        request = _request(action)
        if request is None:
            return _STEP if type(action) is StepSession else _FREE
        known, generated = self._known(request), request.sampling.token_limit
        if known.price is None and known.config is None:
            return Cost(1, generated, None, None)
        prompt = prompt_bound(request)
        price = None if known.price is None else known.price.ceiling(prompt, generated)
        return Cost(1, generated, price, flops(known.config, Usage(prompt, generated)))

    def actual(self, action: Action, usage: Usage) -> Cost:
        """The cost of this action, by the server's count of its tokens: finished, failed and cancelled ones alike."""
        request = _request(action)
        if request is None:
            return _STEP if type(action) is StepSession else _FREE
        known = self._known(request)
        if known.price is None and known.config is None:
            return Cost(1, usage.completion_tokens, None, None)
        price = None if known.price is None else known.price.charge(usage)
        return Cost(1, usage.completion_tokens, price, flops(known.config, usage))

    def context_tokens(self, request: Request) -> int | None:
        """Tokens of the context of the model that the request asks, for prompt and completion; None: not known."""
        return self._known(request).context_tokens

    def _known(self, request: Request) -> ModelCost:
        return self.models.get(self.first if request.model is None else request.model, _NOTHING_KNOWN)


def _request(action: Action) -> Request | None:
    kind = type(action)  # called twice for every sample
    return action.request if kind is Generate or kind is Verify else None  # type: ignore[union-attr]
