"""Three nights in a row with a real series, real builds and real boots; only the clock is ours."""

import datetime as dt
from pathlib import Path

import pytest

from harness.nightly.deadline import Clock
from harness.nightly.run import NightlyRun
from harness.nightly.state import load_state
from harness.run.session import Session
from harness.spec.nightly import load_nightly
from harness.store.store import open_store

KERNELS = Path(__file__).parents[2] / "kernels"
PLAYBOOK = """
version: 1
kernels: [vmap-nodes]
baseline: vmap-nodes
target: {kind: qemu, cpus: 2, accelerator: tcg}
workloads:
  - name: small
    parameters: {nr_threads: 2, run_test_mask: 1, test_loop_count: 100}
    expected_s: 20
repeats: 2
noise: {other_share: 100, steal_share: 100, throttles: 1000000}
"""
NIGHTLY = """
version: 1
playbooks: [small.yaml]
candidates:
  - {name: queue, patches: queue}
  - {name: inbox, mbox: inbox}
budget_h: 2
notices: {verdicts: true}
"""
PATCH = """\
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: A Developer <a@developer.example>
Date: Tue, 2 Jan 2024 19:46:33 +0100
Subject: [PATCH] mm/vmalloc: Say that the allocator is ready

---
 mm/vmalloc.c | 1 +

diff --git a/mm/vmalloc.c b/mm/vmalloc.c
--- a/mm/vmalloc.c
+++ b/mm/vmalloc.c
@@ -LINE,6 +LINE,7 @@
CONTEXT"""


class Quiet:
    """An observer that says nothing."""

    def planned(self, run_id, jobs, done):
        pass

    def boot_began(self, job, attempt):
        pass

    def phase(self, words):
        pass

    def boot_ended(self, job, record, left):
        pass


def patch_for(source):
    """A patch that fits this source: one more line where vmalloc has finished its set-up."""
    lines = source.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "vmap_initialized = true;" in line)
    hunk = [*lines[at - 2 : at + 1], None, *lines[at + 1 : at + 4]]
    body = "".join(
        '+\tpr_info("vmap is ready\\n");\n' if line is None else f" {line}\n" for line in hunk
    )
    return PATCH.replace("LINE", str(at - 1)).replace("CONTEXT", body)


@pytest.fixture
def nights(tmp_path, built):
    """Carries out one night after the other, and returns the outcomes with what was sent."""
    base = built("vmap-nodes")
    patch = patch_for(base.tree / "mm/vmalloc.c")
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue/ready.patch").write_text(patch)
    (tmp_path / "queue/series").write_text("ready.patch\n")
    (tmp_path / "inbox").write_text("")
    (tmp_path / "small.yaml").write_text(PLAYBOOK)
    (tmp_path / "real.yaml").write_text(NIGHTLY)
    sent = []

    def night(date):
        began = dt.datetime.fromisoformat(f"{date}T23:00:00+00:00")
        session = Session(KERNELS, tmp_path / "reports", Quiet())
        spec = load_nightly(tmp_path / "real.yaml")
        send = {"test": lambda notice, page: sent.append((notice, page))}
        return NightlyRun(spec, session, Clock(lambda: began), send).run()

    night.sent, night.patch, night.folder = sent, patch, tmp_path
    return night


def test_three_nights_in_a_row(nights):
    first = nights("2026-03-01")
    assert first.exit_code == 0, first
    assert "1 of 1 measured, 1 news" in first.summary
    ((notice, page),) = nights.sent
    assert notice.title.startswith("queue ")
    assert "whole load" in notice.text
    assert "vmap-nodes" in page.read_text()

    broken = nights.patch.replace("vmap_initialized = true;", "no_such_line = true;")
    (nights.folder / "inbox").write_text(broken)
    second = nights("2026-03-02")
    assert second.exit_code == 1
    assert "1 of 1 measured, 1 news, 1 failed" in second.summary
    notice, page = nights.sent[1]
    assert "mm/vmalloc.c: the hunk at line" in " ".join(notice.text.split())

    third = nights("2026-03-03")
    reported = [notice.title for notice, _ in nights.sent]
    assert "1 of 1 measured, 0 news, 1 failed" in third.summary, reported  # reported before
    assert len(nights.sent) == 2

    store = open_store(nights.folder / "reports/vmapbench.db")
    runs = store.list_runs()
    store.close()
    assert list(runs.passed) == [4, 4, 4]
    assert [at[:10] for at in runs.started_at] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    state = load_state(nights.folder / "reports/nightly/real/state.json")
    assert state.pairs["queue|small"].nights == 3
    assert [bool(night.ended) for night in state.nights] == [True] * 3
