"""A trial boot on a lab host: wait for it, identify it, load the module, collect the log."""

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.build.build_id import build_id_of
from harness.errors import InfrastructureError, ToolError
from harness.guest.memory import FILES, UNFRAGMENTED, add_file, moments
from harness.spec.host import HostSpec
from harness.targets.base import BootRequest, Judgement, Progress
from harness.targets.ssh.boot_method import Trial
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.explain import PROFILE, WAITS
from harness.targets.ssh.helper import trial_folder
from harness.targets.ssh.identity import mismatches
from harness.targets.ssh.kmsg import FOLLOW, KmsgLog
from harness.targets.ssh.restore import Connect, ReachableHost, known_good, wait_for
from harness.targets.ssh.shell import Following, HostAnswerError, Shell
from harness.verdict import Verdict

CONFIRM = ("confirm",)  # a verb of the helper
GRACE_S = 60.0  # silence of this length after the expected time is a hang
_PANIC_LOG_S = 3.0  # wait after a crash, for log lines in transit
_POLL_S = 0.2
_AT_REST_S = 0.5  # as in QEMU guests
_PROFILE_S = 600.0  # a minute of 64 CPUs is a million samples
_FRAGMENT_S = 600.0  # a terabyte of single pages takes minutes
_HOW_TO_READ = {"/proc/pagetypeinfo": (("pagetypes",), True)}  # readable by root only
_RESULT = re.compile(r"elapsed_ns=([0-9]{1,15}) ([ -~]{0,200})\n?")  # eleven days at most
_AFTER_RECONNECT_S = 5.0
# The module's init ends with -EAGAIN on purpose (lib/test_vmalloc.c, vmalloc_test_init).
_EXPECTED_WORDS = ("", "Resource temporarily unavailable")


class TrialEndedError(Exception):
    """The trial ended early, with this verdict."""

    def __init__(self, verdict: Verdict, reason: str):
        """`reason`: one line."""
        self.verdict, self.reason = verdict, reason
        super().__init__(reason)


