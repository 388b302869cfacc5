"""The published methods of this folder, which are written as a plugin's author would write them, keep the contract."""

import pickle
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from tts.testing import StrategyContract
from tts.testing.contract import journals_of
from tts.testing.elsewhere import elsewhere

HERE = Path(__file__).parent
COUNTED = """
voting/best_of_majority.py:best_of_majority:n=4
tournaments/knockout.py:knockout:n=4
tournaments/swiss.py:swiss:n=4,rounds=2
tournaments/swiss.py:swiss:n=4,pivots=1
tournaments/genselect.py:genselect:n=6,window=3
tournaments/debate.py:debate:n=4
routing/heated.py:heated:n=6
revision/neighbours.py:neighbours:n=5
"""  # n counts all of their samples
UNCOUNTED = """
aggregation/atom.py:atom:depth=2
aggregation/least_to_most.py:least_to_most
aggregation/rsa.py:rsa:n=4,k=3,rounds=3
aggregation/pacore.py:pacore:first=4,second=2
aggregation/moa.py:moa
revision/self_refine.py:self_refine
revision/feedback_loop.py:feedback_loop
routing/cascade.py:cascade:n=4
routing/hedged.py:hedged
routing/plangen.py:plangen:rounds=2
code/codemonkeys.py:codemonkeys:n=2
agents/agent.py:agent:horizon=4
best_of_n:n=3,verifier=tournaments/grm.py:grm(k=3)
"""
ELSEWHERE = "test_another_process_gives_the_same_journal"


def contract(case: str, **members: Any) -> type[StrategyContract]:
    if "codemonkeys" in case:
        members["unsafe_execute"] = True
    if case in UNCOUNTED:
        members["counted"] = lambda self, n: None
    (*_, method) = re.findall(r"(\w+)[.]py", case)
    name = f"Test{method.title().replace('_', '')}{zlib.crc32(case.encode()):x}"
    text = re.sub(r"\w+/\w+\.py:", rf"{HERE}/\g<0>", case)
    return type(name, (StrategyContract,), {"strategy": text, "__module__": __name__, **members})


CASES = COUNTED.split() + UNCOUNTED.split()
CONTRACTS = [contract(case, worlds=range(1), **{ELSEWHERE: None}) for case in CASES]
THOROUGH = [pytest.mark.system(contract(case, worlds=range(1, 4), **{ELSEWHERE: None})) for case in CASES]
globals().update({contract.__name__: contract for contract in CONTRACTS})
globals().update({f"{contract.__name__}Thoroughly": contract for contract in THOROUGH})


@pytest.mark.system
def test_each_gives_the_same_journals_in_another_process() -> None:
    """All together, in one process for each way to hash: a process takes longer to start than a method to try."""
    tried = [contract(case, worlds=range(3))() for case in CASES]
    portable = [one._portable() for one in tried]
    ours = [[one._journal(key) for key in one.worlds] for one in tried]
    sources = {name: file for _, files in portable for name, file in files.items()}
    for theirs in elsewhere(
        f"{__file__}:journals", pickle.dumps([given for given, _ in portable]), sources, ("1", "2")
    ):
        differing = [case for case, a, b in zip(CASES, ours, theirs, strict=True) if a != b]
        assert differing == []


def journals(portable: bytes) -> list[list[list[bytes]]]:
    """The journals of several contracts."""
    return [journals_of(given) for given in pickle.loads(portable)]


def test_every_method_names_its_paper_and_how_it_differs() -> None:
    for path in HERE.glob("*/*.py"):
        source = path.read_text()
        assert re.search(r"arXiv:\d{4}\.\d{5}", source), path
        assert re.search(r"Differences\s+from\s+the\s+papers?:", source), path


def test_the_files_of_four_methods_are_as_short_as_their_ideas() -> None:
    short = ("tournaments/knockout", "aggregation/rsa", "aggregation/atom", "routing/cascade")
    assert {name: lines for name in short if (lines := (HERE / f"{name}.py").read_text().count("\n")) > 45} == {}


def test_no_method_works_around_the_library() -> None:
    """They make no candidate and replace no part of one, and neither a spent budget nor a failure is caught."""
    for path in HERE.glob("*/*.py"):
        found = re.findall(
            r"\b(?:Candidate|Completion)\(|structs\.replace|BudgetExhausted|AllFailed|\bsuppress\b|except:",
            path.read_text(),
        )
        assert found == [], path
