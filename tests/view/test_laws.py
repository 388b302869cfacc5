"""What holds of every trial that is shown: its bill, its candidates, and the sentences about them."""

from pathlib import Path

import msgspec
import pytest
from viewed import made

import tts
from tts.core.journal.records import Granted, Shared
from tts.runs.folder import JOURNAL, read_history, read_records
from tts.view.run import RunView
from tts.view.trials.details import shown_in
from tts.view.trials.reasons import about_trust
from tts.view.trials.retelling import names_code

STRATEGIES = [
    "single", "majority_vote:n=5", "first_finish:n=4", "esc:n=8,window=2", "best_of_n:n=3,verifier=genrm", "usc:n=3",
    "sequential_revision:chains=1,rounds=3", "knockout:n=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    """A run with cancelled samples, shared ones, judgements and revisions."""
    return RunView(made(tmp_path_factory.mktemp("laws") / "run", problems=3, strategies=STRATEGIES))


def test_the_sum_of_a_bill_is_the_cost_that_was_recorded(view: RunView) -> None:
    history = read_history(view.path / JOURNAL)
    for trial, decided in history.decided.items():
        shown, total = view.trial(trial), decided.bill.total
        assert sum(line.samples or 0 for line in shown.bill) == shown.total.samples == total.samples
        assert sum(line.tokens or 0 for line in shown.bill) == shown.total.tokens == total.tokens
        assert shown.paid is not None
        assert (shown.paid.samples, shown.paid.tokens) == (decided.paid.samples, decided.paid.tokens)


def test_every_request_of_the_journal_is_shown_exactly_once(view: RunView) -> None:
    records = [*read_records(view.path / JOURNAL)]
    asked = sorted({record.id for record in records if isinstance(record, Granted | Shared)})
    shown = [view.trial(trial) for trial in view.index.opened]
    found = [each.id for trial in shown for each in (*trial.candidates, *trial.verifications)]
    assert sorted(id for id in found if id in {*asked}) == asked
    assert len({*found}) == len(found)


def test_what_is_retold_is_what_the_run_decided(view: RunView) -> None:
    for trial, decided in read_history(view.path / JOURNAL).decided.items():
        shown = view.trial(trial)
        assert not shown.notes
        assert [each.id for each in shown.candidates if each.selected] == [decided.selected]
        chosen = next(each for each in shown.candidates if each.selected)
        assert chosen.answer == shown.answer == decided.answer
        assert any(vote.answer == decided.answer for vote in shown.votes)
        assert all(each.because for each in shown.candidates)
        seen = view.seen(trial)
        assert seen.told is not None
        assert not seen.told.unlike


def test_the_outcomes_that_are_shown_are_those_of_the_report(view: RunView) -> None:
    loaded = tts.load(view.path)
    assert isinstance(loaded, tts.SweepResult)
    key = msgspec.json.encode
    assert sorted(map(key, view.results.outcomes)) == sorted(map(key, loaded.outcomes))
    assert sorted(map(key, view.results.rows)) == sorted(map(key, loaded.rows))


def test_the_sentences_state_votes_and_ties(view: RunView) -> None:
    for trial in view.index.opened:
        shown = view.trial(trial)
        counts = sorted((vote.count for vote in shown.votes), reverse=True)
        own = next(vote.count for vote in shown.votes if vote.answer == shown.answer)
        assert any(f"is that of {own} of {sum(counts)} candidate" in sentence for sentence in shown.why)
        ties = own == counts[0] and counts.count(own) > 1
        assert any("It ties with" in sentence for sentence in shown.why) == ties
        assert any("would have chosen another" in sentence for sentence in shown.why) == (own < counts[0])


def test_the_rule_of_a_strategy_has_the_values_that_it_ran_with(view: RunView) -> None:
    trial = next(trial for trial in view.index.opened if trial.startswith("first_finish"))
    assert view.trial(trial).why[0].startswith("The rule of first_finish: Start n=4 samples together, vote over")


@pytest.mark.parametrize(
    ("sums", "said"),
    [
        ({}, "was not earned yet: 0 earlier problems"),
        ({"problems": 9.0, "above": 4.5, "squares": 4.5}, "which may be chance. It only broke ties"),
        ({"problems": 60.0, "above": 60.0, "squares": 60.0}, "in 100 %. It chose among all answers"),
        ({"problems": 60.0, "above": 6.0, "squares": 6.0}, "The plain vote decided"),
    ],
)
def test_what_a_verifier_was_trusted_with_is_said(sums: dict[str, float], said: str) -> None:
    (sentence,) = about_trust("knockout:n=3", {"trust in pairwise": sums, "another key": {}})
    assert "pairwise" in sentence
    assert said in sentence
    assert "its scores decide" in about_trust("knockout:n=3,trust=blind", {})[0]


def test_every_candidate_of_a_tournament_is_judged_or_has_the_text_of_one_that_is(view: RunView) -> None:
    trials = [view.trial(trial) for trial in view.index.opened if trial.startswith("knockout")]
    asked = [trial for trial in trials if trial.verifications]
    assert asked
    for trial in asked:
        of = {id for each in trial.verifications for id in each.of}
        alike = {id for each in trial.verifications for id in each.alike}
        assert of
        assert not of & alike
        texts = {each.id: each.text_preview for each in trial.candidates}
        assert {texts[id] for id in alike} <= {texts[id] for id in of}


def test_a_prompt_shows_texts_in_its_order_and_none_that_is_part_of_another() -> None:
    texts = {"1": "So it is 4.", "2": "So it is 4.", "3": "it is", "4": "No, it is 5.", "5": "unseen", "6": ""}
    assert shown_in("A: No, it is 5.\nB: So it is 4.\n", texts) == ["4", "1"]


CODE = [
    "evil.py:X", "evil:X", "panel(verifiers=a.py:X+judge)", "best_of_n:verifier=a.py:X", "evil.py:X(limit=3)",
    "calibrated(verifier=judge,file=/etc/passwd)", "a.py:f:n=3",
]  # fmt: skip
PLAIN = ["majority_vote:n=3", "genrm(max_tokens=9)", "best_of_n:n=4,verifier=judge", "math", 8, None]


def test_a_value_that_names_code_or_a_file_is_told_from_a_part_and_its_parameters() -> None:
    assert [value for value in CODE if not names_code([value])] == []
    assert [value for value in PLAIN if names_code([value])] == []


def test_nothing_that_a_folder_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def long(problem, candidate):\n    return 1.0\n")
    folder = made(tmp_path / "run", problems=1, strategies=["best_of_n:n=2,verifier=mine.py:long"])
    (tmp_path / "mine.py").write_text("raise SystemExit('it was imported')\n")
    view = RunView(folder)
    for trial in view.index.opened:
        shown = view.trial(trial)
        assert "nothing is imported" in shown.notes[0]
        assert shown.answer in {candidate.answer for candidate in shown.candidates}
        assert [candidate.selected for candidate in shown.candidates].count(True) == 1
        assert view.text(shown.candidates[0].id).text
