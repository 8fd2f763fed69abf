// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transitions on every CPU at the highest rate there is, for as long as asked,
 * so that interrupts meet them at every instruction. Non-maskable ones come
 * from SysRq-l, which sends them to all CPUs but its own, and from the host, if
 * it injects some when it sees the line "storm: ready" (see nmi.py).
 *
 * Usage: storm [seconds]
 */
#include <signal.h>
#include <sys/klog.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <stdint.h>
#include <time.h>

#include "asi.h"
#include "kselftest.h"

#define LEN		4096
#define MAX_CPUS	64
#define DEFAULT_SECONDS	5
#define NMI_INTERVAL_US	20000
#define KLOG_CONSOLE_OFF	6
#define KLOG_CONSOLE_ON		7

/* What one CPU has done, and how often what it read was wrong. */
struct tally {
	unsigned long rounds;
	unsigned long errors;
};

/* Reads its own file over and over, each byte of which tells where it is from. */
static void worker(int cpu, struct tally *tally)
{
	char good[LEN], buf[LEN];
	pid_t pid = getpid();
	int file, i;

	asi_pin(cpu);
	for (i = 0; i < LEN; i++)
		good[i] = cpu * 37 + i;
	file = memfd_create("asi", 0);
	if (file < 0 || write(file, good, LEN) != LEN)
		asi_store(&tally->errors, 1);
	for (;;) {
		memset(buf, 0, LEN);
		if (pread(file, buf, LEN, 0) != LEN || memcmp(buf, good, LEN))
			asi_store(&tally->errors, tally->errors + 1);
		if (syscall(SYS_getpid) != pid)
			asi_store(&tally->errors, tally->errors + 1);
		asi_store(&tally->rounds, tally->rounds + 1);
	}
}

/* The sum of all columns of a line of /proc/interrupts. */
static long irq_count(const char *name)
{
	static char buf[65536];
	char *line, *end;
	long sum = 0;

	if (asi_slurp("/proc/interrupts", buf, sizeof(buf)) < 0)
		return 0;
	line = strstr(buf, name);
	if (!line)
		return 0;
	for (line += strlen(name); ; line = end) {
		long n = strtol(line, &end, 10);

		if (end == line)
			return sum;
		sum += n;
	}
}

/* Has all CPUs say where they are, silently, until the time is over. */
static void send_nmis(int seconds)
{
	time_t end = time(NULL) + seconds;

	klogctl(KLOG_CONSOLE_OFF, NULL, 0);
	while (time(NULL) < end) {
		asi_write("/proc/sysrq-trigger", "l");
		usleep(NMI_INTERVAL_US);
	}
	klogctl(KLOG_CONSOLE_ON, NULL, 0);
}

/*
 * CPUs that system calls made there never find restricted. An interrupt may have
 * exited before one looks, but not each time.
 */
static int unrestricted_cpus(int cpus)
{
	int state = asi_open_state(), cpu, bad = 0, tries;

	for (cpu = 0; cpu < cpus; cpu++) {
		asi_pin(cpu);
		for (tries = 0; tries < 10; tries++)
			if (asi_restricted(state) == 1)
				break;
		bad += tries == 10;
	}
	close(state);
	return bad;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : DEFAULT_SECONDS;
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu;
	unsigned long rounds = 0, errors = 0;
	struct asi_balance before, after;
	struct tally *tally;
	pid_t pid[MAX_CPUS];
	long nmis;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	ksft_set_plan(4);
	cpus = cpus < MAX_CPUS ? cpus : MAX_CPUS;
	tally = mmap(NULL, cpus * sizeof(*tally), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tally == MAP_FAILED)
		ksft_exit_fail_perror("mmap");

	before = asi_balance();
	nmis = irq_count("NMI:");
	for (cpu = 0; cpu < cpus; cpu++) {
		pid[cpu] = fork();
		if (!pid[cpu]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			worker(cpu, &tally[cpu]);
		}
	}
	ksft_print_msg("storm: ready\n");
	send_nmis(seconds);
	for (cpu = 0; cpu < cpus; cpu++) {
		kill(pid[cpu], SIGKILL);
		waitpid(pid[cpu], NULL, 0);
		rounds += tally[cpu].rounds;
		errors += tally[cpu].errors;
	}
	after = asi_balance();
	nmis = irq_count("NMI:") - nmis;
	after.exit -= before.exit;
	after.enter -= before.enter;

	ksft_print_msg("%lu rounds, %ld exits, %ld enters, %ld NMIs\n",
		       rounds, after.exit, after.enter, nmis);
	ksft_test_result(rounds && !errors, "all that was read is right\n");
	ksft_test_result(after.exit > 0 && labs(after.exit - after.enter) <= cpus,
			 "each exit was followed by an enter\n");
	ksft_test_result(!unrestricted_cpus(cpus), "every CPU is restricted\n");
	if (nmis)
		ksft_test_result_pass("non-maskable interrupts came\n");
	else
		ksft_test_result_skip("no SysRq-l, no other CPU, no host that injects\n");
	ksft_finished();
}
