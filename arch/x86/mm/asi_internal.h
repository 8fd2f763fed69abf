/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _X86_MM_ASI_INTERNAL_H
#define _X86_MM_ASI_INTERNAL_H

#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/types.h>

#include <asm/asi.h>
#include <asm/barrier.h>
#include <asm/pgtable.h>

/**
 * struct asi_options - what the administrator asked for with asi=
 * @on:		use the restricted address space
 * @set:	@on was given on the command line
 * @both:	no other mitigation stands down
 * @guests:	those of KVM have an address space apart from that of their process
 * @flush:	at transitions: what mitigations call for, nothing, or whatever this
 *		CPU knows; or that on each entry from and return to user mode
 * @stun:	SMT siblings while a CPU is unrestricted: as the system's policy for
 *		attacks across threads has it, never, or wherever that is possible
 */
struct asi_options {
	bool	on;
	bool	set;
	bool	both;
	bool	guests;
	enum {
		ASI_FLUSH_AUTO,
		ASI_FLUSH_NONE,
		ASI_FLUSH_ALL,
		ASI_FLUSH_ALWAYS,
	} flush;
	enum {
		ASI_STUN_AUTO,
		ASI_STUN_OFF,
		ASI_STUN_ON,
	} stun;
};

int asi_parse_options(const char *arg, struct asi_options *options);

/**
 * struct asi_platform - what ASI is to work with
 * @xen_pv:		as a PV guest of Xen
 * @hyperv:		as a guest of Hyper-V
 * @encrypted_guest:	as a guest of SEV or TDX
 * @snp_host:		as a host of SEV-SNP guests
 * @large_pages:	on a CPU that has pages of 2 MiB
 * @nx:			on a CPU that has NX, which is not switched off
 */
struct asi_platform {
	bool	xen_pv;
	bool	hyperv;
	bool	encrypted_guest;
	bool	snp_host;
	bool	large_pages;
	bool	nx;
};

const char *asi_unsupported(const struct asi_platform *platform);

/* The flushes of a transition, chosen at boot and in use while set. */
DECLARE_STATIC_KEY_FALSE(asi_flush_ibpb);
DECLARE_STATIC_KEY_FALSE(asi_flush_rsb);
DECLARE_STATIC_KEY_FALSE(asi_flush_bhb);
DECLARE_STATIC_KEY_FALSE(asi_flush_verw);
DECLARE_STATIC_KEY_FALSE(asi_flush_l1d);
DECLARE_STATIC_KEY_FALSE(asi_flush_l1d_guest);
/* VERW, before siblings are released, where it is not what transitions flush */
DECLARE_STATIC_KEY_FALSE(asi_verw_siblings);

void asi_fill_return_buffer(void);

/*
 * What is read to fill the L1 data cache: of the CPUs with X86_BUG_L1TF, which it is
 * for, none has a larger one than half of this, and it takes as much to displace all of
 * it (Intel's paper on L1 Terminal Fault, and vmx.c).
 */
#define ASI_L1D_ORDER	4
extern const u8 *asi_l1d_pages;

/* What a word of struct asi_core says of the other threads. */
static __always_inline u64 asi_others(u64 word, u8 thread)
{
	return word & ~(0xffULL << (8 * thread));
}

extern struct asi_core asi_no_core;
void __asi_stun(struct asi_core *core, u8 thread);

/*
 * No sibling runs untrusted code from here on, until it is released; see asi_stun.c.
 */
static __always_inline void asi_stun(void)
{
	struct asi_core *core;
	u8 thread;

	if (!asi_stuns())
		return;

	core = this_cpu_read(asi_cpu.core);
	thread = this_cpu_read(asi_cpu.thread);
	WRITE_ONCE(core->unrestricted[thread], 1);
	/* Pairs with the exchange of __asi_publish(): one of the two sees the other. */
	smp_mb();
	if (asi_others(READ_ONCE(core->any_untrusted), thread))
		__asi_stun(core, thread);
}

/**
 * struct asi_stun_times - how long tasks waited on a CPU for its siblings
 * @count:	how often
 * @total:	in nanoseconds
 * @longest:	of them, or of several with less user mode in between
 * @here:	how long the last of those has been until now
 * @ended:	when it ended, by local_clock()
 * @asked:	when siblings were last asked to let go, or it began
 */
struct asi_stun_times {
	unsigned long count;
	u64 total;
	u64 longest;
	u64 here;
	u64 ended;
	u64 asked;
};

DECLARE_PER_CPU(struct asi_stun_times, asi_stun_times);

struct irq_work;
void asi_let_go(struct irq_work *unused);

pmd_t *asi_restricted_pmd(unsigned long address);

/* Where each mm has what it alone maps, and each CPU its windows. */
extern unsigned long asi_local_base;
extern unsigned long asi_window_base;

/* Windows of a CPU: more than anybody has open at a time */
#define ASI_WINDOWS	8

#endif /* _X86_MM_ASI_INTERNAL_H */
