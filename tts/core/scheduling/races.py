"""Races of samples: they leave together, and in an order that favours none."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from tts.core.actions import Action, Cancel, Generate, Work, trial_of


def has_slots(waiting: Iterable[Work], in_flight: int, window: int) -> bool:
    """Whether the first waiting ask may leave; one of a race leaves together with all of that race, as far as the
    window goes."""
    together, race = 0, ""
    for action in waiting:
        trial = trial_of(action.id)
        if not (isinstance(action, Generate) and action.race and race in ("", trial)):
            break
        together, race = together + 1, trial
    return in_flight + min(max(1, together), window) <= window


def races_shuffled(actions: list[Action]) -> list[Action]:
    """Shuffle the samples of each race among themselves; none changes places across a `Cancel`, which may be its
    own."""
    races: dict[int, list[int]] = {}
    cancels = 0
    for place, action in enumerate(actions):
        if isinstance(action, Cancel):
            cancels += 1
        elif isinstance(action, Generate) and action.race:
            races.setdefault(cancels, []).append(place)
    shuffled = list(actions)
    for places in races.values():
        others = places.copy()
        Random(actions[places[0]].id).shuffle(others)
        for place, other in zip(places, others, strict=True):
            shuffled[place] = actions[other]
    return shuffled
