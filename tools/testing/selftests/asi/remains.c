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

/* What is known of each pageblock. */
enum kind { NO_BLOCK, HIDDEN, MAPPED };
static unsigned char kinds[MOST_FRAMES / FRAMES_PER_BLOCK];

/* Returns how many are mapped. */
static int find_blocks(void)
{
	const unsigned char *marks;
	unsigned long pfn;
	int mapped = 0;
	size_t nr;

	marks = frames_marks(&nr);
	for (pfn = 0; pfn < MOST_FRAMES && pfn < nr; pfn += FRAMES_PER_BLOCK) {
		bool hidden = marks[pfn] & FRAME_SENSITIVE;

		if (!frame_address(pfn) || !(marks[pfn] & FRAME_THERE))
			continue;
		kinds[pfn / FRAMES_PER_BLOCK] = hidden ? HIDDEN : MAPPED;
		mapped += !hidden;
	}
	return mapped;
}

/* How many pageblocks of a kind hold a secret, counted up to @most. */
static int count_blocks(enum kind kind, bool crash, int most)
{
	unsigned long pfn, found;
	int count = 0;

	for (pfn = 0; pfn < MOST_FRAMES && count < most; pfn += FRAMES_PER_BLOCK) {
		if (kinds[pfn / FRAMES_PER_BLOCK] != kind)
			continue;
		found = secret_in(pfn, crash);
		if (found)
			ksft_print_msg("a secret in frame %lx\n", found);
		count += !!found;
	}
	return count;
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

	mapped = find_blocks();
	bad = count_blocks(MAPPED, false, mapped);
	ksft_print_msg("%d of %d blocks that are mapped hold secrets\n", bad, mapped);
	ksft_test_result(mapped && !bad, "what is mapped holds no secret\n");

	if (crash_first == crash_end)
		ksft_test_result_skip("no memory is reserved for a crash kernel\n");
	else if (count_blocks(MAPPED, true, 1))
		ksft_test_result_xfail("crash kernel's memory holds no secret\n");
	else
		ksft_test_result_pass("crash kernel's memory holds no secret\n");

	/* Last: reading what is not mapped leaves copies in what is. */
	ksft_test_result(count_blocks(HIDDEN, false, 1), "secrets are left elsewhere\n");
	ksft_finished();
}
