"""What strategies may say besides requests to models, on a Ray cluster: programs, memory, counts of tokens; and the
headers and the grader of a run, whose requests leave from several processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tts
from tts.clusters.spec import ClusterSpec
from tts.core.actions import Added, Counted, Recalled, Returned
from tts.runs.folder import JOURNAL, read_records
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

pytestmark = pytest.mark.system

PLUGIN = r'''
"""Programs, memory and counts of tokens, in one strategy."""

async def packed(problem, run):
    counted = await run.count_prompt()
    text = await run.count_tokens("one two three")
    ran = await run.execute("print(int(input()) + 1)", stdin="41", tests=[("1", "2"), "assert True"])
    before = sum((await run.recall("trials")).values())
    (found,) = await run.generate(max_tokens=8)
    await run.add("trials", {"all": 1.0})
    exact = counted.exact and text.tokens == 3 and counted.tokens == found.completion.usage.prompt_tokens
    as_expected = exact and ran.stdout == "42\n" and ran.passed == (True, True) and before < 4
    return run.propose(f"Answer: {counted.room if as_expected else 0}", [found])
'''


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("packed.py").write_text(PLUGIN)
    rows = [{"id": f"p{i}", "question": f"What is {i} and {i}?", "answer": "993"} for i in range(4)]
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "problems.jsonl"


@pytest.mark.parametrize("place", ["ray", "local"])
def test_programs_memory_counts_headers_and_a_grading_model_work_on_actors_as_they_do_here(
    place: str, problems: str, request: pytest.FixtureRequest
) -> None:
    cluster: dict[str, Any] = {}
    if place == "ray":
        address = request.getfixturevalue("ray_cluster").address
        one = {"generators": {"count": 1}, "verifiers": {"count": 1}}
        cluster = {"cluster": ClusterSpec.of("ray", address=address, **one)}
    solver = FakeEngine(lambda body: Reply(("4",)), context_tokens=1000)
    judge = FakeEngine(lambda body: Reply(("GRADE: C",)), models=("grader",))
    with solver as engine, judge as grader:
        models: Any = {
            "solver": {"base_url": engine.base_url, "headers": {"X-Tenant": "solvers"}},
            "judge": {"model": "grader", "base_url": grader.base_url, "headers": {"X-Tenant": "judges"}},
        }
        options: Any = {"report": False, "out": "run", "unsafe_execute": True, "models": models, **cluster}
        swept = tts.sweep(problems, "packed.py:packed", grader="llm", **options)
        sent = [{headers.get("x-tenant") for headers in each.headers} for each in (engine, grader)]
        counted = engine.stats().counted
    assert [(o.answer, o.correct, o.error) for o in swept.outcomes] == [("993", True, None)] * 4
    assert sent == [{"solvers"}, {"judges"}]
    assert counted == 8 and swept.graded.samples == 4
    records = [*read_records(Path("run") / JOURNAL)]
    ends = [type(record) for record in records]
    assert [ends.count(kind) for kind in (Counted, Returned, Recalled, Added)] == [8, 4, 4, 4]
