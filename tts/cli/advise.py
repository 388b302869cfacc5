"""`tts advise` on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tts.cli.options import Benchmark, Json, PoolFile, PoolModel, VerifierTokens
from tts.cli.output import points, print_json
from tts.cli.values import named_counts
from tts.process.streams import echo

if TYPE_CHECKING:
    from tts.intervals import Interval
    from tts.planning.rules import Situation

advise_app = typer.Typer(
    help="Recommended settings, from recorded samples or published rules; nothing is spent.", no_args_is_help=True
)

Verifier = Annotated[str | None, typer.Option("--verifier", help="Name of one of the pool's score columns.")]
Budget = Annotated[
    str, typer.Option("--budget", "-b", help="Generated tokens a problem, in the mean: tokens=2k, or a number.")
]


@advise_app.command("bins")
def bins(
    pool: PoolFile,
    budget: Budget,
    arm: Annotated[list[str], typer.Option("--arm", help="Strategy: majority_vote/N or best_of_n/N. Repeatable.")],
    pilot: Annotated[int, typer.Option("--pilot", help="Samples that say how hard a problem is.")] = 4,
    number: Annotated[int, typer.Option("--bins", help="Number of difficulties, of equally many problems.")] = 5,
    verifier: Verifier = None,
    verifier_tokens: VerifierTokens = None,
    benchmark: Benchmark = None,
    model: PoolModel = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws and the folds.")] = 0,
    json: Json = False,
) -> None:
    """A strategy for each difficulty, chosen by 2-fold cross-validation, the pilot charged."""
    from tts.api.replays import choose
    from tts.planning.advice import by_difficulty, clearly_above
    from tts.pools.parquet import read_pool

    advice = by_difficulty(
        choose(read_pool(pool), benchmark, model).priced(named_counts(verifier_tokens)),
        arm,
        _tokens(budget),
        pilot=pilot,
        number=number,
        verifier=verifier,
        seed=seed,
    )
    if json:
        print_json(advice)
        return
    found, without = advice.study, " without scoring" if advice.unpriced else ""
    for i, some in enumerate(found.bins):
        _say(
            f"bin {i + 1} (1 is the hardest): {some.problems} problems, {' or '.join(dict.fromkeys(some.chosen))}: "
            f"{100 * some.accuracy:.1f} % for {some.cost:,.0f} tokens{without}"
        )
    _say(f"by difficulty: {100 * found.accuracy:.1f} % for {found.cost:,.0f} tokens{without} a problem")
    _say(
        f"best single ({' or '.join(dict.fromkeys(found.single))}): {100 * found.single_accuracy:.1f} % for "
        f"{found.single_cost:,.0f} tokens{without}"
    )
    _say(f"by difficulty less best single: {points(advice.gain)}")
    _say(f"by difficulty less plain vote within the budget: {points(advice.policy_over_vote)}")
    _say(f"best single less plain vote within the budget: {points(advice.single_over_vote)}")
    if not (clearly_above(advice.gain) and clearly_above(advice.policy_over_vote)):
        _say("no evidence that choosing by difficulty pays")
    echo(f"options: --strategy {shlex.quote(advice.strategy)}")


@advise_app.command("split")
def split(
    budget: Budget,
    tokens: Annotated[
        float | None,
        typer.Option("--tokens-per-solution", help="Mean tokens of one solution; none takes those of --history."),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option("--ratio", help="Tokens of a verification over those of a solution; none is measured, or 1."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option("--history", help="Pool of earlier samples with scores. None: advice as published."),
    ] = None,
    verifier: Verifier = None,
    benchmark: Benchmark = None,
    model: PoolModel = None,
    json: Json = False,
) -> None:
    """Split of a budget: the number of solutions, and of verifications of each."""
    from tts.errors import InvalidParameter
    from tts.planning import solve_verify as solveverify

    if history is None:
        if tokens is None:
            raise InvalidParameter("a split needs --tokens-per-solution, or --history, a pool that has it")
        pair = solveverify.plan(_tokens(budget), tokens, 1.0 if ratio is None else ratio)
        spec = _spec(*pair, verifier)
        if json:
            print_json({"solutions": pair[0], "verifications": pair[1], "strategy": spec, "measured": None})
            return
        _say("as published (Singhi et al. 2025, arXiv:2504.01005), not measured on this model and verifier")
        echo(f"options: --strategy {spec}")
        return
    if verifier is None:
        raise InvalidParameter("--history needs --verifier, the name of the pool's scores that are the judgements")
    _measured_split(history, verifier, _tokens(budget), tokens, ratio, benchmark, model, json)


def _measured_split(
    history: Path,
    verifier: str,
    budget: float,
    tokens: float | None,
    ratio: float | None,
    benchmark: str | None,
    model: str | None,
    json: bool,
) -> None:
    from tts.api.replays import choose
    from tts.errors import PoolLacks
    from tts.planning.advice import mean_tokens, measured_ratio, solving_or_verifying
    from tts.planning.solve_verify import scaled
    from tts.pools.parquet import read_pool

    pool = choose(read_pool(history), benchmark, model)
    each = mean_tokens(pool) if tokens is None else tokens
    if not each:
        raise PoolLacks(f"the tokens of some samples of {history} were not recorded: give --tokens-per-solution")
    found = solving_or_verifying(pool, verifier, ratio, budgets=[budget / each])
    advised = found.at(budget / each)
    pair = scaled(advised, budget / each, found.ratio)
    spec = _spec(*pair, verifier)
    if json:
        print_json({"solutions": pair[0], "verifications": pair[1], "strategy": spec, "measured": found})
        return
    assumed = ratio is None and measured_ratio(pool, verifier) is None
    _say(
        f"a verification costs {found.ratio:g} of a solution"
        + (" (assumed: the pool did not record it; --ratio sets it)" if assumed else "")
    )
    for some in found.budgets:
        tried = (
            "no pair costs so little" if some.tried is None else "{} solutions x {} verifications".format(*some.tried)
        )
        judged = "" if some.accuracy is None else f", {100 * some.accuracy:.1f} %: {points(some.gain)} over the vote"
        _say(f"{some.budget * each:>10,.0f} tokens: vote {100 * some.vote:.1f} %; {tried}{judged}")
    verdict = "verification pays" if advised.pays else "no evidence that verification pays"
    _say(
        f"at {advised.budget * each:,.0f} tokens: {verdict}; over a vote of equal cost {points(advised.gain)}, "
        f"over the best vote of at most that cost {points(advised.gain_over_fewer)}"
    )
    if budget / each > found.budgets[-1].budget:
        _say("note: the pool holds too few samples to compare at more tokens; the advice goes on from there")
    echo(f"options: --strategy {spec}")


@advise_app.command("verifier")
def verifier(
    pool: PoolFile,
    only: Verifier = None,
    benchmark: Benchmark = None,
    model: PoolModel = None,
    json: Json = False,
) -> None:
    """Whether choosing by scores pays: best-of-n and other rules, against the plain vote of as many samples."""
    from tts.analysis.selection import selection_of
    from tts.api.replays import choose
    from tts.errors import PoolLacks
    from tts.estimators import Grid
    from tts.pools.parquet import read_pool

    chosen = choose(read_pool(pool), benchmark, model)
    grid = Grid.of(chosen)
    names = list(grid.scores) if only is None else [only]
    found = [some for name in names if (some := selection_of(grid, name)) is not None]
    if not found:
        raise PoolLacks(f"{chosen.name} has no score of every problem: there is nothing to choose by")
    best = max(found, key=lambda some: (some.best.accuracy if some.best is not None else 0.0, some.k))
    if json:
        print_json({"verifiers": found, "strategy": best.strategy})
        return
    for some in found:
        plain = f"the vote of {some.k}" if some.voted else "one sample"
        for gain in some.gains:
            rule = gain.rule.replace("_", " ")
            _say(
                f"{some.score}, {rule} of {gain.k}: {100 * gain.accuracy:.1f} %, {points(gain.interval)} over {plain} "
                f"({100 * some.vote:.1f} %)"
            )
        pays = some.best is not None
        _say(f"{'' if pays else 'no evidence that '}verification by {some.score} pays")
        for line in some.warnings():
            _say(f"warning: {line}")
    _say("the costs of verifications are not counted here: `tts advise split` weighs them")
    echo(f"options: --strategy {shlex.quote(best.strategy)}")


@advise_app.command("deadline")
def deadline(
    pool: PoolFile,
    seconds: Annotated[float, typer.Option("--seconds", help="Seconds until the answer must be there.")],
    slots: Annotated[int, typer.Option("--slots", help="Samples of a problem that run side by side.")] = 16,
    tokens_per_s: Annotated[
        float | None,
        typer.Option("--tokens-per-s", help="Speed of one stream; none takes recorded times, or 50 without them."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", "-b", help="Generated tokens a problem: tokens=2k, or a number.")
    ] = None,
    cancel_s: Annotated[
        float, typer.Option("--cancel-s", help="Seconds that a cancellation takes to reach an engine.")
    ] = 0.0,
    benchmark: Benchmark = None,
    model: PoolModel = None,
    json: Json = False,
) -> None:
    """The race (the first k of n) that is most accurate by a deadline."""
    from tts.api.replays import choose
    from tts.planning.advice import clearly_above, for_deadline
    from tts.pools.parquet import read_pool

    chosen = choose(read_pool(pool), benchmark, model)
    most = None if budget is None else _tokens(budget)
    found = for_deadline(chosen, seconds, slots=slots, tokens_per_s=tokens_per_s, tokens=most, cancel_s=cancel_s)
    if json:
        print_json(found)
        return
    plan = found.plan
    _say(
        f"the first {plan.k} of {plan.n}: {plan.seconds:.3g} s and {plan.tokens:,.0f} tokens a problem, in time for "
        f"{100 * plan.in_time:.0f} % of them (times: {found.timed})"
    )
    if found.accuracy is not None:
        _say(f"accuracy on problems that did not choose it: {_percent(found.accuracy)}")
    better = "" if clearly_above(found.gain) else "; no evidence that the race is more accurate"
    _say(f"less a vote over all {slots} that end in time: {points(found.gain)}{better}")
    echo(f"options: {found.options}")


@advise_app.command("strategy")
def strategy(
    budget: Budget,
    tokens: Annotated[
        float | None,
        typer.Option("--tokens-per-solution", help="Mean tokens of one solution; none means unknown."),
    ] = None,
    shorter_wins: Annotated[
        float | None,
        typer.Option("--shorter-wins", min=0, max=1, help="Share w of `tts pool report`; none means unknown."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option("--history", help="Pool of earlier graded samples, in place of the last two. None: none."),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Preference for few seconds over few tokens.")] = False,
    exact_verifier: Annotated[
        str | None, typer.Option("--exact-verifier", help="Name of a verifier that cannot err, such as tests.")
    ] = None,
    judge: Annotated[str | None, typer.Option("--judge", help="Name of a verifier that asks a model.")] = None,
    benchmark: Benchmark = None,
    model: PoolModel = None,
    json: Json = False,
) -> None:
    """The strategy that published rules recommend for a budget, before anything is measured."""
    from tts.planning.rules import Situation, by_rule, rules

    table = rules(fast=fast, exact_verifier=exact_verifier, judge=judge)
    situation = Situation(tokens, shorter_wins)
    if history is not None:
        situation = _measured(history, benchmark, model, situation, judge)
    found = by_rule(situation, _tokens(budget), table)
    if json:
        print_json(found)
        return
    _say(f"by the rule {found.rule!r} {found.why}")
    if fast or situation.shorter_wins is not None:
        _say(situation.on_races)
    if situation.judge_pays is False:
        _say(
            f"no evidence that verification by {judge} pays on the samples of --history: `tts advise verifier` has more"
        )
    _say("as published, not measured on this model and task")
    echo(f"options: --strategy {shlex.quote(found.strategy)}")


def _measured(
    history: Path, benchmark: str | None, model: str | None, given: Situation, judge: str | None
) -> Situation:
    """The situation that earlier samples show, `judge`'s scores included. Raises: InvalidParameter if it was given,
    too."""
    from tts.api.replays import choose
    from tts.errors import InvalidParameter
    from tts.planning.advice import situation_of
    from tts.planning.rules import Situation
    from tts.pools.parquet import read_pool

    if given != Situation():
        raise InvalidParameter("give --history, or --tokens-per-solution and --shorter-wins, which it measures")
    return situation_of(choose(read_pool(history), benchmark, model), judge)


def _tokens(budget: str) -> float:
    """The generated tokens of `tokens=2k` or `2000`. Raises: InvalidParameter for another limit, or several."""
    from tts.core.budget import Limits
    from tts.errors import InvalidParameter

    try:
        return float(budget)
    except ValueError:
        limits = Limits.parse(budget)
    if limits.tokens is None or limits != Limits(tokens=limits.tokens):
        raise InvalidParameter(f"the budget of an advice is in generated tokens (tokens=2k), but got {budget!r}")
    return float(limits.tokens)


def _spec(solutions: int, verifications: int, verifier: str | None) -> str:
    if not verifications:
        return f"majority_vote:n={solutions}"
    return f"genrm:n={solutions},verifications={verifications},verifier={verifier or 'genrm'}"


def _percent(value: Interval) -> str:
    between = "" if value.low is None or value.high is None else f" [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    return f"{100 * value.mean:.1f} %{between}"


def _say(text: str) -> None:
    from tts.process.console import console, say

    say(console(), text, 2)
