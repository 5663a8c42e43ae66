"""House-keeping on real files: what goes, what stays, and what is counted."""

import fcntl
import json
import os
import threading
import time

import pytest
from typer.testing import CliRunner

from harness.build.cache import Cache
from harness.cli.main import command_line
from harness.run.garbage import choose, disk_use, drop, find_items, frees

DAY_S = 86_400
KIB = 1024


def write(path, size=8 * KIB, age_days=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    grow_old(path, age_days)


def grow_old(path, age_days):
    at = time.time() - age_days * DAY_S
    os.utime(path, (at, at))


def make_kernel(cache, key, age_days, size=64 * KIB):
    folder = cache.place("kernels", key)
    write(folder / "bzImage", size)
    (folder / "kernel.json").write_text(json.dumps({"spec": {"name": "vmap-nodes"}}))
    grow_old(folder, age_days)
    return folder


def make_run(reports, run_id, age_days):
    run = reports / run_id
    for name in ("playbook.yaml", "results.json", "samples.csv", "configs/a.config"):
        write(run / name, age_days=age_days)
    write(run / "logs/0000-a/console.log", 32 * KIB)
    write(run / "index.html", 16 * KIB, age_days)
    grow_old(run / "logs", age_days)
    return run


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VMAPBENCH_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "reports").mkdir()
    write(tmp_path / "reports" / "vmapbench.db", 256 * KIB, age_days=400)
    return tmp_path / "reports"


def gc(reports, *options):
    done = CliRunner().invoke(command_line(), ["gc", "--reports", str(reports), *options])
    assert done.exception is None, done.output
    return done.output


def test_old_kernels_logs_and_pages_go_and_samples_stay(cache, reports):
    old, young = make_kernel(cache, "a" * 32, 40), make_kernel(cache, "b" * 32, 3)
    run, recent = make_run(reports, "20260101-old", 40), make_run(reports, "20260201-new", 3)
    write(cache.place("logs", "broken.log"), age_days=40)
    (reports / "latest").symlink_to("20260201-new")
    told = gc(reports)
    assert f"removed kernel vmap-nodes {'a' * 12}" in told
    assert not old.exists()
    assert young.is_dir()
    assert not cache.place("logs", "broken.log").exists()
    kept = sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())
    assert kept == ["configs/a.config", "playbook.yaml", "results.json", "samples.csv"]
    assert (recent / "logs/0000-a/console.log").exists()
    assert (reports / "latest").is_symlink()
    assert (reports / "vmapbench.db").stat().st_size == 256 * KIB


def test_a_dry_run_tells_the_same_and_changes_nothing(cache, reports):
    make_kernel(cache, "a" * 32, 40)
    make_run(reports, "20260101-old", 40)
    before = sorted(p for p in reports.rglob("*") if p.is_file())
    would = json.loads(gc(reports, "--dry-run", "--json"))
    assert sorted(p for p in reports.rglob("*") if p.is_file()) == before
    did = json.loads(gc(reports, "--json"))
    assert [row["path"] for row in would["items"]] == [row["path"] for row in did["items"]]
    assert would["freed_bytes"] == did["freed_bytes"] > 0
    assert (would["dry_run"], did["dry_run"]) == (True, False)
    assert did["used_bytes"] - disk_use(cache.folder, reports) == did["freed_bytes"]


def test_a_budget_takes_the_one_used_longest_ago_first(cache, reports):
    first, second = make_kernel(cache, "a" * 32, 9), make_kernel(cache, "b" * 32, 5)
    used = disk_use(cache.folder, reports)
    gc(reports, "--disk-budget", f"{used - 4 * KIB}B")
    assert not first.exists()
    assert second.is_dir()
    assert "still" in gc(reports, "--disk-budget", "1KiB")
    assert (reports / "vmapbench.db").exists()


def test_what_a_process_uses_stays(cache, reports):
    kernel = make_kernel(cache, "a" * 32, 40)
    run = make_run(reports, "20260101-old", 40)
    (run / ".lock").touch()
    grow_old(run / ".lock", 40)
    with cache.place("uses", "a" * 32).open("a") as use, (run / ".lock").open() as lock:
        fcntl.flock(use, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_EX)
        grow_old(cache.place("uses", "a" * 32), 40)
        told = gc(reports)
        assert told.count("in use, kept:") == 3
        assert kernel.is_dir()
        assert (run / "logs").is_dir()
    gc(reports)
    assert not kernel.exists()
    assert not (run / "logs").exists()


