"""Lab hosts as targets: each request is a trial boot, after which the known-good kernel returns."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import InfrastructureError, InputError
from harness.guest.initramfs import new_nonce
from harness.health import Row
from harness.process import Child, Runner
from harness.spec.architecture import X86_64, Architecture
from harness.spec.host import HostSpec, load_host
from harness.targets.base import BootRequest, BootResult, Judgement, Progress
from harness.targets.histograms import EXPLAINING, FRAGMENT
from harness.targets.ssh.boot_method import Trial, arm, boot_method
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.explain import explain_host
from harness.targets.ssh.helper import PATH as HELPER
from harness.targets.ssh.helper import trial_folder
from harness.targets.ssh.identity import Running
from harness.targets.ssh.inventory import collect_inventory, note_changes
from harness.targets.ssh.lock import HostLock, this_process
from harness.targets.ssh.power import reserve_argv
from harness.targets.ssh.probe import check_helper, check_host, count_cpus
from harness.targets.ssh.restore import REBOOT, ReachableHost, restart, restore_known_good, wait_for
from harness.targets.ssh.shell import Shell
from harness.targets.ssh.spec import SshSpec
from harness.targets.ssh.stage import ensure_guard, plan_trial, stage_trial
from harness.targets.ssh.transport import HostShell
from harness.targets.ssh.trial import (
    GRACE_S,
    TrialRun,
    append_logs,
    collect_pstore,
    read_text,
)
from harness.targets.ssh.tuning import (
    apply_tuning,
    misfits,
    restore_tuning,
    tuning_parameters,
)
from harness.testmod.late import add_late_lines, late_lines
from harness.verdict import Verdict

_log = logging.getLogger(__name__)


class SshTarget:
    """A lab host, locked from `check` to `close`."""

    disturbed_by_host = False
    explain_fragments: tuple[str, ...] | None = (FRAGMENT,)
    grace_s = GRACE_S

    def __init__(
        self,
        spec: SshSpec,
        host: HostSpec,
        cache: Path,
        runner: Runner,
        guard: Callable[[Path, Runner, Architecture], Path] = ensure_guard,
        arch: Architecture = X86_64,
    ):
        """`cache`: folder of the compiled guard; `guard`: compiles it; `arch`: of the kernels."""
        self._spec, self.host, self._runner, self._arch = spec, host, runner, arch
        self._guard = partial(guard, cache, runner, arch)
        self._method = boot_method(host.boot)
        self._lock = HostLock(host.state, this_process("a run"))
        self._held = self._reserved = False
        self._machine: dict[str, Any] = {}
        self._changes: list[str] = []  # of the host since its last use
        self._notes: list[str] = []  # events before a boot, recorded with it

    def connect(self) -> Shell:
        """Return a new connection. Raises HostKeyError, InputError, ConnectionLostError."""
        return HostShell(self.host)

    def check(self) -> None:
        """Lock the host, restore its known-good kernel, and check that a boot can succeed.

        Raises InputError or ToolError, after unlocking the host.
        """
        self._guard()
        try:
            self.hold()
            with contextlib.closing(self._restored().shell) as shell:
                self._refuse(shell)
        except BaseException:
            self.close()
            raise

    def side_by_side(self, memory_mib: int) -> int:  # noqa: ARG002
        """Return 1."""
        return 1

    def hold(self) -> None:
        """Lock the host until `close`. Raises InputError if someone else has locked it."""
        argv = reserve_argv(self.host, "acquire")
        if argv and not self._reserved:
            self._runner.run(argv, deadline_s=60, check=True)
            self._reserved = True
        if not self._held:
            with contextlib.closing(self._connect_when_up()) as shell:
                if bad := _faults(check_helper(shell, self.host)):
                    raise InputError(f"host {self.host.name}:\n  " + "\n  ".join(bad))
                shell.run(["mkdir", "-p", "--", self.host.state])
                self._lock.acquire(shell, self._lock_lease_s(), self._notes.append)
            self._held = True

    def _connect_when_up(self) -> Shell:
        """Return a connection; wait for a host that may still be rebooting from an earlier run."""
        try:
            return self.connect()
        except ConnectionLostError as error:
            within_s = float(self.host.boot.answer_within_s)
            _log.warning("%s\n  it may be restarting: waiting up to %.0f s", error, within_s)
            answer = wait_for(self.connect, lambda _: True, within_s)
            if answer is None:
                raise
            return answer.shell

    def _refuse(self, shell: Shell) -> None:
        """Raise InputError with all reasons against a run, if there are any."""
        bad = _faults(check_host(shell, self.host, self._method, self._arch))
        cpus = count_cpus(shell)
        if self._spec.cpus > cpus:
            bad.append(f"cpus: the playbook requests {self._spec.cpus}, the host has {cpus}")
        bad += misfits(self.host.tuning, self._arch)  # raises for an unknown profile
        if bad:
            raise InputError(f"host {self.host.name}:\n  " + "\n  ".join(bad))
        self._changes = note_changes(shell, self.host.state, collect_inventory(shell))

    def check_explaining(self) -> None:
        """Raise InfrastructureError where the host has no perf."""
        with contextlib.closing(self._restored().shell) as shell:
            said = shell.run(["perf"], root=True)
        if said.returncode:
            why = said.stderr.strip().removeprefix("vmapbench-lab: ")[-300:]
            raise InfrastructureError(f"host {self.host.name}: {why}")

    def machine(self) -> Mapping[str, Any]:
        """Return the facts to record with every boot."""
        return {
            "kind": "ssh",
            "host": self.host.name,
            "boot": self.host.boot.method,
            "tuning": self.host.tuning,
            "clock": "the lab host's",
            **self._machine,
        }

    def command_lines(self, request: BootRequest) -> list[tuple[str, ...]]:
        """Return the commands that `boot` runs on the host. No side effects."""
        line = "COMMAND-LINE-OF-THE-KNOWN-GOOD-KERNEL"
        trial = plan_trial(
            self.host, request, "NONCE", line, self._lease_s(request), self._parameters(request)
        )
        where, method = f"{self.host.name}:", self._method.name
        root = ("sudo", "-n", "--", HELPER) if self.host.sudo else (HELPER,)
        copied = f"{where}{trial_folder(self.host)}/kernel"
        return [
            ("copy", str(request.kernel.image), copied),
            (where, "sh", "-c", f"echo '{trial.command_line}' | {' '.join(root)} arm {method}"),
            (where, *root, "start", method),
        ]

    def boot(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot the trial, load the module, collect the log, return to the known-good kernel.

        Raises InfrastructureError only.
        """
        began = time.monotonic()
        try:
            return self._boot(request, progress, began)
        except InputError as error:  # the lock was broken, or the host key changed
            raise InfrastructureError(str(error)) from error

    def close(self) -> None:
        """Unlock the host; it runs its known-good kernel or is rebooting into it."""
        if self._held:
            self._held = False
            self._release()
        argv = reserve_argv(self.host, "release")
        if argv and self._reserved:
            self._reserved = False
            self._runner.run(argv, deadline_s=60)

    def _release(self) -> None:
        """Release the lock; try three times, as a busy host may not answer at once."""
        why: Exception | None = None
        for pause_s in (0, 1, 1):
            time.sleep(pause_s)
            try:
                with contextlib.closing(self.connect()) as shell:
                    return self._lock.release(shell)
            except (InfrastructureError, InputError) as error:
                why = error
        _log.warning(
            "host %s remains locked: %s\n  the next run from this machine takes the lock over; "
            "on other machines: vmapbench host unlock %s --break",
            *(self.host.name, why, self.host.name),
        )
        return None

    def _lock_lease_s(self, lease_s: int = 0) -> int:
        """Return the lease of the lock in seconds; no phase may last longer."""
        boot = self.host.boot
        return 4 * boot.answer_within_s + 2 * boot.confirm_within_s + 2 * lease_s + 600

    def _lease_s(self, request: BootRequest) -> int:
        """Return the lease of the guard in seconds, after which it resets the host."""
        return int(5 * request.expected_s + 2 * GRACE_S) + self.host.boot.confirm_within_s

    def _parameters(self, request: BootRequest) -> tuple[str, ...]:
        """Return the boot parameters of the playbook, with `maxcpus` or the like if needed."""
        limit = (f"nr_cpus={request.cpus}",) if request.cpus != self._cpus else ()
        more = (*self._spec.boot_parameters, *limit, *(EXPLAINING if request.explain else ()))
        return (*tuning_parameters(self.host.tuning), *more)

    @property
    def _cpus(self) -> int:
        return int(self._machine.get("host_cpus", self._spec.cpus))

    def _restored(
        self, lease_s: float = 0.0, *, crashed: bool = False, waited: bool = False
    ) -> ReachableHost:
        answer = restore_known_good(
            self.host,
            self._method,
            self.connect,
            self._runner,
            lease_s=lease_s or float(self.host.boot.confirm_within_s),
            crashed=crashed,
            waited=waited,
            notify=self._notes.append,
        )
        self._machine["host_cpus"] = count_cpus(answer.shell)
        self._machine["known_good"] = answer.running.release
        return answer

    def _boot(self, request: BootRequest, progress: Progress, began: float) -> BootResult:
        lease_s = self._lease_s(request)
        progress("preparing the host")
        answer = self._restored()
        with contextlib.closing(answer.shell) as shell:
            self._lock.renew(shell, self._lock_lease_s(lease_s))
            trial = self._stage(shell, request, answer.running, lease_s)
            run = TrialRun(
                self.host, request, trial, self.connect, progress, self._prepare, self.grace_s
            )
            with self._serial_console(request), contextlib.closing(run):
                judgement = self._run_trial(shell, run, trial, answer.running, progress)
        try:
            progress("returning to the known-good kernel")
            judgement = self._return(run, judgement, request, lease_s)
        except BaseException:
            self._abandon()
            raise
        if judgement.kernel_log is not None:
            (request.folder / "kernel.log").write_text(judgement.kernel_log, encoding="utf-8")
        judged = {**vars(judgement), "facts": {**judgement.facts, "notes": self._taken_notes()}}
        result = BootResult(
            **judged,
            console=request.folder / "console.log",
            argv=tuple(trial.command_line.split()),
            elapsed_s=time.monotonic() - began,
        )
        if request.explain:
            explain_host(request, result)
        return result

    def _taken_notes(self) -> list[str]:
        notes, self._notes[:] = [*self._notes], []
        return notes

    def _stage(self, shell: Shell, request: BootRequest, running: Running, lease_s: int) -> Trial:
        """Copy all files of a trial to the host; return the trial."""
        nonce, parameters = new_nonce(), self._parameters(request)
        trial = plan_trial(self.host, request, nonce, running.command_line, lease_s, parameters)
        stage_trial(shell, request, self._guard())
        return trial

    def _run_trial(
        self, shell: Shell, run: TrialRun, trial: Trial, running: Running, progress: Progress
    ) -> Judgement:
        """Start the trial and follow it until it ends; if interrupted, reboot the host."""
        try:
            arm(shell, self._method, trial)
            progress("booting")
            restart(shell, ("start", self._method.name))
            judgement = run.run(running.boot_id)
            run.finish(restore_tuning)
        except BaseException:
            self._abandon()
            raise
        return judgement

    def _prepare(self, shell: Shell) -> Mapping[str, Any]:
        """Tune the host after the trial is confirmed; return facts to record with the boot."""
        lease_s = self._lock_lease_s()
        tuned = apply_tuning(shell, self.host.tuning, lease_s)
        inventory = collect_inventory(shell)
        self._machine["hardware"] = inventory.facts()["hardware"]
        return {
            "cpus": str(count_cpus(shell)),
            "tuning": tuned.facts(),
            "inventory": inventory.facts(),
            "inventory_changes": self._changes,
            "conditions": {
                **inventory.conditions(),
                **tuned.conditions(),
                "paging_levels": inventory.paging_levels,  # of the trial kernel
            },
        }

    def _return(
        self, run: TrialRun, judgement: Judgement, request: BootRequest, lease_s: int
    ) -> Judgement:
        """Restore the known-good kernel; return the judgement, revised by serial log and pstore.

        If the host cannot be restored, the reason says so.
        """
        serial = read_text(request.folder / "serial.log")
        if (log := judgement.kernel_log) is not None:
            log = add_late_lines(log, read_text(request.folder / "console.log"))
            serial = late_lines(log, serial)
            judgement = replace(judgement, kernel_log=add_late_lines(log, serial, "serial console"))
        append_logs(run.log, [("serial console", serial)])
        judgement = _with_crash(judgement, run)
        verdict, reason = judgement.verdict, judgement.reason
        try:
            stuck = run.crashed or verdict is Verdict.HUNG
            answer = self._restored(lease_s, crashed=stuck, waited=run.unanswered)
        except InfrastructureError as error:
            if verdict is Verdict.PASSED:  # the measurement is valid; the next boot fails again
                return replace(judgement, reason=str(error))
            return replace(judgement, reason=f"{reason}; {error}")
        pstore = ""
        with (
            contextlib.closing(answer.shell) as shell,
            contextlib.suppress(ConnectionLostError),  # the next boot reports it
        ):
            pstore = collect_pstore(shell)
        append_logs(run.log, [("pstore", pstore)])
        if verdict is Verdict.NO_BOOT and "nobody confirmed this kernel" in serial + pstore:
            reason += "; the kernel ran without answering ssh: a network driver may be missing"
        return _with_crash(replace(judgement, reason=reason), run)

    def _abandon(self) -> None:
        """Reboot the host without waiting; if this fails, its guard does so."""
        with (
            contextlib.suppress(InfrastructureError, InputError),
            contextlib.closing(HostShell(self.host, connect_s=5, login_s=20)) as shell,
        ):
            restart(shell, REBOOT)

    @contextlib.contextmanager
    def _serial_console(self, request: BootRequest) -> Iterator[None]:
        child: Child | None = None
        if self.host.console:
            child = self._runner.spawn(self.host.console, log=request.folder / "serial.log")
        try:
            yield
        finally:
            if child:
                child.kill()


def _with_crash(judgement: Judgement, run: TrialRun) -> Judgement:
    """Return the judgement, with verdict CRASHED if the log of `run` shows a crash."""
    if not run.crashed or judgement.verdict is Verdict.CRASHED:
        return judgement
    return replace(
        judgement, verdict=Verdict.CRASHED, reason=f"the kernel crashed: {run.log.crash}"
    )


def _faults(rows: Iterable[Row]) -> list[str]:
    """Return a line with finding and remedy for each failed row."""
    return [f"{row.what}: {row.found}; {row.remedy}" for row in rows if row.bad]


def make_target(spec: SshSpec, cache: Path, runner: Runner, arch: Architecture) -> SshTarget:
    """Return the target of a playbook with `kind: ssh`. Raises InputError without a host."""
    if spec.host is None:
        raise InputError(
            "the playbook has no lab host\n  next: set  host: NAME  in its target, or use --hosts"
        )
    return SshTarget(spec, load_host(spec.host), cache, runner, arch=arch)
