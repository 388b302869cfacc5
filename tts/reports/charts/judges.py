"""The pictures of a report on judges, with Vega-Lite (extra `report`). Import it only through `tts.reports.judges`."""

from __future__ import annotations

from collections.abc import Sequence

from tts.analysis.judges.study import JudgeReport, JudgeStudy
from tts.intervals import Interval
from tts.reports.charts.sweep import COLOURS, Picture
from tts.reports.charts.vegalite import Spec, category, dressed, interval, layer, legend, palette, quantity

_PANEL, _COLUMNS = 220, 3
_CALIBRATION = (
    "Of the candidates whose score lies in a tenth of the scale, the share that is right, with its 95 % interval over "
    "problems; larger points are more candidates. On the dashed line a score is the chance to be right; below it the "
    "judge is too sure."
)
_BIASES = (
    "Positive: who is shown first, is longer, or is of the judge's own model wins more games than it loses, at equal "
    "correctness for the latter two. Bars are 95 % intervals over problems; one that holds 0 is no evidence of a bias."
)
_KINDS = (("position", "shown first"), ("length", "longer"), ("own", "own model"))


def pictures(study: JudgeStudy) -> list[Picture]:
    """Draw the pictures that the study allows."""
    found = []
    if calibrated := [report for report in study.judges if report.bins]:
        found.append(Picture("calibration", "Calibration", _CALIBRATION, _calibration(calibrated)))
    if biased := [report for report in study.judges if any(getattr(report, kind) for kind, _ in _KINDS)]:
        found.append(Picture("biases", "Biases", _BIASES, _biases(biased)))
    return found


def _calibration(reports: Sequence[JudgeReport]) -> Spec:
    columns = min(len(reports), _COLUMNS)
    panels = [_panel(report, left=i % columns == 0) for i, report in enumerate(reports)]
    return dressed({"concat": panels, "columns": columns, "spacing": 18})


def _panel(report: JudgeReport, *, left: bool) -> Spec:
    values = [
        {
            "x": one.score,
            "y": one.right.mean,
            "low": _ends(one.right)[0],
            "high": _ends(one.right)[1],
            "candidates": one.count,
        }
        for one in report.bins
    ]
    ticks = {"format": "%", "values": [0, 0.25, 0.5, 0.75, 1]}
    scale = interval(0, 1)
    x = quantity("x", title="Score", scale=scale, axis={"values": ticks["values"], "format": ".2~f"})
    y = quantity("y", title="Right" if left else None, scale=scale, axis=ticks)
    place = {"x": x, "y": y}
    tooltip = [
        quantity("x", title="mean score", format=".3f"),
        quantity("y", title="right", format=".1%"),
        quantity("low", format=".1%"),
        quantity("high", format=".1%"),
        quantity("candidates", format=",d"),
    ]
    size = quantity("candidates", scale={"range": [20, 260], "zero": True}, legend=None)
    bars = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}
    layers = [
        layer("line", [{"x": 0, "y": 0}, {"x": 1, "y": 1}], place, color="#777", strokeDash=[4, 4], strokeWidth=1),
        layer("rule", values, bars, color=COLOURS[0], strokeWidth=1.5, opacity=0.6),
        layer("line", values, place, color=COLOURS[0], strokeWidth=1, opacity=0.5),
        layer("point", values, {**place, "size": size, "tooltip": tooltip}, filled=True, color=COLOURS[0], opacity=1),
    ]
    title = {"text": report.judge, "fontSize": 12, "anchor": "start", "fontWeight": 600, "limit": _PANEL}
    return {
        "layer": layers,
        "width": _PANEL,
        "height": _PANEL,
        "title": title,
        "resolve": {"scale": {"size": "shared"}},
    }


def _biases(reports: Sequence[JudgeReport]) -> Spec:
    values = [
        {"judge": report.judge, "bias": words, "x": found.mean, "low": _ends(found)[0], "high": _ends(found)[1]}
        for report in reports
        for kind, words in _KINDS
        if (found := getattr(report, kind)) is not None
    ]
    kinds = [words for _, words in _KINDS if any(value["bias"] == words for value in values)]
    scale = interval(-1, 1)
    x = quantity(
        "x", title="Share of games won, less those lost", scale=scale, axis={"format": "+.1~f", "tickCount": 5}
    )
    y = category("judge", title=None, axis={"labelLimit": 240})
    offset = {"yOffset": category("bias", sort=kinds)}
    colour = category(
        "bias",
        scale=palette(kinds, COLOURS),
        legend=legend("top"),
    )
    place = {"y": y, **offset, "color": colour}
    tooltip = [
        category("judge"),
        category("bias"),
        quantity("x", title="bias", format="+.3f"),
        quantity("low", format="+.3f"),
        quantity("high", format="+.3f"),
    ]
    bars = {**place, "x": {**x, "field": "low"}, "x2": {"field": "high"}}
    layers = [
        layer("rule", [{"x": 0}], {"x": x}, color="#777", strokeDash=[4, 4]),
        layer("rule", values, bars, strokeWidth=1.5),
        layer("point", values, {**place, "x": x, "tooltip": tooltip}, filled=True, size=60, opacity=1),
    ]
    return dressed({"layer": layers, "width": 520, "height": {"step": 18}})


def _ends(found: Interval) -> tuple[float, float]:
    """The ends of an interval; the mean, where they are unknown."""
    return (found.mean, found.mean) if found.low is None or found.high is None else (found.low, found.high)
