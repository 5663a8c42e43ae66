/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Firmware that is a load for the simulated machine. It starts all CPUs, lets each execute one body
 * between two reads of the time stamp counter (virtual cycles), writes the stamps to port 0xe9, 16
 * bytes for each CPU (start, end), and ends QEMU through port 0xf4.
 *
 * BODY_LOOP     N iterations of two instructions
 * BODY_LOCK     TURNS times: N iterations of two instructions under a ticket lock
 * BODY_COUNTERS TURNS times: three times N iterations of two instructions and an update of one line
 * BODY_MEMORY   TURNS times: a load of each of N lines, four instructions per line
 * BODY_RING     TURNS times: wait until the word is my number, set it to the next CPU's
 */
#define RAM_COUNT  0x8000 /* CPUs that are up */
#define RAM_GO     0x8040
#define RAM_DONE   0x8080
#define RAM_NEXT   0x80c0 /* ticket lock: next ticket, ticket of the owner */
#define RAM_OWNER  0x8100
#define RAM_WORD   0x8140
#define RAM_STAMPS 0x10000
#define RAM_STACKS 0x40000
#define RAM_CPUS   0x8180
#define RAM_LINES  0x200000
#define APIC       0xfee00000

	.section .text
	.code16
entry:	cli /* offset 0: where SIPI vector 0xf0 and the reset vector lead */
	lgdtl %cs:(gdt_pointer - entry)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $8, $protected

	.code32
protected:
	movw $16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $1, %eax
	cpuid
	shrl $24, %ebx /* my number, kept in %ebx */
	movl %ebx, %esp
	shll $10, %esp
	addl $(RAM_STACKS + 1024), %esp
	orl $0x100, APIC + 0xf0 /* enable the local APIC */
	movl $0x1b, %ecx
	rdmsr
	testl $0x100, %eax
	jz other

	/* The first CPU: how many are we? (fw_cfg, FW_CFG_NB_CPUS) */
	movw $0x510, %dx
	movw $5, %ax
	outw %ax, %dx
	movw $0x511, %dx
	xorl %eax, %eax
	inb %dx, %al
	movl %eax, %edi
	inb %dx, %al
	shll $8, %eax
	orl %eax, %edi
	movl %edi, RAM_CPUS
	movl $0x000c4500, APIC + 0x300 /* INIT to all others */
	movl $0x000c46f0, APIC + 0x300 /* start at 0xf0000 */
1:	movl RAM_COUNT, %eax
	addl $1, %eax
	cmpl RAM_CPUS, %eax
	je 2f
	pause
	jmp 1b
2:	movl $1, RAM_GO
	jmp body

other:	lock addl $1, RAM_COUNT
1:	cmpl $0, RAM_GO
	jne body
	pause
	jmp 1b

body:	movl %ebx, %edi
	shll $4, %edi
	addl $RAM_STAMPS, %edi
	rdtsc
	movl %eax, (%edi)
	movl %edx, 4(%edi)

#if defined(BODY_LOOP)
	movl $N, %ecx
1:	subl $1, %ecx
	jnz 1b
#elif defined(BODY_LOCK)
	movl $TURNS, %esi
1:	movl $1, %eax
	lock xaddl %eax, RAM_NEXT
2:	cmpl %eax, RAM_OWNER
	je 3f
	pause
	jmp 2b
3:	movl $N, %ecx
4:	subl $1, %ecx
	jnz 4b
	addl $1, RAM_OWNER
	subl $1, %esi
	jnz 1b
#elif defined(BODY_COUNTERS)
	movl $TURNS, %esi
	movl $RAM_NEXT, %edx /* not a displacement, which is another address in 64-bit code */
1:	movl $3, %ebp
2:	movl $N, %ecx
3:	subl $1, %ecx
	jnz 3b
	movl $1, %eax
	lock xaddl %eax, (%edx)
	subl $1, %ebp
	jnz 2b
	subl $1, %esi
	jnz 1b
#elif defined(BODY_MEMORY)
	movl $TURNS, %esi
1:	movl $RAM_LINES, %edx
	movl $N, %ecx
2:	movl (%edx), %eax
	addl $64, %edx
	subl $1, %ecx
	jnz 2b
	subl $1, %esi
	jnz 1b
#elif defined(BODY_RING)
	movl $TURNS, %esi
1:	cmpl %ebx, RAM_WORD
	je 2f
	pause
	jmp 1b
2:	leal 1(%ebx), %eax
	cmpl RAM_CPUS, %eax
	jne 3f
	xorl %eax, %eax
3:	movl %eax, RAM_WORD
	subl $1, %esi
	jnz 1b
#endif

	rdtsc
	movl %eax, 8(%edi)
	movl %edx, 12(%edi)
	lock addl $1, RAM_DONE
	testl %ebx, %ebx
	jnz sleep
1:	movl RAM_DONE, %eax
	cmpl RAM_CPUS, %eax
	je 2f
	pause
	jmp 1b
2:	movl RAM_CPUS, %ecx
	shll $4, %ecx
	movl $RAM_STAMPS, %esi
3:	movb (%esi), %al
	outb %al, $0xe9
	addl $1, %esi
	subl $1, %ecx
	jnz 3b
	movb $0x10, %al
	outb %al, $0xf4
sleep:	hlt
	jmp sleep

	.balign 8
gdt:	.quad 0
	.quad 0x00cf9a000000ffff
	.quad 0x00cf92000000ffff
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt

	.code16
	.org 0xfff0
	jmp entry
	.org 0x10000
