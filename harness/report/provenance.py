"""Reads the provenance of a run: configurations, patches, console logs, command lines.

Output of kernels is untrusted; it is truncated, and control characters are replaced.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.kconfig import parse_config
from harness.build.patches import flat_name
from harness.build.stack import annotate_stack
from harness.records import BootRecord
from harness.report.collect import RunReport
from harness.text import visible
from harness.verdict import Verdict

_CONSOLE_TAIL_BYTES = 65_536
_CONSOLE_LINES = 40
_LINE_CHARACTERS = 400
_PATCH_CHARACTERS = 65_536
_REASON_CHARACTERS = 2_000
_CONSOLES_SHOWN = 50  # of discarded boots; of others only the path of the log is shown


@dataclass(frozen=True)
class Discarded:
    """A boot without valid samples. `excerpts`: (title, text) of reports and the last lines."""

    number: int
    position: int
    kernel: str
    workload: str
    verdict: str
    reason: str
    started_at: str
    folder: str
    excerpts: Sequence[tuple[str, str]]


def discarded_boots(report: RunReport, folder: Path) -> list[Discarded]:
    """Return all boots without valid samples. `folder`: of the run."""
    booted = (Verdict.PASSED, Verdict.SKIPPED)
    left = [(n, b) for n, b in enumerate(report.boots) if b.verdict not in booted]
    found = []
    for place, (number, boot) in enumerate(left):
        excerpts = [
            (str(finding.get("name")), _excerpt(str(finding.get("excerpt", "")), boot))
            for finding in boot.facts.get("findings") or []
            if finding.get("severity") != "note"
        ]
        console = console_excerpt(folder / boot.folder / "console.log")
        if console and place < _CONSOLES_SHOWN:
            excerpts.append(("end of the console", _excerpt(console, boot)))
        found.append(
            Discarded(
                number=number + 1,
                position=boot.position + 1,
                kernel=report.job_of[boot.position].kernel,
                workload=report.job_of[boot.position].workload,
                verdict=boot.verdict.value,
                reason=visible(boot.reason)[:_REASON_CHARACTERS],
                started_at=boot.started_at,
                folder=boot.folder,
                excerpts=excerpts,
            )
        )
    return found


def console_excerpt(log: Path) -> str:
    """Return the end of a console log, unchanged; empty if the file is missing."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _CONSOLE_TAIL_BYTES))
            tail = file.read(_CONSOLE_TAIL_BYTES)
    except OSError:
        return ""
    return tail.decode("utf-8", errors="replace")


def _excerpt(log: str, boot: BootRecord) -> str:
    """Return the sanitised end of `log`, with source lines of its stack trace."""
    return _cut_lines(annotate_stack(log, boot.facts.get("stack") or {}))


def _cut_lines(text: str) -> str:
    lines = visible(text).rstrip().splitlines()[-_CONSOLE_LINES:]
    return "\n".join(
        line if len(line) <= _LINE_CHARACTERS else line[:_LINE_CHARACTERS] + " [cut]"
        for line in lines
    )


def command_lines(report: RunReport) -> dict[str, str]:
    """Return kernel -> command of its first boot, with one option per line."""
    found: dict[str, str] = {}
    for boot in report.boots:
        if argv := boot.facts.get("argv"):
            found.setdefault(report.job_of[boot.position].kernel, _one_option_a_line(argv))
    return found


def _one_option_a_line(argv: Sequence[str]) -> str:
    parts = [shlex.quote(visible(word)) for word in argv]
    return " ".join(f"\\\n  {word}" if word.startswith("-") else word for word in parts)


def config_diff(folder: Path, kernels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return symbol -> kernel -> value of the symbols in which stored configurations differ.

    The value is `-` for a kernel without the symbol. Empty if fewer than two are stored.
    """
    configs = {}
    for name in kernels:
        file = folder / "configs" / f"{name}.config"
        if file.is_file():
            configs[name] = parse_config(file.read_text(encoding="utf-8", errors="replace"))
    symbols = sorted({symbol for config in configs.values() for symbol in config})
    rows = {s: {name: config.get(s, "-") for name, config in configs.items()} for s in symbols}
    return {f"CONFIG_{s}": row for s, row in rows.items() if len(set(row.values())) > 1}


def kept_patches(folder: Path, names: Sequence[str]) -> Mapping[str, str]:
    """Return name -> text of the patches stored with the run."""
    found = {}
    for name in names:
        file = folder / "patches" / flat_name(name)
        if file.is_file():
            text = visible(file.read_text(encoding="utf-8", errors="replace"))
            cut = "\n[cut]" if len(text) > _PATCH_CHARACTERS else ""
            found[name] = text[:_PATCH_CHARACTERS] + cut
    return found
