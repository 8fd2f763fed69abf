// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: windows onto sensitive pages.
 *
 * The kernel copies between user mode and pages that are sensitive and not mapped
 * there: page cache, pipes, sockets; and it clears pages for user mode, or copies
 * them. That is done for a process with what this process has a right to, so it
 * needs no transition if the page is mapped for it meanwhile.
 *
 * Opening a window is a PTE, and closing it is INVLPG. What makes that enough is that
 * no other CPU can have walked to it: the tables are those of a CPU, and only the roots
 * of that CPU (asi_root.c) have them, the restricted ones and the unrestricted ones. And
 * nobody sleeps with a window open: it is there for one copy, with preemption off, so
 * that it is the same CPU, with the same mm loaded, that closes it. No user mode runs on
 * it meanwhile.
 *
 * This CPU may have got more of the page into its caches and buffers than is copied: what
 * others have put into it, or its last owner. So user mode must not run before these are
 * flushed, on CPUs where a flush of data is needed at all. There is no need if all of the
 * page is current's to see, by what the caller knows: a file that is open for reading, or
 * memory of its own. What is in there is that only as long as the folio is up to date.
 *
 * This CPU may have loaded the unrestricted root while the PTE was there, in an exit. If
 * it has counted one since the window was opened, the translation is left there to be
 * flushed when that root is loaded next; so it is if it has come from the guest root,
 * which has no windows, to the restricted one. It was on one of these two, and meant to
 * be, when the count was read.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/bitops.h>
#include <linux/cpuhotplug.h>
#include <linux/export.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/printk.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/vmstat.h>

#include <asm/asi.h>
#include <asm/memtype.h>
#include <asm/pgalloc.h>
#include <asm/pgtable.h>
#include <asm/setup.h>
#include <asm/tlbflush.h>

#include "asi_internal.h"

/**
 * struct asi_windows - the windows of a CPU
 * @ptes:	of the first one and those that follow, or NULL
 * @owner:	whose they are
 * @open:	which of them are open
 * @own:	which of them are onto pages that have nothing current may not see
 * @exits:	of the CPU before each of them was opened
 *
 * Changed with preemption off, by tasks.
 */
struct asi_windows {
	pte_t			*ptes;
	struct task_struct	*owner;
	unsigned long		open;
	unsigned long		own;
	unsigned int		exits[ASI_WINDOWS];
};

static DEFINE_PER_CPU(struct asi_windows, asi_windows);

/*
 * The address of the first one, on each CPU. What is there is to a large part in the
 * hands of user mode, so it must not be known to everyone.
 */
unsigned long asi_window_base __ro_after_init;

/* Of their PTEs, as the direct map has them: encrypted where that is. */
static pteval_t window_flags __ro_after_init;

/*
 * Somebody died with windows open. By the PCID of whichever mm he had loaded, the TLB
 * may have them still.
 */
static void window_drop(struct asi_windows *windows)
{
	int nr;

	if (likely(!windows->open))
		return;
	for (nr = 0; nr < ASI_WINDOWS; nr++)
		set_pte(windows->ptes + nr, __pte(0));
	windows->open = 0;
	__flush_tlb_all();
}

/**
 * asi_window_switch - another task is about to run, with an mm of its own
 * @next: who, or NULL
 *
 * Who loads another mm for a while, and nothing else, keeps his windows.
 *
 * Context: interrupts off.
 */
void asi_window_switch(const struct task_struct *next)
{
	if (next && next != current)
		window_drop(this_cpu_ptr(&asi_windows));
}

/*
 * The mapping in the direct map may be uncached, or of another type than usual, which is in
 * the flags of the page then (see memtype.c). All mappings have to be of the same. Who
 * changes the type of a page has it alone: it has no window that is open meanwhile.
 */
static __always_inline bool has_other_type(const struct page *page)
{
	return READ_ONCE(page->flags.f) & (1UL << PG_arch_1 | 1UL << PG_arch_2);
}

static __always_inline bool data_is_flushed(void)
{
	return static_branch_unlikely(&asi_flush_verw) ||
	       static_branch_unlikely(&asi_flush_l1d) ||
	       static_branch_unlikely(&asi_flush_l1d_guest);
}

/* Is there nothing else in it than what has been read from a file, or is user memory? */
static __always_inline bool is_up_to_date(const struct page *page)
{
	const struct folio *folio = page_folio(page);

	return READ_ONCE(folio->mapping) && folio_test_uptodate(folio);
}

/* Is there something in it that current must not see, and that has to be flushed? */
static __always_inline bool window_taints(const struct asi_windows *windows, int nr)
{
	return data_is_flushed() &&
	       (!(windows->own & BIT(nr)) || !is_up_to_date(pte_page(windows->ptes[nr])));
}

/**
 * asi_window_open - map a page for the kernel's work for current
 * @page: whose content is for current to read, or that is being filled for it
 * @own: once up to date, it has nothing that current may not see
 *
 * See kmap_window() and kmap_own_window(). The mapping is an ordinary one: not for pages
 * that have been taken out of the direct map. It is made without a look at whether the page
 * is sensitive, as what is copied to and from user mode is.
 *
 * Context: any. There are windows for tasks, not for who interrupts them. Preemption is
 * off while there is one.
 *
 * Return: the address of a window, or in the direct map if there is no need for one
 * (the CPU is unrestricted) or no way to have one.
 */
