"""Compares the predicted, measured and published speed-up."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from harness.analysis.times import WHOLE_LOAD
from harness.analysis.wording import number, series_name
from harness.report import published
from harness.report.prediction import (
    RunPrediction,
    Setting,
    curve_cpus,
    machine_model,
    nodes_at,
    predictable,
)
from harness.report.rows import Effect, Throughput
from harness.report.view import View
from harness.testmod.cases import short_name


@dataclass(frozen=True)
class Expected:
    """The predicted ratio of a kernel at a size, and the measured one if there is one.

    `per_s`: predicted loops per second of baseline and kernel, empty for the whole load.
    `measured`, `measured_per_s`: row of the comparison, and measured loops per second.
    """

    workload: str
    case: str
    kernel: str
    cpus: int
    ratio: float
    per_s: tuple[float, ...] = ()
    bottlenecks: tuple[str, ...] = ()
    measured: Effect | None = None
    measured_per_s: tuple[float, ...] = ()

    @property
    def error(self) -> float | None:
        """Relative error of the predicted ratio, None if it was not measured."""
        return self.ratio / self.measured.ratio - 1 if self.measured else None

    @property
    def per_s_errors(self) -> tuple[float, ...]:
        """Relative errors of the predicted throughputs."""
        pairs = zip(self.per_s, self.measured_per_s, strict=False)
        return tuple(predicted / measured - 1 for predicted, measured in pairs)


def expected_curves(view: View, prediction: RunPrediction | None) -> list[Expected]:
    """Return all predicted points of each workload, case and kernel, by number of CPUs."""
    if prediction is None:
        return []
    rows = predictable(view)
    return [
        expected
        for workload in dict.fromkeys(series_name(row.workload) for row in rows)
        for kernel in view.kernels[1:]
        for cpus in curve_cpus(view, rows)
        for expected in _of_workload(
            view, prediction, [r for r in rows if series_name(r.workload) == workload],
            kernel, cpus,
        )
    ]  # fmt: skip


def _of_workload(
    view: View, prediction: RunPrediction, rows: list[Throughput], kernel: str, cpus: int
) -> Iterator[Expected]:
    """Yield the points of a workload's cases, then of the whole load if all are predicted."""
    loops_of = {row.case: row.loops for row in rows if row.kernel == kernel}
    nodes = [nodes_at(view, name, cpus) for name in (view.baseline, kernel)]
    workload = series_name(rows[0].workload)
    times: list[tuple[float, float]] = []
    for case, loops in loops_of.items():
        settings: list[Setting] = [(short_name(case), cpus, count) for count in nodes]
        if not all(setting in prediction.by_setting for setting in settings):
            continue
        before_s, after_s = (prediction.loop_s(setting, loops) for setting in settings)
        times.append((before_s * loops, after_s * loops))
        yield Expected(
            workload=workload,
            case=case,
            kernel=kernel,
            cpus=cpus,
            ratio=before_s / after_s,
            per_s=(1 / before_s, 1 / after_s),
            bottlenecks=tuple(prediction.by_setting[each].bottleneck for each in settings),
            measured=_measured(view, workload, case, kernel, cpus),
            measured_per_s=_measured_per_s(rows, case, (view.baseline, kernel), cpus),
        )
    if len(times) > 1 and len(times) == len(_cases(view, workload)):
        ratio = sum(before for before, _ in times) / sum(after for _, after in times)
        measured = _measured(view, workload, WHOLE_LOAD, kernel, cpus)
        yield Expected(workload, WHOLE_LOAD, kernel, cpus, ratio, measured=measured)


def _measured_per_s(
    rows: list[Throughput], case: str, kernels: tuple[str, str], cpus: int
) -> tuple[float, ...]:
    """Return the throughputs of both kernels; empty if one is missing."""
    found = {row.kernel: row.per_s for row in rows if (row.case, row.cpus) == (case, cpus)}
    return tuple(found[name] for name in kernels) if set(kernels) <= set(found) else ()


def _measured(view: View, workload: str, case: str, kernel: str, cpus: int) -> Effect | None:
    wanted = (workload, case, kernel, cpus, cpus)
    for effect in view.main_effects:
        found = (series_name(effect.workload), effect.case, effect.kernel)
        if (*found, effect.cpus, effect.nr_threads) == wanted:
            return effect
    return None


def _cases(view: View, workload: str) -> set[str]:
    return {
        row.case
        for row in view.throughputs
        if series_name(row.workload) == workload and row.case != WHOLE_LOAD
    }


@dataclass(frozen=True)
class PublishedRatio:
    """The published ratio, for a similar run. `same_load`: the run has the same three cases."""

    workload: str
    case: str
    kernel: str
    same_load: bool
    predicted: float | None
    measured: float | None
    ratio: float = published.RATIO
    threads: int = published.THREADS


def compare_published(view: View, curves: list[Expected]) -> PublishedRatio | None:
    """Return the published ratio to show with a case or the whole load; None if it does not apply.

    It applies if the run has its cases with its number of threads, measured or predicted for its
    machine, and compares a kernel with a node per CPU with one that has a single node.
    """
    if not (view.simulated or machine_model(view)):
        return None
    for row in view.throughputs:
        workload, kernel = series_name(row.workload), row.kernel
        cases = _cases(view, workload)
        nodes = [nodes_at(view, name, published.THREADS) for name in (view.baseline, kernel)]
        if not cases <= published.CASES or nodes != [1, published.THREADS]:
            continue
        case = WHOLE_LOAD if len(cases) > 1 else next(iter(cases))
        measured = _measured(view, workload, case, kernel, published.THREADS)
        predicted = [
            e.ratio
            for e in curves
            if (e.workload, e.case, e.kernel, e.cpus) == (workload, case, kernel, published.THREADS)
            and machine_model(view) == published.MACHINE
        ]
        if predicted or measured:
            return PublishedRatio(
                workload=workload,
                case=case,
                kernel=kernel,
                same_load=cases == published.CASES,
                predicted=predicted[0] if predicted else None,
                measured=measured.ratio if measured else None,
            )
    return None


def error_text(curves: list[Expected]) -> str:
    """Return a sentence with the median errors of the prediction over all measured points."""
    ratios = [expected.error for expected in curves if expected.error is not None]
    speeds = [error for expected in curves for error in expected.per_s_errors]
    if not ratios:
        return ""
    text = f"Off by {_median(ratios)} on ratios"
    more = f" and {_median(speeds)} on throughput" if speeds else ""
    return f"{text}{more} (median over {len(ratios)} {'point' if len(ratios) == 1 else 'points'})."


def published_text(found: PublishedRatio) -> str:
    """Return a sentence with the published, the predicted and the measured ratio."""
    parts = [
        f"{name} {number(value)}x ({(value / found.ratio - 1) * 100:+.0f}\N{NO-BREAK SPACE}%)"
        for name, value in (("predicted", found.predicted), ("measured", found.measured))
        if value
    ]
    other = "" if found.same_load else ", which is the wall time of three cases together"
    return f"Published, {found.threads} threads: {found.ratio}x{other}; {', '.join(parts)}."


def _median(errors: list[float]) -> str:
    size = statistics.median(abs(error) for error in errors)
    return f"{size * 100:.0f}\N{NO-BREAK SPACE}%"
