// SPDX-License-Identifier: GPL-2.0-only
/*
 * Saved registers: whose they are is told by the mm that is loaded when they
 * are saved and restored, so every way to get another mm, or none, is tried.
 *
 * What a task has in its vector registers is compared in the same asm statement
 * that loads them, with a system call in between: nobody else touches them.
 */
#include <elf.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#include "asi.h"
#include "kselftest_harness.h"

#define TASKS		6
#define ROUNDS		2000
#define REGS		16

struct regs {
	unsigned long long xmm[REGS][2];
	unsigned int mxcsr;
};

/* A system call with these registers, and what they are after it. */
static long call_with(const struct regs *in, struct regs *out, long nr,
		      long arg0, long arg1)
{
	long ret = nr;

	asm volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
		     "movdqu 16*\\n(%[in]), %%xmm\\n\n\t"
		     ".endr\n\t"
		     "ldmxcsr 256(%[in])\n\t"
		     "xor %%r10d, %%r10d\n\t"
		     "xor %%edx, %%edx\n\t"
		     "syscall\n\t"
		     ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
		     "movdqu %%xmm\\n, 16*\\n(%[out])\n\t"
		     ".endr\n\t"
		     "stmxcsr 256(%[out])\n\t"
		     : "+a" (ret)
		     : [in] "r" (in), [out] "r" (out), "D" (arg0), "S" (arg1)
		     : "rcx", "rdx", "r10", "r11", "memory",
		       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
		       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
		       "xmm13", "xmm14", "xmm15");
	return ret;
}

static void fill(struct regs *regs, unsigned long long seed)
{
	int i;

	memset(regs, 0, sizeof(*regs));
	for (i = 0; i < REGS; i++) {
		regs->xmm[i][0] = seed * 0x9e3779b97f4a7c15ULL + i;
		regs->xmm[i][1] = ~regs->xmm[i][0];
	}
	regs->mxcsr = 0x1f80 | (seed & 3) << 13;	/* the rounding mode */
}

static bool same(const struct regs *a, const struct regs *b)
{
	return !memcmp(a->xmm, b->xmm, sizeof(a->xmm)) && a->mxcsr == b->mxcsr;
}

/* Gives way again and again. Returns how often registers were not kept. */
static long keep(unsigned long long seed, int rounds)
{
	static const struct timespec moment = { .tv_nsec = 1 };
	struct regs in, out;
	long lost = 0;

	while (rounds--) {
		fill(&in, seed + rounds);
		if (rounds % 16)
			call_with(&in, &out, SYS_sched_yield, 0, 0);
		else
			call_with(&in, &out, SYS_nanosleep, (long)&moment, 0);
		lost += !same(&in, &out);
	}
	return lost;
}

static void *keep_thread(void *arg)
{
	return (void *)keep((unsigned long)arg, ROUNDS);
}

/* A program of several threads, some of which are short-lived. */
static long keep_process(unsigned long long seed)
{
	pthread_t thread, brief;
	long lost;
	void *ret;
	int i;

	if (pthread_create(&thread, NULL, keep_thread, (void *)(seed + 1000000)))
		return -1;
	lost = keep(seed, ROUNDS);
	for (i = 0; i < 20; i++) {
		if (pthread_create(&brief, NULL, keep_thread,
				   (void *)(seed + 2000000 + i * ROUNDS)))
			return -1;
		lost += keep(seed + i, 50);
		pthread_join(brief, &ret);
		lost += (long)ret;
	}
	pthread_join(thread, &ret);
	return lost + (long)ret;
}

static int wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Only for its patience: a slow machine may take a minute. */
FIXTURE(registers) { };
FIXTURE_SETUP(registers) { }
FIXTURE_TEARDOWN(registers) { }

