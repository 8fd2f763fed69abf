/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TLB flushes with PCIDs under every interleaving, for spin: asi_write_cr3() and
 * what calls it in arch/x86/mm/asi_switch.c, and the hooks in arch/x86/mm/tlb.c.
 *
 * A CPU with two ASIDs runs tasks of two mms and kernel threads. An NMI may
 * strike before each of its steps; it may access sensitive memory, and use the
 * fixmap as firmware error handling does. Another CPU unmaps a page, asks for
 * the flush, and reuses the frame when it has been told that the flush is done:
 *
 *	DIRECT	a page of a block that becomes sensitive: mapped by restricted
 *		roots, flushed by flush_tlb_all()
 *	KERNEL	mapped by all roots, flushed by flush_tlb_kernel_range()
 *	USER	mapped by all roots of mm A, flushed by flush_tlb_mm_range()
 *	FIXMAP	not by the other CPU, but by the NMI for its own use
 *
 * No translation of a frame that has been reused may be in the PCID that is
 * loaded, nor one of mm A's page when another mm is. A translation in a PCID
 * that is not loaded cannot be used and does no harm until it is.
 *
 * A statement, or a d_step, is one step; it stands for the instruction, or the
 * line of C, that is named beside it or has its name. What neither an NMI nor
 * the other CPU looks at is done together. Flushes flush no more than they have
 * to by the manuals.
 *
 * Some things are taken at their worst instead of trying all that can happen,
 * as no code looks at the TLB, and what is in it can only do harm:
 *
 *  - Speculation loads at once every translation that the loaded root has.
 *  - The other CPU unmaps the page as late as it may, when it asks for the flush.
 *  - It reuses the frame, and maps another one, as soon as the flush is done.
 *
 * Options: INVPCID, KPTI. With KPTI the page USER is followed in the user root
 * only; CR3 is not written by others, nor the CPU taken down. It would make no
 * difference.
 *
 * Left out: other orders of memory accesses than the program's (each access of
 * one CPU that another one waits for is serializing); mm_cpumask() (the CPU is
 * in all of them); flushes for mm B; more than one shootdown at a time; the
 * order in which ASIDs are given away; an NMI that switches mms, as kgdb's may;
 * flushes of transitions (see transition.pml); global pages (kernel mappings are
 * not) and INVLPGB (disabled).
 */

#ifdef BREAK_KPTI_NOT_FLUSHED
#define KPTI
#endif
#ifdef BREAK_INVPCID_FORGETS_ROOT
#define INVPCID
#endif

#define UNRESTRICTED	0
#define RESTRICTED	1
#define KPTI_USER	2

#define DIRECT		1
#define KERNEL		2
#define USER		3
#define FIXMAP		4
byte page;				/* the one that is followed */

/* mms; also their ctx_id */
#define NO_MM		0
#define A		1
#define B		2
#define INIT_MM		3
#define SWITCHING	4		/* LOADED_MM_SWITCHING */

#define BIT(nr)		(1 << (nr))
#define PCID(root, asid) BIT(2 * (root) + (asid))
#define ALL_PCIDS	(BIT(6) - 1)

/* Hardware: CR3, and the PCIDs that hold a translation of the page */
byte pgd = INIT_MM, asid, root = UNRESTRICTED;
byte fresh;				/* as the page tables are now */
byte stale;				/* as they were */
#define LOADED		PCID(root, asid)
#define OTHER_ROOT	(1 - root)
#define IN_KERNEL	(root != KPTI_USER)
#define IN_TASK		(IN_KERNEL && !saved)	/* not about to write CR3 */

bool online = true, starting;

/* struct asi_cpu; a bit for each ASID */
bool unrestricted = true;
byte flush_pending[2] = 3;

/* struct tlb_state */
byte loaded_mm = INIT_MM, loaded_mm_asid;
bool is_lazy, invalidate_other;
byte ctx_id[2];
byte user_pcid_flush_mask;

/* How far the tlb_gen of an ASID, and next_tlb_gen, are behind that of the mm */
byte behind[3];				/* 2: two or more */
#define NEXT		2
byte next = NO_MM;			/* the mm that is switched to */

