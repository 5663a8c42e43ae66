"""A Debian system in a folder, as its installer leaves it, in which commands run by chroot.

What a chroot cannot show: another kernel, systemd, and a disk, memory or network of its own.
"""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SUDOER, PLAIN = "developer", "guest"  # the users beside root; neither needs a password
_PACKAGES = ("ca-certificates", "git", "make", "sudo")  # what one has who cloned and types make
# What this machine needs to reach package indexes; files among the values are shown to the system.
_PASSED = (
    *("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_CERT", "UV_DEFAULT_INDEX"),
    "SSL_CERT_FILE",
)
# $1: root of the system, then pairs of files to show in it, then "--", then the command.
_ENTER = """
root=$1; shift
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
while [ "$1" != -- ]; do
    mkdir -p "$root${1%/*}"; [ -e "$root$1" ] || : >"$root$1"
    mount --bind "$1" "$root$1"; shift
done
shift
exec chroot "$root" "$@"
"""
_USERS = f"""
chroot "$1" useradd --create-home --shell /bin/bash {SUDOER}
chroot "$1" useradd --create-home --shell /bin/bash {PLAIN}
echo '{SUDOER} ALL=(ALL) NOPASSWD: ALL' >"$1/etc/sudoers.d/{SUDOER}"
"""


@dataclass(frozen=True)
class FreshSystem:
    """`root`: the folder with the system."""

    root: Path

    def copy_from(self, other: Path) -> None:
        """Become a copy of another system."""
        argv = ["cp", "-a", "--reflink=auto", str(other), str(self.root)]
        subprocess.run(argv, check=True)

    def clone(self, folder: str, user: str) -> None:
        """Give `user` a clone of this repository's last commit at `folder`."""
        place = f"{self.root}{folder}"
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", REPOSITORY, place], check=True)
        self.run(["chown", "-R", f"{user}:", folder], user="root").check_returncode()

    def run(self, argv, *, user, folder="/", **environment) -> subprocess.CompletedProcess:
        """Run a command as `user` in `folder`, with LANG=C and no terminal.

        Both streams come back as one text, in `stdout`.
        """
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        files = [value for value in passed.values() if Path(value).is_file()]
        settings = {"LANG": "C", **passed, **environment}
        inner = f"cd {shlex.quote(folder)} && exec {shlex.join(argv)}"
        # runuser -l makes the environment of a login, of which the settings are the only extras.
        words = [f"{name}={value}" for name, value in settings.items()]
        login = ["runuser", "-l", user, "-c", f"exec env {shlex.join(words)} sh -c "]
        login[-1] += shlex.quote(inner)
        space = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        return subprocess.run(
            [*space, "sh", "-euc", _ENTER, "sh", str(self.root), *files, "--", *login],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that nothing in it can open a terminal
            check=False,
        )


def make_system(root: Path, release: str, *packages: str) -> None:
    """Install `release` with its users, and `packages`, from where this machine takes Debian's."""
    done = subprocess.run(
        [
            *("mmdebstrap", "--variant=important", "--format=directory", "--mode=root"),
            *(f"--include={','.join((*_PACKAGES, *packages))}", "--dpkgopt=force-unsafe-io"),
            *(f"--customize-hook={_USERS}", "--customize-hook=copy-in /etc/resolv.conf /etc"),
            *(release, str(root), "-"),
        ],
        input=_sources(release),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def _sources(release: str) -> str:
    """Return this machine's own sources of Debian, as lines for another release."""
    own = next(
        line.partition("=")[2].strip('"')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    form = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)"
    argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    wanted = {own: release, f"{own}-updates": f"{release}-updates"}
    wanted[f"{own}-security"] = f"{release}-security"
    lines = set()
    for line in listed.splitlines():
        origin, suite, address = line.split("|")
        if origin == "Debian" and suite in wanted:
            lines.add(f"deb {address} {wanted[suite]} main\n")
    assert lines, f"apt has no source of Debian {own}"
    return "".join(sorted(lines))
