/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address Space Isolation: the audit of copies, see mm/asi_audit.c. Apart from
 * linux/asi.h because all that is atomic includes this.
 */
#ifndef _LINUX_ASI_AUDIT_H
#define _LINUX_ASI_AUDIT_H

#include <linux/compiler.h>
#include <linux/types.h>

#ifdef CONFIG_ASI_AUDIT

extern bool asi_audit_on;

void __asi_audit_copy(const void *addr, unsigned long n, bool to_user);

/**
 * asi_audit_copy - somebody copies between the kernel and user space
 * @addr: in the kernel
 * @n: how many bytes
 * @to_user: from the kernel
 */
static __always_inline void asi_audit_copy(const void *addr, unsigned long n,
					   bool to_user)
{
	if (unlikely(READ_ONCE(asi_audit_on)))
		__asi_audit_copy(addr, n, to_user);
}

#else

static __always_inline void asi_audit_copy(const void *addr, unsigned long n,
					   bool to_user) { }

#endif

#endif /* _LINUX_ASI_AUDIT_H */
