"""Renders a run as a table for a mail, of at most 78 columns; a row per case and parameters.

`harness.testmod.posted` parses it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.analysis.judging import Word
from harness.analysis.wording import short_case, threads_text
from harness.report.environment import duration
from harness.report.lights import validity_lights
from harness.report.rows import Effect
from harness.report.view import View
from harness.testmod.workload import DEFAULTS
from harness.text import visible, wrapped

COLUMNS = 78
_MARKS = {Word.FASTER: "(I)", Word.SLOWER: "(R)"}


def render_list(view: View) -> str:
    """Return the table of each kernel and size, and notes on how it was measured."""
    lines: list[str] = []
    for heading, effects in _blocks(view):
        lines += [*_lines(heading), "", *_table(effects, view), ""]
    if not lines:
        lines = [*_lines(view.verdict_sentence), ""]
    return visible("\n".join([*lines, *_notes(view)]))


def _blocks(view: View) -> Iterator[tuple[str, list[Effect]]]:
    found: dict[tuple[str, int, int], list[Effect]] = {}
    for effect in view.main_effects:
        found.setdefault((effect.kernel, effect.cpus, effect.nr_threads), []).append(effect)
    for (kernel, cpus, threads), effects in found.items():
        sides = f"{view.label(kernel)} against {view.label(view.baseline)}"
        yield f"{sides}, {cpus} CPUs, {threads_text(threads)}", effects


def _table(effects: Sequence[Effect], view: View) -> list[str]:
    parameters = {job.workload: job.parameters for job in view.report.jobs}
    times = {
        (row.workload, row.case, row.nr_threads, row.cpus): row.avg_us
        for row in view.throughputs
        if row.kernel == view.baseline
    }
    rows = [["case, pages, huge, loops", _short(view.label(view.baseline)), "change", "95 %"]]
    for effect in effects:
        key = (effect.workload, effect.case, effect.nr_threads, effect.cpus)
        time = duration(times.get(key, math.nan)).replace("\N{MICRO SIGN}", "u").replace("µ", "u")
        rows.append(
            [
                f"{short_case(effect.case)} {point_text(parameters[effect.workload])}",
                time.replace("\N{EN DASH}", "-"),
                _change(effect),
                f"{_percent(1 / effect.high)} .. {_percent(1 / effect.low)}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + 2 * len(widths) > COLUMNS:  # long names: intervals are below the table
        below = [f"  95 %: {row[0]}  {row[3]}" for row in rows[1:]]
        return [_line(row[:3], widths[:3]) for row in rows] + ["", *below]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    return f"  {first.strip().ljust(widths[0])}  {'  '.join(rest)}".rstrip()


def point_text(parameters: Mapping[str, Any]) -> str:
    """Return nr_pages, use_huge and loops of a load as "p:1 h:0 l:4000"."""
    given = {**DEFAULTS, **parameters}
    huge = given["use_huge"] in (True, 1, "1", "y", "Y", "true", "True")
    return f"p:{max(1, int(given['nr_pages']))} h:{int(huge)} l:{given['test_loop_count']}"


def _change(effect: Effect) -> str:
    mark = next((mark for word, mark in _MARKS.items() if effect.word == word), "   ")
    return f"{mark} {_percent(1 / effect.ratio):>7} %"


def _percent(factor: float) -> str:
    """Return the change of the time by a factor, in percent with its sign."""
    value = (factor - 1) * 100
    return f"{value:+.1f}" if abs(value) < 1000 else f"{value:+.0f}"


def _short(label: str) -> str:
    return label if len(label) <= 10 else f"{label[:9]}~"


def _notes(view: View) -> list[str]:
    """Return notes on sign, boots, machine and kernels, and failed checks of validity."""
    boots = sorted({n for e in view.main_effects for n in (e.boots, e.boots_baseline)})
    count = " to ".join(dict.fromkeys(map(str, boots[:1] + boots[-1:]))) or "none"
    host, target = view.report.run.host, view.plan["target"]
    where = f"{target['kind']} target"
    if view.simulated:
        where = f"virtual time, simulated {view.simulated}"
    machine = f"{host.get('cpu') or 'unknown CPU'}, {host.get('cores')} cores"
    lines = _lines(
        "Change of the time, positive is slower; (R) regression and (I) improvement where it is "
        f"significant (95 %, corrected for the number of rows). Boots of each side: {count}. "
        "p: nr_pages, h: use_huge, l: test_loop_count."
    )
    lines += _lines(f"Machine: {where}; host {machine}.")
    lines += _lines(f"Kernels: {', '.join(view.kernel_descriptions)}.")
    for light in validity_lights(view):
        if light.state != "ok" and light.name != "Machine":  # already in the notes
            lines += _lines(f"{light.name}: {light.text}.")
    return [*lines, f"vmapbench {view.report.run.harness}, run {view.report.run.id}"]


def _lines(text: str) -> list[str]:
    return wrapped(text, columns=COLUMNS)
