// SPDX-License-Identifier: GPL-2.0-only
/*
 * The workloads, and how they are measured.
 *
 * Both sides of a ping-pong are pinned to the CPU that measures, so that each
 * hand-over is a context switch there.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <time.h>

#include "asi.h"
#include "guest.h"
#include "samples.h"
#include "uring.h"
#include "workloads.h"

#define MAX_IO		65536UL
#define HUGE		(2 * 1024 * 1024UL)
#define MANY		10000
#define FEW		300

static int check(long ret)
{
	return ret < 0 ? -errno : 0;
}

/*
 * Starts the other side of a ping-pong. It ends with the process that measures.
 */
static int start_peer(struct workload_ctx *ctx,
		      void (*body)(struct workload_ctx *ctx))
{
	ctx->peer = fork();
	if (ctx->peer)
		return check(ctx->peer);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	body(ctx);
	_exit(0);
}

/* --- nothing but entry and return ------------------------------------- */

static int run_getpid(struct workload_ctx *ctx, long n)
{
	while (n--)
		syscall(SYS_getpid);
	return 0;
}

static sig_atomic_t signals;

static void count_signal(int sig)
{
	asi_store(&signals, signals + 1);
}

static int setup_signal(struct workload_ctx *ctx)
{
	return check(signal(SIGUSR1, count_signal) == SIG_ERR ? -1 : 0);
}

static int run_signal(struct workload_ctx *ctx, long n)
{
	long want = asi_load(&signals) + n;

	while (n--)
		raise(SIGUSR1);
	return asi_load(&signals) == want ? 0 : -EIO;
}

/* --- hand-over between tasks ------------------------------------------ */

static void peer_yield(struct workload_ctx *ctx)
{
	for (;;)
		sched_yield();
}

static int setup_yield(struct workload_ctx *ctx)
{
	return start_peer(ctx, peer_yield);
}

static int run_yield(struct workload_ctx *ctx, long n)
{
	while (n--)
		sched_yield();
	return 0;
}

static void futex_wait_turn(int *turn, int mine)
{
	int now;

	while ((now = __atomic_load_n(turn, __ATOMIC_ACQUIRE)) != mine)
		syscall(SYS_futex, turn, FUTEX_WAIT, now, NULL, NULL, 0);
}

static void futex_give_turn(int *turn, int next)
{
	__atomic_store_n(turn, next, __ATOMIC_RELEASE);
	syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void peer_futex(struct workload_ctx *ctx)
{
	int *turn = (int *)ctx->mem;

	for (;;) {
		futex_wait_turn(turn, 1);
		futex_give_turn(turn, 0);
	}
}

static void *peer_futex_thread(void *arg)
{
	peer_futex(arg);
	return NULL;
}

static int setup_futex_memory(struct workload_ctx *ctx)
{
	ctx->mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return ctx->mem == MAP_FAILED ? -errno : 0;
}

static int setup_futex_threads(struct workload_ctx *ctx)
{
	pthread_t thread;
	int ret;

	ret = setup_futex_memory(ctx);
	return ret ?: -pthread_create(&thread, NULL, peer_futex_thread, ctx);
}

static int setup_futex_processes(struct workload_ctx *ctx)
{
	return setup_futex_memory(ctx) ?: start_peer(ctx, peer_futex);
}

static int run_futex(struct workload_ctx *ctx, long n)
{
	int *turn = (int *)ctx->mem;

	while (n--) {
		futex_give_turn(turn, 1);
		futex_wait_turn(turn, 0);
	}
	return 0;
}

/* fd[0] and fd[1] are this side's to read and write, fd[2] and fd[3] the peer's. */
static void peer_echo(struct workload_ctx *ctx)
{
	char byte;

	while (read(ctx->fd[2], &byte, 1) == 1) {
		if (write(ctx->fd[3], &byte, 1) != 1)
			break;
	}
}

static int run_ping(struct workload_ctx *ctx, long n)
{
	char byte = 0;

	while (n--) {
		if (write(ctx->fd[1], &byte, 1) != 1 ||
		    read(ctx->fd[0], &byte, 1) != 1)
			return -EIO;
	}
	return 0;
}

static int setup_pipe(struct workload_ctx *ctx)
{
	int there[2], back[2];

	if (pipe(there) || pipe(back))
		return -errno;
	ctx->fd[0] = back[0];
	ctx->fd[1] = there[1];
	ctx->fd[2] = there[0];
	ctx->fd[3] = back[1];
	return start_peer(ctx, peer_echo);
}

static int start_echo(struct workload_ctx *ctx, int mine, int theirs)
{
	ctx->fd[0] = mine;
	ctx->fd[1] = mine;
	ctx->fd[2] = theirs;
	ctx->fd[3] = theirs;
	return start_peer(ctx, peer_echo);
}

static int setup_socketpair(struct workload_ctx *ctx)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return -errno;
	return start_echo(ctx, fds[0], fds[1]);
}

