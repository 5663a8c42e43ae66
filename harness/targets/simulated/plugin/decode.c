/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decodes what the simulator needs of x86-64 instructions: PAUSE, atomics, string instructions, and
 * which memory accesses are private to a CPU (its stack, its per-CPU data) and need not be tracked.
 * For 16- and 32-bit code of the firmware the result may be wrong, which changes nothing but costs
 * before the kernel runs.
 */
#include "decode.h"

/* Bits of the REX prefix; REX_X and REX_B are the fourth bits of register numbers. */
#define REX_W 8 /* 64-bit operand */
#define REX_X 2 /* of the index */
#define REX_B 1 /* of the base, or the operand */

struct prefixes {
	bool lock, rep, repne, segment_fs, segment_gs, short_address, short_operand;
	uint8_t rex;
	size_t length;
};

static struct prefixes prefixes_of(const uint8_t *bytes, size_t length)
{
	struct prefixes found = { 0 };

	for (; found.length < length; found.length++) {
		uint8_t byte = bytes[found.length];

		if (byte == 0xf0)
			found.lock = true;
		else if (byte == 0xf3)
			found.rep = true;
		else if (byte == 0xf2)
			found.repne = true;
		else if (byte == 0x65)
			found.segment_gs = true;
		else if ((byte & 0xf0) == 0x40) /* REX: always the last one */
			found.rex = byte;
		else if (byte == 0x64)
			found.segment_fs = true;
		else if (byte == 0x67)
			found.short_address = true;
		else if (byte == 0x66)
			found.short_operand = true;
		else if (byte != 0x2e && byte != 0x36 && byte != 0x3e &&
			 byte != 0x26)
			break;
	}
	return found;
}

/* Whether a one-byte opcode is followed by a ModRM byte. */
static bool one_byte_modrm(uint8_t opcode)
{
	if (opcode < 0x40)
		return (opcode & 7) < 4;
	return opcode == 0x63 || opcode == 0x69 || opcode == 0x6b ||
	       (opcode >= 0x80 && opcode <= 0x8f) || opcode == 0xc0 || opcode == 0xc1 ||
	       opcode == 0xc6 || opcode == 0xc7 || (opcode >= 0xd0 && opcode <= 0xdf) ||
	       opcode == 0xf6 || opcode == 0xf7 || opcode == 0xfe || opcode == 0xff;
}

/* push, pop, call, ret, leave, pushf, popf, enter: they touch the stack and nothing else */
static bool stack_only(uint8_t opcode)
{
	return (opcode >= 0x50 && opcode <= 0x5f) || opcode == 0x68 || opcode == 0x6a ||
	       opcode == 0x9c || opcode == 0x9d || opcode == 0xc2 || opcode == 0xc3 ||
	       opcode == 0xc8 || opcode == 0xc9 || opcode == 0xe8;
}

/* Instructions whose result may differ although registers and memory are the same. */
static bool has_other_inputs(uint8_t opcode, bool two_byte)
{
	if (two_byte) /* sysret/syscall, rdtsc, rdmsr, rdpmc, cpuid, rdrand, monitor/rdtscp */
		return opcode == 0x01 || opcode == 0x05 || (opcode >= 0x30 && opcode <= 0x35) ||
		       opcode == 0xa2 || opcode == 0xc7;
	return (opcode >= 0xe4 && opcode <= 0xe7) || (opcode >= 0xec && opcode <= 0xef) ||
	       (opcode >= 0x6c && opcode <= 0x6f) || opcode == 0xf4 || opcode == 0xcc ||
	       opcode == 0xcd || opcode == 0xcf;
}

static bool string_operation(uint8_t opcode)
{
	return (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf);
}

/* Bytes of an element of REP STOS or REP MOVS; 0 for another instruction. */
static uint8_t repeated_element(struct prefixes prefix, uint8_t opcode)
{
	bool moves = opcode == 0xa4 || opcode == 0xa5, stores = opcode == 0xaa || opcode == 0xab;

	if (!prefix.rep || prefix.short_address || !(moves || stores))
		return 0;
	if (!(opcode & 1))
		return 1;
	return prefix.rex & REX_W ? 8 : prefix.short_operand ? 2 : 4;
}

struct decoded decode(const uint8_t *bytes, size_t length)
{
	struct decoded result = { .tracked = true };
	struct prefixes prefix = prefixes_of(bytes, length);
	size_t at = prefix.length;
	bool two_byte = false, modrm, based_on_stack = false, memory = false;
	uint8_t opcode;

