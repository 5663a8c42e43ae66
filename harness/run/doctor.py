"""Checks what this machine can do; each check is a function in `CHECKS`."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache
from harness.build.kernel import newest_kernel
from harness.build.sandbox import require_sandbox
from harness.errors import InfrastructureError, ToolError
from harness.health import Health, Row
from harness.process import Runner
from harness.scratch import scratch_folder
from harness.spec.architecture import ARCHITECTURES, Architecture
from harness.targets.accelerator import (
    KvmState,
    forget_kvm,
    probe_accelerator,
    qemu_version,
)
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import QemuTarget
from harness.targets.simulated.plugin import OLDEST_QEMU

_BUILD_PROGRAMS = ("make", "flex", "bison", "bc", "ld", "xz", "git", "cpp")


@dataclass(frozen=True)
class Environment:
    """What the checks use: a runner of programs, and the folders of the disks to check.

    `notify` receives the progress of long checks.
    """

    runner: Runner
    cache: Path
    reports: Path
    notify: Callable[[str], None] = lambda _: None


def check_toolchain(environment: Environment) -> Row:
    """Compiler and the programs that a kernel build calls."""
    missing = [name for name in (*_BUILD_PROGRAMS, "gcc") if not shutil.which(name)]
    if missing:
        remedy = "run setup/install.sh, or install the Debian packages of these names"
        return Row("toolchain", Health.FAIL, f"missing: {', '.join(missing)}", remedy)
    version = environment.runner.run(["gcc", "-dumpfullversion"], deadline_s=20).output.strip()
    headers = [name for name in ("libelf.h", "openssl/ssl.h") if not _has_header(environment, name)]
    if headers:
        remedy = "apt-get install libelf-dev libssl-dev"
        return Row("toolchain", Health.FAIL, f"headers missing: {headers}", remedy)
    return Row("toolchain", Health.OK, f"gcc {version}")


def _has_header(environment: Environment, name: str) -> bool:
    argv = ["gcc", "-fsyntax-only", "-include", name, "-x", "c", "/dev/null"]
    return environment.runner.run(argv, deadline_s=30).returncode == 0


def check_sandbox(environment: Environment) -> Row:
    """Whether builds of series from mail can be contained, found with a probe."""
    try:
        method = require_sandbox(environment.runner)
    except ToolError as error:
        found, _, remedy = str(error).partition("\n  next: ")
        return Row("sandbox", Health.WARN, found, remedy)
    return Row("sandbox", Health.OK, f"{method.program} contains builds")


def check_ccache(_: Environment) -> Row:
    """Optional: makes kernel builds faster."""
    if shutil.which("ccache"):
        return Row("ccache", Health.OK, "found")
    return Row("ccache", Health.WARN, "not found", "apt-get install ccache (faster builds)")


def check_sources(_: Environment) -> Row:
    """The Debian kernel sources of the shipped kernels."""
    found = sorted(path.name for path in Path("/usr/src").glob("linux-source-*.tar.*"))
    if any(name.startswith("linux-source-6.12.") for name in found):
        return Row("kernel source", Health.OK, ", ".join(found))
    return Row(
        "kernel source",
        Health.FAIL,
        ", ".join(found) or "none below /usr/src",
        "apt-get install linux-source-6.12 (and linux-source-6.1 on Debian 12)",
    )


def check_qemu(environment: Environment) -> Row:
    """QEMU, and whether its plugin API is new enough for the simulated machine."""
    try:
        version = qemu_version(environment.runner)
    except ToolError as error:
        return Row("QEMU", Health.FAIL, str(error), "setup/install.sh")
    shown = ".".join(map(str, version))
    if version < OLDEST_QEMU:
        return Row(
            "QEMU",
            Health.WARN,
            f"{shown}: its plugin API is too old for the simulated machine",
            "Debian 12: apt-get install -t bookworm-backports qemu-system-x86",
        )
    return Row("QEMU", Health.OK, f"{shown}, plugin API new enough")


def check_architectures(environment: Environment) -> Row:
    """Optional: other architectures whose kernels can be built, and booted under TCG."""
    others = [arch for arch in ARCHITECTURES.values() if not arch.is_native()]
    missing = {arch.name: _missing_tools(environment.runner, arch) for arch in others}
    found = [f"{name}: {', '.join(tools)} missing" for name, tools in missing.items() if tools]
    ready = [f"{name}: ready" for name, tools in missing.items() if not tools]
    remedies = [arch.how_to_install() for arch in others if missing[arch.name]]
    remedy = f"none needed; to have them: {', '.join(remedies)}" if remedies else ""
    return Row("architectures", Health.OK, "; ".join(ready + found), remedy)


def _missing_tools(runner: Runner, arch: Architecture) -> list[str]:
    """Return what is missing to build a kernel and a guest's init, and to boot them."""
    compiler = f"{arch.cross_prefix()}gcc"
    missing = [tool for tool in (compiler, arch.qemu) if not shutil.which(tool)]
    if compiler not in missing:
        # an absolute path if the compiler has the file, otherwise the name unchanged
        said = runner.run([compiler, "-print-file-name=libc.a"], deadline_s=20).output.strip()
        missing += [] if said.startswith("/") else [f"libc.a of {compiler}"]
    return missing


