// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whichever way the kernel was entered, and whatever made it leave the
 * restricted address space meanwhile, user code runs restricted again.
 *
 * Each test forces a transition inside the path that it is about, and then
 * asks as the very first thing (in the signal handler, in the new task)
 * whether the CPU is restricted. What forces it: reading the page cache,
 * zeroing a page of user memory on its first touch, or copying it.
 */
#include <asm/ldt.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <time.h>
#include <ucontext.h>

#include "asi.h"
#include "kselftest_harness.h"
#include "uring.h"

#define ROUNDS		50
#define LEN		4096
#define STACK_SIZE	65536
#define FILL		0xa5
#define TRACING		"/sys/kernel/tracing/"

#ifndef UC_STRICT_RESTORE_SS
#define UC_STRICT_RESTORE_SS 4
#endif

/* A bad selector in the local descriptor table, and a 16-bit stack segment. */
#define LDT_STACK16	0
#define LDT_ABSENT	1
#define LDT_SELECTOR(i)	((i) << 3 | 4 | 3)

static int state_fd = -1;

/* What a signal handler found: how often it ran, and how often unrestricted. */
static int handled, handled_unrestricted;
static int next_ss;
static void *resume;
static sigjmp_buf escape;
static char *signal_stack;

static void note_entry(void)
{
	if (asi_restricted(state_fd) != 1)
		asi_store(&handled_unrestricted, handled_unrestricted + 1);
	asi_store(&handled, handled + 1);
}

/* The next signal finds a stack that has no pages yet. */
static void fresh_signal_stack(void)
{
	madvise(signal_stack, STACK_SIZE, MADV_DONTNEED);
}

static void set_handler(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};

	sigaction(sig, &action, NULL);
}

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	note_entry();
}

/* Continues at @resume, without single-stepping. */
static void on_exception(int sig, siginfo_t *info, void *ctx)
{
	greg_t *regs = ((ucontext_t *)ctx)->uc_mcontext.gregs;

	note_entry();
	regs[REG_RIP] = (greg_t)resume;
	regs[REG_EFL] &= ~((1L << 8) | (1L << 18));
}

static void on_escape(int sig, siginfo_t *info, void *ctx)
{
	note_entry();
	siglongjmp(escape, 1);
}

/* Returns to user mode with another stack segment. */
static void on_change_ss(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	unsigned short *segments = (void *)&uc->uc_mcontext.gregs[REG_CSGSFS];

	note_entry();
	uc->uc_flags |= UC_STRICT_RESTORE_SS;
	segments[3] = next_ss;
	next_ss = 0x2b;
}

FIXTURE(entry)
{
	int file;
	char *buf;
	struct asi_balance before;
};

FIXTURE_SETUP(entry)
{
	stack_t stack = { .ss_size = STACK_SIZE };

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	asi_break("");
	ASSERT_EQ(0, asi_pin_alone());
	state_fd = asi_open_state();
	ASSERT_LE(0, state_fd);

	self->file = memfd_create("asi", 0);
	ASSERT_LE(0, self->file);
	/* Within reach of 32-bit system calls. */
	self->buf = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->buf);
	memset(self->buf, FILL, LEN);
	ASSERT_EQ(LEN, write(self->file, self->buf, LEN));

	signal_stack = asi_fresh(STACK_SIZE);
	ASSERT_NE(NULL, signal_stack);
	stack.ss_sp = signal_stack;
	ASSERT_EQ(0, sigaltstack(&stack, NULL));

	/* Twice, so that reading the counters faults no more. */
	self->before = asi_balance();
	self->before = asi_balance();
}

