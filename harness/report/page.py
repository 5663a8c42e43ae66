"""The page of one run: one file, no network, the same with and without JavaScript."""

import base64
import gzip
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.report import charts
from harness.report.collect import RunReport, as_document
from harness.report.environment import environment, visible
from harness.report.view import View, config_differences
from harness.verdict import Verdict

_CONSOLE_TAIL_BYTES = 65_536
_CONSOLE_LINES = 40
_LINE_CHARACTERS = 400


@dataclass(frozen=True)
class Discarded:
    """A boot that is no sample, or was tried again. `console`: its last lines, made harmless."""

    number: int
    position: int
    kernel: str
    workload: str
    verdict: str
    reason: str
    started_at: str
    folder: str
    console: str


def render_page(report: RunReport, folder: Path) -> str:
    """Return the page of a run. `folder` is the run's, where the console logs are."""
    view = View(report)
    figures = charts.draw_figures(view)
    samples = report.samples.drop(columns="run_id").to_csv(index=False)
    template = environment().get_template("page.html.j2")
    return template.render(
        view=view,
        run=report.run,
        plan=view.plan,
        figures=[(figure, Markup(figure.svg)) for figure in figures],  # noqa: S704 our own drawing
        several_sizes=len(view.sizes) > 1,
        discarded=discarded_boots(report, folder),
        boots=list(enumerate(report.boots)),
        kernel_of={job.position: job for job in report.jobs},
        machine=_machine(report),
        config_differences=config_differences(view),
        commands=_commands(report),
        samples_packed=_packed(samples),
        document_packed=_packed(json.dumps(as_document(report), default=str)),
    )


def discarded_boots(report: RunReport, folder: Path) -> list[Discarded]:
    """Return every boot without samples in the comparison, with the end of its console."""
    jobs = {job.position: job for job in report.jobs}
    return [
        Discarded(
            number=number,
            position=boot.position,
            kernel=jobs[boot.position].kernel if boot.position in jobs else "?",
            workload=jobs[boot.position].workload if boot.position in jobs else "?",
            verdict=boot.verdict.value,
            reason=visible(boot.reason)[:2000],
            started_at=boot.started_at,
            folder=boot.folder,
            console=console_excerpt(folder / boot.folder / "console.log"),
        )
        for number, boot in enumerate(report.boots)
        if boot.verdict is not Verdict.PASSED
    ]


def console_excerpt(log: Path) -> str:
    """Return the last lines of a console log, each cut; empty where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _CONSOLE_TAIL_BYTES))
            tail = file.read(_CONSOLE_TAIL_BYTES)
    except OSError:
        return ""
    lines = visible(tail.decode("utf-8", errors="replace")).splitlines()[-_CONSOLE_LINES:]
    return "\n".join(
        line if len(line) <= _LINE_CHARACTERS else line[:_LINE_CHARACTERS] + " [cut]"
        for line in lines
    )


def _machine(report: RunReport) -> Mapping[str, Any]:
    machines = (boot.facts.get("machine") for boot in report.boots)
    return next((machine for machine in machines if machine), {})


def _commands(report: RunReport) -> dict[str, str]:
    """Return the command line of the first boot of each kernel."""
    jobs = {job.position: job.kernel for job in report.jobs}
    found: dict[str, str] = {}
    for boot in report.boots:
        argv = boot.facts.get("argv")
        if argv:
            found.setdefault(jobs.get(boot.position, "?"), _wrapped(argv))
    return found


def _wrapped(argv: list[str]) -> str:
    words = [shlex.quote(word) for word in argv]
    return " ".join(f"\\\n  {word}" if word.startswith("-") else word for word in words)


def _packed(text: str) -> str:
    """Return text compressed for the page's script; the files beside the page hold it plain."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
