import csv
import json
import random
import re
import sys

import msgspec
import pytest
from pages import Page, browse, check_vega_lite, outcome
from rich.console import Console

from tts.core.result import Ends
from tts.errors import MissingExtra, StorageFull
from tts.intervals import mean_interval
from tts.reports.summary import notes_on, owners_of, summarise, warnings_of
from tts.reports.sweep import write_report
from tts.reports.terminal import print_frontier
from tts.runs.outcomes import Outcome
from tts.runs.row import Row

FACTS = {"title": "Six strategies", "model": "SmolLM2-135M", "date": "2026-11-23", "seeds": 2}


def sweep_of_six(problems: int = 60, seeds: int = 2) -> list[Outcome]:
    """Outcomes such as a sweep of six strategies under four budgets gives: a small model on arithmetic."""
    outcomes = []
    shapes = {  # strategy -> (samples at a budget step, gain of a doubling, share verifier, share cancelled)
        "single": (lambda k: 1, 0.0, 0.0, 0.0),
        "best_of_n": (lambda k: 2**k, 0.05, 0.0, 0.0),
        "majority_vote": (lambda k: 2**k, 0.075, 0.0, 0.0),
        "first_finish": (lambda k: 2**k, 0.06, 0.0, 0.35),
        "genrm": (lambda k: 2**k, 0.07, 0.45, 0.0),
        "sequential_revision": (lambda k: 2**k, 0.03, 0.0, 0.0),
    }
    for strategy, (samples_at, gain, verifier, cancelled) in shapes.items():
        for k, budget in enumerate(("1k", "2k", "4k", "8k"), start=1):
            params = "" if strategy == "single" else f"n={samples_at(k)}"
            cell = " ".join(filter(None, (strategy, params, budget)))
            for seed in range(seeds):
                for p in range(problems):
                    rng = random.Random(f"{strategy}/{k}/{seed}/{p}")
                    ease = random.Random(p).gauss(0.42, 0.3)
                    n = samples_at(k)
                    lengths = [max(20, int(rng.lognormvariate(5.0, 0.4))) for _ in range(n)]
                    answers = sum(lengths)
                    checking = int(answers * verifier / (1 - verifier))
                    tokens = answers + checking
                    outcomes.append(
                        Outcome(
                            cell=cell,
                            strategy=strategy,
                            params=params,
                            budget=budget,
                            seed=seed,
                            problem_id=f"p{p}",
                            answer="42",
                            correct=rng.random() < ease + gain * (n.bit_length() - 1),
                            samples=n,
                            tokens=tokens,
                            prompt_tokens=60 * n,
                            sequential_tokens=answers if strategy == "sequential_revision" else max(lengths),
                            verifier_tokens=checking,
                            cancelled_tokens=int(answers * cancelled),
                            usd=None,
                            flops=tokens * 270_000_000,
                            seconds=tokens / 20,
                            latency_s=max(lengths) / 20,
                        )
                    )
    return outcomes


@pytest.fixture(scope="module")
def rows():
    return summarise(sweep_of_six())


@pytest.fixture(scope="module")
def report(rows, tmp_path_factory, drawing):
    with drawing():
        return write_report(tmp_path_factory.mktemp("report"), rows, FACTS)


def test_a_row_holds_means_per_problem_and_an_interval_over_problems():
    outcomes = [
        outcome("p0", correct=True, seed=0, tokens=100, verifier_tokens=40),
        outcome("p0", correct=False, seed=1, tokens=200, exhausted=True),
        outcome("p1", correct=False, seed=0, tokens=300, cancelled_tokens=30, failed=2),
        outcome("p1", correct=False, seed=1, tokens=400),
    ]
    (row,) = summarise(outcomes)
    assert (row.problems, row.seeds, row.exhausted, row.failed, row.errors) == (2, 2, 1, 2, 0)
    assert (row.tokens, row.verifier_tokens, row.cancelled_tokens, row.usd) == (250, 10, 7.5, 0.5)
    assert row.accuracy == mean_interval({"p0": [1.0, 0.0], "p1": [0.0, 0.0]})
    assert row.accuracy.mean == 0.25


