"""The catalogue of conditions in kernel logs, a row for each. Data only; see `verdicts`.

A row matches where a line has its `start`, followed directly by the pattern `rest`. A start has to
be at the beginning of a message or after punctuation ("] ", ": "); one that begins with a space or
a bracket may be anywhere. Of rows with the same start the first match counts, so general ones come
last. Real lines for each row, with their sources, are in tests/unit/testmod/samples.tsv.
"""

from enum import StrEnum
from typing import NamedTuple

from harness.testmod.cases import CASES


class Severity(StrEnum):
    """What a condition means for a boot."""

    CRASH = "crash"  # the kernel, or the thread that was in it, is dead
    SPLAT = "splat"  # the kernel continued, but its times are not valid
    NOTE = "note"  # recorded, without an effect on the measurement


class Condition(NamedTuple):
    """A row of the catalogue.

    `start`, `rest`: see above. `weak`: a delimiter ("cut here"), replaced by the condition within
    its report. `excuse`: pattern; a report that contains it is only a note. `given`: text that the
    log must contain, or the row does not apply.
    """

    name: str
    severity: Severity
    start: str
    rest: str
    weak: bool = False
    excuse: str = ""
    given: str = ""


_C, _S, _N = Severity.CRASH, Severity.SPLAT, Severity.NOTE
# The allocations of these cases fail on purpose (lib/test_vmalloc.c), and the kernel reports it.
_MEANT_TO_FAIL = rf"\b(?:{'|'.join(case.name for case in CASES if case.may_fail)})\+0x"
_BUG, _WARNING, _PANIC, _OOPS = "BUG: ", "WARNING: ", "Kernel panic - not syncing", "Oops: "

