import pytest

from harness.targets.accelerator import (
    FIRST_OUTPUT_S,
    FIRST_OUTPUT_SOFTWARE_S,
    first_output_s,
    host_cpu_flags,
)


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [
        ("fpu vmx sse", FIRST_OUTPUT_S),
        ("fpu svm sse", FIRST_OUTPUT_S),
        ("fpu hypervisor svm_lock", FIRST_OUTPUT_SOFTWARE_S),
    ],
)
def test_a_kvm_without_hardware_gets_less_time(tmp_path, flags, seconds):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert first_output_s(host_cpu_flags(tmp_path / "cpuinfo")) == seconds
    assert seconds >= 10


def test_a_host_that_does_not_tell_is_taken_for_one_without(tmp_path):
    assert host_cpu_flags(tmp_path / "none") == []
    assert first_output_s([]) == FIRST_OUTPUT_SOFTWARE_S