static int inet_socket(int type, struct sockaddr_in *addr)
{
	struct ifreq request = { .ifr_name = "lo" };
	socklen_t len = sizeof(*addr);
	int fd;

	addr->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, type, 0);
	if (fd < 0)
		return -errno;
	if (!ioctl(fd, SIOCGIFFLAGS, &request)) {
		request.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &request);
	}
	if (bind(fd, (void *)addr, len) || getsockname(fd, (void *)addr, &len))
		return -errno;
	return fd;
}

static int setup_udp(struct workload_ctx *ctx)
{
	struct sockaddr_in one = { }, two = { };
	int mine = inet_socket(SOCK_DGRAM, &one);
	int theirs = inet_socket(SOCK_DGRAM, &two);

	if (mine < 0 || theirs < 0)
		return -ENODEV;
	if (connect(mine, (void *)&two, sizeof(two)) ||
	    connect(theirs, (void *)&one, sizeof(one)))
		return -errno;
	return start_echo(ctx, mine, theirs);
}

static int setup_tcp(struct workload_ctx *ctx)
{
	struct sockaddr_in one = { }, two = { };
	int server = inet_socket(SOCK_STREAM, &one);
	int mine = inet_socket(SOCK_STREAM, &two), theirs;

	if (server < 0 || mine < 0)
		return -ENODEV;
	if (listen(server, 1) || connect(mine, (void *)&one, sizeof(one)))
		return -errno;
	theirs = accept(server, NULL, NULL);
	if (theirs < 0)
		return -errno;
	return start_echo(ctx, mine, theirs);
}

static int setup_epoll(struct workload_ctx *ctx)
{
	struct epoll_event event = { .events = EPOLLIN };

	ctx->fd[0] = epoll_create1(0);
	ctx->fd[1] = eventfd(0, 0);
	if (ctx->fd[0] < 0 || ctx->fd[1] < 0)
		return -errno;
	return check(epoll_ctl(ctx->fd[0], EPOLL_CTL_ADD, ctx->fd[1], &event));
}

static int run_epoll(struct workload_ctx *ctx, long n)
{
	struct epoll_event event;
	unsigned long value = 1;

	while (n--) {
		if (write(ctx->fd[1], &value, sizeof(value)) != sizeof(value) ||
		    epoll_wait(ctx->fd[0], &event, 1, -1) != 1 ||
		    read(ctx->fd[1], &value, sizeof(value)) != sizeof(value))
			return -EIO;
	}
	return 0;
}

/* --- files ------------------------------------------------------------- */

