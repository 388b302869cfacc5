"""An exported file holds what the server would have answered, and nothing in it is obeyed."""

import asyncio
import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from typer.testing import CliRunner
from viewed import Browsing, browsing, made

import tts
from tts.cli import main as cli
from tts.errors import InvalidParameter
from tts.view import export
from tts.view.opening import opened

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 \u2029 & <img src=x onerror=alert(1)>"


def data_in(page: str) -> dict[str, object]:
    (found,) = re.findall(r'<script type="application/json" id="export">(.*?)</script>', page, re.DOTALL)
    data: dict[str, object] = json.loads(found)
    return data


def test_every_value_in_the_file_is_what_the_server_answers(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", text=HOSTILE)
    file = export.export_page(folder, tmp_path / "run.html")
    data = data_in(file.read_text())

    async def work(client: Browsing) -> None:
        for path, value in data.items():
            url = urlsplit(path)
            assert await client.json(url.path, **dict(parse_qsl(url.query))) == value

    browsing(folder, work)
    kinds = {urlsplit(path).path for path in data}
    assert kinds == {f"/api/{name}" for name in ("overview", "grid", "problem", "trial", "text", "compare")}


def test_nothing_that_a_model_wrote_ends_the_element_that_holds_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", text=HOSTILE)
    page = export.export_page(folder, tmp_path / "run.html").read_text()
    assert "alert(1)</script" not in page
    assert not {"\u2028", "\u2029"} & {*page}
    assert any(HOSTILE in json.dumps(value, ensure_ascii=False) for value in data_in(page).values())


def test_the_policy_of_the_file_lets_its_own_script_and_style_run_and_no_other(tmp_path: Path) -> None:
    page = export.export_page("example", tmp_path / "pool.html").read_text()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', page)
    for element in ('<script type="module">(.*?)</script>', "<style>(.*?)</style>"):
        (content,) = re.findall(element, page, re.DOTALL)
        assert b64encode(sha256(content.encode()).digest()).decode() in policy
    assert "unsafe" not in policy
    assert not re.findall(r'<\w+ [^>]*(?:src|href)="(?!#|data:)', page)


def test_a_file_keeps_to_its_size_and_says_what_it_left_out(tmp_path: Path) -> None:
    folder = made(tmp_path / "run")
    view = opened(folder)
    assert view is not None
    whole = asyncio.run(export.data_of(view))
    size = sum(map(len, whole.values()))
    for share in (0.9, 0.5, 0.2):
        cut = asyncio.run(export.data_of(view, share * size / 2**20))
        assert cut.keys() < whole.keys()
        assert sum(map(len, cut.values())) < share * size + 200  # the note
        (note,) = [note for note in json.loads(cut["/api/overview"])["notes"] if "this file" in note]
        held = sum(path.startswith("/api/trial?") for path in cut)
        assert f"{sum(path.startswith('/api/trial?') for path in whole) - held} trials" in note
        for path in cut:
            if path != "/api/overview":
                assert cut[path] == whole[path]


def test_what_cannot_be_exported_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no run")
    for path, file, why in (
        (tmp_path, tmp_path / "x.html", "holds no run"),
        (tmp_path / "later", tmp_path / "x.html", "no run at"),
        ("example", tmp_path / "no" / "x.html", "no folder"),
    ):
        with pytest.raises(tts.UsageError, match=why):
            export.export_page(path, file)
    with pytest.raises(InvalidParameter, match="megabytes must be above 0"):
        export.export_page("example", tmp_path / "x.html", megabytes=0)
    assert not [*tmp_path.glob("*.html")]


def test_a_report_leads_to_the_page_of_every_sample_that_was_asked_for(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", problems=1)
    for options, expected in ((["--view"], '<a href="view.html">'), ([], '<a href="view.html">')):
        done = CliRunner().invoke(cli.app, ["report", str(folder), *options])
        assert done.exit_code == 0, done.output
        assert expected in (folder / "report.html").read_text()
    assert data_in((folder / "view.html").read_text())
    (folder / "view.html").unlink()
    CliRunner().invoke(cli.app, ["report", str(folder)])
    report = (folder / "report.html").read_text()
    assert 'href="view.html"' not in report
    assert f"tts view {folder}" in report


def test_the_command_writes_the_file_and_serves_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["view", "example", "--export", str(tmp_path / "pool.html")])
    assert done.exit_code == 0, done.output
    assert data_in((tmp_path / "pool.html").read_text())["/api/overview"]
