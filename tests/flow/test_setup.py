"""Where setup finds Debian: apt itself, with folders of its own and repositories on this disk."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "setup/add-suite.sh"
SUITE = "made-up-backports"
PACKAGES = "Package: a\nVersion: 1\nArchitecture: amd64\nFilename: a.deb\nSize: 1\n"


def codename():
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


class Apt:
    """apt with sources, lists and settings below one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.sources = folder / "etc/apt/sources.list.d"
        places = (
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg",
        )
        for place in (*places, "var/cache/apt/archives/partial", "etc/apt/sources.list.d"):
            (folder / place).mkdir(parents=True)
        (folder / "var/lib/dpkg/status").touch()
        (folder / "apt.conf").write_text(
            f'Dir "{folder}";\nDir::State::status "{folder}/var/lib/dpkg/status";\n'
            'Dir::Bin::methods "/usr/lib/apt/methods";\nAPT::Sandbox::User "root";\n'
        )

    def offer(self, name, origin, suite):
        """Make a repository of one package and let apt take from it; return its address."""
        place = self.folder / name / "dists" / suite
        (place / "main/binary-amd64").mkdir(parents=True)
        (place / "main/binary-amd64/Packages").write_text(PACKAGES)
        digest = hashlib.sha256(PACKAGES.encode()).hexdigest()
        (place / "Release").write_text(
            f"Origin: {origin}\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\n"
            "Components: main\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n"
            f" {digest} {len(PACKAGES)} main/binary-amd64/Packages\n"
        )
        address = f"file:{self.folder / name}"
        line = f"deb [trusted=yes arch=amd64] {address} {suite} main\n"
        (self.sources / f"{name}.list").write_text(line)
        return address

    def run(self, *argv):
        env = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf")}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    def add_suite(self):
        assert (done := self.run("apt-get", "update", "-qq")).returncode == 0, done.stderr
        return self.run(SCRIPT, SUITE)


@pytest.fixture
def apt(tmp_path):
    return Apt(tmp_path)


def test_the_mirror_is_debian_s_though_another_vendor_s_comes_first(apt):
    apt.offer("a-vendor", "Vendor of Debian packages", codename())
    debian = apt.offer("debian", "Debian", codename())
    done = apt.add_suite()
    assert done.returncode == 0, done.stderr
    assert f"URIs: {debian}" in (apt.sources / f"{SUITE}.sources").read_text()


def test_without_a_source_of_debian_nothing_is_written(apt):
    apt.offer("a-vendor", "Vendor", codename())
    done = apt.add_suite()
    assert done.returncode == 3
    assert f"add {SUITE} by hand" in done.stderr
    assert list(apt.sources.glob("*.sources")) == []


def test_a_suite_that_is_there_is_not_added_again(apt):
    apt.offer("debian", "Debian", codename())
    apt.offer("backports", "Debian Backports", SUITE)
    done = apt.add_suite()
    assert (done.returncode, done.stdout) == (0, "")
    assert list(apt.sources.glob("*.sources")) == []
