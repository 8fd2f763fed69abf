// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: blocks of both kinds, the last resort.
 *
 * A block changes its kind only while it is wholly free. When none is, because
 * long-lived pages sit in all of them, free memory of the one kind must still
 * be able to serve the other: without ASI it would. So a block can be mixed. It
 * is sensitive as far as the free lists go, which are its own (MIGRATE_MIXED),
 * and has a page of PTEs in the restricted direct map, by which those of its
 * pages are mapped that hold nonsensitive memory. These are said to be lent.
 *
 * for a nonsensitive request (asi_lend_pages())
 *	Free pages of a sensitive block are cleared, lent and handed out. There
 *	is nothing to wait for.
 *
 * for a sensitive request (asi_open_blocks())
 *	A nonsensitive block becomes mixed: what is in use of it is lent, what is
 *	free is unmapped, and is handed out when all TLBs have been flushed.
 *	This takes a context that may wait.
 *
 * A page that is lent has to be unmapped and flushed for before it can be
 * handed out again, and whoever frees it cannot wait. It is held until a worker
 * has done that, for many pages at once. A block that lends nothing any more is
 * an ordinary sensitive block again.
 *
 * All of this is under the zone lock: that a block is mixed, that a page is
 * lent, and that it is on a list. A page leaves the lists before it is lent,
 * and is lent no more, and flushed for, before it returns to them; so a list of
 * a mixed block never has a page that a restricted address space can reach.
 * Mixed blocks have no per-CPU lists, or a page could get around this: pages
 * that are on them from before are checked when these are drained.
 */
#include <linux/asi.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/page-isolation.h>
#include <linux/spinlock.h>
#include <linux/vmstat.h>
#include <linux/workqueue.h>

#include <asm/tlbflush.h>

#include "internal.h"
#include "page_alloc.h"

/* Blocks that share one shootdown. */
#define ASI_OPEN_BATCH	8

/* How long a page is held, for others to join it, until there are so many. */
#define ASI_HOLD_MSECS	10
#define ASI_HOLD_PAGES	512

/* How many of them are looked at, to be taken as they are. */
#define ASI_HOLD_LOOK	32

/*
 * Pages that were freed while lent, and how many that are not back on the lists. Their
 * ->private is the order, and whether NR_FREE_PAGES has them. For watermarks a few are
 * there: who needs one gets it, either as it is, or by waiting.
 */
static LLIST_HEAD(asi_held);
static atomic_long_t asi_nr_held;
#define ASI_HELD_FREE	0x100UL

/*
 * Who takes one of them must be alone. And nobody else may find the list empty while one is
 * looked at, and go: it has been kicked for when it came, and is not again.
 */
static DEFINE_RAW_SPINLOCK(asi_held_lock);

static void asi_release(struct work_struct *work)
{
	asi_drain_held();
}

static DECLARE_DELAYED_WORK(asi_release_work, asi_release);

static void asi_kick_release(struct irq_work *work)
{
	bool enough = atomic_long_read(&asi_nr_held) >= ASI_HOLD_PAGES;

	if (asi_wq && enough)
		mod_delayed_work(asi_wq, &asi_release_work, 0);
	else if (asi_wq)
		queue_delayed_work(asi_wq, &asi_release_work,
				   msecs_to_jiffies(ASI_HOLD_MSECS));
}

/* Whoever frees a page may hold the locks of the workqueue, or be an NMI. */
static DEFINE_IRQ_WORK(asi_release_kick, asi_kick_release);

bool __asi_hold_page(struct page *page, unsigned int order)
{
	bool first, free;
	long nr = 1L << order, sum;

	if (!asi_page_lent(page_to_pfn(page)))
		return false;

	/* Counted before somebody can find it there, and count it off. */
	sum = atomic_long_add_return(nr, &asi_nr_held);
	/* Who must not wait may not find the right one, so leave most of their reserve. */
	free = !is_migrate_isolate_page(page) && sum <= min_wmark_pages(page_zone(page)) / 4;
	if (free)
		mod_zone_page_state(page_zone(page), NR_FREE_PAGES, nr);
	set_page_private(page, order | (free ? ASI_HELD_FREE : 0));
	first = llist_add(&page->pcp_llist, &asi_held);
	if (first || (sum >= ASI_HOLD_PAGES && sum - nr < ASI_HOLD_PAGES))
		irq_work_queue(&asi_release_kick);
	return true;
}

static unsigned int held_order(const struct page *page)
{
	return page_private(page) & ~ASI_HELD_FREE;
}

/* It is about to go where it counts, or into use. */
static void count_off(struct page *page)
{
	if (page_private(page) & ASI_HELD_FREE)
		mod_zone_page_state(page_zone(page), NR_FREE_PAGES,
				    -(1L << held_order(page)));
	set_page_private(page, 0);
}

