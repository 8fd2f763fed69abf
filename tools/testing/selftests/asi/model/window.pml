/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows onto sensitive pages under every interleaving, for spin:
 * arch/x86/mm/asi_window.c, asi_flush_window() of asi_switch.c, and what
 * switch_mm_irqs_off() and flush_tlb_mm_range() of tlb.c have to do with them.
 *
 * Two CPUs run two tasks of one mm, kernel threads, and other processes. The
 * tasks may be preempted, and moved, wherever preemption is on. Each opens the
 * window, uses it, and closes it; only one has it at a time. It is onto another
 * frame each time, and the frame before may have its next owner as soon as
 * asi_window_close() has returned. Before each step an access to sensitive
 * memory may exit, by the task or in an interrupt, an interrupt may go back to
 * the restricted root, and an NMI may exit and put back what it has found.
 *
 * No CPU may have a translation of a frame that may have its next owner, if it
 * could use it without a flush before, in either root: with the mm loaded, or
 * when that is loaded again. It could not if the flush of the root is pending,
 * or the generation has changed. What a task gets at through a window is the
 * frame of this window.
 *
 * And nobody waits for ever. While somebody waits all the rest may come to rest:
 * nothing begins any more, but interrupts are taken, and who has a window goes on
 * to close it. Spin finds whoever is not done then, as an invalid end state.
 *
 * A statement, or a d_step, is one step, seen by both CPUs at once. There are no
 * store buffers: what has to be ordered in the code is so by barriers. Without
 * smp_mb() in asi_window_close() the loads may be read before others see the PTE
 * cleared, which is BREAK_CLOSE_LOOKS_FIRST.
 *
 * Some things are taken at their worst instead of trying all that can happen, as
 * no code looks at the TLB, and what is in it can only do harm:
 *
 *  - Speculation loads at once the translation of a window that is open, for
 *    each root that is loaded.
 *  - CPUs are in mm_cpumask() no longer than they have to: from when they read
 *    the generation until another mm is loaded.
 *  - There is no INVPCID. With it, flushes of the other root come earlier.
 *  - asi_cpu.exits of a CPU is what a task has read on the other one.
 *
 * A pending flush, or a generation, is not remembered if it would flush nothing.
 *
 * Left out: the roots of guests and of KPTI, which have no windows; ASIDs, as one
 * that is new to the mm is flushed; NMIs between the steps of a CR3 write, CPUs
 * that go down, INVLPGB (see tlb.pml for these); flushes for other reasons, and
 * with them those that are merged; other windows of the same mm, which differ in
 * nothing that matters here; the first look of asi_window_open() at the intent,
 * which only saves the rest; 2^48 loads, or 2^32 exits, while a window is open.
 */

#define UNRESTRICTED	0
#define RESTRICTED	1

/* Who runs on a CPU: one of the two tasks, or neither */
#define OTHER		2

#define BIT(nr)		(1 << (nr))
#define PCID(cpu, root)	BIT(2 * (cpu) + (root))	/* those of the mm */
#define ROOTS(cpu)	(3 << (2 * (cpu)))

/* Hardware: CR3, and the PCIDs that hold a translation of the window */
bool has_mm[2];				/* or else another mm is loaded */
byte root[2];
byte fresh;				/* of the frame that it is onto, until closed */
byte stale;				/* of one that may have its next owner */
#define LOADED(cpu)	(PCID(cpu, root[cpu]) * has_mm[cpu])

/* The mm */
bool present;				/* the PTE */
byte count;				/* asi_mm.loads, the lower bits */
bool as_read[2];			/* all of it is what the task has read */
bool taken;				/* asi_mm.windows */
bool cpumask[2];

/* CPUs */
byte runs[2] = OTHER;
byte next[2] = OTHER;			/* and who is about to */
bool is_lazy[2];			/* with the mm loaded */
bool behind[2];				/* ctxs.tlb_gen of the mm's ASID */
bool intent[2];				/* ASI_TODO_ENTER in asi_cpu.todo */
byte flush_pending;			/* asi_cpu; a bit for each PCID */
bool busy[2];				/* interrupts are off: schedule(), an IPI */
bool irqs_off[2];			/* by the task */
bool preempt_off[2];
bool in_transition[2];
bool in_nmi[2];
bool leave_ipi[2], flush_ipi[2];	/* not done yet */

/* Of which CPU each task has read asi_cpu.exits, and has that counted one since? */
byte exits[2];
#define READ(cpu)	(1 + (cpu))
#define COUNTED(cpu)	(3 + (cpu))

bool in_use[2];				/* by each task */
bool quiet;				/* nothing new begins */

/*
 * Hardware
 */
inline speculate()
{
	fresh = fresh | ((LOADED(0) | LOADED(1)) * present)
}

