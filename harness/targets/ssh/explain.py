"""Explains where the time of a load on a lab host goes, by perf's samples and traced lock waits.

Both are parsed as untrusted text. perf prints the number of samples per call stack for each process
(`perf report -g folded`), after a line with the process.
"""

import itertools
import re
from collections import Counter

from harness.targets.base import BootRequest, BootResult
from harness.targets.explanation import FILE, BootAccount, spent_by_stack, write_explanation
from harness.targets.histograms import lock_waits, read_histogram
from harness.targets.ssh.helper import SAMPLES_PER_S
from harness.targets.symbols import MODULE, Variables

PROFILE, WAITS = "profile", "waits"  # keys of the trial's files
_LINES = 500_000  # limit of perf's output
_PROCESS = re.compile(r" +[0-9]{1,12} +([0-9]{1,10}):")
_SAMPLES = re.compile(r"([0-9]{1,12}) (\S.{0,20000})")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]{0,150}")
_ADDRESS = re.compile(r"(0x)?[0-9a-f]{8,16}")  # of the module, which is unloaded at that time
_NOTE = (
    f"perf took {SAMPLES_PER_S} samples of each CPU in a second, and each counts as its share of "
    "the second; user land and the idle task are left out. The kernel reports the wait of a CPU "
    "that queues for a spin lock, but not of the one CPU that waits next to the holder."
)


def explain_host(request: BootRequest, result: BootResult) -> None:
    """Write the account of a boot to its folder, if the host reported samples."""
    system_map = request.kernel.system_map.read_text(encoding="ascii", errors="replace")
    files = result.facts.get("files", {})
    found = account_of(files.get(PROFILE, ""), files.get(WAITS, ""), system_map)
    if found:
        write_explanation(request.folder / FILE, found)


def account_of(profile: str, waits: str, system_map: str) -> BootAccount | None:
    """Return the account of a load; None if perf has no samples.

    `profile`: output of perf; `waits`: histogram of lock waits; `system_map`: text of System.map.
    """
    stacks = folded_stacks(profile)
    if not stacks:
        return None
    return BootAccount(
        clock="the lab host's clock",
        note=_NOTE,
        locks=tuple(lock_waits(read_histogram(waits), Variables(system_map))),
        **spent_by_stack(stacks, 1e9 / SAMPLES_PER_S),
    )


def folded_stacks(text: str) -> Counter[tuple[str, ...]]:
    """Return call stack (outermost function first) -> samples, without those of idle tasks."""
    found: Counter[tuple[str, ...]] = Counter()
    idle = False
    for line in itertools.islice(text.splitlines(), _LINES):
        if process := _PROCESS.match(line):
            idle = process[1] == "0"
        elif not idle and (samples := _SAMPLES.fullmatch(line)):
            names = samples[2].rstrip().split(";")[-40:]
            found[tuple(map(_function, names))] += int(samples[1])
    return found


def _function(name: str) -> str:
    if _FUNCTION.fullmatch(name) and not _ADDRESS.fullmatch(name):
        return name
    return MODULE if _ADDRESS.fullmatch(name) else "[unknown]"