def test_a_budget_of_which_much_was_left_is_said_with_the_reason():
    short = {"params": "n=None", "exhausted": True, "next_action": "sample"}
    left = [outcome(f"p{i}", **short, unspent=u, next_cost=0.9) for i, u in enumerate((0.8, 0.6))]
    (said,) = warnings_of(summarise([*left, outcome("p2", params="n=None")]))
    assert (
        "70 % of the budget was left in the 2 of 3 trials" in said and "90 % of it" in said and "--max-tokens" in said
    )
    assert warnings_of(summarise([outcome(**short, unspent=0.1, next_cost=0.2)])) == []
    short["next_action"] = "verification"
    (said,) = warnings_of(summarise([outcome(**short, unspent=0.5, next_cost=0.7)]))
    assert "one more verification may cost 70 %" in said and "--max-tokens" not in said


def test_an_infrastructure_error_is_counted_apart_and_is_not_a_wrong_answer():
    failed = outcome("p1", correct=None, answer=None, tokens=70, usd=None, error="Unreachable: no connection")
    (row,) = summarise([outcome("p0"), failed])
    assert (row.errors, row.error_tokens, row.problems) == (1, 70, 1)
    assert (row.accuracy.mean, row.tokens, row.usd) == (1.0, 100, 0.5)
    (row,) = summarise([failed])
    assert (row.accuracy, row.tokens, row.errors, row.on_frontier) == (None, None, 1, False)


def test_an_answer_that_could_not_be_graded_is_in_no_accuracy_and_counted_with_its_reason():
    outcomes = [outcome(f"p{i}", correct=i > 2) for i in range(6)]
    outcomes += [outcome(f"q{i}", correct=None, ungraded=f"CallTimedOut: no {i}") for i in range(2)]
    (row,) = summarise(outcomes)
    assert row.accuracy.mean == 0.5 and row.accuracy.n == 6
    assert (row.problems, row.ungraded, row.ungraded_why) == (8, 2, "CallTimedOut: no 0")
    assert warnings_of([row]) == [
        "2 of 8 answers could not be graded and are left out of the accuracy; the first: CallTimedOut: no 0"
    ]


def test_samples_without_an_answer_are_counted_by_their_reason(tmp_path):
    outcomes = [
        outcome(f"p{i}", candidates=4, cut=i, cut_at=i and 100 + i, unanswered=4, refused=1, failed=2) for i in range(3)
    ]
    (row,) = summarise(outcomes)
    counts = {"candidates": 12, "cut": 3, "cut_at": 102, "unanswered": 12, "refused": 3, "failed": 6}
    assert {name: getattr(row, name) for name in counts} == counts
    write_illustrated_without_pictures(tmp_path, [row])
    told = json.loads((tmp_path / "report.json").read_text())["rows"][0]
    assert {name: told[name] for name in counts} == counts
    (line,) = csv.DictReader((tmp_path / "report.csv").read_text().splitlines())
    assert {name: int(line[name]) for name in counts} == counts
    page = (tmp_path / "report.html").read_text()
    assert all(f">{name}</th>" in page for name in ("cut", "no answer", "refused", "failed"))
    assert ">not graded</th>" not in page


def write_illustrated_without_pictures(folder, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "vl_convert", None)
        patch.delitem(sys.modules, "tts.reports.charts.sweep", raising=False)
        with pytest.raises(MissingExtra):
            write_report(folder, rows, FACTS)


def test_counts_that_an_old_journal_does_not_have_are_unknown_and_not_none_at_all():
    (row,) = summarise([outcome("p0", candidates=4, cut=4, cut_at=9), outcome("p1", candidates=4)])
    assert (row.candidates, row.cut, row.cut_at) == (8, None, None)
    assert not any("cut" in warning for warning in warnings_of([row]))


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"cut": 4, "cut_at": 512, "unanswered": 4}, "4 of 4 samples were cut at 512 tokens: raise --max-tokens"),
        ({"cut": 1, "cut_at": 24, "unanswered": 1}, "1 of 4 samples were cut at 24 tokens: raise --max-tokens"),
        ({"unanswered": 4, "refused": 4}, "4 of 4 samples were refused by the model's content filter"),
        ({"unanswered": 3}, "3 of 4 samples have no answer that could be read"),
    ],
)
def test_a_warning_says_why_samples_have_no_answer(counts, told):
    known = {"cut": 0, "cut_at": 0, "unanswered": 0, "refused": 0, **counts}
    (warning,) = warnings_of(summarise([outcome("p0", candidates=4, **known)]))
    assert warning.startswith(told)


