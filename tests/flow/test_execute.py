"""Whole runs on a fake target: order, verdicts, repetition, resumption, what the store keeps."""

import dataclasses
import re
import subprocess
import threading
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, InputError, KernelBuildError
from harness.report.collect import collect_report
from harness.report.page import render_page
from harness.report.text import render_text
from harness.report.view import View
from harness.run.begin import begin_run
from harness.run.diagnosis import ENOUGH
from harness.run.execute import ATTEMPTS, Execution, pending_jobs, run_pending
from harness.run.noise import HostState
from harness.run.prepare import prepare
from harness.store.store import open_store
from harness.targets.base import BootResult
from harness.verdict import Verdict
from tests.flow.fakes import (
    PLAYBOOK,
    FakeTarget,
    Silent,
    fake_kernel,
    fake_playbook,
    render_fake_log,
)


def quiet_host():
    """The counters of a host on which nothing else ever runs."""
    return HostState(0.0, 0.0, 0.0, 0, (), ())


def busy_host():
    """The counters of a host on which others take all CPUs all the time."""
    busy_host.seconds += 1_000.0
    return HostState(busy_host.seconds, 0.0, 9.0, 0, (), ())


busy_host.seconds = 0.0


@pytest.fixture
def build(tmp_path, module_bytes):
    return lambda name: fake_kernel(tmp_path / "kernels", name, module_bytes)


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store.db")
    yield store
    store.close()


def carried_out(build, store, tmp_path, *results, playbook=None, read_host=quiet_host):
    target, observer = FakeTarget(*results), Silent()
    prepared = prepare(playbook or fake_playbook(), build, target)
    run_id = begin_run(prepared, store)
    run = Execution(run_id, target, store, tmp_path / run_id, observer, read_host)
    run_pending(run, prepared)
    return run_id, target, observer


def test_every_planned_boot_is_kept_with_its_samples(build, store, tmp_path):
    run_id, target, _ = carried_out(build, store, tmp_path)
    boots = store.boots_frame(run_id)
    samples = store.samples_frame(run_id)
    assert list(boots.verdict) == ["passed"] * 6
    assert list(boots.load_ns) == [5_000_000] * 6
    assert len(samples) == 12
    assert set(samples[samples.kernel == "slow"].avg_us) == {2000}
    assert [r.loads for r in target.requests] == [
        ("nr_threads=2 run_test_mask=1 test_loop_count=100 sequential_test_order=Y",)
    ] * 6


def test_an_incomplete_log_is_no_sample_and_the_run_goes_on(build, store, tmp_path):
    run_id, _, observer = carried_out(build, store, tmp_path, render_fake_log(1, 5), "nothing")
    assert [verdict for _, verdict in observer.ended[:3]] == [
        Verdict.INCOMPLETE,
        Verdict.INCOMPLETE,
        Verdict.PASSED,
    ]
    boots = store.boots_frame(run_id)
    assert "1 of 2 workers are missing: 1" in boots.reason[0]
    assert "no line of test_vmalloc" in boots.reason[1]
    assert set(store.samples_frame(run_id).boot) == {2, 3, 4, 5}


@pytest.mark.parametrize(
    ("old", "new"),
    [("loops: 100", "loops: 9999999999"), ("passed: 1", "passed: 7"), ("repeat: 1", "repeat: 2")],
)
def test_counts_that_nobody_asked_for_are_no_samples(build, store, tmp_path, old, new):
    run_id, _, _ = carried_out(build, store, tmp_path, render_fake_log(2, 5).replace(old, new))
    boots = store.boots_frame(run_id)
    assert boots.verdict[0] == "incomplete log"
    assert "unexpected c" in boots.reason[0]


def test_a_failed_case_is_a_verdict(build, store, tmp_path):
    log = render_fake_log(2, 5).replace("passed: 1 failed: 0", "passed: 0 failed: 1", 1)
    run_id, _, _ = carried_out(build, store, tmp_path, log)
    assert store.boots_frame(run_id).verdict[0] == "test failed"


def test_a_kernel_that_warned_gives_no_samples(build, store, tmp_path):
    log = "[ 1.0] WARNING: CPU: 0 PID: 1 at mm/vmalloc.c:12 f+0x1/0x2\n" + render_fake_log(2, 5)
    run_id, _, _ = carried_out(build, store, tmp_path, log)
    assert store.boots_frame(run_id).verdict[0] == "splat"
    assert 0 not in set(store.samples_frame(run_id).boot)
    (finding,) = store.boots(run_id)[0].facts["findings"]
    assert "mm/vmalloc.c:12" in finding["excerpt"]


