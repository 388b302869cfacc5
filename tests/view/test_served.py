"""`tts view` over a finished run: what it answers, and to whom."""

from pathlib import Path

import pytest
from viewed import Browsing, browsing, made

import tts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("view") / "run")


def test_the_overview_has_the_cells_of_the_report_and_what_was_paid(folder: Path) -> None:
    async def work(client: Browsing) -> None:
        found, loaded = await client.json("/api/overview"), tts.load(folder)
        assert isinstance(loaded, tts.SweepResult)
        assert [cell["id"] for cell in found["cells"]] == [row.cell for row in loaded.rows]
        assert [cell["accuracy"]["mean"] for cell in found["cells"]] == [
            r.accuracy.mean for r in loaded.rows if r.accuracy
        ]
        assert (found["spent"]["samples"], found["spent"]["tokens"]) == (loaded.spent.samples, loaded.spent.tokens)
        assert (found["kind"], found["live"], found["trials"], found["planned"]) == ("sweep", False, 24, 24)

    browsing(folder, work)


def test_every_trial_of_the_grid_can_be_opened_down_to_its_texts(folder: Path) -> None:
    async def work(client: Browsing) -> None:
        grid = await client.json("/api/grid")
        assert len(grid["problems"]) == 4
        for problem in grid["problems"]:
            for cell in grid["cells"]:
                for row in await client.json("/api/trials", problem=problem["id"], cell=cell):
                    trial = await client.json("/api/trial", id=row["id"])
                    assert (trial["answer"], trial["correct"]) == (row["answer"], row["correct"])
                    assert not trial["notes"]
                    text = await client.json("/api/text", id=trial["candidates"][0]["id"])
                    assert text["text"].startswith(trial["candidates"][0]["text_preview"])
                    assert text["prompt"][-1]["content"] == problem["prompt"]

    browsing(folder, work)


def test_a_name_that_is_not_there_is_a_sentence(folder: Path) -> None:
    async def work(client: Browsing) -> None:
        for url, query in (
            ("/api/trial", {"id": "../../etc/passwd"}),
            ("/api/text", {"id": "single#0/a/b 0/99"}),
            ("/api/trials", {"problem": "a/b 0", "cell": "singel"}),
            ("/api/compare", {"a": "single"}),
            ("/../app.py", {}),
            ("/journal.jsonl", {}),
        ):
            reply = await client.get(url, **query)
            assert reply.status_code == 404
            assert reply.json()["error"]

    browsing(folder, work)


def test_a_page_elsewhere_whose_name_leads_here_is_refused(folder: Path) -> None:
    async def work(client: Browsing) -> None:
        assert (await client.get("/api/overview", host="evil.example:8000")).status_code == 403
        for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
            reply = await client.get("/api/overview", host=host)
            assert reply.status_code == 200
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "script-src 'self'" in reply.headers["content-security-policy"]

    browsing(folder, work)
