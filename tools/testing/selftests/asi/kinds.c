// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plants a secret in each kind of memory.
 *
 * What the kernel is handed by copying (files, sockets, keys) goes through one
 * scratch page that is scrubbed right after, so that a tag with the name of a
 * kind is nowhere but in memory of that kind.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <linux/bpf.h>
#include <linux/errqueue.h>
#include <linux/fs.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/userfaultfd.h>
#include <linux/vm_sockets.h>

#include "asi.h"
#include "frames.h"
#include "guest.h"
#include "kinds.h"
#include "kselftest.h"
#include "samples.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif
#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif

#define SMALL	(1024 * 1024UL)
#define HUGE	(2 * SMALL)
#define FREED	(16 * SMALL)
#define SWAPPED	(4 * SMALL)
#define PAGE	4096UL

static alignas(PAGE) unsigned long scratch[512];

/* Hands @len bytes of tags to write(), a page at a time. */
static int plant_write(int fd, const struct kind *kind,
		       const struct pattern *pattern, size_t len)
{
	ssize_t n = 0;

	while (len) {
		size_t chunk = len < sizeof(scratch) ? len : sizeof(scratch);

		pattern_fill(scratch, chunk, pattern, kind_word(kind->name));
		n = write(fd, scratch, chunk);
		pattern_scrub(scratch, chunk);
		if (n <= 0)
			return n ? -errno : -EIO;
		len -= n;
	}
	return 0;
}

static int plant_mapping(const struct kind *kind, const struct pattern *pattern,
			 struct area *area, size_t len, int flags, int fd)
{
	area->addr = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (area->addr == MAP_FAILED)
		return -errno;
	area->len = len;
	pattern_fill(area->addr, len, pattern, kind_word(kind->name));
	return 0;
}

/* Fills a file by write(), then maps it so that its frames can be asked for. */
static int plant_file(const struct kind *kind, const struct pattern *pattern,
		      struct area *area, int fd)
{
	char *byte;
	int ret;

	if (fd < 0)
		return fd;
	ret = plant_write(fd, kind, pattern, SMALL);
	if (ret)
		return ret;
	area->addr = mmap(NULL, SMALL, PROT_READ, MAP_SHARED, fd, 0);
	if (area->addr == MAP_FAILED)
		return -errno;
	area->len = SMALL;
	for (byte = area->addr; byte < (char *)area->addr + SMALL; byte += 4096)
		(void)asi_load(byte);
	return 0;
}

