// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is set aside for large contiguous allocations (cma=) holds user
 * memory until somebody asks for it, and is sensitive all the time.
 */
#include <dirent.h>

#include "asi.h"
#include "frames.h"
#include "kselftest.h"
#include "load.h"
#include "pattern.h"
#include "ram.h"

#define CMA	"/sys/kernel/debug/cma/"
/* What is to be left beside the area; with less, most of user memory is in it. */
#define PLENTY	(192UL << 20)
#define LEFT	(32UL << 20)		/* for those who work meanwhile */
#define STEP	(1024 * 1024UL)
#define STRIDE	(16 * FRAME_SIZE)

static char area[192];			/* the directory of one of them */

static long number(const char *file)
{
	char path[256], buf[32];

	snprintf(path, sizeof(path), "%s/%s", area, file);
	return asi_slurp(path, buf, sizeof(buf)) < 0 ? -1 : atol(buf);
}

static bool tell(const char *file, long pages)
{
	char path[256], buf[32];

	snprintf(path, sizeof(path), "%s/%s", area, file);
	snprintf(buf, sizeof(buf), "%ld", pages);
	return !asi_write(path, buf);
}

/* The first area that is large enough to tell. */
static bool find_area(void)
{
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	dir = opendir(CMA);
	while (dir && !found && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(area, sizeof(area), CMA "%.100s", entry->d_name);
		found = number("count") >= (long)(8 * FRAMES_PER_BLOCK);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* How many of the frames that are looked at lie in a range. */
static int frames_there(const char *mem, size_t len, unsigned long first,
			unsigned long end)
{
	int there = 0;
	size_t i;

	for (i = 0; i < len; i += STRIDE) {
		unsigned long pfn = frame_of(mem + i);

		there += pfn >= first && pfn < end;
	}
	return there;
}

/*
 * Fills memory until a part of the range is used for it, or little is left. Returns how
 * many bytes, and how many of the frames that are looked at are there.
 */
static size_t fill_until_there(char *mem, size_t len, const struct pattern *pattern,
			       unsigned long first, unsigned long end, int *there)
{
	int enough = (end - first) / 8 * FRAME_SIZE / STRIDE;
	size_t i;

	for (i = 0; i + STEP <= len && *there < enough; i += STEP) {
		if (asi_available() < LEFT)
			break;
		pattern_fill(mem + i, STEP, pattern, 0);
		*there += frames_there(mem + i, STEP, first, end);
	}
	return i;
}

int main(void)
{
	struct pattern pattern = pattern_random();
	unsigned long first, end, half;
	struct load load = { };
	bool kept = true, got, held;
	struct tally sum;
	int state, there = 0;
	size_t len, i;
	long pool;
	char *mem;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (!find_area())
		ksft_exit_skip("no CONFIG_CMA_DEBUGFS, or no cma= on the command line\n");
	ksft_set_plan(7);

	asi_break("");
	pool = ram_pool();
	state = asi_open_state();
	load.cpus = sysconf(_SC_NPROCESSORS_ONLN);
	first = number("base_pfn");
	end = first + number("count");
	/* A half of what is not in use at this moment */
	half = (end - first - number("used")) / 2;
	/* Huge pages and page cache may have all of it. */
	asi_write("/proc/sys/vm/drop_caches", "1");
	held = tell("alloc", half);
	ram_leave(PLENTY + (end - first - (held ? half : 0)) * FRAME_SIZE);
	if (held)
		tell("free", half);
	len = asi_available();
	mem = asi_fresh(len);
	if (!mem || !load_start(&load))
		ksft_exit_fail_perror("mmap");

	len = fill_until_there(mem, len, &pattern, first, end, &there);
	ksft_print_msg("%d of %zu frames are in the area of %lu, of which %zu are free\n", there,
		       len / STRIDE, end - first, asi_meminfo("CmaFree:") / FRAME_SIZE);
	ksft_test_result(there > 0, "user memory is there\n");
	ksft_test_result(!frames_mapped(first, end), "none of it is mapped\n");

	got = tell("alloc", half);
	ksft_test_result(got, "a half of it can be allocated\n");
	for (i = 0; i < len; i += FRAME_SIZE)
		kept &= pattern_found(mem + i, FRAME_SIZE, &pattern);
	ksft_test_result(kept, "what was there is somewhere else\n");
	ksft_test_result(!frames_mapped(first, end), "still none of it is mapped\n");
	if (got)
		tell("free", half);

	ram_set_pool(pool);

	sum = load_stop(&load);
	ksft_test_result(sum.rounds && !sum.errors, "all that was read is right\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	ksft_finished();
}
