/* SPDX-License-Identifier: GPL-2.0-only */
/* Options, and what generated code does besides the guest's work. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PLUGIN_EXPORT int qemu_plugin_version = PLUGIN_API_VERSION;

struct model model = {
	.clock_mhz = 1000,
	.instruction = TICKS_PER_CYCLE,
	.pause = 40 * TICKS_PER_CYCLE,
	.atomic = 20 * TICKS_PER_CYCLE,
	.rep_byte = TICKS_PER_CYCLE / 32,
	.per_core = 1,
	.per_ccx = 1,
	.per_die = 1,
	.quantum = 1000 * TICKS_PER_CYCLE,
	.sample = 10000 * TICKS_PER_CYCLE,
	.marks = 64,
	.follow_from = UINT64_C(0xffff800000000000),
	.full_coherence = true,
	.lock_coherence = true,
	.skip_spins = true,
	.store_buffer = true,
	.out = ".",
};

static struct qemu_plugin_scoreboard *scores;
static qemu_plugin_u64 count_entry, opaque_entry;

struct score *score_of(unsigned int vcpu)
{
	return qemu_plugin_scoreboard_find(scores, vcpu);
}

/* before_atomic() is to be called; it keeps the operand as long as QEMU keeps the code: for good. */
static void announce_atomic(struct qemu_plugin_insn *insn, struct operand operand)
{
	bool registers = model.nearest_first && (operand.base >= 0 || operand.index >= 0);
	struct operand *kept = malloc(sizeof(*kept));

	if (!kept)
		abort();
	*kept = operand;
	qemu_plugin_register_vcpu_insn_exec_cb(
		insn, before_atomic, registers ? PLUGIN_CB_R_REGS : PLUGIN_CB_NO_REGS, kept);
}

static uint64_t instrument(struct qemu_plugin_insn *insn, bool *opaque)
{
	uint8_t bytes[16];
	size_t length = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
	struct decoded what = decode(bytes, length);
	void *pc = (void *)qemu_plugin_insn_vaddr(insn);

	*opaque |= what.opaque;
	for (unsigned i = 0; i < model.counted; i++)
		if (model.count[i] == (uint64_t)pc)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_counted, PLUGIN_CB_NO_REGS,
							       (void *)(uintptr_t)i);
	if (what.mark)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, PLUGIN_CB_NO_REGS, pc);
	if (what.pause) {
		if (model.skip_spins)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_pause, PLUGIN_CB_R_REGS,
							       pc);
		return model.pause;
	}
	if (what.string) {
		qemu_plugin_register_vcpu_mem_cb(insn, on_string, PLUGIN_CB_NO_REGS, PLUGIN_MEM_W,
						 pc);
		return 0;
	}
	if (what.tracked && model.lock_coherence) {
		if (what.atomic) {
			announce_atomic(insn, operand_of(bytes, length, (uint64_t)pc));
			qemu_plugin_register_vcpu_mem_cb(insn, on_atomic, PLUGIN_CB_NO_REGS,
							 PLUGIN_MEM_R, pc);
		} else {
			qemu_plugin_register_vcpu_mem_cb(insn, on_load, PLUGIN_CB_NO_REGS,
							 PLUGIN_MEM_R, pc);
			qemu_plugin_register_vcpu_mem_cb(insn, on_store, PLUGIN_CB_NO_REGS,
							 PLUGIN_MEM_W, pc);
		}
	}
	return what.atomic ? model.atomic : model.instruction;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t length = qemu_plugin_tb_n_insns(tb);
	uint64_t cost = 0;
	bool opaque = false;

	(void)id;
	for (size_t i = 0; i < length; i++)
		cost += instrument(qemu_plugin_tb_get_insn(tb, i), &opaque);
	/* First the check, then the cost: a slice never ends inside its last block. */
	qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, slice_over, PLUGIN_CB_NO_REGS,
						  PLUGIN_COND_GE, count_entry, SLICE_END,
						  (void *)qemu_plugin_tb_vaddr(tb));
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, PLUGIN_INLINE_ADD_U64, count_entry,
							  cost);
	if (opaque && model.skip_spins)
		qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, PLUGIN_INLINE_STORE_U64,
								  opaque_entry, 1);
}

