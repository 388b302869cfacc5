"""The pictures of a pool's report, with Vega-Lite (extra `report`). Import it only through `tts.reports.pool`.

One model has one large picture of each kind, with the lines named where they end; several have a small panel each, on
axes of one scale, with the frontier of all models behind the lines. A method has one colour in every picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from markupsafe import Markup

from tts.analysis.pool_study import BEYOND, Estimate, Findings, Law, PoolBin
from tts.reports.charts.sweep import (
    COLOURS,
    DOLLARS,
    INKS,
    SHAPES,
    TOKENS,
    Picture,
    Point,
    Style,
    datum,
    frontier,
    log_ticks,
    log_x,
    scatter,
    steps_of,
    y_domain,
)
from tts.reports.charts.vegalite import Spec, category, dressed, interval, layer, legend, logarithm, palette, quantity

MOST_SCORES = 4  # best-of curves in one picture; pool.csv has all
_FIXED = {"majority": 0, "shortest": 1, "coverage": 2}  # colours of the methods that every pool has
_LAW_COLOURS = {"power law": "#D55E00", "beta law": "#0072B2"}
_SEEN = "#1a1a1a"
_PANEL_WIDTH, _PANEL_HEIGHT, _COLUMNS = 220, 165, 3
_BIN_WIDTH, _BIN_HEIGHT = 128, 110

_SHOWN = Markup(
    "Each line is one way to choose among k samples, k = 1, 2, 4 and so on up to what every problem has: "
    "<em>majority</em> votes, <em>shortest</em> races them and stops the rest when the first has ended with an "
    "answer, <em>best_of</em> takes the one with the highest score. "
)
_FRONTIER = (
    "The grey step is the frontier of all of them: its owner's best so far, until another beats it by more than noise "
    "(paired, 95 %); a point above it is within the noise. "
)
_PANELS = (
    "One panel a model, on the same axes. The 95 % intervals over problems are in the tooltips and in pool.csv; they "
    "are left out here, because they are wide and the lines of one panel share most of theirs."
)
_BARS = "Bars are 95 % intervals over problems; the lines share most of theirs."


def pictures(found: Findings) -> list[Picture]:
    """Draw the pictures that the findings allow."""
    drawn = _drawn(found.estimates)
    costs: list[tuple[str, str, str, Callable[[Estimate], float | None], Callable[[Estimate], bool], str, str]] = [
        (
            "tokens",
            "Accuracy against tokens",
            "Generated tokens per problem",
            lambda e: e.tokens,
            lambda e: e.on_frontier,
            TOKENS,
            _SHOWN,
        ),
        (
            "sequential",
            "Accuracy against waiting",
            "Sequential tokens per problem",
            lambda e: e.sequential,
            lambda e: e.on_sequential_frontier,
            TOKENS,
            "The same lines against the tokens of the longest chain, which is what a user waits for: more samples "
            "lengthen it, but shorten a race. ",
        ),
        (
            "dollars",
            "Accuracy against dollars",
            "US dollars per problem",
            _usd(drawn),
            lambda e: e.on_usd_frontier,
            DOLLARS,
            "The same lines against dollars, prompts included. ",
        ),
    ]
    left = len({e.method for e in found.estimates if e.method.startswith("best_of")}) - MOST_SCORES
    few = f"Of the scores, {left} that reach less are left out; pool.csv has them. " if left > 0 else ""
    pictures = []
    for name, title, axis, cost, corner, form, more in costs:
        points = {
            model: [_point(e, x, corner(e)) for e in drawn if e.model == model and (x := cost(e))]
            for model in found.models
        }
        points = {model: some for model, some in points.items() if some}
        if len(points) == 1:
            (some,) = points.values()
            spec = scatter(some, axis, _style([p.name for p in some]), _TOOLTIP, form=form)
            pictures.append(Picture(name, title, more + few + _FRONTIER + _BARS, spec))
        elif points:
            caption = more + few + _FRONTIER + _PANELS
            pictures.append(Picture(name, title, caption, _panels(points, axis, form)))
    if found.laws:
        pictures.append(Picture("coverage", "Coverage, and what more samples would add", _LAWS, _coverage(found)))
    if found.bins:
        pictures.append(Picture("difficulty", "By difficulty", _DIFFICULTY, _difficulty(found.bins)))
    return pictures


def _drawn(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The methods to draw: those that choose among samples; of many scores those on a frontier, and the most
    accurate."""
    best: dict[str, tuple[bool, float]] = {}
    for e in estimates:
        if e.method.startswith("best_of"):
            corner = e.on_frontier or e.on_sequential_frontier or e.on_usd_frontier
            held, accuracy = best.get(e.method, (False, 0.0))
            best[e.method] = corner or held, max(accuracy, e.accuracy)
    kept = {"majority", "shortest", *sorted(best, key=lambda name: best[name], reverse=True)[:MOST_SCORES]}
    return [e for e in estimates if e.method in kept]


