"""`kind: ssh`: what a playbook says of a lab host."""

from typing import ClassVar, Literal

from harness.spec.kernel import Name
from harness.spec.target import CpuCount, TargetSpec


class SshSpec(TargetSpec):
    """A lab host; `host` names its file, or the command line does (--hosts).

    With fewer `cpus` than it has, it boots with so many.
    """

    remote: ClassVar[bool] = True

    kind: Literal["ssh"]
    """A lab host, reached over ssh. Example: `ssh`"""
    host: Name | None = None
    """The name of its host file; else `--hosts` says it. Example: `threadripper`"""
    cpus: CpuCount
    """CPUs that it boots with; it has to have as many. Example: `64`"""


Spec = SshSpec
