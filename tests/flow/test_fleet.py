"""Runs spread over the workers of a real Dask scheduler, one of which dies."""

import contextlib

import distributed
import pytest

from harness.errors import InputError
from harness.run.fleet import run_fleet
from harness.store.store import open_store
from harness.verdict import Verdict
from tests.flow.fakes import PLAYBOOK
from tests.flow.fleet_session import make


@pytest.fixture
def cluster():
    """Two workers, processes that a nanny starts again; either may drive either host."""
    tokens = {"host:mortal": 1, "host:other": 1, "build": 1}
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        processes=True,
        resources=tokens,
        dashboard_address=None,
        worker_dashboard_address=None,
        silence_logs=50,
    )
    yield cluster.scheduler_address
    cluster.close()


@pytest.fixture
def folders(tmp_path):
    text = PLAYBOOK.replace("kind: qemu", "kind: ssh").replace("name: fake\n", "")
    (tmp_path / "fake.yaml").write_text(text)
    (tmp_path / "kernels").mkdir()
    for name in ("slow", "fast"):
        (tmp_path / "kernels" / f"{name}.yaml").write_text(
            "version: 1\nsource: {debian: linux-source-6.12}\n"
        )
    (tmp_path / "reports").mkdir()
    return tmp_path / "fake.yaml", tmp_path / "kernels", tmp_path / "reports"


def test_a_worker_that_dies_gives_its_run_back(cluster, folders):
    file, kernels, reports = folders
    ended = dict(run_fleet(cluster, file, ["mortal", "other"], kernels, reports, make))
    assert set(ended) == {"mortal", "other"}
    with contextlib.closing(open_store(reports / "vmapbench.db")) as store:
        assert len(store.list_runs()) == 2
        for host, end in ended.items():
            record = store.load_run(end.run_id)
            assert record.plan["target"]["host"] == host
            boots = store.boots(end.run_id)
            assert sorted(boot.position for boot in boots) == list(range(6))
            assert {boot.verdict for boot in boots} == {Verdict.PASSED}
    began = (reports / "mortal.boots").read_text().splitlines()
    assert len(began) == 7  # the one that was lost with its worker, and nothing else, again
    assert len(set(began)) == 2


def test_a_host_that_no_worker_drives(cluster, folders):
    with pytest.raises(InputError, match=r"no worker of tcp.* has tr9; .*host:tr9=1"):
        list(run_fleet(cluster, folders[0], ["other", "tr9"], *folders[1:], make))
