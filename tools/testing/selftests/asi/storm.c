// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transitions on every CPU at the highest rate there is, for as long as asked,
 * so that interrupts meet them at every instruction. Non-maskable ones come
 * from SysRq-l, which sends them to all CPUs but its own, and from the host, if
 * it injects some when it sees the line "storm: ready" (see nmi.py). Guest steps
 * has a CPU that takes them between any two instructions, as real ones do.
 *
 * Then come machine checks from the host. A probe has their handler read
 * sensitive memory, so that it exits by itself wherever it has come in between:
 * a kernel fails here in which exc_machine_check_kernel() does not put CR2 back,
 * or in which irqentry_nmi_exit() does not put back root and intent.
 *
 * Usage: storm [seconds]
 */
#include <sys/klog.h>
#include <time.h>

#include "kselftest.h"
#include "load.h"
#include "probe.h"

#define DEFAULT_SECONDS	5
#define NMI_INTERVAL_US	20000
#define KLOG_CONSOLE_OFF	6
#define KLOG_CONSOLE_ON		7
#define PROBE		"asi_mce"

/* How many the host injects, for 20 s; how long the first may take, and all of them. */
#define MACHINE_CHECKS	300
#define MCE_FIRST	30
#define MCE_ALL		60
#define MCE_POLL	"/sys/devices/system/machinecheck/machinecheck0/check_interval"

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
	/* Whoever prints looks at that when it prints. */
	sleep(1);
	klogctl(KLOG_CONSOLE_ON, NULL, 0);
}

/* How often machine checks are looked for without an exception, or "". */
static char mce_poll[32];

/*
 * What is injected stays in the banks. Nobody is to find it and to log it, and
 * when the interval changes back all banks are cleared.
 */
static bool machine_checks_on(void)
{
	if (asi_slurp(MCE_POLL, mce_poll, sizeof(mce_poll)) < 0)
		*mce_poll = 0;
	return *mce_poll && !asi_write(MCE_POLL, "0");
}

static void machine_checks_off(void)
{
	if (*mce_poll)
		asi_write(MCE_POLL, mce_poll);
}

/*
 * Has the host inject machine checks, and waits for them; how many came.
 *
 * There are no NMIs meanwhile. A machine check within the first instructions of
 * an NMI returns by IRET, which lets in the next NMI, and that is more than the
 * entry code can take.
 */
static long await_machine_checks(const struct load *load)
{
	long before = irq_count("MCE:"), came = 0;
	time_t begin = time(NULL);

	if (!machine_checks_on())
		return 0;
	ksft_print_msg("storm: machine checks by 0x%lx;\n",
		       frame_of(load->tally) * FRAME_SIZE);
	while (came < MACHINE_CHECKS &&
	       time(NULL) < begin + (came ? MCE_ALL : MCE_FIRST)) {
		usleep(50000);
		came = irq_count("MCE:") - before;
	}
	return came;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : DEFAULT_SECONDS, state;
	struct asi_balance before, after;
	long nmis, mces, hits = 0;
	struct load load = { };
	struct tally sum;
	/* By scripts/guest, which passes this on the kernel's command line */
	bool answered = getenv("asi_answer");
	bool probed;

	ksft_print_header();
	if (!asi_is_on())
		ksft_exit_skip("ASI is off\n");
	if (!asi_has_debugfs())
		ksft_exit_skip("no CONFIG_ASI_DEBUG, or debugfs is not mounted\n");
	ksft_set_plan(6);

	asi_break("");
	state = asi_open_state();
	load.cpus = sysconf(_SC_NPROCESSORS_ONLN);
	/* Called by the handler, from another file */
	probed = probe_secret(PROBE, "hwerr_log_error_type");
	before = asi_balance();
	nmis = irq_count("NMI:");
	if (!load_start(&load))
		ksft_exit_fail_perror("mmap");
	ksft_print_msg("storm: ready\n");
	send_nmis(seconds);
	mces = await_machine_checks(&load);
	sum = load_stop(&load);
	after = asi_balance();
	nmis = irq_count("NMI:") - nmis;
	if (probed)
		hits = probe_off("kprobe", PROBE);
	machine_checks_off();
	after.exit -= before.exit;
	after.enter -= before.enter;

	ksft_print_msg("%lu rounds, %ld exits, %ld enters\n",
		       sum.rounds, after.exit, after.enter);
	ksft_print_msg("%ld NMIs, %ld MCEs, %ld times the probe was hit\n",
		       nmis, mces, hits);
	ksft_test_result(sum.rounds && !sum.errors, "all that was read is right\n");
	ksft_test_result(after.exit > 0 && labs(after.exit - after.enter) <= load.cpus,
			 "each exit was followed by an enter\n");
	ksft_test_result(asi_restricted(state) == 1,
			 "user code ran restricted on every CPU\n");
	if (nmis || answered)
		ksft_test_result(nmis, "non-maskable interrupts came\n");
	else
		ksft_test_result_skip("no SysRq-l, no other CPU, no host that injects\n");
	if (mces || answered)
		ksft_test_result(mces, "machine checks came\n");
	else
		ksft_test_result_skip("no machine checks: no host that injects\n");
	if (mces && probed)
		ksft_test_result(2 * hits > mces,
				 "their handler read sensitive memory\n");
	else
		ksft_test_result_skip("no machine checks, or no probe into them\n");
	ksft_finished();
}
