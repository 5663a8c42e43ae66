"""`vmapbench serve` in a process of its own."""

import contextlib
import signal
import subprocess
import sys


@contextlib.contextmanager
def serving(reports, host="127.0.0.1"):
    """Serve `reports`; yields the port and the process.

    Afterwards its standard error is read, as `process.said`.
    """
    argv = [sys.executable, "-m", "harness.cli.main", "serve", "--host", host, "--port", "0"]
    with subprocess.Popen(  # its end is waited for below
        [*argv, "--reports", str(reports)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("http://"), server.stderr.read()
            yield int(line.rstrip("/\n").rpartition(":")[2]), server
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
            server.said = server.stderr.read()
