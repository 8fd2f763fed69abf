// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address Space Isolation: memory that one mm alone maps.
 *
 * A top-level entry of the kernel half is different in each mm. What is mapped
 * below it is sensitive memory that the kernel uses for a process often, and
 * while that process's mm is loaded: both the restricted and the unrestricted
 * root of the process have it, so that using it takes no transition, and no
 * root of another process does. Everyone else reaches it through the direct
 * map, as all sensitive memory.
 *
 * The memory belongs to the mm and not to who asked for it. A page that is
 * given back serves the next request from the same mm, and mappings end with
 * the mm only: when the last reference to it is dropped no CPU has it loaded,
 * not even lazily, and its number (ctx_id) never comes back, so no CPU uses
 * what its TLB may still hold of it. Hence nothing needs to be flushed, ever.
 */
#include <linux/asi.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/string.h>

#include <asm/asi.h>
#include <asm/pgalloc.h>
#include <asm/pgtable.h>
#include <asm/setup.h>

#include "asi_internal.h"

/* Half of what is under one P4D entry: more than an mm can have threads. */
#define ASI_LOCAL_PAGES	(P4D_SIZE / PAGE_SIZE / 2)

/*
 * The first page. What is here is to a large part in the hands of user mode, so
 * it must not be at an address that is known to everyone.
 */
unsigned long asi_local_base __ro_after_init;

static unsigned long asi_local_address(const struct page *page)
{
	return asi_local_base + page_private(page) * PAGE_SIZE;
}

/* Before the first mm is made. */
void __init asi_local_place(void)
{
	asi_local_base = ASI_LOCAL_START;
	if (kaslr_memory_enabled())
		asi_local_base += get_random_long() % ASI_LOCAL_PAGES * PAGE_SIZE;
}

/**
 * asi_local_alias - where an mm maps its memory
 * @p: as asi_local_alloc() returned it
 *
 * Return: an address that is valid while that mm is loaded, and only then.
 */
void *asi_local_alias(const void *p)
{
	return (void *)asi_local_address(virt_to_page(p));
}

/* A translation that was not there needs no flush to be there. */
static bool asi_local_map(struct mm_struct *mm, struct page *page)
{
	/* As the direct map: encrypted where that is. */
	pgprot_t prot = __pgprot(pgprot_val(PAGE_KERNEL) & ~_PAGE_GLOBAL);
	unsigned long address = asi_local_address(page);
	pgd_t *pgd = pgd_offset(mm, address);
	spinlock_t *ptl;	/* of the page of PTEs */
	pte_t *pte;

	pte = get_locked_pte(mm, address, &ptl);
	if (!pte)
		return false;
	set_pte_at(mm, address, pte, pfn_pte(page_to_pfn(page), prot));
	pte_unmap_unlock(pte, ptl);

	/* The first time it changes, the mm has never been loaded. */
	if (!pgd_val(*kernel_to_restricted_pgdp(pgd))) {
		set_pgd(kernel_to_restricted_pgdp(pgd), *pgd);
		asi_root_note(mm, address);
	}
	return true;
}

/**
 * asi_local_alloc - allocate a page that one mm alone maps
 * @mm: which
 *
 * The first of each mm is there already.
 *
 * Context: may sleep.
 *
 * Return: the address in the direct map of zeroed memory, or NULL.
 */
void *asi_local_alloc(struct mm_struct *mm)
{
	struct asi_mm *asi = &mm->context.asi;
	struct page *page;

	guard(mutex)(&mm->context.lock);

	page = list_first_entry_or_null(&asi->unused, struct page, lru);
	if (page) {
		list_del(&page->lru);
		return page_address(page);
	}

	if (asi->nr == ASI_LOCAL_PAGES)
		return NULL;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_SENSITIVE | __GFP_ZERO);
	if (!page)
		return NULL;

	set_page_private(page, asi->nr);
	if (!asi_local_map(mm, page)) {
		__free_page(page);
		return NULL;
	}
	asi->nr++;
	return page_address(page);
}

/**
 * asi_local_free - give back what asi_local_alloc() returned
 * @mm: the same
 * @p: the address in the direct map
 *
 * Context: may sleep.
 */
void asi_local_free(struct mm_struct *mm, void *p)
{
	memset(current->mm == mm ? asi_local_alias(p) : p, 0, PAGE_SIZE);

	guard(mutex)(&mm->context.lock);
	list_add(&virt_to_page(p)->lru, &mm->context.asi.unused);
}

/**
 * asi_local_init - prepare a new mm
 * @mm: that nobody else knows
 *
 * Context: may sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int asi_local_init(struct mm_struct *mm)
{
	void *p;

	INIT_LIST_HEAD(&mm->context.asi.unused);
	mm->context.asi.nr = 0;
	if (!asi_enabled())
		return 0;

	p = asi_local_alloc(mm);
	if (!p)
		return -ENOMEM;
	list_add(&virt_to_page(p)->lru, &mm->context.asi.unused);
	return 0;
}

/*
 * Pages were mapped one after the other, so the first hole is the end. The first
 * table of each level begins with @first, the others with 0.
 */
static void asi_local_free_ptes(struct mm_struct *mm, pmd_t *pmd, unsigned long first)
{
	pte_t *pte = (pte_t *)pmd_page_vaddr(*pmd);
	int i;

	for (i = pte_index(first); i < PTRS_PER_PTE && pte_present(pte[i]); i++)
		__free_page(pte_page(pte[i]));
	pte_free(mm, pmd_pgtable(*pmd));
	mm_dec_nr_ptes(mm);
}

static void asi_local_free_pmds(struct mm_struct *mm, pud_t *pud, unsigned long first)
{
	pmd_t *pmd = pud_pgtable(*pud);
	int i;

	for (i = pmd_index(first); i < PTRS_PER_PMD && pmd_present(pmd[i]); i++, first = 0)
		asi_local_free_ptes(mm, &pmd[i], first);
	pmd_free(mm, pmd);
	mm_dec_nr_pmds(mm);
}

/**
 * asi_local_exit - the end of an mm
 * @mm: that no CPU has loaded, nor will
 * @root: its unrestricted root
 */
void asi_local_exit(struct mm_struct *mm, pgd_t *root)
{
	pgd_t *pgd = pgd_offset_pgd(root, ASI_LOCAL_START);
	unsigned long first = asi_local_base;
	p4d_t *p4d;
	pud_t *pud;
	int i;

	/* Not pgd_none(), which is false for a folded level. */
	if (!asi_enabled() || !pgd_val(*pgd))
		return;

	p4d = p4d_offset(pgd, ASI_LOCAL_START);
	if (!p4d_none(*p4d)) {
		pud = p4d_pgtable(*p4d);
		for (i = pud_index(first); i < PTRS_PER_PUD && pud_present(pud[i]);
		     i++, first = 0)
			asi_local_free_pmds(mm, &pud[i], first);
		pud_free(mm, pud);
		mm_dec_nr_puds(mm);
	}
	if (pgtable_l5_enabled())
		p4d_free(mm, p4d);
}