bool kthread = true;			/* current->mm is not loaded_mm */

bool shootdown;				/* the flush is not done yet */
bool ipi;				/* this CPU is to do it */
byte fixmap;				/* 1: mapped by the NMI, 2: and flushed */

/*
 * Hardware
 */
#if defined(KPTI)
#define USER_MAPPED	(pgd == A && root == KPTI_USER)
#else
#define USER_MAPPED	(pgd == A)
#endif
#define MAPPED		((page == DIRECT && root == RESTRICTED) || \
			 (page == KERNEL && root != KPTI_USER) || \
			 (page == USER && USER_MAPPED))
/* All CPUs share this page. Others use it, too. */
#define MAPPED_BY_OTHERS (page == FIXMAP && root != KPTI_USER && fixmap == 0)

/* What must hold whenever something changes. */
inline check()
{
	if
	:: (stale & LOADED) && !shootdown && online ->
		assert(page != DIRECT && page != KERNEL);
		/* Kernel threads use no user memory. See nmi_uaccess_okay(). */
		assert(page != USER || is_lazy || kthread || loaded_mm != A);
		assert(page != FIXMAP || fixmap != 2)
	:: else
	fi;
	assert(page != USER || pgd == A || !((fresh | stale) & LOADED))
}

inline speculate()
{
	fresh = fresh | (LOADED * (MAPPED && !shootdown));
	stale = stale | (LOADED * MAPPED_BY_OTHERS);
	check()
}

inline flush(pcids)
{
	fresh = fresh & ~(pcids);
	stale = stale & ~(pcids)
}

inline flush_page(which, pcids)
{
	if
	:: page == which -> flush(pcids)
	:: else
	fi
}

inline mov_cr3(new_pgd, new_asid, new_root, noflush)
{
	d_step {
		pgd = new_pgd;
		asid = new_asid;
		root = new_root;
		if
		:: !(noflush) -> flush(LOADED)
		:: else
		fi;
		speculate()
	}
}

/*
 * The shootdown
 */
inline unmap()
{
	shootdown = true;
	stale = stale | fresh;
	fresh = 0
}

inline reuse()
{
	ipi = false;
	shootdown = false;
	speculate()
}

inline on_each_cpu()
{
	ipi = online;
	if
	:: !online -> reuse()
	:: else
	fi;
#ifdef BREAK_NOT_WAITED
	shootdown = false;
	check()
#endif
}

/*
 * arch/x86/mm/asi_switch.c
 */
inline read_pending(new_root, new_asid)
{
#ifdef BREAK_PENDING_IGNORED
	pending = 0
#else
	pending = flush_pending[new_root] & BIT(new_asid)
#endif
}

/* After read_pending(). @intent is set in the last step. */
inline asi_write_cr3(new_pgd, new_asid, new_root, intent)
{
#ifdef BREAK_PENDING_CLEARED_FIRST
	flush_pending[new_root] = flush_pending[new_root] & ~pending;
#endif
	mov_cr3(new_pgd, new_asid, new_root, !pending);
	d_step {
		flush_pending[new_root] = flush_pending[new_root] & ~pending;
		pending = 0;
		unrestricted = intent
	}
}

inline __asi_enter()
{
	d_step { IN_TASK && !kthread && unrestricted ->
		read_pending(RESTRICTED, asid) };
	asi_write_cr3(pgd, asid, RESTRICTED, false)
}

inline __asi_exit()
{
	d_step { root == RESTRICTED ->
		unrestricted = true;
		read_pending(UNRESTRICTED, asid) };
	asi_write_cr3(pgd, asid, UNRESTRICTED, true)
}

/* An access to sensitive memory */
inline touch()
{
	if
	:: root == RESTRICTED -> __asi_exit()
	:: else
	fi
}

inline asi_flush_root_later(which, id)
{
	flush_pending[which] = flush_pending[which] | BIT(id)
}

inline asi_flush_other_root_later()
{
#ifdef BREAK_OTHER_ROOT_BY_LOADED_ASID
	asi_flush_root_later(OTHER_ROOT, loaded_mm_asid)
#else
	asi_flush_root_later(OTHER_ROOT, asid)
#endif
}

