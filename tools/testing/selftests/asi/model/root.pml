/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The copies that CPUs have of a top-level entry, under every interleaving, for spin:
 * arch/x86/mm/asi_root.c, and what switch_mm_irqs_off() and flush_tlb_func() of tlb.c
 * have to do with it.
 *
 * Two CPUs load an mm, leave it, and keep it lazily. Somebody fills and clears the entry,
 * and frees the table that it has pointed to, as free_pgd_range() does; somebody else has
 * flushes done at the same time that free nothing. The entry is copied when the mm is
 * loaded, unless it is known that none has been removed since the last time, and by
 * faults, NMIs included, at any instant when it is not there.
 *
 * No CPU may reach a table that has been freed, by the copy on which it runs or by what
 * the TLB has of it, with the mm loaded, or when that is loaded again without a flush.
 * Nor may a CPU get at tables of the mm by the PCID of another one.
 *
 * A statement, or a d_step, is one step, seen by both CPUs at once. What a processor does
 * is done with interrupts off: it does one thing after the other. There are no store
 * buffers: the code has full barriers after whatever is said before something is looked
 * at. Speculation loads at once whatever is there. CPUs are in mm_cpumask() no longer
 * than they have to. There is one flush of each kind at a time.
 *
 * Left out: which of four roots it is (see entry.pml); transitions and
 * pending flushes (see tlb.pml); the bitmap of what is to be copied, which only saves
 * looking at the rest; CPUs that go down; loading an mm from an NMI.
 */

#define BIT(nr)		(1 << (nr))

/* Tables are 1 and 2, no table is 0. */
byte master;
byte free = BIT(1) | BIT(2);
#define TABLE(nr)	(BIT(nr) & ~1)

/* Hardware */
bool has_mm[2];				/* CR3 */
byte cached[2];				/* which tables, for the mm's PCID */
byte foreign[2];			/* and for that of another mm */

/* Of each CPU */
byte copy[2];				/* the entry that it runs on with that mm */
bool in_mask[2];			/* mm_cpumask() */
bool is_lazy[2];
byte behind[2];				/* ctxs.tlb_gen of the mm's ASID: by this much */
#define ONE		1		/* by one flush, that frees nothing */
#define MORE		2
bool same[2];				/* The mm's tlb_gen is that of the copy */
bool need_flush[2];			/* with the CR3 that is written next */
bool in_nmi[2];
bool free_ipi[2], flush_ipi[2];		/* flush_tlb_func() is to run */

inline speculate(cpu)
{
	cached[cpu] = cached[cpu] | (TABLE(copy[cpu]) * has_mm[cpu])
}

#define cpu	(_pid % 2)

inline flush()
{
	cached[cpu] = 0;
	speculate(cpu)
}

inline leave()
{
	has_mm[cpu] = false;
	is_lazy[cpu] = false;
	in_mask[cpu] = false
}

inline asi_root_refresh()
{
#ifndef BREAK_REFRESH_NOT
	read = master;
	if
#ifdef BREAK_REFRESH_IF_EMPTY
	:: d_step { !read -> copy[cpu] = 0 }
	:: read
#else
	:: d_step { copy[cpu] != read -> copy[cpu] = read; speculate(cpu) }
	:: copy[cpu] == read
#endif
	fi;
#endif
	read = 0
}

/* The mm's tlb_gen goes up. */
inline next_generation(one)
{
	behind[0] = (behind[0] -> MORE : one);
	behind[1] = (behind[1] -> MORE : one);
	same[0] = false;
	same[1] = false
}

/* Whether something may have been removed by the generation that is flushed for */
#ifdef BREAK_REFRESH_IF_ONE
#define MUST_REFRESH(by)	((by) == ONE)
#else
#define MUST_REFRESH(by)	((by) == MORE)
#endif

inline flush_tlb_func()
{
#ifdef BREAK_REFRESH_FIRST
	if
	:: has_mm[cpu] && behind[cpu] -> asi_root_refresh()
	:: else
	fi;
#endif
	if
	:: d_step { has_mm[cpu] && behind[cpu] -> by = behind[cpu]; behind[cpu] = 0 };
#if !defined(BREAK_REFRESH_LAST) && !defined(BREAK_REFRESH_FIRST)
		if
		:: MUST_REFRESH(by) -> asi_root_refresh()
		:: !MUST_REFRESH(by)
		fi;
#endif
		d_step { flush(); by = 0 };
#ifdef BREAK_REFRESH_LAST
		asi_root_refresh();
#endif
	:: !(has_mm[cpu] && behind[cpu])
	fi
}