FIXTURE_TEARDOWN(entry)
{
	if (state_fd < 0)
		return;
	/* Exits and enters come in pairs, but for those under way on each CPU. */
	struct asi_balance now = asi_balance();
	long exits = now.exit - self->before.exit;
	long enters = now.enter - self->before.enter;

	EXPECT_GE(sysconf(_SC_NPROCESSORS_ONLN), labs(exits - enters))
		TH_LOG("%ld exits but %ld enters", exits, enters);
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

static bool all_filled(const char *buf)
{
	int i;

	for (i = 0; i < LEN; i++) {
		if ((unsigned char)buf[i] != FILL)
			return false;
	}
	return true;
}

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

TEST_F(entry, page_fault)
{
	char *mem = asi_fresh(LEN);
	int i;

	ASSERT_NE(NULL, mem);
	for (i = 0; i < ROUNDS; i++) {
		madvise(mem, LEN, MADV_DONTNEED);
		asi_store(mem, 1);
		EXPECT_RESTRICTED();
	}
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, copy_on_write_fault)
{
	char *mem;
	int i;

	mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->file, 0);
	ASSERT_NE(MAP_FAILED, (void *)mem);
	for (i = 0; i < ROUNDS; i++) {
		madvise(mem, LEN, MADV_DONTNEED);
		asi_store(mem, FILL);
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(mem));
	}
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, timer_interrupt)
{
	const struct itimerval off = { }, soon = { .it_value.tv_usec = 1000 };
	int i;

	set_handler(SIGALRM, on_signal);
	for (i = 0; i < ROUNDS; i++) {
		fresh_signal_stack();
		setitimer(ITIMER_REAL, &soon, NULL);
		/* In user mode, so that the signal comes with the interrupt. */
		while (asi_load(&handled) == i)
			;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	EXPECT_HANDLED(ROUNDS);
	EXPECT_EXITS(ROUNDS);
}

TEST_F(entry, signal_return)
{
	int i;

	set_handler(SIGUSR1, on_signal);
	for (i = 0; i < ROUNDS; i++) {
		fresh_signal_stack();
		raise(SIGUSR1);
		EXPECT_RESTRICTED();
	}
	EXPECT_HANDLED(ROUNDS);
	EXPECT_EXITS(ROUNDS);
}

/* rt_sigreturn with the stack pointer at @frame; comes back by on_escape(). */
static void return_from(const void *frame)
{
	asm volatile("mov %0, %%rsp\n\t"
		     "mov %1, %%eax\n\t"
		     "syscall\n\t"
		     "ud2"
		     : : "r" (frame), "i" (SYS_rt_sigreturn) : "memory");
	__builtin_unreachable();
}

static void escape_from(const void *frame)
{
	fresh_signal_stack();
	if (!sigsetjmp(escape, 1))
		return_from(frame);
}

TEST_F(entry, signal_return_without_frame)
{
	char *frame = mmap(NULL, LEN, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	set_handler(SIGSEGV, on_escape);
	for (i = 0; i < ROUNDS; i++)
		escape_from(frame);
	EXPECT_RESTRICTED();
	EXPECT_HANDLED(ROUNDS);
	EXPECT_EXITS(ROUNDS);
}

/*
 * The frame is in a hole of a file: reading it zeroes a page, and what it says
 * makes the return to user mode fault.
 */
TEST_F(entry, signal_return_to_nowhere)
{
	int fd = memfd_create("asi", 0), i;
	char *frame;

	ASSERT_EQ(0, ftruncate(fd, LEN));
	frame = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)frame);
	set_handler(SIGSEGV, on_escape);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 0, LEN));
		escape_from(frame + 8);
	}
	EXPECT_RESTRICTED();
	EXPECT_HANDLED(ROUNDS);
	EXPECT_EXITS(2 * ROUNDS);
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

FIXTURE(io_uring)
{
	int unused;
};

FIXTURE_VARIANT(io_uring)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(io_uring, inline) { .flags = 0 };
FIXTURE_VARIANT_ADD(io_uring, worker) { .flags = IOSQE_ASYNC };

FIXTURE_SETUP(io_uring)
{
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	ASSERT_EQ(0, asi_pin_alone());
	state_fd = asi_open_state();
	ASSERT_LE(0, state_fd);
}

FIXTURE_TEARDOWN(io_uring)
{
}

TEST_F(io_uring, read)
{
	char buf[LEN];
	struct uring ring;
	int file, i, ret;

	ret = uring_init(&ring);
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
}

/*
 * One of these per exception that user code can raise. The handler's stack is
 * fresh each time, so that delivering the signal makes a transition.
 */
