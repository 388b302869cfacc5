"""Self-certainty: how far the model was from guessing, read from the log-probabilities of its own answer."""

from __future__ import annotations

from tts.core.actions import Request
from tts.errors import CapabilityMissing
from tts.types import Candidate, Completion, Problem, Score, ScoreKind


class SelfCertainty:
    """Mean KL divergence of the token distributions from uniform (Kang et al. 2025, arXiv:2502.18581).

    Differences from the paper: over the alternatives that the server shows instead of the whole vocabulary
    (`LogprobSummary.self_certainty`). A candidate whose server gave no alternatives gets an abstention.
    """

    name = "self_certainty"
    kind: ScoreKind = "logprob"
    candidate_logprobs = 5
    in_worker = False

    def request(self, problem: Problem, candidate: Candidate) -> Request | None:
        return None

    def read(self, completion: Completion) -> Score:
        raise CapabilityMissing("self_certainty asks no model: there is no reply to read")

    def score(self, problem: Problem, candidate: Candidate) -> Score:
        summary = candidate.completion.logprobs
        return Score(summary.self_certainty if summary else None, self.name, self.kind)