def _usd(estimates: Sequence[Estimate]) -> Callable[[Estimate], float | None]:
    """Dollars, if they are known of all."""
    known = all(e.usd is not None for e in estimates)
    return lambda e: e.usd if known else None


def _style(methods: Sequence[str]) -> Style:
    names = sorted(set(methods), key=lambda name: (_FIXED.get(name, len(_FIXED)), name))
    others = iter(range(len(_FIXED), len(COLOURS)))
    places = [_FIXED[name] if name in _FIXED else next(others) for name in names]
    return Style(names, *([looks[i] for i in places] for looks in (COLOURS, INKS, SHAPES)))


def _point(e: Estimate, x: float, corner: bool) -> Point:
    low, high = (e.accuracy, e.accuracy) if e.low is None or e.high is None else (e.low, e.high)
    facts = {"model": e.model, "k": e.k, "tokens": e.tokens, "sequential": e.sequential, "usd": e.usd}
    return Point(e.method, x, e.accuracy, low, high, e.k, facts, corner)


_TOOLTIP = [
    category("model"),
    category("strategy", title="method"),
    quantity("k"),
    category("accuracy", title="accuracy"),
    quantity("tokens", format=",.0f"),
    quantity("sequential", title="sequential tokens", format=",.0f"),
    quantity("usd", title="USD", format=".3~g"),
]


def _panels(points: dict[str, list[Point]], axis: str, form: str) -> Spec:
    every = [p for some in points.values() for p in some]
    low, high = min(p.x for p in every), max(p.x for p in every)
    room = max((high / low) ** 0.04, 1.05)
    xs, ys = (low / room, high * room), y_domain([p._replace(low=p.y, high=p.y) for p in every])
    ticks, steps = _few(log_ticks(*xs)), steps_of(every, xs[1])
    methods = _methods(_style([p.name for p in every]))
    charts = []
    for i, (model, some) in enumerate(points.items()):
        place = {
            "x": log_x(axis, xs, ticks, form, title=_lowest(i, len(points))),
            "y": _accuracy(ys, "Accuracy" if i % _columns(len(points)) == 0 else None),
        }
        layers = [frontier(steps, place, strokeWidth=4), *_lines(some, place, methods)]
        charts.append(_titled(layers, model))
    return dressed(_grid(charts))


def _lines(points: Sequence[Point], place: Spec, methods: Spec) -> list[Spec]:
    values = [datum(p) for p in points]
    line = {**place, "color": methods["color"], "order": quantity("rank")}
    point = {**place, **methods, "tooltip": _TOOLTIP}
    return [
        layer("line", values, line, strokeWidth=1.5),
        layer("point", values, point, filled=True, size=36, opacity=1, stroke="white", strokeWidth=0.6),
    ]


def _methods(style: Style) -> Spec:
    """The channels that tell the methods apart."""
    names = legend("top", symbolOpacity=1)
    return {
        "color": category("strategy", scale=palette(style.names, style.colours), legend=names),
        "shape": category("strategy", scale=palette(style.names, style.shapes), legend=names),
    }


# --- coverage and its laws

