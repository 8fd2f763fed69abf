// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kernel that runs with ASI has crashed, in the midst of transitions, and this one,
 * which does as well, has taken its memory over: all of that is to be read, sensitive
 * memory included. The program kexec has left secrets there and says where, on the
 * command line.
 *
 * The control is a page of that kernel without one.
 */
#include "asi.h"
#include "frames.h"
#include "kselftest_harness.h"
#include "pattern.h"

#define MOST_PARTS	256

/* Neither const nor static, see remains.c. */
struct pattern pattern = PATTERN_KNOWN;

FIXTURE(vmcore)
{
	struct elf64_phdr parts[MOST_PARTS];
	int fd, nr;
};

FIXTURE_SETUP(vmcore)
{
	struct elf64_hdr head;
	ssize_t len;

	self->fd = open("/proc/vmcore", O_RDONLY | O_CLOEXEC);
	if (self->fd < 0 && errno == ENOENT)
		SKIP(return, "no kernel has crashed");
	ASSERT_LE(0, self->fd);
	ASSERT_EQ((ssize_t)sizeof(head), pread(self->fd, &head, sizeof(head), 0));
	ASSERT_EQ(0, memcmp(head.e_ident, ELFMAG, SELFMAG));
	self->nr = head.e_phnum;
	ASSERT_GE(MOST_PARTS, self->nr);
	len = self->nr * sizeof(struct elf64_phdr);
	ASSERT_EQ(len, pread(self->fd, self->parts, len, head.e_phoff));
}

FIXTURE_TEARDOWN(vmcore)
{
	close(self->fd);
}

/* Reads a frame of the kernel that has crashed; whether that is in the dump. */
static bool read_frame(int fd, const struct elf64_phdr *part, int nr, unsigned long pfn,
		       void *page)
{
	unsigned long address = pfn * FRAME_SIZE;

	for (; nr--; part++)
		if (part->p_type == PT_LOAD && address >= part->p_paddr &&
		    address + FRAME_SIZE <= part->p_paddr + part->p_filesz)
			return pread(fd, page, FRAME_SIZE,
				     part->p_offset + address - part->p_paddr) == FRAME_SIZE;
	return false;
}

TEST_F(vmcore, has_what_was_sensitive)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];
	static char words[4096];
	int planted = 0, found = 0;
	char *word;

	ASSERT_LT(0, asi_slurp("/proc/cmdline", words, sizeof(words)));
	word = strstr(words, "asi_planted=");
	ASSERT_NE(NULL, word);
	for (word += strlen("asi_planted="); word[-1] == ',' || word[-1] == '='; word++) {
		unsigned long pfn = strtoul(word, &word, 16);

		planted++;
		found += read_frame(self->fd, self->parts, self->nr, pfn, page) &&
			 pattern_found(page, sizeof(page), &pattern);
	}
	EXPECT_EQ(VMCORE_PAGES, planted);
	EXPECT_EQ(planted, found);
}

TEST_F(vmcore, has_the_rest)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];

	/* What follows the first MiB is no secret. */
	ASSERT_TRUE(read_frame(self->fd, self->parts, self->nr, 0x100, page));
	EXPECT_FALSE(pattern_found(page, sizeof(page), &pattern));
}

TEST_HARNESS_MAIN