	if (at >= length)
		return result;
	opcode = bytes[at++];
	if (opcode == 0x0f && at < length) {
		two_byte = true;
		opcode = bytes[at++];
		if ((opcode == 0x38 || opcode == 0x3a) && at < length)
			at++;
	}
	modrm = two_byte ? !(opcode >= 0x80 && opcode <= 0x8f) : one_byte_modrm(opcode);
	if (modrm && at < length) {
		uint8_t mode = bytes[at] >> 6, rm = bytes[at] & 7;

		memory = mode != 3;
		if (memory && rm == 4 && at + 1 < length)
			based_on_stack = (bytes[at + 1] & 7) == 4 && !(prefix.rex & REX_B);
	}
	result.pause = !two_byte && opcode == 0x90 && prefix.rep;
	/* xchg %rdx,%rdx: does nothing, and no compiler emits it */
	result.mark = length == 3 && bytes[0] == 0x48 && bytes[1] == 0x87 && bytes[2] == 0xd2;
	result.atomic = prefix.lock || (!two_byte && memory && (opcode == 0x86 || opcode == 0x87));
	result.byte_store = !two_byte && memory && (opcode == 0xc6 || opcode == 0x88);
	result.string = !two_byte && string_operation(opcode);
	result.repeated = two_byte ? 0 : repeated_element(prefix, opcode);
	if (prefix.segment_gs || based_on_stack || (!two_byte && stack_only(opcode)))
		result.tracked = false;
	/*
	 * A private access that may be a store makes an iteration of a loop differ from the one
	 * before. Loads of private memory are harmless, since only its owner can change it. The
	 * list below has the instructions with a memory operand that only load it.
	 */
	if (!result.tracked) {
		bool loads = two_byte ? (opcode == 0xb6 || opcode == 0xb7 || opcode == 0xbe ||
					 opcode == 0xbf || (opcode >= 0x40 && opcode <= 0x4f) ||
					 opcode == 0xaf || opcode == 0xa3 || opcode == 0x1f)
				      : (opcode == 0x8b || opcode == 0x8a || opcode == 0x63 ||
					 opcode == 0x84 || opcode == 0x85 || opcode == 0x8d ||
					 (opcode < 0x40 && (opcode & 2)) ||
					 (opcode >= 0x38 && opcode <= 0x3b) ||
					 (opcode == 0xf6 || opcode == 0xf7) ||
					 ((opcode == 0x80 || opcode == 0x81 || opcode == 0x83) &&
					  at < length && ((bytes[at] >> 3) & 7) == 7) ||
					 (opcode >= 0x58 && opcode <= 0x5f) || opcode == 0xc3);
		/* f6/f7 also hold NOT and NEG, which store: only TEST (/0, /1) loads */
		if ((opcode == 0xf6 || opcode == 0xf7) && !two_byte && at < length)
			loads = ((bytes[at] >> 3) & 7) < 2;
		result.opaque = !loads;
	}
	if (has_other_inputs(opcode, two_byte) || result.string)
		result.opaque = true;
	return result;
}

static int32_t displacement(const uint8_t *bytes)
{
	return (int32_t)(bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24);
}

/*
 * The memory operand of an instruction with a ModRM byte (AMD64 Architecture Programmer's Manual,
 * volume 3, 1.4 and 1.7). Used for atomics, whose line must be known before they are executed.
 */
struct operand operand_of(const uint8_t *bytes, size_t length, uint64_t pc)
{
	/* QEMU lists rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8 ... r15. */
	static const int8_t listed[16] = { 0, 2, 3, 1, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15 };
	struct operand operand = { .pc = pc, .base = -1, .index = -1, .scale = 1 };
	const struct prefixes prefix = prefixes_of(bytes, length);
	size_t at = prefix.length;
	unsigned mode, base, index;
	bool no_base = false;

	if (prefix.segment_fs || prefix.segment_gs || prefix.short_address || at + 2 > length)
		return operand;
	if (bytes[at++] == 0x0f)
		at++;
	if (at + 1 > length)
		return operand;
	mode = bytes[at] >> 6;
	base = bytes[at++] & 7;
	if (mode == 3) /* a register */
		return operand;
	if (base == 4) {
		if (at + 1 > length)
			return operand;
		operand.scale = 1 << (bytes[at] >> 6);
		index = (bytes[at] >> 3 & 7) | (prefix.rex & REX_X ? 8 : 0);
		if (index != 4)
			operand.index = listed[index];
		base = bytes[at++] & 7;
		no_base = !mode && base == 5;
	} else if (!mode && base == 5) {
		no_base = true;
		operand.offset = pc + length; /* relative to the next instruction */
	}
	if (!no_base)
		operand.base = listed[base | (prefix.rex & REX_B ? 8 : 0)];
	if (at + (mode == 1 ? 1 : mode == 2 || no_base ? 4 : 0) > length)
		return operand;
	if (mode == 1)
		operand.offset += (int8_t)bytes[at];
	else if (mode == 2 || no_base)
		operand.offset += displacement(bytes + at);
	operand.known = true;
	return operand;
}

/* What a repeated string instruction writes: %rcx elements at %rdi. */
struct operand destination_of(uint8_t element, uint64_t pc)
{
	return (struct operand){ .pc = pc, .base = RDI, .index = RCX, .scale = element };
}