static int plant_anon(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	return plant_mapping(kind, pattern, area, SMALL,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int plant_shanon(const struct kind *kind, const struct pattern *pattern,
			struct area *area)
{
	return plant_mapping(kind, pattern, area, SMALL,
			     MAP_SHARED | MAP_ANONYMOUS, -1);
}

static bool is_huge(const void *addr)
{
	unsigned long from, to, kib, want = (unsigned long)addr;
	bool inside = false;
	char line[256];
	FILE *smaps;

	smaps = fopen("/proc/self/smaps", "re");
	if (!smaps)
		return false;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= want && want < to;
		if (inside && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
			break;
		kib = 0;
	}
	fclose(smaps);
	return inside && kib;
}

static int plant_huge(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	char *mem;

	mem = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -errno;
	area->addr = mem + (-(unsigned long)mem & (HUGE - 1));
	area->len = HUGE;
	if (madvise(area->addr, HUGE, MADV_HUGEPAGE))
		return -errno;
	pattern_fill(area->addr, HUGE, pattern, kind_word(kind->name));
	return is_huge(area->addr) ? 0 : -ENOMEM;
}

static int plant_hugetlb(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	static const char pool[] = "/proc/sys/vm/nr_hugepages";
	char count[16];
	int fd;

	if (asi_slurp(pool, count, sizeof(count)) < 0)
		return -EOPNOTSUPP;
	if (atoi(count) < 2) {
		asi_write("/proc/sys/vm/compact_memory", "1\n");
		asi_write(pool, "2\n");
	}
	fd = memfd_create("asi", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd < 0)
		return -errno;
	return plant_mapping(kind, pattern, area, HUGE, MAP_SHARED, fd);
}

static int plant_tmpfs(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	const char *dir = asi_tmpfs();

	return plant_file(kind, pattern, area, dir ? asi_tmpfile(dir) : -ENOENT);
}

static int plant_ext4(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	const char *dir = asi_ext4();

	return plant_file(kind, pattern, area, dir ? asi_tmpfile(dir) : -ENOENT);
}

/* With swiotlb=force it is in bounce buffers as well. */
static int plant_disk(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	const char *dir = asi_ext4();
	int fd = dir ? asi_tmpfile(dir) : -ENOENT;

	if (fd < 0)
		return fd;
	return plant_write(fd, kind, pattern, SMALL) ?: fsync(fd) ? -errno : 0;
}

/* The device that a file is on, or a negative error. */
static int open_disk_of(int fd)
{
	char path[64], target[256];
	struct stat st;
	ssize_t len;

	if (fstat(fd, &st))
		return -errno;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = 0;
	snprintf(path, sizeof(path), "/dev/%.48s", basename(target));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A file, read from the device that it is on. */
static int plant_rawdisk(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	const char *dir = asi_ext4();
	int fd = dir ? asi_tmpfile(dir) : -ENOENT;
	int raw = fd < 0 ? -1 : open_disk_of(fd);
	static char buf[4096];
	int i, block, size, ret;

	if (fd < 0 || raw < 0)
		return fd < 0 ? fd : raw;
	if (ioctl(fd, FIGETBSZ, &size) || size != sizeof(buf))
		return -ENODEV;
	ret = plant_write(fd, kind, pattern, SMALL) ?: fsync(fd) ? -errno : 0;
	for (i = 0; !ret && i < (int)(SMALL / sizeof(buf)); i++) {
		block = i;
		if (ioctl(fd, FIBMAP, &block) || !block ||
		    pread(raw, buf, sizeof(buf), (off_t)block * sizeof(buf)) != sizeof(buf) ||
		    !pattern_found(buf, sizeof(buf), pattern))
			ret = -EIO;
		pattern_scrub(buf, sizeof(buf));
	}
	/* What is left is the device's. */
	return ret ?: -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int plant_ramdisk(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	int fd = open("/dev/ram0", O_WRONLY | O_DIRECT | O_EXCL | O_CLOEXEC);

	return fd < 0 ? -errno : plant_write(fd, kind, pattern, SMALL);
}

static int plant_memfd(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	int fd = memfd_create("asi", MFD_CLOEXEC);

	return plant_file(kind, pattern, area, fd < 0 ? -errno : fd);
}

static int plant_posixshm(const struct kind *kind, const struct pattern *pattern,
			  struct area *area)
{
	struct statfs fs;
	int fd;

	if (statfs("/dev/shm", &fs) || fs.f_type != TMPFS_MAGIC)
		return -ENOENT;
	fd = asi_tmpfile("/dev/shm");
	if (fd < 0)
		return fd;
	if (ftruncate(fd, SMALL))
		return -errno;
	return plant_mapping(kind, pattern, area, SMALL, MAP_SHARED, fd);
}

static int plant_sysvshm(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	int id;

	id = shmget(IPC_PRIVATE, SMALL, IPC_CREAT | 0600);
	if (id < 0)
		return -errno;
	area->addr = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	if (area->addr == (void *)-1)
		return -errno;
	area->len = SMALL;
	pattern_fill(area->addr, SMALL, pattern, kind_word(kind->name));
	return 0;
}

static int plant_secret(const struct kind *kind, const struct pattern *pattern,
			struct area *area)
{
	int fd;

	fd = syscall(__NR_memfd_secret, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, SMALL))
		return -errno;
	return plant_mapping(kind, pattern, area, SMALL, MAP_SHARED, fd);
}

/* Copies its page there to all that come after it. */
#define GUEST_DATA	0x10000
GUEST_PROGRAM(copies, "cld; movl $0x10000, %esi; movl $0x11000, %edi; movl $0x3bc00, %ecx\n"
	      "addr32 rep movsl");

/* A KVM guest that has filled its memory by itself. */
static int plant_guest_memory(const struct kind *kind, const struct pattern *pattern,
			      struct area *area, bool memfd)
{
	struct guest guest;
	int ret = guest_open(&guest);
	char *byte;

	if (ret)
		return ret;
	/* What emulates it would have tags too. */
	if (!guest_is_executed())
		return -EOPNOTSUPP;
	area->addr = memfd ? guest_memfd(&guest, SMALL) : asi_fresh(SMALL);
	if (!area->addr)
		return -errno;
	pattern_fill(area->addr + GUEST_DATA, PAGE, pattern, kind_word(kind->name));
	ret = guest_start(&guest, guest_copies, guest_copies_end, area->addr, SMALL, false);
	if (ret)
		return ret;
	if (!guest_run(&guest) || !pattern_found(area->addr + SMALL - PAGE, PAGE, pattern))
		return -EIO;
	area->addr += GUEST_DATA;
	area->len = SMALL - GUEST_DATA;
	/* The guest does not fault pages in for its VMM. */
	for (byte = area->addr; byte < (char *)area->addr + area->len; byte += PAGE)
		(void)asi_load(byte);
	return 0;
}

static int plant_guest(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	return plant_guest_memory(kind, pattern, area, false);
}

static int plant_gmem(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	return plant_guest_memory(kind, pattern, area, true);
}

/* Its pages are all the same, and so most of them one in the end. */
static int plant_ksm(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	int tries, ret, merged = 0;
	char count[32];

	ret = plant_anon(kind, pattern, area);
	if (ret)
		return ret;
	if (madvise(area->addr, area->len, MADV_MERGEABLE))
		return -errno;
	ret = asi_write("/sys/kernel/mm/ksm/run", "1");
	if (ret)
		return ret;
	for (tries = 0; tries < 300 && merged < SMALL / PAGE / 2; tries++) {
		usleep(100000);
		if (asi_slurp("/proc/self/ksm_merging_pages", count, sizeof(count)) > 0)
			merged = atoi(count);
	}
	asi_write("/sys/kernel/mm/ksm/run", "0");
	return merged ? 0 : -ENODATA;
}

/* To the other node, if there are two. */
static void move_pages(char *mem, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++) {
		void *page = mem + i * PAGE;
		int status = -1, node;

		if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0) || status < 0)
			return;
		node = !status;
		if (syscall(SYS_move_pages, 0, 1UL, &page, &node, &status, 2 /* MPOL_MF_MOVE */))
			return;
	}
}

