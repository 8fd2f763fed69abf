// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies through windows are copies of the right page, wherever a task runs and whoever
 * else runs its mm, and of the right part of it.
 */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "asi.h"
#include "kselftest_harness.h"

#define PAGE_LEN	4096
#define PAGES		64
#define WORDS		(PAGE_LEN / sizeof(long))
#define SECONDS		4
#define WORKERS		4
#define WINDOWS		"asi_window_map"
#define EXITS		"asi_exit"
#define FLUSHES		"asi_flush_data"

/* What the workers have done, in memory that all share. */
struct tally {
	unsigned long rounds[WORKERS];
	unsigned long errors;
};

static unsigned int next_random(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16;
}

/*
 * Writes and reads pages of a file of its own, whole ones and pieces across two. Each
 * word says whose it is, where, and since when, so that one of any other page is noticed.
 */
static void copy(int worker, struct tally *tally)
{
	static const int lens[] = { PAGE_LEN, 3 * PAGE_LEN, 512 };
	unsigned long out[3 * WORDS], in[3 * WORDS];
	unsigned long version[PAGES + 3] = { };
	unsigned int seed = worker + 1, i;
	int file = asi_tmpfile(asi_tmpfs());

	if (file < 0 || ftruncate(file, PAGES * PAGE_LEN))
		goto wrong;
	for (;;) {
		unsigned int word;
		int len, page;
		off_t at;

		len = lens[next_random(&seed) % ARRAY_SIZE(lens)];
		page = next_random(&seed) % (PAGES - 2);
		at = page * PAGE_LEN;
		/* All that is in a page is of one version, unless it was never written. */
		if (len >= PAGE_LEN) {
			for (i = 0; i < len / sizeof(long); i++) {
				if (!(i % WORDS))
					version[page + i / WORDS]++;
				out[i] = (unsigned long)(worker + 1) << 56 |
					 (unsigned long)(page + i / WORDS) << 40 |
					 version[page + i / WORDS];
			}
			if (pwrite(file, out, len, at) != len)
				goto wrong;
		}
		page = next_random(&seed) % (PAGES - 2);
		at = page * PAGE_LEN + (len < PAGE_LEN ? PAGE_LEN - len / 2 : 0);
		if (pread(file, in, len, at) != len)
			goto wrong;
		for (i = 0; i < len / sizeof(long); i++) {
			word = (at - page * PAGE_LEN) / sizeof(long) + i;
			if (in[i] != (version[page + word / WORDS] ?
				      (unsigned long)(worker + 1) << 56 |
				      (unsigned long)(page + word / WORDS) << 40 |
				      version[page + word / WORDS] : 0))
				goto wrong;
		}
		__atomic_fetch_add(&tally->rounds[worker], 1, __ATOMIC_RELAXED);
	}
wrong:
	__atomic_fetch_add(&tally->errors, 1, __ATOMIC_RELAXED);
	pause();
}

struct thread {
	struct tally *tally;
	int worker;
};

static void *copy_thread(void *arg)
{
	struct thread *thread = arg;

	copy(thread->worker, thread->tally);
	return NULL;
}

FIXTURE(copies)
{
	struct tally *tally;
	pid_t pid[WORKERS];
};

FIXTURE_VARIANT(copies)
{
	int threads;	/* of each process */
};

FIXTURE_VARIANT_ADD(copies, of_processes) { .threads = 1 };
FIXTURE_VARIANT_ADD(copies, of_threads) { .threads = 2 };

FIXTURE_SETUP(copies)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (asi_has_debugfs())
		asi_break("");
	self->tally = mmap(NULL, sizeof(*self->tally), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->tally);
}

FIXTURE_TEARDOWN(copies)
{
}

static pid_t start(struct tally *tally, int worker, int threads)
{
	struct thread thread = { .tally = tally, .worker = worker + 1 };
	pthread_t id;
	pid_t pid;

	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (threads > 1 && pthread_create(&id, NULL, copy_thread, &thread))
		_exit(1);
	copy(worker, tally);
	_exit(1);
}

