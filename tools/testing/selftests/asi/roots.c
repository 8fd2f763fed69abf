// SPDX-License-Identifier: GPL-2.0-only
/*
 * All CPUs that run a process agree on what it has mapped, although each has the top
 * level of its page tables for itself.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "asi.h"
#include "kselftest_harness.h"

#define PAGE_LEN	4096
#define SLOTS		24	/* each below a top-level entry of its own */
#define ROUNDS		600
#define WORKERS		6
#define MAX_OTHERS	64

/* How many bits of an address are below such an entry. */
static int shift;

static char *slot_address(int slot)
{
	return (char *)((slot + 3UL) << shift);
}

static char *map_slot(int slot, int flags)
{
	return mmap(slot_address(slot), PAGE_LEN, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | flags, -1, 0);
}

static __thread sigjmp_buf away;

static void jump(int sig)
{
	siglongjmp(away, sig);
}

#define NOTHING	0

/* What is in a slot, as user mode has it. */
static long look(int slot)
{
	if (sigsetjmp(away, 1))
		return NOTHING;
	return __atomic_load_n((long *)slot_address(slot), __ATOMIC_RELAXED);
}

/* And as the kernel has it for this process. */
static long look_by_kernel(int pipefd[2], int slot)
{
	long value;

	if (write(pipefd[1], slot_address(slot), sizeof(value)) != sizeof(value))
		return NOTHING;
	if (read(pipefd[0], &value, sizeof(value)) != sizeof(value))
		return -1;
	return value;
}

/* A round: which slot to look into, and what has to be there. */
static struct {
	atomic_int number;
	int slot;
	long value;
	atomic_int done;
	atomic_int wrong;
} game;

static bool wait_for_round(int last, int worker)
{
	int number;

	while ((number = atomic_load(&game.number)) == last) {
		/* Some stay on their CPU, some leave it to others, some to nobody. */
		if (worker % 3 == 1)
			sched_yield();
		else if (worker % 3 == 2)
			usleep(10);
	}
	return number > 0;
}

static void *play(void *arg)
{
	int worker = (long)arg, round = 0, pipefd[2];

	if (pipe(pipefd) || asi_pin(worker % sysconf(_SC_NPROCESSORS_ONLN)))
		atomic_fetch_add(&game.wrong, 1);
	while (wait_for_round(round, worker)) {
		round = atomic_load(&game.number);
		if (round % 2) {
			if (look_by_kernel(pipefd, game.slot) != game.value ||
			    look(game.slot) != game.value)
				atomic_fetch_add(&game.wrong, 1);
		} else if (look(game.slot) != game.value ||
			   look_by_kernel(pipefd, game.slot) != game.value) {
			atomic_fetch_add(&game.wrong, 1);
		}
		atomic_fetch_add(&game.done, 1);
	}
	close(pipefd[0]);
	close(pipefd[1]);
	return NULL;
}

static void ask(int slot, long value)
{
	game.slot = slot;
	game.value = value;
	atomic_store(&game.done, 0);
	atomic_fetch_add(&game.number, 1);
	while (atomic_load(&game.done) < WORKERS)
		sched_yield();
}

/* Another process on each CPU, so that it loads this one time and again. */
static void distract(pid_t *pids, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		asi_pin(i);
		map_slot(i % SLOTS, MAP_POPULATE);
		for (;;)
			usleep(20);
	}
}

FIXTURE(roots)
{
	int others;		/* processes that run as well */
};

FIXTURE_VARIANT(roots)
{
	bool alone;
};

FIXTURE_VARIANT_ADD(roots, alone) { .alone = true };
FIXTURE_VARIANT_ADD(roots, among_others) { .alone = false };

FIXTURE_SETUP(roots)
{
	if (!variant->alone)
		self->others = sysconf(_SC_NPROCESSORS_ONLN);
	if (self->others > MAX_OTHERS)
		self->others = MAX_OTHERS;
}

FIXTURE_TEARDOWN(roots)
{
}

TEST_F_TIMEOUT(roots, follow_the_mm, 120)
{
	struct sigaction action = { .sa_handler = jump };
	pthread_t threads[WORKERS];
	long there[SLOTS] = { };
	pid_t pids[MAX_OTHERS];
	unsigned int seed = 1;
	int i, slot;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	shift = 48;
	if (map_slot(0, 0) == MAP_FAILED)
		shift = 39;
	else
		munmap(slot_address(0), PAGE_LEN);
	distract(pids, self->others);
	for (i = 0; i < WORKERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, play, (void *)(long)i));

	/* What was the table of one slot soon is that of another. */
	for (i = 1; i <= ROUNDS && !game.wrong; i++) {
		seed = seed * 1103515245 + 12345;
		slot = (seed >> 16) % SLOTS;
		if (there[slot]) {
			ASSERT_EQ(0, munmap(slot_address(slot), PAGE_LEN));
			there[slot] = NOTHING;
		} else {
			ASSERT_EQ(slot_address(slot), map_slot(slot, 0));
			there[slot] = i;
			*(long *)slot_address(slot) = i;
		}
		ask(slot, there[slot]);
		slot = (slot + i) % SLOTS;
		ask(slot, there[slot]);
	}
	EXPECT_EQ(0, game.wrong);
	TH_LOG("%d rounds, slots of 2^%d bytes", i - 1, shift);

	atomic_store(&game.number, -1);
	for (i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < self->others; i++) {
		if (pids[i] < 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

TEST_HARNESS_MAIN
