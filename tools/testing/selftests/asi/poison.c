// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory fails: what is given up stays as it was, sensitive, and is mapped nowhere, and
 * so is that to which content is moved off a page that is about to fail. When pages are
 * taken back at the end, frames.c looks at all of them.
 */
#include <setjmp.h>
#include <signal.h>

#include "asi.h"
#include "frames.h"
#include "kselftest_harness.h"
#include "pattern.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define LEN		(2UL << 20)
#define HIDDEN		(FRAME_THERE | FRAME_SENSITIVE)

FIXTURE(poison)
{
	struct pattern pattern;
	unsigned long pfn;
	char *map, *mem;
};

FIXTURE_VARIANT(poison)
{
	int flags;
	bool huge;
};

FIXTURE_VARIANT_ADD(poison, anon) { .flags = MAP_PRIVATE | MAP_ANONYMOUS };
FIXTURE_VARIANT_ADD(poison, huge) { .flags = MAP_PRIVATE | MAP_ANONYMOUS, .huge = true };
FIXTURE_VARIANT_ADD(poison, tmpfs) { .flags = MAP_SHARED | MAP_ANONYMOUS };

FIXTURE_SETUP(poison)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs() || access(UNPOISON, W_OK))
		SKIP(return, "no CONFIG_ASI_DEBUG, no HWPOISON_INJECT, or no debugfs");
	/* Who takes a page back says nothing to these, and they complain. */
	if (asi_is_booted_with("page_owner=on") || asi_is_booted_with("page_poison=1"))
		SKIP(return, "pages that are free are looked at");
	self->pattern = pattern_random();
	self->map = mmap(NULL, 2 * LEN, PROT_READ | PROT_WRITE, variant->flags, -1, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	self->mem = (char *)(((unsigned long)self->map + LEN - 1) & -LEN);
	madvise(self->mem, LEN, variant->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	pattern_fill(self->mem, LEN, &self->pattern, kind_word("poison"));
	self->pfn = frame_of(self->mem);
	ASSERT_NE(0, self->pfn);
}

FIXTURE_TEARDOWN(poison)
{
	char line[32];

	munmap(self->map, 2 * LEN);
	snprintf(line, sizeof(line), "%#lx\n", self->pfn);
	EXPECT_EQ(0, asi_write(UNPOISON, line));
}

static sigjmp_buf escape;

static void on_bus_error(int sig)
{
	siglongjmp(escape, 1);
}

static int marks_of(unsigned long pfn)
{
	const unsigned char *marks;
	size_t nr;

	marks = frames_marks(&nr);
	return pfn < nr ? marks[pfn] & ~(FRAME_TYPED | FRAME_HIDES | FRAME_USER) : -1;
}

TEST_F(poison, stays_hidden)
{
	signal(SIGBUS, on_bus_error);
	/* This sends the signal as well. */
	if (!sigsetjmp(escape, 1))
		ASSERT_EQ(0, madvise(self->mem, FRAME_SIZE, MADV_HWPOISON));
	if (!sigsetjmp(escape, 1)) {
		asi_load(self->mem);
		ASSERT_TRUE(false);
	}
	EXPECT_EQ(HIDDEN, marks_of(self->pfn));
	/* The next one is as it was. */
	EXPECT_TRUE(pattern_found(self->mem + FRAME_SIZE, FRAME_SIZE, &self->pattern));
}

TEST_F(poison, moves_to_hidden)
{
	unsigned long moved;

	ASSERT_EQ(0, madvise(self->mem, FRAME_SIZE, MADV_SOFT_OFFLINE));
	moved = frame_of(self->mem);
	EXPECT_NE(self->pfn, moved);
	EXPECT_EQ(HIDDEN, marks_of(moved));
	EXPECT_EQ(HIDDEN, marks_of(self->pfn));
	EXPECT_TRUE(pattern_found(self->mem, FRAME_SIZE, &self->pattern));
}

TEST_HARNESS_MAIN
