/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Physical frames: which one is behind an address, whether the restricted
 * address space of this process reaches it, and what it holds.
 */
#ifndef SELFTESTS_ASI_FRAMES_H
#define SELFTESTS_ASI_FRAMES_H

#include <linux/elf.h>

#include "asi.h"

#define FRAME_SIZE		4096UL
#define FRAMES_PER_BLOCK	512UL

/* Addresses above this belong to the kernel. */
#define FRAME_USER_MAX		0x0100000000000000UL

/* The answer of the debugfs file "reach". */
struct reach {
	unsigned long pfn;
	int sensitive;
	int restricted;
	int unrestricted;
	unsigned long address;
};

/* The frame behind an address of this process, or 0. */
static inline unsigned long frame_of(const void *addr)
{
	unsigned long entry = 0;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry),
		  (unsigned long)addr / FRAME_SIZE * sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	if (!(entry >> 63))
		return 0;
	return entry & 0x007fffffffffffffUL;
}

/* The frames behind a range; returns how many are present. */
static inline size_t frames_of(const void *addr, size_t len, unsigned long *pfns)
{
	size_t i, n = 0;

	for (i = 0; i < len; i += FRAME_SIZE) {
		unsigned long pfn = frame_of((const char *)addr + i);

		if (pfn)
			pfns[n++] = pfn;
	}
	return n;
}

/* Returns 0 or a negative error. */
static inline int frame_reach(unsigned long pfn, struct reach *reach)
{
	static int fd = -1;
	char line[160];
	ssize_t len;

	if (fd < 0)
		fd = open(ASI_DEBUGFS "reach", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = snprintf(line, sizeof(line), "%lu\n", pfn);
	if (pwrite(fd, line, len, 0) != len)
		return -errno;
	len = pread(fd, line, sizeof(line) - 1, 0);
	if (len <= 0)
		return len ? -errno : -ENODATA;
	line[len] = 0;
	if (sscanf(line, "pfn=%lu sensitive=%d restricted=%d unrestricted=%d address=%lx",
		   &reach->pfn, &reach->sensitive, &reach->restricted,
		   &reach->unrestricted, &reach->address) != 5)
		return -EBADMSG;
	return reach->pfn == pfn ? 0 : -EBADMSG;
}

/* What the debugfs file "frames" says of each. */
#define FRAME_THERE	0x01
#define FRAME_SENSITIVE	0x02
#define FRAME_USER	0x04
#define FRAME_KERNEL	0x08
#define FRAME_TYPED	0x10
#define FRAME_HIDES	0x20

#define FRAMES_MOST	((16UL << 30) / FRAME_SIZE)

/*
 * Asks for all frames at once, which is a walk through the page tables for many
 * of them and not for each. What has changed meanwhile is in it or not. Returns
 * an array that the next call writes to, and the number of frames; 0 on error.
 */
static inline const unsigned char *frames_marks(size_t *nr)
{
	static unsigned char marks[FRAMES_MOST];
	ssize_t len = 0;
	int fd;

	*nr = 0;
	fd = open(ASI_DEBUGFS "frames", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return marks;
	while (*nr < FRAMES_MOST &&
	       (len = read(fd, marks + *nr, FRAMES_MOST - *nr)) > 0)
		*nr += len;
	close(fd);
	if (len < 0 || *nr == FRAMES_MOST)
		*nr = 0;
	return marks;
}

/*
 * How many of the pageblocks from @pfn up to @end are mapped in the kernel half of
 * the restricted address space; -1 if a frame is not what the kernel takes it for.
 */
static inline int frames_mapped(unsigned long pfn, unsigned long end)
{
	const unsigned char *marks;
	struct reach reach;
	int count = 0;
	size_t nr;

	marks = frames_marks(&nr);
	if (end > nr)
		return -1;
	for (; pfn < end; pfn++) {
		if (pfn % FRAMES_PER_BLOCK == 0)
			count += !(marks[pfn] & FRAME_SENSITIVE);
		if (!(marks[pfn] & FRAME_SENSITIVE) == !!(marks[pfn] & FRAME_KERNEL))
			continue;
		/* One that changed between the two looks at it is not wrong now. */
		if (frame_reach(pfn, &reach) || reach.sensitive == reach.restricted)
			return -1;
	}
	return count;
}

/*
 * What part of /proc/kcore holds the memory that begins with a frame, or NULL;
 * leaves the descriptor to read it by, or a negative error, in @fd.
 */
static inline const struct elf64_phdr *frame_segment(unsigned long pfn, size_t len,
						     int *fd)
{
	static struct elf64_phdr phdr[64];
	static int kcore = -1, nr;
	unsigned long phys = pfn * FRAME_SIZE;
	int i;

	if (kcore < 0) {
		struct elf64_hdr ehdr;

		kcore = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
		if (kcore >= 0 && pread(kcore, &ehdr, sizeof(ehdr), 0) == sizeof(ehdr)) {
			nr = ehdr.e_phnum < 64 ? ehdr.e_phnum : 64;
			if (pread(kcore, phdr, nr * sizeof(*phdr), ehdr.e_phoff) < 0)
				nr = 0;
		}
	}
	*fd = kcore < 0 ? -errno : kcore;
	for (i = 0; i < nr; i++) {
		if (phdr[i].p_type != PT_LOAD || phdr[i].p_paddr == ~0UL)
			continue;
		/* The kernel image is a second way to some frames. */
		if (phdr[i].p_vaddr >= 0xffffffff80000000UL)
			continue;
		if (phys >= phdr[i].p_paddr &&
		    phys + len <= phdr[i].p_paddr + phdr[i].p_memsz)
			return &phdr[i];
	}
	return NULL;
}

/* Where the direct map of the kernel has a frame, or 0. */
static inline unsigned long frame_address(unsigned long pfn)
{
	const struct elf64_phdr *segment;
	int fd;

	segment = frame_segment(pfn, FRAME_SIZE, &fd);
	return segment ? segment->p_vaddr + pfn * FRAME_SIZE - segment->p_paddr : 0;
}

/*
 * Reads physical memory through /proc/kcore; returns 0 or a negative error.
 *
 * Not to be used on a frame that is not reachable: the kernel would copy it
 * through a page of its own, which is reachable, and the test would find there
 * what it had leaked itself.
 */
static inline int frame_read(unsigned long pfn, void *buf, size_t len)
{
	const struct elf64_phdr *segment;
	int fd;

	segment = frame_segment(pfn, len, &fd);
	if (fd < 0)
		return fd;
	if (!segment)
		return -ENXIO;
	if (pread(fd, buf, len, segment->p_offset + pfn * FRAME_SIZE -
		  segment->p_paddr) != (ssize_t)len)
		return -EIO;
	return 0;
}

#endif /* SELFTESTS_ASI_FRAMES_H */