def check_tcg(environment: Environment) -> Row:
    """Whether QEMU runs anything under TCG, with a probe guest."""
    try:
        works, reason = probe_accelerator("tcg", environment.cache, environment.runner)
    except ToolError as error:
        return Row("TCG", Health.FAIL, str(error), "install QEMU first")
    return Row("TCG", Health.OK if works else Health.FAIL, reason, "" if works else "see above")


def check_kvm(environment: Environment) -> Row:
    """Whether Linux runs under KVM; if unknown, by booting a built kernel."""
    target = QemuTarget(QemuSpec(kind="qemu"), environment.cache, environment.runner)
    try:
        if target.kvm().state is KvmState.UNTRIED:
            _boot_built_kernel(target, environment)
        kvm = target.kvm()
    except ToolError as error:
        return Row("KVM", Health.WARN, str(error), "install QEMU first")
    health = Health.OK if kvm.state is KvmState.RUNS_LINUX else Health.WARN
    return Row("KVM", health, f"{kvm.state}: {kvm.seen}", _KVM_REMEDIES[kvm.state])


_ASK_AGAIN = "after a change: vmapbench doctor --again"
_KVM_REMEDIES = {
    KvmState.RUNS_LINUX: "",
    KvmState.UNTRIED: "vmapbench build single-node, then vmapbench doctor, which boots it",
    KvmState.NO_LINUX: f"none needed: guests run under TCG; {_ASK_AGAIN}",
    KvmState.NO_GUEST: f"none needed: guests run under TCG; {_ASK_AGAIN}",
    KvmState.NO_DEVICE: "none needed: guests run under TCG; for KVM: modprobe kvm_intel or kvm_amd,"
    " join the group kvm",
}


def _boot_built_kernel(target: QemuTarget, environment: Environment) -> None:
    """Boot the newest kernel of the cache, if any, so that `target` finds out about KVM."""
    kernel = newest_kernel(Cache(environment.cache))
    if kernel is None:
        return
    with scratch_folder("doctor") as folder:
        request = BootRequest(kernel, 2, (), 512, 10.0, folder)
        text = f"booting Linux {kernel.release} under KVM"
        environment.notify(text)
        try:
            target.boot(request, lambda phase: environment.notify(f"{text}: {phase}"))
        except InfrastructureError as error:
            environment.notify(str(error))


def check_memory(_: Environment) -> Row:
    """Memory for a guest of 64 workers beside a kernel build."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    found = f"{total} MiB, {available} MiB free"
    if total < 2048:
        return Row("memory", Health.FAIL, found, "at least 2 GiB for a build and a small guest")
    if total < 8192:
        return Row("memory", Health.WARN, found, "64 workers with every case need 8 GiB")
    return Row("memory", Health.OK, found)


def check_disk(environment: Environment) -> Row:
    """Disk space for sources, object trees and logs: about 3 GiB per kernel source."""
    free = {path: _free_mib(path) for path in (environment.cache, environment.reports)}
    found = ", ".join(f"{mib} MiB free for {path}" for path, mib in free.items())
    if min(free.values()) < 1024:
        return Row("disk", Health.FAIL, found, "free some, or set VMAPBENCH_CACHE")
    if free[environment.cache] < 8192:
        return Row("disk", Health.WARN, found, "three kernels take about 8 GiB of cache")
    return Row("disk", Health.OK, found)


def _free_mib(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free >> 20


def check_rights(environment: Environment) -> Row:
    """Root or sudo: only to install packages; measuring needs neither."""
    if os.geteuid() == 0:
        return Row("sudo", Health.OK, "root")
    if not shutil.which("sudo"):
        return Row("sudo", Health.WARN, "no sudo", "packages must be installed by root")
    passwordless = environment.runner.run(["sudo", "-n", "true"], deadline_s=20).returncode == 0
    return Row("sudo", Health.OK, "without a password" if passwordless else "asks for a password")


CHECKS: tuple[Callable[[Environment], Row], ...] = (
    check_toolchain,
    check_sandbox,
    check_ccache,
    check_sources,
    check_qemu,
    check_architectures,
    check_tcg,
    check_kvm,
    check_memory,
    check_disk,
    check_rights,
)


def examine(environment: Environment, *, again: bool = False) -> list[Row]:
    """Return the result of each check, in order; `again`: test KVM again.

    A test of KVM, once per boot of the host, takes up to a minute.
    """
    if again:
        forget_kvm(environment.cache)
    return [check(environment) for check in CHECKS]