/* fd[0] is a file of MAX_IO bytes, mem a buffer for it. */
static int setup_file(struct workload_ctx *ctx, const char *dir)
{
	if (!dir)
		return -ENOENT;
	ctx->dir = dir;
	ctx->fd[0] = asi_tmpfile(dir);
	if (ctx->fd[0] < 0)
		return ctx->fd[0];
	ctx->mem = mmap(NULL, MAX_IO, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (ctx->mem == MAP_FAILED)
		return -errno;
	return pwrite(ctx->fd[0], ctx->mem, MAX_IO, 0) == MAX_IO ? 0 : -EIO;
}

static int setup_tmpfs(struct workload_ctx *ctx)
{
	return setup_file(ctx, asi_tmpfs());
}

static int setup_ext4(struct workload_ctx *ctx)
{
	return setup_file(ctx, asi_ext4());
}

static int run_pread(struct workload_ctx *ctx, long n, size_t len)
{
	while (n--) {
		if (pread(ctx->fd[0], ctx->mem, len, 0) != (ssize_t)len)
			return -EIO;
	}
	return 0;
}

static int run_pwrite(struct workload_ctx *ctx, long n, size_t len)
{
	while (n--) {
		if (pwrite(ctx->fd[0], ctx->mem, len, 0) != (ssize_t)len)
			return -EIO;
	}
	return 0;
}

static int run_pread_4k(struct workload_ctx *ctx, long n)
{
	return run_pread(ctx, n, 4096);
}

static int run_pread_64k(struct workload_ctx *ctx, long n)
{
	return run_pread(ctx, n, MAX_IO);
}

static int run_pwrite_4k(struct workload_ctx *ctx, long n)
{
	return run_pwrite(ctx, n, 4096);
}

static int run_pwrite_64k(struct workload_ctx *ctx, long n)
{
	return run_pwrite(ctx, n, MAX_IO);
}

static int setup_direct(struct workload_ctx *ctx)
{
	int ret = setup_ext4(ctx);

	if (ret)
		return ret;
	fsync(ctx->fd[0]);
	return check(fcntl(ctx->fd[0], F_SETFL, O_DIRECT));
}

static int run_fsync(struct workload_ctx *ctx, long n)
{
	while (n--) {
		if (pwrite(ctx->fd[0], ctx->mem, 4096, 0) != 4096 ||
		    fsync(ctx->fd[0]))
			return -errno;
	}
	return 0;
}

static int run_nop(struct workload_ctx *ctx, long n)
{
	struct io_uring_sqe nop = { .opcode = IORING_OP_NOP };
	struct uring *ring = (void *)ctx->mem;
	int ret = 0;

	while (n-- && !ret)
		ret = uring_do(ring, &nop);
	return ret;
}

static int setup_uring(struct workload_ctx *ctx)
{
	static struct uring ring;
	int ret = setup_tmpfs(ctx);

	if (!ret)
		ret = uring_init(&ring, 0);
	if (ret)
		return ret;
	/* The buffer is not needed by its name any more. */
	memcpy(ctx->mem, &ring, sizeof(ring));
	return 0;
}

static int run_uring(struct workload_ctx *ctx, long n)
{
	struct uring *ring = (void *)ctx->mem;

	while (n--) {
		if (uring_read(ring, ctx->fd[0], ctx->mem + 4096, 4096, 0) != 4096)
			return -EIO;
	}
	return 0;
}

static int setup_sendfile(struct workload_ctx *ctx)
{
	int fds[2];

	if (setup_tmpfs(ctx) || pipe(fds))
		return -ENOENT;
	ctx->fd[1] = fds[1];
	ctx->fd[2] = fds[0];
	return 0;
}

static int run_sendfile(struct workload_ctx *ctx, long n)
{
	while (n--) {
		off_t from = 0;

		if (sendfile(ctx->fd[1], ctx->fd[0], &from, 4096) != 4096 ||
		    read(ctx->fd[2], ctx->mem, 4096) != 4096)
			return -EIO;
	}
	return 0;
}

static int run_splice(struct workload_ctx *ctx, long n)
{
	while (n--) {
		loff_t from = 0;

		if (splice(ctx->fd[0], &from, ctx->fd[1], NULL, 4096, 0) != 4096 ||
		    read(ctx->fd[2], ctx->mem, 4096) != 4096)
			return -EIO;
	}
	return 0;
}

static int run_stat(struct workload_ctx *ctx, long n)
{
	struct stat st;

	while (n--) {
		if (stat("/proc/self", &st))
			return -errno;
	}
	return 0;
}

static int setup_tmpfs_dir(struct workload_ctx *ctx)
{
	ctx->dir = asi_tmpfs();
	return ctx->dir ? 0 : -ENOENT;
}

static int setup_ext4_dir(struct workload_ctx *ctx)
{
	ctx->dir = asi_ext4();
	return ctx->dir ? 0 : -ENOENT;
}

static int run_stat_dir(struct workload_ctx *ctx, long n)
{
	struct stat st;

	while (n--) {
		if (stat(ctx->dir, &st))
			return -errno;
	}
	return 0;
}

/* Names that are not there, and that nobody has asked for before. */
static int run_lookup(struct workload_ctx *ctx, long n)
{
	static long serial;
	char path[64];
	struct stat st;

	while (n--) {
		snprintf(path, sizeof(path), "%s/none-%ld", ctx->dir, serial++);
		if (!stat(path, &st) || errno != ENOENT)
			return -EEXIST;
	}
	return 0;
}

static int run_open(struct workload_ctx *ctx, long n)
{
	struct stat st;
	int fd;

	while (n--) {
		fd = open(ctx->dir, O_RDONLY | O_DIRECTORY);
		if (fd < 0 || fstat(fd, &st) || close(fd))
			return -errno;
	}
	return 0;
}

static int setup_getdents(struct workload_ctx *ctx)
{
	ctx->fd[0] = open(ctx->dir ?: "/", O_RDONLY | O_DIRECTORY);
	ctx->mem = asi_fresh(MAX_IO);
	return ctx->fd[0] < 0 || !ctx->mem ? -errno : 0;
}

static int setup_getdents_ext4(struct workload_ctx *ctx)
{
	return setup_ext4_dir(ctx) ?: setup_getdents(ctx);
}

static int run_getdents(struct workload_ctx *ctx, long n)
{
	while (n--) {
		if (lseek(ctx->fd[0], 0, SEEK_SET) ||
		    syscall(SYS_getdents64, ctx->fd[0], ctx->mem, MAX_IO) <= 0)
			return -EIO;
	}
	return 0;
}

static int run_create(struct workload_ctx *ctx, long n)
{
	int fd;

	while (n--) {
		fd = asi_tmpfile(ctx->dir);
		if (fd < 0 || close(fd))
			return -EIO;
	}
	return 0;
}

/* --- memory ------------------------------------------------------------ */

/* Each operation touches one page of fresh memory. */
static int run_anon_fault(struct workload_ctx *ctx, long n)
{
	const size_t len = 64 * 4096;
	long i = 0;
	char *mem;

	mem = asi_fresh(len);
	if (!mem)
		return -ENOMEM;
	while (n--) {
		if (i == 64) {
			madvise(mem, len, MADV_DONTNEED);
			i = 0;
		}
		asi_store(mem + 4096 * i++, 1);
	}
	munmap(mem, len);
	return 0;
}

static int run_huge_fault(struct workload_ctx *ctx, long n)
{
	char *mem = asi_fresh(2 * HUGE), *huge;

	if (!mem)
		return -ENOMEM;
	huge = mem + (-(unsigned long)mem & (HUGE - 1));
	if (madvise(huge, HUGE, MADV_HUGEPAGE))
		return -errno;
	while (n--) {
		asi_store(huge, 1);
		madvise(huge, HUGE, MADV_DONTNEED);
	}
	munmap(mem, 2 * HUGE);
	return 0;
}

static int run_file_fault(struct workload_ctx *ctx, long n)
{
	char *mem;

	while (n--) {
		mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			   ctx->fd[0], 0);
		if (mem == MAP_FAILED)
			return -errno;
		asi_store(mem, 1);
		munmap(mem, 4096);
	}
	return 0;
}

