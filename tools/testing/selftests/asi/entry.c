// SPDX-License-Identifier: GPL-2.0-only
/*
 * System calls of every kind, and the first return of whatever is new.
 */
#include <linux/aio_abi.h>
#include <linux/sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "entry.h"
#include "uring.h"

TEST_F(entry, syscall)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		memset(self->buf, 0, LEN);
		ASSERT_EQ(LEN, pread(self->file, self->buf, LEN, 0));
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(self->buf));
	}
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, int80_from_64bit)
{
	long ret;
	int i;

	set_handler(SIGSEGV, on_escape);
	if (sigsetjmp(escape, 1))
		SKIP(return, "no 32-bit system calls");
	for (i = 0; i < ROUNDS; i++) {
		memset(self->buf, 0, LEN);
		/* pread64 */
		asm volatile("int $0x80" : "=a" (ret)
			     : "a" (180), "b" (self->file), "c" (self->buf),
			       "d" (LEN), "S" (0), "D" (0)
			     : "memory", "r8", "r9", "r10", "r11");
		EXPECT_RESTRICTED();
		ASSERT_EQ(LEN, ret);
		EXPECT_TRUE(all_filled(self->buf));
	}
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, vsyscall_page)
{
	long (*vgettimeofday)(struct timeval *tv, void *zone) =
		(void *)0xffffffffff600000UL;
	struct timeval *tv = asi_fresh(LEN);
	int i;

	ASSERT_NE(NULL, tv);
	set_handler(SIGSEGV, on_escape);
	if (sigsetjmp(escape, 1))
		SKIP(return, "no vsyscall page");
	for (i = 0; i < ROUNDS; i++) {
		madvise(tv, LEN, MADV_DONTNEED);
		ASSERT_EQ(0, vgettimeofday(tv, NULL));
		EXPECT_RESTRICTED();
		EXPECT_LT(0, tv->tv_sec);
	}
	EXPECT_EXITS(ROUNDS);
}

/* Where the new task's id is written, in ret_from_fork(), is fresh memory. */
static int new_task(void *unused)
{
	return asi_restricted(state_fd) == 1 ? 0 : 1;
}

TEST_F(entry, first_return_of_a_process)
{
	pid_t *id = asi_fresh(LEN), pid;
	int i, status;

	for (i = 0; i < ROUNDS; i++) {
		pid = syscall(SYS_clone, CLONE_CHILD_SETTID | SIGCHLD, NULL,
			      NULL, id, 0);
		if (!pid)
			_exit(new_task(NULL));
		ASSERT_LT(0, pid);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_RESTRICTED();
	}
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, first_return_of_a_thread)
{
	pid_t *id = asi_fresh(LEN), pid;
	char *stack = asi_fresh(STACK_SIZE);
	int i, status;

	for (i = 0; i < ROUNDS; i++) {
		madvise(id, LEN, MADV_DONTNEED);
		pid = clone(new_task, stack + STACK_SIZE, CLONE_VM | CLONE_FS |
			    CLONE_FILES | CLONE_CHILD_SETTID | SIGCHLD, NULL,
			    NULL, NULL, id);
		ASSERT_LT(0, pid);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_RESTRICTED();
	}
	EXPECT_EXITS(ROUNDS);
}

/* The program of the exec test, which is this one under another name. */
static __attribute__((constructor(101))) void new_program(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[0], "asi-new-program"))
		_exit(asi_restricted(atoi(argv[1])) == 1 ? 0 : 1);
}

