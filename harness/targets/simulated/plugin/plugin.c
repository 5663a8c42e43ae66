/* SPDX-License-Identifier: GPL-2.0-only */
/* Instrumentation of generated code, and the plugin's entry point. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

PLUGIN_EXPORT int qemu_plugin_version = PLUGIN_API_VERSION;

/* Call before_atomic(). Its operand is never freed, since QEMU never frees the code. */
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

/* Call before_string(), for the kernel only: the firmware is not 64-bit code. */
static bool announce_string(struct qemu_plugin_insn *insn, uint8_t element, uint64_t pc)
{
	struct operand *kept;

	if (!element || !model.charge_strings || pc < KERNEL_HALF)
		return false;
	kept = malloc(sizeof(*kept));
	if (!kept)
		abort();
	*kept = destination_of(element, pc);
	qemu_plugin_register_vcpu_insn_exec_cb(insn, before_string, PLUGIN_CB_R_REGS, kept);
	return true;
}

/* Instrument calls of functions that take a lock, returns from them, and possible releases. */
static void instrument_locks(struct qemu_plugin_insn *insn, const uint8_t *bytes, size_t length,
			     bool byte_store)
{
	uint64_t pc = qemu_plugin_insn_vaddr(insn);

	takes_lock(bytes, length, pc);
	if (returns_with_lock(pc))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_lock_return, PLUGIN_CB_NO_REGS,
						       (void *)pc);
	if (is_lock_function(pc))
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_lock_function, PLUGIN_CB_R_REGS,
						       (void *)pc);
	if (byte_store)
		qemu_plugin_register_vcpu_mem_cb(insn, on_byte_store, PLUGIN_CB_NO_REGS,
						 PLUGIN_MEM_W, (void *)pc);
}

/* Instrument an instruction, and return its cost in ticks. */
static uint64_t instrument(struct qemu_plugin_insn *insn, bool *opaque)
{
	uint8_t bytes[16];
	size_t length = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
	struct decoded what = decode(bytes, length);
	void *pc = (void *)qemu_plugin_insn_vaddr(insn);

	*opaque |= what.opaque;
	if (model.locks)
		instrument_locks(insn, bytes, length, what.byte_store);
	for (unsigned i = 0; i < model.counted; i++)
		if (model.count[i] == (uint64_t)pc)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_counted, PLUGIN_CB_NO_REGS,
							       (void *)(uintptr_t)i);
	if (model.sites) {
		int site = site_at((uint64_t)pc, bytes, length);

		if (site >= 0)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_site, PLUGIN_CB_R_REGS,
							       (void *)(uintptr_t)site);
	}
	if (what.mark)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, PLUGIN_CB_NO_REGS, pc);
	if (what.pause) {
		if (model.skip_spins)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_pause, PLUGIN_CB_R_REGS,
							       pc);
		return model.pause;
	}
	if (what.string) {
		if (!announce_string(insn, what.repeated, (uint64_t)pc))
			qemu_plugin_register_vcpu_mem_cb(insn, on_string, PLUGIN_CB_NO_REGS,
							 PLUGIN_MEM_W, pc);
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
	/* The check comes before the cost, so a slice never ends inside its last block. */
	qemu_plugin_register_vcpu_tb_exec_cond_cb(tb,
						  model.locks ? slice_over_with_stack : slice_over,
						  model.locks ? PLUGIN_CB_R_REGS : PLUGIN_CB_NO_REGS,
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
	score_init();
	coherence_init();
	profile_init();
	locks_init();
	stacks_init();
	sampling_init();
	schedule_init();
	trap_time_stamps();
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_vcpu_init_cb(id, vcpu_started);
	qemu_plugin_register_vcpu_idle_cb(id, vcpu_idles);
	qemu_plugin_register_vcpu_resume_cb(id, vcpu_resumes);
	qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
	return 0;
}
