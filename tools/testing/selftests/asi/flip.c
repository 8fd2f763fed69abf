// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks of memory change between sensitive and nonsensitive on demand, and
 * nothing that was sensitive can be seen through it.
 *
 * Sensitive memory is what a child touches. Nonsensitive memory in quantity is
 * page tables of a sparse mapping that is only ever read: one table for each
 * 2 MiB, and no page beside the shared page of zeroes.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "asi.h"
#include "frames.h"
#include "kselftest_harness.h"
#include "pattern.h"
#include "ram.h"
#include "scan.h"

#define MiB		(1024 * 1024UL)
#define MOST_FILES	131072
#define TABLE_REACH	(2 * MiB)

/* So many pages are taken between two looks at how it stands; divides a MiB. */
#define BATCH		64

/* What is free in whole blocks: as much as the tests need, and go through quickly. */
#define LEAST		(64 * MiB)
#define PLENTY		(96 * MiB)

/*
 * The share of a zone that its per-CPU lists may take: the kernel lets them grow
 * to an eighth and more, and counts what is on them as neither free nor available.
 */
#define PCP_FRACTION	"/proc/sys/vm/percpu_pagelist_high_fraction"

/*
 * What is kept free for those that cannot wait, which nobody else gets. For the sake
 * of huge pages it can be a third of what the tests work with.
 */
#define KEPT_FREE	"/proc/sys/vm/min_free_kbytes"
#define SO_LITTLE	"4096"

#define TO_SENSITIVE	"asi_block_to_sensitive"
#define TO_NONSENSITIVE	"asi_block_to_nonsensitive"
#define FLIPS		TRACING "events/asi/asi_block_flip/enable"

/*
 * How many blocks have to change. More go to the kernel than have to come back:
 * something of the kernel's may have come to lie in one.
 */
#define FEW		4
#define MORE		(4 * FEW)

/* What a child is to do before it sleeps: so much, or until a counter says so much. */
struct job {
	const struct pattern *pattern;
	size_t len;
	const char *counter;
	long enough;
};

/* A job that lasts until so many blocks of all that there is have been flipped. */
static void until_flips(struct job *job, const char *counter, int more)
{
	job->len = asi_available();
	job->counter = counter;
	job->enough = asi_counter(counter) + more;
}

/* With less left the machine is at its end, and no more blocks will change. */
#define LEFT		(8 * MiB)

/* What is filled once enough blocks have been flipped, to use some of them: 8 at a time. */
#define EXTRA		(16 * MiB)

enum verdict { GO_ON, DONE, NO_USE };

/* How it stands with a job that has taken @taken bytes. */
static enum verdict verdict(const struct job *job, size_t taken)
{
	if (!job->counter)
		return taken >= job->len ? DONE : GO_ON;
	if (asi_counter(job->counter) >= job->enough)
		return DONE;
	if (taken < job->len && asi_available() >= LEFT)
		return GO_ON;
	dprintf(1, "# %s: %ld of %ld, after %zu of %zu KiB, with %zu left\n", job->counter,
		asi_counter(job->counter), job->enough, taken >> 10, job->len >> 10,
		asi_available() >> 10);
	return NO_USE;
}

/* Fills memory with the pattern. */
static bool fill(const struct job *job)
{
	char *mem = asi_fresh(job->len + MiB + EXTRA);
	enum verdict now = GO_ON;
	size_t i, end;

	for (i = 0; mem && now == GO_ON; now = verdict(job, i)) {
		pattern_fill(mem + i, MiB, job->pattern, 0);
		i += MiB;
	}
	/* The blocks are there to be used; whoever had them flipped. */
	end = i + (job->counter ? EXTRA : 0);
	for (; now == DONE && i < end && asi_available() >= LEFT; i += MiB)
		pattern_fill(mem + i, MiB, job->pattern, 0);
	return now == DONE;
}

/* Makes the kernel allocate page tables, which it clears. */
static bool tables(const struct job *job)
{
	size_t reach = (job->len / FRAME_SIZE + BATCH) * TABLE_REACH, i;
	enum verdict now = GO_ON;
	char *mem;

	mem = mmap(NULL, reach, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
		   MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return false;
	madvise(mem, reach, MADV_NOHUGEPAGE);
	for (i = 0; now == GO_ON; i++) {
		(void)asi_load(mem + i * TABLE_REACH);
		if (i % BATCH == BATCH - 1)
			now = verdict(job, (i + 1) * FRAME_SIZE);
	}
	return now == DONE;
}

/*
 * Makes the kernel allocate pages that it does not clear, of which it uses the first
 * bytes only. A file of /proc has one from the first read on.
 */
static bool buffers(const struct job *job)
{
	struct rlimit limit = { MOST_FILES, MOST_FILES };
	enum verdict now = GO_ON;
	char byte;
	int i, fd;

	setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; now == GO_ON; i++) {
		fd = open("/proc/self/comm", O_RDONLY);
		if (fd < 0 || read(fd, &byte, 1) != 1)
			return false;
		if (i % BATCH == BATCH - 1)
			now = verdict(job, (i + 1) * FRAME_SIZE);
	}
	return now == DONE;
}

