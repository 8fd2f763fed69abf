// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata of ext4 is in reach, but not where content of files is among it: in inodes
 * (inline_data), in a page of several blocks, and in a journal that has content
 * (data=journal), whether it is replayed or not. Nor are the copies of content that are
 * made there, and blocks that ext4 reads without knowing whose they are.
 *
 * The file systems are made here, as small as they can be, behind loop devices: a group
 * with a directory, a file, and maybe a journal. In the directory there is what is left of
 * names that were removed, and nowhere else: metadata, the negative control.
 */
#include <endian.h>
#include <linux/loop.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "asi.h"
#include "frames.h"
#include "scan.h"
#include "kselftest_harness.h"

#define EXT4_IOC_RESIZE_FS	_IOW('f', 16, uint64_t)

#define MOUNTED		"/mnt"		/* in a namespace of the test */
#define CONTENT		MOUNTED "/content"
#define NEW		MOUNTED "/new"

/* Numbers of ext4, as they are on disk; see fs/ext4/ext4.h, for what follows as well. */
#define FEATURES	(1024 + 0x60)	/* where these are: */
#define FILETYPE	0x2
#define RECOVER		0x4
#define EXTENTS		0x40
#define INLINE_DATA	0x8000
#define ROOT		2
#define JOURNAL		8
#define FIRST		11
#define INODES		64
#define INODE_SIZE	256
#define NAMES		64		/* where they are in the directory */

/* An inode has so much content in place of block numbers, and the rest behind. */
#define INLINE_BEGIN	60
#define INLINE_REST	192

/* What is where, in blocks. */
struct layout {
	int size;			/* of a block, in bytes */
	int super, table, root, content, journal, end, nr;
};

static struct layout layout_of(int size, bool journal, bool last)
{
	struct layout at = { .size = size, .super = size == 1024 };

	at.table = at.super + 4;
	/* Behind the table, and in a page with metadata if blocks are small */
	at.content = at.table + INODES * INODE_SIZE / size;
	at.root = at.content + 1;
	at.journal = at.root + 1;
	at.end = at.journal + (journal ? 1024 : 0);
	at.nr = at.end + 64;
	if (last)
		at.content = at.nr - 1;
	return at;
}

static int nr_free(const struct layout *at)
{
	return at->nr - at->end - (at->content >= at->end);
}

static void put_super(char *super, const struct layout *at, int features)
{
	int log = at->size / 2048, journal = at->journal < at->end;
	uint32_t words[256] = {
		INODES, at->nr, 0, nr_free(at), INODES - FIRST, at->super,
		log, log, at->size * 8, at->size * 8, INODES, 0, 0,
		0xffff << 16, 1 << 16 | EXT4_SUPER_MAGIC, [0x4c / 4] = 1,
		[0x54 / 4] = FIRST, INODE_SIZE,
		[0x5c / 4] = journal * 4, FILETYPE | EXTENTS | features, 0x40,
		[0xe0 / 4] = journal * JOURNAL, [0x15c / 4] = 32 << 16 | 32,
	};

	memcpy(super, words, sizeof(words));
}

static void put_bits(char *block, int from, int to)
{
	for (; from < to; from++)
		block[from / 8] |= 1 << from % 8;
}

/* And the bitmaps of its blocks and inodes, which follow. */
static void put_group(char *block, const struct layout *at)
{
	uint32_t words[] = {
		at->super + 2, at->super + 3, at->table,
		(INODES - FIRST) << 16 | nr_free(at), 1,
	};

	memcpy(block, words, sizeof(words));
	put_bits(block + at->size, 0, at->end - at->super);
	put_bits(block + at->size, at->end + nr_free(at) - at->super, at->size * 8);
	put_bits(block + 2 * at->size, 0, FIRST);
	put_bits(block + 2 * at->size, INODES, at->size * 8);
}

