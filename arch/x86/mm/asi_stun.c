// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: SMT siblings.
 *
 * While a CPU is unrestricted, secrets are in caches and buffers that it shares
 * with its siblings, and what these train steers it. They must not run untrusted
 * code, that is user mode or a guest, until it is restricted again.
 *
 * Two bytes for each thread, in memory that the threads of a core share:
 *
 *	exit:		unrestricted = 1; barrier; wait while others are untrusted
 *	enter:		(CR3, flush) unrestricted = 0
 *	to user mode:	untrusted = 1; barrier; are others unrestricted?
 *	from user mode:	untrusted = 0
 *
 * Of an exit and a return to user mode that race, one at least sees the other, as
 * each writes before it reads, with a barrier between. If the exit sees it, it sends
 * an interrupt and waits until that has struck. If the return sees it, it sends the
 * interrupt to itself, and user mode does not get to execute an instruction: interrupts
 * are off until the IRET or SYSRET that turns them on, and a pending one is taken
 * before anything of user mode. It is for this that the return waits until its own APIC
 * has the interrupt. A VM entry with an interrupt pending is a VM exit.
 *
 * That interrupt has the task wait, with interrupts on, in exit_to_user_mode_loop(),
 * or the vCPU in xfer_to_guest_mode_handle_work().
 *
 * Nobody waits for ever:
 *
 *  - An exit waits with interrupts off, maybe within an NMI. It waits for threads that
 *    are in user mode, in a guest, or on their last instructions on the way there.
 *    These wait for nothing, and the interrupt strikes. When two threads exit at
 *    the same time, neither is untrusted.
 *  - A return does not wait where interrupts are off. In the loop it answers to
 *    whatever other work there is, and is restricted, having let go of its
 *    siblings, while it waits: two that wait are two of which nobody is unrestricted.
 *    Interrupts may have it exit; it looks again afterwards.
 *  - A CPU that stays unrestricted for long is interrupted by who waits for it. It goes
 *    back to the restricted address space, and exits again when it has to; in between
 *    a sibling can run. This takes as long as interrupts are off there, or firmware
 *    runs, whose page tables have no restricted root. An idle CPU is restricted, from
 *    where nothing can be traced any more, and after each interrupt again, which ends what
 *    it does. Where it polls instead, cpu_idle_poll() looks; poll_idle() ends after some
 *    microseconds, a tick at most. So is one that joins: should it hang on its way up,
 *    before it is online and can be asked, its siblings go on.
 *  - In a panic nobody waits for a CPU that may be dead. An oops looks like one while
 *    crash_kexec() runs: for that moment an exit may leave a sibling in user mode.
 *
 * NMI-like handlers may strike at any instruction of these. They find the bytes as they
 * are and leave them so: what they have stunned themselves they release, but not what
 * an exit has that they interrupted; untrusted code that they interrupted is published
 * again, and it is looked again whether it may run.
 */
#include <linux/asi.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/entry-virt.h>
#include <linux/irq-entry-common.h>
#include <linux/irq_work.h>
#include <linux/panic.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/time64.h>
#include <linux/vmstat.h>

#include <asm/apic.h>
#include <asm/asi.h>
#include <asm/irq_vectors.h>
#include <asm/msr.h>
#include <asm/smp.h>
#include <asm/tlbflush.h>
#include <asm/topology.h>

#include "asi_internal.h"

#ifndef XFER_TO_GUEST_MODE_WORK		/* No KVM */
#define XFER_TO_GUEST_MODE_WORK	0
#endif

/* For asi_idle_enter() in a driver for idle states, as asi_cpu and __asi_relax() are */
DEFINE_STATIC_KEY_FALSE_RO(asi_stuns_siblings);
EXPORT_SYMBOL_GPL(asi_stuns_siblings);

/* Of CPUs that are not up: no untrusted code runs there. */
struct asi_core asi_no_core ____cacheline_aligned;

/* A core uses that of one of its threads; it stays when that one goes. */
static DEFINE_PER_CPU_ALIGNED(struct asi_core, asi_cores);

/* How long somebody waits before a CPU that is unrestricted is interrupted */
#define ASI_STUN_LONG		(1 * NSEC_PER_MSEC)
/* How long that CPU waits for somebody to go on, and lets it run, at most */
#define ASI_STUN_PATIENCE	100	/* microseconds */
#define ASI_STUN_BREAK		20	/* of them */

DEFINE_PER_CPU(struct asi_stun_times, asi_stun_times);

/*
 * The APIC, without what may be traced, probed or paravirtualized. An NMI may come
 * between the two writes of somebody who sends an interrupt on an xAPIC.
 */
static __always_inline u32 *asi_xapic(u32 reg)
{
	return (u32 *)(APIC_BASE + reg);
}

static __always_inline void asi_xapic_wait(void)
{
	while (READ_ONCE(*asi_xapic(APIC_ICR)) & APIC_ICR_BUSY)
		cpu_relax();
}

