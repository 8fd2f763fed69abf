// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load for siblings.py: every CPU makes transitions, is in user mode in between, and
 * runs a KVM guest, while CPUs go and come back, all of them are stopped, their TLBs
 * are shot down, and they get non-maskable interrupts, whose handler reads sensitive memory.
 * Says where its page is, and runs until it is killed or a process has stood still.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/klog.h>
#include <sys/prctl.h>
#include <time.h>

#include "asi.h"
#include "guest.h"
#include "probe.h"

#define LEN		4096
#define GUEST_LEN	(64UL << 10)
#define MAX_CPUS	64
#define STANDS_STILL	60	/* seconds; the host may be busy */
#define CLOCKS		"/sys/devices/system/clocksource/clocksource0/"
#define PROBE		"asi_nmi"
#define KLOG_CONSOLE_LEVEL	8
#define ERRORS		4	/* and what is worse */
#define TAINTED		0x4280	/* died, warned, locked up */
#define WARNED		"512"

/* One page; siblings.py knows all but the last of it. */
struct page {
	unsigned long magic;
	unsigned long seconds;
	unsigned long gone;		/* CPUs that go, have gone, or come back */
	unsigned long cycles;		/* of CPUs, how often one went and came back */
	unsigned long stops;		/* of all CPUs */
	unsigned long shootdowns;
	unsigned long stuns;		/* how often a CPU had to wait */
	unsigned long ns;		/* in all */
	unsigned long longest;		/* in nanoseconds */
	unsigned long nmis;		/* that each CPU has got at least */
	unsigned long asked;		/* how often they were sent from here */
	unsigned long probed;		/* how often their handler has read, and who sent them */
	unsigned long tainted;		/* if the kernel has complained */
	unsigned long rounds[3][MAX_CPUS];
};

#define MAGIC		0x73676e696c626973UL	/* "siblings" */

static struct page *page;
static int cpus;

static void compute(int rounds)
{
	for (int i = 0; i < rounds; i++)
		asm volatile("");
}

/* Nearly always in user mode; one of as many threads as there are CPUs. */
static void *stay_out(void *arg)
{
	long cpu = (long)arg;

	for (;;) {
		/* It is moved when the CPU goes. */
		asi_pin(cpu);
		compute(100000);
		asi_store(&page->rounds[0][cpu], page->rounds[0][cpu] + 1);
	}
	return NULL;
}

/* Their TLBs. */
static void shoot_down(void)
{
	char *mem = asi_fresh(LEN);
	pthread_t thread;
	long cpu;

	for (cpu = 0; cpu < cpus; cpu++)
		if (pthread_create(&thread, NULL, stay_out, (void *)cpu))
			_exit(1);
	for (;;) {
		asi_store(mem, 1);
		if (mprotect(mem, LEN, PROT_READ) || mprotect(mem, LEN, PROT_READ | PROT_WRITE))
			_exit(1);
		asi_store(&page->shootdowns, page->shootdowns + 1);
		usleep(2000);
	}
}

static void make_exits(int cpu)
{
	int i;

	for (;;) {
		asi_pin(cpu);
		compute(200000);
		for (i = 0; i < 20; i++)
			if (!asi_transit())
				_exit(1);
		asi_store(&page->rounds[1][cpu], page->rounds[1][cpu] + 1);
	}
}

/* In real mode, which tells it from all else */
GUEST_PROGRAM(loop, "movl $200000, %ecx\n"
	      "1: decl %ecx\n"
	      "jnz 1b");

static void run_guest(int cpu)
{
	char *mem = asi_fresh(GUEST_LEN);
	struct guest guest;

	if (!mem || guest_make(&guest, guest_loop, guest_loop_end, mem, GUEST_LEN, false))
		_exit(1);
	for (;;) {
		asi_pin(cpu);
		if (!guest_run(&guest))
			_exit(1);
		asi_store(&page->rounds[2][cpu], page->rounds[2][cpu] + 1);
	}
}

static void cycle_cpus(void)
{
	char path[64];
	int cpu = 0;

	for (;; usleep(100000)) {
		cpu = cpu % (cpus - 1) + 1;
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
		asi_store(&page->gone, 1UL << cpu);
		if (!asi_write(path, "0")) {
			usleep(20000);
			while (asi_write(path, "1"))
				usleep(10000);
			asi_store(&page->cycles, page->cycles + 1);
		}
		asi_store(&page->gone, 0);
	}
}

/* As another clock source is taken. */
static void stop_cpus(void)
{
	char list[128], *name;

	for (;;) {
		if (asi_slurp(CLOCKS "available_clocksource", list, sizeof(list)) < 0)
			_exit(1);
		for (name = strtok(list, "\n "); name; name = strtok(NULL, "\n ")) {
			if (asi_write(CLOCKS "current_clocksource", name))
				_exit(1);
			asi_store(&page->stops, page->stops + 1);
			usleep(100000);
		}
	}
}

