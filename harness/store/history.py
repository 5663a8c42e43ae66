"""Reads the history of all runs for the detection of change points."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa

from harness.analysis.changepoints import HISTORY, squares_of_logs
from harness.analysis.times import WHOLE_LOAD
from harness.errors import StoreError
from harness.records import is_name
from harness.store import schema
from harness.store.connect import transaction
from harness.store.shapes import BOOT_FACTS, HOST, KERNEL_FACTS, PLAN, check_time, from_json
from harness.store.store import Store
from harness.verdict import Verdict

_RUNS = 1000  # newest runs that are read: more than two years of nightly runs
_OF_BASELINE = ("baseline_us", "baseline_squares", "baseline_freedom")
_NOT_THE_HOST = ("qemu", "clock", "known_good", "boot")  # facts that may change on a machine


def load_history(store: Store, runs: int = _RUNS) -> pd.DataFrame:
    """Return the passed boots of the newest `runs` runs: a row per boot and case.

    Columns: `harness.analysis.changepoints.HISTORY`. The time of a case is the mean over its
    workers, that of the whole load the duration of the load call, in microseconds. The line of a
    kernel is `line` of its facts, else its name.
    """
    with transaction(store.engine, "loading the history") as connection:
        of_run = _runs(connection, runs)
        boots = _boots(connection, list(of_run))
        times = _times(connection, boots)
    lines = _lines(of_run)
    rows = pd.concat([times, boots[boots["load_ns"].notna()].assign(**_whole_load(boots))])
    rows = _with_baselines(rows.merge(lines, on=["run_id", "kernel"]))
    return rows[list(HISTORY)].astype(dict(HISTORY)).reset_index(drop=True)


def _with_baselines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with the columns of the baseline in the same run, NaN if it has no boots.

    They are its median time, the sum of squared deviations of the logarithms of its times, and
    the degrees of freedom.
    """
    if rows.empty:
        return rows.assign(**dict.fromkeys(_OF_BASELINE, float("nan")))
    same = ["run_id", "workload", "cpus", "nr_threads", "case"]
    of_base = rows[rows["kernel"] == rows["base_kernel"]]
    found = of_base.groupby(same)["time_us"].agg(["median", squares_of_logs, "size"])
    found.columns = pd.Index(_OF_BASELINE)
    found["baseline_freedom"] -= 1
    rows = rows.merge(found.reset_index(), on=same, how="left")
    rows.loc[rows["kernel"] == rows["base_kernel"], list(_OF_BASELINE)] = float("nan")
    return rows


def _whole_load(boots: pd.DataFrame) -> dict[str, Any]:
    return {"case": WHOLE_LOAD, "time_us": _positive(boots["load_ns"].astype("float64") / 1000)}


def _positive(times_us: "pd.Series[float]") -> "pd.Series[float]":
    """Return times with 0 us, below the resolution of the clock, replaced, for logarithms."""
    return times_us.clip(lower=0.5)


def _runs(connection: sa.Connection, count: int) -> dict[str, dict[str, Any]]:
    """Return run id -> its time, host, plan, machine and kernels, newest first.

    Runs with an invalid record are left out.
    """
    runs, boots, kernels = schema.runs.c, schema.boots.c, schema.kernels.c
    newest = sa.select(runs.id, runs.started_at, runs.host, runs.plan)
    newest = newest.order_by(runs.started_at.desc(), runs.id.desc()).limit(count)
    rows = {row.id: row for row in connection.execute(newest) if is_name(row.id)}
    first = sa.select(sa.func.min(boots.id)).where(boots.verdict == Verdict.PASSED.value)
    machines = sa.select(boots.run_id, boots.facts).where(
        boots.id.in_(first.group_by(boots.run_id)), boots.run_id.in_(rows)
    )
    machine = {row.run_id: row.facts for row in connection.execute(machines)}
    names = sa.select(kernels.run_id, kernels.name, kernels.facts).where(kernels.run_id.in_(rows))
    built: dict[str, dict[str, str]] = {run_id: {} for run_id in rows}
    for run_id, name, facts in connection.execute(names):
        built[run_id][name] = facts
    found = {}
    for run_id, row in rows.items():
        with contextlib.suppress(StoreError):
            found[run_id] = {
                "started_at": check_time(row.started_at),
                "host": from_json(row.host, HOST),
                "plan": from_json(row.plan, PLAN),
                "machine": from_json(machine.get(run_id, "{}"), BOOT_FACTS).get("machine") or {},
                "kernels": {
                    name: from_json(facts, KERNEL_FACTS) for name, facts in built[run_id].items()
                },
            }
    return found


