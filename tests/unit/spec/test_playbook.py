import pytest

from harness.errors import InputError, SpecError
from harness.spec.document import parse_document
from harness.spec.playbook import Playbook, expand_sweep, load_playbook, on_host

TEXT = """
version: 1
name: x
kernels: [a, b]
baseline: a
target: {kind: qemu, cpus: 4}
workloads:
  - name: w
    parameters: {run_test_mask: 1}
    sweep: {nr_threads: [1, 2], test_loop_count: [10, 20]}
"""


def changed(*replacements):
    text = TEXT
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text


def test_good():
    playbook = parse_document(TEXT, Playbook)
    assert playbook.target.kind == "qemu"
    assert playbook.repeats == 3


def test_sweep_makes_every_combination():
    (workload,) = parse_document(TEXT, Playbook).workloads
    points = expand_sweep(workload)
    assert len(points) == 4
    assert points[1] == {"run_test_mask": 1, "nr_threads": 1, "test_loop_count": 20}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("baseline: a", "baseline: c", "baseline 'c' is not among"),
        ("kernels: [a, b]", "kernels: [a, a]", "named twice: a"),
        ("kernels: [a, b]", "kernels: [a, ../b]", "kernels.1"),
        ("cpus: 4", "cpus: 4, threads_per_core: 3", "must be a multiple"),
        ("cpus: 4", "cpus: 4, numa_nodes: 5", "must not exceed"),
        ("cpus: 4", "cpus: '4'", "target.qemu.cpus"),
        ("kind: qemu", "kind: quantum", "quantum"),
        ("version: 1", "version: 2", "1"),
    ],
)
def test_faults_are_explained(old, new, words):
    with pytest.raises(SpecError, match=words):
        parse_document(changed((old, new)), Playbook)


def test_shipped_playbooks_are_good(repository):
    files = sorted((repository / "playbooks").glob("*.yaml"))
    assert {"smoke.yaml", "published.yaml"} <= {file.name for file in files}
    for file in files:
        assert load_playbook(file).name == file.stem


def test_the_published_command_is_kept_as_it_was(repository):
    playbook = load_playbook(repository / "playbooks" / "published.yaml")
    parameters = playbook.workloads[0].parameters
    assert (parameters["run_test_mask"], parameters["nr_threads"]) == (7, 64)


def test_a_playbook_for_lab_hosts_moves_to_another():
    text = changed(("kind: qemu", "kind: ssh, host: tr1"))
    playbook = parse_document(text, Playbook)
    assert on_host(playbook, None) == playbook
    assert on_host(playbook, "tr2").target.host == "tr2"
    with pytest.raises(InputError, match="no lab host"):
        on_host(parse_document(TEXT, Playbook), "tr2")


def test_more_boots_than_anybody_waits_for_are_refused_with_their_number():
    text = changed(("nr_threads: [1, 2]", f"nr_threads: {list(range(1, 1001))}"))
    assert parse_document(text, Playbook).repeats == 3  # 12,000 boots
    text += "repeats: 100\n"
    with pytest.raises(SpecError, match=r"400,000 boots .*at most 100,000"):
        parse_document(text, Playbook)
