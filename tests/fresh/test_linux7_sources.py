"""The sources of Linux 7.2 and 7.3 on newly installed systems, by the documented command."""

from tests.fresh.system import SUDOER

FOLDER = f"/home/{SUDOER}/vmapbench"


def test_the_sources_of_linux_7_install(system):
    system.clone(FOLDER, SUDOER)
    done = system.run(["setup/install.sh", "linux7"], user=SUDOER, folder=FOLDER)
    assert done.returncode == 0, done.stdout[-3000:]
    argv = [".venv/bin/vmapbench", "build", "linux-7.2", "linux-7.3", "--dry-run"]
    planned = system.run(argv, user=SUDOER, folder=FOLDER)
    assert planned.returncode == 0, planned.stdout
    for version in ("7.2", "7.3"):
        assert f"linux-{version}: " in planned.stdout
        tarball = f"/usr/src/linux-source-{version}.tar.xz"
        system.run(["test", "-s", tarball], user=SUDOER).check_returncode()
