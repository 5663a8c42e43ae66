"""A bisection as data and as text."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.analysis.bisection import (
    Phase,
    SearchState,
    boots_to_show,
    plain_boots,
    smallest_shown,
    step_count,
)
from harness.files import replace_file
from harness.run.bisect import BisectionResult


def as_document(outcome: BisectionResult) -> dict[str, Any]:
    """Return an outcome as plain data: what `--json` prints and what is kept beside the run."""
    state, changes = outcome.state, outcome.plan.source_range.changes
    effect = state.effect
    return {
        "run": outcome.run_id,
        "phase": state.phase.value,
        "interrupted": outcome.interrupted,
        "good": asdict(changes[0]),
        "bad": asdict(changes[-1]),
        "case": outcome.plan.request.case,
        "bounds": asdict(outcome.plan.request.bounds),
        "effect": asdict(effect) if effect else None,
        "suspects": [asdict(change) for change in outcome.suspects],
        "changes": [
            asdict(change)
            | {"probability": state.probabilities[number], "tried": _tried(state, number)}
            for number, change in enumerate(changes)
        ],
        "skipped": {changes[number].name: why for number, why in outcome.skipped.items()},
        "boots": boot_counts(outcome),
        "boots_to_show": boots_to_show(effect, outcome.plan.request.bounds) if effect else None,
    }


def _tried(state: SearchState, number: int) -> dict[str, Any] | None:
    return asdict(state.steps[number]) if number in state.steps else None


def boot_counts(outcome: BisectionResult) -> dict[str, int]:
    """Return how many boots it took, and how many plain bisection would have taken."""
    plan, state = outcome.plan, outcome.state
    in_steps = sum(step.boots for step in state.steps.values())
    counts = {
        "all": outcome.boots,
        "of_good_and_bad": outcome.boots - in_steps,
        "in_steps": in_steps,
        "plain_with_the_playbooks_repeats": step_count(plan.commits) * plan.repeats,
    }
    if state.effect:
        plain = plain_boots(plan.commits, state.effect, plan.request.bounds)
        counts["plain_for_the_same_bounds"] = plain
    return counts


def store_result(outcome: BisectionResult, reports: Path) -> None:
    """Write the answer beside the run: bisection.txt to read, bisection.json for programs."""
    folder = reports / outcome.run_id
    document = json.dumps(as_document(outcome), indent=2)
    replace_file(folder / "bisection.json", document + "\n")
    replace_file(folder / "bisection.txt", render_outcome(outcome) + "\n")


def render_progress(outcome: BisectionResult) -> str:
    """Return where a bisection stands, in a line."""
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
    return f"{left}; {likely}; next {changes[state.next_commit].name}{doubt}"


def render_outcome(outcome: BisectionResult) -> str:
    """Return the answer, what it rests on, and every change that was tried or is a suspect."""
    lines = [*_answer(outcome), "", *_table(outcome), "", *_costs(outcome)]
    if outcome.interrupted:
        lines.append(f"interrupted; go on with: vmapbench bisect --resume {outcome.run_id}")
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
    effect = f"{_percent(state.effect.ratio)} ({what})"
    certainty = sum(state.probabilities[number] for number in state.suspects)
    if len(suspects) > 1:
        named, why = _stop_reason(outcome)
        answer = f"One of {len(suspects)} changes is the first with {effect}; {named}."
        sure = f"Probability that it is among them: {certainty:.1%}"
        return [answer, sure, *(f"  {change.name}  {change.title}" for change in suspects), *why]
    found = suspects[0]
    lines = [f"First with {effect}, probability {certainty:.1%}:", f"  {found.id}  {found.title}"]
    if found.merge:
        lines.append(merge_advice(found.id))
    return lines


def _stop_reason(outcome: BisectionResult) -> tuple[str, list[str]]:
    """Return why more than one change is left, in a few words, and what to do about it."""
    state, bounds = outcome.state, outcome.plan.request.bounds
    if state.phase is Phase.SEARCHING:
        return "not decided yet", []
    open_steps = [step for number, step in state.steps.items() if number in state.suspects[:-1]]
    if not open_steps or state.effect is None:
        return "the rest cannot be tried", []
    if all(step.boots >= bounds.most_boots for step in open_steps):
        boots = 2 * bounds.most_boots
        again = f"next: vmapbench bisect --resume {outcome.run_id} --most-boots {boots}"
        return f"{bounds.most_boots} boots of each do not decide", [again]
    said = f"Builds that should be alike differ by about {state.effect.layout:.1%}"
    return "unclear", [
        f"{said} here (the layout of their code); no number of boots takes that out.",
        "next: vmapbench ab, with each of these changes alone on GOOD, or taken out of BAD",
    ]


def merge_advice(merge: str) -> str:
    """Return how to bisect what a merge brought, which begins where its first parents join."""
    start = f"git rev-list --first-parent {merge}^1..{merge}^2 | tail -n 1"
    return f"It is a merge; within it: vmapbench bisect $({start})^ {merge}^2 ..."


def _required_effort(outcome: BisectionResult) -> list[str]:
    """Return what these boots could have shown, and how many would show what they hint at."""
    effect, bounds = outcome.state.effect, outcome.plan.request.bounds
    if effect is None:
        return []
    least = f"{smallest_shown(effect, bounds):.1%} or more four times in five"
    lines = [f"Boots scatter by {effect.spread:.1%}; {bounds.most_boots} of each show {least}."]
    boots = boots_to_show(effect, bounds)
    if boots is None:
        return [*lines, "What was seen is no more than builds differ without a reason."]
    seen = f"Seen: {_percent(effect.ratio)}, p {effect.p:.2g}. If it is real, it would take about"
    lines.append(f"{seen} {boots} boots of each.")
    if boots > bounds.most_boots:
        lines.append(
            f"next: vmapbench bisect --resume {outcome.run_id} --most-boots {boots} "
            "(the boots so far count)"
        )
    return lines


def _table(outcome: BisectionResult) -> list[str]:
    state, lines = outcome.state, [f"{'change':28} {'boots':>5} {'place':>6} {'probability':>11}"]
    for number, change in enumerate(outcome.plan.source_range.changes):
        step, share = state.steps.get(number), state.probabilities[number]
        why = outcome.skipped.get(number, "")
        if step is None and not why and share < 0.01:
            continue
        boots, place = (f"{step.boots}", f"{step.place:.0%}") if step else ("", "")
        word = "" if step is None else {True: "bad", False: "good", None: "undecided"}[step.bad]
        note = f"skipped: {why}" if why else word
        lines.append(f"{change.name:28.28} {boots:>5} {place:>6} {share:>11.1%}  {note}")
    return [*lines, "place: 0 % is GOOD's mean time, 100 % BAD's"]


def _costs(outcome: BisectionResult) -> list[str]:
    counts = boot_counts(outcome)
    steps = step_count(outcome.plan.commits)
    words = (
        f"{counts['all']} boots: {counts['of_good_and_bad']} of GOOD and BAD, "
        f"{counts['in_steps']} in {len(outcome.state.steps)} steps."
    )
    plain = counts["plain_with_the_playbooks_repeats"]
    same = counts.get("plain_for_the_same_bounds")
    lines = [words, f"Plain bisection, GOOD and BAD aside: {steps} steps x {plain // steps} boots"]
    if same:
        lines[-1] += f" = {plain}; for the same error bounds {steps} x {same // steps} = {same}."
    return lines


def _percent(ratio: float) -> str:
    return f"{abs(ratio - 1):.1%} {'more' if ratio > 1 else 'less'} time"