inline flush(pcids)
{
	fresh = fresh & ~(pcids);
	stale = stale & ~(pcids);
	speculate()
}

inline set_pte(to)
{
	present = to;
	speculate()
}

/* The frame may have its next owner. */
inline give_away()
{
	stale = stale | fresh;
	fresh = 0
}

/* What would flush nothing is not remembered. */
inline flush_later(pcids)
{
	flush_pending = flush_pending | ((pcids) & (fresh | stale))
}

/* With asi_write_cr3(), whose bit is cleared when the flush is done */
inline mov_cr3(id, to_mm, to_root)
{
	has_mm[id] = to_mm;
	root[id] = to_root;
	flush(LOADED(id) & flush_pending);
	flush_pending = flush_pending & ~LOADED(id)
}

/*
 * arch/x86/mm/asi_window.c
 */
inline asi_window_load()
{
	count++;
	as_read[0] = false;
	as_read[1] = false
}

inline asi_window_unload()
{
	count--;
	as_read[0] = false;
	as_read[1] = false
}

#ifdef BREAK_COUNT_ONLY
#define LOADS_AS_READ	(count == 1)
#else
#define LOADS_AS_READ	as_read[_pid]
#endif

#ifdef BREAK_OPEN_NOT_ALONE
#define ALONE		true
#else
#define ALONE		(count == 1)
#endif

/* What a task runs on, and what it does not */
#define self		(runs[1] == _pid)
#define other		(runs[0] == _pid)

/* It may not move until it has sent the IPI. */
inline window_ask()
{
	if
	:: d_step { is_lazy[other] ->
#ifdef BREAK_WAITS_WITH_IRQS_OFF
		irqs_off[self] = true;
#endif
		preempt_off[self] = true };
		d_step { !leave_ipi[other] ->		/* csd_lock() */
			leave_ipi[other] = true;
			irqs_off[self] = false;
			preempt_off[self] = false };
#ifdef BREAK_ASK_WAITS
		count == 1
#endif
	:: !is_lazy[other]
	fi
}

inline read_exits()
{
	exits[_pid] = READ(self)
}

/* arch/x86/mm/asi_switch.c */
inline asi_flush_window()
{
	d_step {
#ifndef BREAK_FLUSH_WITH_IRQS_ON
		irqs_off[self] = true;
#endif
#if !defined(BREAK_OTHER_ROOT_FORGOTTEN) && !defined(BREAK_RESTRICTED_FORGOTTEN)
		flush_later(PCID(self, RESTRICTED) * (root[self] != RESTRICTED));
#endif
#if !defined(BREAK_OTHER_ROOT_FORGOTTEN) && !defined(BREAK_EXITS_COMPARED_NOT)
		flush_later(PCID(self, UNRESTRICTED) * (root[self] != UNRESTRICTED &&
							exits[_pid] == COUNTED(self)))
#endif
	};
#ifndef BREAK_INVLPG_NOT
	d_step { flush(LOADED(self)) }			/* INVLPG */
#endif
}

inline asi_window_close()
{
#ifdef BREAK_CLOSE_LOOKS_FIRST
	looked = LOADS_AS_READ;
#endif
	d_step {
		in_use[_pid] = false;
#ifdef BREAK_UNLOCKS_FIRST
		taken = false;
#endif
		set_pte(false)
	};
	/* smp_mb() */
	if
#ifdef BREAK_CLOSE_COMPARES_NOT
	:: true ->
#elif defined(BREAK_CLOSE_LOOKS_FIRST)
	:: looked ->
#else
	:: LOADS_AS_READ ->
#endif
		asi_flush_window()
	:: else ->
		flush_tlb_mm_range()
	fi;
	d_step {
		irqs_off[self] = false;
#ifndef BREAK_UNLOCKS_FIRST
		taken = false;				/* clear_bit_unlock() */
		give_away();
#endif
		preempt_off[self] = false;
		as_read[_pid] = false;
		exits[_pid] = 0;
		looked = false
	}
}

/*
 * arch/x86/mm/tlb.c
 */
/* Whose steps these are, if not a task's */
#define cpu		(_pid % 2)

/* From an mm to init_mm, or to another of which nothing is followed */
inline leave_cr3()
{
	mov_cr3(cpu, false, UNRESTRICTED);
	intent[cpu] = false;
	cpumask[cpu] = false
}

inline switch_from_mm()
{
#ifdef BREAK_UNCOUNTED_EARLY
	asi_window_unload()
#else
	leave_cr3()
#endif
}

inline switched_from_mm()
{
#ifdef BREAK_UNCOUNTED_EARLY
	leave_cr3()
#else
	asi_window_unload()
#endif
}

inline read_tlb_gen()
{
	/* asi_flush_asid_later() */
	flush_later(ROOTS(cpu) * behind[cpu]);
	behind[cpu] = false
}

