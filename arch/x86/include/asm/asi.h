/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address Space Isolation (ASI): the kernel runs in a restricted address space
 * in which sensitive memory is not mapped, see Documentation/arch/x86/asi.rst.
 *
 * Every mm owns an aligned block of four page-table roots. Bits 13:12 of CR3
 * say which of them is loaded:
 *
 *   00  unrestricted        everything the kernel can map, as without ASI
 *   01  guest               nonsensitive kernel memory, and nothing else
 *   10  restricted          the same, and what is the process's own
 *   11  KPTI user           what user mode runs on when KPTI is on as well
 *
 * Seen from the restricted root, bit 12 is what KPTI knows as "the user page
 * table bit", so KPTI's entry and exit macros move between restricted and user
 * without knowing about ASI. Those that may find any root look at bit 13 as well,
 * or they would take the guest root for a user one. With PCID, bit 10 of CR3
 * follows bit 13, as bit 11 follows bit 12.
 *
 * The guest root is that of KVM, from before a VM entry on until the host needs more
 * than the kernel's own memory to handle the exit.
 */
#ifndef _ASM_X86_ASI_H
#define _ASM_X86_ASI_H

#include <linux/jump_label.h>
#include <linux/mm_types.h>
#include <linux/percpu.h>

#include <asm/cpufeature.h>
#include <asm/page.h>
#include <asm/processor-flags.h>
#include <asm/ptrace.h>
#include <asm/special_insns.h>

struct pt_regs;

/* What transitions may flush */
#define ASI_FLUSH_IBPB		BIT(0)
#define ASI_FLUSH_RSB		BIT(1)	/* return predictions */
#define ASI_FLUSH_BHB		BIT(2)	/* branch history */
#define ASI_FLUSH_GUEST		BIT(3)	/* IBPB between a guest and user mode */
#define ASI_FLUSH_L1D		BIT(4)
#define ASI_FLUSH_VERW		BIT(5)
#define ASI_FLUSH_L1D_GUEST	BIT(6)	/* L1D where guests are to run next */
#define ASI_FLUSH_PROCESS	BIT(7)	/* IBPB between two processes */

#define ASI_FLUSH_CONTROL_ALL	(ASI_FLUSH_IBPB | ASI_FLUSH_RSB | ASI_FLUSH_BHB)
#define ASI_FLUSH_DATA_ALL	(ASI_FLUSH_L1D | ASI_FLUSH_VERW)

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION

#define ASI_CR3_GUEST		BIT(PAGE_SHIFT)
#define ASI_CR3_RESTRICTED	BIT(PAGE_SHIFT + 1)
#define ASI_CR3_ROOT_MASK	(ASI_CR3_GUEST | ASI_CR3_RESTRICTED)
#define ASI_CR3_PCID_GUEST	BIT(X86_CR3_PTI_PCID_USER_BIT)
#define ASI_CR3_PCID_RESTRICTED	BIT(X86_CR3_ASI_PCID_BIT)
#define ASI_CR3_PCID_MASK	(ASI_CR3_PCID_GUEST | ASI_CR3_PCID_RESTRICTED)
#define ASI_CR3_ASID_MASK	(ASI_CR3_PCID_RESTRICTED - 1)

/*
 * The upper half of the vmalloc area is for sensitive memory: restricted roots
 * share none of its top-level entries, and have some of their own for what is
 * exposed to their process alone. It begins with one, and the last is not shared
 * with what follows, which begins with one as well while ASI is on.
 */
#define ASI_VMALLOC_START						\
	ALIGN(VMALLOC_START + (VMALLOC_SIZE_TB << 39), PGDIR_SIZE)

/*
 * What is mapped for one mm alone: the last top-level entry of a hole that is
 * reserved for hypervisors. The only one that uses it is Xen, under which ASI
 * is off.
 */
#define ASI_LOCAL_START		((LDT_PGD_ENTRY - 1) << PGDIR_SHIFT)
#define ASI_LOCAL_END		(ASI_LOCAL_START + PGDIR_SIZE)

/* The one before: what is mapped for one CPU alone. */
#define ASI_WINDOW_START	(ASI_LOCAL_START - PGDIR_SIZE)

/* The address spaces that ASI switches between; KPTI's is not one of them. */
enum asi_root {
	ASI_ROOT_UNRESTRICTED,
	ASI_ROOT_RESTRICTED,
	ASI_ROOT_GUEST,
	ASI_NR_ROOTS,
};

