"""The picture of a shared budget's tokens: problem by problem, with the reason why each got no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any

from tts.reports.charts.sweep import Picture
from tts.reports.charts.vegalite import Spec, category, dressed, interval, legend, palette, quantity
from tts.runs.outcomes import Outcome

# Reason why a problem got no more -> colour, in the legend's order. Grey: it would have taken more at the budget's end.
ENDS = {
    "solved": "#009E73",
    "saturated": "#0072B2",
    "priced out": "#56B4E9",
    "abandoned": "#D55E00",
    "full": "#CC79A7",
    "late": "#E69F00",
    "budget ended": "#9A9A9A",
}
OWN_ENDS = ("#F0E442", "#8C564B", "#332288", "#44AA99", "#882255")  # for reasons that an allocator made up itself
OTHER_END = "other reasons"  # for those without a colour
MOST_CELLS = 8
MOST_BARS = 160  # of one cell: more problems are drawn as means of neighbours
_WIDTH, _HEIGHT = 640, 110


def allocation(outcomes: Sequence[Outcome]) -> Picture | None:
    """Make the picture; None if no cell's budget was divided by an allocator."""
    cells: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.allocator and outcome.error is None:
            cells[outcome.cell].append(outcome)
    if not cells:
        return None
    drawn = list(cells)[:MOST_CELLS]
    caption = (
        "Generated tokens of each problem, the mean over seeds, most first; coloured by why the allocator gave it no "
        "more. Grey problems would have taken more when the budget ended."
    )
    if len(cells) > len(drawn):
        caption += f" The first {len(drawn)} of {len(cells)} cells."
    colours = _colours({o.stopped for cell in drawn for o in cells[cell]} - {""})
    values = [bar for cell in drawn for bar in _bars(cell, cells[cell], list(colours))]
    return Picture("allocation", "Where the tokens went", caption, _chart(values, drawn, colours))


def _colours(reasons: Set[str]) -> dict[str, str]:
    """Colours by end, in the legend's order. An allocator may give any reason in words; the first few of these have
    colours of their own."""
    own = dict(zip(sorted(reasons - ENDS.keys()), OWN_ENDS, strict=False))
    return own | {OTHER_END: "#444444"} | ENDS


def _bars(cell: str, outcomes: Sequence[Outcome], ends: Sequence[str]) -> list[dict[str, Any]]:
    """A bar for each problem and end, its height the tokens per seed; problems are in the order of their tokens."""
    seeds = len({o.seed for o in outcomes})
    tokens: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for o in outcomes:
        end = o.stopped or "budget ended"
        tokens[o.problem_id][end if end in ends else OTHER_END] += o.tokens / seeds
    ranked = sorted(tokens.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    size = -(-len(ranked) // MOST_BARS)
    bars: list[dict[str, Any]] = []
    for place in range(-(-len(ranked) // size)):
        group = ranked[place * size : (place + 1) * size]
        names = group[0][0] if len(group) == 1 else f"{group[0][0]} and {len(group) - 1} more"
        left = place * size + 0.5
        base = 0.0
        for end, mean in _mean([found for _, found in group], ends).items():
            bar = {"left": left, "right": left + 0.9 * len(group), "base": base, "top": base + mean}
            bars.append({"cell": cell, "problem": names, "end": end, "tokens": mean, **bar})
            base += mean
    return bars


def _mean(groups: Sequence[Mapping[str, float]], ends: Sequence[str]) -> dict[str, float]:
    return {end: sum(g.get(end, 0.0) for g in groups) / len(groups) for end in ends if any(end in g for g in groups)}


def _chart(values: list[dict[str, Any]], cells: Sequence[str], colours: Mapping[str, str]) -> Spec:
    ends = [end for end in colours if any(value["end"] == end for value in values)]
    last = max(value["right"] for value in values)
    encoding = {
        "x": quantity(
            "left",
            title="Problems, by their tokens",
            scale=interval(0.5, last),
            axis={"format": ",.0f", "grid": False},
        ),
        "x2": {"field": "right"},
        "y": quantity("base", title=None, axis={"format": "~s", "tickCount": 4}),
        "y2": {"field": "top"},
        "color": category(
            "end", scale=palette(ends, [colours[end] for end in ends]), legend=legend("top", symbolType="square")
        ),
        "tooltip": [category("problem"), category("end"), quantity("tokens", format=",.0f")],
    }
    header = {"title": None, "labelAnchor": "start", "labelFontSize": 12, "labelLimit": _WIDTH, "labelOrient": "top"}
    return dressed(
        {
            "data": {"values": values},
            "facet": {"row": category("cell", sort=list(cells), header=header)},
            "spec": {"mark": "rect", "encoding": encoding, "width": _WIDTH, "height": _HEIGHT},
            "spacing": 14,
        }
    )
