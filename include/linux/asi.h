/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address Space Isolation: what generic code sees of it.
 *
 * Memory is sensitive when it may hold user data. Sensitivity is a property of
 * a pageblock and follows from its migratetype; the architecture keeps
 * sensitive blocks out of the restricted address spaces.
 */
#ifndef _LINUX_ASI_H
#define _LINUX_ASI_H

#include <linux/bits.h>
#include <linux/gfp_types.h>
#include <linux/mmzone.h>
#include <linux/types.h>

struct page;
struct task_struct;

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION

#include <asm/asi.h>

/* Provided by the architecture: see asi_directmap.c, asi_expose.c in arch/x86/mm */
bool asi_address_sensitive(const void *addr);
void asi_expose(const void *area, unsigned long size);
void asi_expose_guest(const void *area, unsigned long size);
void asi_hide(const void *area, unsigned long size);

/* Properties that a test breaks on purpose, to see that another test notices. */
enum asi_break {
	ASI_BREAK_NOCLEAR	= BIT(0), /* flip without clearing */
	ASI_BREAK_NOUNMAP	= BIT(1), /* flip without unmapping */
	ASI_BREAK_NOFLUSH	= BIT(2), /* flip without flushing TLBs */
	ASI_BREAK_NOMARK	= BIT(3), /* the GFP_USER family is nonsensitive */
	ASI_BREAK_NOENTER	= BIT(4), /* one return to user mode does not enter */
	ASI_BREAK_NOFLIP	= BIT(5), /* act as if no block was free as a whole */
	ASI_BREAK_NOSTUN	= BIT(6), /* nobody waits for SMT siblings */
	ASI_BREAK_NOWINDOW	= BIT(7), /* copies of sensitive pages take transitions */
};

#ifdef CONFIG_ASI_DEBUG
extern unsigned long asi_break_mask;
extern const struct task_struct *asi_break_task;	/* who asked for it */

static __always_inline bool asi_broken(enum asi_break what)
{
	return unlikely(READ_ONCE(asi_break_mask) & what);
}

/* For what is to be broken once. */
static __always_inline void asi_mend(enum asi_break what)
{
	asi_break_mask &= ~what;
}
#else
#define asi_break_task	NULL
static __always_inline bool asi_broken(enum asi_break what) { return false; }
static __always_inline void asi_mend(enum asi_break what) { }
#endif

/**
 * migratetype_is_sensitive - may pages of this type hold user data?
 * @mt: the migratetype of a request or of a pageblock, other than
 *	MIGRATE_ISOLATE
 *
 * Whatever can be migrated belongs to user space, and so does what was asked
 * for with the GFP_USER family. Nothing is sensitive while ASI is off, so the
 * two kinds are then never told apart.
 */
static __always_inline bool migratetype_is_sensitive(int mt)
{
	return asi_enabled() && (mt == MIGRATE_MOVABLE || mt == MIGRATE_SENSITIVE ||
				 mt == MIGRATE_MIXED || is_migrate_cma(mt));
}

static __always_inline bool is_migrate_mixed(int mt)
{
	return asi_enabled() && unlikely(mt == MIGRATE_MIXED);
}

/* May pages move from blocks of one type to blocks of the other as they are? */
static __always_inline bool migratetype_same_kind(int a, int b)
{
	return migratetype_is_sensitive(a) == migratetype_is_sensitive(b);
}

/**
 * page_is_exposed - is this a page that must not hold user data as it is?
 * @page: that cannot change its kind, being in use, or under the zone lock
 *
 * Restricted address spaces map it; nothing is exposed while ASI is off.
 */
#define page_is_exposed(page)						\
	(asi_enabled() && asi_page_mapped(page_to_pfn(page)))

/**
 * asi_migratetype - the type of a request, given what its mobility says
 * @gfp: as the caller of the page allocator gave it, before cpusets change it
 * @mt: from the mobility bits
 */
