"""Real kernels in real guests, and every way in which a boot can go wrong."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from harness.errors import InfrastructureError
from harness.process import SubprocessRunner
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import QemuTarget
from harness.targets.watch import BootLimits
from harness.testmod.log import missing_lines, parse_log
from harness.testmod.modinfo import parse_modinfo
from harness.testmod.verdicts import Severity, scan_console
from harness.testmod.workload import check_workload
from harness.verdict import Verdict

QUICK = {"nr_threads": 2, "run_test_mask": 1, "test_loop_count": 500}


class ScriptedTarget(QemuTarget):
    """A guest whose init carries out other lines than a measurement's."""

    def __init__(self, lines, limits, cache):
        super().__init__(QemuSpec(kind="qemu", accelerator="tcg"), cache, SubprocessRunner())
        self._lines, self._limits = lines, limits

    def script(self, request):
        return self._lines

    def limits(self, request):
        return self._limits


@pytest.fixture
def target(tmp_path):
    spec = QemuSpec(kind="qemu", accelerator="tcg")
    return QemuTarget(spec, tmp_path / "cache", SubprocessRunner())


@pytest.fixture
def scripted(tmp_path):
    def make(*lines, boot_s=60.0, test_s=1.0, grace_s=3.0):
        return ScriptedTarget(lines, BootLimits(boot_s, test_s, grace_s), tmp_path / "cache")

    return make


@pytest.fixture
def request_for(built, tmp_path):
    def make(name, parameters="nr_threads=2 run_test_mask=1 test_loop_count=500", cpus=2):
        folder = tmp_path / f"boot-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return BootRequest(built(name), cpus, (parameters,), 512, 20.0, folder)

    return make


def test_a_guest_that_runs_another_build_is_refused(target, request_for, built):
    """As if the image in the cache were of another build than its vmlinux."""
    asked = request_for("single-node")
    other = replace(asked.kernel, image=built("vmap-nodes").image)
    with pytest.raises(InfrastructureError, match=r"another kernel than single-node: build id"):
        target.boot(replace(asked, kernel=other), lambda _: None)


def boot(target, request):
    return target.boot(request, lambda _: None)


