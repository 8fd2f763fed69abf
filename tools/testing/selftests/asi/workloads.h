/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What processes do all day, one operation at a time, and what it costs.
 */
#ifndef SELFTESTS_ASI_WORKLOADS_H
#define SELFTESTS_ASI_WORKLOADS_H

#include <stdbool.h>

/* What the parts of one workload share. */
struct workload_ctx {
	int fd[4];
	char *mem;
	int peer;
	const char *dir;
};

/**
 * struct workload - one operation, repeated
 * @name: what it is called in every table
 * @ops: how often to repeat it for a measurement
 * @steady: it must cost no transition
 * @setup: may be NULL. Returns 0, or a negative error if it cannot run here.
 * @run: does the operation @n times. Returns 0 or a negative error.
 *
 * Whatever @setup opens or starts is given back when the process that
 * measures exits: every workload is measured in a process of its own.
 */
struct workload {
	const char *name;
	long ops;
	bool steady;
	int (*setup)(struct workload_ctx *ctx);
	int (*run)(struct workload_ctx *ctx, long n);
};

/**
 * struct workload_cost - what one operation costs
 * @exits: transitions to the unrestricted address space
 * @flushes: of predictors and of buffers
 * @ns: nanoseconds, of meaning only where guest time counts instructions
 * @idle: the part of them that CPUs were idle; more than 1 with several CPUs
 * @interrupts: that CPUs sent each other, to flush TLBs and to call functions
 * @kib: what setting up and warming up took from free memory, in all
 */
struct workload_cost {
	double exits;
	double flushes;
	double ns;
	double idle;
	double interrupts;
	double kib;
};

/* Ends with an entry without a name. */
extern const struct workload workloads[];

const struct workload *workload_find(const char *name);

/*
 * Warms up, then measures @tries times and takes the least: the counters are
 * those of the whole machine. @ops of 0 means as many as the workload says.
 * Returns 0 or a negative error.
 */
int workload_measure(const struct workload *workload, long ops, int tries,
		     struct workload_cost *cost);

/* Have a thread of the process that measures run on another CPU, if there is one. */
extern bool workload_beside;

#endif /* SELFTESTS_ASI_WORKLOADS_H */