/*
 * What has been moved to another node, or by compaction; that moves memory up, and so
 * room is made there.
 */
static int plant_moved(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	static unsigned long frames[SMALL / PAGE];
	char *above = asi_fresh(FREED);
	size_t i, moved = 0;
	int ret;

	if (!above)
		return -ENOMEM;
	pattern_scrub(above, FREED);
	ret = plant_anon(kind, pattern, area);
	if (ret)
		return ret;
	munmap(above, FREED);
	if (frames_of(area->addr, area->len, frames) != SMALL / PAGE)
		return -EPERM;
	move_pages(area->addr, SMALL / PAGE);
	ret = asi_write("/proc/sys/vm/compact_memory", "1\n");
	if (ret)
		return ret;
	for (i = 0; i < SMALL / PAGE; i++) {
		char *page = (char *)area->addr + i * PAGE;

		if (frame_of(page) == frames[i])
			pattern_scrub(page, PAGE);
		else
			moved++;
	}
	return moved ? 0 : -ENODATA;
}

static int plant_uffd(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_copy copy = { .src = (unsigned long)scratch, .len = PAGE };
	int ret = 0;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -errno;
	area->addr = asi_fresh(SMALL);
	area->len = SMALL;
	reg.range.start = (unsigned long)area->addr;
	reg.range.len = SMALL;
	if (!area->addr || ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	pattern_fill(scratch, PAGE, pattern, kind_word(kind->name));
	for (copy.dst = reg.range.start; copy.dst < reg.range.start + SMALL && !ret;
	     copy.dst += PAGE)
		ret = ioctl(fd, UFFDIO_COPY, &copy) ? -errno : 0;
	pattern_scrub(scratch, PAGE);
	close(fd);
	return ret;
}

static int plant_pipe(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	return plant_write(fds[1], kind, pattern, 32768);
}

static int plant_unix(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	int fds[2], i, ret = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	/* Small enough for the linear part of a buffer. */
	for (i = 0; i < 16 && !ret; i++)
		ret = plant_write(fds[0], kind, pattern, 512);
	return ret;
}

/* In one piece, and so large that most of it is in pages on any kernel. */
static int plant_message(const struct kind *kind, const struct pattern *pattern,
			 int type, size_t len)
{
	int fds[2];
	ssize_t n;
	char *mem;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds))
		return -errno;
	mem = asi_fresh(len);
	if (!mem)
		return -ENOMEM;
	pattern_fill(mem, len, pattern, kind_word(kind->name));
	n = write(fds[0], mem, len);
	pattern_scrub(mem, len);
	munmap(mem, len);
	return n == (ssize_t)len ? 0 : -EIO;
}

static int plant_unixbig(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	return plant_message(kind, pattern, SOCK_STREAM, 65536);
}

/* More than a buffer takes in single pages. */
static int plant_dgram(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	return plant_message(kind, pattern, SOCK_DGRAM, 128 * 1024);
}

static int plant_netlink(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(addr);
	int from, to, i, ret = 0;

	from = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);
	to = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);
	if (from < 0 || to < 0)
		return -errno;
	if (bind(to, (void *)&addr, len) ||
	    getsockname(to, (void *)&addr, &len) ||
	    connect(from, (void *)&addr, len))
		return -errno;
	for (i = 0; i < 16 && !ret; i++)
		ret = plant_write(from, kind, pattern, 512);
	return ret;
}

/* Interfaces are down at first, and in a guest that has just booted even loopback. */
static void interface_up(int fd, const char *name)
{
	struct ifreq request = { };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFFLAGS, &request))
		return;
	request.ifr_flags |= IFF_UP;
	ioctl(fd, SIOCSIFFLAGS, &request);
}

