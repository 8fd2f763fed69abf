// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks of memory change between sensitive and nonsensitive on demand, and
 * nothing that was sensitive can be seen through it.
 *
 * Sensitive memory is what a child touches; nonsensitive memory is page tables
 * of a sparse mapping that is only ever read: one table for each 2 MiB, and no
 * page beside the shared page of zeroes.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "asi.h"
#include "frames.h"
#include "kselftest_harness.h"
#include "pattern.h"

#define MiB		(1024 * 1024UL)
#define TABLES_STEP	(2 * MiB)
#define TABLE_REACH	(2 * MiB)

#define TO_SENSITIVE	"asi_block_to_sensitive"
#define TO_NONSENSITIVE	"asi_block_to_nonsensitive"

static size_t available(void)
{
	static char buf[8192];
	char *line;

	if (asi_slurp("/proc/meminfo", buf, sizeof(buf)) < 0)
		return 0;
	line = strstr(buf, "MemAvailable:");
	return line ? strtoul(line + 13, NULL, 10) << 10 : 0;
}

/* Makes the kernel allocate @len bytes of page tables; NULL if it cannot. */
static char *tables_alloc(size_t len)
{
	size_t reach = len / FRAME_SIZE * TABLE_REACH, i;
	char *mem;

	mem = mmap(NULL, reach, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
		   MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	madvise(mem, reach, MADV_NOHUGEPAGE);
	for (i = 0; i < reach; i += TABLE_REACH)
		(void)asi_load(mem + i);
	return mem;
}

static void tables_free(char *mem, size_t len)
{
	munmap(mem, len / FRAME_SIZE * TABLE_REACH);
}

/*
 * Runs a child that fills @len bytes with the pattern. It exits at once, or
 * sleeps and is returned if @stay.
 */
static pid_t fill(size_t len, const struct pattern *pattern, bool stay)
{
	int fds[2];
	pid_t pid;
	char byte, *mem;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		mem = asi_fresh(len);
		if (!mem)
			_exit(1);
		pattern_fill(mem, len, pattern, 0);
		if (write(fds[1], "", 1) == 1 && stay)
			pause();
		_exit(0);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1)
		pid = -1;
	close(fds[0]);
	if (!stay) {
		waitpid(pid, NULL, 0);
		pid = 0;
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* How many frames of [pfn, pfn + nr), all reachable, hold the pattern. */
static size_t scan_frames(unsigned long pfn, size_t nr,
			  const struct pattern *pattern)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];
	size_t found = 0;

	for (; nr; nr--, pfn++) {
		if (!frame_read(pfn, page, sizeof(page)))
			found += pattern_found(page, sizeof(page), pattern);
	}
	return found;
}

/*
 * Looks for the pattern in every block that the kernel half of the restricted
 * address space maps. One frame tells for its block, but not one of this
 * process, which is reachable at its own address.
 */
static size_t scan_reachable(const struct pattern *pattern, size_t *blocks)
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

FIXTURE(flip)
{
	struct pattern pattern;
};

FIXTURE_SETUP(flip)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	if (available() < 256 * MiB)
		SKIP(return, "too little memory");
	if (asi_pin_last())
		SKIP(return, "cannot pin to a CPU");
	asi_break("");
	asi_drop_caches();
	self->pattern = pattern_random();
}

FIXTURE_TEARDOWN_PARENT(flip)
{
	asi_break("");
}

TEST_F_TIMEOUT(flip, goes_both_ways, 300)
{
	long to_nonsensitive = asi_counter(TO_NONSENSITIVE);
	long to_sensitive = asi_counter(TO_SENSITIVE);
	size_t len = available() / 4;
	char *tables;

	tables = tables_alloc(len);
	ASSERT_NE(NULL, tables);
	EXPECT_LT(to_nonsensitive, asi_counter(TO_NONSENSITIVE));
	tables_free(tables, len);
	/* More than what is left of sensitive memory. */
	EXPECT_EQ(0, fill(available() / 8 * 7, &self->pattern, false));
	EXPECT_LT(to_sensitive, asi_counter(TO_SENSITIVE));
}

/* What is allocated comes back, both kinds in turn, for as long as one likes. */
TEST_F_TIMEOUT(flip, loses_no_memory, 300)
{
	size_t len = available() / 4, left;
	char *tables;
	int i;

	left = available();
	for (i = 0; i < 4; i++) {
		tables = tables_alloc(len);
		ASSERT_NE(NULL, tables);
		tables_free(tables, len);
		ASSERT_EQ(0, fill(2 * len, &self->pattern, false));
	}
	EXPECT_LT(left - left / 16, available());
}

/*
 * Leaves secrets in most of the free memory, and then has the kernel allocate
 * until a few blocks have changed: of the last one, most is not used yet.
 */
static size_t secrets_in_nonsensitive(struct __test_metadata *_metadata,
				      const struct pattern *pattern)
{
	long enough = asi_counter(TO_NONSENSITIVE) + 4;
	size_t blocks, found;
	char *tables[64];
	int i, n = 0;

	EXPECT_EQ(0, fill(available() / 4 * 3, pattern, false));
	while (n < 64 && asi_counter(TO_NONSENSITIVE) < enough) {
		tables[n] = tables_alloc(TABLES_STEP);
		if (!tables[n])
			break;
		n++;
	}
	EXPECT_LE(enough, asi_counter(TO_NONSENSITIVE))
		TH_LOG("not even for %lu MiB of page tables",
		       n * TABLES_STEP / MiB);
	found = scan_reachable(pattern, &blocks);
	TH_LOG("%zu blocks are mapped, %zu frames there hold a secret",
	       blocks, found);
	EXPECT_LT(0, blocks);
	for (i = 0; i < n; i++)
		tables_free(tables[i], TABLES_STEP);
	return found;
}

TEST_F_TIMEOUT(flip, clears_what_becomes_nonsensitive, 300)
{
	EXPECT_EQ(0, secrets_in_nonsensitive(_metadata, &self->pattern));
}

/* Negative control. */
TEST_F_TIMEOUT(flip, without_clearing_is_seen, 300)
{
	ASSERT_EQ(0, asi_break("noclear"));
	EXPECT_LT(0, secrets_in_nonsensitive(_metadata, &self->pattern));
}

/*
 * Turns a quarter of memory nonsensitive and frees it, and then has a child
 * need it for its secrets.
 */
static size_t secrets_in_sensitive(struct __test_metadata *_metadata,
				   const struct pattern *pattern)
{
	long to_sensitive = asi_counter(TO_SENSITIVE);
	size_t len = available() / 4, blocks, found;
	char *tables;
	pid_t child;

	tables = tables_alloc(len);
	EXPECT_NE(NULL, tables);
	tables_free(tables, len);
	child = fill(available() / 8 * 7, pattern, true);
	EXPECT_LT(0, child);
	EXPECT_LT(to_sensitive, asi_counter(TO_SENSITIVE));
	found = scan_reachable(pattern, &blocks);
	TH_LOG("%zu blocks are mapped, %zu frames there hold a secret",
	       blocks, found);
	end(child);
	return found;
}

TEST_F_TIMEOUT(flip, unmaps_what_becomes_sensitive, 300)
{
	EXPECT_EQ(0, secrets_in_sensitive(_metadata, &self->pattern));
}

/* Negative control. */
TEST_F_TIMEOUT(flip, without_unmapping_is_seen, 300)
{
	ASSERT_EQ(0, asi_break("nounmap"));
	EXPECT_LT(0, secrets_in_sensitive(_metadata, &self->pattern));
}

TEST_HARNESS_MAIN