inline inc_mm_tlb_gen(id)
{
#ifdef BREAK_LATE_FORGETS_GONE
	behind[id] = behind[id] || (cpumask[id] && ((fresh | stale) & ROOTS(id)))
#else
	behind[id] = behind[id] || ((fresh | stale) & ROOTS(id))
#endif
}

/* If it is not lazy */
inline flush_tlb_func(id)
{
	if
	:: has_mm[id] && behind[id] ->
		flush_later(ROOTS(id) & ~LOADED(id));
		flush(LOADED(id));
		behind[id] = false
	:: else
	fi
}

inline flush_tlb_mm_range()
{
	d_step {
#ifdef BREAK_WAITS_WITH_IRQS_OFF
		irqs_off[self] = true;
#endif
		preempt_off[self] = true;		/* get_cpu() */
		inc_mm_tlb_gen(0);
		inc_mm_tlb_gen(1)
	};
	d_step { !leave_ipi[other] ->			/* csd_lock() */
#if defined(BREAK_LATE_FORGETS_LAZY)
		flush_ipi[other] = cpumask[other] && !is_lazy[other]
#elif !defined(BREAK_LATE_FLUSHES_LOCAL)
		flush_ipi[other] = cpumask[other]
#endif
	};
	d_step { flush_tlb_func(self) };
	!flush_ipi[other]
}

/*
 * A task of the mm
 */
#define NO_HANDLER(cpu)	(!in_transition[cpu] && !in_nmi[cpu])
#define RUNS(task)	((runs[0] == task && !busy[0] && NO_HANDLER(0)) || \
			 (runs[1] == task && !busy[1] && NO_HANDLER(1)))

inline no_window()
{
	d_step {
		preempt_off[self] = false;
		as_read[_pid] = false;
		exits[_pid] = 0
	}
}

active [2] proctype task() provided (RUNS(_pid))
{
	bool looked;			/* with BREAK_CLOSE_LOOKS_FIRST only */

end:	do
	/* asi_window_open() */
	:: d_step { !quiet && ALONE -> as_read[_pid] = true };
		d_step {
#ifndef BREAK_OPEN_PREEMPTIBLE
			preempt_off[self] = true;
#endif
#if !defined(BREAK_EXITS_READ_LATE) && !defined(BREAK_INTENT_READ_FIRST)
			read_exits()
#endif
		};
		if
		:: !intent[self] ->
#ifdef BREAK_INTENT_READ_FIRST
			d_step { read_exits() };
#endif
			if
			:: d_step { !taken ->
				/* window_take() */
				taken = true;
#ifdef BREAK_UNLOCKS_FIRST
				give_away();
#endif
				set_pte(true);
				in_use[_pid] = true };
#ifdef BREAK_EXITS_READ_LATE
				d_step { read_exits() };
#endif
				asi_window_close()
			:: taken ->
				no_window()
			fi
		:: intent[self] ->
			no_window()
		fi
	:: !quiet && count != 1 ->
		window_ask()
	od
}

/*
 * Transitions, with interrupts off, and NMIs: asi_switch.c
 */
inline count_exit()
{
	exits[0] = (exits[0] == READ(cpu) -> COUNTED(cpu) : exits[0]);
	exits[1] = (exits[1] == READ(cpu) -> COUNTED(cpu) : exits[1])
}

active [2] proctype transitions() provided (!in_nmi[cpu])
{
end:	do
	:: d_step { root[cpu] == RESTRICTED && !irqs_off[cpu] && !quiet ->
		/* An access to sensitive memory: __asi_exit() */
		in_transition[cpu] = true;
		intent[cpu] = true };
		d_step {
			mov_cr3(cpu, true, UNRESTRICTED);
			count_exit();
			in_transition[cpu] = false
		}

	:: d_step { has_mm[cpu] && intent[cpu] && !irqs_off[cpu] && !busy[cpu] &&
		    !quiet ->
		/* asi_let_go(): __asi_relax(); or user mode: __asi_enter() */
		in_transition[cpu] = true;
		mov_cr3(cpu, true, RESTRICTED) };
		d_step {
			intent[cpu] = false;
			in_transition[cpu] = false
		}
	od
}

active [2] proctype nmi()
{
	bool found_intent;

end:	do
	:: d_step { root[cpu] == RESTRICTED && !quiet ->
		in_nmi[cpu] = true;
		found_intent = intent[cpu];
		/* __asi_exit() */
		intent[cpu] = true;
		mov_cr3(cpu, true, UNRESTRICTED);
#ifndef BREAK_NMI_COUNTS_NOT
		count_exit()
#endif
	   };
		d_step {
			/* __asi_nmi_exit() */
			mov_cr3(cpu, true, RESTRICTED);
			intent[cpu] = found_intent;
			found_intent = false;
			in_nmi[cpu] = false
		}
	od
}

