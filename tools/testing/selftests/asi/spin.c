// SPDX-License-Identifier: GPL-2.0-only
/*
 * The attackers of the check from outside: on every CPU a process that is
 * nearly always in user mode, and now and then makes a system call.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "asi.h"

static void spin(void)
{
	int i;

	for (;;) {
		for (i = 0; i < 100000; i++)
			asm volatile("");
		syscall(SYS_getpid);
	}
}

int main(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu;

	for (cpu = 0; cpu < cpus; cpu++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		asi_pin(cpu);
		spin();
	}
	printf("spin: ready %d\n", cpus);
	fflush(stdout);
	for (;;)
		pause();
}
