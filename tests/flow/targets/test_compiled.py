"""What the package compiles at first use, with the real compiler."""

from harness.guest.initramfs import ensure_init
from harness.targets.lockprofile import ensure_lock_plugin


def test_init_is_compiled_once_and_static(runner, tmp_path):
    program = ensure_init(tmp_path, runner)
    before = program.stat().st_mtime_ns
    assert ensure_init(tmp_path, runner) == program
    assert program.stat().st_mtime_ns == before
    assert "statically linked" in runner.run(["file", str(program)]).output
    left = {path.name for path in program.parent.rglob("*") if path.is_file()}
    assert left == {program.name, "lock"}  # nothing of the scratch folder but its lock


def test_the_lock_profile_compiles(tmp_path, runner):
    library = ensure_lock_plugin(tmp_path, runner)
    assert library.read_bytes()[:4] == b"\x7fELF"
