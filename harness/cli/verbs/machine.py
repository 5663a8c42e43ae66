"""`vmapbench machine ...`: the machine models for simulation and prediction."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.console import echo

if TYPE_CHECKING:
    from harness.spec.host import HostSpec
    from harness.targets.simulated.machine import MachineModel
    from harness.targets.simulated.measure import Measure
    from harness.targets.ssh.shell import Shell

command = typer.Typer(help="Machine models: the costs of instructions and cache lines.")

_LONGEST_S = 600.0  # of one part of a measurement
_BUSY = 0.5  # load average


@command.command("list")
def list_machines(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the machine models: shipped ones, those beside the playbooks, and the user's."""
    import json

    from harness.targets.simulated.machine import load_machine, machine_files

    models = [load_machine(name) for name in sorted(machine_files())]
    if as_json:
        echo(json.dumps([model.model_dump(mode="json") for model in models], indent=2))
        return
    for model in models:
        echo(f"{model.name}: {model.summary}")


@command.command()
def measure(
    host: Annotated[
        str | None, typer.Argument(help="A lab host: the name of its file; default: this machine.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model; default: the machine's.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The file to write; default: among the user's models.")
    ] = None,
    pair_us: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Time of a loop of fix_size_alloc_test on one of its CPUs in us, from a run.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Measure a machine and write its model, for --machine and `machine:` of a playbook.

    A small program measures the clock, PAUSE, atomics, caches, transfers of a line between CPUs,
    and contention for one line. It loads all CPUs for a second, needs no root, and leaves nothing
    behind. The time of a pair of vmalloc and vfree must be measured by a run: --pair-us.
    """
    import re

    from harness.errors import InputError
    from harness.files import replace_file
    from harness.spec.document import render_document
    from harness.targets.simulated.machine import machine_folders
    from harness.targets.simulated.measure import (
        measure_machine,
        model_of,
        with_instructions,
    )

    with _measured_on(host) as (machine, about, load, run):
        called = name or re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
        path = output or machine_folders()[-1] / f"{called}.yaml"
        if path.exists() and not overwrite:
            raise InputError(f"{path} already exists\n  next: --overwrite, --name or --output")
        if load > _BUSY:
            echo(f"{machine} is busy (load {load}): its figures will be too high", err=True)
        found = measure_machine(run, lambda what: echo(f"measuring {what}", err=True))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    source = f"vmapbench machine measure on {machine} ({about}, load {load}), {today}"
    model = model_of(path.stem, f"{about}, measured", source, found)
    if pair_us is not None:
        model = with_instructions(model, source, _instructions_for(model, pair_us))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, render_document(model.model_dump(mode="json", exclude={"name"})))
    echo(f"{path}: {model.clock_mhz} MHz, {len(found.cpus)} CPUs, {model.arbitration}")
    for key, values in found.transfers.items():
        echo(f"  {key}: {min(values)} to {max(values)} ns in {len(values)} pairs of CPUs")
    echo(f"next: vmapbench predict --machine {path.stem}")


def _instructions_for(model: "MachineModel", pair_us: float) -> float:
    """Return the instructions per cycle at which a pair of fix_size_alloc_test takes `pair_us`.

    On one CPU the time of a pair is that of its instructions plus a constant.
    """
    from harness.errors import InputError
    from harness.model.predict import load_calibration, predict_point
    from harness.model.timing import Design
    from harness.targets.simulated.costs import model_costs

    calibration = load_calibration()

    def predicted_us(instructions_per_cycle: float) -> float:
        changed = model.model_copy(update={"instructions_per_cycle": instructions_per_cycle})
        point = predict_point(calibration, model_costs(changed), "fix_size", 1, Design(1))
        return 1e6 / point.prediction.pairs_per_s

    one, two = predicted_us(1), predicted_us(2)
    rest = 2 * two - one
    found = (one - rest) / (pair_us - rest) if pair_us > rest else float("inf")
    if not 0.05 <= found <= 8:
        raise InputError(
            f"--pair-us {pair_us}: at one instruction per cycle a pair takes {one:.3f} us on this "
            f"machine, of which {rest:.3f} us do not depend on the rate; check the time"
        )
    return found


@contextlib.contextmanager
def _measured_on(host: str | None) -> Iterator[tuple[str, str, float, "Measure"]]:
    """Yield the machine's name, description and load, and a function that runs the program."""
    from harness.build.cache import cache_folder
    from harness.process import SubprocessRunner
    from harness.spec.host import load_host
    from harness.targets.simulated.measure import ensure_measure

    runner = SubprocessRunner()
    lab_host = load_host(host) if host is not None else None
    about = "" if lab_host else _cpu_of(Path("/proc/cpuinfo").read_text(errors="replace"))
    program = ensure_measure(cache_folder(), runner)
    if lab_host:
        with _on_lab_host(lab_host, program) as (about, load, run):
            yield lab_host.name, about, load, run
        return

    def run_here(arguments: Sequence[str]) -> str:
        return runner.run([str(program), *arguments], deadline_s=_LONGEST_S, check=True).output

    yield about, about, round(os.getloadavg()[0], 2), run_here


@contextlib.contextmanager
def _on_lab_host(host: "HostSpec", program: Path) -> Iterator[tuple[str, float, "Measure"]]:
    from harness.errors import InputError
    from harness.targets.ssh.transport import HostShell

    with contextlib.closing(HostShell(host)) as shell:
        about = _cpu_of(shell.run(["cat", "/proc/cpuinfo"], check=True).stdout)
        load = _load_of(shell)
        folder = shell.run(["mktemp", "-d"], check=True).stdout.strip()
        if not folder.startswith("/"):
            raise InputError(f"host {host.name}: mktemp -d says {folder[:80]!r}")
        place = f"{folder}/measure"

        def run_there(arguments: Sequence[str]) -> str:
            return shell.run([place, *arguments], timeout_s=_LONGEST_S, check=True).stdout

        try:
            shell.put(program, place, 0o755)
            yield about, load, run_there
        finally:
            shell.run(["rm", "-rf", folder])


def _load_of(shell: "Shell") -> float:
    from harness.targets.ssh.identity import read_line

    line = read_line(shell, "/proc/loadavg", r"[0-9]{1,6}\.[0-9]{2} [0-9./ ]{1,60}")
    return float(line.split()[0])


def _cpu_of(cpuinfo: str) -> str:
    """Return the CPU's name. Raises InputError if it is not x86-64."""
    from harness.errors import InputError
    from harness.targets.inventory import parse_inventory

    if "GenuineIntel" not in cpuinfo and "AuthenticAMD" not in cpuinfo:
        raise InputError("machine models are for x86-64 only, and this machine is not one")
    return parse_inventory({"/proc/cpuinfo": cpuinfo}).cpu