class TrialRun:
    """Follows a trial, reconnecting if the connection is lost."""

    def __init__(
        self,
        spec: HostSpec,
        request: BootRequest,
        trial: Trial,
        connect: Connect,
        progress: Progress,
        prepare: Callable[[Shell], Mapping[str, Any]],
        grace_s: float = GRACE_S,
    ):
        """`prepare`: called after the trial is confirmed; returns facts to record with the boot."""
        self._grace_s = grace_s
        self._spec, self._request, self._trial = spec, request, trial
        self._connect, self._progress, self._prepare = connect, progress, prepare
        self.log = KmsgLog(request.folder / "console.log")
        self.log.note(f"---- vmapbench: trial {trial.nonce} on host {spec.name}")
        self.unanswered = False  # for longer than guard and firmware take to reboot the host
        self._answer: ReachableHost | None = None
        self._following: Following | None = None

    @property
    def crashed(self) -> bool:
        """Whether the kernel log shows a crash; the host may be unable to shut down."""
        return bool(self.log.crash)

    def run(self, old_boot_id: str) -> Judgement:
        """Wait for the trial, load the module, collect the log; return the judgement.

        `old_boot_id`: of the boot before it. Raises InfrastructureError only.
        """
        verdict, reason, kernel_log = Verdict.PASSED, "", None
        facts: dict[str, Any] = {"memory": [], "errors": [], "files": {}}
        before, *after, at_rest = moments(len(self._request.loads))
        load_ns: list[int] = []
        try:
            self._wait_for_boot(old_boot_id)
            facts |= self._prepare(self._shell)
            self._fragment(facts)
            self._read_memory(before, facts)
            for number, parameters in enumerate(self._request.loads, start=1):
                self._progress("testing")
                profiled = self._request.explain and number == len(self._request.loads)
                load_ns.append(self._load(number, parameters, "profile" if profiled else "load"))
                if profiled:
                    self._read_profile(facts)
                self._read_memory(after[number - 1], facts)
            time.sleep(_AT_REST_S)
            self._read_memory(at_rest, facts)
            kernel_log = self._read_kernel_log()
        except TrialEndedError as ended:
            verdict, reason = ended.verdict, ended.reason
        except (ConnectionLostError, ToolError) as error:
            verdict, reason = self._why_lost(str(error))
        facts["lost_records"] = self.log.lost
        reached_init = "cpus" in facts  # set once the trial is confirmed
        return Judgement(verdict, reason, kernel_log, tuple(load_ns), facts, reached_init)

    def finish(self, step: Callable[[Shell], None]) -> None:
        """Call `step` with the trial's connection, if there is one; errors are ignored."""
        if self._answer and not self.crashed:
            with contextlib.suppress(ConnectionLostError, ToolError):
                step(self._answer.shell)

    def close(self) -> None:
        """Close connection and log."""
        if self._following:
            self._following.close()
        if self._answer:
            self._answer.shell.close()

    @property
    def _shell(self) -> Shell:
        assert self._answer is not None
        return self._answer.shell

    def _wait_for_boot(self, old_boot_id: str) -> None:
        """Wait for the next boot, check that it is the trial, and confirm it to its guard."""
        boot = self._spec.boot
        within_s = 2.0 * boot.answer_within_s + boot.confirm_within_s + boot.panic_s
        answer = wait_for(self._connect, lambda now: now.boot_id != old_boot_id, within_s)
        if answer is None:
            self.unanswered = True
            raise TrialEndedError(Verdict.NO_BOOT, f"no answer for {within_s:.0f} s after it")
        self._answer = answer
        if known_good(answer.running):
            raise TrialEndedError(
                Verdict.NO_BOOT,
                "the trial did not boot: the host returned to its known-good kernel",
            )
        build_id = build_id_of(self._request.kernel.vmlinux)
        release = self._request.kernel.release
        faults = mismatches(answer.running, release, build_id, self._trial.nonce)
        if faults:
            raise InfrastructureError(
                f"host {self._spec.name} does not run the kernel of the trial: {'; '.join(faults)}"
            )
        self._confirm()
        self._follow()

    def _confirm(self) -> None:
        """Renew the guard's lease. Raises InfrastructureError if the guard is not running."""
        if self._shell.run(CONFIRM, root=True).returncode:
            raise InfrastructureError(f"host {self._spec.name}: the guard is not running")

    def _follow(self) -> None:
        self.log.listen()
        self._following = self._shell.follow(FOLLOW, self.log.take, root=True)

    def _load(self, number: int, parameters: str, verb: str) -> int:
        """Load the module once by a verb of the helper; return the duration of the call in ns."""
        self._confirm()
        result = f"{trial_folder(self._spec)}/result.{number}"
        parts = [verb, str(number), *parameters.split()]
        loading = self._shell.follow(parts, self.log.note, root=True)
        load_ns, said = parse_result(self._shell.name, self._await_result(loading, result))
        if said not in _EXPECTED_WORDS:
            raise TrialEndedError(
                Verdict.MODULE_MISSING, f"load {number} of the module failed: {said}"
            )
        return load_ns

    def _read_profile(self, facts: dict[str, Any]) -> None:
        """Add what perf and the kernel say of the last load."""
        self._confirm()
        for name, verb in ((PROFILE, "profiled"), (WAITS, "waits")):
            done = self._shell.run([verb], root=True, timeout_s=_PROFILE_S, check=True)
            facts["files"][name] = done.stdout

    def _fragment(self, facts: dict[str, Any]) -> None:
        """Fragment the memory, if the workload asks for it."""
        if not self._request.fragment:
            return
        self._read_memory(UNFRAGMENTED, facts)
        argv = ["fragment", *self._request.fragment.split()]
        done = self._shell.run(argv, root=True, timeout_s=_FRAGMENT_S)
        if done.returncode:
            error = done.stderr.strip()[-200:]
            raise TrialEndedError(Verdict.MODULE_MISSING, f"memory was not fragmented: {error}")

    def _await_result(self, loading: Following, result: str) -> str:
        """Return the content of the loader's result file; reconnects if necessary."""
        began, cut = time.monotonic(), False
        while True:
            self._stop_at_crash()
            ended, waited_s = loading.ended(), time.monotonic() - began
            overdue = waited_s > self._request.expected_s + self._grace_s + self._more_s()
            if ended or overdue:
                try:
                    done = self._shell.run(["cat", "--", result])
                    if done.returncode == 0:
                        return done.stdout
                    if overdue:
                        reason = (
                            f"no output past the expected time ({waited_s:.0f} s after the load)"
                        )
                        raise TrialEndedError(Verdict.HUNG, reason)
                    if not cut:
                        raise InfrastructureError(
                            f"host {self._spec.name}: the loader failed; check for a full disk"
                        )
                except ConnectionLostError as error:
                    self._reconnect(str(error))
                    cut = True
                    continue
            time.sleep(_AFTER_RECONNECT_S if cut else _POLL_S)

    def _more_s(self) -> float:
        """Return the seconds that remain for a kernel that still prints messages."""
        return 4 * self._request.expected_s if self.log.silent_s() < self._grace_s else 0.0

    def _stop_at_crash(self) -> None:
        if self.crashed:
            time.sleep(_PANIC_LOG_S)
            raise TrialEndedError(Verdict.CRASHED, f"the kernel crashed: {self.log.crash}")

    def _reconnect(self, why: str) -> None:
        """Reconnect to the same boot, on which the programs are still running."""
        assert self._answer is not None
        self.log.note(f"---- vmapbench: {why.splitlines()[0]}")
        boot_id = self._answer.running.boot_id
        self.close()
        boot = self._spec.boot
        answer = wait_for(self._connect, lambda _: True, float(boot.answer_within_s))
        if answer is None:
            raise TrialEndedError(*self._why_lost("the host no longer answers"))
        self._answer = answer
        if answer.running.boot_id != boot_id:
            raise TrialEndedError(*self._why_lost("the host has left the trial kernel"))
        self.log.note("---- vmapbench: connected again")
        self._confirm()
        self._follow()

    def _why_lost(self, text: str) -> tuple[Verdict, str]:
        """Return the verdict on a trial whose connection was lost, by its log."""
        if self.crashed:
            return Verdict.CRASHED, f"the kernel crashed: {self.log.crash}"
        return Verdict.INTERRUPTED, text.splitlines()[0]

    def _read_memory(self, moment: str, facts: dict[str, Any]) -> None:
        """Add a reading of the memory to `facts`, and errors of reading it."""
        reading: dict[str, Any] = {"moment": moment}
        for path in FILES:
            argv, root = _HOW_TO_READ.get(path, (("cat", path), False))
            done = self._shell.run(argv, root=root)
            fault = done.stderr.strip()[-200:] if done.returncode else ""
            fault = fault or add_file(reading, path, done.stdout)
            if fault:
                facts["errors"].append(f"{path}: {fault}")
        facts["memory"].append(reading)

    def _read_kernel_log(self) -> str:
        """Return the whole kernel log from the ring buffer, as the followed one may have gaps."""
        done = self._shell.run(["dmesg"], root=True, timeout_s=120)
        self._stop_at_crash()
        if done.returncode:
            reason = f"the kernel log could not be read: {done.stderr.strip()[-200:]}"
            raise TrialEndedError(Verdict.INCOMPLETE, reason)
        return done.stdout


def parse_result(name: str, text: str) -> tuple[int, str]:
    """Return the duration of a load in ns, and insmod's message. Raises HostAnswerError.

    `name`: of the host; `text`: the loader's result.
    """
    found = _RESULT.fullmatch(text)
    if found is None:
        raise HostAnswerError(f"host {name}: malformed result of the loader, {text[:80]!r}")
    return int(found[1]), found[2]


def collect_pstore(shell: Shell) -> str:
    """Return the panic log in pstore. Only call it while the known-good kernel runs."""
    return shell.run(["pstore"], root=True).stdout


def append_logs(log: KmsgLog, sources: Sequence[tuple[str, str]]) -> None:
    """Append (name, text) of other logs, and look for a crash in them."""
    for name, text in sources:
        if text.strip():
            log.note(f"---- vmapbench: {name}")
            log.append(text)


def read_text(path: Path) -> str:
    """Return the text of a log file; empty if it does not exist."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
