"""`vmapbench ab`: measure a change in any kernel tree, without writing a playbook."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import platformdirs
import typer

from harness.cli.options import listed, seconds, share
from harness.cli.results import is_bad, show_run
from harness.console import echo
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.run.ab import AbPlan
    from harness.run.detect import Detect

_REPORTS = Path(platformdirs.user_data_dir("vmapbench")) / "reports"

OnOption = Annotated[
    str,
    typer.Option(
        help="qemu, simulated[:CPUS] or a lab host; default: KVM with a core per worker, else "
        "simulated."
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        help="Number of workers; default: 16, or one per CPU that --on gives.", min=1, max=1024
    ),
]
PatchOption = Annotated[
    str,
    typer.Option(help="Compare BASE with these patches on top: a mailbox, a folder, - for stdin."),
]
BootsOption = Annotated[
    int,
    typer.Option(help="Boots of each side; with --detect in the pilot.", min=2, max=1000),
]
DataFolderOption = Annotated[
    Path, typer.Option(help="Folder of the results.", show_default="your data folder")
]


def command(
    base: Annotated[str, typer.Argument(help="A commit, or A..B; default: HEAD.")] = "",
    change: Annotated[str, typer.Argument(help="A commit; default: the working tree.")] = "",
    patch: PatchOption = "",
    tree: Annotated[Path, typer.Option(help="The kernel tree.")] = Path(),
    on: OnOption = "",
    threads: ThreadsOption = None,
    cases: Annotated[str, typer.Option(help="Names of cases, comma-separated.")] = "fix_size",
    loops: Annotated[int, typer.Option(help="Loops of each worker.", min=1)] = 4000,
    boots: BootsOption = 5,
    detect: Annotated[
        str | None,
        typer.Option(help="Add boots until a change of this size, like 3%, would be shown."),
    ] = None,
    within: Annotated[
        str, typer.Option(help="With --detect: the time limit of all boots.")
    ] = "20m",
    config: Annotated[
        str, typer.Option(help="Start from a .config, a defconfig of the tree or localyesconfig.")
    ] = "",
    architecture: Annotated[
        str, typer.Option(help="Architecture to build for: x86_64, arm64 or riscv.")
    ] = "x86_64",
    explain: Annotated[
        bool, typer.Option("--explain", help="Boot each kernel once more to say where time goes.")
    ] = False,
    reports: DataFolderOption = _REPORTS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build and boot both sides of a change in this kernel tree, and compare their times.

    Without arguments: HEAD against the working tree. Nothing is written into the tree. The exit
    code is 1 when the change is slower, so that `git rebase --exec` stops there.
    """
    from harness.build.cache import Cache, cache_folder
    from harness.build.sides import find_sides, refuse_same
    from harness.process import SubprocessRunner
    from harness.run.ab import Options, plan_ab
    from harness.run.detect import Detect, refuse_too_small
    from harness.spec.architecture import architecture as arch_of

    cache, runner = Cache(cache_folder()), SubprocessRunner()
    named = listed(cases)
    options = Options(on, threads or 0, named, loops, boots, config, arch_of(architecture))
    wanted = Detect(share("--detect", detect), seconds("--within", within)) if detect else None
    sides = find_sides(tree, base, change, patch, cache, runner)
    plan = plan_ab(sides, options, cache, runner)
    if wanted:
        refuse_too_small(wanted, plan.playbook)
    refuse_same(sides)
    echo(plan.heading(), err=as_json)
    if dry_run:
        _show_plan(plan, reports, boots)
    else:
        _measure(plan, reports.absolute(), wanted, as_json, explain)


def _show_plan(plan: "AbPlan", reports: Path, boots: int) -> None:
    """Print the boots of the first repeat, each with its command line."""
    from harness.cli.progress import show_progress
    from harness.run.session import Session
    from harness.scratch import scratch_folder

    with scratch_folder("ab") as scratch:
        file = plan.write(scratch)
        with show_progress(live=False) as observer:
            session = Session(
                file.parent / "kernels", reports, observer, runner=plan.runner, cache=plan.cache
            )
            lines = session.plan_lines(file, repeats=1)
    echo("\n".join([*lines, f"{boots} boots of each side, in random order"]))


def _measure(
    plan: "AbPlan", reports: Path, wanted: "Detect | None", as_json: bool, explain: bool
) -> None:
    """Run the comparison and print its result. Raises Exit when the change is slower."""
    import datetime as dt

    from harness.build.start_config import describe_start
    from harness.cli.progress import show_progress
    from harness.run.begin import new_run_id
    from harness.run.detect import extend_within, plan_more
    from harness.run.session import Session

    run_id = new_run_id(plan.playbook, dt.datetime.now(dt.UTC))
    folder = reports / run_id
    file = plan.write(folder)
    with show_progress(live=sys.stderr.isatty()) as observer:
        session = Session(
            folder / "kernels", reports, observer, observer.build, plan.runner, cache=plan.cache
        )
        ended = session.run(file, run_id=run_id, explain=explain)
    if wanted and not ended.interrupted:
        more = plan_more(session, run_id, wanted)
        echo(more.reason, err=True)
        if more.repeats > more.pilot:
            with show_progress(live=sys.stderr.isatty()) as observer:
                session = replace(session, observer=observer, build_progress=observer.build)
                ended = extend_within(session, run_id, more, wanted, file) or ended
    written = show_run(session, ended, reports, as_json)
    if plan.recipe.config:
        facts = next(iter(written.report.run.kernels.values()))
        text = describe_start(plan.recipe.config, facts["added"], facts["dropped_modules"])
        echo(f"config: {text}", err=as_json)
    echo(f"table: vmapbench report {run_id} --format list --reports {reports}", err=True)
    echo(f"repeat: vmapbench run {file} --kernels {session.kernels}", err=True)
    if is_bad(written) or written.view.shows_slower:
        raise typer.Exit(ExitCode.BAD_VERDICT)