/* A write to a private mapping of a file copies the page. */
static int run_cow_fault(struct workload_ctx *ctx, long n)
{
	char *mem;

	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		   ctx->fd[0], 0);
	if (mem == MAP_FAILED)
		return -errno;
	while (n--) {
		asi_store(mem, 1);
		madvise(mem, 4096, MADV_DONTNEED);
	}
	munmap(mem, 4096);
	return 0;
}

/* Memory for a guest that user mode may map, and that is taken away each time. */
static int setup_guest_memfd(struct workload_ctx *ctx)
{
	struct guest guest;
	int ret = guest_open(&guest);

	if (ret)
		return ret;
	ctx->mem = guest_memfd(&guest, 4096);
	ctx->fd[0] = guest.memory.guest_memfd;
	return ctx->mem ? 0 : -errno;
}

static int run_guest_memfd(struct workload_ctx *ctx, long n)
{
	while (n--) {
		if (asi_load(ctx->mem))
			return -EIO;
		asi_store(ctx->mem, 1);
		if (fallocate(ctx->fd[0], FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096))
			return -errno;
	}
	return 0;
}

/* Memory that is filled by userfaultfd, from the other page. */
static int setup_userfault(struct workload_ctx *ctx)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	ctx->mem = asi_fresh(2 * 4096);
	if (!ctx->mem)
		return -ENOMEM;
	ctx->mem[4096] = 1;
	ctx->fd[0] = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (ctx->fd[0] < 0 || ioctl(ctx->fd[0], UFFDIO_API, &api))
		return -errno;
	reg.range.start = (unsigned long)ctx->mem;
	reg.range.len = 4096;
	return check(ioctl(ctx->fd[0], UFFDIO_REGISTER, &reg));
}

