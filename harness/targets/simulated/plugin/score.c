/* SPDX-License-Identifier: GPL-2.0-only */
/* The counters that generated code updates, one set per vCPU, in memory owned by QEMU. */
#include "sim.h"

static struct qemu_plugin_scoreboard *scores;
qemu_plugin_u64 count_entry, opaque_entry;

struct score *score_of(unsigned int vcpu)
{
	return qemu_plugin_scoreboard_find(scores, vcpu);
}

void score_init(void)
{
	scores = qemu_plugin_scoreboard_new(sizeof(struct score));
	count_entry = (qemu_plugin_u64){ scores, offsetof(struct score, count) };
	opaque_entry = (qemu_plugin_u64){ scores, offsetof(struct score, opaque) };
}
