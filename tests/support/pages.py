"""Outcomes to report, and what a page is for who reads it without a browser, and with one."""

import json
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tts.reports.charts.vegalite import VERSION
from tts.runs.outcomes import Outcome


def outcome(problem="p0", *, cell="a", correct=True, seed=0, tokens=100, **more):
    counts = {"samples": 1, "prompt_tokens": 5, "sequential_tokens": tokens, "verifier_tokens": 0}
    defaults = {"cancelled_tokens": 0, "usd": 0.5, "flops": 1000, "seconds": 1.0, "latency_s": 2.0, "answer": "1"}
    return Outcome(
        **{"strategy": "s", "params": "", "budget": "1k", **counts, **defaults, **more},
        cell=cell,
        problem_id=problem,
        correct=correct,
        seed=seed,
        tokens=tokens,
    )


def check_vega_lite(spec: dict[str, object]) -> None:
    """Raises: jsonschema.ValidationError for what Vega-Lite does not know."""
    vega_lite().validate(spec)


@cache
def vega_lite():
    """The schema of Vega-Lite, which altair brings along; altair's own check takes a hundred times as long."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `dev`")
    altair = pytest.importorskip("altair", reason="needs the extra `dev`: the schema of Vega-Lite is in altair")
    path = Path(altair.__file__).parent / f"vegalite/v{VERSION[0]}/schema/vega-lite-schema.json"
    return jsonschema.Draft7Validator(json.loads(path.read_text()))


class Page(HTMLParser):
    """The text of every table cell, the tags, and every attribute that a browser would load something from.

    `rows` are those of the last table."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.loads, self.tags, self._inside = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self.loads += [(tag, k, v) for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action", "poster")]

    @property
    def rows(self):
        return self.tables[-1]

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside in ("td", "th", "small"):
            self.rows[-1][-1] += data


def browse(browser, page, folder):
    """The page's document after its scripts have run, and the addresses that it asked for."""
    log = folder / "net.json"
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    switches += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"]
    switches += ["--virtual-time-budget=20000", f"--log-net-log={log}", "--dump-dom", page.as_uri()]
    done = subprocess.run([browser, *switches], capture_output=True, text=True, timeout=500, check=True)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # What the browser asks for on its own account has no origin; what a page asks for has one, if an opaque one.
    asked = {e["url"] for e in events if "url" in e and e.get("initiator", "not an origin") != "not an origin"}
    return done.stdout, {url for url in asked if not url.startswith(("file:", "data:"))}
