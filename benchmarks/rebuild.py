"""Renders a page again with the current templates, from the data embedded in it:

    cd docs/results
    python -m benchmarks.rebuild pages/scaling-simulated.html images/scaling.png

A page contains the run, its boots and samples, but not the files of the run's folder: profiles,
console logs, patches. Fails if a boot has no samples. The image shows the scaling charts. Shipped
kernels get their current labels.
"""

import base64
import csv
import gzip
import json
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.report.collect import collect_report
from harness.report.page import render_page
from harness.report.prediction import ensure_prediction
from harness.report.view import View
from harness.spec.kernel import load_kernel_spec
from harness.spec.shipped import shipped_folder
from harness.store.store import open_store
from harness.verdict import Verdict

FLAGS = ["--no-sandbox", "--disable-gpu"]


def unpacked(page, name):
    packed = re.search(rf'id="{name}-packed">([^<]*)<', page)
    if not packed:
        sys.exit(f"the page has no {name} within: it was too large; rerun its playbook")
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def label_kernels(run):
    """Set the labels of kernels to those of the shipped kernel files with their names."""
    folder = shipped_folder() / "kernels"
    for name, facts in run.kernels.items():
        if (folder / f"{name}.yaml").is_file():
            facts["label"] = load_kernel_spec(name, folder).label


def samples_of(text):
    """Return the samples of each boot, and the job at each position of the plan."""
    samples, planned = {}, {}
    for row in csv.DictReader(text.splitlines()):
        numbers = {name: int(row[name]) if row[name] else None for name in Sample._fields[2:]}
        one = Sample(worker=int(row["worker"]), case=row["case"], **numbers)
        samples.setdefault(int(row["boot"]), []).append(one)
        sizes = int(row["cpus"]), int(row["nr_threads"])
        planned[int(row["position"])] = (row["kernel"], row["workload"], *sizes)
    return samples, planned


def jobs_of(plan, planned):
    """Return the planned jobs that have samples."""
    workloads = {workload["name"]: workload for workload in plan["workloads"]}
    repeats = {}
    for position, job in sorted(planned.items()):
        kernel, name, cpus, nr_threads = job
        workload = workloads[name.partition("[")[0]]
        load = workload["parameters"] | {"nr_threads": nr_threads}
        repeat = repeats[job] = repeats.get(job, -1) + 1
        yield JobRecord(
            position, kernel, name, cpus, nr_threads, (load,), repeat, workload["expected_s"]
        )


def store_of(page, reports):
    """Return a store with the run of a page, and the run's id."""
    document = json.loads(unpacked(page, "document"))
    run = RunRecord(**document["run"])
    label_kernels(run)
    samples, planned = samples_of(unpacked(page, "samples"))
    positions = {boot["position"] for boot in document["boots"]}
    if positions != set(planned):
        sys.exit(f"{len(positions - set(planned))} boots gave no samples; rerun the playbook")
    store = open_store(reports / "vmapbench.db")
    store.create_run(run, list(jobs_of(run.plan, planned)))
    for number, boot in enumerate(document["boots"]):
        kept = {**boot, "verdict": Verdict(boot["verdict"]), "samples": samples[number]}
        store.record_boot(run.id, BootRecord(**kept))
    store.finish_run(run.id, run.finished_at)
    return store, run.id


def take_picture(page, picture):
    """Take a screenshot of the charts of ratio and throughput over threads, with Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        tab = browser.new_page(viewport={"width": 1128, "height": 900})
        tab.goto(page.resolve().as_uri())
        boxes = [tab.locator(f"#figure-{name}").bounding_box() for name in ("speedup", "scaling")]
        top, last = boxes[0]["y"] - 16, boxes[1]
        clip = {"x": 0, "y": top, "width": 1128, "height": last["y"] + last["height"] + 16 - top}
        tab.screenshot(path=picture, clip=clip, full_page=True)
        browser.close()


def main():
    file = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        store, run_id = store_of(file.read_text(), Path(folder))
        (Path(folder) / run_id).mkdir()
        view = View(collect_report(store, run_id))
        ensure_prediction(view, Path(folder) / run_id)
        page = render_page(view, Path(folder) / run_id)
        store.close()
    file.write_text(page)
    for picture in sys.argv[2:]:
        take_picture(file, picture)
    print(f"{file}: {view.verdict_sentence}")


if __name__ == "__main__":
    main()
