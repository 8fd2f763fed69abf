// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: transitions between the restricted address spaces, of
 * processes and of guests, and the unrestricted one.
 *
 *	exit:	intent set -> siblings stunned -> control flush -> unrestricted CR3 ->
 *		data taint
 *	enter:	restricted CR3 -> data flush -> control taint -> siblings released ->
 *		intent cleared
 *
 * Between the two restricted ones it is the same in small: on the way from the guest's
 * to the process's control is flushed before the root is loaded, as the memory of the
 * process is what a guest must not get at, and on the way back data after it. That
 * needs no intent and stuns nobody: siblings that run restricted have it all the time.
 *
 * Control-flow state that untrusted code could have trained is flushed while
 * the secrets are still unmapped. What the kernel left in the caches and
 * buffers is flushed when they are unmapped again, or speculation between the
 * flush and the switch could bring it back. Taints (asi_taint.h) tell whether
 * either flush is needed; a flush comes before its taints are cleared.
 *
 * Both run with interrupts off, touch nothing but nonsensitive memory and may
 * be interrupted at any instruction by an NMI, #MC, #DB or a breakpoint, whose
 * handler may fault on sensitive memory and exit by itself. All of these are
 * enclosed in __asi_nmi_enter() and __asi_nmi_exit(), which put back root,
 * intent and taints as they were found, so that neither transition, nor a
 * read-modify-write of CR3 or of taints, notices:
 *
 *  - an exit that is interrupted after its control flush goes on to the
 *    unrestricted root. The handler ran kernel code only, so nothing untrusted
 *    has trained anything since that flush;
 *  - an enter that is interrupted after its data flush would return to user
 *    mode with what the handler has read in the buffers. __asi_nmi_exit()
 *    therefore flushes whenever it goes back to the restricted root;
 *  - what a handler has flushed it leaves tainted, if that is how it was found:
 *    user mode, which it may have interrupted, goes on without tainting anew, and
 *    a transition acts on the taints that it has read before.
 *
 * Siblings (asi_stun.c) are stunned before the control flush, or they would train
 * again after it, and released after the data flush.
 *
 * An exit taints data after it has loaded the unrestricted root. Before that there
 * are no secrets to taint with, and after it a handler goes back to that root and
 * flushes nothing.
 */
#include <linux/asi.h>
#include <linux/bitfield.h>
#include <linux/entry-common.h>
#include <linux/instrumentation.h>
#include <linux/jump_label.h>
#include <linux/kvm_types.h>
#include <linux/mm.h>
#include <linux/vmstat.h>

#include <asm/asi.h>
#include <asm/barrier.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/trap_pf.h>

#include <trace/events/asi.h>

#include "asi_internal.h"
#include "asi_taint.h"

/* A CPU comes up unrestricted, on the root that the boot code has loaded. */
DEFINE_PER_CPU(struct asi_cpu, asi_cpu) = {
	.todo = ASI_TODO_ENTER,
	.core = &asi_no_core,
};
EXPORT_PER_CPU_SYMBOL_GPL(asi_cpu);

struct asi_policy asi_policies[ASI_NR_RUNS] __ro_after_init;
u8 asi_released __ro_after_init;
u8 asi_taken_over __ro_after_init;
u8 asi_sibling_leaks __ro_after_init;

/* What guests run beside: the restricted root if they are not to have their own. */
enum asi_root asi_guest_root __ro_after_init = ASI_ROOT_GUEST;
EXPORT_SYMBOL_FOR_KVM(asi_guest_root);

DEFINE_STATIC_KEY_FALSE_RO(asi_flush_ibpb);
DEFINE_STATIC_KEY_FALSE_RO(asi_flush_rsb);
DEFINE_STATIC_KEY_FALSE_RO(asi_flush_bhb);
DEFINE_STATIC_KEY_FALSE_RO(asi_flush_verw);
DEFINE_STATIC_KEY_FALSE_RO(asi_flush_l1d);
DEFINE_STATIC_KEY_FALSE_RO(asi_flush_l1d_guest);
DEFINE_STATIC_KEY_FALSE_RO(asi_verw_siblings);
DEFINE_STATIC_KEY_FALSE_RO(asi_flushes_always);

/*
 * The common counter functions may be instrumented, which is forbidden here.
 * Preemption is off, as interrupts are.
 */
