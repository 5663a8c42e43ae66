"""Finds what a kernel printed on its console after its log was collected. Pure; linear."""

from harness.testmod.prefix import record_of

_START = "Linux version "  # the first words of a kernel


def late_lines(log: str, console: str) -> str:
    """Return what `console` has behind the last of its lines that `log` has too.

    A stamp makes a line unlike all others, and a console shows the lines in the log's order, so
    nothing is returned that `log` has. What a kernel says that starts later is left out, and so is
    a console that shows a start and no line of this log.
    """
    logged = {record_of(line) for line in log.splitlines()}
    late: list[str] = []
    started = False
    for line in reversed(console.splitlines()):
        record = record_of(line)
        if record[1] and record in logged:
            break
        if record[1].startswith(_START):
            late, started = [], True
        else:
            late.append(line)
    else:
        late = [] if started else late
    return "\n".join(reversed(late)).strip("\n")


def add_late_lines(log: str, console: str, source: str = "console") -> str:
    """Return `log` and, behind a mark of ours, the late lines of `console`."""
    late = late_lines(log, console)
    if not late.strip():
        return log
    end = "" if log.endswith("\n") else "\n"
    return f"{log}{end}---- vmapbench: later, on the {source}\n{late}\n"
