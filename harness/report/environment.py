"""The templates' surroundings: where they are, and how values are written in them."""

import re

import jinja2
import pandas as pd

from harness.report.view import NOTHING, interval_words, number, short_case, threads_words

# Terminal sequences, control characters but tab and newline, and what turns the writing direction.
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def environment() -> jinja2.Environment:
    """Return what renders the templates: escapes everything, refuses undefined names."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "short_case": short_case,
        "interval": interval_words,
        "threads": threads_words,
        "si": si,
        "duration": duration,
        "percent": lambda share: NOTHING if pd.isna(share) else f"{share:.1%}",
        "probability": lambda p: NOTHING if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "visible": visible,
    }
    return made


def si(value: float) -> str:
    """Return a count with three figures and k, M or G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def duration(time_us: float) -> str:
    """Return a time in the unit that suits it."""
    for limit, unit in ((1e6, "s"), (1e3, "ms")):
        if time_us >= limit:
            return f"{time_us / limit:.4g} {unit}"
    return f"{time_us:.4g} µs"


def visible(text: str) -> str:
    """Return text without terminal sequences, control characters and direction overrides."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
