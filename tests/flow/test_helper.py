"""The helper of lab hosts and its sudoers file: what it does, and all that it refuses."""

import hashlib
import os
import re
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.spec.host import BOOT_METHODS
from harness.targets.ssh.helper import PATH, render_helper, render_sudoers, root_argv
from harness.targets.ssh.probe import other_commands
from tests.flow.helper_stand import TRIAL, HelperStand, host_spec

VISUDO = "/usr/sbin/visudo"
# Each verb with words that it takes, so that one word at a time can be made hostile.
VERBS = {
    "prepare": (),
    "put": ("kernel", "0" * 64),
    **dict.fromkeys(("arm", "disarm", "armed", "inspect", "start"), ("grub",)),
    "confirm": (),
    "load": ("1", "nr_threads=2", "run_test_mask=7"),
    "profile": ("1", "nr_threads=2", "run_test_mask=7"),
    **dict.fromkeys(("perf", "profiled", "waits"), ()),
    "kmsg": (),
    "dmesg": (),
    "pagetypes": (),
    "fragment": ("order=4", "percent=80"),
    "pstore": (),
    "tune": ("60", "governor=performance"),
    "restore": (),
    "reboot": (),
    "reboot-now": (),
}
HOSTILE = (
    *(
        "",
        " ",
        "..",
        "../x",
        "1\n",
        "1 2",
        "governor=a\n",
        "governor=/x",
        "x=1 y=2",
        "x=..",
        "x=../y",
        "x/../../etc/shadow",
        "/etc/shadow",
        ".hidden",
        "a..b",
    ),
    *("a b", "a\nb", "a\n", "\n", "a\tb", "a\rb", "a;b", "a&b", "a|b", "$(reboot)", "`reboot`"),
    *(
        "*",
        "?",
        "[a-z]",
        "~",
        "a'b",
        'a"b',
        "a\\b",
        "a>b",
        "a<b",
        "\x1b[0m",
        "é",
        "\u2215",
        "{a,b}",
    ),
)


@pytest.fixture
def stand(tmp_path):
    return HelperStand(tmp_path)


def refused(stand, *words, stdin=b"x"):
    """Whether it refuses with a message, and nothing has happened."""
    before = stand.files()
    done = stand.run(*words, stdin=stdin)
    assert stand.called() == []
    assert stand.files() == before
    assert done.stdout == b""
    assert done.stderr.startswith(b"vmapbench-lab: "), done.stderr
    return done.returncode == 2


def test_every_verb_of_the_text_is_tried_here():
    text = render_helper(host_spec())
    cases = re.findall(r"^([a-z]+ [-|a-z \\\n]+)\) takes ", text, re.MULTILINE)
    named = {verb for case in cases for verb in re.findall(r"[-a-z]+", case)}
    assert named | {"put"} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_hostile_word_is_refused_wherever_it_stands(stand, verb):
    stand.runs(TRIAL)  # where most is allowed
    words = VERBS[verb]
    for hostile in HOSTILE:
        for place in range(len(words) or 1):
            assert refused(stand, verb, *words[:place], hostile, *words[place + 1 :]), hostile


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("prepare", "now"),
        ("put", "kernel"),
        ("put", "passwd", "0" * 64),
        ("put", "kernel", "0" * 63),
        ("put", "kernel", "g" * 64),
        ("arm",),
        ("arm", "kexec", "grub"),
        ("arm", "lilo"),
        ("systemctl", "poweroff"),
        ("refuse",),
        ("with_method", "arm"),
        ("-c", "reboot"),
        ("profile",),
        ("profile", "x"),
        ("profile", "1", "-f"),
        ("profiled", "1"),
        ("load", "-1", "a=b"),
        ("load", "1", "-f"),
        ("load", "1", "--force"),
        ("load", "1", "=x"),
        ("load", "1234567"),
        ("fragment",),
        ("fragment", "order"),
        ("fragment", "-f"),
        ("tune", "soon"),
        ("tune", "60", "modprobe=x"),
        ("tune", "60", "governor"),
        ("tune", "60", "govern.r=x"),
        ("tune", "60", "-e=x"),
    ],
)
def test_what_has_no_sense_does_nothing(stand, words):
    stand.runs(TRIAL)
    assert refused(stand, *words)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=4))
def test_no_list_of_words_that_is_no_verb_does_anything(stand, words):
    if not words or words[0] not in VERBS:
        assert refused(stand, *words)


def test_files_are_kept_only_if_they_arrived_whole(stand):
    content = os.urandom(100_000)
    digest = hashlib.sha256(content).hexdigest()
    assert refused(stand, "put", "kernel", digest, stdin=content)  # nothing was prepared
    assert stand.run("prepare").returncode == 0
    done = stand.run("put", "kernel", digest, stdin=content[:-1])
    assert (done.returncode, list(stand.trial.iterdir())) == (1, [])
    assert b"did not arrive whole" in done.stderr
    assert stand.run("put", "kernel", digest, stdin=content).returncode == 0
    assert (stand.trial / "kernel").read_bytes() == content
    assert stand.run("prepare").returncode == 0
    assert list(stand.trial.iterdir()) == []


