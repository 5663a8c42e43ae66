"""The kernel-log conditions that this project knows, one row each. Data only; see `verdicts`.

A row is found where its `start` stands in a line and `rest`, a pattern, matches right behind it. A
start begins with a letter, and is not looked for inside a word. `sample` is a line as the kernel prints it (kernel/, mm/, lib/, arch/x86/ of Linux
6.1 and 6.12); the tests hold every row to its sample. Of rows with the same start the first that
matches counts, so the general one stands last.
"""

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """What a condition means for the boot that shows it."""

    CRASH = "crash"  # the kernel, or the thread that was in it, is dead
    SPLAT = "splat"  # it went on, but its times cannot be trusted
    NOTE = "note"  # worth recording; says nothing against the measurement


class Condition(NamedTuple):
    """One row. `weak`: a mere frame ("cut here") that gives way to the line inside it.

    A report that has `excuse` (a pattern) in it is a note only.
    """

    name: str
    severity: Severity
    start: str
    rest: str
    sample: str
    weak: bool = False
    excuse: str = ""


_C, _S, _N = Severity.CRASH, Severity.SPLAT, Severity.NOTE
# These cases allocate what cannot be had, on purpose (lib/test_vmalloc.c), and the kernel says so.
_MEANT_TO_FAIL = r"\b(?:align_shift|no_block)_alloc_test\+0x"
_BUG, _WARNING, _PANIC, _OOPS = "BUG: ", "WARNING: ", "Kernel panic - not syncing", "Oops: "

