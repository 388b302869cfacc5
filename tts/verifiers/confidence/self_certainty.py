"""Self-certainty: the model's distance from guessing, read from the log-probabilities of its own answer."""

from __future__ import annotations

from tts.types import Candidate, Problem, Score, ScoreKind


class SelfCertainty:
    """Mean KL divergence of the token distributions from uniform (Kang et al. 2025, arXiv:2502.18581).

    Differences from the paper: over the alternatives that the server shows instead of the whole vocabulary
    (`LogprobSummary.self_certainty`). A candidate whose server gave no alternatives gets an abstention.
    """

    name = "self_certainty"
    kind: ScoreKind = "logprob"
    candidate_logprobs = 5

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        summary = candidate.completion.logprobs
        return Score(summary.self_certainty if summary else None, self.name, self.kind)
