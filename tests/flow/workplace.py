"""A workplace for whole nights: real git trees, a real store, and boots with made-up times."""

import datetime as dt
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from harness.errors import KernelBuildError
from harness.nightly.deadline import Clock
from harness.nightly.run import NightlyRun
from harness.report.collect import collect_report
from harness.report.view import View
from harness.report.write import Written
from harness.run.session import Session
from harness.spec.nightly import load_nightly
from harness.store.store import open_store
from harness.targets.base import BootResult
from harness.verdict import Verdict
from tests.flow.fakes import Silent, fake_kernel, render_fake_log

TOY = Path(__file__).parents[1] / "toy_kernel"
PLAYBOOK = """
version: 1
kernels: [base]
baseline: base
target: {kind: qemu, cpus: 2}
workloads:
  - name: w
    parameters: {nr_threads: 2, run_test_mask: 1, test_loop_count: 100}
    expected_s: 60
repeats: 3
noise: {other_share: 100, steal_share: 100, throttles: 1000000}
"""
DIFF = """diff --git a/mm/vmalloc.c b/mm/vmalloc.c
--- a/mm/vmalloc.c
+++ b/mm/vmalloc.c
@@ -2,4 +2,4 @@
 int vmalloc_value(void)
 {{
-\treturn 1;
+\treturn {value};
 }}

"""  # of the toy kernel
KERNEL = "version: 1\nsource: {git: ../linux, ref: v1}\nfragments: [base.config]\n"
UTC = dt.UTC


def without_page(store, run_id, reports):
    """Pages have tests of their own; drawing them takes most of a made-up night."""
    return Written(View(collect_report(store, run_id)), reports / run_id / "index.html", "")


class MadeUpTarget:
    """Boots nothing: the times are those that `time_us` gives a kernel and a moment."""

    disturbed_by_host = False
    explain_fragments = None

    def __init__(self, workplace):
        self.workplace = workplace

    def check_explaining(self):
        pass

    def side_by_side(self, memory_mib):
        return 1

    def check(self):
        pass

    def command_lines(self, request):
        return [("made-up", request.kernel.spec.name)]

    def machine(self):
        return {"kind": "made up"}

    def close(self):
        pass

    def boot(self, request, progress):
        place = self.workplace
        place.boots.append(request.kernel.spec.name)
        place.pass_time(place.boot_takes_s)
        if place.before_boot:
            place.before_boot(len(place.boots))
        spec = request.kernel.spec
        time_us = place.time_us(spec, place.now)
        good = isinstance(time_us, int)
        return BootResult(
            verdict=Verdict.PASSED if good else Verdict.CRASHED,
            reason="" if good else time_us,
            console=request.folder / "console.log",
            kernel_log=render_fake_log(2, time_us) if good else None,
            load_ns=(time_us * 1000,) if good and place.times_the_load else (),
            argv=("made-up",),
            elapsed_s=float(place.boot_takes_s),
            facts={"host_cores": 2},
            reached_init=True,
        )


class Workplace:
    """Everything of a user: git tree, kernel and playbook files, reports, and a clock."""

    def __init__(self, folder, module):
        self.folder, self.module = folder, module
        self.reports, self.kernels, self.tree = (
            folder / n for n in ("reports", "kernels", "linux")
        )
        self.now = dt.datetime(2026, 1, 1, 23, 0, tzinfo=UTC)
        self.uptime_s, self.boot_id = 1000.0, "first"
        self.clock = Clock(lambda: self.now, lambda: self.uptime_s, lambda: self.boot_id)
        self.boots, self.sent, self.said, self.built = [], [], [], []
        self.before_boot, self.boot_takes_s = None, 60
        self.broken, self.times_the_load = set(), True
        self.time_us = lambda spec, now: 2000
        self.send = {"made-up": lambda notice, page: self.sent.append((notice, page))}
        self.write = without_page
        self.kernels.mkdir()
        shutil.copytree(TOY, self.tree)
        (self.kernels / "base.config").write_text("CONFIG_SMP=y\n")
        (self.kernels / "base.yaml").write_text(KERNEL)
        (folder / "quick.yaml").write_text(PLAYBOOK)
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        self.git("tag", "v1")

    def git(self, *words):
        identity = ["-c", "user.name=u", "-c", "user.email=u@x", "-c", "core.hooksPath=/dev/null"]
        done = subprocess.run(
            ["git", "-C", str(self.tree), *identity, *words],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, value, subject="mm/vmalloc: Change"):
        """Put a commit on the branch that lets the toy's vmalloc return `value`."""
        file = self.tree / "mm/vmalloc.c"
        file.write_text(f"/* a stand-in */\nint vmalloc_value(void)\n{{\n\treturn {value};\n}}\n")
        self.git("commit", "-qam", subject)
        return self.git("rev-parse", "HEAD")

    def file(self, candidates, **more):
        path = self.folder / "tonight.yaml"
        lines = ["version: 1", "playbooks: [quick.yaml]", f"candidates: {json.dumps(candidates)}"]
        path.write_text("\n".join([*lines, *(f"{k}: {json.dumps(v)}" for k, v in more.items())]))
        return path

    def build(self, spec, cache, runner, progress):
        """A kernel of plain files, whose key depends on its inputs like that of a real one."""
        if spec.name in self.broken:
            raise KernelBuildError(f"kernel {spec.name} does not build: mm/vmalloc.c:1: error: no")
        content = json.dumps(
            [spec.source.model_dump(), *((spec.folder / p).read_text() for p in spec.patches)]
        )
        key = f"{abs(hash(content)):x}"
        self.built.append(key)
        built = fake_kernel(self.folder / "built" / key, spec.name, self.module)
        return type(built).at(built.folder, spec, key, "6.12.0", {"SLUB_TINY": "n"})

    def night(self, file):
        session = Session(
            self.kernels,
            self.reports,
            Silent(),
            target=lambda *_: MadeUpTarget(self),
            build=self.build,
        )
        notify = self.said.append
        return NightlyRun(load_nightly(file), session, self.clock, self.send, notify, self.write)

    def pass_time(self, seconds):
        self.now += dt.timedelta(seconds=seconds)
        self.uptime_s += seconds

    def next_night(self, days=1):
        then = (self.now + dt.timedelta(days=days)).replace(hour=23, minute=0, second=0)
        self.pass_time((then - self.now).total_seconds())

    def copy_nights(self, count, time_us):
        """Keep the last run `count` times more, a night each, with new times: a past that is quick.

        `time_us`: called for each boot.
        """
        store = open_store(self.reports / "vmapbench.db")
        last = store.list_runs().iloc[0]["id"]
        run, jobs, boots = store.load_run(last), store.jobs(last), store.boots(last)
        for _ in range(count):
            self.next_night()
            at = self.now.isoformat(timespec="seconds")
            copy = replace(run, id=f"copy-{self.now:%Y%m%d}", playbook=f"# {at}", started_at=at)
            store.create_run(copy, jobs)
            for boot in boots:
                own = time_us()
                samples = [sample._replace(avg_us=own) for sample in boot.samples]
                load_ns = own * 1000 if boot.load_ns else None
                store.record_boot(
                    copy.id, replace(boot, started_at=at, samples=samples, load_ns=load_ns)
                )
            store.finish_run(copy.id, at)
        store.close()
        self.next_night()

    @property
    def titles(self):
        return [notice.title for notice, _ in self.sent]


BRANCH = [{"name": "topic", "branch": "main", "git": "linux"}]
