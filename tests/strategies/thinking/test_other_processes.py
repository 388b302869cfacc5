"""The strategies of this folder give the same journals in another process."""

import pytest
from other_processes import differing

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
    assert differing(SPECS) == []
