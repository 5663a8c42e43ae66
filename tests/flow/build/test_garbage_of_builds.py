"""A kernel that was really built is kept while its user lives, and built again after it went."""

import subprocess
import sys

from harness.build.cache import Cache
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.run.garbage import drop, find_items, in_use

USER = """
import sys
from harness.build.cache import Cache
from pathlib import Path
Cache(Path(sys.argv[1])).hold(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def of_kind(cache, tmp_path, kind):
    return [item for item in find_items(cache, tmp_path / "none") if item.kind == kind]


def test_a_kernel_that_was_handed_out_stays(cache: Cache, toy, tmp_path):
    built = ensure_kernel(toy(), cache, SubprocessRunner(), lambda _: None)
    (item,) = of_kind(cache, tmp_path, "kernel")
    assert item.name == f"toy {built.key[:12]}"
    assert in_use(item)
    assert not drop(item)
    assert built.image.is_file()


def test_a_kernel_is_free_once_its_user_is_gone(cache, tmp_path):
    script = [sys.executable, "-c", USER, str(cache.folder)]
    entry = cache.place("kernels", "f" * 32)
    entry.mkdir()
    with subprocess.Popen(
        [*script, entry.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout.readline() == b"held\n"
        (item,) = of_kind(cache, tmp_path, "kernel")
        assert not drop(item)
        user.kill()
    assert drop(item)
    assert not entry.exists()


def test_a_dropped_kernel_is_built_again(cache, toy, tmp_path):
    first = ensure_kernel(toy(), cache, SubprocessRunner(), lambda _: None)
    elsewhere = Cache(tmp_path / "other")  # where this process holds nothing
    (tmp_path / "other").mkdir()
    (cache.folder / "kernels").rename(tmp_path / "other" / "kernels")
    (item,) = of_kind(elsewhere, tmp_path, "kernel")
    assert drop(item)
    assert ensure_kernel(toy(), elsewhere, SubprocessRunner(), lambda _: None).key == first.key
