/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TLB flushes with PCIDs under every interleaving, for spin: asi_write_cr3() and
 * what calls it in arch/x86/mm/asi_switch.c, and the hooks in arch/x86/mm/tlb.c.
 *
 * A CPU with two ASIDs runs tasks of two mms, guests of theirs, and kernel
 * threads. An NMI may strike before each of its steps; it may access sensitive
 * memory, or what is the process's own, and use the fixmap as firmware error
 * handling does. Another CPU unmaps a page, asks for the flush, and reuses the
 * frame when it has been told that the flush is done:
 *
 *	DIRECT	a page of a block that becomes sensitive: mapped by restricted
 *		and guest roots, flushed by flush_tlb_all()
 *	KERNEL	mapped by all roots, flushed by flush_tlb_kernel_range()
 *	USER	mapped by the roots of mm A but its guest root, flushed by
 *		flush_tlb_mm_range()
 *	LDT	with KPTI only; mapped by all of them, flushed in the same way
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
 *  - Speculation loads at once every translation that the loaded root has. Any
 *    PCID holds those of the kernel that its root may have, and of mm A those of
 *    all roots, as soon as one of the ASID is loaded.
 *  - The other CPU unmaps the page as late as it may, when it asks for the flush.
 *  - It reuses the frame, and maps another one, as soon as the flush is done.
 *
 * Options: INVPCID, KPTI. With KPTI the page USER is followed in the user root
 * only, and LDT in the guest root; CR3 is not written by others, nor the CPU taken
 * down. It would make no difference.
 *
 * Left out: other orders of memory accesses than the program's (each access of
 * one CPU that another one waits for is serializing); mm_cpumask() (the CPU is
 * in all of them); flushes for mm B; more than one shootdown at a time; the
 * order in which ASIDs are given away; an NMI that switches mms, as kgdb's may;
 * flushes of transitions (see transition.pml); global pages (kernel mappings are
 * not) and INVLPGB (disabled).
 */

#if defined(BREAK_KPTI_NOT_FLUSHED) || defined(BREAK_KPTI_TAKES_USER_FLUSH)
#define KPTI
#endif
#if defined(BREAK_INVPCID_FORGETS_ROOT) || defined(BREAK_INVPCID_FORGETS_GUEST)
#define INVPCID
#endif

#define UNRESTRICTED	0
#define RESTRICTED	1
#define GUEST		2
#define KPTI_USER	3

#define DIRECT		1
#define KERNEL		2
#define USER		3
#define FIXMAP		4
#define LDT		5
byte page;				/* the one that is followed */

/* mms; also their ctx_id */
#define NO_MM		0
#define A		1
#define B		2
#define INIT_MM		3
#define SWITCHING	4		/* LOADED_MM_SWITCHING */

#define BIT(nr)		(1 << (nr))
#define PCID(root, asid) BIT(2 * (root) + (asid))
#define OF_ROOT(root)	(PCID(root, 0) | PCID(root, 1))

/* Hardware: CR3, and the PCIDs that hold a translation of the page */
byte pgd = INIT_MM, asid, root = UNRESTRICTED;
byte fresh;				/* as mm A's tables are now */
byte stale;				/* as tables were */
#define LOADED		PCID(root, asid)
#define IN_KERNEL	(root != KPTI_USER)
#define IN_TASK		(IN_KERNEL && !saved)	/* not about to write CR3 */

bool online = true, starting;

/* struct asi_cpu; a bit for each ASID */
bool unrestricted = true;
byte flush_pending[3] = 3;

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
#define OF_MM_A		(page == USER || page == LDT)

