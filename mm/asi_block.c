// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: the sensitivity of memory, a pageblock at a time.
 *
 * The free lists of the page allocator, the per-CPU lists included, are kept by
 * migratetype, and a migratetype is of one kind. So pages of different kinds
 * never meet on a list, and the allocator needs to know two things only: what
 * type a request is (gfp_migratetype()), and that falling back to another type
 * must stay within the kind. A block changes its kind here, and only while it
 * is wholly free and off the free lists:
 *
 * to nonsensitive
 *	The block is cleared through the unrestricted mapping, mapped in the
 *	restricted address spaces, and given back with its new type. There is
 *	nothing to shoot down, and nothing to wait for.
 *
 * to sensitive
 *	The block is unmapped, all TLBs are flushed, and it is given back. Until
 *	it is on a list of sensitive pages nobody can put a secret into it, so
 *	no translation that a CPU can still use leads to one. The flush is of
 *	everything: the pages may have been part of a vmalloc area, whose own
 *	flush comes later than their being freed. Waiting for it takes
 *	interrupts on and no spinlock held, which is what a caller says who
 *	allows direct reclaim. For the others a worker flips blocks.
 *
 * All free memory starts sensitive, as zeroed migratetype bits of a mapping
 * that is not there; a block of which something was reserved at boot starts
 * nonsensitive.
 */
#define pr_fmt(fmt) "asi: " fmt

#include <linux/asi.h>
#include <linux/compaction.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include <asm/tlbflush.h>

#define CREATE_TRACE_POINTS
#include <trace/events/asi.h>

#include "internal.h"
#include "mm_init.h"
#include "page_alloc.h"

EXPORT_TRACEPOINT_SYMBOL_GPL(asi_block_flip);

#ifdef CONFIG_ASI_DEBUG
unsigned long asi_break_mask;
const struct task_struct *asi_break_task;
#endif

/* Memory may be short when it has to run. */
struct workqueue_struct *asi_wq __ro_after_init;

/* Blocks that share one shootdown on their way to sensitive. */
#define ASI_FLIP_BATCH	8

/**
 * asi_clear_pages - overwrite what the last user has left
 * @page: the first of free pages that are off the lists
 * @order: of them
 *
 * With page poisoning the pattern is there already, and has to be.
 */
void asi_clear_pages(struct page *page, unsigned int order)
{
	unsigned int i, nr = 1U << order;

	if (asi_broken(ASI_BREAK_NOCLEAR) || page_poisoning_enabled_static())
		return;

	/* Under debug_pagealloc free pages are not mapped anywhere. */
	debug_pagealloc_map_pages(page, nr);
	for (i = 0; i < nr; i++)
		clear_page(page_address(page + i));
	debug_pagealloc_unmap_pages(page, nr);
}

static void asi_count_flip(struct page *page, unsigned int order, bool sensitive)
{
	unsigned long pfn = page_to_pfn(page);
	unsigned long end = pfn + (1UL << order);

	for (; pfn < end; pfn += pageblock_nr_pages) {
		count_vm_event(sensitive ? ASI_BLOCK_TO_SENSITIVE :
					   ASI_BLOCK_TO_NONSENSITIVE);
		trace_asi_block_flip(pfn, sensitive);
	}
}

static bool asi_flip_to_nonsensitive(struct zone *zone, unsigned int order,
				     gfp_t gfp, int migratetype)
{
	struct page *page;
	unsigned long i;

	page = take_free_block(zone, order, migratetype);
	if (!page) {
		/*
		 * Who can wait goes on to compact; this is for the others, and
		 * for the next of them. Who must not wake kswapd, because of
		 * the locks it holds, must not wake this one either.
		 */
		if (gfp & __GFP_KSWAPD_RECLAIM)
			wakeup_kcompactd(zone->zone_pgdat, pageblock_order,
					 zone_idx(zone));
		return false;
	}

	asi_clear_pages(page, order);
	for (i = 0; i < (1UL << order); i += pageblock_nr_pages)
		asi_map_block(page_to_pfn(page) + i);
	give_free_block(zone, page, order, migratetype);

	asi_count_flip(page, order, false);
	return true;
}

/* Context: may wait for other CPUs. */
static bool asi_flip_to_sensitive(struct zone *zone, unsigned int order,
				  int migratetype)
{
	/* Large requests are rare; do not take more than they want. */
	int most = order > pageblock_order ? 1 : ASI_FLIP_BATCH;
	struct page *pages[ASI_FLIP_BATCH];
	unsigned long i;
	int n, nr;

	for (nr = 0; nr < most; nr++) {
		struct page *page;

		/* What is off the lists is missed by others meanwhile. */
		if (nr && !zone_watermark_ok(zone, 0, high_wmark_pages(zone) +
					     pageblock_nr_pages, 0, 0))
			break;
		page = take_free_block(zone, order, migratetype);
		if (!page)
			break;
		if (!asi_broken(ASI_BREAK_NOUNMAP))
			for (i = 0; i < (1UL << order); i += pageblock_nr_pages)
				asi_unmap_block(page_to_pfn(page) + i);
		pages[nr] = page;
	}
	if (!nr)
		return false;

	if (!asi_broken(ASI_BREAK_NOFLUSH))
		flush_tlb_all();

	for (n = 0; n < nr; n++) {
		give_free_block(zone, pages[n], order, migratetype);
		asi_count_flip(pages[n], order, true);
	}
	return true;
}

