/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DECODE_H
#define DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an instruction's operand in memory is: offset + base + index * scale. */
struct operand {
	uint64_t pc, offset;
	int8_t base, index; /* places in QEMU's list of registers; -1: none */
	uint8_t scale;
	bool known;         /* false: addressed in a way that operand_of() does not know */
};

struct decoded {
	bool pause, mark, atomic, string, tracked, opaque, byte_store;
	uint8_t repeated; /* bytes of an element of REP STOS or REP MOVS; 0: it is neither */
};
struct decoded decode(const uint8_t *bytes, size_t length);
struct operand operand_of(const uint8_t *bytes, size_t length, uint64_t pc);
struct operand destination_of(uint8_t element, uint64_t pc);

#endif
