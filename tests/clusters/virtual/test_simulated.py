"""Simulated models: what they show of a stream is one with what comes of it, and a function of the request."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.clusters.virtual.simulated import SimulatedCluster, SyntheticWorld, World
from tts.core.actions import Finished, Progressed, Request
from tts.core.scheduling.scheduler import Scheduler
from tts.core.scheduling.steps import Planned
from tts.models.cost_model import CostModel
from tts.runs.folder import NoJournal
from tts.testing.worlds import NoisyWorld
from tts.types import Completion, Message, Problem, Sampling, StrategySpec


class Kept(NoJournal):
    def __init__(self):
        self.records = []

    def write(self, records):
        self.records += records


def streamed(world, sampling, n=3):
    """The pieces of each of n streams, and how each ended."""

    async def watch(problem, run):
        async with run.streaming(n=n, every=16) as stream:
            async for update in stream:
                if update.candidate is not None:
                    last = update.candidate
        return last

    planned = [Planned("c", Problem("p", "What is 2 + 2?"), StrategySpec("watch"))]
    scheduler = Scheduler(planned, lambda name: watch, costs=CostModel(), verifiers={}, sampling=sampling)
    journal, told = Kept(), []
    scheduler_tell = scheduler.tell
    scheduler.tell = lambda events: told.extend(events) or scheduler_tell(events)
    SimulatedCluster(world).run(scheduler, journal)
    ends = {event.id: event.completion for event in told if isinstance(event, Finished)}
    return {id: [e for e in told if isinstance(e, Progressed) and e.id == id] for id in ends}, ends


def world_of(kind, seed):
    if kind == "noisy":
        return NoisyWorld(seed)
    return SyntheticWorld(lambda prompt: 0.5, lambda prompt: "4", tokens=100)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["noisy", "synthetic"]), st.integers(0, 10**6), st.integers(1, 200))
def test_the_log_probabilities_of_a_stream_s_pieces_have_the_mean_of_the_whole(kind, seed, most):
    sampling = Sampling(max_tokens=most, top_logprobs=5)
    pieces, ends = streamed(world_of(kind, seed), sampling)
    assert streamed(world_of(kind, seed), sampling)[0] == pieces
    for id, own in pieces.items():
        whole = ends[id].logprobs
        counts = [b.tokens - a for a, b in zip([0, *(e.tokens for e in own)], own, strict=False)]
        mean = sum(e.mean_logprob * n for e, n in zip(own, counts, strict=True)) / sum(counts)
        assert abs(mean - whole.mean) < 1e-6  # six digits, as in a live run
        assert all(whole.minimum - 1e-6 <= e.mean_logprob <= 0 for e in own)
        confidence = sum(e.confidence * n for e, n in zip(own, counts, strict=True)) / sum(counts)
        assert abs(confidence - whole.confidence) < 1e-6 and all(e.confidence > 0 for e in own)
        assert counts[:-1] == [16] * (len(counts) - 1) and 0 < counts[-1] <= 16
        assert "".join(e.text for e in own) == ends[id].text
        # A rule that stops at the least certain piece has pieces to tell apart.
        assert len(own) == 1 or len({e.mean_logprob for e in own}) > 1


def test_who_asks_for_no_log_probabilities_is_shown_none():
    for world in (NoisyWorld(1), world_of("synthetic", 1)):
        pieces, _ = streamed(world, Sampling(max_tokens=64))
        assert {(e.mean_logprob, e.confidence) for own in pieces.values() for e in own} == {(None, None)}


@pytest.mark.parametrize("world", [NoisyWorld(), SyntheticWorld(lambda prompt: 0.5, lambda prompt: "1", tokens=8)])
def test_some_texts_of_a_simulated_model_end_at_a_stop_string_and_some_by_themselves(world: World) -> None:
    def ends(*stop: str) -> set[str | None]:
        sampling = Sampling(stop=stop, max_tokens=4096)
        found = [world.complete(Request((Message("user", "?"),), sampling, seed=seed))[1] for seed in range(40)]
        return {each.stopped_by for each in found if isinstance(each, Completion)}

    assert ends() == {None}
    assert ends("\n", "END") == {None, "\n", "END"}
