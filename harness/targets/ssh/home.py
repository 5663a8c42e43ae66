"""Gets a host back to its known-good kernel, whatever state it was left in.

There is no journal to trust: the host itself is asked what runs and what would start next, so a
harness that was killed in any phase is recovered from by the next one in the same way.
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
IN_ORDER = ("reboot",)  # words for the helper
AT_ONCE = ("reboot-now",)  # a crashed kernel may never shut down


@dataclass(frozen=True)
class Answer:
    """A host that answers, and what it runs."""

    shell: Shell
    running: Running


def wait_for(
    connect: Connect, accept: Callable[[Running], bool], within_s: float, poll_s: float = POLL_S
) -> Answer | None:
    """Return the host once it answers and `accept` takes what it runs; None after `within_s`.

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
                    return Answer(shell, running)
            except BaseException:
                shell.close()
                raise
            shell.close()
        if time.monotonic() > deadline:
            return None
        time.sleep(poll_s)


def known_good(running: Running) -> bool:
    """Whether this is no trial."""
    return not running.nonce


def restart(shell: Shell, words: tuple[str, ...]) -> None:
    """Ask the host to leave its kernel; it may be gone before it can answer."""
    with contextlib.suppress(ConnectionLostError):
        shell.run(words, root=True, timeout_s=30)


def bring_home(
    spec: HostSpec,
    method: BootMethod,
    connect: Connect,
    runner: Runner,
    *,
    lease_s: float,
    crashed: bool = False,
    waited: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Return the host on its known-good kernel, with nothing armed.

    In this order: take it as it is; reboot it; wait for its guard and firmware; take its power
    away. `lease_s`: how long a trial's guard may still wait. `waited`: a host that is silent has
    had the time for all that. Raises InfrastructureError when it is lost until somebody presses
    its button.
    """
    answer = wait_for(connect, lambda _: True, within_s=5)
    if answer and not known_good(answer.running):
        tell("going back to the known-good kernel")
        restart(answer.shell, AT_ONCE if crashed else IN_ORDER)
        answer.shell.close()
        answer, waited = None, False
    if answer is None:
        answer = _wait_home(spec, connect, runner, lease_s, waited, tell)
    if armed(answer.shell, method):
        tell("a trial was armed and never started: disarming")
        disarm(answer.shell, method)
    return answer


def _wait_home(
    spec: HostSpec,
    connect: Connect,
    runner: Runner,
    lease_s: float,
    waited: bool,
    tell: Callable[[str], None],
) -> Answer:
    answer, answer_s = None, float(spec.boot.answer_within_s)
    if not (waited and can_cycle(spec)):
        patience_s = answer_s if can_cycle(spec) else answer_s + lease_s
        tell(f"waiting up to {patience_s:.0f} s for the known-good kernel")
        answer = wait_for(connect, known_good, patience_s)
    if answer is None and can_cycle(spec):
        tell("no answer: taking the power away")
        cycle_power(spec, runner)
        answer = wait_for(connect, known_good, answer_s)
    if answer is None:
        raise InfrastructureError(
            f"host {spec.name} does not come back to its known-good kernel"
            + ("" if can_cycle(spec) else " and has no power method: press its reset button")
            + f"; then: vmapbench host recover {spec.name}"
        )
    return answer
