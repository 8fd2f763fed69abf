/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Taints: what has happened on a CPU since its last flushes, and what of that
 * calls for another one before something else runs there.
 *
 * A taint of control flow says whose code may have trained the CPU since the last
 * control flush, one of data whose secrets may be in its caches and buffers since
 * the last data flush. Both are about the process that is loaded, the guests that
 * it runs, or others, which is what the first two become when another one is
 * loaded. But whose guest has trained the CPU makes no difference: user mode is to
 * be steered by none. What is mapped in the restricted address space counts as no
 * secret: this is why the kernel leaves none there.
 *
 * L1D may be of no concern to user mode, but to guests (L1TF): what is flushed for the
 * one then still has to be flushed for the other.
 *
 * These are functions of a byte and know of no CPU: see asi_switch.c for who may
 * come in between.
 */
#ifndef _X86_MM_ASI_TAINT_H
#define _X86_MM_ASI_TAINT_H

#include <linux/bits.h>
#include <linux/cpu.h>
#include <linux/types.h>

#define ASI_CONTROL_USER	BIT(0)
#define ASI_CONTROL_GUEST	BIT(1)
#define ASI_CONTROL_OTHER	BIT(2)
#define ASI_DATA_KERNEL		BIT(3)
#define ASI_DATA_USER		BIT(4)
#define ASI_DATA_GUEST		BIT(5)
#define ASI_DATA_OTHER		BIT(6)
#define ASI_DATA_CACHED		BIT(7)	/* any of these, in L1D, but not in buffers */

#define ASI_CONTROL_TAINTS	(ASI_CONTROL_USER | ASI_CONTROL_GUEST | ASI_CONTROL_OTHER)
#define ASI_DATA_TAINTS		(ASI_DATA_KERNEL | ASI_DATA_USER | ASI_DATA_GUEST | \
				 ASI_DATA_OTHER | ASI_DATA_CACHED)

/* What may run. */
enum asi_runs {
	ASI_RUNS_KERNEL,	/* with all memory mapped */
	ASI_RUNS_PROCESS,	/* the kernel, with what is the process's own, after a guest */
	ASI_RUNS_OTHER,		/* the same, after another process, or its guest */
	ASI_RUNS_USER,
	ASI_RUNS_GUEST,
	ASI_NR_RUNS,
};

/**
 * struct asi_policy - what it takes to run something, and what that does
 * @steers:	control taints that it must not be steered by
 * @leaks:	data taints that must not be left for it
 * @leaves:	taints of its own
 */
struct asi_policy {
	u8	steers;
	u8	leaks;
	u8	leaves;
};

extern struct asi_policy asi_policies[ASI_NR_RUNS];
extern u8 asi_released;			/* asi_taints_released(), if siblings are stunned */
extern u8 asi_taken_over;		/* ASI_FLUSH_*: what nobody else does any more */
extern u8 asi_sibling_leaks;		/* asi_leaks_to_siblings() */

/**
 * asi_policy - what follows from what the administrator wants to be protected
 * @runs:	what is about to run
 * @vectors:	BIT(enum cpu_attack_vectors) each
 * @guest_user:	user mode must not be steered by guests (the VMSCAPE bug)
 * @returns:	returns of the kernel may be steered (Retbleed, SRSO), and are not
 *		protected otherwise: what one process has trained must not be there when
 *		the kernel, restricted, has within reach what is another one's own
 */
