"""Host files: one lab host each, in `playbooks/hosts` or the user's configuration folder."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, field_validator

from harness.errors import InputError, SpecError
from harness.plugins import names
from harness.spec.boot_parameters import BootParameter
from harness.spec.document import Document, load_document
from harness.spec.kernel import Name

Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:%-]*\Z")]
User = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]*\$?\Z")]
Port = Annotated[int, Field(ge=1, le=65535)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
# Absolute, no `..`, and no character that is special to a shell, sudoers or a boot loader.
HostPath = Annotated[
    str, Field(pattern=r"^(?!.*/\.\.?(/|\Z))(/[A-Za-z0-9._+-]+)+\Z", max_length=255)
]
Argv = Annotated[tuple[Annotated[str, Field(pattern=r"^[^\0\n]+\Z")], ...], Field(min_length=1)]

_SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|private_?key|api_?key", re.I)
_ADVICE = (
    "looks like a secret, and this file must hold none: use the ssh agent, ~/.ssh/config, or an "
    "environment variable (power: {method: ipmi, variable: NAME_OF_THE_VARIABLE})"
)


class Jump(Document):
    """A jump host. Its key has to be trusted like the lab host's own."""

    address: Address
    """Name or address of the jump host. Example: `gateway.example.org`"""
    port: Port | None = None
    """Its ssh port; default: that of ~/.ssh/config, else 22. Example: `2222`"""
    user: User | None = None
    """The user there. Example: `lab`"""


class NoPower(Document):
    """The power cannot be switched from here."""

    method: Literal["none"] = "none"
    """Only a person at the machine can switch it. Example: `none`"""


class IpmiPower(Document):
    """The host's BMC, through ipmitool."""

    method: Literal["ipmi"]
    """The host's BMC, through ipmitool. Example: `ipmi`"""
    address: Address
    """Name or address of the BMC. Example: `bmc.example.org`"""
    user: User = "admin"
    """User on the BMC. Example: `admin`"""
    interface: Literal["lanplus", "lan", "open"] = "lanplus"
    """Interface, as for `ipmitool -I`. Example: `lanplus`"""
    variable: Variable = "IPMI_PASSWORD"
    """The environment variable that holds the password. Example: `IPMI_PASSWORD`"""


class CommandPower(Document):
    """A program of the user's that switches the power off and on again; run without a shell."""

    method: Literal["command"]
    """A program of the user's. Example: `command`"""
    cycle: Argv
    """The program that switches the power off and on again, with its arguments. Example:
    `[power-cycle, outlet7]`
    """


class HttpPower(Document):
    """An HTTP request to a power strip."""

    method: Literal["http"]
    """An HTTP request to a power strip. Example: `http`"""
    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")]  # no user:password@
    """The address to request. Example: `http://strip.example.org/cycle`"""
    request: Literal["GET", "POST", "PUT"] = "POST"
    """The method of the request. Example: `POST`"""
    body: str = ""
    """Body of the request. Example: `{"outlet": 7}`"""
    variable: Variable | None = None
    """The environment variable that holds the Authorization header. Example: `STRIP_TOKEN`"""


class LabgridPower(Document):
    """A place of a labgrid coordinator, which is also acquired for the run."""

    method: Literal["labgrid"]
    """A place of a labgrid coordinator. Example: `labgrid`"""
    place: Name
    """Name of the place, which is also acquired for the run. Example: `bench-3`"""


Power = Annotated[
    NoPower | IpmiPower | CommandPower | HttpPower | LabgridPower, Field(discriminator="method")
]


BOOT_METHODS = tuple(name.replace("_", "-") for name in names("harness.targets.ssh.boot"))


def _known_boot_method(method: str) -> str:
    if method not in BOOT_METHODS:
        raise ValueError(f"expected one of {', '.join(BOOT_METHODS)}")
    return method


class BootSpec(Document):
    """How a trial kernel is started once, and how the host returns to its own kernel unattended.

    A trial kernel resets the machine unless the harness confirms it in time. `initrd` mounts the
    host's root file system for the trial kernel.
    """

    method: Annotated[str, AfterValidator(_known_boot_method)] = "kexec"
    """How a trial kernel is started once: kexec, grub or systemd-boot. Example: `grub`"""
    confirm_within_s: Annotated[int, Field(ge=30, le=7200)] = 300
    """Seconds after which a trial kernel that was not confirmed resets the machine. Example: `300`
    """
    answer_within_s: Annotated[int, Field(ge=10, le=7200)] = 600
    """Seconds from the reset until ssh answers. Example: `600`"""
    panic_s: Annotated[int, Field(ge=1, le=600)] = 30
    """Seconds from a panic to the reset. Example: `30`"""
    parameters: tuple[BootParameter, ...] = ()
    """Added to the command line of every trial boot. Example: `[console=ttyS0]`"""
    initrd: HostPath | None = None
    """The initial file system for trials; default: that of the running release. Example:
    `/boot/initrd.img-6.12`
    """
    partition: HostPath = "/boot/efi"
    """Mount point of systemd-boot's partition. Example: `/boot/efi`"""


