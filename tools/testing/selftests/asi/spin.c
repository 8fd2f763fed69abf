// SPDX-License-Identifier: GPL-2.0-only
/*
 * The attackers of the check from outside: on every CPU two processes, by turns.
 * Three quarters of the time of each it is in user mode, and in the last makes
 * system calls that need no sensitive memory.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/futex.h>

#include "asi.h"

#define EACH	2

static void call(void)
{
	static int word;
	struct stat st;

	syscall(SYS_getpid);
	stat("/proc/self", &st);
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAIT, 1, NULL, NULL, 0);
}

static void spin(void)
{
	unsigned long begin, time;
	int i;

	for (;;) {
		begin = __builtin_ia32_rdtsc();
		for (i = 0; i < 100000; i++)
			asm volatile("");
		time = __builtin_ia32_rdtsc() - begin;
		begin = __builtin_ia32_rdtsc();
		do
			call();
		while (__builtin_ia32_rdtsc() - begin < time / 3);
		sched_yield();
	}
}

int main(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), ready[2], i;
	char byte;

	if (pipe(ready))
		return 1;
	for (i = 0; i < EACH * cpus; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		asi_pin(i % cpus);
		if (write(ready[1], "", 1) == 1)
			spin();
		return 1;
	}
	/* So that no CPU has what ran before still loaded. */
	for (i = 0; i < EACH * cpus; i++) {
		if (read(ready[0], &byte, 1) != 1)
			return 1;
	}
	printf("spin: ready %d\n", cpus);
	fflush(stdout);
	for (;;)
		pause();
}
