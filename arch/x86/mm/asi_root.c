// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: page-table roots of a CPU.
 *
 * Threads of a process share its page tables, and what one CPU maps in them for a
 * moment every other one that runs the process can get into its TLB. So that a CPU
 * can have something to itself, it runs on roots of its own: the top level is a copy
 * of the mm's, the levels below are the mm's.
 *
 * A CPU has two blocks of four roots, laid out as those of an mm. The one that is not
 * loaded is filled for the next mm, or speculation on behalf of the last one could get
 * at entries of the next one before CR3 is written. Which of the two it is does not
 * matter to the TLB, whose tags are PCIDs: what it holds of an ASID comes from the
 * same mm, by either block.
 *
 * What differs between mms are few entries: those of the user half that are in use,
 * and some of the kernel half (LDT, memory of one mm, what is exposed to it). All that
 * they share is there from the beginning, see asi_init(). Each mm has a bitmap of those
 * that have been met, which is all that is copied; a child begins with its parent's:
 *
 *  - An entry that the mm has and the block has not is copied by whoever faults on it,
 *    and noted in the bitmap. A translation that was not there needs no flush to be
 *    there. Entries that must not fault are noted beforehand: asi_root_note().
 *
 *  - An entry that the mm had is removed before the table that it points to is freed.
 *    That is announced by a flush with freed_tables, which reaches all CPUs that have
 *    the mm loaded, and makes lazy ones load another one:
 *
 *	free_pgd_range()			switch_mm_irqs_off()
 *	  master entry cleared			  loaded_mm = SWITCHING, mm_cpumask
 *	  tlb_gen += 1 (full barrier)		  (full barrier)
 *	  IPI to mm_cpumask			  tlb_gen read
 *						  master entry copied
 *						  write CR3
 *						  interrupts on: flush_tlb_func()
 *
 *    A CPU that has not seen the entry cleared is sent the IPI, as interrupts are off
 *    from the copy until it runs on it. So is one that copies in a fault: with
 *    interrupts off, or from an NMI that finds what the IPI will find, or later.
 *
 *    That CPU may have flushed its TLB before the IPI comes, on behalf of somebody else,
 *    and have left the mm, with an ASID that is up to date. So no flush brings the
 *    generation forward without having removed the entry, or the TLB would get it again
 *    from the copy, unless that generation is the only one and its flush frees no tables.
 *    Whatever is as new as a generation has neither.
 *
 *  - A block that is not loaded may have entries of tables that have been freed. No page
 *    walk begins there. If the mm that it was filled for is loaded next, and has had no
 *    flush since, then nothing has been removed, and the block is good as it is. The
 *    generation is read before the block is filled, so that it is too old rather than too
 *    new; what is removed after it has been read again is what the picture above is about.
 *    A CPU that has been down in between compares like any other. No NMI copies entries
 *    while a block is filled: loaded_mm says SWITCHING.
 *
 * The roots of an mm are written in the order user, restricted, unrestricted, when an entry
 * is set (__pti_set_user_pgtbl(), and its caller) and when it is cleared. They are read here
 * in the opposite order. Whoever finds an entry in the unrestricted one has copied it into
 * those that user mode needs as well. Whoever finds none copies none: it may be in the
 * others because it is about to be set, or to be cleared, but what is removed is found by
 * comparing the unrestricted ones. (That of the LDT is in the user root last, and copied
 * before it is used: asi_root_copy().)
 *
 * init_mm is loaded as it is. So are those that are not tracked by mm_cpumask(): that of
 * EFI, whose kernel half is different, and that for changes of text. And so are all on a
 * CPU for which there was no memory.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/bitmap.h>
#include <linux/cpuhotplug.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>
#include <linux/printk.h>
#include <linux/topology.h>

#include <asm/asi.h>
#include <asm/mmu_context.h>
#include <asm/pgalloc.h>
#include <asm/tlbflush.h>

/* Of a block, one after the other: see asi.h */
#define GUEST_ENTRIES		PTRS_PER_PGD
#define RESTRICTED_ENTRIES	(2 * PTRS_PER_PGD)
#define USER_ENTRIES		(3 * PTRS_PER_PGD)
#define BLOCK_ENTRIES		(4 * PTRS_PER_PGD)

/**
 * struct asi_roots - what a CPU has in place of the roots of mms
 * @block:	two of them, or NULL
 * @filled:	the entries of each that are those of an mm
 * @ctx_id:	which mm that is
 * @tlb_gen:	of that mm, from before it was filled
 * @mm:		which is loaded, or about to be
 * @loaded:	by these roots, its own or @block
 * @last:	the one of @block that was loaded last
 *
 * Changed with interrupts off, by those who load an mm. While they do so, loaded_mm says
 * that it must not be relied on.
 */
