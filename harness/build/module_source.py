"""The parameters of a kernel's test module, read from its source before anything is built."""

from pathlib import Path

from harness.build.cache import Cache
from harness.build.git import open_commit, repository_place
from harness.build.patches import patch_forms
from harness.build.source import pin_source, tar_argv
from harness.errors import InputError
from harness.files import replace_file
from harness.process import Runner
from harness.spec.kernel import GitSource, KernelSpec, TreeSource
from harness.testmod.modinfo import ModuleInfo
from harness.testmod.source import SOURCE_FILE, parse_module_source


def source_module(spec: KernelSpec, cache: Cache, runner: Runner) -> ModuleInfo | None:
    """Return the parameters and cases that the source of `spec` declares.

    None if they are unknown before a build: a patch changes the module, the source is missing or on
    a server, or it declares its parameters in another way. Fetches and unpacks nothing.
    """
    try:
        forms = [form for name in spec.patches for form in patch_forms(spec.place(name))]
        if any(SOURCE_FILE.encode() in form.read_bytes() for form in forms):
            return None
        text = _read(spec, cache, runner)
    except (InputError, OSError):
        return None  # the build will report the error
    return parse_module_source(text) if text else None


def _read(spec: KernelSpec, cache: Cache, runner: Runner) -> str:
    """Return the text of the module's source, empty if only a build makes it available."""
    match spec.source:
        case TreeSource(tree=name):
            return _text(spec.folder / Path(name).expanduser() / SOURCE_FILE)
        case GitSource(git=named, ref=ref):
            place = repository_place(spec.folder, named)
            if not place.startswith("/"):
                return ""
            found = open_commit(place, ref, cache, runner)
            return found.read("show", f"{found.base}:{SOURCE_FILE}")
    pinned = pin_source(spec, cache, runner)
    unpacked = cache.place("sources", pinned.digest)
    if unpacked.is_dir():
        return _text(unpacked / SOURCE_FILE)
    return _member(pinned.digest, Path(pinned.origin), cache, runner)


def _member(digest: str, archive: Path, cache: Cache, runner: Runner) -> str:
    """Return the module's source from a tarball, cached, since reading it takes seconds."""
    kept = cache.place("module-sources", f"{digest}.c")
    if not kept.is_file():
        if not archive.is_file():
            return ""
        arguments = ["-O", "--occurrence=1", "--wildcards", f"*/{SOURCE_FILE}"]
        done = runner.run(tar_argv(archive, *arguments))
        if done.returncode:
            return ""
        replace_file(kept, done.output)
    return _text(kept)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
