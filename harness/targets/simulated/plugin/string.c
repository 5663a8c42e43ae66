/* SPDX-License-Identifier: GPL-2.0-only */
/* Cost of string instructions, which copy or clear memory: by the byte. */
#include "sim.h"

/* QEMU reports each element of MOVS, STOS ...; hardware moves many bytes per cycle. */
void on_string(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *pc)
{
	uint64_t size = UINT64_C(1) << qemu_plugin_mem_size_shift(info);

	if (vcpus[vcpu].score)
		vcpus[vcpu].score->count += size * model.rep_byte;
	if ((address & 63) < size)
		on_store(vcpu, info, address, pc);
}

/*
 * REP MOVS and REP STOS are charged as a whole before they begin, line by line, since a callback
 * for each element of a cleared page takes longer on the host than the rest of a small allocation.
 * If QEMU interrupts one and resumes it, the remainder has been charged already.
 */
void before_string(unsigned int vcpu, void *userdata)
{
	const struct operand *operand = userdata;
	struct vcpu *v = &vcpus[vcpu];
	uint64_t left, address, end, next;

	if (!v->score)
		return;
	left = register_at(v, operand->index) * operand->scale;
	address = register_at(v, operand->base);
	end = address + left;
	if (v->string.pc != operand->pc || v->string.end != end || v->string.left <= left)
		for (; address < end; address = next) {
			next = (address & ~UINT64_C(63)) + 64;
			if (next > end)
				next = end;
			v->score->count += (next - address) * model.rep_byte;
			on_store(vcpu, 0, address, (void *)operand->pc);
		}
	v->string.pc = operand->pc;
	v->string.end = end;
	v->string.left = left;
}
