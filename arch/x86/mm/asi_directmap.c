// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: the restricted direct map.
 *
 * A second set of tables above the PMD level. A PMD entry is either empty (the
 * block is sensitive) or a copy of the entry that the unrestricted direct map
 * has there: a 2 MiB page, or a pointer to the same page of PTEs. A change of
 * attributes at 4 KiB granularity is therefore seen in both, and what happens
 * at 2 MiB (a page is split, collapsed, changes its attributes) is copied by
 * asi_directmap_sync(). The unrestricted direct map has no 1 GiB pages while
 * ASI is on, so that this is all.
 *
 * The tables for all memory exist before any of it can be handed out: flipping
 * a block allocates nothing and splits nothing.
 */
#include <linux/export.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/spinlock.h>

#include <asm/asi.h>
#include <asm/pgalloc.h>
#include <asm/sections.h>
#include <asm/tlbflush.h>
#include <linux/asi.h>

#include "asi_internal.h"

/*
 * Serializes "copy the unrestricted entry" against changes of that entry. The
 * writer of an unrestricted entry changes it first and calls
 * asi_directmap_sync() then; asi_map_block() reads it under the lock. Either it
 * reads the new value, or the sync finds the copy present and replaces it.
 */
static DEFINE_RAW_SPINLOCK(asi_directmap_lock);

/* The PMD entry for @address in the direct map below @pgd, NULL if none. */
static pmd_t *directmap_pmd(pgd_t *pgd, unsigned long address)
{
	p4d_t *p4d;
	pud_t *pud;

	pgd = pgd_offset_pgd(pgd, address);
	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, address);
	if (pud_none(*pud) || WARN_ON_ONCE(pud_leaf(*pud)))
		return NULL;
	return pmd_offset(pud, address);
}

pmd_t *asi_restricted_pmd(unsigned long address)
{
	return directmap_pmd(kernel_to_restricted_pgdp(swapper_pg_dir), address);
}

static bool in_directmap(unsigned long address)
{
	return address - PAGE_OFFSET <= DIRECT_MAP_PHYSMEM_END;
}

/* Memblock while that is all there is. */
static noinline void * __ref alloc_table(void)
{
	if (slab_is_available())
		return (void *)get_zeroed_page(GFP_KERNEL);
	return memblock_alloc(PAGE_SIZE, PAGE_SIZE);
}

/* Make the tables above the PMD entries of one GiB; idempotent. */
static int populate_pud(unsigned long address)
{
	pgd_t *pgd = pgd_offset_pgd(kernel_to_restricted_pgdp(swapper_pg_dir), address);
	void *table;
	p4d_t *p4d;
	pud_t *pud;

	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d)) {
		table = alloc_table();
		if (!table)
			return -ENOMEM;
		set_p4d(p4d, __p4d(_KERNPG_TABLE | __pa(table)));
	}

	pud = pud_offset(p4d, address);
	if (pud_none(*pud)) {
		table = alloc_table();
		if (!table)
			return -ENOMEM;
		set_pud(pud, __pud(_KERNPG_TABLE | __pa(table)));
	}
	return 0;
}

/**
 * asi_directmap_extend - make the restricted tables for a range of memory
 * @start: physical address
 * @size: in bytes
 *
 * The memory stays sensitive until somebody asks for nonsensitive memory and
 * gets some of it.
 *
 * Context: boot, or may sleep; callers are serialized by memory hotplug.
 *
 * Return: 0 or -ENOMEM.
 */
int asi_directmap_extend(u64 start, u64 size)
{
	unsigned long address = (unsigned long)__va(start) & PUD_MASK;
	unsigned long last = (unsigned long)__va(start + size - 1);

	if (!asi_enabled())
		return 0;

	for (; address <= last && address; address += PUD_SIZE)
		if (populate_pud(address))
			return -ENOMEM;
	return 0;
}

/**
 * asi_directmap_remove - unmap a range of memory that is going away
 * @start: physical address
 * @size: in bytes
 *
 * Before its unrestricted mapping is torn down, whose tables it shares. The
 * restricted tables are kept for the next memory at this place.
 */
void asi_directmap_remove(u64 start, u64 size)
{
	unsigned long pfn, end = PHYS_PFN(start + size);
	bool flush = false;

	if (!asi_enabled())
		return;

	for (pfn = pageblock_start_pfn(PHYS_PFN(start)); pfn < end;
	     pfn += pageblock_nr_pages)
		flush |= asi_unmap_block(pfn);
	if (flush)
		flush_tlb_all();
}

