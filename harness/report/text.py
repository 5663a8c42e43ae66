"""Renders a run as text: for the terminal, for mail, and as Markdown."""

from collections.abc import Sequence

from harness.analysis.times import WHOLE_LOAD
from harness.analysis.wording import NOTHING, number, short_case, threads_text
from harness.report.environment import duration, si
from harness.report.lights import validity_lights
from harness.report.rows import Effect
from harness.report.view import View
from harness.text import visible, wrapped


def render_text(view: View, published: str = "") -> str:
    """Return the answer and a table of the ratios, 72 columns wide.

    `published`: a sentence to add after the answer.
    """
    lines = [*wrapped(view.verdict_sentence), *wrapped(published), ""]
    for heading, effects in _by_size(view):
        lines += [heading, *_aligned(_effect_rows(effects, view)), ""]
    lines += [*_remarks(view), f"Run {view.report.run.id}, vmapbench {view.report.run.harness}."]
    return _plain(lines)


def render_mail(view: View) -> str:
    """Return the results and how they were measured, for a patch mail, 72 columns wide."""
    host, plan = view.report.run.host, view.plan
    lines = [render_text(view), "", "Time of one pass, mean of the workers:", ""]
    lines += _aligned(_throughput_rows(view))
    lines += ["", *wrapped(f"Kernels: {', '.join(view.kernel_descriptions)}.")]
    target = f"{plan['target']['kind']}"
    lines += wrapped(
        f"Target: {target}. Host: {host.get('cpu') or 'unknown CPU'}, {host.get('cores')} cores, "
        f"Linux {host.get('kernel')}. Boots in seeded random order, seed {plan['seed']}."
    )
    return _plain(lines)


def render_markdown(view: View) -> str:
    """Return the answer, the table and the remarks as Markdown."""
    lines = [f"## {_escaped(view.verdict_sentence)}", ""]
    for heading, effects in _by_size(view):
        lines += [f"### {_escaped(heading.rstrip(':'))}", "", *_pipes(_effect_rows(effects, view))]
        lines.append("")
    lines += ["### Time of one pass, mean of the workers", "", *_pipes(_throughput_rows(view)), ""]
    lines += [
        f"- {_escaped(light.name)}: {_escaped(light.text)}" for light in validity_lights(view)
    ]
    lines += ["", f"Run `{view.report.run.id}`, vmapbench {view.report.run.harness}."]
    return _plain(lines)


def _plain(lines: Sequence[str]) -> str:
    """Return the lines as a text, with control characters made visible."""
    return visible("\n".join(lines)).replace(NOTHING, "-")


def _by_size(view: View) -> list[tuple[str, list[Effect]]]:
    """Return (heading, rows) for each workload, number of CPUs and of threads."""
    found: dict[tuple[str, int, int], list[Effect]] = {}
    for effect in view.main_effects:
        found.setdefault((effect.workload, effect.cpus, effect.nr_threads), []).append(effect)
    return [
        (f"{workload}, {cpus} CPUs, {threads_text(threads)}:", effects)
        for (workload, cpus, threads), effects in found.items()
    ]


def _effect_rows(effects: Sequence[Effect], view: View) -> list[list[str]]:
    several = len(view.kernels) > 2
    rows = [["case", *(["kernel"] if several else []), "ratio", "95 % interval", "verdict"]]
    for effect in effects:
        name = effect.case if effect.case == WHOLE_LOAD else short_case(effect.case)
        interval = f"{number(effect.low)} - {number(effect.high)}"
        kernel = [view.label(effect.kernel)] if several else []
        rows.append([name, *kernel, f"{number(effect.ratio)}x", interval, effect.word])
    return rows


def _throughput_rows(view: View) -> list[list[str]]:
    rows = [["case", "kernel", "threads", "time", "loops/s"]]
    for row in view.throughputs:
        time = duration(row.avg_us).replace("µ", "u")
        threads = str(row.nr_threads)
        rows.append([short_case(row.case), view.label(row.kernel), threads, time, si(row.per_s)])
    return rows


def _remarks(view: View) -> list[str]:
    """Return a line for each remark and failed check of validity."""
    lines = []
    for light in validity_lights(view):
        if light.state != "ok":
            lines += wrapped(f"{light.name}: {light.text}.")
    return [*lines, ""] if lines else []


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as aligned lines; numeric columns are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [any(cell[:1].isdigit() for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def _pipes(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = [[_escaped(cell) for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in body]
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *lines]


def _escaped(text: str) -> str:
    """Return text with Markdown and HTML markup escaped."""
    marks = "\\`*_[]<>|#"
    return "".join(f"\\{c}" if c in marks else c for c in text.replace("\n", " "))