static int run_userfault(struct workload_ctx *ctx, long n)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)ctx->mem,
		.src = (unsigned long)ctx->mem + 4096,
		.len = 4096,
	};

	while (n--) {
		if (ioctl(ctx->fd[0], UFFDIO_COPY, &copy))
			return -errno;
		if (asi_load(ctx->mem) != 1)
			return -EIO;
		madvise(ctx->mem, 4096, MADV_DONTNEED);
	}
	return 0;
}

static int setup_page(struct workload_ctx *ctx)
{
	ctx->mem = asi_fresh(4096);
	if (!ctx->mem)
		return -ENOMEM;
	*ctx->mem = 1;
	return 0;
}

static int setup_samples(struct workload_ctx *ctx)
{
	if (setup_page(ctx))
		return -ENOMEM;
	return samples_of(0, (long *)ctx->mem, 1024) ? 0 : -errno;
}

static int run_samples(struct workload_ctx *ctx, long n)
{
	while (n--)
		asi_store((long *)ctx->mem, n);
	return 0;
}

static int run_mprotect(struct workload_ctx *ctx, long n)
{
	while (n--) {
		if (mprotect(ctx->mem, 4096, n % 2 ? PROT_READ :
			     PROT_READ | PROT_WRITE))
			return -errno;
	}
	return 0;
}

/* Grows the heap by 64 KiB, touches it, and gives it back. */
static int run_brk(struct workload_ctx *ctx, long n)
{
	char *end = sbrk(0);

	while (n--) {
		if (brk(end + 65536))
			return -errno;
		asi_store(end, 1);
		if (brk(end))
			return -errno;
	}
	return 0;
}

/* --- processes --------------------------------------------------------- */

static int run_fork(struct workload_ctx *ctx, long n)
{
	pid_t pid;

	while (n--) {
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return -errno;
	}
	return 0;
}

static void be_read(struct workload_ctx *ctx)
{
	asi_store(ctx->mem, 2);
	if (write(ctx->fd[1], "", 1) == 1)
		pause();
}

/* Opens a file that tells something of the peer. */
static int open_of_peer(struct workload_ctx *ctx, int nr, const char *what, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", ctx->peer, what);
	ctx->fd[nr] = open(path, flags);
	return check(ctx->fd[nr]);
}

