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

#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION

#include <asm/asi.h>

/* Properties that a test breaks on purpose, to see that another test notices. */
enum asi_break {
	ASI_BREAK_NOCLEAR	= BIT(0), /* flip without clearing */
	ASI_BREAK_NOUNMAP	= BIT(1), /* flip without unmapping */
	ASI_BREAK_NOFLUSH	= BIT(2), /* flip without flushing TLBs */
	ASI_BREAK_NOMARK	= BIT(3), /* the GFP_USER family is nonsensitive */
	ASI_BREAK_NOENTER	= BIT(4), /* one return to user mode does not enter */
};

#ifdef CONFIG_ASI_DEBUG
extern unsigned long asi_break_mask;

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
	return asi_enabled() && (mt == MIGRATE_MOVABLE ||
				 mt == MIGRATE_SENSITIVE || is_migrate_cma(mt));
}

/* May pages move from blocks of one type to blocks of the other as they are? */
static __always_inline bool migratetype_same_kind(int a, int b)
{
	return migratetype_is_sensitive(a) == migratetype_is_sensitive(b);
}

/**
 * page_is_exposed - is this a page that must not hold user data as it is?
 * @page: in a block whose type is stable, for instance under the zone lock
 *
 * Restricted address spaces map it; nothing is exposed while ASI is off.
 */
#define page_is_exposed(page)						\
	(asi_enabled() &&						\
	 !migratetype_is_sensitive(get_pageblock_migratetype(page)))

/**
 * asi_migratetype - the type of a request, given what its mobility says
 * @gfp: as the caller of the page allocator gave it, before cpusets change it
 * @mt: from the mobility bits
 */
static inline int asi_migratetype(gfp_t gfp, int mt)
{
	if (!asi_enabled() || !(gfp & (__GFP_HARDWALL | __GFP_MOVABLE)))
		return mt;
	if (asi_broken(ASI_BREAK_NOMARK))
		return MIGRATE_UNMOVABLE;
	return gfp & __GFP_MOVABLE ? MIGRATE_MOVABLE : MIGRATE_SENSITIVE;
}

/**
 * gfp_nonsensitive - drop what would make a request one for sensitive memory
 * @gfp: as given by the caller of an allocator that is layered above
 *
 * For slab and vmalloc, whose callers say GFP_USER to place an allocation
 * (cpusets) rather than to say what it will hold; cpusets set the bit again.
 */
static inline gfp_t gfp_nonsensitive(gfp_t gfp)
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

/* mm/asi_block.c */
bool asi_flip_block(struct zone *zone, unsigned int order, gfp_t gfp,
		    unsigned int alloc_flags, int migratetype);
int asi_claim_range(unsigned long start_pfn, unsigned long end_pfn);
void __meminit asi_init_block(unsigned long pfn, int migratetype);
int __meminit asi_boot_migratetype(unsigned long pfn, int migratetype);
void __init asi_init_reserved(void);

/* Provided by the architecture, which describes them. */
void __init asi_init(void);
bool asi_block_mapped(unsigned long pfn);
bool asi_block_pinned(unsigned long pfn);
void asi_map_block(unsigned long pfn);
bool asi_unmap_block(unsigned long pfn);

#else /* !CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

static __always_inline bool migratetype_is_sensitive(int mt) { return false; }
static __always_inline bool migratetype_same_kind(int a, int b) { return true; }
static inline bool page_is_exposed(const struct page *page) { return false; }
static inline int asi_migratetype(gfp_t gfp, int mt) { return mt; }
static inline gfp_t gfp_nonsensitive(gfp_t gfp) { return gfp; }
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

#endif /* CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION */

#endif /* _LINUX_ASI_H */
