"""A cache line that several CPUs contend for, served nearest first.

As on the simulated machine (harness/targets/simulated/plugin/arbitration.c): the CPUs of the
holder's core complex that were waiting when the line arrived there get it first, once each, the
holder's core before others; then it goes to the oldest request.
"""

from dataclasses import dataclass

from harness.model.costs import MachineCosts


@dataclass(frozen=True)
class LineRequest:
    """A CPU's request at `asked_ns`; `work_ns` with the line, then `think_ns` without it.

    `stale`: number of other lines to fetch meanwhile.
    """

    asked_ns: float
    cpu: int
    work_ns: float
    think_ns: float
    stale: float = 0.0


class WantedLine:
    """The pending requests for a line, and when it arrived in its complex."""

    def __init__(self, machine: MachineCosts):
        self._machine = machine
        self._requests: list[LineRequest] = []
        self._arrived_ns = 0.0

    def __len__(self) -> int:
        return len(self._requests)

    def ask(self, request: LineRequest) -> None:
        """Add a request. Requests must be added in order of time."""
        self._requests.append(request)

    def moves(self, owner: int, cpu: int, when_ns: float) -> None:
        """Record that the line moves from `owner` to `cpu`, where it arrives at `when_ns`."""
        if not self._machine.same_complex(owner, cpu):
            self._arrived_ns = when_ns

    def next(self, owner: int) -> LineRequest:
        """Remove and return the next request to serve. There must be one."""
        near = [
            request
            for request in self._requests
            if request.asked_ns <= self._arrived_ns
            and self._machine.same_complex(owner, request.cpu)
        ]
        chosen = min(
            near or self._requests[:1],  # the oldest request
            key=lambda request: not self._machine.same_core(owner, request.cpu),
        )
        self._requests.remove(chosen)
        return chosen