/*
 * arch/x86/mm/tlb.c
 */
#if defined(KPTI) && !defined(BREAK_KPTI_NOT_FLUSHED)
#define invalidate_user_asid(id) \
	user_pcid_flush_mask = user_pcid_flush_mask | BIT(id);
#else
#define invalidate_user_asid(id)
#endif

inline native_flush_tlb_local()
{
	invalidate_user_asid(loaded_mm_asid)
#ifndef BREAK_LOCAL_FORGETS_ROOT
	asi_flush_other_root_later();
#endif
#ifdef BREAK_LOCAL_WITH_IRQS_ON
	touch();
#endif
	mov_cr3(pgd, asid, root, false)
}

inline native_flush_tlb_one_user(which)
{
	/* asi_flush_one_user() */
	d_step { flush_page(which, LOADED); speculate() }	/* INVLPG */
#ifdef INVPCID
#ifndef BREAK_INVPCID_FORGETS_ROOT
	d_step { flush_page(which, PCID(OTHER_ROOT, asid)) }
#endif
#elif !defined(BREAK_INVLPG_FORGETS_ROOT)
	asi_flush_other_root_later();
#endif
#if defined(KPTI) && defined(INVPCID) && !defined(BREAK_KPTI_NOT_FLUSHED)
	d_step { flush_page(which, PCID(KPTI_USER, loaded_mm_asid)) }
#elif defined(KPTI)
	invalidate_user_asid(loaded_mm_asid)
#endif
}

inline flush_tlb_one_kernel(which)
{
	native_flush_tlb_one_user(which);
#ifndef BREAK_KERNEL_FORGETS_ASIDS
	invalidate_other = true
#endif
}

inline native_flush_tlb_global()
{
	d_step { flush(ALL_PCIDS); speculate() };
#ifndef INVPCID
	/* CR4.PGE off, and on */
	d_step { flush(ALL_PCIDS); speculate() }
#endif
}

inline choose_new_asid()
{
	if
	:: d_step { invalidate_other ->
		/* clear_asid_other() */
		ctx_id[1 - loaded_mm_asid] = NO_MM };
		invalidate_other = false
	:: else
	fi;
	if
	:: d_step { ctx_id[0] == next ->
		new_asid = 0;
		need_flush = behind[0] > behind[NEXT] }
	:: d_step { ctx_id[1] == next ->
		new_asid = 1;
		need_flush = behind[1] > behind[NEXT] }
	:: d_step { ctx_id[0] != next && ctx_id[1] != next ->
		/*
		 * Never the one that is loaded: an NMI could still use it for
		 * the old mm, after asi_flush_asid_later().
		 */
		new_asid = 1 - loaded_mm_asid;
		need_flush = true }
#ifdef BREAK_LOADED_ASID_REUSED
	:: d_step { ctx_id[0] != next && ctx_id[1] != next ->
		new_asid = loaded_mm_asid;
		need_flush = true }
#endif
	fi
}

inline read_next_tlb_gen()
{
	behind[NEXT] = 0
}

/* To the mm of the task that runs next; leave_mm() */
inline switch_mm_irqs_off()
{
	if
	:: d_step { IN_TASK -> next = A; was_lazy = is_lazy; is_lazy = false }
	:: d_step { IN_TASK -> next = B; was_lazy = is_lazy; is_lazy = false }
	:: d_step { IN_TASK && is_lazy ->
		next = INIT_MM; was_lazy = true; is_lazy = false }
	fi;
	if
	:: d_step { loaded_mm == next ->
		read_next_tlb_gen();
#ifndef BREAK_LAZY_NOT_FLUSHED
		need_flush = was_lazy && behind[loaded_mm_asid] > 0;
#endif
		new_asid = loaded_mm_asid }
	:: d_step { loaded_mm != next -> loaded_mm = SWITCHING };
		read_next_tlb_gen();
		choose_new_asid()
	fi;

	if
	:: d_step { need_flush ->
		/* asi_load_new_mm_cr3(), asi_flush_asid_later() */
		invalidate_user_asid(new_asid)
		asi_flush_root_later(UNRESTRICTED, new_asid) };
#ifndef BREAK_SWITCH_FORGETS_ROOT
		asi_flush_root_later(RESTRICTED, new_asid)
#endif
	:: !need_flush
	fi;
	if
	:: d_step { need_flush || loaded_mm == SWITCHING ->
		/* asi_load_mm() */
		new_root = (unrestricted -> UNRESTRICTED : RESTRICTED);
		read_pending(new_root, new_asid) };
		asi_write_cr3(next, new_asid, new_root, unrestricted)
	:: else
	fi;
	d_step {
		loaded_mm = next;
		loaded_mm_asid = new_asid;
		if
		:: need_flush ->
			ctx_id[new_asid] = next;
			behind[new_asid] = behind[NEXT]
		:: else
		fi;
		assert(behind[NEXT] <= 1);	/* or two would not be enough */
		behind[NEXT] = 0; next = NO_MM; new_asid = 0; new_root = 0;
		was_lazy = false; need_flush = false;

		/* schedule() is done, or there is no other task */
		kthread = (loaded_mm == INIT_MM);
		check()
	}
}