def test_a_few_cut_samples_of_many_are_in_the_table_and_no_warning():
    (row,) = summarise([outcome("p0", candidates=100, cut=4, cut_at=512, unanswered=4, refused=0)])
    assert row.cut == 4
    assert warnings_of([row]) == []
    assert notes_on(Ends(100, 5, 512, 5, 0))[0]


def test_of_rows_that_share_samples_the_worst_is_named_once():
    some = {"cut_at": 64, "unanswered": 0, "refused": 0}
    outcomes = [outcome("p0", cell=f"n={n}", params=f"n={n}", candidates=n, cut=n // 2, **some) for n in (2, 4, 8)]
    (warning,) = warnings_of(summarise(outcomes))
    assert warning.startswith("s:n=8: 4 of 8 samples were cut at 64 tokens")


def test_without_references_there_is_a_cost_and_no_accuracy():
    (row,) = summarise([outcome("p0", correct=None), outcome("p1", correct=None)])
    assert row.accuracy is None
    assert row.tokens == 100
    assert not row.on_frontier


def test_a_price_that_is_unknown_once_makes_the_mean_unknown():
    (row,) = summarise([outcome("p0", usd=None, flops=None), outcome("p1")])
    assert row.usd is None
    assert row.flops is None


def four_cells():
    """A cheap cell, and three of another strategy: as accurate, much more accurate, and hardly more than that."""
    cells = (
        ("cheap", "single", 100, 8),
        ("waste", "vote", 300, 8),
        ("good", "vote", 400, 20),
        ("dear", "vote", 900, 21),
    )
    return [
        outcome(f"p{i}", cell=cell, strategy=name, tokens=tokens, sequential_tokens=999 - tokens, correct=i < right)
        for cell, name, tokens, right in cells
        for i in range(40)
    ]


def test_the_frontier_is_marked_among_all_cells():
    rows = summarise(four_cells())
    assert [row.cell for row in rows if row.on_frontier] == ["cheap", "good", "dear"]
    assert [row.cell for row in rows if row.on_sequential_frontier] == ["dear"]  # the one that waits least
    assert [row.cell for row in rows if row.on_usd_frontier] == ["dear"]  # all cost as much
    assert {row.ties for row in rows} == {(), ("vote",)}


def test_a_row_on_the_frontier_names_what_it_is_not_distinguishable_from():
    outcomes = [
        outcome(f"p{i}", cell=cell, strategy=cell, tokens=tokens, correct=i < right)
        for cell, tokens, right in (("majority_vote", 400, 21), ("best_of_n", 390, 23), ("single", 100, 5))
        for i in range(40)
    ]
    ties = {row.cell: row.ties for row in summarise(outcomes) if row.on_frontier}
    assert ties == {"single": (), "best_of_n": ("majority_vote",)}
    assert [(s.owner, s.ties) for s in owners_of(summarise(outcomes))] == sorted(ties.items(), reverse=True)


def test_a_cell_that_spent_nothing_is_on_no_frontier():
    unserved = [outcome(f"p{i}", cell="none", tokens=0, correct=False) for i in range(4)]
    rows = summarise([*unserved, *(outcome(f"p{i}", cell="some", tokens=9) for i in range(4))])
    assert [row.cell for row in rows if row.on_frontier] == ["some"]


def test_page_csv_json_and_terminal_agree_on_who_owns_the_frontier(tmp_path, capsys):
    files = write_report(tmp_path, summarise(four_cells()), {})
    assert Page(files["report.html"].read_text()).tables[0] == [
        ["from tokens", "to tokens", "accuracy", "strategy"],
        ["100", "400", "20.0", "single (not distinguishable from vote)"],
        ["400", "any more", "50.0 to 52.5", "vote"],
    ]
    lines = list(csv.DictReader(files["report.csv"].read_text().splitlines()))
    assert [(line["cell"], line["ties"]) for line in lines if line["on_frontier"] == "True"] == [
        ("cheap", "vote"),
        ("good", ""),
        ("dear", ""),
    ]
    stored = json.loads(files["report.json"].read_text())["rows"]
    assert [row["cell"] for row in stored if row["on_frontier"]] == ["cheap", "good", "dear"]
    print_frontier(Console(width=80), owners_of(summarise(four_cells())))
    assert capsys.readouterr().out.splitlines() == [
        "frontier: 100 tokens and more, up to 400: single (20.0 %), not distinguishable from vote",
        "frontier: 400 tokens and more: vote (50.0 to 52.5 %)",
    ]


def test_the_drawn_frontier_goes_through_the_rows_that_are_on_it():
    charts = pytest.importorskip("tts.reports.charts.sweep", reason="needs the extra `report`")
    (picture, *_) = charts.pictures(summarise(four_cells()))
    steps = picture.spec["layer"][0]["data"]["values"]
    assert [(step["x"], step["y"]) for step in steps[:-1]] == [(100, 0.2), (400, 0.5), (900, 0.525)]


def test_every_picture_is_what_vega_lite_knows():
    charts = pytest.importorskip("tts.reports.charts.sweep", reason="needs the extra `report`")
    pictures = charts.pictures(summarise(four_cells()))
    assert {picture.name for picture in pictures} >= {"accuracy", "spent"}
    for picture in pictures:
        check_vega_lite(picture.spec)
    with pytest.raises(Exception, match="nonsense"):
        check_vega_lite({**pictures[0].spec, "layer": [{"mark": "nonsense"}]})


def test_nobody_is_on_a_frontier_in_dollars_where_one_cell_does_not_know_them():
    known = [outcome(f"p{i}", cell="a", usd=0.5) for i in range(3)]
    unknown = [outcome(f"p{i}", cell="b", usd=None) for i in range(3)]
    assert [row.on_usd_frontier for row in summarise(known)] == [True]
    assert [row.on_usd_frontier for row in summarise([*known, *unknown])] == [False, False]


def test_dollars_are_drawn_only_where_every_cell_knows_them(tmp_path, drawing):
    known = [outcome(f"p{i}", cell="a", correct=i < 1, usd=0.0025) for i in range(3)]
    with drawing():
        files = write_report(tmp_path / "known", summarise(known), {})
    assert {"dollars.png", "dollars.svg"} < set(files)
    assert "$0.00" in files["dollars.svg"].read_text()
    mixed = [*known, *(outcome(f"p{i}", cell="b", usd=None) for i in range(3))]
    files = write_report(tmp_path / "mixed", summarise(mixed), {})
    assert "accuracy.png" in files
    assert "dollars.png" not in files


def test_columns_of_times_are_shown_where_any_cell_knows_them(tmp_path):
    plain = outcome("p0", cell="a")
    timed = outcome("p0", cell="b", opened_s=2.0, decided_s=12.0, late_tokens=7)
    names = ["decided p50 s", "p99 s", "makespan s", "late"]
    rows = Page(write_report(tmp_path / "plain", summarise([plain]), {})["report.html"].read_text()).rows
    assert not set(names) & set(rows[0])
    html = write_report(tmp_path / "timed", summarise([plain, timed]), {})["report.html"].read_text()
    lines = [dict(zip(Page(html).rows[0], line, strict=True)) for line in Page(html).rows[1:]]
    assert [lines[0][name] for name in names] == ["\N{EN DASH}"] * 4
    assert [lines[1][name] for name in names] == ["10", "10", "12", "7"]
    assert "Late ones were decoded after the decision" in html


@pytest.mark.parametrize(("low", "high"), [(1.8e4, 8e4), (300, 4000), (11, 29), (5e3, 5e6), (0.0011, 0.0026)])
def test_a_logarithmic_axis_has_at_least_three_numbers_on_it(low, high):
    charts = pytest.importorskip("tts.reports.charts.sweep", reason="needs the extra `report`")
    ticks = charts.log_ticks(low, high)
    assert 3 <= len(ticks) <= 12
    assert ticks == sorted(ticks)
    assert low <= ticks[0]
    assert ticks[-1] <= high


def test_csv_and_json_hold_every_row_whole(report, rows):
    lines = list(csv.DictReader(report["report.csv"].read_text().splitlines()))
    assert [line["cell"] for line in lines] == [row.cell for row in rows]
    assert [float(line["accuracy_low"]) for line in lines] == [row.accuracy.low for row in rows]
    assert {line["usd"] for line in lines} == {""}
    stored = json.loads(report["report.json"].read_text())
    assert stored["facts"] == FACTS
    assert msgspec.convert(stored["rows"], list[Row]) == rows


def test_the_table_needs_no_javascript(report, rows):
    html = re.sub(r"<script.*?</script>", "", report["report.html"].read_text(), flags=re.DOTALL)
    table = Page(html).rows
    assert len(table) == 1 + len(rows)
    assert table[0][:5] == ["strategy", "parameters", "budget", "accuracy", "tokens"]
    assert [line[0] for line in table[1:]] == [row.strategy for row in rows]
    last = rows[-1].accuracy
    assert table[-1][3] == f"{100 * last.mean:.1f} [{100 * last.low:.1f}, {100 * last.high:.1f}]"
    assert table[-1][table[0].index("USD")] == "\N{EN DASH}"


def test_the_charts_are_there_without_javascript_too(report):
    html = re.sub(r"<script.*?</script>", "", report["report.html"].read_text(), flags=re.DOTALL)
    assert html.count("<svg") == 3
    assert "Six strategies" in html
    assert "SmolLM2-135M" in html


def test_the_page_names_nothing_to_load_and_forbids_loading(report):
    html = report["report.html"].read_text()
    assert Page(html).loads == []
    assert "default-src 'none'" in html
    assert not re.search(r"@import|url\(\s*['\"]?http", html)


def test_names_cannot_become_markup(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x>"
    rows = summarise([outcome(f"p{i}", cell=evil, strategy=evil, params=evil, correct=i < 1) for i in range(3)])
    html = write_report(tmp_path, rows, {"title": evil, "model": evil})["report.html"].read_text()
    page = Page(html)
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert page.loads == []


def test_pictures_are_written_as_png_and_svg_of_print_size(report):
    for name in ("accuracy", "sequential", "spent"):
        png = report[f"{name}.png"].read_bytes()
        assert png.startswith(b"\x89PNG")
        assert int.from_bytes(png[16:20], "big") >= 1200
        assert report[f"{name}.svg"].read_text().startswith("<svg")


def test_every_strategy_is_named_beside_its_line_and_no_two_names_touch(report):
    svg = report["accuracy.svg"].read_text()
    found = {
        name: (float(x), float(y))
        for x, y, name in re.findall(r'translate\(([\d.]+),([\d.]+)\)"[^>]*font-weight="600"[^>]*>(\w+)</text>', svg)
    }
    assert set(found) == {"single", "best_of_n", "majority_vote", "first_finish", "genrm", "sequential_revision"}
    boxes = [(x, y, x + 6 * len(name), y + 11) for name, (x, y) in found.items()]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize("outcomes", [[], [outcome(correct=None)], [outcome()], [outcome(tokens=0)]])
def test_a_report_of_little_or_nothing_is_still_a_report(tmp_path, outcomes):
    rows = summarise(outcomes)
    html = write_report(tmp_path, rows, {})["report.html"].read_text()
    assert len(Page(re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)).rows) == 1 + len(rows)


def test_without_the_extra_the_numbers_are_written_and_the_missing_package_is_named(tmp_path, rows, monkeypatch):
    monkeypatch.delitem(sys.modules, "tts.reports.charts.sweep", raising=False)
    monkeypatch.delattr("tts.reports.charts.sweep", raising=False)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtra, match=r"pip install 'test-time-scaling\[report\]'") as caught:
        write_report(tmp_path, rows, FACTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.csv", "report.html", "report.json"]
    assert len(caught.value.facts["written"]) == 3
    assert len(Page((tmp_path / "report.html").read_text()).rows) == 1 + len(rows)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, rows):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageFull, match="taken"):
        write_report(tmp_path / "taken", rows, FACTS)


@pytest.mark.system
def test_a_real_browser_draws_the_charts_and_asks_the_network_for_nothing(report, browser, tmp_path):
    control = tmp_path / "control.html"
    control.write_text('<img src="http://example.invalid/x.png">')
    assert browse(browser, control, tmp_path)[1] == {"http://example.invalid/x.png"}

    page = tmp_path / "report.html"  # without the policy, under which the browser would not even try
    page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", report["report.html"].read_text()))
    assert browse(browser, page, tmp_path)[1] == set()

    document, asked = browse(browser, report["report.html"], tmp_path)
    assert asked == set()
    assert document.count('data-live="yes"') == 3
    drawn = re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)
    assert len(re.findall(r'<path aria-label="[^"]*strategy', drawn)) >= 24
