/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's registers and memory, as seen by the vCPU whose callback runs. */
#include "sim.h"

#include <string.h>

/* A 64-bit register of `v`, by its place in QEMU's list (see decode.h). */
uint64_t register_at(struct vcpu *v, int place)
{
	static __thread GByteArray *bytes;
	const qemu_plugin_reg_descriptor *registers;
	uint64_t value = 0;

	if (!bytes)
		bytes = g_byte_array_new();
	if (!v->register_list)
		v->register_list = qemu_plugin_get_registers();
	registers = (const qemu_plugin_reg_descriptor *)v->register_list->data;
	g_byte_array_set_size(bytes, 0);
	if (qemu_plugin_read_register(registers[place].handle, bytes) >= 8)
		memcpy(&value, bytes->data, 8);
	return value;
}

/* The memory operand's address, for the instruction that is about to be executed. */
uint64_t address_of(struct vcpu *v, const struct operand *operand)
{
	uint64_t address = operand->offset;

	if (operand->base >= 0)
		address += register_at(v, operand->base);
	if (operand->index >= 0)
		address += register_at(v, operand->index) * operand->scale;
	return address;
}

/*
 * Read `length` bytes of memory at a virtual address; NULL if they are not mapped. The result is
 * valid until this thread calls with the same `buffer`, which is allocated at first use.
 */
const uint8_t *read_guest(uint64_t address, size_t length, GByteArray **buffer)
{
	if (!*buffer)
		*buffer = g_byte_array_new();
	if (!qemu_plugin_read_memory_vaddr(address, *buffer, length) || (*buffer)->len != length)
		return NULL;
	return (*buffer)->data;
}

/* The 64-bit word at a virtual address; 0 if it is not mapped. */
uint64_t word_at(uint64_t address)
{
	static __thread GByteArray *buffer;
	const uint8_t *bytes = read_guest(address, 8, &buffer);
	uint64_t word = 0;

	if (bytes)
		memcpy(&word, bytes, 8);
	return word;
}
