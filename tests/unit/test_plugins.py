"""What a file or a row more gives, in a copy of the package: nothing else is edited.

An architecture more is a record, see tests/unit/spec/test_architectures.py.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness

EXPORT = '''"""LINES: a word."""


def write(stored, store, stream):
    stream.write(b"written\\n")
'''
VERB = '''"""`vmapbench greet`."""


def command() -> None:
    """Greet."""
    print("greeted")
'''
BOOT = "from harness.targets.ssh.boot.kexec import make_method\n__all__ = ['make_method']\n"
TARGET_SPEC = """from typing import Literal
from harness.spec.target import TargetSpec


class BoardSpec(TargetSpec):
    kind: Literal["board"]
    port: str


Spec = BoardSpec
"""
TARGET = "def make_target(spec, cache, runner, arch):\n    return f'board at {spec.port}'\n"
PLAYBOOK = """version: 1
kernels: [one]
baseline: one
target: {kind: board, cpus: 4, port: ttyUSB0}
workloads: [{name: quick}]
"""
CASE = '    Case("crowd_alloc_test", 8192, areas=(3, 5), may_fail=True, calibration_loops=700),\n'
USES_OF_A_CASE = """
from harness.model.timing import SIZES
from harness.records import Sample
from harness.run.ab import case_mask
from harness.run.calibrate import CALIBRATED
from harness.run.validate import TracedLoad
from harness.testmod.log import unexpected_failures
from harness.testmod.source import parse_module_source
from harness.testmod.workload import check_workload

print(case_mask(["crowd"], "a source that declares nothing"))
print(TracedLoad("crowd", 1.0).load(5, 2))
print(SIZES["crowd"], [case.short for case in CALIBRATED if case.mask == 8192])
print(unexpected_failures([Sample(0, "crowd_alloc_test", 0, 1, None, 1, 1000, 5)]))
module = parse_module_source(
    '__param(int, run_test_mask, 7, "id: 1, name: fix_size_alloc_test\\\\n"'
    '"id: 8192, name: crowd_alloc_test\\\\n");'
)
load = check_workload({"run_test_mask": 8192}, module)
print(load.cases, load.unknown_cases)
"""
HOST = "version: 1\naddress: a.lab\nboot: {method: petit-boot}\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with a copy of harness that has one file more of each family."""
    folder = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("__pycache__", "shipped", "calibrations")
    shutil.copytree(Path(harness.__file__).parent, folder / "harness", ignore=ignored)
    for place, text in (
        ("store/export/lines.py", EXPORT),
        ("cli/verbs/greet.py", VERB),
        ("targets/ssh/boot/petit_boot.py", BOOT),
        ("targets/board/spec.py", TARGET_SPEC),
        ("targets/board/target.py", TARGET),
    ):
        (folder / "harness" / place).parent.mkdir(exist_ok=True)
        (folder / "harness" / place).write_text(text)
    cases = folder / "harness" / "testmod" / "cases.py"
    rows = cases.read_text()
    first = "\nCASES: tuple[Case, ...] = (\n"
    cases.write_text(rows.replace(first, first + CASE))
    return folder


def run(package, *words, home):
    environment = {"PYTHONPATH": str(package), "XDG_CONFIG_HOME": str(home), "COLUMNS": "200"}
    argv = [sys.executable, *words]
    return subprocess.run(
        argv, env=environment, cwd=home, capture_output=True, text=True, check=False
    )


def test_a_verb(package, tmp_path):
    assert run(package, "-m", "harness.cli.main", "greet", home=tmp_path).stdout == "greeted\n"


def test_an_export_format_is_known_to_the_command_line(package, tmp_path):
    done = run(package, "-m", "harness.cli.main", "export", "--help", home=tmp_path)
    assert "ktap, lines, parquet" in done.stdout, done.stderr


def test_a_boot_method_may_stand_in_a_host_file(package, tmp_path):
    (tmp_path / "vmapbench" / "hosts").mkdir(parents=True)
    (tmp_path / "vmapbench" / "hosts" / "tr1.yaml").write_text(HOST)
    show = (
        "from harness.spec.host import load_host;"
        "from harness.targets.ssh.boot_method import boot_method;"
        "print(type(boot_method(load_host('tr1').boot)).__name__)"
    )
    assert "Kexec" in run(package, "-c", show, home=tmp_path).stdout


def test_a_target_may_stand_in_a_playbook_and_is_what_boots(package, tmp_path):
    (tmp_path / "playbook.yaml").write_text(PLAYBOOK)
    make = (
        "from pathlib import Path;"
        "from harness.run.session import make_target;"
        "from harness.spec.playbook import load_playbook;"
        "playbook = load_playbook(Path('playbook.yaml'));"
        "print(make_target(playbook.target, Path('cache'), None, None))"
    )
    done = run(package, "-c", make, home=tmp_path)
    assert done.stdout == "board at ttyUSB0\n", done.stderr
    (tmp_path / "playbook.yaml").write_text(PLAYBOOK.replace("kind: board", "kind: bord"))
    done = run(package, "-m", "harness.cli.main", "check", "playbook.yaml", home=tmp_path)
    assert "'board', 'qemu', 'simulated', 'ssh'" in done.stdout + done.stderr


def test_a_case_is_selected_modelled_calibrated_and_judged_by_its_row(package, tmp_path):
    done = run(package, "-c", USES_OF_A_CASE, home=tmp_path)
    assert done.stdout.splitlines() == [
        "8192",
        "run_test_mask=8192 nr_threads=2 test_loop_count=5 sequential_test_order=1 nr_pages=0",
        "(3, 5) ['crowd']",
        "[]",
        "('crowd_alloc_test',) ()",
    ], done.stderr
