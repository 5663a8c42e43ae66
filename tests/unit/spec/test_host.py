from pathlib import Path

import pytest

from harness.errors import InputError, SpecError
from harness.spec.host import (
    BOOT_METHODS,
    BootSpec,
    host_files,
    load_host,
    load_host_file,
    select_hosts,
)
from harness.targets.ssh import boot
from harness.targets.ssh.boot_method import boot_method

TEXT = """
version: 1
address: tr1.lab
user: bench
jump: [{address: gate.lab, port: 2222}]
boot: {method: grub, confirm_within_s: 240}
power: {method: ipmi, address: tr1-bmc.lab}
labels: [threadripper]
"""


def written(folder, text=TEXT, name="tr1"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_good(tmp_path):
    host = load_host_file(written(tmp_path))
    assert (host.name, host.boot.method, host.power.method) == ("tr1", "grub", "ipmi")
    assert host.power.variable == "IPMI_PASSWORD"
    assert host.known_hosts == "own"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("password: hunter2", "9: password"),
        ("sudo_passwd: hunter2", "9: sudo_passwd"),
        ("api_token: hunter2", "9: api_token"),
        ("topology: {cpus: 4, key_passphrase: hunter2}", "9: topology.key_passphrase"),
    ],
)
def test_secrets_are_refused_and_not_shown(tmp_path, line, place):
    with pytest.raises(SpecError) as caught:
        load_host_file(written(tmp_path, TEXT + line + "\n"))
    assert f":{place}: looks like a secret" in str(caught.value)
    assert "ssh agent" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path):
    power = "power: {method: http, url: 'http://admin:hunter2@strip/1'}"
    text = TEXT.replace("power: {method: ipmi, address: tr1-bmc.lab}", power)
    with pytest.raises(SpecError) as caught:
        load_host_file(written(tmp_path, text))
    assert "hunter2" not in str(caught.value)


def test_every_fault_at_once_with_its_line(tmp_path):
    text = TEXT.replace("grub", "lilo").replace("user: bench", "user: '-oProxyCommand=x'")
    with pytest.raises(SpecError) as caught:
        load_host_file(written(tmp_path, text))
    places = [fault.split(":")[:2] for fault in caught.value.faults]
    assert places == [["4", " user"], ["6", " boot.method"]]


def test_the_first_folder_wins_and_unknown_names_list_the_known(tmp_path):
    here, there = tmp_path / "a", tmp_path / "b"
    written(here)
    written(there, TEXT.replace("tr1.lab", "other.lab"))
    written(there, name="tr2")
    assert [path.stem for path in host_files((here, there))] == ["tr1", "tr2"]
    assert load_host("tr1", (here, there)).address == "tr1.lab"
    with pytest.raises(InputError, match=r"no tr3.yaml.*known hosts: tr1, tr2"):
        load_host("tr3", (here, there))


def test_hosts_are_chosen_by_name_and_label(tmp_path):
    written(tmp_path)
    written(tmp_path, name="tr2")
    written(tmp_path, TEXT.replace("threadripper", "epyc"), name="ep1")

    def names(choice):
        return [host.name for host in select_hosts(choice, (tmp_path,))]

    assert names("label=threadripper") == ["tr1", "tr2"]
    assert names("tr2, label=threadripper,ep1") == ["tr2", "tr1", "ep1"]
    for wrong in ("label=none", "tr9", "", "tr1,"):
        with pytest.raises(InputError):
            names(wrong)


def test_a_boot_method_is_a_file_more_and_nothing_else():
    folder = Path(boot.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in BOOT_METHODS} == files
    for name in BOOT_METHODS:
        assert boot_method(BootSpec(method=name)).programs()


@pytest.mark.parametrize(
    "line",
    [
        r'boot: {initrd: "/boot/x\nbench ALL=(ALL) NOPASSWD: ALL"}',
        "boot: {initrd: /boot/initrd.img-*}",
        "boot: {initrd: ../etc/shadow}",
        "boot: {initrd: /boot/../etc/shadow}",
        "boot: {method: systemd-boot, partition: '/boot/efi, /bin/sh'}",
        "boot: {parameters: [panic=0]}",
        r'state: "/var/lib/vmapbench\n"',
        "state: /var/lib/..",
        r'address: "tr1.lab\n"',
        r'user: "bench\n"',
    ],
)
def test_no_value_says_more_than_it_seems_to(tmp_path, line):
    with pytest.raises(SpecError):
        load_host_file(
            written(tmp_path, f"version: 1\n{line}\n" + "address: x\n" * ("address" not in line))
        )