/*
 * The scheduler and interrupts
 */
#define PREEMPTIBLE	(!irqs_off[cpu] && !preempt_off[cpu])

/* It may not run elsewhere. When all else is at rest it may have to run once more. */
#define MAY_RUN(nr)	(PREEMPTIBLE && runs[0] != nr && runs[1] != nr && \
			 next[0] != nr && next[1] != nr && \
			 (!quiet || (!task[nr]@end && \
				     (runs[cpu] != 1 - nr || task[1 - nr]@end))))

/* The one before is free to run elsewhere. */
inline finish_task_switch()
{
	runs[cpu] = next[cpu];
	next[cpu] = OTHER;
	busy[cpu] = false
}

/* Restricted or not, as the CPU is */
inline load_cr3(to_root)
{
	mov_cr3(cpu, true, to_root);
	intent[cpu] = (to_root == UNRESTRICTED)
}

inline switch_to_mm(to_root)
{
#ifdef BREAK_COUNTED_LATE
	d_step { load_cr3(to_root) };
	d_step { asi_window_load(); finish_task_switch() }
#else
	d_step { load_cr3(to_root); finish_task_switch() }
#endif
}

inline schedule(nr)
{
	if
	:: atomic { MAY_RUN(nr) && !has_mm[cpu] ->
		busy[cpu] = true;
		next[cpu] = nr;
#ifndef BREAK_COUNTED_LATE
		asi_window_load()
#endif
	   };
		d_step { cpumask[cpu] = true; read_tlb_gen() };
		if
		:: switch_to_mm(UNRESTRICTED)
		:: switch_to_mm(RESTRICTED)
		fi
	:: atomic { MAY_RUN(nr) && has_mm[cpu] ->
		busy[cpu] = true;
		next[cpu] = nr;
		if
		:: is_lazy[cpu] -> is_lazy[cpu] = false; read_tlb_gen()
		:: else
		fi };
		d_step { mov_cr3(cpu, true, root[cpu]); finish_task_switch() }
	fi
}

active [2] proctype processor() provided (NO_HANDLER(cpu))
{
end:	do
	:: schedule(0)
	:: schedule(1)

	:: d_step { PREEMPTIBLE && runs[cpu] != OTHER && !quiet ->
		/* To a kernel thread: enter_lazy_tlb() */
		is_lazy[cpu] = true;
		runs[cpu] = OTHER }

	:: d_step { PREEMPTIBLE && has_mm[cpu] && !quiet ->
		/* To another process; leave_mm() */
		is_lazy[cpu] = false;
		busy[cpu] = true;
		switch_from_mm() };
		d_step { switched_from_mm(); runs[cpu] = OTHER; busy[cpu] = false }

	:: d_step { !irqs_off[cpu] && leave_ipi[cpu] && !is_lazy[cpu] ->
		/* window_leave() */
		leave_ipi[cpu] = false }

	:: d_step { !irqs_off[cpu] && flush_ipi[cpu] && !is_lazy[cpu] ->
		flush_tlb_func(cpu);
		flush_ipi[cpu] = false }

	:: d_step { !irqs_off[cpu] && (leave_ipi[cpu] || flush_ipi[cpu]) &&
		    is_lazy[cpu] ->
		/* Both of them leave the mm. */
		is_lazy[cpu] = false;
		busy[cpu] = true;
		switch_from_mm() };
		d_step {
			switched_from_mm();
			leave_ipi[cpu] = false;
			flush_ipi[cpu] = false;
			busy[cpu] = false
		}
	od
}

active proctype rest()
{
end:	leave_ipi[0] || leave_ipi[1] || flush_ipi[0] || flush_ipi[1] -> quiet = true
}

/* What a CPU may use without a flush before */
#define WITHIN(cpu)	(LOADED(cpu) | ((ROOTS(cpu) & ~flush_pending) * \
					(has_mm[cpu] || !behind[cpu])))
/* No translation of a frame that may have its next owner */
#ifdef BREAK_UNLOCKS_FIRST
#define NONE_LEFT	true	/* It may not yet, but there is another window. */
#else
#define NONE_LEFT	(!(stale & (WITHIN(0) | WITHIN(1))))
#endif
/* What a task gets at */
#define GETS(cpu)	(runs[cpu] == OTHER || !in_use[runs[cpu]] || \
			 (present && !(stale & LOADED(cpu))))

/* What must hold at every instant. */
active proctype monitor()
{
end:	atomic {
		!(NONE_LEFT && GETS(0) && GETS(1)) ->
		assert(NONE_LEFT);
		assert(GETS(0) && GETS(1))
	}
}
