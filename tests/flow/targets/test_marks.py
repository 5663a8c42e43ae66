"""profile.c by itself, called as QEMU calls it when a guest executes marks."""

import subprocess
from importlib.resources import files

_GUEST = """
#include "sim.h"
#include <stdlib.h>
struct model model = { .clock_mhz = 1000, .sample = 1, .marks = 5, .out = "." };
struct vcpu vcpus[MAX_VCPUS];
unsigned vcpu_count = 1;
uint64_t ahead_most, drains;
bool fast;
static unsigned parts; /* what locks.c and stacks.c would have written */
void write_locks(unsigned part) { parts++; }
void write_stacks(unsigned part) { parts++; }
void stacks_skip(struct vcpu *v) { }
void sampling_marks(void) { }
bool window_is_open(void) { return true; }
void on_mark(unsigned int vcpu, void *pc);
void profile_init(void);
void profile_finish(void);
int main(void)
{
	struct score score = { 0 };

	vcpus[0].score = &score;
	profile_init();
	for (int i = 0; i < 300; i++)
		on_mark(0, NULL);
	profile_finish();
	return parts == 10 ? 0 : 1;
}
"""


def test_a_guest_writes_no_more_files_than_it_was_told_marks(tmp_path):
    plugin = files("harness.targets.simulated") / "plugin"
    (tmp_path / "guest.c").write_text(_GUEST)
    argv = ["gcc", "-w", f"-I{plugin}", "guest.c", f"{plugin}/profile.c", "-o", "guest"]
    subprocess.run(argv, cwd=tmp_path, check=True)
    subprocess.run(["./guest"], cwd=tmp_path, check=True)
    assert len(list(tmp_path.glob("profile-*.txt"))) == 5
    assert len(list(tmp_path.glob("waits-*.txt"))) == 5
    assert (tmp_path / "counts.txt").read_text().count("\n") == 5