#define asi_count(item) this_cpu_inc(vm_event_states.event[item])

/* What untrusted code has left to steer the kernel by. */
static __always_inline void asi_flush_control(void)
{
	bool ibpb = static_branch_unlikely(&asi_flush_ibpb);
	bool rsb = static_branch_unlikely(&asi_flush_rsb);
	bool bhb = static_branch_unlikely(&asi_flush_bhb);

	/* IBPB first: it may leave entries in the return buffer, and history. */
	if (ibpb)
		indirect_branch_prediction_barrier();
	if (rsb)
		asi_fill_return_buffer();
	if (bhb)
		clear_bhb_loop();
	if (ibpb || rsb || bhb)
		asi_count(ASI_FLUSH_CONTROL);
}

const u8 *asi_l1d_pages __ro_after_init;

/* Without a command for it: what is read displaces what is there. */
static noinline noinstr void asi_fill_l1d(void)
{
	const u8 *pages = asi_l1d_pages;
	int i;

	/* Walks of page tables are not to come in between. */
	for (i = 0; i < PAGE_SIZE << ASI_L1D_ORDER; i += PAGE_SIZE)
		(void)READ_ONCE(pages[i]);
	barrier_nospec();
	for (i = 0; i < PAGE_SIZE << ASI_L1D_ORDER; i += L1_CACHE_BYTES)
		(void)READ_ONCE(pages[i]);
	barrier_nospec();
}

/*
 * What the kernel has left to be read by untrusted code, which may be that of a guest.
 *
 * Siblings that are stunned will run again, and may run guests. Where each exit to user mode,
 * or VM entry, does VERW by itself, that is too late for them.
 */
