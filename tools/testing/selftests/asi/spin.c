// SPDX-License-Identifier: GPL-2.0-only
/*
 * The attackers of the check from outside: on every CPU two processes, by turns.
 * Three quarters of the time of each it is in user mode, and in the last makes
 * system calls that need no sensitive memory, or have windows for it. And a third one
 * where there is KVM, which runs a guest that does what the kernel handles, and has
 * secrets of its own.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/futex.h>

#include "asi.h"
#include "guest.h"
#include "pattern.h"

#define EACH	2
#define SIZE	(64UL << 10)
#define PAGE	4096

static const struct pattern pattern = PATTERN_KNOWN;

/* The mask of the first interrupt controller, often enough to be seen at it */
GUEST_PROGRAM(pic, "movw $100, %si\n1: inb $0x21, %al; decw %si; jnz 1b");

static int file;
static char page[PAGE];

/* All of the page is this process's own. */
static bool open_file(void)
{
	file = memfd_create("asi", MFD_CLOEXEC);
	return file >= 0 && write(file, page, sizeof(page)) == sizeof(page);
}

static void call(void)
{
	static int word;
	struct stat st;

	syscall(SYS_getpid);
	stat("/proc/self", &st);
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAIT, 1, NULL, NULL, 0);
	if (pread(file, page, sizeof(page), 0) != sizeof(page) ||
	    pwrite(file, page, sizeof(page), 0) != sizeof(page))
		exit(1);
}

static void spin(void)
{
	unsigned long begin, time;
	int i;

	for (;;) {
		begin = __builtin_ia32_rdtsc();
		for (i = 0; i < 400000; i++)
			asm volatile("");
		time = __builtin_ia32_rdtsc() - begin;
		begin = __builtin_ia32_rdtsc();
		do
			call();
		while (__builtin_ia32_rdtsc() - begin < time / 3);
		sched_yield();
	}
}

/* Does not return. */
static void run_guest(int cpu, int ready)
{
	char *mem = asi_fresh(SIZE);
	struct guest guest;
	bool runs;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	asi_pin(cpu);
	runs = mem && !guest_make(&guest, guest_pic, guest_pic_end, mem, SIZE, true) &&
	       guest_run(&guest);
	if (runs)
		pattern_fill(mem + SIZE / 2, SIZE / 2, &pattern, kind_word("vmm"));
	if (write(ready, runs ? "y" : "n", 1) != 1)
		runs = false;
	while (runs && guest_run(&guest))
		sched_yield();
	exit(1);
}

int main(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), ready[2], i;
	bool guests = true;
	char byte;

	if (pipe(ready))
		return 1;
	for (i = 0; i < EACH * cpus; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		asi_pin(i % cpus);
		if (open_file() && write(ready[1], "", 1) == 1)
			spin();
		return 1;
	}
	for (i = 0; i < cpus; i++) {
		if (!fork())
			run_guest(i, ready[1]);
	}
	/* So that no CPU has what ran before still loaded. */
	for (i = 0; i < (EACH + 1) * cpus; i++) {
		if (read(ready[0], &byte, 1) != 1)
			return 1;
		guests &= byte != 'n';
	}
	printf("spin: ready %d%s\n", cpus, guests ? " vmm" : "");
	fflush(stdout);
	for (;;)
		pause();
}
