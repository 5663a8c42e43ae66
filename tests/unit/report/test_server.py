"""The server as its visitors find it: `vmapbench serve` in a process of its own, real sockets."""

import contextlib
import http.client
import json
import socket
import sqlite3
import subprocess
import sys
import threading

import pytest

from harness.report import server
from harness.store.store import open_store
from tests.serving import serving
from tests.synthetic_runs import RUN, write_synthetic_run

ODD = "20260102-030405-odd-0000"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    reports = tmp_path_factory.mktemp("served")
    write_synthetic_run(reports, thread_counts=(2,), repeats=3).close()
    (reports / "secret.txt").write_text("not for the network")
    with sqlite3.connect(reports / "vmapbench.db") as store:  # a run that somebody else wrote
        columns = [row[1] for row in store.execute("PRAGMA table_info(runs)") if row[1] != "id"]
        for run, plan in ((ODD, "{}"), ("../../ESCAPED", None)):
            store.execute(
                f"INSERT INTO runs (id, {', '.join(columns)}) SELECT ?, {', '.join(columns)} "
                "FROM runs WHERE id = ?", (run, RUN)
            )  # fmt: skip
            if plan:
                store.execute("UPDATE runs SET plan = ? WHERE id = ?", (plan, run))
    store.close()
    return reports


@pytest.fixture(scope="module")
def port(reports):
    with serving(reports) as (port, _):
        yield port


def ask(port, path, method="GET", host="127.0.0.1", **headers):
    connection = http.client.HTTPConnection(host, port, timeout=120)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def test_serves_index_page_and_data(port):
    assert RUN in ask(port, "/")[1]
    assert "synthetic-new" in ask(port, f"/{RUN}/")[1]
    assert json.loads(ask(port, f"/{RUN}/results.json")[1])["version"] == 1
    assert ask(port, f"/{RUN}/samples.csv")[1].startswith("run_id,boot")
    answer, body = ask(port, "/", method="HEAD")
    assert (answer.status, body) == (200, "")


@pytest.mark.parametrize(
    "path",
    ["/secret.txt", "/vmapbench.db", f"/{RUN}/../secret.txt", "/..%2fsecret.txt", "/x/y/z",
     "/%00", "/%ff%fe", "/../../ESCAPED", "/..%2F..%2FESCAPED", "//example.org/"],
)  # fmt: skip
def test_serves_no_file_and_no_unknown_run(port, path):
    answer, body = ask(port, path)
    assert answer.status == 404
    assert "not for the network" not in body


def test_a_run_with_an_odd_record_is_an_answer_and_the_others_are_served(port):
    answer, body = ask(port, f"/{ODD}/")
    assert answer.status == 500
    assert body.startswith("this page cannot be rendered")
    assert "Traceback" not in body
    assert ask(port, "/")[0].status == 200
    assert "ESCAPED" not in ask(port, "/")[1]


def test_changes_nothing(port):
    assert ask(port, "/", method="POST")[0].status == 405
    assert ask(port, "/", method="DELETE")[0].getheader("Allow") == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/nothing", f"/{ODD}/", f"/{RUN}/samples.csv"])
def test_every_answer_says_what_a_browser_may_do_with_it(port, path):
    check_headers(ask(port, path)[0])


def check_headers(answer):
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("X-Frame-Options") == "DENY"
    assert answer.getheader("Referrer-Policy") == "no-referrer"


@pytest.mark.parametrize(
    "request_", [b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"nonsense\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
                 b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
)  # fmt: skip
def test_a_bad_request_is_answered_too(port, request_):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as visitor:
        visitor.sendall(request_)
        answer = http.client.HTTPResponse(visitor)
        answer.begin()
        assert 400 <= answer.status < 500
        check_headers(answer)
        assert b"Traceback" not in answer.read()


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "", "[", "a@b"])
def test_another_sites_name_is_refused(port, host):
    answer, body = ask(port, "/", Host=host)
    assert answer.status == 421
    assert RUN not in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9", "192.0.2.7"])
def test_its_own_name_and_addresses_are_taken(port, host):
    assert ask(port, "/", Host=host)[0].status == 200


def test_silent_visitors_hold_up_nobody(port):
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            visitor = socket.create_connection(("127.0.0.1", port), timeout=60)
            silent.enter_context(visitor).sendall(b"GET / HTTP/1.1\r\n")
        assert ask(port, "/")[0].status == 200


def test_silent_visitors_are_sent_away_and_make_room(reports, monkeypatch):
    monkeypatch.setattr(server, "_IDLE_S", 1)
    monkeypatch.setattr(server, "_CONNECTIONS", 6)
    with contextlib.closing(open_store(reports / "vmapbench.db")) as store:
        served = server.make_server(server.Pages(store, reports), "127.0.0.1", 0)
        port = served.effective_port
        thread = threading.Thread(target=served.run, daemon=True)
        thread.start()
        with contextlib.ExitStack() as silent:
            visitors = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(9)]
            for visitor in visitors:
                silent.enter_context(visitor).sendall(b"GET / HTTP/1.1\r\n")
            assert visitors[0].recv(1) == b""
            assert ask(port, "/")[0].status == 200
        served.close()
        thread.join(60)


def test_ipv6_and_a_warning_only_beyond_loopback(reports):
    with serving(reports, "::1") as (port, server):
        assert ask(port, "/", host="::1")[0].status == 200
    assert server.returncode == 130
    assert "warning" not in server.said


def test_beyond_loopback_is_warned_of_and_an_empty_host_refused(reports):
    with serving(reports, "0.0.0.0") as (_, server):
        pass
    assert "everyone who reaches this address" in server.said
    argv = [sys.executable, "-m", "harness.cli.main", "serve", "--host", "", "--reports"]
    done = subprocess.run(
        [*argv, str(reports)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "--host is empty" in done.stderr
