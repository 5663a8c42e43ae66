"""KVM counts as working only when Linux runs under it: with stand-ins, and with this host's own."""

from dataclasses import replace

import pytest

from harness.errors import ToolError
from harness.health import Health
from harness.run.doctor import Environment, check_kvm
from harness.targets.accelerator import KvmState, find_kvm, forget_kvm
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import QemuTarget
from harness.verdict import Verdict
from tests.qemu_stand_in import DEAF, DIES, HANGS, RUNS, QemuStandIn


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    return QemuStandIn(tmp_path, monkeypatch)


@pytest.fixture
def target(tmp_path, runner):
    def make(accelerator="auto"):
        spec = QemuSpec(kind="qemu", accelerator=accelerator)
        target = QemuTarget(spec, tmp_path / "cache", runner)
        target.check()
        return target

    return make


@pytest.fixture
def boot(built, tmp_path):
    """Boots single-node, or that kernel with another image, on a target; the phases are kept."""

    def run(target, image=None):
        folder = tmp_path / f"boot-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        kernel = built("single-node")
        kernel = replace(kernel, image=image or kernel.image)
        load = "nr_threads=2 run_test_mask=1 test_loop_count=500"
        return target.boot(BootRequest(kernel, 2, (load,), 512, 20.0, folder), run.phases.append)

    run.phases = []
    return run


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (HANGS, "printed nothing"),
        (DEAF, "does not answer"),
        (DIES, "ended by itself with status 3"),
    ],
)
def test_a_kvm_under_which_no_linux_runs_costs_one_boot_and_is_remembered(
    stand_in, target, boot, fault, words
):
    stand_in.does(fault)
    first = target()
    assert first.kvm().state is KvmState.UNTRIED
    result = boot(first)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert "tcg,thread=multi" in result.argv
    assert any("again under TCG" in phase for phase in boot.phases)
    assert (result.console.parent / "kvm" / "command.txt").exists()
    assert first.machine()["accelerator"] == "tcg"
    assert words in first.machine()["kvm"]
    second = target()
    assert boot(second).verdict is Verdict.PASSED
    assert second.machine()["kvm"] == first.machine()["kvm"]
    assert stand_in.boots_under_kvm == 1


def test_a_kvm_under_which_linux_runs_is_used_and_remembered(stand_in, target, boot):
    stand_in.does(RUNS)
    first = target()
    result = boot(first)
    assert result.verdict is Verdict.PASSED
    assert (first.machine()["accelerator"], "kvm" in first.machine()) == ("kvm", False)
    assert target().kvm().state is KvmState.RUNS_LINUX
    assert result.facts["release"] in target().kvm().seen
    assert target().limits(BootRequest(None, 2, (), 512, 1.0, None)).first_output_s is None


def test_accelerator_kvm_says_what_was_seen_and_what_to_write(stand_in, target, boot):
    stand_in.does(HANGS)
    with pytest.raises(ToolError, match=r"printed nothing(.|\n)*accelerator: auto"):
        boot(target("kvm"))
    with pytest.raises(ToolError, match=r"printed nothing(.|\n)*accelerator: auto"):
        target("kvm")  # refused before any boot from now on
    assert stand_in.boots_under_kvm == 1


@pytest.mark.parametrize("accelerator", ["auto", "kvm"])
def test_a_kernel_that_boots_nowhere_says_nothing_of_kvm(
    stand_in, target, boot, built, tmp_path, accelerator
):
    stand_in.does(RUNS)
    image = tmp_path / "no-kernel"
    image.write_bytes(built("single-node").image.read_bytes()[:20480] + bytes(4096))
    asked = target(accelerator)
    result = boot(asked, image)
    assert result.verdict is Verdict.NO_BOOT
    used = {"auto": "tcg", "kvm": "kvm"}[accelerator]
    assert asked.machine()["accelerator"] == used
    assert any(word.startswith(used) for word in result.argv)
    assert target().kvm().state is KvmState.UNTRIED
    assert boot(asked).verdict is Verdict.PASSED
    assert target().kvm().state is KvmState.RUNS_LINUX


def test_doctor_boots_a_built_kernel_where_linux_was_not_tried(
    stand_in, built, runner, tmp_path, monkeypatch
):
    stand_in.does(HANGS)
    told = []
    empty = Environment(runner, tmp_path / "empty", tmp_path, told.append)
    finding = check_kvm(empty)
    assert (finding.health, told) == (Health.WARN, [])
    assert finding.found.startswith("Linux not tried: a probe guest booted")
    kernel = built("single-node").image.parent
    environment = replace(empty, cache=tmp_path / "cache")
    (tmp_path / "cache/kernels").mkdir(parents=True)
    (tmp_path / "cache/kernels" / kernel.name).symlink_to(kernel)
    finding = check_kvm(environment)
    assert finding.health is Health.WARN
    assert finding.found.startswith("Linux does not run: Linux 6.")
    assert any(line.startswith("booting Linux 6.") for line in told)
    stand_in.does(RUNS)
    assert check_kvm(environment) == finding  # remembered
    forget_kvm(environment.cache)
    finding = check_kvm(environment)
    assert (finding.health, finding.remedy) == (Health.OK, "")
    assert "Linux runs: Linux 6." in finding.found


def test_this_host_boots_whatever_its_kvm_is_worth(target, boot, runner, tmp_path):
    """On a host with a KVM that runs no Linux this is the real thing."""
    asked = target()
    assert boot(asked).verdict is Verdict.PASSED
    known = find_kvm(tmp_path / "cache", runner)
    assert known.state is not KvmState.UNTRIED
    used = asked.machine()["accelerator"]
    assert used == ("kvm" if known.state is KvmState.RUNS_LINUX else "tcg")
