"""Real builds of the toy kernel: caching, incremental starts, damage, races and kills."""

import difflib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build.cache import Cache
from harness.build.kernel import BuildProgress, BuiltKernel, ensure_kernel, load_built
from harness.errors import InputError, KernelBuildError
from harness.process import SubprocessRunner
from harness.spec.kernel import KernelSpec
from tests.flow.build.conftest import TOY

Toy = Callable[..., KernelSpec]


class Builder:
    """Builds and records the reported progress."""

    def __init__(self, cache: Cache, runner: SubprocessRunner) -> None:
        self.cache, self.runner = cache, runner
        self.phases: list[str] = []
        self.targets = 0

    def __call__(self, spec: KernelSpec) -> BuiltKernel:
        self.phases, self.targets = [], 0
        return ensure_kernel(spec, self.cache, self.runner, self.note)

    def note(self, state: BuildProgress) -> None:
        self.phases.append(state.phase)
        self.targets = state.targets


@pytest.fixture
def build(cache: Cache, runner: SubprocessRunner) -> Builder:
    return Builder(cache, runner)


def test_builds_once(build: Builder, toy: Toy) -> None:
    built = build(toy())
    assert built.release == "6.99.0-toy"
    assert built.critical["HZ"] == "250"
    assert built.critical["PROVE_LOCKING"] == "n"
    assert all(p.is_file() for p in (built.image, built.module, built.vmlinux, built.system_map))
    assert "compiling" in build.phases
    assert build.targets == 6
    assert json.loads((built.folder / "metadata.json").read_text())["results"]["status"] == "PASS"

    assert build(toy(name="other-name", boot_parameters=("quiet",))).folder == built.folder
    assert build.phases == []


def test_a_patched_kernel_starts_from_the_built_one(build: Builder, toy: Toy) -> None:
    plain = build(toy())
    patched = build(toy(patches=("two.patch",)))
    # vmalloc.o, vmlinux and bzImage; slab.o and the module are as they were
    assert build.targets == 3
    assert patched.key != plain.key
    assert patched.image.read_bytes() != plain.image.read_bytes()
    assert patched.module.read_bytes() == plain.module.read_bytes()
    assert json.loads((patched.folder / "kernel.json").read_text())["base"] == plain.key
    assert "return 1" in (plain.tree / "mm/vmalloc.c").read_text()


def test_what_two_patched_kernels_have_in_common_is_not_built_again(
    build: Builder, toy: Toy, kernels: Path
) -> None:
    old = (TOY / "mm/slab.c").read_text()
    diff = difflib.unified_diff(
        old.splitlines(True), old.replace("return ", "return 1 + ").splitlines(True),
        "a/mm/slab.c", "b/mm/slab.c",
    )  # fmt: skip
    (kernels / "slab.patch").write_text("".join(diff))
    build(toy(patches=("slab.patch",)))
    build(toy(patches=("slab.patch", "two.patch")))
    assert build.targets == 3


def test_a_source_that_was_unpacked_with_other_modes_starts_from_what_is_built(
    build: Builder, toy: Toy, toy_tree: Path
) -> None:
    old = build(toy())
    for path in filter(Path.is_file, toy_tree.rglob("*")):
        path.chmod(path.stat().st_mode ^ 0o060)
    (toy_tree / "mm/slab.c").write_text("int slab_value(void)\n{\n\treturn 5;\n}\n")
    new = build(toy(source={"tree": str(toy_tree)}))
    assert json.loads((new.folder / "kernel.json").read_text())["base"] == old.key
    assert build.targets == 3
    build(toy(source={"tree": str(toy_tree)}, patches=("two.patch",)))
    assert build.targets == 3


def test_a_patched_kernel_is_the_same_however_it_was_reached(
    build: Builder, toy: Toy, tmp_path: Path
) -> None:
    build(toy())
    incremental = build(toy(patches=("two.patch",)))
    build.cache = Cache(tmp_path / "second-cache")
    clean = build(toy(patches=("two.patch",)))
    assert incremental.key == clean.key
    assert incremental.image.read_bytes() == clean.image.read_bytes()


def test_a_plain_kernel_that_starts_from_a_patched_one_is_not_patched(
    build: Builder, toy: Toy
) -> None:
    patched = build(toy(patches=("two.patch",)))
    plain = build(toy())
    assert json.loads((plain.folder / "kernel.json").read_text())["base"] == patched.key
    assert build.targets == 3
    assert plain.image.read_bytes() != patched.image.read_bytes()
    assert "return 2" in (patched.tree / "mm/vmalloc.c").read_text()


def test_a_close_source_starts_from_what_is_built(
    build: Builder, toy: Toy, toy_tree: Path, tmp_path: Path
) -> None:
    """Every file of the other source is younger than the objects; only one differs."""
    old = build(toy())
    for path in filter(Path.is_file, toy_tree.rglob("*")):
        path.touch()
    (toy_tree / "mm/slab.c").write_text("int slab_value(void)\n{\n\treturn 5;\n}\n")
    new = build(toy(source={"tree": str(toy_tree)}))
    assert json.loads((new.folder / "kernel.json").read_text())["base"] == old.key
    assert build.targets == 3
    build.cache = Cache(tmp_path / "second-cache")
    clean = build(toy(source={"tree": str(toy_tree)}))
    assert new.image.read_bytes() == clean.image.read_bytes()


def test_a_changed_fragment_is_another_kernel(build: Builder, toy: Toy, kernels: Path) -> None:
    one = build(toy())
    (kernels / "hz.config").write_text("CONFIG_HZ=1000\n")
    other = build(toy(fragments=("base.config", "hz.config")))
    assert (one.critical["HZ"], other.critical["HZ"]) == ("250", "1000")