/* It has one extent. */
static char *put_inode(char *table, int inode, int mode, int size, int block, int nr)
{
	uint32_t words[INODE_SIZE / 4] = {
		mode, nr * size, [0x18 / 4] = 2 << 16, nr * size / 512, 0x80000,
		[0x28 / 4] = 1 << 16 | 0xf30a, 4, [0x38 / 4] = nr, block, [0x80 / 4] = 32,
	};

	return memcpy(table + (inode - 1) * INODE_SIZE, words, sizeof(words));
}

/* Content in place of block numbers, as much of a tag as makes one, and behind. */
static void put_inline(char *inode, const struct pattern *pattern)
{
	unsigned long tag[TAG_WORDS];
	unsigned int i;
	uint32_t words[] = {
		0xea020000, (INLINE_REST - 0xa4) << 16 | 7 << 8 | 4, 0, TAG_SIZE, 0,
		'd' | 'a' << 8 | 't' << 16 | 'a' << 24,
	};

	pattern_fill(tag, TAG_SIZE, pattern, kind_word("block"));
	for (i = 0; i < INLINE_BEGIN / sizeof(long); i++)
		word_store((unsigned long *)(inode + 0x28) + i, tag[i]);
	pattern_scrub(tag, TAG_SIZE);
	memcpy(inode + 0x4, &(uint32_t){ INLINE_BEGIN + TAG_SIZE }, 4);
	memcpy(inode + 0x1c, (uint32_t []){ 0, 0x10000000 }, 8);
	memcpy(inode + 0xa0, words, sizeof(words));
	pattern_fill(inode + INLINE_REST, TAG_SIZE, pattern, kind_word("inline"));
}

static void put_entry(char *entry, int inode, int len, const char *name, int name_len)
{
	memcpy(entry, (uint32_t []){ inode, name_len << 16 | len }, 8);
	memcpy(entry + 8, name, strlen(name));
}

static void put_directory(char *block, int size, const struct pattern *names)
{
	put_entry(block, ROOT, 12, ".", 1);
	put_entry(block + 12, ROOT, 12, "..", 2);
	put_entry(block + 24, FIRST, 16, "content", 7);
	put_entry(block + 40, 0, size - 40, "", 0);
	pattern_fill(block + NAMES, size - NAMES, names, kind_word("names"));
}

static void put_journal(char *block, const struct layout *at)
{
	uint32_t words[] = {
		htobe32(0xc03b3998), htobe32(4), 0, htobe32(at->size),
		htobe32(at->end - at->journal), htobe32(1), htobe32(1),
	};

	memcpy(block, words, sizeof(words));
}

static char *map(const struct layout *at, int fd)
{
	char *disk = mmap(NULL, at->nr * at->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return disk == MAP_FAILED ? NULL : disk;
}

/* Makes a file system in memory, returns a descriptor of that. */
static int make(const struct layout *at, int features, const struct pattern *names,
		const struct pattern *pattern)
{
	int fd = memfd_create("ext4", MFD_CLOEXEC), size = at->size;
	char *disk, *table, *inode;

	disk = fd < 0 || ftruncate(fd, at->nr * size) ? NULL : map(at, fd);
	if (!disk)
		return -errno;
	put_super(disk + 1024, at, features);
	put_group(disk + (at->super + 1) * size, at);
	put_directory(disk + at->root * size, size, names);
	table = disk + at->table * size;
	put_inode(table, ROOT, S_IFDIR | 0755, size, at->root, 1);
	inode = put_inode(table, FIRST, S_IFREG | 0600, size, at->content, 1);
	if (features & INLINE_DATA)
		put_inline(inode, pattern);
	else
		pattern_fill(disk + at->content * size, size, pattern, kind_word("content"));
	if (at->journal < at->end) {
		put_inode(table, JOURNAL, S_IFREG | 0600, size, at->journal,
			  at->end - at->journal);
		put_journal(disk + at->journal * size, at);
	}
	munmap(disk, at->nr * size);
	return fd;
}

/* Mounts it, returns a descriptor of the device it is behind, or a negative error. */
static int mount_loop(int fd, unsigned long flags, const char *options)
{
	struct loop_config config = { .fd = fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), device;
	char path[32];

	snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	device = open(path, O_RDWR | O_CLOEXEC);
	if (device < 0 || ioctl(device, LOOP_CONFIGURE, &config) ||
	    mount(path, MOUNTED, "ext4", flags, options))
		return -errno;
	return device;
}

/* Reads all that there is, returns whether the pattern is in it. */
static bool reads(int fd, const struct pattern *pattern)
{
	static unsigned long buf[8192];
	bool found = false;
	off_t offset = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), offset)) > 0) {
		found |= pattern_found(buf, n, pattern);
		offset += n;
	}
	pattern_scrub(buf, sizeof(buf));
	return found;
}

