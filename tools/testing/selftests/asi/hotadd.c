// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory is added and removed by the machine while all CPUs make transitions.
 *
 * The host is asked for it by lines of output: "hotadd: add NAME;" for a module
 * of memory, "hotadd: remove NAME;" to take it away (see dimm.py). If there is
 * none before long, the tests are skipped.
 *
 * One module is for the kernel: page tables go there, and what holds them must be
 * mapped in the restricted address space. The other one is for user memory, and
 * comes a second time where it has been before.
 */
#include <dirent.h>

#include "asi.h"
#include "frames.h"
#include "kselftest.h"
#include "load.h"
#include "planted.h"

#define MEMORY		"/sys/devices/system/memory/"
#define OWN_MEMMAP	"/sys/module/memory_hotplug/parameters/memmap_on_memory"
#define MOST_BLOCKS	1024
#define PATIENCE	30		/* seconds, for the host and the firmware */
#define TABLES		(16UL << 20)
#define TABLE_REACH	(2UL << 20)

/* The blocks of memory that there are, by number. */
struct blocks {
	bool there[MOST_BLOCKS];
};

static unsigned long block_frames;
static bool own_memmap;

static struct blocks blocks_now(void)
{
	struct blocks blocks = { };
	struct dirent *entry;
	unsigned int number;
	DIR *dir;

	dir = opendir(MEMORY);
	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "memory%u", &number) == 1 &&
		    number < MOST_BLOCKS)
			blocks.there[number] = true;
	}
	if (dir)
		closedir(dir);
	return blocks;
}

/* Asks for a module; returns its first block and their number, or 0. */
static int get_module(const char *name, int *first)
{
	struct blocks before = blocks_now(), now;
	int tries, i, nr = 0, last = -1;

	ksft_print_msg("hotadd: add %s;\n", name);
	for (tries = 0; tries < PATIENCE * 10; tries++) {
		usleep(100000);
		now = blocks_now();
		for (i = 0, nr = 0; i < MOST_BLOCKS; i++) {
			if (!now.there[i] || before.there[i])
				continue;
			if (!nr++)
				*first = i;
		}
		/* All of them have come when no more do. */
		if (nr && nr == last)
			return nr;
		last = nr;
	}
	return 0;
}

static bool take_away(const char *name, int first, int nr)
{
	struct blocks now;
	int tries, i, left = nr;

	ksft_print_msg("hotadd: remove %s;\n", name);
	for (tries = 0; tries < PATIENCE * 10 && left; tries++) {
		usleep(100000);
		now = blocks_now();
		for (i = first, left = 0; i < first + nr; i++)
			left += now.there[i];
	}
	return !left;
}

/* The blocks go before what describes their frames does. */
static bool frames_gone(int first)
{
	struct reach reach;
	int tries, err;

	for (tries = 0; tries < PATIENCE * 10; tries++) {
		err = frame_reach(first * block_frames, &reach);
		if (err)
			return err == -ERANGE;
		usleep(100000);
	}
	return false;
}

static bool online(int first, int nr, const char *how)
{
	char path[64];
	int i;

	for (i = first; i < first + nr; i++) {
		snprintf(path, sizeof(path), MEMORY "memory%d/state", i);
		if (asi_write(path, how))
			return false;
	}
	return true;
}

/*
 * How much of it is mapped, without what describes its frames, which is at the
 * beginning of each block with memory_hotplug.memmap_on_memory=1.
 */
static int mapped(int first, int nr)
{
	int count = frames_mapped(first * block_frames, (first + nr) * block_frames);
	int i;

	for (i = first; own_memmap && i < first + nr; i++) {
		if (frames_mapped(i * block_frames, i * block_frames + FRAMES_PER_BLOCK) != 1)
			return -1;
		count--;
	}
	return count;
}

/* Has the kernel allocate page tables, as flip does, and says what is mapped. */
static int mapped_with_tables(int first, int nr)
{
	size_t reach = TABLES / FRAME_SIZE * TABLE_REACH, i;
	int count = -1;
	char *mem;

	mem = mmap(NULL, reach, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -1;
	madvise(mem, reach, MADV_NOHUGEPAGE);
	for (i = 0; i < reach; i += TABLE_REACH)
		(void)asi_load(mem + i);
	count = mapped(first, nr);
	munmap(mem, reach);
	return count;
}

/* Adds the module for user memory and plants something there. */
static bool use(const char *name, int *first, int *nr)
{
	int there, reachable, count;

	*nr = get_module(name, first);
	ksft_test_result(*nr && online(*first, *nr, "online_movable"),
			 "%s: memory is added\n", name);
	count = *nr ? mapped(*first, *nr) : -1;
	ksft_test_result(!count, "%s: none of it is mapped\n", name);
	there = *nr ? planted(*first * block_frames, (*first + *nr) * block_frames,
			      &reachable) : 0;
	ksft_print_msg("%d frames of a secret are there\n", there);
	ksft_test_result(there > 0 && !reachable,
			 "%s: a secret in it is not mapped\n", name);
	return *nr;
}

int main(void)
{
	int first, nr, kernel, count, state;
	struct load load = { };
	struct tally sum;
	char buf[32];

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (asi_slurp(MEMORY "block_size_bytes", buf, sizeof(buf)) < 0)
		ksft_exit_skip("no CONFIG_MEMORY_HOTPLUG\n");
	block_frames = strtoul(buf, NULL, 16) / FRAME_SIZE;
	own_memmap = asi_slurp(OWN_MEMMAP, buf, sizeof(buf)) > 0 && *buf == 'Y';

	asi_break("");
	state = asi_open_state();
	load.cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (!load_start(&load))
		ksft_exit_fail_perror("mmap");

	kernel = get_module("kernel", &first);
	if (!kernel) {
		load_stop(&load);
		ksft_exit_skip("nobody adds memory\n");
	}
	ksft_set_plan(13);

	ksft_test_result(online(first, kernel, "online_kernel"),
			 "kernel: memory is added\n");
	count = mapped_with_tables(first, kernel);
	ksft_print_msg("%d blocks are mapped\n", count);
	ksft_test_result(count > 0, "kernel: what it uses of it is mapped\n");

	use("user", &first, &nr);
	ksft_test_result(nr && take_away("user", first, nr), "user: it is removed\n");
	ksft_test_result(nr && frames_gone(first), "user: its frames are gone\n");
	use("again", &first, &nr);
	ksft_test_result(nr && take_away("again", first, nr), "again: it is removed\n");

	sum = load_stop(&load);
	ksft_test_result(sum.rounds && !sum.errors, "all that was read is right\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	ksft_finished();
}