/* If @is_lazy it leaves the mm first; see below. */
inline flush_tlb_func()
{
	if
	:: d_step { loaded_mm != A || behind[loaded_mm_asid] == 0 -> reuse() }
	:: loaded_mm == A && behind[loaded_mm_asid] == 1 ->
		native_flush_tlb_one_user(USER);
		d_step { behind[loaded_mm_asid] = 0; reuse() }
	:: loaded_mm == A && behind[loaded_mm_asid] > 0 ->
		native_flush_tlb_local();
		d_step { behind[loaded_mm_asid] = 0; reuse() }
	fi
}

/*
 * The CPU. Interrupts are on where it waits for the next thing to do.
 */
active proctype cpu()
{
	byte pending, new_asid, new_root, saved;
	bool was_lazy, need_flush;

	ctx_id[0] = INIT_MM;
	if
	:: page = FIXMAP
	:: page = DIRECT
	:: page = KERNEL
	:: page = USER
	fi;

	do
	:: __asi_exit()

	:: __asi_enter()

#ifdef KPTI
	:: d_step { IN_TASK && !kthread && !unrestricted ->
		/* SWITCH_TO_USER_CR3: bt, btr, mov */
		pending = user_pcid_flush_mask & BIT(asid) };
		user_pcid_flush_mask = user_pcid_flush_mask & ~pending;
		d_step { mov_cr3(pgd, asid, KPTI_USER, !pending); pending = 0 }

	:: !IN_KERNEL ->
		/* SWITCH_TO_KERNEL_CR3 */
		mov_cr3(pgd, asid, RESTRICTED, true)
#endif

	:: IN_KERNEL && ipi && page == DIRECT ->
#ifdef BREAK_FLIP_FLUSHES_ASID
		native_flush_tlb_local();
#else
		native_flush_tlb_global();
#endif
		d_step { reuse() }

	:: IN_KERNEL && ipi && page == KERNEL ->
		flush_tlb_one_kernel(KERNEL);
		d_step { reuse() }

	:: IN_KERNEL && ipi && page == USER && !is_lazy -> flush_tlb_func()

	:: switch_mm_irqs_off()

	:: d_step { IN_TASK ->
		/* schedule() to a kernel thread, enter_lazy_tlb() */
		is_lazy = (loaded_mm != INIT_MM);
		kthread = true }

#ifndef KPTI
	:: d_step { IN_TASK && !is_lazy ->
		/* CR3 is read, and will be written back. */
		saved = root + 1 }

	:: d_step { saved ->
#ifdef BREAK_WRITE_BACK_KEEPS_TLB
		mov_cr3(pgd, asid, saved - 1, true);
#else
		mov_cr3(pgd, asid, saved - 1, false);
#endif
		saved = 0 }

	:: d_step { IN_TASK ->
		/* KVM on VMX does so with interrupts off, and keeps the TLB. */
		new_root = root };
		touch();
		d_step { mov_cr3(pgd, asid, new_root, true); new_root = 0 }

	:: d_step { IN_TASK && loaded_mm == INIT_MM && !ipi -> online = false };
		/* And up again: initialize_tlbstate_and_flush() */
		starting = true;
		mov_cr3(INIT_MM, 0, UNRESTRICTED, false);
		d_step {
			/* asi_cpu_reset() */
			unrestricted = true;
#ifndef BREAK_CPU_RESET
			flush_pending[UNRESTRICTED] = 3;
			flush_pending[RESTRICTED] = 3;
#endif
			loaded_mm_asid = 0;
			ctx_id[0] = INIT_MM; behind[0] = 0;
			ctx_id[1] = NO_MM; behind[1] = 0;
			online = true; starting = false
		}
#endif
	od
}