def _boots(connection: sa.Connection, runs: list[str]) -> pd.DataFrame:
    boots, jobs = schema.boots, schema.jobs
    same = (boots.c.run_id == jobs.c.run_id) & (boots.c.position == jobs.c.position)
    described = (jobs.c.kernel, jobs.c.workload, jobs.c.cpus, jobs.c.nr_threads, jobs.c.loads)
    query = sa.select(boots.c.id.label("boot_id"), boots.c.run_id, boots.c.load_ns, *described)
    query = query.join_from(boots, jobs, same).where(
        boots.c.run_id.in_(runs), boots.c.verdict == Verdict.PASSED.value
    )
    frame = pd.read_sql(query, connection, dtype={"load_ns": "Int64"})
    return frame.assign(work=[_digest(text) for text in frame.pop("loads")])


def _times(connection: sa.Connection, boots: pd.DataFrame) -> pd.DataFrame:
    """Return a row per boot and case with `time_us`, the mean over workers."""
    samples, passed = schema.samples.c, schema.boots.c
    mean = sa.cast(sa.func.avg(samples.avg_us), sa.Double).label("time_us")
    query = sa.select(samples.boot_id, samples.case, mean)
    query = query.join_from(schema.samples, schema.boots, samples.boot_id == passed.id)
    query = query.where(passed.run_id.in_(sorted(set(boots["run_id"]))))
    means = pd.read_sql(query.group_by(samples.boot_id, samples.case), connection)
    means["time_us"] = _positive(means["time_us"])
    return boots.merge(means, on="boot_id")


def _lines(of_run: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row per run and kernel with the columns of `HISTORY` that describe them."""
    columns = ["run_id", "kernel", "started_at", "host", "machine", "line", "toolchain"]
    columns += ["base_kernel", "baseline", "baseline_source"]
    return pd.DataFrame(list(_line_rows(of_run)), columns=columns)


def _line_rows(of_run: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for run_id, run in of_run.items():
        machine = run["machine"]
        host, digest = host_label(run["host"], machine)
        base = run["plan"]["baseline"]
        base_facts = run["kernels"].get(base, {})
        base_line = str(base_facts.get("line") or base)
        made_of = str(base_facts.get("summary") or "")
        for name, facts in run["kernels"].items():
            tools = (facts.get("compiler"), f"QEMU {machine['qemu']}" if "qemu" in machine else "")
            toolchain = ", ".join(tool for tool in tools if tool)
            line = str(facts.get("line") or name)
            compared = (base, "", "") if name == base else (base, base_line, made_of)
            yield run_id, name, run["started_at"], host, digest, line, toolchain, *compared


def host_label(host: Mapping[str, Any], machine: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the machine that measured, and a digest of its facts.

    `host`: of the run; `machine`: of its boots. The id of `host` is left out for lab hosts and
    simulated machines, as it does not affect their times.
    """
    kind = str(machine.get("kind", ""))
    facts = {name: value for name, value in machine.items() if name not in _NOT_THE_HOST}
    if kind == "ssh":
        text = str(machine.get("host", "lab host"))
    elif kind == "simulated":
        text = f"simulated {str(machine.get('clock', '')).rpartition('model ')[2]}"
    else:
        facts["id"] = host.get("id")
        text = f"{host.get('cpu') or 'host'} {machine.get('accelerator', '')}".strip()
    return text, _digest(json.dumps(facts, sort_keys=True, default=str))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
