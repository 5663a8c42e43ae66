"""One nightly run: find the kernels, measure them by priority, report what is new.

Every step leaves a consistent state and can be repeated, so that a killed nightly run can be
resumed: the measurements are in the store, found by the text of their playbook, the rest is in
`harness.nightly.state`.
"""

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.errors import InputError, VmapbenchError
from harness.files import replace_file
from harness.locks import exclusive_lock
from harness.nightly.candidates import Failed, Finder, Revision
from harness.nightly.dates import forget_fixed, missed_runs, move_tips, open_record
from harness.nightly.deadline import Clock, Deadline, DeadlineReached
from harness.nightly.deliver import Send
from harness.nightly.findings import gate_notice, history_notices, run_notices, unconfirmed_notices
from harness.nightly.notices import failure_key, failure_notice, failures_notice
from harness.nightly.outbox import Outbox
from harness.nightly.planned_job import PlannedJob, expected_s, render_playbook
from harness.nightly.priority import Job, fits, needs_second_run, ranked
from harness.nightly.state import Claim, NightlyRecord, NightlyState, PairRecord, load_state
from harness.nightly.status import claim_text
from harness.report.collect import collect_report
from harness.report.write import Written, write_results
from harness.run.gate import GateRow, only, run_gate
from harness.run.session import Session
from harness.scratch import scratch_folder
from harness.spec.kernel import load_kernel_spec
from harness.spec.nightly import NightlySpec
from harness.spec.playbook import load_playbook
from harness.store.store import Store

Write = Callable[[Store, str, Path], Written]
Gate = Callable[..., list[GateRow]]
"""Checks a kernel; arguments as of `harness.run.gate.run_gate`."""


@dataclass(frozen=True)
class NightlyResult:
    """How a nightly run ended. `summary`: one line; `errors`: of notices not delivered."""

    summary: str
    exit_code: int
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class NightlyPlan:
    """What a nightly run would do.

    `lines`: the jobs in order, then what is not measured; `whole`: whether every candidate can be
    measured, in this run or a later one.
    """

    lines: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class FoundJobs:
    """The jobs of all candidates and playbooks.

    `failed`: what cannot be built; `notes`: lines on mailboxes, by candidate; `empty`: names of
    candidates without any series.
    """

    planned: list[PlannedJob]
    failed: list[Failed]
    notes: dict[str, str]
    empty: list[str]


