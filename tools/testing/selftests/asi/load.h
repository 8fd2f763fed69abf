/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Load: on every CPU a process that makes transitions, and checks all that it
 * reads.
 */
#ifndef SELFTESTS_ASI_LOAD_H
#define SELFTESTS_ASI_LOAD_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "asi.h"

#define LOAD_LEN	4096
#define LOAD_MAX_CPUS	64
#define LOAD_BATCH	64

/* What the process of one CPU has done. nmi.py knows size and first word. */
struct tally {
	unsigned long rounds;
	unsigned long errors;	/* of these: what was read is wrong */
	unsigned long there;	/* of these: on the CPU that was meant */
	unsigned long hush;	/* set by others: no transitions for now */
};

/**
 * struct load - the processes, and what they have done
 * @cpus: how many there are
 * @quiet: system calls without a transition after each batch of rounds. While
 *	they last whoever interrupts finds the CPU restricted
 * @tally: of each CPU, in one page
 * @pid: of each CPU
 */
struct load {
	int cpus;
	int quiet;
	struct tally *tally;
	pid_t pid[LOAD_MAX_CPUS];
};

/*
 * A round makes a transition. It reads a file of its own, each byte of which tells
 * where it is from, and takes a page fault in user mode, which zeroes a page: both
 * through windows.
 */
static inline bool load_round(int file, const char *good, char *fresh)
{
	char buf[LOAD_LEN];

	memset(buf, 0, LOAD_LEN);
	if (!asi_transit())
		return false;
	if (pread(file, buf, LOAD_LEN, 0) != LOAD_LEN || memcmp(buf, good, LOAD_LEN))
		return false;
	madvise(fresh, LOAD_LEN, MADV_DONTNEED);
	asi_store(fresh, 1);
	return !asi_load(fresh + 1);
}

static inline void load_cpu(int cpu, int quiet, struct tally *tally)
{
	char *fresh = asi_fresh(LOAD_LEN), good[LOAD_LEN];
	int file = memfd_create("asi", 0), i;
	pid_t pid = getpid();

	for (i = 0; i < LOAD_LEN; i++)
		good[i] = cpu * 37 + i;
	if (!fresh || file < 0 || write(file, good, LOAD_LEN) != LOAD_LEN)
		_exit(1);
	for (;;) {
		/* Not for the first time if the CPU was offline meanwhile. */
		asi_pin(cpu);
		for (i = 0; i < LOAD_BATCH && !asi_load(&tally->hush); i++) {
			if (!load_round(file, good, fresh) ||
			    syscall(SYS_getpid) != pid)
				asi_store(&tally->errors, tally->errors + 1);
			if (sched_getcpu() == cpu)
				asi_store(&tally->there, tally->there + 1);
			asi_store(&tally->rounds, tally->rounds + 1);
		}
		for (i = 0; i < quiet || asi_load(&tally->hush); i++)
			syscall(SYS_getpid);
	}
}

/* Starts it on the first @load->cpus CPUs; whether it could. */
static inline bool load_start(struct load *load)
{
	size_t size = LOAD_MAX_CPUS * sizeof(*load->tally);
	int cpu;

	if (load->cpus > LOAD_MAX_CPUS)
		load->cpus = LOAD_MAX_CPUS;
	load->tally = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (load->tally == MAP_FAILED)
		return false;
	memset(load->tally, 0, size);
	for (cpu = 0; cpu < load->cpus; cpu++) {
		load->pid[cpu] = fork();
		if (!load->pid[cpu]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			load_cpu(cpu, load->quiet, &load->tally[cpu]);
		}
	}
	return true;
}

/* Ends it; the sum. A process that had ended before is an error. */
static inline struct tally load_stop(struct load *load)
{
	struct tally sum = { };
	int cpu, status;

	for (cpu = 0; cpu < load->cpus; cpu++) {
		kill(load->pid[cpu], SIGKILL);
		waitpid(load->pid[cpu], &status, 0);
		sum.rounds += load->tally[cpu].rounds;
		sum.errors += load->tally[cpu].errors;
		sum.there += load->tally[cpu].there;
		sum.errors += !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
	}
	return sum;
}

#endif /* SELFTESTS_ASI_LOAD_H */