static inline int asi_migratetype(gfp_t gfp, int mt)
{
	if (!asi_enabled() ||
	    !(gfp & (__GFP_SENSITIVE | __GFP_HARDWALL | __GFP_MOVABLE)))
		return mt;
	if (asi_broken(ASI_BREAK_NOMARK))
		return MIGRATE_UNMOVABLE;
	return gfp & __GFP_MOVABLE ? MIGRATE_MOVABLE : MIGRATE_SENSITIVE;
}

/**
 * gfp_ignore_user - do not take GFP_USER for a request for sensitive memory
 * @gfp: as given by the caller of an allocator that is layered above
 *
 * For slab and vmalloc, whose callers say GFP_USER to place an allocation
 * (cpusets) rather than to say what it will hold; cpusets set the bit again.
 * They say __GFP_SENSITIVE for that.
 */
static inline gfp_t gfp_ignore_user(gfp_t gfp)
{
	return asi_enabled() ? gfp & ~__GFP_HARDWALL : gfp;
}

/**
 * asi_keep_mark - keep a request sensitive that its context makes unmovable
 * @gfp: as given by the caller of the page allocator
 * @scoped: what current_gfp_context() has made of it
 *
 * Page faults of a long-term pin may reclaim, and that compresses pages of
 * others into memory that is asked for as movable and nothing else.
 */
static inline gfp_t asi_keep_mark(gfp_t gfp, gfp_t scoped)
{
	if (asi_enabled() && (gfp & ~scoped & __GFP_MOVABLE))
		scoped |= __GFP_HARDWALL;
	return scoped;
}

/**
 * asi_vmalloc_start - where to look for room in the vmalloc area
 * @sensitive: for what restricted address spaces must not map
 */
static inline unsigned long asi_vmalloc_start(bool sensitive)
{
	return asi_enabled() && sensitive ? ASI_VMALLOC_START : VMALLOC_START;
}

/**
 * asi_vmalloc_end - keep what does not ask for it out of the sensitive part
 * @start: of a range of kernel addresses to look for room in
 * @end: of the range
 *
 * Return: @end, or the end of the nonsensitive part of the vmalloc area when
 * @start lies in that.
 */
static inline unsigned long asi_vmalloc_end(unsigned long start, unsigned long end)
{
	if (asi_enabled() && start >= VMALLOC_START && start < ASI_VMALLOC_START)
		return min(end, ASI_VMALLOC_START);
	return end;
}

/**
 * asi_gfp_like - flags for memory that will hold what another object holds
 * @p: the object
 * @gfp: the flags otherwise
 */
static inline gfp_t asi_gfp_like(const void *p, gfp_t gfp)
{
	return asi_enabled() && asi_address_sensitive(p) ? gfp | __GFP_SENSITIVE : gfp;
}

/* mm/asi_block.c */
bool asi_pages_sensitive(struct page **pages, unsigned int count);
bool asi_flip_block(struct zone *zone, unsigned int order, gfp_t gfp,
		    unsigned int alloc_flags, int migratetype);
void asi_clear_pages(struct page *page, unsigned int order);
int asi_claim_range(unsigned long start_pfn, unsigned long end_pfn);
void __meminit asi_init_block(unsigned long pfn, int migratetype);
int __meminit asi_boot_migratetype(unsigned long pfn, int migratetype);
void __init asi_init_reserved(void);

/* mm/asi_mixed.c */
bool __asi_hold_page(struct page *page, unsigned int order);
bool asi_open_blocks(struct zone *zone, unsigned int order, gfp_t gfp,
		     unsigned int alloc_flags, int migratetype);
struct page *asi_lend_pages(struct zone *zone, unsigned int order, gfp_t gfp,
			    unsigned int alloc_flags, int migratetype);
void asi_atomic_failed(unsigned int order, gfp_t gfp, int migratetype);
bool __asi_drain_held(void);