struct asi_roots {
	pgd_t			*block[ASI_ROOT_BLOCKS];
	unsigned long		filled[ASI_ROOT_BLOCKS][BITS_TO_LONGS(PTRS_PER_PGD)];
	u64			ctx_id[ASI_ROOT_BLOCKS];
	u64			tlb_gen[ASI_ROOT_BLOCKS];
	struct mm_struct	*mm;
	pgd_t			*loaded;
	u8			last;
};

static DEFINE_PER_CPU(struct asi_roots, asi_roots);

static __always_inline bool runs_on_block(const struct asi_roots *roots)
{
	return roots->loaded && roots->loaded != roots->mm->pgd;
}

static __always_inline void copy_one(pgd_t *block, const pgd_t *master, unsigned int i,
				     bool there)
{
	WRITE_ONCE(block[i].pgd, there ? READ_ONCE(master[i].pgd) : 0);
}

/*
 * In the order that the top of this file calls for. The guest root has no user half, but
 * the LDT, which is below PAGE_OFFSET.
 */
static __always_inline void copy_entry(pgd_t *block, const pgd_t *master, unsigned int i)
{
	pgdval_t value = READ_ONCE(master[i].pgd);

	WRITE_ONCE(block[i].pgd, value);
	if (i >= PGD_KERNEL_START)
		copy_one(block, master, i + GUEST_ENTRIES, value);
	copy_one(block, master, i + RESTRICTED_ENTRIES, value);
	if (cpu_feature_enabled(X86_FEATURE_PTI))
		copy_one(block, master, i + USER_ENTRIES, value);
}

/*
 * Of the block that is not loaded, so nobody is in the way. What the mm before had for
 * itself, this one may share with all others: what is exposed to one of them.
 */
static void fill_block(struct asi_roots *roots, int nr, const struct mm_struct *mm)
{
	u64 tlb_gen = atomic64_read(&mm->context.tlb_gen);
	unsigned int word, bit;

	if (roots->ctx_id[nr] == mm->context.ctx_id && roots->tlb_gen[nr] == tlb_gen)
		return;

	for (word = 0; word < BITS_TO_LONGS(PTRS_PER_PGD); word++) {
		unsigned long own = READ_ONCE(mm->context.asi.own[word]);
		unsigned long both = own | roots->filled[nr][word];

		if (!both)
			continue;
		for_each_set_bit(bit, &both, BITS_PER_LONG)
			copy_entry(roots->block[nr],
				   own & BIT(bit) ? mm->pgd : swapper_pg_dir,
				   word * BITS_PER_LONG + bit);
		roots->filled[nr][word] = own;
	}
	roots->ctx_id[nr] = mm->context.ctx_id;
	roots->tlb_gen[nr] = tlb_gen;
}

/**
 * asi_root_load - the roots by which this CPU is to load an mm
 * @mm: which; if it is loaded already, its roots stay the same
 *
 * So they do if it was loaded before one that has no roots here (init_mm, or what text is
 * poked by). There is more to it than speed: kgdb pokes text from NMI-like entries, which
 * may have interrupted a transition of @mm after it has read CR3. (A CPU that is lazy has
 * another mm after that; it is not to be debugged there.)
 *
 * Context: interrupts off, and CR3 is written next.
 *
 * Return: what to use in place of @mm->pgd.
 */
pgd_t *asi_root_load(struct mm_struct *mm)
{
	struct asi_roots *roots = this_cpu_ptr(&asi_roots);
	int nr = roots->last;

	if (roots->mm == mm) {
		asi_root_refresh();
		return roots->loaded;
	}

	roots->mm = mm;
	if (roots->block[0] && mm != &init_mm && !is_notrack_mm(mm)) {
		if (roots->loaded == roots->block[nr] ||
		    roots->ctx_id[nr] != mm->context.ctx_id)
			nr = !nr;
		fill_block(roots, nr, mm);
		roots->loaded = roots->block[nr];
		roots->last = nr;
	} else {
		roots->loaded = mm->pgd;
	}
	return roots->loaded;
}

/**
 * asi_root_pgd - what this CPU has loaded of an mm
 * @mm: that is loaded
 *
 * Context: preemption off.
 */
pgd_t *asi_root_pgd(const struct mm_struct *mm)
{
	/* NULL is whatever the CPU has come up with. */
	return this_cpu_read(asi_roots.loaded) ?: mm->pgd;
}

/**
 * asi_root_note - a new mm has a top-level entry that must not be met by a fault
 * @mm:		that has never been loaded
 * @address:	below that entry
 */
void asi_root_note(struct mm_struct *mm, unsigned long address)
{
	set_bit(pgd_index(address), mm->context.asi.own);
}

static __always_inline bool lacks(const struct asi_roots *roots, unsigned int i)
{
	return !roots->loaded[i].pgd && READ_ONCE(roots->mm->pgd[i].pgd);
}

