"""The report's pictures, with Vega-Lite: accuracy against cost, and tokens by purpose (extra `report`).

Import it only through `tts.reports.sweep`; `tts/reports/charts/pool.py` draws with the same tools. A chart is drawn
once as SVG and PNG, by vl-convert and without a network; the HTML page holds the SVG, which a script on the page then
replaces by the live chart with its tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import vl_convert

from tts.process.streams import visible
from tts.reports.charts import live as livecharts
from tts.reports.charts.vegalite import (
    VERSION,
    Spec,
    category,
    dressed,
    interval,
    layer,
    legend,
    logarithm,
    palette,
    quantity,
)
from tts.reports.html import render
from tts.runs.row import Row

# Okabe & Ito's colours that are dark enough on white; shapes tell series apart, too, in print and for all eyes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INKS = ("#00568A", "#A84800", "#00755A", "#A04A80", "#926400", "#25799F", "#000000")  # the same, dark enough for text
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")
FRONTIER_GREY = "#d2d2d2"
_FRONTIER = "frontier"
_SPENT = {"answers": "#33475B", "verifier": "#7FA7C9", "cancelled": "#E8B84A"}

_WIDTH, _HEIGHT = 640, 400
_ACCURACY = "Accuracy (95 % interval)"
_LABEL_PX = 12
TOKENS, DOLLARS = "~s", "$~g"  # formats of an axis's numbers
_CHARACTER_PX = 7.6  # of the semi-bold label font, on the wide side


class Picture(NamedTuple):
    """A finished chart: `name` of its files, heading and caption for the page."""

    name: str
    title: str
    caption: str
    spec: Spec

    def svg(self) -> str:
        return vl_convert.vegalite_to_svg(self.shown(), vl_version=VERSION)

    def shown(self) -> Spec:
        """`spec` with the control characters of its texts written out: no picture can hold them, and the library that
        draws ends the process for one."""
        spec: Spec = _visible(self.spec)
        return spec


def _visible(value: Any) -> Any:
    match value:
        case str():
            return visible(value)
        case dict():
            return {_visible(name): _visible(each) for name, each in value.items()}
        case list():
            return [_visible(each) for each in value]
    return value


def png_of(svg: str) -> bytes:
    """A picture at twice the screen's resolution."""
    return vl_convert.svg_to_png(svg, scale=2)


def pictures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the pictures that the rows allow: no accuracy chart without references, no chart at all without tokens."""
    found = []
    costs: list[tuple[str, str, Callable[[Row], float | None], Callable[[Row], bool], str]] = [
        ("accuracy", "Generated tokens per problem", lambda r: r.tokens, lambda r: r.on_frontier, TOKENS),
        (
            "sequential",
            "Sequential tokens per problem",
            lambda r: r.sequential_tokens,
            lambda r: r.on_sequential_frontier,
            TOKENS,
        ),
        ("dollars", "US dollars per problem", _usd(rows), lambda r: r.on_usd_frontier, DOLLARS),
    ]
    captions = (
        "Bars are 95 % intervals over problems. The grey step is the frontier: its owner's best cell so "
        "far, until another strategy beats it by more than noise (paired, 95 %); a cell above it is within the noise. "
        "Verification and cancelled samples are among the tokens.",
        "The same cells against the longest chain of tokens that had to be generated one after another, which is what "
        "a user waits for when there are servers enough.",
        "The same cells against what they cost, prompt tokens included. The grey step is the frontier in dollars.",
    )
    titles = ("Accuracy against cost", "Accuracy against waiting", "Accuracy against dollars")
    style = styles([row.series for row in rows])
    for (name, axis, cost, corner, form), title, caption in zip(costs, titles, captions, strict=True):
        points = _points(rows, cost, corner)
        if points:
            found.append(Picture(name, title, caption, scatter(points, axis, style, _TOOLTIP, form=form)))
    if any(row.tokens for row in rows):
        caption = (
            "Mean generated tokens per problem, cell by cell: samples that could answer, verification, and samples "
        )
        caption += "that were cancelled before they ended."
        found.append(Picture("spent", "What the tokens were spent on", caption, _spent(rows)))
    return found


def _usd(rows: Sequence[Row]) -> Callable[[Row], float | None]:
    """Dollars, if all rows know them: a frontier among some of the rows would flatter these."""
    known = all(row.usd is not None for row in rows)
    return lambda row: row.usd if known else None


def embedded(pictures: Sequence[Picture], svgs: Mapping[str, str], nothing: str) -> str:
    """Headings, captions and charts as HTML, with all the JavaScript they need inside (about 0.9 MB).

    Args:
        svgs: each picture's, by its name.
        nothing: the sentence where there are no pictures.
    """
    return render(
        "figures.html",
        pictures=pictures,
        nothing=nothing,
        svgs=svgs,
        script=livecharts.embed_script(VERSION) if pictures else "",
        specs={picture.name: picture.shown() for picture in pictures},
    )


class Point(NamedTuple):
    """A place in a scatter: on the line of `name`, `rank` places along it; `facts` are for its tooltip, and a `corner`
    is on the frontier."""

    name: str
    x: float
    y: float
    low: float
    high: float
    rank: float
    facts: Mapping[str, Any]
    corner: bool


class FrontierStep(NamedTuple):
    """A corner of the frontier: the best accuracy from this cost on."""

    x: float
    y: float


class Style(NamedTuple):
    """Colours for marks, darker ones for text, and shapes, by name."""

    names: list[str]
    colours: list[str]
    inks: list[str]
    shapes: list[str]


def styles(names: Sequence[str]) -> Style:
    """Styles by name, in the order in which the names first come."""
    once = list(dict.fromkeys(names))
    return Style(once, *([looks[i % len(looks)] for i in range(len(once))] for looks in (COLOURS, INKS, SHAPES)))


def _points(rows: Sequence[Row], cost: Callable[[Row], float | None], corner: Callable[[Row], bool]) -> list[Point]:
    """Rows that have a place on a logarithmic axis of costs."""
    found = []
    for row in rows:
        x, a = cost(row), row.accuracy
        if x and a is not None:
            low, high = (a.mean, a.mean) if a.low is None or a.high is None else (a.low, a.high)
            found.append(Point(row.series, x, a.mean, low, high, x, _facts(row), corner(row)))
    return found


def steps_of(points: Sequence[Point], end: float) -> list[FrontierStep]:
    """The frontier's corners, drawn on to `end`. The cheapest point is always one."""
    kept = sorted(FrontierStep(p.x, p.y) for p in points if p.corner)
    return [*kept, FrontierStep(end, kept[-1].y)]


