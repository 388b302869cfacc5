"""Swiss and pivot tournaments: points for every candidate."""

from tts import Candidate, Problem, Run


async def swiss(
    problem: Problem, run: Run, *, n: int = 8, rounds: int = 3, pivots: int = 0, verifier: str = "pairwise.py:pairwise"
) -> Candidate:
    """Let neighbours in the table meet, round by round; or everybody the same few, once.

    Chen et al. (2024), arXiv:2411.19477, whose league draws opponents. Differences from the paper: opponents are
    neighbours in the table, as in a Swiss tournament, or the first `pivots` candidates.
    """
    found = await run.generate(n=n)
    points = dict.fromkeys(found, 0.0)
    run.fallback = lambda *_: max(points, key=points.get)

    async def play(*players: Candidate) -> None:
        for player, score in zip(players, await run.verify(players, verifier), strict=True):
            points[player] += score.value or 0.0

    for _ in range(1 if pivots else rounds):
        table = sorted(found, key=lambda c: -points[c])
        neighbours = [table[i : i + 2] for i in range(0, len(table) - 1, 2)]
        with_pivots = [(c, pivot) for c in found for pivot in found[:pivots] if c is not pivot]
        await run.gather(*(play(*pair) for pair in with_pivots or neighbours))
    return run.pick()
