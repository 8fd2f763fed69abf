// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cost of each workload, for tables that are made elsewhere.
 *
 *	bench OPERATION TRANSITIONS FLUSHES NANOSECONDS IDLE
 *
 * Usage: bench [-q] [operation]... [-- command [argument]...]
 *
 * The command is run twice, and what the second run takes in all is shown. With -q
 * operations are measured once, and not three times.
 *
 * Nanoseconds are instructions in a guest whose clock counts them, and repeat
 * there exactly, unless a part of that time is idle. Anywhere else they are only
 * a hint.
 */
#include <libgen.h>
#include <sys/wait.h>

#include "asi.h"
#include "workloads.h"

static char **command;

static int run_command(struct workload_ctx *ctx, long ops)
{
	int status;
	pid_t pid;

	while (ops--) {
		pid = fork();
		if (!pid) {
			execvp(command[0], command);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return -errno;
		if (status)
			return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOEXEC : -EIO;
	}
	return 0;
}

static int show(const struct workload *workload, int tries)
{
	struct workload_cost cost;
	int ret;

	ret = workload_measure(workload, 0, tries, &cost);
	if (ret)
		printf("# bench %s: %s\n", workload->name, strerror(-ret));
	else
		printf("bench %s %.3f %.3f %.0f %.6f\n", workload->name, cost.exits,
		       cost.flushes, cost.ns, cost.idle);
	fflush(stdout);
	return ret && ret != -ENOENT;
}

int main(int argc, char **argv)
{
	const struct workload *workload;
	int i, failed = 0, tries = 3;

	if (argc > 1 && !strcmp(argv[1], "-q")) {
		tries = 1;
		argc--;
		argv++;
	}
	for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		workload = workload_find(argv[i]);
		if (!workload) {
			fprintf(stderr, "%s: unknown operation\n", argv[i]);
			return 2;
		}
		failed |= show(workload, tries);
	}
	if (i + 1 < argc) {
		const struct workload program = {
			.name = basename(argv[i + 1]), .ops = 1, .run = run_command
		};

		command = argv + i + 1;
		failed |= show(&program, 1);
	}
	if (argc == 1) {
		for (workload = workloads; workload->name; workload++)
			failed |= show(workload, tries);
	}
	return failed;
}
