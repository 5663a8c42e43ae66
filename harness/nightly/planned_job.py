"""Turns a nightly job into a playbook: the user's playbook with the kernels of the job."""

import datetime as dt
import io
from dataclasses import dataclass

from ruamel.yaml import YAML

from harness.nightly.candidates import Revision
from harness.nightly.priority import Job
from harness.run.plan import plan_jobs
from harness.spec.playbook import Playbook
from harness.text import one_line

_BOOT_S = 20.0  # assumed for a boot without its loads, before there is a measurement


@dataclass(frozen=True)
class PlannedJob:
    """A job with what it measures: a kernel against its baseline, on the target of a playbook."""

    job: Job
    revision: Revision
    playbook: Playbook


def render_playbook(work: PlannedJob, date: str, second: bool = False) -> str:
    """Return the YAML text of a job's playbook; no two jobs have the same.

    `date`: of the nightly run (ISO). The seed, and with it the order of the boots, depends on the
    date and on whether this is the `second` run.
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
    """Return the expected seconds of measuring two kernels with `playbook`."""
    pair = ("baseline", "candidate")
    jobs = plan_jobs(playbook.model_copy(update={"kernels": pair, "baseline": pair[0]}))
    return sum(job.expected_s * len(job.loads) + _BOOT_S for job in jobs)
