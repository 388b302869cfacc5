"""The report of a pool, of pools that are made here: what it finds, what it leaves out and says so, what it draws."""

import csv
import json
import random
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from pages import Page, browse, check_vega_lite

from tts.analysis.pool_study import BEYOND, difficulty_bins, ratio, rests_at, study_pool
from tts.cli import main as cli
from tts.errors import BadPool, InvalidParameter, MissingExtra, UnknownName
from tts.estimators import Grid, best_of, coverage, majority, shortest
from tts.pools.parquet import write_pool
from tts.pools.pool import Pool, Sample, VerificationCost
from tts.reports.pool import pool_report, pool_table

try:
    import vl_convert
except ImportError:
    vl_convert = None
try:
    import scipy
except ImportError:
    scipy = None
needs_pictures = pytest.mark.skipif(vl_convert is None, reason="needs the extra `report` (vl-convert)")
needs_scipy = pytest.mark.skipif(scipy is None, reason="needs the extra `laws` (scipy)")
DASH = "\N{EN DASH}"
BEST = "best_of(rm) without scoring"


def sample(model, problem, i, ease=lambda p: p, **more):
    """Easier problems have more right samples, right ones are shorter, and a verifier knows a little."""
    rng = random.Random(f"{model}/{problem}/{i}")
    right = rng.random() < 0.05 + 0.08 * ease(problem)
    fields = {
        "answer": "42" if right else rng.choice(["7", "8", "9", None]),
        "correct": right,
        "prompt_tokens": 50 + problem,
        "completion_tokens": int(rng.lognormvariate(5, 0.4)) + (0 if right else 60),
        "scores": {"rm": rng.random() + 0.3 * right},
    }
    return Sample("sums", model, f"p{problem}", i, **(fields | more))


def pool_of(*models, problems=12, samples=12, ease=lambda p: p, **more):
    names = models or ("tiny",)
    return Pool.of(
        "made", [sample(m, p, i, ease, **more) for m in names for p in range(problems) for i in range(samples)]
    )


@pytest.fixture(scope="module")
def pool():
    return pool_of("tiny", "small")


@pytest.fixture(scope="module")
def found(pool):
    return study_pool(pool)


@pytest.fixture(scope="module")
def report(pool, tmp_path_factory, drawing):
    if vl_convert is None:
        pytest.skip("needs the extra `report` (vl-convert)")
    with drawing():
        return pool_report(pool, tmp_path_factory.mktemp("report"), price_in=1, price_out=4)


def of(found, method, model="tiny"):
    return {e.k: e for e in found.estimates if (e.method, e.model) == (method, model)}


def plain(html):
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_every_method_is_estimated_at_doublings_of_k_and_at_the_largest(pool, found):
    grid = Grid.of(pool.select(model="tiny"))
    ks = [1, 2, 4, 8, 12]
    curves = [coverage(grid, ks), shortest(grid, ks), best_of(grid, ks, "rm"), majority(grid, ks, draws=1000)]
    for curve in curves:
        rows = of(found, BEST if curve.name == "best_of(rm)" else curve.name)
        assert list(rows) == ks
        assert [e.accuracy for e in rows.values()] == pytest.approx(curve.mean(), abs=1e-12)
        assert [e.tokens for e in rows.values()] == pytest.approx(curve.tokens.mean(axis=0))
        assert [e.sequential for e in rows.values()] == pytest.approx(curve.sequential.mean(axis=0))
        assert all(e.low < e.accuracy < e.high for e in rows.values())
        assert {e.usd for e in rows.values()} == {None}


def test_verifications_cost_tokens_and_dollars_where_their_cost_is_known_and_else_the_method_says_without(pool, found):
    free = of(found, BEST)
    assert "Best-of without scoring" in " ".join(found.notes)
    assert any("without scoring" in name for stretch in found.frontier for name in (stretch.owner, *stretch.ties))
    judged = replace(pool, verification_costs={"rm": VerificationCost(20.0, 100.0)})
    priced = study_pool(judged, price_in=1, price_out=4)
    rows = of(priced, "best_of(rm)")
    assert [rows[k].tokens for k in (1, 4)] == pytest.approx([free[k].tokens + 20 * k for k in (1, 4)])
    cheaper = of(study_pool(judged, price_in=1, price_out=4, verifier_tokens={"rm": 0}), "best_of(rm)")
    assert rows[4].usd - cheaper[4].usd == pytest.approx((4 * 100 * 1 + 4 * 20 * 4) * 1e-6)
    assert not any("scoring" in note for note in priced.notes)


