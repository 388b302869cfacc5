"""The strategies of this folder give the same journals in another process, all together: a process takes longer to
start than a strategy to try."""

import pickle

import pytest

from tts.testing import StrategyContract
from tts.testing.contract import journals_of
from tts.testing.elsewhere import elsewhere

SPECS = (
    "budget_forcing:waits=2,think=48,answer=16",
    "no_thinking:n=3",
    "length_rejection:n=3,most=24",
    "dynasor:every=8,agree=2,probe=6,think=48,answer=16",
    "es_cot:jump=1,every=8,probe=6,think=48,answer=16",
    "trimr:every=8,think=48,answer=16,many=2",
)


@pytest.mark.system
def test_each_gives_the_same_journals_in_another_process() -> None:
    tried = [type("Contract", (StrategyContract,), {"strategy": spec, "worlds": range(3)})() for spec in SPECS]
    ours = [[one._journal(key) for key in one.worlds] for one in tried]
    portable = [one._portable() for one in tried]
    sources = {name: file for _, files in portable for name, file in files.items()}
    given = pickle.dumps([values for values, _ in portable])
    for theirs in elsewhere(f"{__file__}:journals", given, sources, ("1", "2")):
        assert [spec for spec, a, b in zip(SPECS, ours, theirs, strict=True) if a != b] == []


def journals(portable: bytes) -> list[list[list[bytes]]]:
    """The journals of several contracts."""
    return [journals_of(given) for given in pickle.loads(portable)]
