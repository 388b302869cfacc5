"""The strategies of this folder, and tournaments, give the same journals in another process."""

import pytest
from other_processes import differing

SPECS = (
    "best_of_majority:n=3,verifier=judge",
    "pessimistic:n=3,verifier=judge",
    "pandora:n=5,verifier=judge",
    "weaver:n=3",
    "cascade:n=4,trust=blind",
    "trust_or_escalate:n=3,verdicts=2",
    "sample_scrutinize_scale:n=3,verifications=1,trust=blind",
    "usc:n=3",
    "knockout:n=4",
    "swiss:n=4,rounds=2,trust=blind",
    "pivot:n=3,trust=blind",
    "bradley_terry:n=3,trust=blind",
    "genselect:n=4,window=2",
)


@pytest.mark.system
def test_each_gives_the_same_journals_in_another_process() -> None:
    assert differing(SPECS) == []
