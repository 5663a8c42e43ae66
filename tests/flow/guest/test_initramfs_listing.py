"""The initramfs as cpio itself reads it."""

from harness.guest.initramfs import base_archive, script_archive


def test_cpio_lists_every_part(runner, tmp_path):
    archive = tmp_path / "archive"
    archive.write_bytes(base_archive(b"init", b"module") + script_archive("log\n"))
    listing = runner.run(["sh", "-c", f"cpio -itv < {archive}"], check=True).output
    assert "vmapbench/module.ko" in listing
    assert "crw-------" in listing  # /dev/console
