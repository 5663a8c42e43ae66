"""In-package fakes for whole runs without kernels. Their names say what they are."""

import itertools
from pathlib import Path

from harness.build.kernel import BuiltKernel
from harness.errors import InfrastructureError
from harness.process import SubprocessRunner
from harness.spec.document import parse_document
from harness.spec.kernel import DebianSource, KernelSpec
from harness.spec.playbook import Playbook
from harness.targets.base import BootResult
from harness.verdict import Verdict

PLAYBOOK = """
version: 1
name: fake
kernels: [slow, fast]
baseline: slow
target: {kind: qemu, cpus: 2}
workloads:
  - name: w
    parameters: {nr_threads: 2, run_test_mask: 1, test_loop_count: 100}
repeats: 3
"""


class RecordingRunner(SubprocessRunner):
    """Runs real programs and keeps what was run."""

    def __init__(self):
        self.ran = []

    def run(self, argv, **options):
        self.ran.append(list(argv))
        return super().run(argv, **options)

    def outside(self, *programs):
        """Which of `programs` ran outside a sandbox."""
        return [argv for argv in self.ran if argv[0] in programs]


def fake_playbook(text=PLAYBOOK):
    return parse_document(text, Playbook, "fake.yaml", name="fake", text=text)


def render_fake_log(nr_threads, avg_us, case="fix_size_alloc_test"):
    """What the module prints, for one case."""
    lines = []
    for worker in range(nr_threads):
        lines.append(
            f"[  1.0] Summary: {case} passed: 1 failed: 0 repeat: 1 loops: 100 avg: {avg_us} usec"
        )
        lines.append(f"[  1.0] All test took worker{worker}=1000 cycles")
    return "\n".join(lines)


class FakeTarget:
    """Boots nothing; gives scripted results, in turn, or a good one."""

    disturbed_by_host = True
    explain_fragments = None

    def check_explaining(self):
        pass

    def side_by_side(self, memory_mib):
        return 1

    def __init__(self, *results):
        self.results = itertools.chain(results, itertools.repeat("good"))
        self.requests = []

    def check(self):
        pass

    def command_lines(self, request):
        return [("fake", request.kernel.spec.name)]

    def machine(self):
        return {"kind": "fake"}

    def close(self):
        pass

    def boot(self, request, progress):
        self.requests.append(request)
        result = next(self.results)
        if isinstance(result, BaseException):
            raise result
        if isinstance(result, BootResult):
            return result
        if result == "broken":
            raise InfrastructureError("the fake machinery broke")
        slow = request.kernel.spec.name == "slow"
        log = render_fake_log(2, 2000 if slow else 1000) if result == "good" else result
        return BootResult(
            verdict=Verdict.PASSED,
            reason="",
            console=request.folder / "console.log",
            kernel_log=log,
            load_ns=(5_000_000,),
            argv=("fake",),
            elapsed_s=0.1,
            facts={"host_cores": 2},
            reached_init=True,
        )


class Silent:
    """An observer that remembers the verdicts."""

    def __init__(self):
        self.ended = []

    def planned(self, run_id, jobs, done):
        self.jobs, self.done = jobs, done

    def boot_began(self, job, attempt):
        pass

    def phase(self, words):
        pass

    def boot_ended(self, job, record, left):
        self.ended.append((job.position, record.verdict))


def fake_kernel(folder: Path, name: str, module: bytes, critical=None):
    """A built kernel of files that no one boots; the module's .modinfo is the caller's."""
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("bzImage", "vmlinux", "System.map"):
        (folder / file).write_bytes(b"fake")
    (folder / "config").write_text(f"# config of {name}\n")
    (folder / "test_vmalloc.ko").write_bytes(module)
    spec = KernelSpec(
        version=1, name=name, source=DebianSource(debian="linux-source-6.12"), folder=folder
    )
    return BuiltKernel.at(
        folder, spec, f"key-of-{name}", "6.12.0-fake", critical or {"SLUB_TINY": "n"}
    )