static void on_exit_of_qemu(qemu_plugin_id_t id, void *data)
{
	(void)id, (void)data;
	profile_finish();
}

static bool set_number(const char *name, uint64_t value)
{
	const struct {
		const char *name;
		uint64_t *to;
	} numbers[] = {
		{ "clock_mhz", &model.clock_mhz },
		{ "instruction", &model.instruction },
		{ "pause", &model.pause },
		{ "atomic", &model.atomic },
		{ "rep_byte", &model.rep_byte },
		{ "smt_extra", &model.smt_extra },
		{ "transfer_smt", &model.transfer_smt },
		{ "transfer_ccx", &model.transfer_ccx },
		{ "transfer_die", &model.transfer_die },
		{ "transfer_package", &model.transfer_package },
		{ "quantum", &model.quantum },
		{ "sample", &model.sample },
		{ "seed", &model.seed },
		{ "follow_from", &model.follow_from },
		{ "apart", &model.apart },
		{ "window", &model.window },
		{ "marks", &model.marks },
	};
	const struct {
		const char *name;
		unsigned *to;
	} counts[] = {
		{ "per_core", &model.per_core },
		{ "per_ccx", &model.per_ccx },
		{ "per_die", &model.per_die },
	};
	const struct {
		const char *name;
		bool *to;
	} switches[] = {
		{ "full_coherence", &model.full_coherence },
		{ "lock_coherence", &model.lock_coherence },
		{ "skip_spins", &model.skip_spins },
		{ "store_buffer", &model.store_buffer },
		{ "nearest_first", &model.nearest_first },
		{ "near_copies", &model.near_copies },
		{ "idle_stalls", &model.idle_stalls },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (!strcmp(name, numbers[i].name))
			return *numbers[i].to = value, true;
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
		if (!strcmp(name, counts[i].name))
			return *counts[i].to = value, true;
	for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); i++)
		if (!strcmp(name, switches[i].name))
			return *switches[i].to = value, true;
	return false;
}

static bool set_option(const char *argument)
{
	const char *equals = strchr(argument, '=');
	char name[32];

	if (!equals || equals - argument >= (long)sizeof(name))
		return false;
	memcpy(name, argument, equals - argument);
	name[equals - argument] = '\0';
	if (!strcmp(name, "out")) {
		model.out = strdup(equals + 1);
		return true;
	}
	if (!strcmp(name, "count")) {
		if (model.counted == MAX_COUNTED)
			return false;
		model.count[model.counted++] = strtoull(equals + 1, NULL, 16);
		return true;
	}
	return set_number(name, strtoull(equals + 1, NULL, 10));
}

PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
				      char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!set_option(argv[i])) {
			fprintf(stderr, "simulated: unknown option %s\n", argv[i]);
			return 1;
		}
	vcpu_count = info->system.smp_vcpus;
	if (vcpu_count > MAX_VCPUS) {
		fprintf(stderr, "simulated: %u vCPUs, at most %u\n", vcpu_count, MAX_VCPUS);
		return 1;
	}
	scores = qemu_plugin_scoreboard_new(sizeof(struct score));
	count_entry = (qemu_plugin_u64){ scores, offsetof(struct score, count) };
	opaque_entry = (qemu_plugin_u64){ scores, offsetof(struct score, opaque) };
	coherence_init();
	profile_init();
	schedule_init();
	trap_time_stamps();
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_vcpu_init_cb(id, vcpu_started);
	qemu_plugin_register_vcpu_idle_cb(id, vcpu_idles);
	qemu_plugin_register_vcpu_resume_cb(id, vcpu_resumes);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
