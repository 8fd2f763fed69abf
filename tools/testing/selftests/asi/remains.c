// SPDX-License-Identifier: GPL-2.0-only
/*
 * What another kernel has left in memory is not mapped, nor is it where this one
 * has taken memory without clearing it. That kernel ran kexec, the program that
 * is here beside this one.
 *
 * There is no switch that breaks this on purpose, since it happens at boot. A
 * kernel in which asi_init_reserved() does not call asi_clear_unreserved() fails.
 * What is reserved is left as it is; for a crash kernel's memory, which nobody
 * writes until one is loaded, this is a known gap.
 */
#include "asi.h"
#include "frames.h"
#include "kselftest.h"
#include "pattern.h"

#define MOST_FRAMES	((16UL << 30) / FRAME_SIZE)

/*
 * Neither const nor static, or the compiler would compare with the words as they
 * are in memory, and have them in registers, which the kernel saves.
 */
struct pattern pattern = PATTERN_KNOWN;

/* What is reserved for a crash kernel: its first frame, and the one after it. */
static unsigned long crash_first, crash_end;

static void find_crash_kernel(void)
{
	static char buf[65536];
	char *line;

	if (asi_slurp("/proc/iomem", buf, sizeof(buf)) < 0)
		return;
	for (line = strtok(buf, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long first, last;

		if (strstr(line, "Crash kernel") &&
		    sscanf(line, "%lx-%lx", &first, &last) == 2) {
			crash_first = first / FRAME_SIZE;
			crash_end = (last + 1) / FRAME_SIZE;
		}
	}
}

static bool is_crash_kernel(unsigned long pfn)
{
	return pfn >= crash_first && pfn < crash_end;
}

/* The first frame of a pageblock that holds a secret, or 0. */
static unsigned long secret_in(unsigned long pfn, bool crash)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];
	unsigned long end = pfn + FRAMES_PER_BLOCK;

	for (; pfn < end; pfn++) {
		if (is_crash_kernel(pfn) == crash &&
		    !frame_read(pfn, page, sizeof(page)) &&
		    pattern_found(page, sizeof(page), &pattern))
			return pfn;
	}
	return 0;
}

/* How many pageblocks that are mapped hold a secret. */
static int count_bad(bool crash, int *mapped)
{
	unsigned long pfn, found;
	struct reach reach;
	int bad = 0;

	*mapped = 0;
	for (pfn = 0; pfn < MOST_FRAMES; pfn += FRAMES_PER_BLOCK) {
		if (!frame_address(pfn) || frame_reach(pfn, &reach) || reach.sensitive)
			continue;
		(*mapped)++;
		found = secret_in(pfn, crash);
		if (found)
			ksft_print_msg("a secret in frame %lx\n", found);
		bad += !!found;
	}
	return bad;
}

static bool left_elsewhere(void)
{
	struct reach reach;
	unsigned long pfn;

	for (pfn = 0; pfn < MOST_FRAMES; pfn += FRAMES_PER_BLOCK) {
		if (frame_address(pfn) && !frame_reach(pfn, &reach) &&
		    reach.sensitive && secret_in(pfn, false))
			return true;
	}
	return false;
}

int main(void)
{
	char cmdline[4096];
	int mapped, bad;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (asi_slurp("/proc/cmdline", cmdline, sizeof(cmdline)) < 0 ||
	    !strstr(cmdline, " asi_kexec="))
		ksft_exit_skip("no other kernel was here before\n");
	ksft_set_plan(3);
	find_crash_kernel();

	bad = count_bad(false, &mapped);
	ksft_print_msg("%d of %d blocks that are mapped hold secrets\n", bad, mapped);
	ksft_test_result(mapped && !bad, "what is mapped holds no secret\n");

	if (crash_first == crash_end)
		ksft_test_result_skip("no memory is reserved for a crash kernel\n");
	else if (count_bad(true, &mapped))
		ksft_test_result_xfail("crash kernel's memory holds no secret\n");
	else
		ksft_test_result_pass("crash kernel's memory holds no secret\n");

	/* Last: reading what is not mapped leaves copies in what is. */
	ksft_test_result(left_elsewhere(), "secrets are left elsewhere\n");
	ksft_finished();
}