def test_a_dropped_symbol_stops_the_build(build: Builder, toy: Toy, kernels: Path) -> None:
    (kernels / "lock.config").write_text("CONFIG_PROVE_LOCKING=y\n")
    with pytest.raises(
        InputError, match=r"lock\.config asks for CONFIG_PROVE_LOCKING=y; the kernel gives"
    ):
        build(toy(fragments=("base.config", "lock.config")))
    assert build(toy()).release


def test_a_patch_that_does_not_apply_is_named(build: Builder, toy: Toy, kernels: Path) -> None:
    wrong = (kernels / "two.patch").read_text().replace("return 1", "return 7")
    (kernels / "wrong.patch").write_text(wrong)
    with pytest.raises(InputError, match=r"wrong\.patch.*mm/vmalloc\.c: the hunk at line 1"):
        build(toy(patches=("wrong.patch",)))


def test_a_compiler_error_is_quoted_and_its_log_kept(
    build: Builder, toy: Toy, kernels: Path
) -> None:
    broken = (kernels / "two.patch").read_text().replace("return 2;", "return 2")
    (kernels / "broken.patch").write_text(broken)
    with pytest.raises(KernelBuildError, match=r"vmalloc\.c:4:.*error: expected") as caught:
        build(toy(patches=("broken.patch",)))
    assert caught.value.log is not None
    assert "CC      mm/vmalloc.o" in caught.value.log.read_text()


def test_a_damaged_entry_is_built_again(build: Builder, toy: Toy) -> None:
    built = build(toy())
    for name in ("bzImage", "test_vmalloc.ko", "config", "kernel.json"):
        whole = (built.folder / name).read_bytes()
        (built.folder / name).write_bytes(whole[:-10])
        with pytest.raises(InputError, match=built.key):
            load_built(built.folder)
        (built.folder / name).write_bytes(whole)
    (built.folder / "bzImage").unlink()
    again = build(toy())
    assert any("damaged" in phase for phase in build.phases)
    assert again.image.is_file()
    assert load_built(again.folder).spec.name == "toy"


def test_two_builders_of_one_kernel_build_it_once(
    cache: Cache, runner: SubprocessRunner, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_SLEEP", "0.5")
    builders = [Builder(cache, runner), Builder(cache, runner)]
    threads = [threading.Thread(target=builder, args=(toy(),)) for builder in builders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("compiling" in builder.phases for builder in builders) == [False, True]
    waited = [any("waiting" in phase for phase in builder.phases) for builder in builders]
    assert sorted(waited) == [False, True]


def test_two_builders_of_near_kernels_compile_what_they_share_once(
    cache: Cache, runner: SubprocessRunner, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_SLEEP", "0.5")
    builders = [Builder(cache, runner), Builder(cache, runner)]
    specs = [toy(), toy(patches=("two.patch",))]
    threads = [threading.Thread(target=b, args=(s,)) for b, s in zip(builders, specs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [json.loads(path.read_text()) for path in cache.folder.glob("kernels/*/kernel.json")]
    assert sorted(record["base"] is None for record in records) == [False, True]
    waited = [any("to start from its objects" in phase for phase in b.phases) for b in builders]
    assert sorted(waited) == [False, True]


SCRIPT = """
import sys
from pathlib import Path
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import KernelSpec
spec = KernelSpec.model_validate_json(sys.argv[1])
ensure_kernel(spec, Path(sys.argv[2]), SubprocessRunner(), lambda state: print(state, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_is_never_taken_for_finished(
    build: Builder, toy: Toy, number: signal.Signals
) -> None:
    argv = [sys.executable, "-c", SCRIPT, toy().model_dump_json(), str(build.cache.folder)]
    victim = subprocess.Popen(
        argv,
        env={**os.environ, "TOY_SLEEP": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert victim.stdout is not None
    with victim, victim.stdout:
        for line in victim.stdout:
            if "targets=1" in line:
                break
        victim.send_signal(number)
    assert victim.returncode != 0
    wait_until_nothing_runs_in(build.cache.folder)
    assert not list((build.cache.folder / "kernels").glob("*"))

    assert build(toy()).release == "6.99.0-toy"
    assert not list((build.cache.folder / "building").glob("*"))


def test_what_dead_processes_left_of_other_kernels_goes_and_what_lives_stays(
    build: Builder, toy: Toy
) -> None:
    dead, alive = (build.cache.place("building", f"{key * 32}.x1y2") for key in "ab")
    for folder in (dead, alive):
        (folder / "tree").mkdir(parents=True)
    with build.cache.lock("b" * 32, lambda: None):
        build(toy())
    assert not dead.exists()
    assert alive.is_dir()


def wait_until_nothing_runs_in(folder: Path) -> None:
    """Wait until every process whose working folder lies below `folder` has ended."""
    while any(_runs_in(process, folder) for process in Path("/proc").glob("[0-9]*")):
        time.sleep(0.1)


def _runs_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:
        return False


@pytest.mark.parametrize("name", ["a folder", "a:b", "a,b", "$HOME"])
def test_a_cache_whose_path_kbuild_or_the_linker_would_misread_is_refused(
    build, toy, tmp_path, name
):
    build.cache = Cache(tmp_path / name)
    with pytest.raises(InputError, match="set VMAPBENCH_CACHE to a folder without it"):
        build(toy())
    assert not (tmp_path / name).exists()