def test_a_spoiled_boot_is_tried_again(build, store, tmp_path):
    run_id, target, observer = carried_out(build, store, tmp_path, "broken")
    assert len(target.requests) == 7
    assert [verdict for _, verdict in observer.ended[:2]] == [Verdict.INTERRUPTED, Verdict.PASSED]
    assert observer.ended[0][0] == observer.ended[1][0] == 0


def test_a_boot_spoiled_again_and_again_ends_the_run_and_keeps_it(build, store, tmp_path):
    with pytest.raises(InfrastructureError, match="failed 3 times(.|\n)*run --resume") as caught:
        carried_out(build, store, tmp_path, "good", *["broken"] * ATTEMPTS)
    run_id = str(caught.value).split("--resume ")[1].split()[0]
    assert list(store.boots_frame(run_id).verdict) == ["passed", *["interrupted"] * ATTEMPTS]


def test_noisy_boots_are_repeated_up_to_a_bound_and_listed(build, store, tmp_path):
    run_id, target, observer = carried_out(build, store, tmp_path, read_host=busy_host)
    assert len(target.requests) == 6 * ATTEMPTS
    assert {verdict for _, verdict in observer.ended} == {Verdict.NOISY}
    assert store.boots_frame(run_id).reason.str.contains("CPU time").all()


def test_a_guest_that_ran_out_of_time_without_cpu_time_is_booted_again(build, store, tmp_path):
    late = {"ending": "did not reach init in time", "guest_s": 27.0}
    starved = dataclasses.replace(unbooted("the guest did not reach init in time"), facts=late)
    run_id, target, _ = carried_out(build, store, tmp_path, starved, starved)
    assert len(target.requests) == 6 + 2
    boots = store.boots_frame(run_id)
    assert sorted(boots.verdict) == ["noisy"] * 2 + ["passed"] * 6
    (reason,) = set(boots[boots.verdict == "noisy"].reason)
    assert reason.startswith("the guest got 45% of the CPU time it needed: the guest did not")


def unbooted(seen):
    """What a target gives for a kernel that never reached init."""
    return BootResult(Verdict.NO_BOOT, seen, None, (), {}, False, Path("none"), ("fake",), 60.0)


def test_a_run_of_which_no_boot_reaches_init_stops_after_the_second(build, store, tmp_path):
    nothing = [unbooted("the guest printed nothing") for _ in range(6)]
    run_id, target, observer = carried_out(build, store, tmp_path, *nothing)
    assert len(target.requests) == ENOUGH == 2
    boots = store.boots_frame(run_id)
    assert sorted(boots.verdict) == ["no boot"] * 2 + ["skipped"] * 4
    assert pending_jobs(store.jobs(run_id), store.boots(run_id)) == []
    report = collect_report(store, run_id)
    view = View(report)
    assert report.verdict is Verdict.NO_BOOT
    words = " ".join(render_text(view).split())
    assert "none of the 2 boots tried reached init" in words
    assert "the guest printed nothing" in words
    page = render_page(view, tmp_path / run_id)
    assert "fail alike" in page
    assert page.count("<summary>Boot ") == 2  # what was left out has no details


def test_one_boot_that_reaches_init_lets_a_run_go_on(build, store, tmp_path):
    results = [unbooted("nothing"), "good", *(unbooted("nothing") for _ in range(4))]
    _, target, _ = carried_out(build, store, tmp_path, *results)
    assert len(target.requests) == 6


def test_an_interrupted_run_goes_on_where_it_was(build, store, tmp_path):
    target, observer = FakeTarget("good", "good", KeyboardInterrupt()), Silent()
    prepared = prepare(fake_playbook(), build, target)
    run_id = begin_run(prepared, store)
    with pytest.raises(KeyboardInterrupt):
        run_pending(
            Execution(run_id, target, store, tmp_path / run_id, observer, quiet_host), prepared
        )
    assert len(pending_jobs(store.jobs(run_id), store.boots(run_id))) == 4
    run = Execution(run_id, target, store, tmp_path / run_id, observer, quiet_host)
    run_pending(run, prepared)
    assert observer.done == 2
    assert [position for position, _ in observer.ended] == [0, 1, 2, 3, 4, 5]


