"""Compute-optimal scaling: a few pilot samples measure a problem's difficulty, and a policy chooses the strategy."""

import re
from typing import Literal

from tts.core.trials.context import Run
from tts.errors import InvalidParameter
from tts.selectors import majority, named
from tts.toolkit.difficulty import Policy, agreement, mean_score
from tts.toolkit.revisions import revise
from tts.toolkit.sampling import sample_until
from tts.toolkit.votes import Equivalence, choose, equated
from tts.types import Candidate, Problem, Value

Difficulty = Literal["agreement", "score"]
ARM = re.compile(r"(majority_vote|best_of_n)/(\d+)|(sequential_revision)/(\d+)x(\d+)")


class Arm(Value, frozen=True):
    """A problem's continuation: `n` samples side by side (the pilot's among them), or chains of revisions."""

    name: str
    n: int
    chains: int = 0
    rounds: int = 0


async def compute_optimal(
    problem: Problem,
    run: Run,
    *,
    policy: str = "0.5:majority_vote/16;majority_vote/8",
    pilot: int = 4,
    difficulty: Difficulty = "agreement",
    verifier: str | None = None,
    selector: str = "weighted_majority",
    equivalence: Equivalence = "exact",
) -> Candidate:
    """Sample `pilot` candidates, look up the arm for their difficulty in `policy`, and go on with it.

    Snell et al. (2024), arXiv:2408.03314, section 3; a policy for a model and a budget comes from
    `tts.toolkit.difficulty.study_policy`. Differences from the paper: the pilot is charged, is small, and takes part in
    the selection; its samples are the first of an arm's, or the first attempts of its chains in turn. The default
    policy was measured nowhere: it only gives problems without a majority twice the votes.

    Args:
        policy: the arm of each bin, hardest first, after the share (or score) up to which it is for; the last one is
            for the rest. Arms: majority_vote/N, best_of_n/N, sequential_revision/CHAINSxROUNDS; the pilot counts.
        pilot: samples by which a problem is put into its bin.
        difficulty: agreement (the share of the leading answer), or score (the mean of the verifier's).
        verifier: the name of one of the run's verifiers, for best_of_n, for the versions of revisions, and for score.
        selector: of what is verified: weighted_majority, best_score or borda.
        equivalence: `math` lets 1/\\sqrt{2} and \\sqrt{2}/2 vote together (extra `math`).
    Raises: AllFailed if every sample of the pilot failed, UnknownName, InvalidParameter.
    """
    run = run.on(problem)
    run.fallback = majority
    select = named(selector)
    bins, arms = read_arms(policy, verifier)
    if difficulty not in ("agreement", "score"):
        raise InvalidParameter(f"difficulty must be agreement or score, but got {difficulty!r}", name="difficulty")
    if difficulty == "score" and verifier is None:
        raise InvalidParameter("difficulty=score needs a verifier: give verifier=NAME", name="verifier")
    first = await run.generate(n=pilot)
    if difficulty == "score" and verifier is not None:
        ease = mean_score([score.value for score in await run.verify(first, verifier)])
    else:
        ease = agreement([c.answer for c in await equated(run, first, equivalence)])
    arm = arms[bins.bin_of(ease)]
    verified = verifier is not None and arm.name != "majority_vote"
    run.fallback = select = select if verified else majority
    candidates = await _go_on(problem, run, arm, first, pilot)
    if verifier is not None and verified:
        scored = {c.id for c in first} if difficulty == "score" else set()
        await run.verify([c for c in candidates if c.id not in scored], verifier)
    return await choose(run, select, candidates, equivalence)


def read_arms(policy: str, verifier: str | None) -> tuple[Policy, list[Arm]]:
    """A policy's bins, and the arm of each. Raises: InvalidParameter for what is not an arm, or lacks a verifier."""
    bins = Policy.parse(policy)
    arms = []
    for text in bins.strategies:
        match = ARM.fullmatch(text)
        numbers = [int(n) for n in match.group(2, 4, 5) if n is not None] if match else []
        if match is None or min(numbers) < 1:
            raise InvalidParameter(
                f"policy {policy!r}: an arm is majority_vote/N, best_of_n/N or sequential_revision/CHAINSxROUNDS, all "
                f"at least 1, but got {text!r}",
                name="policy",
                value=text,
            )
        if match[1] == "best_of_n" and verifier is None:
            raise InvalidParameter(f"policy {policy!r}: {text} needs a verifier: give verifier=NAME", name="verifier")
        if match[1]:
            arms.append(Arm(match[1], numbers[0]))
        else:
            arms.append(Arm(match[3], numbers[0] * numbers[1], *numbers))
    return bins, arms


async def _go_on(problem: Problem, run: Run, arm: Arm, first: list[Candidate], asked: int) -> list[Candidate]:
    """Go on with the arm. Returns its samples, the pilot's among them; failures after the pilot leave fewer."""
    if arm.chains:
        begun = [first[i :: arm.chains] for i in range(arm.chains)]
        found = await run.gather(*(revise(problem, run, arm.rounds, attempts) for attempts in begun))
        return [version for chain in found for version in chain]
    more = arm.n - asked
    return await sample_until(run, n=len(first) + more, size=more, begun=first) if more > 0 else first