/* PCIDs of the roots that map it. FIXMAP, as KERNEL: other CPUs use it, too. */
#define MAPPED_DIRECT	(OF_ROOT(RESTRICTED) | OF_ROOT(GUEST))
#define MAPPED_KERNEL	(OF_ROOT(UNRESTRICTED) | MAPPED_DIRECT)
#ifdef KPTI
#define MAPPED_USER	OF_ROOT(KPTI_USER)
#else
#define MAPPED_USER	(OF_ROOT(UNRESTRICTED) | OF_ROOT(RESTRICTED))
#endif
#define MAPPED_LDT	OF_ROOT(GUEST)
#define OF_ASID		(PCID(UNRESTRICTED, asid) | PCID(RESTRICTED, asid) | \
			 PCID(GUEST, asid) | PCID(KPTI_USER, asid))

/* What must hold whenever something changes. */
inline check()
{
	if
	:: (stale & LOADED) && !shootdown && online ->
		assert(page != DIRECT && page != KERNEL);
		/* Kernel threads use no user memory. See nmi_uaccess_okay(). */
		assert(!OF_MM_A || is_lazy || kthread || loaded_mm != A);
		assert(page != FIXMAP || fixmap != 2)
	:: else
	fi;
	assert(!OF_MM_A || pgd == A || !((fresh | stale) & LOADED))
}

