"""The helper's knobs on files of a folder; systemd-run and systemctl are stubs."""

import subprocess

import pytest

from tests.flow.helper_stand import HelperStand

KNOBS = (
    "governor\t{0}/knobs/cpu*/governor\npages\t{0}/knobs/thp\nlook\t{0}/knobs/look\n"
    "missing\t{0}/knobs/missing\nmany\t{0}/knobs/many/*\n"
)
FAST = ("governor=performance", "pages=never")
BEFORE = ["powersave", "schedutil", "always [madvise] never", "7"]


class Tuner(HelperStand):
    """The helper, and the knobs it sets."""

    def __init__(self, folder):
        super().__init__(folder, KNOBS)
        self.knobs, self.journal = folder / "knobs", folder / "run/journal"
        names = ("cpu0/governor", "cpu1/governor", "thp", "look")
        for name, value in zip(names, BEFORE, strict=True):
            file = self.knobs / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
        self.program("systemd-run", f'cp {folder}/run/journal {folder}/seen; echo "$*" >&2')

    def values(self):
        names = ("cpu0/governor", "cpu1/governor", "thp", "look")
        return [(self.knobs / name).read_text().strip() for name in names]

    def timers(self):
        """How systemd-run was called."""
        return [line for line in self.called() if line.startswith("systemd-run")]


@pytest.fixture
def tuner(tmp_path):
    return Tuner(tmp_path)


def test_knobs_are_set_read_back_and_put_back(tuner):
    done = tuner.run("tune", "60", *FAST)
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("governor", "powersave", "performance"),
        ("governor", "schedutil", "performance"),
        ("pages", "madvise", "never"),
        ("look", "7", "7"),
    ]
    assert tuner.values() == ["performance", "performance", "never", "7"]
    assert tuner.run("restore").returncode == 0
    assert tuner.values() == ["powersave", "schedutil", "madvise", "7"]
    assert not tuner.journal.exists()


def test_the_journal_and_the_timer_are_there_before_anything_changes(tuner):
    tuner.program("systemd-run", f"cat {tuner.knobs}/cpu0/governor >{tuner.folder}/then")
    tuner.run("tune", "77", *FAST)
    assert (tuner.folder / "then").read_text().strip() == "powersave"
    assert "--on-active=77" in tuner.timers()[0]
    assert "powersave" in tuner.journal.read_text()


def test_nothing_is_changed_where_nobody_promises_to_restore(tuner):
    tuner.program("systemd-run", "exit 1")
    assert tuner.run("tune", "60", *FAST).returncode == 1
    assert tuner.values() == BEFORE
    assert not tuner.journal.exists()


def test_a_killed_harness_leaves_what_the_timer_restores(tuner):
    tuner.run("tune", "60", *FAST)
    command = tuner.timers()[0].split()
    subprocess.run(command[command.index("/bin/sh") :], check=True)
    assert tuner.values() == ["powersave", "schedutil", "madvise", "7"]


def test_applied_twice_the_first_values_come_back(tuner):
    tuner.run("tune", "60", *FAST)
    tuner.run("tune", "60", *FAST)
    tuner.run("restore")
    assert tuner.values() == ["powersave", "schedutil", "madvise", "7"]


@pytest.mark.parametrize("words", [(), ("look=7",), ("missing=1",)])
def test_where_nothing_changes_nobody_is_asked_for_a_promise(tuner, words):
    done = tuner.run("tune", "60", *words)
    assert done.stdout.count(b"\n") == 4
    assert tuner.timers() == []
    assert not tuner.journal.exists()


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_on_a_full_disk_nothing_is_changed(tuner, blocks):
    """A limit on the size of files fails a write in the middle, as a full disk does."""
    (tuner.knobs / "many").mkdir()
    for number in range(60):
        (tuner.knobs / "many" / f"{number:0>60}").write_text("7\n")
    limit = f"trap '' XFSZ; ulimit -f {blocks};"
    done = tuner.run("tune", "60", *FAST, "many=8", before=limit)
    assert done.returncode == 1
    assert b"is there no room in /run?: nothing was changed" in done.stderr
    assert tuner.values() == BEFORE
    assert tuner.timers() == []
    assert not tuner.journal.exists()
