// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cost of each workload, for tables that are made elsewhere.
 *
 *	bench OPERATION TRANSITIONS NANOSECONDS
 *
 * Usage: bench [operation]...
 *
 * Nanoseconds are instructions in a guest whose clock counts them, and repeat
 * there exactly. Anywhere else they are only a hint.
 */
#include "asi.h"
#include "workloads.h"

static int show(const struct workload *workload)
{
	struct workload_cost cost;
	int ret;

	ret = workload_measure(workload, 0, 3, &cost);
	if (ret)
		printf("# bench %s: %s\n", workload->name, strerror(-ret));
	else
		printf("bench %s %.3f %.0f\n", workload->name, cost.exits, cost.ns);
	fflush(stdout);
	return ret && ret != -ENOENT;
}

int main(int argc, char **argv)
{
	const struct workload *workload;
	int i, failed = 0;

	for (i = 1; i < argc; i++) {
		workload = workload_find(argv[i]);
		if (!workload) {
			fprintf(stderr, "%s: unknown operation\n", argv[i]);
			return 2;
		}
		failed |= show(workload);
	}
	if (argc == 1) {
		for (workload = workloads; workload->name; workload++)
			failed |= show(workload);
	}
	return failed;
}
