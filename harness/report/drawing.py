"""Draws the page's charts: Altair describes them, vl-convert renders SVG, which is inlined.

Colours are placeholders that `draw` replaces by CSS variables of the page, so that a drawing works
in light mode, dark mode and print.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert as vlc

from harness.text import one_line, visible

WIDTH = 860
_COLUMN_GAP = 70  # for axis and title, between adjacent charts

# Placeholder -> CSS variable, see templates/style.css.
_VARIABLES = {
    "#010101": "--ink",
    "#020202": "--soft",
    "#030303": "--rule",
    "#040404": "--better",
    "#050505": "--worse",
    "#060606": "--neutral",
    "#0a0a00": "--series-0",
    "#0a0a01": "--series-1",
    "#0a0a02": "--series-2",
    "#0a0a03": "--series-3",
    "#0a0a04": "--series-4",
    "#0a0a05": "--series-5",
}
INK, SOFT, RULE, BETTER, WORSE, NEUTRAL, *SERIES = _VARIABLES
_SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "triangle-down"]
_FONT = "DejaVu Sans, sans-serif"  # the widest of the common fonts, so that labels fit


class DrawingError(Exception):
    """A chart cannot be drawn. The message is that of the drawing library."""


@dataclass(frozen=True)
class Figure:
    """A chart with its texts. `reading`: how to read it; `summary`: text alternative; `svg`: safe
    markup.
    """

    name: str
    title: str
    reading: str
    summary: str
    svg: str


def by_kernel(
    kernels: Sequence[str], label: Callable[[str], str], shown: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the encodings of kernels by colour and shape.

    `label`: returns the displayed name of a kernel; `shown`: kernels in the legend; if empty there
    is no legend.
    """
    colours = [SERIES[n % len(SERIES)] for n in range(len(kernels))]
    shapes = [_SHAPES[n % len(_SHAPES)] for n in range(len(kernels))]
    domain = list(kernels)
    values = domain if shown is None else list(shown)
    names = f"{json.dumps({name: label(name) for name in kernels})}[datum.value]"
    legend = alt.Legend(
        title=None, orient="top", symbolOpacity=1, symbolSize=70, values=values, labelExpr=names
    )
    return {
        "color": alt.Color(
            "kernel:N", scale=alt.Scale(domain=domain, range=colours), legend=legend
        ),
        "shape": alt.Shape("kernel:N", scale=alt.Scale(domain=domain, range=shapes), legend=legend),
    }


def column_width(columns: int) -> float:
    """Return the width in pixels of each of `columns` adjacent charts."""
    return (WIDTH + _COLUMN_GAP) / columns - _COLUMN_GAP


def log_ticks(values: Sequence[float], steps: Sequence[int] = (1, 2, 5)) -> list[float]:
    """Return round values (1, 2, 5, 10 ...) for the ticks of a logarithmic axis with `values`."""
    known = [value for value in values if value and value > 0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return [step * 10.0**power for power in range(low, high + 1) for step in steps]


def columns_for(charts: int) -> int:
    """Return the number of small charts per row."""
    return 2 if charts == 4 else min(3, charts)


def facetted(chart: Any, field: str, order: Sequence[str], shared_y: bool = False) -> Any:
    """Return a chart split by `field` into small charts, each with its own axes.

    `order`: of the values of `field`; `shared_y`: all have the same y axis.
    """
    split = alt.Facet(f"{field}:N", title=None, sort=list(order))
    small = chart.facet(facet=split, columns=columns_for(len(order)))
    small = small.resolve_axis(x="independent", y="independent")
    return small if shared_y else small.resolve_scale(y="independent")


def draw(chart: Any) -> str:
    """Return a chart as SVG markup for the page. Raises DrawingError."""
    axis = {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelPadding": 6,
    }
    config = {
        "font": _FONT,
        "axis": axis,
        "axisX": {"grid": False},
        "view": {"stroke": None},
        "legend": {"labelColor": INK, "labelFontSize": 12},
        "header": {"labelColor": INK, "labelFontSize": 12, "labelFontWeight": 600},
    }
    spec = chart.to_dict() | {"background": None, "config": config}
    try:
        return _inlined(vlc.vegalite_to_svg(_clean(spec)))
    except BaseException as error:  # a panic of vl-convert is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise DrawingError(one_line(f"{type(error).__name__}: {error}", 200)) from error


def _clean(value: Any) -> Any:
    """Return `value` with control characters in strings made visible; vl-convert fails on them."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return value


def _inlined(svg: str) -> str:
    """Return the SVG scalable, with the page's colours, and hidden from screen readers."""
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    svg = re.sub(r' (role|aria-[a-z]+|xmlns:xlink|font-family|class)="[^"]*"', "", svg)
    svg = _small(svg)
    opening = re.search(r"<svg[^>]*>", svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert opening
    assert size
    head = (
        f'<svg viewBox="0 0 {size[1]} {size[2]}" style="width:{float(size[1]):.0f}px"'
        ' aria-hidden="true" focusable="false">'
    )
    return head + svg[opening.end() :]


def _small(svg: str) -> str:
    """Return the SVG without redundant parts: empty elements, defaults, decimals."""
    svg = re.sub(r' (opacity="1"|pointer-events="none"|stroke-width="1"|d="")', "", svg)
    svg = re.sub(r'<path( display="none")?/>|<g></g>', "", svg)
    tenths = re.compile(r"-?\d+\.\d{2,}")
    return re.sub(r"<[^>]*>", lambda tag: tenths.sub(lambda n: f"{float(n[0]):.1f}", tag[0]), svg)