def test_a_kernel_that_was_built_long_ago_but_used_lately_is_not_old(cache, reports):
    kernel = make_kernel(cache, "a" * 32, 400)
    cache.hold("a" * 32)
    assert gc(reports).startswith("freed 0 B")
    assert kernel.is_dir()


def test_a_kernel_that_is_being_dropped_is_waited_for(cache, reports):
    """Whoever asks for it in that moment gets it after it is gone, and builds it again."""
    make_kernel(cache, "c" * 32, 40)
    with cache.place("uses", "c" * 32).open("a") as use:
        fcntl.flock(use, fcntl.LOCK_EX)  # as `drop` does
        asking = threading.Thread(target=cache.hold, args=("c" * 32,))
        asking.start()
        asking.join(0.2)
        assert asking.is_alive()
    asking.join()


def test_builds_that_died_go_at_once_and_those_under_way_stay(cache, reports):
    dead, alive = (cache.place("building", f"{key * 32}.x1y2") for key in "ab")
    for folder in (dead, alive):
        write(folder / "tree" / "vmlinux.o")
    with cache.place("locks", "b" * 32).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = gc(reports)
    assert "unfinished build" in told
    assert "left over" in told
    assert not dead.exists()
    assert alive.is_dir()


def test_what_an_interrupted_drop_left_goes_the_next_time(cache, reports):
    kernel = make_kernel(cache, "a" * 32, 40)
    run = make_run(reports, "20260101-old", 40)
    item = next(item for item in find_items(cache, reports) if item.kind == "kernel")
    logs = next(item for item in find_items(cache, reports) if item.kind == "logs")

    def interrupted(_):
        raise KeyboardInterrupt

    for one in (item, logs):
        with pytest.raises(KeyboardInterrupt):
            drop(one, remove=interrupted)
    assert not kernel.exists()  # never half a kernel under its name
    assert len(list(kernel.parent.iterdir())) == 1
    gc(reports, "--older-than", "9000d")
    assert list(kernel.parent.iterdir()) == []
    assert not list(run.glob(".dropped-*"))


def test_files_that_others_share_free_nothing(tmp_path):
    write(tmp_path / "source" / "a.c", 40 * KIB)
    write(tmp_path / "tree" / "b.o", 24 * KIB)
    (tmp_path / "tree" / "a.c").hardlink_to(tmp_path / "source" / "a.c")
    (tmp_path / "tree" / "again.o").hardlink_to(tmp_path / "tree" / "b.o")
    own = frees(tmp_path / "tree")
    before = disk_use(tmp_path)
    assert frees(tmp_path) == before
    for name in ("a.c", "b.o", "again.o"):
        (tmp_path / "tree" / name).unlink()
    assert before - disk_use(tmp_path) == own == 24 * KIB


def test_nothing_else_in_the_reports_is_touched(cache, reports):
    write(reports / "mine" / "index.html", age_days=500)
    write(reports / "mine" / "logs" / "a", age_days=500)
    write(reports / "notes.txt", age_days=500)
    gc(reports, "--disk-budget", "1B")
    assert (reports / "mine" / "index.html").exists()
    assert (reports / "mine" / "logs" / "a").exists()
    assert (reports / "notes.txt").exists()


def test_a_place_where_nothing_was_ever_made(cache, tmp_path):
    assert gc(tmp_path / "none").startswith("freed 0 B of 0 B")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("options", [["--disk-budget", "many"], ["--older-than", "a month"]])
def test_limits_that_make_no_sense(reports, cache, options):
    done = CliRunner().invoke(command_line(), ["gc", "--reports", str(reports), *options])
    assert type(done.exception).__name__ == "InputError"
    assert options[1] in str(done.exception)


def test_choosing_stops_when_it_fits(cache, reports):
    for n, key in enumerate("abc"):
        make_kernel(cache, key * 32, 9 - n)
    items = find_items(cache, reports)
    chosen = choose(items, items[-1].used_at, 30 * DAY_S, used=1000 * KIB, budget=900 * KIB)
    assert [choice.item.name[-12:-11] for choice in chosen] == ["a", "b"]