def log_x(axis: str, xs: tuple[float, float], ticks: Sequence[float], form: str, title: bool = True) -> Spec:
    """The channel of costs."""
    return quantity(
        "x",
        title=f"{axis} (mean, log scale)" if title else None,
        scale=logarithm(*xs),
        axis={"values": list(ticks), "format": form, "grid": False},
    )


def scatter(points: Sequence[Point], axis: str, style: Style, tooltip: Sequence[Spec], *, form: str = TOKENS) -> Spec:
    """Lines of points with their intervals over a logarithmic axis of costs, each named beside it, and the frontier."""
    xs, ys = _x_domain(points), y_domain(points)
    x = log_x(axis, xs, log_ticks(*xs), form)
    y = quantity("y", title=_ACCURACY, scale=interval(*ys), axis={"format": "%", "tickCount": 6})
    place = {"x": x, "y": y}
    lines = {n: sorted((p for p in points if p.name == n), key=lambda p: p.rank) for n in style.names}
    lines = {n: line for n, line in lines.items() if line}
    steps = steps_of(points, xs[1])
    labels = _Plane(xs, ys).labels(lines, steps)
    direct = len(labels) == len(lines)
    names = None if direct else legend("right", symbolOpacity=1)
    layers = [
        frontier(steps, place, strokeWidth=6),
        _frontier_name(steps[-1], place),
        *_cells(points, place, style, names, tooltip),
        *(_names(labels, place, style) if direct else []),
    ]
    return dressed(
        {"layer": layers, "resolve": {"scale": {"color": "independent"}}, "width": _WIDTH, "height": _HEIGHT}
    )


def frontier(steps: Sequence[FrontierStep], place: Spec, strokeWidth: int) -> Spec:
    """The grey stair."""
    look = {"interpolate": "step-after", "color": FRONTIER_GREY, "strokeWidth": strokeWidth, "strokeCap": "round"}
    return layer("line", [step._asdict() for step in steps], place, **look)


def _frontier_name(last: FrontierStep, place: Spec) -> Spec:
    look = {"align": "right", "baseline": "bottom", "dy": -6, "color": "#8a8a8a", "fontSize": _LABEL_PX}
    return layer("text", [{**last._asdict(), "text": _FRONTIER}], {**place, "text": category("text")}, **look)


