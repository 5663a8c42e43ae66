"""Renders a bisection as JSON data and as text."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.analysis.bisection import Phase, SearchState, step_count
from harness.analysis.bisection_ends import (
    LEAST_LAYOUTS,
    EndsDifference,
    SearchBounds,
    smallest_shown,
    what_would_show,
)
from harness.files import replace_file
from harness.run.bisect import BisectionResult


def as_document(outcome: BisectionResult) -> dict[str, Any]:
    """Return a result as JSON values, for `--json` and bisection.json."""
    state, changes = outcome.state, outcome.plan.source_range.changes
    effect, bounds = state.effect, outcome.plan.request.bounds
    needed = what_would_show(effect, bounds) if effect else None
    return {
        "run": outcome.run_id,
        "phase": state.phase.value,
        "interrupted": outcome.interrupted,
        "good": asdict(changes[0]),
        "bad": asdict(changes[-1]),
        "case": outcome.plan.request.case,
        "bounds": asdict(bounds),
        "effect": asdict(effect) if effect else None,
        "suspects": [asdict(change) for change in outcome.suspects],
        "changes": [
            asdict(change)
            | {"probability": state.probabilities[number], "tried": _tried(state, number)}
            for number, change in enumerate(changes)
        ],
        "skipped": {changes[number].name: why for number, why in outcome.skipped.items()},
        "boots": boot_counts(outcome),
        "boots_to_show": needed[0] if needed else None,
        "layouts_to_show": needed[1] if needed else None,
    }


def _tried(state: SearchState, number: int) -> dict[str, Any] | None:
    return asdict(state.steps[number]) if number in state.steps else None


def boot_counts(outcome: BisectionResult) -> dict[str, int]:
    """Return the numbers of boots: total, of GOOD and BAD, in steps, and of plain bisection."""
    plan, state = outcome.plan, outcome.state
    in_steps = sum(step.boots for step in state.steps.values())
    return {
        "all": outcome.boots,
        "of_good_and_bad": outcome.boots - in_steps,
        "in_steps": in_steps,
        "plain_with_the_playbooks_repeats": step_count(plan.commits) * plan.repeats,
    }


def store_result(outcome: BisectionResult, reports: Path) -> None:
    """Write bisection.txt and bisection.json to the folder of the run."""
    folder = reports / outcome.run_id
    document = json.dumps(as_document(outcome), indent=2)
    replace_file(folder / "bisection.json", document + "\n")
    replace_file(folder / "bisection.txt", render_outcome(outcome) + "\n")


def render_progress(outcome: BisectionResult) -> str:
    """Return the progress of a bisection in one line."""
    state, changes = outcome.state, outcome.plan.source_range.changes
    if state.phase is Phase.COMPARING:
        seen = f"so far {_percent(state.effect.ratio)}, " if state.effect else ""
        return f"{state.phase}: {seen}{outcome.boots} boots"
    best = max(range(len(changes)), key=lambda number: state.probabilities[number])
    likely = f"most likely {changes[best].name}, {state.probabilities[best]:.0%}"
    if len(state.suspects) > 1 and state.probabilities[best] < 1.5 / len(state.suspects):
        likely = f"each with about {state.probabilities[best]:.0%}"
    if state.next_commit is None:
        return f"{state.phase}: {likely}, {outcome.boots} boots"
    first, last = (changes[number].name for number in (state.suspects[0], state.suspects[-1]))
    left = f"{len(state.suspects)} left, {first} to {last}"
    under_test = state.steps.get(state.next_commit)
    doubt = f" again (likelihood ratio {under_test.likelihood_ratio:.2g})" if under_test else ""
    name = outcome.plan.kernel_name(state.next_commit, state.next_layout)
    return f"{left}; {likely}; next {name}{doubt}"


def render_outcome(outcome: BisectionResult) -> str:
    """Return the answer with its evidence, and a table of tried commits and suspects."""
    lines = [*_answer(outcome), "", *_table(outcome), "", *_costs(outcome)]
    if outcome.interrupted:
        lines.append(f"interrupted; to continue: {_resume(outcome)}")
    return "\n".join(lines)


def _answer(outcome: BisectionResult) -> list[str]:
    state, suspects = outcome.state, outcome.suspects
    changes = outcome.plan.source_range.changes
    what = f"{outcome.plan.job.workload}, {outcome.plan.request.case}"
    if state.phase is Phase.NO_DIFFERENCE:
        said = f"{changes[-1].name} is not shown to differ from {changes[0].name} ({what})."
        return [said, *_required_effort(outcome)]
    if state.phase is Phase.COMPARING or state.effect is None:
        return ["GOOD and BAD are not shown to differ yet."]
    effect = f"{_percent(state.effect.ratio)} ({what}{_across_builds(state.effect)})"
    certainty = sum(state.probabilities[number] for number in state.suspects)
    if len(suspects) > 1:
        named, why = _stop_reason(outcome)
        answer = f"One of {len(suspects)} changes is the first with {effect}; {named}."
        sure = f"Probability that it is among them: {certainty:.1%}"
        names = [f"  {change.name}  {change.title}" for change in suspects]
        return [answer, sure, *names, *why, *_what_layout_may_do(outcome)]
    found = suspects[0]
    lines = [f"First with {effect}, probability {certainty:.1%}:", f"  {found.id}  {found.title}"]
    if found.merge:
        lines.append(merge_advice(found.id))
    return [*lines, *_what_layout_may_do(outcome)]


def _across_builds(effect: EndsDifference) -> str:
    return f"; mean of {effect.builds} builds or more" if effect.builds > 1 else ""


def _what_layout_may_do(outcome: BisectionResult) -> list[str]:
    """Return a caveat for an answer with too few builds of each commit."""
    effect = outcome.state.effect
    if effect is None or effect.builds >= LEAST_LAYOUTS:
        return []
    return [
        "GOOD and BAD have too few builds; those of the same code may differ by as much.",
        f"next: {_resume(outcome, layouts=SearchBounds.layouts)}",
    ]


def _stop_reason(outcome: BisectionResult) -> tuple[str, list[str]]:
    """Return why more than one suspect is left, and lines of advice."""
    state, bounds = outcome.state, outcome.plan.request.bounds
    if state.phase is Phase.SEARCHING:
        return "not decided yet", []
    open_steps = [step for number, step in state.steps.items() if number in state.suspects[:-1]]
    if not open_steps or state.effect is None:
        return "the rest cannot be tried", []
    if all(step.boots >= bounds.most_boots for step in open_steps):
        boots = 2 * bounds.most_boots
        again = f"next: {_resume(outcome, most_boots=boots)}"
        return f"{bounds.most_boots} boots of each do not decide", [again]
    said = f"Builds that should be alike differ by about {state.effect.layout:.1%}"
    said += " here (the layout of their code); more builds average that out, boots do not."
    if bounds.layouts < LEAST_LAYOUTS:  # said of the whole answer
        return "unclear", [said]
    again = f"next: {_resume(outcome, layouts=2 * bounds.layouts)}"
    return "unclear", [said, again]


def merge_advice(merge: str) -> str:
    """Return the command that bisects the commits of a merge."""
    start = f"git rev-list --first-parent {merge}^1..{merge}^2 | tail -n 1"
    return f"It is a merge; within it: vmapbench bisect $({start})^ {merge}^2 ..."


def _required_effort(outcome: BisectionResult) -> list[str]:
    """Return the smallest effect that these boots could show, and how many would show the seen."""
    effect, bounds = outcome.state.effect, outcome.plan.request.bounds
    if effect is None:
        return []
    least = f"{smallest_shown(effect, bounds):.1%} or more four times in five"
    scatter = f"Boots scatter by {effect.spread:.1%}"
    if effect.layout:
        scatter += f", builds of the same code by {effect.layout:.1%}"
    lines = [f"{scatter}; {bounds.most_boots} of each show {least}."]
    needed = what_would_show(effect, bounds)
    if needed is None:
        return [*lines, "The observed difference is within that between builds of the same code."]
    boots, layouts = needed
    seen = f"Seen: {_percent(effect.ratio)}, p {effect.p:.2g}. If it is real, it would take about"
    more = {"most_boots": boots} if boots > bounds.most_boots else {}
    if layouts > bounds.layouts:
        builds = f" of {layouts} builds of each; builds of the same code differ by about"
        lines.append(f"{seen} {boots} boots{builds} {effect.layout:.1%}.")
        more["layouts"] = layouts
    else:
        lines.append(f"{seen} {boots} boots of each.")
    if more:
        again = f"next: {_resume(outcome, **more)}"
        lines.append(f"{again} (the boots so far count)")
    return lines


def _resume(outcome: BisectionResult, **bounds: int) -> str:
    """Return the command that resumes the bisection, with other `bounds`."""
    options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in bounds.items())
    return f"vmapbench bisect --resume {outcome.run_id}{options}{outcome.folder_options}"


def _table(outcome: BisectionResult) -> list[str]:
    state, lines = (
        outcome.state,
        [f"{'change':28} {'builds':>6} {'boots':>5} {'place':>6} {'probability':>11}"],
    )
    for number, change in enumerate(outcome.plan.source_range.changes):
        step, share = state.steps.get(number), state.probabilities[number]
        why = outcome.skipped.get(number, "")
        if step is None and not why and share < 0.01:
            continue
        builds, boots, place = (
            (f"{step.builds}", f"{step.boots}", f"{step.place:.0%}") if step else ("", "", "")
        )
        word = "" if step is None else {True: "bad", False: "good", None: "undecided"}[step.bad]
        note = f"skipped: {why}" if why else word
        lines.append(
            f"{change.name:28.28} {builds:>6} {boots:>5} {place:>6} {share:>11.1%}  {note}"
        )
    return [*lines, "place: 0 % is GOOD's mean time, 100 % BAD's"]


def _costs(outcome: BisectionResult) -> list[str]:
    counts = boot_counts(outcome)
    steps = step_count(outcome.plan.commits)
    text = (
        f"{counts['all']} boots: {counts['of_good_and_bad']} of GOOD and BAD, "
        f"{counts['in_steps']} in {len(outcome.state.steps)} steps."
    )
    plain = f"{steps} steps x {outcome.plan.repeats} boots"
    return [text, f"Plain bisection, GOOD and BAD aside: {plain}; without a bound on its errors."]


def _percent(ratio: float) -> str:
    return f"{abs(ratio - 1):.1%} {'more' if ratio > 1 else 'less'} time"