TEST_F(entry, first_return_of_a_program)
{
	char fd[16];
	int i, status;
	pid_t pid;

	snprintf(fd, sizeof(fd), "%d", state_fd);
	for (i = 0; i < ROUNDS; i++) {
		pid = fork();
		if (!pid) {
			execl("/proc/self/exe", "asi-new-program", fd, NULL);
			_exit(2);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_RESTRICTED();
	EXPECT_EXITS(ROUNDS);
}

/* The tracee reads a file and then reports in its exit status what it saw. */
static int traced(int file, long *poked)
{
	char buf[LEN];
	int i;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (i = 0; i < ROUNDS; i++) {
		if (pread(file, buf, LEN, 0) != LEN || !all_filled(buf))
			return 1;
		if (asi_restricted(state_fd) != 1)
			return 2;
	}
	return asi_load(poked) == 0x706f6b65 ? 0 : 3;
}

static void trace(struct __test_metadata *_metadata, int file, int request,
		  int stops)
{
	long *poked = asi_fresh(LEN);
	int status, n = 0;
	pid_t pid;

	ASSERT_NE(NULL, poked);
	*poked = 0;
	pid = fork();
	if (!pid)
		_exit(traced(file, poked));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	for (;;) {
		ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, pid, poked, 0x706f6b65));
		EXPECT_RESTRICTED();
		ASSERT_EQ(0, ptrace(n < stops ? request : PTRACE_CONT, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (!WIFSTOPPED(status))
			break;
		n++;
	}
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_LT(ROUNDS, n);
}

TEST_F(entry, ptrace_syscalls)
{
	trace(_metadata, self->file, PTRACE_SYSCALL, 100000);
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, ptrace_single_steps)
{
	/* An emulator may do so, of which the kernel complains, with ASI or without. */
	if (getenv("asi_no_steps"))
		SKIP(return, "the CPU steps into the kernel");
	trace(_metadata, self->file, PTRACE_SINGLESTEP, 500);
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, read_of_another_process)
{
	struct iovec iov = { self->buf, LEN };
	int i, status, stop[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(stop));
	pid = fork();
	if (!pid) {
		close(stop[1]);
		_exit(read(stop[0], self->buf, 1));
	}
	for (i = 0; i < ROUNDS; i++) {
		memset(self->buf, 0, LEN);
		ASSERT_EQ(LEN, process_vm_readv(pid, &iov, 1, &iov, 1, 0));
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(self->buf));
	}
	close(stop[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EXITS(ROUNDS);
}

/* The kernel writes to the process's ring from an interrupt. */
TEST_F(entry, aio_completion)
{
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = LEN };
	const char *disk = asi_ext4();
	struct iocb *requests = &request;
	aio_context_t context = 0;
	struct io_event event;
	int file, i;

	if (!disk)
		SKIP(return, "no ext4");
	file = asi_tmpfile(disk);
	ASSERT_LE(0, file);
	ASSERT_EQ(LEN, write(file, self->buf, LEN));
	ASSERT_EQ(0, fsync(file));
	ASSERT_EQ(0, fcntl(file, F_SETFL, O_DIRECT));
	if (syscall(__NR_io_setup, 1, &context))
		SKIP(return, "no AIO: %s", strerror(errno));
	request.aio_fildes = file;
	request.aio_buf = (uintptr_t)self->buf;
	for (i = 0; i < ROUNDS; i++) {
		memset(self->buf, 0, LEN);
		memset(&event, 0, sizeof(event));
		ASSERT_EQ(1, syscall(__NR_io_submit, context, 1, &requests));
		EXPECT_RESTRICTED();
		ASSERT_EQ(1, syscall(__NR_io_getevents, context, 1, 1, &event, NULL));
		EXPECT_RESTRICTED();
		ASSERT_EQ(LEN, event.res);
		EXPECT_TRUE(all_filled(self->buf));
	}
	EXPECT_EQ(0, syscall(__NR_io_destroy, context));
	close(file);
}

FIXTURE(io_uring)
{
	struct asi_balance before;
};

FIXTURE_VARIANT(io_uring)
{
	unsigned int setup, flags;
};

FIXTURE_VARIANT_ADD(io_uring, inline) { .flags = 0 };
FIXTURE_VARIANT_ADD(io_uring, worker) { .flags = IOSQE_ASYNC };
FIXTURE_VARIANT_ADD(io_uring, poller) { .setup = IORING_SETUP_SQPOLL };

FIXTURE_SETUP(io_uring)
{
	if (!prepare(_metadata))
		return;
	self->before = asi_balance();
	self->before = asi_balance();
}

FIXTURE_TEARDOWN(io_uring)
{
	finish(_metadata, &self->before);
}

TEST_F(io_uring, read)
{
	char buf[LEN];
	struct uring ring;
	int file, i, ret;

	ret = uring_init(&ring, variant->setup);
	if (ret)
		SKIP(return, "no io_uring: %s", strerror(-ret));
	file = memfd_create("asi", 0);
	memset(buf, FILL, LEN);
	ASSERT_EQ(LEN, write(file, buf, LEN));
	for (i = 0; i < ROUNDS; i++) {
		memset(buf, 0, LEN);
		ret = uring_read(&ring, file, buf, LEN, variant->flags);
		EXPECT_RESTRICTED();
		ASSERT_EQ(LEN, ret);
		EXPECT_TRUE(all_filled(buf));
	}
	EXPECT_EXITS(ROUNDS);
}

FIXTURE(compat)
{
	char path[256];
	const char *obstacle;
};

FIXTURE_VARIANT(compat)
{
	const char *how;
};

FIXTURE_VARIANT_ADD(compat, int80) { .how = "int80" };
FIXTURE_VARIANT_ADD(compat, vdso) { .how = "vdso" };

FIXTURE_SETUP(compat)
{
	ssize_t len;
	char *end;

	if (!prepare(_metadata))
		return;
	len = readlink("/proc/self/exe", self->path, sizeof(self->path) - 16);
	ASSERT_LT(0, len);
	self->path[len] = 0;
	end = strrchr(self->path, '/');
	memcpy(end, "/entry32", sizeof("/entry32"));
	if (access(self->path, X_OK))
		self->obstacle = "entry32 was not built";
	/* Bochs with two CPUs; with ASI off as well. The C library makes calls that way. */
	else if (getenv("asi_no_sysexit"))
		self->obstacle = "SYSEXIT leaves a stack of 16 bits";
}

FIXTURE_TEARDOWN(compat)
{
	asi_break("");
}

TEST_F(compat, comes_back_restricted)
{
	int status;
	pid_t pid;

	if (self->obstacle)
		SKIP(return, "%s", self->obstacle);
	pid = fork();
	if (!pid) {
		execl(self->path, self->path, variant->how, NULL);
		_exit(errno == ENOEXEC ? KSFT_SKIP : KSFT_FAIL);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	if (WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "not available to 32-bit programs here");
	EXPECT_EQ(0, WEXITSTATUS(status));
}

FIXTURE(control)
{
	int unused;
};

FIXTURE_SETUP(control)
{
	prepare(_metadata);
}

FIXTURE_TEARDOWN_PARENT(control)
{
	asi_break("");
}

/*
 * Negative control: user code does not get to run where the return to restricted
 * was forgotten, and the kernel notices.
 */
TEST_F(control, a_forgotten_enter_is_seen)
{
	char *fresh = asi_fresh(LEN);
	int status = 0, tries;
	pid_t pid;

	if (asi_cpu_has("pti"))
		SKIP(return, "fatal to the kernel with KPTI");
	EXPECT_RESTRICTED();
	/* An interrupt that lets siblings go may have entered before. */
	for (tries = 0; tries < 20 && !WIFSIGNALED(status); tries++) {
		ASSERT_EQ(0, asi_break(""));
		pid = fork();
		if (!pid) {
			asi_break("noenter nowindow");
			fresh[0] = 1;
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
	}
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	EXPECT_EQ(0, asi_restricted(state_fd));
	ASSERT_EQ(0, asi_break(""));
	EXPECT_RESTRICTED();
}

TEST_HARNESS_MAIN
