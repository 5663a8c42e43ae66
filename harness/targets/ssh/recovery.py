"""Returns a host to its known-good kernel outside of a run."""

import contextlib
from collections.abc import Callable

from harness.process import Runner
from harness.spec.host import HostSpec
from harness.targets.ssh.boot_method import boot_method
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.identity import Running
from harness.targets.ssh.lock import HostLock, this_process
from harness.targets.ssh.restore import restore_known_good
from harness.targets.ssh.shell import Shell
from harness.targets.ssh.transport import HostShell


def recover_host(spec: HostSpec, runner: Runner, notify: Callable[[str], None]) -> Running:
    """Lock the host, restore its known-good kernel, disarm the trial, and unlock it.

    Returns the kernel that runs. A host that does not answer is power-cycled, if it has a power
    method, and locked after that. Raises InputError if a running process holds the lock,
    InfrastructureError if the host cannot be restored.
    """

    def connect() -> Shell:
        return HostShell(spec)

    method, lock = boot_method(spec.boot), HostLock(spec.state, this_process("host recover"))
    lease_s = spec.boot.answer_within_s + spec.boot.confirm_within_s
    locked = False
    with contextlib.suppress(ConnectionLostError), contextlib.closing(connect()) as shell:
        lock.acquire(shell, 4 * lease_s, notify)
        locked = True
    answer = restore_known_good(
        spec, method, connect, runner, lease_s=float(lease_s), notify=notify
    )
    with contextlib.closing(answer.shell) as shell:
        if locked:
            lock.release(shell)
    return answer.running