TEST_F_TIMEOUT(registers, are_kept_among_processes_and_threads, 300)
{
	pid_t pids[TASKS];
	int i;

	for (i = 0; i < TASKS; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(!!keep_process(1 + i * 100000000ULL));
	}
	for (i = 0; i < TASKS; i++)
		EXPECT_EQ(0, wait_for(pids[i]));
}

TEST(are_inherited_by_a_new_process)
{
	struct regs in, out;
	pid_t pid;
	int i;

	for (i = 0; i < 50; i++) {
		fill(&in, i);
		pid = call_with(&in, &out, SYS_fork, 0, 0);
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(!same(&in, &out) || keep(i, 10));
		EXPECT_TRUE(same(&in, &out));
		EXPECT_EQ(0, wait_for(pid));
	}
}

/* The parent's memory until it executes, and no state of it after that. */
TEST(end_with_the_program)
{
	struct regs in, out;
	pid_t pid;
	int i;

	for (i = 0; i < 20; i++) {
		fill(&in, i);
		pid = vfork();
		ASSERT_LE(0, pid);
		if (!pid) {
			call_with(&in, &out, SYS_sched_yield, 0, 0);
			execl("/proc/self/exe", "fpu", "clean", NULL);
			_exit(100);
		}
		EXPECT_EQ(0, wait_for(pid));
	}
	EXPECT_EQ(0, keep(1, 10));
}

static struct regs of_handler;

static void handler(int sig)
{
	struct regs in;

	fill(&in, 77);
	call_with(&in, &of_handler, SYS_sched_yield, 0, 0);
}

TEST(are_put_back_after_a_signal)
{
	struct regs in, out;
	int i;

	ASSERT_NE(SIG_ERR, signal(SIGUSR1, handler));
	for (i = 0; i < 1000; i++) {
		fill(&in, i);
		call_with(&in, &out, SYS_kill, getpid(), SIGUSR1);
		ASSERT_TRUE(same(&in, &out));
		fill(&in, 77);
		ASSERT_TRUE(same(&in, &of_handler));
	}
}

/* Another process, which goes through the direct map. */
TEST(can_be_read_and_written_by_a_debugger)
{
	struct user_fpregs_struct fp;
	struct iovec iov = { &fp, sizeof(fp) };
	struct regs in, out, want;
	int status;
	pid_t pid;

	fill(&in, 5);
	fill(&want, 6);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		call_with(&in, &out, SYS_kill, getpid(), SIGSTOP);
		_exit(!same(&want, &out));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_GETREGSET, pid, NT_PRFPREG, &iov));
	EXPECT_EQ(0, memcmp(fp.xmm_space, in.xmm, sizeof(in.xmm)));
	EXPECT_EQ(in.mxcsr, fp.mxcsr);

	memcpy(fp.xmm_space, want.xmm, sizeof(want.xmm));
	fp.mxcsr = want.mxcsr;
	ASSERT_EQ(0, ptrace(PTRACE_SETREGSET, pid, NT_PRFPREG, &iov));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	EXPECT_EQ(0, wait_for(pid));
}

/* A program just executed: its registers are as the ABI says. */
static int is_clean(void)
{
	struct regs out, initial = { .mxcsr = 0x1f80 };
	int i;

	/* The dynamic linker and libc have used some; not the upper ones. */
	asm volatile("movdqu %%xmm12, (%[out])\n\t"
		     "movdqu %%xmm13, 16(%[out])\n\t"
		     "movdqu %%xmm14, 32(%[out])\n\t"
		     "movdqu %%xmm15, 48(%[out])\n\t"
		     "stmxcsr 256(%[out])\n\t"
		     : : [out] "r" (&out) : "memory");
	for (i = 0; i < 4; i++)
		if (memcmp(out.xmm[i], initial.xmm[i], sizeof(out.xmm[i])))
			return 1;
	return out.mxcsr != initial.mxcsr;
}

static void __attribute__((constructor)) run_clean(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "clean"))
		_exit(is_clean());
}

TEST_HARNESS_MAIN
