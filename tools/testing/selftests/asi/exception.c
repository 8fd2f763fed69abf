// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exceptions, interrupts and signals, and the returns from them that are odd.
 */
#include <asm/ldt.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include "entry.h"
#include "pattern.h"
#include "probe.h"
#include "samples.h"

#ifndef UC_STRICT_RESTORE_SS
#define UC_STRICT_RESTORE_SS 4
#endif

/* A 16-bit stack segment, and one that is not there, in the local table. */
#define LDT_STACK16	0
#define LDT_ABSENT	1
#define LDT_SELECTOR(i)	((i) << 3 | 4 | 3)

static int next_ss;
static void *resume;

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
	unsigned int i;

	if (!prepare(_metadata))
		return;
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

/* Writes to @word with a pattern on the stack, and asks where it runs after each. */
static int be_sampled(long *word, const struct pattern *pattern)
{
	long stack[LEN / sizeof(long)];
	int i, restricted = 0;

	pattern_fill(stack, sizeof(stack), pattern, 0);
	for (i = 0; i < ROUNDS; i++) {
		asi_store(word, i);
		restricted += asi_restricted(state_fd) == 1;
	}
	pattern_scrub(stack, sizeof(stack));
	return restricted;
}

/* They are written in the address space of whom they are taken of. */
TEST_F(entry, samples_of_another_process)
{
	struct pattern pattern = pattern_random();
	int status, go[2];
	static long word;
	void *samples;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read(go[0], &byte, 1) == 1 ? be_sampled(&word, &pattern) : 0);

	samples = samples_of(pid, &word, 2 * LEN);
	EXPECT_FALSE(samples && pattern_found(samples, SAMPLES_LEN, &pattern));
	self->before = asi_balance();
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (!samples)
		SKIP(return, "no breakpoints by perf_event_open()");
	EXPECT_EQ(ROUNDS, WEXITSTATUS(status));
	EXPECT_TRUE(pattern_found(samples, SAMPLES_LEN, &pattern));
	EXPECT_RESTRICTED();
	EXPECT_EXITS(ROUNDS);
}

/*
 * A breakpoint of the kernel's own, where a read looks up each of two pages: for
 * the second one it comes after the transition that the first one made. Behind
 * the call of ftrace, which would take the probe over, and ENDBR if there is one.
 */
static bool probe_reads(bool (*probe)(const char *name, const char *function))
{
	asi_write("/proc/sys/debug/kprobes-optimization", "0\n");
	return probe("asi_kprobe", "filemap_get_entry+5") ||
	       probe("asi_kprobe", "filemap_get_entry+9");
}

static bool probe_only(const char *name, const char *function)
{
	return probe_on("kprobe", name, function);
}

TEST_F(entry, breakpoint_in_kernel)
{
	char buf[2 * LEN];
	int i;

	if (!probe_reads(probe_only))
		SKIP(return, "no kprobe in filemap_get_entry()");
	ASSERT_EQ(LEN, pwrite(self->file, self->buf, LEN, LEN));
	for (i = 0; i < ROUNDS; i++) {
		EXPECT_EQ(2 * LEN, pread(self->file, buf, 2 * LEN, 0));
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(buf) && all_filled(buf + LEN));
	}
	EXPECT_LE(2 * ROUNDS, probe_off("kprobe", "asi_kprobe"));
	EXPECT_EXITS(ROUNDS);
}

/* It exits, and puts back what it has found, whether a transition was made or not. */
TEST_F(entry, breakpoint_that_exits)
{
	char buf[2 * LEN];
	int i;

	if (!probe_reads(probe_secret))
		SKIP(return, "no kprobe in filemap_get_entry(), or nothing to read");
	ASSERT_EQ(LEN, pwrite(self->file, self->buf, LEN, LEN));
	self->before = asi_balance();
	for (i = 0; i < ROUNDS; i++) {
		EXPECT_EQ(2 * LEN, pread(self->file, buf, 2 * LEN, 0));
		EXPECT_RESTRICTED();
		EXPECT_TRUE(all_filled(buf) && all_filled(buf + LEN));
	}
	EXPECT_LE(2 * ROUNDS, probe_off("kprobe", "asi_kprobe"));
	/* One of these for the read, on its way from one page to the next */
	EXPECT_EXITS(ROUNDS + ROUNDS / 2);
}

/*
 * A probe on a function of our own, which is in a file on tmpfs. What is executed out of
 * line is of this process; so where the kernel handles it another probe reads a secret.
 */
TEST_F(entry, user_probe)
{
	static const unsigned char code[] = { 0x55, 0x5d, 0xc3 };
	char path[] = "/dev/shm/asi-uprobe-XXXXXX", where[64];
	void (*function)(void);
	int fd, i;

	fd = mkstemp(path);
	if (fd < 0)
		SKIP(return, "no /dev/shm");
	ASSERT_EQ((ssize_t)sizeof(code), write(fd, code, sizeof(code)));
	function = mmap(NULL, LEN, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)function);
	snprintf(where, sizeof(where), "%s:0", path);
	if (!probe_on("uprobe", "asi_uprobe", where)) {
		unlink(path);
		SKIP(return, "no uprobe events");
	}
	EXPECT_TRUE(probe_secret("asi_kprobe", "uprobe_notify_resume"));
	for (i = 0; i < ROUNDS; i++) {
		function();
		EXPECT_RESTRICTED();
	}
	EXPECT_LE(ROUNDS, probe_off("kprobe", "asi_kprobe"));
	EXPECT_LE(ROUNDS, probe_off("uprobe", "asi_uprobe"));
	EXPECT_EXITS(ROUNDS);
	unlink(path);
}

TEST_HARNESS_MAIN
