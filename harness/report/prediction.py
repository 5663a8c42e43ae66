"""Makes the predictions of the timing model for a run, from a calibration on one CPU.

There is a prediction only for a machine whose costs are known: a simulated one, or a real one with
a machine model and a core for each CPU. Emulated and overcommitted guests have none, as their times
are not those of a real machine. The prediction is made once, when the page of a run is written, and
stored in the run's folder. A curve takes a few seconds, so its points are stored in the cache as
well, for other runs with the same machine model.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.analysis.times import WHOLE_LOAD
from harness.analysis.wording import NOTHING
from harness.build.cache import Cache, cache_folder
from harness.errors import InputError
from harness.files import replace_file
from harness.model.predict import load_calibration, pairs_per_loop, predict_point
from harness.model.timing import SIZES, Design
from harness.report import published
from harness.report.lights import has_native_times
from harness.report.rows import Throughput
from harness.report.view import View
from harness.targets.simulated.costs import machine_costs
from harness.testmod.cases import short_name

FILE = "prediction.json"
FORMAT = 1
CALIBRATION = "linux-6.12"
_CALIBRATED = {"small_pools": "all", "decay": "quarter"}  # see harness/build/features.py
PAIRS = 60_000  # per point; twice as many change the result by less than 2 %

_MODEL_OF_CPU = {"Threadripper 3970X": published.MACHINE}  # part of the CPU's name -> machine model
_MOST_NODES = 128  # mm/vmalloc.c, vmap_init_nodes()
_FIRST_WITH_NODES = (6, 9)
_OTHER_AREAS = ("nr_pages", "use_huge")  # parameters that change what fix_size allocates

Setting = tuple[str, int, int]
"""Short name of a case, number of CPUs with a worker on each, number of nodes."""


@dataclass(frozen=True)
class PredictedPoint:
    """The prediction for a `Setting`. `pairs_per_s`: allocations with frees of all CPUs."""

    case: str
    cpus: int
    nodes: int
    pairs_per_s: float
    bottleneck: str


@dataclass(frozen=True)
class RunPrediction:
    """The predictions for a run. `made_from`: digest of the model and the machine's costs."""

    machine: str
    calibration: str
    made_from: str
    points: tuple[PredictedPoint, ...]

    @cached_property
    def by_setting(self) -> dict[Setting, PredictedPoint]:
        """The points by setting."""
        return {(point.case, point.cpus, point.nodes): point for point in self.points}

    def loop_s(self, setting: Setting, loops: int) -> float:
        """Return the seconds per loop of all CPUs together, for a pass of `loops` loops."""
        case, cpus, _ = setting
        return pairs_per_loop(case, cpus, loops) / self.by_setting[setting].pairs_per_s


def machine_model(view: View) -> str | None:
    """Return the machine model of a run; None if its machine is emulated or unknown."""
    if view.simulated:
        return view.simulated
    if not has_native_times(view):
        return None
    cpu = str(view.report.run.host.get("cpu") or "")
    return next((model for name, model in _MODEL_OF_CPU.items() if name in cpu), None)


def predictable(view: View) -> list[Throughput]:
    """Return the measured rows that can be predicted: calibrated cases, with a worker per CPU."""
    cases: dict[str, set[str]] = {}
    for row in view.throughputs:
        if row.case != WHOLE_LOAD:
            cases.setdefault(row.workload, set()).add(row.case)
    loads = {job.workload: job.loads[-1] for job in view.report.jobs}

    def suits(row: Throughput) -> bool:
        load = loads[row.workload]
        alone = len(cases[row.workload]) == 1 or load.get("sequential_test_order", True)
        same_areas = not any(load.get(name) for name in _OTHER_AREAS)
        return bool(row.nr_threads == row.cpus and alone and same_areas)

    rows = [row for row in view.throughputs if short_name(row.case) in SIZES and suits(row)]
    return [row for row in rows if nodes_at(view, row.kernel, row.cpus)]


def nodes_at(view: View, kernel: str, cpus: int) -> int:
    """Return how many vmap nodes a kernel has with `cpus`.

    Returns 0, for no prediction, if it reported another number, or if its allocator differs from
    the calibrated one.
    """
    facts = view.report.run.kernels.get(kernel, {})
    if {**_CALIBRATED, **(facts.get("features") or {})} != _CALIBRATED:
        return 0
    nodes = designed_nodes(view, kernel, cpus)
    reported = view.reported_nodes.get((kernel, cpus, cpus), nodes)
    return nodes if reported == nodes else 0