_LAWS = Markup(
    "Points are coverage (pass@k), estimated without bias from all samples. The lines are two laws fitted to them: "
    f"solid up to the dotted rule, where the data end, and dashed beyond it, up to {BEYOND} times the largest k: that "
    "part is an <em>extrapolation</em>. Bands are the middle 95 % of a bootstrap over problems: how sure the fit is, "
    "if the law holds; a line that misses its own points says that it does not."
)


def _coverage(found: Findings) -> Spec:
    models = [model for model in found.models if any(law.model == model for law in found.laws)]
    points = {m: [e for e in found.estimates if e.model == m and e.method == "coverage"] for m in models}
    laws = {m: [law for law in found.laws if law.model == m] for m in models}
    largest = max(p.k for law in found.laws for p in law.predictions)
    bottom = min(
        *(e.accuracy for some in points.values() for e in some), *(p.low for law in found.laws for p in law.predictions)
    )
    ys = max(0.0, bottom - 0.03), 1.01
    large = len(models) == 1
    charts = []
    for i, model in enumerate(models):
        x = quantity(
            "k",
            title="Samples k (log scale)" if _lowest(i, len(models)) else None,
            scale=logarithm(0.9, largest * 1.08),
            axis={"values": _doublings(largest, 16 if large else 5), "format": ",d", "grid": False},
        )
        y = _accuracy(ys, "Coverage (pass@k)" if i % _columns(len(models)) == 0 else None)
        layers = [*_curves(laws[model], {"x": x, "y": y}), _measured(points[model], {"x": x, "y": y})]
        charts.append(_titled(layers, model, large))
    return dressed(_grid(charts))


def _curves(laws: Sequence[Law], place: Spec) -> list[Spec]:
    """Bands and lines of the laws, and the rule where the data end."""
    values = [
        {"law": f"{law.law} law", "k": p.k, "y": p.value, "low": p.low, "high": p.high, "part": part}
        for law in laws
        for p in law.predictions
        for part in ("fitted", "extrapolated")
        if (p.k <= law.seen if part == "fitted" else p.k >= law.seen)
    ]
    line = {
        **place,
        "color": category("law", scale=palette([*_LAW_COLOURS], [*_LAW_COLOURS.values()]), legend=_STROKES),
        "strokeDash": category("part", scale=palette(["fitted", "extrapolated"], [[1, 0], [5, 4]]), legend=_STROKES),
        "tooltip": _LAW_TOOLTIP,
    }
    band = {"x": place["x"], "y": {**place["y"], "field": "low"}, "y2": {"field": "high"}}
    bands = [  # of one colour each: as part of the scale their pale colours would get into the legend
        layer("area", [v for v in values if v["law"] == law], band, opacity=0.13, interpolate="monotone", color=colour)
        for law, colour in _LAW_COLOURS.items()
    ]
    return [
        *bands,
        layer("rule", [{"k": laws[0].seen}], {"x": place["x"]}, color="#777", strokeDash=[1, 3]),
        layer("line", values, line, strokeWidth=1.8, interpolate="monotone"),
    ]


def _measured(points: Sequence[Estimate], place: Spec) -> Spec:
    tooltip = [quantity("k"), quantity("y", title="coverage", format=".1%")]
    values = [{"k": e.k, "y": e.accuracy} for e in points]
    return layer("point", values, {**place, "tooltip": tooltip}, filled=True, size=32, color=_SEEN, opacity=1)


_STROKES = legend("top", symbolType="stroke", symbolStrokeWidth=3)
_LAW_TOOLTIP = [
    category("law"),
    category("part"),
    quantity("k"),
    quantity("y", title="coverage", format=".1%"),
    quantity("low", format=".1%"),
    quantity("high", format=".1%"),
]


# --- difficulty

_DIFFICULTY = (
    "Problems in five bins by pass@1, hardest first (fewer bins where many are equally hard): what voting does and "
    "what could be had. Where pass@1 is low, majority often falls while coverage rises: more samples make it surer of "
    "a wrong answer. The bins are made by the same samples that are shown, so the outer ones look a little more "
    "extreme than they are."
)