class HostTopology(Document):
    """What the host must have; `host check` and every boot verify it."""

    cpus: Annotated[int, Field(ge=1, le=8192)]
    """Number of CPUs. Example: `64`"""
    sockets: Annotated[int, Field(ge=1)] | None = None
    """Number of sockets. Example: `1`"""
    threads_per_core: Annotated[int, Field(ge=1)] | None = None
    """Threads per core. Example: `2`"""
    numa_nodes: Annotated[int, Field(ge=1)] | None = None
    """Number of NUMA nodes. Example: `1`"""


class HostSpec(Document):
    """One machine that is reached over ssh. There is no way to accept an unknown host key."""

    version: Literal[1]
    """Version of the format. Example: `1`"""
    name: Name
    """The name of the file, without .yaml. Example: `threadripper`"""
    summary: str = ""
    """What the machine is. Example: `Threadripper 3970X under the desk`"""
    address: Address
    """Name or address, or a Host of ~/.ssh/config. Example: `tr.example.org`"""
    port: Port | None = None
    """Port of ssh; default: that of ~/.ssh/config, else 22. Example: `2222`"""
    user: User | None = None
    """The user there. Example: `lab`"""
    jump: tuple[Jump, ...] = ()
    """Hosts to go through, the nearest first. Example: `[{address: gateway.example.org}]`"""
    identity: str | None = None  # path of a private key that the agent unlocks or that is bare
    """Path of a private key. Example: `~/.ssh/lab`"""
    known_hosts: str = "own"
    """`own`: the file of `vmapbench host trust`; `user`: ~/.ssh/known_hosts; or a path. Example:
    `user`
    """
    sudo: bool = True
    """Whether commands that need root go through sudo. Example: `false`"""
    state: HostPath = "/var/lib/vmapbench"
    """A folder on the host, on a disk that survives a reset. Example: `/var/lib/vmapbench`"""
    boot: BootSpec = BootSpec()
    """How a trial kernel is started, and how the host recovers. Example: `{method: grub}`"""
    power: Power = NoPower()
    """How the power is cycled when nothing else helps. Example: `{method: ipmi, address:
    bmc.example.org}`
    """
    console: Argv | None = None  # a program that prints the serial console (conserver, SOL ...)
    """A program that prints the serial console. Example: `[conserver, tr]`"""
    topology: HostTopology | None = None
    """What the host must have. Example: `{cpus: 64}`"""
    tuning: Name = "none"
    """The tuning profile for measurements. Example: `benchmark`"""
    labels: tuple[Name, ...] = ()
    """Labels, for `--hosts label=WORD`. Example: `[amd, quiet]`"""
    folder: Path  # of the file; set by `load_host`
    """The folder of the file."""

    @field_validator("jump")
    @classmethod
    def _jumps_are_few(cls, value: tuple[Jump, ...]) -> tuple[Jump, ...]:
        if len(value) > 4:
            raise ValueError("more than 4 jump hosts in a row")
        return value


def host_folders() -> tuple[Path, ...]:
    """Return the folders of host files; the first that has a name wins."""
    return (Path("playbooks/hosts"), platformdirs.user_config_path("vmapbench") / "hosts")


def load_host_file(path: Path) -> HostSpec:
    """Return the host that `path` describes; the file's name is the host's.

    Raises InputError or SpecError with every fault and its line; never shows a secret's value.
    """
    try:
        return load_document(path, HostSpec, name=path.stem, folder=str(path.parent.resolve()))
    except SpecError as error:
        raise SpecError(error.path, [_without_secrets(fault) for fault in error.faults]) from None


def load_host(name: str, folders: Iterable[Path] | None = None) -> HostSpec:
    """Return the host called `name`. Raises InputError with the known hosts."""
    places = tuple(folders if folders is not None else host_folders())
    files = {path.stem: path for path in host_files(places)}
    if name not in files:
        looked = ", ".join(map(str, places))
        known = ", ".join(sorted(files)) or "none"
        raise InputError(f"host {name}: no {name}.yaml in {looked}; known hosts: {known}")
    return load_host_file(files[name])


def host_files(folders: Iterable[Path] | None = None) -> list[Path]:
    """Return the host files; of two with the same name, that of the earlier folder."""
    found: dict[str, Path] = {}
    for folder in folders if folders is not None else host_folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return list(found.values())


def select_hosts(choice: str, folders: Iterable[Path] | None = None) -> list[HostSpec]:
    """Return the hosts that `choice` selects: names and `label=WORD`, comma-separated; each once.

    Raises InputError for a name or a label that no host file has.
    """
    places = tuple(folders if folders is not None else host_folders())
    chosen: dict[str, HostSpec] = {}
    for word in choice.split(","):
        label = word.strip().removeprefix("label=") if word.strip().startswith("label=") else None
        if label is None:
            found = [load_host(word.strip(), places)]
        else:
            found = [
                host
                for path in host_files(places)
                if label in (host := load_host_file(path)).labels
            ]
        if not found:
            raise InputError(f"no host has the label {label}\n  next: vmapbench host list")
        chosen |= {host.name: host for host in found}
    return list(chosen.values())


def _without_secrets(fault: str) -> str:
    line, _, rest = fault.partition(": ")
    key, _, _ = rest.partition(": ")
    if _SECRET.search(key.rpartition(".")[2]):
        return f"{line}: {key}: {_ADVICE}"
    return re.sub(r"://[^/\s@]*@", "://***@", fault)