static bool suits(struct llist_node *node, const struct zone *zone, unsigned int order)
{
	struct page *page = llist_entry(node, struct page, pcp_llist);

	return page_zone(page) == zone && held_order(page) == order &&
	       !is_migrate_isolate_page(page);
}

/*
 * One that is held, for a nonsensitive request: it is mapped still. Those that were freed last
 * are looked at. Others may add to the list meanwhile, before what is the first one here.
 */
static struct page *take_held(struct zone *zone, unsigned int order)
{
	struct llist_node *node, *before = NULL;
	struct page *page;
	int n = 0;

	if (llist_empty(&asi_held))
		return NULL;

	guard(raw_spinlock_irqsave)(&asi_held_lock);
	for (node = READ_ONCE(asi_held.first); node && n < ASI_HOLD_LOOK; node = node->next, n++) {
		if (before && suits(node, zone, order))
			break;
		before = node;
	}
	if (node && n < ASI_HOLD_LOOK) {
		before->next = node->next;
	} else {
		node = llist_del_first(&asi_held);
		if (node && !suits(node, zone, order)) {
			llist_add(node, &asi_held);
			node = NULL;
		}
		if (!node)
			return NULL;
	}
	page = llist_entry(node, struct page, pcp_llist);
	count_off(page);
	atomic_long_sub(1L << order, &asi_nr_held);
	return page;
}

/* If the block lends nothing any more: put its page of PTEs on a list. */
static void asi_close_block(struct page *page, struct llist_head *tables)
{
	struct zone *zone = page_zone(page);
	struct page *table;

	guard(spinlock_irqsave)(&zone->lock);

	table = asi_join_block(page_to_pfn(page));
	if (!table)
		return;
	retype_block(zone, page, MIGRATE_MIXED, MIGRATE_MOVABLE);
	llist_add(&table->pcp_llist, tables);
}

/* After the flush: pages go to the free lists, tables back where they are from. */
static void asi_give(struct llist_node *pages, struct llist_node *tables)
{
	struct page *page, *next;

	llist_for_each_entry_safe(page, next, pages, pcp_llist) {
		unsigned int order = held_order(page);
		struct zone *zone = page_zone(page);

		scoped_guard(spinlock_irqsave, &zone->lock) {
			count_off(page);
			give_free_pages(zone, page, order);
		}
		cond_resched();
	}
	llist_for_each_entry_safe(page, next, tables, pcp_llist)
		__free_page(page);
}

/* Unmap, flush, free; return whether there was something. */
static bool drain_held(void)
{
	unsigned long block = ULONG_MAX;
	struct llist_node *held;
	LLIST_HEAD(tables);
	struct page *page;
	long nr = 0;

	scoped_guard(raw_spinlock_irqsave, &asi_held_lock)
		held = llist_del_all(&asi_held);
	if (!held)
		return false;

	llist_for_each_entry(page, held, pcp_llist) {
		asi_unmap_pages(page_to_pfn(page), 1UL << held_order(page));
		nr += 1L << held_order(page);
	}

	llist_for_each_entry(page, held, pcp_llist) {
		if (pageblock_start_pfn(page_to_pfn(page)) == block)
			continue;
		block = pageblock_start_pfn(page_to_pfn(page));
		asi_close_block(page, &tables);
		cond_resched();
	}

	if (!asi_broken(ASI_BREAK_NOFLUSH))
		flush_tlb_all();

	asi_give(held, llist_del_all(&tables));
	atomic_long_sub(nr, &asi_nr_held);
	return true;
}

/**
 * __asi_drain_held - have the pages that are held on the free lists
 *
 * Unmap, flush, free. The tables are flushed for as well: CPUs may have cached
 * where they are.
 *
 * Who finds nothing there because somebody else is about to free it waits for that, and
 * goes on as if he had done it himself: without ASI he would have found it free.
 *
 * Context: may wait for other CPUs, and for who does this on another one. Allocates
 * nothing.
 *
 * Return: true if there were some.
 */
bool __asi_drain_held(void)
{
	static unsigned long drains;
	static DEFINE_MUTEX(lock);
	unsigned long before = READ_ONCE(drains);

	guard(mutex)(&lock);

	/* Of two that have ended since, one has begun since, and took what was there. */
	if (drains - before < 2 && drain_held())
		WRITE_ONCE(drains, drains + 1);
	return drains != before;
}

/*
 * A page of PTEs, from memory of the kind that is not wanted: there is some.
 * Or else this fails, and does not come back here for more than one level.
 */
static struct page *asi_alloc_table(gfp_t gfp, gfp_t kind)
{
	return alloc_page((gfp & (__GFP_KSWAPD_RECLAIM | __GFP_MEMALLOC | __GFP_NOMEMALLOC)) |
			  kind | __GFP_HIGH | __GFP_NOWARN);
}