/*
 * To all other CPUs, which then say where they are, though not on the console, where
 * warnings are missing then, too. They read a secret on the way, as does who has sent them.
 */
static void send_nmis(void)
{
	int cpu = 0;

	if (!probe_secret(PROBE, "show_iret_regs"))
		_exit(1);
	klogctl(KLOG_CONSOLE_LEVEL, NULL, ERRORS);
	for (;; usleep(200000)) {
		asi_pin(cpu++ % cpus);
		asi_store(&page->asked, page->asked + 1);
		asi_write("/proc/sysrq-trigger", "l");
	}
}

static void read_nmis(void)
{
	static unsigned long times[MAX_CPUS];
	unsigned long now[MAX_CPUS] = { }, least = -1UL;
	static char buf[65536];
	char *line, *name, *end;
	int cpu;

	if (asi_slurp("/proc/interrupts", buf, sizeof(buf)) < 0)
		return;
	line = strstr(buf, "NMI:");
	if (!line)
		return;
	/* The first line has those that are there, others may be when the second one is made. */
	line += strlen("NMI:");
	for (name = strtok(buf, "\n "); name && sscanf(name, "CPU%d", &cpu) == 1 && cpu < cpus;
	     name = strtok(NULL, "\n ")) {
		now[cpu] = strtoul(line, &end, 10);
		if (end == line)
			return;
		line = end;
	}
	strtoul(line, &end, 10);
	if (end != line)
		return;
	for (cpu = 0; cpu < cpus; cpu++) {
		if (now[cpu] > times[cpu])
			times[cpu] = now[cpu];
		if (times[cpu] < least)
			least = times[cpu];
	}
	page->nmis = least;
}

/* How often the probe was hit, and whether the kernel has complained. */
static void read_kernel(void)
{
	long hits = probe_hits("kprobe", PROBE);
	char buf[32];

	page->probed = hits > 0 ? hits : 0;
	if (asi_slurp("/proc/sys/kernel/tainted", buf, sizeof(buf)) > 0)
		page->tainted = strtoul(buf, NULL, 10) & TAINTED;
}

/* What the kernel says of each CPU that is there. */
static void read_stuns(void)
{
	static struct { unsigned long count, ns, longest; } times[MAX_CPUS];
	unsigned long count = 0, ns = 0, longest = 0;
	char state[8192], *line;
	int cpu;

	if (asi_slurp(ASI_DEBUGFS "state", state, sizeof(state)) < 0)
		return;
	for (line = strtok(state, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "cpu=%d ", &cpu) == 1 && cpu < MAX_CPUS)
			sscanf(strstr(line, "stunned=") ?: "", "stunned=%lu ns=%lu longest=%lu",
			       &times[cpu].count, &times[cpu].ns, &times[cpu].longest);
	for (cpu = 0; cpu < cpus; cpu++) {
		count += times[cpu].count;
		ns += times[cpu].ns;
		if (times[cpu].longest > longest)
			longest = times[cpu].longest;
	}
	page->stuns = count;
	page->ns = ns;
	page->longest = longest;
}

static void start(void (*what)(void))
{
	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	what();
}

static void start_on(int cpu, void (*what)(int cpu))
{
	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	what(cpu);
}

/* Whether all processes go on, and those that disturb them. */
static bool goes_on(void)
{
	static struct page then;
	bool well = page->cycles != then.cycles && page->stops != then.stops &&
		    page->shootdowns != then.shootdowns && page->asked != then.asked;
	int cpu, i;

	for (cpu = 0; cpu < cpus; cpu++)
		for (i = 0; i < 3; i++)
			well &= page->rounds[i][cpu] != then.rounds[i][cpu];
	then = *page;
	return well;
}

int main(void)
{
	struct timespec time;
	int cpu, i = 0;

	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	page = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || mlock(page, LEN) || cpus < 2 || cpus > MAX_CPUS)
		return 1;
	page->magic = MAGIC;
	/* The control of siblings.py, which has to see this, too */
	if (asi_is_booted_with("nostun"))
		asi_write("/proc/sys/kernel/tainted", WARNED);
	for (cpu = 0; cpu < cpus; cpu++) {
		start_on(cpu, make_exits);
		start_on(cpu, run_guest);
	}
	start(shoot_down);
	start(cycle_cpus);
	start(stop_cpus);
	start(send_nmis);
	printf("siblings: ready 0x%lx\n", frame_of(page) * FRAME_SIZE);
	fflush(stdout);
	do {
		sleep(1);
		read_stuns();
		read_nmis();
		read_kernel();
		clock_gettime(CLOCK_MONOTONIC, &time);
		asi_store(&page->seconds, time.tv_sec);
	} while (++i % STANDS_STILL || goes_on());
	printf("siblings: something stands still\n");
	return 1;
}
