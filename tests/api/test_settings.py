"""What a user says of the requests, as it arrives at a server: from the command line, and from every call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tts
from tts.cli import main as cli
from tts.errors import InvalidParameter, RunMismatch
from tts.testing.engine import FakeEngine

SUMS = "arithmetic?size=2&seed=7"
SETTINGS: dict[str, Any] = {
    "max_tokens": 64,
    "stop": ("END",),
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "extra_body": {"guided": {"a": 1}},
}
FLAGS = [
    *("--max-tokens", "64", "--stop", "END", "--reasoning-effort", "low"),
    *("--chat-template-kwargs", '{"enable_thinking": false}', "--extra-body", '{"guided": {"a": 1}}'),
]
ARRIVES = {
    "stop": ["END"],
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "guided": {"a": 1},
}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.chdir(tmp_path)
    with FakeEngine() as running:
        yield running


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0)


def call(name: str, url: str) -> None:
    match name:
        case "solve":
            tts.solve("What is 1 + 1?", "majority_vote:n=2", base_url=url, sampling=SETTINGS)
        case "sweep":
            tts.sweep(SUMS, "majority_vote:n=2", base_url=url, sampling=SETTINGS)
        case "plan":
            tts.plan(SUMS, run_budget="samples=20", pilot=2, draws=2, out="plan", base_url=url, sampling=SETTINGS)
        case "client":
            with tts.Client(base_url=url, sampling=SETTINGS) as client:
                client.solve_sync("What is 1 + 1?", "majority_vote:n=2")
        case "solve on the command line":
            assert command("solve", "What is 1 + 1?", "-s", "majority_vote:n=2", "--base-url", url, *FLAGS) == 0
        case "sweep on the command line":
            assert command("sweep", SUMS, "-s", "single", "--no-report", "--base-url", url, *FLAGS) == 0


CALLS = ["solve", "sweep", "plan", "client", "solve on the command line", "sweep on the command line"]


@pytest.mark.parametrize("name", CALLS)
def test_settings_of_sampling_arrive_in_every_request(name: str, engine: FakeEngine) -> None:
    call(name, engine.base_url)
    assert len(engine.requests) >= 2
    for body in engine.requests:
        assert {key: body.get(key) for key in ARRIVES} == ARRIVES


def test_a_run_with_other_settings_is_refused_by_the_setting_s_name(engine: FakeEngine) -> None:
    def sweep(effort: str) -> int:
        sampling = {"max_tokens": 64, "reasoning_effort": effort}
        return len(tts.sweep(SUMS, "single", base_url=engine.base_url, out="run", sampling=sampling).outcomes)

    assert sweep("low") == 2
    paid = engine.stats().requests
    with pytest.raises(RunMismatch, match="reasoning_effort"):
        sweep("high")
    assert sweep("low") == 2
    assert engine.stats().requests == paid


def test_what_cannot_be_an_object_or_has_no_template_is_refused_before_anything_is_sent(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, said in (
        (["--extra-body", "{'a': 1}"], "--extra-body must be a JSON object such as"),
        (["--extra-body", '{"n": 4}'], "--extra-body must be without n, which has an option of its own"),
        (["--chat-template-kwargs", "[1]"], "--chat-template-kwargs must be a JSON object"),
        (["--chat-template-kwargs", '{"a": 1}', "--api", "completions"], "--chat-template-kwargs are for a chat"),
    ):
        assert command("solve", "?", "--base-url", engine.base_url, *flags) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(InvalidParameter, match="are for a chat"):
        tts.Client(base_url=engine.base_url, api="completions", sampling={"chat_template_kwargs": {"a": 1}})
    assert engine.stats().requests == 0