/* A socket whose peer never reads, and takes @rcvbuf bytes if that is not 0. */
static int tcp_connect(int rcvbuf)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int server, client;

	server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0)
		return -errno;
	interface_up(server, "lo");
	if (rcvbuf && setsockopt(server, SOL_SOCKET, SO_RCVBUF, &rcvbuf,
				 sizeof(rcvbuf)))
		return -errno;
	if (bind(server, (void *)&addr, len) || listen(server, 1) ||
	    getsockname(server, (void *)&addr, &len))
		return -errno;
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client < 0 || connect(client, (void *)&addr, len))
		return -errno;
	if (accept4(server, NULL, NULL, SOCK_CLOEXEC) < 0)
		return -errno;
	return client;
}

static int plant_tcp(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	int client = tcp_connect(0);

	return client < 0 ? client : plant_write(client, kind, pattern, 32768);
}

/* A counter of TcpExt, which comes first: names in one line, values in the next. */
static long tcp_counter(const char *wanted)
{
	static char buf[16384];
	char *names, *values, *name, *value, *rest;

	if (asi_slurp("/proc/net/netstat", buf, sizeof(buf)) < 0)
		return -1;
	names = strtok_r(buf, "\n", &rest);
	values = strtok_r(NULL, "\n", &rest);
	if (!names || !values)
		return -1;
	do {
		name = strtok_r(names, " ", &names);
		value = strtok_r(values, " ", &values);
	} while (name && value && strcmp(name, wanted));
	return name && value ? atol(value) : -1;
}

/*
 * What has come in pieces that are far smaller than what the kernel needs for
 * them, so that it has copied them together.
 */
/* Sends more than fits; what does not is not waited for. */
static int fill_queue(const struct kind *kind, const struct pattern *pattern, int size)
{
	struct timeval patience = { .tv_usec = 300000 };
	int client, one = 1, i;
	ssize_t n = 1;

	client = tcp_connect(size);
	if (client < 0)
		return client;
	if (setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)))
		return -errno;
	for (i = 0; i < 4096 && n > 0; i++) {
		pattern_fill(scratch, TAG_SIZE, pattern, kind_word(kind->name));
		n = send(client, scratch, TAG_SIZE, MSG_EOR);
		pattern_scrub(scratch, TAG_SIZE);
	}
	return 0;
}

static int plant_collapse(const struct kind *kind, const struct pattern *pattern,
			  struct area *area)
{
	static const char counter[] = "TCPRcvCollapsed";
	/* Whether the window or the buffer is full first depends on who runs when. */
	static const int sizes[] = { 16384, 4096, 8192, 32768, 65536, 12288, 2048, 24576 };
	long before = tcp_counter(counter);
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ret = fill_queue(kind, pattern, sizes[i]);
		if (ret)
			return ret;
		if (tcp_counter(counter) > before)
			return 0;
	}
	return -ENODATA;
}

/* Whether the kernel has copied what it was to send from the pages of its owner. */
static bool zerocopy_copied(int fd)
{
	union {
		struct cmsghdr header;
		char space[256];
	} control;
	struct msghdr msg = { .msg_control = &control, .msg_controllen = sizeof(control) };
	struct pollfd completion = { .fd = fd };
	struct sock_extended_err *err;
	struct cmsghdr *cmsg;

	if (poll(&completion, 1, 1000) != 1 || recvmsg(fd, &msg, MSG_ERRQUEUE) < 0)
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return false;
	err = (void *)CMSG_DATA(cmsg);
	return err->ee_origin == SO_EE_ORIGIN_ZEROCOPY &&
	       err->ee_code & SO_EE_CODE_ZEROCOPY_COPIED;
}

static int plant_zerocopy(const struct kind *kind, const struct pattern *pattern,
			  struct area *area)
{
	int client = tcp_connect(0), one = 1, ret = 0;

