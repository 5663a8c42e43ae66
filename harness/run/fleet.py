"""Several lab hosts at once, on Dask's distributed scheduler (the extra `fleet`).

Each host is a Dask resource. A worker is started with the hosts that it may use, as in
`dask worker ADDRESS --nthreads 4 --resources "host:tr1=1 host:tr2=1"`, and gets one task per host
at a time; if several workers use one host, its lock serialises them. Workers with `build=N` build
the kernels first, into a shared cache. Playbooks, kernels, reports and cache have the same paths
everywhere; the store is one database.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import distributed

from harness.errors import InfrastructureError, InputError, VmapbenchError
from harness.run.begin import new_run_id
from harness.run.observer import Observer
from harness.run.session import RunResult, Session
from harness.spec.playbook import load_playbook, on_host

_dask: Any = distributed  # its functions have no types

MakeSession = Callable[[Path, Path], Session]
"""Returns the session of a worker, from the folders of kernels and reports. A module's function."""


def make_session(kernels: Path, reports: Path) -> Session:
    """Return a worker's session."""
    return Session(kernels, reports, Observer())


def run_fleet(
    scheduler: str,
    file: Path,
    hosts: Sequence[str],
    kernels: Path,
    reports: Path,
    make: MakeSession = make_session,
) -> Iterator[tuple[str, RunResult | VmapbenchError]]:
    """Run the playbook on every host, one run each; yield host and result as they end.

    The run of a worker that dies is resumed by another worker.
    Raises InputError if no worker has a host, InfrastructureError without a scheduler.
    """
    playbook = load_playbook(file)
    ids = {host: new_run_id(on_host(playbook, host), dt.datetime.now(dt.UTC)) for host in hosts}
    folders = (kernels.resolve(), reports.resolve())
    with _connected(scheduler) as client:
        offered = _offered(client)
        missing = [host for host in hosts if host_resource(host) not in offered]
        if missing:
            raise InputError(
                f"no worker of {scheduler} has {', '.join(missing)}; start one with: "
                f'dask worker {scheduler} --resources "{host_resource(missing[0])}=1"'
            )
        if "build" in offered:
            builds = [
                client.submit(
                    build_on_worker, make, name, *folders, resources={"build": 1}, pure=False
                )
                for name in playbook.kernels
            ]
            _dask.wait(builds)  # a kernel that does not build is a verdict of its boots
        runs = {
            client.submit(
                run_on_worker,
                make,
                file.resolve(),
                host,
                run_id,
                *folders,
                resources={host_resource(host): 1},
                pure=False,
            ): host
            for host, run_id in ids.items()
        }
        for future in _dask.as_completed(runs):
            yield runs[future], _outcome(future, runs[future])


def host_resource(host: str) -> str:
    """Return the worker resource that stands for a host."""
    return f"host:{host}"


def build_on_worker(make: MakeSession, name: str, kernels: Path, reports: Path) -> str:
    """Build a kernel into the shared cache; return its key."""
    return make(kernels, reports).build_kernel(name).key


def run_on_worker(
    make: MakeSession, file: Path, host: str, run_id: str, kernels: Path, reports: Path
) -> RunResult:
    """Start the run, or continue it after another worker has died."""
    session = make(kernels, reports)
    with contextlib.closing(session.open_store()) as store:
        begun = run_id in set(store.list_runs()["id"])
    return session.resume(run_id) if begun else session.run(file, host, run_id)


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    try:
        client = _dask.Client(scheduler, timeout="15s")
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        yield client


def _offered(client: Any) -> set[str]:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {resource for worker in workers for resource in worker["resources"]}


def _outcome(future: Any, host: str) -> RunResult | VmapbenchError:
    """Return the result of a run, or its error, so that the other hosts go on."""
    try:
        ended: RunResult = future.result()
    except VmapbenchError as error:
        return error
    except (_dask.KilledWorker, _dask.CancelledError) as error:
        return InfrastructureError(f"host {host}: every worker that took its run died: {error}")
    return ended
