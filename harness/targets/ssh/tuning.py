"""Tunes a lab host for a measurement, and restores its settings.

The settings are in tuning.yaml; the helper (helper.sh) applies them on the host.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any, Literal

from harness.errors import InputError, ToolError
from harness.spec.architecture import Architecture
from harness.spec.boot_parameters import BootParameter
from harness.spec.document import Document, parse_document
from harness.targets.ssh.shell import Shell

_DATA = files("harness.targets.ssh") / "tuning.yaml"


class TuningProfile(Document):
    """A profile. `knobs`: knob -> value; the kernel reads N in a CPU list as the last CPU.

    `architecture`: None if the profile is for all.
    """

    summary: str
    architecture: str | None = None
    extends: str | None = None
    knobs: Mapping[str, str] = {}
    boot_parameters: tuple[BootParameter, ...] = ()


class TuningData(Document):
    """The content of tuning.yaml. `knobs`: name -> shell pattern of its files on the host."""

    version: Literal[1]
    knobs: Mapping[str, str]
    profiles: Mapping[str, TuningProfile]


class KnobState(StrEnum):
    """The result of setting a knob."""

    READ = "read"  # the profile does not set it
    SET = "set"
    PARTLY = "partly set"  # some files refused it, such as interrupts bound to one CPU
    REFUSED = "refused"
    ABSENT = "absent"


@dataclass(frozen=True)
class Knob:
    """A knob on the host. `before`, `now`: its value, or the count of each value in its files."""

    name: str
    wanted: str | None
    state: KnobState
    before: str
    now: str

    @property
    def condition(self) -> str:
        """The value that must be equal for boots to be comparable; counts of files may differ."""
        if self.state in (KnobState.ABSENT, KnobState.PARTLY):
            return self.state.value
        return "mixed" if " x" in self.now else self.now


@dataclass(frozen=True)
class Tuned:
    """The result of tuning a host with a profile."""

    profile: str
    knobs: tuple[Knob, ...]

    def facts(self) -> dict[str, Any]:
        """Return the facts to record with a boot."""
        rows = {
            knob.name: {
                "wanted": knob.wanted,
                "state": knob.state.value,
                "before": knob.before,
                "now": knob.now,
            }
            for knob in self.knobs
        }
        return {"profile": self.profile, "knobs": rows}

    def conditions(self) -> dict[str, str]:
        """Return the facts that must be equal for boots to be comparable."""
        return {f"tuning of {knob.name}": knob.condition for knob in self.knobs}


def load_tuning() -> TuningData:
    """Return the knobs and profiles in tuning.yaml."""
    return parse_document(_DATA.read_text(encoding="utf-8"), TuningData, "tuning.yaml")


def find_profile(name: str, data: TuningData) -> TuningProfile:
    """Return a profile merged with those that it extends. Raises InputError if it is unknown."""
    if name not in data.profiles:
        known = ", ".join(sorted(data.profiles))
        raise InputError(f"tuning: unknown profile {name}; expected one of {known}")
    profile = data.profiles[name]
    if profile.extends is None:
        return profile
    base = find_profile(profile.extends, data)
    return profile.model_copy(
        update={
            "architecture": profile.architecture or base.architecture,
            "knobs": {**base.knobs, **profile.knobs},
            "boot_parameters": (*base.boot_parameters, *profile.boot_parameters),
        }
    )


def tuning_parameters(name: str) -> tuple[str, ...]:
    """Return the boot parameters of a profile. Raises InputError if it is unknown."""
    return find_profile(name, load_tuning()).boot_parameters


def misfits(name: str, arch: Architecture) -> list[str]:
    """Return why a profile is not for hosts of `arch`. Raises InputError if it is unknown."""
    data = load_tuning()
    profiles = {known: find_profile(known, data) for known in sorted({name, *data.profiles})}
    fitting = [key for key, one in profiles.items() if one.architecture in (None, arch.name)]
    if name in fitting:
        return []
    known = ", ".join(fitting)
    return [f"tuning: {name} is for {profiles[name].architecture}; for {arch.name}: {known}"]


def tune_argv(profile: TuningProfile, lease_s: int) -> tuple[str, ...]:
    """Return the verb of the helper that sets the knobs of a profile, with its arguments. Pure."""
    return ("tune", str(lease_s), *(f"{name}={value}" for name, value in profile.knobs.items()))


def parse_rows(text: str, profile: TuningProfile, data: TuningData) -> tuple[Knob, ...]:
    """Return all knobs from the helper's output; other lines are ignored. Pure."""
    rows = [line.split("\t") for line in text.splitlines() if line.count("\t") == 3]
    return tuple(
        _knob(name, profile.knobs.get(name), [row for row in rows if row[0] == name])
        for name in data.knobs
    )


def _knob(name: str, wanted: str | None, rows: list[list[str]]) -> Knob:
    before, now = _counted(row[2] for row in rows), _counted(row[3] for row in rows)
    hits = sum(row[3] == wanted for row in rows)
    if not rows:
        state = KnobState.ABSENT
    elif wanted is None:
        state = KnobState.READ
    elif hits == len(rows):
        state = KnobState.SET
    else:
        state = KnobState.PARTLY if hits else KnobState.REFUSED
    return Knob(name, wanted, state, before, now)


def _counted(values: Iterable[str]) -> str:
    """Return the value if all are equal, else the counts: `powersave x3, performance x1`."""
    counts = Counter(values)
    if len(counts) < 2:
        return next(iter(counts), "")
    return ", ".join(f"{value or 'nothing'} x{count}" for value, count in sorted(counts.items()))


def apply_tuning(shell: Shell, name: str, lease_s: int) -> Tuned:
    """Set and read back the knobs of a profile; after `lease_s` seconds the host restores them.

    Raises InputError if the profile is unknown, ToolError if the host cannot restore the knobs.
    """
    data = load_tuning()
    profile = find_profile(name, data)
    done = shell.run(tune_argv(profile, lease_s), root=True, timeout_s=120)
    if done.returncode:
        raise ToolError(f"host {shell.name}: cannot tune it: {done.stderr.strip()[-300:]}")
    return Tuned(name, parse_rows(done.stdout, profile, data))


def restore_tuning(shell: Shell) -> None:
    """Undo the changes of `apply_tuning` since this boot. Idempotent."""
    shell.run(["restore"], root=True, check=True, timeout_s=120)
