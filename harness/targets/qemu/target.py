"""Boots kernels in QEMU guests.

`QemuTarget.boot` runs the command of `qemu_argv` and watches it over QMP. The first serial port is
the kernel's console; the guest's init reports through the second one (see `harness.guest`).
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.build.build_id import build_id_of
from harness.build.kernel import BuiltKernel
from harness.errors import InfrastructureError, InputError, ToolError
from harness.guest.initramfs import (
    base_archive,
    ensure_init,
    measuring_script,
    new_nonce,
    render_script,
    script_archive,
)
from harness.process import Runner, Spawner
from harness.spec.architecture import X86_64, Architecture
from harness.targets.accelerator import (
    Kvm,
    KvmState,
    find_kvm,
    first_output_s,
    host_cpu_flags,
    qemu_version,
    remember_kvm,
)
from harness.targets.base import BootRequest, BootResult, Progress
from harness.targets.histograms import EXPLAINING, FRAGMENT
from harness.targets.qemu.explain import explain_guest, explaining_script
from harness.targets.qemu.spec import QemuSpec
from harness.targets.watch import ArgvFor, BootLimits, watch_guest
from harness.verdict import Verdict


def common_parameters(arch: Architecture) -> tuple[str, ...]:
    """Return the boot parameters of every guest.

    `loglevel=6`: the console shows what is needed to debug a broken kernel, not the lines of each
    driver. `oops=panic`: after an oops of a kernel thread the loading thread would wait forever.
    `log_buf_len`: 64 workers x 12 lines overflow the default buffer, 512 x 13 fill a third of this
    one; a larger one would take long to clear on an emulated CPU.
    """
    always = (
        f"console={arch.console}",
        "loglevel=6",
        "panic=-1",
        "oops=panic",
        "log_buf_len=2M",
    )
    return (*always, *arch.boot_parameters)


@dataclass(frozen=True)
class Guest:
    """The virtual machine of a guest, and the files to boot."""

    cpus: int
    memory_mib: int
    image: Path
    initramfs: Path
    boot_parameters: tuple[str, ...]
    arch: Architecture = X86_64
    accelerator: str = "tcg"
    cpu_model: str = ""  # replaces the architecture's
    sockets: int = 1
    threads_per_core: int = 1
    numa_nodes: int = 1
    extra: tuple[str, ...] = ()  # additional QEMU options


def qemu_argv(guest: Guest, console: Path, report: Path, monitor: Path) -> list[str]:
    """Return the QEMU command line; `console`, `report`, `monitor`: paths of its outputs. Pure.

    Raises InputError if the guest has more CPUs than its machine supports.
    """
    cores = guest.cpus // (guest.sockets * guest.threads_per_core)
    topology = f"sockets={guest.sockets},cores={cores},threads={guest.threads_per_core}"
    arch, accelerator = guest.arch, guest.accelerator
    machine = arch.machine_for(guest.cpus, accelerator)
    model = guest.cpu_model or arch.cpu_model_for(accelerator)
    accelerator = "tcg,thread=multi" if accelerator == "tcg" else accelerator
    return [
        *[arch.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        *["-machine", machine, "-cpu", model, "-accel", accelerator],
        *["-smp", f"{guest.cpus},{topology}", "-m", f"{guest.memory_mib}M"],
        *_numa_argv(guest),
        *["-kernel", str(guest.image), "-initrd", str(guest.initramfs)],
        *["-append", " ".join(guest.boot_parameters)],
        *["-chardev", f"file,id=console,path={_quoted(console)}", "-serial", "chardev:console"],
        *["-chardev", f"file,id=report,path={_quoted(report)}", *arch.report_options],
        *["-qmp", f"unix:{_quoted(monitor)},server=on,wait=off"],
        *guest.extra,
    ]


def _numa_argv(guest: Guest) -> list[str]:
    """Return the options that split memory and CPUs evenly over the guest's NUMA nodes."""
    if guest.numa_nodes == 1:
        return []
    options = []
    for node in range(guest.numa_nodes):
        first, last = (guest.cpus * n // guest.numa_nodes for n in (node, node + 1))
        memory, more = (guest.memory_mib * n // guest.numa_nodes for n in (node, node + 1))
        options += ["-object", f"memory-backend-ram,id=ram{node},size={more - memory}M"]
        options += ["-numa", f"node,nodeid={node},cpus={first}-{last - 1},memdev=ram{node}"]
    return options


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")  # how QEMU escapes a comma in an option


class QemuTarget:
    """QEMU guests on this machine. Their times are realistic only with a core for each vCPU."""

    disturbed_by_host = True
    cpu_model = ""  # replaces the architecture's

    def __init__(
        self,
        spec: QemuSpec,
        cache: Path,
        runner: Runner,
        arch: Architecture = X86_64,
    ):
        """`cache`: folder of the compiled init and the state of KVM; `arch`: of the kernels."""
        self._spec, self._cache, self._runner, self._arch = spec, cache, runner, arch
        self._accelerator: str = spec.accelerator if spec.accelerator == "tcg" else ""
        self._kvm: Kvm | None = None

    @property
    def explain_fragments(self) -> tuple[str, ...] | None:
        """Config fragments for tracing; None for architectures on which it is not tested."""
        return (FRAGMENT,) if self._arch == X86_64 else None

    def check(self) -> None:
        """Raise ToolError if QEMU is missing or the requested accelerator does not work."""
        qemu_version(self._runner, self._arch)
        ensure_init(self._cache, self._runner, self._arch)
        if self._spec.accelerator == "kvm" and not self.kvm().usable:
            raise self._refusal()

    def check_explaining(self) -> None:
        """Nothing: the guest's kernel needs no program."""

    def side_by_side(self, memory_mib: int) -> int:  # noqa: ARG002
        """Return 1, as concurrent boots would affect each other's times."""
        return 1

    def kvm(self) -> Kvm:
        """Return the state of KVM; the first call may run the probe guest."""
        if self._kvm is None:
            self._kvm = find_kvm(self._cache, self._runner, self._arch, self.cpu_model)
        return self._kvm

    def accelerator(self) -> str:
        """Return `kvm` or `tcg`; the first call may run the probe guest."""
        if not self._accelerator:
            usable = self._spec.accelerator == "kvm" or self.kvm().usable
            self._accelerator = "kvm" if usable else "tcg"
        return self._accelerator

    def machine(self) -> Mapping[str, Any]:
        """Return the facts to record with every boot. `kvm`: why `auto` has not chosen it."""
        accelerator = self.accelerator()
        passed_over = accelerator == "tcg" and self._spec.accelerator == "auto"
        return {
            "kind": "qemu",
            "qemu": ".".join(map(str, qemu_version(self._runner, self._arch))),
            "accelerator": accelerator,
            "clock": "the host's",
            **self._spec.model_dump(include={"sockets", "threads_per_core", "numa_nodes"}),
            **({"kvm": self.kvm().seen} if passed_over else {}),
        }

    def command_lines(self, request: BootRequest) -> list[tuple[str, ...]]:
        """Return the QEMU command of `request`; the first call may run the probe guest."""
        return [tuple(self._argv(request, request.folder / "qmp"))]

    def boot(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot the kernel, load the module, collect the results, power off.

        Raises InfrastructureError only.
        """
        if self._spec.accelerator != "tcg":
            self._accelerator = ""  # decide again: the last boot may have changed the state of KVM
        if self.accelerator() == "kvm" and self.kvm().state is not KvmState.RUNS_LINUX:
            return self._first_boot_under_kvm(request, progress)
        return self._boot(request, progress)

    def _boot(self, request: BootRequest, progress: Progress) -> BootResult:
        self.prepare(request)
        result = boot_guest(
            lambda monitor: self._argv(request, monitor),
            request,
            self._nonce,
            self.limits(request),
            self._runner,
            progress,
        )
        if request.explain:
            explain_guest(request, result)
        return result

    def _first_boot_under_kvm(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot under KVM before Linux is known to run there, and record whether it does.

        A boot that does not reach init, without a crash of the kernel, is repeated under TCG. If
        that one reaches init, KVM is at fault, otherwise the kernel.
        """
        result, seen = self._tried_under_kvm(request, progress)
        if result and result.reached_init:
            release, ready_s = result.facts.get("release", "Linux"), result.facts.get("ready_s")
            after = f" after {ready_s} s" if ready_s is not None else ""
            self._learn(KvmState.RUNS_LINUX, f"Linux {release} reached its init{after}")
        if result and result.verdict is not Verdict.NO_BOOT:
            return result
        progress("booting again under TCG, since the boot under KVM failed")
        _set_aside(request.folder, "kvm")
        required = self._spec.accelerator == "kvm"
        self._accelerator = "tcg"
        again = self._boot(replace(request, loads=()) if required else request, progress)
        if again.reached_init:
            release = again.facts.get("release", "")
            self._learn(
                KvmState.NO_LINUX,
                f"Linux {release} under KVM: {seen}; under TCG it reached its init",
            )
            if required:
                raise self._refusal()
            return again
        self._kvm = replace(self.kvm(), seen="Linux reached its init neither under KVM nor TCG")
        if required and result:
            self._accelerator = "kvm"
            return result
        return again

    def _tried_under_kvm(
        self, request: BootRequest, progress: Progress
    ) -> tuple[BootResult | None, str]:
        """Boot under KVM; return the result, None if QEMU failed, and what was observed."""
        try:
            result = self._boot(request, progress)
        except InfrastructureError as error:
            return None, str(error).partition("\n")[0]
        return result, result.reason

    def _learn(self, state: KvmState, seen: str) -> None:
        self._kvm = remember_kvm(replace(self.kvm(), state=state, seen=seen), self._cache)

    def _refusal(self) -> ToolError:
        return ToolError(
            f"accelerator kvm: KVM does not run Linux here: {self.kvm().seen}\n"
            "  next: set  accelerator: auto  in the playbook's target, which uses TCG here\n"
            "  to test KVM again: vmapbench doctor --again"
        )

    def prepare(self, request: BootRequest) -> None:
        """Write the initramfs and the command line of this boot to its folder."""
        lines = self.script(request)
        self._nonce = write_initramfs(request, lines, self._cache, self._runner, self._arch)
        command = shlex.join(self._argv(request, request.folder / "qmp"))
        (request.folder / "command.txt").write_text(command + "\n", encoding="utf-8")

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the script of the guest's init."""
        if request.explain:
            return explaining_script(request)
        return measuring_script(request.loads, fragment=request.fragment)

    def limits(self, request: BootRequest) -> BootLimits:
        """Return the time limits of each phase; TCG boots take longer with more vCPUs."""
        if self.accelerator() == "tcg":
            return BootLimits(boot_s=60.0 + 4.0 * request.cpus, test_s=request.expected_s)
        proven = self.kvm().state is KvmState.RUNS_LINUX
        within_s = None if proven else first_output_s(host_cpu_flags(), self._arch)
        return BootLimits(boot_s=60.0, test_s=request.expected_s, first_output_s=within_s)

    def close(self) -> None:
        """Do nothing: there are no resources between boots."""

    def guest(self, request: BootRequest) -> Guest:
        """Return the virtual machine of `request`.

        Raises InputError if its CPUs are not a multiple of sockets x threads per core.
        """
        spec = self._spec
        if request.cpus % (spec.sockets * spec.threads_per_core):
            raise InputError(
                f"{request.cpus} CPUs are not a multiple of {spec.sockets} sockets x "
                f"{spec.threads_per_core} threads per core"
            )
        return Guest(
            cpus=request.cpus,
            memory_mib=request.memory_mib,
            image=request.kernel.image,
            initramfs=request.folder / "initramfs",
            boot_parameters=(
                *common_parameters(self._arch),
                *spec.boot_parameters,
                *request.kernel.spec.boot_parameters,
                *(EXPLAINING if request.explain else ()),
            ),
            arch=self._arch,
            accelerator=self.accelerator(),
            cpu_model=self.cpu_model,
            sockets=spec.sockets,
            threads_per_core=spec.threads_per_core,
            numa_nodes=min(spec.numa_nodes, request.cpus),
        )

    def _argv(self, request: BootRequest, monitor: Path) -> list[str]:
        console, report = request.folder / "console.log", request.folder / "report"
        return qemu_argv(self.guest(request), console, report, monitor)


def write_initramfs(
    request: BootRequest, lines: Sequence[str], cache: Path, runner: Runner, arch: Architecture
) -> str:
    """Write the initramfs with the script `lines` to the boot's folder; return its nonce.

    Used by all QEMU-based targets.
    """
    nonce = new_nonce()
    init = ensure_init(cache, runner, arch)
    script = render_script(nonce, lines, arch)
    fragment = request.fragment_module.read_bytes() if request.fragment_module else None
    archive = base_archive(init.read_bytes(), request.kernel.module.read_bytes(), fragment)
    (request.folder / "initramfs").write_bytes(archive + script_archive(script))
    return nonce


def boot_guest(
    argv_for: ArgvFor,
    request: BootRequest,
    nonce: str,
    limits: BootLimits,
    runner: Spawner,
    progress: Progress,
    env: Mapping[str, str] | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> BootResult:
    """Run a guest until it ends, or until `enough` returns True; return the result.

    Used by all QEMU-based targets. `argv_for`: returns the QEMU command; `nonce`: from
    `write_initramfs`; `env`: of QEMU. Raises InfrastructureError if the guest ran another kernel.
    """
    outcome = watch_guest(
        argv_for, request.folder, nonce, len(request.loads), limits, runner, progress, env, enough
    )
    (request.folder / "initramfs").unlink(missing_ok=True)
    if outcome.kernel_log is not None:
        (request.folder / "kernel.log").write_text(outcome.kernel_log, encoding="utf-8")
    _require_kernel(request.kernel, outcome.facts.get("build_id", ""))
    return outcome


def _require_kernel(kernel: BuiltKernel, build_id: str) -> None:
    """Raise InfrastructureError if a guest ran another kernel, as with a damaged cache."""
    if build_id and build_id != (expected := build_id_of(kernel.vmlinux)):
        raise InfrastructureError(
            f"the guest ran another kernel than {kernel.spec.name}: build id {build_id}, "
            f"expected {expected}\n  next: remove {kernel.vmlinux.parent} to build it again"
        )


def _set_aside(folder: Path, name: str) -> None:
    """Move the files in a boot's folder to a new folder `name` in it."""
    left = list(folder.iterdir())
    aside = folder / name
    aside.mkdir()
    for path in left:
        path.rename(aside / path.name)


def make_target(spec: QemuSpec, cache: Path, runner: Runner, arch: Architecture) -> QemuTarget:
    """Return the target of a playbook with `kind: qemu`."""
    return QemuTarget(spec, cache, runner, arch)
