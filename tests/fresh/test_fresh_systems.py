"""The README's first command on newly installed systems, by everyone who may type it."""

from tests.fresh.system import PLAIN, SUDOER

DEMO = ["make", "demo"]


def packages(system):
    argv = ["dpkg-query", "-W", "-f", "${Package}\n"]
    return set(system.run(argv, user="root").stdout.split())


def test_who_may_not_install_is_told_what_an_administrator_has_to(system):
    folder = f"/home/{PLAIN}/vmapbench"
    system.clone(folder, PLAIN)
    before = packages(system)
    done = system.run(DEMO, user=PLAIN, folder=folder)
    assert done.returncode == 2, done.stdout  # make's own, for a command that failed
    assert "apt-get install" in done.stdout
    assert "linux-source-6.12" in done.stdout
    assert "qemu-system-x86" in done.stdout
    assert packages(system) == before


def test_without_sudo_too(system):
    system.run(["rm", "/usr/bin/sudo"], user="root").check_returncode()
    folder = f"/home/{SUDOER}/vmapbench"
    system.clone(folder, SUDOER)
    done = system.run(DEMO, user=SUDOER, folder=folder)
    assert done.returncode == 2, done.stdout
    assert "apt-get install" in done.stdout


def test_root_may_ask_first_what_would_be_installed(system):
    system.clone("/root/vmapbench", "root")
    before = packages(system)
    done = system.run(DEMO, user="root", folder="/root/vmapbench", NO_INSTALL="1")
    assert done.returncode == 2, done.stdout
    assert "missing: bc" in done.stdout
    assert packages(system) == before


def test_root_runs_the_unit_tests(system):
    """They need nothing but what every first command installs."""
    system.clone("/root/vmapbench", "root")
    done = system.run(["make", "unit"], user="root", folder="/root/vmapbench")
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


def test_a_user_with_sudo_compares_two_kernels_in_a_path_with_spaces(system):
    folder = f"/home/{SUDOER}/a folder with spaces/vmapbench"
    system.run(["mkdir", "-p", folder], user=SUDOER).check_returncode()
    system.clone(folder, SUDOER)
    done = system.run(DEMO, user=SUDOER, folder=folder)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "page: reports/" in done.stdout
    page = ["test", "-s", "reports/latest/index.html"]
    system.run(page, user=SUDOER, folder=folder).check_returncode()
