/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows onto sensitive pages under every interleaving, for spin:
 * arch/x86/mm/asi_window.c, and asi_flush_window() of asi_switch.c.
 *
 * One CPU, as no other has the tables, runs a task, and other processes when it may be
 * preempted. The task opens the window, uses it, and closes it. It is onto another frame
 * each time, and the frame before may have its next owner as soon as asi_window_close()
 * has returned. Before each step an access to sensitive memory may exit, by the task or
 * in an interrupt, an interrupt may go back to the restricted root, and an NMI may exit
 * and put back what it has found.
 *
 * The CPU may not have a translation of a frame that may have its next owner, if it could
 * use it without a flush before, in either root: with the mm loaded, or when that is
 * loaded again. It could not if the flush of the root is pending. What the task gets at
 * through a window is the frame of this window.
 *
 * Some things are taken at their worst instead of trying all that can happen, as no code
 * looks at the TLB, and what is in it can only do harm:
 *
 *  - Speculation loads at once the translation of a window that is open.
 *  - There is no INVPCID. With it, flushes of the other root come earlier.
 *
 * Left out: the root of KPTI, which has no windows; NMIs between the
 * steps of a CR3 write, and flushes for other reasons (see tlb.pml); other windows, which
 * differ in nothing that matters here; tasks that die with one open; 2^32 exits while a
 * window is open.
 */

#define UNRESTRICTED	0
#define RESTRICTED	1
#define GUEST		2		/* has no windows */

#define BIT(nr)		(1 << (nr))

/* Hardware: CR3, and the PCIDs of the mm, by their roots, that hold a translation */
bool has_mm = true;			/* or else another mm is loaded */
byte root;
byte fresh;				/* of the frame that it is onto, until closed */
byte stale;				/* of one that may have its next owner */
#define LOADED		(BIT(root) * (has_mm && root != GUEST))

/* The CPU */
bool present;				/* the PTE */
bool intent = true;			/* ASI_TODO_ENTER in asi_cpu.todo */
byte flush_pending;			/* asi_cpu; a bit for each PCID */
bool irqs_off, preempt_off;		/* by the task */
bool in_transition, in_nmi;
bool in_use;

/* The task has read asi_cpu.exits, and that has counted one since. */
bool read, counted;

inline speculate()
{
	fresh = fresh | (LOADED * present)
}

inline flush(pcids)
{
	fresh = fresh & ~(pcids);
	stale = stale & ~(pcids);
	speculate()
}

/* What would flush nothing is not remembered. */
inline flush_later(pcids)
{
	flush_pending = flush_pending | ((pcids) & (fresh | stale))
}

/* With asi_write_cr3(), whose bit is cleared when the flush is done */
inline mov_cr3(to_mm, to_root)
{
	has_mm = to_mm;
	root = to_root;
	flush(LOADED & flush_pending);
	flush_pending = flush_pending & ~LOADED
}

inline read_exits()
{
	read = true;
	counted = false
}

/* arch/x86/mm/asi_switch.c */
inline asi_flush_window()
{
#ifndef BREAK_COMPARED_FIRST
#ifndef BREAK_INVLPG_NOT
	d_step { flush(LOADED) };			/* INVLPG */
#endif
	if
	:: !counted
#else
	if
	:: !counted -> d_step { flush(LOADED) }
#endif
#ifdef BREAK_COMPARED_NOT
	:: counted
#else
	:: counted ->
		d_step {
#ifndef BREAK_FLUSH_WITH_IRQS_ON
			irqs_off = true;
#endif
#ifndef BREAK_RESTRICTED_FORGOTTEN
			flush_later(BIT(RESTRICTED) * (root != RESTRICTED));
#endif
#ifndef BREAK_UNRESTRICTED_FORGOTTEN
			flush_later(BIT(UNRESTRICTED) * (root != UNRESTRICTED))
#endif
		};
		d_step { flush(LOADED) }		/* INVLPG */
#endif
	fi
}

