"""A cache line that several CPUs contend for, served nearest first.

As on the simulated machine (harness/targets/simulated/plugin/arbitration.c): those of the holder's
core complex who waited when the line came there have it first, once each, the holder's core before
the others; then it goes to the oldest request of all.
"""

from dataclasses import dataclass

from harness.model.costs import MachineCosts


@dataclass(frozen=True)
class LineRequest:
    """A CPU that waits since `asked_ns`; what it will do with the line, and think after it.

    `stale`: other lines that it fetches then.
    """

    asked_ns: float
    cpu: int
    work_ns: float
    think_ns: float
    stale: float = 0.0


class WantedLine:
    """The requests for one line, and since when its complex has it."""

    def __init__(self, machine: MachineCosts):
        self._machine = machine
        self._requests: list[LineRequest] = []
        self._arrived_ns = 0.0

    def __len__(self) -> int:
        return len(self._requests)

    def ask(self, request: LineRequest) -> None:
        """Add a request; they are made in order of time."""
        self._requests.append(request)

    def moves(self, owner: int, cpu: int, when_ns: float) -> None:
        """Note that the line has gone from `owner` to `cpu` and is there at `when_ns`."""
        if not self._machine.same_complex(owner, cpu):
            self._arrived_ns = when_ns

    def next(self, owner: int) -> LineRequest:
        """Take out whose turn it is. There must be a request."""
        near = [
            request
            for request in self._requests
            if request.asked_ns <= self._arrived_ns
            and self._machine.same_complex(owner, request.cpu)
        ]
        chosen = min(
            near or self._requests[:1],  # the oldest of all
            key=lambda request: not self._machine.same_core(owner, request.cpu),
        )
        self._requests.remove(chosen)
        return chosen
