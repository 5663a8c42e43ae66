"""The simulated machine's time, on a firmware of our own and on a booted kernel."""

import re
import statistics
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.process import SubprocessRunner
from harness.targets.base import BootRequest
from harness.targets.simulated.machine import (
    QUANTUM_NS,
    MachineModel,
    load_machine,
    plugin_options,
    spread,
)
from harness.targets.simulated.plugin import ensure_plugin
from harness.targets.simulated.profile import parse_counts, parse_windows
from harness.targets.simulated.sampling import (
    Sampling,
    find_sites,
    first_steady,
    judge_of,
    read_windows,
)
from harness.targets.simulated.spec import SimulatedSpec
from harness.targets.simulated.target import ACCELERATOR, SimulatedTarget, SimulationOptions
from harness.targets.symbols import parse_system_map
from harness.testmod.log import parse_log
from harness.verdict import Verdict

pytestmark = pytest.mark.e2e

SOURCE = Path(__file__).with_name("simulated_load.S")
UNIFORM = load_machine("uniform")
THREADRIPPER = load_machine("threadripper-3970x")


@dataclass(frozen=True)
class Run:
    """Start and end of the body on each CPU, in virtual cycles, and the simulator's counts."""

    stamps: tuple[tuple[int, int], ...]
    counts: dict[str, int]

    @property
    def cycles(self) -> int:
        return max(end for _, end in self.stamps) - min(start for start, _ in self.stamps)


