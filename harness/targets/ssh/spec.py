"""`kind: ssh`: the target section of a playbook for lab hosts."""

from typing import ClassVar, Literal

from harness.spec.kernel import Name
from harness.spec.target import CpuCount, TargetSpec


class SshSpec(TargetSpec):
    """The target section of a playbook with `kind: ssh`.

    The host is `host` or one of `--hosts`; it boots with `cpus` of its CPUs.
    """

    remote: ClassVar[bool] = True

    kind: Literal["ssh"]
    """A lab host, reached over ssh. Example: `ssh`"""
    host: Name | None = None
    """Name of the host file; default: the hosts of `--hosts`. Example: `threadripper`"""
    cpus: CpuCount
    """Number of CPUs to boot with, at most those of the host. Example: `64`"""


Spec = SshSpec