/* switch_mm_irqs_off(), and interrupts */
active [2] proctype processor() provided (!in_nmi[cpu])
{
	byte read, by;

end:	do
	:: d_step { !has_mm[cpu] ->
#ifdef BREAK_COPIES_FIRST
		copy[cpu] = master;
#endif
		skip };
		d_step { in_mask[cpu] = true };
		d_step { need_flush[cpu] = behind[cpu]; behind[cpu] = 0 };
#ifndef BREAK_COPIES_FIRST
		if
#ifdef BREAK_COPY_KEPT
		:: true
#else
		:: same[cpu]
#endif
		/* Also if the block has been filled for another mm since */
#ifdef BREAK_GENERATION_LATE
		:: copy[cpu] = master; same[cpu] = true
#else
		:: d_step { same[cpu] = true };
			d_step {
#ifdef BREAK_ONE_BLOCK
				foreign[cpu] = TABLE(master);
#endif
				copy[cpu] = master
			}
#endif
		fi;
#endif
		d_step {
			has_mm[cpu] = true;
			cached[cpu] = (need_flush[cpu] -> 0 : cached[cpu]);
			speculate(cpu);
			need_flush[cpu] = false;
			foreign[cpu] = 0
		}

	/* Another process, or leave_mm() */
	:: d_step { has_mm[cpu] -> leave() }

	:: d_step { has_mm[cpu] && !is_lazy[cpu] -> is_lazy[cpu] = true }

	:: is_lazy[cpu] -> is_lazy[cpu] = false;
		if
		:: d_step { behind[cpu] -> behind[cpu] = 0 };
			asi_root_refresh();
			d_step { flush() }
		:: !behind[cpu]
		fi

	:: d_step { (free_ipi[cpu] || flush_ipi[cpu]) && is_lazy[cpu] ->
		/* To init_mm */
		leave() }

	:: flush_ipi[cpu] && !is_lazy[cpu] -> flush_ipi[cpu] = false;
#ifdef BREAK_REFRESH_IF_FREED
		d_step {
			if
			:: has_mm[cpu] && behind[cpu] -> flush(); behind[cpu] = 0
			:: else
			fi
		}
#else
		flush_tlb_func()
#endif

	:: free_ipi[cpu] && !is_lazy[cpu] ->
		flush_tlb_func();
		free_ipi[cpu] = false
	od
}

/* A fault in an NMI, or with interrupts off otherwise: asi_root_fault() */
active [2] proctype fault()
{
	byte read;

end:	do
	:: d_step { has_mm[cpu] && !copy[cpu] && master ->
		in_nmi[cpu] = true;
		read = master };
		d_step {
			copy[cpu] = read;
			speculate(cpu);
			read = 0;
			in_nmi[cpu] = false
		}
	od
}

/* free_pgd_range(), or exit_mmap(), and the next who needs a table there */
active proctype owner()
{
	byte table;

end:	do
	:: d_step { !master && (free & BIT(1)) -> free = free & ~BIT(1); master = 1 }
	:: d_step { !master && (free & BIT(2)) -> free = free & ~BIT(2); master = 2 }
	:: d_step { master -> table = master; master = 0 };
		if
		:: d_step { free -> /* Somebody else needs one there at once. */
			master = (free & BIT(1) -> 1 : 2);
			free = 0 }
		:: true
		fi;
#if defined(BREAK_GENERATION_NOT)
#elif defined(BREAK_FREED_AS_ONE)
		d_step { next_generation(ONE) };
#else
		d_step { next_generation(MORE) };
#endif
		/* One after the other, as IPIs are, but waits for both */
		d_step {
#if defined(BREAK_LAZY_SKIPPED)
			free_ipi[0] = in_mask[0] && !is_lazy[0];
			free_ipi[1] = in_mask[1] && !is_lazy[1]
#elif defined(BREAK_PREEMPTED_SKIPPED)
			free_ipi[0] = in_mask[0];
			free_ipi[1] = false
#else
			free_ipi[0] = in_mask[0];
			free_ipi[1] = in_mask[1]
#endif
		};
		!free_ipi[0] && !free_ipi[1];
		d_step { free = free | BIT(table); table = 0 }
	od
}

/* A flush that frees no tables, and does not reach lazy CPUs */
active proctype flusher()
{
end:	do
	:: d_step { next_generation(ONE) };
		d_step {
			flush_ipi[0] = in_mask[0] && !is_lazy[0];
			flush_ipi[1] = in_mask[1] && !is_lazy[1]
		};
		!flush_ipi[0] && !flush_ipi[1]
	od
}

/* Which tables a CPU may get at */
#define WITHIN(nr)	((TABLE(copy[nr]) * has_mm[nr]) | \
			 (cached[nr] * (has_mm[nr] || !(behind[nr] || need_flush[nr]))))
#define NONE_FREED	(!(free & (WITHIN(0) | WITHIN(1))))
#define ITS_OWN		(!foreign[0] && !foreign[1])

/* What must hold at every instant. */
active proctype monitor()
{
end:	atomic {
		!(NONE_FREED && ITS_OWN) ->
		assert(NONE_FREED);
		assert(ITS_OWN)
	}
}
