/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Less memory, for tests that have to go through all of it: huge pages that
 * nobody uses are the quickest way to be left with little.
 */
#ifndef SELFTESTS_ASI_RAM_H
#define SELFTESTS_ASI_RAM_H

#include <stdio.h>
#include <stdlib.h>

#include "asi.h"

#define RAM_POOL	"/proc/sys/vm/nr_hugepages"
#define RAM_HUGE	(2UL << 20)

/* How many huge pages there are, or -1. */
static inline long ram_pool(void)
{
	char count[32];

	return asi_slurp(RAM_POOL, count, sizeof(count)) < 0 ? -1 : atol(count);
}

static inline void ram_set_pool(long pages)
{
	char count[32];

	if (pages < 0)
		return;
	snprintf(count, sizeof(count), "%ld\n", pages);
	asi_write(RAM_POOL, count);
}

/*
 * Leaves @len bytes of what is available. First of all it takes whatever is
 * whole: what it gives back, and hardly anything else, is then free.
 */
static inline void ram_leave(size_t len)
{
	size_t available = asi_available();

	if (ram_pool() < 0 || available <= len)
		return;
	ram_set_pool(ram_pool() + available / RAM_HUGE);
	available = asi_available();
	if (available < len)
		ram_set_pool(ram_pool() - (len - available) / RAM_HUGE);
}

#endif /* SELFTESTS_ASI_RAM_H */
