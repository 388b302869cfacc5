"""The methods do what their papers say, on scripts that tell."""

from pathlib import Path
from typing import Any

from tts.core.actions import Request
from tts.core.budget import Limits
from tts.messages import ToolCall
from tts.plugins.verifiers import verifier
from tts.testing import Outcome, Sample, ScriptedCluster
from tts.toolkit.prompts.tools import CHECK_AGAIN

HERE = Path(__file__).parent


def ran(method: str, script: Any, **params: Any) -> Outcome:
    outcome = ScriptedCluster(script).run(f"{HERE}/{method}", **params)
    error = outcome.result.error
    assert error is None, f"{error.message} {error.facts}"
    return outcome


def judged(method: str, script: Any, judge: str, **params: Any) -> Outcome:
    """With a judge, of this folder or the library's, whose own requests the script answers, too."""
    verifiers = {"it": verifier(f"{HERE}/{judge}" if "/" in judge else judge)}
    outcome = ScriptedCluster(script, verifiers=verifiers).run(f"{HERE}/{method}", **params, verifier="it")
    assert outcome.result.error is None
    return outcome


def asked(outcome: Outcome, text: str) -> int:
    return sum(text in prompt for prompt in outcome.prompts)


def prefers_the_longer(request: Request, number: int) -> str | Sample:
    """Samples are of growing length; a judge says that the longer one is better."""
    prompt = request.messages[-1].content
    if "[[C]] for a tie" not in prompt:
        return Sample(text="so " * number + f"Answer: {number}")
    one, two = prompt.split("Solution A:\n")[1].split("\n\nWhich")[0].split("Solution B:\n")
    return Sample(text="[[A]]" if len(one.strip()) > len(two.strip()) else "[[B]]")


def test_a_knockout_s_winner_has_won_all_its_games_in_both_orders() -> None:
    outcome = ran("tournaments/knockout.py:knockout", prefers_the_longer, n=7)
    assert outcome.result.answer == "6"
    assert asked(outcome, "for a tie") == 2 * 6  # n - 1 pairs
    assert outcome.result.bill.verifier.samples == 12 and len(outcome.result.candidates) == 7


def test_a_swiss_tournament_and_pivots_find_the_best_too() -> None:
    assert ran("tournaments/swiss.py:swiss", prefers_the_longer, n=4, rounds=3).result.answer == "3"
    pivots = ran("tournaments/swiss.py:swiss", prefers_the_longer, n=4, pivots=1)
    assert asked(pivots, "for a tie") == 2 * 3


def test_the_chosen_of_each_group_goes_on_and_the_first_where_the_choice_cannot_be_read() -> None:
    def chooses(request: Request, number: int) -> str | Sample:
        if "is the best" not in request.messages[-1].content:
            return str(number)
        return Sample(text="[[2]]" if "Answer: 0" in request.messages[-1].content else "[[7]]")

    outcome = ran("tournaments/genselect.py:genselect", chooses, n=4, window=2)
    assert outcome.result.answer == "1"  # which was chosen before 0, and stands first of what is not read
    assert asked(outcome, "is the best") == 3


def test_the_soundest_critiques_alone_are_added_up() -> None:
    def criticises(request: Request, number: int) -> str | Sample:
        prompt = request.messages[-1].content
        if "How sound" in prompt:
            return Sample(text="1" if "Score: 10" in prompt else "9")
        if "Score: N" not in prompt:
            return str(number)
        return Sample(text=f"Score: {5 if 'Answer: 1' in prompt else 10 if number % 2 else 3}")

    for keep, answer in ((1, "1"), (4, "0")):
        outcome = judged(
            "tournaments/knockout.py:knockout", criticises, f"tournaments/grm.py:grm(k=4,keep={keep})", n=2
        )
        assert outcome.result.answer == answer


def test_each_slot_of_a_population_reads_k_members_of_the_last() -> None:
    outcome = ran("aggregation/rsa.py:rsa", lambda request, number: str(number), n=5, k=3, rounds=3)
    assert len(outcome.generated) == 15
    later = outcome.prompts[5:]
    assert all(prompt.count("\nAnswer: ") == 3 for prompt in later)
    assert all(f"Answer: {n}" not in prompt for prompt in outcome.prompts[10:] for n in range(5))
    assert outcome.result.answer == "10"  # of the last round, in which none has more votes


def test_a_cascade_asks_the_large_model_only_where_the_small_one_does_not_agree() -> None:
    def models(sure: bool) -> Any:
        return lambda request, number: "7" if request.model == "large" or sure else str(number % 5)

    for sure, models_asked in ((True, ["small"] * 5), (False, ["small"] * 5 + ["large"] * 5)):
        outcome = ran("routing/cascade.py:cascade", models(sure))
        assert [action.request.model for action in outcome.generated] == models_asked
        assert outcome.result.answer == "7"


