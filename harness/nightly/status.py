"""The status of the nightly runs of one nightly file. Read-only."""

from typing import Any

from harness.nightly.state import NightlyState, PairRecord


def status(state: NightlyState) -> dict[str, Any]:
    """Return the last nightly runs, and what is to be confirmed, finished or sent, for JSON."""
    return {
        "nights": [
            {"date": record.date, "ended": record.ended, "summary": record.summary}
            for record in state.nights[-7:]
        ],
        "to_confirm": [
            {"key": key, **vars(pair.claim)}
            for key, pair in sorted(state.pairs.items())
            if pair.claim is not None
        ],
        "half_done": sorted(key for key, pair in state.pairs.items() if pair.begun),
        "notices": [
            {"date": notice.date, "title": notice.title, "to": notice.to} for notice in state.outbox
        ],
    }


def status_lines(state: NightlyState) -> list[str]:
    """Return the status as lines of text."""
    if not state.nights:
        return ["no nightly run yet"]
    lines = [
        record.summary or f"nightly run of {record.date}: {record.ended or 'running'}"
        for record in state.nights[-7:]
    ]
    found = status(state)
    lines += [
        f"to be confirmed: {key}: {claim_text(pair)}"
        for key, pair in sorted(state.pairs.items())
        if pair.claim is not None
    ]
    lines += [f"not finished: {key}" for key in found["half_done"]]
    lines += [f"notice of {n['date']} not sent yet: {n['title']}" for n in found["notices"]]
    return lines


def claim_text(pair: PairRecord) -> str:
    """Return the claim of `pair` in one line. `pair.claim` must not be None."""
    claim = pair.claim
    assert claim is not None
    tries = f"; {claim.tries} second runs were inconclusive" if claim.tries else ""
    return f"{claim.words} in {claim.run_id} of {claim.night}, second run pending{tries}"