static __always_inline void asi_flush_data(bool guest)
{
	bool stunned = asi_has_stunned();
	bool l1d = static_branch_unlikely(&asi_flush_l1d) ||
		   ((guest || stunned) && static_branch_unlikely(&asi_flush_l1d_guest));
	bool verw = static_branch_unlikely(&asi_flush_verw) ||
		    (stunned && static_branch_unlikely(&asi_verw_siblings));

	/* VERW last: what flushes L1D goes through the buffers that it clears. */
	if (l1d && cpu_feature_enabled(X86_FEATURE_FLUSH_L1D))
		native_wrmsrq(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	else if (l1d)
		asi_fill_l1d();
	if (verw)
		x86_clear_cpu_buffers();
	if (l1d)
		asi_count(ASI_FLUSH_CACHE);
	if (l1d || verw)
		asi_count(ASI_FLUSH_DATA);
}

static __always_inline void asi_taint(u8 taints)
{
	this_cpu_or(asi_cpu.taints, taints);
}

static __always_inline void asi_untaint(u8 taints)
{
	this_cpu_and(asi_cpu.taints, taints ^ U8_MAX);
}

/* A function, so that flushes.py knows. */
static noinstr void __asi_release(void)
{
	struct asi_core *core = this_cpu_read(asi_cpu.core);

	asi_taint(asi_released);
	/* CR3 has been written and data flushed, all by serializing instructions. */
	smp_store_release(&core->unrestricted[this_cpu_read(asi_cpu.thread)], 0);
}

/* After whatever flushes what they must not see. */
static __always_inline void asi_release(void)
{
	if (asi_stuns())
		__asi_release();
}

static __always_inline bool asi_is_published(void)
{
	return asi_stuns() &&
	       READ_ONCE(this_cpu_read(asi_cpu.core)->untrusted[this_cpu_read(asi_cpu.thread)]);
}

/* Siblings are untrusted code, whatever this CPU is to run. */
static __always_inline void asi_flush_and_release(void)
{
	if (this_cpu_read(asi_cpu.taints) & asi_sibling_leaks) {
		asi_flush_data(true);
		asi_untaint(ASI_DATA_TAINTS);
		/* The process that is loaded stays within reach. */
		if (asi_loaded_root() == ASI_ROOT_RESTRICTED)
			asi_taint(ASI_DATA_USER);
	}
	asi_release();
}

/* Whatever must not be there when @next runs. */
static __always_inline void asi_flush_before(enum asi_runs next)
{
	u8 flush = asi_taints_to_flush(this_cpu_read(asi_cpu.taints),
				       &asi_policies[next]);
	/* Siblings that are not stunned go on training. */
	u8 kept = next != ASI_RUNS_KERNEL && asi_stuns() ? asi_released : 0;

	if (flush & ASI_CONTROL_TAINTS)
		asi_flush_control();
	/* Last, as VERW is. */
	if (flush & ASI_DATA_TAINTS) {
		bool guest = next == ASI_RUNS_GUEST || asi_has_stunned();

		asi_flush_data(guest);
		/* At no time is there no taint of what is in L1D. */
		if (!guest && static_branch_unlikely(&asi_flush_l1d_guest)) {
			asi_taint(ASI_DATA_CACHED);
			kept |= ASI_DATA_CACHED;
		}
	}
	asi_untaint(asi_taints_flushed(flush) & ~kept);
}

/*
 * Load @root of the mm and ASID that @cr3 is a CR3 value of.
 *
 * The pending bit is cleared only when the flush has been done: an NMI between
 * the two flushes once more, one between a clear and the CR3 write that was to
 * flush would run on stale translations.
 *
 * An NMI may set the bit, as firmware error handling flushes its fixmap page
 * when there is no INVPCID. If it does so after the bit was read as clear, the
 * bit stays set, and the root is loaded with a stale translation of that page,
 * which only the next such NMI uses, after it has flushed it again.
 */
static __always_inline void asi_write_cr3(unsigned long cr3, enum asi_root root)
{
	bool pcid = cpu_feature_enabled(X86_FEATURE_PCID);
	u16 pending = this_cpu_read(asi_cpu.flush_pending[root]);

	native_write_cr3(asi_cr3_load(cr3, root, pcid, pending));

	if (pcid && (pending & BIT(cr3 & ASI_CR3_ASID_MASK)))
		this_cpu_and(asi_cpu.flush_pending[root],
			     ~BIT(cr3 & ASI_CR3_ASID_MASK));
}

/*
 * The kernel needs what is the process's own, or user mode is to run. A function, so
 * that flushes.py knows.
 */
static noinline noinstr void asi_leave_guest_root(void)
{
	asi_flush_before(ASI_RUNS_PROCESS);
	asi_write_cr3(__native_read_cr3(), ASI_ROOT_RESTRICTED);
	this_cpu_inc(asi_cpu.exits);
	asi_taint(asi_policies[ASI_RUNS_PROCESS].leaves);
	asi_count(ASI_SWITCH);
}

noinstr void __asi_enter(void)
{
	if (this_cpu_read(asi_cpu.todo) & ASI_TODO_ENTER) {
		/* Once. Without KPTI only: with it, the next CR3 is that of no root. */
		if (asi_broken(ASI_BREAK_NOENTER) && current == asi_break_task) {
			asi_mend(ASI_BREAK_NOENTER);
			return;
		}
		asi_write_cr3(__native_read_cr3(), ASI_ROOT_RESTRICTED);
		asi_count(ASI_ENTER);
	} else if (asi_loaded_root() == ASI_ROOT_GUEST) {
		asi_leave_guest_root();
	}
	asi_flush_before(ASI_RUNS_USER);
	asi_taint(asi_policies[ASI_RUNS_USER].leaves);
	if (asi_has_stunned())
		asi_flush_and_release();
	else
		asi_release();

	/* Last: the way back to user mode looks at nothing else. */
	barrier();
	this_cpu_write(asi_cpu.todo, 0);
}

/**
 * __asi_relax - go back to the restricted address space, and let siblings go
 *
 * The kernel goes on, and exits again with the next access to sensitive memory. Of
 * what user mode must not be steered by, its own return takes care.
 *
 * Context: noinstr, interrupts off, the intent is set, which asi_has_stunned() implies;
 * whatever runs, or has been interrupted, must not rely on being unrestricted.
 */
noinstr void __asi_relax(void)
{
	asi_write_cr3(__native_read_cr3(), ASI_ROOT_RESTRICTED);
	asi_count(ASI_ENTER);
	asi_flush_and_release();

	barrier();
	this_cpu_write(asi_cpu.todo, ASI_TODO_TAINT);
}
EXPORT_SYMBOL_GPL(__asi_relax);

static __always_inline void __asi_exit(void)
{
	this_cpu_or(asi_cpu.todo, ASI_TODO_ENTER);
	/* First: an NMI from here on must find that an exit is under way. */
	barrier();

	asi_stun();
	asi_flush_before(ASI_RUNS_KERNEL);
	asi_write_cr3(__native_read_cr3(), ASI_ROOT_UNRESTRICTED);
	asi_taint(asi_policies[ASI_RUNS_KERNEL].leaves);
	this_cpu_inc(asi_cpu.exits);
	asi_count(ASI_EXIT);
}

/**
 * asi_exit - go to the unrestricted address space and stay there
 *
 * For code that is about to load a CR3 of its own or to save the current one,
 * and for which a page fault would be fatal. The next return to user mode
 * enters again.
 *
 * Context: any. With preemption on, the effect lasts until the task is scheduled
 * away; with interrupts on it may end with any of them (asi_let_go()), unless
 * an mm is loaded that is not the task's.
 */
void asi_exit(void)
{
	unsigned long flags;

	if (!asi_enabled())
		return;

	raw_local_irq_save(flags);
	if (asi_in_restricted())
		__asi_exit();
	raw_local_irq_restore(flags);
}

noinstr bool __asi_fault(struct pt_regs *regs, unsigned long error_code,
			 unsigned long address)
{
	bool trace, guest;

	/*
	 * Sensitive memory is simply not present. User mode cannot cause this
	 * fault: what the CPU reads on its behalf (descriptor tables) is never
	 * sensitive, and returning to user mode from here would not enter.
	 */
	if (user_mode(regs))
		return false;

	/* With WRUSS the kernel writes as user mode, and faults as such. */
	guest = asi_loaded_root() == ASI_ROOT_GUEST;
	if (error_code & ~(X86_PF_WRITE | (guest ? X86_PF_USER | X86_PF_SHSTK : 0)))
		return false;

	/* What the mm has got since this CPU has copied its roots */
	if ((long)address < 0 && asi_root_fault(address))
		return true;

	/*
	 * The guest root lacks what the process has for itself as well: the user half,
	 * what it alone maps and what is exposed to it. If that does not have it either,
	 * the retry faults again, and not here. The direct map is the same.
	 *
	 * LDTs are mapped: load_gs_index() changes GS around the access to them, so that
	 * a fault there must not be retried (error_entry).
	 */
	if (guest && address - PAGE_OFFSET > DIRECT_MAP_PHYSMEM_END) {
		asi_leave_guest_root();
		return true;
	}

	/* This is where the two other spaces differ. */
	if (address - PAGE_OFFSET > DIRECT_MAP_PHYSMEM_END &&
	    !(address >= ASI_VMALLOC_START && address < VMALLOC_END))
		return false;

	/*
	 * No need to look whether the unrestricted root maps the address: if it
	 * does not, the retry faults again, not restricted, and is the bug that
	 * it would have been without ASI. When another CPU has meanwhile
	 * mapped the block, the exit was for nothing but does no harm.
	 */
	if (!asi_in_restricted())
		return false;

	__asi_exit();

	instrumentation_begin();
	trace = trace_asi_exit_enabled();
	instrumentation_end();

	/* Tracing wants what every #PF handler has: RCU, lockdep state. */
	if (unlikely(trace)) {
		irqentry_state_t state = irqentry_enter(regs);

		instrumentation_begin();
		trace_asi_exit(address, regs->ip, guest ? "guest" : "user");
		instrumentation_end();
		irqentry_exit(regs, state);
	}

	return true;
}

/* What an NMI-like entry has found: @todo and @taints of struct asi_cpu, and */
#define ASI_NMI_TODO		GENMASK(1, 0)
#define ASI_NMI_ROOT		GENMASK(3, 2)	/* enum asi_root */
#define ASI_NMI_STUNNED		BIT(4)		/* siblings, for an exit that it interrupted */
#define ASI_NMI_PUBLISHED	BIT(5)		/* untrusted code, that it interrupted */
#define ASI_NMI_TAINTS_SHIFT	8

static __always_inline u16 asi_nmi_state(void)
{
	return this_cpu_read(asi_cpu.todo) |
	       FIELD_PREP(ASI_NMI_ROOT, asi_loaded_root()) |
	       (asi_has_stunned() ? ASI_NMI_STUNNED : 0) |
	       (asi_is_published() ? ASI_NMI_PUBLISHED : 0) |
	       this_cpu_read(asi_cpu.taints) << ASI_NMI_TAINTS_SHIFT;
}

noinstr u16 __asi_nmi_enter(void)
{
	u16 found = asi_nmi_state();

	/* At no instruction of a transition are both clear. */
	asi_check(found & (ASI_TODO_ENTER | ASI_NMI_ROOT));
	asi_withdraw();
	return found;
}

/*
 * Nothing that follows on the way out may touch sensitive memory. Where user
 * mode was interrupted this is also the enter: exc_nmi() does not pass
 * exit_to_user_mode().
 */
noinstr void __asi_nmi_exit(u16 found)
{
	enum asi_root root = FIELD_GET(ASI_NMI_ROOT, found), left = asi_loaded_root();

	if (root != ASI_ROOT_UNRESTRICTED && left != root) {
		asi_write_cr3(__native_read_cr3(), root);
		/* A VM entry may be under way. */
		asi_flush_data(true);
		asi_untaint(ASI_DATA_TAINTS);
		if (left == ASI_ROOT_UNRESTRICTED)
			asi_count(ASI_ENTER);
		else
			asi_count(ASI_SWITCH);
	}
	/* Only those that it has stunned by itself: in an exit, after which it has flushed. */
	if (!(found & ASI_NMI_STUNNED) && asi_has_stunned())
		asi_release();
	asi_taint(found >> ASI_NMI_TAINTS_SHIFT);

	barrier();
	this_cpu_write(asi_cpu.todo, found & ASI_NMI_TODO);
	if (found & ASI_NMI_PUBLISHED)
		__asi_publish();
	/* kgdb may have loaded another mm, and taints have been added. */
	asi_check(!((asi_nmi_state() ^ found) & (u8)~0));
}

/*
 * The blanket mitigation, to compare with: flush what user mode has trained, and take
 * the kernel to leave something behind, whether it exits or not.
 */
noinstr void __asi_flush_always(void)
{
	asi_flush_control();
	/* Siblings go on training. */
	if (!asi_stuns())
		asi_untaint(ASI_CONTROL_TAINTS);
	asi_taint(ASI_DATA_KERNEL);
	this_cpu_or(asi_cpu.todo, ASI_TODO_TAINT);
}

#ifdef CONFIG_ASI_DEBUG
noinstr void __asi_check_user_entry(void)
{
	asi_check(asi_loaded_root() == ASI_ROOT_RESTRICTED &&
		  !this_cpu_read(asi_cpu.todo) &&
		  (this_cpu_read(asi_cpu.taints) & ASI_CONTROL_USER));
}
#endif

/**
 * asi_load_mm - switch to another mm, or to another ASID
 * @cr3: for the unrestricted root
 *
 * Stays restricted or unrestricted, as the CPU is, whatever the intent is: an exit may
 * be under way (kgdb loads an mm from an NMI), and its flush not done. Who switches
 * while the guest root is loaded does something else next than to run that guest. It
 * has left the guest root already if it has saved vector registers on the way.
 *
 * Context: interrupts off.
 */
void asi_load_mm(unsigned long cr3)
{
	enum asi_root root = asi_in_restricted() ? ASI_ROOT_RESTRICTED :
						   ASI_ROOT_UNRESTRICTED;

	if (asi_loaded_root() == ASI_ROOT_GUEST) {
		/* As asi_leave_guest_root() */
		asi_flush_before(ASI_RUNS_PROCESS);
		asi_taint(asi_policies[ASI_RUNS_PROCESS].leaves);
	}
	asi_write_cr3(cr3, root);
	if (root == ASI_ROOT_RESTRICTED)
		asi_count(ASI_SWITCH);
}

/**
 * asi_switch_taints - the code and data of another process become this one's
 * @next: is about to be loaded, by asi_load_mm()
 *
 * Of init_mm nothing runs that is not trusted: whoever ran before it may be who
 * runs after it. An mm may be freed and its address used again, its ID is not.
 *
 * The kernel goes on, and may be steered by what the process before has trained: that is
 * flushed before anything of @next is within reach. If an exit has flushed, or this has, no
 * untrusted code runs on this CPU until then.
 *
 * What was within reach stays so until the root of @next is loaded. An NMI before
 * that puts back the taints that it has found, whichever these are. One that loads
 * another mm (kgdb writes to text by one that maps nothing else) loads again what it has
 * found, or no process, and does not say whose taints these are.
 *
 * Context: interrupts off.
 */
noinstr void asi_switch_taints(const struct mm_struct *next)
{
	u64 id = next->context.ctx_id;

	if (next == &init_mm || this_cpu_read(asi_cpu.tainted_by) == id)
		return;

	asi_flush_before(ASI_RUNS_OTHER);
	asi_taint(asi_taints_switched(this_cpu_read(asi_cpu.taints)));
	asi_untaint(ASI_CONTROL_USER | ASI_DATA_GUEST);
	/* User mode of @next may have to flush, and taints anew. */
	this_cpu_or(asi_cpu.todo, ASI_TODO_TAINT);
	if (!in_nmi())
		this_cpu_write(asi_cpu.tainted_by, id);
}

/*
 * Taints not after it has run: the first thing then may be an NMI that exits. That
 * user mode must not be steered by what it leaves is a matter of the next return to
 * it, which has the restricted root to load anyway.
 *
 * After a VM exit that changes no root, there is nothing to be done here: no taint has
 * been added that a guest must not see.
 */
noinstr void __asi_enter_guest(void)
{
	enum asi_root root = asi_guest_root;
	bool enter = asi_has_exited();

	if (enter || asi_loaded_root() != root) {
		/* All clear means that the restricted root is loaded. */
		this_cpu_or(asi_cpu.todo, ASI_TODO_TAINT);
		barrier();
		asi_write_cr3(__native_read_cr3(), root);
		if (enter)
			asi_count(ASI_ENTER);
		else
			asi_count(ASI_SWITCH);
	}
	if (asi_has_stunned())
		asi_flush_and_release();
	asi_flush_before(ASI_RUNS_GUEST);
	asi_taint(asi_policies[ASI_RUNS_GUEST].leaves);

	barrier();
	this_cpu_write(asi_cpu.todo, ASI_TODO_TAINT);
	if (asi_stuns())
		__asi_publish();
}
EXPORT_SYMBOL_FOR_KVM(__asi_enter_guest);

noinstr void __asi_leave_guest(void)
{
	asi_withdraw();
	if (IS_ENABLED(CONFIG_ASI_DEBUG))
		asi_check(asi_loaded_root() == asi_guest_root);
}
EXPORT_SYMBOL_FOR_KVM(__asi_leave_guest);

/**
 * asi_want_process - memory of the process is about to be looked at, for its guest
 *
 * After a VM exit the address space for guests is loaded still, which does not have it. A
 * fault would change that as well; but a window that is open before, and closed after, is
 * flushed for in the unrestricted root, too.
 *
 * Nothing that is traced may come between the look at the root and the change of it: it
 * could exit. NMIs put back what they find.
 *
 * Context: any but NMI. An exit between this and the access is no harm.
 */
noinstr void asi_want_process(void)
{
	unsigned long flags;

	raw_local_irq_save(flags);
	if (asi_loaded_root() == ASI_ROOT_GUEST)
		asi_leave_guest_root();
	raw_local_irq_restore(flags);
}
EXPORT_SYMBOL_FOR_KVM(asi_want_process);

/*
 * Which translations to flush later. Without PCID every write to CR3 flushes
 * all there is, so nothing is ever left.
 *
 * Context: interrupts off, or an exit could change roots in between.
 */
static __always_inline void asi_flush_root_later(enum asi_root root, u16 pcid)
{
	if (cpu_feature_enabled(X86_FEATURE_PCID))
		this_cpu_or(asi_cpu.flush_pending[root], BIT(pcid));
}

/**
 * asi_flush_asid_later - flush all roots of an ASID when they are loaded next
 * @pcid: the kernel PCID of the ASID
 */
void asi_flush_asid_later(u16 pcid)
{
	enum asi_root root;

	for (root = 0; root < ASI_NR_ROOTS; root++)
		asi_flush_root_later(root, pcid);
}

/**
 * asi_flush_other_roots_later - flush those that are not loaded when they are
 *
 * Of the loaded ASID, whose loaded root the caller flushes itself.
 *
 * Context: interrupts off and nothing that may be traced or probed, from here
 * until that flush: what traces may exit, and then it is the wrong root.
 */
noinstr void asi_flush_other_roots_later(void)
{
	unsigned long cr3 = __native_read_cr3();
	enum asi_root root;

	for (root = 0; root < ASI_NR_ROOTS; root++) {
		if (root != asi_root_of(cr3))
			asi_flush_root_later(root, cr3 & ASI_CR3_ASID_MASK);
	}
}

/**
 * asi_flush_window - forget a translation that only roots of this CPU have
 * @address: of the page, whose PTE is clear
 * @exits: asi_cpu.exits from before there was one, when the CPU was restricted
 *
 * If there has been no exit until after INVLPG, from the guest root neither, that was done
 * in the root that has been loaded all the time: the restricted one, or the guest root,
 * which has no windows. An exit in an interrupt, or in an NMI, which puts back the root
 * that it finds, is over and has been counted when this goes on.
 *
 * Otherwise it is done in the loaded root now, in the others when these are loaded next.
 * An NMI in between may load one of them, but puts back what it finds, and the entry is
 * clear.
 *
 * Context: any but NMI, preemption off since the translation may be there.
 */
noinstr void asi_flush_window(unsigned long address, unsigned int exits)
{
	unsigned long flags, cr3;

	asm volatile("invlpg (%0)" :: "r" (address) : "memory");
	if (likely(this_cpu_read(asi_cpu.exits) == exits))
		return;

	raw_local_irq_save(flags);
	cr3 = __native_read_cr3();
	if (asi_root_of(cr3) != ASI_ROOT_RESTRICTED)
		asi_flush_root_later(ASI_ROOT_RESTRICTED, cr3 & ASI_CR3_ASID_MASK);
	if (asi_root_of(cr3) != ASI_ROOT_UNRESTRICTED)
		asi_flush_root_later(ASI_ROOT_UNRESTRICTED, cr3 & ASI_CR3_ASID_MASK);
	asm volatile("invlpg (%0)" :: "r" (address) : "memory");
	raw_local_irq_restore(flags);
}

/**
 * asi_taint_window - what was within reach through a window must not be seen
 *
 * A page is mapped as a whole, and what its owner before has left is read on the way to
 * overwriting it. The taint comes first: who goes back to the restricted root in an
 * interrupt flushes, and user mode comes after what is to do.
 *
 * Context: preemption off.
 */
void asi_taint_window(void)
{
	asi_taint(asi_policies[ASI_RUNS_KERNEL].leaves);
	this_cpu_or(asi_cpu.todo, ASI_TODO_TAINT);
}

/**
 * asi_stands_in - has a mitigation that is always paid been replaced?
 * @flushes:	ASI_FLUSH_*, by any of these
 */
bool asi_stands_in(u8 flushes)
{
	return asi_taken_over & flushes;
}
EXPORT_SYMBOL_FOR_KVM(asi_stands_in);

/**
 * asi_taint_l1d - the guest that runs next must not read what the one before has in L1D,
 * or in the CPU's buffers
 *
 * For a guest that is a hypervisor and runs one of its own, and where another vCPU is
 * loaded than before: by their process alone, guests are not told from each other.
 *
 * Context: preemption off, or whoever runs the vCPU on another CPU next calls this there.
 */
void asi_taint_l1d(void)
{
	if (asi_stands_in(ASI_FLUSH_L1D_GUEST | ASI_FLUSH_VERW))
		asi_taint(ASI_DATA_CACHED);
}
EXPORT_SYMBOL_FOR_KVM(asi_taint_l1d);

/**
 * asi_cpu_reset - a CPU has come up, or back, on the unrestricted root
 *
 * The root that is loaded has been flushed. Other PCIDs may hold translations
 * from a time since when the CPU has missed flushes.
 *
 * Context: interrupts off.
 */
void asi_cpu_reset(void)
{
	enum asi_root root;

	this_cpu_write(asi_cpu.todo, ASI_TODO_ENTER);
	/* The firmware has been there, at least. */
	this_cpu_write(asi_cpu.taints, ASI_CONTROL_TAINTS | ASI_DATA_TAINTS);
	for (root = 0; root < ASI_NR_ROOTS; root++)
		this_cpu_write(asi_cpu.flush_pending[root], U16_MAX);
}

void __asi_trace_enter(void)
{
	trace_asi_enter("user");
}
