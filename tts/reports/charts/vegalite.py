"""Parts of Vega-Lite specifications, as plain dicts (https://vega.github.io/vega-lite/docs/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]

VERSION = "6.4"  # one of those that vl-convert brings along
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name by which vega-embed tells Vega-Lite from Vega

_FONT = "Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"
_CONFIG: Spec = {
    "font": _FONT,
    "background": "white",
    "padding": 8,
    "view": {"stroke": None},
    "axis": {
        "domainColor": "#333",
        "tickColor": "#333",
        "gridColor": "#ececec",
        "labelColor": "#222",
        "labelFontSize": 12,
        "titleFontSize": 12.5,
        "titleFontWeight": "normal",
        "titlePadding": 10,
    },
    "legend": {"labelFontSize": 12, "labelLimit": 0},
}


def dressed(chart: Spec) -> Spec:
    """The whole specification: a chart with the colours, lines and fonts of a report."""
    return {"$schema": _SCHEMA, "config": _CONFIG, **chart}


def layer(mark: str, values: Sequence[Mapping[str, Any]], encoding: Spec, **look: Any) -> Spec:
    """Marks of one kind, drawn of `values`.

    Args:
        look: the marks' properties, as `strokeWidth`.
    """
    return {"data": {"values": list(values)}, "mark": {"type": mark, **look}, "encoding": encoding}


def quantity(field: str, **more: Any) -> Spec:
    """A channel of numbers. None as `title`, `axis` or `legend` is Vega-Lite's null: there is to be none."""
    return {"field": field, "type": "quantitative", **more}


def category(field: str, **more: Any) -> Spec:
    """A channel of names."""
    return {"field": field, "type": "nominal", **more}


def palette(names: Sequence[str], looks: Sequence[Any]) -> Spec:
    """The scale that gives each name its colour, shape or dash."""
    return {"domain": list(names), "range": list(looks)}


def logarithm(low: float, high: float) -> Spec:
    """A logarithmic scale from `low` to `high`."""
    return {"type": "log", "domain": [low, high], "nice": False}


def interval(low: float, high: float) -> Spec:
    """A linear scale from `low` to `high`."""
    return {"domain": [low, high], "nice": False}


def legend(orient: str, **more: Any) -> Spec:
    """A legend without a title."""
    return {"title": None, "orient": orient, **more}