def _difficulty(bins: Sequence[PoolBin]) -> Spec:
    channels = _methods(_style(["majority", "coverage"] if any(b.majority for b in bins) else ["coverage"]))
    most = max(b.ks[-1] for b in bins)
    rows = [list(some) for _, some in groupby(bins, key=lambda b: b.model)]
    height = _BIN_HEIGHT if len(rows) <= 2 else 0.65 * _BIN_HEIGHT
    lines: list[Spec] = []
    for some in rows:
        charts = []
        for i, b in enumerate(some):
            x = quantity(
                "k",
                title="Samples k" if some is rows[-1] else None,
                scale=logarithm(0.85, most * 1.18),
                axis={"values": _doublings(most, 4), "format": ",d", "grid": False},
            )
            y = _accuracy((-0.04, 1.09), None if i else "Accuracy", labels=i == 0)
            layers = _bin_lines(b, {"x": x, "y": y}, channels)
            charts.append({"layer": layers, "width": _BIN_WIDTH, "height": height, "title": _bin_title(b)})
        name = {"text": some[0].model, "fontSize": 12, "fontWeight": 600, "anchor": "start", "offset": 6}
        lines.append({"hconcat": charts, "spacing": 10, **({"title": name} if len(rows) > 1 else {})})
    return dressed({"vconcat": lines, "spacing": 14})


def _bin_lines(b: PoolBin, place: Spec, methods: Spec) -> list[Spec]:
    values = [
        {"strategy": method, "k": k, "y": y}
        for method, ys in (("majority", b.majority), ("coverage", b.coverage))
        for k, y in zip(b.ks, ys or (), strict=False)
    ]
    tooltip = [category("strategy", title="method"), quantity("k"), quantity("y", format=".1%")]
    return [
        layer("line", values, {**place, "color": methods["color"]}, strokeWidth=1.5),
        layer("point", values, {**place, **methods, "tooltip": tooltip}, filled=True, size=24, opacity=1),
    ]


def _bin_title(b: PoolBin) -> Spec:
    subtitle = {"subtitle": f"{b.problems} problem{'s' * (b.problems != 1)}", "subtitleFontSize": 10.5}
    place = {"anchor": "start", "frame": "group"}
    title = {"text": f"pass@1 {_span(b)}", "fontSize": 11, "fontWeight": "normal"}
    return {**title, **subtitle, "subtitleColor": "#666", **place}


def _span(b: PoolBin) -> str:
    low, high = f"{100 * b.low:.0f}", f"{100 * b.high:.0f}"
    return f"{low} %" if low == high else f"{low}\N{EN DASH}{high} %"


# --- panels


def _columns(number: int) -> int:
    return min(number, 2 if number in (2, 4) else _COLUMNS)


def _lowest(i: int, number: int) -> bool:
    """Whether panel `i` is in the last row."""
    return i // _columns(number) == (number - 1) // _columns(number)


def _titled(layers: list[Spec], model: str, large: bool = False) -> Spec:
    width, height = (600, 380) if large else (_PANEL_WIDTH, _PANEL_HEIGHT)
    title = {"text": model, "fontSize": 12, "anchor": "start", "fontWeight": 600, "limit": width}
    return {"layer": layers, "width": width, "height": height, "title": title}


def _grid(charts: list[Spec]) -> Spec:
    return {"concat": charts, "columns": _columns(len(charts)), "spacing": 18}


def _accuracy(ys: tuple[float, float], title: str | None, labels: bool = True) -> Spec:
    axis = {"format": "%", "tickCount": 5, "labels": labels, "ticks": labels}
    return quantity("y", title=title, scale=interval(*ys), axis=axis)


def _few(ticks: Sequence[float], most: int = 4) -> list[float]:
    """Take every second tick, or every third ..., so that a small panel can hold their numbers."""
    return list(ticks[:: -(-len(ticks) // most)])


def _doublings(most: int, ticks: int) -> list[int]:
    """Powers of 2 up to `most`, or of 4, 8 ..., so that they are no more than so many."""
    powers = most.bit_length()
    return [2**i for i in range(0, powers, -(-powers // ticks))]