class PairTarget(FakeTarget):
    """Two boots at once: neither ends before the other has begun, or the target is closed."""

    def __init__(self, *results):
        super().__init__(*results)
        self.both, self.closed = threading.Barrier(2, timeout=600), False

    def side_by_side(self, memory_mib):
        return 2

    def close(self):
        self.closed = True
        self.both.abort()

    def boot(self, request, progress):
        try:
            self.both.wait()
        except threading.BrokenBarrierError as error:
            raise InfrastructureError("ended") from error
        return super().boot(request, progress)


def test_boots_side_by_side(build, store, tmp_path):
    target = PairTarget(*["good", "broken"] * 2)
    observer = Silent()
    prepared = prepare(fake_playbook(), build, target)
    run_id = begin_run(prepared, store)
    run = Execution(run_id, target, store, tmp_path / run_id, observer, quiet_host)
    run_pending(run, prepared)
    assert pending_jobs(store.jobs(run_id), store.boots(run_id)) == []
    verdicts = list(store.boots_frame(run_id).verdict)
    assert (verdicts.count("passed"), verdicts.count("interrupted")) == (6, 2)
    assert not target.closed


def test_an_interrupt_ends_every_boot_under_way(build, store, tmp_path):
    class Impatient(Silent):
        def boot_began(self, job, attempt):
            if self.began:
                raise KeyboardInterrupt
            self.began = True

    target, observer = PairTarget(), Impatient()
    observer.began = False
    prepared = prepare(fake_playbook(), build, target)
    run_id = begin_run(prepared, store)
    with pytest.raises(KeyboardInterrupt):
        run_pending(
            Execution(run_id, target, store, tmp_path / run_id, observer, quiet_host), prepared
        )
    assert target.closed
    assert store.boots(run_id) == []


def test_a_kernel_that_does_not_build_is_a_verdict_of_its_boots(build, store, tmp_path):
    def broken(name):
        if name == "fast":
            raise KernelBuildError("mm/vmalloc.c:1: error: no")
        return build(name)

    run_id, target, _ = carried_out(broken, store, tmp_path)
    boots = store.boots_frame(run_id)
    assert set(boots[boots.kernel == "fast"].verdict) == {"build failed"}
    assert set(boots[boots.kernel == "slow"].verdict) == {"passed"}
    assert len(target.requests) == 3


def test_unknown_parameters_are_refused_before_any_boot(build, store, tmp_path):
    text = PLAYBOOK.replace("run_test_mask: 1", "run_test_mask: 4096, colour: red")
    target = FakeTarget()
    with pytest.raises(InputError) as caught:
        prepare(fake_playbook(text), build, target)
    words = (
        r" on (slow, fast|fast, slow): colour: not a parameter of test_vmalloc; expected one of "
    )
    assert len(re.findall(words, str(caught.value))) == 1
    assert target.requests == []


def test_too_little_memory_is_refused_before_any_boot(build):
    text = PLAYBOOK.replace("cpus: 2}", "cpus: 2, memory_mib: 150}")
    with pytest.raises(InputError, match="memory_mib: found 150, but its cases need up to"):
        prepare(fake_playbook(text), build, FakeTarget())


@pytest.mark.parametrize(
    "kind", ["qemu, cpus: 2", "simulated, machine: threadripper-3970x, cpus: 2"]
)
def test_more_memory_than_this_machine_has_is_refused_before_any_boot(build, kind):
    text = PLAYBOOK.replace("qemu, cpus: 2}", f"{kind}, memory_mib: 4000000000}}")
    with pytest.raises(InputError, match="memory_mib: found 4000000000, but this machine has"):
        prepare(fake_playbook(text), build, FakeTarget())
    text = PLAYBOOK.replace("qemu, cpus: 2}", f"{kind}}}").replace(
        "run_test_mask: 1,", "run_test_mask: 1, nr_pages: 2000000000,"
    )
    with pytest.raises(InputError, match="its cases need up to .* but this machine has"):
        prepare(fake_playbook(text), build, FakeTarget())


