"""Tunes a lab host for a measurement, and restores all settings.

What is set and how stands in tuning.yaml; what runs on the host is the helper (helper.sh).
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
    """What a profile sets: knob -> value. N in a CPU list is the last CPU, to the kernel itself.

    `architecture`: the only one that it is for; else it is for all.
    """

    summary: str
    architecture: str | None = None
    extends: str | None = None
    knobs: Mapping[str, str] = {}
    boot_parameters: tuple[BootParameter, ...] = ()


class TuningData(Document):
    """tuning.yaml. `knobs`: name -> shell pattern of its files on the host."""

    version: Literal[1]
    knobs: Mapping[str, str]
    profiles: Mapping[str, TuningProfile]


class KnobState(StrEnum):
    """What became of a knob."""

    READ = "read"  # the profile leaves it alone
    SET = "set"
    PARTLY = "partly set"  # some files refused, as interrupts that belong to one CPU do
    REFUSED = "refused"
    ABSENT = "absent"


@dataclass(frozen=True)
class Knob:
    """One knob on the host. `before` and `now`: the value, or how often which, over its files."""

    name: str
    wanted: str | None
    state: KnobState
    before: str
    now: str

    @property
    def condition(self) -> str:
        """What must be alike for boots to be comparable; counts of files may differ."""
        if self.state in (KnobState.ABSENT, KnobState.PARTLY):
            return self.state.value
        return "mixed" if " x" in self.now else self.now


@dataclass(frozen=True)
class Tuned:
    """A host whose knobs were set; `profile` names them, each knob knows its value before."""

    profile: str
    knobs: tuple[Knob, ...]

    def facts(self) -> dict[str, Any]:
        """Return what is kept with a boot."""
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
        """Return what must be alike between boots that are compared."""
        return {f"tuning of {knob.name}": knob.condition for knob in self.knobs}


def load_tuning() -> TuningData:
    """Return the knobs and profiles that come with the harness."""
    return parse_document(_DATA.read_text(encoding="utf-8"), TuningData, "tuning.yaml")


def find_profile(name: str, data: TuningData) -> TuningProfile:
    """Return a profile with what it extends. Raises InputError, naming those there are."""
    if name not in data.profiles:
        known = ", ".join(sorted(data.profiles))
        raise InputError(f"tuning: no profile {name}; there are: {known}")
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
    """Return the boot parameters of a profile. Raises InputError for an unknown one."""
    return find_profile(name, load_tuning()).boot_parameters


def misfits(name: str, arch: Architecture) -> list[str]:
    """Return why a profile is not for hosts of `arch`. Raises InputError for an unknown one."""
    data = load_tuning()
    profiles = {known: find_profile(known, data) for known in sorted({name, *data.profiles})}
    fitting = [key for key, one in profiles.items() if one.architecture in (None, arch.name)]
    if name in fitting:
        return []
    known = ", ".join(fitting)
    return [f"tuning: {name} is for {profiles[name].architecture}; for {arch.name}: {known}"]


def tune_argv(profile: TuningProfile, lease_s: int) -> tuple[str, ...]:
    """Return the verb of the helper, and the words that set the knobs of a profile. Pure."""
    return ("tune", str(lease_s), *(f"{name}={value}" for name, value in profile.knobs.items()))


def parse_rows(text: str, profile: TuningProfile, data: TuningData) -> tuple[Knob, ...]:
    """Return every knob from what the helper printed; lines that are no rows are left out. Pure."""
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
    """Return the value where it is one, else how often each: `powersave x3, performance x1`."""
    counts = Counter(values)
    if len(counts) < 2:
        return next(iter(counts), "")
    return ", ".join(f"{value or 'nothing'} x{count}" for value, count in sorted(counts.items()))


def apply_tuning(shell: Shell, name: str, lease_s: int) -> Tuned:
    """Set and read back the knobs of a profile; after `lease_s` the host itself restores them.

    Raises InputError for an unknown profile, ToolError when the host cannot promise to restore.
    """
    data = load_tuning()
    profile = find_profile(name, data)
    done = shell.run(tune_argv(profile, lease_s), root=True, timeout_s=120)
    if done.returncode:
        raise ToolError(f"host {shell.name}: cannot tune it: {done.stderr.strip()[-300:]}")
    return Tuned(name, parse_rows(done.stdout, profile, data))


def restore_tuning(shell: Shell) -> None:
    """Put back what `apply_tuning` has changed since this boot; no harm when that is nothing."""
    shell.run(["restore"], root=True, check=True, timeout_s=120)
