// SPDX-License-Identifier: GPL-2.0-only
/*
 * The restricted address space of one process maps no memory of another.
 *
 * A child plants a secret in memory of one kind and says which frames it is
 * in; this process asks for each whether its own restricted tables map it. Of
 * what the kernel keeps for the child nobody knows the frames: this process
 * looks for the secret in all that its tables map.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "asi.h"
#include "frames.h"
#include "kinds.h"
#include "scan.h"
#include "kselftest_harness.h"

/* As many frames as the largest area of any kind has, and more. */
#define MAX_FRAMES	65536

/* What a child says of the memory that it has planted a secret in. */
struct planted {
	int error;
	size_t nr;
	unsigned long pfn[MAX_FRAMES];
};

static struct planted *planted_shared(void)
{
	struct planted *planted;

	planted = mmap(NULL, sizeof(*planted), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return planted == MAP_FAILED ? NULL : planted;
}

/* Plants @len bytes of anonymous memory if there is no @kind. */
static void plant(const struct kind *kind, size_t len,
		  const struct pattern *pattern, struct planted *planted)
{
	struct area area = { };

	if (kind) {
		planted->error = kind->plant(kind, pattern, &area);
		if (planted->error)
			return;
	} else {
		area.addr = asi_fresh(len);
		area.len = len;
		pattern_fill(area.addr, len, pattern, 0);
	}
	planted->nr = frames_of(area.addr, area.len, planted->pfn);
}

/* Returns a child that has planted and sleeps, or -1. */
static pid_t start_child(const struct kind *kind, size_t len,
			 const struct pattern *pattern, struct planted *planted)
{
	int fds[2];
	pid_t pid;
	char byte;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		plant(kind, len, pattern, planted);
		if (write(fds[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1)
		pid = -1;
	close(fds[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* How many of the frames are reachable, and how many of these hold the secret. */
static size_t count_reachable(const struct planted *planted,
			      const struct pattern *pattern, size_t *leaks)
{
	static unsigned long page[FRAME_SIZE / sizeof(long)];
	const unsigned char *marks;
	size_t i, all, nr = 0;

	*leaks = 0;
	marks = frames_marks(&all);
	for (i = 0; i < planted->nr; i++) {
		unsigned long pfn = planted->pfn[i];

		if (pfn >= all || !(marks[pfn] & (FRAME_USER | FRAME_KERNEL)))
			continue;
		nr++;
		if (!frame_read(pfn, page, sizeof(page)))
			*leaks += pattern_found(page, sizeof(page), pattern);
	}
	return nr;
}

FIXTURE(secret)
{
	struct planted *planted;
	struct pattern pattern;
	pid_t child;
};

FIXTURE_VARIANT(secret)
{
	const char *kind;
};

FIXTURE_VARIANT_ADD(secret, anon) { .kind = "anon" };
FIXTURE_VARIANT_ADD(secret, huge) { .kind = "huge" };
FIXTURE_VARIANT_ADD(secret, shanon) { .kind = "shanon" };
FIXTURE_VARIANT_ADD(secret, tmpfs) { .kind = "tmpfs" };
FIXTURE_VARIANT_ADD(secret, ext4) { .kind = "ext4" };
FIXTURE_VARIANT_ADD(secret, memfd) { .kind = "memfd" };
FIXTURE_VARIANT_ADD(secret, sysvshm) { .kind = "sysvshm" };
FIXTURE_VARIANT_ADD(secret, posixshm) { .kind = "posixshm" };
FIXTURE_VARIANT_ADD(secret, hugetlb) { .kind = "hugetlb" };
FIXTURE_VARIANT_ADD(secret, secret) { .kind = "secret" };
FIXTURE_VARIANT_ADD(secret, guest) { .kind = "guest" };
FIXTURE_VARIANT_ADD(secret, gmem) { .kind = "gmem" };
FIXTURE_VARIANT_ADD(secret, ksm) { .kind = "ksm" };
FIXTURE_VARIANT_ADD(secret, moved) { .kind = "moved" };
FIXTURE_VARIANT_ADD(secret, uffd) { .kind = "uffd" };
FIXTURE_VARIANT_ADD(secret, uring) { .kind = "uring" };
FIXTURE_VARIANT_ADD(secret, packet) { .kind = "packet" };

FIXTURE_SETUP(secret)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	asi_break("");
	self->planted = planted_shared();
	ASSERT_NE(NULL, self->planted);
	self->pattern = pattern_random();
	self->child = start_child(kind_find(variant->kind), 0, &self->pattern,
				  self->planted);
	ASSERT_LT(0, self->child);
	if (self->planted->error)
		SKIP(return, "not here: %s", strerror(-self->planted->error));
	ASSERT_LT(0, self->planted->nr);
}

FIXTURE_TEARDOWN(secret)
{
	if (self->child > 0)
		end_child(self->child);
}

TEST_F_TIMEOUT(secret, is_not_mapped, 120)
{
	const unsigned char *marks;
	size_t i, nr;

	marks = frames_marks(&nr);
	for (i = 0; i < self->planted->nr; i++) {
		unsigned long pfn = self->planted->pfn[i];

		ASSERT_LT(pfn, nr);
		ASSERT_EQ(FRAME_THERE | FRAME_SENSITIVE,
			  marks[pfn] & ~(FRAME_TYPED | FRAME_HIDES))
			TH_LOG("frame %lx", pfn);
	}
}

/* Once the process is gone a frame may be mapped, but then it was cleared. */
TEST_F_TIMEOUT(secret, is_gone_after_exit, 120)
{
	size_t leaks;

	end_child(self->child);
	self->child = 0;
	count_reachable(self->planted, &self->pattern, &leaks);
	EXPECT_EQ(0, leaks);
}

FIXTURE(object)
{
	struct planted *planted;
	struct pattern pattern;
	pid_t child;
};

FIXTURE_VARIANT(object)
{
	const char *kind;
	bool exposed;
};

FIXTURE_VARIANT_ADD(object, disk) { .kind = "disk" };
FIXTURE_VARIANT_ADD(object, rawdisk) { .kind = "rawdisk" };
FIXTURE_VARIANT_ADD(object, ramdisk) { .kind = "ramdisk" };
FIXTURE_VARIANT_ADD(object, pipe) { .kind = "pipe" };
FIXTURE_VARIANT_ADD(object, unix) { .kind = "unix" };
FIXTURE_VARIANT_ADD(object, unixbig) { .kind = "unixbig" };
FIXTURE_VARIANT_ADD(object, dgram) { .kind = "dgram" };
FIXTURE_VARIANT_ADD(object, netlink) { .kind = "netlink" };
FIXTURE_VARIANT_ADD(object, tcp) { .kind = "tcp" };
FIXTURE_VARIANT_ADD(object, collapse) { .kind = "collapse" };
FIXTURE_VARIANT_ADD(object, zerocopy) { .kind = "zerocopy" };
FIXTURE_VARIANT_ADD(object, udp) { .kind = "udp" };
FIXTURE_VARIANT_ADD(object, fragment) { .kind = "fragment" };
FIXTURE_VARIANT_ADD(object, xdp) { .kind = "xdp" };
FIXTURE_VARIANT_ADD(object, raw) { .kind = "raw" };
FIXTURE_VARIANT_ADD(object, ping) { .kind = "ping" };
FIXTURE_VARIANT_ADD(object, pktqueue) { .kind = "pktqueue" };
FIXTURE_VARIANT_ADD(object, tun) { .kind = "tun" };
FIXTURE_VARIANT_ADD(object, vsock) { .kind = "vsock" };
FIXTURE_VARIANT_ADD(object, tty) { .kind = "tty" };
FIXTURE_VARIANT_ADD(object, zswap) { .kind = "zswap" };
FIXTURE_VARIANT_ADD(object, msgq) { .kind = "msgq" };
FIXTURE_VARIANT_ADD(object, mqueue) { .kind = "mqueue" };
FIXTURE_VARIANT_ADD(object, key) { .kind = "key" };
FIXTURE_VARIANT_ADD(object, perf) { .kind = "perf" };
FIXTURE_VARIANT_ADD(object, fpu) { .kind = "fpu" };
/* A known gap, and so the negative control: it would be seen. */
FIXTURE_VARIANT_ADD(object, regs) { .kind = "regs", .exposed = true };

FIXTURE_SETUP(object)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	asi_break("");
	self->planted = planted_shared();
	ASSERT_NE(NULL, self->planted);
	self->pattern = pattern_random();
	self->child = start_child(kind_find(variant->kind), 0, &self->pattern,
				  self->planted);
	ASSERT_LT(0, self->child);
	if (self->planted->error)
		SKIP(return, "not here: %s", strerror(-self->planted->error));
}

FIXTURE_TEARDOWN(object)
{
	if (self->child > 0)
		end_child(self->child);
}

TEST_F_TIMEOUT(object, is_out_of_reach, 300)
{
	size_t frames, found;

	found = scan_reachable(&self->pattern, &frames);
	EXPECT_LT(0, frames);
	EXPECT_EQ(variant->exposed, found > 0)
		TH_LOG("%zu frames of %zu", found, frames);
}

FIXTURE(checker)
{
	struct planted *planted;
	struct pattern pattern;
};

FIXTURE_SETUP(checker)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	self->planted = planted_shared();
	ASSERT_NE(NULL, self->planted);
	self->pattern = pattern_random();
}

FIXTURE_TEARDOWN_PARENT(checker)
{
	asi_break("");
}

/* Positive control: a process reaches its own memory, where it has mapped it. */
TEST_F(checker, sees_own_memory)
{
	char *mem = asi_fresh(FRAME_SIZE);
	struct reach reach;

	ASSERT_NE(NULL, mem);
	*mem = 1;
	ASSERT_EQ(0, frame_reach(frame_of(mem), &reach));
	EXPECT_EQ(1, reach.sensitive);
	EXPECT_EQ(1, reach.restricted);
	EXPECT_EQ(1, reach.unrestricted);
	EXPECT_EQ((unsigned long)mem, reach.address);
}

/*
 * Negative control: were user memory not marked, it would be in blocks that
 * are mapped, and the checks above would say so. It may take some memory until
 * what was already free is used up.
 */
TEST_F_TIMEOUT(checker, sees_unmarked_memory, 300)
{
	size_t len, reachable = 0, leaks = 0;
	pid_t child;

	asi_drop_caches();
	ASSERT_EQ(0, asi_break("nomark"));
	for (len = 4UL << 20; len <= MAX_FRAMES * FRAME_SIZE && !leaks; len *= 4) {
		child = start_child(NULL, len, &self->pattern, self->planted);
		ASSERT_LT(0, child);
		reachable = count_reachable(self->planted, &self->pattern, &leaks);
		end_child(child);
	}
	EXPECT_LT(0, reachable);
	EXPECT_LT(0, leaks);
}

TEST_HARNESS_MAIN