	if (client < 0)
		return client;
	if (setsockopt(client, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		return -errno;
	pattern_fill(scratch, sizeof(scratch), pattern, kind_word(kind->name));
	if (send(client, scratch, sizeof(scratch), MSG_ZEROCOPY) < 0)
		ret = -errno;
	else if (!zerocopy_copied(client))
		ret = -ENODATA;
	pattern_scrub(scratch, sizeof(scratch));
	return ret;
}

/* Sends small packets, each behind a header, to a socket that does not read them. */
static int plant_packets(const struct kind *kind, const struct pattern *pattern,
			 int from, int to, void *header, size_t header_len)
{
	struct iovec packet[] = { { header, header_len }, { scratch, 512 } };
	struct pollfd queue = { .fd = to, .events = POLLIN };
	ssize_t n = 1;
	int i;

	for (i = 0; i < 16 && n > 0; i++) {
		pattern_fill(scratch, 512, pattern, kind_word(kind->name));
		n = writev(from, packet, ARRAY_SIZE(packet));
		pattern_scrub(scratch, 512);
	}
	if (n <= 0)
		return n ? -errno : -EIO;
	return poll(&queue, 1, 1000) == 1 ? 0 : -ENODATA;
}

/* A socket that sends to @server. */
static int udp_connect(int *server)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int client;

	*server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*server < 0 || client < 0)
		return -errno;
	interface_up(client, "lo");
	if (bind(*server, (void *)&addr, len) ||
	    getsockname(*server, (void *)&addr, &len) ||
	    connect(client, (void *)&addr, len))
		return -errno;
	return client;
}

static int plant_udp(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	int server, client = udp_connect(&server);

	return client < 0 ? client : plant_packets(kind, pattern, client, server, NULL, 0);
}

/* Returns what it was before, or a negative error. */
static int loopback_mtu(int fd, int mtu)
{
	struct ifreq request = { .ifr_name = "lo" };
	int before;

	if (ioctl(fd, SIOCGIFMTU, &request))
		return -errno;
	before = request.ifr_mtu;
	request.ifr_mtu = mtu;
	return ioctl(fd, SIOCSIFMTU, &request) ? -errno : before;
}

/* A datagram that has become too large before it was sent. */
static int plant_fragment(const struct kind *kind, const struct pattern *pattern,
			  struct area *area)
{
	int server, client = udp_connect(&server), cut = IP_PMTUDISC_DONT, mtu, ret = 0;
	struct pollfd queue = { .fd = server, .events = POLLIN };

	if (client < 0)
		return client;
	if (setsockopt(client, IPPROTO_IP, IP_MTU_DISCOVER, &cut, sizeof(cut)))
		return -errno;
	mtu = loopback_mtu(client, 65536);
	if (mtu < 0)
		return mtu;
	pattern_fill(scratch, sizeof(scratch), pattern, kind_word(kind->name));
	if (send(client, scratch, sizeof(scratch), MSG_MORE) < 0)
		ret = -errno;
	pattern_scrub(scratch, sizeof(scratch));
	if (!ret && (loopback_mtu(client, 1500) < 0 || send(client, "", 0, 0)))
		ret = -errno;
	loopback_mtu(client, mtu);
	return ret ?: poll(&queue, 1, 1000) == 1 ? 0 : -ENODATA;
}

/* Lets all packets of the loopback interface pass until what is returned is closed. */
static int xdp_attach(void)
{
	static const struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)pass;
	attr.insn_cnt = ARRAY_SIZE(pass);
	attr.license = (unsigned long)"GPL";
	attr.prog_flags = BPF_F_XDP_HAS_FRAGS;
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = fd;
	attr.link_create.target_ifindex = if_nametoindex("lo");
	attr.link_create.attach_type = BPF_XDP;
	attr.link_create.flags = XDP_FLAGS_SKB_MODE;
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	return fd < 0 ? -errno : fd;
}

/* The program gets to see a copy, which is then passed on. */
static int plant_xdp(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	int server, client = udp_connect(&server), link, ret;

	if (client < 0)
		return client;
	link = xdp_attach();
	if (link < 0)
		return link;
	ret = plant_packets(kind, pattern, client, server, NULL, 0);
	close(link);
	return ret;
}

/* A socket that gets what it sends, or the answer. */
static int echo_socket(int type, int protocol)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd;

	fd = socket(AF_INET, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	interface_up(fd, "lo");
	return connect(fd, (void *)&addr, sizeof(addr)) ? -errno : fd;
}

/* A protocol for experiments. */
static int plant_raw(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	int fd = echo_socket(SOCK_RAW, 253);

	return fd < 0 ? fd : plant_packets(kind, pattern, fd, fd, NULL, 0);
}

static int plant_ping(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	static const char range[] = "/proc/sys/net/ipv4/ping_group_range";
	struct icmphdr header = { .type = ICMP_ECHO };
	char groups[32];
	int fd;

	if (asi_slurp(range, groups, sizeof(groups)) < 0)
		return -EOPNOTSUPP;
	asi_write(range, "0 2147483647\n");
	fd = echo_socket(SOCK_DGRAM, IPPROTO_ICMP);
	asi_write(range, groups);
	return fd < 0 ? fd : plant_packets(kind, pattern, fd, fd, &header, sizeof(header));
}

/* A socket for packets of an interface, of a protocol that nobody else has. */
static int packet_socket(const char *name)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_802_EX1),
		.sll_ifindex = if_nametoindex(name),
	};
	int fd;

	fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	interface_up(fd, name);
	return bind(fd, (void *)&addr, sizeof(addr)) ? -errno : fd;
}