/*
 * Returns a child that has done its job and sleeps, or -1. It is a process of
 * its own so that what it holds does not slow down the walk through ours.
 */
static pid_t start(bool (*body)(const struct job *job), const struct job *job)
{
	int fds[2];
	pid_t pid;
	char byte;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Rather than those who wait for us. */
		asi_write("/proc/self/oom_score_adj", "1000");
		if (body(job) && write(fds[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(fds[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Waits for memory that has been freed to come back; page tables take a while. */
static bool settles(size_t least)
{
	int i;

	for (i = 0; i < 300 && asi_available() < least; i++)
		usleep(100000);
	return asi_available() >= least;
}

/*
 * Starts a child and ends it; returns whether it could do its job and gave its
 * memory back.
 */
static bool once(bool (*body)(const struct job *job), const struct job *job)
{
	size_t before = asi_available() / 8 * 7;
	pid_t pid = start(body, job);

	if (pid < 0)
		return false;
	end(pid);
	if (settles(before))
		return true;
	dprintf(1, "# %zu of %zu KiB have come back\n", asi_available() >> 10, before >> 10);
	return false;
}

FIXTURE(flip)
{
	struct pattern pattern;
	long pool;
	char kept_free[32];
};

FIXTURE_SETUP(flip)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	self->pool = ram_pool();
	if (asi_pin_last())
		SKIP(return, "cannot pin to a CPU");
	asi_break("");
	asi_write(PCP_FRACTION, "1000");
	asi_slurp(KEPT_FREE, self->kept_free, sizeof(self->kept_free));
	asi_write(KEPT_FREE, SO_LITTLE);
	asi_drop_caches();
	self->pattern = pattern_random();
	ram_leave_whole(PLENTY);
	if (asi_available() < LEAST)
		SKIP(return, "too little memory");
}

FIXTURE_TEARDOWN_PARENT(flip)
{
	asi_break("");
	asi_write(PCP_FRACTION, "0");
	asi_write(KEPT_FREE, self->kept_free);
	ram_set_pool(self->pool);
}

/* How often the trace has a text. */
static long traced(const char *text)
{
	FILE *trace = fopen(TRACING "trace", "re");
	char *line = NULL;
	size_t size = 0;
	long nr = 0;

	while (trace && getline(&line, &size, trace) > 0)
		nr += !!strstr(line, text);
	free(line);
	if (trace)
		fclose(trace);
	return nr;
}

/* The tracepoint says which way, of no more flips than are counted meanwhile. */
TEST_F_TIMEOUT(flip, goes_both_ways, 1200)
{
	long to_sensitive = asi_counter(TO_SENSITIVE);
	long to_nonsensitive = asi_counter(TO_NONSENSITIVE);
	struct job job = { .pattern = &self->pattern };
	bool traces = !access(FLIPS, W_OK);
	long nr;

	if (traces) {
		asi_forget_trace();
		EXPECT_EQ(0, asi_write(FLIPS, "1"));
	}
	until_flips(&job, TO_NONSENSITIVE, MORE);
	EXPECT_TRUE(once(tables, &job));
	until_flips(&job, TO_SENSITIVE, FEW);
	EXPECT_TRUE(once(fill, &job));
	if (!traces)
		return;
	ASSERT_EQ(0, asi_write(FLIPS, "0"));
	nr = traced("to=nonsensitive");
	EXPECT_LE(MORE, nr);
	EXPECT_GE(asi_counter(TO_NONSENSITIVE) - to_nonsensitive, nr);
	nr = traced("to=sensitive");
	EXPECT_LE(FEW, nr);
	EXPECT_GE(asi_counter(TO_SENSITIVE) - to_sensitive, nr);
	asi_forget_trace();
}

/*
 * Has the kernel allocate @len bytes, a page with each file, and keeps one page
 * of each 64.
 */
static bool scattered(const struct job *job)
{
	struct rlimit limit = { MOST_FILES, MOST_FILES };
	int first = -1, last = -1, fd;
	char byte;
	size_t i;

	setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; i < job->len / FRAME_SIZE; i++) {
		fd = open("/proc/self/comm", O_RDONLY);
		if (fd < 0)
			break;
		if (read(fd, &byte, 1) != 1)
			return false;
		first = first < 0 ? fd : first;
		last = fd;
	}
	for (fd = first; fd >= 0 && fd <= last; fd++) {
		if (fd % 64)
			close(fd);
	}
	return last > first;
}

/* How many pageblocks are of both kinds. */
static int blocks_mixed(void)
{
	const unsigned char *marks;
	int count = 0;
	size_t nr, i;

	marks = frames_marks(&nr);
	for (i = 0; i + FRAMES_PER_BLOCK <= nr; i += FRAMES_PER_BLOCK) {
		size_t sensitive = 0, there = 0, j;

		for (j = 0; j < FRAMES_PER_BLOCK; j++) {
			sensitive += !!(marks[i + j] & FRAME_SENSITIVE);
			there += marks[i + j] & FRAME_THERE;
		}
		count += sensitive && sensitive < there;
	}
	return count;
}

/*
 * A page here and there of the kernel's keeps no block from user space: as much
 * of memory as without ASI can be had.
 */
TEST_F_TIMEOUT(flip, serves_from_scattered_memory, 1200)
{
	struct job job = { .pattern = &self->pattern };
	size_t before = asi_available();
	pid_t child, user;

	job.len = before / 2;
	child = start(scattered, &job);
	ASSERT_LT(0, child);
	EXPECT_TRUE(settles(before / 8 * 7))
		TH_LOG("%zu of %zu", asi_available(), before);
	job.len = asi_available() / 8 * 7;
	user = start(fill, &job);
	EXPECT_LT(0, user);
	EXPECT_LT(0, blocks_mixed());
	if (user > 0)
		end(user);
	end(child);
}

/* What is allocated comes back, both kinds in turn. */
TEST_F_TIMEOUT(flip, loses_no_memory, 1200)
{
	struct job job = { .pattern = &self->pattern };
	size_t left = asi_available() / 8 * 7;
	int i;

	for (i = 0; i < 2; i++) {
		job.len = left / 2;
		ASSERT_TRUE(once(tables, &job));
		job.len = left / 8 * 7;
		ASSERT_TRUE(once(fill, &job));
	}
	EXPECT_TRUE(settles(left));
}

/*
 * Leaves secrets in most of the free memory, and then has the kernel allocate
 * until a few blocks have changed.
 */
static size_t secrets_in_nonsensitive(struct __test_metadata *_metadata,
				      const struct pattern *pattern)
{
	struct job job = { .pattern = pattern };
	size_t frames, found;
	pid_t child;

	job.len = asi_available() / 4 * 3;
	EXPECT_TRUE(once(fill, &job));
	until_flips(&job, TO_NONSENSITIVE, FEW);
	child = start(buffers, &job);
	EXPECT_LT(0, child)
		TH_LOG("no flips");
	found = scan_reachable(pattern, &frames);
	TH_LOG("%zu frames are mapped, %zu of them hold a secret", frames, found);
	EXPECT_LT(0, frames);
	if (child > 0)
		end(child);
	return found;
}

TEST_F_TIMEOUT(flip, clears_what_becomes_nonsensitive, 1200)
{
	EXPECT_EQ(0, secrets_in_nonsensitive(_metadata, &self->pattern));
}

/* Whether something else overwrites free pages, or pages that are handed out. */
static bool overwritten(void)
{
	static const char * const words[] = { "init_on_", "page_poison=", "debug_pagealloc=" };
	char cmdline[4096];
	unsigned int i;

	if (asi_slurp("/proc/cmdline", cmdline, sizeof(cmdline)) < 0)
		return false;
	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(cmdline, words[i]))
			return true;
	return false;
}

/* Negative control. */
TEST_F_TIMEOUT(flip, without_clearing_is_seen, 1200)
{
	if (overwritten())
		SKIP(return, "pages are overwritten in any case");
	ASSERT_EQ(0, asi_break("noclear"));
	EXPECT_LT(0, secrets_in_nonsensitive(_metadata, &self->pattern));
}

/*
 * Turns blocks nonsensitive and frees them, and then has a child fill memory with
 * secrets until some have been turned back.
 */
static size_t secrets_in_sensitive(struct __test_metadata *_metadata,
				   const struct pattern *pattern)
{
	struct job job = { .pattern = pattern };
	size_t frames, found;
	pid_t child;

	until_flips(&job, TO_NONSENSITIVE, MORE);
	EXPECT_TRUE(once(tables, &job))
		TH_LOG("no flips");
	until_flips(&job, TO_SENSITIVE, FEW);
	child = start(fill, &job);
	EXPECT_LT(0, child)
		TH_LOG("no flips back");
	found = scan_reachable(pattern, &frames);
	TH_LOG("%zu frames are mapped, %zu of them hold a secret", frames, found);
	if (child > 0)
		end(child);
	return found;
}

TEST_F_TIMEOUT(flip, unmaps_what_becomes_sensitive, 1200)
{
	EXPECT_EQ(0, secrets_in_sensitive(_metadata, &self->pattern));
}

/* Negative control. */
TEST_F_TIMEOUT(flip, without_unmapping_is_seen, 1200)
{
	ASSERT_EQ(0, asi_break("nounmap"));
	EXPECT_LT(0, secrets_in_sensitive(_metadata, &self->pattern));
}

TEST_HARNESS_MAIN