@pytest.fixture
def simulate(runner, tmp_path):
    """Runs one body of the firmware on a number of CPUs."""

    def run(
        body: str, cpus: int, machine: MachineModel = UNIFORM, name="run", **numbers: int
    ) -> Run:
        folder = tmp_path / name
        folder.mkdir()
        image = folder / "load.bin"
        defines = [f"-D{body}", *(f"-D{key}={value}" for key, value in numbers.items())]
        layout = "-Wl,-Ttext=0xffff0000,--oformat=binary,--build-id=none,-eentry"
        flags = ["-m32", "-nostdlib", "-static", "-no-pie", layout]
        runner.run(["gcc", *flags, *defines, str(SOURCE), "-o", str(image)], check=True)
        plugin = ensure_plugin(tmp_path / "cache", runner)
        options = {**plugin_options(machine), "follow_from": 0}
        words = ",".join(f"{key}={value}" for key, value in options.items())
        argv = [
            *["setarch", "--addr-no-randomize", "qemu-system-x86_64", "-nodefaults"],
            *["-no-user-config", "-display", "none", "-machine", "q35", "-m", "16"],
            *["-cpu", "max", "-accel", ACCELERATOR.replace("1024", "64"), "-smp", str(cpus)],
            *["-seed", "1", "-bios", str(image), "-global", "apic.vapic=off"],
            *["-chardev", f"file,id=d,path={folder / 'stamps'}"],
            *["-device", "isa-debugcon,iobase=0xe9,chardev=d"],
            *["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
            *["-plugin", f"file={plugin},{words},out={folder}"],
        ]
        runner.run(argv, env={"LD_PRELOAD": str(plugin)}, log=folder / "qemu.log")
        data = (folder / "stamps").read_bytes()
        assert len(data) == 16 * cpus, (folder / "qemu.log").read_text()
        counts = parse_counts((folder / "counts.txt").read_text())[-1]
        return Run(tuple(struct.iter_unpack("<QQ", data)), counts)

    return run


def test_a_loop_takes_as_long_as_its_instructions(simulate):
    run = simulate("BODY_LOOP", 1, N=2_000_000)
    assert run.cycles == pytest.approx(4_000_000, rel=0.001)


def test_instructions_per_cycle_and_clock_of_the_model_hold(simulate):
    fast = UNIFORM.model_copy(update={"instructions_per_cycle": 2.5, "clock_mhz": 3700})
    assert simulate("BODY_LOOP", 1, fast, N=2_000_000).cycles == pytest.approx(1_600_000, rel=0.001)


def test_independent_cpus_do_not_slow_each_other(simulate):
    run = simulate("BODY_LOOP", 64, N=500_000)
    work = sum(end - start for start, end in run.stamps)
    assert work / run.cycles >= 63.5


def test_threads_of_a_core_share_it(simulate):
    alone = simulate("BODY_LOOP", 1, THREADRIPPER, N=500_000).cycles
    both = simulate("BODY_LOOP", 2, THREADRIPPER, name="both", N=500_000).cycles
    assert both / alone == pytest.approx(2 / THREADRIPPER.smt_throughput, rel=0.01)


@pytest.mark.parametrize("cpus", [2, 16])
def test_one_lock_serialises(simulate, cpus):
    turns, section = 20, 20_000
    run = simulate("BODY_LOCK", cpus, TURNS=turns, N=section // 2)
    assert run.cycles == pytest.approx(cpus * turns * section, rel=0.02)


def test_handing_a_lock_over_costs_what_the_distance_says(simulate):
    """Sections shorter than the quantum: still one at a time, plus two transfers each."""
    turns, section, cpus = 200, 100, 8
    run = simulate("BODY_LOCK", cpus, TURNS=turns, N=section // 2)
    each = run.cycles / (cpus * turns)
    transfer = UNIFORM.transfers.other_die_ns  # one cycle is 1 ns
    assert section + transfer <= each <= section + 4 * transfer + 2 * UNIFORM.pause_cycles


def test_a_message_takes_a_transfer_and_arrives_after_it_was_sent(simulate):
    near, far = (simulate("BODY_RING", n, THREADRIPPER, name=str(n), TURNS=100) for n in (8, 64))
    near_ns, far_ns = (
        run.cycles / (100 * len(run.stamps)) / THREADRIPPER.clock_mhz * 1000 for run in (near, far)
    )
    transfers = THREADRIPPER.transfers
    pause_ns = THREADRIPPER.pause_cycles / THREADRIPPER.clock_mhz * 1000
    # Half of the hops go to the other thread of the core, half to the next core of the complex.
    lower = (transfers.same_core_ns + transfers.same_complex_ns) / 2
    assert lower <= near_ns <= 2 * lower + 2 * pause_ns
    assert far_ns > near_ns


CALIBRATED = load_machine("threadripper-3970x-calibrated")


def ns_of_a_load(simulate, lines: int, l3_mib: int) -> float:
    """A load of each of so many lines, the first time apart, in ns beyond its instructions."""
    memory = CALIBRATED.memory.model_copy(update={"l3_mib": l3_mib})
    machine = CALIBRATED.model_copy(update={"memory": memory})
    once, again = (
        simulate("BODY_MEMORY", 1, machine, name=f"{turns}", TURNS=turns, N=lines).cycles
        for turns in (1, 5)
    )
    cycles = (again - once) / (4 * lines)
    return (cycles - 4 / machine.instructions_per_cycle) / machine.clock_mhz * 1000


@pytest.mark.parametrize(
    ("lines", "l3_mib", "expected"),
    [(4_096, 16, 0), (16_384, 16, CALIBRATED.memory.l3_ns), (65_536, 1, CALIBRATED.memory.dram_ns)],
)
def test_a_load_costs_what_the_cache_it_is_found_in_does(simulate, lines, l3_mib, expected):
    """256 KiB are in the second level, 1 MiB in the third, 4 MiB in neither of 1 MiB."""
    assert ns_of_a_load(simulate, lines, l3_mib) == pytest.approx(expected, rel=0.02, abs=0.1)


def test_the_first_load_of_a_large_page_walks_the_page_tables(simulate):
    """8 MiB from a multiple of 2 MiB: four pages."""
    lines, memory = 131_072, CALIBRATED.memory
    without = CALIBRATED.model_copy(update={"memory": memory.model_copy(update={"walk_ns": 0})})
    walking = memory.model_copy(update={"walk_ns": 1000})
    dear = CALIBRATED.model_copy(update={"memory": walking})
    cycles = [
        simulate("BODY_MEMORY", 1, machine, name=name, TURNS=1, N=lines).cycles
        for name, machine in (("none", without), ("walks", dear))
    ]
    assert (cycles[1] - cycles[0]) / CALIBRATED.clock_mhz * 1000 == pytest.approx(4000, abs=5)


def ns_of_three_updates(simulate, cpus: int, arbitration: str) -> float:
    """Three updates of one line and half a microsecond of work, in ns of all CPUs together."""
    turns, machine = 200, spread(THREADRIPPER, cpus)
    machine = machine.model_copy(update={"arbitration": arbitration})
    run = simulate("BODY_COUNTERS", cpus, machine, TURNS=turns, N=308)
    return run.cycles / machine.clock_mhz * 1000 / (turns * cpus)


@pytest.mark.parametrize("cpus", [8, 16, 32])
def test_a_wanted_line_goes_round_each_complex_before_it_leaves(simulate, cpus):
    """One transfer from another complex brings it to all who wait there."""
    transfers, each = THREADRIPPER.transfers, cpus // 8
    visit = transfers.other_die_ns + (each - 1) * transfers.same_complex_ns
    measured = ns_of_three_updates(simulate, cpus, "nearest-first")
    assert measured == pytest.approx(3 * visit / each, rel=0.02)


def test_first_come_first_served_a_wanted_line_comes_from_anywhere(simulate):
    transfers = THREADRIPPER.transfers
    mean = (3 * transfers.same_complex_ns + 28 * transfers.other_die_ns) / 31  # of the others
    measured = ns_of_three_updates(simulate, 32, "first-come")
    assert measured == pytest.approx(3 * mean, rel=0.1)


def test_nobody_runs_ahead_further_than_the_quantum(simulate):
    run = simulate("BODY_LOCK", 16, TURNS=50, N=400)
    assert 0 < run.counts["ahead_most_ns"] <= QUANTUM_NS + 600  # the quantum and one block


def test_spinning_is_left_out_and_changes_nothing(simulate):
    run = simulate("BODY_LOCK", 16, TURNS=20, N=5_000)
    assert run.counts["spins_left_out"] > 100
    assert run.counts["turns_left_out"] > 10 * run.counts["spins_left_out"]


# More than 16 CPUs: QEMU moves the plugin's counters while the CPUs' threads start.
@pytest.mark.parametrize(("cpus", "runs"), [(12, 2), (64, 8)])
@pytest.mark.parametrize("arbitration", ["first-come", "nearest-first"])
def test_runs_repeat_bit_for_bit(simulate, cpus, runs, arbitration):
    machine = THREADRIPPER.model_copy(update={"arbitration": arbitration})
    host = {"host_ms": 0, "drains": 0}  # drains: QEMU stopping its vCPUs after the last stamp
    outcomes = []
    for i in range(runs):
        run = simulate("BODY_LOCK", cpus, machine, name=str(i), TURNS=50, N=300)
        outcomes.append((run.stamps, {**run.counts, **host}))
    assert outcomes == [outcomes[0]] * runs


class ScriptedTarget(SimulatedTarget):
    """A simulated guest whose init carries out other lines than a measurement's."""

    lines: tuple[str, ...] = ()

    def script(self, request):
        return self.lines or super().script(request)


@pytest.fixture
def boot(built, tmp_path):
    """Boots a shipped kernel on the simulated machine."""

    def boot_once(
        name: str,
        cpus: int = 8,
        lines: tuple[str, ...] = (),
        simulation: SimulationOptions = SimulationOptions(),  # noqa: B008  (frozen)
        boot_parameters: tuple[str, ...] = (),
        load: str = "run_test_mask=1 test_loop_count=300",
        memory_mib: int = 1024,
    ):
        folder = tmp_path / name
        folder.mkdir()
        spec = SimulatedSpec(kind="simulated", cpus=cpus, boot_parameters=boot_parameters)
        target = ScriptedTarget(spec, tmp_path / "cache", SubprocessRunner(), simulation=simulation)
        target.lines = lines
        loads = (f"nr_threads={cpus} {load}",)
        request = BootRequest(built("node-limit"), cpus, loads, memory_mib, 300.0, folder)
        return target.boot(request, lambda _: None)

    return boot_once


def test_a_kernel_runs_its_load_on_64_cpus(boot):
    result = boot("many", 64)
    assert result.verdict is Verdict.PASSED
    assert len(parse_log(result.kernel_log)[0].summaries) == 64


@pytest.mark.parametrize("cpus", [8, pytest.param(64, marks=pytest.mark.long)])
def test_a_kernel_gives_the_same_times_twice(boot, cpus):
    with ThreadPoolExecutor() as both:
        first, second = both.map(boot, ("first", "second"), (cpus, cpus))
    assert first.verdict is second.verdict is Verdict.PASSED
    assert first.facts["clocksource"] == "hpet"
    assert len(parse_log(first.kernel_log)[0].summaries) == cpus
    assert first.kernel_log == second.kernel_log
    assert first.load_ns == second.load_ns


def test_lines_that_no_atomic_and_no_spin_loop_uses_may_cost_nothing(boot, tmp_path):
    locks_only = SimulationOptions(switches=(("full_coherence", 0),))
    assert boot("locks", simulation=locks_only).verdict is Verdict.PASSED
    assert boot("all").verdict is Verdict.PASSED
    locks, every = (
        parse_counts((tmp_path / name / "counts.txt").read_text())[-1] for name in ("locks", "all")
    )
    assert 1000 < locks["misses"] < every["misses"]
    assert locks["spins_left_out"] > 1000


def test_clearing_charged_as_a_whole_takes_as_long_as_by_element(boot):
    """On one CPU, where nothing else depends on when in a page its time passes."""
    whole, element = (
        boot(
            f"charge-{charge}",
            cpus=1,
            simulation=SimulationOptions(switches=(("charge_strings", charge),)),
            boot_parameters=("init_on_alloc=1",),
        )
        for charge in (1, 0)
    )
    assert whole.verdict is element.verdict is Verdict.PASSED
    assert whole.load_ns[0] == pytest.approx(element.load_ns[0], rel=0.001)


def test_a_boot_without_detail_repeats_and_leaves_the_load_as_it_is(boot):
    """Within what another order of events changes in a load as short as this one."""
    fast = SimulationOptions(switches=(("fast_boot", 1),))
    first, second = (boot(name, simulation=fast) for name in ("first", "second"))
    assert first.verdict is second.verdict is Verdict.PASSED
    assert (first.kernel_log, first.load_ns) == (second.kernel_log, second.load_ns)
    means = [
        statistics.fmean(line.avg_us for line in parse_log(result.kernel_log)[0].summaries)
        for result in (first, boot("detail"))
    ]
    assert means[0] == pytest.approx(means[1], rel=0.15)


def test_windows_count_every_allocation_of_every_worker(boot, built, tmp_path):
    symbols = parse_system_map(built("node-limit").system_map.read_text())
    places = ("alloc_vmap_area", "free_vmap_area_noflush")
    counted = tuple(symbols.address_of(place) for place in places)
    result = boot("windows", 2, simulation=SimulationOptions(window_ms=0.1, counted=counted))
    assert result.verdict is Verdict.PASSED
    windows = parse_windows((tmp_path / "windows" / "windows.txt").read_text())
    ends = [window.until_ns for window in windows]
    assert ends == sorted(ends)
    made = [
        now - before for before, now in zip(windows[0].executed, windows[-1].executed, strict=True)
    ]
    # 2 workers, 300 loops, and what loading a module allocates; a few frees come later.
    assert 600 <= made[0] <= 700
    assert 590 <= made[1] <= 700


THREE_CASES = "run_test_mask=7 test_loop_count=2000 sequential_test_order=1"
# An error of 0 is never reached: the windows go on to the end of the load.
WHOLE = Sampling(window_ms=1, gap=1000, prepare_gap=2000, error=0)


def module_of(built):
    return built("node-limit").module.read_bytes()


def judged(built, folder, cpus, load):
    request = BootRequest(built("node-limit"), cpus, (load,), 1, 1, folder)
    return judge_of(request)


def test_windows_of_detail_tell_how_long_the_three_cases_take(boot, built, tmp_path):
    """Within 5 %, though the four workers of one boot differ by as much as 14 %."""
    boots = {"slow": SimulationOptions(), "windows": SimulationOptions(sampling=WHOLE)}
    with ThreadPoolExecutor() as both:
        slow, sampled = both.map(
            lambda name: boot(name, 4, (), boots[name], (), THREE_CASES, 2048), boots
        )
    assert slow.verdict is sampled.verdict is Verdict.PASSED
    summaries = parse_log(slow.kernel_log)[0].summaries
    truth_s = sum(line.avg_us for line in summaries) / 4 / 1e6
    windows = read_windows(tmp_path / "windows")
    found = judged(built, tmp_path, 4, THREE_CASES)(windows)
    assert found.unseen == ()
    turns = 4 * sum(site.times(2000, 4) for site in find_sites(module_of(built)) if site.part)
    assert sum(calls for window in windows for calls, _ in window.sites) < 0.5 * turns
    assert found.half_s < 0.05 * found.worker_s
    assert found.worker_s == pytest.approx(truth_s, rel=0.05)


def test_a_load_of_a_million_loops_ends_with_the_same_estimate_twice(boot, built, tmp_path):
    load, simulation = (
        "run_test_mask=1 test_loop_count=1000000",
        SimulationOptions(sampling=Sampling(prepare_gap=2000)),
    )
    first, second = (boot(name, 2, (), simulation, (), load) for name in ("first", "second"))
    for result in (first, second):
        assert result.verdict is Verdict.INCOMPLETE
        assert result.facts["ending"] == "was ended when it had shown enough"
    judge = judged(built, tmp_path, 2, load)
    windows = [read_windows(tmp_path / name) for name in ("first", "second")]
    shorter = min(map(len, windows))  # the boot is ended by the host
    assert windows[0][:shorter] == windows[1][:shorter]
    found = first_steady(windows[0], judge, 0.05)
    assert found == first_steady(windows[1], judge, 0.05)

    slow = boot("slow", 2, load="run_test_mask=1 test_loop_count=20000")
    turns_us = [line.avg_us / 20_000 for line in parse_log(slow.kernel_log)[0].summaries]
    assert found.worker_s == pytest.approx(statistics.fmean(turns_us), rel=0.05)


def test_five_minutes_of_work_and_sleep_show_no_stall(boot):
    load = "load nr_threads=8 run_test_mask=1 test_loop_count=300"
    result = boot("long", lines=(load, "sleep 150000", load, "sleep 150000", "log"))
    log = result.kernel_log
    stamps = [float(t) for t in re.findall(r"^<\d+>\[ *(\d+\.\d+)\]", log, re.MULTILINE)]
    assert max(stamps) > 150, "the second load came after the first sleep"
    bad = re.findall(r".*(?:stall|lockup|blocked for|unstable|clocksource.*skew).*", log)
    known = ("ommand line", "due to boot parameter")
    assert [line for line in bad if not any(words in line for words in known)] == []