/* This one, too, gets what it sends. */
static int plant_pktqueue(const struct kind *kind, const struct pattern *pattern,
			  struct area *area)
{
	int fd = packet_socket("lo");

	return fd < 0 ? fd : plant_packets(kind, pattern, fd, fd, NULL, 0);
}

static int plant_tun(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	struct tun_pi header = { .proto = htons(ETH_P_802_EX1) };
	struct ifreq request = { .ifr_flags = IFF_TUN };
	int tun, to;

	tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request))
		return -errno;
	to = packet_socket(request.ifr_name);
	return to < 0 ? to : plant_packets(kind, pattern, tun, to, &header, sizeof(header));
}

static int plant_vsock(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_port = VMADDR_PORT_ANY,
		.svm_cid = VMADDR_CID_LOCAL,
	};
	socklen_t len = sizeof(addr);
	int server, client, to;

	server = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	client = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || client < 0)
		return -errno;
	if (bind(server, (void *)&addr, len) || listen(server, 1) ||
	    getsockname(server, (void *)&addr, &len) ||
	    connect(client, (void *)&addr, len))
		return -errno;
	to = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	return to < 0 ? -errno : plant_packets(kind, pattern, client, to, NULL, 0);
}

/* What one side of a terminal has written and the other has not read. */
static int plant_tty(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	int master, slave;
	struct termios raw;

	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) || unlockpt(master))
		return -errno;
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &raw))
		return -errno;
	cfmakeraw(&raw);
	if (tcsetattr(slave, TCSANOW, &raw))
		return -errno;
	return plant_write(slave, kind, pattern, 2048) ?:
	       plant_write(master, kind, pattern, 2048);
}

/* A file to swap to, on the file system that has page cache of its own. */
static int swap_file(void)
{
	static char page[PAGE];
	unsigned int *header = (void *)(page + 1024);
	const char *dir = asi_ext4();
	char path[64];
	unsigned int i;
	int fd, ret;

	if (!dir)
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/asi-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (i = 0; i < SWAPPED / PAGE * 2; i++) {
		if (write(fd, page, sizeof(page)) != sizeof(page))
			return -ENOSPC;
	}
	header[0] = 1;			/* version */
	header[1] = i - 1;		/* last page */
	memcpy(page + sizeof(page) - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, page, sizeof(page), 0) != sizeof(page) || fsync(fd))
		return -EIO;
	ret = swapon(path, 0) ? -errno : 0;
	unlink(path);
	return ret;
}

/*
 * What reclaim has compressed. A page is a tag, and then something that no
 * compression can make less of, so that the tag is kept as it is.
 */
static int plant_zswap(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	long before;
	size_t i;
	char *mem;
	int ret;

	ret = asi_write("/sys/module/zswap/parameters/enabled", "1");
	if (ret)
		return ret;
	ret = swap_file();
	if (ret)
		return ret;
	before = asi_counter("zswpout");
	mem = asi_fresh(SWAPPED);
	if (!mem)
		return -ENOMEM;
	for (i = 0; i < SWAPPED; i += PAGE) {
		if (getrandom(mem + i + TAG_SIZE, 1024, 0) != 1024)
			return -EIO;
		pattern_fill(mem + i, TAG_SIZE, pattern, kind_word(kind->name));
	}
	if (madvise(mem, SWAPPED, MADV_PAGEOUT))
		return -errno;
	/* Some are not where reclaim finds them yet. */
	return asi_counter("zswpout") >= before + SWAPPED / PAGE / 2 ? 0 : -ENODATA;
}

static int plant_msgq(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	struct {
		long type;
		char text[2048];
	} *msg = (void *)scratch;
	int id, i, ret = 0;

	id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	if (id < 0)
		return -errno;
	for (i = 0; i < 4 && !ret; i++) {
		msg->type = 1;
		pattern_fill(msg->text, sizeof(msg->text), pattern,
			     kind_word(kind->name));
		if (msgsnd(id, msg, sizeof(msg->text), IPC_NOWAIT))
			ret = -errno;
		pattern_scrub(scratch, sizeof(scratch));
	}
	return ret;
}

static int plant_mqueue(const struct kind *kind, const struct pattern *pattern,
			struct area *area)
{
	size_t len = 2048;
	char name[32];
	int fd, i, ret = 0;

	snprintf(name, sizeof(name), "asi-selftest-%d", getpid());
	fd = syscall(SYS_mq_open, name, O_CREAT | O_EXCL | O_WRONLY | O_NONBLOCK |
		     O_CLOEXEC, 0600, NULL);
	if (fd < 0)
		return -errno;
	syscall(SYS_mq_unlink, name);
	for (i = 0; i < 4 && !ret; i++) {
		pattern_fill(scratch, len, pattern, kind_word(kind->name));
		if (syscall(SYS_mq_timedsend, fd, scratch, len, 0, NULL))
			ret = -errno;
		pattern_scrub(scratch, len);
	}
	return ret;
}