def qemu_of(folder):
    """The QEMU processes whose command line names `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu-system" in command.split(b"\0")[0] and str(folder).encode() in command:
                found.append(int(entry.name))
    return found


def test_an_interrupt_counts_even_where_the_monitor_swallows_it(target, request_for, monkeypatch):
    """As asyncio.wait_for can, when the greeting comes at the same moment (made to happen)."""
    connect = QMPClient.connect

    async def connect_and_swallow(self, address):
        await connect(self, address)
        os.kill(os.getpid(), signal.SIGINT)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    monkeypatch.setattr(QMPClient, "connect", connect_and_swallow)
    request = request_for("vmap-nodes")
    with pytest.raises(KeyboardInterrupt):
        boot(target, request)
    assert qemu_of(request.folder) == []


@pytest.mark.parametrize(
    ("kernel", "nodes"), [("single-node", 1), ("node-limit", 2), ("vmap-nodes", None)]
)
def test_real_output_is_complete_and_the_node_cap_took_effect(target, request_for, kernel, nodes):
    request = request_for(kernel, check_and_render(request_for, kernel))
    result = boot(target, request)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    (run,) = parse_log(result.kernel_log)
    workload = check_workload(QUICK, parse_modinfo(request.kernel.module.read_bytes()))
    assert missing_lines(run, 2, workload.cases) == []
    assert result.facts["vmap_nodes"] == nodes  # our patch's line; the pristine kernel has none
    assert result.load_ns[0] > 0
    assert result.facts["errors"] == []
    before, after, at_rest = result.facts["memory"]
    assert (before["moment"], after["moment"], at_rest["moment"]) == ("before", "after", "at rest")
    for reading in (before, after, at_rest):  # two files of the kernel that count the same pages
        by_type = reading["free_blocks_by_type"].values()
        counted = sum(sum(n << order for order, n in enumerate(row)) for row in by_type)
        free = sum(n << order for order, n in enumerate(reading["free_blocks"]))
        assert counted == pytest.approx(free, rel=0.02)  # a moment lies between them
        assert 4 * free == pytest.approx(reading["meminfo_kib"]["MemFree"], rel=0.05)
        assert {"compact_stall", "nr_page_table_pages"} <= set(reading["vmstat"])
        assert sum(reading["pageblocks"].values()) > 0
    assert (request.folder / "command.txt").read_text().startswith("qemu-system-x86_64 ")
    assert qemu_of(request.folder) == []


def check_and_render(request_for, kernel):
    module = parse_modinfo(request_for(kernel).kernel.module.read_bytes())
    return check_workload(QUICK, module).render_parameters()


def test_linux_6_1_runs_the_same_test(target, request_for):
    result = boot(target, request_for("linux-6.1"))
    assert result.verdict is Verdict.PASSED
    assert len(parse_log(result.kernel_log)[0].summaries) == 2


def test_numa_nodes_reach_the_guest(request_for, tmp_path):
    spec = QemuSpec(kind="qemu", accelerator="tcg", cpus=2, numa_nodes=2)
    result = boot(
        QemuTarget(spec, tmp_path / "cache", SubprocessRunner()), request_for("vmap-nodes")
    )
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert "Node 1" in result.kernel_log or "node   1" in result.kernel_log


def test_a_panic_is_a_crash(scripted, request_for):
    result = boot(scripted("write /proc/sysrq-trigger c"), request_for("single-node"))
    assert result.verdict is Verdict.CRASHED
    assert "Kernel panic" in result.console.read_text()


def test_what_a_guest_says_after_its_log_was_collected_counts_once(scripted, request_for):
    words = "BUG: sleeping function called from invalid context, says the test"
    load = "load nr_threads=2 run_test_mask=1 test_loop_count=500"
    target = scripted(load, "log", f"write /dev/kmsg <2>{words}", test_s=20.0)
    result = boot(target, request_for("single-node"))
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    (found,) = (f for f in scan_console(result.kernel_log) if f.severity is not Severity.NOTE)
    assert words in found.excerpt
    assert result.kernel_log.count("Linux version") == 1
    assert result.kernel_log.count("Summary: fix_size_alloc_test") == 2  # one a worker


def test_a_kernel_without_its_init_is_a_crash_before_init(target, request_for):
    request = request_for("single-node")
    spec = request.kernel.spec.model_copy(update={"boot_parameters": ("rdinit=/nothing",)})
    result = boot(target, replace(request, kernel=replace(request.kernel, spec=spec)))
    assert result.verdict is Verdict.CRASHED
    assert "before init" in result.reason


def test_a_silent_guest_hangs(scripted, request_for):
    result = boot(scripted("sleep 600000"), request_for("single-node"))
    assert result.verdict is Verdict.HUNG


def test_a_guest_that_talks_for_ever_times_out(scripted, request_for):
    lines = ["sleep 500", "collect /proc/uptime"] * 200
    target = scripted(*lines, boot_s=10.0, test_s=1.0, grace_s=3.0)
    result = boot(target, request_for("single-node"))
    assert result.verdict is Verdict.TIMED_OUT


def test_an_image_that_is_no_kernel_is_no_boot(target, request_for):
    request = request_for("single-node")
    image = request.folder / "no-kernel"
    image.write_bytes(request.kernel.image.read_bytes()[:20480] + bytes(4096))
    kernel = replace(request.kernel, image=image)
    result = boot(target, replace(request, kernel=kernel))
    assert result.verdict is Verdict.NO_BOOT


def test_a_guest_that_is_silent_past_its_boot_time_is_no_boot(scripted, request_for):
    result = boot(scripted(boot_s=0.0, grace_s=0.0), request_for("single-node"))
    assert result.verdict is Verdict.NO_BOOT
    assert "did not reach init in time" in result.reason


@pytest.mark.parametrize(
    ("parameters", "words"), [("nr_threads=many", "EINVAL"), ("test_loop_count=1e9", "EINVAL")]
)
def test_a_bad_parameter_that_slipped_through_is_no_number(target, request_for, parameters, words):
    result = boot(target, request_for("single-node", parameters))
    assert result.verdict is Verdict.MODULE_MISSING
    assert words in result.reason


def test_a_damaged_module_is_no_number(target, request_for):
    request = request_for("single-node")
    damaged = request.folder / "damaged.ko"
    damaged.write_bytes(request.kernel.module.read_bytes()[:1000])
    result = boot(target, replace(request, kernel=replace(request.kernel, module=damaged)))
    assert result.verdict is Verdict.MODULE_MISSING
    assert "ENOEXEC" in result.reason
    # The kernel read the file into vmalloc space and freed it; nothing has purged that yet.
    held = [reading["meminfo_kib"] for reading in result.facts["memory"]]
    before, *after = [each["LazilyFreed"] for each in held]
    assert before == 0
    assert all(kib > 0 for kib in after)


def test_qemu_killed_in_mid_run_is_the_machinery_s_fault(scripted, request_for):
    request = request_for("single-node")

    def kill_when_ready():
        while (
            not (request.folder / "report").exists() or not (request.folder / "report").read_bytes()
        ):
            time.sleep(0.05)
        for pid in qemu_of(request.folder):
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_when_ready)
    killer.start()
    with pytest.raises(InfrastructureError, match="ended by itself with status -9"):
        boot(scripted("sleep 600000", test_s=100.0), request)
    killer.join()


def test_qemu_that_refuses_its_options_says_so(target, request_for):
    request = replace(request_for("single-node"), memory_mib=1 << 30)
    with pytest.raises(InfrastructureError, match=r"qemu\.log(.|\n)*memory|RAM|ram"):
        boot(target, request)


@pytest.fixture
def small_disk(tmp_path, runner):
    folder = tmp_path / "disk"
    folder.mkdir()
    runner.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(folder)], check=True)
    yield folder
    runner.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_refused_before_the_boot(target, request_for, small_disk):
    (small_disk / "filler").write_bytes(bytes(20 << 20))
    folder = small_disk / "boot"
    folder.mkdir()
    with pytest.raises(InfrastructureError, match="no disk space for the logs"):
        boot(target, replace(request_for("single-node"), folder=folder))


def test_a_disk_that_fills_in_mid_run_is_no_verdict_on_the_kernel(
    scripted, request_for, small_disk
):
    request = request_for("single-node")
    folder = small_disk / "boot"
    folder.mkdir()

    def fill_when_ready():
        while not (folder / "report").exists() or not (folder / "report").read_bytes():
            time.sleep(0.05)
        with (small_disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
            except OSError:
                pass

    filler = threading.Thread(target=fill_when_ready)
    filler.start()
    target = scripted("sleep 3000", "collect /proc/kallsyms", "log", test_s=60.0)
    with pytest.raises(InfrastructureError, match="no disk space for the logs"):
        boot(target, replace(request, folder=folder))
    filler.join()


def test_interrupting_leaves_no_qemu_behind(scripted, request_for):
    request = request_for("single-node")

    def interrupt_when_running():
        while not qemu_of(request.folder):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt_when_running)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        boot(scripted("sleep 600000", test_s=100.0), request)
    interrupter.join()
    assert qemu_of(request.folder) == []