def test_the_summary_is_that_of_the_largest_k(found):
    summary = found.summaries[0]
    assert (summary.model, summary.problems, summary.samples) == ("tiny", 12, 12)
    assert summary.pass_at_1.mean == pytest.approx(of(found, "coverage")[1].accuracy)
    assert summary.majority == of(found, "majority")[12].accuracy
    assert summary.headroom == pytest.approx(of(found, "coverage")[12].accuracy - summary.majority)
    assert summary.shorter_wins.low < 0.5 < summary.shorter_wins.mean  # ten problems do not settle it
    assert pool_table(found, 80).row_count == 2


def test_majority_rests_where_it_stays_near_its_last_value_for_good():
    ks = np.array([1, 2, 4, 8, 16])
    assert rests_at(ks, np.array([0.5, 0.6, 0.7, 0.604, 0.6])) == 8  # being near it once is not enough
    assert rests_at(ks, np.array([0.5, 0.605, 0.6, 0.604, 0.6])) == 2
    assert rests_at(ks, np.array([0.6, 0.6, 0.6, 0.6, 0.6])) == 1
    assert rests_at(ks, np.array([0.5, 0.6, 0.7, 0.8, 0.9])) is None


def test_bins_are_quintiles_of_difficulty_and_equal_problems_stay_together():
    assert difficulty_bins(np.arange(10) / 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert difficulty_bins(np.array([1.0, 0.0, 0.5])).tolist() == [2, 0, 1]
    assert difficulty_bins(np.array([0.0] * 8 + [0.5, 1.0])).tolist() == [0] * 8 + [1, 1]
    assert difficulty_bins(np.array([0.5, 0.5])).tolist() == [0, 0]


def test_a_bin_holds_the_means_of_its_problems(pool, found):
    grid = Grid.of(pool.select(model="tiny"))
    curve = coverage(grid, [1, 2, 4, 8, 12])
    bins = [b for b in found.bins if b.model == "tiny"]
    assert sum(b.problems for b in bins) == 12
    assert [b.low for b in bins] == sorted(b.low for b in bins)
    first = (curve.accuracy[:, 0] <= bins[0].high).nonzero()[0]
    assert bins[0].coverage == pytest.approx(curve.accuracy[first].mean(axis=0))
    whole = sum(b.problems * np.array(b.majority) for b in bins) / 12
    assert whole == pytest.approx([e.accuracy for e in of(found, "majority").values()])


def test_w_weighs_problems_by_their_pairs_and_leaves_out_those_without():
    w = ratio(np.array([3.0, 0.0, 1.0]), np.array([4.0, 0.0, 16.0]))
    assert (w.mean, w.n) == (0.2, 2)
    assert 0 <= w.low < 1 / 16 < 3 / 4 < w.high <= 1  # two problems, and one of them weighs little
    alone = ratio(np.array([3.0, 0.0]), np.array([4.0, 0.0]))
    assert (alone.mean, alone.low, alone.high) == (0.75, None, None)


def test_dollars_are_every_prompt_and_all_generated_tokens():
    pool = pool_of()
    rows = of(study_pool(pool, price_in=2.0, price_out=10.0), "majority")
    prompts = np.mean([50 + p for p in range(12)])
    for k, e in rows.items():
        assert e.usd == pytest.approx((2 * k * prompts + 10 * e.tokens) / 1e6)
    with pytest.raises(InvalidParameter, match="--price-in is missing"):
        study_pool(pool, price_out=10.0)


def test_dollars_are_left_out_where_prompts_were_not_counted_unless_they_are_free():
    pool = pool_of(prompt_tokens=None)
    found = study_pool(pool, price_in=2.0, price_out=10.0)
    assert {e.usd for e in found.estimates} == {None}
    assert any(note.startswith("No dollars: some prompt tokens were not recorded") for note in found.notes)
    rows = of(study_pool(pool, price_in=0.0, price_out=10.0), "majority")
    assert rows[4].usd == pytest.approx(10 * rows[4].tokens / 1e6)


def test_the_frontier_is_of_what_can_choose_and_one_sample_belongs_to_no_method(found):
    owners = [s.owner for s in found.frontier]
    assert owners[0].startswith("one sample of ")
    assert not any("coverage" in owner for owner in owners)
    reached = [e for e in found.estimates if e.method != "coverage"]
    assert found.frontier[0].start == pytest.approx(min(e.tokens for e in reached))
    assert found.frontier[-1].end is None
    assert study_pool(pool_of()).frontier[0].owner == "one sample"


def test_a_method_takes_the_frontier_over_where_noise_does_not_explain_that_it_is_better():
    few, many = study_pool(pool_of(problems=4)), study_pool(pool_of(problems=120, ease=lambda p: 5 + p % 4))
    assert [s.owner for s in few.frontier] == ["one sample"]  # of four problems, every difference is a tie
    assert set(few.frontier[0].ties) == {"majority", "shortest", BEST}
    assert len(many.frontier) > 1
    for a, b in zip(many.frontier, many.frontier[1:], strict=False):
        assert a.end == b.start
        assert a.high < b.low
    marked = [e for e in many.estimates if e.on_frontier]
    assert next(e.tokens for e in marked) == many.frontier[0].start
    assert max(e.accuracy for e in marked) == many.frontier[-1].high
    assert {tie for e in marked for tie in e.ties} == {tie for s in many.frontier for tie in s.ties}


@needs_scipy
def test_laws_are_drawn_far_beyond_the_data_and_foretell_the_table(found):
    assert {(law.model, law.law) for law in found.laws} == {(m, n) for m in found.models for n in ("power", "beta")}
    for law in found.laws:
        assert law.seen == 12
        assert [p.k for p in law.predictions][-1] == BEYOND * 12
        assert 12 in [p.k for p in law.predictions]
        assert all(p.low <= p.high for p in law.predictions)
    assert (found.summaries[0].power.k, found.summaries[0].beta.k) == (48, 48)
    assert found.summaries[0].power.extrapolates


@needs_scipy
def test_a_law_that_misses_its_own_data_is_not_to_be_trusted():
    """Half of the problems are never solved and half nearly always: no beta distribution, once n is large."""
    rows = [Sample("b", "m", f"p{p}", i, None, p < 10 and (i + p) % 5 > 0) for p in range(20) for i in range(60)]
    assert any(note.startswith("Do not trust the beta law") for note in study_pool(Pool.of("split", rows)).notes)


LACKING = {
    "tokens": ({"completion_tokens": None}, {"shortest"}, "No races and no costs: the tokens of some samples"),
    "answers": ({"answer": None}, {"majority", "shortest"}, "No votes and no races: no sample has an answer"),
    "scores": ({"scores": {}}, {BEST}, "No best-of: no sample has a score"),
    "one sample": (
        {"samples": 1},
        {"majority", "shortest", BEST},
        "No votes, races, best-of and laws: every",
    ),
    "one verdict": ({"correct": False}, set(), "No w: no problem has both a right and a wrong sample"),
    "abstentions": ({"scores": {"rm": None}}, {BEST}, "No best-of: no sample has a score"),
}


@needs_pictures
@pytest.mark.parametrize(("more", "missing", "note"), LACKING.values(), ids=LACKING)
def test_what_cannot_be_said_is_left_out_and_the_page_says_why(tmp_path, more, missing, note):
    pool = pool_of(**more)
    found = study_pool(pool)
    methods = {"coverage", "majority", "shortest", BEST} - missing
    assert {e.method for e in found.estimates} == methods
    assert any(line.startswith(note) for line in found.notes)
    files = pool_report(pool, tmp_path)
    html = plain(files["pool.html"].read_text())
    assert note in html
    page = Page(html)
    cells = dict(zip(*page.tables[0], strict=True))
    assert (cells["majority@k"] == DASH) == ("majority" in missing)
    assert (cells["w"] == DASH) == ("tokens" in note or "No w" in note or more == {"samples": 1})
    assert ("tokens.png" in files) == (more.get("completion_tokens", 1) is not None and "samples" not in more)
    assert {row["method"] for row in csv.DictReader(files["pool.csv"].read_text().splitlines())} == methods


def test_a_problem_with_few_samples_that_cuts_all_others_short_is_named():
    rows = [sample("tiny", p, i) for p in range(6) for i in range(3 if p == 2 else 12)]
    found = study_pool(Pool.of("made", rows))
    assert found.summaries[0].samples == 3
    assert any(note.startswith("Short: k ends at 3, because problem p2") for note in found.notes)


def test_failures_are_left_out_and_problems_that_only_failed_are_named():
    failed = [sample("tiny", p, 12, answer=None, correct=None, error="lost") for p in range(12)]
    lost = [sample("tiny", 12, i, answer=None, correct=None, error="lost") for i in range(4)]
    sound = [sample("tiny", p, i) for p in range(12) for i in range(12)]
    found = study_pool(Pool.of("made", [*sound, *failed, *lost]))
    assert found.estimates == study_pool(pool_of()).estimates
    assert any("1 of the problems, whose every sample failed (p12)" in note for note in found.notes)
    with pytest.raises(BadPool, match="every sample of made on sums failed"):
        study_pool(Pool.of("made", lost))


def test_one_benchmark_and_models_by_name_and_verdicts_for_all():
    other = Sample("words", "tiny", "p0", 0, "a", True)
    both = Pool.of("made", [*(sample("tiny", 0, i) for i in range(3)), other])
    with pytest.raises(BadPool, match="2 benchmarks: sums, words; choose one"):
        study_pool(both)
    assert study_pool(both, benchmark="words").benchmark == "words"
    with pytest.raises(UnknownName, match="tinny"):
        study_pool(pool_of(), models=["tinny"])
    assert study_pool(pool_of("tiny", "small", "large"), models=["large", "tiny"]).models == ("large", "tiny")
    with pytest.raises(BadPool, match="have no verdict"):
        study_pool(pool_of(correct=None))


def test_without_scipy_the_laws_are_left_out_and_everything_else_is_there(monkeypatch):
    for name in ("scipy", "scipy.optimize", "scipy.special"):
        monkeypatch.setitem(sys.modules, name, None)
    found = study_pool(pool_of())
    assert found.laws == ()
    assert (found.summaries[0].power, found.summaries[0].beta) == (None, None)
    assert any("test-time-scaling[laws]" in note for note in found.notes)
    assert {e.method for e in found.estimates} == {"coverage", "majority", "shortest", BEST}


def test_without_the_extra_the_numbers_are_written_and_the_missing_package_is_named(tmp_path, monkeypatch):
    for name in ("sweep", "pool"):
        monkeypatch.delitem(sys.modules, f"tts.reports.charts.{name}", raising=False)
        monkeypatch.delattr(f"tts.reports.charts.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtra, match=r"pip install 'test-time-scaling\[report\]'"):
        pool_report(pool_of(samples=2), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool.csv", "pool.html", "pool.json"]
    assert Page((tmp_path / "pool.html").read_text()).tables


def test_csv_and_json_hold_every_estimate_whole(report, pool):
    found = study_pool(pool, price_in=1, price_out=4)
    lines = list(csv.DictReader(report["pool.csv"].read_text().splitlines()))
    head = ["model", "method", "k", "accuracy", "low", "high", "noise", "tokens", "sequential", "usd"]
    head += ["on_frontier", "on_sequential_frontier", "on_usd_frontier", "ties"]
    assert list(lines[0]) == head
    assert [float(line["accuracy"]) for line in lines] == [e.accuracy for e in found.estimates]
    assert [float(line["usd"]) for line in lines] == [e.usd for e in found.estimates]
    stored = json.loads(report["pool.json"].read_text())
    assert [s["model"] for s in stored["found"]["summaries"]] == ["tiny", "small"]
    assert stored["found"]["estimates"][3]["accuracy"] == found.estimates[3].accuracy


def test_each_picture_is_written_as_png_and_svg_and_stands_in_the_page(report):
    names = ["tokens", "sequential", "dollars", *(["coverage"] if scipy else []), "difficulty"]
    assert {f"{name}.{kind}" for name in names for kind in ("png", "svg")} < set(report)
    html = plain(report["pool.html"].read_text())
    assert re.findall(r'<figure id="(\w+)"', html) == names
    assert html.count("<svg") == len(names)
    for name in names:
        assert report[f"{name}.png"].read_bytes().startswith(b"\x89PNG")
        assert "tiny" in report[f"{name}.svg"].read_text()


def test_the_page_says_what_w_means_and_who_owns_the_frontier(report, pool):
    html = plain(report["pool.html"].read_text())
    assert "racing for the shortest sample pays only where w is clearly above 1/2" in html
    owners = Page(html).tables[-1]
    assert owners[0] == ["from tokens", "to tokens", "accuracy", "method"]
    assert [line[-1].split(" (not")[0] for line in owners[1:]] == [s.owner for s in study_pool(pool).frontier]
    assert owners[-1][1] == "any more"


@needs_pictures
@needs_scipy
def test_only_what_lies_beyond_the_data_is_dashed(found):
    from tts.reports.charts import pool as poolcharts

    pictures = poolcharts.pictures(found)
    for picture in pictures:
        check_vega_lite(picture.spec)
    (picture,) = [p for p in pictures if p.name == "coverage"]
    assert "extrapolation" in picture.caption
    rows = re_values(picture.spec)
    drawn = [row for row in rows if "part" in row]
    assert {row["part"] for row in drawn} == {"fitted", "extrapolated"}
    assert all(row["k"] <= 12 if row["part"] == "fitted" else row["k"] >= 12 for row in drawn)
    assert max(row["k"] for row in drawn) == 12 * BEYOND


def re_values(node):
    """Every inline row of a Vega-Lite specification."""
    if isinstance(node, dict):
        own = node["data"]["values"] if isinstance(node.get("data"), dict) and "values" in node["data"] else []
        return [*own, *(row for key, child in node.items() if key != "data" for row in re_values(child))]
    return [row for child in node for row in re_values(child)] if isinstance(node, list) else []


@needs_pictures
def test_a_method_has_one_colour_in_every_picture_and_few_scores_are_drawn():
    from tts.reports.charts import pool as poolcharts

    many = {f"rm{i}": float(i) for i in range(9)}
    found = study_pool(pool_of(scores=many))
    assert len({e.method for e in found.estimates if e.method.startswith("best_of")}) == 9
    pictures = poolcharts.pictures(found)
    assert "Of the scores, 5 that reach less are left out" in pictures[0].caption
    by_name = {picture.name: picture.spec for picture in pictures}
    drawn = {row["strategy"] for row in re_values(by_name["tokens"]) if "rank" in row}
    assert len([name for name in drawn if name.startswith("best_of")]) == poolcharts.MOST_SCORES
    colours = {}
    for name in ("tokens", "difficulty"):
        text = json.dumps(by_name[name])
        domain = json.loads(re.search(r'"domain": (\["[^]]*\])', text)[1])
        colours |= {
            (name, k): v for k, v in zip(domain, json.loads(re.search(r'"range": (\["#[^]]*\])', text)[1]), strict=True)
        }
    assert colours["tokens", "majority"] == colours["difficulty", "majority"]
    assert len({v for (name, _), v in colours.items() if name == "tokens"}) == 2 + poolcharts.MOST_SCORES


@needs_pictures
def test_names_cannot_become_markup(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x>"
    page = Page(pool_report(pool_of(evil, "b", samples=3), tmp_path)["pool.html"].read_text())
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert page.loads == []


@needs_pictures
def test_the_command_prints_the_table_and_writes_the_report(tmp_path, capsys):
    path = write_pool(pool_of("tiny", "small", samples=4), tmp_path / "made.parquet")
    command = ["pool", "report", str(path), "--out", str(tmp_path / "out")]
    assert exit_code_of([*command, "-m", "tiny"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"tiny +12 +4 ", out)
    assert "small" not in out
    assert "frontier: " in out
    assert (tmp_path / "out" / "pool.html").is_file()
    assert exit_code_of([*command, "-m", "tinny"]) != 0
    assert "tinny" in capsys.readouterr().err


def exit_code_of(arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return exit_.value.code or 0


@pytest.mark.system
def test_a_real_browser_draws_the_charts_and_asks_the_network_for_nothing(report, browser, tmp_path):
    page = tmp_path / "pool.html"  # without the policy, under which the browser would not even try
    page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", report["pool.html"].read_text()))
    assert browse(browser, page, tmp_path)[1] == set()
    document, asked = browse(browser, report["pool.html"], tmp_path)
    assert asked == set()
    assert document.count('data-live="yes"') == len([name for name in report if name.endswith(".png")])
    drawn = plain(document)
    assert len(re.findall(r'<path aria-label="[^"]*strategy: majority', drawn)) >= 2 * 3 * 5
