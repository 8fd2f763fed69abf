// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUs and memory come and go while all CPUs make transitions.
 *
 * There is no switch that breaks this on purpose. A kernel in which
 * initialize_tlbstate_and_flush() does not call asi_cpu_reset() fails here: a CPU
 * that was restricted when it went comes back unrestricted and does not know it.
 * Its next switch to a process enters without a flush, and is not counted.
 *
 * Usage: hotplug [times]
 */
#include "asi.h"
#include "frames.h"
#include "kselftest.h"
#include "load.h"
#include "planted.h"

#define DEFAULT_TIMES	8
#define MEMORY		"/sys/devices/system/memory/"
#define KEPT		(16UL << 20)
#define PATIENCE	20	/* seconds, for a block of memory */

/* Whether the CPU, which has just come, does something within 10 seconds. */
static bool cpu_works(const struct tally *tally)
{
	unsigned long before = asi_load(&tally->there);
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (asi_load(&tally->there) - before > LOAD_BATCH)
			return true;
		usleep(10000);
	}
	return false;
}

/*
 * Takes each CPU but the first down and up, while the others make transitions;
 * it is restricted when it goes. Returns how often one did both.
 */
static int cycle_cpus(const struct load *load, int times, int *idle)
{
	int cpu, i, cycles = 0;

	asi_pin(0);
	for (i = 0; i < times; i++) {
		for (cpu = 1; cpu < load->cpus; cpu++) {
			asi_store(&load->tally[cpu].hush, 1);
			usleep(20000);
			if (!asi_set_online(cpu, false))
				continue;
			usleep(20000);
			if (!asi_set_online(cpu, true))
				return cycles;
			asi_store(&load->tally[cpu].hush, 0);
			*idle += !cpu_works(&load->tally[cpu]);
			cycles++;
		}
	}
	return cycles;
}

static bool memory_is(const char *path, const char *state)
{
	char buf[32];

	return asi_slurp(path, buf, sizeof(buf)) >= 0 &&
	       !strncmp(buf, state, strlen(state));
}

/* A signal ends the attempt to empty a block. */
static bool memory_set(const char *path, const char *state)
{
	pid_t pid = fork();

	if (!pid) {
		alarm(PATIENCE);
		_exit(asi_write(path, state) ? 1 : 0);
	}
	waitpid(pid, NULL, 0);
	return memory_is(path, state);
}

/*
 * Takes a block of memory offline, the highest that can be, and leaves the path
 * of its state in @path. Returns its number, or -1.
 */
static int memory_take(char *path, size_t size)
{
	int block;

	for (block = 1023; block >= 0; block--) {
		snprintf(path, size, MEMORY "memory%d/state", block);
		if (memory_is(path, "online") && memory_set(path, "offline"))
			return block;
	}
	return -1;
}

/* The frames of a block of memory. */
static unsigned long memory_frames(void)
{
	char buf[32];

	if (asi_slurp(MEMORY "block_size_bytes", buf, sizeof(buf)) < 0)
		return 0;
	return strtoul(buf, NULL, 16) / FRAME_SIZE;
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : DEFAULT_TIMES;
	int cycles, idle = 0, want, state, block, mapped, reachable;
	struct pattern pattern = pattern_random();
	unsigned long frames = memory_frames();
	struct asi_balance before, after;
	struct load load = { };
	char path[64], *kept;
	bool kept_well = true, back = false;
	struct tally sum;
	long more;
	size_t i;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	ksft_set_plan(9);

	asi_break("");
	state = asi_open_state();
	kept = asi_fresh(KEPT);
	load.cpus = sysconf(_SC_NPROCESSORS_ONLN);
	before = asi_balance();
	if (!kept || !load_start(&load))
		ksft_exit_fail_perror("mmap");

	want = times * (load.cpus - 1);
	cycles = cycle_cpus(&load, times, &idle);
	/* Some of this will have to be moved out of the way. */
	pattern_fill(kept, KEPT, &pattern, 0);
	block = frames ? memory_take(path, sizeof(path)) : -1;
	if (block >= 0)
		back = memory_set(path, "online");
	for (i = 0; i < KEPT; i += FRAME_SIZE)
		kept_well &= pattern_found(kept + i, FRAME_SIZE, &pattern);
	sum = load_stop(&load);
	after = asi_balance();
	after.exit -= before.exit;
	after.enter -= before.enter;

	ksft_print_msg("%d CPUs, %d times one went and came back\n", load.cpus, cycles);
	ksft_print_msg("%lu rounds, %ld exits, %ld enters\n", sum.rounds,
		       after.exit, after.enter);
	if (want) {
		ksft_test_result(cycles == want, "each CPU went and came back\n");
		ksft_test_result(!idle, "each CPU works when it is back\n");
	} else {
		ksft_test_result_skip("there is one CPU only\n");
		ksft_test_result_skip("there is one CPU only\n");
	}
	ksft_test_result(sum.rounds && !sum.errors && kept_well,
			 "all that was read is right\n");
	more = after.enter - after.exit;
	ksft_test_result(after.exit > 0 && more >= -load.cpus &&
			 more <= load.cpus + cycles,
			 "each exit was followed by an enter\n");
	if (want)
		ksft_test_result(more > load.cpus,
				 "a CPU that is back enters once more\n");
	else
		ksft_test_result_skip("there is one CPU only\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	if (block < 0) {
		ksft_test_result_skip("no block of memory can go\n");
		ksft_test_result_skip("no block of memory can go\n");
		ksft_test_result_skip("no block of memory can go\n");
	} else {
		ksft_print_msg("block %d of %lu frames\n", block, frames);
		ksft_test_result(back, "a block of memory went and came back\n");
		/* Free memory is; a little of it may be in use already. */
		mapped = frames_mapped(block * frames, (block + 1) * frames);
		ksft_print_msg("%d of %lu blocks are mapped\n", mapped,
			       frames / FRAMES_PER_BLOCK);
		ksft_test_result(mapped >= 0 &&
				 mapped < (int)(frames / FRAMES_PER_BLOCK / 2),
				 "what came back is sensitive\n");
		ksft_test_result(planted(1, ~0UL, &reachable) > 0 && !reachable,
				 "a secret planted afterwards is not mapped\n");
	}
	ksft_finished();
}
