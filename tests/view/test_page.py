"""The page of `tts view` in a browser, as a server sends it and as one exported file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from viewed import made

from tts.view.app import PAGE
from tts.view.export import address

expect = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`").expect
pytestmark = pytest.mark.system

Shows = Callable[[Any], str]
MARKUP = "\"'><img src=x onerror=pwned()><script>pwned()</script><svg onload=pwned()></script><!--${7*7}"


UNNAMED = """[...document.querySelectorAll(
    "a, button, input, select, summary, [tabindex='0'], [role=img], [role=treeitem]")]
    .filter((each) => each.checkVisibility() && !(
        each.ariaLabel || each.textContent.trim() || each.labels?.[0]?.textContent.trim()))
    .map((each) => each.outerHTML)"""
KNOWN = {
    "id", "cell", "cells", "strategy", "problem", "problems", "candidates", "verifications", "bill", "what", "kind",
    "state", "live", "version", "title", "path", "spent", "notes", "why", "trials", "of", "judge", "scores", "votes",
    "total", "flips", "a", "b", "mcnemar", "difference", "endpoint", "selected",
}  # fmt: skip  # the fields of the contract that the page may count on
PARSED = r"</script|<!--|innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|setAttribute\(.style"


def route(page: str, *names: str) -> str:
    return "#/" + "/".join([page, *(quote(name, safe="") for name in names)])


def routes(made: Any) -> dict[str, str]:
    """Of each kind of page one that has data."""
    cells = made.cells
    return {
        "overview": "#/",
        "grid": "#/grid",
        "problem": route("problem", made.problems[0]),
        "trial": route("trial", f"{cells[2 % len(cells)]}/{made.problems[0]}/0"),
        "compare": route("compare", cells[0], cells[1]),
    }


def unfolded(tab: Any) -> None:
    """Open all that can be opened."""
    tab.page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
    expect(tab.page.locator("main .loaded > .state:has-text('Loading')")).to_have_count(0)
    tab.page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")


def test_a_person_clicks_from_the_overview_to_the_text_of_a_candidate_and_back(
    opened: Shows, tab: Any, make: Any
) -> None:
    made = make()
    tab.go(opened(made.data()))
    page = tab.page
    assert "51.9 [40.9, 60.9]" in tab.text("tr[data-cell] >> nth=0")
    assert page.locator(".frontier .mark").count() == 6
    page.select_option("[data-key=axis]", "latency_s")
    ticks = page.locator(".frontier .tick text").all_text_contents()
    assert len(ticks) == len(set(ticks)) > 6
    page.click(".frontier .legend button >> nth=0")
    assert page.locator(".frontier .mark").count() == 4
    page.hover(".frontier .mark >> nth=0")
    assert "best_of_n" in tab.text("#tip")

    page.click("nav >> text=Grid")
    page.click(".gname a >> text=p0")
    page.wait_for_selector("text=Reference: 27")
    page.click("table.trials tr:has(a[href*='beam_search']) a >> nth=0")
    page.wait_for_selector("h1 >> text=Answer 27")
    parts = ["Why this answer", "Candidates (12)", "Tree", "Verifications (6)", "Time line", "Bill"]
    assert page.locator("main h2").all_inner_texts() == parts
    page.click("details.candidate >> nth=4 >> summary")
    expect(page.locator("details.candidate").nth(4)).to_contain_text("The whole text.")
    expect(page.locator("details.candidate").nth(4)).to_contain_text("First the boxes that arrive.")
    page.click("section > .judged details >> nth=0 >> summary")
    expect(page.locator("section > .judged details").first).to_contain_text("Step 2 is right.")
    page.click(".votes button:has-text('24')")
    assert set(page.locator(".candidate .said bdi.model").all_inner_texts()) == {"24"}
    page.click("text=show all")
    page.click(".request >> nth=3")
    assert page.locator("details.candidate[open]").count() == 2
    assert "951" in tab.text(".bill tfoot")

    page.go_back()
    page.wait_for_selector("h1 >> text=Problem")
    page.go_back()
    page.wait_for_selector(".grid")
    page.go_back()
    page.wait_for_selector("tr[data-cell]")
    for box in page.locator("tr[data-cell] input").all()[:2]:
        box.check()
    page.click("text=Compare the two chosen")
    assert tab.text(".square td.a") == "6"
    assert "p = 0.508" in tab.text()
    page.click("text=Solved by A, not by B")
    page.wait_for_selector(".grid")
    solved = [at for at, row in enumerate(made.scores) if row[0] == 1 and row[1] in (0, 0.5)]
    assert page.locator(".gbody .gname a").all_inner_texts() == [f"p{at}" for at in solved]


def test_all_can_be_done_with_keys(opened: Shows, tab: Any, make: Any) -> None:
    made = make()
    tab.go(opened(made.data()))
    page, keys = tab.page, tab.page.keyboard
    keys.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    keys.press("?")
    assert page.locator("dialog[open] kbd").count() > 10
    keys.press("Escape")
    keys.press("/")
    keys.type("p0")
    page.wait_for_selector("#found [role=option]")
    keys.press("Enter")
    page.wait_for_selector("h1 >> text=Problem p0")
    keys.press("g")
    page.focus(".grid")
    keys.press("Control+End")
    keys.press("Control+Home")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        keys.press(key)
    active = page.evaluate(
        "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).ariaLabel"
    )
    assert active.startswith("beam_search:n=2")
    keys.press("Enter")
    page.wait_for_selector("tbody.wanted")
    keys.press("Enter")  # the focus is on the cell's first trial
    page.wait_for_selector("h1 >> text=Answer")
    page.focus(".node[tabindex='0']")
    keys.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-level')") == "2"
    keys.press("Enter")
    assert page.locator("details.candidate[open]").count() == 1
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.focus(".request[tabindex='0']")
    keys.press("ArrowDown")
    keys.press("Enter")
    assert page.locator("details.candidate[open]").count() == 2
    keys.press("o")
    page.focus(".mark[tabindex='0']")
    keys.press("ArrowRight")
    assert page.is_visible("#tip")
    keys.press("c")
    page.wait_for_selector("h1 >> text=Compare")


def test_everything_that_can_be_pressed_has_a_name_and_no_id_is_twice_on_a_page(
    tab: Any, make: Any, serve: Any
) -> None:
    made = make()
    url = serve(made.data()).url
    for each in routes(made).values():
        tab.go(url, each)
        unfolded(tab)
        assert tab.page.evaluate(UNNAMED) == []
        ids = tab.page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        assert len(ids) == len(set(ids))
        assert tab.page.locator("main h1").count() == 1


def test_no_page_is_wider_than_a_phone_and_none_needs_more_than_a_thousand_pixels(
    tab: Any, make: Any, serve: Any
) -> None:
    made = make(cells=20)
    url = serve(made.data()).url
    for each in routes(made).values():
        tab.go(url, each)
        unfolded(tab)
        for width in (390, 1000):
            tab.page.set_viewport_size({"width": width, "height": 844})
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, (each, width)


def test_colours_follow_the_system_until_one_chooses_and_the_choice_is_kept(tab: Any, make: Any, serve: Any) -> None:
    url = serve(make().data()).url
    tab.go(url)
    page = tab.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert light != dark
    page.keyboard.press("t")
    assert (page.evaluate("document.documentElement.dataset.theme"), page.evaluate(background)) == ("light", light)
    page.keyboard.press("t")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(background) == dark
    tab.go(url)
    assert page.evaluate(background) == dark
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().length") == 0


def poisoned(value: Any) -> Any:
    """The value with markup in every string, the names of fields that a user or a model names among them."""
    if isinstance(value, str):
        return value + MARKUP
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    if isinstance(value, dict):
        return {name: {poisoned(key): each for key, each in inner.items()} if name == "scores" else poisoned(inner)
                for name, inner in value.items()}  # fmt: skip
    return value


def poisoned_data(data: Any) -> Any:
    found = {}
    for path, value in data.items():
        asked = urlsplit(path)
        names = {name: each + MARKUP for name, each in parse_qsl(asked.query)}
        found[address(asked.path.removeprefix("/api/"), **names)] = poisoned(value)
    return found


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def test_markup_in_every_field_is_text_and_runs_nothing(opened: Shows, tab: Any, make: Any) -> None:
    made = make(candidates=8)
    data = made.data()
    url = opened(poisoned_data(data))
    shown = {}
    made.cells = [cell + MARKUP for cell in made.cells]
    trial = f"{data[next(path for path in data if 'trial?' in path)]['id']}{MARKUP}"
    there = routes(made) | {"problem": route("problem", "p0" + MARKUP), "trial": route("trial", trial)}
    for name, each in there.items():
        tab.go(url, each)
        unfolded(tab)
        shown[name] = tab.page.evaluate("document.body.textContent")
        assert (
            tab.page.evaluate("document.querySelectorAll('img, iframe, object, embed, [onerror], [onload]').length")
            == 0
        )
        assert tab.page.locator("script").count() == (1 if url.startswith("http") else 2)
        assert MARKUP in shown[name]
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("p0")
    tab.page.wait_for_selector("#found [role=option]")
    tab.page.hover(".grid >> nth=0") if tab.page.locator(".grid").count() else None
    assert tab.page.evaluate("window.hit") is None
    fields = (
        ("title", "path", "strategy", "params", "notes"),
        ("endpoint", "model", "error", "because", "text_preview", "answer", "judge"),
    )
    overview = data["/api/overview"]
    assert all(
        text + MARKUP in shown["overview"]
        for name in fields[0]
        for text in strings(overview[name] if name in overview else overview["cells"][0][name])
    )
    (seen,) = (value for path, value in data.items() if "trial?" in path)
    rows = [*seen["candidates"], *seen["verifications"]]
    for text in {text for row in rows for name in fields[1] for text in strings(row.get(name))}:
        assert (text + MARKUP)[:60] in shown["trial"]  # an answer of more is cut
    assert all(
        text + MARKUP in shown["trial"]
        for text in [
            *seen["why"],
            *strings(seen["problem"]["prompt"]),
            "prm",
            "The whole text.\nThe answer is 27.",
            "Step 2 is right.\nScore: 0.8",
        ]
    )


def test_control_characters_and_marks_of_direction_are_written_out(tab: Any, make: Any, serve: Any) -> None:
    made = make()
    data = made.data()
    first = next(path for path in data if path.startswith("/api/text?"))
    data[first]["text"] = "red \x1b[31m, bell \a, turned \u202eabc\u2066, \u0645\u0631\u062d\u0628\u0627 and a tab\t."
    tab.go(serve(data).url, routes(made)["trial"])
    tab.page.click("details.candidate >> nth=0 >> summary")
    tab.page.wait_for_selector(".candidate .text.reasoning")
    text = tab.page.evaluate("document.querySelector('.candidate .text:not(.reasoning)').textContent")
    assert text == "red \\x1b[31m, bell \\x07, turned \\u202eabc\\u2066, \u0645\u0631\u062d\u0628\u0627 and a tab\t."
    assert tab.page.locator("details.candidate .text[dir=auto]").count() > 0


def test_a_text_of_a_megabyte_is_shown_in_parts_and_whole_when_it_is_asked_for(tab: Any, make: Any, serve: Any) -> None:
    made = make()
    data = made.data()
    first = next(path for path in data if path.startswith("/api/text?"))
    data[first]["text"] = whole = "x" * 500_000 + "\N{GRINNING FACE}" * 50_000 + "word and word\n" * 30_000
    tab.go(serve(data).url, routes(made)["trial"])
    tab.page.click("details.candidate >> nth=0 >> summary")
    tab.page.wait_for_selector(".candidate .text.reasoning")
    shown = "document.querySelector('.candidate .text:not(.reasoning)').textContent"
    assert len(tab.page.evaluate(shown)) <= 3500
    more = tab.page.locator(".candidate .longtext .more")
    for _ in range(10):
        if more.count():
            more.first.click()
    assert tab.page.evaluate(shown) == whole


def test_of_a_large_grid_only_the_rows_in_sight_are_there(tab: Any, make: Any, serve: Any) -> None:
    made = make(problems=2000, cells=20)
    tab.go(serve(made.data()).url, "#/grid")
    page, rows = tab.page, tab.page.locator(".gbody .grow")
    assert page.get_attribute(".grid", "aria-rowcount") == "2001"
    assert rows.count() < 60
    page.evaluate("document.querySelector('.grid').scrollTop = 1e9")
    page.wait_for_selector(".gname >> text=p1999")
    assert rows.count() < 60
    page.fill("[data-key='grid q']", "p199")
    assert page.locator(".gname a").all_inner_texts() == ["p199", *(f"p{at}" for at in range(1990, 2000))]
    page.fill("[data-key='grid q']", "")
    page.select_option("[data-key='grid sort']", "difficulty")
    shown = [float(text) for text in page.locator(".gbody .gnumber:nth-child(2)").all_inner_texts()]
    assert all(a >= b for a, b in pairwise(shown))
    page.select_option("[data-key='grid show']", "tokens")
    assert page.locator(".gcell[class*=' t']").count() > 100
    page.fill("[data-key='grid q']", "no such text")
    assert "No problem meets these conditions." in tab.text()
    assert "show=tokens" in page.url  # so that it can be sent to somebody


def test_a_trial_of_256_candidates_is_whole_and_its_tree_can_be_walked(tab: Any, make: Any, serve: Any) -> None:
    made = make(candidates=256)
    tab.go(serve(made.data()).url, routes(made)["trial"])
    assert tab.page.locator("details.candidate").count() == 256
    assert tab.page.locator(".node").count() == 256
    assert tab.page.locator(".request").count() == 384
    tab.page.focus(".node[tabindex='0']")
    tab.page.keyboard.press("End")
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("details.candidate[open]").count() == 1
    tab.page.select_option("[data-key=order]", "score")
    scores = [
        float(text)
        for text in tab.page.locator(".candidate summary .number:nth-child(4)").all_inner_texts()
        if text != "–"
    ]
    assert all(a >= b for a, b in pairwise(scores))


def test_a_live_run_is_followed_without_losing_the_place(tab: Any, make: Any, serve: Any) -> None:
    made = make(candidates=40)
    data = made.data()
    data["/api/overview"]["live"] = True
    server, page = serve(data), tab.page
    there = routes(made)["trial"]
    tab.go(server.url, there)
    page.click("details.candidate >> nth=20 >> summary")
    page.wait_for_selector("details.candidate[open] >> text=The whole text.")
    top = page.evaluate("scrollY")
    trial = next(value for path, value in data.items() if "trial?" in path)
    trial["candidates"].append({**trial["candidates"][0], "id": f"{trial['id']}/new", "selected": False})
    server.change()
    page.wait_for_selector("h2 >> text=Candidates (41)")
    assert page.evaluate("scrollY") == top
    assert page.evaluate("document.activeElement.dataset.key") == f"candidate {trial['id']}/20"
    assert "The whole text." in tab.text("details.candidate[open]")
    page.click("#live")
    assert tab.text("#live") == "paused"
    trial["candidates"].pop()
    server.change()
    page.click("#live")
    page.wait_for_selector("h2 >> text=Candidates (40)")

    page.goto(server.url + "#/grid?show=tokens")
    page.focus(".grid")
    page.evaluate("document.querySelector('.grid').scrollTop = 200")
    data["/api/grid"]["tokens"][12][0] = 123456
    server.change()
    page.wait_for_selector(".gcell >> text=123k")
    assert page.evaluate("document.querySelector('.grid').scrollTop") == 200
    data["/api/overview"]["live"] = False
    server.change()
    page.wait_for_selector("#live", state="hidden")


def test_what_cannot_be_shown_is_said(tab: Any, make: Any, serve: Any) -> None:
    made = make()
    data = made.data()
    data[address("grid")] |= {name: [] for name in ("problems", "score", "tokens", "samples", "state")}
    data["/api/overview"] |= {"cells": [], "notes": []}
    server = serve(data)
    for there, sentence in {
        "#/problem/p7": "There is nothing at",
        "#/nowhere": "There is no such page here",
        "#/problem/%E0%A4%A": "There is no such page here",
        "#/trial": "No trial is named",
        "#/grid": "No problem has been asked so far.",
        "#/compare": "this run has fewer",
        "#/": "This run has no cells",
    }.items():
        tab.go(server.url, there)
        assert sentence in tab.text(), there
    del data["/api/overview"]["cells"]
    tab.wrong.clear()  # the browser's console notes each answer of 404


def test_a_server_that_has_ended_is_said_and_can_be_tried_again(tab: Any, make: Any, serve: Any) -> None:
    made = make()
    server = serve(made.data())
    tab.go(server.url)
    tab.page.route("**/api/**", lambda asked: asked.abort())
    tab.page.click("nav >> text=Grid")
    tab.page.wait_for_selector("text=The server of this page does not answer")
    tab.page.unroute("**/api/**")
    tab.page.get_by_role("button", name="Try again").click()
    tab.page.wait_for_selector(".grid")
    tab.wrong.clear()


def test_what_an_export_lacks_is_said(tab: Any, make: Any, export: Any) -> None:
    made = make()
    data = {path: value for path, value in made.data().items() if not path.startswith(("/api/text", "/api/compare"))}
    url = export(data)
    tab.go(url, routes(made)["compare"])
    assert "This is not part of this export" in tab.text()
    tab.go(url, routes(made)["trial"])
    tab.page.click("details.candidate >> nth=0 >> summary")
    expect(tab.page.locator("details.candidate").first).to_contain_text("This is not part of this export")


def test_what_is_unknown_is_a_dash_and_never_zero(tab: Any, make: Any, serve: Any) -> None:
    made = make()
    data = made.data()

    def forgotten(value: Any) -> Any:
        if isinstance(value, list):
            return [forgotten(each) for each in value]
        if isinstance(value, dict):
            return {name: forgotten(each) if name in KNOWN else None for name, each in value.items()}
        return value

    grid = data.pop("/api/grid")
    texts = {path: value for path, value in data.items() if "/text?" in path}
    data = {path: forgotten(value) for path, value in data.items()} | texts
    data["/api/grid"] = grid | {"score": [[None] * 6] * 30, "tokens": [[None] * 6] * 30, "state": [[None] * 6] * 30}
    data["/api/overview"] |= {"problems": None, "samples": None, "trials": None}
    for path in [path for path in data if "trial?" in path]:
        data[path]["votes"] = []
    url = serve(data).url
    for name, each in routes(made).items():
        tab.go(url, each)
        unfolded(tab)
        numbers = tab.page.locator("main td:not(.left), main dd, main .number, .gcell, .gnumber").all_inner_texts()
        assert [
            text for text in numbers if re.fullmatch(r"[$+]?0(\.0+)?( ms| %| s)?|NaN.*|undefined|null", text)
        ] == [], name
        assert not re.search(r"NaN|undefined|null|Infinity", tab.text()), name


def test_the_modules_can_be_one_script() -> None:
    """`bundled` puts them one after another: imports of one form, and no name twice."""
    names: list[str] = []
    for path in PAGE.glob("*.js"):
        text = path.read_text()
        names += re.findall(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", text, re.MULTILINE)
        for line in text.splitlines():
            assert not line.startswith("import") or re.fullmatch(r'import \{ [\w, ]+ \} from "\./\w+\.js";', line), line
            assert not re.match(r"export (default|\{|\*)|var |(const|let) ([\[{]|\w+ = [\w.\"]+, \w+ =)", line), line
        assert not re.search(PARSED, text)
    assert len(names) == len(set(names))


def test_a_real_run_is_shown_by_its_server_and_by_its_file(tab: Any, tmp_path: Path) -> None:
    folder = made(tmp_path / "run", problems=2, seeds=1, text=f"So it is. {MARKUP} \x1b[31m")
    command = [sys.executable, "-m", "tts", "view", str(folder)]
    subprocess.run([*command, "--export", str(tmp_path / "run.html")], check=True, capture_output=True)
    with subprocess.Popen([*command, "--no-browser"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        (served,) = re.findall(r"http://\S+/", server.stderr.readline())
        for url in (served, (tmp_path / "run.html").as_uri()):
            tab.go(url)
            tab.page.click("nav >> text=Grid")
            tab.page.click(".gname a >> nth=0")
            tab.page.click("table.trials td a >> nth=-1")
            tab.page.wait_for_selector("h2 >> text=Candidates (5)")
            tab.page.click("details.candidate >> nth=0 >> summary")
            expect(tab.page.locator("details.candidate").first).to_contain_text(f"So it is. {MARKUP} \\x1b[31m")
        server.terminate()
    assert tab.page.evaluate("window.hit") is None
