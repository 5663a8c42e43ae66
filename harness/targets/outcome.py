"""Judges a guest by its report, its console and the way it ended. Pure."""

import errno
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from harness.build.build_id import build_id_in_notes
from harness.guest.frames import Frame, parse_fields
from harness.guest.memory import FILES, add_file
from harness.spec.architecture import by_machine
from harness.targets.base import Judgement
from harness.testmod.late import add_late_lines
from harness.testmod.verdicts import first_crash
from harness.verdict import Verdict


class Ending(StrEnum):
    """How a guest stopped, as observed by the watcher."""

    POWERED_OFF = "powered off"
    RESET = "reset itself"  # what a panic does under panic=-1
    NO_OUTPUT = "printed nothing"
    NOT_READY = "did not reach init in time"
    SILENT = "fell silent"
    DEADLINE = "was still running at the deadline"
    FLOOD = "printed more than any log has"
    ENOUGH = "was ended when it had shown enough"

    @property
    def out_of_time(self) -> bool:
        """Whether a time limit ended it, which may also happen to a guest without CPU time."""
        return self in (Ending.NO_OUTPUT, Ending.NOT_READY, Ending.SILENT, Ending.DEADLINE)


# The module's init ends with -EAGAIN on purpose (lib/test_vmalloc.c, vmalloc_test_init).
_EXPECTED_ERRORS = (0, errno.EAGAIN)


def judge_guest(
    frames: list[Frame], console: str, ending: Ending, loads: int, waited_s: float
) -> Judgement:
    """Return the verdict on a guest that was to load the module `loads` times.

    `frames`: its report; `console`: text of its console; `waited_s`: seconds until it ended.
    """
    log = next((frame for frame in frames if frame.name == "log"), None)
    load_fields = [parse_fields(frame.content) for frame in frames if frame.name == "load"]
    verdict, reason = _verdict(frames, console, ending, loads, load_fields, log, waited_s)
    return Judgement(
        verdict=verdict,
        reason=reason,
        kernel_log=add_late_lines(log.content, console) if log else None,
        load_ns=tuple(_integer(fields.get("elapsed_ns")) for fields in load_fields),
        facts=_facts(frames),
        reached_init=_reached_init(frames),
    )


def _verdict(
    frames: list[Frame],
    console: str,
    ending: Ending,
    loads: int,
    load_fields: list[dict[str, str]],
    log: Frame | None,
    waited_s: float,
) -> tuple[Verdict, str]:
    ready = _reached_init(frames)
    if crash := first_crash(console):
        where = "" if ready else " before init"
        return Verdict.CRASHED, f"the kernel crashed{where}: {crash}"
    if not ready:
        return Verdict.NO_BOOT, f"init never reported: the guest {ending} ({waited_s:.0f} s)"
    if ending is Ending.RESET:
        return Verdict.CRASHED, "the guest reset itself without a message on the console"
    if ending is Ending.SILENT:
        return Verdict.HUNG, f"no output past the expected time ({waited_s:.0f} s after its start)"
    if ending is Ending.DEADLINE:
        return Verdict.TIMED_OUT, f"still running {waited_s:.0f} s after its start"
    if ending is Ending.FLOOD:
        return Verdict.TIMED_OUT, f"it {ending} ({waited_s:.0f} s after its start)"
    for frame in frames:
        if frame.name == "fragment" and (error := _errno(parse_fields(frame.content))):
            what = "the module that fragments memory"
            return Verdict.MODULE_MISSING, f"{what} failed with {_error_name(error)}"
    for number, fields in enumerate(load_fields, start=1):
        if (error := _errno(fields)) not in _EXPECTED_ERRORS:
            what = f"load {number} of the module"
            return Verdict.MODULE_MISSING, f"{what} failed with {_error_name(error)}"
    if len(load_fields) < loads:
        return Verdict.INCOMPLETE, f"{len(load_fields)} of {loads} loads reported"
    if log is None or not log.complete:
        return Verdict.INCOMPLETE, "the guest's kernel log is truncated"
    return Verdict.PASSED, ""


def _reached_init(frames: list[Frame]) -> bool:
    return any(frame.name == "ready" for frame in frames)


def _facts(frames: list[Frame]) -> dict[str, Any]:
    """Return what the guest reported; the readings of memory are a list, in order."""
    facts: dict[str, Any] = {"memory": [], "errors": [], "files": {}}
    for frame in frames:
        if frame.name == "ready":
            said = parse_fields(frame.content)
            facts = {**said, **facts}  # the guest cannot replace our own facts
            if levels := _paging_levels(said):
                facts["conditions"] = {"paging_levels": str(levels)}
        elif frame.name == "notes" and re.fullmatch(r"([0-9a-f]{2}){0,65536}", frame.content):
            facts["build_id"] = build_id_in_notes(bytes.fromhex(frame.content))
        elif frame.name == "moment" and re.fullmatch(r"[a-z0-9 ]{1,40}", frame.content):
            facts["memory"].append({"moment": frame.content})
        elif frame.name in (*FILES, "lazy") and facts["memory"]:  # of the last moment, see init.c
            facts["errors"] += _add_memory(facts["memory"][-1], frame)
        elif frame.name == "toggled":
            facts.setdefault("toggled", []).append(parse_fields(frame.content))
        elif frame.name == "error":
            facts["errors"].append(frame.content)
        elif frame.name.startswith("/"):
            facts["files"][frame.name] = frame.content
    log = next((frame.content for frame in frames if frame.name == "log"), "")
    nodes = re.search(r"vmalloc: vmap nodes: ([0-9]{1,6})\b", log)  # patches/vmap-nodes-limit
    facts["vmap_nodes"] = int(nodes[1]) if nodes else None
    return facts


def _add_memory(reading: dict[str, Any], frame: Frame) -> list[str]:
    """Add a frame to the reading of its moment; return error messages."""
    if not frame.complete:
        return [f"{frame.name} at the moment {reading['moment']!r} is truncated"]
    if frame.name == "lazy":
        kib = max(0, _integer(parse_fields(frame.content).get("kib", "")))
        reading.setdefault("meminfo_kib", {})["LazilyFreed"] = kib
        return []
    fault = add_file(reading, frame.name, frame.content)
    return [fault] if fault else []


def _paging_levels(said: Mapping[str, str]) -> int:
    """Return the number of page table levels of a guest; 0 if its report does not tell."""
    arch = by_machine(said.get("machine", ""))
    page_size, bits = _integer(said.get("page_size")), _integer(said.get("user_bits"))
    known = arch is not None and page_size in arch.page_sizes and 0 < bits <= 64
    return arch.paging_levels(page_size, bits) if arch and known else 0


def _errno(fields: Mapping[str, str]) -> int:
    return _integer(fields.get("errno"))


def _error_name(error: int) -> str:
    return errno.errorcode.get(error, str(error))


def _integer(text: str | None) -> int:
    return int(text) if text and re.fullmatch(r"[0-9]{1,15}", text) else -1