static int plant_key(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	size_t len = 2048;
	long id;

	pattern_fill(scratch, len, pattern, kind_word(kind->name));
	id = syscall(SYS_add_key, "user", "asi-selftest", scratch, len,
		     KEY_SPEC_PROCESS_KEYRING);
	pattern_scrub(scratch, len);
	return id < 0 ? -errno : 0;
}

/* Runs @body in a child; returns its pid once it has said that it is ready. */
static pid_t plant_child(void (*body)(const struct kind *kind,
				      const struct pattern *pattern, int ready),
			 const struct kind *kind, const struct pattern *pattern)
{
	int fds[2];
	pid_t pid;
	char byte;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(kind, pattern, fds[1]);
		_exit(0);
	}
	close(fds[1]);
	if (pid > 0 && read(fds[0], &byte, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = -ECHILD;
	}
	close(fds[0]);
	return pid;
}

static void freed_body(const struct kind *kind, const struct pattern *pattern,
		       int ready)
{
	char *mem = asi_fresh(FREED);

	if (!mem)
		return;
	pattern_fill(mem, FREED, pattern, kind_word(kind->name));
	if (write(ready, "", 1) != 1)
		return;
}

static int plant_freed(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	pid_t pid = plant_child(freed_body, kind, pattern);

	if (pid < 0)
		return pid;
	waitpid(pid, NULL, 0);
	return 0;
}

/*
 * Loads registers from memory that @load also scrubs, says that it is ready,
 * and sleeps for good.
 */
#define SLEEP_WITH(load, ready, ...) do {				\
	static const struct timespec forever = { .tv_sec = 1 << 30 };	\
	long ret = SYS_write;						\
									\
	asm volatile(load						\
		     "movq $0, (%[tag])\n\t"				\
		     "movq $0, 8(%[tag])\n\t"				\
		     "movq $0, 32(%[tag])\n\t"				\
		     "movq $0, 40(%[tag])\n\t"				\
		     "syscall\n\t"					\
		     "1: mov %[sleep], %%eax\n\t"			\
		     "mov %[forever], %%rdi\n\t"			\
		     "xor %%esi, %%esi\n\t"				\
		     "syscall\n\t"					\
		     "jmp 1b"						\
		     : "+a" (ret)					\
		     : [tag] "r" (scratch), [sleep] "i" (SYS_nanosleep), \
		       [forever] "r" (&forever),			\
		       "D" ((long)(ready)), "S" (""), "d" (1L)		\
		     : "rcx", "r11", "memory", ##__VA_ARGS__);		\
} while (0)

/* The first three vector registers are neighbours in the save area. */
static void fpu_body(const struct kind *kind, const struct pattern *pattern,
		     int ready)
{
	pattern_fill(scratch, TAG_SIZE, pattern, kind_word(kind->name));
	SLEEP_WITH("movdqu (%[tag]), %%xmm0\n\t"
		   "movdqu 16(%[tag]), %%xmm1\n\t"
		   "movdqu 32(%[tag]), %%xmm2\n\t", ready);
}

static int plant_fpu(const struct kind *kind, const struct pattern *pattern,
		     struct area *area)
{
	pid_t pid = plant_child(fpu_body, kind, pattern);

	return pid < 0 ? pid : 0;
}

/* These six are neighbours on the kernel stack while the task sleeps. */
static void regs_body(const struct kind *kind, const struct pattern *pattern,
		      int ready)
{
	pattern_fill(scratch, TAG_SIZE, pattern, kind_word(kind->name));
	SLEEP_WITH("mov (%[tag]), %%r15\n\t"
		   "mov 8(%[tag]), %%r14\n\t"
		   "mov 16(%[tag]), %%r13\n\t"
		   "mov 24(%[tag]), %%r12\n\t"
		   "mov 32(%[tag]), %%rbp\n\t"
		   "mov 40(%[tag]), %%rbx\n\t",
		   ready, "rbx", "rbp", "r12", "r13", "r14", "r15");
}

static int plant_regs(const struct kind *kind, const struct pattern *pattern,
		      struct area *area)
{
	pid_t pid = plant_child(regs_body, kind, pattern);

	return pid < 0 ? pid : 0;
}

/* Submission entries that are never submitted. */
static int plant_uring(const struct kind *kind, const struct pattern *pattern,
		       struct area *area)
{
	struct io_uring_params params = { };
	int fd;

