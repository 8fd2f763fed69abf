/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One top-level entry in two roots of an mm, and what a CPU copies of it, under every
 * interleaving, for spin: copy_entry(), asi_root_fault() and asi_root_refresh() of
 * arch/x86/mm/asi_root.c. When the CPU does so is what root.pml is about.
 *
 * The entry is set and cleared in the restricted root first, then in the unrestricted one.
 * Before the table is freed the CPU is told. It must have the table in neither root then.
 *
 * A statement, or a d_step, is one step. What the CPU does, an NMI may interrupt
 * anywhere. The user root is as the restricted one.
 */

#define BIT(nr)		(1 << (nr))

/* Tables are 1 and 2, no table is 0. */
byte free = BIT(1) | BIT(2);
byte unrestricted, restricted;		/* of the mm */
byte my_unrestricted, my_restricted;	/* of the CPU */
bool ipi, in_nmi;

inline copy_entry()
{
#ifdef BREAK_OTHER_ORDER
	my_restricted = restricted;
#endif
	read = unrestricted;
	my_unrestricted = read;
	if
#ifdef BREAK_EMPTY_COPIED
	:: true
#else
	:: read
#endif
#ifndef BREAK_OTHER_ORDER
		-> my_restricted = restricted
#endif
	:: !read -> my_restricted = 0
	fi;
	read = 0
}

/* The switch to the mm, and interrupts */
active proctype processor() provided (!in_nmi)
{
	byte read;

end:	do
	:: copy_entry()
	:: ipi ->
#ifndef BREAK_REFRESH_NOT
		if
		:: my_unrestricted != unrestricted -> copy_entry()
		:: else
		fi;
#endif
		ipi = false
	od
}

/* asi_root_fault(), in an NMI or where interrupts are off otherwise */
active proctype fault()
{
	byte read;

end:	do
	:: d_step { unrestricted && (!my_unrestricted || (!my_restricted && restricted)) ->
		in_nmi = true };
		copy_entry();
		in_nmi = false
	od
}

/* __pud_alloc() and free_pgd_range() */
active proctype owner()
{
	byte table, next;

end:	do
	:: d_step { !next && (free & BIT(1)) -> free = free & ~BIT(1); next = 1 }
	:: d_step { !next && (free & BIT(2)) -> free = free & ~BIT(2); next = 2 }
	:: d_step { next -> restricted = next };
		d_step { unrestricted = next; table = next; next = 0 };
		restricted = 0;
		unrestricted = 0;
		if
		:: true
		:: d_step { free -> /* Somebody else needs one there at once. */
			next = (free & BIT(1) -> 1 : 2);
			free = 0;
			restricted = next };
			unrestricted = next
		fi;
		ipi = true;
		!ipi;
		d_step { free = free | BIT(table); table = 0 }
	od
}

#define HELD	((BIT(my_unrestricted) | BIT(my_restricted)) & ~1)

/* What must hold at every instant. */
active proctype monitor()
{
end:	atomic {
		free & HELD -> assert(!(free & HELD))
	}
}