/* What has to be done before untrusted code runs */
#define ASI_TODO_ENTER		BIT(0)
#define ASI_TODO_TAINT		BIT(1)

/* As many as any CPU has had, and more. */
#define ASI_MAX_THREADS		8

/**
 * struct asi_core - what the threads of a core have to know of each other
 * @untrusted:		those that may be running untrusted code
 * @any_untrusted:	the same, to be read at once
 * @unrestricted:	those that are, or are about to be, unrestricted; while one
 *			of them is, the others must not run untrusted code
 * @any_unrestricted:	the same, to be read at once
 * @cpu:		their numbers
 * @apicid:		and where to send interrupts
 *
 * Each thread writes no byte but its own.
 */
struct asi_core {
	union {
		u8	untrusted[ASI_MAX_THREADS];
		u64	any_untrusted;
	};
	union {
		u8	unrestricted[ASI_MAX_THREADS];
		u64	any_unrestricted;
	};
	u32	cpu[ASI_MAX_THREADS];
	u32	apicid[ASI_MAX_THREADS];
};

/**
 * struct asi_cpu - one CPU's ASI state; changed with interrupts off
 * @todo:		ASI_TODO_ENTER is the intent: set before anything of an
 *			exit happens, cleared after everything of an enter has.
 *			Set with another root than the unrestricted one loaded is
 *			legal (a transition is under way, or was overtaken by a
 *			read-modify-write of CR3): the next access to sensitive
 *			memory exits again. ASI_TODO_TAINT: another process has
 *			been loaded, data may have to be flushed, or the guest root
 *			is loaded. All clear means that the restricted root is, and
 *			what the kernel has left is flushed
 * @taints:		what has happened since the last flushes, see asi_taint.h;
 *			those of user mode are there while @todo is clear
 * @thread:		which thread of @core this is
 * @tainted_by:		the ctx_id of the mm that is "user" in @taints
 * @flush_pending:	for each root the PCIDs (bit N for kernel PCID N) whose
 *			translations are stale, to be flushed when that root is
 *			loaded next
 * @exits:		how many there were, from the guest root to the restricted one
 *			as well
 * @core:		what it shares with its SMT siblings
 * @violations:		how often this was found not to hold, see asi_check()
 */
struct asi_cpu {
	u8	todo;
	u8	taints;
	u8	thread;
	u16	flush_pending[ASI_NR_ROOTS];
	unsigned int exits;
	u64	tainted_by;
	struct asi_core *core;
#ifdef CONFIG_ASI_DEBUG
	unsigned int violations;
#endif
};

DECLARE_PER_CPU(struct asi_cpu, asi_cpu);

/* Are ASI's address spaces in use? Decided once, before the direct map is built. */
static __always_inline bool asi_enabled(void)
{
	return cpu_feature_enabled(X86_FEATURE_ASI);
}

/* CR3 of @root, given that of any kernel root of the same mm. */
static __always_inline unsigned long
asi_cr3(unsigned long cr3, enum asi_root root, bool pcid)
{
	unsigned long mask = ASI_CR3_ROOT_MASK, bits = 0;

	if (pcid)
		mask |= ASI_CR3_PCID_MASK;
	if (root == ASI_ROOT_RESTRICTED)
		bits = ASI_CR3_RESTRICTED | ASI_CR3_PCID_RESTRICTED;
	else if (root == ASI_ROOT_GUEST)
		bits = ASI_CR3_GUEST | ASI_CR3_PCID_GUEST;

	return (cr3 & ~mask) | (bits & mask);
}

/* The kernel root that @cr3 is a value for. */
static __always_inline enum asi_root asi_root_of(unsigned long cr3)
{
	if (cr3 & ASI_CR3_RESTRICTED)
		return ASI_ROOT_RESTRICTED;
	return cr3 & ASI_CR3_GUEST ? ASI_ROOT_GUEST : ASI_ROOT_UNRESTRICTED;
}

/*
 * The value to write to CR3 to get to @root from any kernel root of the same
 * mm: the TLB is kept, unless @pending says that it is stale.
 */