/*
 * A copy of what is on the disk of a file system that is mounted, with a new file and
 * the directory in its journal. In the copy they are of other patterns, which are nowhere
 * else, and the new file is only in the journal.
 */
static int crash(const struct layout *at, const struct pattern *names,
		 const struct pattern *pattern, bool cleared)
{
	struct pattern old[] = { pattern_random(), pattern_random() };
	int disk, device, file, copy, nr[2] = { }, size = at->size, i;
	off_t content = at->content * size, begin = 0;
	char *mem, *block;

	disk = make(at, 0, &old[0], &old[1]);
	copy = memfd_create("copy", MFD_CLOEXEC);
	device = mount_loop(disk, 0, "data=journal");
	if (device < 0)
		return device;
	file = open(NEW, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (sendfile(file, disk, &content, size) != size || fsync(file) ||
	    sendfile(copy, disk, &begin, at->nr * size) != at->nr * size)
		return -EIO;
	close(file);
	mem = map(at, copy);
	if (umount(MOUNTED) || close(device) || !mem || !(mem[FEATURES] & RECOVER))
		return -EIO;
	for (i = 0, block = mem; i < at->nr; i++, block += size) {
		bool journal = i >= at->journal && i < at->end;

		if (pattern_found(block, size, &old[0])) {
			pattern_fill(block + NAMES, size - NAMES, names, kind_word("names"));
			nr[0] += journal;
		} else if (pattern_found(block, size, &old[1])) {
			pattern_scrub(block, size);
			if (journal || i == at->content)
				pattern_fill(block, size, pattern, kind_word("content"));
			nr[1] += journal;
		}
	}
	if (cleared)
		mem[FEATURES] &= ~RECOVER;
	munmap(mem, at->nr * size);
	return nr[0] && nr[1] ? copy : -EIO;
}

FIXTURE(ext4)
{
	struct pattern names, pattern;
	int device;
};

FIXTURE_VARIANT(ext4)
{
	int size, features;
	bool exposed;			/* names are, if nothing but metadata is with them */
	const char *file;		/* that has content */
	bool journal;
	bool resized;			/* the file has the last block */
	bool cleared;			/* it says that it needs no recovery */
	bool escaped;			/* content begins as blocks of the journal do */
	unsigned long flags;
	const char *options;
};

FIXTURE_VARIANT_ADD(ext4, metadata) { .size = 4096, .exposed = true, .file = CONTENT };
FIXTURE_VARIANT_ADD(ext4, small_blocks) { .size = 1024, .file = CONTENT };

FIXTURE_VARIANT_ADD(ext4, resized)
{
	.size = 4096, .resized = true, .exposed = true, .file = CONTENT,
};

FIXTURE_VARIANT_ADD(ext4, inline_data)
{
	.size = 4096, .features = INLINE_DATA, .file = CONTENT,
};

FIXTURE_VARIANT_ADD(ext4, replayed) { .size = 4096, .journal = true, .file = NEW };

FIXTURE_VARIANT_ADD(ext4, noload)
{
	.size = 4096, .journal = true, .file = CONTENT, .flags = MS_RDONLY, .options = "noload",
};

FIXTURE_VARIANT_ADD(ext4, wiped)
{
	.size = 4096, .journal = true, .cleared = true, .exposed = true, .file = CONTENT,
};

FIXTURE_VARIANT_ADD(ext4, escaped)
{
	.size = 4096, .journal = true, .escaped = true, .exposed = true, .file = NEW,
	.options = "data=journal",
};

/* Writes a file of such blocks; returns whether it is in the journal. */
static bool write_escaped(const struct pattern *pattern)
{
	int fd = open(NEW, O_RDWR | O_CREAT | O_CLOEXEC, 0600), i;
	static unsigned long buf[4096 / sizeof(long)];
	const uint32_t magic = htobe32(0xc03b3998);
	bool good = true;

	for (i = 0; i < 32; i++) {
		pattern_fill(buf, sizeof(buf), pattern, kind_word("escaped"));
		memcpy(buf, &magic, sizeof(magic));
		good &= write(fd, buf, sizeof(buf)) == sizeof(buf);
	}
	pattern_scrub(buf, sizeof(buf));
	return good && !fsync(fd) && !close(fd);
}

FIXTURE_SETUP(ext4)
{
	bool crashes = variant->journal && !variant->escaped;
	struct layout at = layout_of(variant->size, variant->journal, variant->resized);
	struct stat st;
	int fd;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	if (access("/dev/loop-control", R_OK | W_OK))
		SKIP(return, "no loop devices");
	asi_break("");
	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	self->names = pattern_random();
	self->pattern = pattern_random();
	fd = crashes ? crash(&at, &self->names, &self->pattern, variant->cleared) :
		make(&at, variant->features, &self->names, &self->pattern);
	self->device = fd < 0 ? fd : mount_loop(fd, variant->flags, variant->options);
	if (self->device == -ENODEV)
		SKIP(return, "no ext4");
	ASSERT_LE(0, self->device)
		TH_LOG("%s", strerror(-self->device));
	if (variant->escaped)
		ASSERT_TRUE(write_escaped(&self->pattern));
	/* Reads the directory. */
	ASSERT_EQ(0, stat(CONTENT, &st));
}

FIXTURE_TEARDOWN(ext4)
{
}

TEST_F_TIMEOUT(ext4, has_names, 120)
{
	size_t frames, found = scan_reachable(&self->names, &frames);

	EXPECT_LT(0, frames);
	EXPECT_EQ(variant->exposed, found > 0)
		TH_LOG("%zu frames of %zu", found, frames);
	EXPECT_TRUE(reads(self->device, &self->names));
}

/* Asks for the size that it has, which is what is done at boot. */
static int resize(uint64_t nr)
{
	int fd = open(MOUNTED, O_RDONLY | O_CLOEXEC);
	int ret = ioctl(fd, EXT4_IOC_RESIZE_FS, &nr) ? -errno : 0;

	close(fd);
	return ret;
}

TEST_F_TIMEOUT(ext4, hides_content, 300)
{
	struct layout at = layout_of(variant->size, variant->journal, variant->resized);
	size_t frames;
	int fd;

	if (variant->resized)
		ASSERT_EQ(0, resize(at.nr));
	EXPECT_EQ(0, scan_reachable(&self->pattern, &frames));
	ASSERT_TRUE(reads(self->device, &self->pattern));
	EXPECT_EQ(0, scan_reachable(&self->pattern, &frames));
	fd = open(variant->file, variant->flags & MS_RDONLY ? O_RDONLY : O_RDWR);
	ASSERT_TRUE(reads(fd, &self->pattern));
	EXPECT_EQ(0, scan_reachable(&self->pattern, &frames));
	if (variant->features & INLINE_DATA) {
		/* Takes it out of the inode. */
		ASSERT_EQ(0, fallocate(fd, 0, 0, 2 * variant->size));
		EXPECT_EQ(0, scan_reachable(&self->pattern, &frames));
		EXPECT_TRUE(reads(fd, &self->pattern));
	}
}

TEST_HARNESS_MAIN
