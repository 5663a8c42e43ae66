/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DECODE_H
#define DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Places in QEMU's list of x86-64 registers, which begins with rax, rbx, rcx, rdx. */
enum { RCX = 2, RDI = 5, RSP = 7 };

/* The address of an instruction's memory operand: offset + base + index * scale. */
struct operand {
	uint64_t pc, offset;
	int8_t base, index; /* places in QEMU's list of registers; -1: none */
	uint8_t scale;
	bool known;         /* false: an addressing mode that operand_of() does not support */
};

struct decoded {
	bool pause, mark, atomic, string, tracked, opaque, byte_store;
	uint8_t repeated; /* bytes of an element of REP STOS or REP MOVS; 0: another instruction */
};
struct decoded decode(const uint8_t *bytes, size_t length);
struct operand operand_of(const uint8_t *bytes, size_t length, uint64_t pc);
struct operand destination_of(uint8_t element, uint64_t pc);

#endif