static __always_inline unsigned long
asi_cr3_load(unsigned long cr3, enum asi_root root, bool pcid, u16 pending)
{
	unsigned int id = cr3 & ASI_CR3_ASID_MASK;

	cr3 = asi_cr3(cr3 & ~CR3_NOFLUSH, root, pcid);
	if (pcid && !(pending & BIT(id)))
		cr3 |= CR3_NOFLUSH;
	return cr3;
}

/* Context: interrupts off, noinstr. */
static __always_inline enum asi_root asi_loaded_root(void)
{
	return asi_root_of(__native_read_cr3());
}

/* Is sensitive memory unmapped, by whichever root? The same context. */
static __always_inline bool asi_in_restricted(void)
{
	return __native_read_cr3() & ASI_CR3_ROOT_MASK;
}

/* Does this CPU mean to be unrestricted? See @todo above. */
static __always_inline bool asi_has_exited(void)
{
	return this_cpu_read(asi_cpu.todo) & ASI_TODO_ENTER;
}

/* CR3 without what a transition changes, to compare with what mm code expects. */
static inline unsigned long asi_cr3_unrestricted(unsigned long cr3)
{
	if (!asi_enabled())
		return cr3;
	return asi_cr3(cr3, ASI_ROOT_UNRESTRICTED,
		       cpu_feature_enabled(X86_FEATURE_PCID));
}

/* Given the unrestricted CR3 of the loaded mm: the one that is loaded. */
static inline unsigned long asi_current_cr3(unsigned long cr3)
{
	if (!asi_enabled())
		return cr3;
	return asi_cr3(cr3, asi_loaded_root(), cpu_feature_enabled(X86_FEATURE_PCID));
}

DECLARE_STATIC_KEY_FALSE(asi_stuns_siblings);
DECLARE_STATIC_KEY_FALSE(asi_flushes_always);

/* Do siblings run no untrusted code while this CPU is unrestricted? */
static __always_inline bool asi_stuns(void)
{
	return static_branch_unlikely(&asi_stuns_siblings);
}

/* Context: interrupts off. */
static __always_inline bool asi_has_stunned(void)
{
	return asi_stuns() &&
	       READ_ONCE(this_cpu_read(asi_cpu.core)->unrestricted[this_cpu_read(asi_cpu.thread)]);
}

void __asi_enter(void);
void __asi_publish(void);
void __asi_relax(void);
bool __asi_fault(struct pt_regs *regs, unsigned long error_code,
		 unsigned long address);
u16 __asi_nmi_enter(void);
void __asi_nmi_exit(u16 found);
void __asi_enter_guest(void);
void __asi_leave_guest(void);
void asi_want_process(void);
void __asi_flush_always(void);
void __asi_check_user_entry(void);
void __asi_trace_enter(void);

/**
 * asi_enter - go back to the restricted address space
 *
 * The last thing before untrusted code runs. Nothing sensitive may be touched
 * from here on.
 *
 * Context: noinstr, interrupts off.
 */
static __always_inline void asi_enter(void)
{
	if (!asi_enabled())
		return;
	if (unlikely(this_cpu_read(asi_cpu.todo)))
		__asi_enter();
	if (asi_stuns())
		__asi_publish();
}

/**
 * asi_withdraw - untrusted code does not run here anymore
 *
 * The first thing after it. An exit waits until it has been said.
 *
 * Context: noinstr, interrupts off.
 */
static __always_inline void asi_withdraw(void)
{
	struct asi_core *core;

	if (!asi_stuns())
		return;
	core = this_cpu_read(asi_cpu.core);
	WRITE_ONCE(core->untrusted[this_cpu_read(asi_cpu.thread)], 0);
}

/* Count, for tests, what must never be. Context: noinstr. */
static __always_inline void asi_check(bool holds)
{
#ifdef CONFIG_ASI_DEBUG
	if (unlikely(!holds))
		this_cpu_inc(asi_cpu.violations);
#endif
}

/**
 * asi_from_user_mode - user mode has been left
 *
 * It ran restricted, with the flushes done, and is known to have run. Had the return to
 * it not entered, it would have got no further than to its first instruction, which
 * cannot be executed on the unrestricted root.
 *
 * Context: noinstr, as the first thing on an entry from user mode.
 */
static __always_inline void asi_from_user_mode(void)
{
	asi_withdraw();
	if (IS_ENABLED(CONFIG_ASI_DEBUG) && asi_enabled())
		__asi_check_user_entry();
	if (static_branch_unlikely(&asi_flushes_always))
		__asi_flush_always();
}

