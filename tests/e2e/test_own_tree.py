"""`vmapbench ab` in a git tree of a kernel, as its developer would use it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.build.cache import Cache, cache_folder
from harness.build.kconfig import parse_config
from harness.build.kernel import ensure_kernel
from harness.build.record import read_record
from harness.build.source import ensure_source, pin_source
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from harness.cli.main import main; main()"]
TAKE = """\
all:
	@echo "  CC      mm/vmalloc.o"
	@mkdir -p arch/x86/boot lib include/config
	@cp {built}/bzImage arch/x86/boot/
	@cp {built}/test_vmalloc.ko lib/
	@cp {built}/vmlinux {built}/System.map .
	@echo {release} > include/config/kernel.release
"""


def git(tree, *words):
    who = ["-c", "user.name=Developer", "-c", "user.email=developer@example.org"]
    who += ["-c", "gc.auto=0"]  # packing a kernel takes minutes
    argv = ["git", "-C", tree, *who, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def vmapbench(tree, *words, expect=0):
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        check=False, capture_output=True, text=True, cwd=tree, timeout=1700,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr + done.stdout
    return done


def run_of(reports):
    """Return the folder of the only run in `reports`."""
    [file] = reports.glob("*-ab-*/ab.yaml")
    return file.parent


@pytest.fixture
def taking_tree(tmp_path, built):
    """A git tree whose make takes a kernel that is built already, and no time.

    It stands in for the compiling alone: sources, configuration and kernel are real.
    """
    kernel = built("vmap-nodes")
    tree = tmp_path / "linux"
    shutil.copytree(REPOSITORY / "tests/toy_kernel", tree)
    for name in ("mm/vmalloc.c", "lib/test_vmalloc.c"):
        shutil.copyfile(kernel.tree / name, tree / name)
    symbols = parse_config(kernel.config.read_text())
    (tree / "Kconfig").write_text("".join(f"config {symbol}\n" for symbol in symbols))
    (tree / "build.mk").write_text(TAKE.format(built=kernel.folder, release=kernel.release))
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "A kernel")
    return tree


def test_an_interrupted_comparison_goes_on_and_its_table_is_read_back(taking_tree, tmp_path, start):
    source = taking_tree / "mm/vmalloc.c"
    source.write_text(f"{source.read_text()}\n/* changed */\n")
    reports = tmp_path / "reports"
    words = ["ab", "--on", "simulated:2", "--loops", "100", "--boots", "2", "--reports", reports]
    process = start(
        [*PROGRAM, *map(str, words)],
        cwd=taking_tree, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = ""
    while "1/4 " not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    os.killpg(process.pid, signal.SIGINT)
    said += process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert said.startswith("on a simulated threadripper-3970x with 2 CPUs in virtual time: as")
    assert "change: working tree (" in said
    resume = re.search(r"^interrupted; to continue: vmapbench (.*)$", said, re.MULTILINE)[1]
    assert "page: " in vmapbench(tmp_path, *shlex.split(resume)).stdout
    assert git(taking_tree, "status", "--porcelain") == " M mm/vmalloc.c\n"

    run = run_of(reports)
    table = vmapbench(tmp_path, "report", run.name, "--format", "list", "--reports", reports).stdout
    assert max(map(len, table.splitlines())) <= 78
    (tmp_path / "mail").write_text(table)
    rows = json.loads(vmapbench(tmp_path, "parse", tmp_path / "mail").stdout)["posted"]
    assert [(row["case"], row["threads"]) for row in rows] == [
        ("whole load", 2),
        ("fix_size_alloc_test", 2),
    ]
    again = vmapbench(tmp_path, "run", run / "ab.yaml", "--kernels", run / "kernels", "--dry-run")
    assert len(re.findall(r"^boot \d+: ", again.stdout, re.MULTILINE)) == 4


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Linux 6.12 as a repository of one commit, whose files are a copy of the unpacked source."""
    cache, runner = Cache(cache_folder()), SubprocessRunner()
    pinned = pin_source(load_kernel_spec("vmap-nodes", REPOSITORY / "kernels"), cache, runner)
    pristine = ensure_source(pinned, cache, lambda _: None)
    tree = tmp_path_factory.mktemp("ab") / "linux"
    subprocess.run(["cp", "-a", "--reflink=auto", pristine, tree], check=True)
    git(tree, "init", "-q", "-b", "main")
    git(tree, "-c", "core.compression=1", "add", "-A", "-f")  # Debian ignores all
    git(tree, "commit", "-q", "-m", "Linux 6.12")
    return tree


def edit(tree, most):
    """Let there be at most so many vmap nodes."""
    source = tree / "mm/vmalloc.c"
    text = source.read_text()
    assert text.count("n = clamp_t(unsigned int, num_possible_cpus(), 1, ") == 1
    source.write_text(re.sub(r"(num_possible_cpus\(\), 1, )\d+\)", rf"\g<1>{most})", text))


@pytest.mark.long
def test_a_slower_change_is_found_and_the_next_one_is_built_quickly(tree, tmp_path):
    edit(tree, 1)
    options = ["--on", "simulated:16", "--reports", tmp_path]
    done = vmapbench(tree, "ab", *options, expect=1)
    assert re.search(r"^working tree is [\d.]+x slower than HEAD", done.stdout, re.MULTILINE)
    page = vmapbench(tree, "report", run_of(tmp_path).name, "--reports", tmp_path).stdout.strip()
    assert "working tree" in Path(page).read_text()

    edit(tree, 64)
    vmapbench(tree, "ab", "--boots", "2", "--loops", "100", *options)
    newest = max(tmp_path.glob("*-ab-*/ab.yaml"), key=lambda path: path.stat().st_mtime)
    kernels = newest.parent / "kernels"
    [name] = [path.stem for path in kernels.glob("change-*.yaml")]
    spec = load_kernel_spec(name, kernels)
    change = ensure_kernel(spec, cache_folder(), SubprocessRunner(), lambda _: None)
    record = read_record(change.folder)
    assert record["patched"] == ["mm/vmalloc.c"]
    assert record["targets"] < 60


@pytest.mark.long
def test_a_kernel_starts_from_a_configuration_of_ones_own(tree, built, tmp_path):
    """That of another kernel, without what the harness must have, and with a module."""
    edit(tree, 32)
    text = built("vmap-nodes").config.read_text()
    text = text.replace("CONFIG_TEST_VMALLOC=m", "# CONFIG_TEST_VMALLOC is not set")
    text = text.replace("# CONFIG_TEST_UUID is not set", "CONFIG_TEST_UUID=m")
    assert "CONFIG_TEST_UUID=m" in text
    config = tmp_path / "my.config"
    config.write_text(text)
    options = ["--on", "simulated:2", "--loops", "100", "--boots", "2", "--config", config]
    done = vmapbench(tree, "ab", *options, "--reports", tmp_path)
    words = "my.config; added: CONFIG_TEST_VMALLOC=m; 1 module left out, which nothing could load"
    assert words in done.stdout
