/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address Space Isolation: access to sensitive pages without a transition. This is a
 * part of linux/highmem.h.
 */
#ifndef _LINUX_ASI_WINDOW_H
#define _LINUX_ASI_WINDOW_H

#include <linux/asi.h>
#include <linux/mm.h>

/* Provided by the architecture; not called without ASI */
void *asi_window_open(const struct page *page, bool own);
void asi_window_close(const void *addr);

/**
 * kmap_window - map a page of what is current's
 * @page: whose content is for current to read, or that is filled on its behalf
 *
 * As kmap_local_page(), and nothing else without ASI. With it, the page may be mapped
 * for current alone, so that the access takes no transition. Say it where you copy
 * between the page and user mode of current, or clear the page or copy it for user mode;
 * not for what the kernel happens to do for others in current's context, such as
 * reclaim.
 *
 * One page is mapped, of a folio as well. The address is not to be had a page or a
 * physical address of. Nothing may sleep until kunmap_window(): preemption may be off.
 * So user mode is accessed with page faults disabled, and if that does not get far, the
 * rest goes another way.
 *
 * Context: any.
 */
static inline void *kmap_window(const struct page *page)
{
	return asi_enabled() ? asi_window_open(page, false) : kmap_local_page(page);
}

/**
 * kmap_own_window - map a page that has nothing that current may not see
 * @page: all of whose content is for current to read, once the folio is up to date
 *
 * As kmap_window(), which has the CPU flush what it may have got of the rest of the page
 * before user mode runs again. Say this only if you know of a right to all of it: by a
 * file that is open for reading, or by ptrace_may_access(). It does not follow from what
 * is copied: who gets a part of a page through a pipe or a socket, or who may only write
 * to a file, has a right to that part.
 *
 * Context: any.
 */
static inline void *kmap_own_window(const struct page *page)
{
	return asi_enabled() ? asi_window_open(page, true) : kmap_local_page(page);
}

/**
 * kunmap_window - the end of kmap_window() or kmap_own_window()
 * @addr: in the page
 */
static inline void kunmap_window(const void *addr)
{
	if (asi_enabled())
		asi_window_close(addr);
	else
		kunmap_local(addr);
}

/**
 * kmap_window_only - map a page of what is current's, or do not
 * @page: see kmap_window()
 * @own: see kmap_own_window()
 *
 * For copies that are done in another way as well, and need not be tried here if they
 * would not save a transition.
 *
 * Return: what kunmap_window() takes, or NULL.
 */
static inline void *kmap_window_only(const struct page *page, bool own)
{
	void *addr = asi_enabled() ? asi_window_open(page, own) : NULL;

	return addr != page_address(page) ? addr : NULL;
}

/* Clears pages of one kind for current. While ASI is on. */
static inline void window_clear_pages(struct page *page, unsigned int nr)
{
	bool exposed = page_is_exposed(page);
	void *addr;

	for (; nr; nr--, page++) {
		addr = exposed ? NULL : kmap_window_only(page, false);
		if (!addr) {
			clear_pages(page_address(page), nr);
			return;
		}
		clear_page(addr);
		kunmap_window(addr);
	}
}

/* Zeroes a part of a folio that current is about to write to. While ASI is on. */
static inline void window_zero(struct folio *folio, size_t start, size_t end)
{
	size_t n;
	void *addr;

	for (; start < end; start += n) {
		n = min(end - start, PAGE_SIZE - offset_in_page(start));
		addr = kmap_window(folio_page(folio, start / PAGE_SIZE));
		memset(addr + offset_in_page(start), 0, n);
		kunmap_window(addr);
	}
}

/**
 * access_ptraced_vm - access_remote_vm() for who may see all of that process
 * @mm: of that process
 * @addr: there
 * @buf: to copy to or from; may be in a sensitive page
 * @len: how many bytes
 * @gup_flags: FOLL_WRITE to copy to @addr
 *
 * By ptrace_may_access(): what is copied is in pages with more than that.
 *
 * Context: may sleep.
 *
 * Return: how many bytes have been copied.
 */
#ifdef CONFIG_MITIGATION_ADDRESS_SPACE_ISOLATION
int access_ptraced_vm(struct mm_struct *mm, unsigned long addr, void *buf, int len,
		      unsigned int gup_flags);
#else
static inline int access_ptraced_vm(struct mm_struct *mm, unsigned long addr, void *buf,
				    int len, unsigned int gup_flags)
{
	return access_remote_vm(mm, addr, buf, len, gup_flags);
}
#endif

#endif /* _LINUX_ASI_WINDOW_H */
