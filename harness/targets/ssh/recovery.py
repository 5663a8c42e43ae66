"""Brings a host home outside of a run."""

import contextlib
from collections.abc import Callable

from harness.process import Runner
from harness.spec.host import HostSpec
from harness.targets.ssh.boot_method import boot_method
from harness.targets.ssh.home import bring_home
from harness.targets.ssh.identity import Running
from harness.targets.ssh.lock import HostLock, this_process
from harness.targets.ssh.shell import Shell
from harness.targets.ssh.transport import ConnectionLostError, HostShell


def recover_host(spec: HostSpec, runner: Runner, tell: Callable[[str], None]) -> Running:
    """Take the host's lock, bring it to its known-good kernel, disarm, and give it back.

    A host that does not answer is power-cycled where there is a way; its lock is looked at after
    that. Raises InputError when a living run holds it, InfrastructureError when it is lost.
    """

    def connect() -> Shell:
        return HostShell(spec)

    method, lock = boot_method(spec.boot), HostLock(spec.state, this_process("host recover"))
    lease_s = spec.boot.answer_within_s + spec.boot.confirm_within_s
    locked = False
    with contextlib.suppress(ConnectionLostError), contextlib.closing(connect()) as shell:
        lock.acquire(shell, 4 * lease_s, tell)
        locked = True
    answer = bring_home(spec, method, connect, runner, lease_s=float(lease_s), tell=tell)
    with contextlib.closing(answer.shell) as shell:
        if locked:
            lock.release(shell)
    return answer.running