void *asi_window_open(const struct page *page, bool own)
{
	struct asi_windows *windows;
	unsigned int exits;
	int nr;

	if (!current->mm || !in_task() || asi_broken(ASI_BREAK_NOWINDOW) || asi_has_exited() ||
	    has_other_type(page))
		return page_address(page);

	preempt_disable();
	windows = this_cpu_ptr(&asi_windows);
	exits = this_cpu_read(asi_cpu.exits);
	barrier();	/* those that come now are counted */
	/* A CPU that has tables for them runs current->mm on roots of its own. */
	if (asi_has_exited() || !windows->ptes)
		goto none;

	if (windows->owner != current) {
		window_drop(windows);
		windows->owner = current;
	}
	nr = ffz(windows->open);
	if (nr >= ASI_WINDOWS)
		goto none;

	windows->open |= BIT(nr);
	/* And not only when it is closed: others may be reading into the page. */
	__assign_bit(nr, &windows->own, own && data_is_flushed() && is_up_to_date(page));
	windows->exits[nr] = exits;
	set_pte(windows->ptes + nr, __pte(PFN_PHYS(page_to_pfn(page)) | window_flags));
	count_vm_event(ASI_WINDOW_MAP);
	return (void *)asi_window_base + nr * PAGE_SIZE;

none:
	preempt_enable();
	return page_address(page);
}
EXPORT_SYMBOL(asi_window_open);

/**
 * asi_window_close - the end of a window
 * @addr: in the page whose address asi_window_open() has returned
 *
 * When this returns, no CPU has a translation of the window that it could use.
 *
 * Context: as when it was opened.
 */
void asi_window_close(const void *addr)
{
	unsigned long address = (unsigned long)addr & PAGE_MASK;
	unsigned long nr = (address - asi_window_base) / PAGE_SIZE;
	struct asi_windows *windows;
	bool taints;

	/* In the direct map */
	if (nr >= ASI_WINDOWS)
		return;

	windows = this_cpu_ptr(&asi_windows);
	taints = window_taints(windows, nr);
	set_pte(windows->ptes + nr, __pte(0));
	if (!asi_broken(ASI_BREAK_NOFLUSH))
		asi_flush_window(address, windows->exits[nr]);
	if (taints)
		asi_taint_window();
	windows->open &= ~BIT(nr);
	preempt_enable();
}
EXPORT_SYMBOL(asi_window_close);

/* The same tables in all roots of a CPU in which it runs for processes. */
static pte_t *window_tables(pgd_t *pgd)
{
	p4d_t *p4d = p4d_alloc(&init_mm, pgd, asi_window_base);
	pud_t *pud = p4d ? pud_alloc(&init_mm, p4d, asi_window_base) : NULL;
	pmd_t *pmd = pud ? pmd_alloc(&init_mm, pud, asi_window_base) : NULL;

	return pmd ? pte_alloc_kernel(pmd, asi_window_base) : NULL;
}

static int window_prepare(unsigned int cpu)
{
	struct asi_windows *windows = per_cpu_ptr(&asi_windows, cpu);
	pgd_t *first, *pgd;
	pte_t *ptes;
	int nr;

	if (windows->ptes || !asi_root_block(cpu, 0))
		return 0;

	first = pgd_offset_pgd(asi_root_block(cpu, 0), asi_window_base);
	ptes = window_tables(first);
	if (!ptes) {
		pr_warn("no memory for windows of CPU %u\n", cpu);
		return 0;
	}
	for (nr = 0; nr < ASI_ROOT_BLOCKS; nr++) {
		pgd = pgd_offset_pgd(asi_root_block(cpu, nr), asi_window_base);
		set_pgd(pgd, *first);
		set_pgd(kernel_to_restricted_pgdp(pgd), *first);
	}
	windows->ptes = ptes;
	return 0;
}

/* After asi_root_init() */
static int __init asi_window_init(void)
{
	int state;

	if (!asi_enabled())
		return 0;

	/* The flags of pages do not say of which type they are. */
	if (!pat_enabled()) {
		pr_info("no windows without PAT\n");
		return 0;
	}

	window_flags = pte_val(pfn_pte(0, __pgprot(pgprot_val(PAGE_KERNEL) & ~_PAGE_GLOBAL)));
	asi_window_base = ASI_WINDOW_START;
	if (kaslr_memory_enabled())
		asi_window_base += get_random_long() % (P4D_SIZE / PAGE_SIZE) * PAGE_SIZE;
	/* Their PTEs are in one table. */
	if (pte_index(asi_window_base) > PTRS_PER_PTE - ASI_WINDOWS)
		asi_window_base -= ASI_WINDOWS * PAGE_SIZE;

	state = cpuhp_setup_state(CPUHP_BP_PREPARE_DYN, "x86/asi:window", window_prepare, NULL);
	return min(state, 0);
}
early_initcall(asi_window_init);
