import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from harness import process
from harness.errors import InfrastructureError, ToolError
from harness.process import Children


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie counts as ended)."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except FileNotFoundError:
        return True


def wait_until(condition):
    while not condition():
        time.sleep(0.02)


def test_output_goes_to_log_and_lines_as_it_comes(runner, tmp_path):
    lines = []
    log = tmp_path / "log"
    done = runner.run(["printf", "one\ntwo\n"], log=log, on_line=lines.append)
    assert done.returncode == 0
    assert done.output == "one\ntwo\n"
    assert lines == ["one", "two"]
    assert log.read_text() == "one\ntwo\n"


def test_bytes_that_are_no_text_are_replaced(runner):
    assert runner.run(["printf", r"\377x"]).output == "\N{REPLACEMENT CHARACTER}x"


def test_a_program_that_prints_without_end_is_ended(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_MOST_BYTES", 1 << 20)
    log, lengths = tmp_path / "log", []
    # It does end, so that a harness without the limit ends as well.
    argv = ["head", "-c", str(16 << 20), "/dev/zero"]
    with pytest.raises(ToolError, match="head printed more than 1 MiB, and was ended\n  log: "):
        runner.run(argv, log=log, on_line=lambda line: lengths.append(len(line)))
    assert log.stat().st_size <= 1 << 20
    assert 0 < max(lengths, default=0) <= process._MOST_LINE, (
        "a line without end is no reason to wait for its end"
    )


def test_a_long_line_comes_out_whole(runner):
    text = "\N{MICRO SIGN}" * 70_000
    done = runner.run([sys.executable, "-c", f"print('\\N{{MICRO SIGN}}' * {len(text)})"])
    assert done.output == f"{text}\n"


def test_deadline_kills_the_whole_group(runner, tmp_path):
    pid_file = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {pid_file}; wait"
    done = runner.run(["sh", "-c", script], deadline_s=0.5)
    assert done.timed_out
    wait_until(lambda: gone(int(pid_file.read_text())))


def test_check_tells_what_failed_with_its_last_words(runner, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(ToolError, match=r"sh exited with 3(.|\n)*no such luck") as caught:
        runner.run(["sh", "-c", "echo no such luck; exit 3"], check=True, log=log)
    assert str(log) in str(caught.value)


def test_missing_program_is_named(runner):
    with pytest.raises(ToolError, match="no-such-program-here: program not found"):
        runner.run(["no-such-program-here"])


def test_environment_is_added_to(runner, monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    assert runner.run(["sh", "-c", "echo $KEPT$ADDED"], env={"ADDED": "2"}).output == "12\n"


def test_no_child_gets_the_callers_git_variables(runner, monkeypatch):
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "GIT_SSH_COMMAND"):
        monkeypatch.setenv(name, "callers")
    script = "echo $GIT_DIR $GIT_INDEX_FILE $GIT_CONFIG_COUNT $GIT_SSH_COMMAND"
    assert runner.run(["sh", "-c", script], env={"GIT_DIR": "ours"}).output == "ours\n"


def test_a_child_that_does_nothing_is_ended_and_one_that_does_something_is_not(runner):
    assert runner.run(["sleep", "60"], idle_s=0.3).timed_out
    # A pause of a busy machine that fails this would have to last 3 s.
    script = "n=0; while [ $n -lt 40 ]; do printf x; sleep 0.1; n=$((n + 1)); done"
    done = runner.run(["sh", "-c", script], idle_s=3)
    assert (done.timed_out, done.output) == (False, "x" * 40)


def test_a_childs_input_is_a_file(runner, tmp_path):
    (tmp_path / "given").write_text("one\n")
    assert runner.run(["cat"], stdin=tmp_path / "given").output == "one\n"
    assert runner.run(["cat"]).output == ""


def test_kill_ends_a_child_that_ignores_sigterm(runner, tmp_path):
    log = tmp_path / "log"
    script = "trap '' TERM; echo deaf; while :; do sleep 0.1; done"
    child = runner.spawn(["sh", "-c", script], log=log)
    wait_until(lambda: log.exists() and log.read_text() == "deaf\n")
    assert child.kill(grace_s=0.2) == -signal.SIGKILL
    assert child.kill() == -signal.SIGKILL  # idempotent


def test_all_children_end_at_once_and_none_is_started_any_more(runner):
    children = Children(runner)
    sleepers = [children.spawn(["sleep", "60"]) for _ in range(3)]
    children.end()
    assert [child.poll() is None for child in sleepers] == [False] * 3
    with pytest.raises(InfrastructureError, match="sleep is not started"):
        children.spawn(["sleep", "60"])


def test_children_die_with_a_harness_that_is_killed(tmp_path, start):
    pid_file = tmp_path / "pid"
    code = (
        "import time; from harness.process import SubprocessRunner\n"
        f"child = SubprocessRunner().spawn(['sleep', '300'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid)); time.sleep(300)"
    )
    harness = start([sys.executable, "-c", code])
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    comm = Path(f"/proc/{pid_file.read_text()}/comm")
    wait_until(lambda: comm.read_text() == "sleep\n")  # until then setpriv may not have tied it yet
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    wait_until(lambda: gone(int(pid_file.read_text())))


def test_interrupt_while_running_kills_the_child(runner, tmp_path):
    pid_file = tmp_path / "pid"

    def interrupt(line):
        pid_file.write_text(line)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runner.run(["sh", "-c", "echo $$; exec sleep 300"], on_line=interrupt)
    wait_until(lambda: gone(int(pid_file.read_text())))


def test_an_interrupt_while_a_child_is_being_started_leaves_none_behind(runner):
    def children():
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    others = children()
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        for step in range(1, 61):
            child = None
            signal.setitimer(signal.ITIMER_REAL, step * 0.0002)
            with contextlib.suppress(KeyboardInterrupt):
                child = runner.spawn(["sleep", "1000"])
                time.sleep(1)
            if child:
                child.kill()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert children() <= others