/**
 * asi_directmap_init - build the restricted direct map, all of it unmapped
 *
 * The top-level entries for all memory that can ever exist are made, so that
 * they never have to be propagated into the roots of processes.
 */
void __init asi_directmap_init(void)
{
	pgd_t *root = kernel_to_restricted_pgdp(swapper_pg_dir);
	unsigned long last = (unsigned long)__va(DIRECT_MAP_PHYSMEM_END);
	unsigned long address;

	if (!asi_enabled())
		return;

	for (address = PAGE_OFFSET; address && address <= last;
	     address = ALIGN(address + 1, PGDIR_SIZE)) {
		pgd_t *pgd = pgd_offset_pgd(root, address);

		set_pgd(pgd, __pgd(_KERNPG_TABLE |
				   __pa(memblock_alloc_or_panic(PAGE_SIZE, PAGE_SIZE))));
	}

	if (asi_directmap_extend(0, PFN_PHYS(max_pfn)))
		panic("asi: no memory for the restricted direct map\n");
}

/*
 * A block of both kinds has a page of PTEs of its own, see mm/asi_mixed.c. A bit
 * that hardware does not look at tells its PMD entry from a copy. In its PTEs
 * the same bit stands for a page that is lent: that has been given out, or will
 * be, as nonsensitive. The rest of such a PTE follows the unrestricted one, which
 * may be empty for a while (debug_pagealloc).
 */
#define ASI_SPLIT	_PAGE_SOFTW1
#define ASI_LENT	_PAGE_SOFTW1
#define ASI_NOT_YET	_PAGE_SOFTW2	/* lent, but has to be cleared first */

static bool pmd_split(pmd_t pmd)
{
	return pmd_val(pmd) & ASI_SPLIT;
}

static pte_t *split_pte(pmd_t *restricted, unsigned long address)
{
	return (pte_t *)__va(pmd_val(*restricted) & PTE_PFN_MASK) + pte_index(address);
}

/* What the unrestricted direct map has for the page at @address. */
static pte_t unrestricted_pte(unsigned long address)
{
	pmd_t *entry = directmap_pmd(swapper_pg_dir, address);
	pgprot_t prot;
	pmd_t pmd;

	/* Once: it may be split or collapsed at this moment, see above */
	pmd = entry ? READ_ONCE(*entry) : __pmd(0);
	if (pmd_none(pmd))
		return __pte(0);
	if (!pmd_leaf(pmd))
		return *pte_offset_kernel(&pmd, address);

	/* The bit for large pages is another one in a PTE */
	prot = pgprot_large_2_4k(pmd_pgprot(pmd));
	return pfn_pte(PHYS_PFN(__pa(address)), prot);
}

static void map_lent(pte_t *pte, unsigned long address)
{
	set_pte(pte, __pte(pte_val(unrestricted_pte(address)) | ASI_LENT));
}

/* Something has changed in the unrestricted direct map: a page, or all of it. */
static void refresh_split(pmd_t *restricted, unsigned long address)
{
	unsigned long i;

	address &= PMD_MASK;
	for (i = 0; i < PTRS_PER_PTE; i++, address += PAGE_SIZE) {
		pte_t *pte = split_pte(restricted, address);

		if ((pte_val(*pte) & (ASI_LENT | ASI_NOT_YET)) == ASI_LENT)
			map_lent(pte, address);
	}
}

/**
 * asi_directmap_sync - the unrestricted direct map has changed
 * @address: in the range that the entry maps; may be any kernel address
 *
 * At the PMD level, for all blocks; at the PTE level, for those which do not
 * share the PTEs.
 *
 * After the change and before the TLB flush that belongs to it, or before the
 * PTE page that the old entry pointed to is freed.
 */
void asi_directmap_sync(unsigned long address)
{
	pmd_t *pmd, *restricted;
	unsigned long flags;

	if (!asi_enabled() || !in_directmap(address))
		return;

	restricted = asi_restricted_pmd(address);
	if (!restricted)
		return;

	raw_spin_lock_irqsave(&asi_directmap_lock, flags);
	if (pmd_split(*restricted)) {
		refresh_split(restricted, address);
	} else if (!pmd_none(*restricted)) {
		pmd = directmap_pmd(swapper_pg_dir, address);
		set_pmd(restricted, pmd ? *pmd : __pmd(0));
	}
	raw_spin_unlock_irqrestore(&asi_directmap_lock, flags);
}