# One row, one line.
# fmt: off
CONDITIONS: tuple[Condition, ...] = tuple(
    Condition(*row)
    for row in (
        # The end of the kernel
        ("panic: init died", _C, _PANIC, r": Attempted to kill init!", "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b"),
        ("panic: no init", _C, _PANIC, r": (?:No working init found|Requested init)", "Kernel panic - not syncing: No working init found.  Try passing init= option to kernel."),
        ("panic: no root", _C, _PANIC, r": VFS: Unable to mount root fs", "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"),
        ("panic: out of memory", _C, _PANIC, r": (?:Out of memory|System is deadlocked on memory)", "Kernel panic - not syncing: System is deadlocked on memory"),
        ("panic: stack corrupted", _C, _PANIC, r": stack-protector: ", "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: start_kernel+0x5a2/0x5b0"),
        ("panic: in interrupt", _C, _PANIC, r": (?:Fatal exception in interrupt|Aiee, killing interrupt handler)", "Kernel panic - not syncing: Fatal exception in interrupt"),
        ("panic: fatal exception", _C, _PANIC, r": Fatal exception", "Kernel panic - not syncing: Fatal exception"),
        ("panic: hung task", _C, _PANIC, r": hung_task: ", "Kernel panic - not syncing: hung_task: blocked tasks"),
        ("panic: lockup", _C, _PANIC, r": (?:softlockup: hung tasks|Hard LOCKUP|Watchdog detected hard LOCKUP)", "Kernel panic - not syncing: softlockup: hung tasks"),
        ("panic: RCU stall", _C, _PANIC, r": RCU Stall", "Kernel panic - not syncing: RCU Stall"),
        ("panic: on warning", _C, _PANIC, r": \w+: (?:panic_on_warn set|system warned too often)", "Kernel panic - not syncing: kernel: panic_on_warn set ..."),
        ("panic: machine check", _C, _PANIC, r": (?:Fatal [Mm]achine [Cc]heck|Timeout: Not all CPUs entered|Machine check)", "Kernel panic - not syncing: Fatal machine check"),
        ("panic: by hand", _C, _PANIC, r": sysrq triggered crash", "Kernel panic - not syncing: sysrq triggered crash"),
        ("panic: timer", _C, _PANIC, r": IO-APIC \+ timer doesn't work", "Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report."),
        ("panic", _C, _PANIC, r"", "Kernel panic - not syncing: audit: out of memory"),
        ("fatal exception: double fault", _C, "PANIC: double fault", r"", "PANIC: double fault, error_code: 0x0"),
        ("early exception", _C, "PANIC: early exception", r"", "PANIC: early exception 0x0d IP 10:ffffffff8a0b5f43 error 0 cr2 0xffff888004a02ff8"),
        ("kernel stack overflow", _C, "kernel stack overflow", r" \(", "kernel stack overflow (double-fault): 0000 [#1] SMP"),
        # Faults
        ("NULL pointer dereference", _C, _BUG, r"(?:kernel |unable to handle kernel )NULL pointer dereference", "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
        ("page fault in the kernel", _C, _BUG, r"unable to handle (?:page fault|kernel paging request)", "BUG: unable to handle page fault for address: ffffc90000a31000"),
        ("fault without a handler", _C, _BUG, r"unable to handle ", "BUG: unable to handle kernel access to user memory at 0000000000401000"),
        ("page fault, other architectures", _C, "Unable to handle kernel ", r"", "Unable to handle kernel paging request at virtual address dead000000000108"),
        ("stack guard page hit", _C, _BUG, r"\S+ stack guard page was hit", "BUG: TASK stack guard page was hit at ffffc9000045fff8 (stack is ffffc90000460000..ffffc90000463fff)"),
        ("invalid FRED event", _C, _BUG, r"invalid or fatal FRED event", "BUG: invalid or fatal FRED event; event type 3 vector 14 error 0x0 aux 0x0 at ip ffffffff81000000"),
        ("kernel BUG", _C, "kernel BUG at ", r"\S", "kernel BUG at mm/vmalloc.c:1740!"),
        ("kernel BUG without a place", _C, "Kernel BUG at ", r"\S", "Kernel BUG at ffffffff812d1e03 [verbose debug info unavailable]"),
        ("general protection fault", _C, "general protection fault", r"(?:, maybe|, probably|:| \S+ address)", "general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] PREEMPT SMP"),
        ("oops: general protection fault", _C, _OOPS, r"general protection fault", "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP"),
        ("oops: invalid opcode", _C, _OOPS, r"invalid opcode", "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI"),
        ("oops: stack segment", _C, _OOPS, r"stack segment", "Oops: stack segment: 0000 [#1] PREEMPT SMP"),
        ("oops: divide error", _C, _OOPS, r"divide error", "Oops: divide error: 0000 [#1] PREEMPT SMP"),
        ("oops", _C, _OOPS, r"[\w ,-]{0,80}:? ?[0-9a-f]{4,16} \[#\d+\]", "Oops: 0002 [#1] PREEMPT SMP NOPTI"),
        ("oops, other architectures", _C, "Internal error: ", r"[^\n]{0,80}\[#\d+\]", "Internal error: Oops: 0000000096000004 [#1] SMP"),
        ("invalid opcode", _C, "invalid opcode: ", r"[0-9a-f]{4}", "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI"),
        ("stack segment fault", _C, "stack segment: ", r"[0-9a-f]{4}", "stack segment: 0000 [#1] PREEMPT SMP"),
        ("segment not present", _C, "segment not present: ", r"[0-9a-f]{4}", "segment not present: 0000 [#1] PREEMPT SMP"),
        ("divide error", _C, "divide error: ", r"[0-9a-f]{4}", "divide error: 0000 [#1] PREEMPT SMP"),
        ("double fault", _C, "double fault: ", r"[0-9a-f]{4}", "double fault: 0000 [#1] PREEMPT SMP"),
        ("control protection fault", _C, "Missing ENDBR: ", r"\S", "Missing ENDBR: test_func+0x0/0x1e0 [test_vmalloc]"),
        ("CFI failure", _C, "CFI failure at ", r"\S", "CFI failure at do_init_module+0x60/0x210 (target: init_module+0x0/0x10; expected type: 0x12345678)"),
        ("kernel stack regs bad", _S, "WARNING: kernel stack ", r"(?:regs|frame pointer) at", "WARNING: kernel stack regs at (____ptrval____) in swapper/0:1 has bad 'bp' value (____ptrval____)"),
        ("NX-protected page executed", _C, "kernel tried to execute NX-protected page", r"", "kernel tried to execute NX-protected page - exploit attempt? (uid: 0)"),
        ("usercopy", _C, "usercopy: Kernel memory ", r"(?:exposure|overwrite) attempt", "usercopy: Kernel memory exposure attempt detected from vmalloc (offset 0, size 8192)!"),
        ("FORTIFY overflow", _C, "detected buffer overflow in ", r"\w", "detected buffer overflow in strncpy"),
        ("memory overflow in memcpy", _S, "memcpy: detected field-spanning write", r"", 'memcpy: detected field-spanning write (size 40) of single field "&x->y" at net/core/dev.c:12 (size 4)'),
        # Sanitizers
        ("KASAN: vmalloc out of bounds", _S, _BUG, r"KASAN: vmalloc-out-of-bounds", "BUG: KASAN: vmalloc-out-of-bounds in full_fit_alloc_test+0x13c/0x260 [test_vmalloc]"),
        ("KASAN: slab out of bounds", _S, _BUG, r"KASAN: slab-out-of-bounds", "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xa8/0xbc [test_kasan]"),
        ("KASAN: stack out of bounds", _S, _BUG, r"KASAN: stack-out-of-bounds", "BUG: KASAN: stack-out-of-bounds in unwind_next_frame+0x6f1/0x7d0"),
        ("KASAN: global out of bounds", _S, _BUG, r"KASAN: global-out-of-bounds", "BUG: KASAN: global-out-of-bounds in strcmp+0x91/0xa0"),
        ("KASAN: alloca out of bounds", _S, _BUG, r"KASAN: alloca-out-of-bounds", "BUG: KASAN: alloca-out-of-bounds in kasan_alloca_oob_left+0x8c/0xe0"),
        ("KASAN: out of bounds", _S, _BUG, r"KASAN: out-of-bounds", "BUG: KASAN: out-of-bounds in kmem_cache_alloc+0x12/0x340"),
        ("KASAN: use after free", _S, _BUG, r"KASAN: (?:slab-)?use-after-free", "BUG: KASAN: slab-use-after-free in __purge_vmap_area_lazy+0x5a1/0x6f0"),
        ("KASAN: use after scope", _S, _BUG, r"KASAN: use-after-scope", "BUG: KASAN: use-after-scope in test_func+0x8e/0x1e0"),
        ("KASAN: double free", _S, _BUG, r"KASAN: double-free", "BUG: KASAN: double-free in kfree+0xd5/0x2d0"),
        ("KASAN: invalid free", _S, _BUG, r"KASAN: (?:invalid-free|double-free or invalid-free)", "BUG: KASAN: invalid-free in kfree+0x7d/0x2b0"),
        ("KASAN: invalid access", _S, _BUG, r"KASAN: invalid-access", "BUG: KASAN: invalid-access in kmalloc_uaf+0x4c/0x90"),
        ("KASAN: NULL pointer", _S, _BUG, r"KASAN: null-ptr-deref", "BUG: KASAN: null-ptr-deref in vfree+0x2d/0x1e0"),
        ("KASAN: user memory", _S, _BUG, r"KASAN: user-memory-access", "BUG: KASAN: user-memory-access in copyin+0x2a/0x40"),
        ("KASAN: wild access", _S, _BUG, r"KASAN: wild-memory-access", "BUG: KASAN: wild-memory-access in vunmap_range_noflush+0x1d0/0x2a0"),
        ("KASAN: unknown crash", _S, _BUG, r"KASAN: unknown-crash", "BUG: KASAN: unknown-crash in number+0x21/0x4f0"),
        ("KASAN", _S, _BUG, r"KASAN: ", "BUG: KASAN: maybe-a-new-kind in test_func+0x1/0x2"),
        ("KASAN: bad address range", _C, "KASAN: ", r"(?:null-ptr-deref|\w+ (?:user|wild)-memory-access) in range", "KASAN: null-ptr-deref in range [0x0000000000000008-0x000000000000000f]"),
        ("KCSAN: data race", _S, _BUG, r"KCSAN: data-race", "BUG: KCSAN: data-race in alloc_vmap_area / purge_vmap_node"),
        ("KCSAN: assertion", _S, _BUG, r"KCSAN: assert: race", "BUG: KCSAN: assert: race in test_func / test_func"),
        ("KCSAN", _S, _BUG, r"KCSAN: ", "BUG: KCSAN: new-kind in test_func / test_func"),
        ("KFENCE: out of bounds", _S, _BUG, r"KFENCE: out-of-bounds", "BUG: KFENCE: out-of-bounds read in test_out_of_bounds_read+0xa6/0x234"),
        ("KFENCE: use after free", _S, _BUG, r"KFENCE: use-after-free", "BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143"),
        ("KFENCE: memory corruption", _S, _BUG, r"KFENCE: memory corruption", "BUG: KFENCE: memory corruption in test_corruption+0xf5/0x18b"),
        ("KFENCE: invalid access", _S, _BUG, r"KFENCE: invalid (?:read|write)", "BUG: KFENCE: invalid read in test_invalid_access+0x41/0x7c"),
        ("KFENCE: invalid free", _S, _BUG, r"KFENCE: invalid free", "BUG: KFENCE: invalid free in test_double_free+0xdc/0x171"),
        ("KFENCE", _S, _BUG, r"KFENCE: ", "BUG: KFENCE: invalid something in test_func+0x1/0x2"),
        ("KMSAN: uninitialised value", _S, _BUG, r"KMSAN: uninit-value", "BUG: KMSAN: uninit-value in long_busy_list_alloc_test+0x1be/0x380"),
        ("KMSAN: leak to user space", _S, _BUG, r"KMSAN: kernel-infoleak", "BUG: KMSAN: kernel-infoleak in instrument_copy_to_user+0x1a/0x30"),
        ("KMSAN", _S, _BUG, r"KMSAN: ", "BUG: KMSAN: use-after-free in test_func+0x1/0x2"),
        ("UBSAN: shift out of bounds", _S, "UBSAN: ", r"(?:shift-out-of-bounds|Undefined behaviour) in ", "UBSAN: shift-out-of-bounds in mm/vmalloc.c:2031:14"),
        ("UBSAN: index out of bounds", _S, "UBSAN: ", r"array-index-out-of-bounds in ", "UBSAN: array-index-out-of-bounds in lib/test_vmalloc.c:431:9"),
        ("UBSAN: division", _S, "UBSAN: ", r"div(?:ision|rem)-overflow in ", "UBSAN: divrem-overflow in kernel/fork.c:2:3"),
        ("UBSAN: overflow", _S, "UBSAN: ", r"(?:\w+-)*overflow in ", "UBSAN: signed-integer-overflow in kernel/time/ntp.c:738:18"),
        ("UBSAN: invalid load", _S, "UBSAN: ", r"invalid-load in ", "UBSAN: invalid-load in kernel/sched/fair.c:100:5"),
        ("UBSAN: alignment", _S, "UBSAN: ", r"(?:misaligned-access|alignment-assumption) in ", "UBSAN: misaligned-access in mm/slub.c:12:7"),
        ("UBSAN: pointer", _S, "UBSAN: ", r"(?:null-ptr-deref|object-size-mismatch) in ", "UBSAN: null-ptr-deref in mm/mmap.c:88:2"),
        ("UBSAN", _S, "UBSAN: ", r"[\w-]+ in \S+:\d", "UBSAN: unreachable in kernel/exit.c:902:2"),
        # Lock debugging
        ("lockdep: circular dependency", _S, _WARNING, r"possible circular locking dependency detected", "WARNING: possible circular locking dependency detected"),
        ("lockdep: recursive locking", _S, _WARNING, r"possible recursive locking detected", "WARNING: possible recursive locking detected"),
        ("lockdep: inconsistent state", _S, _WARNING, r"inconsistent lock state", "WARNING: inconsistent lock state"),
        ("lockdep: irq inversion", _S, _WARNING, r"possible irq lock inversion dependency", "WARNING: possible irq lock inversion dependency detected"),
        ("lockdep: irq-unsafe order", _S, _WARNING, r"\S+-safe -> \S+-unsafe lock order detected", "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected"),
        ("lockdep: unlock balance", _S, _WARNING, r"bad unlock balance detected", "WARNING: bad unlock balance detected!"),
        ("lockdep: contention", _S, _WARNING, r"bad contention detected", "WARNING: bad contention detected!"),
        ("lockdep: nested lock", _S, _WARNING, r"Nested lock was not taken", "WARNING: Nested lock was not taken"),
        ("lockdep: held lock freed", _S, _WARNING, r"held lock freed", "WARNING: held lock freed!"),
        ("lockdep: locks held at exit", _S, _WARNING, r"\S+ still has locks held", "WARNING: vmalloc_test/3/412 still has locks held!"),
        ("lockdep: lock held into user space", _S, _WARNING, r"lock held when returning to user space", "WARNING: lock held when returning to user space!"),
        ("lockdep: suspicious RCU", _S, _WARNING, r"suspicious RCU usage", "WARNING: suspicious RCU usage"),
        ("lockdep: chain key collision", _S, _WARNING, r"chain_key collision", "WARNING: chain_key collision"),
        ("lockdep: wait context", _S, _BUG, r"Invalid wait context \]", "[ BUG: Invalid wait context ]"),
        ("lockdep: older heading", _S, _BUG, r"[\w /-]{4,80}! ?\]", "[ BUG: bad unlock balance detected! ]"),
        ("lockdep: suspicious RCU, older heading", _S, "INFO: ", r"[\w /.>-]{4,80} \]", "[ INFO: suspicious RCU usage. ]"),
        ("lockdep: table full", _S, _BUG, r"MAX_\w+ too low", "BUG: MAX_LOCKDEP_ENTRIES too low!"),
        ("lockdep: unregistered key", _S, _BUG, r"key \S+ has not been registered", "BUG: key ffff888003c4d1a8 has not been registered!"),
        ("lockdep: subclass", _S, _BUG, r"looking up invalid subclass", "BUG: looking up invalid subclass: 8"),
        ("lockdep: static key", _S, "INFO: trying to register non-static key", r"", "INFO: trying to register non-static key."),
        ("lockdep: turned off", _N, "INFO: lockdep is turned off", r"", "INFO: lockdep is turned off."),
        ("lock debugging: assertion", _S, "DEBUG_LOCKS_WARN_ON(", r"", "DEBUG_LOCKS_WARN_ON(lock->magic != lock)"),
        ("rwsem debugging: assertion", _S, "DEBUG_RWSEMS_WARN_ON(", r"", "DEBUG_RWSEMS_WARN_ON(tmp < 0): count = 0xffffffffffffff00, magic = 0x0, owner = 0x1"),
        ("spinlock misuse", _S, _BUG, r"spinlock [\w ]{3,40} on CPU#\d", "BUG: spinlock bad magic on CPU#1, swapper/1/0"),
        ("rwlock misuse", _S, _BUG, r"rwlock [\w ]{3,40} on CPU#\d", "BUG: rwlock recursion on CPU#0, insmod/51, ffffffffc0214040"),
        ("workqueue leaked a lock", _S, _BUG, r"workqueue leaked", "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[12]"),
        # Context
        ("scheduling while atomic", _S, _BUG, r"scheduling while atomic", "BUG: scheduling while atomic: vmalloc_test/0/49/0x00000002"),
        ("scheduling in a non-blocking section", _S, _BUG, r"scheduling in a non-blocking section", "BUG: scheduling in a non-blocking section: kswapd0/33/1"),
        ("sleeping in atomic context", _S, _BUG, r"sleeping function called from invalid context", "BUG: sleeping function called from invalid context at mm/vmalloc.c:3439"),
        ("atomic context assumed", _S, _BUG, r"assuming (?:atomic|non migratable) context", "BUG: assuming atomic context at kernel/sched/core.c:100"),
        ("per-CPU data while preemptible", _S, _BUG, r"using \w+(?:\(\))? in preemptible", "BUG: using smp_processor_id() in preemptible [00000000] code: insmod/47"),
        ("leaked atomic count", _S, "note: ", r"\S+ exited with (?:preempt_count|irqs disabled)", "note: vmalloc_test/0[49] exited with preempt_count 1"),
        ("softirq left preempt count", _S, "huh, entered softirq ", r"", "huh, entered softirq 9 RCU 00000000c7e4a1b0 with preempt_count 00000101, exited with 00000102?"),
        ("initcall left preempt count", _S, "initcall ", r"\S+ (?:\[\w+\] )?(?:returned with|preemption imbalance|disabled interrupts)", "initcall vmalloc_test_init+0x0/0x10 [test_vmalloc] returned with preemption imbalance"),
        # No progress
        ("soft lockup", _S, _BUG, r"soft lockup", "BUG: soft lockup - CPU#3 stuck for 26s! [vmalloc_test/3:52]"),
        ("hard lockup", _S, "Watchdog detected hard LOCKUP", r"", "Watchdog detected hard LOCKUP on cpu 5"),
        ("NMI watchdog lockup", _S, "NMI watchdog: BUG: soft lockup", r"", "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]"),
        ("workqueue lockup", _S, _BUG, r"workqueue lockup", "BUG: workqueue lockup - pool cpus=2 node=0 flags=0x0 nice=0 stuck for 43s!"),
        ("workqueue hogged", _N, "workqueue: ", r"\S+ hogged CPU for", "workqueue: drain_vmap_area_work hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND"),
        ("hung task", _S, "INFO: task ", r"[^\n]{1,64} blocked (?:for more than|on \S+)", "INFO: task vmalloc_test/2:51 blocked for more than 120 seconds."),
        ("RCU stall: self-detected", _S, "INFO: rcu", r"\w* self-detected stall on CPU", "rcu: INFO: rcu_preempt self-detected stall on CPU"),
        ("RCU stall: expedited", _S, "INFO: rcu", r"\w* detected expedited stalls", "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 3-.... } 26 jiffies s: 53 root: 0x8/."),
        ("RCU stall: tasks", _S, "INFO: rcu_tasks", r"\w* detected stalls", "INFO: rcu_tasks detected stalls on tasks:"),
        ("RCU stall", _S, "INFO: rcu", r"\w* detected stalls?\b", "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"),
        ("RCU kthread starved", _S, "rcu", r"[\w: ]{1,40}kthread starved for \d+ jiffies", "rcu: rcu_preempt kthread starved for 2500 jiffies! g1205 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1"),
        ("RCU kthread timer lost", _S, "rcu", r"[\w: ]{1,40}kthread timer wakeup didn't happen", "rcu: rcu_sched kthread timer wakeup didn't happen for 5999 jiffies! g-1127 f0x0 RCU_GP_WAIT_FQS(5)"),
        ("SRCU misuse", _S, "srcu", r"[\w: ]{1,60}(?:cleanup_srcu_struct|leak)", "srcu: cleanup_srcu_struct: leaking 2 callbacks"),
        ("CSD lock stuck", _S, "csd: ", r"(?:Detected|Continued|Reappeared) non-responsive CSD lock", "smp: csd: Detected non-responsive CSD lock (#1) on CPU#2, waiting 5000000033 ns for CPU#03"),
        ("irq nobody cared", _S, "irq ", r"\d+: nobody cared", 'irq 16: nobody cared (try booting with the "irqpoll" option)'),
        ("irq disabled", _S, "Disabling IRQ #", r"\d", "Disabling IRQ #16"),
        ("irq without a handler", _S, "do_IRQ: ", r"[\d.]+ No irq handler for vector", "do_IRQ: 1.55 No irq handler for vector"),
        ("NMI handler slow", _N, "INFO: NMI handler ", r"\(.{1,80}\) took too long", "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.482 msecs"),
        ("NMI unknown", _S, "Uhhuh. NMI received for unknown reason", r"", "Uhhuh. NMI received for unknown reason 3d on CPU 0."),
        ("timer went backward", _S, "sched_clock on CPU ", r"\d+ went backward", "csd: sched_clock on CPU 3 went backward by 120 ns"),
        ("clocksource unstable", _S, "Marking clocksource ", r"\S+ as unstable", "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large:"),
        ("TSC unstable", _S, "Marking TSC unstable", r"(?! due to boot parameter)", "tsc: Marking TSC unstable due to check_tsc_sync_source failed"),
        ("TSC warp", _S, "TSC synchronization ", r"\[CPU#\d+ -> CPU#\d+\]:", "TSC synchronization [CPU#0 -> CPU#1]:"),
        ("watchdog read-back delay", _N, "wd-", r"\S+-wd excessive read-back delay", "clocksource: timekeeping watchdog on CPU0: wd-tsc-wd excessive read-back delay of 201000ns vs. limit of 125000ns"),
        ("hrtimer interrupt slow", _N, "hrtimer: interrupt took ", r"\d", "hrtimer: interrupt took 3141592 ns"),
        ("CPU not responding", _S, "smpboot: do_boot_cpu failed", r"", "smpboot: do_boot_cpu failed(-1) to wakeup CPU#3"),
        ("CPU stuck at bring-up", _S, "CPU", r"\d+: (?:failed to come online|Stuck \?\?)", "CPU7: failed to come online"),
        ("thermal throttling", _S, "CPU", r"\d+: (?:Core|Package) temperature (?:above threshold|is above)", "CPU0: Package temperature above threshold, cpu clock throttled (total events = 1)"),
        ("machine check", _S, "Hardware Error]: ", r"(?:Machine [Cc]heck|CPU \d|TSC \d|Corrected error|Uncorrected|Deferred)", "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 5: bea0000000000108"),
        ("memory error", _S, "Memory failure: ", r"0x[0-9a-f]", "Memory failure: 0x12d3f: recovery action for dirty LRU page: Recovered"),
        ("EDAC error", _S, "EDAC MC", r"\d+: \d+ [CU]E ", "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0"),
        # Memory
        ("page in a bad state", _S, _BUG, r"Bad page state", "BUG: Bad page state in process vmalloc_test/1  pfn:7d2c1"),
        ("page table entry bad", _S, _BUG, r"Bad page map", "BUG: Bad page map in process insmod  pte:ffff888003c4d067 pmd:03d32067"),
        ("page cache bad", _S, _BUG, r"Bad page cache", "BUG: Bad page cache in process kswapd0  pfn:12d3f"),
        ("rss counter bad", _S, _BUG, r"Bad rss-counter state", "BUG: Bad rss-counter state mm:ffff888003d2c000 type:MM_ANONPAGES val:-1"),
        ("page tables leaked", _S, _BUG, r"non-zero (?:pgtables_bytes|nr_ptes|nr_pmds)", "BUG: non-zero pgtables_bytes on freeing mm: 4096"),
        ("mempool element corrupt", _S, _BUG, r"mempool element poison mismatch", "BUG: mempool element poison mismatch"),
        ("bad pgd, pmd or pte", _S, "bad ", r"p[gum4]d [0-9a-f]{8,16}|bad pte", "mm/pgtable-generic.c:50: bad pmd 0000000000000080(8000000000000080)"),
        ("page table dump of corruption", _S, "Corrupted page table at address ", r"[0-9a-f]", "insmod: Corrupted page table at address 7f3a5c001000"),
        ("slab: object corrupt", _S, "BUG ", r"\S+ \([^\n)]{1,60}\): (?:Object |Poison |Padding |(?:Left |Right |kmalloc )?Redzone |Free|End Poison)", "BUG kmalloc-64 (Not tainted): Right Redzone overwritten"),
        ("slab: objects remain", _S, "BUG ", r"\S+ \([^\n)]{1,60}\): Objects remaining", "BUG vmap_area (Tainted: G    B     ): Objects remaining on __kmem_cache_shutdown()"),
        ("slab", _S, "BUG ", r"\S+ \((?:Not tainted|Tainted: [^\n)]{1,60})\): \S", "BUG vmap_area (Not tainted): Wrong object count. Counter is 4 but counted were 5"),
        ("slab error", _S, "slab error in ", r"\w+\(\): ", "slab error in verify_redzone_free(): cache `vmap_area': double free detected"),
        ("slab still in use", _S, "kmem_cache_destroy ", r"\S+: Slab cache still has objects", "kmem_cache_destroy test: Slab cache still has objects when called from exit+0x10/0x20"),
        ("slab allocation failed", _S, "SLUB: Unable to allocate memory on ", r"(?:CPU|node)", "SLUB: Unable to allocate memory on CPU 0 (of node 0) on node -1, gfp=0x920(GFP_ATOMIC|__GFP_ZERO)"),
        ("vmalloc error", _S, "vmalloc error: size ", r"\d", "vmalloc_test/0: vmalloc error: size 4096, vm_struct allocation failed, mode:0xdc0(GFP_KERNEL|__GFP_ZERO)", False, _MEANT_TO_FAIL),
        ("vmalloc allocation failure", _S, "vmalloc: allocation failure", r"", "insmod: vmalloc: allocation failure: 4096 bytes, mode:0xdc0(GFP_KERNEL|__GFP_ZERO), nodemask=(null)", False, _MEANT_TO_FAIL),
        ("vmap address space exhausted", _S, "vmap allocation for size ", r"\d+ failed", "vmap allocation for size 20480 failed: use vmalloc=<size> to increase size"),
        ("vmalloc range exhausted", _N, "vmalloc_node_range for size ", r"\d+ failed", "vmalloc_node_range for size 8192 failed: Address range restricted to 0xffa0000000000000 - 0xffd1ffffffffffff"),
        ("vmap node layer disabled", _S, "Failed to allocate an array. Disable a node layer", r"", "Failed to allocate an array. Disable a node layer"),
        ("vmap tree corrupt", _S, "tree is corrupted: ", r"\d", "tree is corrupted: 4096, 8192"),
        ("vfree of a bad address", _S, "Trying to vfree() ", r"(?:bad address|nonexistent vm area)", "Trying to vfree() nonexistent vm area (00000000a9d3f4c1)"),
        ("vunmap of a bad address", _S, "Trying to vunmap() ", r"nonexistent vm area", "Trying to vunmap() nonexistent vm area (00000000a9d3f4c1)"),
        ("page allocation failure", _S, "page allocation failure: ", r"order:\d", "vmalloc_test/0: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0", False, _MEANT_TO_FAIL),
        ("page allocation stalls", _S, "page allocation stalls for ", r"\d", "insmod: page allocation stalls for 10001ms, order:0, mode:0xcc0(GFP_KERNEL), nodemask=(null)"),
        ("per-CPU allocation failed", _S, "percpu: allocation failed", r", size=", "percpu: allocation failed, size=1024 align=2048 atomic=0, alloc from reserved chunk failed"),
        ("OOM killer", _S, "invoked oom-killer: ", r"gfp_mask", "insmod invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
        ("OOM kill", _S, "Out of memory: ", r"Kill(?:ed)? process", "Out of memory: Killed process 93 (sh) total-vm:2576kB, anon-rss:128kB, file-rss:0kB, shmem-rss:0kB, UID:0"),
        ("OOM kill in a control group", _S, "Memory cgroup out of memory: ", r"Kill", "Memory cgroup out of memory: Killed process 93 (sh) total-vm:2576kB, anon-rss:128kB, file-rss:0kB"),
        ("OOM without a victim", _S, "Out of memory and no killable processes", r"", "Out of memory and no killable processes..."),
        ("OOM victim summary", _S, "oom-kill:constraint=", r"", "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=sh"),
        ("kmemleak", _S, "kmemleak: ", r"\d+ new suspected memory leaks", "kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"),
        ("kmemleak object", _S, "unreferenced object 0x", r"[0-9a-f]+ \(size \d+\)", "kmemleak: unreferenced object 0xffff888003c4d1a8 (size 64):"),
        ("kmemleak gave up", _N, "kmemleak: ", r"(?:Kernel memory leak detector disabled|Cannot )", "kmemleak: Kernel memory leak detector disabled"),
        ("refcount: use after free", _S, "refcount_t: ", r"(?:underflow|addition on 0|decrement hit 0)", "refcount_t: underflow; use-after-free."),
        ("refcount: saturated", _S, "refcount_t: ", r"saturated", "refcount_t: saturated; leaking memory."),
        ("refcount", _S, "refcount_t: ", r"\S", "refcount_t: unknown saturation event!?."),
        ("list_add corrupt: next->prev", _S, "list_add corruption", r"\. next->prev should be", "list_add corruption. next->prev should be prev (ffffffff82a5c2d0), but was 0000000000000000. (next=ffff888003c4d1a8)."),
        ("list_add corrupt: prev->next", _S, "list_add corruption", r"\. prev->next should be", "list_add corruption. prev->next should be next (ffffffff82a5c2d0), but was 0000000000000000."),
        ("list_add corrupt", _S, "list_add corruption", r"", "list_add corruption. prev is NULL."),
        ("list_add of an entry twice", _S, "list_add double add: ", r"new=", "list_add double add: new=ffff888003c4d1a8, prev=ffffffff82a5c2d0, next=ffff888003c4d1a8."),
        ("list_del corrupt: freed entry", _S, "list_del corruption", r", \S+->(?:next|prev) is LIST_POISON", "list_del corruption, ffff888003c4d1a8->next is LIST_POISON1 (dead000000000100)"),
        ("list_del corrupt: neighbours", _S, "list_del corruption", r"\. (?:prev->next|next->prev) should be", "list_del corruption. prev->next should be ffff888003c4d1a8, but was dead000000000100. (prev=ffff888003c4d200)"),
        ("list_del corrupt", _S, "list_del corruption", r"", "list_del corruption, ffff888003c4d1a8->next is NULL"),
        ("poison seen", _S, "Poison overwritten", r"", "[Poison overwritten] 0x00000000d5c1-0x00000000d5c2 @offset=64. First byte 0x6a instead of 0x6b"),
        ("page poison corrupt", _S, "pagealloc: ", r"(?:memory corruption|single bit error)", "pagealloc: memory corruption"),
        ("page dumped", _S, "page dumped because: ", r"\S", "page dumped because: VM_BUG_ON_PAGE(page_ref_count(page) == 0)"),
        ("debug objects", _S, "ODEBUG: ", r"(?:free|init|activate|assert_init|deactivate|destroy) ", "ODEBUG: free active (active state 0) object: ffff888003c4d1a8 object type: timer_list hint: delayed_work_timer_fn"),
        ("debug objects off", _N, "ODEBUG: Out of memory", r"", "ODEBUG: Out of memory. ODEBUG disabled"),
        # Taint and the like
        ("module out of tree", _N, "loading out-of-tree module taints kernel", r"", "test_vmalloc: loading out-of-tree module taints kernel."),
        ("module unsigned", _N, "module verification failed", r"", "test_vmalloc: module verification failed: signature and/or required key missing - tainting kernel"),
        ("module for tests", _N, "loading test module taints kernel", r"", "test_vmalloc: loading test module taints kernel."),
        ("module licence", _N, "module license ", r"(?:'[^\n']{1,64}' )?taints kernel", "foo: module license 'Proprietary' taints kernel."),
        ("module without retpoline", _N, "loading module not compiled with retpoline compiler", r"", "foo: loading module not compiled with retpoline compiler."),
        ("module from staging", _N, "module is from the staging directory", r"", "foo: module is from the staging directory, the quality is unknown, you have been warned."),
        ("module version magic", _N, "version magic '", r"", "test_vmalloc: version magic '6.12.0 SMP mod_unload ' should be '6.12.117 SMP mod_unload '"),
        ("module symbol unknown", _N, "Unknown symbol ", r"\w+ \(err ", "test_vmalloc: Unknown symbol vmalloc_huge (err -2)"),
        ("taint after a splat", _N, "Disabling lock debugging due to kernel taint", r"", "Disabling lock debugging due to kernel taint"),
        ("log lost", _N, "printk: ", r"\d+ (?:printk )?messages (?:dropped|suppressed)", "printk: 17 messages dropped"),
        ("log lost on a console", _N, "printk messages dropped **", r"", "** 12 printk messages dropped **"),
        ("unwinder off", _N, _WARNING, r"(?:Bad or missing|Corrupt) \.orc_unwind table", "WARNING: Corrupt .orc_unwind table.  Disabling unwinder."),
        ("stack recursion", _S, _WARNING, r"stack recursion on stack type", "WARNING: stack recursion on stack type 2"),
        # What the rows above do not name
        ("warning", _S, _WARNING, r"(?:CPU: \d+ PID: \d+ at |at \S+|[^\n]{1,80}:\d+ at \S+)", "WARNING: CPU: 2 PID: 51 at mm/vmalloc.c:2173 free_unmap_vmap_area+0x1f/0x40"),
        ("warning, other", _N, _WARNING, r"\S", "WARNING: polling idle and HT enabled, performance may degrade"),
        ("bug, other", _S, _BUG, r"\S", "BUG: something that no row names"),
        ("cut here", _S, "cut here ]", r"", "------------[ cut here ]------------", True),
        ("end of a trace", _S, "end trace ", r"[0-9a-f]{16} \]---", "---[ end trace 0000000000000000 ]---", True),
    )
)
# fmt: on
