"""Phoronix Test Suite: a composite.xml with a system per kernel, a result per workload and case.

Elements and limits: pts-core/openbenchmarking.org/schemas/result-file.xsd and types.xsd.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import BinaryIO

import pandas as pd

from harness.errors import InputError
from harness.records import StoredRun
from harness.store.store import Store
from harness.text import escaped
from harness.verdict import Verdict

_TITLE_LIMIT, _SYSTEM_LIMIT = 50, 128  # characters


def write(stored: StoredRun, store: Store, stream: BinaryIO) -> None:
    """Write the boots that passed, each as a raw value. Raises InputError if none passed."""
    boots = store.boots_frame(stored.run.id)
    passed = boots[boots["verdict"] == Verdict.PASSED.value]
    if passed.empty:
        raise InputError(f"{stored.run.id}: no boot passed, so there is no value to export")
    root = ET.Element("PhoronixTestSuite")
    changed = _time(stored.run.finished_at or stored.run.started_at)
    _add_elements(
        ET.SubElement(root, "Generated"),
        Title=f"vmapbench {stored.run.plan.get('name', '')}"[:_TITLE_LIMIT],
        LastModified=changed,
        TestClient=f"vmapbench {stored.run.harness}",
        Description=f"{stored.run.id}: test_vmalloc, {len(passed)} boots",
    )
    for kernel in sorted(passed["kernel"].astype(str).unique()):
        _add_system(root, stored, kernel, changed)
    whole_s = passed.assign(value=passed["load_ns"].astype("Float64") / 1e9)
    for (workload, threads), rows in whole_s.dropna(subset="value").groupby(
        ["workload", "nr_threads"], observed=True
    ):
        _add_result(root, f"{workload}, whole load", threads, "Seconds", rows)
    for workload, threads, case, rows in _case_means(store.samples_frame(stored.run.id), passed):
        _add_result(root, f"{workload}, {case}", threads, "Microseconds", rows)
    ET.indent(root)
    stream.write(ET.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n")


def _case_means(
    samples: pd.DataFrame, passed: pd.DataFrame
) -> Iterator[tuple[str, object, str, pd.DataFrame]]:
    """Yield workload, threads, case and the mean over workers of each passed boot."""
    kept = samples[samples["boot"].isin(passed["boot"])]
    keys = ["workload", "nr_threads", "case", "kernel", "boot"]
    means = kept.groupby(keys, observed=True)["avg_us"].mean().rename("value").reset_index()
    for (workload, threads, case), rows in means.groupby(keys[:3], observed=True):
        yield str(workload), threads, str(case), rows


def _add_elements(parent: ET.Element, **texts: str) -> None:
    """Add a child element with its text for each argument, in order."""
    for name, text in texts.items():
        ET.SubElement(parent, name).text = escaped(text)


def _add_system(root: ET.Element, stored: StoredRun, kernel: str, changed: str) -> None:
    host, facts = stored.run.host, stored.run.kernels.get(kernel, {})
    _add_elements(
        ET.SubElement(root, "System"),
        Identifier=kernel[:_SYSTEM_LIMIT],
        Hardware=f"Processor: {host.get('cpu', '')} ({host.get('cores', '?')} Cores), "
        f"Memory: {host.get('memory_mib', '?')}MB",
        Software=f"Kernel: {facts.get('release', '')}",
        User="",
        TimeStamp=changed,
        TestClientVersion=stored.run.harness,
        Notes=f"kernel key {facts.get('key', '')}",
    )


def _add_result(
    root: ET.Element, what: str, threads: object, scale: str, rows: pd.DataFrame
) -> None:
    result = ET.SubElement(root, "Result")
    _add_elements(
        result,
        Identifier="local/vmapbench",
        Title="test_vmalloc",
        AppVersion="",
        Arguments=what,
        Description=f"{what}, {threads} threads",
        Scale=scale,
        Proportion="LIB",  # lower is better
        DisplayFormat="BAR_GRAPH",
    )
    data = ET.SubElement(result, "Data")
    for kernel, of_kernel in rows.groupby("kernel", observed=True):
        values = [float(value) for value in of_kernel["value"]]
        _add_elements(
            ET.SubElement(data, "Entry"),
            Identifier=str(kernel)[:_SYSTEM_LIMIT],
            Value=f"{sum(values) / len(values):.9g}",
            RawString=":".join(f"{value:.9g}" for value in values),
        )


def _time(iso: str) -> str:
    return iso[:19].replace("T", " ")
