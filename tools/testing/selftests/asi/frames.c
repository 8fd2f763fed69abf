// SPDX-License-Identifier: GPL-2.0-only
/*
 * The types of memory blocks and the page tables agree, whatever has been done to
 * memory before: a frame is mapped in the kernel half of the restricted address
 * space if and only if its block is not for sensitive memory. That is also run after
 * a load.
 */
#include "asi.h"
#include "frames.h"
#include "kselftest.h"

#define LOOKS	3
#define SHOWN	8

struct count {
	size_t hidden, mapped_all_the_same;
	size_t mapped, missing;
};

/* With debug_pagealloc, nothing that is free is mapped. */
static bool unmaps_free;

/* This process's own, which the kernel half maps for it elsewhere than for all. */
static bool is_exposed(unsigned long pfn)
{
	struct reach reach;

	return !frame_reach(pfn, &reach) && reach.address >= FRAME_USER_MAX &&
	       reach.address != frame_address(pfn);
}

/* Not in the unrestricted address space either: KFENCE has guard pages. */
static bool is_nowhere(unsigned long pfn)
{
	struct reach reach;

	return !frame_reach(pfn, &reach) && !reach.unrestricted;
}

/* What changes its kind at this moment is not @wrong the next time. */
static struct count look_at_all(bool *wrong)
{
	struct count count = { };
	const unsigned char *marks;
	size_t pfn, nr;

	marks = frames_marks(&nr);
	for (pfn = 0; pfn < nr; pfn++) {
		bool mapped = marks[pfn] & FRAME_KERNEL, hidden;

		/* The direct map may have nothing of what is no RAM. */
		if (!(marks[pfn] & FRAME_THERE) || !frame_address(pfn)) {
			wrong[pfn] = false;
			continue;
		}
		/* In a block of both kinds, what one page is only the tables say. */
		hidden = marks[pfn] & (marks[pfn] & FRAME_TYPED ? FRAME_HIDES :
				       FRAME_SENSITIVE);
		count.hidden += hidden;
		count.mapped += !hidden;
		if (mapped != hidden ||
		    (hidden && count.mapped_all_the_same < SHOWN && is_exposed(pfn)) ||
		    (!hidden && wrong[pfn] && !unmaps_free && is_nowhere(pfn)))
			wrong[pfn] = false;
		count.mapped_all_the_same += wrong[pfn] && hidden;
		count.missing += wrong[pfn] && !hidden;
	}
	memset(wrong + nr, false, FRAMES_MOST - nr);
	return count;
}

int main(void)
{
	char cmdline[4096];
	static bool wrong[FRAMES_MOST];
	struct reach reach;
	struct count count;
	int i, shown = 0;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	ksft_set_plan(3);

	unmaps_free = asi_slurp("/proc/cmdline", cmdline, sizeof(cmdline)) > 0 &&
		      strstr(cmdline, "debug_pagealloc=on");
	memset(wrong, true, sizeof(wrong));
	for (i = 0; i < LOOKS; i++) {
		count = look_at_all(wrong);
		usleep(100000);
	}
	for (i = 0; i < (int)FRAMES_MOST && shown < SHOWN; i++) {
		if (!wrong[i])
			continue;
		if (!frame_reach(i, &reach))
			ksft_print_msg("frame %x: sensitive=%d restricted=%d unrestricted=%d\n",
				       i, reach.sensitive, reach.restricted,
				       reach.unrestricted);
		shown++;
	}
	ksft_print_msg("%zu frames are for sensitive memory, %zu are not\n",
		       count.hidden, count.mapped);
	ksft_test_result(count.hidden && !count.mapped_all_the_same,
			 "what is sensitive is not mapped\n");
	if (unmaps_free)
		ksft_test_result_skip("with debug_pagealloc\n");
	else
		ksft_test_result(count.mapped && !count.missing,
				 "what is not sensitive is mapped\n");

	ksft_test_result(asi_restricted(asi_open_state()) == 1,
			 "no CPU was where it must not be\n");
	ksft_finished();
}