/*
 * The smallest free page of at least @order, or the largest, that is of one of
 * these types, and of a block that can become mixed.
 */
static struct page *asi_find_free(struct zone *zone, unsigned int least,
				  const int *types, bool largest,
				  unsigned int *order, int *migratetype)
{
	unsigned int i, n, steps = pageblock_order - least;

	for (n = 0; n < steps; n++) {
		*order = largest ? pageblock_order - 1 - n : least + n;
		for (i = 0; types[i] >= 0; i++) {
			struct page *page;

			*migratetype = types[i];
			list_for_each_entry(page,
					    &zone->free_area[*order].free_list[types[i]],
					    buddy_list) {
				unsigned long pfn = page_to_pfn(page);

				if (!asi_block_pinned(pfn) &&
				    zone_spans_pfn(zone, pageblock_start_pfn(pfn)) &&
				    zone_spans_pfn(zone, pageblock_end_pfn(pfn) - 1))
					return page;
			}
		}
	}
	return NULL;
}

/**
 * asi_lend_pages - serve a nonsensitive request from a sensitive block
 * @zone: that has no block to flip
 * @order: of the request
 * @gfp: of the request
 * @alloc_flags: of the request
 * @migratetype: of the request
 *
 * Context: no locks of the page allocator held.
 *
 * Return: free pages that are on no list any more, or NULL.
 */
struct page *asi_lend_pages(struct zone *zone, unsigned int order, gfp_t gfp,
			    unsigned int alloc_flags, int migratetype)
{
	/* One that has its table; or one that is unmovable already; or any. */
	static const int mixed[] = { MIGRATE_MIXED, -1 };
	static const int others[] = { MIGRATE_SENSITIVE, MIGRATE_MOVABLE, -1 };
	struct page *page, *table = NULL;
	unsigned int current_order;
	unsigned long flags, pfn;
	int mt;

	if (!asi_enabled() || !(alloc_flags & ALLOC_MIX) ||
	    (alloc_flags & (ALLOC_NOLOCK | ALLOC_NOFRAGMENT)) ||
	    migratetype_is_sensitive(migratetype) || order >= pageblock_order)
		return NULL;

	page = take_held(zone, order);
	if (page)
		return page;
retry:
	spin_lock_irqsave(&zone->lock, flags);
	page = asi_find_free(zone, order, mixed, false, &current_order, &mt);
	if (!page && table)
		page = asi_find_free(zone, order, others, false, &current_order, &mt);
	if (page) {
		pfn = page_to_pfn(page);
		take_free_page(zone, page, order, current_order, mt);
		if (mt != MIGRATE_MIXED) {
			retype_block(zone, page, mt, MIGRATE_MIXED);
			asi_split_block(pfn, table, false);
			count_vm_event(ASI_BLOCK_MIXED);
			table = NULL;
		}
		asi_lend(pfn, 1UL << order);
	}
	spin_unlock_irqrestore(&zone->lock, flags);

	if (!page && !table) {
		table = asi_alloc_table(gfp, __GFP_SENSITIVE);
		if (table)
			goto retry;
	}
	if (table)
		__free_page(table);
	if (!page)
		return NULL;

	/* What a previous owner has left, before anybody can see it. */
	asi_clear_pages(page, order);
	asi_map_pages(pfn, 1UL << order);
	return page;
}

/* Make a block mixed; what was free of it goes to @free, not flushed for yet. */
static bool asi_open_block(struct zone *zone, unsigned int order,
			   struct page *table, struct llist_head *free,
			   struct llist_head *tables)
{
	static const int types[] = { MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE, -1 };
	unsigned int current_order;
	unsigned long pfn, end;
	struct page *page;
	int mt;

	guard(spinlock_irqsave)(&zone->lock);

	page = asi_find_free(zone, order, types, true, &current_order, &mt);
	if (!page)
		return false;

	retype_block(zone, page, mt, MIGRATE_MIXED);
	pfn = pageblock_start_pfn(page_to_pfn(page));
	end = pfn + pageblock_nr_pages;
	asi_split_block(pfn, table, true);
	count_vm_event(ASI_BLOCK_MIXED);

	/*
	 * The table must not keep a block from being closed, be it this one. It is
	 * lent no more from here on, where a flush is certain to follow: without
	 * one it must not be freed.
	 */
	if (asi_block_split(page_to_pfn(table)) && asi_page_mapped(page_to_pfn(table)))
		asi_unmap_pages(page_to_pfn(table), 1);