/* The tracepoint of asi_enter(), called where RCU still watches. */
static inline void asi_trace_enter(void)
{
	if (asi_enabled() && unlikely(asi_has_exited()))
		__asi_trace_enter();
}

/**
 * asi_fault - recover from a kernel access to sensitive memory
 * @regs:	registers of the faulting context
 * @error_code:	of the #PF
 * @address:	that was accessed
 *
 * Context: noinstr, interrupts off, on any stack and in any context the kernel
 * may legally run in, NMI included.
 *
 * Return: true when the fault was ASI's and the access is to be retried.
 */
static __always_inline bool asi_fault(struct pt_regs *regs,
				      unsigned long error_code,
				      unsigned long address)
{
	return asi_enabled() && __asi_fault(regs, error_code, address);
}

/*
 * Enclose everything NMI-like that may fault; root, intent and taints are restored
 * as found.
 */
static __always_inline u16 asi_nmi_enter(void)
{
	return asi_enabled() ? __asi_nmi_enter() : 0;
}

static __always_inline void asi_nmi_exit(u16 found)
{
	if (asi_enabled())
		__asi_nmi_exit(found);
}

/**
 * asi_enter_guest - the process that is loaded is about to run a guest
 *
 * Goes to the address space for guests. Nothing between this and the VM entry may
 * touch sensitive memory, or what is the process's own: the guest would run without a
 * taint, or beside its VMM. The VM exit has to load the guest root, see asi_host_cr3().
 *
 * Context: noinstr, interrupts off.
 */
static __always_inline void asi_enter_guest(void)
{
	if (asi_enabled())
		__asi_enter_guest();
}

/* The first thing after the VM exit. Context: noinstr, interrupts off. */
static __always_inline void asi_leave_guest(void)
{
	if (asi_enabled())
		__asi_leave_guest();
}

extern enum asi_root asi_guest_root;

/* Does a process have an address space for its guests, apart from its own? */
static inline bool asi_has_guest_root(void)
{
	return IS_ENABLED(CONFIG_KVM) && asi_enabled() && asi_guest_root == ASI_ROOT_GUEST;
}

/**
 * asi_host_cr3 - what a VM exit has to load
 * @cr3:	that is loaded now
 *
 * For VMX. The others load on a VM exit what was loaded on the VM entry.
 */
static inline unsigned long asi_host_cr3(unsigned long cr3)
{
	return asi_enabled() ? asi_cr3(cr3, asi_guest_root,
				       cpu_feature_enabled(X86_FEATURE_PCID)) : cr3;
}

/*
 * For NMI-like entries that may interrupt a page fault before it has read CR2,
 * and did not fault by themselves without ASI.
 */
static __always_inline unsigned long asi_save_cr2(void)
{
	return asi_enabled() ? native_read_cr2() : 0;
}

static __always_inline void asi_restore_cr2(unsigned long cr2)
{
	if (asi_enabled() && unlikely(native_read_cr2() != cr2))
		native_write_cr2(cr2);
}

/* TLB state: arch/x86/mm/tlb.c and asi_switch.c */
void asi_load_mm(unsigned long cr3);
void asi_switch_taints(const struct mm_struct *next);
void asi_flush_asid_later(u16 pcid);
void asi_flush_other_roots_later(void);
void asi_flush_window(unsigned long address, unsigned int exits);
void asi_taint_window(void);
void asi_cpu_reset(void);
void asi_exit(void);

/* SMT siblings: asi_stun.c */
void asi_stun_join(int cpu);
void asi_stun_leave(void);
void __asi_called_in(void);
void asi_stunned(bool guest);

/* From an interrupt that may have been sent to stop untrusted code. */
static inline void asi_called_in(void)
{
	if (asi_stuns())
		__asi_called_in();
}

/*
 * Let siblings go while this CPU is idle.
 *
 * Context: noinstr, interrupts off.
 */
static __always_inline void asi_idle_enter(void)
{
	if (asi_has_stunned())
		__asi_relax();
}

/* Boot: asi.c */
void __init asi_check_boottime(void);
void __init asi_request_flush(u8 flushes);
bool __init asi_can_flush(u8 flushes);
void __init asi_keeps(u8 flushes, const char *what, const char *reason);
void __init asi_take_over(u8 flushes, const char *bug);
bool asi_stands_in(u8 flushes);
void asi_taint_l1d(void);
void __init asi_select_flushes(void);

