"""Shows the progress of a run on standard error: a bar on a terminal, otherwise lines."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from harness.build.kernel import BuildProgress
from harness.console import echo
from harness.records import BootRecord, JobRecord
from harness.run.observer import Observer
from harness.text import one_line, visible
from harness.verdict import Verdict


class Lines(Observer):
    """Prints a line for each boot, for logs and pipes."""

    def __init__(self) -> None:
        self._jobs = self._done = self._measured = 0
        self._began = time.monotonic()
        self._building = ("", "")
        self._run = ""
        self._said: set[str] = set()

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        self._jobs, self._done, self._began = jobs, done, time.monotonic()
        if run_id != self._run:
            self.say(f"{run_id}: {jobs} boots" + (f", {done} already done" if done else ""))
        self._run = run_id

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        self._measured += 1
        self._done = self._jobs - left
        what = f"{job.kernel}, {job.workload}: {record.verdict}"
        why = f" ({record.reason})" if record.reason else ""
        self.say(f"{self._done}/{self._jobs} {what}{why}, {record.elapsed_s:.1f} s{self.eta()}")
        if why_not_kvm := (record.facts.get("machine") or {}).get("kvm"):
            self._say_once("kvm", f"guests run under TCG, not KVM: {why_not_kvm}")
        if record.verdict is Verdict.NOISY:
            from harness.run.noise import noise_advice

            self._say_once("noise", noise_advice([record.facts]))

    def _say_once(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self.say(text)

    def build(self, build: BuildProgress) -> None:
        """Print each phase of a kernel build once."""
        if (build.kernel, build.phase) != self._building:
            self._building = (build.kernel, build.phase)
            self.say(f"{build.kernel}: {build.phase}")

    def say(self, text: str) -> None:
        """Print one line."""
        echo(text, err=True)

    def eta(self) -> str:
        """Return the remaining time, estimated from the boots so far, as text."""
        left = max(0, self._jobs - self._done)
        if not self._measured or not left:
            return ""
        each_s = (time.monotonic() - self._began) / self._measured
        return f", {left * each_s:.0f} s left"


class Bar(Lines):
    """A live progress bar with the phase of the current boot."""

    def __init__(self, progress: Progress) -> None:
        """`progress`: the live display to draw on."""
        super().__init__()
        self._progress = progress
        self._task = progress.add_task("preparing", total=None)
        self._running: dict[int, str] = {}  # by position in the plan

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        super().planned(run_id, jobs, done)
        self._progress.update(self._task, total=jobs, completed=done)

    def boot_began(self, job: JobRecord, attempt: int) -> None:
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self._running[job.position] = f"{job.kernel}, {job.workload}{again}"

    def phase(self, text: str) -> None:
        boots = list(self._running.values())
        what = boots[0] if len(boots) == 1 else f"{len(boots)} boots in parallel"
        self._progress.update(self._task, description=one_line(f"{what}: {text}{self.eta()}"))

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        super().boot_ended(job, record, left)
        del self._running[job.position]
        self._progress.update(self._task, completed=self._done)

    def build(self, build: BuildProgress) -> None:
        """Show the progress of a kernel build."""
        text = one_line(f"{build.kernel}: {build.phase}")
        self._progress.update(
            self._task, description=text, completed=build.targets, total=build.total
        )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(Text(visible(text)))


def columns() -> tuple[ProgressColumn, ...]:
    """Return the columns of the bar; descriptions are text, not markup."""
    description = TextColumn("{task.description}", markup=False)
    return description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()


@contextlib.contextmanager
def show_progress(live: bool) -> Iterator[Lines]:
    """Yield an observer that shows a bar if `live`, otherwise lines."""
    if not live:
        yield Lines()
        return
    with Progress(*columns(), console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress)
