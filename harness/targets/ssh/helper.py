"""The helper, which runs as root on a lab host, and the sudoers file that allows it.

The program is helper.sh with the host's paths, the knobs of tuning.yaml and the functions of all
boot methods: a single file, which an administrator reads and installs. If the account is root
(`sudo: false`) the same text is run by `sh -c`, and nothing is installed.
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files

from harness.spec.host import BOOT_METHODS, HostSpec
from harness.targets.histograms import lock_triggers
from harness.targets.ssh.boot_method import method_module
from harness.targets.ssh.tuning import load_tuning

PATH = "/usr/local/sbin/vmapbench-lab"
SAMPLES_PER_S = 199  # of each CPU; a prime, so that it keeps step with nothing periodic
_NAME = "vmapbench-lab"
_TEXT = files("harness.targets.ssh") / "helper.sh"


def trial_folder(spec: HostSpec) -> str:
    """Return the folder on the host for the files of a trial.

    With sudo it is not below the account's own folder, where the account could place a symbolic
    link to make root write elsewhere.
    """
    return "/var/cache/vmapbench" if spec.sudo else f"{spec.state}/trial"


def host_initrd(spec: HostSpec, release: str) -> str:
    """Return the path of the initramfs that mounts the host's root file system."""
    return spec.boot.initrd or f"/boot/initrd.img-{release}"


def render_helper(spec: HostSpec) -> str:
    """Return the text of the helper program for this host. Pure."""
    settings = (  # paths in a host file have no characters that are special to a shell
        f"folder={trial_folder(spec)}",
        f"initrd={host_initrd(spec, '$(uname -r)')}",
        f"partition={spec.boot.partition} # of systemd-boot",
        f"rate={SAMPLES_PER_S} # samples of a CPU in a second",
    )
    knobs = (f"{name}\t{pattern}" for name, pattern in load_tuning().knobs.items())
    methods = (method_module(name).HELPER.strip("\n") for name in BOOT_METHODS)
    text = _TEXT.read_text(encoding="utf-8")
    for word, value in (
        ("@SETTINGS@", "\n".join(settings)),
        ("@METHODS@", "".join(f"{functions}\n\n" for functions in methods).rstrip("\n") + "\n"),
        ("@NAMES@", " | ".join(BOOT_METHODS)),
        ("@KNOBS@", "\n".join(knobs)),
        ("@TRIGGERS@", "\n".join(f"{file}\t{line}" for file, line in lock_triggers())),
    ):
        text = text.replace(word, value)
    return text


def digest(spec: HostSpec) -> str:
    """Return the SHA-256 of the helper program for this host, in hex."""
    return hashlib.sha256(render_helper(spec).encode()).hexdigest()


def root_argv(spec: HostSpec, parts: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs a verb of the helper with its arguments as root."""
    if spec.sudo:
        return ("sudo", "-n", "--", PATH, *parts)
    return ("sh", "-c", render_helper(spec), _NAME, *parts)


def render_sudoers(spec: HostSpec, account: str) -> str:
    """Return the text of /etc/sudoers.d/vmapbench for this host and account. Pure."""
    return (
        f"# What vmapbench runs as root on {spec.name}: one program, which checks its words.\n"
        "# Mode 0440. Install it after visudo -c has accepted it, and after the program.\n"
        f"{account} ALL=(root) NOPASSWD: {PATH}\n"
    )