	fd = syscall(__NR_io_uring_setup, 1024, &params);
	if (fd < 0)
		return -errno;
	area->addr = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe),
			  PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
			  IORING_OFF_SQES);
	if (area->addr == MAP_FAILED)
		return -errno;
	area->len = params.sq_entries * sizeof(struct io_uring_sqe);
	pattern_fill(area->addr, area->len, pattern, kind_word(kind->name));
	return 0;
}

/* As if it had been received. */
static int plant_packet(const struct kind *kind, const struct pattern *pattern,
			struct area *area)
{
	struct tpacket_req ring = {
		.tp_block_size = 4 * PAGE,
		.tp_block_nr = 4,
		.tp_frame_size = PAGE,
		.tp_frame_nr = 16,
	};
	int fd;

	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)))
		return -errno;
	return plant_mapping(kind, pattern, area, 16 * PAGE, MAP_SHARED, fd);
}

/* Samples of a stack on which the secret is. */
static int plant_samples(const struct kind *kind, const struct pattern *pattern,
			 struct area *area)
{
	long stack[PAGE / sizeof(long)];
	static long word;
	unsigned long i;

	if (!samples_of(0, &word, 2 * sizeof(stack)))
		return -errno;
	pattern_fill(stack, sizeof(stack), pattern, kind_word(kind->name));
	for (i = 0; i < SAMPLES_LEN / sizeof(stack); i++)
		asi_store(&word, i);
	pattern_scrub(stack, sizeof(stack));
	return 0;
}

const struct kind kinds[] = {
	{ "anon", "anonymous memory", plant_anon },
	{ "huge", "transparent huge page", plant_huge },
	{ "shanon", "shared anonymous memory", plant_shanon },
	{ "tmpfs", "page cache of a file on tmpfs", plant_tmpfs },
	{ "ext4", "page cache of a file on ext4", plant_ext4 },
	{ "disk", "what was written to a disk", plant_disk },
	{ "rawdisk", "what was read from a disk that is mounted", plant_rawdisk },
	{ "ramdisk", "what was written to a RAM disk", plant_ramdisk },
	{ "memfd", "page cache of a memfd", plant_memfd },
	{ "sysvshm", "System V shared memory", plant_sysvshm },
	{ "posixshm", "POSIX shared memory", plant_posixshm },
	{ "hugetlb", "hugetlb page", plant_hugetlb },
	{ "secret", "memory of memfd_secret()", plant_secret },
	{ "guest", "memory of a KVM guest", plant_guest },
	{ "gmem", "memory of a KVM guest, from a guest_memfd", plant_gmem },
	{ "ksm", "page that KSM has merged", plant_ksm },
	{ "moved", "memory that compaction has moved", plant_moved },
	{ "uffd", "page that was filled in by userfaultfd", plant_uffd },
	{ "pipe", "pipe buffer", plant_pipe },
	{ "unix", "UNIX socket queue, linear buffers", plant_unix },
	{ "unixbig", "UNIX socket queue, paged buffers", plant_unixbig },
	{ "dgram", "UNIX socket queue, a large datagram", plant_dgram },
	{ "netlink", "netlink socket queue", plant_netlink },
	{ "tcp", "TCP socket queue", plant_tcp },
	{ "collapse", "TCP socket queue, collapsed", plant_collapse },
	{ "zerocopy", "TCP socket queue, from pages of the sender", plant_zerocopy },
	{ "udp", "UDP socket queue", plant_udp },
	{ "fragment", "UDP socket queue, in IP fragments", plant_fragment },
	{ "xdp", "UDP socket queue, copied for XDP", plant_xdp },
	{ "raw", "raw socket queue", plant_raw },
	{ "ping", "ping socket queue, answers", plant_ping },
	{ "pktqueue", "packet socket queue", plant_pktqueue },
	{ "tun", "packet socket queue, from a tun device", plant_tun },
	{ "vsock", "VM socket queue", plant_vsock },
	{ "tty", "terminal buffers", plant_tty },
	{ "zswap", "compressed swap", plant_zswap },
	{ "msgq", "System V message queue", plant_msgq },
	{ "mqueue", "POSIX message queue", plant_mqueue },
	{ "key", "payload of a user key", plant_key },
	{ "uring", "io_uring submission entries", plant_uring },
	{ "packet", "ring of a packet socket", plant_packet },
	{ "perf", "samples of perf", plant_samples },
	{ "fpu", "saved vector registers of a sleeping task", plant_fpu },
	{ "regs", "saved general registers of a sleeping task", plant_regs },
	{ "freed", "memory freed by a process that has exited", plant_freed },
	{ }
};

const struct kind *kind_find(const char *name)
{
	const struct kind *kind;

	for (kind = kinds; kind->name; kind++) {
		if (!strcmp(kind->name, name))
			return kind;
	}
	return NULL;
}
