import random

from tts.report import Outcome


def sweep_of_six(problems: int = 60, seeds: int = 2) -> list[Outcome]:
    """Outcomes such as a sweep of six strategies under four budgets gives: a small model on arithmetic."""
    outcomes = []
    shapes = {  # strategy -> (samples at a budget step, gain of a doubling, share verifier, share cancelled, depth)
        "single": (lambda k: 1, 0.0, 0.0, 0.0),
        "best_of_n": (lambda k: 2**k, 0.05, 0.0, 0.0),
        "majority_vote": (lambda k: 2**k, 0.075, 0.0, 0.0),
        "first_finish": (lambda k: 2**k, 0.06, 0.0, 0.35),
        "genrm": (lambda k: 2**k, 0.07, 0.45, 0.0),
        "sequential_revision": (lambda k: 2**k, 0.03, 0.0, 0.0),
    }
    for strategy, (samples_at, gain, verifier, cancelled) in shapes.items():
        for k, budget in enumerate(("1k", "2k", "4k", "8k"), start=1):
            params = "" if strategy == "single" else f"n={samples_at(k)}"
            cell = " ".join(filter(None, (strategy, params, budget)))
            for seed in range(seeds):
                for p in range(problems):
                    rng = random.Random(f"{strategy}/{k}/{seed}/{p}")
                    ease = random.Random(p).gauss(0.42, 0.3)
                    n = samples_at(k)
                    lengths = [max(20, int(rng.lognormvariate(5.0, 0.4))) for _ in range(n)]
                    answers = sum(lengths)
                    checking = int(answers * verifier / (1 - verifier))
                    tokens = answers + checking
                    outcomes.append(
                        Outcome(
                            cell=cell,
                            strategy=strategy,
                            params=params,
                            budget=budget,
                            seed=seed,
                            problem_id=f"p{p}",
                            answer="42",
                            correct=rng.random() < ease + gain * (n.bit_length() - 1),
                            samples=n,
                            tokens=tokens,
                            prompt_tokens=60 * n,
                            sequential_tokens=answers if strategy == "sequential_revision" else max(lengths),
                            verifier_tokens=checking,
                            cancelled_tokens=int(answers * cancelled),
                            usd=None,
                            flops=tokens * 270_000_000,
                            seconds=tokens / 20,
                            latency_s=max(lengths) / 20,
                        )
                    )
    return outcomes