LINE = "root=UUID=1 ro rdinit=/vmapbench/guard vmapbench.trial=ab12"


@pytest.fixture
def staged(stand):
    stand.run("prepare")
    for name in ("kernel", "module.ko", "guard"):
        content = f"the {name} ".encode()
        stand.run("put", name, hashlib.sha256(content).hexdigest(), stdin=content)
    return stand


@pytest.mark.parametrize(
    "line",
    [
        *("", f"{LINE}\nro", f"ro\n{LINE}", f"{LINE} \x1b", f"{LINE} é", f"{LINE}\tro", "ro"),
        *(LINE + " " + "a" * 2047, "rdinit=/vmapbench/guard", "vmapbench.trial=ab12"),
    ],
)
@pytest.mark.parametrize("method", BOOT_METHODS)
def test_only_a_command_line_of_a_trial_is_armed(staged, method, line):
    assert refused(staged, "arm", method, stdin=line.encode())


def test_a_trial_arms_no_other(staged):
    staged.runs(TRIAL)
    assert refused(staged, "arm", "kexec", stdin=LINE.encode())


def test_kexec_gets_one_word_for_the_whole_command_line(staged):
    staged.program("kexec", f'for word; do last=$word; done; echo "$last" >{staged.folder}/last')
    assert staged.run("arm", "kexec", stdin=f'{LINE} dyndbg="a +p"'.encode()).returncode == 0
    last = (staged.folder / "last").read_text()
    assert last == f'--command-line={LINE} dyndbg="a +p"\n'
    assert (staged.trial / "initrd").read_text() == "the guard the host's own"
    staged.called()
    staged.run("start", "kexec")
    assert staged.called() == ["systemctl kexec"]


def test_a_trial_that_cannot_be_armed_is_disarmed(staged):
    staged.program("kexec", '[ "$1" = --unload ]')
    done = staged.run("arm", "kexec", stdin=LINE.encode())
    assert (done.returncode, staged.called()[-1]) == (1, "kexec --unload")
    assert b"was not armed" in done.stderr


def test_the_grub_entry(staged):
    assert staged.run("arm", "grub", stdin=f"{LINE} a=$root b=x;reboot c={{d}}".encode())
    assert (staged.folder / "grub/vmapbench/trial.cfg").read_text() == (
        "menuentry 'vmapbench trial' --id vmapbench-trial {\n"
        "    linux $prefix/vmapbench/kernel 'root=UUID=1' 'ro' 'rdinit=/vmapbench/guard'"
        " 'vmapbench.trial=ab12' 'a=$root' 'b=x;reboot' 'c={d}'\n"
        "    initrd $prefix/vmapbench/initrd\n"
        "}\n"
    )
    assert (staged.folder / "grub/vmapbench/kernel").read_text() == "the kernel "
    assert (staged.folder / "grub/vmapbench/initrd").stat().st_mode & 0o777 == 0o600
    assert staged.called()[-1] == "grub-reboot vmapbench-trial"
    (staged.folder / "grub/custom.cfg").write_text("# the host's own\n")
    for name, text in {"custom.cfg": "mine\n", "grub.cfg": "next_entry custom.cfg\n"}.items():
        (staged.folder / "grub" / name).write_text(text)
    assert staged.run("arm", "grub", stdin=LINE.encode()).returncode == 0
    assert (staged.folder / "grub/custom.cfg").read_text() == "mine\n"
    said = staged.run("inspect", "grub").stdout.decode().splitlines()
    assert said == ["clears next_entry", "reads custom.cfg", "other custom.cfg"]


@pytest.mark.parametrize("quote", ["'", '"', "\\"])
def test_grub_is_given_no_quotes(staged, quote):
    assert staged.run("arm", "grub", stdin=f"{LINE} a={quote}".encode()).returncode == 2
    assert not (staged.folder / "grub/vmapbench").exists()


def test_the_systemd_boot_entry(staged):
    assert staged.run("arm", "systemd-boot", stdin=LINE.encode()).returncode == 0
    partition = staged.folder / "partition"
    entry = (partition / "loader/entries/vmapbench-trial.conf").read_text()
    assert f"\noptions {LINE}\n" in entry
    assert (partition / "vmapbench/initrd").read_text() == "the guard the host's own"
    assert staged.called()[-1] == "bootctl set-oneshot vmapbench-trial.conf"
    staged.run("disarm", "systemd-boot")
    assert staged.called() == ["bootctl set-oneshot "]


@pytest.mark.parametrize("method", BOOT_METHODS)
def test_the_default_is_touched_by_no_method(staged, method):
    """What a power cycle starts must stay what it was."""
    staged.run("arm", method, stdin=LINE.encode())
    assert staged.run("armed", method).stdout in (b"yes\n", b"no\n")
    staged.run("disarm", method)
    words = " ".join(staged.called()).split()
    assert not {"grub-set-default", "update-grub", "set-default", "saved_entry"} & set(words)