def _cells(
    points: Sequence[Point], place: Spec, style: Style, names: Spec | None, tooltip: Sequence[Spec]
) -> list[Spec]:
    """Intervals, lines and points, from the back to the front; `names` is their legend."""
    cells = [datum(p) for p in points]
    colour = category("strategy", scale=palette(style.names, style.colours), legend=names)
    shape = category("strategy", scale=palette(style.names, style.shapes), legend=names)
    bar = {"x": place["x"], "y": quantity("low", title=_ACCURACY), "y2": {"field": "high"}, "color": colour}
    point = {**place, "color": colour, "shape": shape, "tooltip": list(tooltip)}
    return [
        layer("errorbar", cells, bar, ticks={"size": 6}, opacity=0.45),
        layer("line", cells, {**place, "color": colour, "order": quantity("rank")}, strokeWidth=1.5),
        layer("point", cells, point, filled=True, size=80, opacity=1, stroke="white", strokeWidth=0.8),
    ]


def _names(labels: Sequence[Spec], place: Spec, style: Style) -> list[Spec]:
    """The strategies' names beside their lines, on a white rim."""
    text = {**place, "text": category("strategy")}
    colour = category("strategy", scale=palette(style.names, style.inks), legend=None)
    font = {"fontSize": _LABEL_PX, "fontWeight": 600, "align": "left", "baseline": "middle"}
    return [
        layer("text", labels, text, stroke="white", strokeWidth=4, strokeJoin="round", **font),
        layer("text", labels, {**text, "color": colour}, **font),
    ]


_TOOLTIP = [
    category("cell"),
    category("accuracy", title="accuracy"),
    quantity("tokens", format=",.0f"),
    quantity("sequential", title="sequential tokens", format=",.0f"),
    quantity("verifier", title="verifier tokens", format=",.0f"),
    quantity("cancelled", title="cancelled tokens", format=",.0f"),
    quantity("usd", title="USD", format=".3~g"),
    quantity("problems"),
]


def datum(p: Point) -> dict[str, Any]:
    """The point as Vega's data."""
    place: dict[str, Any] = {"strategy": p.name, "x": p.x, "y": p.y, "low": p.low, "high": p.high, "rank": p.rank}
    interval = f" [{p.low:.1%}, {p.high:.1%}]" if p.low < p.high else ""
    return {**place, "accuracy": f"{p.y:.1%}{interval}", **p.facts}


def _facts(row: Row) -> dict[str, Any]:
    return {
        "cell": row.cell,
        "tokens": row.tokens,
        "sequential": row.sequential_tokens,
        "verifier": row.verifier_tokens,
        "cancelled": row.cancelled_tokens,
        "usd": row.usd,
        "problems": row.problems,
    }


def _spent(rows: Sequence[Row]) -> Spec:
    strategies = list(dict.fromkeys(row.series for row in rows))
    drawn = sorted((r for r in rows if r.tokens), key=lambda r: strategies.index(r.series))
    values = []
    for row in drawn:
        verifier, cancelled = row.verifier_tokens or 0.0, row.cancelled_tokens or 0.0
        parts = {"answers": (row.tokens or 0.0) - verifier - cancelled, "verifier": verifier, "cancelled": cancelled}
        values += [
            {"cell": row.cell, "part": part, "order": i, "tokens": tokens}
            for i, (part, tokens) in enumerate(parts.items())
        ]
    parts = legend("top", symbolType="square")
    encoding = {
        "x": quantity("tokens", title="Generated tokens per problem (mean)", axis={"format": ",.0f", "tickCount": 6}),
        "y": category("cell", sort=[row.cell for row in drawn], title=None, axis={"labelLimit": 260}),
        "color": category("part", scale=palette([*_SPENT], [*_SPENT.values()]), legend=parts),
        "order": quantity("order"),
        "tooltip": [category("cell"), category("part"), quantity("tokens", format=",.0f")],
    }
    bars = layer("bar", values, encoding, height={"band": 0.78})
    return dressed({**bars, "width": _WIDTH - 60, "height": {"step": 17}})


def _x_domain(points: Sequence[Point]) -> tuple[float, float]:
    """Room for half a marker on the left, and for every line's name to the right of its last point."""
    left, right = 24.0, 2 * _CHARACTER_PX * len(_FRONTIER)
    low, high = math.log10(min(p.x for p in points)), math.log10(max(p.x for p in points))
    per_px = max(high - low, 0.3) / (_WIDTH - left - right)
    for p in points:
        room = _WIDTH - left - _CHARACTER_PX * len(p.name) - 14
        if room > _WIDTH / 2:
            per_px = max(per_px, (math.log10(p.x) - low) / room)
    return 10 ** (low - left * per_px), 10 ** (low + (_WIDTH - left) * per_px)


