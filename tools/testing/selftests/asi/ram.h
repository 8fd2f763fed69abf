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

/* Takes or gives back until @len bytes are available. */
static inline void ram_leave(size_t len)
{
	long more = (long)(asi_available() - len) / (long)RAM_HUGE;

	if (ram_pool() >= 0)
		ram_set_pool(ram_pool() + more);
}

/*
 * Takes all that is whole, and gives back @len bytes of it: beside what is free in
 * pieces, among pages in use, there is so much in whole blocks.
 */
static inline void ram_leave_whole(size_t len)
{
	long back = len / RAM_HUGE, pool = ram_pool();

	if (pool < 0)
		return;
	ram_set_pool(pool + asi_available() / RAM_HUGE);
	pool = ram_pool();
	ram_set_pool(pool > back ? pool - back : 0);
}

#endif /* SELFTESTS_ASI_RAM_H */