/* For those who cannot wait: have something ready for the next of them. */
static void asi_flip_work(struct work_struct *work)
{
	struct zone *zone;

	for_each_populated_zone(zone)
		asi_flip_to_sensitive(zone, pageblock_order, MIGRATE_MOVABLE);
}

static DECLARE_WORK(asi_work, asi_flip_work);

/**
 * asi_flip_block - make free memory of one kind available to the other
 * @zone: that has nothing left for a request
 * @order: of the request
 * @gfp: of the request
 * @alloc_flags: of the request
 * @migratetype: of the request
 *
 * Context: no locks of the page allocator held.
 *
 * Return: true if the request should be tried again.
 */
bool asi_flip_block(struct zone *zone, unsigned int order, gfp_t gfp,
		    unsigned int alloc_flags, int migratetype)
{
	if (!asi_enabled() || (alloc_flags & ALLOC_NOLOCK) ||
	    asi_broken(ASI_BREAK_NOFLIP))
		return false;

	order = max_t(unsigned int, order, pageblock_order);

	if (!migratetype_is_sensitive(migratetype))
		return asi_flip_to_nonsensitive(zone, order, gfp, migratetype);

	if (gfpflags_allow_blocking(gfp) && !irqs_disabled())
		return asi_flip_to_sensitive(zone, order, migratetype);

	/* As with kswapd, see above. */
	if (asi_wq && (gfp & __GFP_KSWAPD_RECLAIM))
		queue_work(asi_wq, &asi_work);
	return false;
}

/*
 * Where somebody began to look who takes no lock and found nothing, and for how much. An
 * NMI or another CPU may write both in between: whichever zone and order the worker finds
 * were asked for, and who is forgotten asks again.
 */
static struct zone *asi_nolock_zone;
static unsigned int asi_nolock_order;

/* How many blocks were flipped for them, for KUnit; written by the worker only */
unsigned long asi_nolock_flips;

static bool asi_has_nonsensitive(struct zone *zone, unsigned int order)
{
	for (; order < NR_PAGE_ORDERS; order++)
		if (!free_area_empty(&zone->free_area[order], MIGRATE_UNMOVABLE) ||
		    !free_area_empty(&zone->free_area[order], MIGRATE_RECLAIMABLE))
			return true;
	return false;
}

static void asi_nolock_flip(struct work_struct *work)
{
	struct zone *zone, *first = READ_ONCE(asi_nolock_zone);
	unsigned int order = READ_ONCE(asi_nolock_order);
	struct zonelist *zonelist = node_zonelist(zone_to_nid(first), GFP_KERNEL);
	struct zoneref *z;

	for_each_zone_zonelist(zone, z, zonelist, zone_idx(first)) {
		/* Maybe it was just that others had the lock. */
		if (asi_has_nonsensitive(zone, order))
			return;
		if (asi_flip_block(zone, order, GFP_KERNEL, 0, MIGRATE_UNMOVABLE)) {
			count_vm_event(ASI_ATOMIC_FAILED);
			WRITE_ONCE(asi_nolock_flips, asi_nolock_flips + 1);
			return;
		}
	}
}

static DECLARE_WORK(asi_nolock_work, asi_nolock_flip);

static void asi_kick_nolock(struct irq_work *work)
{
	if (asi_wq)
		queue_work(asi_wq, &asi_nolock_work);
}

static DEFINE_IRQ_WORK(asi_nolock_kick, asi_kick_nolock);

/**
 * asi_nolock_failed - a request fails that takes no lock
 * @zone: where it would have been served first
 * @order: of the request
 *
 * Such requests are for nonsensitive memory. They do not have a block flipped; a worker
 * does so for the next of them if there was nothing but sensitive memory, and counts it.
 * Where no whole block is free it can but have memory compacted.
 *
 * Context: any; who asks may hold locks of the workqueue, or be an NMI.
 */
void asi_nolock_failed(struct zone *zone, unsigned int order)
{
	if (!zone)
		return;
	WRITE_ONCE(asi_nolock_order, order);
	WRITE_ONCE(asi_nolock_zone, zone);
	irq_work_queue(&asi_nolock_kick);
}

static int __init asi_block_init(void)
{
	if (asi_enabled())
		asi_wq = alloc_workqueue("asi", WQ_MEM_RECLAIM | WQ_HIGHPRI | WQ_UNBOUND, 0);
	return 0;
}
subsys_initcall(asi_block_init);

/**
 * asi_pages_sensitive - must a mapping of these pages be hidden?
 * @pages: that somebody holds references to
 * @count: how many
 *
 * Return: true if one of them is not mapped in restricted address spaces.
 */
