"""What ccache may hand out: never the object of other contents."""

import os
import subprocess

from harness.build.construct import build_environment


def test_an_object_follows_the_file_that_it_includes(tmp_path, monkeypatch):
    """A kernel's image takes the compressed kernel in by .incbin: same source, other contents."""
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    monkeypatch.setenv("CCACHE_DEPEND", "1")  # as a user may have it
    (tmp_path / "Makefile").touch()
    source, data = tmp_path / "piggy.S", tmp_path / "vmlinux.bin.gz"
    source.write_text('.section .rodata\n.incbin "vmlinux.bin.gz"\n')
    environment = {**os.environ, **build_environment(tmp_path)}
    command = ["ccache", "gcc", "-c", "-MMD", "-MF", "piggy.d", "-o", "piggy.o", "piggy.S"]
    objects = []
    for kernel in ("good", "evil"):
        data.write_text(kernel)
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        objects.append((tmp_path / "piggy.o").read_bytes())
    assert [b"good" in objects[0], b"evil" in objects[1]] == [True, True]