#define RAISE(name, ...)						\
static void raise_##name(void)						\
{									\
	asm volatile("lea 1f(%%rip), %%rax\n\t"				\
		     "mov %%rax, %[resume]\n\t"				\
		     "lea -128(%%rsp), %%rsp\n\t"			\
		     "mov %%rsp, %%r12\n\t"				\
		     "mov $1, %%eax\n\t"				\
		     __VA_ARGS__ "\n"					\
		     "1:\n\t"						\
		     "mov %%r12, %%rsp\n\t"				\
		     "fninit\n\t"					\
		     "ldmxcsr %[mxcsr]\n\t"				\
		     "lea 128(%%rsp), %%rsp"				\
		     : [resume] "=m" (resume)				\
		     : [mxcsr] "m" (mxcsr_default), [loud] "m" (mxcsr_loud),\
		       [cw] "m" (x87_loud)				\
		     : "rax", "rcx", "rdx", "r12", "xmm0", "xmm1",	\
		       "memory", "cc");					\
}

static const unsigned int mxcsr_default = 0x1f80, mxcsr_loud = 0x1d80;
static const unsigned short x87_loud = 0x37b;

RAISE(divide_error, "xor %%edx, %%edx\n\t xor %%ecx, %%ecx\n\t div %%ecx")
RAISE(invalid_opcode, "ud2")
RAISE(breakpoint, "int3")
RAISE(icebp, ".byte 0xf1")
RAISE(single_step, "pushf\n\t orl $0x100, (%%rsp)\n\t popf\n\t nop")
RAISE(general_protection, "bts $63, %%rax\n\t mov (%%rax), %%rax")
RAISE(privileged_insn, "hlt")
RAISE(stack_fault, "bts $63, %%rax\n\t mov %%rax, %%rsp\n\t push %%rax")
RAISE(bad_selector, "mov $0xfff3, %%ecx\n\t mov %%ecx, %%fs")
RAISE(page_fault_no_vma, "mov 8, %%rax")
RAISE(page_fault_kernel, "mov $-4096, %%rax\n\t mov (%%rax), %%rax")
RAISE(x87_error, "fldcw %[cw]\n\t fldz\n\t fld1\n\t fdivp\n\t fwait")
RAISE(simd_error, "ldmxcsr %[loud]\n\t xorps %%xmm0, %%xmm0\n\t"
		  "cvtsi2ss %%eax, %%xmm0\n\t xorps %%xmm1, %%xmm1\n\t"
		  "divss %%xmm1, %%xmm0")
RAISE(alignment_check, "pushf\n\t orl $0x40000, (%%rsp)\n\t popf\n\t"
		       "mov 1(%%rsp), %%eax")
RAISE(bad_int, "int $0x42")

FIXTURE(exception)
{
	struct asi_balance before;
};

FIXTURE_VARIANT(exception)
{
	void (*raise)(void);
};

FIXTURE_VARIANT_ADD(exception, divide_error) { .raise = raise_divide_error };
FIXTURE_VARIANT_ADD(exception, invalid_opcode) { .raise = raise_invalid_opcode };
FIXTURE_VARIANT_ADD(exception, breakpoint) { .raise = raise_breakpoint };
FIXTURE_VARIANT_ADD(exception, icebp) { .raise = raise_icebp };
FIXTURE_VARIANT_ADD(exception, single_step) { .raise = raise_single_step };
FIXTURE_VARIANT_ADD(exception, general_protection) { .raise = raise_general_protection };
FIXTURE_VARIANT_ADD(exception, privileged_insn) { .raise = raise_privileged_insn };
FIXTURE_VARIANT_ADD(exception, stack_fault) { .raise = raise_stack_fault };
FIXTURE_VARIANT_ADD(exception, bad_selector) { .raise = raise_bad_selector };
FIXTURE_VARIANT_ADD(exception, page_fault_no_vma) { .raise = raise_page_fault_no_vma };
FIXTURE_VARIANT_ADD(exception, page_fault_kernel) { .raise = raise_page_fault_kernel };
FIXTURE_VARIANT_ADD(exception, x87_error) { .raise = raise_x87_error };
FIXTURE_VARIANT_ADD(exception, simd_error) { .raise = raise_simd_error };
FIXTURE_VARIANT_ADD(exception, alignment_check) { .raise = raise_alignment_check };
FIXTURE_VARIANT_ADD(exception, bad_int) { .raise = raise_bad_int };

FIXTURE_SETUP(exception)
{
	static const int signals[] = { SIGFPE, SIGILL, SIGTRAP, SIGSEGV, SIGBUS };
	stack_t stack = { .ss_size = STACK_SIZE };
	unsigned int i;

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	ASSERT_EQ(0, asi_pin_alone());
	state_fd = asi_open_state();
	ASSERT_LE(0, state_fd);
	signal_stack = asi_fresh(STACK_SIZE);
	ASSERT_NE(NULL, signal_stack);
	stack.ss_sp = signal_stack;
	ASSERT_EQ(0, sigaltstack(&stack, NULL));
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		set_handler(signals[i], on_exception);
	self->before = asi_balance();
	self->before = asi_balance();
}