@dataclass
class NightlyRun:
    """The nightly runs of a nightly file.

    `log` receives a line for each event; `send`: from `harness.nightly.deliver.channels`; `write`
    writes the page of a run, `gate` checks a kernel before it is measured.
    """

    spec: NightlySpec
    session: Session
    clock: Clock
    send: Mapping[str, Send] = field(default_factory=dict)
    log: Callable[[str], None] = lambda _: None
    write: Write = write_results
    gate: Gate = run_gate

    @property
    def folder(self) -> Path:
        """The folder of the state, the notices and the kernel files."""
        return self.session.reports / "nightly" / self.spec.name

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self.folder, self.session.reports, self.clock, self.send, self.log)

    def run(self) -> NightlyResult:
        """Carry out the nightly run of the current date, or resume it.

        Raises InputError if another process is doing so, and VmapbenchError if the run as a whole
        fails; a job that fails is reported and the others go on.
        """
        with exclusive_lock(
            self.folder / "lock", f"{self.folder}: another vmapbench is running it"
        ):
            state = load_state(self.folder / "state.json")
            record = open_record(state, self.clock)
            if record.ended:
                errors = self._outbox.deliver(state)
                return NightlyResult(f"{record.summary} (done before)", 3 if errors else 0, errors)
            try:
                return self._run(state, record)
            except VmapbenchError as error:
                self._outbox.notify(
                    state,
                    [failure_notice(f"nightly run {self.spec.name}", str(error), record.date)],
                )
                self._outbox.deliver(state)
                raise

    def plan(self) -> NightlyPlan:
        """Return what `run` would do now; changes no state and boots nothing."""
        state = load_state(self.folder / "state.json")
        record = open_record(state, self.clock)
        with scratch_folder("nightly") as scratch:
            found = self._find(state, scratch)
        planned = found.planned
        lines = [f"nightly run of {record.date}, {self.spec.budget_h:g} h"]
        left_s = self._left_s(record)
        for number, job in enumerate(ranked([w.job for w in planned], state.pairs, record.done)):
            pair = state.pairs.get(job.key)
            fit = fits(job, pair, left_s, first=number == 0)
            takes_s = pair.elapsed_s if pair and pair.elapsed_s else job.expected_s
            left_s -= takes_s if fit else 0
            when = "now" if fit else "later"
            title = next(w.revision.title for w in planned if w.job is job)
            second = f" ({claim_text(pair)})" if pair and needs_second_run(job, pair) else ""
            lines.append(f"{when}: {job.key}{second}, about {takes_s / 60:.0f} min: {title}")
        lines += [f"not measured: {item.where}: {item.reason}" for item in found.failed]
        lines += [f"{candidate}: {text}" for candidate, text in found.notes.items()]
        lines += [f"not measured: {candidate}: it has no series" for candidate in found.empty]
        lines += [] if planned else ["nothing to measure in this run"]
        return NightlyPlan(tuple(lines), not found.failed and not found.empty)

    def _run(self, state: NightlyState, record: NightlyRecord) -> NightlyResult:
        missed = missed_runs(state.nights[-2].date if len(state.nights) > 1 else "", record.date)
        state.save()
        found = self._find(state, self.folder / "kernels")
        planned = found.planned
        for candidate, text in found.notes.items():
            self.log(f"{candidate}: {text}")
        self._notify_failed(state, record, found.failed)
        interrupted = self._measure(state, record, planned)
        if interrupted:
            return NightlyResult(f"nightly {self.spec.name} {record.date}: interrupted", 130)
        with contextlib.closing(self.session.open_store()) as store:
            self._outbox.notify(state, history_notices(store, state, planned, record))
        return self._close(state, record, planned, missed)

    def _notify_failed(
        self, state: NightlyState, record: NightlyRecord, failed: Sequence[Failed]
    ) -> None:
        """Report newly failed series and candidates, in one notice per candidate."""
        record.failures |= {item.where: item.reason for item in failed}
        fresh: dict[str, list[tuple[str, str]]] = {}
        for item in failed:
            if failure_key(item.where, item.reason) not in state.reported:
                fresh.setdefault(item.candidate, []).append((item.where, item.reason))
        for candidate, items in fresh.items():
            self._outbox.notify(state, [failures_notice(candidate, items, record.date)])
            state.reported |= {failure_key(*item): record.date for item in items}
        state.save()

    def _left_s(self, record: NightlyRecord) -> float:
        return self.spec.budget_h * 3600 - self.clock.elapsed_s(record)

    def _find(self, state: NightlyState, folder: Path) -> FoundJobs:
        """Return the jobs of this run; write the kernel files to `folder`."""
        cache, runner = Cache(cache_folder()), self.session.runner
        finder = Finder(self.spec, folder, cache, runner, state.anchors, state.tips)
        planned: list[PlannedJob] = []
        failed: dict[str, Failed] = {}
        found: dict[tuple[str, str], list[Revision | Failed]] = {}
        empty = {candidate.name for candidate in self.spec.candidates}
        for name in self.spec.playbooks:
            playbook = load_playbook(self.spec.path(name))
            recipe = load_kernel_spec(playbook.baseline, self.session.kernels)
            for candidate in self.spec.candidates:
                at = (candidate.name, recipe.name)
                if at not in found:
                    found[at] = finder.find(candidate, recipe)
                empty -= {candidate.name} if found[at] else set()
                for item in found[at]:
                    if isinstance(item, Failed):
                        failed[item.where] = item
                        continue
                    key = f"{item.key}|{playbook.name}"
                    pair = state.pairs.get(key, PairRecord())
                    if not (item.once and pair.revision == item.id):
                        job = Job(key, item.id, expected_s(playbook))
                        planned.append(PlannedJob(job, item, playbook))
        return FoundJobs(planned, list(failed.values()), finder.notes, sorted(empty))

    def _measure(
        self, state: NightlyState, record: NightlyRecord, planned: Sequence[PlannedJob]
    ) -> bool:
        """Run jobs until none fits in the remaining time; return whether the user interrupted."""
        deadline = Deadline(self.session.observer, lambda: self._left_s(record))
        by_job = {(work.job.key, work.job.revision): work for work in planned}
        while True:
            left = ranked([work.job for work in planned], state.pairs, record.done)
            left_s = self._left_s(record)
            fitting = (
                job
                for job in left
                if fits(job, state.pairs.get(job.key), left_s, first=not record.done)
            )
            job = next(fitting, None)
            if job is None:
                break
            try:
                if self._measure_one(state, record, by_job[job.key, job.revision], deadline):
                    return True
            except DeadlineReached:
                self.log("the time budget is used up")
                break
        for job in left:
            pair = state.pairs.setdefault(job.key, PairRecord())
            if pair.begun or pair.revision != job.revision:
                pair.waiting_since = pair.waiting_since or record.date
        state.save()
        return False

    def _measure_one(
        self, state: NightlyState, record: NightlyRecord, work: PlannedJob, deadline: Deadline
    ) -> bool:
        """Measure one candidate on one playbook; return whether the user interrupted."""
        pair = state.pairs.setdefault(work.job.key, PairRecord())
        if pair.begun_revision != work.job.revision:
            pair.begun, pair.begun_revision = "", work.job.revision
        second = needs_second_run(work.job, pair)
        pair.claim = pair.claim if second else None
        pair.begun = pair.begun or render_playbook(work, record.date, second)
        state.save()
        self.log(f"{work.job.key}: {work.revision.title}")
        try:
            correct = self._passes_gate(state, record, work)
            run_id = self._finished_run(work, pair, deadline) if correct else ""
        except DeadlineReached:
            raise
        except VmapbenchError as error:
            record.failures[work.job.key] = str(error)
            self._outbox.notify(state, [failure_notice(work.job.key, str(error), record.date)])
            if isinstance(error, InputError):
                pair.begun = ""  # resuming would fail again: start over
            if pair.claim is not None:
                self._outbox.notify(
                    state, unconfirmed_notices(work, pair, str(error), record, self.spec, state)
                )
            run_id = ""
        if run_id is None:
            return True
        if run_id:
            self._finish(state, record, work, pair, run_id)
        record.done += [] if work.job.done in record.done else [work.job.done]
        state.save()
        return False

    def _passes_gate(self, state: NightlyState, record: NightlyRecord, work: PlannedJob) -> bool:
        """Return whether a kernel passes the file's gate; each kernel is checked only once.

        Raises VmapbenchError if the check cannot be carried out.
        """
        revision = work.revision
        key = f"{revision.kernel}|{revision.id}"
        if not self.spec.gate:
            return True
        if key not in state.gates:
            name = f"{record.date}-{revision.kernel}-{secrets.token_hex(2)}"
            rows = self.gate(
                load_kernel_spec(revision.kernel, revision.folder),
                only(self.spec.gate),
                self.session.reports / "gate" / name,
                cache_folder(),
                self.session.runner,
                self.log,
                self.session.build_progress,
            )
            bad = [f"{row.check.name}: {row.reason or row.verdict}" for row in rows if not row.good]
            state.gates[key] = "; ".join(bad)
            state.save()
        if state.gates[key]:
            self._outbox.notify(state, [gate_notice(work, state.gates[key], record, state)])
        return not state.gates[key]

    def _finished_run(self, work: PlannedJob, pair: PairRecord, deadline: Deadline) -> str | None:
        """Run a job, or resume or find its run; return the run's id, None if interrupted."""
        session = dataclasses.replace(
            self.session, observer=deadline, kernels=work.revision.folder, now=self.clock.now
        )
        with contextlib.closing(session.open_store()) as store:
            known = store.runs_of(pair.begun)
        ended = [run_id for run_id, over in known.items() if over]
        if ended:
            return ended[-1]
        if known:
            with contextlib.suppress(InputError):  # its kernels have changed since
                done = session.resume(list(known)[-1])
                return None if done.interrupted else done.run_id
        file = self.folder / "playbooks" / f"{work.playbook.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, pair.begun)
        done = session.run(file)
        return None if done.interrupted else done.run_id

    def _finish(
        self,
        state: NightlyState,
        record: NightlyRecord,
        work: PlannedJob,
        pair: PairRecord,
        run_id: str,
    ) -> None:
        """Process a finished run: write its page, make its notices, update the state."""
        before, first = pair.claim, None
        with contextlib.closing(self.session.open_store()) as store:
            written = self.write(store, run_id, self.session.reports)
            if before is not None and before.run_id != run_id:
                with contextlib.suppress(InputError):  # no longer in the store: start over
                    first = collect_report(store, before.run_id)
        notices = run_notices(written.report, first, work, record, self.spec, state)
        self._outbox.notify(state, notices)
        self._log_claim(before, pair.claim, run_id)
        if pair.revision != work.job.revision:
            pair.nights = 0
        pair.nights += pair.night != record.date or not pair.nights
        pair.revision, pair.night = work.job.revision, record.date
        pair.elapsed_s = sum(boot.elapsed_s for boot in written.report.boots)
        pair.begun, pair.waiting_since = "", ""

    def _log_claim(self, before: Claim | None, now: Claim | None, run_id: str) -> None:
        if now is not None and now.run_id == run_id:
            self.log(f"{now.words} in {run_id}: a second run has to confirm it")
        elif now is not None:
            self.log(f"{run_id} neither confirms nor refutes {now.run_id}: another run follows")
        elif before is not None:
            self.log(f"{run_id} decides on the difference in {before.run_id}")

    def _close(
        self, state: NightlyState, record: NightlyRecord, planned: Sequence[PlannedJob], missed: int
    ) -> NightlyResult:
        errors = self._outbox.deliver(state)
        forget_fixed(state, record)
        move_tips(state, planned)
        done, wanted = len(record.done), len(planned)
        minutes = self.clock.elapsed_s(record) / 60
        unsettled = sum(
            needs_second_run(w.job, state.pairs.get(w.job.key, PairRecord())) for w in planned
        )
        facts = [
            f"{done} of {wanted} measured",
            *([f"{wanted - done} carried over"] if wanted > done else []),
            *([f"{unsettled} to be confirmed"] if unsettled else []),
            f"{record.news} news",
            *([f"{len(record.failures)} failed"] if record.failures else []),
            *([f"{missed} nightly runs missed before"] if missed else []),
            *([f"{len(errors)} notices not delivered"] if errors else []),
        ]
        record.summary = (
            f"nightly {self.spec.name} {record.date}: {', '.join(facts)}; {minutes:.0f} min"
        )
        record.ended = self.clock.now().isoformat(timespec="seconds")
        state.save()
        worse = bool(record.failures) or record.worse
        return NightlyResult(record.summary, 3 if errors else int(worse), errors)
