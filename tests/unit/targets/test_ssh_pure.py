import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build.build_id import build_id_in_notes
from harness.errors import InputError
from harness.spec.document import parse_document
from harness.spec.host import HostSpec
from harness.targets.ssh.identity import Running, mismatches
from harness.targets.ssh.kmsg import KmsgLog
from harness.targets.ssh.power import cycle_argv, http_request
from harness.targets.ssh.transport import command_line


def host(text="", name="box"):
    text = f"version: 1\naddress: box.lab\n{text}"
    return parse_document(text, HostSpec, name=name, folder="/hosts")


def note(name, kind, content):
    padded = name + bytes(-len(name) % 4)
    sizes = (len(name), len(content), kind)
    head = b"".join(n.to_bytes(4, "little") for n in sizes)
    return head + padded + content + bytes(-len(content) % 4)


def test_the_build_id_among_other_notes():
    notes = (
        note(b"Linux\0", 0x101, b"\0") + note(b"Xen\0", 3, b"1234") + note(b"GNU\0", 3, b"\xab\xcd")
    )
    assert build_id_in_notes(notes) == "abcd"
    assert build_id_in_notes(notes[:30]) == ""


@given(st.binary(max_size=200))
def test_no_notes_upset_it(data):
    assert isinstance(build_id_in_notes(data), str)


def test_what_runs_is_held_to_all_three():
    running = Running("b", "6.12.1", "Linux version", "abcd", "root=/x vmapbench.trial=12ef ro")
    assert running.nonce == "12ef"
    assert mismatches(running, "6.12.1", "abcd", "12ef") == []
    assert len(mismatches(running, "6.12.2", "abce", "12")) == 3
    assert Running("b", "r", "v", "", "root=/x xvmapbench.trial=12").nonce == ""


def test_records_are_written_once_over_any_number_of_connections(tmp_path):
    log = KmsgLog(tmp_path / "log")
    first = ["6,1,1500000,-;one", " SUBSYSTEM=pci", "4,2,2000000,-;two"]
    for line in [*first, *first, "6,5,12000001,-,caller=T1;five"]:
        log.take(line)
    assert (tmp_path / "log").read_text() == (
        "[    1.500000] one\n[    2.000000] two\n[   12.000001] five\n"
    )
    assert log.lost == 2
    assert not log.crash


def test_the_first_crash_is_remembered(tmp_path):
    log = KmsgLog(tmp_path / "log")
    log.take("6,1,1,-;all well")
    log.take("0,2,2,-;Kernel panic - not syncing: Attempted to kill init!")
    log.append("[ 3.0] Oops: 0000 [#1] SMP")
    assert log.crash.startswith("Kernel panic - not syncing")


@given(st.lists(st.text(max_size=60), max_size=12))
def test_no_line_upsets_the_log(tmp_path_factory, lines):
    log = KmsgLog(tmp_path_factory.mktemp("kmsg") / "log")
    for line in lines:
        log.take(line)


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1))
def test_no_word_becomes_two(words):
    import shlex

    assert shlex.split(command_line(words)) == ["env", "LC_ALL=C", *words]


def test_power_commands_carry_no_secret():
    ipmi = host("power: {method: ipmi, address: bmc, variable: BMC_SECRET_OF_BOX}")
    argv = cycle_argv(ipmi)
    assert argv[0] == "ipmitool"
    assert argv[-4:] == ("-E", "chassis", "power", "cycle")
    assert cycle_argv(host("power: {method: command, cycle: [pdu, '7']}")) == ("pdu", "7")
    assert cycle_argv(host("power: {method: labgrid, place: tr1}"))[:3] == (
        *("labgrid-client", "-p", "tr1"),
    )
    assert cycle_argv(host()) is None


def test_the_power_request():
    power = host("power: {method: http, url: 'http://strip/1', body: off, variable: STRIP}").power
    request = http_request(power, {"STRIP": "Bearer x"})
    assert (request.get_method(), request.data) == ("POST", b"off")
    assert request.get_header("Authorization") == "Bearer x"
    with pytest.raises(InputError, match="STRIP is not set"):
        http_request(power, {})