static __always_inline void asi_send_ipi(u32 apicid)
{
	u32 icr = APIC_DEST_PHYSICAL | APIC_DM_FIXED | RESCHEDULE_VECTOR;
	u32 icr2;

	if (x2apic_mode) {
		native_wrmsrq(APIC_BASE_MSR + (APIC_ICR >> 4), (u64)apicid << 32 | icr);
		return;
	}
	asi_xapic_wait();
	icr2 = READ_ONCE(*asi_xapic(APIC_ICR2));
	WRITE_ONCE(*asi_xapic(APIC_ICR2), SET_XAPIC_DEST_FIELD(apicid));
	WRITE_ONCE(*asi_xapic(APIC_ICR), icr);
	asi_xapic_wait();
	WRITE_ONCE(*asi_xapic(APIC_ICR2), icr2);
}

static __always_inline bool asi_ipi_pending(void)
{
	u32 reg = APIC_IRR + APIC_VECTOR_TO_REG_OFFSET(RESCHEDULE_VECTOR);
	u32 irr;

	if (x2apic_mode)
		irr = native_rdmsrq(APIC_BASE_MSR + (reg >> 4));
	else
		irr = READ_ONCE(*asi_xapic(reg));
	return irr & BIT(APIC_VECTOR_TO_BIT_NUMBER(RESCHEDULE_VECTOR));
}

/*
 * Siblings that run untrusted code are called in, and have come.
 *
 * Each is sent one interrupt only, however long it takes: as long as it is untrusted
 * it has not been taken. One that has come and gone back in the meantime, or
 * arrives late, has seen that this CPU is unrestricted.
 */
noinstr void __asi_stun(struct asi_core *core, u8 thread)
{
	u8 i;

	if (asi_broken(ASI_BREAK_NOSTUN))
		return;

	/* An x2APIC's MSR is not ordered with what the others are to see. */
	asm volatile("mfence; lfence" : : : "memory");
	for (i = 0; i < ASI_MAX_THREADS; i++) {
		if (i != thread && READ_ONCE(core->untrusted[i]))
			asi_send_ipi(core->apicid[i]);
	}
	this_cpu_inc(vm_event_states.event[ASI_STUN]);

	while (asi_others(READ_ONCE(core->any_untrusted), thread) &&
	       likely(raw_atomic_read(&panic_cpu) == PANIC_CPU_INVALID))
		cpu_relax();
}

/*
 * Untrusted code is about to run on this CPU, or to be interrupted at once.
 *
 * Context: noinstr, interrupts off until it runs.
 */
noinstr void __asi_publish(void)
{
	struct asi_core *core = this_cpu_read(asi_cpu.core);
	u8 thread = this_cpu_read(asi_cpu.thread);

	/* A full barrier. Pairs with that of asi_stun(). */
	arch_xchg(&core->untrusted[thread], 1);
	if (likely(!asi_others(READ_ONCE(core->any_unrestricted), thread)))
		return;

	if (asi_broken(ASI_BREAK_NOSTUN))
		return;
	while (!asi_ipi_pending()) {
		asi_send_ipi(core->apicid[thread]);
		cpu_relax();
	}
}

/* May untrusted code not run on this CPU at present? */
static bool asi_is_stunned(void)
{
	struct asi_core *core = this_cpu_read(asi_cpu.core);

	return asi_others(READ_ONCE(core->any_unrestricted), this_cpu_read(asi_cpu.thread));
}

/* By an interrupt that was sent here, from user mode, a guest, or by chance. */
void __asi_called_in(void)
{
	if (asi_is_stunned() && !(current->flags & PF_KTHREAD))
		set_thread_flag(TIF_ASI_STUNNED);
}

/*
 * May an interrupt take this CPU back to the restricted address space?
 *
 * Not if a foreign mm is loaded, of which the scheduler does not know. Firmware's is, with
 * interrupts on; where other code relies on being unrestricted, they are off. But init_mm is
 * nobody's: a kernel thread is left with it, whatever it has borrowed, when its CPU has been
 * in deep idle or has been asked to flush (leave_mm()).
 */
static bool asi_may_let_go(void)
{
	const struct mm_struct *loaded = this_cpu_read(cpu_tlbstate.loaded_mm);

	return loaded == current->active_mm || loaded == &init_mm;
}

/*
 * An unrestricted CPU has been interrupted by a sibling that it has stunned for long.
 *
 * No clock is read: with interrupts off, some stop at the next tick.
 */
void asi_let_go(struct irq_work *unused)
{
	struct asi_core *core = this_cpu_read(asi_cpu.core);
	u8 thread = this_cpu_read(asi_cpu.thread);
	int i;

	if (!asi_has_stunned() || !asi_may_let_go())
		return;

	__asi_relax();
	/* Or it might exit again before anybody has noticed. */
	for (i = 0; i < ASI_STUN_PATIENCE; i++) {
		if (asi_others(READ_ONCE(core->any_untrusted), thread)) {
			udelay(ASI_STUN_BREAK);
			return;
		}
		udelay(1);
	}
}

