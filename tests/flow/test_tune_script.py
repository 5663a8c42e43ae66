"""tune.sh on files of a folder; systemd-run and systemctl only note how they were called."""

import subprocess
from importlib.resources import files

import pytest

PLAN = "governor\t{0}/cpu*/governor\tperformance\npages\t{0}/thp\tnever\nlook\t{0}/look\t-\n"


class Tuner:
    """The script in a state folder of its own, and the knobs it sets."""

    def __init__(self, folder):
        self.folder, self.knobs = folder, folder / "knobs"
        for name, value in {
            "cpu0/governor": "powersave",
            "cpu1/governor": "schedutil",
            "thp": "always [madvise] never",
            "look": "7",
        }.items():
            file = self.knobs / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
        (folder / "bin").mkdir()
        self.program("systemctl", "exit 0")
        self.program("systemd-run", f'cp {folder}/journal {folder}/seen; echo "$*" >{folder}/timer')
        text = (files("harness.targets.ssh") / "tune.sh").read_text()
        path = f"export PATH={folder}/bin:/usr/bin:/bin"
        (folder / "tune").write_text(
            text.replace("export PATH=/usr/sbin:/usr/bin:/sbin:/bin", path)
        )

    def program(self, name, text):
        file = self.folder / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def run(self, *words, plan=PLAN):
        return subprocess.run(
            ["sh", str(self.folder / "tune"), *words],
            input=plan.format(self.knobs),
            capture_output=True,
            text=True,
            check=False,
        )

    def values(self):
        names = ("cpu0/governor", "cpu1/governor", "thp", "look")
        return [(self.knobs / name).read_text().strip() for name in names]


@pytest.fixture
def tuner(tmp_path):
    return Tuner(tmp_path)


def test_knobs_are_set_read_back_and_put_back(tuner):
    done = tuner.run("apply", "60")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("governor", "powersave", "performance"),
        ("governor", "schedutil", "performance"),
        ("pages", "madvise", "never"),
        ("look", "7", "7"),
    ]
    assert tuner.values() == ["performance", "performance", "never", "7"]
    assert tuner.run("restore").returncode == 0
    assert tuner.values() == ["powersave", "schedutil", "madvise", "7"]
    assert not (tuner.folder / "journal").exists()


def test_the_journal_and_the_timer_are_there_before_anything_changes(tuner):
    tuner.program("systemd-run", f'cat {tuner.knobs}/cpu0/governor >{tuner.folder}/then; echo "$*"')
    done = tuner.run("apply", "77")
    assert (tuner.folder / "then").read_text().strip() == "powersave"
    assert "--on-active=77" in done.stdout
    assert "powersave" in (tuner.folder / "journal").read_text()


def test_nothing_is_changed_where_nobody_promises_to_restore(tuner):
    tuner.program("systemd-run", "exit 1")
    assert tuner.run("apply", "60").returncode == 1
    assert tuner.values() == ["powersave", "schedutil", "always [madvise] never", "7"]


def test_a_killed_harness_leaves_what_the_timer_restores(tuner):
    tuner.run("apply", "60")
    command = (tuner.folder / "timer").read_text().split()
    subprocess.run(command[command.index("/bin/sh") :], check=True)
    assert tuner.values() == ["powersave", "schedutil", "madvise", "7"]


def test_applied_twice_the_first_values_come_back(tuner):
    tuner.run("apply", "60")
    tuner.run("apply", "60")
    tuner.run("restore")
    assert tuner.values() == ["powersave", "schedutil", "madvise", "7"]


def test_a_journal_of_another_boot_is_void(tuner):
    (tuner.folder / "journal").write_text(f"boot\tanother\n{tuner.knobs}/look\t1\n")
    tuner.run("restore")
    assert tuner.values()[3] == "7"
    assert not (tuner.folder / "journal").exists()


def test_looking_only_asks_nobody_for_a_promise(tuner):
    done = tuner.run("apply", "60", plan="look\t{0}/look\t-\nnone\t{0}/missing\t1\n")
    assert done.stdout.count("\n") == 1
    assert not (tuner.folder / "timer").exists()
    assert not (tuner.folder / "journal").exists()


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_on_a_full_disk_nothing_is_changed(tuner, blocks):
    """A limit on the size of files fails a write in the middle, as a full disk does."""
    rows = "".join(f"look{n}\t{{0}}/many/{n:0>60}\tother\n" for n in range(60))
    (tuner.knobs / "many").mkdir()
    for number in range(60):
        (tuner.knobs / "many" / f"{number:0>60}").write_text("7\n")
    plan = (PLAN + rows).format(tuner.knobs)
    assert len(plan) > 1024 * blocks
    limited = f"trap '' XFSZ; ulimit -f {blocks}; exec sh {tuner.folder}/tune apply 60"
    done = subprocess.run(
        ["sh", "-c", limited], input=plan, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is the disk full?: nothing was changed" in done.stderr
    assert tuner.values() == ["powersave", "schedutil", "always [madvise] never", "7"]
    assert not (tuner.folder / "timer").exists()
    assert not (tuner.folder / "journal").exists()