FIXTURE_TEARDOWN(exception)
{
}

TEST_F(exception, comes_back_restricted)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		fresh_signal_stack();
		variant->raise();
		EXPECT_RESTRICTED();
	}
	if (!asi_load(&handled))
		SKIP(return, "this CPU does not raise it");
	EXPECT_HANDLED(ROUNDS);
	EXPECT_EXITS(ROUNDS);
}

static int set_ldt(int index, bool present)
{
	struct user_desc desc = {
		.entry_number = index,
		.limit = 0xffff,
		.contents = MODIFY_LDT_CONTENTS_DATA,
		.seg_not_present = !present,
	};

	return syscall(SYS_modify_ldt, 0x11, &desc, sizeof(desc)) ? -errno : 0;
}

/*
 * With a 16-bit stack segment each return to user mode goes over the espfix
 * stack, also the one from a page fault that made a transition.
 */
TEST_F(entry, return_over_espfix_stack)
{
	char *mem = asi_fresh(LEN);
	int i;

	if (set_ldt(LDT_STACK16, true))
		SKIP(return, "no modify_ldt() with 16-bit segments");
	set_handler(SIGTRAP, on_change_ss);
	for (i = 0; i < ROUNDS; i++) {
		fresh_signal_stack();
		madvise(mem, LEN, MADV_DONTNEED);
		next_ss = LDT_SELECTOR(LDT_STACK16);
		/* The second breakpoint changes back. */
		asm volatile("int3\n\t"
			     "movb $1, %0\n\t"
			     "int3" : "=m" (*mem) : : "memory");
		EXPECT_RESTRICTED();
		EXPECT_EQ(1, asi_load(mem));
	}
	EXPECT_HANDLED(2 * ROUNDS);
	EXPECT_EXITS(2 * ROUNDS);
}

/* The stack segment is not there: IRET faults, and a signal says so. */
TEST_F(entry, return_that_faults)
{
	int i;

	if (set_ldt(LDT_ABSENT, false))
		SKIP(return, "no modify_ldt()");
	set_handler(SIGTRAP, on_change_ss);
	set_handler(SIGSEGV, on_change_ss);
	set_handler(SIGBUS, on_change_ss);
	for (i = 0; i < ROUNDS; i++) {
		fresh_signal_stack();
		next_ss = LDT_SELECTOR(LDT_ABSENT);
		asm volatile("int3" : : : "memory");
		EXPECT_RESTRICTED();
	}
	EXPECT_HANDLED(2 * ROUNDS);
	EXPECT_EXITS(ROUNDS);
}

/* A breakpoint on a user buffer that the kernel writes: #DB in kernel mode. */
TEST_F(entry, debug_exception_in_kernel)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W,
		.bp_addr = (unsigned long)self->buf,
		.bp_len = HW_BREAKPOINT_LEN_8,
		.sample_period = 1,
		.exclude_hv = 1,
	};
	unsigned long count = 0;
	int fd, i;

	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0)
		SKIP(return, "no breakpoints by perf_event_open()");
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(LEN, pread(self->file, self->buf, LEN, 0));
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(self->buf));
	}
	ASSERT_EQ((ssize_t)sizeof(count), read(fd, &count, sizeof(count)));
	if (!count)
		SKIP(return, "the breakpoint does not fire in the kernel");
	EXPECT_LE(ROUNDS, (long)count);
	EXPECT_EXITS(ROUNDS);
	close(fd);
}

/* How often a probe was hit, by the profile file of its kind. */
static long probe_hits(const char *profile, const char *name)
{
	char buf[4096], *line;

	if (asi_slurp(profile, buf, sizeof(buf)) < 0)
		return -1;
	line = strstr(buf, name);
	return line ? strtol(line + strlen(name), NULL, 10) : -1;
}

/*
 * A breakpoint of the kernel's own, in the middle of a read and after the
 * transition that the first page made.
 */