active proctype task() provided (!in_transition && !in_nmi && has_mm)
{
end:	do
	:: d_step { true ->
		/* asi_window_open() */
#ifndef BREAK_OPEN_PREEMPTIBLE
		preempt_off = true;
#endif
#if !defined(BREAK_EXITS_READ_LATE) && !defined(BREAK_INTENT_READ_FIRST)
		read_exits()
#endif
	   };
		if
		:: !intent ->
#ifdef BREAK_INTENT_READ_FIRST
			d_step { read_exits() };
#endif
			d_step { present = true; speculate(); in_use = true };
#ifdef BREAK_EXITS_READ_LATE
			d_step { read_exits() };
#endif
			/* asi_window_close() */
			d_step { in_use = false; present = false };
			asi_flush_window();
			/* The frame may have its next owner. */
			d_step { stale = stale | fresh; fresh = 0 }
		:: intent
		fi;
		d_step { irqs_off = false; preempt_off = false; read = false; counted = false }
	od
}

/* Transitions, with interrupts off, and NMIs: asi_switch.c */
active proctype transitions() provided (!in_nmi)
{
end:	do
	:: d_step { root == RESTRICTED && !irqs_off ->
		/* An access to sensitive memory: __asi_exit() */
		in_transition = true;
		intent = true };
		d_step {
			mov_cr3(has_mm, UNRESTRICTED);
			counted = read;
			in_transition = false
		}

	:: d_step { root == RESTRICTED && !irqs_off && !preempt_off ->
		/* __asi_enter_guest(), and a VM exit */
		mov_cr3(has_mm, GUEST) }

	:: d_step { root == GUEST && !irqs_off ->
		/* asi_leave_guest_root() */
		mov_cr3(has_mm, RESTRICTED);
#ifndef BREAK_LEAVE_COUNTS_NOT
		counted = read
#endif
	   }

	:: d_step { intent && !irqs_off ->
		/* asi_let_go(): __asi_relax(); or user mode: __asi_enter() */
		in_transition = true;
		mov_cr3(has_mm, RESTRICTED) };
		d_step {
			intent = false;
			in_transition = false
		}
	od
}

active proctype nmi()
{
	bool found_intent;
	byte found_root;

end:	do
	:: d_step { root == GUEST ->
		in_nmi = true;
		/* asi_leave_guest_root() */
		mov_cr3(has_mm, RESTRICTED);
#ifndef BREAK_LEAVE_COUNTS_NOT
		counted = read
#endif
	   };
		d_step { mov_cr3(has_mm, GUEST); in_nmi = false }
	:: d_step { root != UNRESTRICTED ->
		in_nmi = true;
		found_intent = intent;
		found_root = root;
		/* __asi_exit() */
		intent = true;
		mov_cr3(has_mm, UNRESTRICTED);
#ifndef BREAK_NMI_COUNTS_NOT
		counted = read
#endif
	   };
		d_step {
			/* __asi_nmi_exit() */
			mov_cr3(has_mm, found_root);
			intent = found_intent;
			found_intent = false;
			found_root = 0;
			in_nmi = false
		}
	od
}

/* To another process and back, restricted or not as the CPU is */
active proctype scheduler() provided (!in_transition && !in_nmi)
{
end:	do
	:: d_step { has_mm && !irqs_off && !preempt_off && root != GUEST -> mov_cr3(false, root) }
	:: d_step { !has_mm && root != GUEST -> mov_cr3(true, root) }
	od
}

/* What the CPU may use without a flush before; and what the task gets at. */
#define NONE_LEFT	(!(stale & (LOADED | (3 & ~flush_pending))))
#define GETS		(!in_use || (has_mm && present && !(stale & LOADED)))

/* What must hold at every instant. */
active proctype monitor()
{
end:	atomic {
		!(NONE_LEFT && GETS) ->
		assert(NONE_LEFT);
		assert(GETS)
	}
}
