"""`tts view` over a finished run: what it answers, and to whom."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

import tts
from tts.view.app import Viewer


async def answering(request: tts.Request) -> tts.Completion:
    return tts.Completion(f"So it is.\nAnswer: {request.seed % 3}", usage=tts.Usage(5, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three strategies on four problems with two seeds."""
    out = tmp_path_factory.mktemp("view") / "run"
    examples = [tts.Example(tts.Problem(f"a/b {i}", f"What is {i}?"), str(i)) for i in range(4)]
    strategies = ["single", "majority_vote:n=2,5"]
    tts.sweep(examples, strategies, model=answering, seeds=2, out=out, report=False, sampling={"max_tokens": 20})
    return out


class Client:
    """Asks a viewer without a socket."""

    def __init__(self, path: Path) -> None:
        self.viewer = Viewer(path)
        self._app = self.viewer.app()

    async def get(self, url: str, host: str = "127.0.0.1:1", **query: str) -> httpx2.Response:
        transport = httpx2.ASGITransport(self._app)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await http.get(url, params=query)

    async def json(self, url: str, **query: str) -> Any:
        reply = await self.get(url, **query)
        assert reply.status_code == 200, reply.text
        return reply.json()


def browsing(path: Path, work: Callable[[Client], Awaitable[None]]) -> None:
    """Look at what lies there."""

    async def within() -> None:
        client = Client(path)
        try:
            await work(client)
        finally:
            await client.viewer.close()

    asyncio.run(within())


def test_the_overview_has_the_cells_of_the_report_and_what_was_paid(folder: Path) -> None:
    async def work(client: Client) -> None:
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
    async def work(client: Client) -> None:
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
    async def work(client: Client) -> None:
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
    async def work(client: Client) -> None:
        assert (await client.get("/api/overview", host="evil.example:8000")).status_code == 403
        for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
            reply = await client.get("/api/overview", host=host)
            assert reply.status_code == 200
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "script-src 'self'" in reply.headers["content-security-policy"]

    browsing(folder, work)
