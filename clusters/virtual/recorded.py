"""Recorded samples in place of a model, in virtual time: a strategy's decisions without a GPU.

Nothing is invented: any other request than the recorded one (prompt, model, temperature ...) raises PoolLacks.
`draws` has the order of the samples; `recordings` cuts a sample that is longer than asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from tts.clusters.virtual.draws import Draws, permutation
from tts.clusters.virtual.recorded_scores import Recorded
from tts.clusters.virtual.recordings import Recordings, cut
from tts.clusters.virtual.simulated import SimulatedCluster, World
from tts.core.actions import (
    Action,
    Add,
    Cancel,
    Count,
    Counted,
    End,
    Event,
    Failed,
    Finished,
    Generate,
    Progressed,
    Recall,
    Refused,
    Request,
    Scored,
    Verify,
    Work,
    problem_of_trial,
    trial_of,
)
from tts.core.protocols import Verifier
from tts.core.scheduling.action_state import needs_grant
from tts.core.scheduling.races import has_slots
from tts.core.trials.coroutines import ForeignCode, StepStopped
from tts.core.trials.endings import WITHDRAWN
from tts.core.trials.trial import Trial
from tts.errors import CapabilityMissing, PoolLacks, TTSError
from tts.types import Candidate, Completion, ErrorInfo, Problem, Timing
from tts.verifiers.confidence.self_certainty import SelfCertainty
from tts.workers.killable_processes import Workers
from tts.workers.step_limits import watched


class RecordedCluster(SimulatedCluster):
    """Answers generations with a pool's samples and verifications with its scores.

    Args:
        recordings: of one model on one benchmark.
        problems: as the strategies see them, by id.
        seed: of the permutations.
        judged: verifiers that the strategy asks: it draws only samples that these were asked about.
        workers: as for `SimulatedCluster`.

    `run` raises PoolLacks as soon as something is asked for that was not recorded.
    """

    def __init__(
        self,
        recordings: Recordings,
        problems: Mapping[str, Problem],
        verifiers: Mapping[str, Verifier],
        seed: int,
        judged: Sequence[str] = (),
        workers: Workers | None = None,
    ) -> None:
        super().__init__(_Nobody(), verifiers, workers=workers, cancel_s=recordings.fleet.cancel_s)
        self._recordings = recordings
        self._prompts = {id: problem.messages for id, problem in problems.items()}
        self._seed = seed
        self._judged = tuple(judged)
        self._draws: dict[str, Draws] = {}  # by trial

    def run_each(self, trials: Iterator[Trial], window: int, closed: Callable[[Trial, float, float], None]) -> float:
        """Run trials that share no budget, faster than `run`: a scheduler has nothing to decide for them, so the rest
        of its work (first come, first served, `window` at a time) is done here.

        Args:
            closed: hears of every trial that has ended: when it was opened, and when it ended.

        Returns: the virtual seconds it took. Raises: as `run`.
        """
        try:
            with watched(self._foreign) as self._was_asked:
                return self._drive_each(trials, window, closed)
        except StepStopped:
            raise KeyboardInterrupt from None
        finally:
            self._end_workers()

    @property
    def foreign(self) -> ForeignCode:
        """The guard under which the trials of `run_each` run their strategies."""
        return self._foreign

    def _drive_each(self, trials: Iterator[Trial], window: int, closed: Callable[[Trial, float, float], None]) -> float:
        open_: dict[str, tuple[Trial, float]] = {}
        waiting: dict[str, Work] = {}
        live: set[str] = set()
        more = True
        while True:
            begun = ""  # the trial whose samples are leaving
            while waiting and len(live) < window:
                id, action = next(iter(waiting.items()))
                if type(action) is Generate and action.race:  # of all others, one slot is enough
                    trial_id = trial_of(id)
                    if begun != trial_id and not has_slots(waiting.values(), len(live), window):
                        break
                    begun = trial_id
                del waiting[id]
                live.add(id)
                seconds, end = self._outcome(action)
                self._begin(action, seconds, end)
            if more and not waiting and len(live) < window and len(open_) < 2 * window:
                trial = next(trials, None)
                more = trial is not None
                if trial is not None:
                    open_[trial.id] = trial, self._clock.now_s
                    self._sort(trial, trial.start(self._clock.now_s), waiting)
                    if trial.broken_off:
                        raise StepStopped
                continue
            if not open_:
                return self._clock.now_s
            event = self._next()
            live.difference_update(_freed(event))
            trial, opened_s = open_[trial_of(event.id)]
            actions = trial.tell(event)
            if actions:
                self._sort(trial, actions, waiting)
            if not trial.done:
                continue
            if trial.broken_off:
                raise StepStopped
            if trial.closed:
                del open_[trial.id]
                closed(trial, opened_s, self._clock.now_s)

    def _sort(self, trial: Trial, actions: Sequence[Action], waiting: dict[str, Work]) -> None:
        """Let actions that need a slot wait for one; end those that were waiting and are cancelled."""
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Cancel):
                if waiting.pop(action.id, None) is None:
                    self._cancel(action.id)
                    continue
                why = ErrorInfo(WITHDRAWN, f"{action.id} was cancelled before it left")
                todo.extend(trial.tell(Refused(action.id, self._clock.now_s, why)))
            elif isinstance(action, Recall | Add):
                todo.extend(trial.tell(self._memory.answer(action, self._clock.now_s)))
            elif needs_grant(action):
                waiting[action.id] = action
            else:
                self._carry_out(action)

    def row_of(self, candidate: str) -> int:
        """The pool's row of a candidate of an open trial."""
        draws = self._draws[trial_of(candidate)]
        return self._recordings.start(draws.problem_id) + draws.drawn[candidate]

    def is_drawn(self, candidate: Candidate) -> bool:
        """Whether this candidate of an open trial is of a recorded sample; the strategy has put others together."""
        return candidate.id in self._draws[trial_of(candidate.id)].drawn

    def is_whole(self, candidate: Candidate) -> bool:
        """Whether this candidate of an open trial is the whole recorded sample, and not a part of it."""
        draws, tokens = self._draws[trial_of(candidate.id)], candidate.completion.usage.completion_tokens
        return self._recordings.whole(draws.problem_id, draws.drawn[candidate.id], tokens)

    def forget(self, trial: str) -> None:
        """Forget a trial that has closed."""
        self._draws.pop(trial, None)
        for verifier in self._verifiers.values():
            if isinstance(verifier, Recorded):
                verifier.forget(trial)

    def _outcome(self, action: Work) -> tuple[float, End]:
        if isinstance(action, Count):
            return 0.0, Counted(action.id, 0.0, self._counted(action))
        if not isinstance(action, Generate):
            return super()._outcome(action)
        trial = trial_of(action.id)
        draws = self._draws.get(trial) or self._draws_of(trial)
        if action.request is not draws.checked:  # the samples that are asked for together have one request
            self._check(action, draws.problem_id)
            draws.checked, draws.most = action.request, action.request.sampling.token_limit
        seconds, outcome = draws.samples[self._draw(action.id, draws)]
        if isinstance(outcome, TTSError):
            if isinstance(outcome, PoolLacks):
                raise outcome
            return seconds, Failed(action.id, 0.0, ErrorInfo.of(outcome))
        most, tokens = draws.most, outcome.usage.completion_tokens
        if tokens > most:
            seconds *= most / tokens
            outcome = cut(outcome, most, seconds, self._recordings.nothing)
        elif outcome.finish_reason == "length" and most > self._recordings.sampling.token_limit:
            raise PoolLacks(
                f"{action.id} asks for up to {most:,} tokens, and its sample was cut at {tokens:,} when it was "
                f"recorded: what it would have gone on to say is not in {self._recordings.name}"
            )
        return seconds, Finished(action.id, 0.0, outcome)

    def _groups(self, action: Generate, completion: Completion) -> Sequence[float]:
        draws = self._draws[trial_of(action.id)]
        tokens, group = completion.usage.completion_tokens, action.request.group
        return self._recordings.confidences(draws.problem_id, draws.drawn[action.id])[: tokens // group]

    def _counted(self, action: Count) -> int | None:
        """The tokens of the problem's own prompt, which its samples were recorded with; None where they were not."""
        problem_id, recordings = problem_of_trial(trial_of(action.id)), self._recordings
        asked = (action.prompt.messages, action.prompt.continue_from, action.prompt.tools, action.alone)
        if asked != (self._prompts[problem_id], "", (), False) or action.prompt.model not in (None, recordings.model):
            raise PoolLacks(
                f"{action.id} counts the tokens of something else than the problem's own prompt, which nobody counted "
                f"when it was recorded: this strategy cannot be replayed from {recordings.name}"
            )
        samples = (sample for _, sample in recordings.of(problem_id) if isinstance(sample, Completion))
        return next((tokens for sample in samples if (tokens := sample.usage.prompt_tokens)), None)

    def _verify(self, action: Verify) -> tuple[float, End]:
        verifier = self._verifiers[action.verifier]
        if isinstance(verifier, SelfCertainty):
            return super()._verify(action)
        if not isinstance(verifier, Recorded):
            raise PoolLacks(f"{action.verifier} is not among the recorded scores of {self._recordings.name}")
        usage = verifier.usage
        seconds = self._recordings.fleet.seconds(usage.prompt_tokens, usage.completion_tokens, None)
        score = verifier.score(action.problem, action.candidate)
        return seconds, Scored(action.id, 0.0, score, usage, Timing(seconds))

    def _check(self, action: Generate, problem_id: str) -> None:
        request, recordings = action.request, self._recordings
        lacks = None
        if request.continue_from:
            lacks = "continues a text, and only whole samples were recorded"
        elif request.progress and (not_followed := recordings.not_followed(request)):
            lacks = not_followed
        elif request.tools:
            lacks = "gives the model tools, and the samples were recorded without any"
        elif request.messages != self._prompts[problem_id]:
            lacks = "asks something else than the problem (a revision, a judgement), which was not recorded"
        elif request.model not in (None, recordings.model):
            lacks = f"asks the model {request.model}, and the samples are of {recordings.model}"
        elif request.sampling is not recordings.sampling:
            lacks = recordings.lacks(request.sampling)
        if lacks:
            raise PoolLacks(f"{action.id} {lacks}: this strategy cannot be replayed from {recordings.name}")

    def _draws_of(self, trial: str) -> Draws:
        problem_id = problem_of_trial(trial)
        samples = self._recordings.of(problem_id)
        left = list(permutation(self._seed, problem_id, len(samples)))
        if self._judged:
            may = self._recordings.drawable(problem_id, self._judged)
            left = [sample for sample in left if sample in may]
        draws = self._draws[trial] = Draws(problem_id, samples, left)
        return draws

    def _draw(self, id: str, draws: Draws) -> int:
        if not draws.left:
            recorded = len(draws.drawn)
            scored = f" with a score of {', '.join(self._judged)}" if self._judged else ""
            raise PoolLacks(
                f"{id} would be sample {recorded + 1} of {draws.problem_id}, of which {recorded} are recorded{scored}: "
                f"ask for fewer",
                recorded=recorded,
                problem=draws.problem_id,
            )
        drawn = draws.drawn[id] = draws.left.pop()
        return drawn


def _freed(event: Event) -> tuple[str, ...]:
    """The actions whose slots are free after an event: none, while its stream goes on."""
    return () if type(event) is Progressed else (event.id,)


class _Nobody(World):
    """The world of a pool, which has no model: any request fails."""

    def complete(self, request: Request) -> tuple[float, Completion | TTSError]:
        raise CapabilityMissing("a replay has recorded samples only, and no model that could be asked; run it live")
