"""`tts advise` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tts.poolcli import Benchmark, Json, Model, PoolFile, print_json

advise_app = typer.Typer(help="What earlier samples advise: nothing is spent.", no_args_is_help=True)

Verifier = Annotated[str | None, typer.Option("--verifier", help="One of the pool's score columns.")]


@advise_app.command("bins")
def bins(
    pool: PoolFile,
    budget: Annotated[float, typer.Option("--budget", "-b", help="Generated tokens a problem, in the mean.")],
    arm: Annotated[list[str], typer.Option("--arm", help="majority_vote/N or best_of_n/N. Repeatable.")],
    pilot: Annotated[int, typer.Option("--pilot", help="Samples that say how hard a problem is.")] = 4,
    number: Annotated[int, typer.Option("--bins")] = 5,
    verifier: Verifier = None,
    benchmark: Benchmark = None,
    model: Model = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    json: Json = False,
) -> None:
    """A strategy for each difficulty, chosen by 2-fold cross-validation, the pilot charged."""
    from tts.advice import by_difficulty
    from tts.intervals import paired_difference
    from tts.poolfile import read_pool
    from tts.replays import choose

    found = by_difficulty(
        choose(read_pool(pool), benchmark, model),
        arm,
        budget,
        pilot=pilot,
        number=number,
        verifier=verifier,
        seed=seed,
    )
    gain = paired_difference(
        {p: [v] for p, v in found.by_problem.items()}, {p: [v] for p, v in found.single_by_problem.items()}
    )
    if json:
        print_json({"study": found, "gain": gain})
        return
    for i, some in enumerate(found.bins):
        typer.echo(
            f"bin {i + 1} (1 is the hardest): {some.problems} problems, {' or '.join(dict.fromkeys(some.chosen))}: "
            f"{100 * some.accuracy:.1f} % for {some.cost:,.0f} tokens"
        )
    typer.echo(f"by difficulty: {100 * found.accuracy:.1f} % for {found.cost:,.0f} tokens a problem")
    typer.echo(
        f"best single ({' or '.join(dict.fromkeys(found.single))}): {100 * found.single_accuracy:.1f} % for "
        f"{found.single_cost:,.0f}"
    )
    if gain is not None and gain.low is not None and gain.high is not None:
        typer.echo(f"difference: {100 * gain.mean:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]")
    more = f",verifier={verifier}" if verifier else ""
    typer.echo(f"to follow it: --strategy 'compute_optimal:policy={found.policy},pilot={pilot}{more}'")


@advise_app.command("split")
def split(
    budget: Annotated[float, typer.Option("--budget", "-b", help="Generated tokens of one problem.")],
    tokens: Annotated[float, typer.Option("--tokens-per-solution", help="Of one solution, in the mean.")],
    ratio: Annotated[float, typer.Option("--ratio", help="Tokens of a verification over those of a solution.")] = 1.0,
    history: Annotated[
        Path | None,
        typer.Option("--history", help="A pool with several judgements of each sample. None: as published."),
    ] = None,
    verifier: Verifier = None,
    benchmark: Benchmark = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """How many solutions, and how many verifications of each, a budget should buy."""
    from tts import solveverify
    from tts.advice import solving_or_verifying
    from tts.errors import InvalidParameter
    from tts.poolfile import read_pool
    from tts.replays import choose

    measured = None
    if history is not None:
        if verifier is None:
            raise InvalidParameter("--history needs --verifier: which of the pool's scores are the judgements")
        measured = solving_or_verifying(choose(read_pool(history), benchmark, model), verifier, ratio)
        best = measured.at(budget / tokens)
        solutions, verifications = best.solutions, best.verifications
    else:
        solutions, verifications = solveverify.plan(budget, tokens, ratio)
    if json:
        print_json({"solutions": solutions, "verifications": verifications, "measured": measured})
        return
    if measured is not None:
        for some in measured.splits:
            typer.echo(
                f"{some.budget * tokens:>12,.0f} tokens: {some.solutions} solutions x {some.verifications} "
                f"verifications, {100 * some.accuracy:.1f} %"
            )
        crossover = measured.crossover
        typer.echo(
            "verification does not pay at any budget that was measured"
            if crossover is None
            else f"verification pays from {crossover * tokens:,.0f} tokens on"
        )
    spec = f"genrm:n={solutions},verifications={verifications}" if verifications else f"majority_vote:n={solutions}"
    typer.echo(f"for {budget:,.0f} tokens: --strategy {spec}")


@advise_app.command("deadline")
def deadline(
    pool: PoolFile,
    seconds: Annotated[float, typer.Option("--seconds", help="Until the answer must be there.")],
    slots: Annotated[int, typer.Option("--slots", help="Samples of a problem that run side by side.")] = 16,
    tokens_per_s: Annotated[float, typer.Option("--tokens-per-s", help="Of one stream.")] = 50.0,
    budget: Annotated[float | None, typer.Option("--budget", "-b", help="Generated tokens a problem.")] = None,
    cancel_s: Annotated[float, typer.Option("--cancel-s", help="What a cancellation takes to reach an engine.")] = 0.0,
    benchmark: Benchmark = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """The race (the first k of n) that is most accurate by a deadline."""
    from tts.advice import for_deadline
    from tts.poolfile import read_pool
    from tts.replays import choose

    chosen = choose(read_pool(pool), benchmark, model)
    found = for_deadline(chosen, seconds, slots=slots, tokens_per_s=tokens_per_s, tokens=budget, cancel_s=cancel_s)
    if json:
        print_json(found)
        return
    typer.echo(
        f"{100 * found.accuracy:.1f} % in {found.seconds:.3g} s and {found.tokens:,.0f} tokens a problem, in time for "
        f"{100 * found.in_time:.0f} % of them"
    )
    typer.echo(f"to follow it: --strategy {found.strategy}")


@advise_app.command("strategy")
def strategy(
    folders: Annotated[list[Path], typer.Argument(help="Folders that tts sweep or tts replay have written.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Which is to answer.")],
    task: Annotated[str, typer.Option("--task", help="The problems, as those folders name theirs.")],
    budget: Annotated[float, typer.Option("--budget", "-b", help="Generated tokens a problem.")],
    json: Json = False,
) -> None:
    """The strategy that a history of runs speaks for, or, where it says too little, published rules."""
    from tts.advice import from_history

    found = from_history(folders, model, task, budget)
    if json:
        print_json(found)
        return
    typer.echo(f"--strategy {found.strategy}")
    typer.echo(f"because: {found.why}")
    if found.accuracy is not None and found.tokens is not None:
        error = "" if found.error is None else f" (such predictions were off by {100 * found.error:.1f} points)"
        typer.echo(f"predicted: {100 * found.accuracy:.1f} %{error} for {found.tokens:,.0f} tokens a problem")
