"""Draws flame graphs of extra boots, and differences to the baseline."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from harness.targets.explanation import BootAccount, Stack

_WIDTH, _ROW = 960, 17  # width of the graph and height of a row, in pixels
_LEAST = 1.5  # pixels, below which a frame is not drawn
_CHARACTER = 6.6  # width of a character in pixels


@dataclass
class StackFrame:
    """A function in a call stack, with its CPU time in ns, and the functions that it called."""

    cpu_ns: int = 0
    called: dict[str, "StackFrame"] = field(default_factory=dict)


def frames_of(stacks: Iterable[Stack]) -> StackFrame:
    """Return the tree of all stacks; the root has the total CPU time."""
    root = StackFrame()
    for stack in stacks:
        frame = root
        frame.cpu_ns += stack.cpu_ns
        for name in stack.functions:
            frame = frame.called.setdefault(name, StackFrame())
            frame.cpu_ns += stack.cpu_ns
    return root


def flame_graph(account: BootAccount, against: BootAccount | None = None) -> Markup:
    """Return a flame graph as SVG, empty without stacks. Callees are above their callers.

    With `against`, functions with more CPU time than there are red and those with less are blue.
    """
    root = frames_of(account.stacks)
    if not root.cpu_ns:
        return Markup()
    other = frames_of(against.stacks) if against else None
    shapes: list[str] = []
    rows = _draw(shapes, "all", root, other, 0.0, 0, root.cpu_ns, against is not None)
    height = _ROW * rows
    return Markup(  # noqa: S704
        f'<svg viewBox="0 {-height} {_WIDTH} {height}" role="img" aria-label="Flame graph" '
        f'width="100%" font-family="monospace" font-size="11">{"".join(shapes)}</svg>'
    )


def _draw(
    shapes: list[str],
    name: str,
    frame: StackFrame,
    other: StackFrame | None,
    left: float,
    row: int,
    whole: int,
    compared: bool,
) -> int:
    """Append a frame and those above it to `shapes`; return the number of rows used."""
    width = frame.cpu_ns / whole * _WIDTH
    if width < _LEAST:
        return row
    change = frame.cpu_ns - (other.cpu_ns if other else 0)
    said = f"{name}: {frame.cpu_ns / 1e6:.3f} ms"
    said += f", {change / 1e6:+.3f} ms" if compared else ""
    text = name[: max(0, int((width - 4) / _CHARACTER))]
    colour = _colour(change / whole) if compared else "#f2b66d"
    shapes.append(
        f'<g transform="translate({left:.1f},{-(row + 1) * _ROW})">'
        f"<title>{escape(said)}</title>"
        f'<rect width="{width:.1f}" height="{_ROW - 1}" fill="{colour}"/>'
        f'<text x="2" y="12" fill="#111">{escape(text)}</text></g>'
    )
    rows = row + 1
    for called, above in sorted(frame.called.items()):
        those = other.called.get(called) if other else None
        rows = max(rows, _draw(shapes, called, above, those, left, row + 1, whole, compared))
        left += above.cpu_ns / whole * _WIDTH
    return rows


def _colour(change: float) -> str:
    """Return red for more time and blue for less, more intense for a larger share."""
    strength = min(1.0, abs(change) * 5)
    faded = round(235 - 130 * strength)
    return f"#eb{faded:02x}{faded:02x}" if change > 0 else f"#{faded:02x}{faded:02x}eb"


def flame_graphs(found: Mapping[str, BootAccount]) -> list[tuple[str, str, Markup]]:
    """Return (kernel, baseline or empty, SVG): one per kernel, then the differences."""
    rows = [(kernel, "", flame_graph(each)) for kernel, each in found.items()]
    for first, base in list(found.items())[:1]:
        others = list(found.items())[1:]
        rows += [(kernel, first, flame_graph(each, base)) for kernel, each in others]
    return [row for row in rows if row[2]]
