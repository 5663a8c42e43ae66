"""The disk of a lab host in a box: Debian with GRUB, OpenSSH, kexec and perf, made once and kept.

No root is needed: mmdebstrap works in a user namespace where it must. The packages come from
wherever this machine takes its own.
"""

import hashlib
import shlex
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.spec.architecture import ARM64, X86_64, Architecture

ACCOUNT = "lab"
_FORMAT = "3"
_DISK_MIB = 2048
_FIRST_SECTOR = 2048  # of the first partition; on a PC GRUB's core image lies before it
_UUID = "5ab0c3f2-6d7e-4a51-9c1f-0c7a3d2e1b44"
_PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "kmod", "iproute2", "procps", "util-linux"),
    *("openssh-server", "sudo", "kexec-tools", "initramfs-tools", "grub2-common", "zstd"),
    "linux-perf",
)
_MODULES = "virtio_pci\nvirtio_blk\nvirtio_net\next4\n"  # what the known-good kernel's initrd has
# Nothing may run behind a measurement's back, nor delay a boot under emulation.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-tmpfiles-clean.timer"),
    *("systemd-networkd-wait-online.service", "systemd-update-utmp.service", "kexec-load.service"),
    *("getty@tty1.service", "getty-static.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"),
    *("modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@fuse.service"),
    *("modprobe@loop.service", "modprobe@drm.service", "modprobe@efi_pstore.service"),
)
_NETWORK = """[Match]
Name=eth0
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


@dataclass(frozen=True)
class LabMachine:
    """What differs between the boxes of two architectures. `kernels`: shipped ones, two."""

    debian: str  # what dpkg calls the architecture
    arch: Architecture
    packages: tuple[str, ...]
    boot_parameters: str
    grub_format: str  # of grub-mkimage
    grub_modules: str
    efi_mib: int  # of the system partition, the first one; 0: firmware of a PC
    efi_file: str
    qemu: tuple[str, ...]
    tuning: str
    kernels: tuple[str, str]

    @property
    def command_line(self) -> str:
        """Of the known-good kernel."""
        return f"console={self.arch.console},115200 {self.boot_parameters} net.ifnames=0 panic=5"

    @property
    def grub_prefix(self) -> str:
        """GRUB's folder, as GRUB says it."""
        return f"(hd0,msdos{2 if self.efi_mib else 1})/boot/grub"

    @property
    def root_sector(self) -> int:
        """Where the root partition begins."""
        return _FIRST_SECTOR + self.efi_mib * 2048


