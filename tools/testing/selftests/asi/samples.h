/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Samples of a process, by itself or by another one: at each write to a word, what is
 * on its stack.
 */
#ifndef SELFTESTS_ASI_SAMPLES_H
#define SELFTESTS_ASI_SAMPLES_H

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>

#define SAMPLES_PAGE	4096UL
#define SAMPLES_LEN	(8 * SAMPLES_PAGE)

/* Where they are, a ring of SAMPLES_LEN bytes, or NULL with errno; 0 is oneself. */
static inline void *samples_of(pid_t pid, const long *word, unsigned int stack_len)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W,
		.bp_addr = (unsigned long)word,
		.bp_len = HW_BREAKPOINT_LEN_8,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_STACK_USER,
		.sample_stack_user = stack_len,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	char *ring;
	int fd;

	fd = syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return NULL;
	/* Who maps it for reading only has old samples overwritten. */
	ring = mmap(NULL, SAMPLES_PAGE + SAMPLES_LEN, PROT_READ, MAP_SHARED, fd, 0);
	return ring == MAP_FAILED ? NULL : ring + SAMPLES_PAGE;
}

#endif /* SELFTESTS_ASI_SAMPLES_H */
