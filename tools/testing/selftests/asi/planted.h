/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Planting: a child fills memory with a secret, wherever the kernel places it,
 * and this process looks at its frames.
 */
#ifndef SELFTESTS_ASI_PLANTED_H
#define SELFTESTS_ASI_PLANTED_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "asi.h"
#include "frames.h"
#include "pattern.h"

#define PLANTED		(64UL << 20)
#define PLANTED_STRIDE	(32 * FRAME_SIZE)
#define PLANTED_FRAMES	(PLANTED / PLANTED_STRIDE)

static inline void plant_and_wait(unsigned long *pfns, int ready)
{
	struct pattern pattern = pattern_random();
	char *mem = asi_fresh(PLANTED);
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pattern_fill(mem, PLANTED, &pattern, 0);
	for (i = 0; i < PLANTED_FRAMES; i++)
		pfns[i] = frame_of(mem + i * PLANTED_STRIDE);
	if (write(ready, "", 1) == 1)
		pause();
	_exit(1);
}

/*
 * How many of the frames that are looked at lie from @first up to @end, or -1, and
 * in @reachable how many of these are not as they should be.
 */
static inline int planted(unsigned long first, unsigned long end, int *reachable)
{
	size_t size = PLANTED_FRAMES * sizeof(unsigned long);
	int ready[2], there = 0, i;
	const unsigned char *marks;
	struct reach reach;
	unsigned long *pfns;
	size_t nr;
	pid_t pid;
	char byte;

	*reachable = 0;
	pfns = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pfns == MAP_FAILED || pipe(ready))
		return -1;
	pid = fork();
	if (!pid)
		plant_and_wait(pfns, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		there = -1;
	marks = frames_marks(&nr);
	for (i = 0; there >= 0 && i < PLANTED_FRAMES; i++) {
		if (pfns[i] < first || pfns[i] >= end)
			continue;
		there++;
		if (pfns[i] < nr && (marks[pfns[i]] & ~(FRAME_TYPED | FRAME_HIDES)) ==
				    (FRAME_THERE | FRAME_SENSITIVE))
			continue;
		*reachable += frame_reach(pfns[i], &reach) || !reach.sensitive ||
			      reach.restricted;
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(ready[0]);
	munmap(pfns, size);
	return there;
}

#endif /* SELFTESTS_ASI_PLANTED_H */