def test_atom_of_thoughts_solves_what_is_left_of_the_question() -> None:
    parts = Sample(text="1. What is 1 + 1?\n2. What is twice #1?")
    outcome = ran("aggregation/atom.py:atom", ["9", parts, "2", Sample(text="What is twice 2?"), "4", "4"])
    assert outcome.result.answer == "4"
    assert outcome.prompts[2].startswith("Known:\nnothing yet\n\nQuestion: What is 1 + 1?")
    assert "#1: What is 1 + 1? 2\n" in outcome.prompts[3] and outcome.prompts[4] == "What is twice 2?"
    assert outcome.result.bill.verifier.samples == 2


def test_parts_that_the_budget_holds_no_more_are_left_out() -> None:
    parts = Sample(text="1. What is 1 + 1?\n2. What is 3 + 3?\n3. What is #1 + #2?")
    spent = ScriptedCluster(["9", parts, "2", "6"], budget=Limits(samples=3)).run(f"{HERE}/aggregation/atom.py:atom")
    assert (spent.result.answer, spent.result.exhausted) == ("9", True) and len(spent.generated) == 3


def test_a_question_is_answered_with_the_answers_before_it() -> None:
    parts = Sample(text="1. What is 1 + 1?\n2. What is twice #1?")
    outcome = ran("aggregation/least_to_most.py:least_to_most", [parts, "2", "4", "4"])
    assert outcome.result.answer == "4" and outcome.result.bill.verifier.samples == 1
    assert "#1: What is 1 + 1? 2\n\nQuestion: What is twice #1?" in outcome.prompts[2]
    assert "#1: What is 1 + 1? 2\n#2: What is twice #1? 4\n" in outcome.prompts[3]
    unsplit = ran("aggregation/least_to_most.py:least_to_most", [Sample(text="No."), "4"])
    assert unsplit.result.answer == "4" and "These parts" not in unsplit.prompts[1]


def test_an_attempt_that_is_found_wrong_gets_a_hint_without_the_check() -> None:
    script = [
        Sample(text="2+2=5\nAnswer: 5", scores={"judge": 0.1}),
        Sample(text="1. 2+2=4, not 5, wrong.\nHint: Step 1 is wrong."),
        Sample(text="Answer: 4", scores={"judge": 0.9}),
    ]
    outcome = ran("revision/feedback_loop.py:feedback_loop", script, verifier="judge")
    assert outcome.result.answer == "4" and len(outcome.result.candidates) == 2
    assert "hint:\nStep 1 is wrong.\n" in outcome.prompts[2] and "not 5" not in outcome.prompts[2]


def test_a_judge_of_a_debate_hears_both_sides_and_does_not_see_the_numbers() -> None:
    def speak(request: Request, number: int) -> Sample | str:
        prompt = request.messages[-1].content
        if "Verdict: A or B" in prompt:
            return Sample(text=f"Verdict: {'A' if 'A: 5, B' in prompt else 'B'}")
        return Sample(text="2+3=5") if "You are" in prompt else ["4", "4", "5"][number]

    outcome = ran("tournaments/debate.py:debate", speak, n=3, blind=True)
    judged = [prompt for prompt in outcome.prompts if "Verdict: A or B" in prompt]
    assert outcome.result.answer == "5" and len(judged) == 2
    hidden = [prompt.split("\n\nOne of two answers")[0] for prompt in judged]
    assert all("Alice, for " in p and "Bob, for " in p and "2+3=5" in p for p in judged)
    assert not any(digit in text for text in hidden for digit in "0123456789")


def test_an_agent_is_told_what_its_tool_returns_and_checks_its_answer_once() -> None:
    call = ToolCall("c1", "calculate", '{"expression": "19 + 23"}')
    script = [Sample(text="", tool_calls=(call,)), "42", "42"]
    outcome = ran("agents/agent.py:agent", script)
    *_, last = outcome.generated
    roles = [(message.role, message.content) for message in last.request.messages]
    assert roles[2:] == [("assistant", ""), ("tool", "42"), ("assistant", "Answer: 42"), ("user", CHECK_AGAIN)]
    assert outcome.result.answer == "42"


def test_the_program_that_passes_most_tests_answers() -> None:
    def write(request: Request, number: int) -> Sample:
        tests = "Do not write the function" in request.messages[-1].content
        fours = "4" if tests or number == 3 else "5"
        body = f"assert solve() == {fours}" if tests else f"def solve(): return {fours}"
        return Sample(text=f"```python\n{body}\n```")

    outcome = ran("code/codemonkeys.py:codemonkeys", write, n=2, tries=1)
    assert outcome.result.selected is not None and "return 4" in outcome.result.selected.text