/*
 * An NMI. Nothing comes between its steps that makes a difference: interrupts
 * are off, and what the other CPU does meanwhile it may as well do before or
 * after.
 */
inline exc_nmi(before, use_fixmap, during)
{
	online ->				/* arch_cpu_is_offline() */
#ifdef KPTI
	/* SAVE_AND_SWITCH_TO_KERNEL_CR3 */
	from_user = (root == KPTI_USER);
	if
	:: from_user -> mov_cr3(pgd, asid, RESTRICTED, true)
	:: else
	fi;
#endif
	/* __asi_nmi_enter() */
	found_unrestricted = unrestricted;
	found_root = root;

	if
	:: before -> touch()
	:: else
	fi;
	if
	:: use_fixmap ->
		/* ghes_map() */
		fixmap = 1;
		flush_tlb_one_kernel(FIXMAP);
		fixmap = 2;
		check();
		if
		:: during -> touch()
		:: else
		fi;
		/* ghes_unmap() */
		fixmap = 0;
		flush_tlb_one_kernel(FIXMAP)
	:: else
	fi;

	/* __asi_nmi_exit() */
	if
	:: found_root == RESTRICTED && root != RESTRICTED ->
		read_pending(RESTRICTED, asid);
		asi_write_cr3(pgd, asid, RESTRICTED, unrestricted)
	:: else
	fi;
	unrestricted = found_unrestricted;
#ifdef KPTI
	/* PARANOID_RESTORE_CR3 */
	if
	:: from_user ->
		pending = user_pcid_flush_mask & BIT(asid);
		user_pcid_flush_mask = user_pcid_flush_mask & ~pending;
		mov_cr3(pgd, asid, KPTI_USER, !pending)
	:: else
	fi;
#endif
	pending = 0; from_user = false;
	found_unrestricted = false; found_root = 0
}

active proctype nmi()
{
	byte pending, found_root;
	bool found_unrestricted, from_user;

	do
	:: d_step { exc_nmi(true, false, false) }
	:: d_step { exc_nmi(false, true, false) }
	:: d_step { exc_nmi(false, true, true) }
	:: d_step { exc_nmi(true, true, false) }
	od
}

active proctype other_cpu()
{
	byte seen_mm;

	do
	:: d_step { page == DIRECT && !shootdown ->
		/* asi_flip_to_sensitive() */
		unmap(); on_each_cpu() }

	/*
	 * flush_tlb_kernel_range(). A CPU that comes up and is not online yet
	 * misses a flush of what it may have loaded already, with and without
	 * ASI.
	 */
	:: d_step { page == KERNEL && !shootdown && !starting ->
		unmap(); on_each_cpu() }

	:: d_step { page == USER && !shootdown ->
		/* flush_tlb_mm_range(), inc_mm_tlb_gen() */
		unmap();
		behind[0] = behind[0] + (ctx_id[0] == A && behind[0] < 2);
		behind[1] = behind[1] + (ctx_id[1] == A && behind[1] < 2);
		behind[NEXT] = behind[NEXT] + (next == A && behind[NEXT] < 2);
		/* should_flush_tlb() */
		seen_mm = loaded_mm };
		if
		:: d_step { is_lazy || (seen_mm != SWITCHING && seen_mm != A) ->
			reuse(); seen_mm = NO_MM }
		:: d_step { !is_lazy && (seen_mm == SWITCHING || seen_mm == A) ->
			on_each_cpu(); seen_mm = NO_MM }
		/* freed_tables */
		:: d_step { on_each_cpu(); seen_mm = NO_MM }
		fi
	od
}
