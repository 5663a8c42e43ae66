"""One night: find the kernels, measure the most informative first, tell what is new.

Every step leaves a whole state behind it and can be done twice, so a night that was killed goes on
where it was: runs in the store (a run is found again by its playbook's text), the rest in
`harness.nightly.state`.
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.errors import InputError, VmapbenchError
from harness.files import replace_file
from harness.locks import claimed
from harness.nightly.candidates import Failed, Finder, Revision
from harness.nightly.dates import forget_fixed, missed_nights, move_tips, open_night
from harness.nightly.deadline import Clock, Deadline, TimeUp
from harness.nightly.deliver import Send
from harness.nightly.findings import fruitless, night_news, run_news
from harness.nightly.news import failure_key, failure_letter, failures_letter
from harness.nightly.order import Job, awaited, fits, ranked
from harness.nightly.state import Claim, Letter, NightlyState, NightRecord, PairRecord, load_state
from harness.nightly.status import claim_words
from harness.nightly.work import PlannedJob, expected_s, render_playbook
from harness.report.collect import collect_report
from harness.report.write import Written, write_results
from harness.run.session import Session
from harness.scratch import scratch_folder
from harness.spec.kernel import load_kernel_spec
from harness.spec.nightly import NightlySpec
from harness.spec.playbook import load_playbook
from harness.store.store import Store

Write = Callable[[Store, str, Path], Written]


_GIVE_UP_DAYS = 14  # after which a notice that cannot be delivered is dropped


@dataclass(frozen=True)
class NightlyResult:
    """How a night went. `summary`: one line, for cron; `errors`: what went wrong on the way."""

    summary: str
    exit_code: int
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a night would be. `lines`: a job each, in order, then what is not measured.

    `whole`: every candidate is measured, tonight or later.
    """

    lines: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class Found:
    """What the candidates are tonight. `notes`: what mailboxes hold; `empty`: who has nothing."""

    works: list[PlannedJob]
    failed: list[Failed]
    notes: dict[str, str]
    empty: list[str]