/* A page of another process, at an address that both have. */
static int setup_vm_readv(struct workload_ctx *ctx)
{
	char ready;
	int ret;

	ret = setup_page(ctx) ?: check(pipe(ctx->fd)) ?: start_peer(ctx, be_read);
	if (ret)
		return ret;
	return read(ctx->fd[0], &ready, 1) == 1 ? 0 : -EIO;
}

static int run_vm_readv(struct workload_ctx *ctx, long n)
{
	struct iovec page = { ctx->mem, 4096 };

	while (n--) {
		if (process_vm_readv(ctx->peer, &page, 1, &page, 1, 0) != 4096)
			return -errno;
		if (asi_load(ctx->mem) != 2)
			return -EIO;
	}
	return 0;
}

/* The same page, as a debugger looks at it, and writes there. */
static int setup_ptrace(struct workload_ctx *ctx)
{
	return setup_vm_readv(ctx) ?: check(ptrace(PTRACE_SEIZE, ctx->peer, 0, 0)) ?:
	       check(ptrace(PTRACE_INTERRUPT, ctx->peer, 0, 0)) ?:
	       check(waitpid(ctx->peer, NULL, 0));
}

static int run_ptrace(struct workload_ctx *ctx, long n)
{
	long word;

	while (n--) {
		errno = 0;
		word = ptrace(PTRACE_PEEKDATA, ctx->peer, ctx->mem, 0);
		if (errno || (word & 0xff) != 2 ||
		    ptrace(PTRACE_POKEDATA, ctx->peer, ctx->mem, word))
			return errno ? -errno : -EIO;
	}
	return 0;
}

/* The same page in a file of /proc, which is read and written, from end to end */
static int setup_proc_mem(struct workload_ctx *ctx)
{
	return setup_vm_readv(ctx) ?: open_of_peer(ctx, 2, "mem", O_RDWR);
}

static int run_proc_mem(struct workload_ctx *ctx, long n)
{
	off_t there = (off_t)ctx->mem;
	char *last = ctx->mem + 4095;
	char now;

	while (n--) {
		now = n;
		asi_store(last, now);
		errno = EIO;
		if (pwrite(ctx->fd[2], ctx->mem, 4096, there) != 4096)
			return -errno;
		asi_store(last, now + 1);
		if (pread(ctx->fd[2], ctx->mem, 4096, there) != 4096 || asi_load(last) != now)
			return -errno;
	}
	return 0;
}

/* What ps shows of it, and what it shows if it is asked to */
static int setup_proc_cmdline(struct workload_ctx *ctx)
{
	return setup_vm_readv(ctx) ?: open_of_peer(ctx, 2, "cmdline", O_RDONLY);
}

static int run_proc_cmdline(struct workload_ctx *ctx, long n)
{
	while (n--) {
		errno = EIO;
		if (pread(ctx->fd[2], ctx->mem, 4096, 0) <= 0)
			return -errno;
	}
	return 0;
}

static int setup_proc_environ(struct workload_ctx *ctx)
{
	return setup_vm_readv(ctx) ?: open_of_peer(ctx, 2, "environ", O_RDONLY);
}

static int run_proc_environ(struct workload_ctx *ctx, long n)
{
	size_t len = environ[0] ? strlen(environ[0]) : 0;

	while (n--) {
		errno = EIO;
		if (pread(ctx->fd[2], ctx->mem, 4096, 0) < (ssize_t)len ||
		    memcmp(ctx->mem, environ[0], len))
			return -errno;
	}
	return 0;
}