TEST_F(entry, breakpoint_in_kernel)
{
	static const char * const probes[] = {
		"p:asi_kprobe copy_page_to_iter+5",
		"p:asi_kprobe copy_page_to_iter+9",
		"p:asi_kprobe copy_page_to_iter",
		"p:asi_kprobe shmem_file_read_iter",
	};
	unsigned int i;
	char buf[LEN];

	asi_write("/proc/sys/debug/kprobes-optimization", "0\n");
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!asi_write(TRACING "kprobe_events", probes[i]))
			break;
	}
	if (i == ARRAY_SIZE(probes))
		SKIP(return, "no kprobe events");
	EXPECT_EQ(0, asi_write(TRACING "events/kprobes/asi_kprobe/enable", "1"));
	ASSERT_EQ(LEN, pwrite(self->file, self->buf, LEN, LEN));
	for (i = 0; i < ROUNDS; i++) {
		EXPECT_EQ(LEN, pread(self->file, buf, LEN, 0));
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(buf));
	}
	EXPECT_LE(ROUNDS, probe_hits(TRACING "kprobe_profile", "asi_kprobe"));
	EXPECT_EQ(0, asi_write(TRACING "events/kprobes/asi_kprobe/enable", "0"));
	EXPECT_EQ(0, asi_write(TRACING "kprobe_events", "-:asi_kprobe"));
	EXPECT_EXITS(ROUNDS);
}

/* A probe on a function of our own, which is in a file on tmpfs. */
TEST_F(entry, user_probe)
{
	static const unsigned char code[] = { 0x55, 0x5d, 0xc3 };
	char path[] = "/dev/shm/asi-uprobe-XXXXXX", event[128];
	void (*function)(void);
	int fd, i;

	fd = mkstemp(path);
	if (fd < 0)
		SKIP(return, "no /dev/shm");
	ASSERT_EQ((ssize_t)sizeof(code), write(fd, code, sizeof(code)));
	function = mmap(NULL, LEN, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)function);
	snprintf(event, sizeof(event), "p:asi_uprobe %s:0", path);
	if (asi_write(TRACING "uprobe_events", event)) {
		unlink(path);
		SKIP(return, "no uprobe events");
	}
	EXPECT_EQ(0, asi_write(TRACING "events/uprobes/asi_uprobe/enable", "1"));
	for (i = 0; i < ROUNDS; i++) {
		function();
		EXPECT_RESTRICTED();
	}
	snprintf(event, sizeof(event), "asi_uprobe");
	EXPECT_LE(ROUNDS, probe_hits(TRACING "uprobe_profile", event));
	EXPECT_EQ(0, asi_write(TRACING "events/uprobes/asi_uprobe/enable", "0"));
	EXPECT_EQ(0, asi_write(TRACING "uprobe_events", "-:asi_uprobe"));
	unlink(path);
}

FIXTURE(compat)
{
	char path[256];
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

	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	len = readlink("/proc/self/exe", self->path, sizeof(self->path) - 16);
	ASSERT_LT(0, len);
	self->path[len] = 0;
	end = strrchr(self->path, '/');
	memcpy(end, "/entry32", sizeof("/entry32"));
	if (access(self->path, X_OK))
		SKIP(return, "entry32 was not built");
}

FIXTURE_TEARDOWN(compat)
{
}

TEST_F(compat, comes_back_restricted)
{
	int status;
	pid_t pid;

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
	if (!asi_is_on())
		SKIP(return, "ASI is off");
	if (!asi_has_debugfs())
		SKIP(return, "no CONFIG_ASI_DEBUG, or debugfs is not mounted");
	ASSERT_EQ(0, asi_pin_alone());
	state_fd = asi_open_state();
	ASSERT_LE(0, state_fd);
}

FIXTURE_TEARDOWN_PARENT(control)
{
	asi_break("");
}

/* Negative control: were the return to restricted forgotten, it would show. */
TEST_F(control, a_forgotten_enter_is_seen)
{
	char *mem = asi_fresh(LEN);
	struct asi_balance before, after;

	asi_balance();
	before = asi_balance();
	ASSERT_EQ(0, asi_break("noenter"));
	asi_store(mem, 1);
	EXPECT_EQ(0, asi_restricted(state_fd));
	after = asi_balance();
	EXPECT_LT(after.enter - before.enter, after.exit - before.exit);
	ASSERT_EQ(0, asi_break(""));
	EXPECT_RESTRICTED();
}

TEST_HARNESS_MAIN