@dataclass
class Night:
    """The nights of one file. `say` is told what happens, a line each; `send`: see `deliver`."""

    spec: NightlySpec
    session: Session
    clock: Clock
    send: Mapping[str, Send] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None
    write: Write = write_results

    @property
    def folder(self) -> Path:
        """Where state, notices and kernel files are kept."""
        return self.session.reports / "nightly" / self.spec.name

    def carry_out(self) -> NightlyResult:
        """Do tonight's work, or the rest of it. Raises InputError where another process does."""
        with claimed(self.folder / "lock", f"{self.folder}: another vmapbench is at it"):
            state = load_state(self.folder / "state.json")
            night = open_night(state, self.clock)
            if night.ended:
                errors = self._deliver(state)
                return NightlyResult(f"{night.summary} (done before)", 3 if errors else 0, errors)
            try:
                return self._carry_out(state, night)
            except VmapbenchError as error:
                self._notify(
                    state, [failure_letter(f"night {self.spec.name}", str(error), night.date)]
                )
                self._deliver(state)
                raise

    def plan(self) -> Plan:
        """Return what tonight would be; changes no state, boots nothing."""
        state = load_state(self.folder / "state.json")
        night = open_night(state, self.clock)
        with scratch_folder("nightly") as scratch:
            found = self._find(state, scratch)
        works = found.works
        lines = [f"night of {night.date}, {self.spec.budget_h:g} h"]
        left_s = self._left_s(night)
        for number, job in enumerate(ranked([w.job for w in works], state.pairs, night.done)):
            pair = state.pairs.get(job.key)
            fit = fits(job, pair, left_s, first=number == 0)
            takes_s = pair.elapsed_s if pair and pair.elapsed_s else job.expected_s
            left_s -= takes_s if fit else 0
            when = "tonight" if fit else "another night"
            title = next(w.revision.title for w in works if w.job is job)
            second = f" ({claim_words(pair)})" if pair and awaited(job, pair) else ""
            lines.append(f"{when}: {job.key}{second}, about {takes_s / 60:.0f} min: {title}")
        lines += [f"not measured: {item.where}: {item.words}" for item in found.failed]
        lines += [f"{candidate}: {words}" for candidate, words in found.notes.items()]
        lines += [f"not measured: {candidate}: it holds nothing" for candidate in found.empty]
        lines += [] if works else ["nothing is measured tonight"]
        return Plan(tuple(lines), not found.failed and not found.empty)

    def _carry_out(self, state: NightlyState, night: NightRecord) -> NightlyResult:
        missed = missed_nights(state.nights[-2].date if len(state.nights) > 1 else "", night.date)
        state.save()
        found = self._find(state, self.folder / "kernels")
        works = found.works
        for candidate, words in found.notes.items():
            self.say(f"{candidate}: {words}")
        self._tell_failed(state, night, found.failed)
        interrupted = self._measure(state, night, works)
        if interrupted:
            return NightlyResult(f"nightly {self.spec.name} {night.date}: interrupted", 130)
        with contextlib.closing(self.session.open_store()) as store:
            self._notify(state, night_news(store, state, works, night))
        return self._close(state, night, works, missed)

    def _tell_failed(
        self, state: NightlyState, night: NightRecord, failed: Sequence[Failed]
    ) -> None:
        """Tell of candidates that are no kernels, once, in one notice for each candidate."""
        night.failures |= {item.where: item.words for item in failed}
        fresh: dict[str, list[tuple[str, str]]] = {}
        for item in failed:
            if failure_key(item.where, item.words) not in state.told:
                fresh.setdefault(item.candidate, []).append((item.where, item.words))
        for candidate, items in fresh.items():
            self._notify(state, [failures_letter(candidate, items, night.date)])
            state.told |= {failure_key(*item): night.date for item in items}
        state.save()

    def _left_s(self, night: NightRecord) -> float:
        return self.spec.budget_h * 3600 - self.clock.elapsed_s(night)

    def _find(self, state: NightlyState, folder: Path) -> Found:
        """Find tonight's jobs; the files of their kernels are written to `folder`."""
        cache, runner = Cache(cache_folder()), self.session.runner
        finder = Finder(self.spec, folder, cache, runner, state.anchors, state.tips)
        works: list[PlannedJob] = []
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
                        works.append(PlannedJob(job, item, playbook))
        return Found(works, list(failed.values()), finder.notes, sorted(empty))

    def _measure(
        self, state: NightlyState, night: NightRecord, works: Sequence[PlannedJob]
    ) -> bool:
        """Measure until the work or the time is over; return whether the user stopped it."""
        deadline = Deadline(self.session.observer, lambda: self._left_s(night))
        by_job = {(work.job.key, work.job.revision): work for work in works}
        while True:
            left = ranked([work.job for work in works], state.pairs, night.done)
            left_s = self._left_s(night)
            fitting = (
                job
                for job in left
                if fits(job, state.pairs.get(job.key), left_s, first=not night.done)
            )
            job = next(fitting, None)
            if job is None:
                break
            try:
                if self._one(state, night, by_job[job.key, job.revision], deadline):
                    return True
            except TimeUp:
                self.say("the night's time is over")
                break
        for job in left:
            pair = state.pairs.setdefault(job.key, PairRecord())
            if pair.begun or pair.revision != job.revision:
                pair.waiting_since = pair.waiting_since or night.date
        state.save()
        return False

    def _one(
        self, state: NightlyState, night: NightRecord, work: PlannedJob, deadline: Deadline
    ) -> bool:
        """Measure one candidate on one playbook; return whether the user interrupted it."""
        pair = state.pairs.setdefault(work.job.key, PairRecord())
        if pair.begun_revision != work.job.revision:
            pair.begun, pair.begun_revision = "", work.job.revision
        second = awaited(work.job, pair)
        pair.claim = pair.claim if second else None
        pair.begun = pair.begun or render_playbook(work, night.date, second)
        state.save()
        self.say(f"{work.job.key}: {work.revision.title}")
        try:
            run_id = self._booted(work, pair, deadline)
        except TimeUp:
            raise
        except VmapbenchError as error:
            night.failures[work.job.key] = str(error)
            self._notify(state, [failure_letter(work.job.key, str(error), night.date)])
            if isinstance(error, InputError):
                pair.begun = ""  # it would fail again: begin anew
            if pair.claim is not None:
                self._notify(state, fruitless(work, pair, str(error), night, self.spec, state))
            run_id = ""
        if run_id is None:
            return True
        if run_id:
            self._finish(state, night, work, pair, run_id)
        night.done += [] if work.job.done in night.done else [work.job.done]
        state.save()
        return False

    def _booted(self, work: PlannedJob, pair: PairRecord, deadline: Deadline) -> str | None:
        """Return the ended run of a job, carrying it out as far as that is not done yet."""
        session = dataclasses.replace(
            self.session, observer=deadline, kernels=work.revision.folder, now=self.clock.now
        )
        with contextlib.closing(session.open_store()) as store:
            known = store.runs_of(pair.begun)
        ended = [run_id for run_id, over in known.items() if over]
        if ended:
            return ended[-1]
        if known:
            with contextlib.suppress(InputError):  # its kernels are other ones by now
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
        night: NightRecord,
        work: PlannedJob,
        pair: PairRecord,
        run_id: str,
    ) -> None:
        """Take up an ended run: its page, its news, what the next nights have to know of it."""
        before, first = pair.claim, None
        with contextlib.closing(self.session.open_store()) as store:
            written = self.write(store, run_id, self.session.reports)
            if before is not None and before.run_id != run_id:
                with contextlib.suppress(InputError):  # no longer in the store: begin anew
                    first = collect_report(store, before.run_id)
        letters = run_news(written.report, first, work, night, self.spec, state)
        self._notify(state, letters)
        self._say_claim(before, pair.claim, run_id)
        if pair.revision != work.job.revision:
            pair.nights = 0
        pair.nights += pair.night != night.date or not pair.nights
        pair.revision, pair.night = work.job.revision, night.date
        pair.elapsed_s = sum(boot.elapsed_s for boot in written.report.boots)
        pair.begun, pair.waiting_since = "", ""

    def _say_claim(self, before: Claim | None, now: Claim | None, run_id: str) -> None:
        if now is not None and now.run_id == run_id:
            self.say(f"{now.words} in {run_id}: a second run has to confirm it")
        elif now is not None:
            self.say(f"{run_id} decides nothing on what {now.run_id} shows: another run does")
        elif before is not None:
            self.say(f"{run_id} settles what {before.run_id} shows")

    def _notify(self, state: NightlyState, letters: Sequence[Letter]) -> None:
        """Take up notices that have not been told; from here on they are not lost."""
        for letter in letters:
            if letter.key in state.told:
                continue
            name = hashlib.sha256(letter.key.encode("utf-8", "replace")).hexdigest()[:8]
            file = self.folder / "notices" / f"{letter.date}-{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, f"{letter.title}\n\n{letter.text}\n")
            self.say(f"notice: {letter.title} ({file})")
            state.told[letter.key] = letter.date
            state.nights[-1].news += 1
            letter.to = list(self.send)
            state.outbox.append(letter)
        state.save()

    def _deliver(self, state: NightlyState) -> tuple[str, ...]:
        """Send what waits; what cannot be sent waits for the next night, for some weeks."""
        errors = []
        for letter in list(state.outbox):
            page = self.session.reports / letter.page if letter.page else None
            for channel in [name for name in letter.to if name in self.send]:
                try:
                    self.send[channel](letter, page if page and page.is_file() else None)
                except Exception as error:
                    days = (self.clock.now().date() - dt.date.fromisoformat(letter.date)).days
                    if days < _GIVE_UP_DAYS:
                        errors.append(f"notice {letter.title!r} waits: {error}")
                        continue
                    errors.append(
                        f"notice {letter.title!r} is given up after {days} days; it stands in "
                        f"{self.folder / 'notices'}: {error}"
                    )
                letter.to.remove(channel)
                state.save()
            if not set(letter.to) & set(self.send):
                state.outbox.remove(letter)
        state.save()
        return tuple(dict.fromkeys(errors))

    def _close(
        self, state: NightlyState, night: NightRecord, works: Sequence[PlannedJob], missed: int
    ) -> NightlyResult:
        errors = self._deliver(state)
        forget_fixed(state, night)
        move_tips(state, works)
        done, wanted = len(night.done), len(works)
        minutes = self.clock.elapsed_s(night) / 60
        unsettled = sum(awaited(w.job, state.pairs.get(w.job.key, PairRecord())) for w in works)
        facts = [
            f"{done} of {wanted} measured",
            *([f"{wanted - done} carried over"] if wanted > done else []),
            *([f"{unsettled} to be confirmed"] if unsettled else []),
            f"{night.news} news",
            *([f"{len(night.failures)} failed"] if night.failures else []),
            *([f"{missed} nights missed before"] if missed else []),
            *([f"{len(errors)} notices not delivered"] if errors else []),
        ]
        night.summary = (
            f"nightly {self.spec.name} {night.date}: {', '.join(facts)}; {minutes:.0f} min"
        )
        night.ended = self.clock.now().isoformat(timespec="seconds")
        state.save()
        worse = bool(night.failures) or night.worse
        return NightlyResult(night.summary, 3 if errors else int(worse), errors)
