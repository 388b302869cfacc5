"""The configuration of a run, checked before anything is spent: the settings that decide which samples are drawn.

`RunConfig` goes into the journal's header; resuming a run with a different configuration is refused. Settings that do
not change the samples (base URLs, keys, concurrency) are not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tts.core.actions import SOLVER
from tts.core.budget import Limits
from tts.errors import InvalidParameter
from tts.plugins.names import EQUAL, allocator_of
from tts.plugins.spec import parse_allocators, parse_specs
from tts.types import DIGEST, LEAST_MAX_TOKENS, Sampling, StrategySpec


def split_budgets(given: str | Sequence[str]) -> tuple[str, ...]:
    """Split texts into budgets: `tokens=1k,2k` is two of them, while `tokens=1k,usd=0.1` is one with two limits."""
    found: list[str] = []
    for text in [given] if isinstance(given, str) else given:
        first, *rest = text.split(",")
        name, equals, _ = first.partition("=")
        if rest and equals and not any("=" in part for part in rest):
            found += [first, *(f"{name}={part}" for part in rest)]
        else:
            found.append(text)
    return tuple(found) or ("",)


def recorded(sampling: Sampling) -> dict[str, Any]:
    """The sampling of a run as a journal's header holds it: the fields that differ from the defaults, among which
    `LEAST_MAX_TOKENS` has always been."""
    plain: dict[str, Any] = msgspec.to_builtins(sampling)
    return {name: value for name, value in plain.items() if (name, value) != ("max_tokens", LEAST_MAX_TOKENS)}


class RunConfig(BaseModel):
    """One solve or sweep: strategies x budgets x seeds on some problems.

    Args:
        problems: their source, for people; `problems_digest` is of all of them, `problem_digests` of each one,
            one after the other (empty in journals before version 4, whose `problems_digest` is of the references, too).
            `references_digest` is read from older headers and no longer written: a reader of the journal could test
            guesses of a reference with it.
        strategies: as on the command line, e.g. `best_of_n:n=1,2,4`.
        budgets: per problem, as on the command line, e.g. `tokens=2k`; "" is no limit.
        run_budget: limits of the whole run.
        allocators: rules that divide a strategy's budget among the problems, e.g. `marginal:floor=0.001`; `equal`, or
            none at all, gives each problem a budget of its own.
        seeds: one set of samples each.
        sampling: fields of `tts.types.Sampling`.
        model: name of the model that answers; `verifier_model`: of the model that judges, if it is a different one and
            no role of `models`.
        models: further roles -> `model`, its name, and `sampling`, the fields for its requests where a strategy says
            nothing.
        contexts: role -> tokens of its model's context when the run began, None where nobody said: strategies decide by
            them (`Run.room`), and a resumed run goes on with the same. Empty in older journals.
        grader: the rule that compares answers with references.
        prompts: how the problems are put to the model (`tts.tasks.prompts.Prompts`): part of their digests, and here by
            name for people; empty in older journals.
        plugins: strategy file -> digest of its source: a run must not mix two versions of a plugin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: str
    problems_digest: str
    problem_digests: str = ""
    references_digest: str = ""
    strategies: Annotated[tuple[str, ...], Field(min_length=1)]
    budgets: Annotated[tuple[str, ...], Field(min_length=1)] = ("",)
    run_budget: str = ""
    allocators: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    sampling: dict[str, Any] = {}
    model: str = ""
    verifier_model: str | None = None
    models: dict[str, dict[str, Any]] = {}
    contexts: dict[str, int | None] = {}
    grader: str = "exact"
    prompts: dict[str, str | None] = {}
    plugins: dict[str, str] = {}

    @field_validator("budgets")
    @classmethod
    def _each_once(cls, budgets: tuple[str, ...]) -> tuple[str, ...]:
        """Write budgets in one spelling, each once: `tokens=1k` and `tokens=1000` are the same, also to a resumed
        run."""
        return tuple(dict.fromkeys(str(Limits.parse(text)) for text in budgets))

    @field_validator("run_budget")
    @classmethod
    def _in_one_spelling(cls, run_budget: str) -> str:
        return str(Limits.parse(run_budget))

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("there must be at least 1 seed, but got 0")
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must differ, but got {seeds}")
        return seeds

    @classmethod
    def checked(cls, **fields: Any) -> RunConfig:
        """Make a config from checked fields. Raises: InvalidParameter, UnknownName, with the field's name."""
        config = cls.read(fields)
        config.specs()
        config.allocations()
        return config

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> RunConfig:
        """Read the config of a folder, which is data: the strategies that it names are not looked up. Raises:
        InvalidParameter."""
        try:
            config = cls(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise InvalidParameter(f"{name}: {first['msg'].removeprefix('Value error, ')}", name=name) from None
        config.limits()
        config.sampled()
        return config

    @property
    def each_digest(self) -> list[str]:
        """Split `problem_digests` into one for each problem."""
        each = self.problem_digests
        return [each[at : at + DIGEST] for at in range(0, len(each), DIGEST)]

    @property
    def asked_by_verifiers(self) -> str | None:
        """The name in the run of the model that verifiers ask; None: the one that answers."""
        return "judge" if "judge" in self.models else self.verifier_model

    @property
    def judge(self) -> str:
        """The name of the model that verifiers ask."""
        return self.models.get("judge", {}).get("model") or self.verifier_model or self.model

    def specs(self) -> list[StrategySpec]:
        """All strategies with all combinations of their parameters, each once."""
        found: dict[str, StrategySpec] = {}
        for text in self.strategies:
            for spec in parse_specs(text):
                found.setdefault(str(spec), spec)
        return list(found.values())

    def allocations(self) -> list[StrategySpec | None]:
        """All allocators with all combinations of their parameters, each once; None for `equal`."""
        found: dict[str, StrategySpec | None] = {}
        for text in self.allocators or (EQUAL,):
            for spec in [None] if text == EQUAL else parse_allocators(text):
                if spec is not None:
                    allocator_of(spec)
                found.setdefault(str(spec), spec)
        return list(found.values())

    def limits(self) -> list[Limits]:
        """All budgets, each once."""
        return [Limits.parse(text) for text in self.budgets]

    def run_limits(self) -> Limits:
        return Limits.parse(self.run_budget)

    def sampled(self) -> Sampling:
        """The sampling, with a number as its `max_tokens`: `LEAST_MAX_TOKENS` if the record names none."""
        return _sampled(self.sampling)

    def sampling_of(self, name: str) -> Sampling | None:
        """The sampling of the model with that name in the run, as `sampled`; None where the record has none."""
        if name == SOLVER:
            return self.sampled()
        return _sampled(self.models[name]["sampling"]) if name in self.models else None


def _sampled(fields: Mapping[str, Any]) -> Sampling:
    try:
        return msgspec.convert({"max_tokens": LEAST_MAX_TOKENS, **fields}, Sampling)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"sampling: {error}", name="sampling") from None