/* Whichever root it is: what is copied for nothing is not copied again. */
static __always_inline bool has_more(const struct asi_roots *roots, unsigned int i)
{
	return READ_ONCE(roots->mm->pgd[i].pgd) &&
	       (!roots->loaded[i].pgd || lacks(roots, i + RESTRICTED_ENTRIES) ||
		lacks(roots, i + GUEST_ENTRIES));
}

static __always_inline void copy_from_master(struct asi_roots *roots, unsigned int i)
{
	/* Before it is there, or an NMI could leave it behind for the next mm. */
	arch_set_bit(i, roots->mm->context.asi.own);
	arch_set_bit(i, roots->filled[roots->loaded == roots->block[1]]);
	copy_entry(roots->loaded, roots->mm->pgd, i);
}

/**
 * asi_root_fault - copy a top-level entry that the loaded mm has got since
 * @address: that was found not to be present, in the kernel half
 *
 * Context: interrupts off; any otherwise, NMI included.
 *
 * Return: whether the access is to be tried again.
 */
noinstr bool asi_root_fault(unsigned long address)
{
	struct asi_roots *roots = raw_cpu_ptr(&asi_roots);
	unsigned int i = pgd_index(address);

	if (this_cpu_read(cpu_tlbstate.loaded_mm) == LOADED_MM_SWITCHING ||
	    !runs_on_block(roots) || !has_more(roots, i))
		return false;

	copy_from_master(roots, i);
	return true;
}

/**
 * asi_root_copy - copy a top-level entry that must not be met by a fault
 * @address: below that entry, in all roots of the loaded mm
 *
 * Context: interrupts off.
 */
void asi_root_copy(unsigned long address)
{
	struct asi_roots *roots = this_cpu_ptr(&asi_roots);

	if (runs_on_block(roots))
		copy_from_master(roots, pgd_index(address));
}

static bool refresh_entry(struct asi_roots *roots, unsigned int i)
{
	pgdval_t old = pgd_val(roots->loaded[i]);
	pgdval_t new = pgd_val(READ_ONCE(roots->mm->pgd[i]));

	if (!((old ^ new) & ~_PAGE_ACCESSED))
		return false;
	copy_entry(roots->loaded, roots->mm->pgd, i);
	return old;
}

/**
 * asi_root_refresh - remove what the loaded mm has removed
 *
 * Of the roots of an mm, the unrestricted one loses an entry last.
 *
 * Context: interrupts off, an mm is loaded and not being loaded. After the tlb_gen has
 * been read that the TLB is about to be brought up to.
 *
 * Return: whether there was something, and all of the TLB has to be flushed.
 */
bool asi_root_refresh(void)
{
	struct asi_roots *roots = this_cpu_ptr(&asi_roots);
	int nr = roots->loaded == roots->block[1];
	unsigned int word, bit;
	bool removed = false;

	if (!runs_on_block(roots))
		return false;

	for (word = 0; word < BITS_TO_LONGS(PTRS_PER_PGD); word++) {
		for_each_set_bit(bit, &roots->filled[nr][word], BITS_PER_LONG)
			removed |= refresh_entry(roots, word * BITS_PER_LONG + bit);
	}
	return removed;
}

/**
 * asi_root_block - one of the blocks of a CPU
 * @cpu:	that is not up yet, or this one
 * @nr:		less than ASI_ROOT_BLOCKS
 *
 * Return: its unrestricted root, or NULL.
 */
pgd_t *asi_root_block(unsigned int cpu, int nr)
{
	return per_cpu(asi_roots.block[nr], cpu);
}

/* The kernel half is that of init_mm, which has got all entries that it ever has. */
static int asi_root_prepare(unsigned int cpu)
{
	struct asi_roots *roots = per_cpu_ptr(&asi_roots, cpu);
	unsigned int nr, entry;
	struct page *pages;
	pgd_t *block;

	/* It has been up before. */
	if (roots->block[0])
		return 0;

	pages = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO,
				 get_order(ASI_ROOT_BLOCKS * BLOCK_ENTRIES * sizeof(pgd_t)));
	if (!pages) {
		pr_warn("no memory for roots of CPU %u\n", cpu);
		return 0;
	}

	block = page_address(pages);
	for (nr = 0; nr < ASI_ROOT_BLOCKS; nr++, block += BLOCK_ENTRIES) {
		for (entry = 0; entry < BLOCK_ENTRIES; entry++) {
			if (entry % PTRS_PER_PGD >= KERNEL_PGD_BOUNDARY)
				set_pgd(&block[entry], swapper_pg_dir[entry]);
		}
		roots->block[nr] = block;
	}
	return 0;
}

static int __init asi_root_init(void)
{
	int state;

	if (!asi_enabled())
		return 0;
	state = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "x86/asi:root", asi_root_prepare, NULL);
	return min(state, 0);
}
early_initcall(asi_root_init);
