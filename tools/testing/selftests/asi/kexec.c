// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starts another kernel in place of this one, while every CPU makes transitions,
 * and leaves memory full of secrets to it (see remains.c). There is no way back,
 * and nothing to see unless that kernel says that it runs. A kernel in which
 * machine_kexec() does not call asi_exit() gets away with it, as long as nothing
 * that it touches from there on is sensitive.
 *
 * Usage: kexec KERNEL RAMDISK COMMAND-LINE
 */
#include <linux/reboot.h>

#include "asi.h"
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
	static char buf[8192];
	char *line, *mem;
	size_t len;

	if (asi_slurp("/proc/meminfo", buf, sizeof(buf)) < 0)
		return false;
	line = strstr(buf, "MemAvailable:");
	len = line ? (strtoul(line + 13, NULL, 10) << 10) / 8 * 5 : 0;
	mem = asi_fresh(len);
	if (!mem)
		return false;
	madvise(mem, len, MADV_HUGEPAGE);
	pattern_fill(mem, len, &pattern, 0);
	return true;
}

int main(int argc, char **argv)
{
	struct load load = { .cpus = sysconf(_SC_NPROCESSORS_ONLN) };
	int kernel, ramdisk;

	if (argc != 4) {
		fprintf(stderr, "usage: kexec KERNEL RAMDISK COMMAND-LINE\n");
		return 2;
	}
	kernel = copy(argv[1]);
	ramdisk = copy(argv[2]);
	if (kernel < 0 || ramdisk < 0) {
		perror("kexec: copy");
		return 1;
	}
	if (syscall(SYS_kexec_file_load, kernel, ramdisk, strlen(argv[3]) + 1,
		    argv[3], 0)) {
		perror("kexec: load");
		return 1;
	}
	if (!leave_secrets()) {
		perror("kexec: secrets");
		return 1;
	}
	printf("kexec: %s\n", argv[3]);
	fflush(stdout);
	if (!load_start(&load)) {
		perror("kexec: mmap");
		return 1;
	}
	usleep(500000);
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("kexec: reboot");
	load_stop(&load);
	return 1;
}