/* One for each CPU that is interrupted; siblings may share it. */
static DEFINE_PER_CPU(struct irq_work, asi_let_go_work) = IRQ_WORK_INIT_HARD(asi_let_go);

static void asi_ask(void)
{
	struct asi_core *core;
	u8 i;

	/* Nobody goes down in the meantime. */
	guard(preempt)();
	core = this_cpu_read(asi_cpu.core);
	for (i = 0; i < ASI_MAX_THREADS; i++) {
		if (i != this_cpu_read(asi_cpu.thread) &&
		    READ_ONCE(core->unrestricted[i]) && cpu_online(core->cpu[i]))
			irq_work_queue_on(per_cpu_ptr(&asi_let_go_work, core->cpu[i]),
					  core->cpu[i]);
	}
}

/**
 * asi_stunned - wait until siblings are restricted
 *
 * @guest:	on the way to a guest, not to user mode
 *
 * Or until there is other work, which the caller does before it comes again. Lets go of
 * siblings itself.
 *
 * Context: process, on the way to user mode or to a guest, with interrupts on and
 * holding nothing.
 */
void asi_stunned(bool guest)
{
	unsigned long work = (guest ? XFER_TO_GUEST_MODE_WORK :
				      EXIT_TO_USER_MODE_WORK & ~_TIF_RSEQ) & ~_TIF_ASI_STUNNED;
	u64 start = local_clock(), waited;
	struct asi_stun_times *times;

	/*
	 * If user mode has run for a shorter time since the last wait than that took, it is
	 * the same: work that came in between, or an exit of a sibling that was just in
	 * time. Clocks of two CPUs may differ a little.
	 */
	times = get_cpu_ptr(&asi_stun_times);
	if ((s64)(start - times->ended) > (s64)min(times->here, ASI_STUN_LONG)) {
		times->asked = start;
		times->here = 0;
	}
	put_cpu_ptr(&asi_stun_times);

	clear_thread_flag(TIF_ASI_STUNNED);
	for (;;) {
		bool stunned;

		scoped_guard(irq) {
			asi_idle_enter();
			stunned = asi_is_stunned();
		}
		if (!stunned)
			break;
		if (read_thread_flags() & work) {
			set_thread_flag(TIF_ASI_STUNNED);
			break;
		}
		if ((s64)(local_clock() - this_cpu_read(asi_stun_times.asked)) > ASI_STUN_LONG) {
			this_cpu_write(asi_stun_times.asked, local_clock());
			asi_ask();
		}
		cpu_relax();
	}

	waited = max_t(s64, local_clock() - start, 0);
	times = get_cpu_ptr(&asi_stun_times);
	times->ended = local_clock();
	times->count++;
	times->total += waited;
	times->here += waited;
	times->longest = max(times->longest, times->here);
	put_cpu_ptr(&asi_stun_times);
}

/*
 * Nothing that could exit may come between. An NMI that does puts back what it finds, on
 * the one core or on the other. Context: interrupts off, on the way up or down.
 */
static noinstr void move_to_core(struct asi_core *core, u8 thread)
{
	if (asi_has_exited())
		__asi_relax();
	/* No untrusted code runs here now; an NMI leaves the bytes as they are. */
	this_cpu_write(asi_cpu.thread, thread);
	this_cpu_write(asi_cpu.core, core);
}

/**
 * asi_stun_join - a CPU is up, and its siblings are known
 * @cpu:	which is the one that this is called on
 *
 * It shares what its siblings share that are up. Where none is, what it has used before
 * is used by nobody. It goes to the restricted address space first, and so stuns nobody
 * until it exits. An NMI in between finds the one core or the other.
 *
 * Context: CPU hotplug, no two CPUs at the same time.
 */
void asi_stun_join(int cpu)
{
	struct asi_core *core = per_cpu_ptr(&asi_cores, cpu);
	unsigned long flags;
	u8 used = 0, thread;
	int sibling;

	if (!asi_stuns())
		return;

	for_each_cpu(sibling, topology_sibling_cpumask(cpu)) {
		if (sibling == cpu)
			continue;
		core = per_cpu(asi_cpu.core, sibling);
		used |= BIT(per_cpu(asi_cpu.thread, sibling));
	}
	thread = ffz(used);

	raw_local_irq_save(flags);
	core->cpu[thread] = cpu;
	core->apicid[thread] = per_cpu(x86_cpu_to_apicid, cpu);
	move_to_core(core, thread);
	raw_local_irq_restore(flags);
}

/**
 * asi_stun_leave - this CPU goes down
 *
 * A sibling may come up as soon as others know, and be what this one has been.
 *
 * Context: interrupts off until it is down.
 */
void asi_stun_leave(void)
{
	if (!asi_stuns())
		return;

	move_to_core(&asi_no_core, this_cpu_read(asi_cpu.thread));
}
