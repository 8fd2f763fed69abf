/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _X86_MM_ASI_INTERNAL_H
#define _X86_MM_ASI_INTERNAL_H

#include <linux/jump_label.h>
#include <linux/types.h>

#include <asm/asi.h>
#include <asm/pgtable.h>

/**
 * struct asi_options - what the administrator asked for with asi=
 * @on:		use the restricted address space
 * @set:	@on was given on the command line
 * @both:	no other mitigation stands down
 * @flush:	at transitions: what mitigations call for, nothing, or whatever this
 *		CPU knows
 */
struct asi_options {
	bool	on;
	bool	set;
	bool	both;
	enum {
		ASI_FLUSH_AUTO,
		ASI_FLUSH_NONE,
		ASI_FLUSH_ALL,
	} flush;
};

int asi_parse_options(const char *arg, struct asi_options *options);

/* The flushes of a transition, chosen at boot and in use while set. */
DECLARE_STATIC_KEY_FALSE(asi_flush_ibpb);
DECLARE_STATIC_KEY_FALSE(asi_flush_rsb);
DECLARE_STATIC_KEY_FALSE(asi_flush_bhb);
DECLARE_STATIC_KEY_FALSE(asi_flush_verw);
DECLARE_STATIC_KEY_FALSE(asi_flush_l1d);

void asi_fill_return_buffer(void);

pmd_t *asi_restricted_pmd(unsigned long address);

#endif /* _X86_MM_ASI_INTERNAL_H */
