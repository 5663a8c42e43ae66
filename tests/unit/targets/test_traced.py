"""What a traced guest is started with."""

from harness.targets.traced import tracing_parameters, tracing_script


def test_tracing_starts_with_the_kernel():
    parameters = tracing_parameters(online_cpus=1, buffer_mib=64)
    assert "maxcpus=1" in parameters
    assert "trace_buf_size=64M" in parameters
    assert "trace_clock=local" in parameters
    assert any(p.startswith("trace_event=vmalloc:*,workqueue:") for p in parameters)


def test_events_of_several_cpus_share_a_clock():
    assert "trace_clock=global" in tracing_parameters(online_cpus=2, buffer_mib=64)


def test_each_load_is_marked_and_the_trace_stops_before_it_is_read():
    script = tracing_script([("a", "run_test_mask=1"), ("b", "run_test_mask=2")])
    marks = [
        line for line in script if line.startswith(("write /sys/kernel/tracing/trace_m", "load"))
    ]
    assert marks == [
        "write /sys/kernel/tracing/trace_marker a",
        "load run_test_mask=1",
        "write /sys/kernel/tracing/trace_marker b",
        "load run_test_mask=2",
    ]
    stop = script.index("write /sys/kernel/tracing/tracing_on 0")
    assert stop < script.index("collect /proc/vmallocinfo") < len(script) - 1
    assert script[-1].startswith("send /sys/kernel/tracing/trace ")


def test_on_one_cpu_purges_run_in_real_time_tasks():
    cases = [("a", "run_test_mask=1"), ("b", "run_test_mask=2")]
    script = tracing_script(cases, 1)
    assert script[0] == "realtime init"
    assert script.count("realtime kworker/") == 2
    assert not any(line.startswith("realtime") for line in tracing_script(cases, 2))
