"""SIGTERM and SIGHUP in each phase of each long command: what Ctrl-C does, one row for a phase.

Kernels are those of the toy tree, really built; their image loops at its first instruction, so a
real QEMU boots for as long as a test wants. tests/e2e has boots of Linux.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flow.build.conftest import TOY

pytestmark = pytest.mark.long

# A kernel in the form of the x86 boot protocol: one sector of set-up code, which jumps to itself.
SETUP = bytearray(1024)
SETUP[0x1F1] = 1  # sectors of set-up code behind the first one
SETUP[0x1FE:0x206] = b"\x55\xaa\xeb\xfeHdrS"
SETUP[0x206:0x208] = b"\x0c\x02"  # version of the protocol
SETUP[0x211] = 1  # loaded high
SETUP[0x22C:0x230] = b"\xff\xff\xff\x7f"  # the highest address of the initial file system
IMAGE = bytes(SETUP) + bytes(4096)
FRAGMENTS = Path(__file__).parents[2] / "kernels/fragments"
PLAYBOOK = """\
version: 1
kernels: [toy]
baseline: toy
target: {{kind: {kind}, cpus: 1}}
workloads:
  - {{name: small, parameters: {{nr_threads: 1, run_test_mask: 1}}, expected_s: 600}}
"""
NIGHT_FILE = """\
version: 1
playbooks: [qemu.yaml]
candidates: [{name: topic, branch: bad, git: tree}]
"""


def git(tree, *words):
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", str(tree), *who, *words], check=True, capture_output=True)


class Place:
    """A folder with everything that the commands need, and what is left of them in it."""

    def __init__(self, folder, module):
        self.folder, self.tree = folder, Path(shutil.copytree(TOY, folder / "tree"))
        (folder / "kernels").mkdir()
        (folder / "kernels/base.config").write_text("CONFIG_SMP=y\nCONFIG_HPET_TIMER=y\n")
        source = f"{{git: {self.tree}, ref: good}}"
        (folder / "kernels/toy.yaml").write_text(
            f"version: 1\nsource: {source}\nfragments: [base.config]\n"
        )
        for kind in ("qemu", "simulated"):
            more = ", accelerator: tcg" if kind == "qemu" else ""
            text = PLAYBOOK.format(kind=kind + more)
            (folder / f"{kind}.yaml").write_text(text)
        (folder / "night.yaml").write_text(NIGHT_FILE)
        (folder / "kernels/fragments").mkdir()
        for name in ("gate-memory", "traced", "linear-stacks"):
            (folder / f"kernels/fragments/{name}.config").touch()
        self._make_bootable(module)
        git(self.tree, "init", "-q", "-b", "good")
        for branch, value in (("good", 1), ("bad", 2)):
            if branch == "bad":
                git(self.tree, "checkout", "-q", "-b", branch)
            file = self.tree / "mm/vmalloc.c"
            file.write_text(file.read_text().replace("return 1", f"return {value}"))
            git(self.tree, "add", "-A")
            git(self.tree, "commit", "-q", "--allow-empty", "-m", f"mm: Be {branch}")

    def _make_bootable(self, module):
        (self.folder / "real.ko").write_bytes(module)
        dump = ["objcopy", "--dump-section", f".modinfo={self.folder}/modinfo"]
        subprocess.run([*dump, self.folder / "real.ko", self.folder / "copy.ko"], check=True)
        numbers = ",".join(map(str, (self.folder / "modinfo").read_bytes()))
        (self.tree / "lib/test_vmalloc.c").write_text(
            '__attribute__((section(".modinfo"), used)) static const unsigned char modinfo[] = '
            f"{{{numbers}}};\n"
        )
        symbols = re.findall(r"CONFIG_(\w+)=", (FRAGMENTS / "base.config").read_text())
        with (self.tree / "Kconfig").open("a") as stream:
            stream.writelines(f"config {symbol}\n" for symbol in symbols)
        (self.tree / "image").write_bytes(IMAGE)
        rules = self.tree / "build.mk"
        rules.write_text(rules.read_text().replace("cp $< $@\nlib", "cp ../image $@\nlib"))

    @property
    def at_work(self):
        """Names of the programs whose command line names this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found += [Path(words[0]).name] if str(self.folder) in " ".join(words) else []
        return found


