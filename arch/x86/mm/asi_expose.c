// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: what a process shares with the kernel on purpose.
 *
 * The rings through which user mode and the kernel talk to each other are
 * sensitive: what is in them is nobody else's business. But the process that
 * has made them can have all of it mapped anyway, so hiding it while that
 * process's mm is loaded would cost transitions and protect nothing.
 *
 * Such memory has a mapping in the sensitive part of the vmalloc area, where
 * everyone finds it in the unrestricted address space. The restricted root of
 * one mm gets tables of its own for that part, and in them the same pages at the
 * same addresses. So users of the memory need not know: with that mm loaded
 * there is no transition, with any other there is one.
 *
 * What belongs to the guests of a process, and not to the process, is in its guest root
 * as well, by tables that have nothing else.
 */
#include <linux/asi.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include <asm/asi.h>
#include <asm/pgalloc.h>
#include <asm/tlbflush.h>

/*
 * Whose root maps an area, by its first page. The reference keeps the page
 * tables, whatever becomes of the process.
 */
static DEFINE_XARRAY(owners);

static pgd_t *restricted_pgd(struct mm_struct *mm, unsigned long address)
{
	return kernel_to_restricted_pgdp(pgd_offset(mm, address));
}

static pgd_t *guest_pgd(struct mm_struct *mm, unsigned long address)
{
	return kernel_to_guest_pgdp(pgd_offset(mm, address));
}

static bool expose_page(struct mm_struct *mm, pgd_t *pgd, unsigned long address)
{
	/* As the direct map: encrypted where that is. */
	pgprot_t prot = __pgprot(pgprot_val(PAGE_KERNEL) & ~_PAGE_GLOBAL);
	p4d_t *p4d = p4d_alloc(mm, pgd, address);
	pud_t *pud = p4d ? pud_alloc(mm, p4d, address) : NULL;
	pmd_t *pmd = pud ? pmd_alloc(mm, pud, address) : NULL;
	spinlock_t *ptl;	/* of the page of PTEs */
	pte_t *pte;

	pte = pmd ? pte_alloc_map_lock(mm, pmd, address, &ptl) : NULL;
	if (!pte)
		return false;
	set_pte_at(mm, address, pte,
		   pfn_pte(vmalloc_to_pfn((void *)address), prot));
	pte_unmap_unlock(pte, ptl);
	return true;
}

static void expose(const void *area, unsigned long size, bool guest)
{
	unsigned long address = (unsigned long)area, end = address + size;
	struct mm_struct *mm = current->mm;
	int ret;

	if (!mm || !asi_address_sensitive(area))
		return;
	ret = xa_insert(&owners, PHYS_PFN(address), mm, GFP_KERNEL);
	/* Whoever had it before forgot to hide it. */
	WARN_ON_ONCE(ret == -EBUSY);
	if (ret)
		return;
	mmgrab(mm);

	/* A translation that was not there needs no flush to be there. */
	for (; address < end; address += PAGE_SIZE) {
		if (guest && !expose_page(mm, guest_pgd(mm, address), address))
			break;
		if (!expose_page(mm, restricted_pgd(mm, address), address))
			break;
		cond_resched();
	}
}

/**
 * asi_expose - let current's restricted address space map an area as well
 * @area:	page-aligned, from vmap() or __vmalloc(); nothing happens if it is
 *		not sensitive
 * @size:	of it in bytes
 *
 * Where memory for page tables is short, all of the area or its end stays
 * hidden, and using it costs transitions.
 *
 * Context: process, may sleep.
 */
void asi_expose(const void *area, unsigned long size)
{
	expose(area, size, false);
}
EXPORT_SYMBOL_GPL(asi_expose);

/**
 * asi_expose_guest - the same, and beside the guests of current as well
 * @area:	as in asi_expose(); has nothing that they must not see
 * @size:	of it in bytes
 *
 * Context: process, may sleep.
 */
void asi_expose_guest(const void *area, unsigned long size)
{
	expose(area, size, asi_has_guest_root());
}

static void hide_page(struct mm_struct *mm, pgd_t *pgd, unsigned long address)
{
	unsigned int level;
	pte_t *pte = lookup_address_in_pgd(pgd, address, &level);

	if (pte)
		pte_clear(mm, address, pte);
}

/**
 * asi_hide - undo asi_expose() or asi_expose_guest(), if one was called
 * @area:	the same, before it is unmapped and any of its pages is freed
 * @size:	the same
 *
 * Of the CPUs that may hold a translation, those that have the mm loaded are
 * told to flush it, lazy ones included, which run others' work on its root and
 * could read the next owner's data. One that does not have it loaded compares
 * the generation when it loads it again, as after munmap(). Nobody can bring a
 * translation back: the entries were cleared before.
 *
 * Context: process, may sleep; interrupts on.
 */
void asi_hide(const void *area, unsigned long size)
{
	unsigned long address, start = (unsigned long)area, end = start + size;
	struct mm_struct *mm;

	mm = asi_address_sensitive(area) ? xa_erase(&owners, PHYS_PFN(start)) : NULL;
	if (!mm)
		return;

	for (address = start; address < end; address += PAGE_SIZE) {
		hide_page(mm, restricted_pgd(mm, address), address);
		hide_page(mm, guest_pgd(mm, address), address);
		cond_resched();
	}
	if (!asi_broken(ASI_BREAK_NOFLUSH))
		flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, true);
	mmdrop(mm);
}
EXPORT_SYMBOL_GPL(asi_hide);

static void free_table(struct mm_struct *mm, unsigned long entry, int level)
{
	unsigned long *table = __va(entry & PTE_PFN_MASK);
	int i;

	if (!(entry & _PAGE_PRESENT))
		return;
	for (i = 0; level > 1 && i < PTRS_PER_PTE; i++)
		free_table(mm, table[i], level - 1);

	if (level == 1)
		mm_dec_nr_ptes(mm);
	else if (level == 2)
		mm_dec_nr_pmds(mm);
	else if (level == 3)
		mm_dec_nr_puds(mm);
	pagetable_dtor_free(virt_to_ptdesc(table));
}

/**
 * asi_expose_exit - the end of an mm
 * @mm:		that no CPU has loaded, nor will; nothing is exposed to it
 * @root:	its unrestricted root
 */
void asi_expose_exit(struct mm_struct *mm, pgd_t *root)
{
	pgd_t *restricted = kernel_to_restricted_pgdp(root);
	pgd_t *guest = kernel_to_guest_pgdp(root);
	int levels = pgtable_l5_enabled() ? 4 : 3;
	int i;

	if (!asi_enabled())
		return;
	for (i = pgd_index(ASI_VMALLOC_START); i <= pgd_index(VMALLOC_END); i++) {
		free_table(mm, pgd_val(restricted[i]), levels);
		free_table(mm, pgd_val(guest[i]), levels);
	}
}
