"""Renders the result of a gate as text, JSON, KTAP and JUnit XML."""

import io
import json
from collections.abc import Callable, Mapping, Sequence

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.run.gate import GateRow
from harness.testmod.verdicts import Finding
from harness.text import escaped, escaped_line
from harness.verdict import Verdict

Rows = Sequence[GateRow]
_REPORT_LINES = 12  # of a finding in the text format


def as_text(kernel: str, rows: Rows) -> str:
    """Return a line per check, with the first lines of the kernel's reports."""
    lines = []
    for row in rows:
        reason = f": {escaped_line(row.reason)}" if row.reason else ""
        lines.append(f"{row.check.name:<9} {row.verdict}{reason}")
        for finding in row.findings[:3]:
            report = finding.excerpt.splitlines()[:_REPORT_LINES] or [""]
            lines += [f"    {escaped_line(line)}" for line in report]
        for finding in row.elsewhere:
            first = "".join(finding.excerpt.splitlines()[:1])
            lines.append(f"    ignored, as it does not concern vmalloc: {escaped_line(first)}")
        if not row.good:
            lines.append(f"    logs: {row.folder}")
    bad = [row.check.name for row in rows if not row.good]
    answer = f"{kernel} fails: {', '.join(bad)}" if bad else f"{kernel} passes"
    return "\n".join([answer, *lines])


def as_json(kernel: str, rows: Rows) -> str:
    """Return the result as JSON; findings are as in the kernel log."""
    checks = [
        {
            "check": row.check.name,
            "looks_for": row.check.what,
            "verdict": row.verdict.value,
            "reason": row.reason,
            "findings": [_finding(each) for each in row.findings],
            "elsewhere": [_finding(each) for each in row.elsewhere],
            "folder": str(row.folder),
        }
        for row in rows
    ]
    good = all(row.good for row in rows)
    return json.dumps({"version": 1, "kernel": kernel, "passed": good, "checks": checks}, indent=2)


def _finding(finding: Finding) -> dict[str, str | int]:
    return {"name": finding.name, "line": finding.line, "report": finding.excerpt}


def as_ktap(kernel: str, rows: Rows) -> str:
    """Return the result as KTAP version 1, a test per check."""
    lines = ["KTAP version 1", f"# kernel: {escaped_line(kernel)}", f"1..{len(rows)}"]
    for number, row in enumerate(rows, start=1):
        lines += [f"# {escaped_line(line)}" for line in row.reason.splitlines()]
        skipped = " # SKIP" if row.verdict is Verdict.SKIPPED else ""
        lines.append(f"{'' if row.good else 'not '}ok {number} {row.check.name}{skipped}")
    return "\n".join(lines)


def as_junit(kernel: str, rows: Rows) -> str:
    """Return the result as JUnit XML: a suite with a test case per check."""
    suite = TestSuite(escaped(f"gate.{kernel}"))
    for row in rows:
        case = TestCase(row.check.name, classname=escaped(f"vmapbench.gate.{kernel}"))
        if row.verdict is Verdict.SKIPPED:
            case.result = [Skipped(escaped(row.reason))]
        elif not row.good:
            kind = Error if row.verdict is Verdict.INCOMPLETE else Failure
            case.result = [kind(escaped(f"{row.verdict}: {row.reason}"), type_=row.verdict.value)]
            case.system_out = escaped("\n\n".join(each.excerpt for each in row.findings))
        suite.add_testcase(case)
    document = JUnitXml()
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    stream = io.BytesIO()
    document.write(stream)
    return stream.getvalue().decode()


FORMATS: Mapping[str, Callable[[str, Rows], str]] = {
    "text": as_text,
    "json": as_json,
    "ktap": as_ktap,
    "junit": as_junit,
}