inline speculate()
{
	if
	:: pgd == A && !shootdown ->
		fresh = fresh | (OF_ASID & (MAPPED_USER * (page == USER) |
					    MAPPED_LDT * (page == LDT)))
	:: else
	fi;
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
inline unmap(pcids)
{
	shootdown = true;
	stale = stale | (pcids);
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

/* Also __asi_relax(), from a kernel thread as well */
inline __asi_enter()
{
	d_step { IN_TASK && unrestricted ->
		read_pending(RESTRICTED, asid) };
	asi_write_cr3(pgd, asid, RESTRICTED, false)
}

inline asi_leave_guest_root()
{
	d_step { root == GUEST ->
		read_pending(RESTRICTED, asid) };
	asi_write_cr3(pgd, asid, RESTRICTED, unrestricted)
}

inline asi_enter_guest()
{
	d_step { IN_TASK && !kthread && (unrestricted || root != GUEST) ->
		read_pending(GUEST, asid) };
	asi_write_cr3(pgd, asid, GUEST, false)
}

inline __asi_exit()
{
	d_step { root == RESTRICTED || root == GUEST ->
		unrestricted = true;
		read_pending(UNRESTRICTED, asid) };
	asi_write_cr3(pgd, asid, UNRESTRICTED, true)
}

/* An access to sensitive memory, or to what is the process's own */
inline touch()
{
	if
	:: root == RESTRICTED || root == GUEST -> __asi_exit()
	:: else
	fi
}

inline touch_own()
{
	if
	:: root == GUEST -> asi_leave_guest_root()
	:: else
	fi
}

inline asi_flush_root_later(which, id)
{
	flush_pending[which] = flush_pending[which] | BIT(id)
}

inline asi_flush_other_root_later(which)
{
#ifdef BREAK_OTHER_ROOT_BY_LOADED_ASID
	flush_pending[which] = flush_pending[which] | (BIT(loaded_mm_asid) * (which != root))
#else
	flush_pending[which] = flush_pending[which] | (BIT(asid) * (which != root))
#endif
}

inline asi_flush_other_roots_later()
{
	asi_flush_other_root_later(UNRESTRICTED);
	asi_flush_other_root_later(RESTRICTED);
#ifndef BREAK_LATER_FORGETS_GUEST
	asi_flush_other_root_later(GUEST)
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
	asi_flush_other_roots_later();
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
	d_step { flush_page(which, PCID(UNRESTRICTED, asid) | PCID(RESTRICTED, asid)) };
#ifndef BREAK_INVPCID_FORGETS_GUEST
	d_step { flush_page(which, PCID(GUEST, asid) * (which != USER)) }
#endif
#endif
#elif !defined(BREAK_INVLPG_FORGETS_ROOT)
	asi_flush_other_roots_later();
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
	d_step { fresh = 0; stale = 0; speculate() };
#ifndef INVPCID
	/* CR4.PGE off, and on */
	d_step { fresh = 0; stale = 0; speculate() }
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
		asi_flush_root_later(RESTRICTED, new_asid);
#endif
#ifndef BREAK_SWITCH_FORGETS_GUEST
		asi_flush_root_later(GUEST, new_asid)
#endif
	:: !need_flush
	fi;
	if
	:: d_step { need_flush || loaded_mm == SWITCHING ->
		/* asi_load_mm() */
		new_root = (root == UNRESTRICTED -> UNRESTRICTED : RESTRICTED);
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
		native_flush_tlb_one_user(page);
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
#ifdef KPTI
	:: page = LDT
#endif
	fi;

	do
	:: __asi_exit()

	:: __asi_enter()

	:: asi_leave_guest_root()

	:: asi_enter_guest();
		/* VM exit, with the TLB kept; interrupts are still off */
		mov_cr3(pgd, asid, GUEST, true)

#ifdef KPTI
	:: d_step { IN_TASK && !kthread && !unrestricted && root == RESTRICTED ->
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

	:: IN_KERNEL && ipi && OF_MM_A && !is_lazy -> flush_tlb_func()

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
			flush_pending[GUEST] = 3;
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
#define NOTHING		0
#define OWN		1			/* what is the process's own */
#define ALL		2			/* sensitive memory */

inline access(what)
{
	if
	:: what == OWN -> touch_own()
	:: what == ALL -> touch()
	:: else
	fi
}

inline exc_nmi(before, use_fixmap, during)
{
	online &&				/* arch_cpu_is_offline() */
	/* With other pages it flushes more, which makes nothing worse. */
	(page == FIXMAP || !use_fixmap) &&
	/* Or it would be the same as with NOTHING. */
	(root == GUEST || (before != OWN && during != OWN)) ->
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

	access(before);
	if
	:: use_fixmap ->
		/* ghes_map() */
		fixmap = 1;
		stale = MAPPED_KERNEL * (page == FIXMAP);
		flush_tlb_one_kernel(FIXMAP);
		fixmap = 2;
		check();
		access(during);
		/* ghes_unmap() */
		fixmap = 0;
		flush_tlb_one_kernel(FIXMAP);
		stale = stale * (page != FIXMAP)
	:: else
	fi;

	/* __asi_nmi_exit() */
	if
	:: found_root != UNRESTRICTED && root != found_root ->
		read_pending(found_root, asid);
		asi_write_cr3(pgd, asid, found_root, unrestricted)
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
#ifdef BREAK_KPTI_TAKES_USER_FLUSH
	:: found_root == GUEST ->
		pending = user_pcid_flush_mask & BIT(asid);
		user_pcid_flush_mask = user_pcid_flush_mask & ~pending;
		mov_cr3(pgd, asid, GUEST, !pending)
#endif
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
	:: d_step { exc_nmi(ALL, false, NOTHING) }
	:: d_step { exc_nmi(OWN, false, NOTHING) }
	:: d_step { exc_nmi(NOTHING, true, NOTHING) }
	:: d_step { exc_nmi(NOTHING, true, ALL) }
	:: d_step { exc_nmi(NOTHING, true, OWN) }
	:: d_step { exc_nmi(ALL, true, NOTHING) }
	:: d_step { exc_nmi(OWN, true, NOTHING) }
	:: d_step { exc_nmi(OWN, true, ALL) }
	od
}

active proctype other_cpu()
{
	byte seen_mm;

	do
	:: d_step { page == DIRECT && !shootdown ->
		/* asi_flip_to_sensitive() */
		unmap(MAPPED_DIRECT); on_each_cpu() }

	/*
	 * flush_tlb_kernel_range(). A CPU that comes up and is not online yet
	 * misses a flush of what it may have loaded already, with and without
	 * ASI.
	 */
	:: d_step { page == KERNEL && !shootdown && !starting ->
		unmap(MAPPED_KERNEL); on_each_cpu() }

	:: d_step { OF_MM_A && !shootdown ->
		/* flush_tlb_mm_range(), inc_mm_tlb_gen() */
		unmap(fresh);
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