def y_domain(points: Sequence[Point]) -> tuple[float, float]:
    """The intervals with a little room; at least ten points of accuracy, so that noise is not blown up."""
    high = max(0.1, *(p.high for p in points))
    low = min(high - 0.1, *(p.low for p in points))
    room = 0.05 * (high - low)
    return low - room, high + room


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten inside the domain, more of them where these would be fewer than three; over
    more than three decades, only the powers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1,) if high / low >= 1000 else (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) >= 3:
            break
    return found


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def hits(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: _Box) -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


_FRAME = _Box(0, 0, _WIDTH, _HEIGHT)


class _Plane:
    """The plot's data and pixel coordinates; finds where the strategies' names can stand."""

    def __init__(self, xs: tuple[float, float], ys: tuple[float, float]) -> None:
        self._xs, self._ys = xs, ys

    def labels(self, lines: Mapping[str, Sequence[Point]], steps: Sequence[FrontierStep]) -> list[dict[str, Any]]:
        """One label near a point of every line: never on a point or another label, on as few strokes as possible.

        A line whose every place is taken gets no label; the caller then draws a legend.
        """
        end = self._pixel(steps[-1].x, steps[-1].y)
        solid = [_Box(end[0] - _CHARACTER_PX * len(_FRONTIER), end[1] - _LABEL_PX - 6, end[0], end[1])]
        strokes = self._stairs(steps)
        for points in lines.values():
            solid += [self._around(p) for p in points]
            strokes += [self._bar(p) for p in points] + [box for a, b in pairwise(points) for box in self._slope(a, b)]
        found = []
        for name, points in sorted(lines.items(), key=lambda line: -line[1][-1].y):
            width, half, best = _CHARACTER_PX * len(name), _LABEL_PX / 2 + 1, None
            for rank, p in enumerate(reversed(points)):
                for turn, (dx, dy) in enumerate(_offsets(width)):
                    x, y = self._pixel(p.x, p.y)
                    box = _Box(x + dx, y + dy - half, x + dx + width, y + dy + half)
                    if not box.within(_FRAME) or any(box.hits(other) for other in solid):
                        continue
                    cost = 2 * sum(box.hits(other) for other in strokes) + 2 * rank + turn / 10
                    if best is None or cost < best[0]:
                        best = cost, box
            if best is not None:
                solid.append(best[1])
                x, y = self._value(best[1].left, (best[1].top + best[1].bottom) / 2)
                found.append({"strategy": name, "x": x, "y": y})
        return found

    def _around(self, p: Point) -> _Box:
        x, y = self._pixel(p.x, p.y)
        return _Box(x - 6, y - 6, x + 6, y + 6)

    def _bar(self, p: Point) -> _Box:
        x, top = self._pixel(p.x, p.high)
        return _Box(x - 3, top, x + 3, self._pixel(p.x, p.low)[1])

    def _slope(self, a: Point, b: Point) -> list[_Box]:
        """The line between two points, as a chain of small boxes."""
        (x0, y0), (x1, y1) = self._pixel(a.x, a.y), self._pixel(b.x, b.y)
        count = 1 + int(math.hypot(x1 - x0, y1 - y0) / 6)
        middles = [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count)]
        return [_Box(x - 1, y - 1, x + 1, y + 1) for x, y in middles]

    def _stairs(self, steps: Sequence[FrontierStep]) -> list[_Box]:
        boxes = []
        for a, b in pairwise(steps):
            (x0, y0), (x1, y1) = self._pixel(a.x, a.y), self._pixel(b.x, b.y)
            boxes += [_Box(x0, y0 - 3, x1, y0 + 3), _Box(x1 - 3, y1, x1 + 3, y0)]
        return boxes

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self._xs, self._ys
        return _WIDTH * math.log(x / x0) / math.log(x1 / x0), _HEIGHT * (y1 - y) / (y1 - y0)

    def _value(self, left: float, top: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self._xs, self._ys
        return x0 * (x1 / x0) ** (left / _WIDTH), y1 - (y1 - y0) * top / _HEIGHT


def _offsets(width: float) -> list[tuple[float, float]]:
    """Places of a label's left end, seen from its point: right of it first, then above and below, then left."""
    heights = (0.0, -12.0, 12.0, -18.0, 18.0, -25.0, 25.0)
    right, left = [(10.0, dy) for dy in heights], [(-width - 10, dy) for dy in heights]
    return [*right, (-width / 2, -18.0), (-width / 2, 18.0), *left, *((26.0, dy) for dy in heights)]
