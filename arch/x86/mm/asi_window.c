// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: windows onto sensitive pages.
 *
 * The kernel copies between user mode and pages that are sensitive and not mapped
 * there: page cache, pipes, sockets; and it clears pages for user mode, or copies
 * them. That is done for a process with what this process has a right to, so it
 * needs no transition if the page is mapped for it meanwhile: at an address below
 * which only the roots of its mm have something, the restricted one and the
 * unrestricted one, see asi_local.c.
 *
 * Nobody sleeps with a window open: it is there for one copy, with preemption off, and
 * no user mode runs on this CPU meanwhile.
 *
 * Opening a window is a PTE, and closing it is INVLPG on this CPU. What makes that
 * enough is that no other CPU has the mm loaded. Another one could fill its TLB from
 * the PTE, by speculation alone, and would have to be interrupted before the page may
 * have its next owner. So there are no windows in an mm that several CPUs run at the
 * same time: copies go through the direct map then, and take a transition.
 *
 * mm->context.asi.loads has, in its lower 16 bits, how many CPUs have the mm loaded, and
 * in the others how often one has loaded it. switch_mm_irqs_off() counts a CPU before it
 * loads the mm's root and until it has loaded another one:
 *
 *	asi_window_open()		switch_mm_irqs_off()
 *	  loads says one CPU
 *	  PTE present			  loads += (1 << 16) + 1
 *	  ...				  (full barrier)
 *	asi_window_close()		  write CR3: page walks from here on
 *	  PTE cleared			  ...
 *	  smp_mb()			  write CR3 of another mm
 *	  loads as it was?		  loads -= 1
 *
 * If the mm is loaded elsewhere after the window was to be opened, then either closing it
 * sees that, or the PTE was cleared before any walk: nobody else can have got hold of it.
 * The upper bits tell of those as well that have come and gone. Then the flush is an
 * ordinary one, of all CPUs. A CPU that has gone finds the generation changed when it
 * comes back.
 *
 * What another CPU can see until then is the whole page: what others have put into it,
 * or its last owner. It has to load the mm while the window is open, which is for some
 * hundred instructions, and what interrupts them.
 *
 * This CPU has got that into its caches and buffers, and so user mode must not run
 * before these are flushed, on CPUs where a flush of data is needed at all. A folio of
 * a file or of user memory that is up to date has nothing of others in it.
 *
 * This CPU may have loaded the unrestricted root while the PTE was there, in an exit. If
 * it has counted one since the window was opened, the translation is left there to be
 * flushed when that root is loaded next. It was restricted, and meant to be, when the
 * count was read.
 *
 * A CPU that is lazy has the mm loaded. It is sent away, but not more often than once in
 * a jiffy.
 */
#include <linux/asi.h>
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/export.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/vmstat.h>

#include <asm/asi.h>
#include <asm/mmu_context.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>

#include "asi_internal.h"

/* How many windows the task has open that runs here. One that died left some open. */
static DEFINE_PER_CPU(struct task_struct *, asi_windows_owner);
static DEFINE_PER_CPU(int, asi_windows_open);

static unsigned long window_address(unsigned int nr)
{
	return asi_local_base - (nr + 1) * PAGE_SIZE;
}

/* Their PTEs are in the same table as that of the first page, in front of it. */
static pte_t *window_pte(const struct asi_mm *asi, unsigned int nr)
{
	return asi->first_pte - (nr + 1);
}

static bool window_lazy(int cpu, void *mm)
{
	return per_cpu(cpu_tlbstate_shared.is_lazy, cpu) &&
	       READ_ONCE(per_cpu(cpu_tlbstate.loaded_mm, cpu)) == mm;
}

/*
 * As a flush does of a lazy CPU whose page tables are about to be freed. Nobody waits,
 * and the mm may be another one by now that has the same address.
 */
static void window_leave(void *mm)
{
	if (window_lazy(smp_processor_id(), mm))
		switch_mm_irqs_off(NULL, &init_mm, NULL);
}

/* Sees that those go that have the mm loaded for no reason. */
static void window_ask(struct mm_struct *mm)
{
	unsigned long now = jiffies;

	if (READ_ONCE(mm->context.asi.asked) == now)
		return;
	WRITE_ONCE(mm->context.asi.asked, now);
	on_each_cpu_cond_mask(window_lazy, window_leave, mm, false, mm_cpumask(mm));
}

static int window_take(struct asi_mm *asi)
{
	unsigned int nr;

	do {
		nr = ffz(READ_ONCE(asi->windows));
		if (nr >= ASI_WINDOWS)
			return -1;
	} while (test_and_set_bit_lock(nr, &asi->windows));
	return nr;
}

/*
 * May this be interrupted by others, and wait for them, but for the windows that it
 * has open? With preemption on there are none on this CPU, whichever that is.
 */
