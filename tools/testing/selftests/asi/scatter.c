// SPDX-License-Identifier: GPL-2.0-only
/*
 * A load that fragments memory, the same one each time: how many huge pages are left?
 *
 * Pages of all mobilities are taken one by one, in a random order that is the same in
 * each run, until most of memory is in use; then all but one of eight are given back,
 * whichever. What stays is given back a round later, so that no round starts from
 * scratch. It tells for each round how many huge pages are free, as buddyinfo has it,
 * once memory is compacted, and how many the pool of huge pages can take. The latter
 * differs little between rounds, and tells one kernel from another: of 384 MiB it is
 * about 80, and 19 in one that takes nothing for movable (mutant all-unmovable).
 */
#include <sys/resource.h>

#include "asi.h"
#include "ram.h"

#define PAGE		4096UL
#define MiB		(1024 * 1024UL)
#define MOST		131072UL	/* of one kind */
#define LEFT		(40 * MiB)	/* not taken */
#define KEPT		8		/* one of so many stays */
#define FILES		60000
#define BATCH		256

/* In one generation: what was taken in one round. */
struct load {
	char *anon;		/* movable: the next page of these */
	char *shared;		/* movable, of tmpfs */
	char *sparse;		/* unmovable, the kernel's: a page table for each page */
	int *pipe;		/* unmovable, of users: a pipe's page; and slab */
	size_t anons, shareds, sparses, pipes;
};

static unsigned long state = 0x9e3779b97f4a7c15UL;

static unsigned int dice(unsigned int sides)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 32) % sides;
}

static char *reserve(size_t len, int flags)
{
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED) {
		perror("scatter: mmap");
		exit(1);
	}
	madvise(mem, len, MADV_NOHUGEPAGE);
	return mem;
}

/* Where a page table begins, so that it goes with what it maps. */
static char *reserve_tables(size_t tables)
{
	unsigned long mem = (unsigned long)reserve((tables + 1) * RAM_HUGE, MAP_PRIVATE);

	return (char *)((mem + RAM_HUGE - 1) & -RAM_HUGE);
}

static bool take_pipe(struct load *load)
{
	int *ends = load->pipe + 2 * load->pipes;
	char page[PAGE] = { 1 };

	if (pipe(ends))
		return false;
	load->pipes++;
	return write(ends[1], page, PAGE) == PAGE;
}

static bool take_one(struct load *load)
{
	unsigned int side = dice(16);

	if (side < 8 && load->anons < MOST)
		load->anon[PAGE * load->anons++] = 1;
	else if (side < 12 && load->shareds < MOST)
		load->shared[PAGE * load->shareds++] = 1;
	else if (side < 14 && load->sparses < MOST / 4)
		/* Only read, it is the shared page of zeroes: no other page than the table. */
		asi_load(load->sparse + RAM_HUGE * load->sparses++);
	else if (load->pipes < FILES / 4)
		return take_pipe(load);
	return true;
}

static void take(struct load *load)
{
	unsigned int i;

	load->anon = reserve(MOST * PAGE, MAP_PRIVATE);
	load->shared = reserve(MOST * PAGE, MAP_SHARED);
	load->sparse = reserve_tables(MOST / 4);
	load->pipe = calloc(FILES / 2, sizeof(int));
	while (asi_available() > LEFT) {
		for (i = 0; i < BATCH; i++) {
			if (!take_one(load)) {
				perror("scatter: pipe");
				exit(1);
			}
		}
	}
}

/* Each but one of @kept; 0: all. */
static void give(struct load *load, unsigned int kept)
{
	size_t i;

	for (i = 0; i < load->anons; i++) {
		if (!kept || dice(kept))
			madvise(load->anon + i * PAGE, PAGE, MADV_DONTNEED);
	}
	for (i = 0; i < load->shareds; i++) {
		if (!kept || dice(kept))
			madvise(load->shared + i * PAGE, PAGE, MADV_REMOVE);
	}
	for (i = 0; i < load->sparses; i++) {
		if (!kept || dice(kept))
			munmap(load->sparse + i * RAM_HUGE, RAM_HUGE);
	}
	for (i = 0; i < load->pipes; i++) {
		if (load->pipe[2 * i] && (!kept || dice(kept))) {
			close(load->pipe[2 * i]);
			close(load->pipe[2 * i + 1]);
			load->pipe[2 * i] = 0;
		}
	}
}

static void forget(struct load *load)
{
	munmap(load->anon, MOST * PAGE);
	munmap(load->shared, MOST * PAGE);
	munmap(load->sparse, MOST / 4 * RAM_HUGE);
	free(load->pipe);
	*load = (struct load) {};
}

/* Free blocks of the size of a huge page, which nothing has to be moved for any more. */
static long free_huge(void)
{
	char buf[8192], *word, *line, *lines;
	long orders[16], sum = 0;
	int n;

	asi_write("/proc/sys/vm/compact_memory", "1");
	asi_slurp("/proc/buddyinfo", buf, sizeof(buf));
	for (line = strtok_r(buf, "\n", &lines); line; line = strtok_r(NULL, "\n", &lines)) {
		word = strstr(line, "zone");
		if (!word)
			continue;
		/* "Node 0, zone DMA32 n0 n1 ...": pages of 2^i each */
		word += strlen("zone");
		word += strspn(word, " ");
		word += strcspn(word, " ");
		for (n = 0; n < 16; n++) {
			char *end;

			orders[n] = strtol(word, &end, 10);
			if (end == word)
				break;
			word = end;
		}
		for (; n > 9; n--)
			sum += orders[n - 1] << (n - 1 - 9);
	}
	return sum;
}

/* And what compaction and reclaim can make. */
static long pool_of_huge(void)
{
	long pages;

	ram_set_pool(asi_meminfo("MemTotal:") / RAM_HUGE);
	pages = ram_pool();
	ram_set_pool(0);
	return pages;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 40, round;
	struct rlimit files = { FILES, FILES };
	struct load load[2] = {};

	if (setrlimit(RLIMIT_NOFILE, &files)) {
		perror("scatter: setrlimit");
		return 1;
	}
	for (round = 0; round < rounds; round++) {
		struct load *now = load + round % 2, *before = load + (round + 1) % 2;
		long huge;

		take(now);
		give(now, KEPT);
		if (round)
			give(before, 0);
		asi_write("/proc/sys/vm/drop_caches", "3");
		huge = free_huge();
		printf("scatter: round %d: taken %zu, free %ld, pool %ld\n", round,
		       now->anons + now->shareds + now->sparses + now->pipes, huge,
		       pool_of_huge());
		if (round)
			forget(before);
	}
	return 0;
}