# One row, one line.
# fmt: off
CONDITIONS: tuple[Condition, ...] = tuple(
    Condition(*row)
    for row in (
        # The end of the kernel
        ("panic: init died", _C, _PANIC, r": Attempted to kill init!"),
        ("panic: no init", _C, _PANIC, r": (?:No working init found|Requested init)"),
        ("panic: no root", _C, _PANIC, r": VFS: Unable to mount root fs"),
        ("panic: out of memory", _C, _PANIC, r": (?:Out of memory|System is deadlocked on memory)"),
        ("panic: stack corrupted", _C, _PANIC, r": stack-protector: "),
        ("panic: in interrupt", _C, _PANIC, r": (?:Fatal exception in interrupt|Aiee, killing interrupt handler)"),
        ("panic: fatal exception", _C, _PANIC, r": Fatal exception"),
        ("panic: hung task", _C, _PANIC, r": hung_task: "),
        ("panic: lockup", _C, _PANIC, r": (?:softlockup: hung tasks|Hard LOCKUP|Watchdog detected hard LOCKUP)"),
        ("panic: RCU stall", _C, _PANIC, r": RCU Stall"),
        ("panic: on warning", _C, _PANIC, r": (?:\w+: )?(?:panic_on_warn set|system warned too often)"),
        ("panic: machine check", _C, _PANIC, r": (?:Fatal [Mm]achine [Cc]heck|Timeout: Not all CPUs entered|Machine check)"),
        ("panic: by hand", _C, _PANIC, r": sysrq triggered crash"),
        ("panic: timer", _C, _PANIC, r": IO-APIC \+ timer doesn't work"),
        ("panic", _C, _PANIC, r""),
        ("fatal exception: double fault", _C, "PANIC: double fault", r""),
        ("early exception", _C, "PANIC: early exception", r""),
        ("kernel stack overflow", _C, "kernel stack overflow", r" \("),
        # Not the kernel's own message, but its thread hangs there forever (module zfs, spl_panic).
        ("panic of ZFS", _C, "PANIC at ", r"\S+:\d+:\w+\(\)"),
        ("fault while exiting", _C, "Fixing recursive fault but reboot is needed!", r""),
        # Faults
        ("NULL pointer dereference", _C, _BUG, r"(?:[Kk]ernel |unable to handle kernel )NULL pointer dereference"),
        ("page fault in the kernel", _C, _BUG, r"unable to handle (?:page fault|kernel paging request)"),
        ("fault without a handler", _C, _BUG, r"[Uu]nable to handle "),
        ("page fault, other architectures", _C, "Unable to handle kernel ", r""),
        ("page fault, MIPS and LoongArch", _C, "CPU ", r"\d+ Unable to handle kernel "),
        ("fault, PA-RISC", _C, "Kernel Fault: Code=", r"\d"),
        ("no stack for an exception", _C, "Insufficient stack space to handle exception!", r""),
        ("stack pointer bad", _C, "Bad kernel stack pointer ", r"[0-9a-f]"),
        ("stack pointer invalid", _C, "Kernel stack pointer invalid", r""),
        ("stack guard page hit", _C, _BUG, r"(?:\S+ )?stack guard page was hit"),
        ("stack overrun", _C, "Thread overran stack, or stack corrupted", r""),
        ("stack nearly full", _S, "do_IRQ: stack overflow: ", r"-?\d"),
        ("exception without a handler, arm64", _C, "Unhandled ", r"[\w -]{1,40} exception on CPU\d+, ESR 0x"),
        ("SError, arm64", _C, "SError Interrupt on CPU", r"\d+, code 0x"),
        ("exception in a bad mode, ARM", _C, "Bad mode in ", r"[\w ]{1,40} handler detected"),
        ("exception not recoverable, powerpc", _C, "Unrecoverable ", r"[\w/ ]{0,40}[Ee]xception [0-9a-f]{1,4} at [0-9a-f]"),
        ("user code executed by the kernel", _C, "unable to execute userspace code (SMEP?)", r""),
        ("bus error, MIPS", _S, " bus error, epc == ", r"[0-9a-f]"),
        ("fault in EFI firmware", _S, "Unable to handle paging request in EFI runtime service", r""),
        ("fault in EFI firmware, x86", _S, "Page fault caused by firmware at PA: ", r"0x"),
        ("kernel BUG", _C, "kernel BUG at ", r"\S"),
        ("kernel BUG without a place", _C, "Kernel BUG at ", r"\S"),
        ("general protection fault", _C, "general protection fault", r"(?:, maybe|, probably|:| \S+ address)"),
        ("oops: general protection fault", _C, _OOPS, r"general protection fault"),
        ("oops: invalid opcode", _C, _OOPS, r"invalid opcode"),
        ("oops: stack segment", _C, _OOPS, r"stack segment"),
        ("oops: divide error", _C, _OOPS, r"divide error"),
        ("oops", _C, _OOPS, r"[\w ,-]{0,80}:? ?[0-9a-f]{1,16} \[#\d+\]"),
        ("oops without a counter", _C, _OOPS, r"(?:[\w ,-]{1,80}, sig: \d+|[0-9a-f]{8})\s*$"),
        ("oops, Alpha", _C, "Oops ", r"-?\d+\s*$"),
        ("oops, OpenRISC", _C, "Oops#: ", r"[0-9a-f]{4}"),
        ("oops, PA-RISC", _C, " Your System ate a SPARC! Gah!", r""),
        # The end of the heading of an oops, which is the same on all architectures.
        ("die counter", _C, "#", r"\d{1,4}\](?::|\s|SMP|$)"),
        ("oops, other architectures", _C, "Internal error: ", r"[^\n]{0,80}\[#\d+\]"),
        ("invalid opcode", _C, "invalid opcode: ", r"[0-9a-f]{4}"),
        ("stack segment fault", _C, "stack segment: ", r"[0-9a-f]{4}"),
        ("segment not present", _C, "segment not present: ", r"[0-9a-f]{4}"),
        ("divide error", _C, "divide error: ", r"[0-9a-f]{4}"),
        ("double fault", _C, "double fault: ", r"[0-9a-f]{4}"),
        ("control protection fault", _C, "Missing ENDBR: ", r"\S"),
        ("CFI failure", _C, "CFI failure at ", r"\S"),
        ("kernel stack regs bad", _S, "WARNING: kernel stack ", r"(?:regs|frame pointer) at"),
        ("NX-protected page executed", _C, "kernel tried to execute NX-protected page", r""),
        ("usercopy", _C, "usercopy: ", r"[Kk]ernel memory (?:exposure|overwrite) attempt"),
        ("FORTIFY overflow", _C, "detected buffer overflow in ", r"\w"),
        ("FORTIFY overflow reported", _S, "detected buffer overflow: ", r"\d"),
        ("memory overflow in memcpy", _S, "memcpy: detected field-spanning write", r""),
        # Sanitizers
        ("KASAN: vmalloc out of bounds", _S, _BUG, r"KASAN: vmalloc-out-of-bounds"),
        ("KASAN: slab out of bounds", _S, _BUG, r"KASAN: slab-out-of-bounds"),
        ("KASAN: stack out of bounds", _S, _BUG, r"KASAN: stack-out-of-bounds"),
        ("KASAN: global out of bounds", _S, _BUG, r"KASAN: global-out-of-bounds"),
        ("KASAN: out of bounds", _S, _BUG, r"KASAN: out-of-bounds"),
        ("KASAN: use after free", _S, _BUG, r"KASAN: (?:slab-)?use-after-free"),
        ("KASAN: use after scope", _S, _BUG, r"KASAN: use-after-scope"),
        ("KASAN: double free", _S, _BUG, r"KASAN: double-free"),
        ("KASAN: invalid free", _S, _BUG, r"KASAN: (?:invalid-free|double-free or invalid-free)"),
        ("KASAN: invalid access", _S, _BUG, r"KASAN: invalid-access"),
        ("KASAN: NULL pointer", _S, _BUG, r"KASAN: null-ptr-deref"),
        ("KASAN: user memory", _S, _BUG, r"KASAN: user-memory-access"),
        ("KASAN: wild access", _S, _BUG, r"KASAN: wild-memory-access"),
        ("KASAN: unknown crash", _S, _BUG, r"KASAN: unknown-crash"),
        ("KASAN", _S, _BUG, r"KASAN: "),
        ("KASAN: bad address range", _C, "KASAN: ", r"(?:null-ptr-deref|\w+ (?:user|wild)-memory-access) in range"),
        ("KCSAN: data race", _S, _BUG, r"KCSAN: data-race"),
        ("KCSAN: assertion", _S, _BUG, r"KCSAN: assert: race"),
        ("KFENCE: out of bounds", _S, _BUG, r"KFENCE: out-of-bounds"),
        ("KFENCE: use after free", _S, _BUG, r"KFENCE: use-after-free"),
        ("KFENCE: memory corruption", _S, _BUG, r"KFENCE: memory corruption"),
        ("KFENCE: invalid access", _S, _BUG, r"KFENCE: invalid (?:read|write)"),
        ("KFENCE", _S, _BUG, r"KFENCE: "),
        ("KMSAN: uninitialised value", _S, _BUG, r"KMSAN: uninit-value"),
        ("KMSAN: leak to user space", _S, _BUG, r"KMSAN: kernel-infoleak"),
        ("KMSAN", _S, _BUG, r"KMSAN: "),
        ("UBSAN: shift out of bounds", _S, "UBSAN: ", r"shift-out-of-bounds in "),
        ("UBSAN: index out of bounds", _S, "UBSAN: ", r"array-index-out-of-bounds in "),
        ("UBSAN: division", _S, "UBSAN: ", r"div(?:ision|rem)-overflow in "),
        ("UBSAN: overflow", _S, "UBSAN: ", r"(?:\w+-)*overflow in "),
        ("UBSAN: invalid load", _S, "UBSAN: ", r"invalid-load in "),
        ("UBSAN: alignment", _S, "UBSAN: ", r"(?:misaligned-access|alignment-assumption) in "),
        ("UBSAN: pointer", _S, "UBSAN: ", r"(?:null-ptr-deref|object-size-mismatch) in "),
        ("UBSAN", _S, "UBSAN: ", r"(?:Undefined behaviour|[\w-]+) in \S+:\d"),
        # Lock debugging
        ("lockdep: circular dependency", _S, _WARNING, r"possible circular locking dependency detected"),
        ("lockdep: recursive locking", _S, _WARNING, r"possible recursive locking detected"),
        ("lockdep: inconsistent state", _S, _WARNING, r"inconsistent lock state"),
        ("lockdep: irq inversion", _S, _WARNING, r"possible irq lock inversion dependency"),
        ("lockdep: irq-unsafe order", _S, _WARNING, r"\S+-safe -> \S+-unsafe lock order detected"),
        ("lockdep: unlock balance", _S, _WARNING, r"bad unlock balance detected"),
        ("lockdep: contention", _S, _WARNING, r"bad contention detected"),
        ("lockdep: nested lock", _S, _WARNING, r"Nested lock was not taken"),
        ("lockdep: held lock freed", _S, _WARNING, r"held lock freed"),
        ("lockdep: locks held at exit", _S, _WARNING, r"\S+ still has locks held"),
        ("lockdep: lock held into user space", _S, _WARNING, r"lock held when returning to user space"),
        ("lockdep: suspicious RCU", _S, _WARNING, r"suspicious RCU usage"),
        ("lockdep: wait context", _S, _BUG, r"Invalid wait context \]"),
        ("lockdep: older heading", _S, _BUG, r"[\w /-]{4,80}! ?\]"),
        ("lockdep: suspicious RCU, older heading", _S, "INFO: ", r"[\w /.>-]{4,80} \]"),
        ("lockdep: table full", _S, _BUG, r"MAX_\w+ too low"),
        ("lockdep: chains collide", _S, _WARNING, r"chain_key collision"),
        ("lockdep: unregistered key", _S, _BUG, r"key \S+ has not been registered"),
        ("lockdep: subclass", _S, _BUG, r"looking up invalid subclass"),
        ("lockdep: static key", _S, "INFO: trying to register non-static key", r""),
        ("lockdep: turned off", _N, "INFO: lockdep is turned off", r""),
        ("lock debugging: assertion", _S, "DEBUG_LOCKS_WARN_ON(", r""),
        ("rwsem debugging: assertion", _S, "DEBUG_RWSEMS_WARN_ON(", r""),
        ("spinlock misuse", _S, _BUG, r"spinlock [\w ]{3,40} on CPU#\d"),
        ("rwlock misuse", _S, _BUG, r"rwlock [\w ]{3,40} on CPU#\d"),
        ("workqueue leaked a lock", _S, _BUG, r"workqueue leaked"),
        ("rt_mutex: too many owners in a chain", _S, "Maximum lock depth ", r"\d+ reached task: "),
        # Context
        ("scheduling while atomic", _S, _BUG, r"scheduling while atomic"),
        ("sleeping in atomic context", _S, _BUG, r"sleeping function called from invalid context"),
        ("atomic context assumed", _S, _BUG, r"assuming (?:atomic|non migratable) context"),
        ("per-CPU data while preemptible", _S, _BUG, r"using \w+(?:\(\))? in preemptible"),
        ("leaked atomic count", _S, "note: ", r"\S+ exited with (?:preempt_count|irqs disabled)"),
        ("softirq left preempt count", _S, "huh, entered softirq ", r""),
        ("initcall left preempt count", _S, "initcall ", r"\S+ (?:\[\w+\] )?(?:returned with|preemption imbalance|disabled interrupts)"),
        # No progress
        ("soft lockup", _S, _BUG, r"soft lockup"),
        ("hard lockup", _S, "Watchdog detected hard LOCKUP", r""),
        ("hard lockup, powerpc", _S, "CPU ", r"\d+ (?:self-detected hard|detected hard|Hard) LOCKUP"),
        ("NMI watchdog lockup", _S, "NMI watchdog: BUG: soft lockup", r""),
        ("workqueue lockup", _S, _BUG, r"workqueue lockup"),
        ("workqueue hogged", _N, "workqueue: ", r"\S+ hogged CPU for"),
        ("hung task", _S, " blocked", r"(?: in I/O wait)? for more than \d+ seconds"),  # a task's name may contain a newline
        ("hung task's lock", _S, "INFO: task ", r"[^\n]{1,64}:\d+ (?:<[^>\n]{1,40}> )?(?:is )?blocked on "),
        ("RCU stall: self-detected", _S, "INFO: rcu", r"\w* self-detected stall on CPU"),
        ("RCU stall: expedited", _S, "INFO: rcu", r"\w* detected expedited stalls"),
        ("RCU stall: tasks", _S, "INFO: rcu_tasks", r"\w* detected stalls"),
        ("RCU stall", _S, "INFO: rcu", r"\w* detected stalls?\b"),
        ("RCU kthread starved", _S, "rcu", r"[\w: ]{1,40}kthread starved for \d+ jiffies"),
        ("RCU kthread timer lost", _S, "rcu", r"[\w: ]{1,40}kthread timer wakeup didn't happen"),
        ("CSD lock stuck", _S, "csd: ", r"(?:Detected|Continued|Reappeared) non-responsive CSD lock"),
        ("irq nobody cared", _S, "irq ", r"\d+: nobody cared"),
        ("irq disabled", _S, "Disabling IRQ #", r"\d"),
        # Firmware leaves vectors pending when CPUs come up (most boots on AMD); this takes no time.
        ("irq without a handler", _N, " No irq handler for ", r"(?:vector|\d+\.\d)"),
        ("NMI handler slow", _N, "INFO: NMI handler ", r"\(.{1,80}\) took too long"),
        ("NMI unknown", _S, "Uhhuh. NMI received for unknown reason", r""),
        ("NMI for a hardware error", _S, "NMI: ", r"(?:PCI system error|IOCK error) "),
        ("clocksource unstable", _S, "Marking clocksource ", r"\S+ (?:as )?unstable"),
        ("TSC unstable", _S, "Marking TSC unstable due to ", r"(?:clocksource watchdog|check_tsc_sync_source failed|KVM discovered backwards TSC)"),
        # At boot of a guest or on an old CPU: the kernel then correctly uses another clock.
        ("TSC not used", _N, "Marking TSC unstable", r"(?! due to boot parameter)"),
        ("TSC warp", _S, "TSC synchronization ", r"\[CPU#\d+ -> CPU#\d+\]:(?! passed)"),
        ("watchdog read-back delay", _N, "wd-", r"\S+-wd excessive read-back delay"),
        ("hrtimer interrupt slow", _N, "hrtimer: interrupt took ", r"\d"),
        ("CPU not responding", _S, "smpboot: do_boot_cpu failed", r""),
        ("CPU stuck at bring-up", _S, "CPU", r"\d+: (?:failed to (?:come online|start)|Stuck \?\?|died during early boot|is stuck in kernel|will not boot)"),
        ("thermal throttling", _S, "CPU", r"\d+: (?:Core|Package) temperature (?:above threshold|is above)"),
        ("machine check", _S, "Hardware Error]: ", r"(?:Machine [Cc]heck|CPU \d|TSC \d|Corrected error|Uncorrected|Deferred)"),
        # Firmware stops all CPUs to handle even a corrected error, before the kernel reports it.
        # Without the number in braces it is the record of an earlier boot (BERT).
        ("hardware error, APEI", _S, "Hardware Error]: ", r"(?<=\}\[Hardware Error\]: )event severity: (?:corrected|recoverable|fatal)"),
        ("memory error", _S, "Memory failure: ", r"0x[0-9a-f]"),
        ("EDAC error", _S, "EDAC MC", r"\d+: \d+ [CU]E "),
        ("machine check, s390", _S, "mcck: Terminating task because of machine malfunction", r""),
        ("PCI slot frozen, powerpc", _S, "EEH: ", r"(?:Frozen PHB|Recovering PHB|Unrecoverable slot failure)"),
        # The hypervisor does not implement a register; on most boots of some guests.
        ("register unknown to the machine", _N, "unchecked MSR access error: ", r"(?:RD|WR)MSR"),
        # Memory
        ("page in a bad state", _S, _BUG, r"Bad page state"),
        ("page table entry bad", _S, _BUG, r"Bad page map"),
        ("page cache bad", _S, _BUG, r"Bad page cache"),
        ("rss counter bad", _S, _BUG, r"Bad rss-counter state"),
        ("page tables leaked", _S, _BUG, r"non-zero (?:pgtables_bytes|nr_ptes|nr_pmds)"),
        ("bad pgd, pmd or pte", _S, "bad ", r"p[gum4]d [0-9a-f]{8,16}|bad pte"),
        ("page table dump of corruption", _S, "Corrupted page table at address ", r"[0-9a-f]"),
        ("slab: object corrupt", _S, "BUG ", r"\S+ \([^\n)]{1,60}\): (?:Object |Poison |Padding |(?:Left |Right |kmalloc )?Redzone |Free|End Poison)"),
        ("slab: objects remain", _S, "BUG ", r"\S+ \([^\n)]{1,60}\): Objects remaining"),
        ("slab", _S, "BUG ", r"\S+ \((?:Not tainted|Tainted: [^\n)]{1,60})\): \S"),
        ("slab error", _S, "slab error in ", r"\w+\(\): "),
        ("slab still in use", _S, "kmem_cache_destroy ", r"\S+: Slab cache still has objects"),
        ("slab allocation failed", _S, "SLUB: Unable to allocate memory on ", r"(?:CPU|node)"),
        ("slab cache refused", _S, "kmem_cache_create(", r"\S+\) integrity check failed"),
        ("allocation with flags that do not fit", _S, "Unexpected gfp: ", r"0x"),
        # CONFIG_DEBUG_AUGMENT_PROPAGATE_CHECK and CONFIG_DEBUG_AUGMENT_LOWEST_MATCH_CHECK, mm/vmalloc.c
        ("vmap tree corrupt", _S, "tree is corrupted: ", r"\d+, \d"),
        ("vmap tree search wrong", _S, "not lowest: t: ", r"0x"),
        ("maple tree corrupt", _S, "BUG at ", r"\S+:\d+ \(\d+\)"),
        ("vmalloc error", _S, "vmalloc error: size ", r"\d", False, _MEANT_TO_FAIL),
        ("vmalloc allocation failure", _S, "vmalloc: allocation failure", r"", False, _MEANT_TO_FAIL),
        # By align_shift_alloc_test on purpose, without a stack before 6.9: one page and its guard
        # page, of 4, 16 or 64 KiB.
        ("vmap space, meant to fail", _N, "vmap allocation for size ", r"(?:8192|32768|131072) failed", False, "", "Summary: align_shift_alloc_test"),
        ("vmap address space exhausted", _S, "vmap allocation for size ", r"\d+ failed"),
        ("vmalloc range exhausted", _N, "vmalloc_node_range for size ", r"\d+ failed"),
        ("vmap node layer disabled", _S, "Failed to allocate an array. Disable a node layer", r""),
        ("vfree of a bad address", _S, "Trying to vfree() ", r"(?:bad address|nonexistent vm area)"),
        ("vunmap of a bad address", _S, "Trying to vunmap() ", r"nonexistent vm area"),
        ("page allocation failure", _S, "page allocation failure: ", r"order:\d", False, _MEANT_TO_FAIL),
        ("page allocation stalls", _S, "page allocation stall", r"s? for \d"),
        ("per-CPU allocation failed", _S, "percpu: allocation failed", r", size="),
        ("OOM killer", _S, " invoked oom-killer: ", r"gfp_mask"),
        ("OOM kill", _S, "Out of memory: ", r"Kill(?:ed)? process"),
        ("OOM kill in a control group", _S, "Memory cgroup out of memory: ", r"Kill"),
        ("OOM without a victim", _S, "Out of memory and no killable processes", r""),
        ("OOM victim summary", _S, "oom-kill:constraint=", r""),
        ("kmemleak", _S, "kmemleak: ", r"\d+ new suspected memory leaks"),
        ("kmemleak object", _S, "unreferenced object 0x", r"[0-9a-f]+ \(size \d+\)"),
        ("kmemleak: accounts are wrong", _S, "kmemleak: ", r"(?:Found object by alias|Cannot insert 0x|Scan area larger than object|[A-Z][\w ]{3,48} unknown object)"),
        ("kmemleak gave up", _N, "kmemleak: ", r"(?:Kernel memory leak detector disabled|Cannot )"),
        ("refcount: use after free", _S, "refcount_t: ", r"(?:underflow|addition on 0|decrement hit 0)"),
        ("refcount", _S, "refcount_t: ", r"\S"),
        ("reference released twice", _S, "ref_tracker: ", r"reference already released"),
        ("references leaked", _S, "ref_tracker: ", r"\S+ has \d+/\d+ users at"),
        ("RCU callback freed twice", _S, "Double-freed CB ", r"\S"),
        ("kobject used wrongly", _S, "tried to ", r"(?:init an initialized|add an uninitialized) object"),
        ("page cache lost a write", _S, "Page cache invalidation failure on direct I/O", r""),
        ("userfaultfd cannot retry", _S, "FAULT_FLAG_ALLOW_RETRY missing ", r"[0-9a-f]"),
        ("list_add corrupt: next->prev", _S, "list_add corruption", r"\. next->prev should be"),
        ("list_add corrupt: prev->next", _S, "list_add corruption", r"\. prev->next should be"),
        ("list_add corrupt", _S, "list_add corruption", r""),
        ("list_add of an entry twice", _S, "list_add double add: ", r"new="),
        ("list_del corrupt: freed entry", _S, "list_del corruption", r", \S+->(?:next|prev) is LIST_POISON"),
        ("list_del corrupt: neighbours", _S, "list_del corruption", r"\. (?:prev->next|next->prev) should be"),
        ("list_del corrupt", _S, "list_del corruption", r""),
        ("poison seen", _S, "Poison overwritten", r""),
        ("page poison corrupt", _S, "pagealloc: ", r"(?:memory corruption|single bit error)"),
        # By a test, or of a page that cannot be moved at the moment (memory hot-unplug, CMA).
        ("page dumped on request", _N, "page dumped because: ", r"(?:gup_test: dump_pages\(\) test|unmovable page|migration failure|isolation failed)"),
        ("page dumped", _S, "page dumped because: ", r"\S"),
        ("debug objects", _S, "ODEBUG: ", r"(?:free|init|activate|assert_init|deactivate|destroy) "),
        ("debug objects off", _N, "ODEBUG: Out of memory", r""),
        # Taint and the like
        ("module out of tree", _N, "loading out-of-tree module taints kernel", r""),
        ("module unsigned", _N, "module verification failed", r""),
        ("module for tests", _N, "loading test module taints kernel", r""),
        ("module licence", _N, "module license ", r"(?:'[^\n']{1,64}' )?taints kernel"),
        ("module without retpoline", _N, "loading module not compiled with retpoline compiler", r""),
        ("module from staging", _N, "module is from the staging directory", r""),
        ("module version magic", _N, "version magic '", r""),
        ("module symbol unknown", _N, "Unknown symbol ", r"\w+ \(err "),
        ("taint after a splat", _N, "Disabling lock debugging due to kernel taint", r""),
        ("log lost", _N, "printk: ", r"\d+ (?:printk )?messages (?:dropped|suppressed)"),
        ("log lost on a console", _N, "** ", r"\d+ printk messages dropped \*\*"),
        # A bug in a driver, which then lacks a file; printing its stack takes a CPU little time.
        ("sysfs: duplicate name", _N, "cannot create duplicate filename ", r"'"),
        ("sysctl: bad table", _N, "sysctl table check failed: ", r""),
        ("unwinder off", _N, _WARNING, r"(?:WARNING: )?(?:Bad or missing|Corrupt) \.orc_unwind table"),
        ("stack recursion", _S, _WARNING, r"stack recursion on stack type"),
        # Everything else
        ("warning", _S, _WARNING, r"(?:CPU: \d+ PID: \d+ at\b|at \S+|[^\n]{1,80}:\d+ at \S+)"),
        ("warning, other", _N, _WARNING, r"\S"),
        # The position of a playing sound card: not a bug, and it takes no time.
        ("ALSA: buffer position", _N, _BUG, r"pcmC\d+D\d+[pc]:"),
        ("bug, other", _S, _BUG, r"\S"),
        ("cut here", _S, "cut here ]", r"", True),
        ("end of a trace", _S, "end trace ", r"[0-9a-f]{16} \]---", True),
    )
)
# fmt: on

# Reports of missing progress, which in a guest may be the fault of its host.
STALLS = frozenset(
    {
        "soft lockup",
        "hard lockup",
        "hard lockup, powerpc",
        "NMI watchdog lockup",
        "workqueue lockup",
        "hung task",
        "hung task's lock",
        "RCU stall: self-detected",
        "RCU stall: expedited",
        "RCU stall: tasks",
        "RCU stall",
        "RCU kthread starved",
        "RCU kthread timer lost",
        "CSD lock stuck",
        "clocksource unstable",
        "TSC unstable",
    }
)