/**
 * asi_hold_page - keep a page off the free lists that is still mapped
 * @page: that is being freed
 * @order: of it
 *
 * Context: zone lock held.
 *
 * Return: true if the page is dealt with.
 */
static inline bool asi_hold_page(struct page *page, unsigned int order)
{
	return asi_enabled() && __asi_hold_page(page, order);
}

static inline bool asi_drain_held(void)
{
	return asi_enabled() && __asi_drain_held();
}

/* Provided by the architecture, which describes them. */
void __init asi_init(void);
bool asi_block_mapped(unsigned long pfn);
bool asi_block_pinned(unsigned long pfn);
void asi_map_block(unsigned long pfn);
bool asi_unmap_block(unsigned long pfn);
bool asi_page_mapped(unsigned long pfn);
bool asi_page_lent(unsigned long pfn);
bool asi_block_split(unsigned long pfn);
void asi_split_block(unsigned long pfn, struct page *table, bool lend);
struct page *asi_join_block(unsigned long pfn);
void asi_lend(unsigned long pfn, unsigned long nr);
void asi_map_pages(unsigned long pfn, unsigned long nr);
void asi_unmap_pages(unsigned long pfn, unsigned long nr);

#else /* !CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#ifndef asi_enabled
#define asi_enabled asi_enabled
static __always_inline bool asi_enabled(void) { return false; }
#endif
static __always_inline void asi_idle_enter(void) { }
static __always_inline bool migratetype_is_sensitive(int mt) { return false; }
static __always_inline bool migratetype_same_kind(int a, int b) { return true; }
static inline bool page_is_exposed(const struct page *page) { return false; }
static inline int asi_migratetype(gfp_t gfp, int mt) { return mt; }
static inline gfp_t gfp_ignore_user(gfp_t gfp) { return gfp; }
static inline gfp_t asi_keep_mark(gfp_t gfp, gfp_t scoped) { return scoped; }
static inline bool asi_flip_block(struct zone *zone, unsigned int order,
				  gfp_t gfp, unsigned int alloc_flags,
				  int migratetype) { return false; }
static inline int asi_claim_range(unsigned long start_pfn,
				  unsigned long end_pfn) { return 0; }
static inline void asi_init_block(unsigned long pfn, int migratetype) { }

static inline int asi_boot_migratetype(unsigned long pfn, int migratetype)
{
	return migratetype;
}

static inline void asi_init_reserved(void) { }
static inline void asi_init(void) { }
static inline bool asi_address_sensitive(const void *addr) { return false; }
static inline void asi_expose(const void *area, unsigned long size) { }
static inline void asi_expose_guest(const void *area, unsigned long size) { }
static inline void asi_hide(const void *area, unsigned long size) { }
static inline gfp_t asi_gfp_like(const void *p, gfp_t gfp) { return gfp; }

static inline bool asi_pages_sensitive(struct page **pages, unsigned int count)
{
	return false;
}

static __always_inline bool is_migrate_mixed(int mt) { return false; }
#define MIGRATE_MIXED			(-1)

static inline bool asi_hold_page(struct page *page, unsigned int order)
{
	return false;
}

static inline bool asi_open_blocks(struct zone *zone, unsigned int order,
				   gfp_t gfp, unsigned int alloc_flags,
				   int migratetype) { return false; }
static inline struct page *asi_lend_pages(struct zone *zone, unsigned int order,
					  gfp_t gfp, unsigned int alloc_flags,
					  int migratetype) { return NULL; }
static inline void asi_atomic_failed(unsigned int order, gfp_t gfp,
				     int migratetype) { }
static inline bool asi_drain_held(void) { return false; }

#define asi_vmalloc_start(sensitive)	((void)(sensitive), VMALLOC_START)
#define asi_vmalloc_end(start, end)	((void)(start), (end))

#endif /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#endif /* _LINUX_ASI_H */