	while (pfn < end) {
		page = pfn_to_page(pfn);
		current_order = 0;
		if (PageBuddy(page)) {
			current_order = buddy_order(page);
			take_free_page(zone, page, current_order, current_order,
				       MIGRATE_MIXED);
			asi_unmap_pages(pfn, 1UL << current_order);
			set_page_private(page, current_order);
			llist_add(&page->pcp_llist, free);
		}
		pfn += 1UL << current_order;
	}

	/* Nothing but the table may have been in use of it. */
	table = asi_join_block(end - 1);
	if (table) {
		retype_block(zone, pfn_to_page(end - 1), MIGRATE_MIXED, MIGRATE_MOVABLE);
		llist_add(&table->pcp_llist, tables);
	}
	return true;
}

/* Context: may wait for other CPUs. */
static bool asi_open(struct zone *zone, unsigned int order, gfp_t gfp)
{
	/* What is off the lists is missed by others meanwhile; so do not hurry. */
	static DEFINE_MUTEX(lock);
	LLIST_HEAD(tables);
	LLIST_HEAD(free);
	int nr;

	if (asi_drain_held())
		return true;

	/* Somebody else does it. */
	if (!mutex_trylock(&lock)) {
		mutex_lock(&lock);
		mutex_unlock(&lock);
		return true;
	}

	/* Of more than a page one is enough; others are no use for this request. */
	for (nr = 0; nr < (order ? 1 : ASI_OPEN_BATCH); nr++) {
		struct page *table;

		if (nr && !zone_watermark_ok(zone, 0, high_wmark_pages(zone) +
					     pageblock_nr_pages, 0, 0))
			break;
		table = asi_alloc_table(gfp, 0);
		if (!table)
			break;
		if (!asi_open_block(zone, order, table, &free, &tables)) {
			__free_page(table);
			break;
		}
		/* It was lent, by a block that lends nothing else perhaps. */
		asi_close_block(table, &tables);
	}
	if (nr) {
		if (!asi_broken(ASI_BREAK_NOFLUSH))
			flush_tlb_all();
		asi_give(llist_del_all(&free), llist_del_all(&tables));
	}
	mutex_unlock(&lock);
	return nr;
}

/**
 * asi_open_blocks - make free pages of nonsensitive blocks sensitive
 * @zone: that has no block to flip
 * @order: of the request
 * @gfp: of the request
 * @alloc_flags: of the request
 * @migratetype: of the request
 *
 * Context: no locks of the page allocator held.
 *
 * Return: true if the request should be tried again.
 */
bool asi_open_blocks(struct zone *zone, unsigned int order, gfp_t gfp,
		     unsigned int alloc_flags, int migratetype)
{
	if (!asi_enabled() || !(alloc_flags & ALLOC_MIX) ||
	    (alloc_flags & (ALLOC_NOLOCK | ALLOC_NOFRAGMENT)) ||
	    !migratetype_is_sensitive(migratetype))
		return false;

	/* Guard pages are neither free nor in use. */
	if (order >= pageblock_order || debug_guardpage_enabled())
		return false;

	if (!gfpflags_allow_blocking(gfp) || irqs_disabled())
		return false;
	return asi_open(zone, order, gfp);
}

/* For those who cannot wait: have something ready for the next of them. */
static void asi_open_some(struct work_struct *work)
{
	struct zone *zone;

	for_each_populated_zone(zone)
		if (!debug_guardpage_enabled())
			asi_open(zone, 0, GFP_KERNEL);
}

static DECLARE_WORK(asi_open_work, asi_open_some);

/**
 * asi_atomic_failed - a request fails that could not wait
 * @order: of the request
 * @gfp: of the request
 * @migratetype: of the request
 *
 * A sensitive request that must not wait gets nothing when there is nothing but
 * nonsensitive memory: this is the one case in which memory is free, and cannot
 * be had. A worker sees to it that the next one finds some. Any request may also fail
 * while free pages are being flushed for.
 */
void asi_atomic_failed(unsigned int order, gfp_t gfp, int migratetype)
{
	bool sensitive = migratetype_is_sensitive(migratetype);

	if (!asi_enabled() || order)
		return;
	if (!sensitive && !atomic_long_read(&asi_nr_held))
		return;

	count_vm_event(ASI_ATOMIC_FAILED);
	/* Who must not wake kswapd, because of locks, cannot do this either. */
	if (!asi_wq || !(gfp & __GFP_KSWAPD_RECLAIM))
		return;
	if (sensitive)
		queue_work(asi_wq, &asi_open_work);
	else
		mod_delayed_work(asi_wq, &asi_release_work, 0);
}

static int __init asi_mixed_init(void)
{
	/* What was freed before there was somebody to release it */
	if (!llist_empty(&asi_held))
		irq_work_queue(&asi_release_kick);
	return 0;
}
subsys_initcall(asi_mixed_init);
