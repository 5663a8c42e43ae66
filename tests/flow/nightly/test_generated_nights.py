"""Half a year of nights: of those in the store, then through git, store, change points and notices.

The boots' times are generated.
"""

import random

from harness.report.collect import RunReport
from harness.report.view import View
from harness.report.write import Written
from tests.flow.workplace import BRANCH

PAST, NIGHTS, PLANTED = 130, 50, 20
DELAY = 10  # nights for 99 of 100 such steps; docs/results/history.md has the rates


def without_page(store, run_id, reports):
    """Pages and comparisons have tests of their own; here they would only take time."""
    of_run = store.load_run(run_id), store.jobs(run_id), store.boots(run_id)
    frames = store.samples_frame(run_id), store.boots_frame(run_id)
    return Written(View(RunReport(*of_run, *frames, None)), reports / run_id / "index.html", "")


class Noise:
    """Generated times: a level, and 2 % of noise from boot to boot; seeded."""

    def __init__(self, seed, slow):
        self.random, self.slow = random.Random(seed), slow

    def __call__(self, spec, now):
        patch = "".join((spec.folder / name).read_text() for name in spec.patches)
        return self.draw(1.05 if self.slow in patch else 1)

    def draw(self, factor=1):
        return int(200_000 * factor * self.random.gauss(1, 0.02))


def test_of_180_generated_nights_the_one_with_the_regression_is_reported_once(workplace):
    workplace.write, workplace.times_the_load = without_page, False
    workplace.time_us = noise = Noise(seed=8, slow="return 9;")
    file = workplace.file(BRANCH)
    codes, slow_commit = {}, ""
    assert workplace.night(file).run().exit_code == 0
    workplace.copy_nights(PAST - 1, noise.draw)
    for night in range(NIGHTS):
        if night == PLANTED:
            slow_commit = workplace.commit(9, "mm/vmalloc: Tidy up")
        elif night % 5 == 2 and night < PLANTED:
            workplace.commit(night, "mm/vmalloc: Something harmless")
        if night % 17 != 16:  # the machine was off
            codes[night] = workplace.night(file).run().exit_code
        workplace.next_night()
    reported = [night for night, code in codes.items() if code]
    ((notice, _),) = workplace.sent
    assert notice.title.startswith("topic is slower: +")
    assert reported == [night for night in reported if PLANTED <= night < PLANTED + DELAY]
    assert len(reported) == 1
    assert slow_commit[:12] in notice.text
