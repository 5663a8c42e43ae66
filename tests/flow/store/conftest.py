"""The same store on both databases: a SQLite file, and a real PostgreSQL server."""

import itertools
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from harness.process import SubprocessRunner
from harness.store.store import open_store

_BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
_names = itertools.count()


class PostgresServer:
    """Debian's server in a folder of its own, reachable by a unix socket only."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._runner = SubprocessRunner()
        versions = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name)
        )
        assert versions, "PostgreSQL is not installed: setup/install.sh test"
        self._programs = versions[-1]
        # initdb refuses to work for root; the package made a user for this.
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        else:
            self._as_user = []

    def run(self, program: str, *arguments: str) -> None:
        argv = [*self._as_user, str(self._programs / program), *arguments]
        self._runner.run(argv, cwd=self.folder, check=True)

    def start(self) -> None:
        data = str(self.folder / "data")
        self.run("initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8")
        # In the foreground and tied to this process, so that no server outlives killed tests. The
        # tie is made after the change of user, which would undo it.
        tied = [*(self._as_user[:-1] or ["setpriv"]), "--pdeathsig", "KILL", "--"]
        server = [str(self._programs / "postgres"), "-D", data, "-k", str(self.folder), "-F"]
        self._server = self._runner.spawn(
            [*tied, *server, "-c", "listen_addresses="],
            cwd=self.folder,
            log=self.folder / "log",
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        ready = [str(self._programs / "pg_isready"), "-h", str(self.folder), "-U", "tester"]
        while self._runner.run(ready).returncode != 0:
            assert self._server.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        self._server.kill()

    def new_database(self) -> str:
        name = f"store{next(_names)}"
        self.run("createdb", "-h", str(self.folder), "-U", "tester", name)
        return f"postgresql://tester@/{name}?host={self.folder}"


@pytest.fixture(scope="session")
def postgres():
    """A running server; folder names of pytest are too long for a socket, and closed to others."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=_BACKENDS)
def where(request, tmp_path):
    """Where an empty store is to be."""
    if request.param == "sqlite":
        return tmp_path / "vmapbench.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def store(where):
    opened = open_store(where)
    yield opened
    opened.close()