static inline struct asi_policy
asi_policy(enum asi_runs runs, unsigned long vectors, bool guest_user, bool returns)
{
	struct asi_policy policy = {};

	switch (runs) {
	case ASI_RUNS_KERNEL:
		if (vectors & BIT(CPU_MITIGATE_USER_KERNEL))
			policy.steers |= ASI_CONTROL_USER | ASI_CONTROL_OTHER;
		if (vectors & BIT(CPU_MITIGATE_GUEST_HOST))
			policy.steers |= ASI_CONTROL_GUEST;
		policy.leaves = ASI_DATA_KERNEL;
		break;
	case ASI_RUNS_PROCESS:
		if (vectors & BIT(CPU_MITIGATE_GUEST_HOST))
			policy.steers = ASI_CONTROL_GUEST;
		policy.leaves = ASI_DATA_USER;
		break;
	case ASI_RUNS_OTHER:
		/* What siblings train stays in any case. */
		if (returns)
			policy.steers = ASI_CONTROL_USER | ASI_CONTROL_GUEST;
		break;
	case ASI_RUNS_USER:
		if (guest_user)
			policy.steers = ASI_CONTROL_GUEST;
		/*
		 * With all memory mapped, the kernel has had that of any process.
		 * What the guest of this one has is in memory of its own, as a rule.
		 */
		if (vectors & (BIT(CPU_MITIGATE_USER_KERNEL) | BIT(CPU_MITIGATE_USER_USER)))
			policy.leaks = ASI_DATA_KERNEL | ASI_DATA_OTHER;
		policy.leaves = ASI_CONTROL_USER | ASI_DATA_USER;
		break;
	case ASI_RUNS_GUEST:
		if (vectors & (BIT(CPU_MITIGATE_GUEST_HOST) | BIT(CPU_MITIGATE_GUEST_GUEST)))
			policy.leaks = ASI_DATA_KERNEL | ASI_DATA_OTHER | ASI_DATA_CACHED;
		if (vectors & BIT(CPU_MITIGATE_GUEST_HOST))
			policy.leaks |= ASI_DATA_USER;
		policy.leaves = ASI_CONTROL_GUEST | ASI_DATA_GUEST;
		break;
	case ASI_NR_RUNS:
		break;
	}
	return policy;
}

/* The taints that have to be flushed before this runs. */
static __always_inline u8 asi_taints_to_flush(u8 taints, const struct asi_policy *policy)
{
	return taints & (policy->steers | policy->leaks);
}

/* A flush clears all taints of its kind, whichever of them called for it. */
static __always_inline u8 asi_taints_flushed(u8 flush)
{
	return (flush & ASI_CONTROL_TAINTS ? ASI_CONTROL_TAINTS : 0) |
	       (flush & ASI_DATA_TAINTS ? ASI_DATA_TAINTS : 0);
}

/*
 * Another process is loaded: who was the user is another one. What the new one has
 * is within reach, whether its code is about to run or not.
 */
static __always_inline u8 asi_taints_switched(u8 taints)
{
	u8 others = ASI_DATA_USER;

	if (taints & ASI_CONTROL_USER)
		others |= ASI_CONTROL_OTHER;
	if (taints & (ASI_DATA_USER | ASI_DATA_GUEST))
		others |= ASI_DATA_OTHER;

	return (taints & (ASI_CONTROL_GUEST | ASI_CONTROL_OTHER |
			  ASI_DATA_KERNEL | ASI_DATA_OTHER | ASI_DATA_CACHED)) | others;
}

/*
 * The taint of a CPU that lets its siblings go: whatever untrusted code they run
 * shares the predictors. It is of the kind that is flushed before the kernel runs;
 * user mode of the same CPU runs beside the siblings in any case.
 */
static inline u8 asi_taints_released(const struct asi_policy *kernel)
{
	if (kernel->steers & ASI_CONTROL_OTHER)
		return ASI_CONTROL_OTHER;
	return kernel->steers & ASI_CONTROL_TAINTS;
}

/*
 * The data taints that must not be there when a CPU lets its siblings go, which may run
 * user mode or a guest, whatever it runs itself. What it has of its own process or guest
 * may be there at any time while they run.
 */
static inline u8 asi_leaks_to_siblings(const struct asi_policy *user,
				       const struct asi_policy *guest)
{
	return user->leaks | (guest->leaks & ~ASI_DATA_USER);
}

#endif /* _X86_MM_ASI_TAINT_H */
