"""What a machine is, from texts."""

from hypothesis import given
from hypothesis import strategies as st

from harness.run.fingerprint import host_fingerprint
from harness.targets.inventory import (
    CPUS,
    DMI,
    FILES,
    VULNERABILITIES,
    describe_change,
    parse_cpu_list,
    parse_inventory,
)


def cpuinfo(sockets=1, cores=32, threads=2):
    """As a Threadripper 3970X shows it."""
    rows, number = [], 0
    for _ in range(threads):
        for socket in range(sockets):
            for core in range(cores):
                rows.append(
                    f"processor\t: {number}\nvendor_id\t: AuthenticAMD\n"
                    "model name\t: AMD Ryzen Threadripper 3970X 32-Core Processor\n"
                    f"stepping\t: 0\nmicrocode\t: 0x830107a\nphysical id\t: {socket}\n"
                    f"core id\t\t: {core}\n"
                )
                number += 1
    return "\n".join(rows)


def texts(**more):
    return {
        "/proc/cpuinfo": cpuinfo(),
        "/proc/meminfo": "MemTotal:       131820160 kB\nMemFree: 1 kB\n",
        "/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
        f"{DMI}/board_vendor": "Gigabyte",
        f"{DMI}/board_name": "TRX40 AORUS MASTER",
        f"{DMI}/bios_vendor": "AMI",
        f"{DMI}/bios_version": "F7",
        f"{DMI}/bios_date": "12/05/2022",
        "/sys/devices/system/node/online": "0-3",
        f"{VULNERABILITIES}/retbleed": "Mitigation: untrained return thunk; SMT enabled",
        f"{VULNERABILITIES}/mds": "Not affected",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "acpi-cpufreq",
        **more,
    }


def altra(packages=2, cores=80, part="0xd0c"):
    """As a server with two Ampere Altra shows it: no package and no core in /proc/cpuinfo."""
    found = {"/proc/cpuinfo": "", "/sys/devices/system/node/online": "0-1"}
    for number in range(packages * cores):
        found["/proc/cpuinfo"] += (
            f"processor\t: {number}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm atomics\n"
            f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\n"
            f"CPU part\t: {part}\nCPU revision\t: 1\n\n"
        )
        folder = f"{CPUS}/cpu{number}/topology"
        found[f"{folder}/physical_package_id"] = str(number // cores)
        found[f"{folder}/core_id"] = str(number % cores)
    return texts(**found)


def test_a_server_of_arm64_is_known():
    found = parse_inventory(altra())
    assert (found.cpu, found.stepping, found.microcode) == ("Neoverse-N1", "0x3 1", "")
    assert (found.sockets, found.physical_cores, found.cpus, found.numa_nodes) == (2, 160, 160, 2)
    assert parse_inventory(altra(part="0xfff")).cpu == "0x41 0xfff"  # none that we have a name for


def test_a_threadripper_is_known():
    found = parse_inventory(texts())
    assert found.cpu == "AMD Ryzen Threadripper 3970X 32-Core Processor"
    assert (found.sockets, found.physical_cores, found.cpus, found.numa_nodes) == (1, 32, 64, 4)
    assert (found.stepping, found.microcode, found.memory_mib) == ("0", "0x830107a", 128730)
    assert found.board == "Gigabyte TRX40 AORUS MASTER"
    assert found.bios == "AMI F7 12/05/2022"
    assert found.mitigations["retbleed"].startswith("Mitigation:")


def test_another_kernel_is_the_same_hardware_but_another_inventory():
    new_words = {
        "/proc/sys/kernel/osrelease": "6.12.1-lab",
        f"{VULNERABILITIES}/retbleed": "Mitigation: other words",
        "/proc/meminfo": "MemTotal:       131700000 kB\n",
    }
    ours, theirs = parse_inventory(texts()).facts(), parse_inventory(texts(**new_words)).facts()
    assert ours["hardware"] == theirs["hardware"]
    assert ours["id"] != theirs["id"]


def test_what_changes_times_changes_the_hardware():
    before = parse_inventory(texts()).facts()["hardware"]
    for change in (
        {"/proc/cpuinfo": cpuinfo().replace("0x830107a", "0x830107c")},
        {f"{DMI}/bios_version": "F8"},
        {"/proc/cpuinfo": cpuinfo(threads=1)},
        {f"{VULNERABILITIES}/retbleed": "Vulnerable"},
        {"/proc/meminfo": "MemTotal:       65820160 kB\n"},
    ):
        assert parse_inventory(texts(**change)).facts()["hardware"] != before, change


def test_a_change_is_told_with_both_values():
    before = parse_inventory(texts()).facts()
    now = parse_inventory(
        texts(**{f"{DMI}/bios_version": "F8", f"{VULNERABILITIES}/mds": "Vulnerable"})
    ).facts()
    assert describe_change(before, now) == [
        "bios: AMI F7 12/05/2022 -> AMI F8 12/05/2022",
        "mitigations: mds: Not affected -> Vulnerable",
    ]
    assert describe_change(now, now) == []
    assert describe_change({}, now) == []


@given(st.dictionaries(st.sampled_from(FILES), st.text()))
def test_no_text_breaks_it(found):
    assert len(parse_inventory(found).facts()["id"]) == 12


@given(st.sets(st.integers(0, 4000)))
def test_lists_of_cpus_are_read_as_the_kernel_writes_them(cpus):
    parts, rest = [], sorted(cpus)
    while rest:
        size = next((n for n in range(1, len(rest)) if rest[n] != rest[0] + n), len(rest))
        parts.append(str(rest[0]) if size == 1 else f"{rest[0]}-{rest[size - 1]}")
        rest = rest[size:]
    assert parse_cpu_list(",".join(parts) + "\n") == sorted(cpus)


def test_this_machine_is_read_the_same_way(tmp_path):
    for path, text in texts().items():
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    facts = host_fingerprint(tmp_path)
    assert {name: facts[name] for name in facts if name != "cores"} == parse_inventory(
        texts()
    ).facts()
    assert facts["cores"] >= 1


def test_the_depth_of_page_tables_is_read_from_the_flags_that_the_kernel_uses():
    def levels(flags):
        return parse_inventory(texts(**{"/proc/cpuinfo": f"flags\t\t: {flags}\n"})).paging_levels

    assert [levels("fpu lm la57 rdpid"), levels("fpu lm rdpid"), levels("fpu")] == ["5", "4", ""]
