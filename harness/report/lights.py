"""Checks the validity of a run's figures."""

from dataclasses import dataclass

from harness.build.kconfig import critical_differences
from harness.report.view import View
from harness.run.diagnosis import no_boot_diagnosis
from harness.run.noise import PROGRAMS_NAMED
from harness.testmod.workload import steady_loops
from harness.verdict import Verdict

_FEW = 0.05  # share of the loops before the first purge that is acceptable


@dataclass(frozen=True)
class Light:
    """The result of a check of validity. `state`: ok, warn or fail."""

    name: str
    state: str
    text: str


def validity_lights(view: View) -> list[Light]:
    """Return the results of all checks, in the order of the page."""
    return [
        _completeness_light(view),
        _verdict_light(view),
        _noise_light(view),
        _config_light(view),
        _steady_light(view),
        _machine_light(view),
    ]


def _completeness_light(view: View) -> Light:
    final = list(view.report.verdicts.values())
    measured = sum(verdict is Verdict.PASSED for verdict in final)
    text = f"{measured} of {len(final)} planned boots measured"
    return Light("Complete", "ok" if measured == len(final) else "fail", text)


def _verdict_light(view: View) -> Light:
    bad = [boot for boot in view.report.boots if boot.verdict.bad]
    if not bad:
        return Light("Kernel log", "ok", "no boot crashed, hung, warned or failed a case")
    diagnosis = no_boot_diagnosis(view.report.jobs, view.report.boots)
    if diagnosis:
        return Light("Kernel log", "fail", diagnosis)
    kinds = sorted({boot.verdict.value for boot in bad})
    boots = "1 boot" if len(bad) == 1 else f"{len(bad)} boots"
    return Light("Kernel log", "fail", f"{boots} discarded: {', '.join(kinds)}")


def _noise_light(view: View) -> Light:
    if view.simulated:
        return Light("Noise gate", "ok", "not needed: the host's load does not affect virtual time")
    noisy = sum(boot.verdict is Verdict.NOISY for boot in view.report.boots)
    lost = sum(verdict is Verdict.NOISY for verdict in view.report.verdicts.values())
    if lost:
        text = f"{lost} planned boots never had a quiet host{_noisy_programs(view)}"
        return Light("Noise gate", "fail", text)
    if noisy:
        text = f"{noisy} boots were disturbed and repeated{_noisy_programs(view)}"
        return Light("Noise gate", "warn", text)
    return Light("Noise gate", "ok", "other load, steal, throttling within the limits in each boot")


def _noisy_programs(view: View) -> str:
    """Return a text with the programs that used most CPU time during noisy boots."""
    shares: dict[str, float] = {}
    for boot in view.report.boots:
        if boot.verdict is Verdict.NOISY:
            for name, share in (boot.facts.get("noise") or {}).get("programs") or ():
                shares[name] = shares.get(name, 0.0) + share
    largest = sorted(shares, key=lambda name: -shares[name])[:PROGRAMS_NAMED]
    return f": by {', '.join(largest)}" if largest else ""


def _config_light(view: View) -> Light:
    differing = critical_differences(view.report.run.critical)
    if not differing:
        return Light("Same config", "ok", "the symbols that affect the measurement agree")
    return Light("Same config", "warn", f"differ, allowed by name: {', '.join(differing)}")


def _steady_light(view: View) -> Light:
    """Check the share of the load before the nodes' pools are filled.

    docs/explanation/measurement.md explains why.
    """
    samples = view.report.samples
    sizes = samples[["nr_threads", "cpus", "loops"]].drop_duplicates().itertuples(index=False)
    before = [steady_loops(int(n), int(cpus)) / max(loops, 1) for n, cpus, loops in sizes]
    share = max(before, default=0.0)
    warmed = any(len(job.loads) > 1 for job in view.report.jobs)
    after = ", after a load that was discarded" if warmed else ""
    if share <= _FEW:
        return Light("Steady state", "ok", f"the first purge comes early in the loops{after}")
    if share < 1:
        text = f"up to {share:.0%} of the loops ran before the first purge fills the nodes' pools"
        return Light("Steady state", "warn", text + after)
    text = "loads may end before the first purge: the nodes' pools stay empty"
    return Light("Steady state", "warn", text + after)


def has_native_times(view: View) -> bool:
    """Return whether each CPU had its own core without emulation, so that times are realistic."""
    return not (view.simulated or _overcommitted(view) or _emulated(view))


def _overcommitted(view: View) -> bool:
    return view.plan["target"]["kind"] == "qemu" and _most_cpus(view) > _host_cores(view)


def _emulated(view: View) -> bool:
    machines = (boot.facts.get("machine") or {} for boot in view.report.boots)
    used = {str(machine["accelerator"]) for machine in machines if machine.get("accelerator")}
    return view.plan["target"]["kind"] == "qemu" and used != {"kvm"}


def _most_cpus(view: View) -> int:
    return max((job.cpus for job in view.report.jobs), default=0)


def _host_cores(view: View) -> int:
    return int(view.report.run.host.get("cores") or 0)


def _machine_light(view: View) -> Light:
    if view.simulated:
        return Light("Machine", "warn", f"virtual time, model {view.simulated}")
    kernels = view.report.run.kernels.values()
    of = next((f"{facts['architecture']} " for facts in kernels if "architecture" in facts), "")
    size = f"{_most_cpus(view)} {of}vCPUs on {_host_cores(view)} cores"
    if _overcommitted(view):
        text = f"{size}: times do not stand for a real machine of that size"
        return Light("Machine", "fail", text + _why_not_kvm(view))
    if _emulated(view):
        text = f"{size}, instructions emulated (TCG): no native times"
        return Light("Machine", "warn", text + _why_not_kvm(view))
    return Light("Machine", "ok", f"{_most_cpus(view)} CPUs, with a core for each")


def _why_not_kvm(view: View) -> str:
    machines = (boot.facts.get("machine") or {} for boot in view.report.boots)
    why = next((str(machine["kvm"]) for machine in machines if machine.get("kvm")), "")
    return f"; not under KVM: {why.rstrip('.')}" if why else ""
