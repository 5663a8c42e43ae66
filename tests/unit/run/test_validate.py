"""From a traced boot's folder to a verdict on the kernel. No boot here."""

import json
from dataclasses import asdict

import pytest

from harness.errors import InfrastructureError, InputError
from harness.model.allocator import Allocator, Rules
from harness.model.suspects import SUSPECTS
from harness.run.validate import LOADS, preemption_of, rules_of, validate_folder
from harness.testmod.cases import lazy_max_pages
from tests.kernel_traces import RULES, render_trace, workload


def write_folder(folder, allocator, cpus=1):
    events = workload(allocator, cpus=cpus)
    (folder / "trace").write_text(render_trace(events))
    facts = {"version": 1, "kernel": "some-kernel", "cpus": cpus, "rules": asdict(RULES)}
    (folder / "facts.json").write_text(json.dumps(facts))
    busy = [area for state, area in allocator.areas() if state == "busy"]
    lines = [f"0x{area.start:016x}-0x{area.end:016x} {area.end - area.start} test" for area in busy]
    (folder / "vmallocinfo").write_text("\n".join(lines) + "\n")
    return events


def test_a_right_kernel_passes_exactly(tmp_path):
    events = write_folder(tmp_path, Allocator(RULES))
    result = validate_folder(tmp_path)
    assert result.passed
    assert (result.mode, result.events) == ("exact", len(events))
    total, predicted = result.cases["boot"]
    assert total == predicted > 1000


def test_a_right_kernel_of_several_cpus_keeps_the_rules(tmp_path):
    write_folder(tmp_path, Allocator(RULES), cpus=4)
    result = validate_folder(tmp_path)
    assert (result.passed, result.mode) == (True, "rules")


def test_a_defect_fails_and_is_named(tmp_path):
    write_folder(tmp_path, SUSPECTS["decay of 50 % instead of 25 %"](RULES))
    result = validate_folder(tmp_path)
    assert not result.passed
    assert "the model expects" in result.faults[-1]
    assert result.explanations[0].name == "decay of 50 % instead of 25 %"
    assert result.explanations[0].complete


def test_vmallocinfo_must_agree(tmp_path):
    write_folder(tmp_path, Allocator(RULES))
    with (tmp_path / "vmallocinfo").open("a") as stream:
        stream.write("0xffffe00000000000-0xffffe00000002000 8192 stranger\n")
    (fault,) = validate_folder(tmp_path).faults
    assert "the model not" in fault


@pytest.mark.parametrize("damage", ["CPU:0 [LOST 5 EVENTS]\n", "half a line\n"])
def test_a_partial_trace_gives_no_verdict(tmp_path, damage):
    write_folder(tmp_path, Allocator(RULES))
    with (tmp_path / "trace").open("a") as stream:
        stream.write(damage)
    with pytest.raises(InfrastructureError, match="is incomplete"):
        validate_folder(tmp_path)


def test_a_trace_without_one_of_the_tracepoints_names_it(tmp_path):
    write_folder(tmp_path, Allocator(RULES))
    trace = (tmp_path / "trace").read_text()
    lines = [line for line in trace.splitlines(True) if "purge_vmap_area_lazy" not in line]
    (tmp_path / "trace").write_text("".join(lines))
    with pytest.raises(InfrastructureError, match="has no event purge_vmap_area_lazy: the kernel"):
        validate_folder(tmp_path)


def test_a_tracepoint_that_prints_otherwise_is_quoted(tmp_path):
    write_folder(tmp_path, Allocator(RULES))
    trace = (tmp_path / "trace").read_text()
    (tmp_path / "trace").write_text(trace.replace(" align=", " node=0 align="))
    with pytest.raises(InfrastructureError, match="lines not understood\n.* node=0 align="):
        validate_folder(tmp_path)


NODES = "".join(
    f"ffffffff8114a5f0 t {name}\n"
    for name in ("nr_vmap_nodes", "purge_vmap_node", "drain_vmap_area_work")
)
NO_NODES = "ffff d __tracepoint_reclaim_vmap_area\nffff t drain_vmap_area_work\n"
POOLS = {"small_pools": "all", "decay": "quarter"}


@pytest.mark.parametrize(
    ("symbols", "features", "said", "possible", "expected"),
    [
        (NODES, POOLS, None, 4, Rules(4, lazy_max_pages(1))),
        (NODES, POOLS, 1, 4, Rules(1, lazy_max_pages(1))),
        (NODES, POOLS, None, 200, Rules(128, lazy_max_pages(1))),
        (NO_NODES, {}, None, 4, Rules(1, 8192, merge_lazy=True)),
    ],
)
def test_a_kernels_rules_follow_from_its_symbols(symbols, features, said, possible, expected):
    assert rules_of(symbols, features, said, possible, 1) == expected


@pytest.mark.parametrize(
    ("symbols", "features", "told"),
    [
        (NODES.replace("purge_vmap_node", "purge_node"), POOLS, "nodes, but no purge_vmap_node:"),
        (NODES.replace("drain_vmap_area_work", "drain"), POOLS, "but no drain_vmap_area_work:"),
        (NODES.replace("nr_vmap_nodes", "vmap_node_count"), POOLS, "but no nr_vmap_nodes:"),
        (NODES, {}, "but no decay_va_pool_node:"),
        (NODES, {"small_pools": "unknown"}, "decay_va_pool_node has a form that the model does"),
        ("ffff t drain_vmap_area_work\n", {}, "neither vmap nodes nor the tracepoint reclaim_v"),
    ],
)
def test_a_part_of_the_design_that_is_called_otherwise_is_named(symbols, features, told):
    with pytest.raises(InputError, match=told):
        rules_of(symbols, features, None, 4, 1)


def test_a_load_names_its_case():
    assert LOADS[1].load(1000, 2) == (
        "run_test_mask=1 nr_threads=2 test_loop_count=10 sequential_test_order=1 nr_pages=255"
    )


def test_a_divergence_of_a_preemptible_kernel_is_no_proof(tmp_path):
    write_folder(tmp_path, SUSPECTS["decay of 50 % instead of 25 %"](RULES))
    facts = json.loads((tmp_path / "facts.json").read_text())
    (tmp_path / "facts.json").write_text(json.dumps({**facts, "preemption": "PREEMPT_LAZY"}))
    result = validate_folder(tmp_path)
    assert not result.passed
    assert "this may be no defect: with PREEMPT_LAZY" in result.faults[-1]


def test_what_preempts_a_kernel_is_read_from_its_configuration():
    assert preemption_of({"PREEMPT_NONE": "y", "PREEMPT_LAZY": "absent"}) == ""
    assert preemption_of({"PREEMPT_LAZY": "y", "PREEMPT": "n"}) == "PREEMPT_LAZY"