bool asi_pages_sensitive(struct page **pages, unsigned int count)
{
	unsigned int i;

	if (!asi_enabled())
		return false;

	for (i = 0; i < count; i++)
		if (!asi_page_mapped(page_to_pfn(pages[i])))
			return true;
	return false;
}

/**
 * asi_claim_range - make a range of pages sensitive that the caller owns
 * @start_pfn: first page
 * @end_pfn: after the last page
 *
 * For contiguous allocations, which take their pages where they find them. A
 * block of which only a part is taken cannot change.
 *
 * Context: may sleep. The pages are off the free lists, their blocks isolated.
 *
 * Return: 0 or -EBUSY.
 */
int asi_claim_range(unsigned long start_pfn, unsigned long end_pfn)
{
	unsigned long pfn, first = pageblock_start_pfn(start_pfn);
	bool flush = false;

	if (!asi_enabled())
		return 0;

	for (pfn = first; pfn < end_pfn; pfn += pageblock_nr_pages)
		if (asi_block_mapped(pfn) &&
		    (pfn < start_pfn || pfn + pageblock_nr_pages > end_pfn ||
		     asi_block_pinned(pfn) || asi_block_split(pfn)))
			return -EBUSY;

	for (pfn = first; pfn < end_pfn; pfn += pageblock_nr_pages) {
		if (!asi_unmap_block(pfn))
			continue;
		flush = true;
		claim_block(pfn_to_page(pfn));
		asi_count_flip(pfn_to_page(pfn), pageblock_order, true);
	}
	if (flush)
		flush_tlb_all();
	return 0;
}

/**
 * asi_init_block - a block has been given its first type, or one by decree
 * @pfn: of a page in the block
 * @migratetype: its type
 *
 * Boot, CMA areas, boot-time huge pages, memory hotplug: nobody uses the block
 * yet or it holds what its owner wants to keep, so nothing is cleared.
 *
 * Context: may wait for other CPUs if the block was mapped.
 */
void __meminit asi_init_block(unsigned long pfn, int migratetype)
{
	if (!asi_enabled())
		return;

	if (!migratetype_is_sensitive(migratetype)) {
		if (!asi_block_mapped(pfn))
			asi_map_block(pfn);
	} else if (asi_unmap_block(pfn)) {
		flush_tlb_all();
	}
}

/**
 * asi_boot_migratetype - the first type of free memory
 * @pfn: of a page in the block
 * @migratetype: without ASI
 *
 * Struct pages may be initialized long after asi_init_reserved() has decided.
 */
int __meminit asi_boot_migratetype(unsigned long pfn, int migratetype)
{
	if (asi_enabled() && asi_block_mapped(pfn))
		return MIGRATE_UNMOVABLE;
	return migratetype;
}

/*
 * Free memory that shares a block with what is reserved becomes visible without
 * ever having been flipped. After kexec it may hold what users of the previous
 * kernel have left.
 */
static void __init asi_clear_unreserved(void)
{
	phys_addr_t start, end;
	unsigned long pfn;
	u64 i;

	for_each_free_mem_range(i, NUMA_NO_NODE, MEMBLOCK_NONE, &start, &end, NULL) {
		for (pfn = PFN_UP(start); pfn < PFN_DOWN(end); pfn++) {
			if (asi_block_mapped(pfn))
				clear_page(pfn_to_kaddr(pfn));
			else
				pfn = pageblock_end_pfn(pfn) - 1;
		}
	}
}

/**
 * asi_init_reserved - memory that boot-time allocation gave to the kernel
 *
 * All of a block that holds some of it is nonsensitive: per-CPU areas, node
 * data, struct pages, large hashes, the kernel image. Not so what is reserved
 * without a memmap: huge pages, which will hold user data.
 *
 * A block that begins with a hole has been given no type, which is unmovable.
 * It will never be free as a whole, so it stays like that.
 *
 * Before the rest is freed to the page allocator.
 */
void __init asi_init_reserved(void)
{
	struct memblock_region *region;
	unsigned long start_pfn;
	int i, nid;

	if (!asi_enabled())
		return;

	for_each_reserved_mem_region(region) {
		unsigned long pfn = PFN_DOWN(region->base);
		unsigned long end = PFN_UP(region->base + region->size);

		if (memblock_is_reserved_noinit(region))
			continue;
		for (; pfn < end; pfn = pageblock_end_pfn(pfn)) {
			struct page *page = pfn_to_page(pfn);

			/* Firmware's memory may lie outside of all zones. */
			if (pfn_valid(pfn) && zone_spans_pfn(page_zone(page), pfn))
				init_pageblock_migratetype(page, MIGRATE_UNMOVABLE,
							   false);
		}
	}

	for_each_mem_pfn_range(i, MAX_NUMNODES, &start_pfn, NULL, &nid) {
		if (pageblock_aligned(start_pfn))
			continue;
		init_deferred_page(start_pfn, nid);
		init_pageblock_migratetype(pfn_to_page(start_pfn),
					   MIGRATE_UNMOVABLE, false);
	}

	asi_clear_unreserved();
}
