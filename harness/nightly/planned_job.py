"""A nightly job as a playbook: the one that the user wrote, with the kernels of the job."""

import datetime as dt
import io
from dataclasses import dataclass

from ruamel.yaml import YAML

from harness.nightly.candidates import Revision
from harness.nightly.priority import Job
from harness.run.plan import plan_jobs
from harness.spec.playbook import Playbook
from harness.text import one_line

_BOOT_S = 20.0  # of a boot without its loads, where no measurement exists


@dataclass(frozen=True)
class PlannedJob:
    """What a job measures: a kernel against its baseline on the target of a playbook."""

    job: Job
    revision: Revision
    playbook: Playbook


def render_playbook(work: PlannedJob, date: str, second: bool = False) -> str:
    """Return the playbook of a job of the nightly run of `date`; no two jobs have the same text.

    The order of the boots is another one on every date, and in a `second` run of the same date.
    """
    revision = work.revision
    plain = work.playbook.model_dump(mode="json", exclude={"name", "text"})
    plain |= {"kernels": [revision.baseline, revision.kernel], "baseline": revision.baseline}
    plain["seed"] = work.playbook.seed + 2 * dt.date.fromisoformat(date).toordinal() + second
    if not plain["question"]:
        plain["question"] = one_line(f"Does anything change with {revision.title}?")
    stream = io.StringIO()
    YAML(typ="safe").dump(plain, stream)
    which = f"nightly run of {date}{', second run' if second else ''}"
    head = f"# {which}: {work.job.key} {revision.id}, {revision.title}"
    return f"{one_line(head, 400)}\n{stream.getvalue()}"


def expected_s(playbook: Playbook) -> float:
    """Return how long two kernels on `playbook` take, as far as the playbook knows."""
    pair = ("baseline", "candidate")
    jobs = plan_jobs(playbook.model_copy(update={"kernels": pair, "baseline": pair[0]}))
    return sum(job.expected_s * len(job.loads) + _BOOT_S for job in jobs)