/* Wherever a task is, it may have to go on at another CPU, in the midst of a copy. */
static void move_about(const pid_t *pid, int nr)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int seed = 1;
	cpu_set_t set;
	int i;

	for (i = 0; i < SECONDS * 1000; i++) {
		CPU_ZERO(&set);
		CPU_SET(next_random(&seed) % cpus, &set);
		sched_setaffinity(pid[next_random(&seed) % nr], sizeof(set), &set);
		usleep(1000);
	}
}

TEST_F_TIMEOUT(copies, are_right, 120)
{
	int nr = WORKERS / variant->threads, i, status;
	long windows = asi_counter(WINDOWS);
	unsigned long rounds = 0;

	for (i = 0; i < nr; i++) {
		self->pid[i] = start(self->tally, i * variant->threads, variant->threads);
		ASSERT_LT(0, self->pid[i]);
	}
	move_about(self->pid, nr);
	for (i = 0; i < nr; i++) {
		kill(self->pid[i], SIGKILL);
		waitpid(self->pid[i], &status, 0);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	for (i = 0; i < WORKERS; i++) {
		EXPECT_LT(0, self->tally->rounds[i]);
		rounds += self->tally->rounds[i];
	}
	windows = asi_counter(WINDOWS) - windows;
	TH_LOG("%lu rounds, %ld windows", rounds, windows);
	EXPECT_EQ(0, self->tally->errors);
	/* Otherwise this has tested nothing. */
	EXPECT_LT(100, windows);
}

/* Messages of a stream: some so small that they share a page, some not. */
struct message {
	unsigned int words;	/* in all */
	unsigned int sender;
	unsigned long seq;
	unsigned long body[254];
};

#define HEADER_WORDS	(offsetof(struct message, body) / sizeof(long))
#define MESSAGES	3000

static int stream;

static void *send_messages(void *arg)
{
	unsigned int seed = (long)arg, i;
	struct message message = { .sender = (long)arg };

	for (; message.seq < MESSAGES; message.seq++) {
		message.words = HEADER_WORDS + next_random(&seed) % ARRAY_SIZE(message.body);
		for (i = 0; i < ARRAY_SIZE(message.body); i++)
			message.body[i] = message.seq << 8 | message.sender;
		if (write(stream, &message, message.words * sizeof(long)) < 0)
			break;
	}
	return NULL;
}

static bool receive(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

FIXTURE(stream) { };
FIXTURE_SETUP(stream) { }
FIXTURE_TEARDOWN(stream) { }

/* Nobody's message is overwritten while it waits. */
TEST_F_TIMEOUT(stream, messages_are_right, 300)
{
	unsigned long seq[WORKERS] = { };
	struct message message;
	pthread_t thread;
	unsigned int i;
	int fds[2];
	pid_t pid;
	long n;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	stream = fds[0];
	/* Half of them in another process. */
	pid = fork();
	ASSERT_LE(0, pid);
	for (n = pid ? 1 : 0; n < WORKERS; n += 2)
		ASSERT_EQ(0, pthread_create(&thread, NULL, send_messages, (void *)n));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	for (n = 0; n < WORKERS * MESSAGES; n++) {
		ASSERT_TRUE(receive(fds[1], &message, HEADER_WORDS * sizeof(long)));
		ASSERT_GT(WORKERS, message.sender);
		ASSERT_EQ(seq[message.sender]++, message.seq);
		ASSERT_LE(HEADER_WORDS, message.words);
		message.words -= HEADER_WORDS;
		ASSERT_GE(ARRAY_SIZE(message.body), message.words);
		ASSERT_TRUE(!message.words ||
			    receive(fds[1], message.body, message.words * sizeof(long)));
		for (i = 0; i < message.words; i++)
			ASSERT_EQ(message.seq << 8 | message.sender, message.body[i]);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int file;

/* How much some reads add to a counter. */
static long grows(const char *counter, int reads)
{
	char buf[PAGE_LEN];
	long before;

	before = asi_counter(counter);
	while (reads--)
		if (pread(file, buf, sizeof(buf), 0) <= 0)
			return -EIO;
	return asi_counter(counter) - before;
}

/*
 * How little they add when others add little: the counters are those of all processes. As
 * little as @few is not tried again.
 */
static long grows_least(const char *counter, int reads, long few)
{
	long least = LONG_MAX, grown;
	int tries = 10;

	do {
		grown = grows(counter, reads);
		if (grown < least)
			least = grown;
	} while (least >= few && --tries);
	return least;
}

static bool stays;

/* Keeps the mm loaded on the other CPU. */
static void *stay_there(void *unused)
{
	asi_pin(1);
	for (;;)
		__atomic_store_n(&stays, true, __ATOMIC_RELEASE);
	return NULL;
}

#define READS	1000
#define FEW	(READS / 10)	/* others' windows, or transitions */

/* No copy takes a transition because another CPU runs the same mm. */
TEST(windows_are_of_one_cpu)
{
	char buf[PAGE_LEN] = "";
	pthread_t thread;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU");
	if (asi_has_debugfs())
		asi_break("");
	file = memfd_create("asi", 0);
	ASSERT_EQ(PAGE_LEN, write(file, buf, PAGE_LEN));
	ASSERT_EQ(0, asi_pin(0));
	grows(WINDOWS, 1);

	ASSERT_EQ(0, pthread_create(&thread, NULL, stay_there, NULL));
	while (!__atomic_load_n(&stays, __ATOMIC_ACQUIRE))
		usleep(1000);
	EXPECT_LE(READS - FEW, grows(WINDOWS, READS));
	EXPECT_GT(FEW, grows_least(EXITS, READS, FEW));
}

/*
 * The page with the arguments of a process holds more than these, which anyone may read. Who
 * reads environ has a right to all of it; and shows that windows would be noticed.
 */
TEST(what_anyone_may_read_has_none)
{
	long windows;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (asi_has_debugfs())
		asi_break("");
	file = open("/proc/self/cmdline", O_RDONLY);
	ASSERT_LE(0, file);
	windows = grows_least(WINDOWS, READS, FEW);
	EXPECT_LE(0, windows);
	EXPECT_GT(FEW, windows);
	close(file);
	file = open("/proc/self/environ", O_RDONLY);
	ASSERT_LE(0, file);
	windows = grows(WINDOWS, READS);
	close(file);
	if (asi_is_booted_with("slab_debug="))
		SKIP(return, "a transition, as objects are overwritten");
	EXPECT_LE(READS - FEW, windows);
}

static int ends[2];

/* Through a pipe, from user mode or from a file: flushes for data for each byte. */
static long flushed_for(bool spliced)
{
	long before = asi_counter(FLUSHES);
	char byte = 1;
	loff_t at;
	int i;

	for (i = 0; i < READS; i++) {
		at = PAGE_LEN / 2;
		if ((spliced ? splice(file, &at, ends[1], NULL, 1, 0) :
			       write(ends[1], &byte, 1)) != 1 ||
		    read(ends[0], &byte, 1) != 1)
			return -1;
	}
	return asi_counter(FLUSHES) - before;
}

/*
 * Who gets a byte of a file through a pipe need not have a right to what is beside it in
 * the page. Who reads the file has.
 */
TEST(rest_of_a_page_is_flushed)
{
	char buf[PAGE_LEN] = "";
	long flushes;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (asi_has_debugfs())
		asi_break("");
	file = memfd_create("asi", 0);
	ASSERT_EQ(PAGE_LEN, write(file, buf, PAGE_LEN));
	ASSERT_EQ(0, pipe(ends));
	flushes = flushed_for(false);
	ASSERT_LE(0, flushes);
	if (flushes < FEW)
		SKIP(return, "no flush of data");
	EXPECT_LE(READS - FEW, flushed_for(true));
	if (!asi_is_booted_with("flush=always"))
		EXPECT_GT(FEW, grows_least(FLUSHES, READS, FEW));
	close(ends[0]);
	close(ends[1]);
	close(file);
}

TEST_HARNESS_MAIN