PC = LabMachine(
    debian="amd64",
    arch=X86_64,
    packages=("linux-image-cloud-amd64", "grub-pc-bin"),
    boot_parameters="no_timer_check nowatchdog",
    grub_format="i386-pc",
    grub_modules="biosdisk part_msdos ext2 normal linux configfile loadenv search echo test",
    efi_mib=0,
    efi_file="",
    # One thread for both CPUs: with one each, QEMU 10.0 has ended itself as the guest set up its
    # PCI devices (system/physmem.c, iotlb_to_section: assertion failed).
    qemu=(
        *("-machine", "q35,hpet=on", "-cpu", "max,-hypervisor", "-accel", "tcg,thread=single"),
        *("-device", "i6300esb"),
    ),
    tuning="generic-x86",
    kernels=("lab-vmap-nodes", "lab-single-node"),
)
ARM64_SERVER = LabMachine(
    debian="arm64",
    arch=ARM64,
    packages=("linux-image-cloud-arm64", "grub-efi-arm64-bin"),
    boot_parameters="nowatchdog",
    grub_format="arm64-efi",
    grub_modules="part_msdos ext2 normal linux configfile loadenv search echo test",
    efi_mib=64,
    efi_file="BOOTAA64.EFI",
    qemu=(
        *("-machine", "virt,gic-version=3", "-cpu", "neoverse-n1", "-accel", "tcg"),
        *("-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),
    ),
    tuning="generic-arm64",
    kernels=("lab-arm64", "lab-arm64-single-node"),
)


@dataclass(frozen=True)
class LabImage:
    """A finished disk image. `user_key` is the private key that it lets in, as lab and as root."""

    folder: Path
    machine: LabMachine

    @property
    def disk(self) -> Path:
        """The raw image; always used through a snapshot."""
        return self.folder / "disk.img"

    @property
    def user_key(self) -> Path:
        """A private key without passphrase."""
        return self.folder / "user_key"

    @property
    def host_key(self) -> str:
        """The public half of the machine's key: type and base64."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])


def apt_sources() -> str:
    """Return this machine's own sources of its release, as lines for mmdebstrap."""
    release = _os_release()["VERSION_CODENAME"]
    listed = _output("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)")
    wanted = (release, f"{release}-security", f"{release}-updates")
    rows = {tuple(line.split()) for line in listed.splitlines() if line.split()[1] in wanted}
    assert rows, f"apt has no sources of {release}"
    return "".join(f"deb {uri} {suite} {part}\n" for uri, suite, part in sorted(rows))


def ensure_raw_image(machine: LabMachine) -> LabImage:
    """Return the image as it was installed, never started; made unless the cache has it."""
    about = f"{_FORMAT} {_os_release()['VERSION_CODENAME']} {machine.debian}".encode()
    key = hashlib.sha256(about + Path(__file__).read_bytes()).hexdigest()[:32]
    cache = Cache(cache_folder())
    entry = cache.place("lab-disk", key)
    with cache.lock(key, lambda: None):
        if not entry.exists():
            with cache.attempt("lab-disk", key) as folder:
                build_image(folder, machine)
    return LabImage(entry, machine)


def build_image(folder: Path, machine: LabMachine) -> None:
    """Make keys and disk in `folder`."""
    for name in ("user_key", "host_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-box", "-f", folder / name)
    overlay = folder / "overlay"
    for name, content in _files(folder, machine).items():
        path = overlay / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "setup").write_text(_SETUP)
    (folder / "pack").write_text(_PACK)
    sources = folder / "sources.list"
    sources.write_text(apt_sources())
    q = shlex.quote
    masked = " ".join((*_MASKED, f"serial-getty@{machine.arch.console}.service"))
    grub = f"{machine.grub_format} {q(machine.grub_prefix)} {q(machine.grub_modules)}"
    target = f"{q(str(folder))} {machine.root_sector}"
    _run(
        *("mmdebstrap", "--variant=minbase", "--format=null", f"--arch={machine.debian}"),
        f"--include={','.join((*_PACKAGES, *machine.packages))}",
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"),
        *("--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io"),
        '--aptopt=Acquire::Check-Valid-Until "false"',
        # Before the kernel is configured, so that its initial file system is made once, and right.
        f"--essential-hook=cp -r --no-preserve=ownership {q(str(overlay))}/etc/initramfs-tools"
        ' "$1/etc/"',
        f"--customize-hook=cp -r --no-preserve=ownership {q(str(overlay))}/. $1/",
        f'--customize-hook=sh -eu {q(str(folder / "setup"))} "$1" {q(masked)} {grub}',
        f'--customize-hook=sh -eu {q(str(folder / "pack"))} "$1" {target}',
        *(_os_release()["VERSION_CODENAME"], "/dev/null", str(sources)),
    )
    _write_partitions(folder / "disk.img", machine)
    if machine.efi_mib:
        _write_efi_partition(folder, machine)
    else:
        _write_boot_sectors(folder)


def _files(folder: Path, machine: LabMachine) -> dict[str, str]:
    """Return the configuration of the machine, by path."""
    user_key = (folder / "user_key.pub").read_text()
    return {
        "etc/hostname": "lab-box\n",
        "etc/hosts": "127.0.0.1 localhost lab-box\n",
        "etc/fstab": f"UUID={_UUID} / ext4 defaults,noatime 0 1\n",
        "etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
        f'GRUB_CMDLINE_LINUX="{machine.command_line}"\n'
        "GRUB_TERMINAL=console\nGRUB_DISABLE_OS_PROBER=true\n",
        "etc/default/kexec": "LOAD_KEXEC=false\n",
        "etc/systemd/network/eth0.network": _NETWORK,
        "etc/initramfs-tools/modules": _MODULES,
        "etc/initramfs-tools/conf.d/box": "MODULES=list\nCOMPRESS=lz4\nRESUME=none\n",
        "etc/ssh/ssh_host_ed25519_key": (folder / "host_key").read_text(),
        "etc/ssh/ssh_host_ed25519_key.pub": (folder / "host_key.pub").read_text(),
        "etc/ssh/sshd_config.d/box.conf": "HostKey /etc/ssh/ssh_host_ed25519_key\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 50\n",
        "root/.ssh/authorized_keys": user_key,
        f"home/{ACCOUNT}/.ssh/authorized_keys": user_key,
        # Until update-grub has run in the machine itself, at its first start.
        "boot/grub/grub.cfg": f"linux /vmlinuz root=UUID={_UUID} ro {machine.command_line}\n"
        "initrd /initrd.img\nboot\n",
    }


