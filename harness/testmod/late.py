"""Finds what a kernel printed on its console after its log was collected. Pure; linear."""

from harness.testmod.prefix import record_of

_START = "Linux version "  # in the first line of a kernel


def late_lines(log: str, console: str) -> str:
    """Return the lines of `console` after the last one that is also in `log`.

    Time stamps make lines unique, and a console has the order of the log, so that no returned line
    is in `log`. Lines of a kernel that starts later are left out, as is a console with the start of
    a kernel and no line of this log.
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
    """Return `log` with the late lines of `console` appended after a marker line."""
    late = late_lines(log, console)
    if not late.strip():
        return log
    end = "" if log.endswith("\n") else "\n"
    return f"{log}{end}---- vmapbench: later, on the {source}\n{late}\n"
