"""A guest that prints without end, in a real QEMU: firmware of eight bytes."""

from harness.targets import watch
from harness.targets.watch import BootLimits, watch_guest
from harness.verdict import Verdict

# mov dx, 0x3f8; mov al, 'x'; again: out dx, al; jmp again
_FLOOD = bytes.fromhex("ba f8 03 b0 78 ee eb fd")
_RESET_VECTOR = 0xFFF0


def test_a_guest_that_prints_without_end_is_ended(tmp_path, runner, monkeypatch):
    monkeypatch.setattr(watch, "_MOST_BYTES", 100_000)
    (tmp_path / "firmware").write_bytes(_FLOOD.rjust(_RESET_VECTOR + len(_FLOOD)).ljust(1 << 16))
    (tmp_path / "report").touch()

    def argv_for(monitor):
        argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "pc"]
        argv += ["-accel", "tcg", "-bios", str(tmp_path / "firmware")]
        argv += ["-chardev", f"file,id=console,path={tmp_path}/console.log"]
        return [*argv, "-serial", "chardev:console", "-qmp", f"unix:{monitor},server=on,wait=off"]

    limits = BootLimits(boot_s=2, test_s=1, grace_s=1)
    result = watch_guest(argv_for, tmp_path, "nonce", 1, limits, runner, lambda _: None)
    assert result.verdict is Verdict.NO_BOOT
    assert "the guest printed more than any log has" in result.reason
    assert (tmp_path / "console.log").stat().st_size < 50_000_000