/* The restricted direct map: asi_directmap.c */
void __init asi_directmap_init(void);
int asi_directmap_extend(u64 start, u64 size);
void asi_directmap_remove(u64 start, u64 size);
void asi_directmap_sync(unsigned long address);

/* Memory that one mm alone maps: asi_local.c */
void __init asi_local_place(void);
int asi_local_init(struct mm_struct *mm);
void asi_local_exit(struct mm_struct *mm, pgd_t *root);
void *asi_local_alloc(struct mm_struct *mm);
void asi_local_free(struct mm_struct *mm, void *p);
void *asi_local_alias(const void *p);

/* Page-table roots of a CPU: asi_root.c */
#define ASI_ROOT_BLOCKS	2

pgd_t *asi_root_load(struct mm_struct *mm);
pgd_t *asi_root_pgd(const struct mm_struct *mm);
void asi_root_note(struct mm_struct *mm, unsigned long address);
bool asi_root_fault(unsigned long address);
void asi_root_copy(unsigned long address);
bool asi_root_refresh(void);
pgd_t *asi_root_block(unsigned int cpu, int nr);

/* Windows onto sensitive pages: asi_window.c */
void asi_window_switch(const struct task_struct *next);

/* What one mm maps as well: asi_expose.c */
void asi_expose_exit(struct mm_struct *mm, pgd_t *root);

#else /* !CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#ifndef asi_enabled
#define asi_enabled asi_enabled
static __always_inline bool asi_enabled(void) { return false; }
#endif
static __always_inline void asi_enter(void) { }
static __always_inline void asi_from_user_mode(void) { }
static inline void asi_trace_enter(void) { }
static __always_inline bool asi_fault(struct pt_regs *regs,
				      unsigned long error_code,
				      unsigned long address) { return false; }
static __always_inline u16 asi_nmi_enter(void) { return 0; }
static __always_inline void asi_nmi_exit(u16 found) { }
static __always_inline void asi_enter_guest(void) { }
static __always_inline void asi_leave_guest(void) { }
static inline void asi_want_process(void) { }
static inline unsigned long asi_host_cr3(unsigned long cr3) { return cr3; }
static inline bool asi_has_guest_root(void) { return false; }
static inline void asi_switch_taints(const struct mm_struct *next) { }
static __always_inline unsigned long asi_save_cr2(void) { return 0; }
static __always_inline void asi_restore_cr2(unsigned long cr2) { }
static inline void asi_cpu_reset(void) { }
static inline void asi_exit(void) { }
static inline void asi_stun_join(int cpu) { }
static inline void asi_stun_leave(void) { }
static inline void asi_called_in(void) { }
static inline void asi_check_boottime(void) { }
static inline void asi_request_flush(u8 flushes) { }
static inline bool asi_can_flush(u8 flushes) { return false; }
static inline void asi_keeps(u8 flushes, const char *what, const char *reason) { }
static inline void asi_take_over(u8 flushes, const char *bug) { }
static inline bool asi_stands_in(u8 flushes) { return false; }
static inline void asi_taint_l1d(void) { }
static inline unsigned long asi_cr3_unrestricted(unsigned long cr3) { return cr3; }
static inline unsigned long asi_current_cr3(unsigned long cr3) { return cr3; }
static inline void asi_select_flushes(void) { }
static inline void asi_directmap_init(void) { }
static inline int asi_directmap_extend(u64 start, u64 size) { return 0; }
static inline void asi_directmap_remove(u64 start, u64 size) { }
static inline void asi_directmap_sync(unsigned long address) { }
static inline int asi_local_init(struct mm_struct *mm) { return 0; }
static inline void asi_local_exit(struct mm_struct *mm, pgd_t *root) { }
static inline pgd_t *asi_root_load(struct mm_struct *mm) { return mm->pgd; }
static inline pgd_t *asi_root_pgd(const struct mm_struct *mm) { return mm->pgd; }
static inline bool asi_root_fault(unsigned long address) { return false; }
static inline void asi_root_copy(unsigned long address) { }
static inline bool asi_root_refresh(void) { return false; }
static inline void asi_window_switch(const struct task_struct *next) { }
static inline void asi_expose_exit(struct mm_struct *mm, pgd_t *root) { }

#endif /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#endif /* _ASM_X86_ASI_H */
