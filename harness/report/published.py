"""The published result that pages show with similar runs.

Cover letter of "[PATCH v3 00/11] Mitigate a vmap lock contention v3", Uladzislau Rezki, message id
20240102184633.748113-1-urezki@gmail.com: test_vmalloc.sh run_test_mask=7 nr_threads=64.
"""

from harness.testmod import cases

MACHINE = "threadripper-3970x"  # harness/targets/simulated/machines
THREADS = 64
CASES = frozenset(case.name for case in cases.CASES if case.mask & 7)
RATIO = 12.69  # 651.271 s before the series, 51.301 s with it
SPIN = {"without the series": 0.9307, "with the series": 0.1651}
"""Share of native_queued_spin_lock_slowpath in the profile; templates show it."""