def test_a_module_is_loaded_in_a_trial_only(staged):
    assert refused(staged, "load", "1", "nr_threads=2")
    staged.runs(TRIAL)
    staged.program(
        "insmod",
        f"echo now at 5000000042 nsecs >{staged.folder}/timer_list\n"
        'echo "insmod: ERROR: could not insert module x: Resource temporarily unavailable" >&2\n'
        "exit 1",
    )
    assert staged.run("load", "1", "nr_threads=2", "run_test_mask=7").returncode == 0
    assert staged.called() == [f"insmod {staged.trial}/module.ko nr_threads=2 run_test_mask=7"]
    result = (staged.trial / "result.1").read_text()
    assert result == "elapsed_ns=42 Resource temporarily unavailable\n"


def test_memory_is_fragmented_in_a_trial_only(staged):
    assert refused(staged, "fragment", "order=4")
    staged.runs(TRIAL)
    staged.program("insmod", "exit 0")
    assert staged.run("fragment", "order=4", "percent=80").returncode == 0
    assert staged.called() == [f"insmod {staged.trial}/fragment.ko order=4 percent=80"]
    staged.program("insmod", "echo insmod: ERROR: Invalid argument >&2; exit 1")
    failed = staged.run("fragment", "order=99")
    assert failed.returncode == 1
    assert b"was not loaded" in failed.stderr


def test_sudo_understands_the_file(tmp_path):
    def read_by_sudo(text):
        (tmp_path / "sudoers").write_text(text)
        argv = [VISUDO, "--check", "--file", str(tmp_path / "sudoers")]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    text = render_sudoers(host_spec(), "bench")
    assert read_by_sudo(text).returncode == 0
    assert read_by_sudo(text.replace("NOPASSWD:", "NOPASSWD")).returncode != 0
    rules = [line for line in text.splitlines() if not line.startswith("#")]
    assert rules == [f"bench ALL=(root) NOPASSWD: {PATH}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give another account a sudoers file")
def test_sudo_itself_lets_the_account_do_no_more(tmp_path):
    """Real sudo as another user, in a mount namespace where its file and the helper lie."""
    rules = "root ALL=(ALL:ALL) ALL\n" + render_sudoers(host_spec(), "nobody")
    for name, text, mode in (
        ("sudoers", rules, 0o440),
        ("helper", render_helper(host_spec()), 0o755),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    shutil.chown(tmp_path, "nobody")
    (tmp_path / "load").write_text("#!/bin/sh\necho root\n")  # a program of the account's own
    (tmp_path / "load").chmod(0o755)
    prepare = (
        f"mount --bind {tmp_path}/sudoers /etc/sudoers && mount -t tmpfs none /usr/local/sbin && "
        f"install -m 755 {tmp_path}/helper {PATH} && mount -t tmpfs none /var/cache && "
        'exec setpriv --reuid=65534 --regid=65534 --clear-groups sudo -n -- "$@"'
    )

    def ask(*argv):
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", prepare, "sh", *argv],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "mount:" not in done.stderr, done.stderr
        return done

    assert ask(PATH, "prepare").returncode == 0
    said = ask(PATH, "put", "kernel", "../../etc/shadow")
    assert (said.returncode, said.stdout) == (2, "")
    assert "characters that are not allowed" in said.stderr
    assert "not a trial kernel" in ask(PATH, "load", "1").stderr
    for argv in (
        ("cat", "/etc/shadow"),
        ("cat", "--", "/sys/fs/pstore/../../../etc/shadow"),
        ("cat", "/boot/initrd.img-x /etc/shadow"),
        (f"{tmp_path}/load", "x"),
        (f"{PATH}/../../../bin/sh", "-c", "id"),
        ("sh", PATH, "prepare"),
        ("install", "-D", "-m", "0600", "--", "/etc/shadow", f"{tmp_path}/shadow"),
    ):
        said = ask(*argv)
        assert (said.returncode, said.stdout) == (1, ""), argv
        assert "password is required" in said.stderr or "not allowed" in said.stderr, said.stderr


def test_where_the_account_is_root_the_same_text_is_run(tmp_path):
    spec = host_spec(f"sudo: false\nstate: {tmp_path}/state\n")
    assert root_argv(host_spec(), ["confirm"]) == ("sudo", "-n", "--", PATH, "confirm")
    argv = root_argv(spec, ["put", "../kernel"])
    assert argv[:3] == ("sh", "-c", render_helper(spec))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (tmp_path / "state").mkdir()
    assert subprocess.run(root_argv(spec, ["prepare"]), check=True)
    assert (tmp_path / "state/trial").is_dir()


def test_what_sudo_allows_besides_is_seen():
    listing = (
        "Matching Defaults entries for lab on box:\n    env_reset, mail_badpass\n\n"
        f"User lab may run the following commands on box:\n    (root) NOPASSWD: {PATH}\n"
    )
    assert other_commands(listing) == []
    assert other_commands("Sorry, user lab may not run sudo on box.\n") == []
    more = (
        listing + "    (ALL : ALL) ALL\n    (root) NOPASSWD: /usr/bin/dmesg,\n        /bin/cat *\n"
    )
    assert other_commands(more) == ["ALL", "/usr/bin/dmesg", "/bin/cat *"]
