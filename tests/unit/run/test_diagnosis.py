from harness.records import BootRecord, JobRecord
from harness.run.diagnosis import no_boot_diagnosis
from harness.verdict import Verdict

JOBS = [
    JobRecord(position, kernel, "w", 2, 2, (), 0, 20.0)
    for position, kernel in enumerate(["old", "new", "old"])
]


def boot(position, reached=False, verdict=Verdict.NO_BOOT, reason="printed nothing", **facts):
    facts = {"reached_init": reached, "machine": {"kind": "qemu", "accelerator": "tcg"}, **facts}
    return BootRecord(position, verdict, reason, None, 60.0, "", f"boot-{position}", facts)


def test_one_boot_says_nothing_yet():
    assert no_boot_diagnosis(JOBS, [boot(0)]) == ""


def test_one_boot_that_reached_init_is_enough():
    hung = boot(1, reached=True, verdict=Verdict.HUNG)
    assert no_boot_diagnosis(JOBS, [boot(0), hung, boot(2)]) == ""


def test_boots_that_the_machinery_spoiled_or_that_never_began_do_not_count():
    spoiled = boot(1, verdict=Verdict.INTERRUPTED)
    broken = BootRecord(1, Verdict.BUILD_FAILED, "no", None, 0.0, "", "boot-1", {})
    assert no_boot_diagnosis(JOBS, [boot(0), spoiled, broken]) == ""


def test_kernels_that_fail_alike_point_to_what_they_share():
    words = no_boot_diagnosis(JOBS, [boot(0, last_line="[1.0] cannot mount\x1b"), boot(1)])
    assert words.startswith("none of the 2 boots tried reached init")
    assert "last line '[1.0] cannot mount\\x1b'" in words
    assert words.count("printed nothing") == 1
    assert "old and new fail alike" in words
    assert "accelerator" not in words


def test_a_silent_guest_is_said_to_be_one():
    assert "printed nothing, nothing on the console" in no_boot_diagnosis(JOBS, [boot(0), boot(1)])


def test_one_kernel_of_several_is_suspected_itself():
    assert "only old was tried" in no_boot_diagnosis(JOBS, [boot(0), boot(2)])


def test_what_tells_the_machine_s_fault_is_named():
    kvm, lab = {"accelerator": "kvm"}, {"kind": "ssh", "host": "tr1"}
    assert "accelerator: tcg" in no_boot_diagnosis(JOBS, [boot(p, machine=kvm) for p in (0, 1)])
    words = no_boot_diagnosis(JOBS, [boot(p, machine=lab) for p in (0, 1)])
    assert "vmapbench host check tr1" in words