/**
 * asi_block_mapped - is a block mapped in the restricted address spaces?
 * @pfn: of any page in the block
 */
bool asi_block_mapped(unsigned long pfn)
{
	pmd_t *pmd = asi_restricted_pmd((unsigned long)pfn_to_kaddr(pfn));

	return pmd && !pmd_none(READ_ONCE(*pmd));
}

/**
 * asi_address_sensitive - is memory unmapped in the restricted address spaces?
 * @addr: in the direct map or the vmalloc area, or anything else of the kernel
 *
 * The restricted roots lack the upper part of the vmalloc area, but for what is
 * exposed to their own process. That, and what an mm maps for itself, is not
 * sensitive to that mm alone.
 */
bool asi_address_sensitive(const void *addr)
{
	unsigned long address = (unsigned long)addr;

	if (!asi_enabled())
		return false;
	if (in_directmap(address))
		return !asi_page_mapped(PHYS_PFN(__pa(address)));
	return (address >= ASI_VMALLOC_START && address < VMALLOC_END) ||
	       (address >= ASI_WINDOW_START && address < ASI_LOCAL_END);
}
EXPORT_SYMBOL_GPL(asi_address_sensitive);

/**
 * asi_block_pinned - must a block stay nonsensitive whatever it is used for?
 * @pfn: of any page in the block
 *
 * The kernel image has a second mapping, which all address spaces share. Init
 * sections, the rest of the brk area and padding are freed at boot and become
 * ordinary memory while that mapping, in 2 MiB pages, goes on.
 */
bool asi_block_pinned(unsigned long pfn)
{
	unsigned long start = PHYS_PFN(__pa_symbol(_text));
	unsigned long end = PHYS_PFN(__pa_symbol(_end) - 1);

	return pfn >= pageblock_start_pfn(start) && pfn < pageblock_end_pfn(end);
}

/**
 * asi_map_block - map a block in the restricted address spaces
 * @pfn: of any page in the block
 *
 * The caller has cleared what must not be seen. There is no TLB flush: entries
 * that are not present are not cached.
 *
 * Context: any but NMI; allocates nothing.
 */
void asi_map_block(unsigned long pfn)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	pmd_t *pmd, *restricted;
	unsigned long flags;

	restricted = asi_restricted_pmd(address);
	if (!restricted)
		return;

	raw_spin_lock_irqsave(&asi_directmap_lock, flags);
	pmd = directmap_pmd(swapper_pg_dir, address);
	if (pmd)
		set_pmd(restricted, *pmd);
	raw_spin_unlock_irqrestore(&asi_directmap_lock, flags);
}

/**
 * asi_unmap_block - unmap a block in the restricted address spaces
 * @pfn: of any page in the block
 *
 * The caller flushes the TLBs of all CPUs, all PCIDs, before the block is used
 * for anything sensitive. Not just the block's range in the direct map: it may
 * have been mapped by vmalloc, which frees pages before it flushes.
 *
 * Context: any but NMI.
 *
 * Return: true if it was mapped, and a flush is needed.
 */
bool asi_unmap_block(unsigned long pfn)
{
	pmd_t *restricted = asi_restricted_pmd((unsigned long)pfn_to_kaddr(pfn));
	unsigned long flags;
	bool mapped;

	if (!restricted)
		return false;

	raw_spin_lock_irqsave(&asi_directmap_lock, flags);
	mapped = !pmd_none(*restricted);
	set_pmd(restricted, __pmd(0));
	raw_spin_unlock_irqrestore(&asi_directmap_lock, flags);
	/* Who is not seen online by that flush does one once it is, see start_secondary(). */
	smp_mb();

	return mapped;
}

/**
 * asi_page_mapped - is a page mapped in the restricted address spaces?
 * @pfn: of the page
 *
 * Context: any but NMI.
 */
bool asi_page_mapped(unsigned long pfn)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	pmd_t *restricted = asi_restricted_pmd(address);

	if (!restricted)
		return false;
	if (!pmd_split(READ_ONCE(*restricted)))
		return !pmd_none(READ_ONCE(*restricted));

	/* The page of PTEs may go away otherwise. */
	guard(raw_spinlock_irqsave)(&asi_directmap_lock);
	if (!pmd_split(*restricted))
		return !pmd_none(*restricted);
	return pte_val(*split_pte(restricted, address)) & ASI_LENT;
}