def test_unlike_configurations_are_refused_unless_allowed_by_name(tmp_path, module_bytes):
    def build(name):
        value = "y" if name == "fast" else "n"
        return fake_kernel(tmp_path, name, module_bytes, {"SLUB_TINY": value})

    with pytest.raises(InputError, match="SLUB_TINY: slow has n, fast has y"):
        prepare(fake_playbook(), build, FakeTarget())
    allowed = PLAYBOOK + "allow_config_differences: [SLUB_TINY]\n"
    assert prepare(fake_playbook(allowed), build, FakeTarget()).jobs


def test_a_full_disk_spoils_the_boot_not_the_store(build, store, tmp_path):
    target, observer = FakeTarget(), Silent()
    prepared = prepare(fake_playbook(), build, target)
    run_id = begin_run(prepared, store)
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match="cannot keep logs"):
        run_pending(
            Execution(run_id, target, store, tmp_path / "file", observer, quiet_host), prepared
        )
    assert target.requests == []


MODULE = """
int run_test_mask = %s;
__attribute__((section(".modinfo"), used)) static const char type[] = "parmtype=run_test_mask:int";
__attribute__((section(".modinfo"), used)) static const char text[] = "parm=run_test_mask:Set"
    " id: 1,   name: fix_size_alloc_test id: 2,   name: full_fit_alloc_test"
    " id: 4,   name: long_busy_list_alloc_test id: 8,   name: random_size_alloc_test";
"""


def kernel_with_module(folder, name, text):
    """Return a kernel whose module is `text`, compiled for real."""
    (folder / f"{name}.c").write_text(text)
    argv = ["gcc", "-c", f"{name}.c", "-o", f"{name}.ko"]
    subprocess.run(argv, cwd=folder, check=True)
    return fake_kernel(folder, name, (folder / f"{name}.ko").read_bytes())


def test_a_mask_that_is_left_to_unlike_modules_is_refused(tmp_path):
    """6.12 runs all its cases by default, 7.3 the first three: their loads are not alike."""

    def build(name):
        default = 0x7FFFFFFF if name == "slow" else 7
        return kernel_with_module(tmp_path, name, MODULE % default)

    given = "{nr_threads: 2, run_test_mask: 1, test_loop_count: 100}"
    with pytest.raises(InputError, match="w: it names no run_test_mask.*slow all cases, fast mask"):
        prepare(fake_playbook(PLAYBOOK.replace(given, "{}")), build, FakeTarget())
    named = PLAYBOOK.replace(given, "{run_test_mask: 3}")
    assert prepare(fake_playbook(named), build, FakeTarget()).jobs
    alone = PLAYBOOK.replace(given, "{}").replace("slow, fast", "fast").replace("slow", "fast")
    assert prepare(fake_playbook(alone), build, FakeTarget()).jobs


def test_any_parameter_that_is_left_to_unlike_modules_is_refused(tmp_path):
    """A release whose areas have another size by default would be compared with other work."""
    pages = """
int nr_pages = %s;
__attribute__((section(".modinfo"), used)) static const char pages[] = "parmtype=nr_pages:int";
"""

    def build(name):
        text = MODULE % 7 + pages % (4 if name == "slow" else 0)
        return kernel_with_module(tmp_path, name, text)

    given = "{nr_threads: 2, run_test_mask: 1, test_loop_count: 100}"
    with pytest.raises(InputError, match="w: it names no nr_pages.*modules: slow 4, fast 0"):
        prepare(fake_playbook(PLAYBOOK.replace(given, "{}")), build, FakeTarget())
    named = PLAYBOOK.replace(given, "{nr_pages: 1}")
    assert prepare(fake_playbook(named), build, FakeTarget()).jobs


def test_the_memory_of_a_case_that_nobody_knows_has_to_be_named(tmp_path):
    """A release with a new case: what it holds is not guessed."""
    text = (MODULE % 9).replace("name: random_size_alloc_test", "name: walk_alloc_test")

    def build(name):
        return kernel_with_module(tmp_path, name, text)

    given = "{nr_threads: 2, run_test_mask: 1, test_loop_count: 100}"
    own_mask = PLAYBOOK.replace(given, "{}")
    with pytest.raises(InputError, match="walk_alloc_test: an unknown case"):
        prepare(fake_playbook(own_mask), build, FakeTarget())
    known = PLAYBOOK.replace(given, "{run_test_mask: 1}")
    assert prepare(fake_playbook(known), build, FakeTarget()).jobs
    named = own_mask.replace("cpus: 2}", "cpus: 2, memory_mib: 2048}")
    assert prepare(fake_playbook(named), build, FakeTarget()).jobs
