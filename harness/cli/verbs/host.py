"""`vmapbench host ...`: manage lab hosts."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.console import echo
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.spec.host import HostSpec
    from harness.targets.ssh.shell import Shell

NameArgument = Annotated[str, typer.Argument(help="A host: the name of its file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

command = typer.Typer(help="Lab hosts: real machines, reached over ssh.")


@command.command("list")
def list_hosts(as_json: JsonOption = False) -> None:
    """List the hosts with a file in playbooks/hosts or in the user's configuration."""
    from harness.spec.host import host_files, load_host_file

    found = [load_host_file(path) for path in host_files()]
    if as_json:
        echo(json.dumps([host.model_dump(mode="json") for host in found], indent=2))
        return
    for host in found:
        labels = f"  [{', '.join(host.labels)}]" if host.labels else ""
        echo(f"{host.name}: {host.address}, {host.boot.method}{labels}  {host.summary}")


@command.command()
def trust(
    name: NameArgument,
    yes: Annotated[
        str | None,
        typer.Option(help="Accept only this fingerprint (SHA256:...), without asking."),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace the keys trusted before.")] = False,
) -> None:
    """Show the key of a host, and of each jump host, and trust it after confirmation."""
    from harness.errors import InputError
    from harness.spec.host import load_host
    from harness.targets.ssh.trust import next_unknown, remember

    spec = load_host(name)
    for _ in range(len(spec.jump) + 1):
        shown = next_unknown(spec)
        echo(f"{shown.name}: {shown.fingerprint}")
        if shown.trusted:
            echo("trusted already")
            return
        echo("compare it on the machine: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        if yes is not None and yes not in (shown.fingerprint, shown.fingerprint.split()[-1]):
            raise InputError(f"host {name}: {shown.name} shows another key than {yes}")
        if yes is None:
            typer.confirm("Is it the same?", abort=True)
        echo(f"written to {remember(spec, shown, replace=replace)}")


@command.command()
def check(name: NameArgument, as_json: JsonOption = False) -> None:
    """Check whether a host can be used and recovered. Changes nothing on it."""
    from harness.targets.ssh.boot_method import boot_method
    from harness.targets.ssh.probe import check_host

    with _connected(name) as (spec, shell):
        rows = check_host(shell, spec, boot_method(spec.boot))
    if as_json:
        echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            remedy = f"\n        {row.remedy}" if row.remedy else ""
            echo(f"{row.health:>4}  {row.what}: {row.found}{remedy}")
    if any(row.bad for row in rows):
        raise typer.Exit(ExitCode.BAD_VERDICT)


@command.command()
def recover(name: NameArgument) -> None:
    """Return a host to its known-good kernel, whatever a run has left behind."""
    from harness.process import SubprocessRunner
    from harness.spec.host import load_host
    from harness.targets.ssh.recovery import recover_host

    running = recover_host(load_host(name), SubprocessRunner(), echo)
    echo(f"{name}: {running.release}, nothing armed")


@command.command()
def unlock(
    name: NameArgument,
    broken: Annotated[bool, typer.Option("--break", help="Break the lock.")] = False,
) -> None:
    """Show who holds the lock of a host; with --break remove it, which stops their run."""
    from harness.targets.ssh.lock import break_lock, read_lock

    with _connected(name) as (spec, shell):
        if broken:
            break_lock(shell, spec.state)
            echo(f"{name}: lock removed")
            return
        held = read_lock(shell, spec.state)
    echo(f"{name}: {held.describe() if held else 'not locked'}")


@command.command()
def helper(name: NameArgument) -> None:
    """Print the helper, which runs as root on a host; read it, then install it there."""
    from harness.spec.host import load_host
    from harness.targets.ssh.helper import render_helper

    echo(render_helper(load_host(name)), nl=False)


@command.command()
def sudoers(
    name: NameArgument,
    account: Annotated[str | None, typer.Option(help="Default: the host's `user`.")] = None,
) -> None:
    """Print the sudoers file that allows the helper on a host."""
    import getpass

    from harness.spec.host import load_host
    from harness.targets.ssh.helper import render_sudoers

    spec = load_host(name)
    user = account or spec.user or getpass.getuser()
    echo(render_sudoers(spec, user), nl=False)


@contextlib.contextmanager
def _connected(name: str) -> Iterator[tuple["HostSpec", "Shell"]]:
    from harness.spec.host import load_host
    from harness.targets.ssh.transport import HostShell

    spec = load_host(name)
    with contextlib.closing(HostShell(spec)) as shell:
        yield spec, shell
