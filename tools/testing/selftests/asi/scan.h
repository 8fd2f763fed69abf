/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks for a secret in all that restricted address spaces map.
 */
#ifndef SELFTESTS_ASI_SCAN_H
#define SELFTESTS_ASI_SCAN_H

#include "frames.h"
#include "pattern.h"

#define SCAN_FRAMES	64UL

/* How many frames of [pfn, pfn + nr) are in reach and hold the pattern. */
static inline size_t scan_frames(unsigned long pfn, size_t nr,
				 const struct pattern *pattern)
{
	static unsigned long pages[SCAN_FRAMES][FRAME_SIZE / sizeof(long)];
	struct reach reach;
	size_t found = 0, i;

	/* The kernel may have mapped them on both sides of the end of a segment. */
	if (frame_read(pfn, pages, nr * FRAME_SIZE)) {
		for (i = 0; nr > 1 && i < nr; i++)
			found += scan_frames(pfn + i, 1, pattern);
		return found;
	}
	for (i = 0; i < nr; i++) {
		/* It may have become sensitive before it was read. */
		if (pattern_found(pages[i], FRAME_SIZE, pattern) &&
		    !frame_reach(pfn + i, &reach) && reach.restricted &&
		    reach.address >= FRAME_USER_MAX) {
			printf("# frame %lx, at %lx\n", pfn + i, reach.address);
			found++;
		}
	}
	return found;
}

/*
 * Looks for the pattern in every frame that the kernel half of the restricted
 * address space maps, and says how many these are.
 */
static inline size_t scan_reachable(const struct pattern *pattern, size_t *frames)
{
	const unsigned char *marks;
	size_t found = 0, nr, run;
	unsigned long pfn;

	*frames = 0;
	marks = frames_marks(&nr);
	for (pfn = 0; pfn < nr; pfn += run + !run) {
		run = 0;
		while (run < SCAN_FRAMES && pfn + run < nr &&
		       marks[pfn + run] & FRAME_KERNEL)
			run++;
		*frames += run;
		if (run)
			found += scan_frames(pfn, run, pattern);
	}
	return found;
}

#endif /* SELFTESTS_ASI_SCAN_H */
