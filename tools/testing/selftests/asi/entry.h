/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of entry and return share.
 *
 * Whichever way the kernel was entered, and whatever made it leave the
 * restricted address space meanwhile, user code runs restricted again. Each test
 * forces a transition inside the path that it is about, and then asks as the
 * very first thing (in the signal handler, in the new task) whether the CPU is
 * restricted. What forces it: reading the page cache, zeroing a page of user
 * memory on its first touch, or copying it, while there are no windows for that.
 */
#ifndef SELFTESTS_ASI_ENTRY_H
#define SELFTESTS_ASI_ENTRY_H

#include <setjmp.h>
#include <signal.h>

#include "asi.h"
#include "kselftest_harness.h"

#define ROUNDS		50
#define LEN		4096
#define STACK_SIZE	65536
#define FILL		0xa5

static int state_fd = -1;

/* What a signal handler found: how often it ran, and how often unrestricted. */
static int handled, handled_unrestricted;
static sigjmp_buf escape;
static char *signal_stack;

static inline void note_entry(void)
{
	if (asi_restricted(state_fd) != 1)
		asi_store(&handled_unrestricted, handled_unrestricted + 1);
	asi_store(&handled, handled + 1);
}

/* The next signal finds a stack that has no pages yet. */
static inline void fresh_signal_stack(void)
{
	madvise(signal_stack, STACK_SIZE, MADV_DONTNEED);
}

static inline void set_handler(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};

	sigaction(sig, &action, NULL);
}

/* Leaves what was interrupted for the last sigsetjmp(). */
static inline void on_escape(int sig, siginfo_t *info, void *ctx)
{
	note_entry();
	siglongjmp(escape, 1);
}

static inline bool all_filled(const char *buf)
{
	int i;

	for (i = 0; i < LEN; i++) {
		if ((unsigned char)buf[i] != FILL)
			return false;
	}
	return true;
}

/* What every test needs; returns false if it is to be skipped. */
static inline bool prepare(struct __test_metadata *_metadata)
{
	stack_t stack = { .ss_size = STACK_SIZE };

	if (!asi_is_on())
		SKIP(return false, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return false, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	asi_break("nowindow");
	EXPECT_EQ(0, asi_pin_alone());
	state_fd = asi_open_state();
	EXPECT_LE(0, state_fd);
	signal_stack = asi_fresh(STACK_SIZE);
	EXPECT_NE(NULL, signal_stack);
	stack.ss_sp = signal_stack;
	EXPECT_EQ(0, sigaltstack(&stack, NULL));
	return !_metadata->exit_code;
}

FIXTURE(entry)
{
	int file;
	char *buf;
	struct asi_balance before;
};

FIXTURE_SETUP(entry)
{
	if (!prepare(_metadata))
		return;
	self->file = memfd_create("asi", 0);
	ASSERT_LE(0, self->file);
	/* Within reach of 32-bit system calls. */
	self->buf = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->buf);
	memset(self->buf, FILL, LEN);
	ASSERT_EQ(LEN, write(self->file, self->buf, LEN));

	/* Twice, so that reading the counters faults no more. */
	self->before = asi_balance();
	self->before = asi_balance();
}

/* Exits and enters come in pairs, but for those under way on each CPU. */
static inline void finish(struct __test_metadata *_metadata, const struct asi_balance *before)
{
	struct asi_balance now = asi_balance();
	long exits = now.exit - before->exit;
	long enters = now.enter - before->enter;

	if (state_fd < 0)
		return;
	EXPECT_GE(sysconf(_SC_NPROCESSORS_ONLN), labs(exits - enters))
		TH_LOG("%ld exits but %ld enters", exits, enters);
	asi_break("");
}

FIXTURE_TEARDOWN(entry)
{
	finish(_metadata, &self->before);
}

/* Asserts that the path under test made at least @min transitions. */
#define EXPECT_EXITS(min) \
	EXPECT_LE((long)(min), asi_counter("asi_exit") - self->before.exit)

#define EXPECT_RESTRICTED() EXPECT_EQ(1, asi_restricted(state_fd))

/* Asserts that the handler ran @times, and always restricted. */
#define EXPECT_HANDLED(times) do {				\
	EXPECT_LE(times, asi_load(&handled));			\
	EXPECT_EQ(0, asi_load(&handled_unrestricted));		\
} while (0)

#endif /* SELFTESTS_ASI_ENTRY_H */
