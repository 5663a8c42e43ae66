"""The server over a real socket."""

import threading
import urllib.error
import urllib.request

import pytest

from harness.report.server import Pages, make_server
from tests.synthetic_runs import RUN, write_synthetic_run


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    reports = tmp_path_factory.mktemp("served")
    store = write_synthetic_run(reports, thread_counts=(2,), repeats=3)
    (reports / "secret.txt").write_text("not for the network")
    server = make_server(Pages(store, reports), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
    store.close()


def get(url, **options):
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=60) as answer:
        return answer.read().decode()


def test_serves_index_page_and_data(address):
    assert RUN in get(f"{address}/")
    assert "synthetic-new" in get(f"{address}/latest/")
    assert '"version": 1' in get(f"{address}/{RUN}/results.json")
    assert get(f"{address}/{RUN}/samples.csv").startswith("run_id,boot")


@pytest.mark.parametrize(
    "path", ["/secret.txt", "/vmapbench.db", f"/{RUN}/../secret.txt", "/..%2fsecret.txt", "/x/y/z"]
)
def test_serves_no_file_and_no_unknown_run(address, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(address + path)
    refused.value.close()
    assert refused.value.code == 404


def test_changes_nothing(address):
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{address}/", method="POST", data=b"x")
    refused.value.close()
    assert refused.value.code == 501
