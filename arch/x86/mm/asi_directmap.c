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

/**
 * asi_directmap_sync - a PMD entry of the unrestricted direct map has changed
 * @address: in the range that the entry maps; may be any kernel address
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
	if (!pmd_none(*restricted)) {
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

	return mapped;
}