/**
 * asi_page_lent - is this a nonsensitive page in a block of both kinds?
 * @pfn: of the page
 *
 * Context: zone lock held, which keeps the block as it is; any.
 */
bool asi_page_lent(unsigned long pfn)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	pmd_t *restricted = asi_restricted_pmd(address);

	return restricted && pmd_split(READ_ONCE(*restricted)) &&
	       (pte_val(READ_ONCE(*split_pte(restricted, address))) & ASI_LENT);
}

/**
 * asi_block_split - is this a block of both kinds?
 * @pfn: of any page in the block
 */
bool asi_block_split(unsigned long pfn)
{
	pmd_t *restricted = asi_restricted_pmd((unsigned long)pfn_to_kaddr(pfn));

	return restricted && pmd_split(READ_ONCE(*restricted));
}

/**
 * asi_split_block - make a block one of both kinds
 * @pfn: of any page in the block
 * @table: a page, of which the caller has the only reference
 * @lend: the block is nonsensitive: lend all of it, rather than nothing
 *
 * No translation changes, so there is nothing to flush, but CPUs may go on to
 * use those that they have of 2 MiB until somebody does.
 *
 * Context: zone lock held.
 */
void asi_split_block(unsigned long pfn, struct page *table, bool lend)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pageblock_start_pfn(pfn));
	pmd_t *restricted = asi_restricted_pmd(address);
	pte_t *pte = page_address(table);
	int i;

	guard(raw_spinlock_irqsave)(&asi_directmap_lock);

	clear_page(pte);
	for (i = 0; lend && i < PTRS_PER_PTE; i++)
		map_lent(pte + i, address + i * PAGE_SIZE);
	set_pmd(restricted, __pmd(__pa(pte) | _KERNPG_TABLE | ASI_SPLIT));
}

/**
 * asi_join_block - a block may have become sensitive as a whole
 * @pfn: of any page in the block
 *
 * Context: zone lock held.
 *
 * Return: the page that was given to asi_split_block(), to be freed after the
 * TLBs have been flushed, or NULL if the block still lends pages, or is not
 * split.
 */
struct page *asi_join_block(unsigned long pfn)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pageblock_start_pfn(pfn));
	pmd_t *restricted = asi_restricted_pmd(address);
	pte_t *pte;
	int i;

	guard(raw_spinlock_irqsave)(&asi_directmap_lock);

	if (!pmd_split(*restricted))
		return NULL;
	pte = split_pte(restricted, address);
	for (i = 0; i < PTRS_PER_PTE; i++)
		if (pte_val(pte[i]))
			return NULL;
	set_pmd(restricted, __pmd(0));
	return virt_to_page(pte);
}

/**
 * asi_lend - say that pages will be nonsensitive
 * @pfn: of the first, in a block of both kinds
 * @nr: how many
 *
 * They are not mapped yet, but keep the block from being joined.
 *
 * Context: zone lock held.
 */
void asi_lend(unsigned long pfn, unsigned long nr)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	pmd_t *restricted = asi_restricted_pmd(address);

	guard(raw_spinlock_irqsave)(&asi_directmap_lock);
	for (; nr--; address += PAGE_SIZE)
		set_pte(split_pte(restricted, address), __pte(ASI_LENT | ASI_NOT_YET));
}

/**
 * asi_map_pages - map pages that asi_lend() was called for
 * @pfn: of the first
 * @nr: how many
 *
 * The caller has cleared what must not be seen.
 *
 * Context: any but NMI.
 */
void asi_map_pages(unsigned long pfn, unsigned long nr)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	pmd_t *restricted = asi_restricted_pmd(address);

	guard(raw_spinlock_irqsave)(&asi_directmap_lock);
	for (; nr--; address += PAGE_SIZE)
		map_lent(split_pte(restricted, address), address);
}

/**
 * asi_unmap_pages - pages of a block of both kinds are lent no more
 * @pfn: of the first
 * @nr: how many
 *
 * The caller flushes all TLBs before they are used for anything sensitive, as
 * with asi_unmap_block().
 *
 * Context: any but NMI.
 */
void asi_unmap_pages(unsigned long pfn, unsigned long nr)
{
	unsigned long address = (unsigned long)pfn_to_kaddr(pfn);
	pmd_t *restricted = asi_restricted_pmd(address);

	guard(raw_spinlock_irqsave)(&asi_directmap_lock);
	for (; nr--; address += PAGE_SIZE)
		set_pte(split_pte(restricted, address), __pte(0));
	smp_mb();	/* as in asi_unmap_block() */
}