def compiling(_process, place):
    logs = list(place.folder.glob("cache/building/*/build.log"))
    return logs and "  CC  " in logs[-1].read_text()


def booting(_process, place):
    return any(name.startswith("qemu-system") for name in place.at_work)


QUICK, SLOW = "0", "60"  # seconds a file that the toy's compiler takes
AB = ("ab", "good", "bad", "--tree", "tree", "--on", "qemu", "--threads", "1", "--boots", "2")
BISECT = ("bisect", "good", "bad", "qemu.yaml", "--tree", "tree", "--kernel", "toy")
NIGHTLY = ("nightly", "night.yaml")
GATE = ("gate", "toy", "--checks", "memory")
PHASES = [
    pytest.param(("run", "qemu.yaml"), booting, signal.SIGHUP, id="run, booting"),
    pytest.param(("run", "simulated.yaml"), booting, signal.SIGTERM, id="simulated, booting"),
    pytest.param(AB, compiling, signal.SIGHUP, id="ab, building"),
    pytest.param(AB, booting, signal.SIGTERM, id="ab, booting"),
    pytest.param(BISECT, compiling, signal.SIGTERM, id="bisect, building"),
    pytest.param(BISECT, booting, signal.SIGHUP, id="bisect, booting"),
    pytest.param(NIGHTLY, compiling, signal.SIGHUP, id="nightly, building"),
    pytest.param(NIGHTLY, booting, signal.SIGTERM, id="nightly, booting"),
    pytest.param(GATE, compiling, signal.SIGTERM, id="gate, building"),
    pytest.param(GATE, booting, signal.SIGHUP, id="gate, booting"),
]


@pytest.fixture
def place(tmp_path, module_bytes):
    return Place(tmp_path, module_bytes)


@pytest.fixture
def begin(place, start):
    """Start a command in the place, and wait until it is in a phase."""

    def command(words, in_phase):
        toy_sleep = QUICK if in_phase is booting else SLOW
        environment = {**os.environ, "TOY_SLEEP": toy_sleep, "COLUMNS": "200"}
        environment |= {"VMAPBENCH_CACHE": str(place.folder / "cache")}
        argv = [sys.executable, "-m", "harness.cli.main", *words]
        file = place.folder / f"said-{len(list(place.folder.glob('said-*')))}"
        with file.open("wb") as said:
            process = start(
                argv, cwd=place.folder, env=environment, stdout=said, stderr=subprocess.STDOUT
            )
        process.said = file
        while not in_phase(process, place):
            assert process.poll() is None, file.read_text()
            time.sleep(0.05)
        return process

    return command


def end(process, number):
    """End a process by a signal, and check its exit code and its last lines."""
    process.send_signal(number)
    assert process.wait(90) == 130, process.said.read_text()
    said = process.said.read_text()
    assert "interrupted" in said.splitlines()[-1]
    assert "Traceback" not in said


def assert_nothing_is_left(place):
    assert place.at_work == []
    assert list(place.folder.glob("cache/building/*")) == []


@pytest.mark.parametrize(("words", "in_phase", "number"), PHASES)
def test_a_signal_is_a_ctrl_c(place, begin, words, in_phase, number):
    end(begin(words, in_phase), number)
    assert_nothing_is_left(place)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("qemu", signal.SIGTERM), ("simulated", signal.SIGHUP)],
)
def test_in_a_boot_of_a_resumed_run(place, begin, kind, number):
    killed = begin(("run", f"{kind}.yaml"), booting)
    killed.kill()
    killed.wait()
    deadline = time.monotonic() + 60
    while place.at_work:
        assert time.monotonic() < deadline, place.at_work
        time.sleep(0.05)
    end(begin(("run", "--resume", "latest"), booting), number)
    assert_nothing_is_left(place)
