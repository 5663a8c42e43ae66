"""Returns a host to its known-good kernel from any state.

No journal is kept: the host itself reports what runs and what would start next, so the next run
recovers in the same way from a harness that was killed in any phase.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import InfrastructureError, InputError, ToolError
from harness.process import Runner
from harness.spec.host import HostSpec
from harness.targets.ssh.boot_method import BootMethod, armed, disarm
from harness.targets.ssh.identity import Running, read_running
from harness.targets.ssh.power import can_cycle, cycle_power
from harness.targets.ssh.shell import Shell
from harness.targets.ssh.transport import ConnectionLostError, HostKeyError

Connect = Callable[[], Shell]
POLL_S = 1.0
REBOOT = ("reboot",)  # words for the helper
REBOOT_NOW = ("reboot-now",)  # a crashed kernel may never shut down


@dataclass(frozen=True)
class ReachableHost:
    """A connection to a host, and the kernel that it runs."""

    shell: Shell
    running: Running


def wait_for(
    connect: Connect, accept: Callable[[Running], bool], within_s: float, poll_s: float = POLL_S
) -> ReachableHost | None:
    """Return the host once it answers and `accept` is true of its kernel; None after `within_s`.

    While it starts or stops, a host refuses, lets nobody in (pam_nologin) or cuts: all the same.
    Raises HostKeyError when another machine answers.
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
    """Whether the running kernel is not a trial."""
    return not running.nonce


def restart(shell: Shell, parts: tuple[str, ...]) -> None:
    """Have the host reboot; the connection may be lost before it can answer."""
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
    """Return the host on its known-good kernel, with nothing armed.

    It is rebooted where a trial runs, else waited for (guard and firmware restart it), then
    power-cycled. `lease_s`: how long a trial's guard may still wait. `waited`: that time has passed
    already for a host that does not answer. Raises InfrastructureError where somebody has to press
    its reset button.
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
        notify("a trial was armed and never started: disarming")
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
            f"host {spec.name} does not come back to its known-good kernel"
            + ("" if can_cycle(spec) else " and has no power method: press its reset button")
            + f"; then: vmapbench host recover {spec.name}"
        )
    return answer
