// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hibernation: CPUs go down and come back, page tables are saved and put back, and
 * all memory is copied to wherever there is room. What user memory was copied to
 * must not be in reach afterwards.
 *
 * An image is made, written to swap and restored, all by the same kernel, which does
 * not power off in between. Swap is the second disk, if it was made for that: nothing
 * else is written to.
 *
 * A kernel in which hibernation frees its copies as they are fails.
 */
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>

#include "asi.h"
#include "frames.h"
#include "kselftest.h"
#include "pattern.h"
#include "scan.h"

#define DISK	"/dev/vdb"

/* Neither const nor static, see remains.c. */
struct pattern pattern = PATTERN_KNOWN;

static bool made_for_swap(const char *path)
{
	char magic[10] = "";
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (pread(fd, magic, sizeof(magic), FRAME_SIZE - sizeof(magic)) < 0)
		magic[0] = 0;
	close(fd);
	return !memcmp(magic, "SWAPSPACE2", sizeof(magic));
}

/* Where the image is to be found: there may be other swap. */
static int choose_disk(const char *path)
{
	char number[32];
	struct stat st;

	if (stat(path, &st))
		return -errno;
	snprintf(number, sizeof(number), "%u:%u\n", major(st.st_rdev), minor(st.st_rdev));
	return asi_write("/sys/power/resume", number);
}

/* As small as it can be, and back at once. */
static int hibernate(void)
{
	return asi_write("/sys/power/image_size", "0\n") ?:
	       asi_write("/sys/power/disk", "test_resume\n") ?:
	       asi_write("/sys/power/state", "disk\n");
}

static bool kept(char *mem, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += FRAME_SIZE)
		if (!pattern_found(mem + i, FRAME_SIZE, &pattern))
			return false;
	return true;
}

int main(void)
{
	size_t len, frames, found;
	int state, ret;
	long exits;
	char *mem;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (access("/sys/power/disk", W_OK))
		ksft_exit_skip("no CONFIG_HIBERNATION\n");
	if (!made_for_swap(DISK))
		ksft_exit_skip(DISK " is not for swap\n");
	if (swapon(DISK, 0) || choose_disk(DISK))
		ksft_exit_fail_perror(DISK);
	/* Most of memory is swapped out first, and in again: through compressors. */
	asi_write("/sys/module/zswap/parameters/enabled", "1");
	ksft_set_plan(4);

	asi_break("");
	state = asi_open_state();
	len = asi_available() / 4 / FRAME_SIZE * FRAME_SIZE;
	mem = asi_fresh(len);
	if (!mem)
		ksft_exit_fail_perror("mmap");
	pattern_fill(mem, len, &pattern, 0);

	exits = asi_counter("asi_exit");
	ret = hibernate();
	ksft_print_msg("%zu MiB, %ld transitions, result %d\n", len >> 20,
		       asi_counter("asi_exit") - exits, ret);
	ksft_test_result(!ret, "an image is made and restored\n");
	ksft_test_result(kept(mem, len), "memory is what it was\n");
	found = scan_reachable(&pattern, &frames);
	ksft_print_msg("%zu of %zu frames in reach hold it\n", found, frames);
	ksft_test_result(frames && !found, "no copy is in reach\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	munmap(mem, len);
	swapoff(DISK);
	ksft_finished();
}
