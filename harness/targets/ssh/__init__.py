"""Lab hosts: real machines that are reached over ssh. See docs/howto/lab.md."""

from harness.targets.ssh.target import SshTarget, make_target

__all__ = ["SshTarget", "make_target"]