# $1: root of the new system, $2: units to mask, $3 to $5: GRUB's format, prefix and modules
_SETUP = f"""
chroot "$1" useradd --shell /bin/bash {ACCOUNT}
chroot "$1" chown -R {ACCOUNT}: /home/{ACCOUNT}
chroot "$1" chown -R root: /root /etc/ssh /etc/systemd/network /boot
chroot "$1" chmod 600 /etc/ssh/ssh_host_ed25519_key
chroot "$1" chmod 700 /root/.ssh /home/{ACCOUNT}/.ssh
chroot "$1" rm -f /etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ecdsa_key
chroot "$1" install -d -o {ACCOUNT} /var/lib/vmapbench
chroot "$1" systemctl enable systemd-networkd ssh
chroot "$1" systemctl mask $2
chroot "$1" systemd-machine-id-setup
chroot "$1" grub-mkimage -O "$3" -p "$4" -o /boot/core.img $5
mkdir -p "$1/boot/grub"
cp -r "$1/usr/lib/grub/$3" "$1/boot/grub/"
chroot "$1" grub-editenv /boot/grub/grubenv create
"""
# $1: root of the new system, $2: where the image goes, $3: first sector of the root partition.
# The bind mount leaves out /proc and /sys.
_PACK = f"""
mkdir "$2/root"
mount --bind "$1" "$2/root"
cp "$1/boot/core.img" "$2/"
[ ! -e "$1/boot/grub/i386-pc/boot.img" ] || cp "$1/boot/grub/i386-pc/boot.img" "$2/"
truncate -s {_DISK_MIB}M "$2/disk.img"
mke2fs -q -t ext4 -U {_UUID} -E offset=$(($3 * 512)) -O ^metadata_csum_seed,^orphan_file \\
    -d "$2/root" "$2/disk.img" $(({_DISK_MIB * 1024} - $3 / 2))k
umount "$2/root"
rmdir "$2/root"
"""


def _write_partitions(disk: Path, machine: LabMachine) -> None:
    """Put a partition table on the disk: the EFI system partition if it has one, and the root."""
    efi = machine.efi_mib * 2048
    wanted = [(0x00, 0xEF, _FIRST_SECTOR, efi)] if efi else []
    wanted.append((0x80, 0x83, machine.root_sector, _DISK_MIB * 2048 - machine.root_sector))
    table = b"".join(
        struct.pack("<B3sB3sII", active, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", first, count)
        for active, kind, first, count in wanted
    )
    with disk.open("r+b") as file:
        file.seek(446)
        file.write(table.ljust(64, b"\0") + b"\x55\xaa")


def _write_boot_sectors(folder: Path) -> None:
    """Put GRUB's boot sector and the core image on the disk of a PC.

    boot.img loads sector 1; grub-mkimage makes a core image that expects the rest of itself from
    sector 2 on: no list of blocks has to be written, and so no grub-bios-setup be run.
    """
    core = (folder / "core.img").read_bytes()
    assert len(core) <= (_FIRST_SECTOR - 1) * 512
    with (folder / "disk.img").open("r+b") as disk:
        disk.write((folder / "boot.img").read_bytes()[:440])
        disk.seek(512)
        disk.write(core)


def _write_efi_partition(folder: Path, machine: LabMachine) -> None:
    """Put GRUB where EFI firmware looks on a disk that it knows nothing of."""
    image = f"{folder / 'disk.img'}@@{_FIRST_SECTOR * 512}"
    _run("mformat", "-i", image, "-F", "-T", machine.efi_mib * 2048, "-h", 16, "-s", 32, "::")
    _run("mmd", "-i", image, "::EFI", "::EFI/BOOT")
    _run("mcopy", "-i", image, folder / "core.img", f"::EFI/BOOT/{machine.efi_file}")


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)


def _run(*argv) -> None:
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv[0]}: {(done.stdout + done.stderr)[-3000:]}"


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
