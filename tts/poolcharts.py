"""The pictures of a pool's report, with Altair (extra `report`). Import it only through `tts.poolreport`.

One model has one large picture of each kind, with the lines named where they end; several have a small panel each, on
axes of one scale, with the frontier of all models behind the lines. A method has one colour in every picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import altair as alt

from tts.charts import (
    COLOURS,
    DOLLARS,
    FRONTIER_GREY,
    INKS,
    SHAPES,
    TOKENS,
    Picture,
    Point,
    Style,
    data,
    datum,
    dressed,
    log_ticks,
    log_x,
    scatter,
    steps_of,
    y_domain,
)
from tts.poolstudy import BEYOND, Bin, Estimate, Findings, Law

MOST_SCORES = 4  # best-of curves in one picture; pool.csv has all
_FIXED = {"majority": 0, "shortest": 1, "coverage": 2}  # the colours of what every pool has
_POWER, _BETA, _SEEN = "#D55E00", "#0072B2", "#1a1a1a"
_PANEL_WIDTH, _PANEL_HEIGHT, _COLUMNS = 220, 165, 3
_BIN_WIDTH, _BIN_HEIGHT = 128, 110

_SHOWN = (
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
    """What can be drawn of it."""
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
    """What chooses among samples; of many scores those on a frontier, and those that reach the highest accuracy."""
    best: dict[str, tuple[bool, float]] = {}
    for e in estimates:
        if e.method.startswith("best_of"):
            corner = e.on_frontier or e.on_sequential_frontier or e.on_usd_frontier
            held, accuracy = best.get(e.method, (False, 0.0))
            best[e.method] = corner or held, max(accuracy, e.accuracy)
    kept = {"majority", "shortest", *sorted(best, key=lambda name: best[name], reverse=True)[:MOST_SCORES]}
    return [e for e in estimates if e.method in kept]


def _usd(estimates: Sequence[Estimate]) -> Callable[[Estimate], float | None]:
    """Dollars, where they are known of all."""
    known = all(e.usd is not None for e in estimates)
    return lambda e: e.usd if known else None


def _style(methods: Sequence[str]) -> Style:
    names = sorted(set(methods), key=lambda name: (_FIXED.get(name, len(_FIXED)), name))
    others = iter(range(len(_FIXED), len(COLOURS)))
    places = [_FIXED[name] if name in _FIXED else next(others) for name in names]
    return Style(names, *([palette[i] for i in places] for palette in (COLOURS, INKS, SHAPES)))


def _point(e: Estimate, x: float, corner: bool) -> Point:
    low, high = (e.accuracy, e.accuracy) if e.low is None or e.high is None else (e.low, e.high)
    facts = {"model": e.model, "k": e.k, "tokens": e.tokens, "sequential": e.sequential, "usd": e.usd}
    return Point(e.method, x, e.accuracy, low, high, e.k, facts, corner)


_TOOLTIP = [
    alt.Tooltip("model:N"),
    alt.Tooltip("strategy:N", title="method"),
    alt.Tooltip("k:Q"),
    alt.Tooltip("accuracy:N", title="accuracy"),
    alt.Tooltip("tokens:Q", format=",.0f"),
    alt.Tooltip("sequential:Q", title="sequential tokens", format=",.0f"),
    alt.Tooltip("usd:Q", title="USD", format=".3~g"),
]


def _panels(points: dict[str, list[Point]], axis: str, form: str) -> dict[str, Any]:
    every = [p for some in points.values() for p in some]
    low, high = min(p.x for p in every), max(p.x for p in every)
    room = max((high / low) ** 0.04, 1.05)
    xs, ys = (low / room, high * room), y_domain([p._replace(low=p.y, high=p.y) for p in every])
    ticks, steps = _few(log_ticks(*xs)), steps_of(every, xs[1])
    style = _style([p.name for p in every])
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1)
    colour = alt.Color("strategy:N", scale=alt.Scale(domain=style.names, range=style.colours), legend=legend)
    shape = alt.Shape("strategy:N", scale=alt.Scale(domain=style.names, range=style.shapes), legend=legend)
    charts = []
    for i, (model, some) in enumerate(points.items()):
        x = log_x(axis, xs, ticks, form, title=_lowest(i, len(points)))
        y = _accuracy(ys, "Accuracy" if i % _columns(len(points)) == 0 else None)
        values = alt.Chart(data([datum(p) for p in some]))
        layers = [
            alt.Chart(data([step._asdict() for step in steps]))
            .mark_line(interpolate="step-after", color=FRONTIER_GREY, strokeWidth=4, strokeCap="round")
            .encode(x=x, y=y),
            values.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour, order="rank:Q"),
            values.mark_point(filled=True, size=36, opacity=1, stroke="white", strokeWidth=0.6).encode(
                x=x, y=y, color=colour, shape=shape, tooltip=_TOOLTIP
            ),
        ]
        charts.append(_titled(alt.layer(*layers), model))
    return dressed(alt.concat(*charts, columns=_columns(len(charts)), spacing=18))


# --- coverage and its laws

_LAWS = (
    "Points are coverage (pass@k), estimated without bias from all samples. The lines are two laws fitted to them: "
    f"solid up to the dotted rule, where the data end, and dashed beyond it, up to {BEYOND} times the largest k: that "
    "part is an <em>extrapolation</em>. Bands are the middle 95 % of a bootstrap over problems: how sure the fit is, "
    "if the law holds; a line that misses its own points says that it does not."
)


def _coverage(found: Findings) -> dict[str, Any]:
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
        x = alt.X(
            "k:Q",
            title="Samples k (log scale)" if _lowest(i, len(models)) else None,
            scale=alt.Scale(type="log", domain=[0.9, largest * 1.08], nice=False),
            axis=alt.Axis(values=_doublings(largest, 16 if large else 5), format=",d", grid=False),
        )
        title = "Coverage (pass@k)" if i % _columns(len(models)) == 0 else None
        charts.append(_titled(_laws_of(points[model], laws[model], x, ys, title), model, large))
    return dressed(alt.concat(*charts, columns=_columns(len(charts)), spacing=18))


def _laws_of(
    points: Sequence[Estimate], laws: Sequence[Law], x: alt.X, ys: tuple[float, float], title: str | None
) -> Any:
    y = _accuracy(ys, title)
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3)
    names = alt.Scale(domain=["power law", "beta law"], range=[_POWER, _BETA])
    colour = alt.Color("law:N", scale=names, legend=legend)
    dash = alt.StrokeDash(
        "part:N", scale=alt.Scale(domain=["fitted", "extrapolated"], range=[[1, 0], [5, 4]]), legend=legend
    )
    values = [
        {"law": f"{law.law} law", "k": p.k, "y": p.value, "low": p.low, "high": p.high, "part": part}
        for law in laws
        for p in law.predictions
        for part in ("fitted", "extrapolated")
        if (p.k <= law.seen if part == "fitted" else p.k >= law.seen)
    ]
    tooltip = [
        alt.Tooltip("law:N"),
        alt.Tooltip("part:N"),
        alt.Tooltip("k:Q"),
        alt.Tooltip("y:Q", title="coverage", format=".1%"),
        alt.Tooltip("low:Q", format=".1%"),
        alt.Tooltip("high:Q", format=".1%"),
    ]
    drawn = alt.Chart(data(values))
    bands = [  # of one colour each: as part of the scale their pale colours would get into the legend
        alt.Chart(data([v for v in values if v["law"] == law]))
        .mark_area(opacity=0.13, interpolate="monotone", color=ink)
        .encode(x=x, y=_accuracy(ys, title, "low:Q"), y2="high:Q")
        for law, ink in (("power law", _POWER), ("beta law", _BETA))
    ]
    dots = alt.Chart(data([{"k": e.k, "y": e.accuracy} for e in points]))
    end = alt.Chart(data([{"k": laws[0].seen}]))
    return alt.layer(
        *bands,
        end.mark_rule(color="#777", strokeDash=[1, 3]).encode(x=x),
        drawn.mark_line(strokeWidth=1.8, interpolate="monotone").encode(
            x=x, y=y, color=colour, strokeDash=dash, tooltip=tooltip
        ),
        dots.mark_point(filled=True, size=32, color=_SEEN, opacity=1).encode(
            x=x, y=y, tooltip=[alt.Tooltip("k:Q"), alt.Tooltip("y:Q", title="coverage", format=".1%")]
        ),
    )


# --- difficulty

_DIFFICULTY = (
    "Problems in five bins by pass@1, hardest first (fewer bins where many are equally hard): what voting does and "
    "what could be had. Where pass@1 is low, majority often falls while coverage rises: more samples make it surer of "
    "a wrong answer. The bins are made by the same samples that are shown, so the outer ones look a little more "
    "extreme than they are."
)


def _difficulty(bins: Sequence[Bin]) -> dict[str, Any]:
    methods = ["majority", "coverage"] if any(b.majority for b in bins) else ["coverage"]
    style = _style(methods)
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1)
    colour = alt.Color("strategy:N", scale=alt.Scale(domain=style.names, range=style.colours), legend=legend)
    shape = alt.Shape("strategy:N", scale=alt.Scale(domain=style.names, range=style.shapes), legend=legend)
    most = max(b.ks[-1] for b in bins)
    rows = [list(some) for _, some in groupby(bins, key=lambda b: b.model)]
    height = _BIN_HEIGHT if len(rows) <= 2 else 0.65 * _BIN_HEIGHT
    lines = []
    for row, some in enumerate(rows):
        charts = []
        for i, b in enumerate(some):
            x = alt.X(
                "k:Q",
                title="Samples k" if row == len(rows) - 1 else None,
                scale=alt.Scale(type="log", domain=[0.85, most * 1.18], nice=False),
                axis=alt.Axis(values=_doublings(most, 4), format=",d", grid=False),
            )
            values = [
                {"strategy": method, "k": k, "y": y}
                for method, ys in (("majority", b.majority), ("coverage", b.coverage))
                for k, y in zip(b.ks, ys or (), strict=False)
            ]
            y = _accuracy((-0.04, 1.09), None if i else "Accuracy", labels=i == 0)
            tooltip = [alt.Tooltip("strategy:N", title="method"), alt.Tooltip("k:Q"), alt.Tooltip("y:Q", format=".1%")]
            drawn = alt.Chart(data(values))
            layers = alt.layer(
                drawn.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour),
                drawn.mark_point(filled=True, size=24, opacity=1).encode(
                    x=x, y=y, color=colour, shape=shape, tooltip=tooltip
                ),
            )
            head = alt.TitleParams(
                f"pass@1 {_span(b)}", subtitle=f"{b.problems} problem{'s' * (b.problems != 1)}", fontSize=11,
                subtitleFontSize=10.5, subtitleColor="#666", anchor="start", frame="group", fontWeight="normal",
            )  # fmt: skip
            charts.append(layers.properties(width=_BIN_WIDTH, height=height, title=head))
        name = alt.TitleParams(some[0].model, fontSize=12, fontWeight=600, anchor="start", offset=6)
        lines.append(alt.hconcat(*charts, spacing=10, **({"title": name} if len(rows) > 1 else {})))
    return dressed(alt.vconcat(*lines, spacing=14))


def _span(b: Bin) -> str:
    low, high = f"{100 * b.low:.0f}", f"{100 * b.high:.0f}"
    return f"{low} %" if low == high else f"{low}\N{EN DASH}{high} %"


# --- panels


def _columns(number: int) -> int:
    return min(number, 2 if number in (2, 4) else _COLUMNS)


def _lowest(i: int, number: int) -> bool:
    """Whether panel i is in the last row."""
    return i // _columns(number) == (number - 1) // _columns(number)


def _titled(chart: Any, model: str, large: bool = False) -> Any:
    width, height = (600, 380) if large else (_PANEL_WIDTH, _PANEL_HEIGHT)
    title = alt.TitleParams(model, fontSize=12, anchor="start", fontWeight=600, limit=width)
    return chart.properties(width=width, height=height, title=title)


def _accuracy(ys: tuple[float, float], title: str | None, field: str = "y:Q", labels: bool = True) -> alt.Y:
    return alt.Y(
        field,
        title=title,
        scale=alt.Scale(domain=list(ys), nice=False),
        axis=alt.Axis(format="%", tickCount=5, labels=labels, ticks=labels),
    )


def _few(ticks: Sequence[float], most: int = 4) -> list[float]:
    """Every second of them, or every third ..., so that a small panel can hold their numbers."""
    return list(ticks[:: -(-len(ticks) // most)])


def _doublings(most: int, ticks: int) -> list[int]:
    """Powers of 2 up to `most`, or of 4, 8 ..., so that they are no more than so many."""
    powers = most.bit_length()
    return [2**i for i in range(0, powers, -(-powers // ticks))]