static bool window_allowed(void)
{
	int open = 0;

	if (raw_cpu_read(asi_windows_owner) == current)
		open = raw_cpu_read(asi_windows_open);
	return IS_ENABLED(CONFIG_PREEMPT_COUNT) && in_task() && !irqs_disabled() &&
	       preempt_count() == open;
}

/* Is there something in it that current must not see? */
static bool window_taints(const struct folio *folio)
{
	return (static_branch_unlikely(&asi_flush_verw) ||
		static_branch_unlikely(&asi_flush_l1d)) &&
	       (!READ_ONCE(folio->mapping) || !folio_test_uptodate(folio));
}

/**
 * asi_window_open - map a page for the kernel's work for current
 * @page: whose content is for current to read, or that is being filled for it
 *
 * See kmap_window(). The mapping is an ordinary one: not for pages that have other
 * attributes in the direct map, or have been taken out of it.
 *
 * Context: any. There are windows where waiting for other CPUs is allowed, as closing
 * one may have to. Preemption is off while there is one.
 *
 * Return: the address of a window, or in the direct map if there is no need for one
 * (the page is not sensitive, the CPU is unrestricted) or no way to have one.
 */
void *asi_window_open(const struct page *page)
{
	struct mm_struct *mm = current->mm;
	struct asi_mm *asi;
	unsigned int exits;
	void *window;
	u64 loads;
	int nr;

	if (!mm || !window_allowed() || asi_broken(ASI_BREAK_NOWINDOW))
		return page_address(page);

	asi = &mm->context.asi;
	loads = atomic64_read(&asi->loads);
	if (asi_has_exited() || page_is_exposed(page))
		return page_address(page);
	if ((u16)loads != 1) {
		window_ask(mm);
		return page_address(page);
	}

	preempt_disable();
	exits = this_cpu_read(asi_cpu.exits);
	barrier();	/* those that come now are counted */
	if (asi_has_exited() || atomic64_read(&asi->loads) != loads)
		goto none;
	nr = window_take(asi);
	if (nr < 0)
		goto none;

	window = (void *)window_address(nr);
	asi->opened[nr].loads = loads;
	asi->opened[nr].exits = exits;
	if (this_cpu_read(asi_windows_owner) != current) {
		this_cpu_write(asi_windows_owner, current);
		this_cpu_write(asi_windows_open, 0);
	}
	this_cpu_inc(asi_windows_open);
	/* As the direct map: encrypted where that is. */
	set_pte(window_pte(asi, nr),
		pfn_pte(page_to_pfn(page),
			__pgprot(pgprot_val(PAGE_KERNEL) & ~_PAGE_GLOBAL)));
	count_vm_event(ASI_WINDOW_MAP);
	return window;

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
	unsigned long nr = (asi_local_base - address) / PAGE_SIZE - 1;
	struct asi_mm *asi;
	struct page *page;

	/* In the direct map, which is above */
	if (nr >= ASI_WINDOWS)
		return;

	asi = &current->mm->context.asi;
	page = pte_page(ptep_get(window_pte(asi, nr)));
	set_pte(window_pte(asi, nr), __pte(0));
	smp_mb();	/* see above */
	if (asi_broken(ASI_BREAK_NOFLUSH))
		;
	else if (likely(atomic64_read(&asi->loads) == asi->opened[nr].loads))
		asi_flush_window(address, asi->opened[nr].exits);
	else
		flush_tlb_mm_range(current->mm, address, address + PAGE_SIZE,
				   PAGE_SHIFT, true);
	if (window_taints(page_folio(page)))
		asi_taint_window();
	clear_bit_unlock(nr, &asi->windows);
	this_cpu_dec(asi_windows_open);
	preempt_enable();
}
EXPORT_SYMBOL(asi_window_close);

/**
 * asi_window_init - prepare a new mm
 * @mm: that has its first page by asi_local_init(), and that nobody else knows
 *
 * Return: 0, always.
 */
int asi_window_init(struct mm_struct *mm)
{
	struct asi_mm *asi = &mm->context.asi;
	unsigned int level;

	BUILD_BUG_ON(ARRAY_SIZE(asi->opened) != ASI_WINDOWS);
	BUILD_BUG_ON(CONFIG_NR_CPUS > U16_MAX);
	atomic64_set(&asi->loads, 0);
	asi->windows = 0;
	asi->asked = 0;
	if (asi_enabled())
		asi->first_pte = lookup_address_in_pgd(pgd_offset(mm, asi_local_base),
						       asi_local_base, &level);
	return 0;
}

/**
 * asi_window_load - this CPU is about to load an mm
 * @mm: which
 *
 * Context: interrupts off.
 */
void asi_window_load(struct mm_struct *mm)
{
	if (mm != &init_mm)
		atomic64_add((1 << 16) + 1, &mm->context.asi.loads);
}

/**
 * asi_window_unload - this CPU has loaded another mm
 * @mm: that was loaded before
 *
 * Context: interrupts off.
 */
void asi_window_unload(struct mm_struct *mm)
{
	if (mm != &init_mm)
		atomic64_dec(&mm->context.asi.loads);
}
