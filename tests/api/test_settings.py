"""What a user says of the requests, as it arrives at a server: from the command line, and from every call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rawserver import Asked, completing, refusal, serving

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
SECRET = "tenant-7f3a91c2"
TEMPLATE = "Q: {question}\nEnd with \\boxed{} or {{answer}}."
SHOTS = [
    {"role": "user", "content": "Q: 2 + 2?\nEnd with \\boxed{} or {answer}."},
    {"role": "assistant", "content": "4"},
]
HEADERS = {"X-Tenant": SECRET, "authorization": f"Token {SECRET}"}
FLAGS = [
    *("--max-tokens", "64", "--stop", "END", "--reasoning-effort", "low"),
    *("--system", "Be brief.", "--template", "template.txt", "--few-shot", "shots.jsonl", "--shots", "1"),
    *("--header", f"X-Tenant={SECRET}", "--header", f"authorization=Token {SECRET}"),
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
    Path("template.txt").write_text(f"{TEMPLATE}\n")
    Path("shots.jsonl").write_text('{"question": "2 + 2?", "answer": "4"}\n{"question": "3 + 3?", "answer": "6"}\n')
    with FakeEngine() as running:
        yield running


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0)


def files_with(text: str) -> list[Path]:
    return [path for path in Path().rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def call(name: str, url: str) -> None:
    prompts: Any = {"system": "Be brief.", "template": TEMPLATE, "few_shot": "shots.jsonl", "shots": 1}
    own: Any = {"base_url": url, "sampling": SETTINGS, "headers": HEADERS, **prompts}
    match name:
        case "solve":
            tts.solve("What is 1 + 1?", "majority_vote:n=2", **own)
        case "sweep":
            tts.sweep(SUMS, "majority_vote:n=2", report=False, **own)
        case "sweep of examples":
            tts.sweep([tts.Problem("p1", "What is 1 + 1?")], "majority_vote:n=2", report=False, **own)
        case "plan":
            tts.plan(SUMS, run_budget="samples=20", pilot=2, draws=2, out="plan", **own)
        case "client":
            with tts.Client(**own) as client:
                client.solve_sync("What is 1 + 1?", "majority_vote:n=2")
        case "solve on the command line":
            assert command("solve", "What is 1 + 1?", "-s", "majority_vote:n=2", "--base-url", url, *FLAGS) == 0
        case "sweep on the command line":
            assert command("sweep", SUMS, "-s", "single", "--no-report", "--base-url", url, *FLAGS) == 0


CALLS = [
    "solve",
    "sweep",
    "sweep of examples",
    "plan",
    "client",
    "solve on the command line",
    "sweep on the command line",
]


@pytest.mark.parametrize("name", CALLS)
def test_settings_of_sampling_arrive_in_every_request(name: str, engine: FakeEngine) -> None:
    call(name, engine.base_url)
    assert len(engine.requests) >= 2
    for body in engine.requests:
        assert {key: body.get(key) for key in ARRIVES} == ARRIVES
        system, *shots, question = body["messages"]
        assert system == {"role": "system", "content": "Be brief."} and shots == SHOTS
        assert question["content"].startswith("Q: ")
        assert question["content"].endswith("\nEnd with \\boxed{} or {answer}.")
    for headers in engine.headers:
        assert (headers["x-tenant"], headers["authorization"]) == (SECRET, f"Token {SECRET}")
    assert files_with(SECRET) == []


def test_headers_go_to_no_other_host_and_a_server_that_repeats_them_does_not_get_them_into_an_error(
    engine: FakeEngine,
) -> None:
    """127.0.0.1 and localhost are two hosts to a client, and one server here."""
    elsewhere = engine.base_url.replace("127.0.0.1", "localhost")
    judged = {"strategy": "best_of_n:n=2,verifier=judge", "verifier_base_url": elsewhere, "headers": HEADERS}
    tts.solve("What is 1 + 1?", base_url=engine.base_url, **judged)
    sent = ["x-tenant" in headers for headers in engine.headers]
    assert sent.count(True) == sent.count(False) == 2

    def repeat(asked: Asked) -> bytes:
        return refusal(f"the tenant {SECRET} is not known")

    with serving(completing(repeat)) as server:
        headers = {"X-Tenant": f"Key {SECRET}"}
        solved = tts.solve("What is 1 + 1?", "single", base_url=server.url, model="m", headers=headers, out="refused")
    assert solved.error is not None and "[hidden] is not known" in solved.error.message
    assert files_with(SECRET) == []


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"sampling": {"max_tokens": 64, "reasoning_effort": "high"}}, "sampling.reasoning_effort: was 'low', now 'high'"),
    ({"template": "{question}!"}, r"prompts.template: was '\{question\}', now '\{question\}!'"),
    ({"system": "Be brief."}, "prompts.system: was None, now 'Be brief.'"),
    ({"few_shot": "shots.jsonl"}, r"prompts.few_shot: was None, now '2 of shots.jsonl \("),
]


@pytest.mark.parametrize("call", [tts.sweep, tts.solve])
def test_a_run_with_other_settings_is_refused_by_the_setting_s_name(call: Any, engine: FakeEngine) -> None:
    same: dict[str, Any] = {
        "sampling": {"max_tokens": 64, "reasoning_effort": "low"},
        "template": "{question}",
        "base_url": engine.base_url,
        "out": "run",
        **({"report": False} if call is tts.sweep else {}),
    }
    call(SUMS, "single", **same)
    paid = engine.stats().requests
    for other, said in OTHERS:
        with pytest.raises(RunMismatch, match=said):
            call(SUMS, "single", **{**same, **other})
    call(SUMS, "single", **same)
    assert engine.stats().requests == paid


def test_what_cannot_be_an_object_or_has_no_template_is_refused_before_anything_is_sent(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").touch()
    for flags, said in (
        (["--extra-body", "{'a': 1}"], "--extra-body must be a JSON object such as"),
        (["--extra-body", '{"n": 4}'], "--extra-body must be without n, which has an option of its own"),
        (["--chat-template-kwargs", "[1]"], "--chat-template-kwargs must be a JSON object"),
        (["--template", "empty.txt"], "--template empty.txt must be text with {question} in it, but is empty"),
        (["--shots", "2"], "--shots need a file of worked examples: name it with few_shot (--few-shot)"),
        (["--few-shot", "none.jsonl"], "cannot read none.jsonl"),
        (["--header", SECRET], "--header must be NAME=VALUE, but that of --header number 1 is not"),
        (["--header", f"X-A={SECRET}\u00e9"], "--header must have values of visible ASCII characters"),
        (["--header", f"Host={SECRET}"], "--header may not hold Host"),
        (["--chat-template-kwargs", '{"a": 1}', "--api", "completions"], "--chat-template-kwargs are for a chat"),
    ):
        assert command("solve", "?", "--base-url", engine.base_url, *flags) == 2
        error = capsys.readouterr().err
        assert said in error and SECRET not in error
    with pytest.raises(InvalidParameter, match="are for a chat"):
        tts.Client(base_url=engine.base_url, api="completions", sampling={"chat_template_kwargs": {"a": 1}})
    assert engine.stats().requests == 0
