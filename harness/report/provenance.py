"""The provenance of a run: configurations, patches, consoles, command lines. Reads files.

What a kernel printed is hostile: it leaves here cut, and without control characters.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
_CONSOLES_SHOWN = 50  # of discarded boots; further ones name their log only
_CONFIG = re.compile(r"^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$", re.MULTILINE)


@dataclass(frozen=True)
class Discarded:
    """A boot that is no sample. `excerpts`: what the kernel reported and its last lines."""

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
    """Return every boot that was tried and gave no samples. `folder`: the run's."""
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
    """Return the end of a console log as it is; empty where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _CONSOLE_TAIL_BYTES))
            tail = file.read(_CONSOLE_TAIL_BYTES)
    except OSError:
        return ""
    return tail.decode("utf-8", errors="replace")


def _excerpt(log: str, boot: BootRecord) -> str:
    """Return the end of `log`, harmless, with the source lines that were found for its stack."""
    return _cut_lines(annotate_stack(log, boot.facts.get("stack") or {}))


def _cut_lines(text: str) -> str:
    lines = visible(text).rstrip().splitlines()[-_CONSOLE_LINES:]
    return "\n".join(
        line if len(line) <= _LINE_CHARACTERS else line[:_LINE_CHARACTERS] + " [cut]"
        for line in lines
    )


def command_lines(report: RunReport) -> dict[str, str]:
    """Return the command of the first boot of each kernel, an option a line."""
    found: dict[str, str] = {}
    for boot in report.boots:
        if argv := boot.facts.get("argv"):
            found.setdefault(report.job_of[boot.position].kernel, _one_option_a_line(argv))
    return found


def _one_option_a_line(argv: Sequence[str]) -> str:
    parts = [shlex.quote(visible(word)) for word in argv]
    return " ".join(f"\\\n  {word}" if word.startswith("-") else word for word in parts)


def parse_config(text: str) -> dict[str, str]:
    """Return a kernel configuration: symbol -> value, `n` where it is not set."""
    return {match[1] or match[3]: match[2] or "n" for match in _CONFIG.finditer(text)}


def config_diff(folder: Path, kernels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the symbols in which the kept configurations differ: symbol -> kernel -> value.

    A symbol that a kernel does not know is `-` there. Empty where fewer than two are kept.
    """
    configs = {}
    for name in kernels:
        file = folder / "configs" / f"{name}.config"
        if file.is_file():
            configs[name] = parse_config(file.read_text(encoding="utf-8", errors="replace"))
    symbols = sorted({symbol for config in configs.values() for symbol in config})
    rows = {s: {name: config.get(s, "-") for name, config in configs.items()} for s in symbols}
    return {s: row for s, row in rows.items() if len(set(row.values())) > 1}


def kept_patches(folder: Path, names: Sequence[str]) -> Mapping[str, str]:
    """Return the text of the patches that were kept with the run, by their names."""
    found = {}
    for name in names:
        file = folder / "patches" / flat_name(name)
        if file.is_file():
            text = visible(file.read_text(encoding="utf-8", errors="replace"))
            cut = "\n[cut]" if len(text) > _PATCH_CHARACTERS else ""
            found[name] = text[:_PATCH_CHARACTERS] + cut
    return found
