// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starts another kernel in place of this one, while every CPU makes transitions,
 * and leaves memory full of secrets to it (see remains.c). There is no way back,
 * and nothing to see unless that kernel says that it runs. A kernel in which
 * machine_kexec() does not call asi_exit() gets away with it, as long as nothing
 * that it touches from there on is sensitive.
 *
 * With --crash it leaves a few secrets only, tells the other kernel where they are
 * (see vmcore.c), and waits for an NMI that makes this one panic.
 *
 * Usage: kexec [--crash] KERNEL RAMDISK COMMAND-LINE
 */
#include <linux/kexec.h>
#include <linux/reboot.h>

#include "asi.h"
#include "frames.h"
#include "load.h"
#include "pattern.h"

/* A copy that kexec takes: no device, and nobody has it open for writing. */
static int copy(const char *path)
{
	static char buf[1 << 16];
	int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("asi", 0);
	char name[32];
	ssize_t n;
	int fd;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, n) != n)
			return -1;
	if (n)
		return -1;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", to);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	close(to);
	close(from);
	return fd;
}

/* Neither const nor static, see remains.c. */
struct pattern pattern = PATTERN_KNOWN;

/* Fills a good half of the memory that there is; whether it could. */
static bool leave_secrets(void)
{
	size_t len = asi_available() / 8 * 5;
	char *mem = asi_fresh(len);

	if (!mem)
		return false;
	madvise(mem, len, MADV_HUGEPAGE);
	pattern_fill(mem, len, &pattern, 0);
	return true;
}

/* Fills some pages, and adds where they are to the command line; whether it could. */
static bool name_secrets(char *words, size_t size)
{
	char *mem = asi_fresh(VMCORE_PAGES * FRAME_SIZE);
	const char *between = " asi_planted=";
	size_t len = strlen(words);
	int i;

	if (!mem || mlock(mem, VMCORE_PAGES * FRAME_SIZE))
		return false;
	pattern_fill(mem, VMCORE_PAGES * FRAME_SIZE, &pattern, 0);
	for (i = 0; i < VMCORE_PAGES && len < size; i++, between = ",")
		len += snprintf(words + len, size - len, "%s%#lx", between,
				frame_of(mem + i * FRAME_SIZE));
	return len < size;
}

int main(int argc, char **argv)
{
	struct load load = { .cpus = sysconf(_SC_NPROCESSORS_ONLN) };
	bool crash = argc > 1 && !strcmp(argv[1], "--crash");
	static char words[2048];
	int kernel, ramdisk;

	argv += crash;
	if (argc - crash != 4 || strlen(argv[3]) >= sizeof(words)) {
		fprintf(stderr, "usage: kexec [--crash] KERNEL RAMDISK COMMAND-LINE\n");
		return 2;
	}
	strcpy(words, argv[3]);
	kernel = copy(argv[1]);
	ramdisk = copy(argv[2]);
	if (kernel < 0 || ramdisk < 0) {
		perror("kexec: copy");
		return 1;
	}
	if (crash && !name_secrets(words, sizeof(words))) {
		perror("kexec: secrets");
		return 1;
	}
	if (syscall(SYS_kexec_file_load, kernel, ramdisk, strlen(words) + 1, words,
		    crash ? KEXEC_FILE_ON_CRASH : 0)) {
		perror("kexec: load");
		return 1;
	}
	if (!crash && !leave_secrets()) {
		perror("kexec: secrets");
		return 1;
	}
	printf("kexec: %s\n", words);
	fflush(stdout);
	if (!load_start(&load)) {
		perror("kexec: mmap");
		return 1;
	}
	usleep(500000);
	if (crash) {
		printf("kexec: to be interrupted\n");
		fflush(stdout);
		sleep(60);
	} else {
		syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			LINUX_REBOOT_CMD_KEXEC, NULL);
		perror("kexec: reboot");
	}
	load_stop(&load);
	return 1;
}