/* The program that is run fails at once, for want of a known option. */
static int run_exec(struct workload_ctx *ctx, long n)
{
	int status;
	pid_t pid;

	while (n--) {
		pid = fork();
		if (!pid) {
			execl("/proc/self/exe", "asi-nothing", NULL);
			_exit(1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return -errno;
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			return -EIO;
	}
	return 0;
}

/* What run_exec() runs: nothing, as soon as possible. */
static __attribute__((constructor(101))) void exec_nothing(int argc, char **argv)
{
	if (argc == 1 && !strcmp(argv[0], "asi-nothing"))
		_exit(0);
}

const struct workload workloads[] = {
	{ "getpid", MANY, true, NULL, run_getpid },
	{ "signal", MANY, true, setup_signal, run_signal },
	{ "sched_yield", MANY, true, setup_yield, run_yield },
	{ "futex_threads", MANY, true, setup_futex_threads, run_futex },
	{ "futex_processes", MANY, true, setup_futex_processes, run_futex },
	{ "epoll_eventfd", MANY, true, setup_epoll, run_epoll },
	{ "io_uring_nop", MANY, true, setup_uring, run_nop },
	{ "perf_sample", MANY, true, setup_samples, run_samples },
	{ "stat", MANY, true, NULL, run_stat },
	{ "open_fstat_close", MANY, true, setup_tmpfs_dir, run_open },
	{ "getdents", MANY, true, setup_getdents, run_getdents },
	{ "create_unlink", MANY, true, setup_tmpfs_dir, run_create },
	{ "pipe", MANY, true, setup_pipe, run_ping },
	{ "socketpair", MANY, true, setup_socketpair, run_ping },
	{ "udp", MANY, true, setup_udp, run_ping },
	{ "tcp", MANY, true, setup_tcp, run_ping },
	{ "pread_4k_tmpfs", MANY, true, setup_tmpfs, run_pread_4k },
	{ "pread_64k_tmpfs", MANY, true, setup_tmpfs, run_pread_64k },
	{ "pwrite_4k_tmpfs", MANY, true, setup_tmpfs, run_pwrite_4k },
	{ "pwrite_64k_tmpfs", MANY, true, setup_tmpfs, run_pwrite_64k },
	{ "pread_4k_ext4", MANY, true, setup_ext4, run_pread_4k },
	{ "pread_64k_ext4", MANY, true, setup_ext4, run_pread_64k },
	{ "pwrite_4k_ext4", MANY, false, setup_ext4, run_pwrite_4k },
	{ "pwrite_64k_ext4", MANY, false, setup_ext4, run_pwrite_64k },
	{ "stat_ext4", MANY, true, setup_ext4_dir, run_stat_dir },
	{ "open_fstat_close_ext4", MANY, true, setup_ext4_dir, run_open },
	{ "lookup_ext4", MANY, true, setup_ext4_dir, run_lookup },
	{ "getdents_ext4", MANY, true, setup_getdents_ext4, run_getdents },
	{ "create_unlink_ext4", FEW, true, setup_ext4_dir, run_create },
	{ "direct_read_ext4", MANY, true, setup_direct, run_pread_4k },
	{ "fsync_ext4", FEW, false, setup_ext4, run_fsync },
	{ "io_uring_read", MANY, true, setup_uring, run_uring },
	{ "sendfile", MANY, true, setup_sendfile, run_sendfile },
	{ "splice", MANY, true, setup_sendfile, run_splice },
	{ "anon_fault", MANY, true, NULL, run_anon_fault },
	{ "huge_fault", FEW, true, NULL, run_huge_fault },
	{ "file_fault", MANY, true, setup_tmpfs, run_file_fault },
	{ "cow_fault", MANY, true, setup_tmpfs, run_cow_fault },
	{ "guest_memfd_fault", MANY, true, setup_guest_memfd, run_guest_memfd },
	{ "userfault_copy", MANY, true, setup_userfault, run_userfault },
	{ "mprotect", MANY, true, setup_page, run_mprotect },
	{ "brk_64k", MANY, true, NULL, run_brk },
	{ "process_vm_readv", MANY, true, setup_vm_readv, run_vm_readv },
	{ "ptrace_peek_poke", MANY, true, setup_ptrace, run_ptrace },
	{ "proc_mem", MANY, true, setup_proc_mem, run_proc_mem },
	{ "proc_cmdline", MANY, false, setup_proc_cmdline, run_proc_cmdline },
	{ "proc_environ", MANY, true, setup_proc_environ, run_proc_environ },
	{ "fork_exit", FEW, true, NULL, run_fork },
	{ "fork_exec", FEW, false, NULL, run_exec },
	{ }
};

const struct workload *workload_find(const char *name)
{
	const struct workload *workload;

	for (workload = workloads; workload->name; workload++) {
		if (!strcmp(workload->name, name))
			return workload;
	}
	return NULL;
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* How long all CPUs have been idle, to 10 milliseconds. */
static double idle_ns(void)
{
	char buf[4096];
	long idle, iowait;

	if (asi_slurp("/proc/stat", buf, sizeof(buf)) < 0 ||
	    sscanf(buf, "cpu %*d %*d %*d %ld %ld", &idle, &iowait) != 2)
		return 0;
	return (idle + iowait) * (1e9 / sysconf(_SC_CLK_TCK));
}

/* Interrupts so far to flush TLBs and to call functions, of all CPUs. */
static double ipis(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char *line = NULL, *word, *end;
	size_t size = 0;
	double sum = 0;

	while (file && getline(&line, &size, file) > 0) {
		word = line + strspn(line, " ");
		if (strncmp(word, "TLB:", 4) && strncmp(word, "CAL:", 4))
			continue;
		for (word += 4;; word = end) {
			unsigned long count = strtoul(word, &end, 10);

			if (end == word)
				break;
			sum += count;
		}
	}
	free(line);
	if (file)
		fclose(file);
	return sum;
}

bool workload_beside;

static void *run_beside(void *running)
{
	asi_pin(0);
	for (;;)
		__atomic_store_n((bool *)running, true, __ATOMIC_RELEASE);
	return NULL;
}

static int measure(const struct workload *workload, long ops, int tries,
		   struct workload_cost *cost)
{
	struct workload_ctx ctx = { };
	static bool running;
	pthread_t thread;
	int ret;

	if (workload_beside && sysconf(_SC_NPROCESSORS_ONLN) > 1) {
		if (pthread_create(&thread, NULL, run_beside, &running))
			return -EAGAIN;
		while (!__atomic_load_n(&running, __ATOMIC_ACQUIRE))
			usleep(100);
	}
	asi_pin_last();
	cost->kib = asi_meminfo("MemFree:") >> 10;
	ret = workload->setup ? workload->setup(&ctx) : 0;
	if (!ret)
		ret = workload->run(&ctx, ops / 10 + 1);
	/* So that reading the counters takes no page fault later. */
	asi_counter("asi_exit");
	cost->exits = 1e18;
	cost->flushes = 1e18;
	cost->ns = 1e18;
	cost->kib -= asi_meminfo("MemFree:") >> 10;
	while (!ret && tries--) {
		long exits = asi_counter("asi_exit"), flushes = asi_flushes_read();
		double sent = ipis(), idle = idle_ns(), ns = now_ns();

		ret = workload->run(&ctx, ops);
		ns = (now_ns() - ns) / ops;
		exits = asi_counter("asi_exit") - exits;
		flushes = asi_flushes_read() - flushes;
		if ((double)exits / ops < cost->exits)
			cost->exits = (double)exits / ops;
		if ((double)flushes / ops < cost->flushes)
			cost->flushes = (double)flushes / ops;
		if (ns < cost->ns) {
			cost->ns = ns;
			cost->idle = (idle_ns() - idle) / ops / ns;
			cost->interrupts = (ipis() - sent) / ops;
		}
		if (!exits)
			break;
	}
	return ret;
}

int workload_measure(const struct workload *workload, long ops, int tries,
		     struct workload_cost *cost)
{
	int fds[2], status, ret = -EIO;
	pid_t pid;

	if (pipe(fds))
		return -errno;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		ret = measure(workload, ops ?: workload->ops, tries, cost);
		if (write(fds[1], cost, sizeof(*cost)) != sizeof(*cost))
			ret = -EIO;
		_exit(-ret);
	}
	close(fds[1]);
	if (pid > 0 && read(fds[0], cost, sizeof(*cost)) == sizeof(*cost) &&
	    waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		ret = -WEXITSTATUS(status);
	close(fds[0]);
	return ret;
}
