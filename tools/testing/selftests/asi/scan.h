/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks for a secret in all that restricted address spaces map.
 */
#ifndef SELFTESTS_ASI_SCAN_H
#define SELFTESTS_ASI_SCAN_H

#include <stdio.h>
#include <string.h>

#include "frames.h"
#include "pattern.h"

/* How many frames of [pfn, pfn + nr) are in reach and hold the pattern. */
static inline size_t scan_frames(unsigned long pfn, size_t nr,
				 const struct pattern *pattern)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];
	size_t found = 0;

	for (; nr; nr--, pfn++) {
		struct reach reach;

		/* Not all of a block that is of both kinds. */
		if (!frame_read(pfn, page, sizeof(page)) &&
		    pattern_found(page, sizeof(page), pattern) &&
		    !frame_reach(pfn, &reach) && reach.restricted)
			found += frame_in_kernel_half(&reach);
	}
	return found;
}

/*
 * Looks for the pattern in every block that the kernel half of the restricted
 * address space maps. One frame tells for its block, but not one of this
 * process, which is reachable at its own address.
 */
static inline size_t scan_reachable(const struct pattern *pattern, size_t *blocks)
{
	unsigned long from, to, pfn, next;
	size_t found = 0;
	char line[160];
	FILE *iomem;

	*blocks = 0;
	iomem = fopen("/proc/iomem", "re");
	if (!iomem)
		return 0;
	while (fgets(line, sizeof(line), iomem)) {
		if (!strstr(line, "System RAM") ||
		    sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		pfn = (from + FRAME_SIZE - 1) / FRAME_SIZE;
		to = (to + 1) / FRAME_SIZE;
		for (; pfn < to; pfn = next) {
			struct reach reach = { };
			unsigned long ask = pfn;

			next = (pfn / FRAMES_PER_BLOCK + 1) * FRAMES_PER_BLOCK;
			next = next < to ? next : to;
			while (!frame_reach(ask, &reach) && reach.restricted &&
			       !frame_in_kernel_half(&reach) && ask + 1 < next)
				ask++;
			if (!frame_in_kernel_half(&reach))
				continue;
			++*blocks;
			found += scan_frames(pfn, next - pfn, pattern);
		}
	}
	fclose(iomem);
	return found;
}

#endif /* SELFTESTS_ASI_SCAN_H */
