"""The Jinja environment of the templates, with filters that format values."""

import re

import jinja2
import pandas as pd
from markupsafe import Markup

from harness.analysis.wording import (
    NOTHING,
    base_workload,
    change,
    format_ratio,
    number,
    short_case,
    sweep_parameters,
    threads_text,
)
from harness.text import visible


def environment() -> jinja2.Environment:
    """Return the Jinja environment: escapes all values; None is rendered as nothing."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "format_ratio": format_ratio,
        "short_case": short_case,
        "ratio": lambda value: NOTHING if pd.isna(value) else f"{format_ratio(value)}x",
        "index": lambda value: NOTHING if pd.isna(value) else f"{value:.3f}",
        "change": change,
        "base_workload": base_workload,
        "sweep_parameters": sweep_parameters,
        "unbroken": unbroken,
        "threads": threads_text,
        "si": si,
        "duration": duration,
        "percent": lambda share: NOTHING if pd.isna(share) else f"{share * 100:.1f} %",
        "probability": lambda p: NOTHING if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "signed": signed,
        "plain": plain,
        "count_within": count_within,
        "share_within": share_within,
        "visible": visible,
    }
    return made


def count_within(found: tuple[float, float]) -> str:
    """Return a mean count and half the width of its interval, as "mean ± half"."""
    mean, reach = found
    return f"{mean:,.0f}" + ("" if pd.isna(reach) else f" ± {reach:,.0f}")


def share_within(found: tuple[float, float]) -> str:
    """Return a mean share and half the width of its interval, in percent."""
    mean, reach = found
    if pd.isna(mean):
        return NOTHING
    return f"{mean * 100:.1f}" + (" %" if pd.isna(reach) else f" ± {reach * 100:.1f} %")


def unbroken(text: str) -> Markup:
    """Return text as markup in which names with hyphens, like vmap-nodes, do not wrap."""
    parts = re.split(r"(\w+(?:-\w+)+)", text)
    named = Markup("<span class=name>{}</span>")
    return Markup("").join(named.format(p) if n % 2 else p for n, p in enumerate(parts))


def si(value: float) -> str:
    """Return a count with three significant digits and k, M or G."""
    if pd.isna(value):
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def duration(time_us: float) -> str:
    """Return a time given in microseconds, in a suitable unit."""
    if pd.isna(time_us):
        return NOTHING
    for limit, unit in ((1e6, "s"), (1e3, "ms")):
        if time_us >= limit:
            return f"{time_us / limit:.4g} {unit}"
    return f"{time_us:.4g} µs"


def signed(share: float) -> str:
    """Return a fraction in percent, with its sign."""
    rounded = round(share * 100)
    return f"{rounded:+d}\N{NO-BREAK SPACE}%" if rounded else "0\N{NO-BREAK SPACE}%"


def plain(value: float) -> str:
    """Return the sort key of a table cell: six significant digits, empty for NaN."""
    return "" if isinstance(value, jinja2.Undefined) or pd.isna(value) else f"{value:.6g}"
