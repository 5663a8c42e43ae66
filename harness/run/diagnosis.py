"""Diagnoses a run of which no boot reaches init. Pure.

Without it the whole plan would be spent on timeouts.
"""

from collections.abc import Sequence

from harness.records import BootRecord, JobRecord
from harness.verdict import Verdict

ENOUGH = 2  # boots that failed like this, without one that did not
_LINE_CHARACTERS = 160


def no_boot_diagnosis(jobs: Sequence[JobRecord], boots: Sequence[BootRecord]) -> str:
    """Return what was seen and what to suspect; empty unless all of `ENOUGH` boots failed alike."""
    tried = [boot for boot in boots if boot.verdict.final and "reached_init" in boot.facts]
    if len(tried) < ENOUGH or any(boot.facts["reached_init"] for boot in tried):
        return ""
    names = {job.position: job.kernel for job in jobs}
    kernels = list(dict.fromkeys(names[boot.position] for boot in tried))
    return "; ".join(
        [
            f"none of the {len(tried)} boots tried reached init; the others were skipped",
            *{boot.reason: _seen(boot) for boot in reversed(tried)}.values(),
            _suspect(kernels, one_of_several=len(set(names.values())) > 1),
            *_checks(tried),
        ]
    )


def _seen(boot: BootRecord) -> str:
    last = str(boot.facts.get("last_line", ""))[:_LINE_CHARACTERS]
    reason = boot.reason.partition("\n")[0]
    if boot.verdict is not Verdict.NO_BOOT:
        return reason
    return f"{reason}, last line {last!r}" if last else f"{reason}, nothing on the console"


def _suspect(kernels: Sequence[str], *, one_of_several: bool) -> str:
    if len(kernels) > 1:
        return (
            f"{' and '.join(kernels)} fail alike, so suspect first what they share "
            "(configuration, boot parameters, this machine), not a patch"
        )
    only = "only " if one_of_several else ""
    return f"{only}{kernels[0]} was tried, so suspect it, its configuration or this machine"


def _checks(tried: Sequence[BootRecord]) -> list[str]:
    """Return commands that show whether the machine or the kernels are at fault."""
    machines = [boot.facts.get("machine") or {} for boot in tried]
    if {machine.get("accelerator") for machine in machines} == {"kvm"}:
        return ["the same with  accelerator: tcg  shows whether KVM is at fault"]
    hosts = sorted({str(machine["host"]) for machine in machines if machine.get("host")})
    return [f"vmapbench host check {host}  looks at the machine" for host in hosts]
