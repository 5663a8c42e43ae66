"""Returns a host to its known-good kernel from any state.

There is no journal: the host reports which kernel runs and which one it would start next, so that
the next run can recover from a harness that was killed in any phase.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import InfrastructureError, InputError, ToolError
from harness.process import Runner
from harness.spec.host import HostSpec
from harness.targets.ssh.boot_method import BootMethod, armed, disarm
from harness.targets.ssh.connection import ConnectionLostError, HostKeyError
from harness.targets.ssh.identity import Running, read_running
from harness.targets.ssh.power import can_cycle, cycle_power
from harness.targets.ssh.shell import Shell

Connect = Callable[[], Shell]
POLL_S = 1.0
REBOOT = ("reboot",)  # a verb of the helper
REBOOT_NOW = ("reboot-now",)  # without a shutdown, which a crashed kernel may not complete


@dataclass(frozen=True)
class ReachableHost:
    """A connection to a host, and the kernel that it runs."""

    shell: Shell
    running: Running


def wait_for(
    connect: Connect, accept: Callable[[Running], bool], within_s: float, poll_s: float = POLL_S
) -> ReachableHost | None:
    """Return the host once it answers and `accept` is true of its kernel; None after `within_s`.

    Refused connections and logins (pam_nologin) and lost connections, as during a reboot, are
    retried. Raises HostKeyError if another machine answers.
    """
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(ConnectionLostError, ToolError, InputError):
            try:
                shell = connect()
            except HostKeyError as error:
                raise InfrastructureError(str(error)) from error
            try:
                running = read_running(shell)
                if accept(running):
                    return ReachableHost(shell, running)
            except BaseException:
                shell.close()
                raise
            shell.close()
        if time.monotonic() > deadline:
            return None
        time.sleep(poll_s)


def known_good(running: Running) -> bool:
    """Return whether the running kernel is not a trial."""
    return not running.nonce


def restart(shell: Shell, parts: tuple[str, ...]) -> None:
    """Run a verb that reboots the host; a lost connection is not an error."""
    with contextlib.suppress(ConnectionLostError):
        shell.run(parts, root=True, timeout_s=30)


def restore_known_good(
    spec: HostSpec,
    method: BootMethod,
    connect: Connect,
    runner: Runner,
    *,
    lease_s: float,
    crashed: bool = False,
    waited: bool = False,
    notify: Callable[[str], None] = lambda _: None,
) -> ReachableHost:
    """Return the host once it runs its known-good kernel, with no trial armed.

    If a trial runs, it is rebooted; if it does not answer, this waits until guard or firmware
    reboot it, then power-cycles it. `lease_s`: remaining lease of the guard in seconds; `crashed`:
    reboot without a shutdown; `waited`: that time has already passed without an answer. Raises
    InfrastructureError if the host has to be reset manually.
    """
    answer = wait_for(connect, lambda _: True, within_s=5)
    if answer and not known_good(answer.running):
        notify("rebooting into the known-good kernel")
        restart(answer.shell, REBOOT_NOW if crashed else REBOOT)
        answer.shell.close()
        answer, waited = None, False
    if answer is None:
        answer = _wait_for_known_good(spec, connect, runner, lease_s, waited, notify)
    if armed(answer.shell, method):
        notify("disarming a trial that was never started")
        disarm(answer.shell, method)
    return answer


def _wait_for_known_good(
    spec: HostSpec,
    connect: Connect,
    runner: Runner,
    lease_s: float,
    waited: bool,
    notify: Callable[[str], None],
) -> ReachableHost:
    answer, answer_s = None, float(spec.boot.answer_within_s)
    if not (waited and can_cycle(spec)):
        within_s = answer_s if can_cycle(spec) else answer_s + lease_s
        notify(f"waiting up to {within_s:.0f} s for the known-good kernel")
        answer = wait_for(connect, known_good, within_s)
    if answer is None and can_cycle(spec):
        notify("no answer: power-cycling the host")
        cycle_power(spec, runner)
        answer = wait_for(connect, known_good, answer_s)
    if answer is None:
        raise InfrastructureError(
            f"host {spec.name} does not return to its known-good kernel"
            + ("" if can_cycle(spec) else " and has no power method: press its reset button")
            + f"; then: vmapbench host recover {spec.name}"
        )
    return answer