def designed_nodes(view: View, kernel: str, cpus: int) -> int:
    """Return how many vmap nodes a kernel creates with `cpus`; 1 before Linux 6.9, 0 if its
    release is unknown.
    """
    facts = view.report.run.kernels.get(kernel, {})
    parameters = [
        *(view.plan["target"].get("boot_parameters") or ()),
        *facts.get("boot_parameters", ()),
    ]
    release = re.match(r"(\d+)\.(\d+)", str(facts.get("release")))
    if release is None:
        return 0
    before = (int(release[1]), int(release[2])) < _FIRST_WITH_NODES
    caps = [
        int(word.partition("=")[2]) for word in parameters if re.fullmatch(r"vmap_nodes=\d+", word)
    ]
    return 1 if before else min(cpus, _MOST_NODES, *caps)


def nodes_text(view: View, kernel: str, facts: Mapping[str, Any]) -> str:
    """Return the number of vmap nodes of a boot: as reported, or else by design, in brackets.

    `facts`: of the boot.
    """
    if reported := facts.get("vmap_nodes"):
        return str(reported)
    cpus = str(facts.get("cpus") or "")  # a string from the guest's init, or a number
    designed = designed_nodes(view, kernel, int(cpus)) if cpus.isdecimal() else 0
    return f"({designed})" if designed else NOTHING


def curve_cpus(view: View, rows: Sequence[Throughput]) -> list[int]:
    """Return the CPU counts of a curve: the measured ones, and powers of two.

    A curve of the published machine always includes the published point.
    """
    measured = {row.cpus for row in rows}
    reach = published.THREADS if machine_model(view) == published.MACHINE else 1
    most = max(*measured, reach)
    return sorted(measured | {2**n for n in range(most.bit_length()) if 2**n <= most})


def wanted_settings(view: View) -> list[Setting]:
    """Return the settings whose predictions the page of a run shows."""
    if machine_model(view) is None or not (rows := predictable(view)):
        return []
    curve = curve_cpus(view, rows)
    pairs = {(short_name(row.case), row.kernel) for row in rows}
    found = {(case, cpus, nodes_at(view, kernel, cpus)) for case, kernel in pairs for cpus in curve}
    return sorted(setting for setting in found if setting[2])


def ensure_prediction(
    view: View, folder: Path, predict: Callable[[Setting, str], PredictedPoint] | None = None
) -> RunPrediction | None:
    """Return the prediction for a run, which is made and stored in its folder if it is missing.

    Returns None if there is no prediction. `folder`: of the run, must exist; `predict`: returns a
    point for a setting and machine model, by default from the cache or the timing model.
    """
    predict = predict or cached_predict(Cache(cache_folder()))
    wanted, machine = wanted_settings(view), machine_model(view)
    if not wanted or machine is None:
        return None
    kept = load_prediction(folder)
    try:
        made_from = model_digest(machine)
        known = kept.by_setting if kept and kept.made_from == made_from else {}
        if all(setting in known for setting in wanted):
            return kept
        points = tuple(known.get(setting) or predict(setting, machine) for setting in wanted)
    except InputError:  # the machine model no longer exists
        return None
    made = RunPrediction(machine, CALIBRATION, made_from, points)
    text = json.dumps({"version": FORMAT, **asdict(made)}, indent=1)
    replace_file(folder / FILE, text + "\n")
    return made


def cached_predict(cache: Cache) -> Callable[[Setting, str], PredictedPoint]:
    """Return a variant of `predict_setting` that stores its points in `cache`."""

    def predict(setting: Setting, machine: str) -> PredictedPoint:
        name = "-".join(map(str, (machine, *setting, model_digest(machine))))
        file = cache.place("predictions", f"{name}.json")
        try:
            return PredictedPoint(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # missing or invalid
            point = predict_setting(setting, machine)
            replace_file(file, json.dumps(asdict(point)))
            return point

    return predict


def model_digest(machine: str) -> str:
    """Return a digest of the model's source files and the machine's costs."""
    digest = hashlib.sha256(f"{PAIRS} {machine_costs(machine)}".encode())
    for name in ("timing.py", "costs.py", "predict.py", f"calibrations/{CALIBRATION}.json"):
        digest.update((files("harness.model") / name).read_bytes())
    return digest.hexdigest()[:16]


def load_prediction(folder: Path) -> RunPrediction | None:
    """Return the prediction stored in a run's folder; None if it is missing or invalid."""
    try:
        document: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if document.pop("version") != FORMAT:
            return None
        points = tuple(PredictedPoint(**point) for point in document.pop("points"))
        return RunPrediction(**document, points=points)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def predict_setting(setting: Setting, machine: str) -> PredictedPoint:
    """Return the prediction of the timing model. Raises InputError if `machine` is unknown."""
    case, cpus, nodes = setting
    known, costs = load_calibration(CALIBRATION), machine_costs(machine)
    found = predict_point(known, costs, case, cpus, Design(nodes), PAIRS).prediction
    return PredictedPoint(case, cpus, nodes, found.pairs_per_s, found.bottleneck)
