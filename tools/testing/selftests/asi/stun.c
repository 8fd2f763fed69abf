// SPDX-License-Identifier: GPL-2.0-only
/*
 * While a CPU is unrestricted its SMT siblings are stunned: they are called in
 * from user mode, and do not stay out for long. That they really run nothing
 * meanwhile is seen from outside, by siblings.py.
 */
#include <limits.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "asi.h"
#include "kselftest.h"

#define ROUNDS		500
#define READ_LEN	4096
/* How long a sibling may take to run again, on a busy host. */
#define PATIENCE_NS	10000000000UL
/* What is mapped and zeroed by one system call. */
#define LONG_LEN	(256UL << 20)
#define PIPE_LEN	(1024UL << 10)
#define SLEEP_MS	1000

/* What a process in user mode has seen of the time. */
struct watch {
	unsigned long rounds;
	unsigned long longest;		/* between two looks, in nanoseconds */
};

static unsigned long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000UL + time.tv_nsec;
}

/* Looks at the clock all the time, without system calls. */
static pid_t watch_start(int cpu, struct watch *watch)
{
	unsigned long last, time;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	asi_pin(cpu);
	for (last = now(); ; last = time) {
		time = now();
		if (time - last > asi_load(&watch->longest))
			asi_store(&watch->longest, time - last);
		asi_store(&watch->rounds, watch->rounds + 1);
	}
}

/* The first sibling of a CPU, or -1. */
static int sibling_of(int cpu)
{
	char path[96], list[64], *word;

	snprintf(path, sizeof(path),
		 "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	if (asi_slurp(path, list, sizeof(list)) < 0)
		return -1;
	word = strpbrk(list, ",-");
	return word ? atoi(word + 1) : -1;
}

static bool siblings_stunned(void)
{
	char status[512];

	return asi_slurp("/sys/devices/system/cpu/asi", status, sizeof(status)) >= 0 &&
	       strstr(status, "siblings are stunned");
}

/* Transitions, of which each calls in a sibling if that is in user mode. */
static void make_exits(int file, int rounds)
{
	char buf[READ_LEN];

	while (rounds--) {
		if (pread(file, buf, sizeof(buf), 0) != sizeof(buf))
			break;
	}
}

/* Has it run since, in user mode? */
static bool watch_runs(struct watch *watch)
{
	unsigned long rounds = asi_load(&watch->rounds), begin = now();

	while (asi_load(&watch->rounds) < rounds + 2) {
		if (now() - begin > PATIENCE_NS)
			return false;
	}
	return true;
}

/*
 * Transitions, each once the sibling is in user mode again: a virtual CPU may
 * wait for one of the host's while this one makes many. Returns how many.
 */
static int make_exits_met(int file, struct watch *watch)
{
	int rounds;

	for (rounds = 0; rounds < ROUNDS && watch_runs(watch); rounds++)
		make_exits(file, 1);
	return rounds;
}

/* One system call that is unrestricted nearly all the time. */
static void stay_unrestricted(void)
{
	void *mem = mmap(NULL, LONG_LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (mem != MAP_FAILED)
		munmap(mem, LONG_LEN);
}

static void wake_up(int signal)
{
}

/* One that makes an exit and then sleeps: the pipe is full. */
static void sleep_unrestricted(void)
{
	struct sigaction action = { .sa_handler = wake_up };
	struct timespec time = { .tv_nsec = SLEEP_MS / 2 * 1000000L };
	static char buf[PIPE_LEN];
	int fds[2];
	pid_t pid;

	sigaction(SIGUSR1, &action, NULL);
	if (pipe(fds))
		return;
	pid = fork();
	if (!pid) {
		nanosleep(&time, NULL);
		nanosleep(&time, NULL);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	if (write(fds[1], buf, sizeof(buf)) < 0)
		ksft_print_msg("the pipe takes nothing\n");
	waitpid(pid, NULL, 0);
	close(fds[0]);
	close(fds[1]);
}

/* How long it took in milliseconds, and the sibling was out of user mode at most. */
static void measure(void (*what)(void), struct watch *watch, long *took, long *longest)
{
	unsigned long begin = now();

	asi_store(&watch->longest, 0);
	what();
	*took = (now() - begin) / 1000000;
	*longest = asi_load(&watch->longest) / 1000000;
}

int main(void)
{
	char page[READ_LEN] = "";
	long called, took, longest;
	struct watch *watch;
	int file, other, state, met, i;
	pid_t pid;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	if (!siblings_stunned())
		ksft_exit_skip("siblings are not stunned\n");
	other = sibling_of(0);
	if (other < 0)
		ksft_exit_skip("the first CPU has no sibling\n");
	ksft_set_plan(6);

	/* What is read takes transitions. */
	asi_break("nowindow");
	state = asi_open_state();
	watch = mmap(NULL, sizeof(*watch), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = asi_tmpfile("/tmp");
	if (watch == MAP_FAILED || file < 0 ||
	    pwrite(file, page, sizeof(page), 0) != sizeof(page))
		ksft_exit_fail_perror("set-up");
	asi_pin(0);
	pid = watch_start(other, watch);
	while (!asi_load(&watch->rounds))
		usleep(1000);

	called = asi_counter("asi_stun");
	met = make_exits_met(file, watch);
	called = asi_counter("asi_stun") - called;
	ksft_print_msg("%ld interrupts for %d transitions\n", called, met);
	ksft_test_result(called > met / 2, "a sibling in user mode is called in\n");
	ksft_test_result(met == ROUNDS, "it gets to run in between\n");

	measure(stay_unrestricted, watch, &took, &longest);
	ksft_print_msg("unrestricted for %ld ms, a sibling stunned for %ld ms at most\n",
		       took, longest);
	ksft_test_result(longest < took / 2, "a long stun is interrupted\n");

	/* The host may not run a CPU for a while. */
	for (i = 0; i < 3; i++) {
		measure(sleep_unrestricted, watch, &took, &longest);
		if (longest < took / 2)
			break;
	}
	ksft_print_msg("asleep for %ld ms, a sibling stunned for %ld ms at most\n",
		       took, longest);
	ksft_test_result(took >= SLEEP_MS / 2 && longest < took / 2,
			 "no CPU stuns when it is idle\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");

	/* Negative control of the first. */
	asi_break("nostun nowindow");
	called = asi_counter("asi_stun");
	met = make_exits_met(file, watch);
	called = asi_counter("asi_stun") - called;
	asi_break("");
	ksft_test_result(met == ROUNDS && !called, "without it, nobody is called in\n");

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ksft_finished();
}
